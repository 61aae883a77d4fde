//! The grammar of matchers before Alertmanager 0.27: names of ASCII, values with or without quotes, few escapes.

use model::{Error, Result};

use super::{Matcher, Matchers, Op};

/// What the grammar takes for blanks.
const BLANKS: [char; 5] = ['\t', '\n', '\u{c}', '\r', ' '];

/// Reads matchers between commas, with or without braces, each of which may be missing.
pub(super) fn parse(text: &str) -> Result<Matchers> {
    let text = text.strip_prefix('{').unwrap_or(text);
    let text = text.strip_suffix('}').unwrap_or(text);
    let mut parts = split(text);
    // A comma may stand at the end.
    if parts.last().is_some_and(|last| last.trim().is_empty()) {
        parts.pop();
    }
    Ok(Matchers(parts.into_iter().map(parse_one).collect::<Result<_>>()?))
}

/// Splits at the commas that stand in no quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut in_quotes, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            ',' if !in_quotes => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            ',' => {}
            '"' if is_escaped => is_escaped = false,
            '"' => in_quotes = !in_quotes,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Reads `name=value`.
pub(super) fn parse_one(text: &str) -> Result<Matcher> {
    let malformed = || Error::invalid(format!("bad matcher format: {text}"));
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    let rest = text.trim_start_matches(BLANKS);
    let end = rest.find(|c: char| !is_first(c) && !c.is_ascii_digit()).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    if !name.starts_with(is_first) {
        return Err(malformed());
    }
    let rest = rest.trim_start_matches(BLANKS);
    let ops = [Op::Regex, Op::Equal, Op::NotEqual, Op::NotRegex];
    let found = ops.into_iter().find_map(|op| Some((op, rest.strip_prefix(op.as_str())?)));
    let (op, rest) = found.ok_or_else(malformed)?;
    Matcher::new(name, op, value(rest.trim_matches(BLANKS))?)
}

fn value(raw: &str) -> Result<String> {
    let unescaped =
        || Error::invalid(format!("matcher value contains unescaped double quote: {raw}"));
    let inner = raw.strip_prefix('"');
    let mut wants_quote = inner.is_some();
    let inner = inner.unwrap_or(raw);
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(c @ ('"' | '\\')) => out.push(c),
                Some(c) => out.extend(['\\', c]),
                None => out.push('\\'),
            },
            '"' if wants_quote && chars.as_str().is_empty() => wants_quote = false,
            '"' => return Err(unescaped()),
            c => out.push(c),
        }
    }
    if wants_quote { Err(unescaped()) } else { Ok(out) }
}
