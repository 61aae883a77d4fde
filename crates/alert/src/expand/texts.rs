//! Functions on texts that Prometheus' and Alertmanager's templates share.

use std::borrow::Cow;

use query::template::{Value, bounded};
use regex::Regex;

/// Argument `index` as text.
pub(super) fn text(args: &[Value], index: usize) -> &str {
    args.get(index).map_or("", Value::as_text)
}

/// The first argument, changed.
pub(super) fn change(args: &[Value], change: impl Fn(&str) -> String) -> Result<Value, String> {
    Ok(Value::Text(change(text(args, 0))))
}

/// The first letter of every word in upper case.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut starts_word = true;
    for c in text.chars() {
        if starts_word {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        starts_word = !c.is_alphanumeric() && c != '\'' && c != '_';
    }
    out
}

/// Whether the first argument's pattern occurs in the second.
pub(super) fn matches(args: &[Value]) -> Result<Value, String> {
    Ok(Value::Bool(pattern(args)?.is_match(text(args, 1))))
}

/// The third argument with what matches the first one's pattern replaced by the second, where `$1` is a group.
pub(super) fn replace_all(args: &[Value]) -> Result<Value, String> {
    let (regex, by, text) = (pattern(args)?, text(args, 1), text(args, 2));
    let mut out = String::new();
    let mut copied = 0;
    for found in regex.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        out.push_str(text.get(copied..whole.start()).unwrap_or(""));
        found.expand(by, &mut out);
        copied = whole.end();
        bounded(out.len())?;
    }
    out.push_str(text.get(copied..).unwrap_or(""));
    bounded(out.len())?;
    Ok(Value::Text(out))
}

fn pattern(args: &[Value]) -> Result<Cow<'_, Regex>, String> {
    match args.first() {
        Some(Value::Regex(regex)) => Ok(Cow::Borrowed(regex)),
        _ => {
            let compiled = model::line_regex(text(args, 0));
            compiled.map(Cow::Owned).map_err(|e| e.message().to_owned())
        }
    }
}
