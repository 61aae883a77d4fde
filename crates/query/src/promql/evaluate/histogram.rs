//! `histogram_…` functions, over native histograms and over classic ones: series with a `le` label.

use model::{Histogram, Labels, Result};
use rustc_hash::FxHashMap;

use super::{Detail, Evaluator};
use crate::histogram::{self, NanShare, format_general};
use crate::promql::ast::{Expr, Kind};
use crate::syntax::{format_float, parse_float};
use crate::vector::{Grid, Row, is_metadata_label, is_present};

/// The label with a bucket's upper bound.
const BUCKET: &str = "le";

/// Relative difference between counts below which a decrease is rounding.
const TOLERANCE: f64 = 1e-12;

/// Series that are the buckets of one classic histogram.
struct Classic {
    labels: Labels,
    drop_name: bool,
    /// Upper bound and place among the rows, ascending by bound.
    buckets: Vec<(f64, usize)>,
}

/// Upper bound and cumulative count.
type Bucket = (f64, f64);

/// How the histograms of one metric were repaired before they were used.
#[derive(Clone, Copy)]
struct Repairs {
    /// Bounds of the first and last bucket that was raised.
    from: f64,
    to: f64,
    /// By how much at most.
    by: f64,
    /// How many histograms, at the steps of which times (Unix milliseconds).
    samples: u64,
    start_ms: i64,
    end_ms: i64,
}

impl Repairs {
    fn merge(&mut self, other: &Self) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.by = self.by.max(other.by);
        self.samples += other.samples;
        self.start_ms = self.start_ms.min(other.start_ms);
        self.end_ms = self.end_ms.max(other.end_ms);
    }
}

/// What to make of a histogram at a step.
trait Estimate {
    /// Of a classic one; the bounds of the first and last bucket that had to be raised and by how much.
    fn classic(&self, step: usize, buckets: &mut Vec<Bucket>) -> (f64, Option<(f64, f64, f64)>);

    /// Of a native one, and what observations of NaN did to it.
    fn native(&self, step: usize, histogram: &Histogram) -> (f64, Option<&'static str>);
}

/// A quantile per step.
struct Quantile<'a>(&'a [f64]);

impl Estimate for Quantile<'_> {
    fn classic(&self, step: usize, buckets: &mut Vec<Bucket>) -> (f64, Option<(f64, f64, f64)>) {
        bucket_quantile(self.0[step], buckets)
    }

    fn native(&self, step: usize, histogram: &Histogram) -> (f64, Option<&'static str>) {
        let (value, nans) = histogram::quantile(self.0[step], histogram);
        let remark = match nans {
            NanShare::None => None,
            NanShare::Skewed => {
                Some("input to histogram_quantile has NaN observations, result is skewed higher")
            }
            NanShare::Result => {
                Some("input to histogram_quantile has NaN observations, result is NaN")
            }
        };
        (value, remark)
    }
}

/// A lower and an upper bound per step.
struct Fraction<'a>(&'a [f64], &'a [f64]);

impl Estimate for Fraction<'_> {
    fn classic(&self, step: usize, buckets: &mut Vec<Bucket>) -> (f64, Option<(f64, f64, f64)>) {
        (bucket_fraction(self.0[step], self.1[step], buckets), None)
    }

    fn native(&self, step: usize, histogram: &Histogram) -> (f64, Option<&'static str>) {
        let (value, nans) = histogram::fraction(self.0[step], self.1[step], histogram);
        let remark = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        (value, nans.then_some(remark))
    }
}

impl Evaluator<'_> {
    /// Functions that make one number of each native histogram.
    pub(super) fn histogram_number(
        &mut self,
        name: &str,
        arg: &Expr,
        grid: Grid,
    ) -> Result<Vec<Row>> {
        let (f, detail): (fn(&Histogram) -> f64, Detail) = match name {
            "histogram_count" => (|h| h.count, Detail::Statistics),
            "histogram_sum" => (|h| h.sum, Detail::Statistics),
            "histogram_avg" => (|h| h.sum / h.count, Detail::Statistics),
            "histogram_stdvar" => (histogram::variance, self.detail),
            _ => (|h| histogram::variance(h).sqrt(), self.detail),
        };
        let detail = if self.detail == Detail::Always { Detail::Always } else { detail };
        let rows = self.with_detail(detail, |this| this.eval_vector(arg, grid))?;
        let mut result = Vec::new();
        for row in rows {
            self.budget.check()?;
            let mut numbers = Row::empty(row.labels.clone(), true, grid.count);
            row.histogram_steps().for_each(|(step, h)| numbers.values[step] = f(h));
            if numbers.any() {
                result.push(numbers);
            }
        }
        Ok(result)
    }

    /// `histogram_quantile(q, v)`.
    pub(super) fn histogram_quantile(&mut self, args: &[Expr], grid: Grid) -> Result<Vec<Row>> {
        let [q, vector] = args else { return Ok(Vec::new()) };
        let quantiles = self.eval_scalar(q, grid)?;
        self.check_quantiles(&quantiles, q.start);
        let rows = self.with_detail(Detail::Always, |this| this.eval_vector(vector, grid))?;
        self.over_histograms(&rows, vector, grid, &[], &Quantile(&quantiles))
    }

    /// `histogram_quantiles(v, "label", q, …)`: one series per quantile.
    pub(super) fn histogram_quantiles(&mut self, args: &[Expr], grid: Grid) -> Result<Vec<Row>> {
        let [vector, label, quantiles @ ..] = args else { return Ok(Vec::new()) };
        let Kind::Text { value: label, .. } = &label.unparenthesised().kind else {
            return Err(model::Error::invalid("histogram_quantiles() needs a label name"));
        };
        let rows = self.with_detail(Detail::Always, |this| this.eval_vector(vector, grid))?;
        let mut result = Vec::new();
        for q in quantiles {
            let values = self.eval_scalar(q, grid)?;
            self.check_quantiles(&values, q.start);
            let mut shown = format_float(values.first().copied().unwrap_or(f64::NAN));
            if values.first().is_some_and(|v| v.is_finite() && v.fract() == 0.0) {
                shown.push_str(".0");
            }
            let added = [(label.as_str(), shown.as_str())];
            result.extend(self.over_histograms(&rows, vector, grid, &added, &Quantile(&values))?);
        }
        Ok(result)
    }

    /// `histogram_fraction(lower, upper, v)`.
    pub(super) fn histogram_fraction(&mut self, args: &[Expr], grid: Grid) -> Result<Vec<Row>> {
        let [lower, upper, vector] = args else { return Ok(Vec::new()) };
        let lower = self.eval_scalar(lower, grid)?;
        let upper = self.eval_scalar(upper, grid)?;
        let rows = self.with_detail(Detail::Always, |this| this.eval_vector(vector, grid))?;
        self.over_histograms(&rows, vector, grid, &[], &Fraction(&lower, &upper))
    }

    /// Makes `estimate` of every histogram among `rows`, at each step where there is one; `added` labels go to the
    /// result. Where the same labels have a native and a classic one, neither counts.
    fn over_histograms(
        &mut self,
        rows: &[Row],
        vector: &Expr,
        grid: Grid,
        added: &[(&str, &str)],
        estimate: &impl Estimate,
    ) -> Result<Vec<Row>> {
        let classics = self.classics(rows, vector.start);
        let natives: Vec<&Row> = rows.iter().filter(|row| row.histograms.is_some()).collect();
        self.charge_rows(classics.len() + natives.len(), grid.count)?;
        let mut result = Vec::with_capacity(classics.len() + natives.len());
        let labelled = |labels: &Labels| {
            let mut builder = labels.to_builder();
            added.iter().for_each(|(name, value)| builder.set(name, value));
            builder.build()
        };
        // For each classic histogram, the steps at which there is a native one, too.
        let mut conflicts: FxHashMap<usize, Vec<usize>> = FxHashMap::default();
        for row in natives {
            self.budget.check()?;
            let twin = classics.iter().position(|c| c.labels == row.labels.without(BUCKET));
            let drop_name = row.drop_name || row.labels.iter().any(|(n, _)| is_metadata_label(n));
            let mut numbers = Row::empty(labelled(&row.labels), drop_name, grid.count);
            for (step, h) in row.histogram_steps() {
                let of_twin = |twin: &usize| {
                    classics[*twin].buckets.iter().any(|(_, r)| is_present(rows[*r].values[step]))
                };
                if let Some(twin) = twin.filter(of_twin) {
                    conflicts.entry(twin).or_default().push(step);
                    let message = "vector contains a mix of classic and native histograms";
                    self.warn_about(vector.start, message, row.labels.metric_name());
                    continue;
                }
                let (value, remark) = estimate.native(step, h);
                numbers.values[step] = value;
                if let Some(remark) = remark {
                    let message = named(remark, row.labels.metric_name());
                    self.info(vector.start, &message);
                }
            }
            result.push(numbers);
        }
        let mut repairs: Vec<(&str, Repairs)> = Vec::new();
        let mut buckets = Vec::new();
        for (place, classic) in classics.iter().enumerate() {
            self.budget.check()?;
            let mut row = Row::empty(labelled(&classic.labels), classic.drop_name, grid.count);
            for step in 0..grid.count {
                let counts = classic.buckets.iter().map(|(le, r)| (*le, rows[*r].values[step]));
                buckets.clear();
                buckets.extend(counts.filter(|(_, count)| is_present(*count)));
                if buckets.is_empty() || conflicts.get(&place).is_some_and(|s| s.contains(&step)) {
                    continue;
                }
                let (value, raised) = estimate.classic(step, &mut buckets);
                row.values[step] = value;
                if let Some((from, to, by)) = raised {
                    let t_ms = grid.time_ms(step);
                    let repair = Repairs { from, to, by, samples: 1, start_ms: t_ms, end_ms: t_ms };
                    let name = classic.labels.metric_name();
                    match repairs.iter_mut().find(|(n, _)| *n == name) {
                        Some((_, repairs)) => repairs.merge(&repair),
                        None => repairs.push((name, repair)),
                    }
                }
            }
            result.push(row);
        }
        for (name, repairs) in repairs {
            self.report_repairs(&repairs, name, vector.start);
        }
        result.retain(Row::any);
        Ok(result)
    }

    /// Groups rows with numbers into classic histograms; those without a usable `le` are left out with a warning.
    fn classics(&mut self, rows: &[Row], at: usize) -> Vec<Classic> {
        let mut classics: Vec<Classic> = Vec::new();
        let mut places: FxHashMap<Labels, usize> = FxHashMap::default();
        for (index, row) in rows.iter().enumerate() {
            if row.histograms.is_some() && !row.values.iter().copied().any(is_present) {
                continue;
            }
            let le = row.labels.get(BUCKET).unwrap_or("");
            let Some(bound) = parse_float(le) else {
                let message =
                    format!("bucket label \"le\" is missing or has a malformed value of {le:?}");
                self.warn_about(at, &message, row.labels.metric_name());
                continue;
            };
            let place = *places.entry(row.labels.without(BUCKET)).or_insert_with_key(|labels| {
                let drop_name = row.drop_name || labels.iter().any(|(n, _)| is_metadata_label(n));
                let labels = labels.clone();
                classics.push(Classic { labels, drop_name, buckets: Vec::new() });
                classics.len() - 1
            });
            classics[place].buckets.push((bound, index));
        }
        for classic in &mut classics {
            classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        classics
    }

    fn warn_about(&mut self, at: usize, message: &str, metric: &str) {
        let message = named(message, metric);
        self.warn(at, &message);
    }

    fn report_repairs(&mut self, repairs: &Repairs, name: &str, at: usize) {
        let time = |t_ms: i64| {
            let time = jiff::Timestamp::from_second(t_ms / 1000);
            time.map_or_else(|_| format!("{}s", t_ms / 1000), |time| time.to_string())
        };
        let message = format!(
            "{}, from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            named(
                "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                name
            ),
            format_general(repairs.from),
            format_general(repairs.to),
            two_digits(repairs.by),
            repairs.samples,
            time(repairs.start_ms),
            time(repairs.end_ms),
        );
        self.info(at, &message);
    }
}

fn named(message: &str, metric: &str) -> String {
    if metric.is_empty() {
        return message.to_owned();
    }
    format!("{message} for metric name {metric:?}")
}

/// `value` with two significant digits, as Go's `%.2g`.
fn two_digits(value: f64) -> String {
    let text = format!("{value:.1e}");
    let rounded: f64 = text.parse().unwrap_or(value);
    if (1e-4..100.0).contains(&rounded.abs()) || !rounded.is_finite() || rounded == 0.0 {
        return format_float(rounded);
    }
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{}e{sign}{digits:0>2}", mantissa.trim_end_matches(".0"))
}

/// Joins buckets of equal bounds. False without a `+Inf` bucket.
fn join(buckets: &mut Vec<Bucket>) -> bool {
    if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 += later.1;
        }
        same
    });
    true
}

/// Makes counts ascend: bounds of the first and last bucket it had to raise, and by how much at most.
fn make_ascend(buckets: &mut [Bucket]) -> Option<(f64, f64, f64)> {
    let mut raised = None;
    let mut previous = buckets.first().map_or(0.0, |b| b.1);
    for (bound, count) in buckets.iter_mut().skip(1) {
        let close = (*count - previous).abs() <= TOLERANCE * (count.abs() + previous.abs());
        if close {
            // Rounding, not worth a word.
            *count = previous;
        } else if *count < previous {
            let by = previous - *count;
            let (from, most) = raised.map_or((*bound, by), |(from, _, most)| (from, by.max(most)));
            raised = Some((from, *bound, most));
            *count = previous;
        } else {
            previous = *count;
        }
    }
    raised
}

fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<(f64, f64, f64)>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, None);
    }
    if !join(buckets) {
        return (f64::NAN, None);
    }
    let raised = make_ascend(buckets);
    (ascending_quantile(q, buckets), raised)
}

fn ascending_quantile(q: f64, buckets: &[Bucket]) -> f64 {
    if buckets.len() < 2 {
        return f64::NAN;
    }
    let last = buckets.len() - 1;
    let observations = buckets[last].1;
    if observations == 0.0 {
        return f64::NAN;
    }
    let rank = q * observations;
    let b = buckets[..last].partition_point(|(_, count)| *count < rank);
    if b == last {
        return buckets[last - 1].0;
    }
    let (end, count) = buckets[b];
    if b == 0 {
        // The lowest bucket starts at zero, unless it ends there or below.
        return if end <= 0.0 { end } else { end * (rank / count) };
    }
    let (start, below) = buckets[b - 1];
    start + (end - start) * ((rank - below) / (count - below))
}

fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !join(buckets) {
        return f64::NAN;
    }
    let count = buckets.last().map_or(0.0, |b| b.1);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, count) - rank_of(lower, buckets, count)) / count
}

/// How many observations lie at or below `value`, interpolated inside finite buckets.
fn rank_of(value: f64, buckets: &[Bucket], count: f64) -> f64 {
    let mut below = 0.0;
    let mut start = f64::NEG_INFINITY;
    for (i, (end, up_to)) in buckets.iter().enumerate() {
        if i == 0 && *end > 0.0 {
            start = 0.0;
        }
        if start >= value {
            return below;
        }
        if *end > value {
            return if *end == f64::INFINITY {
                below
            } else if start == f64::NEG_INFINITY {
                *up_to
            } else {
                below + (up_to - below) * (value - start) / (end - start)
            };
        }
        below = *up_to;
        start = *end;
    }
    count
}
