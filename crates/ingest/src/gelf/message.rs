//! [`Message`]: what a message says of itself, and the message spelled out, for jobs that store it as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::{Error, Result};
use serde_json::value::RawValue;

use super::{seconds_ns, text};
use crate::syslog::Priority;

/// Members in front of the others.
const FIRST: [&str; 7] =
    ["version", "host", "short_message", "full_message", "timestamp", "level", "facility"];

/// A message, and what jobs want to know of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Its `version`; empty if there is none, as of the others.
    pub version: String,
    /// Its `host`.
    pub host: String,
    /// Its `facility`.
    pub facility: String,
    /// The name of its `level`: `emergency` to `debug`.
    pub severity: &'static str,
    /// Its `timestamp`, Unix nanoseconds, unless it is absent, 0 or not understood.
    pub sent_ns: Option<i64>,
    /// All of it, as a JSON object without spaces: the members that every message may have, then those of the sender's
    /// own by their names. Values are spelled as they came; of members of the same name the last one counts.
    pub line: String,
}

impl Message {
    /// Reads a message that is unpacked already.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) when it is no JSON object.
    pub fn read(message: &[u8]) -> Result<Self> {
        let text = text(message);
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(&text)
            .map_err(|e| Error::invalid(format!("not a JSON object: {e}")))?;
        let value = |name: &str| members.get(name).map_or(Cow::Borrowed(""), |raw| plain(raw));
        let level = value("level").trim().parse::<f64>().ok();
        let level = level.filter(|level| (0.0..8.0).contains(level));
        // The fraction, if there is one, goes as it does in Promtail.
        let severity = level.and_then(|level| Priority::new(level as u8));
        Ok(Self {
            version: value("version").into_owned(),
            host: value("host").into_owned(),
            facility: value("facility").into_owned(),
            severity: severity.map_or("", Priority::severity_name),
            sent_ns: seconds_ns(&value("timestamp")).filter(|t_ns| *t_ns != 0),
            line: spell(&members, text.len()),
        })
    }
}

/// A string without its quotes, or any other value as it is spelled.
fn plain(raw: &RawValue) -> Cow<'_, str> {
    let raw = raw.get();
    match serde_json::from_str::<String>(raw) {
        Ok(text) => Cow::Owned(text),
        Err(_) if raw == "null" => Cow::Borrowed(""),
        Err(_) => Cow::Borrowed(raw),
    }
}

fn spell(members: &BTreeMap<String, &RawValue>, capacity: usize) -> String {
    let mut line = String::with_capacity(capacity);
    let first = FIRST.iter().filter_map(|name| Some((*name, members.get(*name)?)));
    let others = members.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
    for (name, raw) in first.chain(others.map(|(name, raw)| (name.as_str(), raw))) {
        line.push(if line.is_empty() { '{' } else { ',' });
        line.push_str(&serde_json::Value::from(name).to_string());
        line.push(':');
        push_without_spaces(raw.get(), &mut line);
    }
    line.push_str(if line.is_empty() { "{}" } else { "}" });
    line
}

/// Leaves out what stands between the tokens of `json`.
fn push_without_spaces(json: &str, line: &mut String) {
    let (mut in_string, mut is_escaped) = (false, false);
    for c in json.chars() {
        if !in_string && matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        line.push(c);
        in_string ^= c == '"' && !is_escaped;
        is_escaped = in_string && c == '\\' && !is_escaped;
    }
}
