//! Chunks of native histograms as Prometheus' TSDB writes them: one layout of buckets, then each histogram as the
//! difference of differences (integers) or XORed with the one before (floats).
//!
//! Source: Prometheus, "tsdb/docs/format/chunks", histogram and float histogram chunk data.

use std::sync::Arc;

use model::{BucketSpan, Histogram, ResetHint, is_stale};

use super::bits::{Bits, XorFloat};

/// Histograms of one chunk at most.
const CHUNK_HISTOGRAMS_MAX: usize = 120;
/// A chunk ends behind the histogram with which it passes so many buckets.
const CHUNK_BUCKETS: usize = 4_096;
/// Custom bounds up to here are written as thousandths: what a number of four bytes holds.
const THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// How many of `histograms`, from the first on, one chunk holds: those with its layout and without a reset between them.
pub(super) fn run_length(histograms: &[(i64, Arc<Histogram>)]) -> usize {
    let mut buckets = 0;
    for (i, (_, next)) in histograms.iter().enumerate().take(CHUNK_HISTOGRAMS_MAX) {
        let ends = i > 0 && (buckets >= CHUNK_BUCKETS || !goes_on(&histograms[i - 1].1, next));
        if ends {
            return i;
        }
        buckets += next.positive.len() + next.negative.len();
    }
    histograms.len().min(CHUNK_HISTOGRAMS_MAX)
}

/// Whether `next` may stand in the chunk of `before`. Nothing but markers follows a marker.
fn goes_on(before: &Histogram, next: &Histogram) -> bool {
    let gauge = |h: &Histogram| h.hint == ResetHint::Gauge;
    match (is_stale(before.sum), is_stale(next.sum)) {
        (true, stale) => return stale && before.integer == next.integer,
        (false, true) => return before.integer == next.integer,
        (false, false) => {}
    }
    let grows = || {
        let pairs = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a <= b);
        next.hint != ResetHint::Reset
            && before.count <= next.count
            && before.zero_count <= next.zero_count
            && pairs(&before.positive, &next.positive)
            && pairs(&before.negative, &next.negative)
    };
    before.integer == next.integer
        && gauge(before) == gauge(next)
        && before.schema == next.schema
        && before.zero_threshold.to_bits() == next.zero_threshold.to_bits()
        && before.positive_spans == next.positive_spans
        && before.negative_spans == next.negative_spans
        && before.custom_bounds == next.custom_bounds
        && (gauge(before) || grows())
}

/// A chunk of a [run](run_length) of histograms, ascending by time (Unix milliseconds).
pub(super) fn encode(run: &[(i64, Arc<Histogram>)]) -> Vec<u8> {
    let mut bytes = (run.len() as u16).to_be_bytes().to_vec();
    let Some((_, first)) = run.first() else { return bytes };
    bytes.push(match first.hint {
        ResetHint::Unknown => 0b00 << 6,
        ResetHint::NotReset => 0b01 << 6,
        ResetHint::Reset => 0b10 << 6,
        ResetHint::Gauge => 0b11 << 6,
    });
    let mut bits = Bits::after(bytes);
    layout(&mut bits, first);
    if first.integer {
        integers(&mut bits, run)
    } else {
        floats(&mut bits, run)
    }
    bits.finish()
}

/// What all histograms of the chunk share; a marker has none of it.
fn layout(bits: &mut Bits, first: &Histogram) {
    let empty = Histogram::default();
    let first = if is_stale(first.sum) { &empty } else { first };
    zero_threshold(bits, first.zero_threshold);
    bits.varbit_int(i64::from(first.schema));
    spans(bits, &first.positive_spans);
    spans(bits, &first.negative_spans);
    if first.has_custom_bounds() {
        bits.varbit_uint(first.custom_bounds.len() as u64);
        first.custom_bounds.iter().for_each(|bound| custom_bound(bits, *bound));
    }
}

/// One byte for 0 and for powers of two from 2^-243 to 2^10, where thresholds mostly are.
fn zero_threshold(bits: &mut Bits, threshold: f64) {
    const FRACTION_BITS: u32 = 52;
    let raw = threshold.to_bits();
    let exponent = (raw >> FRACTION_BITS) as i64 - 1023;
    if threshold == 0.0 {
        bits.push(0, 8);
    } else if raw.trailing_zeros() >= FRACTION_BITS && (-243..=10).contains(&exponent) {
        bits.push((exponent + 244) as u64, 8);
    } else {
        bits.push(255, 8);
        bits.float(threshold);
    }
}

fn spans(bits: &mut Bits, spans: &[BucketSpan]) {
    bits.varbit_uint(spans.len() as u64);
    for span in spans {
        bits.varbit_uint(u64::from(span.length));
        bits.varbit_int(i64::from(span.offset));
    }
}

/// Whole thousandths as their number plus one; others as a 0 and the float.
fn custom_bound(bits: &mut Bits, bound: f64) {
    let thousandths = (bound * 1000.0).round();
    if (0.0..=THOUSANDTHS_MAX).contains(&(bound * 1000.0)) && thousandths / 1000.0 == bound {
        bits.varbit_uint(thousandths as u64 + 1);
    } else {
        bits.push(0, 1);
        bits.float(bound);
    }
}

/// Writes the time of histogram `i` and remembers it and its distance.
fn time(bits: &mut Bits, i: usize, t_ms: i64, last: &mut (i64, i64)) {
    let distance = t_ms.wrapping_sub(last.0);
    match i {
        0 => bits.varbit_int(t_ms),
        1 => bits.varbit_uint(distance as u64),
        _ => bits.varbit_int(distance.wrapping_sub(last.1)),
    }
    *last = (t_ms, distance);
}

/// An integer that is written as the change of its distance.
#[derive(Clone, Copy, Default)]
struct Integer {
    before: i64,
    distance: i64,
}

impl Integer {
    fn next(&mut self, bits: &mut Bits, i: usize, value: i64) {
        let distance = value.wrapping_sub(self.before);
        bits.varbit_int(match i {
            0 => value,
            1 => distance,
            _ => distance.wrapping_sub(self.distance),
        });
        *self = Self { before: value, distance };
    }

    /// As [`next`](Self::next), for one that is not negative at first.
    fn next_count(&mut self, bits: &mut Bits, i: usize, value: i64) {
        if i == 0 {
            bits.varbit_uint(value as u64);
            self.before = value;
        } else {
            self.next(bits, i, value);
        }
    }
}

fn integers(bits: &mut Bits, run: &[(i64, Arc<Histogram>)]) {
    let (mut last, mut sum) = ((0, 0), XorFloat::default());
    let (mut count, mut zero) = (Integer::default(), Integer::default());
    let mut buckets: Vec<Integer> = Vec::new();
    for (i, (t_ms, h)) in run.iter().enumerate() {
        time(bits, i, *t_ms, &mut last);
        // A marker stands still.
        let stale = is_stale(h.sum);
        let (counted, in_zero) = match (stale, i) {
            (false, _) => (h.count as i64, h.zero_count as i64),
            (true, 0) => (0, 0),
            (true, _) => (count.before, zero.before),
        };
        count.next_count(bits, i, counted);
        zero.next_count(bits, i, in_zero);
        if i == 0 {
            sum = XorFloat::first(bits, h.sum);
            buckets.resize(h.positive.len() + h.negative.len(), Integer::default());
        } else {
            sum.next(bits, h.sum);
        }
        if stale {
            continue;
        }
        // Buckets are differences to the bucket before, too; each side begins anew.
        let mut each = buckets.iter_mut();
        for side in [&h.positive, &h.negative] {
            let mut before = 0;
            for (value, bucket) in side.iter().zip(&mut each) {
                bucket.next(bits, i, *value as i64 - before);
                before = *value as i64;
            }
        }
    }
}

fn floats(bits: &mut Bits, run: &[(i64, Arc<Histogram>)]) {
    let mut last = (0, 0);
    let mut all: Vec<XorFloat> = Vec::new();
    for (i, (t_ms, h)) in run.iter().enumerate() {
        time(bits, i, *t_ms, &mut last);
        let (counts, sides): (_, [&[f64]; 2]) = if is_stale(h.sum) {
            ([0.0; 2], [&[], &[]])
        } else {
            ([h.count, h.zero_count], [&h.positive, &h.negative])
        };
        let buckets = sides.into_iter().flatten().copied();
        let values = counts.into_iter().chain([h.sum]).chain(buckets);
        for (at, value) in values.enumerate() {
            match all.get_mut(at) {
                Some(float) => float.next(bits, value),
                None => all.push(XorFloat::first(bits, value)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ingest::prometheus_tsdb::{Samples, decode_chunk};
    use model::histogram::CUSTOM_BUCKETS_SCHEMA;
    use proptest::prelude::*;

    use super::*;

    /// What another reader of the format makes of all chunks of a series.
    fn read_back(histograms: &[(i64, Arc<Histogram>)]) -> Vec<(i64, Histogram)> {
        let (mut rest, mut read) = (histograms, Samples::default());
        while !rest.is_empty() {
            let (run, after) = rest.split_at(run_length(rest));
            let encoding = if run[0].1.integer { 2 } else { 3 };
            decode_chunk(encoding, &encode(run), &mut read).unwrap();
            rest = after;
        }
        read.histograms
    }

    /// Growing, resetting, changing their layout, ending: what a series does in its life.
    fn series() -> impl Strategy<Value = Vec<(i64, Arc<Histogram>)>> {
        let kinds =
            (any::<bool>(), any::<bool>(), prop::sample::select(vec![0.0, 1e-3, 0.125, 2.0]));
        let steps = prop::collection::vec((0..20_u8, 1..40_000_i64, 0..9_000_u64), 0..150);
        (kinds, steps).prop_map(|((integer, custom, zero_threshold), steps)| {
            let (mut t_ms, mut counts, mut all) = (-5_i64, vec![3.0; 4], Vec::new());
            for (kind, step, by) in steps {
                t_ms += if kind == 0 { step << 30 } else { step };
                match kind {
                    1 => counts.truncate(3),
                    2 => counts.iter_mut().for_each(|c| *c = 0.0),
                    3 => counts.push(0.0),
                    _ => {
                        let (len, at) = (counts.len(), by as usize);
                        counts[at % len] += by as f64 + if integer { 0.0 } else { 0.25 };
                    }
                }
                let positive_spans = vec![
                    BucketSpan { offset: 0, length: 1 },
                    BucketSpan { offset: 0, length: counts.len() as u32 - 1 },
                ];
                let (negative, negative_spans) = match custom {
                    true => (vec![], vec![]),
                    false => (counts[..2].to_vec(), vec![BucketSpan { offset: -7, length: 2 }]),
                };
                let zero_count = if custom { 0.0 } else { counts[0] };
                let all_counts = counts.iter().chain(&negative).sum::<f64>() + zero_count;
                all.push((
                    t_ms,
                    Arc::new(Histogram {
                        schema: if custom { CUSTOM_BUCKETS_SCHEMA } else { 3 },
                        integer,
                        hint: if kind == 2 { ResetHint::Reset } else { ResetHint::Unknown },
                        zero_threshold: if custom { 0.0 } else { zero_threshold },
                        zero_count,
                        count: all_counts,
                        sum: if kind == 4 { model::stale_nan() } else { by as f64 / 7.0 },
                        positive_spans,
                        positive: counts.clone(),
                        negative_spans,
                        negative,
                        custom_bounds: if custom {
                            (0..counts.len()).map(|i| i as f64 * 0.7 - 0.5).collect()
                        } else {
                            vec![]
                        },
                    }),
                ));
            }
            all
        })
    }

    proptest! {
        #[test]
        fn histograms_come_back(histograms in series()) {
            let read = read_back(&histograms);
            prop_assert_eq!(read.len(), histograms.len());
            let mut before: Option<&Histogram> = None;
            for ((read_ms, read), (t_ms, sent)) in read.iter().zip(&histograms) {
                prop_assert_eq!(read_ms, t_ms);
                prop_assert_eq!(read.sum.to_bits(), sent.sum.to_bits());
                if is_stale(sent.sum) {
                    before = None;
                    continue;
                }
                prop_assert_eq!(&Histogram { hint: sent.hint, ..read.clone() }, &**sent);
                if read.hint == ResetHint::NotReset {
                    let before = before.expect("BUG: there is one before");
                    prop_assert!(goes_on(before, sent), "said to go on where it does not");
                }
                before = Some(sent);
            }
        }
    }

    #[test]
    fn a_reset_begins_a_chunk_and_growth_does_not() {
        let of = |count: f64| {
            let h = Histogram { integer: true, count, zero_count: count, ..Histogram::default() };
            (count as i64, Arc::new(h))
        };
        assert_eq!(run_length(&[of(1.0), of(2.0), of(1.0)]), 2);
        assert_eq!(run_length(&vec![of(1.0); 1_000]), CHUNK_HISTOGRAMS_MAX);
        let hints: Vec<_> =
            read_back(&[of(1.0), of(2.0), of(1.0)]).iter().map(|h| h.1.hint).collect();
        assert_eq!(hints, [ResetHint::Unknown, ResetHint::NotReset, ResetHint::Unknown]);
    }
}
