//! Text for other languages (`html`, `js`), and parts of values (`slice`), as Go's templates have them.

use super::value::Value;

/// `text` with what HTML gives a meaning escaped.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

/// `text` as it may stand inside of a string of JavaScript.
pub(super) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => out.extend(['\\', c]),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// `slice x 1 3`: the items or bytes from 1 to before 3; either end may be left out.
pub(super) fn slice(value: &Value, ends: &[Value]) -> Result<Value, String> {
    let len = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        other => {
            return Err(format!(
                "error calling slice: can't slice item of type {}",
                other.type_name()
            ));
        }
    };
    if ends.len() > 2 {
        return Err(format!("error calling slice: too many slice indexes: {}", ends.len()));
    }
    let end = |i: usize, default: usize| -> Result<usize, String> {
        let Some(end) = ends.get(i) else { return Ok(default) };
        let at = usize::try_from(end.to_int()).ok().filter(|at| *at <= len);
        at.ok_or_else(|| format!("error calling slice: index out of range: {}", end.to_int()))
    };
    let (from, to) = (end(0, 0)?, end(1, len)?);
    if from > to {
        return Err(format!("error calling slice: invalid slice index: {from} > {to}"));
    }
    Ok(match value {
        Value::List(items) => Value::List(items[from..to].to_vec()),
        Value::Text(text) => {
            Value::Text(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned())
        }
        _ => Value::Nil,
    })
}
