//! Spans of version 1: core annotations tell kind, service and times.

use model::{AttributeValue, Attributes, SpanKind};

use super::resource::resource;
use super::v2::event;
use super::{Annotation, Basics, Collected, Endpoint, START_ABSENT, Translated, set_status};
use crate::spans::{ScopeName, take, text_of};

#[derive(Debug, Default)]
pub(super) struct V1Span {
    pub(super) basics: Basics,
    pub(super) annotations: Vec<Annotation>,
    pub(super) binary: Vec<BinaryAnnotation>,
}

#[derive(Debug)]
pub(super) struct BinaryAnnotation {
    pub(super) key: String,
    pub(super) value: AttributeValue,
    pub(super) endpoint: Option<Endpoint>,
}

/// The service when nothing names one.
const UNKNOWN_SERVICE: &str = "unknown-service";
/// Says which library works inside of the process.
const LOCAL_COMPONENT: &str = "lc";

pub(super) fn add(from: V1Span, now_ns: i64, collected: &mut Collected) {
    let name = from.basics.name.clone();
    collected.add(&name, translate(from, now_ns));
}

fn kind_of(annotation: &str) -> Option<SpanKind> {
    match annotation {
        "cs" | "cr" => Some(SpanKind::Client),
        "ss" | "sr" => Some(SpanKind::Server),
        "ms" => Some(SpanKind::Producer),
        "mr" => Some(SpanKind::Consumer),
        _ => None,
    }
}

fn translate(mut from: V1Span, now_ns: i64) -> Result<Translated, String> {
    from.annotations.retain(|annotation| !annotation.value.is_empty());
    let times = from.annotations.iter().map(|annotation| annotation.t_us);
    let (first_us, last_us) = (times.clone().min(), times.max());
    let is_timed = from.basics.t_us > 0;
    let (mut span, is_absent) = from.basics.into_span(first_us, now_ns)?;
    if !is_timed
        && let (Some(first_us), Some(last_us)) = (first_us, last_us)
        && first_us > 0
    {
        // The clients that leave the time out mean that of their annotations.
        span.end_ns = super::ns(last_us)?;
    }
    let kind = from.annotations.iter().find_map(|annotation| kind_of(&annotation.value));
    span.kind = kind.unwrap_or_default();
    let endpoint = endpoint(&from.annotations, &from.binary);
    let mut attributes = binary_annotations(from.binary, span.kind);
    let Endpoint { service, ipv4, ipv6, port } = endpoint;
    let mut resource = resource(service, &mut attributes);
    let port = if port == 0 { String::new() } else { port.to_string() };
    let places = [("ipv4", ipv4), ("ipv6", ipv6), ("port", port)].into_iter();
    let places = places.filter(|(_, value)| !value.is_empty());
    resource.extend(places.map(|(name, value)| (name.to_owned(), value)));
    let scope = ScopeName::take(&mut attributes);
    let trace_state = take(&mut attributes, "w3c.tracestate").and_then(text_of);
    span.trace_state = trace_state.unwrap_or_default();
    set_status(&mut span, &mut attributes);
    if is_absent && first_us.is_none_or(|t_us| t_us <= 0) {
        attributes.push((START_ABSENT.into(), AttributeValue::Bool(true)));
    }
    span.attributes = attributes;
    for annotation in &from.annotations {
        if kind_of(&annotation.value).is_none() {
            span.events.push(event(annotation)?);
        }
    }
    Ok((resource, scope, span))
}

/// Where the span ran: what its core annotations say, then its others, then its tags, then its component.
fn endpoint(annotations: &[Annotation], binary: &[BinaryAnnotation]) -> Endpoint {
    let named = |endpoint: &Option<Endpoint>| endpoint.clone().filter(|e| !e.service.is_empty());
    let core = annotations.iter().filter(|a| kind_of(&a.value).is_some());
    let found = core.clone().find_map(|a| named(&a.endpoint));
    let found = found.or_else(|| annotations.iter().find_map(|a| named(&a.endpoint)));
    let tags = || binary.iter().filter(|tag| !is_address(tag));
    let found = found.or_else(|| tags().find_map(|tag| named(&tag.endpoint)));
    found.unwrap_or_else(|| {
        let component = tags().find(|tag| tag.key == LOCAL_COMPONENT).map(|tag| &tag.value);
        let service = match component {
            Some(AttributeValue::String(name)) if !name.is_empty() => name.clone(),
            _ => UNKNOWN_SERVICE.to_owned(),
        };
        Endpoint { service, ..Endpoint::default() }
    })
}

/// Whether this is no tag but the address of a server, client or broker.
fn is_address(tag: &BinaryAnnotation) -> bool {
    matches!(tag.key.as_str(), "sa" | "ca" | "ma") && tag.endpoint.is_some()
}

fn binary_annotations(binary: Vec<BinaryAnnotation>, kind: SpanKind) -> Attributes {
    let mut attributes = Attributes::with_capacity(binary.len());
    for tag in binary {
        let is_peer = match tag.key.as_str() {
            "sa" => kind != SpanKind::Server,
            "ca" => kind == SpanKind::Server,
            "ma" => true,
            _ => false,
        };
        match &tag.endpoint {
            Some(peer) if is_peer => peer.add_peer(&mut attributes),
            _ if tag.key == LOCAL_COMPONENT => attributes.push(("component".into(), tag.value)),
            _ => attributes.push((tag.key.into(), tag.value)),
        }
    }
    attributes
}
