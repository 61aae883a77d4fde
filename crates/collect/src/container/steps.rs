//! Steps of time in a followed log: where an engine may have left a file out.
//!
//! Engines before 23 follow a log that is rotated with faults: a stream that lags by more than a file, or was opened in
//! the moment of a rotation, goes on behind a file it never read, and at times it sends a file again. Nothing in the
//! stream says so. But a file takes time to fill, so such a place is a step of time between two lines; a step that the
//! log itself, read in one piece from its end, has between the same two lines is none.
//!
//! Does not own: reading the log (`logs`), what becomes of lines (`reader`).

use ingest::docker::frames::Line;
use rustc_hash::FxHashSet;

/// Nanoseconds that an engine takes at least to write a byte of a log: it writes 100 MB/s at the most.
const BYTE_NS: i64 = 10;
/// Lines from before a stream was opened, less this time, cannot be missing from it: the files they are in were open.
const OPENING_NS: i64 = 1_000_000_000;

/// Times of two lines, one behind the other, that are far from each other. Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Step {
    pub(crate) before_ns: i64,
    pub(crate) after_ns: i64,
}

impl Step {
    fn is_of(self, least_ns: i64) -> bool {
        self.before_ns.abs_diff(self.after_ns) >= least_ns.unsigned_abs()
    }
}

/// The time that a file of `bytes` takes to fill at least, nanoseconds.
pub(crate) fn least_ns(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(BYTE_NS)
}

/// The steps of a log, noted line by line.
#[derive(Debug)]
pub(crate) struct LogSteps {
    least_ns: i64,
    /// A line whose presence is asked for.
    wanted_ns: i64,
    pub(crate) has_wanted: bool,
    pub(crate) first_ns: Option<i64>,
    last_ns: Option<i64>,
    steps: FxHashSet<Step>,
}

impl LogSteps {
    pub(crate) fn new(least_ns: i64, wanted_ns: i64) -> Self {
        Self {
            least_ns,
            wanted_ns,
            has_wanted: false,
            first_ns: None,
            last_ns: None,
            steps: FxHashSet::default(),
        }
    }

    pub(crate) fn note(&mut self, lines: &[Line]) {
        for after_ns in lines.iter().filter_map(|line| line.t_ns) {
            self.has_wanted |= after_ns == self.wanted_ns;
            self.first_ns.get_or_insert(after_ns);
            if let Some(before_ns) = self.last_ns.replace(after_ns) {
                let step = Step { before_ns, after_ns };
                if step.is_of(self.least_ns) {
                    self.steps.insert(step);
                }
            }
        }
    }
}

/// Watches one stream for steps.
#[derive(Debug)]
pub(crate) struct StepWatch {
    least_ns: i64,
    opened_ns: i64,
    last_ns: Option<i64>,
    known: FxHashSet<Step>,
    doubt: Option<Step>,
}

impl StepWatch {
    /// For a stream opened at `opened_ns`; a step is of `least_ns` at least.
    pub(crate) fn new(opened_ns: i64, least_ns: i64) -> Self {
        let opened_ns = opened_ns.saturating_sub(OPENING_NS);
        Self { least_ns, opened_ns, last_ns: None, known: FxHashSet::default(), doubt: None }
    }

    /// The step that must be looked for in the log before anything behind it is taken.
    pub(crate) fn doubt(&self) -> Option<Step> {
        self.doubt
    }

    pub(crate) fn least_ns(&self) -> i64 {
        self.least_ns
    }

    /// How many of `lines`, the next ones of the stream, may be taken; the others come again with the next call.
    pub(crate) fn certain(&mut self, lines: &[Line]) -> usize {
        if self.doubt.is_some() {
            return 0;
        }
        for (index, line) in lines.iter().enumerate() {
            let Some(after_ns) = line.t_ns else { continue };
            if let Some(before_ns) = self.last_ns {
                let step = Step { before_ns, after_ns };
                let is_since = before_ns.max(after_ns) >= self.opened_ns;
                if is_since && step.is_of(self.least_ns) && !self.known.contains(&step) {
                    self.doubt = Some(step);
                    return index;
                }
            }
            self.last_ns = Some(after_ns);
        }
        lines.len()
    }

    /// Takes the log's own steps; `false` when the doubtful one is not among them: the stream is torn there.
    pub(crate) fn learn(&mut self, log: LogSteps) -> bool {
        self.known = log.steps;
        let holds = self.doubt.is_none_or(|step| self.known.contains(&step));
        if holds {
            self.doubt = None;
        }
        holds
    }

    /// Believes the doubtful step.
    pub(crate) fn believe(&mut self) {
        self.known.extend(self.doubt.take());
    }
}

#[cfg(test)]
mod tests;
