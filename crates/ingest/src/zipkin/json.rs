//! Spans of both versions in JSON, read where they stand.

use model::{AttributeValue, Error, ErrorKind, Result, SpanKind};

use super::v1::{self, BinaryAnnotation, V1Span};
use super::v2::{self, V2Span};
use super::{Annotation, Basics, Collected, Endpoint};
use crate::json::Reader;
use crate::spans::{Elements, Names, Received, SPAN_ELEMENTS};

pub(super) fn v2_spans(body: &[u8], elements_max: usize, now_ns: i64) -> Result<Received> {
    spans(body, elements_max, "2", |reading, reader, collected| {
        v2::add(reading.v2_span(reader)?, now_ns, collected);
        Ok(())
    })
}

pub(super) fn v1_spans(body: &[u8], elements_max: usize, now_ns: i64) -> Result<Received> {
    spans(body, elements_max, "1", |reading, reader, collected| {
        v1::add(reading.v1_span(reader)?, now_ns, collected);
        Ok(())
    })
}

fn spans(
    body: &[u8],
    elements_max: usize,
    version: &str,
    mut span: impl FnMut(&mut Reading, &mut Reader<'_>, &mut Collected) -> Result<()>,
) -> Result<Received> {
    let mut reading = Reading { elements: Elements::new(elements_max), names: Names::new() };
    let mut collected = Collected::default();
    let mut read = || -> Result<()> {
        let mut reader = Reader::new(body);
        let mut items = reader.list("a list of spans")?;
        while items.next(&mut reader)? {
            reading.elements.charge(SPAN_ELEMENTS)?;
            span(&mut reading, &mut reader, &mut collected)?;
        }
        reader.end()
    };
    read().map_err(|e| match e.kind() {
        ErrorKind::Limit => e,
        _ => {
            e.context(format_args!("body is no list of Zipkin's spans, version {version}, in JSON"))
        }
    })?;
    Ok(collected.finish())
}

struct Reading {
    elements: Elements,
    names: Names,
}

/// Members of an object, or of what `null` stands for.
fn members(
    reader: &mut Reader<'_>,
    what: &str,
    mut each: impl FnMut(&mut Reader<'_>, &str) -> Result<()>,
) -> Result<()> {
    if reader.null() {
        return Ok(());
    }
    let mut members = reader.object(what)?;
    while let Some(name) = members.next(reader)? {
        each(reader, &name)?;
    }
    Ok(())
}

impl Reading {
    fn v2_span(&mut self, reader: &mut Reader<'_>) -> Result<V2Span> {
        let mut span = V2Span::default();
        members(reader, "a span", |reader, name| {
            match name {
                "kind" => span.kind = kind(&text(reader)?),
                "localEndpoint" => span.local = endpoint(reader)?,
                "remoteEndpoint" => span.remote = endpoint(reader)?,
                "annotations" => span.annotations = self.annotations(reader)?,
                "tags" => members(reader, "an object of tags", |reader, name| {
                    self.elements.charge(1)?;
                    span.tags.push((self.names.get(name), AttributeValue::String(text(reader)?)));
                    Ok(())
                })?,
                _ => self.basic(reader, name, &mut span.basics)?,
            }
            Ok(())
        })?;
        Ok(span)
    }

    fn v1_span(&mut self, reader: &mut Reader<'_>) -> Result<V1Span> {
        let mut span = V1Span::default();
        members(reader, "a span", |reader, name| {
            match name {
                "annotations" => span.annotations = self.annotations(reader)?,
                "binaryAnnotations" => {
                    items(reader, "a list of binary annotations", |reader| {
                        self.elements.charge(1)?;
                        span.binary.push(binary_annotation(reader)?);
                        Ok(())
                    })?;
                }
                _ => self.basic(reader, name, &mut span.basics)?,
            }
            Ok(())
        })?;
        Ok(span)
    }

    fn basic(&mut self, reader: &mut Reader<'_>, name: &str, basics: &mut Basics) -> Result<()> {
        match name {
            "traceId" => basics.trace_id = id(&text(reader)?, "traceId", 32, &mut basics.refusal),
            "id" => basics.span_id = span_id(&text(reader)?, "id", &mut basics.refusal),
            "parentId" => {
                let text = text(reader)?;
                if !text.is_empty() {
                    basics.parent_id = span_id(&text, "parentId", &mut basics.refusal);
                }
            }
            "name" => basics.name = self.names.get(&text(reader)?),
            "timestamp" => basics.t_us = whole(reader)?,
            "duration" => basics.duration_us = whole(reader)?,
            "debug" => basics.is_debug = text(reader)? == "true",
            // `shared` says what equal ids say as well.
            _ => {
                reader.skip()?;
            }
        }
        Ok(())
    }

    fn annotations(&mut self, reader: &mut Reader<'_>) -> Result<Vec<Annotation>> {
        let mut annotations = Vec::new();
        items(reader, "a list of annotations", |reader| {
            self.elements.charge(1)?;
            let mut annotation = Annotation::default();
            members(reader, "an annotation", |reader, name| {
                match name {
                    "timestamp" => annotation.t_us = whole(reader)?,
                    "value" => annotation.value = text(reader)?,
                    "endpoint" => annotation.endpoint = Some(endpoint(reader)?),
                    _ => {
                        reader.skip()?;
                    }
                }
                Ok(())
            })?;
            annotations.push(annotation);
            Ok(())
        })?;
        Ok(annotations)
    }
}

fn items(
    reader: &mut Reader<'_>,
    what: &str,
    mut each: impl FnMut(&mut Reader<'_>) -> Result<()>,
) -> Result<()> {
    if reader.null() {
        return Ok(());
    }
    let mut items = reader.list(what)?;
    while items.next(reader)? {
        each(reader)?;
    }
    Ok(())
}

fn binary_annotation(reader: &mut Reader<'_>) -> Result<BinaryAnnotation> {
    let (mut key, mut value, mut place) = (String::new(), String::new(), None);
    members(reader, "a binary annotation", |reader, name| {
        match name {
            "key" => key = text(reader)?,
            "value" => value = text(reader)?,
            "endpoint" => place = Some(endpoint(reader)?),
            _ => {
                reader.skip()?;
            }
        }
        Ok(())
    })?;
    Ok(BinaryAnnotation { key, value: AttributeValue::String(value), endpoint: place })
}

fn endpoint(reader: &mut Reader<'_>) -> Result<Endpoint> {
    let mut endpoint = Endpoint::default();
    members(reader, "an endpoint", |reader, name| {
        match name {
            "serviceName" => endpoint.service = text(reader)?,
            "ipv4" => endpoint.ipv4 = text(reader)?,
            "ipv6" => {
                let text = text(reader)?;
                // One address, one spelling.
                let address = text.parse::<std::net::Ipv6Addr>().map(|address| address.to_string());
                endpoint.ipv6 = address.unwrap_or(text);
            }
            "port" => endpoint.port = whole(reader)?,
            _ => {
                reader.skip()?;
            }
        }
        Ok(())
    })?;
    Ok(endpoint)
}

/// A text; numbers, truth values and lists, which some clients send, as they are written; nothing for `null`.
fn text(reader: &mut Reader<'_>) -> Result<String> {
    if reader.null() {
        return Ok(String::new());
    }
    if reader.peek() == Some(b'"') {
        return Ok(reader.utf8()?.into_owned());
    }
    let place = reader.clone();
    let written = reader.skip()?;
    let written = std::str::from_utf8(written).map_err(|_| place.error("a value is not UTF-8"))?;
    Ok(written.to_owned())
}

/// A whole number, or a text of one; 0 for `null`.
#[expect(clippy::cast_possible_truncation, reason = "whole and in range, as was just looked at")]
fn whole(reader: &mut Reader<'_>) -> Result<i64> {
    let place = reader.clone();
    let text = text(reader)?;
    let wrong = || -> Error { place.error("expected a whole number") };
    if text.is_empty() {
        return Ok(0);
    }
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let number: f64 = text.parse().map_err(|_| wrong())?;
    if number.abs() < 9.2e18 { Ok(number as i64) } else { Err(wrong()) }
}

fn kind(name: &str) -> SpanKind {
    match name {
        "CLIENT" => SpanKind::Client,
        "SERVER" => SpanKind::Server,
        "PRODUCER" => SpanKind::Producer,
        "CONSUMER" => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}

fn span_id(text: &str, what: &str, refusal: &mut Option<String>) -> u64 {
    u64::try_from(id(text, what, 16, refusal)).unwrap_or(0)
}

/// Hexadecimal digits, whose leading zeros may be left out.
fn id(text: &str, what: &str, digits_max: usize, refusal: &mut Option<String>) -> u128 {
    let is_id =
        (1..=digits_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_id {
        let len = text.chars().count();
        let shown: String = text.chars().take(40).collect();
        refusal.get_or_insert_with(|| {
            format!("invalid {what} {shown:?} of {len} characters; need 1 to {digits_max} hexadecimal digits")
        });
        return 0;
    }
    u128::from_str_radix(text, 16).expect("BUG: these are hexadecimal digits that fit")
}
