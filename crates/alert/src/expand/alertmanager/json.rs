//! Values as JSON, as Go writes them (`toJson`).

use query::template::{Moment, Value, bounded, float_text_with};

/// How fields of the notification's data are called in JSON: as in Go, but with a small first letter.
const GO_NAMES: &str = "template.Pair";

/// `value` as JSON.
///
/// # Errors
/// For numbers JSON does not have, and for more bytes than a rendering may have.
pub(crate) fn write(value: &Value) -> Result<String, String> {
    let mut out = String::new();
    push(value, &mut out)?;
    Ok(out)
}

fn push(value: &Value, out: &mut String) -> Result<(), String> {
    bounded(out.len())?;
    match value {
        Value::Nil | Value::Root | Value::Regex(_) => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) | Value::Duration(n) => out.push_str(&n.to_string()),
        Value::Float(x) if !x.is_finite() => {
            return Err(format!("json: unsupported value: {}", float_text_with('g', None, *x)));
        }
        Value::Float(x) => {
            let is_plain = *x == 0.0 || (1e-6..1e21).contains(&x.abs());
            let text = float_text_with(if is_plain { 'f' } else { 'e' }, None, *x);
            // e-09 is e-9 there.
            out.push_str(&text.replace("e-0", "e-"));
        }
        Value::Text(text) | Value::Trusted(_, text) => push_text(text, out),
        Value::Time(time) => push_time(time, out),
        Value::List(list) => {
            out.push('[');
            for (i, item) in list.items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                push(item, out)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            push_members(map.items().iter().map(|(name, value)| (name.clone(), value)), out)?;
        }
        Value::Struct(record) => {
            let name = |name: &str| match name {
                name if record.kind.name == GO_NAMES => name.to_owned(),
                name => name
                    .chars()
                    .take(1)
                    .flat_map(char::to_lowercase)
                    .chain(name.chars().skip(1))
                    .collect(),
            };
            push_members(record.fields.iter().map(|(field, value)| (name(field), value)), out)?;
        }
    }
    Ok(())
}

fn push_members<'v>(
    members: impl Iterator<Item = (String, &'v Value)>,
    out: &mut String,
) -> Result<(), String> {
    out.push('{');
    for (i, (name, value)) in members.enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        push_text(&name, out);
        out.push(':');
        push(value, out)?;
    }
    out.push('}');
    Ok(())
}

fn push_time(time: &Moment, out: &mut String) {
    push_text(&time.format("2006-01-02T15:04:05.999999999Z07:00"), out);
}

/// A text with what HTML gives a meaning escaped, as Go does.
pub(crate) fn push_text(text: &str, out: &mut String) {
    let quoted = serde_json::to_string(text).expect("BUG: texts are JSON");
    for c in quoted.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
}
