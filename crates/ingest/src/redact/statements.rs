//! Passwords in statements of SQL and in dialogues of Redis and SMTP: `IDENTIFIED BY 'x'`, `VALUES ('bob', 'x')`, `AUTH x`,
//! `requirepass x`.

use std::ops::Range;

use super::quotes::{closing, skip_quote};
use super::settings::Strength;
use super::values::{end_of, is_placeholder, is_plain_word, is_word_before};

/// Bytes before `identified by` in which the statement begins.
const STATEMENT_BYTES_MAX: usize = 160;
/// Bytes of a list of columns.
const COLUMNS_BYTES_MAX: usize = 4 << 10;
/// Brackets inside each other in a value.
const DEPTH_MAX: usize = 4;
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

/// `INSERT INTO t (name, password) VALUES ('bob', 'x'), ('eve', 'y')`: the values of columns that are called like secrets.
/// Those of parameters, `NULL` and functions without a text stay.
pub(super) fn inserted(line: &[u8], at: Range<usize>, visit: &mut dyn FnMut(Range<usize>)) {
    let start = at.start - usize::from(line[at.start] == b'a').min(at.start);
    let is_word = line[start..].get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"values"));
    if !is_word || is_word_before(line, start) {
        return;
    }
    let strengths = columns(&line[..start]);
    if strengths.iter().all(Option::is_none) {
        return;
    }
    let mut open = gap(line, start + 6);
    while line.get(open) == Some(&b'(') {
        let mut at = open + 1;
        for strength in &strengths {
            let Some((secret, end)) = value(line, at) else { return };
            if let (Some(strength), Some(secret)) = (strength, secret)
                && strength.is_met_by(&line[secret.clone()])
            {
                visit(secret);
            }
            at = end;
            if line.get(at) != Some(&b',') {
                break;
            }
            at += 1;
        }
        let comma = gap(line, at + 1);
        if line.get(at) != Some(&b')') || line.get(comma) != Some(&b',') {
            return;
        }
        open = gap(line, comma + 1);
    }
}

/// How sure the names of the columns at the end of `before` are that they have secrets; none unless an `INSERT` is there.
fn columns(before: &[u8]) -> Vec<Option<Strength>> {
    let mut end = before.len();
    while let Some(rest) = before[..end].strip_suffix(b"\\n") {
        end = rest.trim_ascii_end().len();
    }
    let Some(list) = before[..end].trim_ascii_end().strip_suffix(b")") else { return Vec::new() };
    let near = list.len().saturating_sub(COLUMNS_BYTES_MAX);
    let bracket = list[near..].iter().rposition(|b| matches!(b, b'(' | b')'));
    let Some(open) = bracket.map(|at| near + at).filter(|at| list[*at] == b'(') else {
        return Vec::new();
    };
    let statement = &list[open.saturating_sub(STATEMENT_BYTES_MAX)..open];
    if !statement.windows(5).any(|word| word.eq_ignore_ascii_case(b"into ")) {
        return Vec::new();
    }
    let name = |column: &[u8]| {
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'#');
        let start = column.iter().position(is_part).unwrap_or(column.len());
        let end = column.iter().rposition(is_part).map_or(start, |last| last + 1);
        Strength::of(&column[start..end], true)
    };
    list[open + 1..].split(|b| *b == b',').map(name).collect()
}

/// Behind white space, also that of a text of JSON.
fn gap(line: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        match line.get(at..).unwrap_or_default() {
            [b, ..] if b.is_ascii_whitespace() => at += 1,
            [b'\\', b'n' | b'r' | b't', ..] => at += 2,
            _ => return at,
        }
    }
}

/// The value of a column at `from`: its first text or its number, and where it ends, before a comma or a bracket. `None` when
/// it is no such value.
fn value(line: &[u8], from: usize) -> Option<(Option<Range<usize>>, usize)> {
    let start = gap(line, from);
    let (mut at, mut depth, mut text) = (start, 0, None);
    while let Some(byte) = line.get(at) {
        if let (inside, Some(quote)) = skip_quote(line, at) {
            // The end of the text in which the statement stands.
            if quote.byte == b'"' && inside == at + 1 {
                return None;
            }
            let end = closing(line, inside, quote);
            text = text.or(Some(inside..end));
            at = skip_quote(line, end).0;
            continue;
        }
        match byte {
            b'(' if depth == DEPTH_MAX => return None,
            b'(' => depth += 1,
            b')' | b',' if depth == 0 => break,
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    let is_number = line.get(start).is_some_and(u8::is_ascii_digit);
    let number = start..start + line[start..at].trim_ascii_end().len();
    Some((text.or(is_number.then_some(number)), at))
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
        let (credentials, behind, _) = word(line, end)?;
        let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/=".contains(b);
        let is_sent = |text: &[u8]| {
            text.len() >= SASL_BYTES_MIN && text.iter().all(is_base64) && !is_plain_word(text)
        };
        if !is_sent(&line[credentials.clone()]) {
            return None;
        }
        // The user, and the password behind it: not `FAILED`.
        let password = text.eq_ignore_ascii_case(b"LOGIN").then(|| word(line, behind)).flatten();
        let password = password.map(|(at, ..)| at).filter(|at| {
            let text = &line[at.clone()];
            is_sent(text) && text.iter().any(|b| !b.is_ascii_uppercase())
        });
        return Some(credentials.start..password.map_or(credentials.end, |at| at.end));
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
