//! Lines and spans of the receivers that are not HTTP on their way to the store.
//!
//! Owns: waiting until they are durable, and what happens when the store cannot take them: they
//! are kept here and offered until the store takes them, while nothing more is read from their sender.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ingest::pushed_lines::Pushed;
use ingest::spans::Received;
use model::{ErrorKind, LogRows, Result, SpanGroup};
use tokio_util::sync::CancellationToken;

use super::{Answer, lines, off_runtime, spans};
use crate::App;

/// What a receiver waits for before it goes on: everything it handed over is durable, or booked as lost.
pub type Delivered = BoxFuture<'static, Result<()>>;

/// Waiting times before lines are offered again: they double from the first to the last.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What was handed to the store.
pub(super) struct Delivery {
    app: Arc<App>,
    source: &'static str,
    answer: Answer,
    /// For another try.
    load: Load,
}

#[derive(Clone)]
enum Load {
    Lines(LogRows),
    Spans(Vec<SpanGroup>),
}

impl Load {
    fn send(self, app: &App, source: &'static str) -> Answer {
        let sink = &app.receivers.sink;
        match self {
            Self::Lines(rows) => lines::send(sink, source, rows),
            Self::Spans(groups) => spans::send(sink, source, groups),
        }
    }

    /// Books it as lost.
    fn lose(&self, app: &App, source: &'static str, reason: &'static str) {
        match self {
            Self::Lines(rows) => app.host.dropped_lines(source, reason, rows.len() as u64),
            Self::Spans(groups) => {
                let count: usize = groups.iter().map(|group| group.spans.len()).sum();
                app.host.dropped_spans(source, reason, count as u64);
            }
        }
    }
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
        Self { app: app.clone(), source, answer, load: Load::Lines(rows) }
    }

    /// Likewise.
    pub(super) fn of_spans(app: &Arc<App>, source: &'static str, received: Received) -> Self {
        let load = Load::Spans(received.groups.clone());
        let (_counted, answer) = spans::hand_over(app, source, received);
        Self { app: app.clone(), source, answer, load }
    }

    /// Offers it until the store takes it; what it has not taken at `stop` is lost, and counted.
    pub(super) fn insist(self, stop: CancellationToken) -> Delivered {
        async move {
            let Self { app, source, mut answer, load } = self;
            let mut wait = WAIT_MIN;
            loop {
                let Err(error) = answer.get().await else { return Ok(()) };
                let may_pass = matches!(error.kind(), ErrorKind::Busy | ErrorKind::Io);
                if !may_pass || stop.is_cancelled() {
                    load.lose(&app, source, reason(error.kind()));
                    return Err(error);
                }
                if wait == WAIT_MIN {
                    tracing::warn!(source, %error, "store does not take what is received; senders wait");
                }
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(wait) => {}
                }
                wait = (wait * 2).min(WAIT_MAX);
                let (offering, again) = (app.clone(), load.clone());
                answer = off_runtime(move || Ok(again.send(&offering, source))).await?;
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
