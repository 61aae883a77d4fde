//! Jaeger: batches of spans in Thrift and protobuf, and traces as its query API answers with them.
//!
//! Owns: the two forms of batches (`thrift.rs`, `protobuf.rs`), messages to the agent, requests of queries (`query.rs`),
//! what Jaeger's spans are in terms of OpenTelemetry (`translate.rs`) and the way back (`answer.rs`, `skew.rs`). Does not
//! own: HTTP, gRPC, sockets, storing.
//!
//! Tags of the process become the resource, references the parent and links, logs events; `span.kind`, `error`,
//! `otel.status_code`, `w3c.tracestate` and names of scopes are taken out of the tags, as the OpenTelemetry collector
//! does. Unlike there, a tag that comes twice stays twice.
//!
//! Source: jaeger-idl, `jaeger.thrift`, `agent.thrift`, `api_v2/model.proto`; OpenTelemetry, "OpenTelemetry to Jaeger
//! Transformation".

pub mod answer;
mod protobuf;
pub mod query;
mod skew;
#[cfg(test)]
mod tests;
mod thrift;
mod translate;

use model::Result;

use crate::spans::Received;
use crate::thrift::Protocol;

/// Reads a `Batch` in Thrift, as it is posted to a collector's `/api/traces` in the binary protocol. `elements_max`
/// bounds spans (four each), tags, logs and references together.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when it is none, naming the place; [`Limit`](model::ErrorKind::Limit) beyond
/// the bound.
pub fn decode_thrift(protocol: Protocol, body: &[u8], elements_max: usize) -> Result<Received> {
    thrift::batch(protocol, body, elements_max)
}

/// Reads a message to the agent, as it comes in one datagram at `now_ns`: `emitBatch` or `emitZipkinBatch`.
///
/// # Errors
/// As [`decode_thrift`].
pub fn decode_datagram(
    protocol: Protocol,
    datagram: &[u8],
    elements_max: usize,
    now_ns: i64,
) -> Result<Received> {
    thrift::datagram(protocol, datagram, elements_max, now_ns)
}

/// Reads a `PostSpansRequest` of the collector's gRPC service.
///
/// # Errors
/// As [`decode_thrift`].
pub fn decode_protobuf(message: &[u8], elements_max: usize) -> Result<Received> {
    protobuf::decode(message, elements_max)
}
