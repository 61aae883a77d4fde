//! Time: the only place the process reads a clock, and the one half-open range type.

#![expect(clippy::disallowed_methods, reason = "this is the wrapper that everything else must use")]

use std::fmt::Debug;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where time comes from; the real one is [`SystemClock`], tests turn a [`ManualClock`].
pub trait Clock: Send + Sync + Debug {
    /// Unix time in nanoseconds, UTC; may step backwards.
    fn now_ns(&self) -> i64;

    /// Nanoseconds since some fixed moment; never goes backwards. For timeouts and durations.
    fn monotonic_ns(&self) -> i64;

    /// Unix time in milliseconds, UTC.
    fn now_ms(&self) -> i64 {
        self.now_ns().div_euclid(1_000_000)
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ns(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(d) => i64::try_from(d.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        }
    }

    fn monotonic_ns(&self) -> i64 {
        static START: OnceLock<Instant> = OnceLock::new();
        i64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(i64::MAX)
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ns: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now_ms` (Unix milliseconds).
    pub fn at_ms(now_ms: i64) -> Self {
        Self { now_ns: AtomicI64::new(now_ms * 1_000_000) }
    }

    /// Moves both readings forward by `ms` milliseconds.
    pub fn advance_ms(&self, ms: i64) {
        self.now_ns.fetch_add(ms * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ns(&self) -> i64 {
        self.now_ns.load(Ordering::SeqCst)
    }

    fn monotonic_ns(&self) -> i64 {
        self.now_ns.load(Ordering::SeqCst)
    }
}

/// A span of time `[start_ns, end_ns)` in Unix nanoseconds, UTC: the start belongs to it, the end does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First nanosecond inside.
    pub start_ns: i64,
    /// First nanosecond after.
    pub end_ns: i64,
}

impl TimeRange {
    /// Everything that can be stored.
    pub const ALL: Self = Self { start_ns: i64::MIN, end_ns: i64::MAX };

    /// `[start_ns, end_ns)`.
    pub fn new(start_ns: i64, end_ns: i64) -> Self {
        Self { start_ns, end_ns }
    }

    /// The milliseconds `[start_ms, end_ms]`, both inside, as Prometheus' APIs mean them.
    pub fn from_ms_inclusive(start_ms: i64, end_ms: i64) -> Self {
        Self {
            start_ns: start_ms.saturating_mul(1_000_000),
            end_ns: end_ms.saturating_add(1).saturating_mul(1_000_000),
        }
    }

    /// Whether `t_ns` is inside.
    pub fn contains(&self, t_ns: i64) -> bool {
        self.start_ns <= t_ns && t_ns < self.end_ns
    }

    /// Whether any moment of `[min_ns, max_ns]` (both inside) is inside.
    pub fn overlaps(&self, min_ns: i64, max_ns: i64) -> bool {
        min_ns < self.end_ns && max_ns >= self.start_ns
    }
}
