//! Received spans, whatever their format: bounds, handing them to the store, and what a sender is told.
//!
//! Does not own: formats (`ingest`), what the store accepts.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use ingest::compression::{self, Encoding};
use ingest::spans::{Received, Refused};
use model::{Done, Error, RejectReason, Result, Sink, SpanBatch, SpanGroup};
use tokio::sync::oneshot;

use super::body::Held;
use super::{Answer, Limits, off_runtime};
use crate::tenants::Owner;
use crate::{App, assets, error};

/// Bytes of a request for each element (span, attribute, event, …) that it may hold: what an attribute takes at least.
const ELEMENT_BYTES: usize = 16;

/// Elements one request may hold, other than in OTLP's JSON, whose elements are larger.
pub(super) fn elements_max(limits: &Limits) -> usize {
    (limits.unpacked_bytes_max / ELEMENT_BYTES).max(limits.rows_max)
}

/// What became of the spans of a request.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Spans that are durable.
    pub(super) stored: u64,
    /// Those that are not, and why.
    pub(super) refused: Refused,
}

impl Outcome {
    /// For protocols that cannot say that some spans were refused: it is an error when all were.
    pub(super) fn or_error(self) -> Result<Self> {
        if self.stored > 0 || self.refused.rows == 0 {
            return Ok(self);
        }
        Err(Error::invalid(self.why()))
    }

    /// Why spans were refused.
    pub(super) fn why(&self) -> String {
        self.refused.reasons.join("; ")
    }
}

/// Unpacks and decodes one request off the runtime's workers, and stores what is in it. Until that is done, its unpacked
/// size is part of what all requests may take.
pub(super) async fn receive(
    app: &Arc<App>,
    owner: Owner,
    source: &'static str,
    packing: Encoding,
    mut held: Held,
    decode: impl FnOnce(&[u8], &Limits) -> Result<Received> + Send + 'static,
) -> Result<Outcome> {
    let lane = app.receivers.lane().await?;
    let decoding = app.clone();
    let (count, refused, answer, _held) = off_runtime(move || {
        let _lane = lane;
        let limits = &decoding.receivers.limits;
        let packed = std::mem::take(&mut held.bytes);
        let body = compression::unpack(packing, &packed, limits.unpacked_bytes_max)?;
        held.charge(body.len())?;
        let mut received = decode(&body, limits)?;
        owner.mark_spans(&decoding, &mut received.groups);
        let count = received.len() as u64;
        let (refused, answer) = hand_over(&decoding, source, received);
        Ok((count, refused, answer, held))
    })
    .await?;
    let receipt = answer.get().await?;
    let mut outcome = Outcome { stored: count, refused };
    for (reason, count) in receipt.rejected {
        outcome.stored = outcome.stored.saturating_sub(count);
        outcome.refused.rows += count;
        outcome.refused.reasons.push(format!("{count} spans refused: {}", words(reason)));
    }
    Ok(outcome)
}

/// Why the store refused spans.
fn words(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::TooOld => "too old, they start before the retention",
        RejectReason::TooNew => "too new, they start more than ten minutes ahead",
        RejectReason::Invalid => {
            "attributes nested over 64 deep, or over a million attributes, events and links of one span"
        }
        RejectReason::DuplicateTimestamp | RejectReason::SeriesLimit => "over a limit",
    }
}

/// Books what was refused already, and hands the rest to the store; off the runtime's workers.
pub(super) fn hand_over(app: &App, source: &'static str, received: Received) -> (Refused, Answer) {
    let Received { groups, refused } = received;
    if refused.rows > 0 {
        app.host.refused_spans(source, refused.rows);
    }
    (refused, send(&app.receivers.sink, source, groups))
}

/// 202, with what was refused.
pub(super) fn accepted(outcome: &Outcome) -> Response {
    match outcome.refused.rows {
        0 => error::empty(StatusCode::ACCEPTED),
        refused => {
            let Outcome { stored, .. } = outcome;
            let why = outcome.why();
            let text = format!("{stored} spans stored, {refused} refused: {why}");
            assets::plain(StatusCode::ACCEPTED, &text)
        }
    }
}

pub(super) fn send(sink: &Arc<dyn Sink>, source: &'static str, groups: Vec<SpanGroup>) -> Answer {
    let batch = SpanBatch { source: Arc::from(source), groups };
    if batch.is_empty() {
        return Answer(None);
    }
    let (sender, receiver) = oneshot::channel();
    let done = Done::new(move |outcome: Result<_>| {
        // The client went away; the spans are stored all the same.
        drop(sender.send(outcome));
    });
    sink.append_spans(batch, done);
    Answer(Some(receiver))
}
