//! Functions of range vectors: one value per window of a series.

use model::{Budget, Labels, Result};

use super::select::{RangeSeries, Ranges, advance};
use super::{Evaluator, extended, native, starts};
use crate::promql::ast::{Edges, Expr, Kind, Type};
use crate::promql::functions::Function;
use crate::promql::notes::About;
use crate::vector::numeric::{Mean, Sum, Variance, nan_first, quantile, regression};
use crate::vector::remarks::{Remark, Remarks};
use crate::vector::{ABSENT, Column, Grid, Row};

/// The samples of one series in `(end - range, end]`; never empty.
pub(super) struct Window<'a> {
    pub(super) times: &'a [i64],
    pub(super) values: &'a [f64],
    /// Start times; none when they are not known.
    pub(super) starts: &'a [i64],
    /// Time of the step, which `@` and `offset` do not shift.
    pub(super) eval_ms: i64,
    /// Scalar arguments at this step.
    pub(super) params: [f64; 2],
}

pub(super) type Apply = fn(&Window<'_>) -> f64;

/// What a function makes of one series.
#[derive(Default)]
pub(super) struct Windowed {
    /// One number per step.
    pub(super) values: Vec<f64>,
    pub(super) histograms: Option<Column>,
    pub(super) remarks: Remarks,
}

/// Series between two looks at the budget.
const SERIES_PER_CHECK: usize = 64;

/// Samples that windows may cover between two looks at the budget.
const SAMPLES_PER_CHECK: usize = 1 << 20;

/// Samples that are worth a thread.
const SAMPLES_PER_THREAD: usize = 1 << 18;

/// How many numbers a histogram is as much work as.
const HISTOGRAM_WEIGHT: usize = 64;

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
        "resets" => |w| (1..w.values.len()).filter(|i| w.is_reset(*i)).count() as f64,
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

impl Window<'_> {
    /// Whether the counter started anew between sample `i` and the one before it.
    fn is_reset(&self, i: usize) -> bool {
        let stamps = |i: usize| Some((*self.starts.get(i)?, self.times[i]));
        self.values[i] < self.values[i - 1]
            || stamps(i - 1).zip(stamps(i)).is_some_and(|(a, b)| starts::is_reset(a, b))
    }
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
        if let (Kind::Range { selector, range }, []) = (&matrix.unparenthesised().kind, &params[..])
        {
            let range_ms = self.positive_ms(range)?;
            let ends = self.shifted(grid, self.at_ms(selector.at), selector.offset.as_ref())?;
            let doubted_at = Some(matrix.start);
            let rows = self.rolled((name, selector), (ends, grid), (range_ms, doubted_at))?;
            if let Some(rows) = rows {
                return Ok(rows);
            }
        }
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
        let mut rows = Vec::with_capacity(all.len());
        for (series, windowed) in ranges.series.iter().zip(all) {
            let Windowed { values, histograms, remarks } = windowed;
            if !remarks.is_empty() {
                self.tell(matrix.start, remarks, About::Metric(series.labels.metric_name()));
            }
            let (labels, drop_name) = (series.labels.clone(), series.drop_name || !keeps_name);
            rows.push(Row { labels, drop_name, values, histograms });
        }
        rows.retain(Row::any);
        self.budget.release_bytes(bytes);
        Ok(rows)
    }

    /// What the function makes of every series, by several threads when there is much to read.
    fn all_values(
        &self,
        name: &str,
        ranges: &Ranges,
        params: &[Vec<f64>],
        grid: Grid,
    ) -> Result<Vec<Windowed>> {
        let lookback_ms = self.query.lookback_ms;
        let budget = self.budget;
        let work = |part: &[RangeSeries]| -> Result<Vec<Windowed>> {
            let mut all = Vec::with_capacity(part.len());
            for (i, series) in part.iter().enumerate() {
                if i % SERIES_PER_CHECK == 0 {
                    budget.check()?;
                }
                all.push(if !series.histograms.is_empty() {
                    native::windowed(name, series, ranges, params, grid, lookback_ms, budget)?
                } else if ranges.edges == Edges::Plain {
                    window_values(name, series, ranges, params, grid, budget)?
                } else {
                    let steps = grid.count;
                    let values =
                        extended::values(name, series, ranges, lookback_ms, steps, budget)?;
                    Windowed { values, ..Windowed::default() }
                });
            }
            Ok(all)
        };
        let weight = |s: &RangeSeries| s.values.len() + s.histograms.len() * HISTOGRAM_WEIGHT;
        let samples: usize = ranges.series.iter().map(weight).sum();
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

/// The function's values over a series' numbers.
pub(super) fn window_values(
    name: &str,
    series: &RangeSeries,
    ranges: &Ranges,
    params: &[Vec<f64>],
    grid: Grid,
    budget: &Budget,
) -> Result<Windowed> {
    let mut windowed = Windowed { values: vec![ABSENT; grid.count], ..Windowed::default() };
    match (Difference::find(name), find(name)) {
        (Some(difference), _) => {
            extrapolated(series, ranges, difference, &mut windowed, budget)?;
        }
        (None, Some(apply)) => {
            applied(apply, series, ranges, params, grid, &mut windowed.values, budget)?;
        }
        (None, None) => {}
    }
    Ok(windowed)
}

/// Walks the windows of a series; both ends only move forward. Looks at the budget every million samples.
pub(super) fn walk(
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
                starts: series.starts().get(low..high).unwrap_or_default(),
                eval_ms: grid.time_ms(step),
                params: [param(0), param(1)],
            });
        }
    })
}

/// `rate`, `increase` or `delta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    Rate,
    Increase,
    Delta,
}

impl Difference {
    pub(super) fn find(name: &str) -> Option<Self> {
        Some(match name {
            "rate" => Self::Rate,
            "increase" => Self::Increase,
            "delta" => Self::Delta,
            _ => return None,
        })
    }

    pub(super) fn is_counter(self) -> bool {
        self != Self::Delta
    }
}

/// Where the samples of a window lie in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    /// Distances between neighbouring samples.
    pub(super) gaps: usize,
}

impl Extent {
    /// What a difference over the samples is to be multiplied by to cover the window.
    ///
    /// `start_ms` is where the difference begins instead of at the first sample. `zero_share` is the share of the
    /// difference that the first sample already has: a counter cannot have been below zero before it.
    pub(super) fn factor(
        &self,
        difference: Difference,
        range_ms: i64,
        start_ms: Option<i64>,
        zero_share: Option<f64>,
    ) -> f64 {
        let sampled = seconds(self.last_ms - self.first_ms);
        let mean_gap = if self.gaps == 0 { 0.0 } else { sampled / self.gaps as f64 };
        let threshold = mean_gap * 1.1;
        let within = |gap: f64| if gap >= threshold { mean_gap / 2.0 } else { gap };
        let to_end = within(seconds(self.to_ms - self.last_ms));
        let (sampled, to_start) = match start_ms {
            Some(start_ms) => (seconds(self.last_ms - start_ms), 0.0),
            None => {
                let to_start = within(seconds(self.first_ms - self.from_ms));
                (sampled, zero_share.map_or(to_start, |share| to_start.min(sampled * share)))
            }
        };
        let factor = (sampled + to_start + to_end) / sampled;
        if difference == Difference::Rate { factor / seconds(range_ms) } else { factor }
    }
}

/// The difference over the samples of each window, extrapolated to its edges.
fn extrapolated(
    series: &RangeSeries,
    ranges: &Ranges,
    difference: Difference,
    windowed: &mut Windowed,
    budget: &Budget,
) -> Result<()> {
    let (times, samples, begins) = (&series.times, &series.values, series.starts());
    let counter = difference.is_counter();
    let stamps = |i: usize| Some((*begins.get(i)?, times[i]));
    let neighbours = |i: usize| stamps(i - 1).zip(stamps(i));
    // Where a counter started anew; windows add up only these few.
    let (mut falls, mut overlaps): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    if counter {
        falls = (1..samples.len()).filter(|i| samples[*i] < samples[*i - 1]).collect();
    }
    if counter && !begins.is_empty() {
        let is_reset = |i: &usize| {
            samples[*i] < samples[*i - 1]
                || neighbours(*i).is_some_and(|(a, b)| starts::is_reset(a, b))
        };
        falls = (1..samples.len()).filter(is_reset).collect();
        let is_overlap = |i: &usize| neighbours(*i).is_some_and(|(a, b)| starts::overlaps(a, b.0));
        overlaps = (1..samples.len()).filter(is_overlap).collect();
    }
    let Windowed { values, remarks, .. } = windowed;
    walk(series, ranges, values.len(), budget, |step, low, high| {
        if low == high {
            return;
        }
        let (last, (from_ms, to_ms)) = (high - 1, ranges.window_ms(step));
        let start = begins.get(low).copied().filter(|_| counter);
        let start_ms = starts::usable(start, from_ms, times[low]);
        if low == last && start_ms.is_none() {
            return;
        }
        let mut change = samples[last] - samples[low];
        let first_fall = falls.partition_point(|i| *i <= low);
        for fall in falls[first_fall..].iter().take_while(|i| **i <= last) {
            change += samples[*fall - 1];
        }
        let first_overlap = overlaps.partition_point(|i| *i <= low);
        if overlaps.get(first_overlap).is_some_and(|i| *i <= last) {
            remarks.add(Remark::StartOverlap);
        }
        let zero_share =
            (counter && change > 0.0 && samples[low] >= 0.0).then(|| samples[low] / change);
        let (first_ms, last_ms) = (times[low], times[last]);
        let extent = Extent { from_ms, to_ms, first_ms, last_ms, gaps: last - low };
        let factor = extent.factor(difference, ranges.range_ms, start_ms, zero_share);
        if start_ms.is_some() {
            change += samples[low];
        }
        values[step] = change * factor;
    })
}

pub(super) fn seconds(ms: i64) -> f64 {
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
    let difference = if w.is_reset(w.values.len() - 1) { *to } else { to - from };
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
        if !series.histograms.is_empty() {
            for (step, value) in values.iter_mut().enumerate() {
                let (from, to) = ranges.window_ms(step);
                let first = series.histograms.partition_point(|(t_ms, _)| *t_ms <= from);
                if series.histograms.get(first).is_some_and(|(t_ms, _)| *t_ms <= to) {
                    *value = ABSENT;
                }
            }
        }
    }
    let row = Row::new(super::elements::absent_labels(matrix), values);
    Ok(if row.any() { vec![row] } else { Vec::new() })
}
