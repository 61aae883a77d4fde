//! The windows of one series after another, each as a row of step values.
//!
//! Owns: where windows begin and end, found once for all series with the same times, and the fast forms of functions.
//! Does not own: what functions mean; those without a fast form are [`Apply`], and all give what these would, to the bit.

use model::{Budget, Result, SeriesView, Together, is_stale};

use crate::promql::evaluate::select::advance;
use crate::promql::evaluate::windows::{Apply, Window, find};
use crate::vector::aggregate::Reduce;
use crate::vector::{ABSENT, Grid};

/// Sums of integers below this are exact in any order.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What is made of each window.
#[derive(Debug, Clone, Copy)]
pub(in crate::promql::evaluate) enum Kernel {
    /// The last sample, unless it is a staleness marker.
    Instant,
    /// `rate`, `increase`, `delta`.
    Extrapolated {
        counter: bool,
        per_second: bool,
    },
    /// `sum_over_time`, `avg_over_time`; the function itself for windows that the fast form cannot do.
    Summed {
        mean: bool,
        apply: Apply,
    },
    Least,
    Greatest,
    Counted,
    First,
    Last,
    /// `changes`, `resets`: how many neighbours differ so.
    Pairs(fn(f64, f64) -> bool),
    Other(Apply),
}

impl Kernel {
    /// That of the function called `name`, if it has one argument and makes a number of a window.
    pub(in crate::promql::evaluate) fn find(name: &str) -> Option<Self> {
        Some(match name {
            "rate" => Self::Extrapolated { counter: true, per_second: true },
            "increase" => Self::Extrapolated { counter: true, per_second: false },
            "delta" => Self::Extrapolated { counter: false, per_second: false },
            "sum_over_time" | "avg_over_time" => {
                Self::Summed { mean: name == "avg_over_time", apply: find(name)? }
            }
            "min_over_time" => Self::Least,
            "max_over_time" => Self::Greatest,
            "count_over_time" => Self::Counted,
            "first_over_time" => Self::First,
            "last_over_time" => Self::Last,
            "changes" => Self::Pairs(|a, b| a != b && !(a.is_nan() && b.is_nan())),
            "resets" => Self::Pairs(|a, b| b < a),
            _ => Self::Other(find(name)?),
        })
    }
}

/// Windows `(end - range, end]` over some times: rows `[low, high)` of each step.
#[derive(Debug, Default)]
struct Bounds {
    low: Vec<u32>,
    high: Vec<u32>,
    /// Whether every window begins and ends one row after the one before, and none is empty.
    in_step: bool,
    /// Whether every window has a value under this kernel.
    is_dense: bool,
    /// Of [`Kernel::Extrapolated`], by step.
    reach: Vec<Reach>,
    /// What the difference is multiplied with where zero is not near, by step.
    factor: Vec<f64>,
    /// A first value over this many differences is not near zero, by step.
    floor: Vec<f64>,
    /// Seconds that the result is about.
    per: f64,
}

/// How far a window's difference is extrapolated; seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reach {
    sampled: f64,
    to_start: f64,
    to_end: f64,
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// A row of step values.
pub(in crate::promql::evaluate) struct Walked<'w> {
    /// [`ABSENT`] at steps without.
    pub(in crate::promql::evaluate) values: &'w [f64],
    /// Whether all steps have one.
    pub(in crate::promql::evaluate) is_dense: bool,
    /// Whether the series had any sample that is no staleness marker.
    pub(in crate::promql::evaluate) had_samples: bool,
}

/// Walks series; keeps scratch memory.
pub(in crate::promql::evaluate) struct Walker<'k> {
    kernel: &'k Kernel,
    ends: Grid,
    eval: Grid,
    range_ms: i64,
    times_id: u64,
    shared: Bounds,
    own: Bounds,
    times: Vec<i64>,
    values: Vec<f64>,
    sums: Vec<f64>,
    errors: Vec<f64>,
    falls: Vec<u32>,
    row: Vec<f64>,
}

impl<'k> Walker<'k> {
    /// Bytes of memory it takes for a step, about.
    pub(in crate::promql::evaluate) const STEP_BYTES: u64 = 96;

    /// For windows that end at the steps of `ends`; functions are told the times of `eval`.
    pub(in crate::promql::evaluate) fn new(
        kernel: &'k Kernel,
        ends: Grid,
        eval: Grid,
        range_ms: i64,
    ) -> Self {
        Self {
            kernel,
            ends,
            eval,
            range_ms,
            times_id: 0,
            shared: Bounds::default(),
            own: Bounds::default(),
            times: Vec::new(),
            values: Vec::new(),
            sums: Vec::new(),
            errors: Vec::new(),
            falls: Vec::new(),
            row: vec![ABSENT; eval.count],
        }
    }

    /// What `op` over the rows of series with these times lets be one series before it is walked.
    pub(super) fn together(&mut self, op: Reduce, times_id: u64, times: &[i64]) -> Together {
        let is_sum = match op {
            Reduce::Sum | Reduce::Avg => true,
            Reduce::Count | Reduce::Group => false,
            _ => return Together::Apart,
        };
        match self.kernel {
            Kernel::Other(_) => Together::Apart,
            // Which steps have a value depends on the times alone.
            _ if !is_sum => Together::Count,
            // All of these are linear, a counter's as long as neither falls nor zero come into it.
            Kernel::Instant | Kernel::First | Kernel::Last | Kernel::Summed { .. } => Together::Sum,
            Kernel::Extrapolated { counter: false, .. } => Together::Sum,
            Kernel::Extrapolated { counter: true, .. } => {
                self.find_shared(times_id, times);
                let Bounds { floor, low, high, .. } = &self.shared;
                let rows = low.iter().zip(high).map(|(low, high)| (high - low) as usize).max();
                Together::RisingSum {
                    headroom: floor.iter().copied().fold(0.0, f64::max),
                    rows: rows.map_or(1, |rows| rows.saturating_sub(1).max(1)),
                }
            }
            _ => Together::Apart,
        }
    }

    /// Finds the windows over times with a number, unless it was the last one.
    fn find_shared(&mut self, times_id: u64, times: &[i64]) {
        if times_id != self.times_id {
            self.shared.find(times, self.ends, self.range_ms, *self.kernel);
            self.times_id = times_id;
        }
    }

    /// The row of one series.
    ///
    /// # Errors
    /// Those of `budget`, which is looked at where one series is much work.
    pub(in crate::promql::evaluate) fn row(
        &mut self,
        series: &SeriesView<'_>,
        budget: &Budget,
    ) -> Result<Walked<'_>> {
        let (times, values) = (series.timestamps, series.values);
        // Instant selectors see the markers: they end a series.
        let has_markers = values.iter().fold(false, |any, v| any | is_stale(*v));
        let is_instant = matches!(self.kernel, Kernel::Instant);
        if has_markers && !is_instant {
            return self.row_without_markers(series, budget);
        }
        let is_shared = series.times_id != 0;
        if is_shared {
            self.find_shared(series.times_id, times);
        } else {
            self.own.find(times, self.ends, self.range_ms, *self.kernel);
        }
        if values.len() > 1 << 16 {
            budget.check()?;
        }
        let Self { kernel, eval, range_ms: _, shared, own, sums, errors, falls, row, .. } = self;
        let bounds = if is_shared { shared } else { own };
        let mut scratch = Scratch { sums, errors, falls };
        fill(**kernel, bounds, times, values, *eval, &mut scratch, row);
        let is_dense = bounds.is_dense && !(is_instant && has_markers);
        Ok(Walked { values: row, is_dense, had_samples: !values.is_empty() })
    }

    fn row_without_markers(
        &mut self,
        series: &SeriesView<'_>,
        budget: &Budget,
    ) -> Result<Walked<'_>> {
        let (mut times, mut values) =
            (std::mem::take(&mut self.times), std::mem::take(&mut self.values));
        times.clear();
        values.clear();
        for (t, v) in series.timestamps.iter().zip(series.values).filter(|(_, v)| !is_stale(**v)) {
            times.push(*t);
            values.push(*v);
        }
        let clean = SeriesView { times_id: 0, timestamps: &times, values: &values, ..*series };
        let (is_dense, had_samples) = {
            let row = self.row(&clean, budget)?;
            (row.is_dense, row.had_samples)
        };
        (self.times, self.values) = (times, values);
        Ok(Walked { values: &self.row, is_dense, had_samples })
    }
}

impl Bounds {
    fn find(&mut self, times: &[i64], ends: Grid, range_ms: i64, kernel: Kernel) {
        self.low.clear();
        self.high.clear();
        let (mut low, mut high) = (0, 0);
        for to in ends.times_ms() {
            low = advance(times, low, to.saturating_sub(range_ms));
            high = advance(times, high.max(low), to);
            self.low.push(row_number(low));
            self.high.push(row_number(high));
        }
        let windows = || self.low.iter().zip(&self.high);
        let moves_by_one = |rows: &[u32]| rows.windows(2).all(|w| w[1] == w[0] + 1);
        let is_extrapolated = matches!(kernel, Kernel::Extrapolated { .. });
        let least = if is_extrapolated { 2 } else { 1 };
        // Other functions may give nothing for a window that has samples.
        let always = !matches!(kernel, Kernel::Other(_));
        let all = windows().all(|(low, high)| high - low >= least);
        self.is_dense = always && all;
        self.in_step = all && moves_by_one(&self.low) && moves_by_one(&self.high);
        if let Kernel::Extrapolated { per_second, .. } = kernel {
            self.find_reach(times, ends, range_ms, per_second);
        }
    }

    fn find_reach(&mut self, times: &[i64], ends: Grid, range_ms: i64, per_second: bool) {
        self.reach.clear();
        self.factor.clear();
        self.floor.clear();
        self.per = if per_second { seconds(range_ms) } else { 1.0 };
        for ((to, low), high) in ends.times_ms().zip(&self.low).zip(&self.high) {
            let (low, high) = (*low as usize, *high as usize);
            let mut reach = Reach::default();
            if high - low >= 2 {
                let (last, window) = (high - 1, (to.saturating_sub(range_ms), to));
                reach = Reach::new(window, times[low], times[last], last - low);
            }
            self.reach.push(reach);
            self.factor.push(reach.factor(reach.to_start, self.per));
            // Somewhat more than needed: what is near is computed exactly.
            self.floor.push(reach.to_start / reach.sampled * 1.000_001);
        }
    }
}

impl Reach {
    /// In the window `(from, to]` with samples from `first_ms` to `last_ms`, and `gaps` distances between them.
    pub(super) fn new(
        (from_ms, to_ms): (i64, i64),
        first_ms: i64,
        last_ms: i64,
        gaps: usize,
    ) -> Self {
        let sampled = seconds(last_ms - first_ms);
        let mean_gap = sampled / gaps as f64;
        let threshold = mean_gap * 1.1;
        let within = |gap: f64| if gap >= threshold { mean_gap / 2.0 } else { gap };
        let to_start = within(seconds(first_ms - from_ms));
        Self { sampled, to_start, to_end: within(seconds(to_ms - last_ms)) }
    }

    /// The extrapolated difference of what is no counter.
    pub(super) fn of_gauge(self, difference: f64, per: f64) -> f64 {
        difference * self.factor(self.to_start, per)
    }

    fn factor(self, to_start: f64, per: f64) -> f64 {
        (self.sampled + to_start + self.to_end) / self.sampled / per
    }

    /// The extrapolated difference of a counter whose first value in the window is `first`.
    pub(super) fn of_counter(self, first: f64, difference: f64, per: f64) -> f64 {
        let mut to_start = self.to_start;
        if difference > 0.0 && first >= 0.0 {
            // A counter cannot have been below zero.
            to_start = to_start.min(self.sampled * (first / difference));
        }
        difference * self.factor(to_start, per)
    }
}

fn row_number(row: usize) -> u32 {
    u32::try_from(row).expect("BUG: a series in memory has under 2^32 samples")
}

/// Memory that lasts from series to series.
struct Scratch<'s> {
    sums: &'s mut Vec<f64>,
    errors: &'s mut Vec<f64>,
    falls: &'s mut Vec<u32>,
}

fn fill(
    kernel: Kernel,
    bounds: &Bounds,
    times: &[i64],
    values: &[f64],
    eval: Grid,
    scratch: &mut Scratch<'_>,
    row: &mut [f64],
) {
    match kernel {
        Kernel::Instant | Kernel::Last => picked(bounds, values, row, |_, high| high - 1),
        Kernel::First => picked(bounds, values, row, |low, _| low),
        Kernel::Counted => each(bounds, row, |low, high| (high - low) as f64),
        Kernel::Extrapolated { counter, .. } => extrapolated(counter, bounds, values, scratch, row),
        Kernel::Summed { mean, apply } => {
            if !summed(mean, bounds, values, scratch, row) {
                applied(apply, bounds, times, values, eval, row);
            }
        }
        Kernel::Least => extreme(bounds, values, row, |m, x| x < m),
        Kernel::Greatest => extreme(bounds, values, row, |m, x| x > m),
        Kernel::Pairs(differ) => {
            let before = &mut *scratch.falls;
            before.clear();
            let mut count = 0;
            before.push(0);
            before.extend(values.windows(2).map(|pair| {
                count += u32::from(differ(pair[0], pair[1]));
                count
            }));
            each(bounds, row, |low, high| f64::from(before[high - 1] - before[low]));
        }
        Kernel::Other(apply) => applied(apply, bounds, times, values, eval, row),
    }
}

/// `f(low, high)` of each window that is not empty.
#[inline]
fn each(bounds: &Bounds, row: &mut [f64], f: impl Fn(usize, usize) -> f64) {
    for ((cell, low), high) in row.iter_mut().zip(&bounds.low).zip(&bounds.high) {
        *cell = if low < high { f(*low as usize, *high as usize) } else { ABSENT };
    }
}

fn applied(
    apply: Apply,
    bounds: &Bounds,
    times: &[i64],
    values: &[f64],
    eval: Grid,
    row: &mut [f64],
) {
    for (step, ((cell, low), high)) in row.iter_mut().zip(&bounds.low).zip(&bounds.high).enumerate()
    {
        let (low, high) = (*low as usize, *high as usize);
        *cell = ABSENT;
        if low < high {
            let (times, values) = (&times[low..high], &values[low..high]);
            *cell = apply(&Window {
                times,
                values,
                starts: &[],
                eval_ms: eval.time_ms(step),
                params: [f64::NAN; 2],
            });
        }
    }
}

/// The value of one row of each window.
#[inline]
fn picked(bounds: &Bounds, values: &[f64], row: &mut [f64], pick: impl Fn(usize, usize) -> usize) {
    match (bounds.in_step, bounds.low.first(), bounds.high.first()) {
        (true, Some(low), Some(high)) => {
            let first = pick(*low as usize, *high as usize);
            let steps = row.len();
            row.copy_from_slice(&values[first..first + steps]);
        }
        _ => each(bounds, row, |low, high| values[pick(low, high)]),
    }
}

fn extrapolated(
    counter: bool,
    bounds: &Bounds,
    values: &[f64],
    scratch: &mut Scratch<'_>,
    row: &mut [f64],
) {
    let falls = &mut *scratch.falls;
    falls.clear();
    let pairs = || values.iter().zip(values.get(1..).unwrap_or_default());
    if counter && pairs().fold(false, |any, (a, b)| any | (b < a)) {
        let fell = (1u32..).zip(pairs()).filter(|(_, (a, b))| b < a);
        falls.extend(fell.map(|(at, _)| at));
    }
    let steps = row.len();
    if bounds.in_step && falls.is_empty() && steps > 0 {
        let (low, last) = (bounds.low[0] as usize, bounds.high[0] as usize - 1);
        let (firsts, lasts) = (&values[low..low + steps], &values[last..last + steps]);
        let limits = bounds.factor[..steps].iter().zip(&bounds.floor[..steps]);
        let mut near_zero = false;
        for (((cell, first), last), (factor, floor)) in
            row.iter_mut().zip(firsts).zip(lasts).zip(limits)
        {
            let difference = last - first;
            near_zero |= (difference > 0.0) & (*first <= floor * difference);
            *cell = difference * factor;
        }
        if counter && near_zero {
            for (step, cell) in row.iter_mut().enumerate() {
                let difference = lasts[step] - firsts[step];
                *cell = bounds.reach[step].of_counter(firsts[step], difference, bounds.per);
            }
        }
        return;
    }
    for (step, cell) in row.iter_mut().enumerate() {
        let (low, high) = (bounds.low[step], bounds.high[step]);
        *cell = ABSENT;
        if high - low < 2 {
            continue;
        }
        let (first, last) = (values[low as usize], values[high as usize - 1]);
        let mut difference = last - first;
        if !falls.is_empty() {
            let inside = falls.partition_point(|at| *at <= low);
            for fall in falls[inside..].iter().take_while(|at| **at < high) {
                difference += values[*fall as usize - 1];
            }
        }
        let near_zero = difference > 0.0 && first <= bounds.floor[step] * difference;
        *cell = if counter && near_zero {
            bounds.reach[step].of_counter(first, difference, bounds.per)
        } else {
            difference * bounds.factor[step]
        };
    }
}

#[inline]
fn extreme(bounds: &Bounds, values: &[f64], row: &mut [f64], better: impl Fn(f64, f64) -> bool) {
    let best = |m: f64, x: f64| if better(m, x) || m.is_nan() { x } else { m };
    let steps = row.len();
    if !bounds.in_step || steps == 0 {
        let of = |low: usize, high: usize| {
            values[low + 1..high].iter().fold(values[low], |m, x| best(m, *x))
        };
        return each(bounds, row, of);
    }
    let (low, high) = (bounds.low[0] as usize, bounds.high[0] as usize);
    row.copy_from_slice(&values[low..low + steps]);
    for first in low + 1..high {
        let next = &values[first..first + steps];
        row.iter_mut().zip(next).for_each(|(m, x)| *m = best(*m, *x));
    }
}

/// Sums or means of the windows, where these can be had faster than one by one; whether they could.
fn summed(
    mean: bool,
    bounds: &Bounds,
    values: &[f64],
    scratch: &mut Scratch<'_>,
    row: &mut [f64],
) -> bool {
    let finish = |total: f64, error: f64, count: usize| {
        let count = count as f64;
        if mean { total / count + error / count } else { total + error }
    };
    let (sums, errors) = (&mut *scratch.sums, &mut *scratch.errors);
    sums.clear();
    if are_exact(values) {
        let mut sum = 0.0;
        sums.push(0.0);
        sums.extend(values.iter().map(|v| {
            sum += v;
            sum
        }));
        each(bounds, row, |low, high| finish(sums[high] - sums[low], 0.0, high - low));
        return true;
    }
    let steps = row.len();
    if !bounds.in_step || steps == 0 {
        return false;
    }
    let (low, high) = (bounds.low[0] as usize, bounds.high[0] as usize);
    sums.resize(steps, 0.0);
    errors.clear();
    errors.resize(steps, 0.0);
    for first in low..high {
        let next = &values[first..first + steps];
        for ((sum, error), x) in sums.iter_mut().zip(errors.iter_mut()).zip(next) {
            super::cells::add(sum, error, *x);
        }
    }
    let mut all_finite = true;
    for ((cell, sum), error) in row.iter_mut().zip(sums.iter()).zip(errors.iter()) {
        all_finite &= sum.is_finite();
        *cell = finish(*sum, *error, high - low);
    }
    all_finite
}

/// Whether all are integers, few and small enough that sums are exact in any order.
fn are_exact(values: &[f64]) -> bool {
    /// Near it, numbers have no fraction: adding and taking away rounds.
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    let most = (EXACT_MAX / values.len() as f64).min(EXACT_MAX / 4.0);
    let exact = |v: f64| (v.abs() <= most) & ((v + ROUNDER) - ROUNDER == v);
    values.iter().fold(true, |all, v| all & exact(*v))
}
