//! `jaeger.Batch` in Thrift, and messages to the agent.

use std::sync::Arc;

use model::{AttributeValue, Attributes, ErrorKind, Result};

use super::translate::{Batch, JaegerSpan, Log, Process, Reference, resource};
use crate::spans::{Elements, Names, Received, SPAN_ELEMENTS, ns_of_us};
use crate::thrift::{Field, Kind, MessageKind, Protocol, Reader};
use crate::zipkin;

pub(super) fn batch(protocol: Protocol, body: &[u8], elements_max: usize) -> Result<Received> {
    let mut reading = Reading::new(elements_max);
    let mut reader = Reader::new(protocol, body);
    reading.batch(&mut reader).map_err(|e| named(e, "body is not a batch of Jaeger in Thrift"))
}

pub(super) fn datagram(
    protocol: Protocol,
    datagram: &[u8],
    elements_max: usize,
    now_ns: i64,
) -> Result<Received> {
    let mut reader = Reader::new(protocol, datagram);
    message(&mut reader, elements_max, now_ns)
        .map_err(|e| named(e, "datagram is no message to a Jaeger agent"))
}

fn message(reader: &mut Reader<'_>, elements_max: usize, now_ns: i64) -> Result<Received> {
    let mut received = Received::default();
    let message = reader.message()?;
    let is_jaeger = match (message.kind, message.name) {
        (MessageKind::Call | MessageKind::Oneway, "emitBatch") => true,
        (MessageKind::Call | MessageKind::Oneway, "emitZipkinBatch") => false,
        (kind, name) => {
            return Err(model::Error::invalid(format!(
                "a {kind:?} of {name:?}; known are emitBatch and emitZipkinBatch"
            )));
        }
    };
    reader.structure(|reader, field| {
        if field.id != 1 {
            return Ok(());
        }
        if is_jaeger {
            reader.expect(field, Kind::Struct)?;
            received = Reading::new(elements_max).batch(reader)?;
        } else {
            received = zipkin::thrift_spans(reader, field, elements_max, now_ns)?;
        }
        Ok(())
    })?;
    Ok(received)
}

fn named(error: model::Error, what: &str) -> model::Error {
    if error.kind() == ErrorKind::Limit { error } else { error.context(what) }
}

struct Reading {
    elements: Elements,
    names: Names,
}

impl Reading {
    fn new(elements_max: usize) -> Self {
        Self { elements: Elements::new(elements_max), names: Names::new() }
    }

    fn batch(&mut self, reader: &mut Reader<'_>) -> Result<Received> {
        let (mut process, mut spans) = (Process::default(), Vec::new());
        reader.structure(|reader, field| {
            match field.id {
                1 => reader.inner(field, |reader, field| {
                    match field.id {
                        1 => reader.text(field)?.clone_into(&mut process.service),
                        2 => process.tags = self.tags(reader, field)?,
                        _ => {}
                    }
                    Ok(())
                })?,
                2 => {
                    reader.list(field, Kind::Struct, |reader| {
                        self.elements.charge(SPAN_ELEMENTS)?;
                        spans.push(self.span(reader)?);
                        Ok(())
                    })?;
                }
                _ => {}
            }
            Ok(())
        })?;
        let resource = Arc::new(resource(process));
        let mut batch = Batch::default();
        spans.into_iter().for_each(|span| batch.push(&resource, span));
        Ok(batch.finish())
    }

    fn span(&mut self, reader: &mut Reader<'_>) -> Result<JaegerSpan> {
        let mut span = JaegerSpan::default();
        let (mut low, mut high, mut start_us, mut duration_us) = (0, 0, 0, 0);
        reader.structure(|reader, field| {
            match field.id {
                1 => low = reader.i64(field)?,
                2 => high = reader.i64(field)?,
                3 => span.span_id = reader.i64(field)?.cast_unsigned(),
                4 => span.parent_id = reader.i64(field)?.cast_unsigned(),
                5 => span.name = self.names.get(reader.text(field)?),
                6 => {
                    reader.list(field, Kind::Struct, |reader| {
                        self.elements.charge(1)?;
                        span.references.push(reference(reader)?);
                        Ok(())
                    })?;
                }
                7 => span.flags = reader.i32(field)?.cast_unsigned(),
                8 => start_us = reader.i64(field)?,
                9 => duration_us = reader.i64(field)?,
                10 => span.tags = self.tags(reader, field)?,
                11 => {
                    reader.list(field, Kind::Struct, |reader| {
                        self.elements.charge(1)?;
                        let log = self.log(reader, &mut span.refusal)?;
                        span.logs.push(log);
                        Ok(())
                    })?;
                }
                _ => {}
            }
            Ok(())
        })?;
        span.trace_id = trace_id(low, high);
        match (ns_of_us(start_us), ns_of_us(duration_us)) {
            (Some(start_ns), Some(duration_ns)) => {
                (span.start_ns, span.duration_ns) = (start_ns, duration_ns);
            }
            (None, _) => span.refuse(beyond("start time", start_us)),
            (_, None) => span.refuse(beyond("duration", duration_us)),
        }
        Ok(span)
    }

    fn log(&mut self, reader: &mut Reader<'_>, refusal: &mut Option<String>) -> Result<Log> {
        let mut log = Log::default();
        reader.structure(|reader, field| {
            match field.id {
                1 => {
                    let t_us = reader.i64(field)?;
                    log.t_ns = ns_of_us(t_us).unwrap_or_else(|| {
                        refusal.get_or_insert_with(|| beyond("time of a log", t_us));
                        0
                    });
                }
                2 => log.fields = self.tags(reader, field)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(log)
    }

    fn tags(&mut self, reader: &mut Reader<'_>, field: Field) -> Result<Attributes> {
        let mut tags = Attributes::new();
        reader.list(field, Kind::Struct, |reader| {
            self.elements.charge(1)?;
            tags.push(self.tag(reader)?);
            Ok(())
        })?;
        Ok(tags)
    }

    fn tag(&mut self, reader: &mut Reader<'_>) -> Result<(Arc<str>, AttributeValue)> {
        let (mut name, mut kind) = ("", 0);
        let (mut text, mut double, mut truth, mut whole, mut bytes) = ("", 0.0, false, 0, &[][..]);
        reader.structure(|reader, field| {
            match field.id {
                1 => name = reader.text(field)?,
                2 => kind = reader.i32(field)?,
                3 => text = reader.text(field)?,
                4 => double = reader.double(field)?,
                5 => truth = reader.boolean(field)?,
                6 => whole = reader.i64(field)?,
                7 => bytes = reader.binary(field)?,
                _ => {}
            }
            Ok(())
        })?;
        let value = match kind {
            0 => AttributeValue::String(text.to_owned()),
            1 => AttributeValue::Double(double),
            2 => AttributeValue::Bool(truth),
            3 => AttributeValue::Int(whole),
            4 => AttributeValue::Bytes(bytes.to_vec()),
            other => AttributeValue::String(format!("<Unknown Jaeger TagType \"{other}\">")),
        };
        Ok((self.names.get(name), value))
    }
}

fn reference(reader: &mut Reader<'_>) -> Result<Reference> {
    let mut reference = Reference { is_child: true, ..Reference::default() };
    let (mut low, mut high) = (0, 0);
    reader.structure(|reader, field| {
        match field.id {
            1 => reference.is_child = reader.i32(field)? == 0,
            2 => low = reader.i64(field)?,
            3 => high = reader.i64(field)?,
            4 => reference.span_id = reader.i64(field)?.cast_unsigned(),
            _ => {}
        }
        Ok(())
    })?;
    reference.trace_id = trace_id(low, high);
    Ok(reference)
}

fn trace_id(low: i64, high: i64) -> u128 {
    u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned())
}

fn beyond(what: &str, us: i64) -> String {
    format!("{what} {us} µs does not fit in 64 bits of nanoseconds")
}
