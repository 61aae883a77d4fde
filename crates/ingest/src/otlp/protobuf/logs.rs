//! `ExportLogsServiceRequest` in binary protobuf.

use model::{ErrorKind, Result};

use super::{Decoder, each};
use crate::otlp::logs::{Record, Request, ResourceLogs, ScopeLogs};
use crate::protobuf::{Field, Reader};

pub(crate) fn decode(body: &[u8], elements_max: usize) -> Result<Request> {
    let mut decoder = Decoder::new(elements_max, model::text_of_bytes);
    let mut request = Request::default();
    each(Reader::new(body), |field| {
        if field.number == 1 {
            request.resources.push(resource(&mut decoder, &field)?);
        }
        Ok(())
    })
    .map_err(|e| match e.kind() {
        ErrorKind::Limit => e,
        _ => e.context("body is not an OTLP/protobuf logs request"),
    })?;
    Ok(request)
}

fn resource(decoder: &mut Decoder, field: &Field<'_>) -> Result<ResourceLogs> {
    decoder.charge(1)?;
    let mut resource = ResourceLogs::default();
    each(field.message()?, |field| {
        match field.number {
            1 => each(field.message()?, |field| {
                if field.number == 1 {
                    resource.attributes.push(decoder.attribute(&field, 0)?);
                }
                Ok(())
            })?,
            2 => resource.scopes.push(scope(decoder, &field)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(resource)
}

fn scope(decoder: &mut Decoder, field: &Field<'_>) -> Result<ScopeLogs> {
    decoder.charge(1)?;
    let mut scope = ScopeLogs::default();
    each(field.message()?, |field| {
        match field.number {
            1 => {
                (scope.name, scope.version, scope.attributes) = decoder.instrumentation(&field)?;
            }
            2 => scope.records.push(record(decoder, &field)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(scope)
}

fn record(decoder: &mut Decoder, field: &Field<'_>) -> Result<Record> {
    decoder.charge(1)?;
    let mut record = Record::default();
    each(field.message()?, |field| {
        match field.number {
            1 => record.time_ns = field.fixed64()?,
            2 => record.severity_number = field.int32()?,
            3 => record.severity_text = decoder.text(&field)?.into_owned(),
            5 => record.body = decoder.value(&field, 0)?,
            6 => record.attributes.push(decoder.attribute(&field, 0)?),
            7 => record.dropped_attributes = field.uint32()?,
            8 => record.flags = field.fixed32()?,
            9 => record.trace_id = field.bytes()?.to_vec(),
            10 => record.span_id = field.bytes()?.to_vec(),
            11 => record.observed_ns = field.fixed64()?,
            12 => record.event_name = decoder.text(&field)?.into_owned(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(record)
}
