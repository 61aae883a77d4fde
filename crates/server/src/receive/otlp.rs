//! OTLP metrics over HTTP: `POST /v1/metrics`, and Prometheus' `POST /api/v1/otlp/v1/metrics`.
//!
//! Protobuf and JSON, packed by gzip, zstd, snappy or not at all. Points that cannot be stored are a partial success:
//! 200 with their number and why. Answers are in the encoding of the request.
//!
//! Source: OTLP specification, "OTLP/HTTP" and "Partial success".

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use ingest::compression::{self, Encoding};
use ingest::otlp;
use ingest::otlp::translate::{self, Translated};
use ingest::protobuf::Writer;
use model::{Error, ErrorKind, MetricBatch, Result};

use super::body::{Held, header_text};
use super::{off_runtime, reasons, rejected, retry_later, status, store};
use crate::{App, error};

const SOURCE: &str = "otlp";

/// Points or records that were not stored, and why; an empty message for none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Partial {
    pub(super) rejected: u64,
    pub(super) message: String,
}

pub(crate) async fn metrics(State(app): State<Arc<App>>, request: Request) -> Response {
    let (encoding, packing, held) = match body(&app, request).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    match receive(&app, encoding, packing, held).await {
        Ok(partial) => success(encoding, &partial, "rejectedDataPoints"),
        Err(error) => failure(status(error.kind()), encoding, &error),
    }
}

/// A request's body and what its headers say it is, or the answer that refuses it.
pub(super) async fn body(
    app: &App,
    request: Request,
) -> Result<(otlp::Encoding, Encoding, Held), Response> {
    let (parts, body) = request.into_parts();
    let Some(encoding) =
        otlp::Encoding::from_content_type(header_text(&parts.headers, header::CONTENT_TYPE))
    else {
        let error =
            Error::invalid("content type must be application/x-protobuf or application/json");
        return Err(failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, otlp::Encoding::Json, &error));
    };
    let refuse = |(status, reason)| failure(status, encoding, &Error::invalid(reason));
    let packing = super::body::packing(&parts.headers).map_err(refuse)?;
    let limits = app.receivers.limits;
    let read = app.receivers.bodies.read(body, limits.body_bytes_max).await;
    Ok((encoding, packing, read.map_err(refuse)?))
}

/// Decodes, translates and stores one request.
pub(super) async fn receive(
    app: &Arc<App>,
    encoding: otlp::Encoding,
    packing: Encoding,
    held: Held,
) -> Result<Partial> {
    let receivers = &app.receivers;
    let limits = receivers.limits;
    let lane = receivers.lane().await?;
    let (lane, request) = off_runtime(move || {
        let body = compression::unpack(packing, &held.bytes, limits.unpacked_bytes_max)?;
        Ok((lane, otlp::decode(encoding, &body, limits.rows_max)?))
    })
    .await?;
    let config = receivers.otlp.read().clone();
    let now_ms = app.clock.now_ms();
    // Requests with deltas go one at a time from here to the store's answer; others need no totals.
    let mut totals = if otlp::has_delta(&request) {
        Some(receivers.totals.clone().lock_owned().await)
    } else {
        None
    };
    let (totals, translated) = off_runtime(move || {
        let _lane = lane;
        let limits = translate::Limits {
            rows_max: limits.rows_max,
            labels_max: limits.labels_max,
            name_bytes_max: limits.name_bytes_max,
            value_bytes_max: limits.value_bytes_max,
            label_bytes_max: limits.label_bytes_max(),
        };
        let translated = match &mut totals {
            Some(totals) => {
                totals.sweep(now_ms);
                let translated = translate::translate(&request, &config, &limits, totals, now_ms);
                if translated.is_err() {
                    totals.take_back();
                }
                translated
            }
            None => {
                let mut none = otlp::delta::Totals::new(otlp::delta::Config {
                    series_max: 0,
                    stale_after_ms: 0,
                });
                translate::translate(&request, &config, &limits, &mut none, now_ms)
            }
        };
        Ok((totals, translated?))
    })
    .await?;
    let mut totals = TakeBack(totals);
    let outcome = store_all(app, translated).await;
    if outcome.is_ok() {
        totals.keep();
    }
    outcome
}

/// Takes back what a request added to the totals unless it was stored, also when the request is given up.
struct TakeBack(Option<tokio::sync::OwnedMutexGuard<otlp::delta::Totals>>);

impl TakeBack {
    fn keep(&mut self) {
        if let Some(mut totals) = self.0.take() {
            totals.keep();
        }
    }
}

impl Drop for TakeBack {
    fn drop(&mut self) {
        if let Some(totals) = &mut self.0 {
            totals.take_back();
        }
    }
}

async fn store_all(app: &Arc<App>, translated: Translated) -> Result<Partial> {
    super::book_refused(app, SOURCE, translated.rejected);
    let mut partial = Partial { rejected: translated.rejected, message: String::new() };
    let mut why = translated.reasons;
    let batch = MetricBatch {
        source: Arc::from(SOURCE),
        t_ms: app.clock.now_ms(),
        stamped: translated.samples,
        histograms: translated.histograms,
        exemplars: translated.exemplars,
        metadata: translated.metadata,
        ..MetricBatch::default()
    };
    let receipt = store(&app.receivers.sink, batch).await?;
    let refused = rejected(&receipt);
    if refused > 0 {
        // A point is several rows; which ones a receipt does not say.
        let stored = translated.points - translated.rejected;
        partial.rejected += refused.min(stored);
        why.extend(reasons(&receipt));
    }
    partial.message = why.join("; ");
    Ok(partial)
}

/// `ExportMetricsServiceResponse` or `ExportLogsServiceResponse`, binary.
pub(super) fn response_message(partial: &Partial) -> Vec<u8> {
    let mut message = Writer::new();
    if *partial != Partial::default() {
        message.message(1, |inner| {
            inner.uint(1, partial.rejected);
            inner.text(2, &partial.message);
        });
    }
    message.finish()
}

/// `rejected` is what JSON calls the number of rows that were not stored.
pub(super) fn success(
    encoding: otlp::Encoding,
    partial: &Partial,
    rejected: &'static str,
) -> Response {
    match encoding {
        otlp::Encoding::Protobuf => protobuf(StatusCode::OK, response_message(partial)),
        otlp::Encoding::Json => {
            let body = if *partial == Partial::default() {
                serde_json::json!({})
            } else {
                serde_json::json!({"partialSuccess": {
                    rejected: partial.rejected.to_string(),
                    "errorMessage": partial.message,
                }})
            };
            error::json(StatusCode::OK, body.to_string())
        }
    }
}

/// `google.rpc.Status` with code and message.
pub(super) fn failure(status: StatusCode, encoding: otlp::Encoding, error: &Error) -> Response {
    let message = error::public_message(error);
    let code = grpc_code(error.kind());
    let mut response = match encoding {
        otlp::Encoding::Protobuf => {
            let mut body = Writer::new();
            body.uint(1, u64::from(code));
            body.text(2, &message);
            protobuf(status, body.finish())
        }
        otlp::Encoding::Json => {
            error::json(status, serde_json::json!({"code": code, "message": message}).to_string())
        }
    };
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        retry_later(&mut response);
    }
    response
}

fn protobuf(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    response
}

/// gRPC's status code for an error: senders repeat `UNAVAILABLE` only.
pub(super) fn grpc_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Invalid | ErrorKind::Limit => 3,
        ErrorKind::NotFound => 5,
        ErrorKind::Busy | ErrorKind::Cancelled => 14,
        ErrorKind::Corrupt | ErrorKind::Io | ErrorKind::Bug => 13,
    }
}
