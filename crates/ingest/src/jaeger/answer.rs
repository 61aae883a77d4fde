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

/// The answer to a search or to a request for one trace.
pub fn answer(traces: &[Trace], adjustment: Adjustment) -> String {
    answer_missing(traces, &[], adjustment)
}

/// The answer to a request for several traces, of which those with the ids `missing` are not there.
pub fn answer_missing(traces: &[Trace], missing: &[u128], adjustment: Adjustment) -> String {
    let mut writer = Writer::default();
    writer.object(|json| {
        json.key("data").list(|json| {
            traces.iter().for_each(|one| trace(json, one, adjustment));
        });
        for name in ["total", "limit", "offset"] {
            json.key(name).bare(0);
        }
        json.key("errors");
        if missing.is_empty() {
            json.bare("null");
        } else {
            json.list(|json| {
                for id in missing {
                    json.object(|json| {
                        json.key("msg").plain_text(NOT_FOUND);
                        json.key("traceID").plain_text(TraceId(*id));
                    });
                }
            });
        }
    });
    writer.finish()
}

/// What is said of a trace that is not there.
pub const NOT_FOUND: &str = "trace not found";

/// Messages `SpansResponseChunk` of `jaeger.api_v2`: the spans of `trace`, ten at a time, as Jaeger sends them.
pub fn chunks(trace: &Trace, adjustment: Adjustment) -> Vec<Vec<u8>> {
    protobuf::chunks(trace, &shown(trace, adjustment))
}

/// The trace in OpenTelemetry's terms, as the third version of the API shows it: ids and times as
/// [`answer`] shows them, warnings as the attribute by which Jaeger 2 keeps them.
pub fn enriched(trace: &Trace, adjustment: Adjustment) -> Trace {
    let mut trace = trace.clone();
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

fn trace(json: &mut Writer, trace: &Trace, adjustment: Adjustment) {
    let shown = shown(trace, adjustment);
    let mut processes = Processes::default();
    json.object(|json| {
        json.key("traceID").plain_text(TraceId(trace.trace_id));
        json.key("spans").list(|json| {
            let mut shown = shown.iter();
            for SpanGroup { resource, scope, spans } in &trace.groups {
                let process = processes.number(resource);
                for (one, shown) in spans.iter().zip(shown.by_ref()) {
                    json.object(|json| span(json, one, scope, shown, process));
                }
            }
        });
        json.key("processes").object(|json| {
            for (i, resource) in processes.in_order.iter().enumerate() {
                json.key(&format!("p{}", i + 1)).object(|json| process(json, resource));
            }
        });
        json.key("warnings").bare("null");
    });
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
struct Processes<'t> {
    by_place: FxHashMap<usize, usize>,
    by_content: FxHashMap<String, usize>,
    in_order: Vec<&'t Resource>,
}

impl<'t> Processes<'t> {
    fn number(&mut self, resource: &'t Arc<Resource>) -> usize {
        *self.by_place.entry(Arc::as_ptr(resource).addr()).or_insert_with(|| {
            let mut content = Writer::default();
            content.object(|json| process(json, resource));
            *self.by_content.entry(content.finish()).or_insert_with(|| {
                self.in_order.push(resource);
                self.in_order.len()
            })
        })
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
