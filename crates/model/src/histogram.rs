//! Native histograms: buckets with exponential or custom bounds, as one sample.
//!
//! Owns: their shape, bounds of buckets ([`Bucket`]), and what a well-formed one is. Does not own: arithmetic (`query`), wire formats
//! (`ingest`), bytes on disk (`tsdb`). Source: Prometheus, "Native Histograms" specification.

mod buckets;

pub use buckets::{Bucket, upper_bound};

use crate::{Error, Result};

/// Schema of histograms whose bounds are listed instead of computed.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// Coarsest exponential schema: buckets grow by 2^16.
pub const SCHEMA_MIN: i32 = -4;
/// Finest exponential schema: buckets grow by 2^(1/256).
pub const SCHEMA_MAX: i32 = 8;
/// Buckets of one side at most; more cannot be honest.
pub const BUCKETS_MAX: usize = 1 << 16;

/// Consecutive buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BucketSpan {
    /// Buckets left out since the end of the span before; of the first span, the index of its first bucket.
    pub offset: i32,
    /// Buckets in it.
    pub length: u32,
}

/// What is known about resets between a histogram and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ResetHint {
    /// Nothing: compare the two.
    #[default]
    Unknown,
    /// It starts anew.
    Reset,
    /// It goes on.
    NotReset,
    /// It is a gauge, for which resets mean nothing.
    Gauge,
}

/// One native histogram.
///
/// Shape: `positive` and `negative` hold the absolute count (not the difference to the bucket before, not cumulative) of
/// each bucket of their spans, in order; with custom bounds only `positive` is used. Counts of integer histograms are
/// exact up to 2^53.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Growth of bounds: [`SCHEMA_MIN`] to [`SCHEMA_MAX`], or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Whether counts were integers on the wire.
    pub integer: bool,
    /// What is known about resets.
    pub hint: ResetHint,
    /// Observations in `[-zero_threshold, zero_threshold]` are in the zero bucket.
    pub zero_threshold: f64,
    /// Count of the zero bucket.
    pub zero_count: f64,
    /// Count of all observations, NaN ones included.
    pub count: f64,
    /// Sum of observations; the staleness marker ends the series.
    pub sum: f64,
    /// Where the buckets of positive observations are.
    pub positive_spans: Vec<BucketSpan>,
    /// Their counts.
    pub positive: Vec<f64>,
    /// Where the buckets of negative observations are.
    pub negative_spans: Vec<BucketSpan>,
    /// Their counts.
    pub negative: Vec<f64>,
    /// Upper bounds for [`CUSTOM_BUCKETS_SCHEMA`], ascending, without the last (+Inf).
    pub custom_bounds: Vec<f64>,
}

impl Histogram {
    /// Whether bounds are listed.
    pub fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Refuses what no honest source sends: unknown schemas, spans that do not fit the buckets, negative counts, bounds
    /// out of order.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) naming what is wrong.
    pub fn validate(&self) -> Result<()> {
        let custom = self.has_custom_bounds();
        if !custom && !(SCHEMA_MIN..=SCHEMA_MAX).contains(&self.schema) {
            return Err(Error::invalid(format!(
                "histogram schema {} is unknown; known are {SCHEMA_MIN} to {SCHEMA_MAX} and \
                 {CUSTOM_BUCKETS_SCHEMA}",
                self.schema
            )));
        }
        if custom {
            let ascend = self.custom_bounds.windows(2).all(|w| w[0] < w[1]);
            if !ascend || self.custom_bounds.iter().any(|b| !b.is_finite()) {
                return Err(Error::invalid("custom bucket bounds must be finite and ascend"));
            }
            if !self.negative.is_empty() || self.zero_count != 0.0 || self.zero_threshold != 0.0 {
                return Err(Error::invalid(
                    "a histogram with custom bounds has no negative and no zero bucket",
                ));
            }
        } else if !self.custom_bounds.is_empty() {
            return Err(Error::invalid("an exponential histogram has no custom bounds"));
        }
        if [self.zero_threshold, self.zero_count, self.count].into_iter().any(is_negative) {
            return Err(Error::invalid(
                "zero threshold, zero count and count must not be negative",
            ));
        }
        let last = last_index(&self.positive_spans, &self.positive, "positive")?;
        if custom && last.is_some_and(|last| last > self.custom_bounds.len() as i64) {
            return Err(Error::invalid(format!(
                "buckets reach index {}; there are {} custom bounds",
                last.unwrap_or(0),
                self.custom_bounds.len()
            )));
        }
        last_index(&self.negative_spans, &self.negative, "negative")?;
        let total =
            self.zero_count + self.positive.iter().sum::<f64>() + self.negative.iter().sum::<f64>();
        // NaN observations are counted but in no bucket, which their sum shows.
        if self.integer && (total > self.count || (total < self.count && !self.sum.is_nan())) {
            return Err(Error::invalid(format!(
                "{total} observations are in buckets, the count is {}",
                self.count
            )));
        }
        Ok(())
    }
}

/// Whether it cannot be a count.
fn is_negative(count: f64) -> bool {
    count.is_nan() || count < 0.0
}

/// Index of the last bucket; checks the spans of one side on the way.
fn last_index(spans: &[BucketSpan], buckets: &[f64], side: &str) -> Result<Option<i64>> {
    let (mut next, mut total) = (0i64, 0usize);
    for (i, span) in spans.iter().enumerate() {
        if i > 0 && span.offset < 0 {
            return Err(Error::invalid(format!(
                "{side} span {i} has the negative offset {}",
                span.offset
            )));
        }
        next += i64::from(span.offset) + i64::from(span.length);
        total = total.saturating_add(span.length as usize);
    }
    if total != buckets.len() || total > BUCKETS_MAX {
        return Err(Error::invalid(format!(
            "{side} spans name {total} buckets, {} are there; at most {BUCKETS_MAX}",
            buckets.len()
        )));
    }
    if let Some(i) = buckets.iter().position(|count| is_negative(*count)) {
        return Err(Error::invalid(format!("{side} bucket {i} has the count {}", buckets[i])));
    }
    Ok((total > 0).then_some(next - 1))
}

/// Indexes of the buckets of `spans`, in order.
pub fn bucket_indexes(spans: &[BucketSpan]) -> impl Iterator<Item = i32> + '_ {
    let mut next = 0i32;
    spans.iter().flat_map(move |span| {
        let first = next.saturating_add(span.offset);
        next = first.saturating_add_unsigned(span.length);
        first..next
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset, length }
    }

    fn two_spans() -> Histogram {
        Histogram {
            integer: true,
            count: 7.0,
            zero_count: 1.0,
            positive_spans: vec![span(-2, 2), span(3, 1)],
            positive: vec![1.0, 2.0, 3.0],
            ..Histogram::default()
        }
    }

    #[test]
    fn spans_give_indexes() {
        let h = two_spans();
        h.validate().unwrap();
        assert_eq!(bucket_indexes(&h.positive_spans).collect::<Vec<_>>(), [-2, -1, 3]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let broken: [fn(&mut Histogram); 7] = [
            |h| h.schema = 9,
            |h| h.positive_spans[0].length = u32::MAX,
            |h| h.positive_spans[1].offset = -1,
            |h| h.positive[1] = -1.0,
            |h| h.count = 6.0,
            |h| h.zero_threshold = f64::NAN,
            |h| h.custom_bounds = vec![1.0],
        ];
        for (i, change) in broken.iter().enumerate() {
            let mut h = two_spans();
            change(&mut h);
            assert!(h.validate().is_err(), "change {i}");
        }
        let custom = |bounds: &[f64], spans: &[BucketSpan], counts: &[f64]| Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: counts.iter().sum(),
            custom_bounds: bounds.to_vec(),
            positive_spans: spans.to_vec(),
            positive: counts.to_vec(),
            ..Histogram::default()
        };
        assert!(custom(&[1.0, 2.0], &[span(0, 3)], &[1.0, 2.0, 3.0]).validate().is_ok());
        assert!(custom(&[1.0, 2.0], &[span(1, 3)], &[1.0, 2.0, 3.0]).validate().is_err());
        assert!(custom(&[2.0, 1.0], &[], &[]).validate().is_err());
    }
}
