//! Spans as `jaeger.api_v2.Span`, each with its process. Source: jaeger-idl, `api_v2/model.proto`.

use model::{
    AttributeValue, Resource, Scope, Span, SpanEvent, SpanGroup, SpanLink, SpanStatus, Trace,
};

use super::{NO_SERVICE, Shown, kind_name, of_sender};
use crate::jaeger::translate::{CHILD_OF, REF_TYPE, WARNINGS};
use crate::protobuf::Writer;
use crate::spans::{find, json_of};

/// Spans of one message.
const CHUNK_SPANS: usize = 10;

pub(super) fn chunks(trace: &Trace, shown: &[Shown]) -> Vec<Vec<u8>> {
    let groups = trace.groups.iter();
    let spans = groups.flat_map(|group| group.spans.iter().map(move |span| (group, span)));
    let spans: Vec<_> = spans.zip(shown).collect();
    let chunk = |chunk: &[((&SpanGroup, &Span), &Shown)]| {
        let mut message = Writer::new();
        for ((SpanGroup { resource, scope, .. }, one), shown) in chunk {
            message.message(1, |to| span(to, one, scope, resource, shown));
        }
        message.finish()
    };
    spans.chunks(CHUNK_SPANS).map(chunk).collect()
}

fn span(to: &mut Writer, span: &Span, scope: &Scope, resource: &Resource, shown: &Shown) {
    to.bytes(1, &span.trace_id.to_be_bytes());
    to.bytes(2, &shown.span_id.to_be_bytes());
    to.text(3, &span.name);
    if shown.parent_id != 0 {
        reference(to, true, span.trace_id, shown.parent_id);
    }
    for SpanLink { trace_id, span_id, attributes, .. } in &span.links {
        let kind = find(attributes, REF_TYPE);
        let is_child = matches!(kind, Some(AttributeValue::String(kind)) if kind == CHILD_OF);
        reference(to, is_child, *trace_id, *span_id);
    }
    to.uint(5, u64::from(span.flags & 1));
    to.message(6, |to| nanoseconds(to, shown.at(span.start_ns)));
    to.message(7, |to| nanoseconds(to, i64::try_from(span.duration_ns()).unwrap_or(i64::MAX)));
    tags(to, span, scope);
    for SpanEvent { t_ns, name, attributes, dropped_attributes } in &span.events {
        to.message(9, |to| {
            to.message(1, |to| nanoseconds(to, shown.at(*t_ns)));
            text_tag(to, 2, "event", name);
            attributes.iter().for_each(|(name, value)| tag(to, 2, name, value));
            dropped(to, 2, "attributes", *dropped_attributes);
        });
    }
    to.message(10, |to| {
        to.text(1, resource.service().unwrap_or(NO_SERVICE));
        for (name, value) in &resource.attributes {
            if &**name != "service.name" {
                tag(to, 2, name, value);
            }
        }
        dropped(to, 2, "attributes", resource.dropped_attributes);
    });
    of_sender(&span.attributes).for_each(|warning| to.always_text(12, warning));
    shown.warnings.iter().for_each(|warning| to.always_text(12, warning));
}

fn reference(to: &mut Writer, is_child: bool, trace_id: u128, span_id: u64) {
    to.message(4, |to| {
        to.bytes(1, &trace_id.to_be_bytes());
        to.bytes(2, &span_id.to_be_bytes());
        to.uint(3, u64::from(!is_child));
    });
}

/// `google.protobuf.Timestamp` and `Duration`.
fn nanoseconds(to: &mut Writer, ns: i64) {
    to.int(1, ns.div_euclid(1_000_000_000));
    to.int(2, ns.rem_euclid(1_000_000_000));
}

const TAGS: u32 = 8;

fn tags(to: &mut Writer, span: &Span, scope: &Scope) {
    text_tag(to, TAGS, "otel.scope.name", &scope.name);
    text_tag(to, TAGS, "otel.scope.version", &scope.version);
    for (name, value) in &scope.attributes {
        tag(to, TAGS, &format!("otel.scope.{name}"), value);
    }
    for (name, value) in &span.attributes {
        if &**name != WARNINGS || !matches!(value, AttributeValue::Array(_)) {
            tag(to, TAGS, name, value);
        }
    }
    text_tag(to, TAGS, "span.kind", kind_name(span.kind));
    match span.status {
        SpanStatus::Unset => {}
        SpanStatus::Ok => text_tag(to, TAGS, "otel.status_code", "OK"),
        SpanStatus::Error => {
            text_tag(to, TAGS, "otel.status_code", "ERROR");
            tag(to, TAGS, "error", &AttributeValue::Bool(true));
        }
    }
    text_tag(to, TAGS, "otel.status_description", &span.status_message);
    text_tag(to, TAGS, "w3c.tracestate", &span.trace_state);
    dropped(to, TAGS, "attributes", span.dropped_attributes);
    dropped(to, TAGS, "events", span.dropped_events);
    dropped(to, TAGS, "links", span.dropped_links);
}

fn dropped(to: &mut Writer, field: u32, what: &str, count: u32) {
    if count != 0 {
        let name = format!("otel.dropped_{what}_count");
        tag(to, field, &name, &AttributeValue::Int(i64::from(count)));
    }
}

fn text_tag(to: &mut Writer, field: u32, name: &str, value: &str) {
    if !value.is_empty() {
        to.message(field, |to| {
            to.text(1, name);
            to.text(3, value);
        });
    }
}

fn tag(to: &mut Writer, field: u32, name: &str, value: &AttributeValue) {
    to.message(field, |to| {
        to.text(1, name);
        match value {
            AttributeValue::Empty => {}
            AttributeValue::String(text) => to.text(3, text),
            AttributeValue::Bool(value) => {
                to.uint(2, 1);
                to.uint(4, u64::from(*value));
            }
            AttributeValue::Int(value) => {
                to.uint(2, 2);
                to.int(5, *value);
            }
            AttributeValue::Double(value) => {
                to.uint(2, 3);
                to.double(6, *value);
            }
            AttributeValue::Bytes(bytes) => {
                to.uint(2, 4);
                to.bytes(7, bytes);
            }
            AttributeValue::Array(_) | AttributeValue::Map(_) => to.text(3, &json_of(value)),
        }
    });
}
