//! Lines that are not JSON: `key=value` pairs anywhere, else a guess from the words at the front.

use memchr::{memchr, memchr2, memrchr};

use super::{Field, Found, Level, WORD_BYTES_MAX, field_of_key, level_of_word};

/// Bytes and words at the front in which a level is looked for.
const FRONT_BYTES: usize = 160;
const FRONT_WORDS: usize = 10;
/// Words from the start where a lower-case `error:` counts; later it is more likely prose.
const COLON_WORDS: usize = 4;
const ESCAPE: u8 = 0x1b;
const COLOUR_BYTES_MAX: usize = 16;

pub(super) fn scan<'a>(head: &'a [u8], found: &mut Found<'a>) {
    pairs(head, found);
    if found.level.is_none() {
        found.level = klog(head).or_else(|| front_words(head));
    }
}

/// Finds known keys in front of `=`, and those of ids in front of `:`, too; skips quoted values of the first.
fn pairs<'a>(head: &'a [u8], found: &mut Found<'a>) {
    let mut at = 0;
    while let Some(sign) = memchr2(b'=', b':', &head[at..]) {
        let sign = at + sign;
        if head[sign] == b':' {
            at = id(head, sign, found);
            continue;
        }
        let key = key_before(head, sign);
        let (value, after) = value_behind(head, sign + 1);
        if let Some(field) = key.and_then(field_of_key) {
            match field {
                Field::Level if value.first().is_some_and(u8::is_ascii_digit) => {
                    found.number(field, value)
                }
                _ => found.text(field, value),
            }
        }
        if found.is_enough() {
            return;
        }
        at = after;
    }
}

/// Finds ids of traces and spans in `text` that says what they are: `trace_id=…`, `TraceID: …`, `"traceId": "…"`.
pub(super) fn ids<'a>(text: &'a [u8], found: &mut Found<'a>) {
    let mut at = 0;
    while let Some(sign) = memchr2(b'=', b':', &text[at..]) {
        at = id(text, at + sign, found);
    }
}

/// The id behind `sign`, if the key of one stands in front of it; says where to go on.
fn id<'a>(text: &'a [u8], sign: usize, found: &mut Found<'a>) -> usize {
    let is_quote = |b: &u8| matches!(b, b'"' | b'\'');
    let mut before = &text[..sign];
    if let Some((last, rest)) = before.split_last().filter(|(last, _)| is_quote(last)) {
        // Escaped within a text of JSON.
        before = if *last == b'"' { rest.strip_suffix(b"\\").unwrap_or(rest) } else { rest };
    }
    // As all keys of ids end: most colons are none of theirs.
    if !matches!(before.last().map(u8::to_ascii_lowercase), Some(b'd' | b't')) {
        return sign + 1;
    }
    let Some(key) = key_before(text, before.len()) else { return sign + 1 };
    let is_wrapping = |b: &&u8| is_quote(b) || **b == b'\\';
    let key = &key[key.iter().take_while(is_wrapping).count()..];
    let Some(field) = field_of_key(key).filter(|field| *field != Field::Level) else {
        return sign + 1;
    };
    let rest = &text[sign + 1..];
    let skipped = rest.iter().take_while(|b| **b == b' ' || is_wrapping(b)).count();
    let start = sign + 1 + skipped;
    let is_part = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'-';
    let value = &text[start..start + text[start..].iter().take(64).take_while(is_part).count()];
    found.text(field, value);
    start + value.len()
}

/// The key that ends at `equals`, if it begins the line or stands behind a separator and is short enough to be known.
fn key_before(head: &[u8], equals: usize) -> Option<&[u8]> {
    let from = equals.saturating_sub(WORD_BYTES_MAX + 1);
    let window = &head[from..equals];
    let separator =
        |b: &u8| b.is_ascii_whitespace() || matches!(b, b',' | b';' | b'[' | b'(' | b'{' | b'|');
    let start = match window.iter().rposition(separator) {
        Some(at) => at + 1,
        None if from == 0 => 0,
        None => return None,
    };
    Some(&window[start..])
}

/// The value at `start` without quotes, and where to go on.
fn value_behind(head: &[u8], start: usize) -> (&[u8], usize) {
    let rest = &head[start..];
    if rest.first() == Some(&b'"') {
        let mut from = 1;
        while let Some(hit) = rest.get(from..).and_then(|r| memchr2(b'"', b'\\', r)) {
            if rest[from + hit] == b'"' {
                return (&rest[1..from + hit], start + from + hit + 1);
            }
            from += hit + 2;
        }
        // An open quote: the line was cut, or it is not logfmt.
        return (&[], start + 1);
    }
    let ends =
        |b: &u8| b.is_ascii_whitespace() || matches!(b, b',' | b';' | b']' | b')' | b'}' | b'|');
    let len = rest.iter().take(64).position(ends).unwrap_or(rest.len().min(64));
    (&rest[..len], start + len)
}

/// `I1122 15:04:05.000000`: klog and glog.
fn klog(head: &[u8]) -> Option<Level> {
    let level = match head.first()? {
        b'I' => Level::Info,
        b'W' => Level::Warn,
        b'E' => Level::Error,
        b'F' => Level::Fatal,
        _ => return None,
    };
    let date = head.get(1..6)?;
    (date[..4].iter().all(u8::is_ascii_digit) && date[4] == b' ').then_some(level)
}

/// A level among the first words: in capitals, in brackets, or with a colon near the start.
fn front_words(head: &[u8]) -> Option<Level> {
    let front = head.get(..FRONT_BYTES).unwrap_or(head);
    let mut at = 0;
    for number in 0..FRONT_WORDS {
        let word_at = skip_gaps(front, at);
        let rest = front.get(word_at..).filter(|rest| !rest.is_empty())?;
        let len = rest.iter().position(|b| is_gap(*b)).unwrap_or(rest.len());
        if let Some(level) = marked_level(front, word_at, &rest[..len], number) {
            return Some(level);
        }
        at = word_at + len;
    }
    None
}

/// Skips gaps and colour codes (`ESC[31m`).
fn skip_gaps(front: &[u8], mut at: usize) -> usize {
    while let Some(byte) = front.get(at).copied().filter(|b| is_gap(*b)) {
        let code =
            if byte == ESCAPE { &front[at..front.len().min(at + COLOUR_BYTES_MAX)] } else { &[] };
        at += memchr(b'm', code).unwrap_or(0) + 1;
    }
    at
}

fn marked_level(front: &[u8], word_at: usize, word: &[u8], number: usize) -> Option<Level> {
    let has_colon = word.ends_with(b":") || front.get(word_at + word.len()) == Some(&b':');
    let bare = word.strip_suffix(b":").unwrap_or(word);
    let before = word_at.checked_sub(1).map(|at| front[at]);
    let after = front.get(word_at + bare.len()).copied();
    let bracketed = matches!(
        (before, after),
        (Some(b'['), Some(b']')) | (Some(b'<'), Some(b'>')) | (Some(b'('), Some(b')'))
    );
    // Single letters and `log` are too common as words.
    let certain = bare.len() > 2
        && !bare.eq_ignore_ascii_case(b"log")
        && !bare.eq_ignore_ascii_case(b"config");
    let capitals = bare.iter().all(u8::is_ascii_uppercase);
    let marked =
        bracketed || (capitals && certain) || (has_colon && number < COLON_WORDS && certain);
    let postgres_log = has_colon && bare == b"LOG";
    // zap on a console: `TIME<tab>error<tab>LOGGER<tab>MESSAGE`.
    let tabbed = certain && before == Some(b'\t') && after == Some(b'\t');
    let level = if marked || postgres_log || tabbed { level_of_word(bare) } else { None };
    level.or_else(|| joined_level(bare, has_colon).filter(|_| number < COLON_WORDS))
}

/// A level in capitals that a colon or full stop joins to a logger's name: `ERROR:root:…` of Python, `app.ERROR:` of Monolog.
fn joined_level(word: &[u8], has_colon: bool) -> Option<Level> {
    let first = memchr(b':', word).map(|at| &word[..at]);
    let last = memrchr(b'.', word).filter(|_| has_colon).map(|at| &word[at + 1..]);
    let is_certain = |word: &&[u8]| word.len() > 2 && word.iter().all(u8::is_ascii_uppercase);
    first.into_iter().chain(last).filter(is_certain).find_map(level_of_word)
}

fn is_gap(byte: u8) -> bool {
    GAPS[usize::from(byte)]
}

/// The bytes between words, as a table: it is asked for each byte of the front of each line.
const GAPS: [bool; 256] = {
    let mut gaps = [false; 256];
    let bytes = b" \t\n\r\x0b\x0c\x1b[]<>()|\"',";
    let mut i = 0;
    while i < bytes.len() {
        gaps[bytes[i] as usize] = true;
        i += 1;
    }
    gaps
};
