//! Hands batches to the [`Sink`] without blocking the runtime, waits for its answer, and repeats while it is busy.

use std::sync::Arc;
use std::time::Duration;

use model::{Done, Error, ErrorKind, LogBatch, MetricBatch, Receipt, Result, Sink};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::counters::Counters;

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Waits between repeated attempts: doubles from `first` to `max`.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Sleeps; `false` when cancelled meanwhile.
    pub(crate) async fn wait(&mut self, cancel: &CancellationToken) -> bool {
        let sleep = self.next;
        self.next = (self.next * 2).min(self.max);
        tokio::select! {
            () = cancel.cancelled() => false,
            () = tokio::time::sleep(sleep) => true,
        }
    }
}

/// Where collectors deliver to.
#[derive(Clone)]
pub(crate) struct Delivery {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) cancel: CancellationToken,
}

impl Delivery {
    /// Stores lines and cursor; repeats with growing pauses until the store has taken them. `Err` only when cancelled.
    pub(crate) async fn logs(&self, batch: LogBatch) -> Result<()> {
        let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
        let mut complained = false;
        loop {
            let (sink, copy) = (Arc::clone(&self.sink), batch.clone());
            let answer = answered(move |done| sink.append_logs(copy, done)).await;
            match answer {
                Ok(receipt) => {
                    let bytes = batch.rows.line_bytes();
                    let rejected = receipt.rejected.iter().map(|(_, n)| n).sum();
                    Counters::add(&self.counters.log_lines_stored, receipt.stored);
                    Counters::add_len(&self.counters.log_bytes_stored, bytes);
                    Counters::add(&self.counters.log_lines_rejected, rejected);
                    return Ok(());
                }
                Err(error) => {
                    if !complained && error.kind() != ErrorKind::Busy {
                        tracing::warn!(source = %batch.source, %error, "cannot store log lines, trying again");
                        complained = true;
                    }
                    if !backoff.wait(&self.cancel).await {
                        return Err(cancelled());
                    }
                }
            }
        }
    }

    /// Stores samples; gives up (and counts) when the store is still busy after `patience`. `true` when stored.
    pub(crate) async fn metrics(&self, batch: MetricBatch, patience: Duration) -> bool {
        let rows = batch.sample_count();
        let attempts = async {
            let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
            loop {
                let (sink, copy) = (Arc::clone(&self.sink), batch.clone());
                match answered(move |done| sink.append_metrics(copy, done)).await {
                    Ok(receipt) => return Some(receipt),
                    Err(error) if error.kind() != ErrorKind::Busy => {
                        tracing::warn!(source = %batch.source, %error, "cannot store samples");
                        return None;
                    }
                    Err(_) => {
                        if !backoff.wait(&self.cancel).await {
                            return None;
                        }
                    }
                }
            }
        };
        match tokio::time::timeout(patience, attempts).await {
            Ok(Some(receipt)) => {
                let rejected = receipt.rejected.iter().map(|(_, n)| n).sum();
                Counters::add(&self.counters.samples_stored, receipt.stored);
                Counters::add(&self.counters.samples_rejected, rejected);
                true
            }
            _ => {
                Counters::add_len(&self.counters.samples_dropped, rows);
                false
            }
        }
    }

    /// The cursor of `source`; repeats until the store can be read. `Err` only when cancelled.
    pub(crate) async fn cursor(&self, source: Arc<str>) -> Result<Option<Vec<u8>>> {
        let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
        loop {
            let (sink, name) = (Arc::clone(&self.sink), Arc::clone(&source));
            let read = tokio::task::spawn_blocking(move || sink.cursor(&name)).await;
            match read {
                Ok(Ok(cursor)) => return Ok(cursor),
                Ok(Err(error)) => {
                    tracing::warn!(%source, %error, "cannot read cursor, trying again");
                }
                Err(_) => tracing::warn!(%source, "reading the cursor failed, trying again"),
            }
            if !backoff.wait(&self.cancel).await {
                return Err(cancelled());
            }
        }
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "collector is stopping")
}

/// Calls the sink off the runtime's workers (it may block for a moment) and waits for the batch's outcome.
pub(crate) async fn answered(call: impl FnOnce(Done) + Send + 'static) -> Result<Receipt> {
    let (sender, receiver) = oneshot::channel();
    let done = Done::new(move |outcome| {
        // Nobody waits any more after a timeout; the outcome then has no reader.
        drop(sender.send(outcome));
    });
    if tokio::task::spawn_blocking(move || call(done)).await.is_err() {
        return Err(Error::new(ErrorKind::Busy, "store did not take the batch"));
    }
    receiver.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Busy, "store dropped the batch")))
}
