//! Roll-ups: the samples of a series summed up by windows, for questions about long times.
//!
//! Owns: the words. Does not own: which functions can be had from them (`query`), where they are kept (`tsdb`). Why and how
//! exact: `docs/decisions/0013-roll-ups.md`.

/// Width of a window, milliseconds. Windows are `(k × width, (k + 1) × width]` in Unix time, UTC, as ranges of the language
/// are open where they begin.
pub const ROLL_UP_MS: i64 = 300_000;

/// First values are known of windows whose number is a multiple of this (each half hour), and of those after a window without
/// samples.
pub const FIRST_EVERY: i64 = 6;

/// Number of the window with a time in Unix milliseconds.
pub fn window_of(t_ms: i64) -> i64 {
    t_ms.saturating_sub(1).div_euclid(ROLL_UP_MS)
}

/// What a query that takes roll-ups instead of samples wants to know of each window, besides times, count, first and last
/// value. A source shows samples to who does not ask for roll-ups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RollUpNeeds {
    /// Where the value fell, as counters do that start anew.
    pub falls: bool,
    /// Least and greatest value.
    pub extremes: bool,
    /// The sum, rounded once.
    pub sums: bool,
    /// Staleness markers count as samples; otherwise they are left out.
    pub markers: bool,
}

/// A window that has samples, and when they were; Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollUpWindow {
    /// Times in `(number × width, (number + 1) × width]` are in it.
    pub number: i64,
    /// How many samples.
    pub count: u32,
    /// The first.
    pub first_ms: i64,
    /// The one before the last; `i64::MIN` when there is only one.
    pub before_last_ms: i64,
    /// The last.
    pub last_ms: i64,
}

impl RollUpWindow {
    /// A window that has one sample.
    pub fn at(t_ms: i64) -> Self {
        let number = window_of(t_ms);
        Self { number, count: 1, first_ms: t_ms, before_last_ms: i64::MIN, last_ms: t_ms }
    }

    /// Takes in `next`, samples of the same window that are later.
    pub fn join(&mut self, next: &Self) {
        self.before_last_ms = if next.count == 1 { self.last_ms } else { next.before_last_ms };
        self.last_ms = next.last_ms;
        self.count += next.count;
    }

    /// The windows of ascending times, with the number of rows before each.
    pub fn of(times: &[i64]) -> Vec<(Self, usize)> {
        let mut found: Vec<(Self, usize)> = Vec::new();
        let mut row = 0;
        while let Some(first) = times.get(row) {
            let number = window_of(*first);
            let end_ms = (number + 1).saturating_mul(ROLL_UP_MS);
            let len = times[row..].partition_point(|t| *t <= end_ms);
            let rows = &times[row..row + len];
            let before_last_ms = if len > 1 { rows[len - 2] } else { i64::MIN };
            let count = u32::try_from(len).unwrap_or(u32::MAX);
            let last_ms = rows[len - 1];
            found.push((Self { number, count, first_ms: *first, before_last_ms, last_ms }, row));
            row += len;
        }
        found
    }
}

/// A sample below the one before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fall {
    /// Which of the view's windows.
    pub window: u32,
    /// Whether it is the window's first sample; then the one before is not in the window.
    pub at_start: bool,
    /// The value before.
    pub before: f64,
}

/// One series' roll-ups on their way past a worker; never empty. All slices of values are parallel to `windows`.
#[derive(Debug, Clone, Copy)]
pub struct RollUpView<'a> {
    /// What [`MetricVisitor::group`](crate::MetricVisitor::group) answered for its labels.
    pub group: u32,
    /// Names `windows` among all that this worker is shown: equal numbers, equal windows. 0 says nothing.
    pub times_id: u64,
    /// The windows that have samples, ascending.
    pub windows: &'a [RollUpWindow],
    /// First values; NaN where the source does not know (see [`FIRST_EVERY`]).
    pub first: &'a [f64],
    /// Last values.
    pub last: &'a [f64],
    /// Where it fell, in order of time; if asked for.
    pub falls: &'a [Fall],
    /// Least values, the first of equal ones, NaN only when there is nothing else; if asked for.
    pub least: &'a [f64],
    /// Greatest values, likewise.
    pub greatest: &'a [f64],
    /// Sums; if asked for.
    pub sums: &'a [f64],
}
