//! Cases of fluent-bit for requests in OTLP/JSON, each right or wrong in one way, with what it makes of them.
//!
//! Skipped is where fluent-bit and OTLP differ, told by the case's own expectation and input.

use ingest::otlp::logs::{self, Record, Request as LogsRequest};
use ingest::otlp::{Attributes, Data, Encoding, NumberPoint, Request, Temporality, Value, decode};
use serde_json::{Map, Value as Json, json};

use crate::ELEMENTS_MAX;

/// What came of a case.
pub(crate) enum Outcome {
    Ran(Result<(), String>),
    /// Why it did not run.
    Skipped(&'static str),
}

const ABSENT: &str = "absent fields have their defaults in protobuf";
const OTHER_LENGTH: &str = "a line whose trace or span id has another length is stored with it";
const NOT_OTLP: &str = "values that OTLP has none of";

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or("")
}

/// Whether `is_so` holds for the value or one inside of it, under its name.
fn any(name: &str, value: &Json, is_so: &dyn Fn(&str, &Json) -> bool) -> bool {
    is_so(name, value)
        || match value {
            Json::Array(list) => list.iter().any(|item| any("", item, is_so)),
            Json::Object(map) => map.iter().any(|(name, value)| any(name, value, is_so)),
            _ => false,
        }
}

/// A case of metrics.
pub(crate) fn metrics(name: &str, case: &Json) -> Outcome {
    if case["expected"].is_null() && name.contains("missing") {
        return Outcome::Skipped(ABSENT);
    }
    let read = decode(Encoding::Json, case["input"].to_string().as_bytes(), ELEMENTS_MAX);
    Outcome::Ran(match (read, &case["expected"]) {
        (Err(_), Json::Null) => Ok(()),
        (Ok(_), Json::Null) => Err(format!("read, expected {}", case["expected_error"]["code"])),
        // What one leaves out the other refuses.
        (Err(_), expected) if expected["gauge_count"] == 0 && expected["counter_count"] == 0 => {
            Ok(())
        }
        (Err(error), _) => Err(error.to_string()),
        (Ok(request), expected) => metrics_are(&request, expected),
    })
}

fn metrics_are(request: &Request, expected: &Json) -> Result<(), String> {
    let all = || request.resources.iter().flat_map(|r| &r.scopes).flat_map(|s| &s.metrics);
    let count = |is_one: fn(&Data) -> bool| all().filter(|metric| is_one(&metric.data)).count();
    let mut found = json!({
        "context_count": request.resources.len(),
        "gauge_count": count(|data| matches!(data, Data::Gauge(_))),
        "counter_count": count(|data| matches!(data, Data::Sum { .. })),
        "histogram_count": count(|data| matches!(data, Data::Histogram { .. })),
        "exp_histogram_count": count(|data| matches!(data, Data::Exponential { .. })),
        "summary_count": count(|data| matches!(data, Data::Summary(_))),
    });
    for (name, wanted) in expected.as_object().into_iter().flatten() {
        if wanted.is_object() {
            let metric = all().find(|metric| metric.name == text(&wanted["name"]));
            let metric = metric.ok_or_else(|| format!("no metric {}", wanted["name"]))?;
            found[name] = points(&metric.data);
            found[name]["name"] = metric.name.clone().into();
            found[name]["description"] = metric.description.clone().into();
            found[name]["unit"] = metric.unit.clone().into();
        }
    }
    // Counts of what a request has several resources of are those of the first there.
    if found["context_count"].as_u64() > Some(1) {
        found["counter_count"] = 0.into();
    }
    includes(&found, expected)
}

/// The last point, as fluent-bit tells of it.
fn points(data: &Data) -> Json {
    let kind = |temporality: &Temporality| match temporality {
        Temporality::Unspecified => Json::Null,
        Temporality::Delta => 1.into(),
        Temporality::Cumulative => 2.into(),
    };
    let labels = |attributes: &Attributes| -> Json {
        let mut pairs: Vec<_> = attributes.iter().collect();
        pairs.sort_by_key(|(name, _)| name);
        pairs.into_iter().map(|(_, value)| value.to_text()).collect()
    };
    let number = |points: &[NumberPoint]| {
        let point = points.last();
        let labels = point.map(|point| labels(&point.point.attributes));
        json!({"value": point.map(|point| point.value), "label_values": labels})
    };
    match data {
        Data::Gauge(points) => number(points),
        Data::Sum { points, temporality, monotonic } => {
            let mut sum = number(points);
            sum["allow_reset"] = (!monotonic).into();
            sum["aggregation_type"] = kind(temporality);
            sum
        }
        Data::Histogram { points, temporality } => {
            let point = points.last().map(|point| (point.count, point.sum));
            json!({"count": point.map(|p| p.0), "sum": point.map(|p| p.1), "aggregation_type": kind(temporality)})
        }
        Data::Exponential { points, temporality } => {
            let point = points.last().map(|point| (point.count, point.sum));
            json!({"count": point.map(|p| p.0), "sum": point.map(|p| p.1), "aggregation_type": kind(temporality)})
        }
        Data::Summary(points) => {
            let point = points.last().map(|point| (point.count, point.sum));
            json!({"count": point.map(|p| p.0), "sum": point.map(|p| p.1)})
        }
        Data::Absent => json!({}),
    }
}

/// A case of logs.
pub(crate) fn logs(case: &Json) -> Outcome {
    let (input, expected) = (&case["input"], &case["expected"]);
    let code = text(&case["expected_error"]["code"]);
    if code.ends_with("_MISSING") {
        return Outcome::Skipped(ABSENT);
    }
    let read = logs::decode(Encoding::Json, input.to_string().as_bytes(), ELEMENTS_MAX);
    if code.ends_with("_ID") && read.is_ok() {
        let is_of_another_length = |name: &str, id: &Json| match name {
            "traceId" => text(id).len() != 32,
            "spanId" => text(id).len() != 16,
            _ => false,
        };
        if any("", input, &is_of_another_length) {
            return Outcome::Skipped(OTHER_LENGTH);
        }
    }
    let is_unknown = |name: &str, value: &Json| {
        let names = value.as_object().into_iter().flatten();
        name == "value" && names.into_iter().any(|(name, _)| !name.ends_with("Value"))
            || name == "traceFlags"
    };
    if !expected.is_null() && any("", input, &is_unknown) {
        return Outcome::Skipped(NOT_OTLP);
    }
    Outcome::Ran(match read {
        Err(_) if expected.is_null() => Ok(()),
        Ok(_) if expected.is_null() => Err(format!("read, expected {code}")),
        Err(error) => Err(error.to_string()),
        Ok(request) => logs_are(&request, expected),
    })
}

fn logs_are(request: &LogsRequest, expected: &Json) -> Result<(), String> {
    let mut groups = Vec::new();
    for resource in &request.resources {
        for scope in &resource.scopes {
            let records: Vec<Json> = scope.records.iter().map(record).collect();
            let resource = json!({"attributes": attributes(&resource.attributes)});
            let attributes = attributes(&scope.attributes);
            let scope =
                json!({"name": scope.name, "version": scope.version, "attributes": attributes});
            groups
                .push(json!({"body": {"resource": resource, "scope": scope}, "records": records}));
        }
    }
    if expected["empty_payload"] == true {
        let is_empty = groups.iter().all(|group| group["records"] == json!([]));
        return if is_empty { Ok(()) } else { Err("it has records".to_owned()) };
    }
    let expected = match &expected["groups"] {
        Json::Null => json!([{
            "body": expected["group_body"],
            "records": [{"metadata": expected["log_metadata"], "body": expected["log_body"]}],
        }]),
        groups => {
            let groups = groups.as_array().into_iter().flatten();
            // Their metadata are numbers of its own.
            groups
                .map(|group| json!({"body": group["body"], "records": group["records"]}))
                .collect()
        }
    };
    includes(&groups.into(), &expected)
}

fn record(record: &Record) -> Json {
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let body = match &record.body {
        Value::Map(map) => attributes(map),
        body => json!({"log": value(body)}),
    };
    json!({"body": body, "metadata": {"otlp": {
        "observed_timestamp": record.observed_ns,
        "severity_number": record.severity_number,
        "severity_text": record.severity_text,
        "attributes": attributes(&record.attributes),
        "dropped_attributes_count": record.dropped_attributes,
        "event_name": record.event_name,
        "trace_id": hex(&record.trace_id),
        "span_id": hex(&record.span_id),
    }}})
}

fn attributes(attributes: &Attributes) -> Json {
    let pairs = attributes.iter().map(|(name, of)| (name.clone(), value(of)));
    Json::Object(pairs.collect::<Map<_, _>>())
}

fn value(of: &Value) -> Json {
    match of {
        Value::Empty => Json::Null,
        Value::Text(text) => text.as_str().into(),
        Value::Bool(is_so) => (*is_so).into(),
        Value::Int(number) => (*number).into(),
        Value::Double(number) => (*number).into(),
        Value::Bytes(bytes) => bytes.as_slice().into(),
        Value::List(list) => list.iter().map(value).collect(),
        Value::Map(map) => attributes(map),
    }
}

/// Whether all that is expected was found; there may be more. A value that was not set is an empty text there, and
/// schemas and counts of dropped attributes of resources are no part of lines here.
fn includes(found: &Json, expected: &Json) -> Result<(), String> {
    match (found, expected) {
        (Json::Object(_), Json::Object(wanted)) => wanted
            .iter()
            .filter(|(name, _)| {
                !matches!(&***name, "schema_url" | "dropped_attributes_count")
                    || !found[&**name].is_null()
            })
            .try_for_each(|(name, wanted)| {
                includes(&found[&**name], wanted).map_err(|why| format!("{name}: {why}"))
            }),
        (Json::Array(items), Json::Array(wanted)) if items.len() >= wanted.len() => {
            items.iter().zip(wanted).try_for_each(|(item, wanted)| includes(item, wanted))
        }
        (Json::Number(found), Json::Number(wanted)) if found.as_f64() == wanted.as_f64() => Ok(()),
        (Json::Null, Json::String(text)) if text.is_empty() => Ok(()),
        _ if found == expected => Ok(()),
        _ => Err(format!("{found}, expected {expected}")),
    }
}
