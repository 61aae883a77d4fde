//! Traces as Jaeger's query API answers with them over HTTP, version 1, which Jaeger UI and Grafana's Jaeger data source
//! read.
//!
//! What OpenTelemetry knows and Jaeger does not becomes tags, as in the OpenTelemetry collector: `otel.scope.*`,
//! `span.kind`, `otel.status_code`, `error`, `otel.status_description`, `w3c.tracestate`, `otel.dropped_*_count`. Times are
//! whole microseconds. Over gRPC the same goes out as `jaeger.api_v2.Span` (`answer/protobuf.rs`).

mod protobuf;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::vec;

use model::{
    AttributeValue, Attributes, Resource, Scope, Span, SpanEvent, SpanGroup, SpanKind, SpanLink,
    SpanStatus, Trace,
};
use rustc_hash::FxHashMap;

use super::skew::{Shown, adjusted, as_sent};
use super::translate::{CHILD_OF, REF_TYPE, WARNINGS};
use crate::json::Writer;
use crate::otlp::base64;
use crate::spans::{find, json_of};

/// The service of a process that names none, as in Jaeger 2.
pub const NO_SERVICE: &str = "missing-service-name";
/// Whole numbers up to here are exact in JavaScript; larger ones are written as texts.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// What is done about spans that cannot be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjustment {
    /// Nothing: spans as they were sent (`raw=true`).
    None,
    /// The server's half of a shared span gets an id of its own, and spans that do not fit into their parent, which ran on
    /// another host, are moved by at most so many nanoseconds. What is beyond, or not true otherwise, is told as a warning.
    Clocks {
        /// 0 moves nothing and only warns, which is Jaeger's default.
        skew_ns_max: u64,
    },
}

/// The answer to a search or to a request for traces, without those whose ids are in `errors`, with the reason: pieces of a text
/// that is made while it is sent. Spans go as they are written.
///
/// Cost: what is said of spans (`skew`) is found out at once, for all of them.
pub fn answer(
    traces: Vec<Trace>,
    errors: &[(u128, &str)],
    adjustment: Adjustment,
) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
    let traces: Vec<_> = traces
        .into_iter()
        .map(|trace| {
            let shown = shown(&trace, adjustment);
            (trace, shown)
        })
        .collect();
    let mut json = Writer::default();
    json.open('{');
    json.key("data").open('[');
    let mut end = Writer::default();
    for name in ["total", "limit", "offset"] {
        end.key(name).bare(0);
    }
    end.key("errors");
    if errors.is_empty() {
        end.bare("null");
    } else {
        end.list(|json| {
            for (id, why) in errors {
                json.object(|json| {
                    json.key("msg").text(why);
                    json.key("traceID").plain_text(TraceId(*id));
                });
            }
        });
    }
    Answer { json, traces: traces.into_iter(), open: None, end: Some(end.finish()) }
}

/// How far an answer is written.
struct Answer {
    json: Writer,
    traces: vec::IntoIter<(Trace, Vec<Shown>)>,
    open: Option<OpenTrace>,
    /// What stands behind the traces; `None` once it was written.
    end: Option<String>,
}

impl Answer {
    /// Writes a span, or the beginning or the end of a trace; `false` when that was all.
    fn step(&mut self) -> bool {
        if let Some(open) = &mut self.open {
            if !open.write_span(&mut self.json) {
                open.close(&mut self.json);
                self.open = None;
            }
        } else if let Some((trace, shown)) = self.traces.next() {
            self.open = Some(OpenTrace::begin(trace, shown, &mut self.json));
        } else if let Some(end) = self.end.take() {
            self.json.close(']');
            self.json.members(&end);
            self.json.close('}');
        } else {
            return false;
        }
        true
    }
}

impl Iterator for Answer {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        while !self.json.has_piece() && self.step() {}
        self.json.take_piece()
    }
}

/// What is said of a trace that is not there.
pub const NOT_FOUND: &str = "trace not found";

/// Messages `SpansResponseChunk` of `jaeger.api_v2`: the spans of `trace`, ten at a time, as Jaeger sends them.
pub fn chunks(trace: &Trace, adjustment: Adjustment) -> Vec<Vec<u8>> {
    protobuf::chunks(trace, &shown(trace, adjustment))
}

/// The trace in OpenTelemetry's terms, as the third version of the API shows it: ids and times as
/// [`answer`] shows them, warnings as the attribute by which Jaeger 2 keeps them.
pub fn enriched(mut trace: Trace, adjustment: Adjustment) -> Trace {
    let all = shown(&trace, adjustment);
    let spans = trace.groups.iter_mut().flat_map(|group| &mut group.spans);
    for (span, shown) in spans.zip(all) {
        (span.span_id, span.parent_id) = (shown.span_id, shown.parent_id);
        (span.start_ns, span.end_ns) = (shown.at(span.start_ns), shown.at(span.end_ns));
        span.events.iter_mut().for_each(|event| event.t_ns = shown.at(event.t_ns));
        if shown.warnings.is_empty() {
            continue;
        }
        let texts = shown.warnings.into_iter().map(AttributeValue::String);
        let known = span.attributes.iter_mut().find(|(name, _)| &**name == WARNINGS);
        match known {
            Some((_, AttributeValue::Array(list))) => list.extend(texts),
            _ => span.attributes.push((WARNINGS.into(), AttributeValue::Array(texts.collect()))),
        }
    }
    trace
}

/// What Jaeger calls a kind of spans; `""` when none was said.
pub fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

fn shown(trace: &Trace, adjustment: Adjustment) -> Vec<Shown> {
    match adjustment {
        Adjustment::None => as_sent(trace),
        Adjustment::Clocks { skew_ns_max } => adjusted(trace, skew_ns_max),
    }
}

/// A trace of which some spans are written.
struct OpenTrace {
    groups: vec::IntoIter<SpanGroup>,
    shown: vec::IntoIter<Shown>,
    /// What is left of a group, and the number of its process.
    group: Option<(Arc<Scope>, vec::IntoIter<Span>, usize)>,
    processes: Processes,
}

impl OpenTrace {
    fn begin(trace: Trace, shown: Vec<Shown>, json: &mut Writer) -> Self {
        json.open('{');
        json.key("traceID").plain_text(TraceId(trace.trace_id));
        json.key("spans").open('[');
        let (groups, shown) = (trace.groups.into_iter(), shown.into_iter());
        Self { groups, shown, group: None, processes: Processes::default() }
    }

    /// `false` when there is none left.
    fn write_span(&mut self, json: &mut Writer) -> bool {
        loop {
            if let Some((scope, spans, process)) = &mut self.group
                && let Some(one) = spans.next()
            {
                let shown = self.shown.next().unwrap_or_default();
                json.object(|json| span(json, &one, scope, &shown, *process));
                return true;
            }
            let Some(SpanGroup { resource, scope, spans }) = self.groups.next() else {
                return false;
            };
            self.group = Some((scope, spans.into_iter(), self.processes.number(&resource)));
        }
    }

    fn close(&self, json: &mut Writer) {
        json.close(']');
        json.key("processes").object(|json| {
            for (i, resource) in self.processes.in_order.iter().enumerate() {
                json.key(&format!("p{}", i + 1)).object(|json| process(json, resource));
            }
        });
        json.key("warnings").bare("null");
        json.close('}');
    }
}

/// 32 hexadecimal digits, or 16 for ids of 64 bits.
struct TraceId(u128);

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match u64::try_from(self.0) {
            Ok(low) => write!(f, "{low:016x}"),
            Err(_) => write!(f, "{:032x}", self.0),
        }
    }
}

/// Numbers of processes: those that say the same of themselves share one.
#[derive(Default)]
struct Processes {
    /// The resource stays, and so nothing else can be in its place.
    by_place: FxHashMap<usize, (Arc<Resource>, usize)>,
    by_content: FxHashMap<String, usize>,
    in_order: Vec<Arc<Resource>>,
}

impl Processes {
    fn number(&mut self, resource: &Arc<Resource>) -> usize {
        let known = self.by_place.entry(Arc::as_ptr(resource).addr()).or_insert_with(|| {
            let mut content = Writer::default();
            content.object(|json| process(json, resource));
            let number = *self.by_content.entry(content.finish()).or_insert_with(|| {
                self.in_order.push(Arc::clone(resource));
                self.in_order.len()
            });
            (Arc::clone(resource), number)
        });
        known.1
    }
}

fn process(json: &mut Writer, resource: &Resource) {
    json.key("serviceName").text(resource.service().unwrap_or(NO_SERVICE));
    json.key("tags").list(|json| {
        for (name, value) in &resource.attributes {
            if &**name != "service.name" {
                tag(json, name, value);
            }
        }
        dropped(json, "attributes", resource.dropped_attributes);
    });
}

fn span(json: &mut Writer, span: &Span, scope: &Scope, shown: &Shown, process: usize) {
    json.key("traceID").plain_text(TraceId(span.trace_id));
    json.key("spanID").plain_text(format_args!("{:016x}", shown.span_id));
    if span.flags & 1 != 0 {
        json.key("flags").bare(1);
    }
    json.key("operationName").text(&span.name);
    json.key("references").list(|json| {
        if shown.parent_id != 0 {
            reference(json, true, span.trace_id, shown.parent_id);
        }
        for SpanLink { trace_id, span_id, attributes, .. } in &span.links {
            let kind = find(attributes, REF_TYPE);
            let is_child = matches!(kind, Some(AttributeValue::String(kind)) if kind == CHILD_OF);
            reference(json, is_child, *trace_id, *span_id);
        }
    });
    json.key("startTime").bare(shown.at(span.start_ns).div_euclid(1_000));
    json.key("duration").bare(span.duration_ns() / 1_000);
    json.key("tags").list(|json| tags(json, span, scope));
    json.key("logs").list(|json| {
        span.events.iter().for_each(|event| json.object(|json| log(json, event, shown)));
    });
    json.key("processID").plain_text(format_args!("p{process}"));
    let mut warnings = of_sender(&span.attributes).peekable();
    json.key("warnings");
    if warnings.peek().is_none() && shown.warnings.is_empty() {
        json.bare("null");
    } else {
        json.list(|json| {
            warnings.for_each(|warning| json.text(warning));
            shown.warnings.iter().for_each(|warning| json.text(warning));
        });
    }
}

/// Warnings that came with the span.
fn of_sender(attributes: &Attributes) -> impl Iterator<Item = &str> {
    let list = match find(attributes, WARNINGS) {
        Some(AttributeValue::Array(list)) => list.as_slice(),
        _ => &[],
    };
    list.iter().filter_map(|warning| match warning {
        AttributeValue::String(text) => Some(text.as_str()),
        _ => None,
    })
}

fn reference(json: &mut Writer, is_child: bool, trace_id: u128, span_id: u64) {
    json.object(|json| {
        json.key("refType").plain_text(if is_child { "CHILD_OF" } else { "FOLLOWS_FROM" });
        json.key("traceID").plain_text(TraceId(trace_id));
        json.key("spanID").plain_text(format_args!("{span_id:016x}"));
    });
}

fn tags(json: &mut Writer, span: &Span, scope: &Scope) {
    for (name, value) in [("otel.scope.name", &scope.name), ("otel.scope.version", &scope.version)]
    {
        text_tag(json, name, value);
    }
    for (name, value) in &scope.attributes {
        tag(json, &format!("otel.scope.{name}"), value);
    }
    let is_warnings = |value: &AttributeValue| matches!(value, AttributeValue::Array(_));
    for (name, value) in &span.attributes {
        if &**name != WARNINGS || !is_warnings(value) {
            tag(json, name, value);
        }
    }
    text_tag(json, "span.kind", kind_name(span.kind));
    match span.status {
        SpanStatus::Unset => {}
        SpanStatus::Ok => text_tag(json, "otel.status_code", "OK"),
        SpanStatus::Error => {
            text_tag(json, "otel.status_code", "ERROR");
            tag(json, "error", &AttributeValue::Bool(true));
        }
    }
    text_tag(json, "otel.status_description", &span.status_message);
    text_tag(json, "w3c.tracestate", &span.trace_state);
    dropped(json, "attributes", span.dropped_attributes);
    dropped(json, "events", span.dropped_events);
    dropped(json, "links", span.dropped_links);
}

fn log(json: &mut Writer, event: &SpanEvent, shown: &Shown) {
    json.key("timestamp").bare(shown.at(event.t_ns).div_euclid(1_000));
    json.key("fields").list(|json| {
        text_tag(json, "event", &event.name);
        event.attributes.iter().for_each(|(name, value)| tag(json, name, value));
        dropped(json, "attributes", event.dropped_attributes);
    });
}

fn dropped(json: &mut Writer, what: &str, count: u32) {
    if count != 0 {
        let name = format!("otel.dropped_{what}_count");
        tag(json, &name, &AttributeValue::Int(i64::from(count)));
    }
}

fn text_tag(json: &mut Writer, name: &str, value: &str) {
    if !value.is_empty() {
        json.object(|json| {
            json.key("key").plain_text(name);
            json.key("type").plain_text("string");
            json.key("value").text(value);
        });
    }
}

fn tag(json: &mut Writer, name: &str, value: &AttributeValue) {
    let kind = match value {
        AttributeValue::Bool(_) => "bool",
        AttributeValue::Int(_) => "int64",
        AttributeValue::Double(_) => "float64",
        AttributeValue::Bytes(_) => "binary",
        _ => "string",
    };
    json.object(|json| {
        json.key("key").text(name);
        json.key("type").plain_text(kind);
        json.key("value");
        match value {
            AttributeValue::Empty => json.text(""),
            AttributeValue::String(text) => json.text(text),
            AttributeValue::Bool(value) => json.bare(value),
            AttributeValue::Int(value) if value.unsigned_abs() <= EXACT_MAX => json.bare(value),
            AttributeValue::Int(value) => json.plain_text(value),
            AttributeValue::Double(value) => json.double(*value),
            AttributeValue::Bytes(bytes) => json.plain_text(base64(bytes)),
            AttributeValue::Array(_) | AttributeValue::Map(_) => json.text(&json_of(value)),
        }
    });
}
