//! OTLP logs: the messages, and what they become as lines.
//!
//! As in Loki 3: the resource attributes in [`LABELS`] are the stream's labels, with `_` for what a label cannot spell;
//! the body is the line; everything else stands beside it as fields: other resource attributes, the scope's name,
//! version and attributes, the record's attributes, severity, trace and span. Maps in attributes are flattened, their
//! keys joined by `_`. A record without a time has the one it was observed at.
//!
//! Source: opentelemetry-proto `logs/v1`; Loki, "Ingesting logs to Loki using OpenTelemetry Collector".

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::Write as _;

use model::{Labels, LabelsBuilder, Result};

use super::{Attributes, Encoding, Value, json, protobuf};
use crate::pushed_lines::{Fields, Limits, Lines, Pushed, Sent, Streams, field_name};

/// Resource attributes that become labels.
pub const LABELS: [&str; 18] = [
    "cloud.availability_zone",
    "cloud.region",
    "container.name",
    "deployment.environment",
    "deployment.environment.name",
    "k8s.cluster.name",
    "k8s.container.name",
    "k8s.cronjob.name",
    "k8s.daemonset.name",
    "k8s.deployment.name",
    "k8s.job.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "service.instance.id",
    "service.name",
    "service.namespace",
];

/// `ExportLogsServiceRequest`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// One per resource.
    pub resources: Vec<ResourceLogs>,
}

/// Records of one resource.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceLogs {
    /// The resource's attributes.
    pub attributes: Attributes,
    /// One per instrumentation scope.
    pub scopes: Vec<ScopeLogs>,
}

/// Records of one instrumentation scope.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScopeLogs {
    /// Name of the scope.
    pub name: String,
    /// Version of the scope.
    pub version: String,
    /// Attributes of the scope.
    pub attributes: Attributes,
    /// The records.
    pub records: Vec<Record>,
}

/// One record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// When it happened, Unix nanoseconds; 0 when that is not known.
    pub time_ns: u64,
    /// When it was observed, likewise.
    pub observed_ns: u64,
    /// 1 to 24; 0 for none.
    pub severity_number: i32,
    /// The severity as the source calls it.
    pub severity_text: String,
    /// The line.
    pub body: Value,
    /// Its attributes.
    pub attributes: Attributes,
    /// Attributes that its sender left out.
    pub dropped_attributes: u32,
    /// Flags of the trace.
    pub flags: u32,
    /// 16 bytes, or none.
    pub trace_id: Vec<u8>,
    /// 8 bytes, or none.
    pub span_id: Vec<u8>,
    /// Name of the event, for records that are one.
    pub event_name: String,
}

/// Reads a request; `elements_max` bounds resources, scopes, records and attributes together.
///
/// # Errors
/// As [`otlp::decode`](super::decode).
pub fn decode(encoding: Encoding, body: &[u8], elements_max: usize) -> Result<Request> {
    match encoding {
        Encoding::Protobuf => protobuf::logs::decode(body, elements_max),
        Encoding::Json => json::logs::decode(body, elements_max),
    }
}

/// The lines of a request that came at `now_ms`.
///
/// # Errors
/// [`Limit`](model::ErrorKind::Limit) beyond a bound.
pub fn lines(request: &Request, limits: &Limits, streams: &Streams, now_ms: i64) -> Result<Pushed> {
    let mut lines = Lines::new(limits, now_ms);
    for resource in &request.resources {
        let (labels, beside) = split(&resource.attributes, limits);
        // No other syntax of spellings begins like this.
        let spelling = format!("otlp{labels}");
        let stream = streams.of(&spelling, now_ms, || Ok(labels))?;
        for scope in &resource.scopes {
            let mut of_scope = Vec::new();
            flatten("", &scope.attributes, &mut of_scope);
            for record in &scope.records {
                let mut fields = Fields::default();
                for (name, value) in beside.iter().chain(&of_scope) {
                    fields.set(Cow::Borrowed(name), Cow::Borrowed(value));
                }
                fields.set(Cow::Borrowed("scope_name"), Cow::Borrowed(&scope.name));
                fields.set(Cow::Borrowed("scope_version"), Cow::Borrowed(&scope.version));
                let sent = of_record(record, &mut fields);
                let line = match &record.body {
                    Value::Text(text) => Cow::Borrowed(text.as_str()),
                    other => Cow::Owned(other.to_text()),
                };
                lines.push(&stream, sent, &line, &mut fields)?;
            }
        }
    }
    Ok(lines.finish())
}

/// Labels of a resource, and its other attributes as fields.
fn split(attributes: &Attributes, limits: &Limits) -> (Labels, Vec<(String, String)>) {
    let mut labels = LabelsBuilder::default();
    let mut beside = Vec::new();
    for (key, value) in attributes {
        let text = value.to_text();
        if LABELS.contains(&key.as_str()) && text.len() <= limits.value_bytes_max {
            labels.set(&field_name(Cow::Borrowed(key)), &text);
        } else {
            flatten_one("", key, value, &mut beside);
        }
    }
    (labels.build(), beside)
}

fn flatten(prefix: &str, attributes: &Attributes, out: &mut Vec<(String, String)>) {
    for (key, value) in attributes {
        flatten_one(prefix, key, value, out);
    }
}

fn flatten_one(prefix: &str, key: &str, value: &Value, out: &mut Vec<(String, String)>) {
    let name = format!("{prefix}{key}");
    match value {
        Value::Map(pairs) => flatten(&format!("{name}_"), pairs, out),
        other => {
            let name = field_name(Cow::Owned(name)).into_owned();
            if !name.is_empty() {
                out.push((name, other.to_text()));
            }
        }
    }
}

/// Adds what a record says beside its line, and returns its time.
fn of_record(record: &Record, fields: &mut Fields<'_>) -> Sent<'static> {
    let mut flat = Vec::new();
    flatten("", &record.attributes, &mut flat);
    for (name, value) in flat {
        fields.set(Cow::Owned(name), Cow::Owned(value));
    }
    let mut set =
        |name: &'static str, value: String| fields.set(Cow::Borrowed(name), Cow::Owned(value));
    let number = |value: i64| if value == 0 { String::new() } else { value.to_string() };
    set("severity_number", number(record.severity_number.into()));
    set("severity_text", record.severity_text.clone());
    set("dropped_attributes_count", number(record.dropped_attributes.into()));
    set("flags", number(record.flags.into()));
    set("trace_id", hex(&record.trace_id));
    set("span_id", hex(&record.span_id));
    set("event_name", record.event_name.clone());
    let at = |t_ns: u64| Sent::At(i64::try_from(t_ns).unwrap_or(i64::MAX));
    match (record.time_ns, record.observed_ns) {
        (0, 0) => Sent::Absent,
        (0, observed_ns) => at(observed_ns),
        (time_ns, 0) => at(time_ns),
        (time_ns, observed_ns) => {
            set("observed_timestamp", observed_ns.to_string());
            at(time_ns)
        }
    }
}

/// Lowercase digits; nothing for an id of zeros, which means none.
fn hex(id: &[u8]) -> String {
    let mut text = String::with_capacity(id.len() * 2);
    if id.iter().any(|byte| *byte != 0) {
        for byte in id {
            let _infallible = write!(text, "{byte:02x}");
        }
    }
    text
}
