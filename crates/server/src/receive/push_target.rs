//! `loki_push_api` targets of a `promtail.yml`: an address of their own for Loki's push requests and for plain lines.
//!
//! ```text
//!  POST /loki/api/v1/push, /api/prom/push     as Loki takes them
//!  POST /promtail/api/v1/raw                  text; each line is one
//!  GET  /ready
//! ```
//!
//! Labels of the target win over those of a request's streams; relabelling sees both. The answer comes when the lines are
//! durable. Does not own: what becomes of lines ([`Intake`]). There is no access control, as in Promtail.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use collect::lines::{Intake, PushedLine};
use http::StatusCode;
use ingest::compression::{self, Encoding as Packing};
use ingest::loki::{self, Encoding};
use ingest::pushed_lines::{Refused, Streams};
use ingest::relabel::{self, Rule};
use model::{Clock, Labels, Result, text_of_bytes};

use super::{Receivers, lines, off_runtime, refuse};
use crate::{assets, error};

/// A target that is pushed to.
pub struct PushTarget {
    /// Where its lines go.
    pub intake: Arc<Intake>,
    /// Labels of all lines.
    pub labels: Labels,
    /// What becomes of the labels.
    pub relabel: Vec<Rule>,
    /// Whether lines keep the time they come with.
    pub keeps_time: bool,
    /// Bounds and memory of all receivers.
    pub receivers: Arc<Receivers>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

struct Shared {
    target: PushTarget,
    streams: Streams,
}

/// What serves `target`.
pub fn router(target: PushTarget) -> Router {
    let limits = &target.receivers.limits;
    let streams = Streams::new(limits.known_bytes_max / 8, limits.label_values_max);
    Router::new()
        .route("/loki/api/v1/push", post(push))
        .route("/api/prom/push", post(push))
        .route("/promtail/api/v1/raw", post(raw))
        .route("/ready", get(ready))
        .with_state(Arc::new(Shared { target, streams }))
}

async fn ready() -> Response {
    assets::plain(StatusCode::OK, "ready")
}

async fn push(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (encoding, packing) = match super::loki::negotiate(&parts.headers) {
        Ok(negotiated) => negotiated,
        Err(reason) => return assets::plain(StatusCode::BAD_REQUEST, &reason),
    };
    let receivers = &shared.target.receivers;
    let held = match receivers.bodies.read(body, receivers.limits.body_bytes_max).await {
        Ok(held) => held,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    let lane = match receivers.lane().await {
        Ok(lane) => lane,
        Err(error) => return refuse(&error),
    };
    let decoding = Arc::clone(&shared);
    let decoded = off_runtime(move || {
        let _lane = lane;
        decoding.decode(encoding, packing, &held.bytes)
    });
    match decoded.await {
        Err(error) => refuse(&error),
        Ok(None) => assets::plain(StatusCode::UNPROCESSABLE_ENTITY, loki::NO_STREAMS),
        Ok(Some((lines, refused))) => match shared.target.intake.take(lines).await {
            Err(error) => refuse(&error),
            Ok(()) if refused.is_empty() => error::empty(StatusCode::NO_CONTENT),
            Ok(()) => assets::plain(StatusCode::BAD_REQUEST, &refused.reasons.join("\n")),
        },
    }
}

async fn raw(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let receivers = &shared.target.receivers;
    let body = request.into_body();
    let held = match receivers.bodies.read(body, receivers.limits.body_bytes_max).await {
        Ok(held) => held,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    let Some(stream) = shared.stream(&Labels::default()) else {
        // Relabelling drops whatever comes.
        return error::empty(StatusCode::NO_CONTENT);
    };
    let now_ns = shared.target.clock.now_ns();
    let lines = held.bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let lines =
        lines.filter(|line| !line.is_empty()).zip(0_i64..).map(|(line, number)| PushedLine {
            stream: stream.clone(),
            // In the order they came.
            t_ns: now_ns.saturating_add(number),
            line: text_of_bytes(line).into_owned(),
            fields: Labels::default(),
        });
    match shared.target.intake.take(lines.collect()).await {
        Ok(()) => error::empty(StatusCode::NO_CONTENT),
        Err(error) => refuse(&error),
    }
}

impl Shared {
    /// The lines of a push request, and what of it was refused; `None` when it names no stream.
    fn decode(
        &self,
        encoding: Encoding,
        packing: Packing,
        body: &[u8],
    ) -> Result<Option<(Vec<PushedLine>, Refused)>> {
        let (receivers, clock) = (&self.target.receivers, &self.target.clock);
        let bytes_max = receivers.limits.unpacked_bytes_max;
        let outer = compression::unpack(packing, body, bytes_max)?;
        let body = match encoding {
            Encoding::Protobuf => compression::unpack(Packing::Snappy, &outer, bytes_max)?,
            Encoding::Json => outer,
        };
        let limits = lines::limits(&receivers.limits);
        let decoded = loki::decode(encoding, &body, &limits, &self.streams, clock.now_ms())?;
        let Some(pushed) = decoded else { return Ok(None) };
        let streams: Vec<Option<Labels>> =
            pushed.rows.streams().iter().map(|stream| self.stream(stream)).collect();
        let mut now_ns = clock.now_ns();
        let mut taken = Vec::with_capacity(pushed.rows.len());
        for index in 0..pushed.rows.len() {
            let number = pushed.rows.stream_number(index) as usize;
            let Some(stream) = streams.get(number).cloned().flatten() else { continue };
            let row = pushed.rows.row(index);
            now_ns = now_ns.saturating_add(1);
            taken.push(PushedLine {
                stream,
                t_ns: if self.target.keeps_time { row.t_ns } else { now_ns },
                line: row.line.to_owned(),
                fields: row.fields.clone(),
            });
        }
        Ok(Some((taken, pushed.refused)))
    }

    /// The labels under which lines of a pushed stream go on; `None` when relabelling drops them.
    fn stream(&self, pushed: &Labels) -> Option<Labels> {
        let mut builder = pushed.to_builder();
        for (name, value) in self.target.labels.iter() {
            builder.set(name, value);
        }
        if !relabel::apply(&self.target.relabel, &mut builder) {
            return None;
        }
        builder.retain(|name| !name.starts_with("__"));
        Some(builder.build())
    }
}
