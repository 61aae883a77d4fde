//! What one query may cost, and the switch that stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Clock, Error, ErrorKind, Result};

/// Bounds of one query.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Samples or log rows it may touch.
    pub samples_max: u64,
    /// Bytes of memory its working set may take.
    pub bytes_max: u64,
    /// Wall time in milliseconds.
    pub time_ms_max: i64,
}

/// Shared by all parts of one query: counts what it costs, ends it when a limit is reached or the caller went away.
#[derive(Debug)]
pub struct Budget {
    clock: Arc<dyn Clock>,
    limits: Limits,
    deadline_ns: i64,
    samples: AtomicU64,
    bytes: AtomicU64,
    cancelled: AtomicBool,
}

impl Budget {
    /// A budget that starts now.
    pub fn new(clock: Arc<dyn Clock>, limits: Limits) -> Self {
        let deadline_ns =
            clock.monotonic_ns().saturating_add(limits.time_ms_max.saturating_mul(1_000_000));
        Self {
            clock,
            limits,
            deadline_ns,
            samples: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
        }
    }

    /// A budget without bounds, for tests and internal work.
    pub fn unlimited() -> Self {
        let limits = Limits {
            samples_max: u64::MAX,
            bytes_max: u64::MAX,
            time_ms_max: i64::MAX / 2_000_000,
        };
        Self::new(Arc::new(crate::SystemClock), limits)
    }

    /// Accounts for `n` more samples or rows read.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit) naming limit and cost once over it; otherwise as [`check`](Self::check).
    pub fn charge_samples(&self, n: u64) -> Result<()> {
        let total = self.samples.fetch_add(n, Ordering::Relaxed).saturating_add(n);
        if total > self.limits.samples_max {
            let max = self.limits.samples_max;
            return Err(Error::new(
                ErrorKind::Limit,
                format!("query needs over {total} samples; the limit is {max} (query.max_samples)"),
            ));
        }
        self.check()
    }

    /// Accounts for `n` more bytes held.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit) naming limit and cost once over it.
    pub fn charge_bytes(&self, n: u64) -> Result<()> {
        let total = self.bytes.fetch_add(n, Ordering::Relaxed).saturating_add(n);
        if total > self.limits.bytes_max {
            let max = self.limits.bytes_max;
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "query needs over {total} bytes of memory; the limit is {max} (its share of memory_limit)"
                ),
            ));
        }
        Ok(())
    }

    /// Gives `n` bytes back.
    pub fn release_bytes(&self, n: u64) {
        self.bytes.fetch_sub(n, Ordering::Relaxed);
    }

    /// Whether it may go on; call it once per block of work.
    ///
    /// # Errors
    /// [`Cancelled`](ErrorKind::Cancelled) after [`cancel`](Self::cancel) or past the deadline.
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "query was cancelled"));
        }
        if self.clock.monotonic_ns() > self.deadline_ns {
            let ms = self.limits.time_ms_max;
            return Err(Error::new(
                ErrorKind::Cancelled,
                format!("query timed out in expression evaluation after {ms} ms (query.timeout)"),
            ));
        }
        Ok(())
    }

    /// Makes every later [`check`](Self::check) fail; the work stops at its next block.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Samples or rows read so far.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }
}
