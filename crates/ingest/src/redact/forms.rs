//! Secrets that are known by their form: passwords in URLs and what signs them, private keys, JSON web tokens, keys with
//! the mark of who issued them.

use std::ops::Range;

use super::anchors::Letters;
use super::values::{NAME_BYTES_MAX, end_of, is_placeholder, is_word_before};

/// Least length of a signature in a URL.
const SIGNATURE_BYTES_MIN: usize = 30;
/// Most letters behind the mark of Microsoft Entra.
const ENTRA_BYTES_MAX: usize = 35;
/// Digits behind the mark of a key of Mailgun, and bytes on each side of it in which its name is looked for.
const MAILGUN_BYTES: usize = 32;
const MAILGUN_NEAR_BYTES: usize = 128;
/// Letters behind the mark of a Telegram bot.
const TELEGRAM_BYTES: usize = 33;

/// A key that begins with an anchor and has `least` more of `letters`.
pub(super) fn known(
    line: &[u8],
    at: Range<usize>,
    least: usize,
    letters: Letters,
) -> Option<Range<usize>> {
    if is_word_before(line, at.start) {
        return None;
    }
    let mut end = end_of(line, at.end, |b| letters.has(b));
    // The full stop of a sentence.
    while letters == Letters::Dotted && end > at.end && line[end - 1] == b'.' {
        end -= 1;
    }
    (end - at.end >= least).then_some(at.start..end)
}

/// `Ab18Q~` and 31 to 34 more: three letters and a digit stand before the mark.
pub(super) fn entra(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'~' | b'.' | b'-');
    let start = at.start.checked_sub(4)?;
    let is_start = line[at.start - 1].is_ascii_digit()
        && line[start..at.start].iter().all(|b| is_part(*b))
        && start.checked_sub(1).is_none_or(|b| !line[b].is_ascii_alphanumeric());
    if !is_start {
        return None;
    }
    let near = &line[..line.len().min(at.end + ENTRA_BYTES_MAX + 1)];
    let end = end_of(near, at.end, is_part);
    (31..=ENTRA_BYTES_MAX).contains(&(end - at.end)).then_some(start..end)
}

/// `123456789:AA` and 33 more.
pub(super) fn telegram(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    let least = at.start.saturating_sub(11);
    let digits = line[least..at.start].iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let near = &line[..line.len().min(at.end + TELEGRAM_BYTES + 1)];
    let end = end_of(near, at.end, |b| Letters::Word.has(b));
    ((8..=10).contains(&digits) && end - at.end == TELEGRAM_BYTES).then_some(at.start + 1..end)
}

/// `key-` and 32 hexadecimal digits, where Mailgun or the user `api` is named: keys of caches look the same.
pub(super) fn mailgun(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    let near = &line[..line.len().min(at.end + MAILGUN_BYTES + 1)];
    let end = end_of(near, at.end, |b| Letters::Word.has(b));
    let key = &line[at.end..end];
    let is_key = key.len() == MAILGUN_BYTES && key.iter().all(|b| Letters::Hex.has(*b));
    if !is_key || is_word_before(line, at.start) {
        return None;
    }
    let around = line[at.start.saturating_sub(MAILGUN_NEAR_BYTES)..].iter();
    let around: Vec<u8> = around.take(2 * MAILGUN_NEAR_BYTES).map(u8::to_ascii_lowercase).collect();
    let is_named = memchr::memmem::find(&around, b"mailgun").is_some();
    (is_named || line[..at.start].ends_with(b"api:")).then_some(at.start..end)
}

/// `jdbc:oracle:thin:user/password@…`; `from` is behind `oracle:`.
pub(super) fn oracle_url(line: &[u8], from: usize) -> Option<Range<usize>> {
    let driver = end_of(line, from, |b| b.is_ascii_alphanumeric());
    (line.get(driver) == Some(&b':')).then_some(())?;
    let secret = oracle_logon(line, driver + 1)?;
    (line.get(secret.end) == Some(&b'@')).then_some(secret)
}

/// The password of `user/password` and `user/password@…` at `from`.
pub(super) fn oracle_logon(line: &[u8], from: usize) -> Option<Range<usize>> {
    let slash =
        end_of(line, from, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'#'));
    if slash == from || line.get(slash) != Some(&b'/') {
        return None;
    }
    let start = slash + 1;
    let end = end_of(line, start, |b| {
        !b.is_ascii_whitespace() && !matches!(b, b'@' | b'"' | b'\'' | b'\\' | b'<' | b'>' | b')')
    });
    (end > start && !is_placeholder(&line[start..end])).then_some(start..end)
}

/// `?sig=` or `&X-Amz-Signature=` and what follows.
pub(super) fn signature(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    let least = at.start.saturating_sub(NAME_BYTES_MAX);
    let before = line[least..at.start].iter().rposition(|b| matches!(b, b'?' | b'&' | b';'))?;
    let name = &line[least + before + 1..at.start];
    if !name.iter().all(|b| b.is_ascii_alphabetic() || *b == b'-') || name.len() > 10 {
        return None;
    }
    let end = end_of(line, at.end, |b| Letters::Base64.has(b));
    (end - at.end >= SIGNATURE_BYTES_MIN).then_some(at.end..end)
}

/// `scheme://user:password@host`: the password, which may have `@`, and `/`, `?` and `#` when what is before them is no
/// port.
pub(super) fn url(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    if !is_word_before(line, at.start) {
        return None;
    }
    let is_text =
        |b: u8| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\'' | b'<' | b'>' | b'\\' | b'`');
    let text = &line[at.end..end_of(line, at.end, is_text)];
    let authority = end_of(text, 0, |b| !matches!(b, b'/' | b'?' | b'#'));
    let colon = text[..authority].iter().position(|b| *b == b':')?;
    let host = match text[..authority].iter().rposition(|b| *b == b'@') {
        Some(host) if colon < host && is_bare_name(&text[host + 1..authority]) => {
            further_host(text, authority).unwrap_or(host)
        }
        Some(host) => host,
        None => host_behind(text, colon, authority)?,
    };
    // Also what is before a colon may have an `@`, as in a user's address, but then the last one is behind it.
    let password = at.end + colon + 1..at.end + host;
    (host > colon && !is_placeholder(&line[password.clone()])).then_some(password)
}

/// Whether a host is a name without a dot and a port, which may as well be a part of a password before a `/`.
fn is_bare_name(host: &[u8]) -> bool {
    host != b"localhost" && !host.iter().any(|b| matches!(b, b'.' | b':' | b'[' | b','))
}

/// The `@` before what may be a host, within the words of a path: not at the beginning of one, as in `/@scope`, and not
/// before a version.
fn further_host(text: &[u8], authority: usize) -> Option<usize> {
    let path = end_of(text, authority, |b| !matches!(b, b'?' | b'#'));
    let at = (authority..path).rev().find(|i| text[*i] == b'@')?;
    let host = end_of(text, at + 1, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    let is_host = text.get(at + 1).is_some_and(u8::is_ascii_alphabetic)
        && text.get(host).is_none_or(|b| matches!(b, b':' | b'/' | b'?' | b',' | b')'));
    (is_host && text[at - 1] != b'/').then_some(at)
}

/// The `@` before the host of a URL whose password has a `/`, `?` or `#`: what is between the colon and that cannot be a
/// port, and what is behind the `@` can be a host.
fn host_behind(text: &[u8], colon: usize, authority: usize) -> Option<usize> {
    let port = &text[colon + 1..authority];
    let is_port = port.iter().all(u8::is_ascii_digit);
    let is_template = text[..authority].iter().any(|b| matches!(b, b'{' | b'[' | b'$' | b'%'));
    let is_list = port.contains(&b',');
    if is_port || is_template || is_list {
        return None;
    }
    let is_host = |from: usize| {
        let end = end_of(text, from, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        end > from && text.get(end).is_none_or(|b| matches!(b, b':' | b'/' | b'?' | b',' | b')'))
    };
    let query = end_of(text, authority, |b| b != b'?');
    let last = |until: usize| (authority..until).rev().find(|i| text[*i] == b'@' && is_host(i + 1));
    last(query).or_else(|| last(text.len()))
}

/// The body of a PEM block, to its end or that of the line.
pub(super) fn private_key(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let least = at.start.saturating_sub(NAME_BYTES_MAX + BEGIN.len());
    let before = &line[least..at.start];
    let begin = memchr::memmem::rfind(before, BEGIN)?;
    let label = &before[begin + BEGIN.len()..];
    if label.contains(&b'-') || line[at.end..].starts_with(b"[redacted") {
        return None;
    }
    let end = memchr::memmem::find(&line[at.end..], b"-----END ");
    let body = at.end..end.map_or(line.len(), |n| at.end + n);
    // A key of several rows has nothing behind its first line.
    let is_nothing = body.is_empty() && end.is_some();
    (!is_nothing).then_some(body)
}

/// Two or three parts of base64url with dots between; the first one begins as `{"` does. The third one signs; without it
/// (`alg` is `none`, or the line was cut) the second one has to begin likewise.
pub(super) fn jwt(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    // A dash is part of a token: behind one no other begins.
    if is_word_before(line, at.start) || at.start.checked_sub(1).is_some_and(|b| line[b] == b'-') {
        return None;
    }
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let header = end_of(line, at.start, is_part);
    let claims = header + 1;
    if header - at.start < 10 || line.get(header) != Some(&b'.') {
        return None;
    }
    let end = end_of(line, claims, is_part);
    if end - claims < 10 {
        return None;
    }
    let signed = match line.get(end) {
        Some(b'.') => end_of(line, end + 1, is_part),
        _ => end,
    };
    let is_signed = signed >= end + 1 + 16;
    (is_signed || line[claims..].starts_with(b"eyJ")).then_some(at.start..signed)
}
