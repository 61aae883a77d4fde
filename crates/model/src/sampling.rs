//! Which traces stay: what a store asks before spans become files.

use std::fmt;

use crate::Trace;

/// What became of a trace, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Verdict {
    /// Number of the rule, as the sampler counts them; `None` when none was about the trace.
    pub rule: Option<u16>,
    /// What it said.
    pub outcome: Outcome,
}

/// What a rule says of a trace or a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It stays.
    Kept,
    /// It goes: it is not among the share that stays.
    Share,
    /// It goes: its service has more than may stay.
    Rate,
}

impl Outcome {
    /// Snake-case name for figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Share => "dropped_share",
            Self::Rate => "dropped_rate",
        }
    }
}

/// Decides about traces. The store asks once per trace, when its first span has waited [`wait_ms`](Self::wait_ms), and lets
/// spans that come later follow.
pub trait TraceSampler: fmt::Debug + Send + Sync {
    /// Milliseconds between the arrival of a trace's first span and the decision.
    fn wait_ms(&self) -> i64;

    /// Decisions to remember at most, for spans that come later; the oldest are forgotten first.
    fn decisions_max(&self) -> usize;

    /// What becomes of the trace, of which these are the spans so far.
    fn decide(&self, trace: &Trace) -> Verdict;

    /// `spans` stay or go by `verdict`, for good; called with the sums of many traces.
    fn settled(&self, verdict: Verdict, spans: u64);

    /// So many traces were decided about before they had waited, for want of memory.
    fn hurried(&self, traces: u64);
}
