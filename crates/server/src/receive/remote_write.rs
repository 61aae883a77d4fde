//! `POST /api/v1/write`: remote write 1.0 and 2.0.
//!
//! Valid rows of a request are stored also when others are refused; the answer is then 400 and says how many and why.
//! The `…-Written` headers count what is durable, of each kind: kinds go to the store as batches of their own, so that
//! its receipts tell them apart.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ingest::compression::{self, Encoding};
use ingest::remote_write::{self, Message, Refused};
use model::{MetricBatch, Receipt, Result};

use super::{Receivers, body::Held, hand_over, off_runtime, reasons, refuse, rejected};
use crate::{App, assets};

const SOURCE: &str = "remote_write";
/// Buckets of all histograms of a request.
const BUCKETS_MAX: usize = 4 << 20;

/// Rows stored, of each kind.
#[derive(Default)]
struct Written {
    samples: u64,
    histograms: u64,
    exemplars: u64,
}

pub(crate) async fn write(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let message = match negotiate(&parts.headers) {
        Ok(message) => message,
        Err(reason) => return assets::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason),
    };
    let limits = app.receivers.limits;
    let held = match app.receivers.bodies.read(body, limits.body_bytes_max).await {
        Ok(held) => held,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    let mut written = Written::default();
    let outcome = receive(&app, message, held, &mut written).await;
    let mut response = match outcome {
        Ok(refused) if refused.is_empty() => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Ok(refused) => assets::plain(StatusCode::BAD_REQUEST, &spell(&refused)),
        Err(error) => refuse(&error),
    };
    let headers = response.headers_mut();
    for (name, count) in [
        ("x-prometheus-remote-write-samples-written", written.samples),
        ("x-prometheus-remote-write-histograms-written", written.histograms),
        ("x-prometheus-remote-write-exemplars-written", written.exemplars),
    ] {
        headers.insert(name, HeaderValue::from(count));
    }
    response
}

/// What the headers say the body is. A body without `Content-Encoding` is taken for snappy, one without
/// `Content-Type` for 1.0: early senders said neither.
fn negotiate(headers: &HeaderMap) -> Result<Message, String> {
    let text = |name: header::HeaderName| match headers.get(&name) {
        None => Ok(""),
        Some(value) => value.to_str().map_err(|_| format!("header {name} is not plain text")),
    };
    let encoding = text(header::CONTENT_ENCODING)?;
    if !encoding.is_empty() && Encoding::from_header(encoding) != Some(Encoding::Snappy) {
        return Err(format!(
            "content encoding {encoding:.64?} is not supported; it must be snappy"
        ));
    }
    match text(header::CONTENT_TYPE)? {
        "" => Ok(Message::V1),
        content_type => {
            Message::from_content_type(content_type).map_err(|e| e.message().to_owned())
        }
    }
}

async fn receive(
    app: &Arc<App>,
    message: Message,
    held: Held,
    written: &mut Written,
) -> Result<Refused> {
    let lane = app.receivers.lane().await?;
    let (decoding, now_ms) = (app.clone(), app.clock.now_ms());
    let (mut refused, sent, answers) = off_runtime(move || {
        let _lane = lane;
        let receivers = &decoding.receivers;
        let request = decode(receivers, message, &held.bytes, now_ms)?;
        drop(held);
        let refused = request.refused;
        let before = refused.samples + refused.histograms + refused.exemplars;
        super::book_refused(&decoding, SOURCE, before);
        let sent = [request.samples.len(), request.histograms.len(), request.exemplars.len()];
        let batch =
            || MetricBatch { source: Arc::from(SOURCE), t_ms: now_ms, ..MetricBatch::default() };
        let (stamped, metadata) = (request.samples, request.metadata);
        let answers = [
            MetricBatch { stamped, metadata, ..batch() },
            MetricBatch { histograms: request.histograms, ..batch() },
            MetricBatch { exemplars: request.exemplars, ..batch() },
        ]
        .map(|batch| hand_over(&receivers.sink, batch));
        Ok((refused, sent, answers))
    })
    .await?;
    let [samples, histograms, exemplars] = sent;
    let [of_samples, of_histograms, of_exemplars] = answers;
    let (samples_answer, histograms_answer, exemplars_answer) =
        tokio::join!(of_samples.get(), of_histograms.get(), of_exemplars.get());
    // What was stored is said even when another kind failed and the sender will repeat all of it.
    let mut book = |answer: Result<Receipt>, sent: usize, written: &mut u64, lost: &mut u64| {
        answer.map(|receipt| {
            let count = rejected(&receipt).min(sent as u64);
            *written = sent as u64 - count;
            *lost += count;
            refused.reasons.extend(reasons(&receipt));
        })
    };
    let mut lost = [0; 3];
    let outcomes = [
        book(samples_answer, samples, &mut written.samples, &mut lost[0]),
        book(histograms_answer, histograms, &mut written.histograms, &mut lost[1]),
        book(exemplars_answer, exemplars, &mut written.exemplars, &mut lost[2]),
    ];
    refused.samples += lost[0];
    refused.histograms += lost[1];
    refused.exemplars += lost[2];
    outcomes.into_iter().collect::<Result<()>>()?;
    Ok(refused)
}

/// Reads a body with what is known of the series in it, and learns what is not.
fn decode(
    receivers: &Receivers,
    message: Message,
    packed: &[u8],
    now_ms: i64,
) -> Result<remote_write::Request> {
    let limits = receivers.limits;
    let body = compression::unpack(Encoding::Snappy, packed, limits.unpacked_bytes_max)?;
    let limits = remote_write::Limits {
        rows_max: limits.rows_max,
        labels_max: limits.labels_max,
        name_bytes_max: limits.name_bytes_max,
        value_bytes_max: limits.value_bytes_max,
        label_bytes_max: limits.label_bytes_max(),
        buckets_max: BUCKETS_MAX,
    };
    let (request, news) = {
        let known = receivers.known.read();
        remote_write::decode_known(message, &body, &limits, &known)?
    };
    if !news.is_empty() {
        receivers.known.write().learn(news, now_ms);
    }
    Ok(request)
}

/// `3 samples, 1 histogram refused: …`
fn spell(refused: &Refused) -> String {
    let counts: Vec<String> = [
        (refused.samples, "samples"),
        (refused.histograms, "histograms"),
        (refused.exemplars, "exemplars"),
        (refused.series, "series"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    format!("refused {}: {}", counts.join(", "), refused.reasons.join("; "))
}
