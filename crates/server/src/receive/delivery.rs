//! Lines of the receivers that are not HTTP on their way to the store.
//!
//! Owns: waiting until lines are durable, and what happens when the store cannot take them: they
//! are kept here and offered until the store takes them, while nothing more is read from their sender.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ingest::pushed_lines::Pushed;
use model::{ErrorKind, LogRows, Result};
use tokio_util::sync::CancellationToken;

use super::{Answer, lines, off_runtime};
use crate::App;

/// What a receiver waits for before it goes on: everything it handed over is durable, or booked as lost.
pub type Delivered = BoxFuture<'static, Result<()>>;

/// Waiting times before lines are offered again: they double from the first to the last.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Lines handed to the store.
pub(super) struct Delivery {
    app: Arc<App>,
    source: &'static str,
    answer: Answer,
    /// For another try.
    rows: LogRows,
}

impl Delivery {
    /// Hands `pushed` over; off the runtime's workers.
    pub(super) fn begin(app: &Arc<App>, source: &'static str, pushed: Pushed) -> Self {
        let rows = pushed.rows.clone();
        if pushed.refused.rows > 0 {
            let why = pushed.refused.reasons.join("; ");
            tracing::debug!(source, rows = pushed.refused.rows, why, "lines refused");
        }
        let answer = lines::hand_over(app, source, pushed);
        Self { app: app.clone(), source, answer, rows }
    }

    /// Offers the lines until the store takes them; at `stop` those it has not taken are lost, and counted.
    pub(super) fn insist(self, stop: CancellationToken) -> Delivered {
        async move {
            let Self { app, source, mut answer, rows } = self;
            let mut wait = WAIT_MIN;
            loop {
                let Err(error) = answer.get().await else { return Ok(()) };
                let may_pass = matches!(error.kind(), ErrorKind::Busy | ErrorKind::Io);
                if !may_pass || stop.is_cancelled() {
                    app.host.dropped_lines(source, reason(error.kind()), rows.len() as u64);
                    return Err(error);
                }
                if wait == WAIT_MIN {
                    tracing::warn!(source, %error, "store does not take lines; senders wait");
                }
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(wait) => {}
                }
                wait = (wait * 2).min(WAIT_MAX);
                let (sink, again) = (app.receivers.sink.clone(), rows.clone());
                answer = off_runtime(move || Ok(lines::send(&sink, source, again))).await?;
            }
        }
        .boxed()
    }
}

fn reason(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Busy => "busy",
        ErrorKind::Io => "io",
        _ => "failed",
    }
}

/// Nothing to wait for.
pub(super) fn nothing() -> Delivered {
    std::future::ready(Ok(())).boxed()
}
