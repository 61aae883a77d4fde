//! What stands around an anchor: is it a secret, and from where to where?

use std::ops::Range;

use super::found::Found;
use super::{Anchor, Kind};

/// Names of settings whose value is a secret, by their end, without `_` and `-`, in lower case. Those from the second
/// list say so only together with a value that looks like one.
const PASSWORDS: [&str; 5] = ["password", "passwd", "passphrase", "pwd", "pass"];
const KEYS: [&str; 7] =
    ["secret", "token", "apikey", "accesskey", "privatekey", "accountkey", "secretkey"];
/// Bytes before an anchor that may belong to the name.
const NAME_BYTES_MAX: usize = 64;
/// Least length of a secret that is known only by the name before it, when that name is common in prose.
const KEY_BYTES_MIN: usize = 8;
/// Least length of a bearer token.
const BEARER_BYTES_MIN: usize = 8;

/// The secret around an anchor of `line`; its row is set by the caller.
pub(super) fn secret(line: &[u8], anchor: Anchor, at: Range<usize>) -> Option<Found> {
    let found = |at: Range<usize>| Found::new(0, at, anchor.kind());
    match anchor {
        Anchor::Setting => setting(line, at),
        // The anchor has the byte behind the name; a longer word (`bypass`) is another name.
        Anchor::Pass => {
            let is_longer =
                at.start.checked_sub(1).is_some_and(|b| line[b].is_ascii_alphanumeric());
            if is_longer { None } else { setting(line, at.start..at.end - 1) }
        }
        Anchor::Header => header(line, at).map(found),
        Anchor::Bearer => bearer(line, at).map(found),
        Anchor::Url => url(line, at).map(found),
        Anchor::PrivateKey => private_key(line, at).map(found),
        Anchor::Jwt => jwt(line, at).map(found),
        Anchor::Known(least, letters) => {
            if is_word_before(line, at.start) {
                return None;
            }
            let end = end_of(line, at.end, |b| letters.has(b));
            (end - at.end >= least).then(|| found(at.start..end))
        }
    }
}

/// Whether a field called `name` has a secret as its value.
pub(super) fn is_secret_of(name: &str, value: &str) -> bool {
    let Some(is_sure) = strength(name.as_bytes()) else { return false };
    !is_placeholder(value.as_bytes()) && (is_sure || looks_secret(value.as_bytes()))
}

/// Whether a name is that of a secret: surely, or if its value looks like one.
fn strength(name: &[u8]) -> Option<bool> {
    if PASSWORDS.iter().any(|known| ends_with(name, known)) {
        return Some(true);
    }
    KEYS.iter().any(|known| ends_with(name, known)).then_some(false)
}

/// Whether `name` ends with `word`, which is in lower case, whatever its case and the `_`, `-` and `.` in it.
fn ends_with(name: &[u8], word: &str) -> bool {
    let mut letters = name.iter().rev().filter(|b| !matches!(b, b'_' | b'-' | b'.'));
    word.bytes().rev().all(|b| letters.next().is_some_and(|l| l.to_ascii_lowercase() == b))
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn is_word_before(line: &[u8], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|b| line[b].is_ascii_alphanumeric() || line[b] == b'_')
}

/// The first byte from `from` that is not `part` of it.
fn end_of(line: &[u8], from: usize, part: impl Fn(u8) -> bool) -> usize {
    line[from..].iter().position(|b| !part(*b)).map_or(line.len(), |n| from + n)
}

/// `name=value`, `"name": "value"`, `name: value`, `--name value`, `name='value'`, also with escaped quotes.
fn setting(line: &[u8], at: Range<usize>) -> Option<Found> {
    let least = at.start.saturating_sub(NAME_BYTES_MAX);
    let start = (least..at.start).rev().take_while(|i| is_name(line[*i])).last();
    let start = start.unwrap_or(at.start);
    let name = &line[start..at.end];
    let is_sure = strength(name)?;
    let (mut i, quote) = skip_quote(line, at.end);
    let spaced = end_of(line, i, |b| b == b' ');
    let separator = match line.get(spaced) {
        Some(b'=') => {
            i = spaced + 1 + usize::from(line.get(spaced + 1) == Some(&b'>'));
            b'='
        }
        Some(b':') => {
            i = spaced + 1 + usize::from(line.get(spaced + 1) == Some(&b'='));
            b':'
        }
        // `<password>value</password>`
        Some(b'>') if spaced == i && start.checked_sub(1).is_some_and(|b| line[b] == b'<') => {
            i += 1;
            b'='
        }
        // An option of a command line.
        Some(_) if spaced == i + 1 && name.starts_with(b"--") => b'=',
        _ => return None,
    };
    i = end_of(line, i, |b| b == b' ');
    let (value, open) = skip_quote(line, i);
    let end = match open {
        Some(open) => closing(line, value, open),
        None => bare_end(line, value),
    };
    let text = &line[value..end];
    // `PWD` is also where a shell is.
    let is_path = ends_with(name, "pwd") && text.starts_with(b"/");
    if text.is_empty() || is_placeholder(text) || is_path {
        return None;
    }
    let is_prose = open.is_none() && separator == b':' && quote.is_none() && is_plain_word(text);
    if is_prose || (!is_sure && !looks_secret(text)) {
        return None;
    }
    let needs_quotes = open.is_none() && quote.is_some() && separator == b':';
    Some(Found { needs_quotes, ..Found::new(0, value..end, Kind::Password) })
}

/// Where a value without quotes ends: at white space, at quotes and brackets, and at `&`, `;` and `,` unless these are
/// parts of it, as in `Tr0ub4dor&3`: they separate when white space, the end or another `name=` follows.
fn bare_end(line: &[u8], from: usize) -> usize {
    let separates = |at: usize| {
        let next = end_of(line, at + 1, is_name);
        at + 1 == line.len()
            || line.get(at + 1).is_some_and(u8::is_ascii_whitespace)
            || matches!(line.get(next), Some(b'=' | b':'))
    };
    let is_end = |at: usize| match line[at] {
        b'"' | b'\'' | b'<' | b'>' | b')' | b'}' | b']' | b'\\' => true,
        b'&' | b';' | b',' => separates(at),
        byte => byte.is_ascii_whitespace(),
    };
    (from..line.len()).find(|at| is_end(*at)).unwrap_or(line.len())
}

/// Behind a quote at `at`, if there is one; `\"` is one inside a text of JSON.
fn skip_quote(line: &[u8], at: usize) -> (usize, Option<(u8, bool)>) {
    match line.get(at..) {
        Some([quote @ (b'"' | b'\''), ..]) => (at + 1, Some((*quote, false))),
        Some([b'\\', quote @ (b'"' | b'\''), ..]) => (at + 2, Some((*quote, true))),
        _ => (at, None),
    }
}

/// Where a quoted value ends; the end of the line when it is not closed.
fn closing(line: &[u8], from: usize, (quote, is_escaped): (u8, bool)) -> usize {
    let mut i = from;
    while let Some(byte) = line.get(i) {
        match byte {
            b'\\' if is_escaped && line.get(i + 1) == Some(&quote) => return i,
            b'\\' => i += 2,
            byte if *byte == quote => return i,
            _ => i += 1,
        }
    }
    line.len()
}

/// What people write where a secret was, or will be.
fn is_placeholder(text: &[u8]) -> bool {
    let words: [&[u8]; 9] = [
        b"null",
        b"none",
        b"nil",
        b"true",
        b"false",
        b"undefined",
        b"empty",
        b"redacted",
        b"hidden",
    ];
    let bare = text.trim_ascii();
    bare.is_empty()
        || bare.starts_with(b"[redacted")
        || bare.starts_with(b"[REDACTED")
        || bare.starts_with(b"${")
        || bare.starts_with(b"{{")
        || bare.starts_with(b"<")
        || words.iter().any(|word| bare.eq_ignore_ascii_case(word))
        || bare.iter().all(|b| matches!(b, b'*' | b'x' | b'X' | b'.' | b'-'))
        || (bare.starts_with(b"%") && bare.len() <= 3)
}

/// A word of prose: small letters, perhaps with a large one in front or a full stop behind.
fn is_plain_word(text: &[u8]) -> bool {
    let word = text.strip_suffix(b".").unwrap_or(text);
    word.iter().skip(1).all(u8::is_ascii_lowercase)
        && word.first().is_some_and(u8::is_ascii_alphabetic)
}

/// Long enough, and not a word or a number.
fn looks_secret(text: &[u8]) -> bool {
    let has = |test: fn(&u8) -> bool| text.iter().any(test);
    let is_number = text.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
    text.len() >= KEY_BYTES_MIN
        && !is_number
        && !text.iter().any(u8::is_ascii_whitespace)
        && (has(u8::is_ascii_digit) || (has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase)))
}

/// `Authorization: Basic dXNlcjpw`, as a header, a field of JSON or a setting: what is behind the scheme.
fn header(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    let (i, _) = skip_quote(line, at.end);
    let i = end_of(line, i, |b| b == b' ');
    if !matches!(line.get(i), Some(b':' | b'=')) {
        return None;
    }
    // Lists of header values are written with brackets.
    let i = end_of(line, i + 1, |b| matches!(b, b' ' | b'['));
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

/// Schemes of `Authorization` headers.
const SCHEMES: [&[u8]; 12] = [
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
    b"AWS4-HMAC-SHA256",
    b"GoogleLogin",
];

/// Whether credentials begin with `name=`, not with a token that ends in `=`.
fn has_parameters(token: &[u8]) -> bool {
    let name = end_of(token, 0, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    name > 0 && token.get(name) == Some(&b'=') && !token[name..].iter().all(|b| *b == b'=')
}

/// `Bearer` and a token, anywhere.
fn bearer(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
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

/// `scheme://user:password@host`: the password.
fn url(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    if !is_word_before(line, at.start) {
        return None;
    }
    let is_authority = |b: u8| {
        !b.is_ascii_whitespace()
            && !matches!(b, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'\\' | b'`')
    };
    let end = end_of(line, at.end, is_authority);
    let host = line[at.end..end].iter().rposition(|b| *b == b'@')?;
    let colon = line[at.end..at.end + host].iter().position(|b| *b == b':')?;
    let password = at.end + colon + 1..at.end + host;
    (!is_placeholder(&line[password.clone()])).then_some(password)
}

/// The body of a PEM block, to its end or that of the line.
fn private_key(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    let before = &line[..at.start];
    let begin = memchr::memmem::rfind(before, b"-----BEGIN ")?;
    let label = &before[begin + 11..];
    if label.len() > NAME_BYTES_MAX || label.contains(&b'-') {
        return None;
    }
    let end = memchr::memmem::find(&line[at.end..], b"-----END ");
    let body = at.end..end.map_or(line.len(), |n| at.end + n);
    // A key of several rows has nothing behind its first line.
    let is_nothing = body.is_empty() && end.is_some();
    (!is_nothing && !line[body.clone()].starts_with(b"[redacted")).then_some(body)
}

/// Three parts of base64url with dots between; the first one begins as `{"` does.
fn jwt(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    if is_word_before(line, at.start) {
        return None;
    }
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let mut end = at.start;
    for (number, least) in [10, 10, 16].into_iter().enumerate() {
        if number > 0 {
            if line.get(end) != Some(&b'.') {
                return None;
            }
            end += 1;
        }
        let next = end_of(line, end, is_part);
        if next - end < least {
            return None;
        }
        end = next;
    }
    Some(at.start..end)
}
