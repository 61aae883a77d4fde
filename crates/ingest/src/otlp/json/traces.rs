//! `ExportTraceServiceRequest` in OTLP/JSON.

use std::fmt;
use std::marker::PhantomData;

use memchr::memchr_iter;
use model::{Attributes, Error, Resource, Result, Scope, Span, SpanEvent, SpanLink};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::{Fields, Number, Object, Or, RawKeyValue};
use crate::otlp::traces::{
    Collected, KINDS, Refusal, STATUSES, kind_from_number, span_id, status_from_number, time_ns,
    trace_id,
};
use crate::otlp::value::unhex;
use crate::spans::{Names, Received, too_many};

pub(crate) fn decode(body: &[u8], elements_max: usize) -> Result<Received> {
    let objects = memchr_iter(b'{', body).count();
    if objects > elements_max.saturating_mul(2) {
        return Err(too_many(elements_max));
    }
    let raw: RawRequest = serde_json::from_slice(body)
        .map_err(|e| Error::invalid(format!("body is not an OTLP/JSON traces request: {e}")))?;
    let mut collected = Collected::default();
    let mut names = Names::new();
    for raw in raw.resource_spans.0 {
        for raw in raw.scope_spans.0 {
            let mut spans = Vec::with_capacity(raw.spans.0.len());
            for raw in raw.spans.0 {
                let name = names.get(&raw.name.0);
                match span(raw, &mut names) {
                    Ok(read) => spans.push(Span { name, ..read }),
                    Err(why) => collected.refuse(&name, &why),
                }
            }
            let scope = raw.scope.0;
            let scope = Scope {
                name: scope.name.0,
                version: scope.version.0,
                attributes: attributes(scope.attributes, &mut names),
                dropped_attributes: scope.dropped_attributes_count.0.0,
                schema_url: raw.schema_url.0,
            };
            collected.scope(scope, spans);
        }
        let resource = raw.resource.0;
        collected.end_of_resource(Resource {
            attributes: attributes(resource.attributes, &mut names),
            dropped_attributes: resource.dropped_attributes_count.0.0,
            schema_url: raw.schema_url.0,
        });
    }
    Ok(collected.received)
}

/// A span without its name.
fn span(raw: RawSpan, names: &mut Names) -> Result<Span, Refusal> {
    Ok(Span {
        trace_id: trace_id(&id(&raw.trace_id.0, "TraceID")?, false)?,
        span_id: span_id(&id(&raw.span_id.0, "SpanID")?, "SpanID", false)?,
        parent_id: span_id(&id(&raw.parent_span_id.0, "ParentSpanID")?, "ParentSpanID", true)?,
        trace_state: raw.trace_state.0,
        flags: raw.flags.0.0,
        name: Span::default().name,
        kind: kind_from_number(raw.kind.0.0),
        start_ns: time_ns(raw.start_time_unix_nano.0.0, "start")?,
        end_ns: time_ns(raw.end_time_unix_nano.0.0, "end")?,
        status: status_from_number(raw.status.0.code.0.0),
        status_message: raw.status.0.message.0,
        attributes: attributes(raw.attributes, names),
        dropped_attributes: raw.dropped_attributes_count.0.0,
        events: raw.events.0.into_iter().map(|raw| event(raw, names)).collect::<Result<_, _>>()?,
        dropped_events: raw.dropped_events_count.0.0,
        links: raw.links.0.into_iter().map(|raw| link(raw, names)).collect::<Result<_, _>>()?,
        dropped_links: raw.dropped_links_count.0.0,
    })
}

fn event(raw: RawEvent, names: &mut Names) -> Result<SpanEvent, Refusal> {
    Ok(SpanEvent {
        t_ns: time_ns(raw.time_unix_nano.0.0, "event")?,
        name: names.get(&raw.name.0),
        attributes: attributes(raw.attributes, names),
        dropped_attributes: raw.dropped_attributes_count.0.0,
    })
}

fn link(raw: RawLink, names: &mut Names) -> Result<SpanLink, Refusal> {
    let what = "SpanID of a link";
    Ok(SpanLink {
        trace_id: trace_id(&id(&raw.trace_id.0, "TraceID of a link")?, true)?,
        span_id: span_id(&id(&raw.span_id.0, what)?, what, true)?,
        trace_state: raw.trace_state.0,
        flags: raw.flags.0.0,
        attributes: attributes(raw.attributes, names),
        dropped_attributes: raw.dropped_attributes_count.0.0,
    })
}

fn attributes(raw: Or<Vec<RawKeyValue>>, names: &mut Names) -> Attributes {
    raw.0
        .into_iter()
        .map(|pair| (names.get(&pair.key.0), pair.value.0.into_value().into()))
        .collect()
}

fn id(digits: &str, what: &str) -> Result<Vec<u8>, Refusal> {
    unhex(digits).ok_or_else(|| {
        let len = digits.len();
        format!("invalid {what} {digits:.40?} of {len} characters: not pairs of hexadecimal digits")
    })
}

message!(RawRequest { resource_spans("resource_spans"): Or<Vec<RawResourceSpans>>, });
message!(RawResourceSpans {
    resource: Or<RawResource>,
    scope_spans("scope_spans"): Or<Vec<RawScopeSpans>>,
    schema_url("schema_url"): Or<String>,
});
message!(RawResource {
    attributes: Or<Vec<RawKeyValue>>,
    dropped_attributes_count("dropped_attributes_count"): Or<Number<u32>>,
});
message!(RawScopeSpans {
    scope: Or<RawScope>,
    spans: Or<Vec<RawSpan>>,
    schema_url("schema_url"): Or<String>,
});
message!(RawScope {
    name: Or<String>,
    version: Or<String>,
    attributes: Or<Vec<RawKeyValue>>,
    dropped_attributes_count("dropped_attributes_count"): Or<Number<u32>>,
});
message!(RawSpan {
    trace_id("trace_id"): Or<String>,
    span_id("span_id"): Or<String>,
    trace_state("trace_state"): Or<String>,
    parent_span_id("parent_span_id"): Or<String>,
    name: Or<String>,
    kind: Or<Enumerated<Kind>>,
    start_time_unix_nano("start_time_unix_nano"): Or<Number<u64>>,
    end_time_unix_nano("end_time_unix_nano"): Or<Number<u64>>,
    attributes: Or<Vec<RawKeyValue>>,
    dropped_attributes_count("dropped_attributes_count"): Or<Number<u32>>,
    events: Or<Vec<RawEvent>>,
    dropped_events_count("dropped_events_count"): Or<Number<u32>>,
    links: Or<Vec<RawLink>>,
    dropped_links_count("dropped_links_count"): Or<Number<u32>>,
    status: Or<RawStatus>,
    flags: Or<Number<u32>>,
});
message!(RawStatus { message: Or<String>, code: Or<Enumerated<Code>>, });
message!(RawEvent {
    time_unix_nano("time_unix_nano"): Or<Number<u64>>,
    name: Or<String>,
    attributes: Or<Vec<RawKeyValue>>,
    dropped_attributes_count("dropped_attributes_count"): Or<Number<u32>>,
});
message!(RawLink {
    trace_id("trace_id"): Or<String>,
    span_id("span_id"): Or<String>,
    trace_state("trace_state"): Or<String>,
    attributes: Or<Vec<RawKeyValue>>,
    dropped_attributes_count("dropped_attributes_count"): Or<Number<u32>>,
    flags: Or<Number<u32>>,
});

/// Whether `text` is what some senders leave of `name`: `OK` of `STATUS_CODE_OK`.
fn is_short(name: &str, text: &str) -> bool {
    name.rsplit('_').next() == Some(text)
}

/// An enumeration's numbers have names.
trait Named: Default {
    const NAMES: &'static [&'static str];
}

#[derive(Default)]
struct Kind;

impl Named for Kind {
    const NAMES: &'static [&'static str] = &KINDS;
}

#[derive(Default)]
struct Code;

impl Named for Code {
    const NAMES: &'static [&'static str] = &STATUSES;
}

/// A member of an enumeration, by its number or its name.
#[derive(Default)]
struct Enumerated<N>(i32, PhantomData<N>);

impl<N: Named> Visitor<'_> for Enumerated<N> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number or one of {}", N::NAMES.join(", "))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self, E> {
        // Numbers of later versions mean that nothing is known.
        Ok(Self(i32::try_from(number).unwrap_or(0), self.1))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self, E> {
        let number = text.parse().ok();
        number
            .or_else(|| {
                let at = N::NAMES.iter().position(|name| *name == text || is_short(name, text))?;
                i32::try_from(at).ok()
            })
            .map(|number| Self(number, self.1))
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de, N: Named> Deserialize<'de> for Enumerated<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self::default())
    }
}
