//! Layout of native histograms: dropping empty buckets and merging fine ones, without changing what they say.
//!
//! Owns: [`compact`] and [`reduce_resolution`], and the builder both share. Does not own: wire formats (decoders call
//! this), what a histogram is (`model::histogram`), and arithmetic between histograms (`query`).

use model::histogram::{SCHEMA_MIN, bucket_indexes};
use model::{BucketSpan, Histogram};

/// Buckets in order of their index; gaps become spans.
#[derive(Debug, Default)]
struct Side {
    spans: Vec<BucketSpan>,
    counts: Vec<f64>,
    /// Index behind the last bucket.
    next: i32,
}

impl Side {
    /// Adds `count` to the bucket at `index`, which must not be before the last one.
    fn add(&mut self, index: i32, count: f64) {
        if !self.spans.is_empty() && index.saturating_add(1) == self.next {
            if let Some(last) = self.counts.last_mut() {
                *last += count;
            }
            return;
        }
        match self.spans.last_mut() {
            Some(span) if index == self.next => span.length += 1,
            _ => {
                let offset = index.saturating_sub(self.next);
                self.spans.push(BucketSpan { offset, length: 1 });
            }
        }
        self.counts.push(count);
        self.next = index.saturating_add(1);
    }
}

/// Drops empty buckets and the spans that only they needed. Call on a valid histogram.
pub fn compact(histogram: &mut Histogram) {
    let rebuild = |spans: &mut Vec<BucketSpan>, counts: &mut Vec<f64>| {
        let is_compact = counts.iter().all(|c| *c != 0.0) && spans.iter().all(|s| s.length > 0);
        if !is_compact {
            merge(spans, counts, |index| index);
        }
    };
    rebuild(&mut histogram.positive_spans, &mut histogram.positive);
    rebuild(&mut histogram.negative_spans, &mut histogram.negative);
}

/// Merges buckets of a valid exponential histogram until its schema is at most `schema` (and not below
/// [`SCHEMA_MIN`]); each step halves their number at most. Histograms with custom bounds stay as they are.
pub fn reduce_resolution(histogram: &mut Histogram, schema: i32) {
    let schema = schema.max(SCHEMA_MIN);
    if histogram.has_custom_bounds() || histogram.schema <= schema {
        return;
    }
    let steps = u32::try_from(histogram.schema - schema).unwrap_or(0).min(31);
    // The bucket with index i ends at base^i, so the last of each group gives its index to the group.
    let coarser = |index: i32| (index.wrapping_sub(1) >> steps).wrapping_add(1);
    merge(&mut histogram.positive_spans, &mut histogram.positive, coarser);
    merge(&mut histogram.negative_spans, &mut histogram.negative, coarser);
    histogram.schema = schema;
}

fn merge(spans: &mut Vec<BucketSpan>, counts: &mut Vec<f64>, index_of: impl Fn(i32) -> i32) {
    let mut side = Side::default();
    for (index, count) in bucket_indexes(spans).zip(counts.iter()) {
        if *count != 0.0 {
            side.add(index_of(index), *count);
        }
    }
    (*spans, *counts) = (side.spans, side.counts);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(schema: i32, offset: i32, counts: &[f64]) -> Histogram {
        let length = u32::try_from(counts.len()).unwrap();
        Histogram {
            schema,
            count: counts.iter().sum(),
            positive_spans: vec![BucketSpan { offset, length }],
            positive: counts.to_vec(),
            ..Histogram::default()
        }
    }

    fn buckets(h: &Histogram) -> Vec<(i32, f64)> {
        bucket_indexes(&h.positive_spans).zip(h.positive.iter().copied()).collect()
    }

    #[test]
    fn empty_buckets_go() {
        let mut h = of(0, -2, &[0.0, 1.0, 0.0, 0.0, 2.0, 0.0]);
        compact(&mut h);
        assert_eq!(buckets(&h), [(-1, 1.0), (2, 2.0)]);
        assert_eq!(h.positive_spans.len(), 2);
        let mut none = of(0, 0, &[]);
        compact(&mut none);
        assert!(none.positive_spans.is_empty());
    }

    #[test]
    fn fine_buckets_merge_upwards() {
        // Upper bounds 2^(1/2 i): 1 and 2 make the coarser 1, 3 makes 2, 0 and -1 make 0.
        let mut h = of(1, -1, &[1.0, 2.0, 4.0, 8.0, 16.0]);
        reduce_resolution(&mut h, 0);
        assert_eq!((h.schema, buckets(&h)), (0, vec![(0, 3.0), (1, 12.0), (2, 16.0)]));
        reduce_resolution(&mut h, -100);
        assert_eq!((h.schema, buckets(&h)), (-4, vec![(0, 3.0), (1, 28.0)]));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            schema in -4..=8_i32,
            to in -4..=8_i32,
            offset in -1000..1000_i32,
            counts in prop::collection::vec(0..5_u8, 0..40),
        ) {
            let counts: Vec<f64> = counts.into_iter().map(f64::from).collect();
            let mut h = of(schema, offset, &counts);
            let sum: f64 = counts.iter().sum();
            reduce_resolution(&mut h, to);
            compact(&mut h);
            prop_assert!(h.validate().is_ok());
            prop_assert_eq!(h.positive.iter().sum::<f64>(), sum);
            prop_assert_eq!(h.schema, schema.min(to));
            prop_assert!(h.positive.iter().all(|c| *c > 0.0));
        }
    }
}
