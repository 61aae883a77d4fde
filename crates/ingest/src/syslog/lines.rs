//! Messages as pushed lines: labels `job`, `host` and `app`; everything else is a field.

use std::borrow::Cow;

use model::{LabelsBuilder, Result};

use super::Message;
use crate::pushed_lines::{Fields, Lines, Streams};

/// What the streams are labelled with, so that they are told from others.
const JOB: &str = "syslog";

/// Adds `message` to `lines`; `peer` stands in for a host that is not named. Says whether it was added: one
/// with too large fields is refused alone.
///
/// # Errors
/// [`Limit`](model::ErrorKind::Limit) when `lines` hold too much.
pub fn add(
    message: &Message<'_>,
    peer: &str,
    streams: &Streams,
    lines: &mut Lines,
) -> Result<bool> {
    let value_bytes_max = lines.limits().value_bytes_max;
    let is_label = |value: &str| !value.is_empty() && value.len() <= value_bytes_max;
    let host = if message.host.is_empty() { peer } else { message.host };
    let spelling = ["syslog\n", host, "\n", message.app_name].concat();
    let stream = streams.of(&spelling, lines.now_ms(), || {
        let mut labels = LabelsBuilder::default();
        labels.set("job", JOB);
        for (name, value) in [("host", host), ("app", message.app_name)] {
            if is_label(value) {
                labels.set(name, value);
            }
        }
        Ok(labels.build())
    })?;
    let mut fields = Fields::default();
    describe(message, &mut fields);
    for (name, value) in [("host", host), ("app", message.app_name)] {
        if !is_label(value) {
            fields.set(Cow::Borrowed(name), Cow::Borrowed(value));
        }
    }
    lines.push(&stream, message.sent, message.text, &mut fields)
}

fn describe<'a>(message: &Message<'a>, fields: &mut Fields<'a>) {
    let mut set = |name: &'static str, value: &'a str| {
        fields.set(Cow::Borrowed(name), Cow::Borrowed(value));
    };
    if let Some(priority) = message.priority {
        set("level", priority.level());
        set("severity", priority.severity_name());
        set("facility", priority.facility_name());
    }
    set("proc_id", message.proc_id);
    set("msg_id", message.msg_id);
    for element in &message.data {
        for (name, value) in &element.params {
            fields.add(Cow::Owned(format!("{}_{name}", element.id)), value.clone());
        }
    }
}
