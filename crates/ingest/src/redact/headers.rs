//! Credentials in headers of HTTP: `Authorization` and its schemes, cookies.

use std::ops::Range;

use memchr::memmem;

use super::quotes::{closing, skip_quote};
use super::values::{
    end_of, ends_with, is_placeholder, is_plain_word, is_word_before, looks_secret,
};

/// Least length of a bearer token.
const BEARER_BYTES_MIN: usize = 8;
/// Least length of a user and a password in base64.
const BASIC_BYTES_MIN: usize = 6;
/// Bytes of a header with cookies that are looked at: servers take no longer ones.
const COOKIES_BYTES_MAX: usize = 8 * 1024;
/// Least length of a cookie that has no name.
const NAMELESS_BYTES_MIN: usize = 16;

/// Schemes of `Authorization` headers.
const SCHEMES: [&[u8]; 13] = [
    b"Basic",
    b"Bearer",
    b"Digest",
    b"Token",
    b"ApiKey",
    b"Negotiate",
    b"NTLM",
    b"OAuth",
    b"Hawk",
    b"SharedKey",
    b"SharedAccessSignature",
    b"AWS4-HMAC-SHA256",
    b"GoogleLogin",
];

/// Names of cookies that are who somebody is, by their end, without `_`, `-` and `.`, in lower case.
const SESSIONS: [&str; 9] =
    ["sid", "session", "sessionid", "sessid", "sess", "auth", "token", "jwt", "csrf"];

/// What is said about a cookie, not its value.
const ATTRIBUTES: [&[u8]; 8] =
    [b"path", b"domain", b"expires", b"max-age", b"samesite", b"priority", b"version", b"comment"];

/// Behind the name of a header at `at`, its quote and its colon or `=`: where the value begins, and which of the two.
/// Members of JSON need a text or a list of texts as value.
fn behind_name(line: &[u8], at: usize) -> Option<(usize, u8)> {
    let (i, quote) = skip_quote(line, at);
    let i = end_of(line, i, |b| b == b' ');
    let separator = *line.get(i).filter(|b| matches!(b, b':' | b'='))?;
    let value = end_of(line, i + 1, |b| b == b' ');
    let text = end_of(line, value, |b| matches!(b, b' ' | b'['));
    let is_member = separator == b':' && quote.is_some_and(|q| q.byte == b'"');
    (!is_member || skip_quote(line, text).1.is_some()).then_some((value, separator))
}

/// `Authorization: Basic dXNlcjpwYXNz`, as a header, a field of JSON or a setting: what is behind the scheme.
pub(super) fn header(line: &[u8], at: usize) -> Option<Range<usize>> {
    credentials(line, behind_name(line, at)?.0)
}

/// What is behind the scheme in a header's value at `at`.
pub(super) fn credentials(line: &[u8], at: usize) -> Option<Range<usize>> {
    // Lists of header values are written with brackets.
    let i = end_of(line, at, |b| matches!(b, b' ' | b'['));
    let (start, open) = skip_quote(line, i);
    let end = match open {
        Some(open) => closing(line, start, open),
        None => end_of(line, start, |b| {
            !matches!(b, b'"' | b'\'' | b'\r' | b'\n' | b']' | b'}' | b'\\')
        }),
    };
    let value = &line[start..end];
    let scheme = end_of(value, 0, |b| b.is_ascii_alphanumeric() || b == b'-');
    let is_scheme = SCHEMES.iter().any(|known| value[..scheme].eq_ignore_ascii_case(known));
    let text = if is_scheme && value.get(scheme) == Some(&b' ') { scheme + 1 } else { 0 };
    let first = end_of(value, text, |b| !b.is_ascii_whitespace());
    let token = &value[text..first];
    // Prose: `authorization: denied for bob`.
    if text == 0 && open.is_none() && !looks_secret(token.strip_suffix(b",").unwrap_or(token)) {
        return None;
    }
    let is_quoted = token.ends_with(b"=") && line.get(start + first) == Some(&b'"');
    let stop = if open.is_some() || (text > 0 && (is_quoted || has_parameters(token))) {
        // `Digest username="u", response="…"`, `AWS4-HMAC-SHA256 Credential=…, Signature=…`: to the end.
        if open.is_some() { end - start } else { line.len() - start }
    } else {
        first - usize::from(token.ends_with(b","))
    };
    let text = start + text..start + stop;
    (!text.is_empty() && !is_placeholder(&line[text.clone()])).then_some(text)
}

/// Whether credentials begin with `name=`, not with a token that ends in `=`.
fn has_parameters(token: &[u8]) -> bool {
    let name = end_of(token, 0, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    name > 0 && token.get(name) == Some(&b'=') && !token[name..].iter().all(|b| *b == b'=')
}

/// `Bearer` and a token, anywhere.
pub(super) fn bearer(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    let first = at.start.checked_sub(1)?;
    if !matches!(line[first], b'b' | b'B') || is_word_before(line, first) {
        return None;
    }
    let is_token = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'-')
    };
    let end = end_of(line, at.end, is_token);
    let text = &line[at.end..end];
    let is_setting = has_parameters(text);
    (text.len() >= BEARER_BYTES_MIN && !is_plain_word(text) && !is_setting).then_some(at.end..end)
}

/// `Basic` and what is a user and a password in base64, anywhere.
pub(super) fn basic(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    let first = at.start.checked_sub(1)?;
    if !matches!(line[first], b'b' | b'B') || is_word_before(line, first) {
        return None;
    }
    let letters = end_of(line, at.end, |b| sextet(b).is_some());
    let end = end_of(line, letters, |b| b == b'=');
    let is_whole = end - at.end >= BASIC_BYTES_MIN && end - letters <= 2;
    (is_whole && is_pair(&line[at.end..letters])).then_some(at.end..end)
}

/// Whether base64 is printable ASCII with a colon in it.
fn is_pair(letters: &[u8]) -> bool {
    let (mut bits, mut count, mut has_colon) = (0_u32, 0, false);
    for sextet in letters.iter().filter_map(|b| sextet(*b)) {
        bits = (bits << 6) | u32::from(sextet);
        count += 6;
        if count >= 8 {
            count -= 8;
            let byte = (bits >> count) & 0xff;
            has_colon |= byte == u32::from(b':');
            if !(0x20..0x7f).contains(&byte) {
                return false;
            }
        }
    }
    has_colon
}

/// The six bits of a letter of base64.
fn sextet(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Visits the values of cookies in `Cookie: a=x; b=y` and `Set-Cookie: a=x; Path=/`, as headers, fields of JSON (also
/// lists) or settings. `at` is behind the name.
pub(super) fn cookies(line: &[u8], at: usize, visit: &mut dyn FnMut(Range<usize>)) {
    let Some((from, separator)) = behind_name(line, at) else { return };
    let is_bare = !matches!(line.get(from), Some(b'"' | b'\'' | b'\\' | b'['));
    if is_bare {
        let near = &line[..line.len().min(from + COOKIES_BYTES_MAX)];
        let next = [b"ookie:", b"OOKIE:"].map(|name| memmem::find(&near[from..], name));
        let near = next.into_iter().flatten().min().map_or(near, |n| &near[..from + n]);
        // A setting is one pair; a header goes on to the end of the line, of the argument or to another one.
        let end = end_of(near, from, |b| match separator {
            b':' => !matches!(b, b'"' | b'\'' | b'\r' | b'\n' | b'\\'),
            _ => !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\'' | b'\\' | b';'),
        });
        return pairs(line, from..end, visit);
    }
    cookies_of(line, from, visit);
}

/// Visits the values of cookies in a header's value at `at`: quoted, a list, or all that follows.
pub(super) fn cookies_of(line: &[u8], at: usize, visit: &mut dyn FnMut(Range<usize>)) {
    let mut i = end_of(line, at, |b| matches!(b, b' ' | b'['));
    let is_list = line[at..i].contains(&b'[');
    if skip_quote(line, i).1.is_none() {
        let end = if is_list { end_of(line, i, |b| b != b']') } else { line.len() };
        return pairs(line, i..end, visit);
    }
    while let (start, Some(open)) = skip_quote(line, i) {
        let end = closing(line, start, open);
        pairs(line, start..end, visit);
        let (next, _) = skip_quote(line, end);
        let comma = end_of(line, next, |b| b == b' ');
        if !is_list || line.get(comma) != Some(&b',') {
            return;
        }
        i = end_of(line, comma + 1, |b| b == b' ');
    }
}

/// Visits those of `a=x; b=y` that may open something: sessions by name, others that look like a secret.
fn pairs(line: &[u8], at: Range<usize>, visit: &mut dyn FnMut(Range<usize>)) {
    let is_alone = !line[at.clone()].contains(&b';');
    let mut from = at.start;
    for pair in line[at].split(|b| *b == b';') {
        let start = from;
        from += pair.len() + 1;
        let equals = end_of(pair, 0, |b| b != b'=');
        let name = pair[..equals].trim_ascii();
        // A value without a name may be all there is; beside others it is a flag, as `HttpOnly`.
        let begin = if equals < pair.len() { equals + 1 } else { 0 };
        let begin = end_of(pair, begin, |b| matches!(b, b' ' | b'"'));
        let value = pair[begin..].trim_ascii_end();
        let is_named = equals < pair.len();
        let is_attribute = ATTRIBUTES.iter().any(|known| name.eq_ignore_ascii_case(known));
        let is_session = is_named && SESSIONS.iter().any(|known| ends_with(name, known));
        let is_long = is_named || (is_alone && value.len() >= NAMELESS_BYTES_MIN);
        let is_secret = is_session || (is_long && looks_secret(value));
        if !is_attribute && is_secret && !value.is_empty() && !is_placeholder(value) {
            visit(start + begin..start + begin + value.len());
        }
    }
}
