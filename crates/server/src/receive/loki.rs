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
use ingest::pushed_lines::{Refused, spell};
use model::{Labels, Receipt, RejectReason, Result};

use super::{body::Held, lines, off_runtime, reasons, refuse};
use crate::tenants::Owner;
use crate::{App, assets, error};

const SOURCE: &str = "loki";
/// What Loki says when there are too many streams.
const STREAM_LIMIT: &str = "Maximum active stream limit exceeded, reduce the number of active streams (reduce labels or reduce label values), \
     or contact your Loki administrator to see if the limit can be increased";

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
        let oldest = pushed.rows.iter().min_by_key(|row| row.t_ns);
        let oldest = oldest.map(|row| (owner.stream(row.stream), row.t_ns));
        Ok(Some((refused, oldest, lines::hand_over_levelled(&decoding, &owner, SOURCE, pushed))))
    })
    .await?;
    let Some((mut refused, oldest, answer)) = handed else { return Ok(Outcome::Empty) };
    let receipt = answer.get().await?;
    for reason in words(app, &receipt, oldest) {
        refused.add(0, reason);
    }
    let is_full = receipt.rejected.iter().any(|(reason, _)| *reason == RejectReason::SeriesLimit);
    Ok(Outcome::Done(refused, is_full))
}

/// What Loki says of rows that the store refused, `oldest` being the oldest row of the request.
fn words(app: &App, receipt: &Receipt, oldest: Option<(Labels, i64)>) -> Vec<String> {
    let of = |wanted: RejectReason| {
        let counts = receipt.rejected.iter().filter(|(reason, _)| *reason == wanted);
        counts.map(|(_, count)| count).sum::<u64>()
    };
    let mut words = Vec::new();
    let (too_old, too_many) = (of(RejectReason::TooOld), of(RejectReason::SeriesLimit));
    if let Some((stream, t_ns)) = oldest.filter(|_| too_old > 0) {
        let (rules, default_ms) = app.host.log_retention();
        let rule = rules.iter().find(|(_, r)| r.matchers.iter().all(|m| m.matches_labels(&stream)));
        let keep_ms = rule.map_or(default_ms, |(_, rule)| rule.retention_ms);
        let oldest_ns = app.clock.now_ns().saturating_sub(keep_ms.saturating_mul(1_000_000));
        let like = format!(
            "entry for stream '{stream}' has timestamp too old: {}, oldest acceptable timestamp is: {}",
            spell(t_ns),
            spell(oldest_ns / 1_000_000_000 * 1_000_000_000)
        );
        words.push(match too_old {
            1 => like,
            count => format!("{count} errors like: {like}"),
        });
    }
    if too_many > 0 {
        words.push(STREAM_LIMIT.to_owned());
    }
    let others = receipt
        .rejected
        .iter()
        .filter(|(r, _)| !matches!(r, RejectReason::TooOld | RejectReason::SeriesLimit));
    let others = Receipt { stored: receipt.stored, rejected: others.copied().collect() };
    words.extend(reasons(&others));
    words
}
