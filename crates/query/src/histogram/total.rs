//! Sums of histograms, compensated like sums of floats, over whatever layouts they come in.

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, bucket_indexes, upper_bound};
use model::{BucketSpan, Histogram, ResetHint};

use crate::vector::numeric::Sum;

/// Counts of one side's buckets, ascending by index.
type Side = Vec<(i32, Sum)>;

/// A running sum of histograms in their coarsest common layout.
#[derive(Debug, Clone)]
pub(crate) struct Total {
    schema: i32,
    hint: ResetHint,
    zero_threshold: f64,
    zero: Sum,
    count: Sum,
    sum: Sum,
    positive: Side,
    negative: Side,
    custom_bounds: Vec<f64>,
}

/// Exponential and custom buckets have nothing in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MixedSchemas;

/// What an addition met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Merged {
    /// One side says it starts anew, the other that it goes on.
    pub(crate) collision: bool,
    /// Custom bounds differed; only those both have are left.
    pub(crate) reconciled: bool,
}

/// `h` times `factor`.
pub(crate) fn scaled(h: &Histogram, factor: f64) -> Histogram {
    let mut total = Total::new(h);
    total.multiply(factor);
    total.into_histogram()
}

/// `-h`.
pub(crate) fn negated(h: &Histogram) -> Histogram {
    scaled(h, -1.0)
}

impl Total {
    /// `h` alone.
    pub(crate) fn new(h: &Histogram) -> Self {
        Self {
            schema: h.schema,
            hint: h.hint,
            zero_threshold: h.zero_threshold,
            zero: plain(h.zero_count),
            count: plain(h.count),
            sum: plain(h.sum),
            positive: side(&h.positive_spans, &h.positive),
            negative: side(&h.negative_spans, &h.negative),
            custom_bounds: h.custom_bounds.clone(),
        }
    }

    /// Nothing, in the layout of `h`.
    pub(crate) fn empty_like(h: &Histogram) -> Self {
        Self::new(&Histogram {
            schema: h.schema,
            custom_bounds: h.custom_bounds.clone(),
            ..Histogram::default()
        })
    }

    pub(crate) fn set_hint(&mut self, hint: ResetHint) {
        self.hint = hint;
    }

    pub(crate) fn hint(&self) -> ResetHint {
        self.hint
    }

    /// Count of all observations.
    pub(crate) fn count(&self) -> f64 {
        self.count.value()
    }

    /// Adds `other`.
    ///
    /// # Errors
    /// When only one of the two has custom bounds; nothing is added then.
    pub(crate) fn add(&mut self, other: &Histogram) -> Result<Merged, MixedSchemas> {
        self.merge(Self::new(other), 1.0)
    }

    /// Takes `other` off.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(crate) fn subtract(&mut self, other: &Histogram) -> Result<Merged, MixedSchemas> {
        self.merge(Self::new(other), -1.0)
    }

    /// Adds `other` times `sign`.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(crate) fn merge(&mut self, mut other: Self, sign: f64) -> Result<Merged, MixedSchemas> {
        if self.has_custom_bounds() != other.has_custom_bounds() {
            return Err(MixedSchemas);
        }
        let merged =
            Merged { collision: self.merge_hint(other.hint), reconciled: self.align(&mut other) };
        for (into, from) in [
            (&mut self.zero, other.zero),
            (&mut self.count, other.count),
            (&mut self.sum, other.sum),
        ] {
            add_scaled(into, from, sign);
        }
        self.positive = joined(std::mem::take(&mut self.positive), other.positive, sign);
        self.negative = joined(std::mem::take(&mut self.negative), other.negative, sign);
        Ok(merged)
    }

    /// Multiplies everything. Negative counts exist in gauges only.
    pub(crate) fn multiply(&mut self, factor: f64) {
        self.for_each(|sum| rescale(sum, |x| x * factor));
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    /// Divides everything. By zero, no bucket stays.
    pub(crate) fn divide(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        self.for_each(|sum| rescale(sum, |x| x / divisor));
        if divisor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    /// Whether some count or the sum has become infinite.
    pub(crate) fn overflows(&self) -> bool {
        let buckets = self.positive.iter().chain(&self.negative).map(|(_, sum)| sum);
        [&self.zero, &self.count, &self.sum]
            .into_iter()
            .chain(buckets)
            .any(|sum| sum.total.is_infinite())
    }

    /// The sum, without empty buckets.
    pub(crate) fn into_histogram(self) -> Histogram {
        let (positive_spans, positive) = spans(&self.positive);
        let (negative_spans, negative) = spans(&self.negative);
        Histogram {
            schema: self.schema,
            integer: false,
            hint: self.hint,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero.value(),
            count: self.count.value(),
            sum: self.sum.value(),
            positive_spans,
            positive,
            negative_spans,
            negative,
            custom_bounds: self.custom_bounds,
        }
    }

    pub(super) fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    pub(super) fn zero_threshold(&self) -> f64 {
        self.zero_threshold
    }

    pub(super) fn zero_count(&self) -> f64 {
        self.zero.value()
    }

    /// Index and count of the populated buckets of both sides.
    pub(super) fn populated(&self) -> [Vec<(i32, f64)>; 2] {
        [&self.positive, &self.negative].map(|side| {
            side.iter().map(|(i, sum)| (*i, sum.value())).filter(|(_, n)| *n != 0.0).collect()
        })
    }

    fn for_each(&mut self, f: impl Fn(&mut Sum)) {
        let buckets = self.positive.iter_mut().chain(&mut self.negative).map(|(_, sum)| sum);
        [&mut self.zero, &mut self.count, &mut self.sum].into_iter().chain(buckets).for_each(f);
    }

    /// The hint of a sum; whether the two contradict each other.
    fn merge_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};
        let (hint, collision) = match (self.hint, other) {
            (a, b) if a == b => (a, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            _ => (Unknown, true),
        };
        self.hint = hint;
        collision
    }

    /// Gives both the same zero bucket and bounds; whether custom bounds had to change.
    pub(super) fn align(&mut self, other: &mut Self) -> bool {
        if self.has_custom_bounds() {
            if self.custom_bounds == other.custom_bounds {
                return false;
            }
            let common: Vec<f64> = self
                .custom_bounds
                .iter()
                .filter(|bound| other.custom_bounds.contains(bound))
                .copied()
                .collect();
            self.rebound(&common);
            other.rebound(&common);
            return true;
        }
        // Raising one may make it larger than the other; every round takes populated buckets in, so it ends.
        while self.zero_threshold != other.zero_threshold {
            if self.zero_threshold < other.zero_threshold {
                self.widen_zero_bucket(other.zero_threshold);
            } else if other.zero_threshold < self.zero_threshold {
                other.widen_zero_bucket(self.zero_threshold);
            } else {
                break;
            }
        }
        let schema = self.schema.min(other.schema);
        self.reduce(schema);
        other.reduce(schema);
        false
    }

    /// Makes the zero bucket reach at least to `threshold`, and on to the end of a populated bucket it would cut.
    pub(super) fn widen_zero_bucket(&mut self, threshold: f64) {
        let mut threshold = threshold;
        let schema = self.schema;
        let bounds = |index: i32| {
            let lower = upper_bound(index.saturating_sub(1), schema, &[]);
            (lower, upper_bound(index, schema, &[]))
        };
        loop {
            let cut = self
                .positive
                .iter()
                .chain(&self.negative)
                .filter(|(_, sum)| sum.value() != 0.0)
                .map(|(index, _)| bounds(*index))
                .find(|(lower, upper)| *lower < threshold && *upper > threshold);
            match cut {
                Some((_, upper)) => threshold = upper,
                None => break,
            }
        }
        for side in [&mut self.positive, &mut self.negative] {
            side.retain(|(index, sum)| {
                let inside = bounds(*index).0 < threshold;
                if inside {
                    add_scaled(&mut self.zero, *sum, 1.0);
                }
                !inside
            });
        }
        self.zero_threshold = threshold;
    }

    /// Merges buckets until there is one per bucket of the coarser `schema`.
    pub(crate) fn reduce(&mut self, schema: i32) {
        let shift = self.schema.saturating_sub(schema).clamp(0, 31);
        if shift == 0 || self.has_custom_bounds() {
            return;
        }
        let coarser = |index: i32| (index.saturating_sub(1) >> shift) + 1;
        for side in [&mut self.positive, &mut self.negative] {
            *side = reindexed(side, coarser);
        }
        self.schema = schema;
    }

    /// Merges buckets until their bounds are `bounds`, all of which are among the bounds so far.
    fn rebound(&mut self, bounds: &[f64]) {
        let custom = std::mem::take(&mut self.custom_bounds);
        let place = |index: i32| {
            let upper = upper_bound(index, CUSTOM_BUCKETS_SCHEMA, &custom);
            bounds.partition_point(|bound| *bound < upper) as i32
        };
        self.positive = reindexed(&self.positive, place);
        self.custom_bounds = bounds.to_vec();
    }
}

/// Scales a sum; an infinite one has nothing to compensate.
fn rescale(sum: &mut Sum, f: impl Fn(f64) -> f64) {
    sum.total = f(sum.total);
    let exact = sum.compensation == 0.0 || sum.total.is_infinite();
    sum.compensation = if exact { 0.0 } else { f(sum.compensation) };
}

fn plain(total: f64) -> Sum {
    Sum { total, compensation: 0.0 }
}

fn add_scaled(into: &mut Sum, from: Sum, sign: f64) {
    into.add(from.total * sign);
    if from.compensation != 0.0 {
        into.add(from.compensation * sign);
    }
}

fn side(spans: &[BucketSpan], counts: &[f64]) -> Side {
    bucket_indexes(spans).zip(counts).map(|(index, count)| (index, plain(*count))).collect()
}

/// Both sides' buckets, those of the second times `sign`.
fn joined(a: Side, b: Side, sign: f64) -> Side {
    if b.is_empty() {
        return a;
    }
    let mut out = Side::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        let (x, y) = (a.peek().map(|x| x.0), b.peek().map(|y| y.0));
        let first = match (x, y) {
            (None, None) => return out,
            (Some(x), Some(y)) => x.min(y),
            (Some(only), None) | (None, Some(only)) => only,
        };
        let mut sum =
            a.next_if(|(index, _)| *index == first).map_or(Sum::default(), |(_, sum)| sum);
        if let Some((_, more)) = b.next_if(|(index, _)| *index == first) {
            add_scaled(&mut sum, more, sign);
        }
        out.push((first, sum));
    }
}

/// Buckets under the indexes that `f`, which keeps their order, gives them.
fn reindexed(side: &Side, f: impl Fn(i32) -> i32) -> Side {
    let mut out = Side::new();
    for (index, sum) in side {
        let index = f(*index);
        match out.last_mut() {
            Some((last, into)) if *last == index => add_scaled(into, *sum, 1.0),
            _ => out.push((index, *sum)),
        }
    }
    out
}

/// Spans and counts of the populated buckets.
fn spans(side: &Side) -> (Vec<BucketSpan>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<BucketSpan>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut next = 0;
    for (index, sum) in side {
        let count = sum.value();
        if count == 0.0 {
            continue;
        }
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(BucketSpan { offset: index.saturating_sub(next), length: 1 }),
        }
        next = index.saturating_add(1);
        counts.push(count);
    }
    (spans, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::testing::parse_histogram;

    /// `a op b` in the notation of tests, with what was met.
    fn check(a: &str, op: char, b: &str, expected: &str, met: (bool, bool)) {
        let [a, b, expected] = [a, b, expected].map(|text| parse_histogram(text).unwrap());
        let mut total = Total::new(&a);
        let merged = if op == '+' { total.add(&b) } else { total.subtract(&b) }.unwrap();
        let got = total.into_histogram();
        assert!(crate::histogram::equal(&got, &expected), "{got:?} is not {expected:?}");
        assert_eq!(got.hint, expected.hint);
        assert_eq!((merged.collision, merged.reconciled), met);
    }

    #[test]
    fn layouts_are_made_alike() {
        let no = (false, false);
        check("{{buckets:[1 2]}}", '+', "{{offset:1 buckets:[1 1]}}", "{{buckets:[1 3 1]}}", no);
        check("{{buckets:[1 2]}}", '-', "{{buckets:[1 1]}}", "{{offset:1 buckets:[1]}}", no);
        // A coarser schema wins: (1,2] and (2,4] of schema 0 are (1,4] of schema -1.
        check(
            "{{schema:-1 offset:1 buckets:[1]}}",
            '+',
            "{{offset:1 buckets:[2 2]}}",
            "{{schema:-1 offset:1 buckets:[5]}}",
            no,
        );
        // The wider zero bucket swallows what it covers, and the whole of a bucket that it cuts.
        check(
            "{{z_bucket:1 z_bucket_w:0.75 buckets:[2 4]}}",
            '+',
            "{{z_bucket:1 z_bucket_w:0.1 buckets:[8]}}",
            "{{z_bucket:12 z_bucket_w:1 offset:1 buckets:[4]}}",
            no,
        );
        check(
            "{{schema:-53 custom_values:[2 4 6] buckets:[1 2 5 7]}}",
            '+',
            "{{schema:-53 custom_values:[1 2 6 8] buckets:[1 1 1 1 1]}}",
            "{{schema:-53 custom_values:[2 6] buckets:[3 8 9]}}",
            (false, true),
        );
        check(
            "{{counter_reset_hint:reset}}",
            '+',
            "{{counter_reset_hint:not_reset}}",
            "{{}}",
            (true, false),
        );
        let custom = parse_histogram("{{schema:-53 custom_values:[1]}}").unwrap();
        assert_eq!(Total::new(&custom).add(&Histogram::default()), Err(MixedSchemas));
    }

    #[test]
    fn scaling_follows_the_sign() {
        let h = parse_histogram("{{sum:2 count:3 z_bucket:1 buckets:[2]}}").unwrap();
        assert_eq!(scaled(&h, 2.0).positive, [4.0]);
        assert_eq!(negated(&h).hint, ResetHint::Gauge);
        let mut total = Total::new(&h);
        total.divide(0.0);
        assert!(total.overflows());
        let nothing = total.into_histogram();
        assert!(nothing.positive.is_empty() && nothing.count.is_infinite());
    }
}
