//! Spans of version 1 in Thrift: `zipkincore.Span`.

use model::{AttributeValue, ErrorKind, Result};

use super::v1::{self, BinaryAnnotation, V1Span};
use super::{Annotation, Collected, Endpoint};
use crate::otlp::base64;
use crate::spans::{Elements, Names, Received, SPAN_ELEMENTS};
use crate::thrift::{Field, Kind, Protocol, Reader};

/// A list of spans that stands alone, in the binary protocol.
pub(super) fn body(body: &[u8], elements_max: usize, now_ns: i64) -> Result<Received> {
    let mut reader = Reader::new(Protocol::Binary, body);
    let list = reader.bare_list();
    spans(&mut reader, list, elements_max, now_ns).map_err(|e| match e.kind() {
        ErrorKind::Limit => e,
        _ => e.context("body is no list of Zipkin's spans, version 1, in Thrift"),
    })
}

/// The list of spans that is the value of `field`.
pub(crate) fn spans(
    reader: &mut Reader<'_>,
    field: Field,
    elements_max: usize,
    now_ns: i64,
) -> Result<Received> {
    let mut reading = Reading { elements: Elements::new(elements_max), names: Names::new() };
    let mut collected = Collected::default();
    reader.list(field, Kind::Struct, |reader| {
        reading.elements.charge(SPAN_ELEMENTS)?;
        v1::add(reading.span(reader)?, now_ns, &mut collected);
        Ok(())
    })?;
    Ok(collected.finish())
}

struct Reading {
    elements: Elements,
    names: Names,
}

impl Reading {
    fn span(&mut self, reader: &mut Reader<'_>) -> Result<V1Span> {
        let mut span = V1Span::default();
        let (mut low, mut high) = (0, 0);
        reader.structure(|reader, field| {
            let basics = &mut span.basics;
            match field.id {
                1 => low = reader.i64(field)?,
                3 => basics.name = self.names.get(reader.text(field)?),
                4 => basics.span_id = reader.i64(field)?.cast_unsigned(),
                5 => basics.parent_id = reader.i64(field)?.cast_unsigned(),
                6 => {
                    reader.list(field, Kind::Struct, |reader| {
                        self.elements.charge(1)?;
                        span.annotations.push(annotation(reader)?);
                        Ok(())
                    })?;
                }
                8 => {
                    reader.list(field, Kind::Struct, |reader| {
                        self.elements.charge(1)?;
                        span.binary.push(binary_annotation(reader)?);
                        Ok(())
                    })?;
                }
                9 => basics.is_debug = reader.boolean(field)?,
                10 => basics.t_us = reader.i64(field)?,
                11 => basics.duration_us = reader.i64(field)?,
                12 => high = reader.i64(field)?,
                _ => {}
            }
            Ok(())
        })?;
        span.basics.trace_id =
            u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned());
        Ok(span)
    }
}

fn annotation(reader: &mut Reader<'_>) -> Result<Annotation> {
    let mut annotation = Annotation::default();
    reader.structure(|reader, field| {
        match field.id {
            1 => annotation.t_us = reader.i64(field)?,
            2 => reader.text(field)?.clone_into(&mut annotation.value),
            3 => annotation.endpoint = Some(endpoint(reader, field)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(annotation)
}

fn binary_annotation(reader: &mut Reader<'_>) -> Result<BinaryAnnotation> {
    let (mut key, mut bytes, mut kind, mut place) = (String::new(), &[][..], 6, None);
    reader.structure(|reader, field| {
        match field.id {
            1 => reader.text(field)?.clone_into(&mut key),
            2 => bytes = reader.binary(field)?,
            3 => kind = reader.i32(field)?,
            4 => place = Some(endpoint(reader, field)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(BinaryAnnotation { key, value: value(kind, bytes), endpoint: place })
}

/// The value of `AnnotationType`; numbers are big-endian, and those that are too short bytes like others.
fn value(kind: i32, bytes: &[u8]) -> AttributeValue {
    let value = match kind {
        0 => Some(AttributeValue::Bool(bytes == [1])),
        2 => bytes.first_chunk().map(|b| AttributeValue::Int(i64::from(i16::from_be_bytes(*b)))),
        3 => bytes.first_chunk().map(|b| AttributeValue::Int(i64::from(i32::from_be_bytes(*b)))),
        4 => bytes.first_chunk().map(|b| AttributeValue::Int(i64::from_be_bytes(*b))),
        5 => bytes.first_chunk().map(|b| AttributeValue::Double(f64::from_be_bytes(*b))),
        6 => std::str::from_utf8(bytes).ok().map(|text| AttributeValue::String(text.to_owned())),
        _ => None,
    };
    value.unwrap_or_else(|| AttributeValue::String(base64(bytes)))
}

fn endpoint(reader: &mut Reader<'_>, field: Field) -> Result<Endpoint> {
    let mut endpoint = Endpoint::default();
    reader.inner(field, |reader, field| {
        match field.id {
            1 => {
                let address = reader.i32(field)?;
                if address != 0 {
                    endpoint.set_ipv4(&address.to_be_bytes());
                }
            }
            2 => endpoint.port = i64::from(reader.i16(field)?.cast_unsigned()),
            3 => reader.text(field)?.clone_into(&mut endpoint.service),
            4 => endpoint.set_ipv6(reader.binary(field)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(endpoint)
}
