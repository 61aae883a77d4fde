//! The `eventlogmessage` stage: the `key: value` lines of a Windows event's message become values.

use std::sync::Arc;

use model::{Error, Result};

use super::Entry;
use super::labels::is_label_name;

/// Settings of the `eventlogmessage` stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventLogConfig {
    /// The value that is read; `message` when absent.
    pub source: Option<String>,
    /// Whether keys that are no label names are left out; otherwise they become some.
    pub drop_invalid_labels: bool,
    /// Whether values that are there already are replaced.
    pub overwrite_existing: bool,
}

#[derive(Debug, Clone)]
pub(super) struct EventLog {
    source: String,
    drop_invalid_labels: bool,
    overwrite_existing: bool,
}

impl EventLog {
    pub(super) fn new(config: &EventLogConfig) -> Result<Self> {
        let source = config.source.clone().unwrap_or_else(|| "message".to_owned());
        if !is_label_name(&source) {
            return Err(Error::invalid(format!("source {source:?} is no label name")));
        }
        let EventLogConfig { drop_invalid_labels, overwrite_existing, .. } = *config;
        Ok(Self { source, drop_invalid_labels, overwrite_existing })
    }

    pub(super) fn process(&self, entry: &mut Entry) {
        let Some(message) = entry.values.get(&self.source).map(str::to_owned) else { return };
        for line in message.split("\r\n") {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.strip_prefix(' ').unwrap_or(value);
            let name: Arc<str> = match is_label_name(key) {
                true => Arc::from(key),
                false if self.drop_invalid_labels => continue,
                false => Arc::from(label_name(key)),
            };
            if self.overwrite_existing || !entry.values.contains(&name) {
                entry.values.set(&name, value.to_owned());
            }
        }
    }
}

/// `key` with `_` for what a label name cannot have.
fn label_name(key: &str) -> String {
    if key.is_empty() {
        return "_".to_owned();
    }
    let fits =
        |at: usize, c: char| c.is_ascii_alphabetic() || c == '_' || (at > 0 && c.is_ascii_digit());
    key.char_indices().map(|(at, c)| if fits(at, c) { c } else { '_' }).collect()
}
