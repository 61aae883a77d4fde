//! Steady ticks: moments at whole multiples of the interval, so that rounds neither drift nor depend on the start.

use std::time::Duration;

use model::Clock;

/// A round that begins this close to its tick carries the tick's time, which keeps distances between samples equal.
const SNAP_MS: i64 = 10;

/// Ticks of one collector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticks {
    interval_ms: i64,
}

impl Ticks {
    pub(crate) fn every_ms(interval_ms: u64) -> Self {
        Self { interval_ms: i64::try_from(interval_ms).unwrap_or(i64::MAX).max(100) }
    }

    pub(crate) fn interval(self) -> Duration {
        Duration::from_millis(u64::try_from(self.interval_ms).unwrap_or(0))
    }

    /// The next tick after `now_ms`, and how long it takes until then.
    pub(crate) fn next(self, clock: &dyn Clock) -> (i64, Duration) {
        let now_ns = clock.now_ns();
        let tick_ms = (now_ns.div_euclid(1_000_000).div_euclid(self.interval_ms) + 1)
            .saturating_mul(self.interval_ms);
        let left_ns = tick_ms.saturating_mul(1_000_000).saturating_sub(now_ns);
        (tick_ms, Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0)))
    }

    /// The time a round at `tick_ms` carries: the tick's, unless the clock disagrees by more than a little.
    pub(crate) fn stamp_ms(self, tick_ms: i64, clock: &dyn Clock) -> i64 {
        let now_ms = clock.now_ms();
        if (now_ms - tick_ms).abs() <= SNAP_MS { tick_ms } else { now_ms }
    }
}

#[cfg(test)]
mod tests {
    use model::ManualClock;

    use super::*;

    #[test]
    fn ticks_are_multiples_and_stamps_snap() {
        let clock = ManualClock::at_ms(31_000);
        let ticks = Ticks::every_ms(15_000);
        let (tick_ms, left) = ticks.next(&clock);
        assert_eq!((tick_ms, left), (45_000, Duration::from_secs(14)));
        clock.advance_ms(14_007);
        assert_eq!(ticks.stamp_ms(tick_ms, &clock), 45_000);
        clock.advance_ms(1_000);
        assert_eq!(ticks.stamp_ms(tick_ms, &clock), 46_007);
        assert_eq!(ticks.next(&clock).0, 60_000);
    }
}
