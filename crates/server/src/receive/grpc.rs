//! gRPC, on ports of its own: the methods of OTLP's three services, of Jaeger's collector, and of its query services.
//!
//! Owns: HTTP/2 connections, gRPC's framing and status trailers. The methods themselves are those of the HTTP side. A gRPC
//! library would bring code generation, another router and forty crates for what is one message in and a few out.
//!
//! The `Host` check of the HTTP side is left out: a browser cannot be made to speak HTTP/2 without TLS, and exporters
//! reach this port under whatever name their network has for it. Tokens are checked as everywhere.
//!
//! Source: gRPC, "gRPC over HTTP2"; OTLP specification, "OTLP/gRPC"; jaeger-idl, `api_v2/collector.proto`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ingest::compression::{self, Encoding};
use ingest::otlp;
use tokio_util::sync::CancellationToken;

use super::origin::Peer;
use super::otlp::{grpc_code, response_message};
use super::{jaeger, otlp as metrics, otlp_logs as logs, otlp_traces as traces};
use crate::access::Role;
use crate::jaeger::grpc::{self as query, Call, Version};
use crate::listen::{self, Listener};
use crate::tenants::{Owner, Reader};
use crate::{App, error};

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Metrics,
    Logs,
    Traces,
    JaegerSpans,
    TraceV2,
    ArchiveV2,
    SearchV2,
    ServicesV2,
    OperationsV2,
    DependenciesV2,
    TraceV3,
    SearchV3,
    ServicesV3,
    OperationsV3,
    DependenciesV3,
    SummariesV3,
}

impl Method {
    /// All, by their number.
    pub(crate) const ALL: [Self; 16] = [
        Self::Metrics,
        Self::Logs,
        Self::Traces,
        Self::JaegerSpans,
        Self::TraceV2,
        Self::ArchiveV2,
        Self::SearchV2,
        Self::ServicesV2,
        Self::OperationsV2,
        Self::DependenciesV2,
        Self::TraceV3,
        Self::SearchV3,
        Self::ServicesV3,
        Self::OperationsV3,
        Self::DependenciesV3,
        Self::SummariesV3,
    ];

    /// Path of its requests.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::JaegerSpans => "/jaeger.api_v2.CollectorService/PostSpans",
            Self::TraceV2 => "/jaeger.api_v2.QueryService/GetTrace",
            Self::ArchiveV2 => "/jaeger.api_v2.QueryService/ArchiveTrace",
            Self::SearchV2 => "/jaeger.api_v2.QueryService/FindTraces",
            Self::ServicesV2 => "/jaeger.api_v2.QueryService/GetServices",
            Self::OperationsV2 => "/jaeger.api_v2.QueryService/GetOperations",
            Self::DependenciesV2 => "/jaeger.api_v2.QueryService/GetDependencies",
            Self::TraceV3 => "/jaeger.api_v3.QueryService/GetTrace",
            Self::SearchV3 => "/jaeger.api_v3.QueryService/FindTraces",
            Self::ServicesV3 => "/jaeger.api_v3.QueryService/GetServices",
            Self::OperationsV3 => "/jaeger.api_v3.QueryService/GetOperations",
            Self::DependenciesV3 => "/jaeger.api_v3.QueryService/GetDependencies",
            Self::SummariesV3 => "/jaeger.api_v3.QueryService/FindTraceSummaries",
        }
    }

    /// What it asks of Jaeger's query services; `None` for receivers.
    fn query(self) -> Option<(Version, Call)> {
        Some(match self {
            Self::Metrics | Self::Logs | Self::Traces | Self::JaegerSpans => return None,
            Self::TraceV2 => (Version::Two, Call::Trace),
            Self::ArchiveV2 => (Version::Two, Call::Archive),
            Self::SearchV2 => (Version::Two, Call::Search),
            Self::ServicesV2 => (Version::Two, Call::Services),
            Self::OperationsV2 => (Version::Two, Call::Operations),
            Self::DependenciesV2 => (Version::Two, Call::Dependencies),
            Self::TraceV3 => (Version::Three, Call::Trace),
            Self::SearchV3 => (Version::Three, Call::Search),
            Self::ServicesV3 => (Version::Three, Call::Services),
            Self::OperationsV3 => (Version::Three, Call::Operations),
            Self::DependenciesV3 => (Version::Three, Call::Dependencies),
            Self::SummariesV3 => (Version::Three, Call::Summaries),
        })
    }

    fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.path() == path)
    }
}

/// Requests of one connection at the same time.
const STREAMS_MAX: u32 = 64;
/// Largest request head in bytes.
const HEAD_BYTES_MAX: u32 = 32 << 10;
/// A silent connection is asked for a sign of life this often.
const PING_EVERY: Duration = Duration::from_secs(60);
/// Bytes before a message: whether it is packed, and its length.
const PREFIX_BYTES: usize = 5;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves all of them on `listener` until `stop`; then as [`serve`](crate::serve).
pub async fn serve(
    listener: Listener,
    app: Arc<App>,
    connections_max: usize,
    stop: CancellationToken,
) {
    let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(PING_EVERY);
    listen::accept(listener, connections_max, stop, |stream, stop, cut| {
        let (app, peer) = (app.clone(), stream.peer_addr().ok());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let app = app.clone();
            if let Some(peer) = peer {
                request.extensions_mut().insert(Peer(peer.ip()));
            }
            async move { Ok::<_, Infallible>(answer(&app, request).await) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        async move {
            tokio::pin!(connection);
            tokio::select! {
                // A client that goes away mid-request is its own affair.
                _ended = connection.as_mut() => return,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                _ended = connection => {}
                () = cut.cancelled() => {}
            }
        }
    })
    .await;
}

/// A gRPC status other than OK.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

async fn answer(app: &Arc<App>, request: Request<Incoming>) -> Response<Body> {
    let started_ns = app.clock.monotonic_ns();
    let method = Method::of_path(request.uri().path());
    let outcome = match method {
        Some(method) => call(app, method, request).await,
        None => Err(Failure::new(12, unknown(request.uri().path()))),
    };
    let took_ns = app.clock.monotonic_ns() - started_ns;
    if let Some(method) = method {
        app.requests.count_grpc(method, http_status(outcome.as_ref().err()), took_ns);
    }
    match outcome {
        Ok(messages) => {
            let bytes = messages.iter().map(|message| PREFIX_BYTES + message.len()).sum();
            let mut frame = Vec::with_capacity(bytes);
            for message in messages {
                let len = u32::try_from(message.len()).unwrap_or(0);
                frame.push(0);
                frame.extend_from_slice(&len.to_be_bytes());
                frame.extend_from_slice(&message);
            }
            let mut trailers = HeaderMap::new();
            trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
            let body = Full::new(Bytes::from(frame))
                .with_trailers(std::future::ready(Some(Ok(trailers))))
                .boxed_unsync();
            respond(body)
        }
        Err(failure) => {
            let mut response = respond(Empty::new().boxed_unsync());
            let headers = response.headers_mut();
            headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(failure.code)));
            if let Ok(message) = HeaderValue::from_str(&escape(&failure.message)) {
                headers.insert(GRPC_MESSAGE, message);
            }
            response
        }
    }
}

/// The status that HTTP has for the same outcome.
fn http_status(failure: Option<&Failure>) -> u16 {
    match failure.map(|failure| failure.code) {
        None => 200,
        Some(13) => 500,
        Some(14) => 503,
        Some(_) => 400,
    }
}

fn respond(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
    response
}

fn unknown(path: &str) -> String {
    let served = Method::ALL.map(Method::path).join(", ");
    format!("method {path:.128} is not served here; served are {served}")
}

async fn call(
    app: &Arc<App>,
    method: Method,
    request: Request<Incoming>,
) -> Result<Vec<Vec<u8>>, Failure> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::HOST);
    let refused = |(status, message)| {
        let code = match status {
            StatusCode::UNAUTHORIZED => 16,
            StatusCode::BAD_REQUEST => 3,
            _ => 7,
        };
        Failure::new(code, message)
    };
    let query = method.query();
    let role = match query {
        None => Role::Ingest,
        Some((_, Call::Archive)) => Role::Editor,
        Some(_) => Role::Viewer,
    };
    let caller = app.config.access.check(&parts.headers, role, true).map_err(refused)?;
    let reader = match query {
        Some(query) => Some((query, Reader::new(app, &caller, &parts.headers).map_err(refused)?)),
        None => None,
    };
    // Samples have no owner, nor has what is asked.
    let owner = match method {
        Method::Logs | Method::Traces | Method::JaegerSpans => {
            Owner::new(app, &caller, &parts).map_err(refused)?
        }
        _ => Owner::default(),
    };
    let packing = parts.headers.get("grpc-encoding").and_then(|v| v.to_str().ok()).unwrap_or("");
    let packing = Encoding::from_header(packing).ok_or_else(|| {
        Failure::new(12, format!("grpc-encoding {packing:.64?} is not supported"))
    })?;
    let limits = app.receivers.limits;
    let mut held = app
        .receivers
        .bodies
        .read(axum::body::Body::new(body), limits.body_bytes_max + PREFIX_BYTES)
        .await
        .map_err(|(status, message)| {
            let code = if status == StatusCode::TOO_MANY_REQUESTS { 14 } else { 8 };
            Failure::new(code, message)
        })?;
    let packed = unframe(&mut held.bytes)?;
    let packing = if packed { packing } else { Encoding::Identity };
    if let Some(((version, call), reader)) = reader {
        let message = compression::unpack(packing, &held.bytes, limits.unpacked_bytes_max);
        let message = message.map_err(|e| failed(&e))?;
        return query::answer(&reader, version, call, &message).await.map_err(|e| failed(&e));
    }
    let encoding = otlp::Encoding::Protobuf;
    let received = match method {
        Method::Metrics => metrics::receive(app, encoding, packing, held).await,
        Method::Logs => logs::receive(app, owner, encoding, packing, held).await,
        Method::Traces => traces::receive(app, owner, encoding, packing, held).await,
        _ => {
            let received = jaeger::receive_protobuf(app, owner, packing, held).await;
            // `PostSpansResponse` has no fields.
            return received.map(|()| vec![Vec::new()]).map_err(|e| failed(&e));
        }
    };
    received.map(|partial| vec![response_message(&partial)]).map_err(|e| failed(&e))
}

fn failed(error: &model::Error) -> Failure {
    Failure::new(grpc_code(error.kind()), error::public_message(error))
}

/// Removes the prefix of the one message in `body` and says whether it is packed.
fn unframe(body: &mut Vec<u8>) -> Result<bool, Failure> {
    let Some((&[flag, a, b, c, d], message)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(Failure::new(3, format!("body of {} bytes has no message", body.len())));
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if flag > 1 || message.len() != len {
        return Err(Failure::new(
            3,
            format!("frame with flag {flag} names {len} bytes; {} follow", message.len()),
        ));
    }
    body.drain(..PREFIX_BYTES);
    Ok(flag == 1)
}

/// Percent-encoding of everything but plain characters, as `grpc-message` has it.
fn escape(message: &str) -> String {
    let mut escaped = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_hold_exactly_one_message() {
        let check = |body: &[u8]| unframe(&mut body.to_vec()).map_err(|f| f.message);
        assert_eq!(check(&[0, 0, 0, 0, 2, 7, 7]), Ok(false));
        assert_eq!(check(&[1, 0, 0, 0, 0]), Ok(true));
        assert_eq!(check(&[0, 0, 0, 0]), Err("body of 4 bytes has no message".to_owned()));
        assert!(check(&[0, 255, 255, 255, 255, 1]).is_err());
        assert!(check(&[0, 0, 0, 0, 1, 7, 7]).is_err());
        assert!(check(&[2, 0, 0, 0, 1, 7]).is_err());
    }

    #[test]
    fn messages_are_header_values() {
        assert_eq!(escape("100 % of\nü"), "100 %25 of%0A%C3%BC");
    }
}
