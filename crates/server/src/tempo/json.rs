//! Bodies of Tempo's answers: protocol buffers in their JSON mapping, where 64-bit integers are texts.

use ::query::traceql::{Exemplar, FoundSet, FoundSpan, FoundTrace, Series, Value};
use serde_json::{Value as Json, json};

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

fn set(set: &FoundSet) -> Json {
    let spans: Vec<Json> = set.spans.iter().map(span).collect();
    let mut body = json!({"spans": spans, "matched": set.matched});
    if !set.attributes.is_empty() {
        body["attributes"] = attributes(&set.attributes);
    }
    body
}

fn trace(trace: &FoundTrace) -> Json {
    let sets: Vec<Json> = trace.sets.iter().map(set).collect();
    json!({
        "traceID": format!("{:032x}", trace.trace_id),
        "rootServiceName": trace.root_service.as_deref().unwrap_or(NO_ROOT),
        "rootTraceName": trace.root_name.as_deref().unwrap_or(NO_ROOT),
        "startTimeUnixNano": trace.start_ns.to_string(),
        "durationMs": trace.duration_ns / 1_000_000,
        // Clients before there could be several sets read the first one here.
        "spanSet": sets.first(),
        "spanSets": sets,
    })
}

/// The answer to a search.
pub(super) fn search(traces: &[FoundTrace], inspected_spans: u64) -> String {
    let traces: Vec<Json> = traces.iter().map(trace).collect();
    json!({"traces": traces, "metrics": metrics(inspected_spans)}).to_string()
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

/// The answer to a metrics query; an instant one has one value for each series.
pub(super) fn series(all: &[Series], is_instant: bool, inspected_spans: u64) -> String {
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
    let all: Vec<Json> = all.iter().map(one).collect();
    json!({"series": all, "metrics": metrics(inspected_spans)}).to_string()
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
