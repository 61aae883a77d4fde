//! Histograms: classic series, native ones with listed bounds, native ones with exponential bounds.

use std::sync::Arc;

use model::{BucketSpan, Histogram, HistogramRow, Labels, ResetHint, histogram, stale_nan};

use super::super::{ExponentialBuckets, ExponentialPoint, HistogramPoint, Point, Temporality};
use super::labels::LabelMaker;
use super::{Refusable, Translator, decimal, time_ms};

/// Zero buckets without a width get this one, as Prometheus has it.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Empty buckets up to this many are kept inside a span; another span costs more.
const GAP_MAX: u64 = 2;
/// Scales beyond these are noise.
const SCALES: std::ops::RangeInclusive<i32> = -32..=64;

impl Translator<'_> {
    /// A classic histogram: `_bucket`, `_sum` and `_count`.
    pub(super) fn classic_histogram(
        &mut self,
        name: &str,
        point: &HistogramPoint,
        maker: &LabelMaker,
        temporality: Temporality,
    ) -> Refusable {
        let labels = maker.labels(&point.point.attributes, self.limits)?;
        let mut point = point.clone();
        self.histogram_total(&labels.series(name, &[]), &mut point, temporality)?;
        let t_ms = time_ms(&point.point);
        let stale = point.point.no_value;
        let value = |value: f64| if stale { stale_nan() } else { value };
        if let Some(sum) = point.sum {
            self.sample(labels.series(&format!("{name}_sum"), &[]), t_ms, value(sum))?;
        }
        let count = value(point.count as f64);
        self.sample(labels.series(&format!("{name}_count"), &[]), t_ms, count)?;
        let bucket_name = format!("{name}_bucket");
        let mut buckets = Vec::with_capacity(point.bounds.len() + 1);
        let mut total = 0_u64;
        let finite = point.bounds.iter().zip(&point.bucket_counts);
        for (bound, bucket) in finite.filter(|(bound, _)| **bound != f64::INFINITY) {
            total = total.saturating_add(*bucket);
            let series = labels.series(&bucket_name, &[("le", &decimal(*bound))]);
            buckets.push((*bound, series.clone()));
            self.sample(series, t_ms, value(total as f64))?;
        }
        let last = labels.series(&bucket_name, &[("le", "+Inf")]);
        self.sample(last.clone(), t_ms, count)?;
        let mut bucket_of = |observed: f64| {
            let found = buckets.iter().find(|(bound, _)| observed <= *bound);
            found.map_or_else(|| last.clone(), |(_, series)| series.clone())
        };
        self.exemplars(&point.point, &mut bucket_of, maker)
    }

    /// A native histogram with the listed bounds.
    pub(super) fn custom_histogram(
        &mut self,
        name: &str,
        point: &HistogramPoint,
        maker: &LabelMaker,
        temporality: Temporality,
    ) -> Refusable {
        let labels = maker.labels(&point.point.attributes, self.limits)?.series(name, &[]);
        let mut point = point.clone();
        self.histogram_total(&labels, &mut point, temporality)?;
        let (positive_spans, positive) = spans(0, &point.bucket_counts)
            .ok_or_else(|| "bucket indexes are out of range".to_owned())?;
        let value = Histogram {
            schema: histogram::CUSTOM_BUCKETS_SCHEMA,
            integer: true,
            hint: ResetHint::Unknown,
            count: point.count as f64,
            sum: point.sum.unwrap_or(0.0),
            positive_spans,
            positive,
            custom_bounds: point.bounds.iter().copied().filter(|b| *b != f64::INFINITY).collect(),
            ..Histogram::default()
        };
        self.native(labels, &point.point, value, maker)
    }

    /// A native histogram with exponential bounds.
    pub(super) fn exponential(
        &mut self,
        name: &str,
        point: &ExponentialPoint,
        maker: &LabelMaker,
        temporality: Temporality,
    ) -> Refusable {
        let labels = maker.labels(&point.point.attributes, self.limits)?.series(name, &[]);
        if !SCALES.contains(&point.scale) {
            return Err(format!("histogram {labels} has the scale {}", point.scale).into());
        }
        let mut point = point.clone();
        if point.point.no_value {
            self.totals.end(&labels);
        } else if temporality == Temporality::Delta {
            self.totals.add_exponential(&labels, self.now_ms, &mut point)?;
        }
        if point.scale < histogram::SCHEMA_MIN {
            return Err(format!(
                "histogram {labels} has the scale {}; the coarsest is {}",
                point.scale,
                histogram::SCHEMA_MIN
            )
            .into());
        }
        let by = u32::try_from(point.scale - histogram::SCHEMA_MAX).unwrap_or(0);
        let side = |buckets: &ExponentialBuckets| {
            let buckets = buckets.coarser(by);
            // Bucket i here ends where bucket i + 1 there ends.
            spans(i64::from(buckets.offset) + 1, &buckets.counts)
                .ok_or_else(|| format!("bucket indexes of histogram {labels} are out of range"))
        };
        let (positive_spans, positive) = side(&point.positive)?;
        let (negative_spans, negative) = side(&point.negative)?;
        let value = Histogram {
            schema: point.scale.min(histogram::SCHEMA_MAX),
            integer: true,
            hint: ResetHint::Unknown,
            zero_threshold: if point.zero_threshold > 0.0 {
                point.zero_threshold
            } else {
                ZERO_THRESHOLD
            },
            zero_count: point.zero_count as f64,
            count: point.count as f64,
            sum: point.sum.unwrap_or(0.0),
            positive_spans,
            positive,
            negative_spans,
            negative,
            custom_bounds: Vec::new(),
        };
        self.native(labels, &point.point, value, maker)
    }

    fn histogram_total(
        &mut self,
        series: &Labels,
        point: &mut HistogramPoint,
        temporality: Temporality,
    ) -> Refusable {
        let (bounds, buckets) = (point.bounds.len(), point.bucket_counts.len());
        if !(buckets == bounds + 1 || (buckets == 0 && bounds == 0)) {
            return Err(
                format!("histogram {series} has {bounds} bounds and {buckets} buckets").into()
            );
        }
        if point.point.no_value {
            self.totals.end(series);
        } else if temporality == Temporality::Delta {
            self.totals.add_histogram(series, self.now_ms, point)?;
        }
        Ok(())
    }

    fn native(
        &mut self,
        labels: Labels,
        point: &Point,
        value: Histogram,
        maker: &LabelMaker,
    ) -> Refusable {
        let t_ms = time_ms(point);
        if point.no_value {
            return self.sample(labels, t_ms, stale_nan());
        }
        value.validate().map_err(|e| format!("histogram {labels}: {}", e.message()))?;
        self.exemplars(point, &mut |_| labels.clone(), maker)?;
        self.charge(&labels)?;
        self.out.histograms.push(HistogramRow { labels, t_ms, value: Arc::new(value) });
        Ok(())
    }
}

/// Spans over the buckets that hold something, the first bucket having index `first`. `None` when indexes do not fit.
fn spans(first: i64, counts: &[u64]) -> Option<(Vec<BucketSpan>, Vec<f64>)> {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut values = Vec::new();
    // Where the bucket behind the last one kept would be.
    let mut next = 0_i64;
    for (index, count) in (first..).zip(counts).filter(|(_, count)| **count > 0) {
        let gap = index - next;
        match spans.last_mut().filter(|_| gap.unsigned_abs() <= GAP_MAX) {
            Some(span) => {
                let empty = gap.unsigned_abs();
                values.extend(std::iter::repeat_n(0.0, usize::try_from(empty).ok()?));
                span.length += u32::try_from(empty).ok()?;
                span.length += 1;
            }
            None => spans.push(BucketSpan { offset: i32::try_from(gap).ok()?, length: 1 }),
        }
        values.push(*count as f64);
        next = index + 1;
        i32::try_from(next).ok()?;
    }
    Some((spans, values))
}
