//! What one query may cost, and the switch that stops it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// What was left out; `None` where nothing may be.
    left_out: Mutex<Option<Vec<(u128, Error)>>>,
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
            left_out: Mutex::new(None),
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

    /// Bytes to be given back together, when what is returned is dropped; none yet.
    pub fn hold(&self) -> Held<'_> {
        Held { budget: self, bytes: Cell::new(0) }
    }

    /// From now on traces that are too large for it may be left out: who calls this tells of those
    /// [left out](Self::left_out).
    pub fn allow_leaving_out(&self) {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }

    /// Leaves out a trace that is too large for it, as `why` says.
    ///
    /// # Errors
    /// `why` where none [may be](Self::allow_leaving_out) left out.
    pub fn leave_out(&self, trace_id: u128, why: Error) -> Result<()> {
        let why = why.context(format_args!("trace {trace_id:032x}"));
        match &mut *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(all) => all.push((trace_id, why)),
            None => return Err(why),
        }
        Ok(())
    }

    /// Ids of the traces left out since it was asked last, with the [`Limit`](ErrorKind::Limit) of each.
    pub fn left_out(&self) -> Vec<(u128, Error)> {
        let mut all = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        all.as_mut().map(std::mem::take).unwrap_or_default()
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

/// Bytes of a [`Budget`] that something takes for as long as it is there.
#[derive(Debug)]
pub struct Held<'b> {
    budget: &'b Budget,
    bytes: Cell<u64>,
}

impl Held<'_> {
    /// Accounts for `n` more.
    ///
    /// # Errors
    /// As [`Budget::charge_bytes`]; they are given back with the others all the same.
    pub fn add(&self, n: u64) -> Result<()> {
        self.bytes.set(self.bytes.get().saturating_add(n));
        self.budget.charge_bytes(n)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.release_bytes(self.bytes.get());
    }
}
