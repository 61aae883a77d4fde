//! `ExportTraceServiceRequest` in binary protobuf: one pass from bytes to spans.

use std::borrow::Cow;
use std::sync::Arc;

use model::{
    AttributeValue, Error, ErrorKind, Resource, Result, Scope, Span, SpanEvent, SpanLink,
    SpanStatus,
};

use super::{Decoder, each};
use crate::otlp::traces::{
    Collected, Refusal, kind_from_number, span_id, status_from_number, time_ns, trace_id,
};
use crate::protobuf::{Field, Reader};
use crate::spans::{Names, Received, SPAN_ELEMENTS};

pub(crate) fn decode(body: &[u8], elements_max: usize) -> Result<Received> {
    let mut reading = Reading {
        decoder: Decoder::new(elements_max, String::from_utf8_lossy),
        names: Names::new(),
        collected: Collected::default(),
        too_deep: None,
    };
    each(Reader::new(body), |field| {
        if field.number == 1 {
            reading.resource(&field)?;
        }
        // Of a resource or a scope, which all their spans share.
        reading.too_deep.take().map_or(Ok(()), Err)
    })
    .map_err(|e| match e.kind() {
        ErrorKind::Limit => e,
        _ => e.context("body is not an OTLP/protobuf traces request"),
    })?;
    Ok(reading.collected.received)
}

struct Reading {
    decoder: Decoder,
    names: Names,
    collected: Collected,
    /// What was said of a value that goes too deep; reading went on behind it.
    too_deep: Option<Error>,
}

/// `InstrumentationLibrarySpans`, as `ScopeSpans` was called before OTLP 0.15.
const LIBRARY_SPANS: u32 = 1000;

/// Attributes that a span has room for from the start.
const ATTRIBUTES_COMMON: usize = 8;

impl Reading {
    fn resource(&mut self, field: &Field<'_>) -> Result<()> {
        self.decoder.charge(1)?;
        let mut resource = Resource::default();
        each(field.message()?, |field| {
            match field.number {
                1 => each(field.message()?, |field| {
                    match field.number {
                        1 => resource.attributes.push(self.attribute(&field)?),
                        2 => resource.dropped_attributes = field.uint32()?,
                        _ => {}
                    }
                    Ok(())
                })?,
                2 | LIBRARY_SPANS => self.scope(&field)?,
                3 => resource.schema_url = self.decoder.text(&field)?.into_owned(),
                _ => {}
            }
            Ok(())
        })?;
        self.collected.end_of_resource(resource);
        Ok(())
    }

    fn scope(&mut self, field: &Field<'_>) -> Result<()> {
        self.decoder.charge(1)?;
        let (mut scope, mut spans) = (Scope::default(), Vec::new());
        each(field.message()?, |field| {
            match field.number {
                1 => each(field.message()?, |field| {
                    match field.number {
                        1 => scope.name = self.decoder.text(&field)?.into_owned(),
                        2 => scope.version = self.decoder.text(&field)?.into_owned(),
                        3 => scope.attributes.push(self.attribute(&field)?),
                        4 => scope.dropped_attributes = field.uint32()?,
                        _ => {}
                    }
                    Ok(())
                })?,
                2 => {
                    self.decoder.charge(SPAN_ELEMENTS)?;
                    // Filled where it stays: spans are large.
                    spans.push(Span::default());
                    let span = spans.last_mut().expect("BUG: pushed just before");
                    if let Some(why) = self.span(&field, span)? {
                        self.collected.refuse(&span.name, &why);
                        spans.pop();
                    }
                }
                3 => scope.schema_url = self.decoder.text(&field)?.into_owned(),
                _ => {}
            }
            Ok(())
        })?;
        self.collected.scope(scope, spans);
        Ok(())
    }

    /// Fills `span`, and says what is wrong with it.
    fn span(&mut self, field: &Field<'_>, span: &mut Span) -> Result<Option<Refusal>> {
        let mut refusal = None;
        let of_others = self.too_deep.take();
        span.attributes.reserve(ATTRIBUTES_COMMON);
        each(field.message()?, |field| {
            match field.number {
                1 => {
                    span.trace_id =
                        trace_id(field.bytes()?, true).unwrap_or_else(refuse(&mut refusal));
                }
                2 => {
                    span.span_id = span_id(field.bytes()?, "SpanID", true)
                        .unwrap_or_else(refuse(&mut refusal));
                }
                3 => span.trace_state = self.decoder.text(&field)?.into_owned(),
                4 => {
                    span.parent_id = span_id(field.bytes()?, "ParentSpanID", true)
                        .unwrap_or_else(refuse(&mut refusal));
                }
                5 => span.name = self.names.get(&self.decoder.text(&field)?),
                6 => span.kind = kind_from_number(field.int32()?),
                7 => {
                    span.start_ns =
                        time_ns(field.fixed64()?, "start").unwrap_or_else(refuse(&mut refusal));
                }
                8 => {
                    span.end_ns =
                        time_ns(field.fixed64()?, "end").unwrap_or_else(refuse(&mut refusal));
                }
                9 => span.attributes.push(self.attribute(&field)?),
                10 => span.dropped_attributes = field.uint32()?,
                11 => span.events.push(self.event(&field, &mut refusal)?),
                12 => span.dropped_events = field.uint32()?,
                13 => span.links.push(self.link(&field, &mut refusal)?),
                14 => span.dropped_links = field.uint32()?,
                15 => status(&self.decoder, &field, span)?,
                16 => span.flags = field.fixed32()?,
                _ => {}
            }
            Ok(())
        })?;
        if let Some(why) = std::mem::replace(&mut self.too_deep, of_others) {
            refusal.get_or_insert_with(|| why.to_string());
        }
        // An id that is not there at all was not looked at yet.
        if refusal.is_none() {
            refusal = trace_id(&span.trace_id.to_be_bytes(), false)
                .and(span_id(&span.span_id.to_be_bytes(), "SpanID", false))
                .err();
        }
        Ok(refusal)
    }

    fn event(&mut self, field: &Field<'_>, refusal: &mut Option<Refusal>) -> Result<SpanEvent> {
        self.decoder.charge(1)?;
        let mut event = SpanEvent::default();
        each(field.message()?, |field| {
            match field.number {
                1 => {
                    event.t_ns = time_ns(field.fixed64()?, "event").unwrap_or_else(refuse(refusal))
                }
                2 => event.name = self.names.get(&self.decoder.text(&field)?),
                3 => event.attributes.push(self.attribute(&field)?),
                4 => event.dropped_attributes = field.uint32()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(event)
    }

    fn link(&mut self, field: &Field<'_>, refusal: &mut Option<Refusal>) -> Result<SpanLink> {
        self.decoder.charge(1)?;
        let mut link = SpanLink::default();
        each(field.message()?, |field| {
            match field.number {
                1 => {
                    link.trace_id = trace_id(field.bytes()?, true).unwrap_or_else(refuse(refusal));
                }
                2 => {
                    link.span_id = span_id(field.bytes()?, "SpanID of a link", true)
                        .unwrap_or_else(refuse(refusal));
                }
                3 => link.trace_state = self.decoder.text(&field)?.into_owned(),
                4 => link.attributes.push(self.attribute(&field)?),
                5 => link.dropped_attributes = field.uint32()?,
                6 => link.flags = field.fixed32()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(link)
    }

    fn attribute(&mut self, field: &Field<'_>) -> Result<(Arc<str>, AttributeValue)> {
        self.decoder.charge(1)?;
        let (mut name, mut value) = (Cow::Borrowed(""), AttributeValue::Empty);
        each(field.message()?, |field| {
            match field.number {
                1 => name = self.decoder.text(&field)?,
                2 => value = self.value(&field)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok((self.names.get(&name), value))
    }

    fn value(&mut self, field: &Field<'_>) -> Result<AttributeValue> {
        // Most are texts and nothing else.
        let mut message = field.message()?;
        match message.next_field()? {
            Some(text) if text.number == 1 && message.rest().is_empty() => {
                Ok(AttributeValue::String(self.decoder.text(&text)?.into_owned()))
            }
            _ => match self.decoder.value(field, 0) {
                Err(why) if std::mem::take(&mut self.decoder.is_too_deep) => {
                    self.too_deep.get_or_insert(why);
                    Ok(AttributeValue::Empty)
                }
                value => Ok(value?.into()),
            },
        }
    }
}

fn status(decoder: &Decoder, field: &Field<'_>, span: &mut Span) -> Result<()> {
    span.status = SpanStatus::Unset;
    each(field.message()?, |field| {
        match field.number {
            2 => span.status_message = decoder.text(&field)?.into_owned(),
            3 => span.status = status_from_number(field.int32()?),
            _ => {}
        }
        Ok(())
    })
}

/// Keeps the first thing that is wrong and goes on with a default: the rest must still be well-formed.
fn refuse<T: Default>(refusal: &mut Option<Refusal>) -> impl FnOnce(Refusal) -> T {
    |why| {
        refusal.get_or_insert(why);
        T::default()
    }
}
