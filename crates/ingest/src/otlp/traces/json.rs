//! `TracesData` written in JSON: as OTLP/JSON has it, or as protocol buffers' own mapping does, which Tempo answers with.

use std::sync::Arc;
use std::vec;

use model::{AttributeValue, Attributes, Resource, Scope, Span, SpanEvent, SpanGroup, SpanLink};

use super::{KINDS, STATUSES, kind_number, status_number, unsigned};
use crate::json::Writer;
use crate::otlp::base64;

/// How ids and enumerations are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdForm {
    /// OTLP/JSON: ids in hexadecimal, enumerations as numbers.
    Hexadecimal,
    /// Protocol buffers' mapping, as in Tempo's answers: ids in base64, enumerations by name.
    Base64,
}

/// Pieces of the text, between `head` and `tail`. Spans go as they are written.
pub(super) fn pieces(
    groups: Vec<SpanGroup>,
    form: IdForm,
    head: &str,
    tail: &str,
) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
    let mut json = Writer::default();
    json.around(head);
    json.open('{');
    json.key("resourceSpans").open('[');
    let groups = groups.into_iter();
    Pieces { json, form, groups, resource: None, scope: None, tail: Some(tail.to_owned()) }
}

/// How far traces are written.
struct Pieces {
    json: Writer,
    form: IdForm,
    groups: vec::IntoIter<SpanGroup>,
    /// Those that are open.
    resource: Option<Arc<Resource>>,
    scope: Option<(Arc<Scope>, vec::IntoIter<Span>)>,
    tail: Option<String>,
}

impl Pieces {
    /// Writes a span, or what stands between spans; `false` when that was all.
    fn step(&mut self) -> bool {
        let Self { json, form, .. } = self;
        if let Some((scope, spans)) = &mut self.scope {
            match spans.next() {
                Some(one) => json.object(|json| span(json, &one, *form)),
                None => {
                    json.close(']');
                    text(json, "schemaUrl", &scope.schema_url);
                    json.close('}');
                    self.scope = None;
                }
            }
            return true;
        }
        let next = self.groups.next();
        let is_same = |open: &Arc<Resource>, SpanGroup { resource, .. }: &SpanGroup| {
            Arc::ptr_eq(open, resource) || open == resource
        };
        let goes_on = next.as_ref().zip(self.resource.as_ref());
        if !goes_on.is_some_and(|(group, open)| is_same(open, group))
            && let Some(open) = self.resource.take()
        {
            json.close(']');
            text(json, "schemaUrl", &open.schema_url);
            json.close('}');
        }
        match next {
            Some(SpanGroup { resource: of, scope, spans }) => {
                if self.resource.is_none() {
                    json.open('{');
                    json.key("resource").object(|json| resource(json, &of));
                    json.key("scopeSpans").open('[');
                    self.resource = Some(of);
                }
                json.open('{');
                json.key("scope").object(|json| {
                    text(json, "name", &scope.name);
                    text(json, "version", &scope.version);
                    all(json, &scope.attributes, scope.dropped_attributes);
                });
                json.key("spans").open('[');
                self.scope = Some((scope, spans.into_iter()));
                true
            }
            None => match self.tail.take() {
                Some(tail) => {
                    json.close(']');
                    json.close('}');
                    json.around(&tail);
                    true
                }
                None => false,
            },
        }
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        while !self.json.has_piece() && self.step() {}
        self.json.take_piece()
    }
}

fn resource(json: &mut Writer, resource: &Resource) {
    all(json, &resource.attributes, resource.dropped_attributes);
}

fn span(json: &mut Writer, span: &Span, form: IdForm) {
    id(json, "traceId", span.trace_id.to_be_bytes(), form);
    id(json, "spanId", span.span_id.to_be_bytes(), form);
    text(json, "traceState", &span.trace_state);
    if span.parent_id != 0 {
        id(json, "parentSpanId", span.parent_id.to_be_bytes(), form);
    }
    count(json, "flags", span.flags);
    text(json, "name", &span.name);
    enumerated(json, "kind", kind_number(span.kind), &KINDS, form);
    time(json, "startTimeUnixNano", span.start_ns);
    time(json, "endTimeUnixNano", span.end_ns);
    all(json, &span.attributes, span.dropped_attributes);
    if !span.events.is_empty() {
        json.key("events").list(|json| {
            for SpanEvent { t_ns, name, attributes, dropped_attributes } in &span.events {
                json.object(|json| {
                    time(json, "timeUnixNano", *t_ns);
                    text(json, "name", name);
                    all(json, attributes, *dropped_attributes);
                });
            }
        });
    }
    count(json, "droppedEventsCount", span.dropped_events);
    if !span.links.is_empty() {
        json.key("links").list(|json| {
            span.links.iter().for_each(|one| json.object(|json| link(json, one, form)));
        });
    }
    count(json, "droppedLinksCount", span.dropped_links);
    json.key("status").object(|json| {
        text(json, "message", &span.status_message);
        enumerated(json, "code", status_number(span.status), &STATUSES, form);
    });
}

fn link(json: &mut Writer, link: &SpanLink, form: IdForm) {
    id(json, "traceId", link.trace_id.to_be_bytes(), form);
    id(json, "spanId", link.span_id.to_be_bytes(), form);
    text(json, "traceState", &link.trace_state);
    all(json, &link.attributes, link.dropped_attributes);
    count(json, "flags", link.flags);
}

fn all(json: &mut Writer, attributes: &Attributes, dropped: u32) {
    if !attributes.is_empty() {
        json.key("attributes").list(|json| {
            attributes.iter().for_each(|(name, value)| pair(json, name, value));
        });
    }
    count(json, "droppedAttributesCount", dropped);
}

fn pair(json: &mut Writer, name: &str, of: &AttributeValue) {
    json.object(|json| {
        json.key("key").text(name);
        json.key("value").object(|json| value(json, of));
    });
}

fn value(json: &mut Writer, of: &AttributeValue) {
    match of {
        AttributeValue::Empty => {}
        AttributeValue::String(text) => json.key("stringValue").text(text),
        AttributeValue::Bool(value) => json.key("boolValue").bare(value),
        AttributeValue::Int(value) => json.key("intValue").plain_text(value),
        AttributeValue::Double(value) => json.key("doubleValue").double(*value),
        AttributeValue::Bytes(bytes) => json.key("bytesValue").plain_text(base64(bytes)),
        AttributeValue::Array(values) => json.key("arrayValue").object(|json| {
            json.key("values").list(|json| {
                values.iter().for_each(|one| json.object(|json| value(json, one)));
            });
        }),
        AttributeValue::Map(pairs) => json.key("kvlistValue").object(|json| {
            json.key("values").list(|json| {
                pairs.iter().for_each(|(name, one)| pair(json, name, one));
            });
        }),
    }
}

/// An id of `N` bytes.
fn id<const N: usize>(json: &mut Writer, name: &str, id: [u8; N], form: IdForm) {
    json.key(name);
    match form {
        IdForm::Hexadecimal => {
            let number = id.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
            json.plain_text(format_args!("{number:0width$x}", width = 2 * N));
        }
        IdForm::Base64 => json.plain_text(base64(&id)),
    }
}

fn enumerated(json: &mut Writer, name: &str, number: u8, names: &[&str], form: IdForm) {
    match (form, names.get(usize::from(number))) {
        (_, _) if number == 0 => {}
        (IdForm::Base64, Some(value)) => json.key(name).plain_text(value),
        _ => json.key(name).bare(number),
    }
}

fn text(json: &mut Writer, name: &str, value: &str) {
    if !value.is_empty() {
        json.key(name).text(value);
    }
}

fn count(json: &mut Writer, name: &str, value: u32) {
    if value != 0 {
        json.key(name).bare(value);
    }
}

fn time(json: &mut Writer, name: &str, t_ns: i64) {
    json.key(name).plain_text(unsigned(t_ns));
}
