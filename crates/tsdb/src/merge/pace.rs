//! How fast a merge goes, and when it stops.
//!
//! Owns: the share of a core that merging may take in the background, cancelling, and giving way to a caller who waits
//! for a merge of their own. Does not own: what is merged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use model::{Clock, Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::shard::{Common, Shared};

/// After working, the merger rests this many times as long: at most a quarter of a core.
const REST_FACTOR: u32 = 3;
/// It works this long before it rests: shorter naps cost more than they give to others.
const SLICE_NS: i64 = 20_000_000;
/// Steps after which it looks how full the disk is.
const LOOK_STEPS: u32 = 256;

/// Stops the merges of a store, or makes them hurry.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    is_stopped: AtomicBool,
    /// Callers who wait for a merge to end.
    waiting: AtomicUsize,
    /// Held while one of the two changes, so that no one begins to rest meanwhile.
    changing: Mutex<()>,
    changed: Condvar,
}

impl Brake {
    /// Makes merges end at their next step, for good; what they wrote so far is removed.
    pub(crate) fn stop(&self) {
        let _changing = self.changing.lock();
        self.is_stopped.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Rests for `time`, less if stopped or waited for.
    fn rest(&self, time: Duration) {
        let mut changing = self.changing.lock();
        let goes_on = |_: &mut ()| {
            !self.is_stopped.load(Ordering::Relaxed) && self.waiting.load(Ordering::Relaxed) == 0
        };
        self.changed.wait_while_for(&mut changing, goes_on, time);
    }

    fn wait(&self, more: bool) {
        let _changing = self.changing.lock();
        if more {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        self.changed.notify_all();
    }
}

/// One thread's merging.
#[derive(Debug)]
pub(crate) struct Pace {
    common: Arc<Common>,
    clock: Arc<dyn Clock>,
    rests: bool,
    /// When it rested last, by the monotonic clock.
    since_ns: i64,
    steps: u32,
}

impl Pace {
    /// For the background: a quarter of a core.
    pub(crate) fn slow(shared: &Shared) -> Self {
        Self { rests: true, ..Self::fast(shared) }
    }

    /// For a caller who waits.
    pub(crate) fn fast(shared: &Shared) -> Self {
        let (common, clock) = (Arc::clone(&shared.common), Arc::clone(&shared.clock));
        let since_ns = clock.monotonic_ns();
        Self { common, clock, rests: false, since_ns, steps: 0 }
    }

    /// Waits until nobody else merges in this shard; one in the background does not rest meanwhile if this is a caller.
    pub(super) fn lock<'a>(&mut self, shared: &'a Shared) -> MutexGuard<'a, ()> {
        if self.rests {
            let merging = shared.merging.try_lock();
            return merging.unwrap_or_else(|| {
                let merging = shared.merging.lock();
                self.restart();
                merging
            });
        }
        self.common.brake.wait(true);
        let merging = shared.merging.lock();
        self.common.brake.wait(false);
        merging
    }

    /// After time that was not spent on work.
    pub(super) fn restart(&mut self) {
        self.since_ns = self.clock.monotonic_ns();
    }

    /// Between two pieces of work of some microseconds to milliseconds: rests if it is time.
    ///
    /// # Errors
    /// [`Cancelled`](ErrorKind::Cancelled) by [`Brake::stop`], [`Busy`](ErrorKind::Busy) when the disk has become full.
    pub(super) fn step(&mut self, shared: &Shared) -> Result<()> {
        self.steps += 1;
        if self.steps.is_multiple_of(LOOK_STEPS) {
            let (free, floor) = (shared.free_bytes()?, self.common.config.free_bytes_floor);
            if free < floor {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("merge stopped: {free} bytes are free on the disk, {floor} must stay"),
                ));
            }
        }
        let worked_ns = self.clock.monotonic_ns().saturating_sub(self.since_ns);
        if self.rests && worked_ns >= SLICE_NS {
            let worked = Duration::from_nanos(worked_ns.unsigned_abs());
            self.common.brake.rest(worked * REST_FACTOR);
            self.restart();
        }
        if self.common.brake.is_stopped.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "merge was stopped as the store closes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For longer than a test may take.
    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn rests_end_when_stopped_or_waited_for() {
        let brake = Brake::default();
        brake.rest(Duration::ZERO);
        std::thread::scope(|scope| {
            scope.spawn(|| brake.rest(LONG));
            brake.wait(true);
        });
        // There is no rest while somebody waits.
        brake.rest(LONG);
        brake.wait(false);
        std::thread::scope(|scope| {
            scope.spawn(|| brake.rest(LONG));
            brake.stop();
        });
        brake.rest(LONG);
    }
}
