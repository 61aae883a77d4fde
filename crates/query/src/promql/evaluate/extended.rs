//! Ranges with `anchored` and `smoothed` edges: values at the edges come from samples around them, nothing is
//! extrapolated. Source: Prometheus proposal PROM-52.

use model::{Budget, Result};

use super::select::{RangeSeries, Ranges, advance};
use super::windows::{Difference, changes, resets};
use crate::promql::ast::Edges;
use crate::vector::ABSENT;

/// Steps between two looks at the budget.
const STEPS_PER_CHECK: usize = 256;

/// `name` (one of `rate`, `increase`, `delta`, `changes`, `resets`) over each window of `series`.
pub(super) fn values(
    name: &str,
    series: &RangeSeries,
    ranges: &Ranges,
    lookback_ms: i64,
    steps: usize,
    budget: &Budget,
) -> Result<Vec<f64>> {
    (0..steps)
        .map(|step| {
            if step % STEPS_PER_CHECK == 0 {
                budget.check()?;
            }
            if let Some(difference) = Difference::find(name) {
                return Ok(value(difference, series, ranges, lookback_ms, step));
            }
            let samples = samples(series, ranges, lookback_ms, step, false);
            Ok(match name {
                _ if samples.is_empty() => ABSENT,
                "changes" => changes(&samples),
                _ => resets(&samples),
            })
        })
        .collect()
}

/// The difference over one window.
pub(super) fn value(
    difference: Difference,
    series: &RangeSeries,
    ranges: &Ranges,
    lookback_ms: i64,
    step: usize,
) -> f64 {
    let samples = samples(series, ranges, lookback_ms, step, difference.is_counter());
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return ABSENT };
    let fallen =
        || -> f64 { samples.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]).sum() };
    match difference {
        Difference::Delta => last - first,
        Difference::Rate => (last - first + fallen()) / (ranges.range_ms as f64 / 1000.0),
        Difference::Increase => last - first + fallen(),
    }
}

/// The numbers of a window with its edges.
fn samples(
    series: &RangeSeries,
    ranges: &Ranges,
    lookback_ms: i64,
    step: usize,
    counter: bool,
) -> Vec<f64> {
    let (from, to) = ranges.window_ms(step);
    let span = Span::new(series, from, to, lookback_ms);
    match ranges.edges {
        Edges::Smoothed => span.smoothed(counter),
        Edges::Anchored | Edges::Plain => span.anchored(),
    }
}

/// The samples of a window `(from, to]` and its neighbours inside the look-back.
struct Span<'a> {
    series: &'a RangeSeries,
    from: i64,
    to: i64,
    /// The samples inside are `[low, high)`.
    low: usize,
    high: usize,
    before: Option<usize>,
    after: Option<usize>,
}

impl<'a> Span<'a> {
    fn new(series: &'a RangeSeries, from: i64, to: i64, lookback_ms: i64) -> Self {
        let low = advance(&series.times, 0, from);
        let high = advance(&series.times, low, to);
        let before = low.checked_sub(1).filter(|i| series.times[*i] > from - lookback_ms);
        let after =
            (high < series.times.len() && series.times[high] <= to + lookback_ms).then_some(high);
        Self { series, from, to, low, high, before, after }
    }

    /// The samples inside, behind the last one before them. None inside, none at all.
    fn anchored(&self) -> Vec<f64> {
        if self.low == self.high {
            return Vec::new();
        }
        self.series.values[self.before.unwrap_or(self.low)..self.high].to_vec()
    }

    /// The samples inside, between values interpolated at the edges where there are neighbours.
    fn smoothed(&self, counter: bool) -> Vec<f64> {
        let inside = &self.series.values[self.low..self.high];
        if inside.is_empty() && (self.before.is_none() || self.after.is_none()) {
            return Vec::new();
        }
        let mut samples = Vec::with_capacity(inside.len() + 2);
        if let Some(before) = self.before {
            samples.push(self.between(before, before + 1, self.from, counter));
        }
        samples.extend_from_slice(inside);
        if let Some(after) = self.after {
            samples.push(self.between(after - 1, after, self.to, counter));
        }
        samples
    }

    fn between(&self, left: usize, right: usize, at: i64, counter: bool) -> f64 {
        let (times, values) = (&self.series.times, &self.series.values);
        let share = (at - times[left]) as f64 / (times[right] - times[left]) as f64;
        if share <= 0.0 {
            values[left]
        } else if counter && values[right] < values[left] {
            // The counter came from zero.
            values[right] * share
        } else {
            values[left] + (values[right] - values[left]) * share
        }
    }
}
