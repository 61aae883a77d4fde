//! Functions of windows out of roll-ups: `rate`, sums, extremes and their like over whole five minutes.
//!
//! Owns: which functions and which grids can do without samples, and what they make of a series' windows. What it gives is
//! what samples would give, to the bit but for sums of fractions, which may differ in the last; where roll-ups do not say
//! enough, samples are asked for. Does not own: roll-ups (`model::RollUpView`).

use model::{FIRST_EVERY, Fall, ROLL_UP_MS, RollUpNeeds, RollUpView, RollUpWindow, is_stale};

use super::windows::Reach;
use crate::vector::{ABSENT, Grid};

/// A window that begins this long before a boundary may have one sample there, the last of its five minutes, which is known.
/// Dashboards ask for ranges that are a scrape's distance longer than the step.
const LEAD_MS_MAX: i64 = 60_000;
/// Sums of integers below this are exact in any order.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What is made of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::promql::evaluate) enum RolledFunction {
    /// An instant selector.
    Instant,
    Extrapolated {
        counter: bool,
        per_second: bool,
    },
    Sum,
    Mean,
    Least,
    Greatest,
    Count,
    First,
    Last,
    Present,
    Resets,
}

impl RolledFunction {
    /// That of the function called `name`, `""` being an instant selector.
    fn find(name: &str) -> Option<Self> {
        Some(match name {
            "" => Self::Instant,
            "rate" => Self::Extrapolated { counter: true, per_second: true },
            "increase" => Self::Extrapolated { counter: true, per_second: false },
            "delta" => Self::Extrapolated { counter: false, per_second: false },
            "sum_over_time" => Self::Sum,
            "avg_over_time" => Self::Mean,
            "min_over_time" => Self::Least,
            "max_over_time" => Self::Greatest,
            "count_over_time" => Self::Count,
            "first_over_time" => Self::First,
            "last_over_time" => Self::Last,
            "present_over_time" => Self::Present,
            "resets" => Self::Resets,
            _ => return None,
        })
    }

    /// That of the function called `name` if windows of `range_ms` that end at the steps of `ends` are whole roll-ups.
    pub(in crate::promql::evaluate) fn of(name: &str, ends: Grid, range_ms: i64) -> Option<Self> {
        let function = Self::find(name)?;
        let is_on = |ms: i64, width: i64| ms.rem_euclid(width) == 0;
        let all_on = |first_ms: i64, width: i64| {
            is_on(first_ms, width) && (ends.count == 1 || is_on(ends.step_ms, width))
        };
        let from_ms = ends.start_ms.checked_sub(range_ms)?;
        let lead_ms = (-from_ms).rem_euclid(ROLL_UP_MS);
        let needs_first = matches!(function, Self::Extrapolated { .. } | Self::First);
        let first_width = if needs_first { FIRST_EVERY * ROLL_UP_MS } else { ROLL_UP_MS };
        let begins = lead_ms > 0 && lead_ms <= LEAD_MS_MAX || all_on(from_ms, first_width);
        (all_on(ends.start_ms, ROLL_UP_MS) && begins).then_some(function)
    }

    pub(in crate::promql::evaluate) fn needs(self) -> RollUpNeeds {
        RollUpNeeds {
            falls: matches!(self, Self::Extrapolated { counter: true, .. } | Self::Resets),
            extremes: matches!(self, Self::Least | Self::Greatest),
            sums: matches!(self, Self::Sum | Self::Mean),
            markers: self == Self::Instant,
        }
    }
}

/// A step's windows `[low, high)` of a series.
#[derive(Debug, Clone, Copy)]
struct Step {
    low: usize,
    high: usize,
    /// Whether the last sample of the window before `low` is in it, too.
    lead: bool,
    count: u32,
    reach: Reach,
}

/// Walks series by their roll-ups; keeps scratch memory.
pub(in crate::promql::evaluate) struct RolledWalker {
    function: RolledFunction,
    ends: Grid,
    range_ms: i64,
    times_id: u64,
    /// `None` when a window cuts five minutes where more than one sample is in question.
    steps: Option<Vec<Step>>,
    row: Vec<f64>,
}

impl RolledWalker {
    pub(in crate::promql::evaluate) fn new(
        function: RolledFunction,
        ends: Grid,
        range_ms: i64,
    ) -> Self {
        let row = vec![ABSENT; ends.count];
        Self { function, ends, range_ms, times_id: 0, steps: None, row }
    }

    /// The row of one series and whether all steps have a value; `None` if its roll-ups do not say enough.
    pub(in crate::promql::evaluate) fn row(
        &mut self,
        view: &RollUpView<'_>,
    ) -> Option<(&[f64], bool)> {
        if view.times_id == 0 || view.times_id != self.times_id {
            self.steps = self.find(view.windows);
            self.times_id = view.times_id;
        }
        let mut is_dense = true;
        let per = match self.function {
            RolledFunction::Extrapolated { per_second: true, .. } => self.range_ms as f64 / 1000.0,
            _ => 1.0,
        };
        for (cell, step) in self.row.iter_mut().zip(self.steps.as_ref()?) {
            *cell = if step.count == 0 { ABSENT } else { step.value(self.function, view, per)? };
            is_dense &= !crate::vector::is_absent(*cell);
        }
        Some((&self.row, is_dense))
    }

    fn find(&self, windows: &[RollUpWindow]) -> Option<Vec<Step>> {
        let (mut low, mut high) = (0, 0);
        let mut found = Vec::with_capacity(self.ends.count);
        let mut before = vec![0u64];
        before.extend(windows.iter().scan(0u64, |total, w| {
            *total += u64::from(w.count);
            Some(*total)
        }));
        for to_ms in self.ends.times_ms() {
            let from_ms = to_ms.saturating_sub(self.range_ms);
            let skip = |from: usize, is_before: &dyn Fn(&RollUpWindow) -> bool| {
                from + windows[from..].iter().take_while(|w| is_before(w)).count()
            };
            low = skip(low, &|w| w.number * ROLL_UP_MS < from_ms);
            high = skip(high.max(low), &|w| (w.number + 1) * ROLL_UP_MS <= to_ms);
            let cut = low.checked_sub(1).map(|k| windows[k]).filter(|w| w.last_ms > from_ms);
            if cut.is_some_and(|w| w.before_last_ms > from_ms || w.last_ms > to_ms) {
                return None;
            }
            let lead = cut.is_some();
            let count = u32::try_from(before[high] - before[low]).ok()? + u32::from(lead);
            let mut reach = Reach::default();
            if count >= 2 {
                let first_ms = cut.map_or(windows[low].first_ms, |w| w.last_ms);
                let gaps = count as usize - 1;
                reach = Reach::new((from_ms, to_ms), first_ms, windows[high - 1].last_ms, gaps);
            }
            found.push(Step { low, high, lead, count, reach });
        }
        Some(found)
    }
}

impl Step {
    /// The value of a window that has samples.
    fn value(&self, function: RolledFunction, view: &RollUpView<'_>, per: f64) -> Option<f64> {
        let Self { low, high, lead, count, .. } = *self;
        let lead = lead.then(|| view.last[low - 1]);
        // What is NaN may be unknown.
        let first = || lead.or_else(|| Some(view.first[low]).filter(|x| !x.is_nan()));
        let last = view.last[high - 1];
        let extreme = |values: &[f64], better: fn(f64, f64) -> bool| {
            let values = &values[low..high];
            let start = lead.or(values.first().copied()).unwrap_or(f64::NAN);
            let best = |m: f64, x: &f64| if better(*x, m) || m.is_nan() { *x } else { m };
            values.iter().fold(start, best)
        };
        Some(match function {
            RolledFunction::Instant if is_stale(last) => ABSENT,
            RolledFunction::Instant | RolledFunction::Last => last,
            RolledFunction::First => first()?,
            RolledFunction::Count => f64::from(count),
            RolledFunction::Present => 1.0,
            RolledFunction::Least => extreme(view.least, |x, m| x < m),
            RolledFunction::Greatest => extreme(view.greatest, |x, m| x > m),
            RolledFunction::Sum => sum(lead, &view.sums[low..high])?.0,
            RolledFunction::Mean => {
                let (_, (total, error)) = sum(lead, &view.sums[low..high])?;
                total / f64::from(count) + error / f64::from(count)
            }
            RolledFunction::Resets => {
                f64::from(u32::try_from(self.falls(view).count()).unwrap_or(u32::MAX))
            }
            RolledFunction::Extrapolated { .. } if count < 2 => ABSENT,
            RolledFunction::Extrapolated { counter, .. } => {
                let first = first()?;
                let mut difference = last - first;
                if !counter {
                    return Some(self.reach.of_gauge(difference, per));
                }
                self.falls(view).for_each(|fall| difference += fall.before);
                self.reach.of_counter(first, difference, per)
            }
        })
    }

    /// Where the value fell between two samples of the step.
    fn falls<'v>(&self, view: &RollUpView<'v>) -> impl Iterator<Item = &'v Fall> + use<'v> {
        let Self { low, high, lead, .. } = *self;
        let start = view.falls.partition_point(|fall| (fall.window as usize) < low);
        let inside = view.falls[start..].iter().take_while(move |f| (f.window as usize) < high);
        inside.filter(move |f| lead || f.window as usize > low || !f.at_start)
    }
}

/// The sum, and its parts; `None` when rounding of the windows' sums could show: some cancel others, or are not finite.
fn sum(lead: Option<f64>, sums: &[f64]) -> Option<(f64, (f64, f64))> {
    let (mut total, mut error, mut size) = (0.0, 0.0, 0.0);
    let (mut whole, mut signs) = (true, [false; 2]);
    for x in lead.iter().chain(sums) {
        super::cells::add(&mut total, &mut error, *x);
        size += x.abs();
        whole &= x.fract() == 0.0;
        signs[usize::from(*x < 0.0)] |= *x != 0.0;
    }
    let is_exact = (whole && size <= EXACT_MAX) || signs != [true; 2];
    (total.is_finite() && is_exact).then_some((total + error, (total, error)))
}
