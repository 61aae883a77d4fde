//! What an entry of the journal becomes, as Promtail has it.
//!
//! ```text
//!  _SYSTEMD_UNIT=a.service    label __journal__systemd_unit="a.service"
//!  PRIORITY=3                 labels __journal_priority="3", __journal_priority_keyword="error"
//!  __CURSOR, __REALTIME_…     none: they are the journal's own
//! ```

use std::borrow::Cow;

use ingest::journal::Entry;
use ingest::relabel::{self, Rule};
use model::{Labels, LabelsBuilder};
use serde_json::{Map, Value};

/// Names of priorities.
const KEYWORDS: [&str; 8] =
    ["emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"];

/// The labels of an entry; `None` when relabelling drops it.
pub(super) fn labels(entry: &Entry, fixed: &Labels, rules: &[Rule]) -> Option<Labels> {
    let mut builder: LabelsBuilder = fixed.to_builder();
    for (name, value) in own_fields(entry) {
        builder.set(&format!("__journal_{}", name.to_ascii_lowercase()), value);
    }
    let priority = entry.get("PRIORITY").and_then(|text| text.parse::<usize>().ok());
    if let Some(keyword) = priority.and_then(|priority| KEYWORDS.get(priority)) {
        builder.set("__journal_priority_keyword", keyword);
    }
    if !relabel::apply(rules, &mut builder) {
        return None;
    }
    builder.retain(|name| !name.starts_with("__"));
    Some(builder.build())
}

/// The line of an entry: its message, or all of it as JSON; `None` when it has no message.
pub(super) fn line(entry: &Entry, is_json: bool) -> Option<Cow<'_, str>> {
    if !is_json {
        return entry.get("MESSAGE").map(Cow::Borrowed);
    }
    let fields = own_fields(entry).map(|(name, value)| (name.to_owned(), Value::from(value)));
    Some(Cow::Owned(Value::Object(fields.collect::<Map<_, _>>()).to_string()))
}

/// All fields but the journal's own.
fn own_fields(entry: &Entry) -> impl Iterator<Item = (&str, &str)> {
    let all = entry.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    all.filter(|(name, _)| !name.starts_with("__"))
}
