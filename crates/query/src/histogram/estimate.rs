//! What can be said about the observations behind a histogram: quantiles, fractions, variance.

use model::Histogram;
use model::histogram::Bucket;

use crate::vector::numeric::Sum;

/// What observations of NaN, which are in no bucket, do to an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NanShare {
    /// They do nothing, or there are none.
    None,
    /// They move it.
    Skewed,
    /// They are all that is left to answer with.
    Result,
}

/// The `q`-quantile. Observations of NaN count as larger than all others.
pub(crate) fn quantile(q: f64, h: &Histogram) -> (f64, NanShare) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, NanShare::None);
    }
    if q > 1.0 {
        return (f64::INFINITY, NanShare::None);
    }
    if h.count == 0.0 || q.is_nan() {
        return (f64::NAN, NanShare::None);
    }
    // From the nearer end; NaN observations are beyond the upper one.
    let forward = h.sum.is_nan() || q < 0.5;
    let rank = if forward { q * h.count } else { (1.0 - q) * h.count };
    let mut buckets = h.buckets();
    if !forward {
        buckets.reverse();
    }
    let nothing = Histogram::default().zero_bucket();
    let mut bucket = buckets.last().copied().unwrap_or(nothing);
    let (mut seen, mut next) = (0.0, buckets.len());
    for (i, b) in buckets.iter().enumerate().filter(|(_, b)| b.count != 0.0) {
        seen += b.count;
        if seen >= rank {
            (bucket, next) = (*b, i + 1);
            break;
        }
    }
    if !h.has_custom_bounds() {
        narrow_zero_bucket(&mut bucket, h);
    } else {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, NanShare::None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, NanShare::None);
        }
    }
    // Rounding may have made the buckets more than the count.
    let seen = seen.min(h.count);
    if seen < rank {
        return if h.sum.is_nan() {
            (f64::NAN, NanShare::Result)
        } else {
            (bucket.upper, NanShare::None)
        };
    }
    let inside = if forward { rank - (seen - bucket.count) } else { seen - rank };
    let rest: f64 = buckets.get(next..).unwrap_or_default().iter().map(|b| b.count).sum();
    let skewed = h.sum.is_nan() && seen + rest < h.count;
    let share = if skewed { NanShare::Skewed } else { NanShare::None };
    (value_at(&bucket, inside / bucket.count, h.has_custom_bounds()), share)
}

/// The value below which `fraction` of a bucket's observations are taken to be.
fn value_at(b: &Bucket, fraction: f64, linear: bool) -> f64 {
    if linear || (b.lower <= 0.0 && b.upper >= 0.0) {
        return b.lower + (b.upper - b.lower) * fraction;
    }
    let (lower, upper) = (b.lower.abs().log2(), b.upper.abs().log2());
    if b.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    }
}

/// With observations on one side of zero only, those in the zero bucket are taken to be on that side, too.
fn narrow_zero_bucket(b: &mut Bucket, h: &Histogram) {
    if b.lower > 0.0 || b.upper < 0.0 {
        return;
    }
    match (h.positive.is_empty(), h.negative.is_empty()) {
        (false, true) => b.lower = 0.0,
        (true, false) => b.upper = 0.0,
        _ => {}
    }
}

/// Which share of the observations lies between `lower` and `upper`, and whether there are observations of NaN.
pub(crate) fn fraction(lower: f64, upper: f64, h: &Histogram) -> (f64, bool) {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let buckets = h.buckets();
    let in_buckets: f64 = buckets.iter().map(|b| b.count).sum();
    let count = if h.sum.is_nan() { in_buckets } else { h.count };
    let rank = |value| rank_of(value, &buckets, h).unwrap_or(count).min(count);
    ((rank(upper) - rank(lower)) / h.count, h.sum.is_nan() && in_buckets < h.count)
}

/// How many observations lie below `value`; `None` when all buckets do.
fn rank_of(value: f64, buckets: &[Bucket], h: &Histogram) -> Option<f64> {
    let mut below = 0.0;
    for bucket in buckets {
        let mut b = *bucket;
        let around_zero = b.lower <= 0.0 && b.upper >= 0.0;
        if !h.has_custom_bounds() {
            narrow_zero_bucket(&mut b, h);
        } else if b.lower == f64::NEG_INFINITY && b.upper > 0.0 {
            // As with classic histograms, a first bucket that ends above zero starts at zero.
            b.lower = 0.0;
        }
        if b.lower >= value {
            return Some(below);
        }
        if b.upper > value {
            let linear = h.has_custom_bounds() || around_zero;
            return Some(match linear {
                true if b.lower == f64::NEG_INFINITY => b.count,
                true => below + b.count * (value - b.lower) / (b.upper - b.lower),
                false => {
                    let [low, high, at] = [b.lower, b.upper, value].map(|v| v.abs().log2());
                    let share = if value > 0.0 {
                        (at - low) / (high - low)
                    } else {
                        1.0 - (at - high) / (low - high)
                    };
                    below + b.count * share
                }
            });
        }
        below += b.count;
    }
    None
}

/// The variance of the observations, each taken to lie in the middle of its bucket.
pub(crate) fn variance(h: &Histogram) -> f64 {
    let mean = h.sum / h.count;
    let mut squares = Sum::default();
    for b in h.buckets().iter().filter(|b| b.count != 0.0) {
        let value = if h.has_custom_bounds() {
            f64::midpoint(b.lower, b.upper)
        } else if b.lower <= 0.0 && b.upper >= 0.0 {
            0.0
        } else {
            (b.lower * b.upper).sqrt().copysign(b.upper)
        };
        let delta = value - mean;
        squares.add(b.count * delta * delta);
    }
    squares.value() / h.count
}
