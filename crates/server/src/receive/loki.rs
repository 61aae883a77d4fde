//! Loki's push API: `POST /loki/api/v1/push` and `POST /api/prom/push`.
//!
//! Protobuf is packed by snappy, inside of what `Content-Encoding` names; JSON only by that. As in Loki the acceptable
//! streams of a request are stored also when others are refused, and the answer is then 400 with Loki's words for it.
//!
//! Does not own: reading a request (`ingest::loki`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use ingest::compression::{self, Encoding as Packing};
use ingest::loki::{self, Encoding};
use ingest::pushed_lines::Refused;
use model::{RejectReason, Result};

use super::{body::Held, lines, off_runtime, reasons, refuse};
use crate::tenants::Owner;
use crate::{App, assets, error};

const SOURCE: &str = "loki";

/// What became of a request.
enum Outcome {
    /// It names no stream.
    Empty,
    /// What was refused, and whether the limit of streams was a reason.
    Done(Refused, bool),
}

pub(crate) async fn push(State(app): State<Arc<App>>, owner: Owner, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (encoding, packing) = match negotiate(&parts.headers) {
        Ok(negotiated) => negotiated,
        Err(reason) => return assets::plain(StatusCode::BAD_REQUEST, &reason),
    };
    let limits = app.receivers.limits;
    let held = match app.receivers.bodies.read(body, limits.body_bytes_max).await {
        Ok(held) => held,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    match receive(&app, owner, encoding, packing, held).await {
        Ok(Outcome::Empty) => assets::plain(StatusCode::UNPROCESSABLE_ENTITY, loki::NO_STREAMS),
        Ok(Outcome::Done(refused, _)) if refused.is_empty() => error::empty(StatusCode::NO_CONTENT),
        Ok(Outcome::Done(refused, is_full)) => {
            let status =
                if is_full { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::BAD_REQUEST };
            assets::plain(status, &refused.reasons.join("\n"))
        }
        Err(error) => refuse(&error),
    }
}

pub(super) fn negotiate(headers: &HeaderMap) -> Result<(Encoding, Packing), String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let encoding = Encoding::from_content_type(text(header::CONTENT_TYPE));
    let packing = text(header::CONTENT_ENCODING);
    let packing = match Packing::from_header(packing) {
        // Protobuf is packed by snappy whether it is said or not; some senders of JSON say it and do not.
        Some(Packing::Snappy) => Packing::Identity,
        Some(packing) => packing,
        None => return Err(format!("Content-Encoding {packing:.64?} not supported")),
    };
    Ok((encoding, packing))
}

async fn receive(
    app: &Arc<App>,
    owner: Owner,
    encoding: Encoding,
    packing: Packing,
    held: Held,
) -> Result<Outcome> {
    let lane = app.receivers.lane().await?;
    let (decoding, now_ms) = (app.clone(), app.clock.now_ms());
    let handed = off_runtime(move || {
        let _lane = lane;
        let receivers = &decoding.receivers;
        let bytes_max = receivers.limits.unpacked_bytes_max;
        let outer = compression::unpack(packing, &held.bytes, bytes_max)?;
        let body = match encoding {
            Encoding::Protobuf => compression::unpack(Packing::Snappy, &outer, bytes_max)?,
            Encoding::Json => outer,
        };
        let limits = lines::limits(&receivers.limits);
        let streams = &receivers.lines.streams;
        let Some(mut pushed) = loki::decode(encoding, &body, &limits, streams, now_ms)? else {
            return Ok(None);
        };
        let refused = std::mem::take(&mut pushed.refused);
        pushed.refused.rows = refused.rows;
        Ok(Some((refused, lines::hand_over_once(&decoding, &owner, SOURCE, pushed))))
    })
    .await?;
    let Some((mut refused, answer)) = handed else { return Ok(Outcome::Empty) };
    let receipt = answer.get().await?;
    for reason in reasons(&receipt) {
        refused.add(0, reason);
    }
    let is_full = receipt.rejected.iter().any(|(reason, _)| *reason == RejectReason::SeriesLimit);
    Ok(Outcome::Done(refused, is_full))
}
