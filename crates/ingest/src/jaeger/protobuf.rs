//! `jaeger.api_v2.PostSpansRequest` in protobuf.

use std::sync::Arc;

use model::{AttributeValue, ErrorKind, Resource, Result};

use super::translate::{Batch, JaegerSpan, Log, Process, Reference, resource};
use crate::protobuf::{Field, Reader};
use crate::spans::{Elements, Names, Received, SPAN_ELEMENTS};

pub(super) fn decode(message: &[u8], elements_max: usize) -> Result<Received> {
    let mut reading = Reading { elements: Elements::new(elements_max), names: Names::new() };
    let mut batch = Batch::default();
    each(Reader::new(message), |field| {
        if field.number == 1 {
            reading.batch(&field, &mut batch)?;
        }
        Ok(())
    })
    .map_err(|e| match e.kind() {
        ErrorKind::Limit => e,
        _ => e.context("message is not a PostSpansRequest of Jaeger"),
    })?;
    Ok(batch.finish())
}

pub(super) fn each<'a>(
    mut reader: Reader<'a>,
    mut visit: impl FnMut(Field<'a>) -> Result<()>,
) -> Result<()> {
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
    fn batch(&mut self, field: &Field<'_>, batch: &mut Batch) -> Result<()> {
        let (mut spans, mut process) = (Vec::new(), None);
        each(field.message()?, |field| {
            match field.number {
                1 => {
                    self.elements.charge(SPAN_ELEMENTS)?;
                    spans.push(self.span(&field)?);
                }
                2 => process = Some(self.process(&field)?),
                _ => {}
            }
            Ok(())
        })?;
        let of_batch = Arc::new(resource(process.unwrap_or_default()));
        // Spans that name their own process mostly name the same one.
        let mut own: Option<(Process, Arc<Resource>)> = None;
        for (span, process) in spans {
            let resource = match (process, &own) {
                (None, _) => of_batch.clone(),
                (Some(process), Some((known, resource))) if process == *known => resource.clone(),
                (Some(process), _) => {
                    let copy =
                        Process { service: process.service.clone(), tags: process.tags.clone() };
                    let made = Arc::new(resource(copy));
                    let made = if made == of_batch { of_batch.clone() } else { made };
                    own = Some((process, made.clone()));
                    made
                }
            };
            batch.push(&resource, span);
        }
        Ok(())
    }

    fn process(&mut self, field: &Field<'_>) -> Result<Process> {
        let mut process = Process::default();
        each(field.message()?, |field| {
            match field.number {
                1 => field.text()?.clone_into(&mut process.service),
                2 => process.tags.push(self.tag(&field)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(process)
    }

    fn span(&mut self, field: &Field<'_>) -> Result<(JaegerSpan, Option<Process>)> {
        let (mut span, mut process) = (JaegerSpan::default(), None);
        each(field.message()?, |field| {
            match field.number {
                1 => span.trace_id = trace_id(&field, &mut span.refusal)?,
                2 => span.span_id = span_id(&field, &mut span.refusal)?,
                3 => span.name = self.names.get(field.text()?),
                4 => {
                    self.elements.charge(1)?;
                    let reference = reference(&field, &mut span.refusal)?;
                    span.references.push(reference);
                }
                5 => span.flags = field.uint32()?,
                6 => span.start_ns = nanoseconds(&field, "start time", &mut span.refusal)?,
                7 => span.duration_ns = nanoseconds(&field, "duration", &mut span.refusal)?,
                8 => span.tags.push(self.tag(&field)?),
                9 => {
                    self.elements.charge(1)?;
                    let log = self.log(&field, &mut span.refusal)?;
                    span.logs.push(log);
                }
                10 => process = Some(self.process(&field)?),
                12 => {
                    self.elements.charge(1)?;
                    span.warnings.push(field.text()?.to_owned());
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok((span, process))
    }

    fn log(&mut self, field: &Field<'_>, refusal: &mut Option<String>) -> Result<Log> {
        let mut log = Log::default();
        each(field.message()?, |field| {
            match field.number {
                1 => log.t_ns = nanoseconds(&field, "time of a log", refusal)?,
                2 => log.fields.push(self.tag(&field)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(log)
    }

    fn tag(&mut self, field: &Field<'_>) -> Result<(Arc<str>, AttributeValue)> {
        self.elements.charge(1)?;
        let (mut name, mut kind) = ("", 0);
        let (mut text, mut truth, mut whole, mut double, mut bytes) = ("", false, 0, 0.0, &[][..]);
        each(field.message()?, |field| {
            match field.number {
                1 => name = field.text()?,
                2 => kind = field.int32()?,
                3 => text = field.text()?,
                4 => truth = field.boolean()?,
                5 => whole = field.int64()?,
                6 => double = field.double()?,
                7 => bytes = field.bytes()?,
                _ => {}
            }
            Ok(())
        })?;
        let value = match kind {
            0 => AttributeValue::String(text.to_owned()),
            1 => AttributeValue::Bool(truth),
            2 => AttributeValue::Int(whole),
            3 => AttributeValue::Double(double),
            4 => AttributeValue::Bytes(bytes.to_vec()),
            other => AttributeValue::String(format!("<Unknown Jaeger TagType \"{other}\">")),
        };
        Ok((self.names.get(name), value))
    }
}

fn reference(field: &Field<'_>, refusal: &mut Option<String>) -> Result<Reference> {
    let mut reference = Reference { is_child: true, ..Reference::default() };
    each(field.message()?, |field| {
        match field.number {
            1 => reference.trace_id = trace_id(&field, refusal)?,
            2 => reference.span_id = span_id(&field, refusal)?,
            3 => reference.is_child = field.int32()? == 0,
            _ => {}
        }
        Ok(())
    })?;
    Ok(reference)
}

fn trace_id(field: &Field<'_>, refusal: &mut Option<String>) -> Result<u128> {
    Ok(fixed(field.bytes()?, "TraceID", refusal).map_or(0, u128::from_be_bytes))
}

fn span_id(field: &Field<'_>, refusal: &mut Option<String>) -> Result<u64> {
    Ok(fixed(field.bytes()?, "SpanID", refusal).map_or(0, u64::from_be_bytes))
}

fn fixed<const N: usize>(
    bytes: &[u8],
    what: &str,
    refusal: &mut Option<String>,
) -> Option<[u8; N]> {
    let id = bytes.try_into().ok();
    if id.is_none() {
        refusal.get_or_insert_with(|| {
            format!("invalid length for {what}: {} bytes; need {N}", bytes.len())
        });
    }
    id
}

/// `google.protobuf.Timestamp` and `Duration`: seconds and nanoseconds.
fn nanoseconds(field: &Field<'_>, what: &str, refusal: &mut Option<String>) -> Result<i64> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    each(field.message()?, |field| {
        match field.number {
            1 => seconds = field.int64()?,
            2 => nanos = field.int32()?,
            _ => {}
        }
        Ok(())
    })?;
    let ns = seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(i64::from(nanos)));
    Ok(ns.unwrap_or_else(|| {
        refusal.get_or_insert_with(|| {
            format!("{what} of {seconds} s does not fit in 64 bits of nanoseconds")
        });
        0
    }))
}
