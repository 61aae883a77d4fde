//! The one way in: batches go to a [`Sink`], which answers once they are durable.

use std::fmt;

use crate::{Error, ErrorKind, LogBatch, MetricBatch, Result, SpanBatch};

/// Why a store refused single rows of a batch it otherwise accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// Older than retention allows.
    TooOld,
    /// Too far in the future.
    TooNew,
    /// Same series and time, other value.
    DuplicateTimestamp,
    /// A series or stream limit was reached.
    SeriesLimit,
    /// A label or line is over its size limit, or otherwise unusable.
    Invalid,
}

impl RejectReason {
    /// Snake-case name for ledgers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::DuplicateTimestamp => "duplicate_timestamp",
            Self::SeriesLimit => "series_limit",
            Self::Invalid => "invalid",
        }
    }
}

/// What became of the rows of one batch: `received = stored + Σ rejected`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Rows that are durable (or were already, as exact duplicates).
    pub stored: u64,
    /// Rows refused, by reason.
    pub rejected: Vec<(RejectReason, u64)>,
}

/// Called exactly once, from any thread, when a batch is durable or has failed as a whole.
pub struct Done(Option<Box<dyn FnOnce(Result<Receipt>) + Send>>);

impl Done {
    /// Calls `f` with the outcome; also when the batch is dropped on the way (then with [`ErrorKind::Busy`]).
    pub fn new(f: impl FnOnce(Result<Receipt>) + Send + 'static) -> Self {
        Self(Some(Box::new(f)))
    }

    /// For callers that do not care.
    pub fn ignore() -> Self {
        Self(None)
    }

    /// Reports the outcome.
    pub fn call(mut self, outcome: Result<Receipt>) {
        if let Some(f) = self.0.take() {
            f(outcome);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f(Err(Error::new(ErrorKind::Busy, "store is shutting down")));
        }
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Done")
    }
}

/// Where collectors and receivers put what they have.
///
/// Calls may block for a moment when the store's queue is full (back pressure); an accepted batch is answered through
/// `done` once it survives power loss (or at once, by configuration). Nothing is dropped in silence.
pub trait Sink: Send + Sync {
    /// Hands over samples.
    fn append_metrics(&self, batch: MetricBatch, done: Done);

    /// Hands over log lines together with the position behind them.
    fn append_logs(&self, batch: LogBatch, done: Done);

    /// Hands over spans. Those that are stored already are not stored again, and count as stored. Sinks of collectors get
    /// none and need not take any.
    fn append_spans(&self, batch: SpanBatch, done: Done) {
        let _refused = batch;
        done.call(Err(Error::invalid("spans are not stored here")));
    }

    /// The cursor last committed for `source`, if any.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn cursor(&self, source: &str) -> Result<Option<Vec<u8>>>;
}
