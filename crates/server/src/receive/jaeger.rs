//! Jaeger's receivers: `POST /api/traces` with batches in Thrift, as on a collector's port 14268, the collector's gRPC
//! service, and datagrams of its client libraries in compact and binary Thrift.
//!
//! A collector cannot tell a sender that some of its spans were refused: they are counted, and the answer is an error only
//! when all of them were. Does not own: batches (`ingest::jaeger`), gRPC ([`grpc`](super::grpc)), datagrams as such.
//!
//! Source: jaeger `internal/thrift_http`, jaeger-idl `collector.proto`, `agent.thrift`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use ingest::compression::Encoding;
use ingest::jaeger;
use ingest::spans::{Received, Refused};
use ingest::thrift::Protocol;
use model::Result;
use tokio_util::sync::CancellationToken;

use super::body::{self, Held};
use super::connections::Desk;
use super::datagrams::{self, Datagram, Taker};
use super::delivery::{Delivered, Delivery};
use super::sockets::Sockets;
use super::{origin, refuse, spans};
use crate::tenants::Owner;
use crate::{App, assets};

const SOURCE: &str = "jaeger";
/// As what a batch in Thrift may come.
const THRIFT: [&str; 2] = ["application/x-thrift", "application/vnd.apache.thrift.binary"];
/// Datagrams have no connection that could be idle.
const IDLE_MAX: Duration = Duration::MAX;

pub(crate) async fn batch(State(app): State<Arc<App>>, owner: Owner, request: Request) -> Response {
    let (parts, sent) = request.into_parts();
    let packing = match thrift_packing(&parts.headers) {
        Ok(packing) => packing,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    let bytes_max = app.receivers.limits.body_bytes_max;
    let held = match app.receivers.bodies.read(sent, bytes_max).await {
        Ok(held) => held,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    let received = spans::receive(&app, owner, SOURCE, packing, held, move |body, limits| {
        jaeger::decode_thrift(Protocol::Binary, body, spans::elements_max(limits))
    });
    match received.await.and_then(spans::Outcome::or_error) {
        Ok(outcome) => spans::accepted(&outcome),
        Err(error) => refuse(&error),
    }
}

fn thrift_packing(headers: &HeaderMap) -> Result<Encoding, (StatusCode, String)> {
    let content_type = body::header_text(headers, header::CONTENT_TYPE);
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !THRIFT.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        let [x, vnd] = THRIFT;
        let reason = format!("content type {content_type:.64?} is neither {x} nor {vnd}");
        return Err((StatusCode::BAD_REQUEST, reason));
    }
    body::packing(headers)
}

/// A `PostSpansRequest`.
pub(super) async fn receive_protobuf(
    app: &Arc<App>,
    owner: Owner,
    packing: Encoding,
    held: Held,
) -> Result<()> {
    let received = spans::receive(app, owner, SOURCE, packing, held, move |body, limits| {
        jaeger::decode_protobuf(body, spans::elements_max(limits))
    });
    received.await?.or_error()?;
    Ok(())
}

/// How messages in datagrams are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagrams {
    /// In Thrift's compact protocol, as on the agent's port 6831.
    Compact,
    /// In its binary protocol, as on port 6832.
    Binary,
}

/// Takes what clients send to an agent, from the datagrams of `sockets` until `stop`.
pub async fn serve_datagrams(
    mut sockets: Sockets,
    form: Datagrams,
    app: Arc<App>,
    stop: CancellationToken,
) {
    let Some(socket) = sockets.udp.take() else { return };
    let (receiver, protocol) = match form {
        Datagrams::Compact => ("jaeger-compact", Protocol::Compact),
        Datagrams::Binary => ("jaeger-binary", Protocol::Binary),
    };
    let desk = Desk { receiver, receivers: app.receivers.clone(), idle_max: IDLE_MAX };
    let agent = Agent { app, desk: desk.clone(), protocol, stop: stop.clone() };
    datagrams::serve(socket, desk, stop, Box::new(agent)).await;
}

/// Datagrams become spans.
struct Agent {
    app: Arc<App>,
    desk: Desk,
    protocol: Protocol,
    stop: CancellationToken,
}

impl Taker for Agent {
    fn take(&mut self, datagrams: &[Datagram]) -> Result<Delivered> {
        let elements_max = spans::elements_max(&self.app.receivers.limits);
        let now_ns = self.app.clock.now_ns();
        let mut all = Received::default();
        for Datagram { peer, bytes } in datagrams {
            match jaeger::decode_datagram(self.protocol, bytes, elements_max, now_ns) {
                Ok(Received { mut groups, refused }) => {
                    origin::infer(self.app.host.as_ref(), Some(peer.ip()), &mut groups);
                    all.groups.extend(groups);
                    all.refused.rows += refused.rows;
                    refused.reasons.into_iter().for_each(|reason| all.refused.add(0, reason));
                }
                Err(error) => {
                    self.desk.lose("malformed", 1);
                    tracing::debug!(%peer, %error, "datagram is not used");
                }
            }
        }
        if let Refused { rows: 1.., reasons } = &all.refused {
            tracing::debug!(source = SOURCE, why = reasons.join("; "), "spans refused");
        }
        Ok(Delivery::of_spans(&self.app, SOURCE, all).insist(self.stop.clone()))
    }
}
