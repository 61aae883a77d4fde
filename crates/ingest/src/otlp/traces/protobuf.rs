//! `TracesData` written in binary protobuf.

use model::{AttributeValue, Attributes, Resource, Scope, Span, SpanEvent, SpanGroup, SpanLink};

use super::{by_resource, kind_number, status_number, unsigned};
use crate::protobuf::Writer;

pub(super) fn encode(groups: &[SpanGroup]) -> Vec<u8> {
    let mut writer = Writer::new();
    for of_resource in by_resource(groups) {
        let Some(first) = of_resource.first() else { continue };
        let Resource { attributes, dropped_attributes, schema_url } = &*first.resource;
        writer.message(1, |writer| {
            writer.message(1, |writer| {
                all(writer, 1, attributes);
                writer.uint(2, u64::from(*dropped_attributes));
            });
            for group in of_resource {
                writer.message(2, |writer| scope(writer, &group.scope, &group.spans));
            }
            writer.text(3, schema_url);
        });
    }
    writer.finish()
}

/// Bytes of one span in binary protobuf.
pub(super) fn span_bytes(of: &Span) -> usize {
    let mut writer = Writer::new();
    span(&mut writer, of);
    writer.finish().len()
}

fn scope(writer: &mut Writer, scope: &Scope, spans: &[Span]) {
    let Scope { name, version, attributes, dropped_attributes, schema_url } = scope;
    writer.message(1, |writer| {
        writer.text(1, name);
        writer.text(2, version);
        all(writer, 3, attributes);
        writer.uint(4, u64::from(*dropped_attributes));
    });
    for one in spans {
        writer.message(2, |writer| span(writer, one));
    }
    writer.text(3, schema_url);
}

fn span(writer: &mut Writer, span: &Span) {
    writer.bytes(1, &span.trace_id.to_be_bytes());
    writer.bytes(2, &span.span_id.to_be_bytes());
    writer.text(3, &span.trace_state);
    if span.parent_id != 0 {
        writer.bytes(4, &span.parent_id.to_be_bytes());
    }
    writer.text(5, &span.name);
    writer.uint(6, u64::from(kind_number(span.kind)));
    writer.fixed64(7, unsigned(span.start_ns));
    writer.fixed64(8, unsigned(span.end_ns));
    all(writer, 9, &span.attributes);
    writer.uint(10, u64::from(span.dropped_attributes));
    for SpanEvent { t_ns, name, attributes, dropped_attributes } in &span.events {
        writer.message(11, |writer| {
            writer.fixed64(1, unsigned(*t_ns));
            writer.text(2, name);
            all(writer, 3, attributes);
            writer.uint(4, u64::from(*dropped_attributes));
        });
    }
    writer.uint(12, u64::from(span.dropped_events));
    for one in &span.links {
        writer.message(13, |writer| link(writer, one));
    }
    writer.uint(14, u64::from(span.dropped_links));
    let status = status_number(span.status);
    if status != 0 || !span.status_message.is_empty() {
        writer.message(15, |writer| {
            writer.text(2, &span.status_message);
            writer.uint(3, u64::from(status));
        });
    }
    writer.fixed32(16, span.flags);
}

fn link(writer: &mut Writer, link: &SpanLink) {
    writer.bytes(1, &link.trace_id.to_be_bytes());
    writer.bytes(2, &link.span_id.to_be_bytes());
    writer.text(3, &link.trace_state);
    all(writer, 4, &link.attributes);
    writer.uint(5, u64::from(link.dropped_attributes));
    writer.fixed32(6, link.flags);
}

fn all(writer: &mut Writer, number: u32, attributes: &Attributes) {
    for (name, value) in attributes {
        pair(writer, number, name, value);
    }
}

fn pair(writer: &mut Writer, number: u32, name: &str, of: &AttributeValue) {
    writer.message(number, |writer| {
        writer.text(1, name);
        writer.message(2, |writer| value(writer, of));
    });
}

fn value(writer: &mut Writer, of: &AttributeValue) {
    match of {
        AttributeValue::Empty => {}
        AttributeValue::String(text) => writer.always_text(1, text),
        AttributeValue::Bool(value) => writer.always_uint(2, u64::from(*value)),
        AttributeValue::Int(value) => writer.always_uint(3, value.cast_unsigned()),
        AttributeValue::Double(value) => writer.always_double(4, *value),
        AttributeValue::Array(values) => writer.message(5, |writer| {
            for one in values {
                writer.message(1, |writer| value(writer, one));
            }
        }),
        AttributeValue::Map(pairs) => writer.message(6, |writer| {
            for (name, one) in pairs {
                pair(writer, 1, name, one);
            }
        }),
        AttributeValue::Bytes(bytes) => writer.always_bytes(7, bytes),
    }
}
