//! OTLP traces: `ExportTraceServiceRequest`, which has the same bytes as `TracesData`, in both directions.
//!
//! A span whose ids are zero or of a wrong length is refused alone; all else is kept as it came, also an end before its
//! start. What is written is what was read: ids, order and types.
//!
//! Source: opentelemetry-proto `trace/v1`.

mod json;
mod protobuf;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use model::{Resource, Result, Scope, Span, SpanGroup, SpanKind, SpanStatus};

use super::Encoding;
use crate::spans::{Received, Refused};

pub use json::IdForm;

/// Reads a request; `elements_max` bounds resources, scopes, spans (four each), attributes, events and links
/// together.
///
/// # Errors
/// As [`otlp::decode`](super::decode).
pub fn decode(encoding: Encoding, body: &[u8], elements_max: usize) -> Result<Received> {
    match encoding {
        Encoding::Protobuf => super::protobuf::traces::decode(body, elements_max),
        Encoding::Json => super::json::traces::decode(body, elements_max),
    }
}

/// `TracesData` in binary protobuf. Neighbours of the same resource share one `ResourceSpans`.
pub fn to_protobuf(groups: &[SpanGroup]) -> Vec<u8> {
    protobuf::encode(groups)
}

/// Bytes of one span in binary protobuf.
pub(crate) fn span_bytes(span: &Span) -> usize {
    protobuf::span_bytes(span)
}

/// Bytes of `TracesData` in binary protobuf, without those of resources and scopes.
pub fn protobuf_bytes(groups: &[SpanGroup]) -> usize {
    groups.iter().flat_map(|group| &group.spans).map(protobuf::span_bytes).sum()
}

/// `TracesData` in JSON, likewise.
pub fn to_json(groups: &[SpanGroup], form: IdForm) -> String {
    let pieces = json_pieces(groups.to_vec(), form, "", "");
    String::from_utf8_lossy(&pieces.flatten().collect::<Vec<u8>>()).into_owned()
}

/// Likewise, in pieces of a text that begins with `head`, ends with `tail`, and is made while it is sent.
pub fn json_pieces(
    groups: Vec<SpanGroup>,
    form: IdForm,
    head: &str,
    tail: &str,
) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
    json::pieces(groups, form, head, tail)
}

/// Groups of neighbours that have the same resource, and among them those of the same scope.
fn by_resource(groups: &[SpanGroup]) -> impl Iterator<Item = &[SpanGroup]> {
    groups.chunk_by(|a, b| Arc::ptr_eq(&a.resource, &b.resource) || a.resource == b.resource)
}

impl Encoding {
    /// The media type of a body.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

pub(super) fn kind_from_number(number: i32) -> SpanKind {
    match number {
        1 => SpanKind::Internal,
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}

fn kind_number(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Unspecified => 0,
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

pub(crate) const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

pub(super) fn status_from_number(number: i32) -> SpanStatus {
    match number {
        1 => SpanStatus::Ok,
        2 => SpanStatus::Error,
        _ => SpanStatus::Unset,
    }
}

fn status_number(status: SpanStatus) -> u8 {
    match status {
        SpanStatus::Unset => 0,
        SpanStatus::Ok => 1,
        SpanStatus::Error => 2,
    }
}

pub(crate) const STATUSES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// What is wrong with a span that cannot be stored.
pub(super) type Refusal = String;

/// The id in `bytes`; an id of a parent or link may be absent.
pub(super) fn trace_id(bytes: &[u8], may_be_absent: bool) -> Result<u128, Refusal> {
    match <[u8; 16]>::try_from(bytes) {
        Ok(id) => required(u128::from_be_bytes(id), 0, "TraceID", may_be_absent),
        Err(_) if bytes.is_empty() => required(0, 0, "TraceID", may_be_absent),
        Err(_) => Err(format!("invalid length for TraceID: {} bytes; need 16", bytes.len())),
    }
}

/// Likewise.
pub(super) fn span_id(bytes: &[u8], what: &str, may_be_absent: bool) -> Result<u64, Refusal> {
    match <[u8; 8]>::try_from(bytes) {
        Ok(id) => required(u64::from_be_bytes(id), 0, what, may_be_absent),
        Err(_) if bytes.is_empty() => required(0, 0, what, may_be_absent),
        Err(_) => Err(format!("invalid length for {what}: {} bytes; need 8", bytes.len())),
    }
}

fn required<T: PartialEq>(id: T, zero: T, what: &str, may_be_absent: bool) -> Result<T, Refusal> {
    if id == zero && !may_be_absent {
        return Err(format!("{what} is empty or all zeros"));
    }
    Ok(id)
}

/// A time of 64 bits without a sign.
pub(super) fn time_ns(t_ns: u64, what: &str) -> Result<i64, Refusal> {
    i64::try_from(t_ns).map_err(|_| format!("{what} time {t_ns} ns is after the year 2262"))
}

/// A time as OTLP has it, which knows none before 1970.
fn unsigned(t_ns: i64) -> u64 {
    u64::try_from(t_ns).unwrap_or(0)
}

/// Collects the scopes of one resource, which is whole only when its message has ended.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) received: Received,
    scopes: Vec<(Scope, Vec<Span>)>,
}

impl Collected {
    pub(super) fn scope(&mut self, scope: Scope, spans: Vec<Span>) {
        if !spans.is_empty() {
            self.scopes.push((scope, spans));
        }
    }

    pub(super) fn end_of_resource(&mut self, resource: Resource) {
        if self.scopes.is_empty() {
            return;
        }
        let resource = Arc::new(resource);
        self.received.groups.extend(self.scopes.drain(..).map(|(scope, spans)| SpanGroup {
            resource: resource.clone(),
            scope: Arc::new(scope),
            spans,
        }));
    }

    pub(super) fn refuse(&mut self, name: &str, why: &str) {
        refuse(&mut self.received.refused, name, why);
    }
}

fn refuse(refused: &mut Refused, name: &str, why: &str) {
    let shown: String = name.chars().take(64).collect();
    refused.add(1, format!("span {shown:?}: {why}"));
}
