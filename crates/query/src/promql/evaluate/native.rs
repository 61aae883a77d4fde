//! Functions of range vectors over series with native histograms, numbers possibly among them.

mod edges;
mod rate;

use std::sync::Arc;

use model::{Budget, Histogram, Result, SeriesData};

use super::select::{RangeSeries, Ranges};
use super::starts;
use super::windows::{Difference, Windowed, seconds, window_values};
use crate::histogram::{self, MixedSchemas, Total};
use crate::promql::ast::Edges;
use crate::vector::remarks::{Remark, Remarks};
use crate::vector::{ABSENT, Cell, Grid, Row, is_present};

pub(super) use edges::smoothed_cells;

/// Steps between two looks at the budget.
const STEPS_PER_CHECK: usize = 16;

/// Functions that say so when they leave histograms out beside numbers.
const OF_NUMBERS: &[&str] = &[
    "deriv",
    "double_exponential_smoothing",
    "mad_over_time",
    "max_over_time",
    "min_over_time",
    "predict_linear",
    "quantile_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
];

/// One sample of a series with both kinds.
#[derive(Clone, Copy)]
struct Sample<'a> {
    t_ms: i64,
    start_ms: i64,
    value: Cell<'a>,
}

/// A series' samples of both kinds by time, and what changed between neighbours.
struct Both<'a> {
    samples: Vec<Sample<'a>>,
}

impl<'a> Both<'a> {
    fn new(series: &'a RangeSeries) -> Self {
        let start = |starts: Option<&Vec<i64>>, i: usize| {
            starts.and_then(|starts| starts.get(i)).copied().unwrap_or(0)
        };
        let all = series.starts.as_deref();
        let numbers = series.times.iter().zip(&series.values).enumerate().map(|(i, (t, v))| {
            Sample { t_ms: *t, start_ms: start(all.map(|s| &s.values), i), value: Cell::Number(*v) }
        });
        let histograms = series.histograms.iter().enumerate().map(|(i, (t, h))| Sample {
            t_ms: *t,
            start_ms: start(all.map(|s| &s.histograms), i),
            value: Cell::Histogram(h),
        });
        let mut samples: Vec<Sample<'a>> = numbers.chain(histograms).collect();
        samples.sort_by_key(|sample| sample.t_ms);
        Self { samples }
    }

    /// The samples in `(from, to]`.
    fn window(&self, (from, to): (i64, i64)) -> &[Sample<'a>] {
        let low = self.samples.partition_point(|sample| sample.t_ms <= from);
        let high = self.samples.partition_point(|sample| sample.t_ms <= to);
        self.samples.get(low..high).unwrap_or_default()
    }

    /// The samples in `(from, to]` behind the last one before them, which lies at most `lookback_ms` back.
    fn anchored(&self, (from, to): (i64, i64), lookback_ms: i64) -> &[Sample<'a>] {
        let inside = self.window((from, to));
        let low = self.samples.partition_point(|sample| sample.t_ms <= from);
        let anchor = low.checked_sub(1).filter(|i| {
            !inside.is_empty() && self.samples[*i].t_ms > from.saturating_sub(lookback_ms)
        });
        let first = anchor.unwrap_or(low);
        self.samples.get(first..low + inside.len()).unwrap_or_default()
    }
}

/// Whether the counter started anew between two samples. A change of kind counts as such.
fn is_reset(before: &Sample<'_>, now: &Sample<'_>) -> bool {
    let by_start = starts::is_reset((before.start_ms, before.t_ms), (now.start_ms, now.t_ms));
    match (before.value, now.value) {
        (Cell::Number(a), Cell::Number(b)) => b < a || by_start,
        (Cell::Histogram(a), Cell::Histogram(b)) => by_start || histogram::is_reset(b, a),
        _ => true,
    }
}

fn is_change(before: &Sample<'_>, now: &Sample<'_>) -> bool {
    match (before.value, now.value) {
        (Cell::Number(a), Cell::Number(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Cell::Histogram(a), Cell::Histogram(b)) => !histogram::equal(a, b),
        _ => true,
    }
}

fn pairs(samples: &[Sample<'_>], counts: fn(&Sample<'_>, &Sample<'_>) -> bool) -> f64 {
    samples.windows(2).filter(|pair| counts(&pair[0], &pair[1])).count() as f64
}

/// What a function gives for one window.
enum Given {
    Nothing,
    Number(f64),
    Histogram(Histogram),
    /// A sample as it is.
    Same(Arc<Histogram>),
}

/// The function called `name` over each window of a series with histograms.
///
/// # Errors
/// Those of `budget`.
pub(super) fn windowed(
    name: &str,
    series: &RangeSeries,
    ranges: &Ranges,
    params: &[Vec<f64>],
    grid: Grid,
    lookback_ms: i64,
    budget: &Budget,
) -> Result<Windowed> {
    // What the function makes of the numbers alone; below it is corrected where there are histograms.
    let of_numbers = match ranges.edges {
        Edges::Plain => window_values(name, series, ranges, params, grid, budget)?,
        _ => Windowed { values: vec![ABSENT; grid.count], ..Windowed::default() },
    };
    let mut row = Row::new(series.labels.clone(), of_numbers.values);
    let mut remarks = of_numbers.remarks;
    let both = Both::new(series);
    let resets = match Difference::find(name) {
        Some(difference) if difference.is_counter() && ranges.edges == Edges::Plain => {
            rate::resets(series, budget)?
        }
        _ => rate::Resets::default(),
    };
    let mut bytes = 0;
    for step in 0..grid.count {
        if step % STEPS_PER_CHECK == 0 {
            budget.check()?;
            budget.charge_bytes(std::mem::take(&mut bytes))?;
        }
        let window = ranges.window_ms(step);
        let given = match (ranges.edges, Difference::find(name)) {
            (Edges::Plain, Some(difference)) => {
                let samples = both.window(window);
                if !has_histogram(samples) {
                    continue;
                }
                rate::extrapolated(series, &resets, ranges, step, difference, &mut remarks)
            }
            (Edges::Plain, None) => {
                let samples = both.window(window);
                if !has_histogram(samples) {
                    continue;
                }
                let number = row.values[step];
                plain(name, samples, number, budget, &mut remarks)?
            }
            (_, Some(difference)) => {
                edges::difference(series, ranges, step, difference, lookback_ms, &mut remarks)
            }
            (_, None) => match (name, both.anchored(window, lookback_ms)) {
                (_, []) => Given::Nothing,
                ("resets", samples) => Given::Number(pairs(samples, is_reset)),
                (_, samples) => Given::Number(pairs(samples, is_change)),
            },
        };
        row.values[step] = ABSENT;
        match given {
            Given::Nothing => {}
            Given::Number(value) => row.values[step] = value,
            Given::Histogram(h) => {
                bytes += histogram::bytes(&h);
                row.put_histogram(step, Arc::new(h));
            }
            Given::Same(h) => row.put_histogram(step, h),
        }
    }
    budget.charge_bytes(bytes)?;
    Ok(Windowed { values: row.values, histograms: row.histograms, remarks })
}

fn has_histogram(samples: &[Sample<'_>]) -> bool {
    samples.iter().any(|sample| matches!(sample.value, Cell::Histogram(_)))
}

/// A function of a window with histograms among its samples; `number` is what it makes of the numbers alone.
fn plain(
    name: &str,
    samples: &[Sample<'_>],
    number: f64,
    budget: &Budget,
    remarks: &mut Remarks,
) -> Result<Given> {
    let [first, .., last] = samples else {
        let [only] = samples else { return Ok(Given::Nothing) };
        return Ok(single(name, only));
    };
    let whole = |sample: &Sample<'_>| match sample.value {
        Cell::Number(value) => Given::Number(value),
        Cell::Histogram(h) => Given::Same(h.clone()),
    };
    let numbers = || samples.iter().filter(|s| matches!(s.value, Cell::Number(_)));
    Ok(match name {
        "count_over_time" => Given::Number(samples.len() as f64),
        "present_over_time" => Given::Number(1.0),
        "first_over_time" => whole(first),
        "last_over_time" => whole(last),
        "ts_of_first_over_time" => Given::Number(seconds(first.t_ms)),
        "ts_of_last_over_time" => Given::Number(seconds(last.t_ms)),
        "resets" => Given::Number(pairs(samples, is_reset)),
        "changes" => Given::Number(pairs(samples, is_change)),
        "irate" | "idelta" => rate::of_last_two(samples, name == "irate", remarks),
        "sum_over_time" | "avg_over_time" => {
            if numbers().next().is_some() {
                remarks.add(Remark::MixedKinds);
                return Ok(Given::Nothing);
            }
            let all = samples.iter().filter_map(|sample| match sample.value {
                Cell::Histogram(h) => Some(h.as_ref()),
                Cell::Number(_) => None,
            });
            let fold = if name == "sum_over_time" {
                histogram::sum(all, budget)?
            } else {
                histogram::mean(all, budget)?
            };
            remarks.merge(fold.1);
            fold.0.map_or(Given::Nothing, Given::Histogram)
        }
        _ => {
            if OF_NUMBERS.contains(&name) && numbers().next().is_some() {
                remarks.add(Remark::Ignored);
            }
            if is_present(number) { Given::Number(number) } else { Given::Nothing }
        }
    })
}

/// A function of a window whose only sample is a histogram.
fn single(name: &str, sample: &Sample<'_>) -> Given {
    let Cell::Histogram(h) = sample.value else { return Given::Nothing };
    match name {
        "count_over_time" | "present_over_time" => Given::Number(1.0),
        "first_over_time" | "last_over_time" | "sum_over_time" | "avg_over_time" => {
            Given::Same(h.clone())
        }
        "ts_of_first_over_time" | "ts_of_last_over_time" => Given::Number(seconds(sample.t_ms)),
        "resets" | "changes" => Given::Number(0.0),
        _ => Given::Nothing,
    }
}
