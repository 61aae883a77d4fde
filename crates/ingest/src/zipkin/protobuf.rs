//! Spans of version 2 in protobuf: `zipkin.proto3.ListOfSpans`.

use std::sync::Arc;

use model::{AttributeValue, ErrorKind, Result, SpanKind};

use super::v2::{self, V2Span};
use super::{Annotation, Collected, Endpoint};
use crate::protobuf::{Field, Reader};
use crate::spans::{Elements, Names, Received, SPAN_ELEMENTS};

pub(super) fn spans(body: &[u8], elements_max: usize, now_ns: i64) -> Result<Received> {
    let mut reading = Reading { elements: Elements::new(elements_max), names: Names::new() };
    let mut collected = Collected::default();
    each(Reader::new(body), |field| {
        if field.number == 1 {
            reading.elements.charge(SPAN_ELEMENTS)?;
            v2::add(reading.span(&field)?, now_ns, &mut collected);
        }
        Ok(())
    })
    .map_err(|e| match e.kind() {
        ErrorKind::Limit => e,
        _ => e.context("body is no list of Zipkin's spans, version 2, in protobuf"),
    })?;
    Ok(collected.finish())
}

fn each<'a>(mut reader: Reader<'a>, mut visit: impl FnMut(Field<'a>) -> Result<()>) -> Result<()> {
    while let Some(field) = reader.next_field()? {
        visit(field)?;
    }
    Ok(())
}

struct Reading {
    elements: Elements,
    names: Names,
}

impl Reading {
    fn span(&mut self, field: &Field<'_>) -> Result<V2Span> {
        let mut span = V2Span::default();
        let basics = &mut span.basics;
        each(field.message()?, |field| {
            match field.number {
                1 => {
                    basics.trace_id = id(field.bytes()?, "trace_id", &[8, 16], &mut basics.refusal)
                }
                2 => {
                    basics.parent_id = span_id(field.bytes()?, "parent_id", &mut basics.refusal);
                }
                3 => basics.span_id = span_id(field.bytes()?, "id", &mut basics.refusal),
                4 => span.kind = kind(field.int32()?),
                5 => basics.name = self.names.get(field.text()?),
                6 => basics.t_us = microseconds(field.fixed64()?, &mut basics.refusal),
                7 => basics.duration_us = microseconds(field.uint64()?, &mut basics.refusal),
                8 => span.local = endpoint(&field)?,
                9 => span.remote = endpoint(&field)?,
                10 => {
                    self.elements.charge(1)?;
                    span.annotations.push(annotation(&field, &mut basics.refusal)?);
                }
                11 => {
                    let tag = self.tag(&field)?;
                    span.tags.push(tag);
                }
                12 => basics.is_debug = field.boolean()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(span)
    }

    fn tag(&mut self, field: &Field<'_>) -> Result<(Arc<str>, AttributeValue)> {
        self.elements.charge(1)?;
        let (mut name, mut value) = ("", "");
        each(field.message()?, |field| {
            match field.number {
                1 => name = field.text()?,
                2 => value = field.text()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok((self.names.get(name), AttributeValue::String(value.to_owned())))
    }
}

fn annotation(field: &Field<'_>, refusal: &mut Option<String>) -> Result<Annotation> {
    let mut annotation = Annotation::default();
    each(field.message()?, |field| {
        match field.number {
            1 => annotation.t_us = microseconds(field.fixed64()?, refusal),
            2 => field.text()?.clone_into(&mut annotation.value),
            _ => {}
        }
        Ok(())
    })?;
    Ok(annotation)
}

fn endpoint(field: &Field<'_>) -> Result<Endpoint> {
    let mut endpoint = Endpoint::default();
    each(field.message()?, |field| {
        match field.number {
            1 => field.text()?.clone_into(&mut endpoint.service),
            2 => endpoint.set_ipv4(field.bytes()?),
            3 => endpoint.set_ipv6(field.bytes()?),
            4 => endpoint.port = i64::from(field.int32()?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(endpoint)
}

fn kind(number: i32) -> SpanKind {
    match number {
        1 => SpanKind::Client,
        2 => SpanKind::Server,
        3 => SpanKind::Producer,
        4 => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}

fn microseconds(us: u64, refusal: &mut Option<String>) -> i64 {
    i64::try_from(us).unwrap_or_else(|_| {
        refusal.get_or_insert_with(|| format!("a time or duration of {us} µs is out of range"));
        0
    })
}

fn span_id(bytes: &[u8], what: &str, refusal: &mut Option<String>) -> u64 {
    u64::try_from(id(bytes, what, &[8], refusal)).unwrap_or(0)
}

fn id(bytes: &[u8], what: &str, lengths: &[usize], refusal: &mut Option<String>) -> u128 {
    // An absent parent may be written as none.
    if !bytes.is_empty() && !lengths.contains(&bytes.len()) {
        let len = bytes.len();
        refusal.get_or_insert_with(|| {
            format!("invalid length for {what}: {len} bytes; need {lengths:?}")
        });
        return 0;
    }
    bytes.iter().fold(0, |id, byte| id << 8 | u128::from(*byte))
}
