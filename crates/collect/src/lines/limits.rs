//! Limits of all jobs together: lines a second, bytes of a line, streams at a time.

use std::collections::HashMap;

use model::Labels;
use parking_lot::Mutex;

/// A stream without a line for so long no longer counts.
const IDLE_NS: i64 = 300_000_000_000;
const NS: f64 = 1e9;

/// How fast lines are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadRate {
    /// Lines a second; above 0.
    pub per_second: f64,
    /// Lines at once.
    pub burst: u64,
    /// Whether lines beyond are dropped; otherwise reading waits.
    pub drops: bool,
}

/// Limits; by default there are none.
#[derive(Debug, Default)]
pub struct Limits {
    line_bytes_max: Option<usize>,
    cuts_lines: bool,
    rate: Option<ReadRate>,
    streams_max: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Lines that may come at once, and when that was; below 0 they were borrowed.
    bucket: Option<(f64, i64)>,
    /// Streams by fingerprint, and when a line of each came last.
    streams: HashMap<u64, i64>,
}

impl Limits {
    /// Limits; `line_bytes_max` and `streams_max` are none when 0, and longer lines are cut or dropped.
    pub fn new(
        line_bytes_max: u64,
        cuts_lines: bool,
        rate: Option<ReadRate>,
        streams_max: u64,
    ) -> Self {
        let some = |n: u64| (n > 0).then(|| usize::try_from(n).unwrap_or(usize::MAX));
        Self {
            line_bytes_max: some(line_bytes_max),
            cuts_lines,
            rate,
            streams_max: some(streams_max),
            state: Mutex::default(),
        }
    }

    pub(super) fn line_bytes_max(&self) -> Option<usize> {
        self.line_bytes_max
    }

    pub(super) fn cuts_lines(&self) -> bool {
        self.cuts_lines
    }

    pub(super) fn rate(&self) -> Option<ReadRate> {
        self.rate
    }

    /// Counts a line that was read at `now_ns` (monotonic); nanoseconds that reading should wait for it. A line that is
    /// to be dropped does not count.
    pub(super) fn wait_ns(&self, rate: ReadRate, now_ns: i64) -> i64 {
        let mut state = self.state.lock();
        let (lines, at_ns) = state.bucket.unwrap_or((rate.burst as f64, now_ns));
        let passed = now_ns.saturating_sub(at_ns).max(0) as f64 / NS;
        let lines = (lines + passed * rate.per_second).min(rate.burst as f64);
        let left = lines - 1.0;
        let is_over = left < 0.0;
        state.bucket = Some((if is_over && rate.drops { lines } else { left }, now_ns));
        if is_over { (-left / rate.per_second * NS).max(1.0) as i64 } else { 0 }
    }

    /// Whether a line of `stream` may be stored, of which one comes at `now_ns` (monotonic).
    pub(super) fn admits(&self, stream: &Labels, now_ns: i64) -> bool {
        let Some(streams_max) = self.streams_max else { return true };
        let streams = &mut self.state.lock().streams;
        let known = stream.fingerprint();
        if streams.len() >= streams_max && !streams.contains_key(&known) {
            streams.retain(|_, at_ns| now_ns.saturating_sub(*at_ns) <= IDLE_NS);
            if streams.len() >= streams_max {
                return false;
            }
        }
        streams.insert(known, now_ns);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_let_through_at_their_rate() {
        for drops in [true, false] {
            let rate = ReadRate { per_second: 10.0, burst: 2, drops };
            let limits = Limits::new(0, false, Some(rate), 0);
            let wait_ms = |at_ms: i64| limits.wait_ns(rate, at_ms * 1_000_000) / 1_000_000;
            assert_eq!([wait_ms(0), wait_ms(0), wait_ms(0)], [0, 0, 100]);
            // What was dropped costs nothing; what was borrowed is paid back.
            assert_eq!(wait_ms(100), if drops { 0 } else { 100 });
            assert_eq!(wait_ms(10_000), 0);
        }
    }

    #[test]
    fn idle_streams_make_room() {
        let limits = Limits::new(0, false, None, 2);
        let stream = |name: &str| Labels::from_pairs([("a", name)]);
        let admits = |name: &str, at_s: i64| limits.admits(&stream(name), at_s * 1_000_000_000);
        assert!(admits("1", 0) && admits("2", 0) && !admits("3", 1));
        assert!(admits("1", 200) && admits("3", 301) && !admits("2", 302));
    }
}
