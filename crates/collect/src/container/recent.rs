//! The lines read last, to recognise those that the daemon sends twice in one stream.
//!
//! When a log is rotated while the daemon passes from the end of old files to following the new one, it can send lines
//! again. Such a line has a smaller time than the one before it, like the lines after the clock was set back, but unlike
//! them it is known to the nanosecond and the byte. When a single line is sent again its time is equal; two lines a
//! program really wrote alike in one nanosecond do not exist, but runtimes with microseconds are believed.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

/// Lines remembered of each output.
const LINES_MAX: usize = 2048;

/// Fingerprints of one output's last lines.
#[derive(Debug)]
pub(crate) struct Recent {
    lines: VecDeque<(i64, u64)>,
    high_ns: i64,
    /// While the stream repeats lines: which one must come next.
    repeating: Option<usize>,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { lines: VecDeque::new(), high_ns: i64::MIN, repeating: None }
    }

    /// Notes a line; `false` when the stream went back to it.
    pub(crate) fn insert(&mut self, t_ns: i64, text: &str) -> bool {
        let mut hasher = FxHasher::default();
        text.hash(&mut hasher);
        let line = (t_ns, hasher.finish());
        let expected = self.repeating.take();
        let known = if expected.is_some_and(|index| self.lines.get(index) == Some(&line)) {
            expected
        } else if t_ns < self.high_ns || (t_ns == self.high_ns && t_ns % 1000 != 0) {
            self.lines.iter().position(|known| *known == line)
        } else {
            None
        };
        if let Some(index) = known {
            self.repeating = Some(index + 1);
            return false;
        }
        self.high_ns = self.high_ns.max(t_ns);
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        true
    }

    /// A new stream begins, which starts before lines that are known.
    pub(crate) fn reopen(&mut self) {
        *self = Self { lines: std::mem::take(&mut self.lines), ..Self::new() };
        self.lines.clear();
    }
}
