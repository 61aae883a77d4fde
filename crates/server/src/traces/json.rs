//! How our own API writes traces. Times are texts of Unix nanoseconds, which numbers of JSON do not hold; durations are
//! numbers.

use model::{AttributeValue, Attributes, LogRecord, SpanEvent, TimeRange, shown_text};
use query::trace::{Lines, OperationTime, Row, ServiceTime, SideTime, Sides, Waterfall};
use query::traceql::Value as Field;
use serde_json::{Map, Value as Json, json};

/// Names in the order of the pairs.
const SIDES: [&str; 2] = ["baseline", "selection"];

fn value(value: &AttributeValue) -> Json {
    match value {
        AttributeValue::Empty => Json::Null,
        AttributeValue::Bool(value) => json!(value),
        AttributeValue::Int(value) => json!(value),
        AttributeValue::Double(value) if value.is_finite() => json!(value),
        AttributeValue::Array(all) => all.iter().map(self::value).collect(),
        // What JSON has no type for is text: bytes in base64, numbers that are none.
        AttributeValue::String(_) | AttributeValue::Double(_) | AttributeValue::Bytes(_) => {
            json!(value.to_string())
        }
        AttributeValue::Map(all) => {
            let pairs = all.iter().map(|(name, of)| (name.clone(), self::value(of)));
            Json::Object(pairs.collect())
        }
    }
}

/// A list, for names may repeat.
fn attributes(all: &Attributes) -> Json {
    all.iter().map(|(name, of)| json!({"name": &**name, "value": value(of)})).collect()
}

fn event(event: &SpanEvent) -> Json {
    json!({
        "timeNs": event.t_ns.to_string(),
        "name": &*event.name,
        "attributes": attributes(&event.attributes),
    })
}

fn span(at: usize, row: &Row<'_>, on_error_path: bool) -> Json {
    let span = row.span;
    let part = |(start, end): &(i64, i64)| json!([start.to_string(), start.abs_diff(*end)]);
    let mut body = json!({
        "row": at,
        "parentRow": row.parent,
        "depth": row.depth,
        "childCount": row.child_count,
        "spanId": format!("{:016x}", span.span_id),
        "service": row.service(),
        "name": &*span.name,
        "kind": Field::Kind(span.kind).to_string(),
        "status": Field::Status(span.status).to_string(),
        "startNs": span.start_ns.to_string(),
        "durationNs": span.duration_ns(),
        "selfNs": row.self_ns,
        "critical": row.critical.iter().map(part).collect::<Json>(),
        "onErrorPath": on_error_path,
        "attributes": attributes(&span.attributes),
        "resource": attributes(&row.group.resource.attributes),
    });
    if span.parent_id != 0 {
        body["parentSpanId"] = json!(format!("{:016x}", span.parent_id));
    }
    if !span.status_message.is_empty() {
        body["statusMessage"] = json!(span.status_message);
    }
    if !span.events.is_empty() {
        body["events"] = span.events.iter().map(event).collect();
    }
    if !row.warnings.is_empty() {
        body["warnings"] = row.warnings.iter().map(ToString::to_string).collect();
    }
    body
}

/// A trace as a waterfall, with the first `limit` of its spans.
pub(super) fn waterfall(id: u128, waterfall: &Waterfall<'_>, limit: usize) -> String {
    let rows = &waterfall.rows;
    let root = waterfall.root.map(|root| &rows[root]);
    let mut services: Vec<&str> = rows.iter().filter_map(Row::service).collect();
    services.sort_unstable();
    services.dedup();
    let errors = rows.iter().filter(|row| row.span.status == model::SpanStatus::Error).count();
    let mut is_failing = vec![false; rows.len()];
    waterfall.error_path.iter().for_each(|at| is_failing[*at] = true);
    let step = |at: &usize| {
        let row = &rows[*at];
        json!({
            "row": at,
            "spanId": format!("{:016x}", row.span.span_id),
            "service": row.service(),
            "name": &*row.span.name,
            "criticalNs": row.critical_ns(),
        })
    };
    let steps = |path: &[usize]| path.iter().take(limit).map(step).collect::<Json>();
    let shown = rows.iter().zip(&is_failing).take(limit).enumerate();
    let spans: Vec<Json> = shown.map(|(at, (row, failing))| span(at, row, *failing)).collect();
    json!({
        "traceId": format!("{id:032x}"),
        "rootService": root.and_then(Row::service),
        "rootName": root.map(|row| &*row.span.name),
        "rootRow": waterfall.root,
        "startNs": waterfall.start_ns.to_string(),
        "durationNs": waterfall.duration_ns,
        "spanCount": rows.len(),
        "errorCount": errors,
        "services": services,
        "criticalPath": steps(&waterfall.critical_path()),
        "errorPath": steps(&waterfall.error_path),
        "spans": spans,
    })
    .to_string()
}

/// Log lines of a trace.
pub(super) fn lines(id: u128, range: TimeRange, found: &Lines) -> String {
    let pairs = |labels: &model::Labels| -> Map<String, Json> {
        labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
    };
    let line = |row: &LogRecord| {
        json!({
            "timeNs": row.t_ns.to_string(),
            "stream": pairs(&row.stream),
            "fields": pairs(&row.fields),
            "line": shown_text(&row.line),
        })
    };
    json!({
        "traceId": format!("{id:032x}"),
        "startNs": range.start_ns.to_string(),
        "endNs": range.end_ns.to_string(),
        "lines": found.rows.iter().map(line).collect::<Vec<_>>(),
        "isCut": found.is_cut,
        "warnings": found.warnings,
    })
    .to_string()
}

/// An object with what `of` gives for each side.
fn each(of: impl Fn(usize) -> Json) -> Json {
    Json::Object(SIDES.iter().enumerate().map(|(i, name)| ((*name).to_owned(), of(i))).collect())
}

fn rounded(ns: f64) -> u64 {
    ns.round() as u64
}

fn service(of: &ServiceTime) -> Json {
    json!({
        "service": of.service,
        "traces": each(|side| json!(of.traces[side])),
        "spans": each(|side| json!(of.spans[side])),
        "errors": each(|side| json!(of.errors[side])),
        "selfNsPerTrace": each(|side| json!(rounded(of.self_ns_per_trace[side]))),
        "selfShare": each(|side| json!(of.self_shares[side])),
    })
}

fn operation(of: &OperationTime) -> Json {
    json!({
        "service": of.service,
        "name": of.name,
        "traces": each(|side| json!(of.traces[side])),
        "spans": each(|side| json!(of.spans[side])),
        "errors": each(|side| json!(of.errors[side])),
        "durationNs": each(|side| json!(of.duration_ns[side].map(rounded))),
        "selfNsPerTrace": each(|side| json!(rounded(of.self_ns_per_trace[side]))),
    })
}

/// What is different, the first `limit` rows of each list with their whole number; `traces_max` were looked at of each set.
pub(super) fn sides(sides: &Sides, limit: usize, traces_max: usize) -> String {
    let side = |of: &SideTime| {
        json!({
            "traces": of.traces,
            "limitReached": of.traces == traces_max as u64,
            "spans": of.spans,
            "failedTraces": of.failed,
            "medianNs": of.median_ns,
            "maxNs": of.max_ns,
        })
    };
    let attributes = sides.attributes.iter().filter(|share| share.difference() != 0.0);
    let attribute = |share: &query::trace::AttributeShare| {
        json!({
            "name": share.name,
            "value": share.value,
            "traces": each(|side| json!(share.traces[side])),
            "share": each(|side| json!(share.shares[side])),
            "difference": share.difference(),
        })
    };
    let mut body = each(|i| side(&sides.sides[i]));
    body["attributeCount"] = json!(attributes.clone().count());
    body["attributes"] = attributes.take(limit).map(attribute).collect();
    body["serviceCount"] = json!(sides.services.len());
    body["services"] = sides.services.iter().take(limit).map(service).collect();
    body["operationCount"] = json!(sides.operations.len());
    body["operations"] = sides.operations.iter().take(limit).map(operation).collect();
    body["attributesCut"] = json!(sides.cut);
    body.to_string()
}
