//! Passwords in statements of SQL and in dialogues of Redis and SMTP: `IDENTIFIED BY 'x'`, `AUTH x`, `requirepass x`.

use std::ops::Range;

use super::quotes::{closing, skip_quote};
use super::settings::Strength;
use super::values::{end_of, is_placeholder, is_plain_word, is_word_before};

/// Bytes before `identified by` in which the statement begins.
const STATEMENT_BYTES_MAX: usize = 160;
/// Least length of credentials of SASL.
const SASL_BYTES_MIN: usize = 4;

/// A word, or a text in quotes, at `from` behind spaces: its place, where it ends with its quotes, whether it has some.
fn word(line: &[u8], from: usize) -> Option<(Range<usize>, usize, bool)> {
    let start = end_of(line, from, |b| b == b' ');
    let (inside, quote) = skip_quote(line, start);
    if let Some(quote) = quote {
        let end = closing(line, inside, quote);
        return (end < line.len()).then(|| (inside..end, skip_quote(line, end).0, true));
    }
    let end = end_of(line, start, |b| {
        !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\'' | b'\\' | b';' | b')' | b'}' | b']')
    });
    (end > start).then_some((start..end, end, false))
}

/// `IDENTIFIED BY 'x'`, also `IDENTIFIED BY PASSWORD 'x'` and Oracle's `IDENTIFIED BY x`. In small letters, it needs a
/// statement around it.
pub(super) fn identified(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    let is_shouted = line[at.start] == b'D';
    if !is_shouted {
        let before = &line[at.start.saturating_sub(STATEMENT_BYTES_MAX)..at.start];
        let says = |text: &[u8]| before.windows(text.len()).any(|w| w.eq_ignore_ascii_case(text));
        if ![&b"create user"[..], b"alter user", b"grant "].into_iter().any(says) {
            return None;
        }
    }
    let (mut text, end, mut is_quoted) = word(line, at.end)?;
    if !is_quoted && line[text.clone()].eq_ignore_ascii_case(b"password") {
        (text, _, is_quoted) = word(line, end)?;
    }
    let is_keyword = !is_quoted && line[text.clone()].eq_ignore_ascii_case(b"values");
    let is_secret = !text.is_empty() && !is_keyword && !is_placeholder(&line[text.clone()]);
    is_secret.then_some(text)
}

/// `AUTH PLAIN credentials` and the like of SMTP; `AUTH password` and `AUTH user password` of Redis, at a prompt, at the
/// line's end or in quotes, or when it looks like a password.
pub(super) fn auth(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    const MECHANISMS: [&[u8]; 6] =
        [b"PLAIN", b"LOGIN", b"XOAUTH2", b"OAUTHBEARER", b"CRAM-MD5", b"EXTERNAL"];
    let line = &line[..end_of(line, at.start, |b| b != b'\n' && b != b'\r')];
    let behind = at.start + 4;
    if is_word_before(line, at.start) || line[..at.start].ends_with(b"-") {
        return None;
    }
    let is_in_quotes = line[behind] == b'"';
    let (first, end, is_quoted) = word(line, behind + usize::from(is_in_quotes))?;
    let text = &line[first.clone()];
    if MECHANISMS.iter().any(|known| text.eq_ignore_ascii_case(known)) {
        let (credentials, _, _) = word(line, end)?;
        let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/=".contains(b);
        let text = &line[credentials.clone()];
        let is_sent = text.len() >= SASL_BYTES_MIN && text.iter().all(is_base64);
        return (is_sent && !is_plain_word(text)).then_some(credentials);
    }
    let is_prompt = line[..at.start].trim_ascii_end().ends_with(b">");
    let second = word(line, end).filter(|(_, _, quoted)| *quoted == is_quoted);
    let is_last = |end: usize| line[end..].trim_ascii().is_empty();
    let (secret, end) = match second {
        Some((second, end, _)) if is_quoted || (is_prompt && is_last(end)) => (second, end),
        _ => (first, end),
    };
    let text = &line[secret.clone()];
    let is_sure = (is_in_quotes && is_quoted) || (is_prompt && is_last(end));
    let is_secret = !text.is_empty()
        && !is_placeholder(text)
        && (is_sure || (!is_quoted && Strength::Pass.is_met_by(text)));
    is_secret.then_some(secret)
}

/// `requirepass x` of Redis' configuration, also in `CONFIG SET requirepass x`. A word that further ones follow is prose.
pub(super) fn directive(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    if is_word_before(line, at.start) {
        return None;
    }
    let (behind, quote) = skip_quote(line, at.end);
    let separator = end_of(line, behind, |b| matches!(b, b' ' | b',' | b':' | b'='));
    if separator == behind {
        return None;
    }
    let (secret, end, is_quoted) = word(line, separator)?;
    let text = &line[secret.clone()];
    let before = line[..at.start].trim_ascii_end().to_ascii_lowercase();
    let is_set = before.ends_with(b"set") || quote.is_some();
    let is_last = line[end..].trim_ascii().is_empty();
    let is_prose = is_plain_word(text) && !is_set && !is_quoted && !is_last;
    (!text.is_empty() && !is_placeholder(text) && !is_prose).then_some(secret)
}
