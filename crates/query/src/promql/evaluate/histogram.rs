//! Classic histograms: `histogram_quantile`, `histogram_quantiles`, `histogram_fraction` over series with a `le` label.

use model::{Labels, Result};
use rustc_hash::FxHashMap;

use super::Evaluator;
use crate::promql::ast::{Expr, Kind};
use crate::syntax::{format_float, parse_float};
use crate::vector::{ABSENT, Grid, Row, is_metadata_label, is_present};

/// The label with a bucket's upper bound.
const BUCKET: &str = "le";

/// Relative difference between counts below which a decrease is rounding.
const TOLERANCE: f64 = 1e-12;

/// Series that are the buckets of one histogram.
struct Histogram {
    labels: Labels,
    drop_name: bool,
    /// Upper bound and place among the rows, ascending by bound.
    buckets: Vec<(f64, usize)>,
}

/// Upper bound and cumulative count.
type Bucket = (f64, f64);

/// How a histogram was repaired before it was used.
#[derive(Default)]
struct Repairs {
    /// Bounds of the first and last bucket raised, and by how much at most.
    raised: Option<(f64, f64, f64)>,
}

impl Evaluator<'_> {
    /// `histogram_quantile(q, v)`.
    pub(super) fn histogram_quantile(&mut self, args: &[Expr], grid: Grid) -> Result<Vec<Row>> {
        let [q, vector] = args else { return Ok(Vec::new()) };
        let quantiles = self.eval_scalar(q, grid)?;
        self.check_quantiles(&quantiles, q.start);
        let rows = self.eval_vector(vector, grid)?;
        self.over_histograms(&rows, vector, grid, &[], |step, buckets, repairs| {
            bucket_quantile(quantiles[step], buckets, repairs)
        })
    }

    /// `histogram_quantiles(v, "label", q, …)`: one series per quantile.
    pub(super) fn histogram_quantiles(&mut self, args: &[Expr], grid: Grid) -> Result<Vec<Row>> {
        let [vector, label, quantiles @ ..] = args else { return Ok(Vec::new()) };
        let Kind::Text { value: label, .. } = &label.unparenthesised().kind else {
            return Err(model::Error::invalid("histogram_quantiles() needs a label name"));
        };
        let rows = self.eval_vector(vector, grid)?;
        let mut result = Vec::new();
        for q in quantiles {
            let values = self.eval_scalar(q, grid)?;
            self.check_quantiles(&values, q.start);
            let mut shown = format_float(values.first().copied().unwrap_or(f64::NAN));
            if values.first().is_some_and(|v| v.is_finite() && v.fract() == 0.0) {
                shown.push_str(".0");
            }
            let added = [(label.as_str(), shown.as_str())];
            result.extend(self.over_histograms(
                &rows,
                vector,
                grid,
                &added,
                |step, buckets, r| bucket_quantile(values[step], buckets, r),
            )?);
        }
        Ok(result)
    }

    /// `histogram_fraction(lower, upper, v)`.
    pub(super) fn histogram_fraction(&mut self, args: &[Expr], grid: Grid) -> Result<Vec<Row>> {
        let [lower, upper, vector] = args else { return Ok(Vec::new()) };
        let lower = self.eval_scalar(lower, grid)?;
        let upper = self.eval_scalar(upper, grid)?;
        let rows = self.eval_vector(vector, grid)?;
        self.over_histograms(&rows, vector, grid, &[], |step, buckets, repairs| {
            bucket_fraction(lower[step], upper[step], buckets, repairs)
        })
    }

    /// Runs `f` over every histogram among `rows`, at each step where it has buckets; `added` labels go to the result.
    fn over_histograms(
        &mut self,
        rows: &[Row],
        vector: &Expr,
        grid: Grid,
        added: &[(&str, &str)],
        f: impl Fn(usize, &mut Vec<Bucket>, &mut Repairs) -> f64,
    ) -> Result<Vec<Row>> {
        let histograms = self.histograms(rows, vector.start);
        self.charge_rows(histograms.len(), grid.count)?;
        let mut result = Vec::with_capacity(histograms.len());
        let mut buckets = Vec::new();
        for histogram in histograms {
            self.budget.check()?;
            let mut repairs = Repairs::default();
            let values = (0..grid.count)
                .map(|step| {
                    let counts =
                        histogram.buckets.iter().map(|(le, row)| (*le, rows[*row].values[step]));
                    buckets.clear();
                    buckets.extend(counts.filter(|(_, count)| is_present(*count)));
                    if buckets.is_empty() { ABSENT } else { f(step, &mut buckets, &mut repairs) }
                })
                .collect();
            self.report_repairs(&repairs, histogram.labels.metric_name(), vector.start);
            let mut builder = histogram.labels.to_builder();
            added.iter().for_each(|(name, value)| builder.set(name, value));
            let drop_name = histogram.drop_name;
            result.push(Row { labels: builder.build(), drop_name, values });
        }
        result.retain(Row::any);
        Ok(result)
    }

    /// Groups rows into histograms; those without a usable `le` are left out with a warning.
    fn histograms(&mut self, rows: &[Row], at: usize) -> Vec<Histogram> {
        let mut histograms: Vec<Histogram> = Vec::new();
        let mut places: FxHashMap<Labels, usize> = FxHashMap::default();
        for (index, row) in rows.iter().enumerate() {
            let le = row.labels.get(BUCKET).unwrap_or("");
            let Some(bound) = parse_float(le) else {
                let name = row.labels.metric_name();
                self.warn(
                    at,
                    &format!(
                        "bucket label \"le\" is missing or has a malformed value of {le:?} for metric name {name:?}"
                    ),
                );
                continue;
            };
            let place = *places.entry(row.labels.without(BUCKET)).or_insert_with_key(|labels| {
                let drop_name = row.drop_name || labels.iter().any(|(n, _)| is_metadata_label(n));
                let labels = labels.clone();
                histograms.push(Histogram { labels, drop_name, buckets: Vec::new() });
                histograms.len() - 1
            });
            histograms[place].buckets.push((bound, index));
        }
        for histogram in &mut histograms {
            histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        histograms
    }

    fn report_repairs(&mut self, repairs: &Repairs, name: &str, at: usize) {
        let Some((from, to, by)) = repairs.raised else { return };
        let message = format!(
            "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for metric name {name:?}, from buckets {} to {}, with a max diff of {}",
            format_float(from),
            format_float(to),
            format_float(by)
        );
        self.info(at, &message);
    }
}

/// Joins buckets of equal bounds and makes counts ascend. False without a `+Inf` bucket.
fn prepare(buckets: &mut Vec<Bucket>, repairs: &mut Repairs) -> bool {
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
    let mut previous = buckets.first().map_or(0.0, |b| b.1);
    for (bound, count) in buckets.iter_mut().skip(1) {
        let close = (*count - previous).abs() <= TOLERANCE * (count.abs() + previous.abs());
        if close {
            // Rounding, not worth a word.
            *count = previous;
        } else if *count < previous {
            let by = previous - *count;
            let (from, most) =
                repairs.raised.map_or((*bound, by), |(f, _, m)| (f.min(*bound), m.max(by)));
            repairs.raised = Some((from, bound.max(repairs.raised.map_or(*bound, |r| r.1)), most));
            *count = previous;
        } else {
            previous = *count;
        }
    }
    true
}

fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>, repairs: &mut Repairs) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    if !prepare(buckets, repairs) || buckets.len() < 2 {
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

fn bucket_fraction(
    lower: f64,
    upper: f64,
    buckets: &mut Vec<Bucket>,
    repairs: &mut Repairs,
) -> f64 {
    if !prepare(buckets, repairs) {
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
