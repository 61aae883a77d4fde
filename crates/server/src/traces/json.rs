//! How our own API writes traces. Times are texts of Unix nanoseconds, which numbers of JSON do not hold; durations are
//! numbers.

use model::{
    AttributeValue, Attributes, LogRecord, Result, SpanEvent, SpanStatus, TimeRange, shown_text,
};
use query::trace::{Lines, OperationTime, Row, ServiceTime, SideTime, Sides, WaitedFor, Waterfall};
use query::traceql::Value as Field;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::paid_body::{Each, PaidBody};

/// Steps of the critical path that are listed where fewer spans are asked for.
const STEPS_MAX: usize = 10_000;

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
fn attributes(all: &Attributes) -> impl Serialize {
    Each(|| all.iter().map(|(name, of)| json!({"name": &**name, "value": value(of)})))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventOf<'t, A> {
    time_ns: String,
    name: &'t str,
    attributes: A,
}

fn event(event: &SpanEvent) -> impl Serialize {
    EventOf {
        time_ns: event.t_ns.to_string(),
        name: &event.name,
        attributes: attributes(&event.attributes),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanOf<'t, C, A, R, E, W> {
    row: usize,
    parent_row: Option<u32>,
    depth: u32,
    child_count: u32,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    service: Option<&'t str>,
    name: &'t str,
    kind: String,
    status: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    status_message: &'t str,
    start_ns: String,
    duration_ns: u64,
    self_ns: u64,
    critical: C,
    on_error_path: bool,
    attributes: A,
    resource: R,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<E>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<W>,
}

fn span(at: usize, row: &Row<'_>, on_error_path: bool) -> impl Serialize {
    let span = row.span;
    let part = |(start, end): &(i64, i64)| (start.to_string(), start.abs_diff(*end));
    SpanOf {
        row: at,
        parent_row: row.parent,
        depth: row.depth,
        child_count: row.child_count,
        span_id: format!("{:016x}", span.span_id),
        parent_span_id: (span.parent_id != 0).then(|| format!("{:016x}", span.parent_id)),
        service: row.service(),
        name: &span.name,
        kind: Field::Kind(span.kind).to_string(),
        status: Field::Status(span.status).to_string(),
        status_message: &span.status_message,
        start_ns: span.start_ns.to_string(),
        duration_ns: span.duration_ns(),
        self_ns: row.self_ns,
        critical: Each(move || row.critical.iter().map(part)),
        on_error_path,
        attributes: attributes(&span.attributes),
        resource: attributes(&row.group.resource.attributes),
        events: (!span.events.is_empty()).then_some(Each(|| span.events.iter().map(event))),
        warnings: (!row.warnings.is_empty())
            .then_some(Each(|| row.warnings.iter().map(ToString::to_string))),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WaterfallOf<'t, W, C, E, S> {
    trace_id: String,
    root_service: Option<&'t str>,
    root_name: Option<&'t str>,
    root_row: Option<usize>,
    start_ns: String,
    duration_ns: u64,
    span_count: usize,
    error_count: usize,
    services: Vec<&'t str>,
    critical_ns: u64,
    waited_for: W,
    waited_for_count: usize,
    critical_path: C,
    critical_path_count: usize,
    error_path: E,
    spans: S,
}

/// Writes a trace as a waterfall, with the first `limit` of its spans. What is said of the whole is said of all spans.
///
/// # Errors
/// As [`PaidBody::put`].
pub(super) fn waterfall(
    body: &mut PaidBody<'_>,
    id: u128,
    waterfall: &Waterfall<'_>,
    limit: usize,
) -> Result<()> {
    let rows = &waterfall.rows;
    let root = waterfall.root.map(|root| &rows[root]);
    let mut services: Vec<&str> = rows.iter().filter_map(Row::service).collect();
    services.sort_unstable();
    services.dedup();
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
    let waited = |of: &WaitedFor<'_>| json!({"service": of.service, "name": of.name, "criticalNs": of.critical_ns});
    let (critical_path, waited_for) = (waterfall.critical_path(), waterfall.waited_for());
    let steps_max = limit.max(STEPS_MAX);
    let shown = || rows.iter().zip(&is_failing).take(limit).enumerate();
    body.json(&WaterfallOf {
        trace_id: format!("{id:032x}"),
        root_service: root.and_then(Row::service),
        root_name: root.map(|row| &*row.span.name),
        root_row: waterfall.root,
        start_ns: waterfall.start_ns.to_string(),
        duration_ns: waterfall.duration_ns,
        span_count: rows.len(),
        error_count: rows.iter().filter(|row| row.span.status == SpanStatus::Error).count(),
        services,
        critical_ns: waited_for.iter().map(|of| of.critical_ns).sum(),
        waited_for: Each(|| waited_for.iter().take(steps_max).map(waited)),
        waited_for_count: waited_for.len(),
        critical_path: Each(|| critical_path.iter().take(steps_max).map(step)),
        critical_path_count: critical_path.len(),
        error_path: Each(|| waterfall.error_path.iter().map(step)),
        spans: Each(|| shown().map(|(at, (row, failing))| span(at, row, *failing))),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinesOf<'t, L> {
    trace_id: String,
    start_ns: String,
    end_ns: String,
    lines: L,
    is_cut: bool,
    warnings: &'t [String],
}

/// Writes the log lines of a trace.
///
/// # Errors
/// As [`PaidBody::put`].
pub(super) fn lines(
    body: &mut PaidBody<'_>,
    id: u128,
    range: TimeRange,
    found: &Lines,
) -> Result<()> {
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
    body.json(&LinesOf {
        trace_id: format!("{id:032x}"),
        start_ns: range.start_ns.to_string(),
        end_ns: range.end_ns.to_string(),
        lines: Each(|| found.rows.iter().map(line)),
        is_cut: found.is_cut,
        warnings: &found.warnings,
    })
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SidesOf<A, S, O> {
    baseline: Json,
    selection: Json,
    attribute_count: usize,
    attributes: A,
    service_count: usize,
    services: S,
    operation_count: usize,
    operations: O,
    attributes_cut: Json,
}

/// What is different, the first `limit` rows of each list with their whole number; `traces_max` were looked at of each set.
///
/// # Errors
/// As [`PaidBody::put`].
pub(super) fn sides(
    body: &mut PaidBody<'_>,
    sides: &Sides,
    limit: usize,
    traces_max: usize,
) -> Result<()> {
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
    let [baseline, selection] = sides.sides.each_ref().map(side);
    body.json(&SidesOf {
        baseline,
        selection,
        attribute_count: attributes.clone().count(),
        attributes: Each(|| attributes.clone().take(limit).map(attribute)),
        service_count: sides.services.len(),
        services: Each(|| sides.services.iter().take(limit).map(service)),
        operation_count: sides.operations.len(),
        operations: Each(|| sides.operations.iter().take(limit).map(operation)),
        attributes_cut: json!(sides.cut),
    })
}
