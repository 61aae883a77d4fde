//! Bodies of Tempo's answers: protocol buffers in their JSON mapping, where 64-bit integers are texts.

use ::query::traceql::{Exemplar, FoundSet, FoundSpan, FoundTrace, Series, Value};
use model::{Error, Result};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::paid_body::{Each, PaidBody};

/// What a trace without a stored root span is said to have.
const NO_ROOT: &str = "<root span not yet received>";

/// A value as OTLP's `AnyValue`.
pub(super) fn any_value(value: &Value<'_>) -> Json {
    match value {
        Value::Bool(value) => json!({"boolValue": value}),
        Value::Int(value) => json!({"intValue": value.to_string()}),
        Value::Float(value) => json!({"doubleValue": number(*value)}),
        Value::Many(all) => {
            let values: Vec<Json> = all.iter().map(any_value).collect();
            json!({"arrayValue": {"values": values}})
        }
        Value::Nil | Value::Duration(_) | Value::Text(_) | Value::Status(_) | Value::Kind(_) => {
            json!({"stringValue": value.to_string()})
        }
    }
}

/// JSON has no words for what is no number.
fn number(value: f64) -> Json {
    if value.is_finite() {
        json!(value)
    } else if value.is_nan() {
        json!("NaN")
    } else {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    }
}

fn attributes(all: &[(String, Value<'_>)]) -> Json {
    all.iter().map(|(key, value)| json!({"key": key, "value": any_value(value)})).collect()
}

fn span(span: &FoundSpan) -> Json {
    let mut body = json!({
        "spanID": format!("{:016x}", span.span_id),
        "name": span.name,
        "startTimeUnixNano": span.start_ns.to_string(),
        "durationNanos": span.duration_ns.to_string(),
    });
    if !span.attributes.is_empty() {
        body["attributes"] = attributes(&span.attributes);
    }
    body
}

#[derive(Serialize)]
struct Set<S> {
    spans: S,
    matched: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<Json>,
}

fn set(set: &FoundSet) -> impl Serialize {
    let said = (!set.attributes.is_empty()).then(|| attributes(&set.attributes));
    Set { spans: Each(|| set.spans.iter().map(span)), matched: set.matched, attributes: said }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace<'t, F, S> {
    #[serde(rename = "traceID")]
    trace_id: String,
    root_service_name: &'t str,
    root_trace_name: &'t str,
    start_time_unix_nano: String,
    duration_ms: u64,
    /// Clients before there could be several sets read the first one here.
    span_set: Option<F>,
    span_sets: S,
}

fn trace(trace: &FoundTrace) -> impl Serialize {
    Trace {
        trace_id: format!("{:032x}", trace.trace_id),
        root_service_name: trace.root_service.as_deref().unwrap_or(NO_ROOT),
        root_trace_name: trace.root_name.as_deref().unwrap_or(NO_ROOT),
        start_time_unix_nano: trace.start_ns.to_string(),
        duration_ms: trace.duration_ns / 1_000_000,
        span_set: trace.sets.first().map(set),
        span_sets: Each(|| trace.sets.iter().map(set)),
    }
}

#[derive(Serialize)]
struct Search<T> {
    traces: T,
    metrics: Json,
    /// As Tempo says it of a trace of which it does not have everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Writes the answer to a search, and which traces were left out of it.
///
/// # Errors
/// As [`PaidBody::put`].
pub(super) fn search(
    body: &mut PaidBody<'_>,
    found: &[FoundTrace],
    left_out: &[(u128, Error)],
    inspected: u64,
) -> Result<()> {
    let texts: Vec<&str> = left_out.iter().map(|(_, why)| why.message()).collect();
    let is_partial = !texts.is_empty();
    body.json(&Search {
        traces: Each(|| found.iter().map(trace)),
        metrics: metrics(inspected),
        status: is_partial.then_some("PARTIAL"),
        message: is_partial.then(|| format!("not searched: {}", texts.join("; "))),
    })
}

fn metrics(inspected_spans: u64) -> Json {
    json!({"inspectedSpans": inspected_spans.to_string(), "completedJobs": 1, "totalJobs": 1})
}

/// Labels in Prometheus' notation.
fn notation(labels: &[(String, Value<'_>)]) -> String {
    let one = |(name, value): &(String, Value<'_>)| {
        let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let name = if is_plain { name.clone() } else { format!("{name:?}") };
        format!("{name}={:?}", value.to_string())
    };
    format!("{{{}}}", labels.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn exemplar(exemplar: &Exemplar) -> Json {
    let text = |text: String| Value::Text(text.into());
    let labels = [
        ("trace:id".to_owned(), text(format!("{:032x}", exemplar.trace_id))),
        ("span:id".to_owned(), text(format!("{:016x}", exemplar.span_id))),
    ];
    json!({
        "labels": attributes(&labels),
        "value": number(exemplar.value),
        "timestampMs": (exemplar.t_ns / 1_000_000).to_string(),
    })
}

#[derive(Serialize)]
struct Metrics<S> {
    series: S,
    metrics: Json,
}

/// Writes the answer to a metrics query; an instant one has one value for each series.
///
/// # Errors
/// As [`PaidBody::put`].
pub(super) fn series(
    body: &mut PaidBody<'_>,
    all: &[Series],
    is_instant: bool,
    inspected: u64,
) -> Result<()> {
    let one = |series: &Series| {
        let mut body = json!({
            "labels": attributes(&series.labels),
            "promLabels": notation(&series.labels),
        });
        if is_instant {
            body["value"] = series.points.last().map_or(json!(0.0), |(_, value)| number(*value));
            return body;
        }
        let samples = series.points.iter().map(|(t_ns, value)| {
            json!({"timestampMs": (t_ns / 1_000_000).to_string(), "value": number(*value)})
        });
        body["samples"] = samples.collect();
        if !series.exemplars.is_empty() {
            body["exemplars"] = series.exemplars.iter().map(exemplar).collect();
        }
        body
    };
    body.json(&Metrics { series: Each(|| all.iter().map(one)), metrics: metrics(inspected) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_labels_are_written_as_clients_read_them() {
        let check = |value: Value<'_>, expect: Json| assert_eq!(any_value(&value), expect);
        check(Value::Int(i64::MAX), json!({"intValue": "9223372036854775807"}));
        check(Value::Float(f64::NAN), json!({"doubleValue": "NaN"}));
        check(Value::Duration(1_500_000), json!({"stringValue": "1.5ms"}));
        check(Value::Nil, json!({"stringValue": "nil"}));
        check(
            Value::Many(vec![Value::Bool(true)]),
            json!({"arrayValue": {"values": [{"boolValue": true}]}}),
        );
        let labels = [
            ("p".to_owned(), Value::Float(0.9)),
            ("resource.a".to_owned(), Value::Text("x\"y".into())),
        ];
        assert_eq!(notation(&labels), r#"{p="0.9", "resource.a"="x\"y"}"#);
    }
}
