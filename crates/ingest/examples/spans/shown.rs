//! Traces as Jaeger's API answers and its UI keeps them, in one form that can be compared, and as the batch that a client
//! would have sent of them.
//!
//! Ids that are no hexadecimal numbers are replaced by such. What is not told of spans is left out: flags, and that an
//! error is told twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::batches;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Numbers of ids that are none.
#[derive(Default)]
struct Ids(BTreeMap<String, u128>);

impl Ids {
    /// The id as so many digits.
    fn read(&mut self, id: &Value, digits: usize) -> Value {
        let id = text(id);
        let number = match u128::from_str_radix(id, 16) {
            Ok(number) if id.len() <= digits => number,
            _ => {
                let next = self.0.len() as u128 + 1;
                *self.0.entry(id.to_owned()).or_insert(next)
            }
        };
        format!("{number:0digits$x}").into()
    }
}

/// The spans of a trace, or those of a list, sorted by their ids; each has its process with it. `is_hexadecimal` when
/// binary values are, as in Elasticsearch.
pub(crate) fn spans(trace: &Value, is_hexadecimal: bool) -> Vec<Value> {
    let mut ids = Ids::default();
    let all = if trace.is_array() { trace } else { &trace["spans"] };
    let read = |span: &Value| {
        let process = match &span["process"] {
            Value::Null => &trace["processes"][text(&span["processID"])],
            process => process,
        };
        let mut references: Vec<Value> = list(&span["references"])
            .iter()
            .map(|reference| {
                let trace_id = ids.read(&reference["traceID"], 32);
                let span_id = ids.read(&reference["spanID"], 16);
                json!({"refType": reference["refType"], "traceID": trace_id, "spanID": span_id})
            })
            .collect();
        // The parent comes first here; in which order other references come is nowhere said.
        references.sort_by_key(Value::to_string);
        // What follows from another stands below it, and so is its child too, as for Jaeger.
        let followed: Vec<Value> = references
            .iter()
            .filter(|reference| reference["refType"] == "FOLLOWS_FROM")
            .map(|reference| reference["spanID"].clone())
            .collect();
        let is_child = |reference: &Value| reference["refType"] == "CHILD_OF";
        references.retain(|one| !is_child(one) || !followed.contains(&one["spanID"]));
        let logs = list(&span["logs"]).iter();
        let logs = logs.map(|log| json!({"timestamp": log["timestamp"], "fields": tags(&log["fields"], is_hexadecimal)}));
        json!({
            "traceID": ids.read(&span["traceID"], 32),
            "spanID": ids.read(&span["spanID"], 16),
            "operationName": span["operationName"],
            "references": references,
            "startTime": span["startTime"],
            "duration": span["duration"],
            "tags": tags(&span["tags"], is_hexadecimal),
            "logs": logs.collect::<Vec<_>>(),
            "process": {
                "serviceName": process["serviceName"],
                "tags": tags(&process["tags"], is_hexadecimal),
            },
            "warnings": list(&span["warnings"]),
        })
    };
    let mut spans: Vec<Value> = list(all).iter().map(read).collect();
    spans.sort_by_key(|span| {
        (span["spanID"].to_string(), span["startTime"].as_i64(), span["tags"].to_string())
    });
    spans
}

/// Tags with values of their types, sorted.
fn tags(tags: &Value, is_hexadecimal: bool) -> Vec<Value> {
    let mut tags: Vec<Value> = list(tags)
        .iter()
        .filter(|tag| tag["key"] != "otel.status_code")
        .map(|tag| {
            let (kind, value) = (text(&tag["type"]), &tag["value"]);
            let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let value = match kind {
                "bool" => (written == "true").into(),
                "int64" => written.parse::<i64>().map_or(Value::Null, Value::from),
                "float64" => written.parse::<f64>().map_or(Value::Null, Value::from),
                "binary" if is_hexadecimal => {
                    let byte = |at| u8::from_str_radix(written.get(at..at + 2)?, 16).ok();
                    (0..written.len()).step_by(2).map(byte).collect()
                }
                "binary" => ingest::otlp::unbase64(&written).into(),
                _ => written.into(),
            };
            // Jaeger calls a host as OpenTelemetry does since its spans are.
            let key = if tag["key"] == "hostname" { "host.name" } else { text(&tag["key"]) };
            json!({"key": key, "type": kind, "value": value})
        })
        .collect();
    tags.sort_by_key(Value::to_string);
    tags
}

/// Whether two of [`spans`] have what a span is known by in common.
pub(crate) fn has_repeated(spans: &[Value]) -> bool {
    let kind = |span: &Value| {
        let kind = list(&span["tags"]).iter().find(|tag| tag["key"] == "span.kind");
        kind.map_or(Value::Null, |tag| tag["value"].clone())
    };
    let mut known = BTreeSet::new();
    !spans.iter().all(|span| {
        let key = [&span["spanID"], &kind(span), &span["startTime"]].map(Value::to_string);
        known.insert(key)
    })
}

/// A `PostSpansRequest` in protobuf with [`spans`].
pub(crate) fn batch(spans: &[Value]) -> Vec<u8> {
    let spans: Vec<Value> = spans.iter().map(domain).collect();
    batches::jaeger_protobuf(&json!({"spans": spans}))
}

/// A span as Jaeger's own structures name its fields.
fn domain(span: &Value) -> Value {
    let bytes = |id: &Value| -> Value {
        let byte = |at| u8::from_str_radix(text(id).get(at..at + 2)?, 16).ok();
        (0..text(id).len()).step_by(2).map(byte).collect()
    };
    let time = |us: &Value| {
        let time = jiff::Timestamp::from_microsecond(us.as_i64().unwrap_or(0));
        time.map_or(Value::Null, |time| time.to_string().into())
    };
    let tags = |tags: &Value| -> Value {
        let tag = |tag: &Value| {
            let kind = text(&tag["type"]).to_uppercase();
            let name = match &*kind {
                "BOOL" => "vBool",
                "INT64" => "vInt64",
                "FLOAT64" => "vFloat64",
                "BINARY" => "vBinary",
                _ => "vStr",
            };
            json!({"key": tag["key"], "vType": kind, name: tag["value"]})
        };
        list(tags).iter().map(tag).collect()
    };
    let references = list(&span["references"]).iter().map(|reference| {
        let (trace_id, span_id) = (bytes(&reference["traceID"]), bytes(&reference["spanID"]));
        json!({"traceId": trace_id, "spanId": span_id, "refType": reference["refType"]})
    });
    let logs = list(&span["logs"]).iter();
    let logs = logs
        .map(|log| json!({"timestamp": time(&log["timestamp"]), "fields": tags(&log["fields"])}));
    let process = &span["process"];
    json!({
        "traceId": bytes(&span["traceID"]),
        "spanId": bytes(&span["spanID"]),
        "operationName": span["operationName"],
        "references": references.collect::<Vec<_>>(),
        "startTime": time(&span["startTime"]),
        "duration": span["duration"].as_i64().unwrap_or(0) * 1_000,
        "tags": tags(&span["tags"]),
        "logs": logs.collect::<Vec<_>>(),
        "process": {"serviceName": process["serviceName"], "tags": tags(&process["tags"])},
        "warnings": span["warnings"],
    })
}
