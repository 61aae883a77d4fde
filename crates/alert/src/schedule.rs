//! When a group is evaluated: at times that depend on its file, its name and its interval only, so that a restart does
//! not move them and groups of one interval do not come all at once. Source: what Prometheus does, to the millisecond.

use std::hash::Hasher as _;

use twox_hash::XxHash64;

/// Stands behind each text that is hashed, as in Prometheus' labels.
const SEPARATOR: u8 = 0xff;

/// The times of one group. Times are Unix milliseconds.
#[derive(Debug, Clone)]
pub struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
    next_ms: i64,
}

/// An evaluation that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The time it is about.
    pub at_ms: i64,
    /// Evaluations before it that did not take place, because there was no time for them.
    pub missed: u64,
}

impl Schedule {
    /// The times of the group `name` in `file` after `now_ms`; `interval_ms` is at least 1.
    pub fn new(file: &str, name: &str, interval_ms: u64, now_ms: i64) -> Self {
        let interval_ms = i64::try_from(interval_ms).unwrap_or(i64::MAX).max(1);
        let interval_ns = interval_ms.unsigned_abs().saturating_mul(1_000_000);
        let offset_ns = group_hash(file, name) % interval_ns;
        let offset_ms = i64::try_from(offset_ns / 1_000_000).unwrap_or(0);
        let mut schedule = Self { interval_ms, offset_ms, next_ms: 0 };
        schedule.next_ms = schedule.first_after(now_ms);
        schedule
    }

    fn first_after(&self, now_ms: i64) -> i64 {
        let since_ms = now_ms.saturating_sub(self.offset_ms).rem_euclid(self.interval_ms);
        now_ms.saturating_sub(since_ms).saturating_add(self.interval_ms)
    }

    /// When the next evaluation is due.
    pub fn next_ms(&self) -> i64 {
        self.next_ms
    }

    /// Milliseconds between evaluations.
    pub fn interval_ms(&self) -> i64 {
        self.interval_ms
    }

    /// The evaluation that is due at `now_ms`, if one is: the last of those whose time has come. The next comes after it.
    pub fn take(&mut self, now_ms: i64) -> Option<Due> {
        // The clock was set back.
        if self.next_ms.saturating_sub(self.interval_ms) > now_ms {
            self.next_ms = self.first_after(now_ms);
        }
        let late_ms = now_ms.saturating_sub(self.next_ms);
        if late_ms < 0 {
            return None;
        }
        let missed = late_ms / self.interval_ms;
        let at_ms = self.next_ms.saturating_add(missed.saturating_mul(self.interval_ms));
        self.next_ms = at_ms.saturating_add(self.interval_ms);
        Some(Due { at_ms, missed: missed.unsigned_abs() })
    }
}

/// A number for a group: the same in every process.
pub fn group_hash(file: &str, name: &str) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    for text in ["file", file, "name", name] {
        hasher.write(text.as_bytes());
        hasher.write(&[SEPARATOR]);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nows_ms: &[i64], expected: &[Option<(i64, u64)>]) {
        let mut schedule = Schedule { interval_ms: 15_000, offset_ms: 4_000, next_ms: 0 };
        schedule.next_ms = schedule.first_after(100_000);
        let taken = nows_ms.iter().map(|now| schedule.take(*now).map(|d| (d.at_ms, d.missed)));
        assert_eq!(taken.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn evaluations_come_at_their_times() {
        check(
            &[108_999, 109_000, 109_001, 124_900],
            &[None, Some((109_000, 0)), None, Some((124_000, 0))],
        );
    }

    #[test]
    fn what_is_too_late_is_skipped_and_counted() {
        check(&[155_000, 155_001, 169_000], &[Some((154_000, 3)), None, Some((169_000, 0))]);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_evaluation() {
        check(
            &[109_000, 10_000, 19_000, 34_000],
            &[Some((109_000, 0)), None, Some((19_000, 0)), Some((34_000, 0))],
        );
    }

    #[test]
    fn groups_are_spread_and_stay_where_they_are() {
        let at =
            |name: &str, now_ms| Schedule::new("/etc/rules/a.yml", name, 60_000, now_ms).next_ms();
        assert_eq!(at("a", 1_000_000) % 60_000, at("a", 7_777_777) % 60_000);
        assert_ne!(at("a", 1_000_000) % 60_000, at("b", 1_000_000) % 60_000);
        assert!((1_000_001..=1_060_000).contains(&at("a", 1_000_000)));
    }
}
