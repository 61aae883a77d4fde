//! Entries as pushed lines: labels `job`, `host`, `unit` and `app`; the other fields keep their names.

use std::borrow::Cow;

use model::{LabelsBuilder, Result};

use super::Entry;
use crate::pushed_lines::{Fields, Lines, Sent, Streams};
use crate::syslog::Priority;

const JOB: &str = "journal";
/// What becomes a label, by the first field that is there.
const LABELS: [(&str, &[&str]); 3] = [
    ("host", &["_HOSTNAME"]),
    ("unit", &["_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT"]),
    ("app", &["SYSLOG_IDENTIFIER", "_COMM"]),
];

/// Adds the line that `entry` is: its message, or all of it as JSON if it has none. Says whether it was added: one with too
/// large fields is refused alone.
///
/// # Errors
/// [`Limit`](model::ErrorKind::Limit) when `lines` hold too much.
pub fn add(entry: &Entry, streams: &Streams, lines: &mut Lines) -> Result<bool> {
    let value_bytes_max = lines.limits().value_bytes_max;
    let of = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let value = entry.get(name)?;
            (!value.is_empty() && value.len() <= value_bytes_max).then_some((*name, value))
        })
    };
    let labels = LABELS.map(|(label, names)| (label, of(names)));
    let mut spelling = JOB.to_owned();
    for (_, value) in &labels {
        spelling.push('\n');
        spelling.push_str(value.map_or("", |(_, value)| value));
    }
    let stream = streams.of(&spelling, lines.now_ms(), || {
        let mut builder = LabelsBuilder::default();
        builder.set("job", JOB);
        for (label, value) in &labels {
            if let Some((_, value)) = value {
                builder.set(label, value);
            }
        }
        Ok(builder.build())
    })?;
    let sent = match (entry.t_ns(), entry.get("__REALTIME_TIMESTAMP")) {
        (Some(t_ns), _) => Sent::At(t_ns),
        (None, Some(text)) => Sent::Unreadable(text),
        (None, None) => Sent::Absent,
    };
    let mut fields = Fields::default();
    let priority = entry.get("PRIORITY").and_then(|text| text.parse().ok()).filter(|n| *n < 8);
    if let Some(priority) = priority.and_then(Priority::new) {
        fields.set(Cow::Borrowed("level"), Cow::Borrowed(priority.level()));
    }
    let is_label = |name: &str| labels.iter().any(|(_, of)| of.is_some_and(|(n, _)| n == name));
    let message = entry.get("MESSAGE");
    for (name, value) in &entry.fields {
        if message.is_some() && name != "MESSAGE" && !name.starts_with("__") && !is_label(name) {
            fields.add(Cow::Borrowed(name), Cow::Borrowed(value));
        }
    }
    let line = message.map_or_else(|| Cow::Owned(whole(entry)), Cow::Borrowed);
    lines.push(&stream, sent, &line, &mut fields)
}

/// The entry as a JSON object; of a name that comes more than once, the last value.
fn whole(entry: &Entry) -> String {
    let members = entry.fields.iter().filter(|(name, _)| !name.starts_with("__"));
    let object: serde_json::Map<String, serde_json::Value> =
        members.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    serde_json::Value::Object(object).to_string()
}
