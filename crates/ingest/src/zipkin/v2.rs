//! Spans of version 2.

use model::{AttributeValue, Attributes, SpanEvent, SpanKind, SpanLink};

use super::resource::resource;
use super::{Annotation, Basics, Collected, Endpoint, START_ABSENT, Translated, set_status};
use crate::spans::{ScopeName, take, text_of};

#[derive(Debug, Default)]
pub(super) struct V2Span {
    pub(super) basics: Basics,
    pub(super) kind: SpanKind,
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    pub(super) annotations: Vec<Annotation>,
    pub(super) tags: Attributes,
}

pub(super) fn add(from: V2Span, now_ns: i64, collected: &mut Collected) {
    let name = from.basics.name.clone();
    collected.add(&name, translate(from, now_ns));
}

fn translate(from: V2Span, now_ns: i64) -> Result<Translated, String> {
    let first_us = from.annotations.iter().map(|annotation| annotation.t_us).min();
    let (mut span, is_absent) = from.basics.into_span(first_us, now_ns)?;
    let mut tags = from.tags;
    let scope = ScopeName::take(&mut tags);
    let resource = resource(from.local.service.clone(), &mut tags);
    let kind = take(&mut tags, "span.kind").and_then(text_of);
    span.kind = match kind.as_deref() {
        Some("internal") if from.kind == SpanKind::Unspecified => SpanKind::Internal,
        _ => from.kind,
    };
    let trace_state = take(&mut tags, "w3c.tracestate").and_then(text_of);
    span.trace_state = trace_state.unwrap_or_default();
    set_status(&mut span, &mut tags);
    tags.retain(|(name, value)| match (name.strip_prefix("otlp.link."), value) {
        (Some(_), AttributeValue::String(text)) => match link(text) {
            Some(link) => {
                span.links.push(link);
                false
            }
            None => true,
        },
        _ => true,
    });
    from.local.add_to(&mut tags, "host");
    from.remote.add_peer(&mut tags);
    if is_absent {
        tags.push((START_ABSENT.into(), AttributeValue::Bool(true)));
    }
    span.attributes = tags;
    for annotation in from.annotations {
        span.events.push(event(&annotation)?);
    }
    Ok((resource, scope, span))
}

/// `{"name": {…}}` or `name|{…}|dropped`, as OpenTelemetry's exporters write events; any other text is a name.
pub(super) fn event(annotation: &Annotation) -> Result<SpanEvent, String> {
    let t_ns = super::ns(annotation.t_us)?;
    let text = &annotation.value;
    let (name, attributes, dropped_attributes) =
        named(text).or_else(|| piped(text)).unwrap_or_else(|| (text.clone(), Attributes::new(), 0));
    Ok(SpanEvent { t_ns, name: name.into(), attributes, dropped_attributes })
}

fn named(text: &str) -> Option<(String, Attributes, u32)> {
    if !text.starts_with('{') {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let mut members = object.into_iter();
    match (members.next(), members.next()) {
        (Some((name, serde_json::Value::Object(inner))), None) => {
            Some((name, attributes_of(inner)?, 0))
        }
        _ => None,
    }
}

fn piped(text: &str) -> Option<(String, Attributes, u32)> {
    let (name, rest) = text.split_once('|')?;
    let (attributes, dropped) = rest.rsplit_once('|')?;
    Some((name.to_owned(), json_attributes(attributes)?, dropped.parse().ok()?))
}

/// `trace|span|state|{…}|dropped`
fn link(text: &str) -> Option<SpanLink> {
    let mut parts = text.splitn(4, '|');
    let (trace_id, span_id, trace_state) = (parts.next()?, parts.next()?, parts.next()?);
    let (attributes, dropped) = parts.next()?.rsplit_once('|')?;
    let hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if trace_id.len() != 32 || span_id.len() != 16 || !hex(trace_id) || !hex(span_id) {
        return None;
    }
    Some(SpanLink {
        trace_id: u128::from_str_radix(trace_id, 16).ok()?,
        span_id: u64::from_str_radix(span_id, 16).ok()?,
        trace_state: trace_state.to_owned(),
        flags: 0,
        attributes: json_attributes(attributes)?,
        dropped_attributes: dropped.parse().ok()?,
    })
}

fn json_attributes(json: &str) -> Option<Attributes> {
    attributes_of(serde_json::from_str(json).ok()?)
}

fn attributes_of(object: serde_json::Map<String, serde_json::Value>) -> Option<Attributes> {
    let mut attributes = Attributes::with_capacity(object.len());
    for (name, value) in object {
        let value = match value {
            serde_json::Value::Bool(value) => AttributeValue::Bool(value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(value) => AttributeValue::Int(value),
                None => AttributeValue::Double(number.as_f64()?),
            },
            serde_json::Value::String(text) => AttributeValue::String(text),
            other => AttributeValue::String(other.to_string()),
        };
        attributes.push((name.into(), value));
    }
    Some(attributes)
}
