//! Functions of range vectors: one value per window of a series.

use model::{Budget, Labels, Result};

use super::select::{RangeSeries, Ranges, advance};
use super::{Evaluator, extended};
use crate::promql::ast::{Edges, Expr, Type};
use crate::promql::functions::Function;
use crate::vector::numeric::{Mean, Sum, Variance, nan_first, quantile, regression};
use crate::vector::{ABSENT, Grid, Row};

/// The samples of one series in `(end - range, end]`; never empty.
pub(super) struct Window<'a> {
    pub(super) times: &'a [i64],
    pub(super) values: &'a [f64],
    /// Time of the step, which `@` and `offset` do not shift.
    pub(super) eval_ms: i64,
    /// Scalar arguments at this step.
    pub(super) params: [f64; 2],
}

pub(super) type Apply = fn(&Window<'_>) -> f64;

/// Series between two looks at the budget.
const SERIES_PER_CHECK: usize = 64;

/// Samples that windows may cover between two looks at the budget.
const SAMPLES_PER_CHECK: usize = 1 << 20;

/// Samples that are worth a thread.
const SAMPLES_PER_THREAD: usize = 1 << 18;

/// Most threads one function uses.
const THREADS_MAX: usize = 8;

/// The function called `name`, unless it extrapolates.
pub(super) fn find(name: &str) -> Option<Apply> {
    Some(match name {
        "avg_over_time" => |w| folded(w, Mean::default(), Mean::add).value(),
        "sum_over_time" => |w| folded(w, Sum::default(), Sum::add).value(),
        "stdvar_over_time" => |w| folded(w, Variance::default(), Variance::add).value(),
        "stddev_over_time" => |w| folded(w, Variance::default(), Variance::add).value().sqrt(),
        "count_over_time" => |w| w.values.len() as f64,
        "min_over_time" => |w| w.values[extreme(w, |best, x| x < best)],
        "max_over_time" => |w| w.values[extreme(w, |best, x| x > best)],
        "ts_of_min_over_time" => |w| seconds(w.times[extreme(w, |best, x| x <= best)]),
        "ts_of_max_over_time" => |w| seconds(w.times[extreme(w, |best, x| x >= best)]),
        "first_over_time" => |w| w.values[0],
        "last_over_time" => |w| w.values[w.values.len() - 1],
        "ts_of_first_over_time" => |w| seconds(w.times[0]),
        "ts_of_last_over_time" => |w| seconds(w.times[w.times.len() - 1]),
        "present_over_time" => |_| 1.0,
        "quantile_over_time" => |w| quantile(w.params[0], &mut w.values.to_vec()),
        "mad_over_time" => median_deviation,
        "changes" => |w| changes(w.values),
        "resets" => |w| resets(w.values),
        "irate" => |w| last_two(w, true),
        "idelta" => |w| last_two(w, false),
        "deriv" => |w| line(w, w.times[0]).map_or(ABSENT, |(slope, _)| slope),
        "predict_linear" => {
            |w| line(w, w.eval_ms).map_or(ABSENT, |(slope, now)| slope * w.params[0] + now)
        }
        "double_exponential_smoothing" => smoothing,
        _ => return None,
    })
}

impl Evaluator<'_> {
    /// A function with a range vector among its arguments.
    pub(super) fn range_call(
        &mut self,
        function: &'static Function,
        args: &[Expr],
        grid: Grid,
    ) -> Result<Vec<Row>> {
        let name = function.name;
        let mut params: Vec<Vec<f64>> = Vec::new();
        let mut matrix = None;
        for arg in args {
            if arg.type_of() == Type::Matrix {
                matrix = Some(arg);
                continue;
            }
            let values = self.eval_scalar(arg, grid)?;
            if name == "quantile_over_time" {
                self.check_quantiles(&values, arg.start);
            }
            params.push(values);
        }
        if name == "double_exponential_smoothing" {
            refuse_factors(&params)?;
        }
        let Some(matrix) = matrix else {
            return Err(model::Error::invalid("expected a range vector"));
        };
        let ranges = self.ranges(matrix.unparenthesised(), grid, name)?;
        self.charge_rows(ranges.series.len(), grid.count)?;
        if name == "absent_over_time" {
            return absent_rows(&ranges, matrix, grid, self.budget);
        }
        let bytes: u64 = ranges.series.iter().map(|s| s.values.len() as u64 * 16).sum();
        self.budget.charge_bytes(bytes)?;
        let all = self.all_values(name, &ranges, &params, grid)?;
        if matches!(name, "rate" | "increase") {
            self.doubt_counters(&ranges.series, matrix.start);
        }
        let keeps_name = matches!(name, "first_over_time" | "last_over_time");
        let row = |(series, values): (&RangeSeries, Vec<f64>)| Row {
            labels: series.labels.clone(),
            drop_name: series.drop_name || !keeps_name,
            values,
        };
        let mut rows: Vec<Row> = ranges.series.iter().zip(all).map(row).collect();
        rows.retain(Row::any);
        self.budget.release_bytes(bytes);
        Ok(rows)
    }

    /// The function's values for every series, by several threads when there is much to read.
    fn all_values(
        &self,
        name: &str,
        ranges: &Ranges,
        params: &[Vec<f64>],
        grid: Grid,
    ) -> Result<Vec<Vec<f64>>> {
        let lookback_ms = self.query.lookback_ms;
        let budget = self.budget;
        let work = |part: &[RangeSeries]| -> Result<Vec<Vec<f64>>> {
            let mut all = Vec::with_capacity(part.len());
            for (i, series) in part.iter().enumerate() {
                if i % SERIES_PER_CHECK == 0 {
                    budget.check()?;
                }
                let values = match ranges.edges {
                    Edges::Plain => window_values(name, series, ranges, params, grid, budget)?,
                    _ => extended::values(name, series, ranges, lookback_ms, grid.count, budget)?,
                };
                all.push(values);
            }
            Ok(all)
        };
        let samples: usize = ranges.series.iter().map(|s| s.values.len()).sum();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = threads.min(THREADS_MAX).min(samples / SAMPLES_PER_THREAD + 1);
        if threads == 1 {
            return work(&ranges.series);
        }
        let parts: Vec<&[RangeSeries]> =
            ranges.series.chunks(ranges.series.len().div_ceil(threads)).collect();
        std::thread::scope(|scope| {
            let started: Vec<_> = parts
                .iter()
                .map(|part| {
                    let builder = std::thread::Builder::new().name("promql-window".into());
                    (part, builder.spawn_scoped(scope, || work(part)))
                })
                .collect();
            let mut all = Vec::with_capacity(ranges.series.len());
            for (part, thread) in started {
                // Without another thread the work is done by this one.
                all.extend(match thread.map(std::thread::ScopedJoinHandle::join) {
                    Ok(Ok(values)) => values?,
                    Ok(Err(panic)) => std::panic::resume_unwind(panic),
                    Err(_) => work(part)?,
                });
            }
            Ok(all)
        })
    }

    fn doubt_counters(&mut self, series: &[RangeSeries], at: usize) {
        let mut previous = None;
        for one in series.iter().filter(|s| !s.values.is_empty()) {
            let metric = (one.labels.metric_name(), one.labels.get("__type__"));
            // Series of one metric are neighbours; one look is enough.
            if previous.replace(metric) != Some(metric) {
                self.doubt_counter(&one.labels, at);
            }
        }
    }

    /// Prometheus' hint that a rate of something that is no counter means little.
    pub(super) fn doubt_counter(&mut self, labels: &Labels, at: usize) {
        let name = labels.metric_name();
        if name.is_empty() {
            return;
        }
        match labels.get("__type__") {
            Some("counter" | "histogram") => {}
            Some(kind) => self.info(
                at,
                &format!(
                    "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {kind:?}: {name:?}"
                ),
            ),
            None if ["_total", "_sum", "_count", "_bucket"].iter().any(|s| name.ends_with(s)) => {}
            None => self.info(
                at,
                &format!(
                    "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}"
                ),
            ),
        }
    }
}

fn window_values(
    name: &str,
    series: &RangeSeries,
    ranges: &Ranges,
    params: &[Vec<f64>],
    grid: Grid,
    budget: &Budget,
) -> Result<Vec<f64>> {
    let mut values = vec![ABSENT; grid.count];
    let kind = match name {
        "rate" => Some((true, true)),
        "increase" => Some((true, false)),
        "delta" => Some((false, false)),
        _ => None,
    };
    match (kind, find(name)) {
        (Some((counter, per_second)), _) => {
            extrapolated(series, ranges, counter, per_second, &mut values, budget)?;
        }
        (None, Some(apply)) => applied(apply, series, ranges, params, grid, &mut values, budget)?,
        (None, None) => {}
    }
    Ok(values)
}

/// Walks the windows of a series; both ends only move forward. Looks at the budget every million samples.
fn walk(
    series: &RangeSeries,
    ranges: &Ranges,
    steps: usize,
    budget: &Budget,
    mut f: impl FnMut(usize, usize, usize),
) -> Result<()> {
    let (mut low, mut high, mut seen) = (0, 0, 0);
    for step in 0..steps {
        let (from, to) = ranges.window_ms(step);
        low = advance(&series.times, low, from);
        high = advance(&series.times, high.max(low), to);
        f(step, low, high);
        seen += high - low + 1;
        if seen > SAMPLES_PER_CHECK {
            seen = 0;
            budget.check()?;
        }
    }
    Ok(())
}

fn applied(
    apply: Apply,
    series: &RangeSeries,
    ranges: &Ranges,
    params: &[Vec<f64>],
    grid: Grid,
    values: &mut [f64],
    budget: &Budget,
) -> Result<()> {
    walk(series, ranges, values.len(), budget, |step, low, high| {
        if low < high {
            let param = |i: usize| params.get(i).map_or(f64::NAN, |p| p[step]);
            values[step] = apply(&Window {
                times: &series.times[low..high],
                values: &series.values[low..high],
                eval_ms: grid.time_ms(step),
                params: [param(0), param(1)],
            });
        }
    })
}

/// `rate`, `increase` and `delta`: the difference over the samples of each window, extrapolated to its edges.
fn extrapolated(
    series: &RangeSeries,
    ranges: &Ranges,
    counter: bool,
    per_second: bool,
    values: &mut [f64],
    budget: &Budget,
) -> Result<()> {
    let (times, samples) = (&series.times, &series.values);
    // Where a counter fell; windows add up only these few.
    let falls: Vec<usize> = if counter {
        (1..samples.len()).filter(|i| samples[*i] < samples[*i - 1]).collect()
    } else {
        Vec::new()
    };
    walk(series, ranges, values.len(), budget, |step, low, high| {
        if high - low < 2 {
            return;
        }
        let last = high - 1;
        let mut difference = samples[last] - samples[low];
        let first_fall = falls.partition_point(|i| *i <= low);
        for fall in falls[first_fall..].iter().take_while(|i| **i <= last) {
            difference += samples[*fall - 1];
        }
        let (from, to) = ranges.window_ms(step);
        let sampled = seconds(times[last] - times[low]);
        let mean_gap = sampled / (last - low) as f64;
        let threshold = mean_gap * 1.1;
        let within = |gap: f64| if gap >= threshold { mean_gap / 2.0 } else { gap };
        let mut to_start = within(seconds(times[low] - from));
        if counter && difference > 0.0 && samples[low] >= 0.0 {
            // A counter cannot have been below zero.
            to_start = to_start.min(sampled * (samples[low] / difference));
        }
        let to_end = within(seconds(to - times[last]));
        let mut factor = (sampled + to_start + to_end) / sampled;
        if per_second {
            factor /= seconds(ranges.range_ms);
        }
        values[step] = difference * factor;
    })
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn folded<A>(w: &Window<'_>, mut start: A, add: impl Fn(&mut A, f64)) -> A {
    w.values.iter().for_each(|v| add(&mut start, *v));
    start
}

/// Place of the extreme value; NaN only when there is nothing else.
fn extreme(w: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (i, x) in w.values.iter().enumerate().skip(1) {
        if better(w.values[best], *x) || w.values[best].is_nan() {
            best = i;
        }
    }
    best
}

fn median_deviation(w: &Window<'_>) -> f64 {
    let mut values = w.values.to_vec();
    let median = quantile(0.5, &mut values);
    for value in &mut values {
        *value = (*value - median).abs();
    }
    values.sort_unstable_by(|a, b| nan_first(*a, *b));
    quantile(0.5, &mut values)
}

/// How often the value differs from the one before; NaN does not differ from NaN.
pub(super) fn changes(values: &[f64]) -> f64 {
    let differs = |pair: &&[f64]| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan());
    values.windows(2).filter(differs).count() as f64
}

/// How often the value is below the one before.
pub(super) fn resets(values: &[f64]) -> f64 {
    values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64
}

fn last_two(w: &Window<'_>, rate: bool) -> f64 {
    let [.., from_ms, to_ms] = w.times else { return ABSENT };
    let [.., from, to] = w.values else { return ABSENT };
    if !rate {
        return to - from;
    }
    // After a reset the counter has come from zero.
    let difference = if to < from { *to } else { to - from };
    difference / seconds(to_ms - from_ms)
}

/// Slope per second, and value at `at_ms`, of the line through the samples.
fn line(w: &Window<'_>, at_ms: i64) -> Option<(f64, f64)> {
    if w.values.len() < 2 {
        return None;
    }
    Some(regression(w.times.iter().zip(w.values).map(|(t, v)| (seconds(t - at_ms), *v))))
}

fn smoothing(w: &Window<'_>) -> f64 {
    let [first, second, ..] = w.values else { return ABSENT };
    let [factor, trend_factor] = w.params;
    let (mut before, mut level, mut trend) = (0.0, *first, second - first);
    for (i, value) in w.values.iter().enumerate().skip(1) {
        if i > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = factor * value + (1.0 - factor) * (level + trend);
        (before, level) = (level, next);
    }
    level
}

fn refuse_factors(params: &[Vec<f64>]) -> Result<()> {
    for (name, values) in ["smoothing", "trend"].iter().zip(params) {
        if let Some(bad) = values.iter().find(|f| !(**f > 0.0 && **f < 1.0)) {
            return Err(model::Error::invalid(format!(
                "invalid {name} factor. Expected: 0 < {}f < 1, got: {bad}",
                name.get(..1).unwrap_or("")
            )));
        }
    }
    Ok(())
}

/// 1 at the steps where no series has a sample in its window.
fn absent_rows(ranges: &Ranges, matrix: &Expr, grid: Grid, budget: &Budget) -> Result<Vec<Row>> {
    let mut values = vec![1.0; grid.count];
    for series in &ranges.series {
        walk(series, ranges, grid.count, budget, |step, low, high| {
            if low < high {
                values[step] = ABSENT;
            }
        })?;
    }
    let row = Row::new(super::elements::absent_labels(matrix), values);
    Ok(if row.any() { vec![row] } else { Vec::new() })
}
