//! Zipkin: spans of version 1 (JSON, Thrift) and version 2 (JSON, protobuf).
//!
//! Owns: the four forms (`json.rs`, `protobuf.rs`, `thrift.rs`) of two kinds of spans (`v1.rs`, `v2.rs`) and what they are
//! in terms of OpenTelemetry. Does not own: HTTP, storing.
//!
//! The local endpoint's service is the resource, together with tags that describe resources; tags are attributes,
//! annotations events, the remote endpoint is `peer.service` and `net.peer.*`, as in the OpenTelemetry collector. Unlike
//! there, every span keeps its own resource, `error` makes a span failed whatever its text (which becomes the status'
//! message), and a span without a time has the first of its annotations or else the moment it came, with
//! `otel.zipkin.absentField.startTime` to say so. The server's half of a shared span keeps the id it shares.
//!
//! Source: zipkin-api, `zipkin2-api.yaml`, `zipkin-api.yaml`, `zipkin.proto`, `zipkinCore.thrift`.

mod json;
mod protobuf;
mod resource;
#[cfg(test)]
mod tests;
mod thrift;
mod v1;
mod v2;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use model::{Attributes, Resource, Result, Span, SpanStatus};
use rustc_hash::FxHashMap;

use crate::spans::{Groups, Received, Refused, ScopeName, find, put, take, text_of};

pub(crate) use thrift::spans as thrift_spans;

/// How spans are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Version 1 in JSON.
    V1Json,
    /// Version 1 in Thrift's binary protocol: a list of spans.
    V1Thrift,
    /// Version 2 in JSON.
    V2Json,
    /// Version 2 in protobuf: `ListOfSpans`.
    V2Protobuf,
}

/// Reads a body of spans that came at `now_ns`. `elements_max` bounds spans (four each), tags and annotations together.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when it is none of this form, naming the place;
/// [`Limit`](model::ErrorKind::Limit) beyond the bound.
pub fn decode(form: Form, body: &[u8], elements_max: usize, now_ns: i64) -> Result<Received> {
    match form {
        Form::V1Json => json::v1_spans(body, elements_max, now_ns),
        Form::V1Thrift => thrift::body(body, elements_max, now_ns),
        Form::V2Json => json::v2_spans(body, elements_max, now_ns),
        Form::V2Protobuf => protobuf::spans(body, elements_max, now_ns),
    }
}

/// Says that the time of a span was not sent.
const START_ABSENT: &str = "otel.zipkin.absentField.startTime";

/// Where something ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Endpoint {
    service: String,
    ipv4: String,
    ipv6: String,
    port: i64,
}

impl Endpoint {
    fn set_ipv4(&mut self, address: &[u8]) {
        if let Ok(address) = <[u8; 4]>::try_from(address) {
            self.ipv4 = Ipv4Addr::from(address).to_string();
        }
    }

    fn set_ipv6(&mut self, address: &[u8]) {
        if let Ok(address) = <[u8; 16]>::try_from(address) {
            self.ipv6 = Ipv6Addr::from(address).to_string();
        }
    }

    /// Adds addresses under the names that `side`, `host` or `peer`, has.
    fn add_to(&self, attributes: &mut Attributes, side: &str) {
        for address in [&self.ipv4, &self.ipv6] {
            if !address.is_empty() {
                put(attributes, &format!("net.{side}.ip"), address);
            }
        }
        if self.port > 0 {
            attributes
                .push((format!("net.{side}.port").into(), model::AttributeValue::Int(self.port)));
        }
    }

    /// Likewise, for the other side.
    fn add_peer(&self, attributes: &mut Attributes) {
        if !self.service.is_empty() {
            put(attributes, "peer.service", &self.service);
        }
        self.add_to(attributes, "peer");
    }
}

/// Something that happened, with the moment in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Annotation {
    t_us: i64,
    value: String,
    endpoint: Option<Endpoint>,
}

/// Ids, name and times, which both versions have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Basics {
    trace_id: u128,
    span_id: u64,
    parent_id: u64,
    name: Arc<str>,
    /// 0 when it is not known.
    t_us: i64,
    duration_us: i64,
    is_debug: bool,
    /// What is already known to be wrong.
    refusal: Option<String>,
}

impl Basics {
    /// A span with these, whose first event, if it has any, was at `first_us`.
    fn into_span(self, first_us: Option<i64>, now_ns: i64) -> Result<(Span, bool), String> {
        if let Some(why) = self.refusal {
            return Err(why);
        }
        if self.trace_id == 0 || self.span_id == 0 {
            let what = if self.trace_id == 0 { "TraceID" } else { "SpanID" };
            return Err(format!("{what} is empty or all zeros"));
        }
        let is_absent = self.t_us <= 0;
        let t_us = if is_absent { first_us.filter(|t_us| *t_us > 0) } else { Some(self.t_us) };
        let start_ns = t_us.map_or(Ok(now_ns), ns)?;
        let end_ns = start_ns.checked_add(ns(self.duration_us)?);
        let end_ns = end_ns.ok_or_else(|| beyond(self.duration_us))?;
        Ok((
            Span {
                trace_id: self.trace_id,
                span_id: self.span_id,
                parent_id: if self.parent_id == self.span_id { 0 } else { self.parent_id },
                name: self.name,
                flags: u32::from(self.is_debug),
                start_ns,
                end_ns,
                ..Span::default()
            },
            is_absent,
        ))
    }
}

fn ns(us: i64) -> Result<i64, String> {
    crate::spans::ns_of_us(us).ok_or_else(|| beyond(us))
}

fn beyond(us: i64) -> String {
    format!("a time or duration of {us} µs does not fit in 64 bits of nanoseconds")
}

/// Status by the tags that tell it. A tag that says more than that there was an error stays.
fn set_status(span: &mut Span, tags: &mut Attributes) {
    let code = take(tags, "otel.status_code").and_then(text_of);
    if let Some(code) = code {
        let code = code.to_ascii_uppercase();
        span.status = match code.strip_prefix("STATUS_CODE_").unwrap_or(&code) {
            "OK" => SpanStatus::Ok,
            "ERROR" => SpanStatus::Error,
            _ => SpanStatus::Unset,
        };
        let message = take(tags, "otel.status_description").and_then(text_of);
        span.status_message = message.unwrap_or_default();
    }
    match find(tags, "error").cloned() {
        Some(model::AttributeValue::String(text)) if text != "false" => {
            span.status = SpanStatus::Error;
            if text == "true" {
                take(tags, "error");
            } else if span.status_message.is_empty() {
                span.status_message = text;
            }
        }
        Some(model::AttributeValue::Bool(true)) => {
            span.status = SpanStatus::Error;
            take(tags, "error");
        }
        _ => {}
    }
}

/// Attributes of its resource, its scope, and the span.
type Translated = (Vec<(String, String)>, ScopeName, Span);

/// Collects spans; those that say the same of their resource share it.
#[derive(Debug, Default)]
struct Collected {
    groups: Groups,
    refused: Refused,
    resources: FxHashMap<Vec<(String, String)>, Arc<Resource>>,
}

impl Collected {
    fn add(&mut self, name: &str, read: Result<Translated, String>) {
        match read {
            Ok((resource, scope, span)) => {
                let resource = self.resources.entry(resource).or_insert_with_key(|pairs| {
                    let mut attributes = Attributes::with_capacity(pairs.len());
                    pairs.iter().for_each(|(name, value)| put(&mut attributes, name, value));
                    Arc::new(Resource { attributes, ..Resource::default() })
                });
                self.groups.push(resource, scope, span);
            }
            Err(why) => {
                let shown: String = name.chars().take(64).collect();
                self.refused.add(1, format!("span {shown:?}: {why}"));
            }
        }
    }

    fn finish(self) -> Received {
        Received { groups: self.groups.finish(), refused: self.refused }
    }
}
