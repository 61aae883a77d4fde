//! Bounds of buckets, and a histogram's buckets from low to high.

use super::{CUSTOM_BUCKETS_SCHEMA, Histogram, bucket_indexes};

/// How many observations lay between two bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Lower bound; may be -Inf.
    pub lower: f64,
    /// Upper bound; may be +Inf.
    pub upper: f64,
    /// Whether observations of exactly `lower` belong to it.
    pub lower_inclusive: bool,
    /// Whether observations of exactly `upper` belong to it.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

impl Bucket {
    /// The rule as Prometheus' HTTP API codes it: 0 is open left, 1 open right, 2 open both, 3 closed both.
    pub fn boundary_rule(&self) -> u8 {
        match (self.lower_inclusive, self.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        }
    }
}

/// Upper bound of the positive bucket with this index; its lower bound is that of the index before. The bucket that
/// reaches the largest finite number ends there, the one after it takes +Inf in.
pub fn upper_bound(index: i32, schema: i32, custom_bounds: &[f64]) -> f64 {
    if schema == CUSTOM_BUCKETS_SCHEMA {
        return match usize::try_from(index) {
            Ok(index) => custom_bounds.get(index).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        };
    }
    let index = i64::from(index);
    let (exponent, fraction) = if schema <= 0 {
        (index << schema.unsigned_abs().min(31), 0)
    } else {
        let shift = schema.unsigned_abs().min(31);
        (index >> shift, index & ((1 << shift) - 1))
    };
    if fraction == 0 {
        return if exponent == 1024 { f64::MAX } else { power_of_two(exponent) };
    }
    let root = (fraction as f64 / f64::from(schema).exp2()).exp2();
    // In two factors, so that neither overflows where the product does not.
    let half = exponent / 2;
    root * power_of_two(half) * power_of_two(exponent - half)
}

/// 2 to the power of `exponent`, exactly.
fn power_of_two(exponent: i64) -> f64 {
    match exponent {
        ..-1074 => 0.0,
        -1074..-1022 => f64::from_bits(1 << (exponent + 1074)),
        -1022..=1023 => f64::from_bits(((exponent + 1023) as u64) << 52),
        _ => f64::INFINITY,
    }
}

impl Histogram {
    /// The bucket around zero.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// The buckets of positive observations (of all with custom bounds), ascending, empty ones included.
    pub fn positive_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> {
        let custom = self.has_custom_bounds();
        let buckets: Vec<Bucket> = bucket_indexes(&self.positive_spans)
            .zip(&self.positive)
            .map(|(index, count)| {
                let bound = |index| upper_bound(index, self.schema, &self.custom_bounds);
                let (lower, upper) = (bound(index.saturating_sub(1)), bound(index));
                let lower_inclusive = if custom { index == 0 } else { lower < 0.0 };
                Bucket { lower, upper, lower_inclusive, upper_inclusive: true, count: *count }
            })
            .collect();
        buckets.into_iter()
    }

    /// The buckets of negative observations, from zero downwards, empty ones included.
    pub fn negative_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> {
        let buckets: Vec<Bucket> = bucket_indexes(&self.negative_spans)
            .zip(&self.negative)
            .map(|(index, count)| Bucket {
                lower: -upper_bound(index, self.schema, &[]),
                upper: -upper_bound(index.saturating_sub(1), self.schema, &[]),
                lower_inclusive: true,
                upper_inclusive: false,
                count: *count,
            })
            .collect();
        buckets.into_iter()
    }

    /// All buckets, ascending, the zero bucket only when observations are in it. A bucket that reaches into the zero
    /// bucket is shown as ending at it.
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut all: Vec<Bucket> = self.negative_buckets().rev().collect();
        for bucket in &mut all {
            if bucket.upper > -self.zero_threshold {
                bucket.upper = -self.zero_threshold;
            }
        }
        if self.zero_count > 0.0 {
            all.push(self.zero_bucket());
        }
        all.extend(self.positive_buckets().map(|mut bucket| {
            if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
                bucket.lower = self.zero_threshold;
            }
            bucket
        }));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BucketSpan;

    #[test]
    fn bounds_are_powers_of_the_schema() {
        let bound = |index, schema| upper_bound(index, schema, &[]);
        assert_eq!((bound(0, 0), bound(3, 0), bound(-1, 0)), (1.0, 8.0, 0.5));
        assert_eq!((bound(1, -1), bound(1, -4)), (4.0, 65_536.0));
        assert!((bound(1, 1) - std::f64::consts::SQRT_2).abs() < 1e-15);
        assert!((bound(-3, 2) - 0.594_603_557_501_360_5).abs() < 1e-15);
        assert_eq!((bound(1023, 0), bound(1024, 0)), (2f64.powi(1023), f64::MAX));
        assert_eq!((bound(1025, 0), bound(i32::MAX, -4)), (f64::INFINITY, f64::INFINITY));
        assert_eq!((bound(-1074, 0), bound(-1075, 0)), (f64::from_bits(1), 0.0));
        assert!(bound(i32::MIN, 8) == 0.0 && bound(1024 * 256 - 1, 8).is_finite());
        let custom = |index| upper_bound(index, CUSTOM_BUCKETS_SCHEMA, &[1.0, 2.0]);
        assert_eq!([custom(-1), custom(0), custom(2)], [f64::NEG_INFINITY, 1.0, f64::INFINITY]);
    }

    #[test]
    fn buckets_ascend_and_know_their_edges() {
        let span = |offset, length| vec![BucketSpan { offset, length }];
        let h = Histogram {
            zero_threshold: 0.6,
            zero_count: 1.0,
            positive_spans: span(0, 2),
            positive: vec![2.0, 3.0],
            negative_spans: span(1, 1),
            negative: vec![4.0],
            ..Histogram::default()
        };
        let shown: Vec<_> =
            h.buckets().iter().map(|b| (b.boundary_rule(), b.lower, b.upper, b.count)).collect();
        assert_eq!(
            shown,
            [(1, -2.0, -1.0, 4.0), (3, -0.6, 0.6, 1.0), (0, 0.6, 1.0, 2.0), (0, 1.0, 2.0, 3.0)]
        );
        let custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_bounds: vec![5.0],
            positive_spans: span(0, 2),
            positive: vec![1.0, 2.0],
            ..Histogram::default()
        };
        let shown: Vec<_> =
            custom.buckets().iter().map(|b| (b.boundary_rule(), b.lower, b.upper)).collect();
        assert_eq!(shown, [(3, f64::NEG_INFINITY, 5.0), (0, 5.0, f64::INFINITY)]);
    }
}
