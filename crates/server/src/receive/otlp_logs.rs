//! OTLP logs over HTTP: `POST /v1/logs`, and Loki's `POST /otlp/v1/logs`.
//!
//! As for [metrics](super::otlp): protobuf and JSON, records that cannot be stored are a partial success.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use ingest::compression::{self, Encoding};
use ingest::otlp;
use model::Result;

use super::otlp::{Partial, body, failure, success};
use super::{body::Held, lines, off_runtime, reasons, rejected, status};
use crate::App;
use crate::tenants::Owner;

const SOURCE: &str = "otlp";

pub(crate) async fn logs(State(app): State<Arc<App>>, owner: Owner, request: Request) -> Response {
    let (encoding, packing, held) = match body(&app, request).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    match receive(&app, owner, encoding, packing, held).await {
        Ok(partial) => success(encoding, &partial, "rejectedLogRecords"),
        Err(error) => failure(status(error.kind()), encoding, &error),
    }
}

/// Decodes, translates and stores one request.
pub(super) async fn receive(
    app: &Arc<App>,
    owner: Owner,
    encoding: otlp::Encoding,
    packing: Encoding,
    held: Held,
) -> Result<Partial> {
    let lane = app.receivers.lane().await?;
    let (decoding, now_ms) = (app.clone(), app.clock.now_ms());
    let (refused, answer) = off_runtime(move || {
        let _lane = lane;
        let receivers = &decoding.receivers;
        let limits = receivers.limits;
        let body = compression::unpack(packing, &held.bytes, limits.unpacked_bytes_max)?;
        let request = otlp::logs::decode(encoding, &body, limits.rows_max)?;
        let limits = lines::limits(&limits);
        let pushed = otlp::logs::lines(&request, &limits, &receivers.lines.streams, now_ms)?;
        let refused = pushed.refused.clone();
        Ok((refused, lines::hand_over_levelled(&decoding, &owner, SOURCE, pushed)))
    })
    .await?;
    let receipt = answer.get().await?;
    let why: Vec<String> = refused.reasons.into_iter().chain(reasons(&receipt)).collect();
    Ok(Partial { rejected: refused.rows + rejected(&receipt), message: why.join("; ") })
}
