//! `</` and `>/`: the observations of a histogram below or above a value.

use model::Histogram;
use model::histogram::Bucket;

use super::Total;

/// The observations of `h` below `at` (`upper`, operator `</`) or above it (operator `>/`).
///
/// The bucket in which `at` lies is divided as quantiles divide it, and the sum is estimated anew from the middles of
/// what is left. Of a bucket that is infinitely wide nothing is known; it is kept or dropped as a whole.
pub(crate) fn trimmed(h: &Histogram, at: f64, upper: bool) -> Histogram {
    let cut = Cut { at, upper, linear: h.has_custom_bounds() };
    let mut out = h.clone();
    let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
    let mut take = |before: f64, (kept, middle): (f64, f64)| {
        count += kept;
        sum += middle * kept;
        changed |= kept != before;
        kept
    };
    let mut populated = [false; 2];
    for (bucket, slot) in h.positive_buckets().zip(&mut out.positive) {
        if bucket.count != 0.0 {
            populated[0] = true;
            *slot = take(bucket.count, cut.bucket(&bucket, true));
        }
    }
    for (bucket, slot) in h.negative_buckets().zip(&mut out.negative) {
        if bucket.count != 0.0 {
            populated[1] = true;
            *slot = take(bucket.count, cut.bucket(&bucket, false));
        }
    }
    if h.zero_count > 0.0 {
        out.zero_count = take(h.zero_count, cut.zero_bucket(&h.zero_bucket(), populated));
    }
    if !changed {
        return out;
    }
    (out.count, out.sum, out.integer) = (count, sum, false);
    Total::new(&out).into_histogram()
}

struct Cut {
    at: f64,
    /// What is below stays.
    upper: bool,
    /// Observations lie evenly, as with custom bounds.
    linear: bool,
}

impl Cut {
    /// How many observations of a bucket stay, and where the middle of them is.
    fn bucket(&self, b: &Bucket, positive: bool) -> (f64, f64) {
        let (inside, outside) = if self.upper {
            (b.upper <= self.at, b.lower >= self.at)
        } else {
            (b.lower >= self.at, b.upper <= self.at)
        };
        if inside {
            return (b.count, self.middle(b.lower, b.upper, positive));
        }
        // NaN is on no side: nothing stays.
        if outside || self.at.is_nan() {
            return (0.0, 0.0);
        }
        if b.lower.is_infinite() || b.upper.is_infinite() {
            return self.infinite_bucket(b);
        }
        let below = b.count * self.share_below(b, positive);
        if self.upper {
            (below, self.middle(b.lower, self.at, positive))
        } else {
            (b.count - below, self.middle(self.at, b.upper, positive))
        }
    }

    /// An infinitely wide bucket that `at` lies in. Below a positive bound it is taken to start at zero.
    fn infinite_bucket(&self, b: &Bucket) -> (f64, f64) {
        let at = self.at;
        if b.upper.is_infinite() {
            let keeps = !self.upper && b.lower.is_finite();
            return if keeps { (b.count, at) } else { (0.0, 0.0) };
        }
        match self.upper {
            true if b.upper <= 0.0 => (b.count, at),
            true if at > 0.0 => (b.count * at / b.upper, at / 2.0),
            false if at >= 0.0 => (b.count * (1.0 - at / b.upper), f64::midpoint(at, b.upper)),
            _ => (0.0, 0.0),
        }
    }

    /// The zero bucket lies on one side of zero only when all other observations do. `populated`: positive, negative.
    fn zero_bucket(&self, b: &Bucket, populated: [bool; 2]) -> (f64, f64) {
        let lower = if populated == [true, false] { 0.0 } else { b.lower };
        let upper = if populated == [false, true] { 0.0 } else { b.upper };
        if self.at.is_nan() {
            return (0.0, 0.0);
        }
        let at = self.at.clamp(lower, upper);
        let (from, to) = if self.upper { (lower, at) } else { (at, upper) };
        if from >= to {
            // Also a zero bucket without width, of which observations at zero are on the closed side.
            let whole =
                lower == upper && if self.upper { self.at > lower } else { self.at <= lower };
            return if whole { (b.count, 0.0) } else { (0.0, 0.0) };
        }
        (b.count * ((to - from) / (upper - lower)), f64::midpoint(from, to))
    }

    /// Which share of a finite bucket's observations is at or below `at`.
    fn share_below(&self, b: &Bucket, positive: bool) -> f64 {
        if self.linear {
            return (self.at - b.lower) / (b.upper - b.lower);
        }
        let [lower, upper, at] = [b.lower, b.upper, self.at].map(|v| v.abs().log2());
        if positive { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }

    /// The value that observations in `(lower, upper]` are taken to have.
    fn middle(&self, lower: f64, upper: f64, positive: bool) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) if upper > 0.0 => upper / 2.0,
            (true, false) => upper,
            (false, true) => lower,
            (false, false) if self.linear => f64::midpoint(lower, upper),
            (false, false) => {
                let mean = (lower * upper).abs().sqrt();
                if positive { mean } else { -mean }
            }
        }
    }
}
