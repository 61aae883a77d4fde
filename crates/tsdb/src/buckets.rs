//! Native histograms as bytes: one by itself (WAL records, tail of the head), and many of one series as a page of
//! columns (sealed tails, parts). Lossless: schema, spans, bounds, hints, kinds of counts and every bit of every number.
//!
//! Owns: these two encodings and what fits them. Does not own: where pages are ([`histograms`](crate::histograms)).
//!
//! ```text
//! layout = flags u8, schema zigzag, [ threshold u64 ], spans, [ spans of negative buckets ], [ count, floats: bounds ]
//! flags  = bit 0 counts were integers, bit 1 threshold is not 0, bit 2 negative spans, bit 3 bounds
//! spans  = count, count × ( offset zigzag, length )
//! one    = head u8, layout, sum u64, zero count, [ count ], counts of positive and negative buckets
//! head   = bits 0-1 hint, bit 2 whole numbers, bit 3 the count is that of all buckets
//!          whole numbers: zigzag, those of buckets as differences to the bucket before; otherwise u64 bits
//! page   = samples, times, layouts, layouts × layout, [ ints: layout of each sample ], ints: hints, floats: sums,
//!          floats: zero counts, summed u8 (1: each count is that of all buckets), [ floats: counts ], columns
//! columns = for each bucket that some layout has, positive before negative, by index:
//!          floats: its counts in the samples whose layout has it
//! ```

use std::collections::BTreeSet;

use model::{BucketSpan, Error, Histogram, ResetHint, Result};
use rustc_hash::FxHashMap;
use storage::codec::floats::{from_decimal, to_decimal};
use storage::codec::{Reader, floats, ints, put_count, put_zigzag, times};
use twox_hash::XxHash3_64;

/// Samples of one page at most: two hours of one every 15 seconds.
pub const SAMPLES_MAX: usize = 480;
/// Buckets, spans and bounds of all samples of a page at most.
pub const WEIGHT_MAX: usize = 1 << 18;
/// Buckets, spans or bounds of one histogram at most, each.
const LIST_MAX: usize = 1 << 16;

const INTEGER: u8 = 1;
const THRESHOLD: u8 = 2;
const NEGATIVE: u8 = 4;
const BOUNDS: u8 = 8;

const WHOLE: u8 = 4;
const SUMMED: u8 = 8;

/// What a page costs to hold in memory because of `h`, in numbers.
pub fn weight(h: &Histogram) -> usize {
    let spans = h.positive_spans.len() + h.negative_spans.len();
    h.positive.len() + h.negative.len() + spans + h.custom_bounds.len()
}

/// Refuses histograms that have no encoding: spans that do not fit the buckets, or too many of anything.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) naming what does not fit.
pub fn check(h: &Histogram) -> Result<()> {
    let sides = [
        (&h.positive_spans, &h.positive, "positive"),
        (&h.negative_spans, &h.negative, "negative"),
    ];
    for (spans, buckets, side) in sides {
        let total = check_spans(spans).map_err(|why| Error::invalid(format!("{side} {why}")))?;
        if total != buckets.len() {
            return Err(Error::invalid(format!(
                "{side} spans name {total} buckets, {} are there",
                buckets.len()
            )));
        }
    }
    let weight = weight(h);
    if h.custom_bounds.len() > LIST_MAX || weight > WEIGHT_MAX {
        return Err(Error::invalid(format!(
            "histogram of {weight} buckets, spans and bounds; at most {WEIGHT_MAX}, and {LIST_MAX} bounds"
        )));
    }
    Ok(())
}

/// Number of buckets in `spans`, or what is wrong with them.
fn check_spans(spans: &[BucketSpan]) -> std::result::Result<usize, String> {
    let total = spans.iter().fold(0usize, |sum, span| sum.saturating_add(span.length as usize));
    if spans.len() > LIST_MAX || total > LIST_MAX {
        let spans = spans.len();
        return Err(format!("side has {spans} spans and {total} buckets; at most {LIST_MAX}"));
    }
    match spans.iter().skip(1).position(|span| span.offset < 0) {
        Some(i) => Err(format!("span {} has a negative offset", i + 1)),
        None => Ok(total),
    }
}

/// Everything of a histogram that is not a count.
#[derive(Debug, Clone, Default)]
struct Layout {
    integer: bool,
    schema: i32,
    zero_threshold: f64,
    positive_spans: Vec<BucketSpan>,
    negative_spans: Vec<BucketSpan>,
    custom_bounds: Vec<f64>,
    positive: usize,
    negative: usize,
}

impl Layout {
    fn weight(&self) -> usize {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        self.positive + self.negative + spans + self.custom_bounds.len()
    }

    /// Buckets in order: side (0 positive, 1 negative) and index.
    fn places(&self) -> impl Iterator<Item = (u8, i64)> + '_ {
        let side = |number, spans: &'_ [BucketSpan]| {
            let mut next = 0i64;
            let spans = spans.to_vec();
            spans.into_iter().flat_map(move |span| {
                let first = next + i64::from(span.offset);
                next = first + i64::from(span.length);
                (first..next).map(move |index| (number, index))
            })
        };
        side(0, &self.positive_spans).chain(side(1, &self.negative_spans))
    }

    /// A histogram of this layout whose numbers are still missing.
    fn histogram(&self, hint: ResetHint) -> Histogram {
        Histogram {
            schema: self.schema,
            integer: self.integer,
            hint,
            zero_threshold: self.zero_threshold,
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            custom_bounds: self.custom_bounds.clone(),
            ..Histogram::default()
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let flags = r.u8()?;
        let schema = i32::try_from(r.zigzag()?).map_err(|_| Error::corrupt("schema is absurd"))?;
        let zero_threshold = if flags & THRESHOLD == 0 { 0.0 } else { f64::from_bits(r.u64()?) };
        let (positive_spans, positive) = take_spans(r)?;
        let (negative_spans, negative) =
            if flags & NEGATIVE == 0 { (Vec::new(), 0) } else { take_spans(r)? };
        let mut custom_bounds = Vec::new();
        if flags & BOUNDS != 0 {
            let count = r.count(LIST_MAX)?;
            floats::decode(r, count, &mut custom_bounds)?;
        }
        Ok(Self {
            integer: flags & INTEGER != 0,
            schema,
            zero_threshold,
            positive_spans,
            negative_spans,
            custom_bounds,
            positive,
            negative,
        })
    }
}

fn put_layout(h: &Histogram, out: &mut Vec<u8>) {
    let threshold = h.zero_threshold.to_bits();
    let mut flags = u8::from(h.integer) * INTEGER;
    flags |= u8::from(threshold != 0) * THRESHOLD;
    flags |= u8::from(!h.negative_spans.is_empty()) * NEGATIVE;
    flags |= u8::from(!h.custom_bounds.is_empty()) * BOUNDS;
    out.push(flags);
    put_zigzag(out, i64::from(h.schema));
    if flags & THRESHOLD != 0 {
        out.extend_from_slice(&threshold.to_le_bytes());
    }
    put_spans(&h.positive_spans, out);
    if flags & NEGATIVE != 0 {
        put_spans(&h.negative_spans, out);
    }
    if flags & BOUNDS != 0 {
        put_count(out, h.custom_bounds.len());
        floats::encode(&h.custom_bounds, out);
    }
}

fn put_spans(spans: &[BucketSpan], out: &mut Vec<u8>) {
    put_count(out, spans.len());
    for span in spans {
        put_zigzag(out, i64::from(span.offset));
        put_count(out, span.length as usize);
    }
}

/// Spans and the number of their buckets.
fn take_spans(r: &mut Reader<'_>) -> Result<(Vec<BucketSpan>, usize)> {
    let count = r.count(LIST_MAX.min(r.remaining() / 2))?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = i32::try_from(r.zigzag()?).map_err(|_| Error::corrupt("span is too far"))?;
        let length =
            u32::try_from(r.count(LIST_MAX)?).map_err(|_| Error::corrupt("span is too long"))?;
        spans.push(BucketSpan { offset, length });
    }
    let total = check_spans(&spans).map_err(Error::corrupt)?;
    Ok((spans, total))
}

/// Counts of all buckets together: what the count of an honest histogram is, except where NaN was observed.
fn total(h: &Histogram) -> f64 {
    h.zero_count + h.positive.iter().sum::<f64>() + h.negative.iter().sum::<f64>()
}

fn is_summed(h: &Histogram) -> bool {
    total(h).to_bits() == h.count.to_bits()
}

fn hint_number(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

fn hint_of(number: i64) -> Result<ResetHint> {
    Ok(match number {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => return Err(Error::corrupt(format!("unknown reset hint {number}"))),
    })
}

/// Appends one histogram that [`check`] accepts.
pub fn encode_one(h: &Histogram, out: &mut Vec<u8>) {
    let numbers = || [&h.zero_count, &h.count].into_iter().chain(&h.positive).chain(&h.negative);
    let whole = numbers().all(|count| to_decimal(count.to_bits(), 0).is_some());
    let summed = is_summed(h);
    let flags = (u8::from(whole) * WHOLE) | (u8::from(summed) * SUMMED);
    out.push(hint_number(h.hint) | flags);
    put_layout(h, out);
    out.extend_from_slice(&h.sum.to_bits().to_le_bytes());
    let put = |count: f64, before: &mut i64, out: &mut Vec<u8>| match to_decimal(count.to_bits(), 0)
    {
        Some(int) if whole => {
            put_zigzag(out, int - *before);
            *before = int;
        }
        _ => out.extend_from_slice(&count.to_bits().to_le_bytes()),
    };
    put(h.zero_count, &mut 0, out);
    if !summed {
        put(h.count, &mut 0, out);
    }
    for side in [&h.positive, &h.negative] {
        let mut before = 0;
        side.iter().for_each(|count| put(*count, &mut before, out));
    }
}

/// Reads a histogram written by [`encode_one`].
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
pub fn decode_one(r: &mut Reader<'_>) -> Result<Histogram> {
    let head = r.u8()?;
    let layout = Layout::decode(r)?;
    // Every count takes a byte at least.
    if layout.positive + layout.negative > r.remaining() || layout.weight() > WEIGHT_MAX {
        let buckets = layout.positive + layout.negative;
        return Err(Error::corrupt(format!("no room for {buckets} buckets")));
    }
    let mut h = layout.histogram(hint_of(i64::from(head & 3))?);
    h.sum = f64::from_bits(r.u64()?);
    let take = |r: &mut Reader<'_>, before: &mut i64| -> Result<f64> {
        if head & WHOLE == 0 {
            return Ok(f64::from_bits(r.u64()?));
        }
        *before = before.wrapping_add(r.zigzag()?);
        Ok(from_decimal(*before, 0))
    };
    h.zero_count = take(r, &mut 0)?;
    if head & SUMMED == 0 {
        h.count = take(r, &mut 0)?;
    }
    for (side, len) in [(&mut h.positive, layout.positive), (&mut h.negative, layout.negative)] {
        let mut before = 0;
        side.reserve_exact(len);
        for _ in 0..len {
            side.push(take(r, &mut before)?);
        }
    }
    if head & SUMMED != 0 {
        h.count = total(&h);
    }
    Ok(h)
}

/// Splits samples into runs that each fit one page.
pub fn pages<T: AsRef<Histogram>>(
    samples: &[(i64, T)],
) -> impl Iterator<Item = &[(i64, T)]> + use<'_, T> {
    let mut rest = samples;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fits = |(_, h): &&(i64, T)| {
            sum += weight(h.as_ref());
            sum <= WEIGHT_MAX
        };
        let count = rest.iter().take(SAMPLES_MAX).take_while(fits).count();
        // One alone always fits, or [`check`] was not asked.
        let (page, tail) = rest.split_at(count.max(1).min(rest.len()));
        rest = tail;
        (!page.is_empty()).then_some(page)
    })
}

/// Layouts of a page, and which each sample has.
#[derive(Default)]
struct Layouts {
    bytes: Vec<u8>,
    by_bytes: FxHashMap<Vec<u8>, usize>,
    /// First sample of each.
    first: Vec<usize>,
    of_sample: Vec<i64>,
}

impl Layouts {
    fn of<T: AsRef<Histogram>>(samples: &[(i64, T)]) -> Self {
        let mut found = Self::default();
        let (mut scratch, mut last) = (Vec::new(), Vec::new());
        for (k, (_, h)) in samples.iter().enumerate() {
            scratch.clear();
            put_layout(h.as_ref(), &mut scratch);
            let number = match found.of_sample.last() {
                Some(number) if scratch == last => *number,
                _ => {
                    let new = found.first.len();
                    let number = *found.by_bytes.entry(scratch.clone()).or_insert(new);
                    if number == new {
                        found.first.push(k);
                        found.bytes.extend_from_slice(&scratch);
                    }
                    std::mem::swap(&mut last, &mut scratch);
                    i64::try_from(number).unwrap_or(i64::MAX)
                }
            };
            found.of_sample.push(number);
        }
        found
    }
}

/// Which column each bucket of each layout is in, and how many columns there are.
fn columns(layouts: &[Layout]) -> (Vec<Vec<usize>>, usize) {
    if let [one] = layouts {
        let len = one.positive + one.negative;
        return (vec![(0..len).collect()], len);
    }
    let all: BTreeSet<(u8, i64)> = layouts.iter().flat_map(Layout::places).collect();
    let all: Vec<(u8, i64)> = all.into_iter().collect();
    let place = |place| all.binary_search(&place).unwrap_or(0);
    (layouts.iter().map(|layout| layout.places().map(place).collect()).collect(), all.len())
}

/// Appends the page of `samples`, one of those that [`pages`] gave; times ascend.
pub fn encode_page<T: AsRef<Histogram>>(samples: &[(i64, T)], out: &mut Vec<u8>) {
    let all = || samples.iter().map(|(_, h)| h.as_ref());
    put_count(out, samples.len());
    let at: Vec<i64> = samples.iter().map(|(t, _)| *t).collect();
    times::encode(&at, out);
    let found = Layouts::of(samples);
    put_count(out, found.first.len());
    out.extend_from_slice(&found.bytes);
    if found.first.len() > 1 {
        ints::encode(&found.of_sample, out);
    }
    ints::encode(&all().map(|h| i64::from(hint_number(h.hint))).collect::<Vec<_>>(), out);
    floats::encode(&all().map(|h| h.sum).collect::<Vec<_>>(), out);
    floats::encode(&all().map(|h| h.zero_count).collect::<Vec<_>>(), out);
    let summed = all().all(is_summed);
    out.push(u8::from(summed));
    if !summed {
        floats::encode(&all().map(|h| h.count).collect::<Vec<_>>(), out);
    }
    let layout = |k: &usize| {
        let h = samples[*k].1.as_ref();
        Layout {
            positive_spans: h.positive_spans.clone(),
            negative_spans: h.negative_spans.clone(),
            positive: h.positive.len(),
            negative: h.negative.len(),
            ..Layout::default()
        }
    };
    let layouts: Vec<Layout> = found.first.iter().map(layout).collect();
    let (places, count) = columns(&layouts);
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); count];
    for (h, layout) in all().zip(&found.of_sample) {
        let places = usize::try_from(*layout).ok().and_then(|k| places.get(k));
        let buckets = h.positive.iter().chain(&h.negative);
        for (column, bucket) in places.into_iter().flatten().zip(buckets) {
            columns[*column].push(*bucket);
        }
    }
    columns.iter().for_each(|column| floats::encode(column, out));
}

/// Reads a page written by [`encode_page`].
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input, or more than [`SAMPLES_MAX`] samples or
/// [`WEIGHT_MAX`] numbers.
pub fn decode_page(bytes: &[u8]) -> Result<Vec<(i64, Histogram)>> {
    let mut r = Reader::new(bytes);
    let at = decode_times(&mut r)?;
    let count = at.len();
    let kinds = r.count(count)?;
    let (mut layouts, mut listed) = (Vec::new(), 0);
    for _ in 0..kinds {
        let layout = Layout::decode(&mut r)?;
        listed += layout.weight();
        if listed > WEIGHT_MAX {
            return Err(Error::corrupt(format!("layouts of over {WEIGHT_MAX} numbers")));
        }
        layouts.push(layout);
    }
    let mut of_sample = vec![0i64; if kinds == 1 { count } else { 0 }];
    if kinds != 1 {
        ints::decode(&mut r, count, &mut of_sample)?;
    }
    let of_sample: Vec<usize> = of_sample
        .into_iter()
        .map(|number| match usize::try_from(number) {
            Ok(number) if number < kinds => Ok(number),
            _ => Err(Error::corrupt(format!("no layout {number} of {kinds}"))),
        })
        .collect::<Result<_>>()?;
    let weight: usize = of_sample.iter().map(|k| layouts[*k].weight()).sum();
    if weight > WEIGHT_MAX {
        return Err(Error::corrupt(format!("page of {weight} numbers; at most {WEIGHT_MAX}")));
    }
    let mut hints = Vec::new();
    ints::decode(&mut r, count, &mut hints)?;
    let (sums, zeros) = (take(&mut r, count)?, take(&mut r, count)?);
    let summed = r.u8()? == 1;
    let counts = if summed { Vec::new() } else { take(&mut r, count)? };
    let (places, width) = columns(&layouts);
    let mut lengths = vec![0usize; width];
    of_sample.iter().flat_map(|k| &places[*k]).for_each(|column| lengths[*column] += 1);
    let columns: Vec<Vec<f64>> =
        lengths.iter().map(|len| take(&mut r, *len)).collect::<Result<_>>()?;
    let mut cursors: Vec<_> = columns.iter().map(|column| column.iter()).collect();
    let mut samples = Vec::with_capacity(count);
    for (k, t_ms) in at.into_iter().enumerate() {
        let layout = &layouts[of_sample[k]];
        let mut h = layout.histogram(hint_of(hints[k])?);
        (h.sum, h.zero_count) = (sums[k], zeros[k]);
        let mut buckets = places[of_sample[k]].iter().filter_map(|c| cursors[*c].next().copied());
        h.positive = buckets.by_ref().take(layout.positive).collect();
        h.negative = buckets.collect();
        h.count = if summed { total(&h) } else { counts[k] };
        samples.push((t_ms, h));
    }
    Ok(samples)
}

fn take(r: &mut Reader<'_>, count: usize) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    floats::decode(r, count, &mut values)?;
    Ok(values)
}

fn decode_times(r: &mut Reader<'_>) -> Result<Vec<i64>> {
    let count = r.count(SAMPLES_MAX)?;
    let mut at = Vec::with_capacity(count);
    times::decode(r, count, &mut at)?;
    if !at.is_sorted_by(|a, b| a < b) {
        return Err(Error::corrupt("times of histograms do not ascend"));
    }
    Ok(at)
}

/// Only the times of a page.
///
/// # Errors
/// As [`decode_page`].
pub fn page_times(bytes: &[u8]) -> Result<Vec<i64>> {
    decode_times(&mut Reader::new(bytes))
}

/// A number that tells different histograms apart, for the question whether one was stored already.
pub(crate) fn fingerprint(one: &[u8]) -> u64 {
    XxHash3_64::oneshot(one)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![8 => (0u32..1000).prop_map(f64::from), 1 => any::<u64>().prop_map(f64::from_bits)]
    }

    fn side(len: usize) -> impl Strategy<Value = (Vec<BucketSpan>, Vec<f64>)> {
        let span = (0i32..4, 0u32..4).prop_map(|(offset, length)| BucketSpan { offset, length });
        (proptest::collection::vec(span, 0..len), -5i32..5).prop_flat_map(|(mut spans, first)| {
            spans.first_mut().into_iter().for_each(|span| span.offset = first);
            let buckets = spans.iter().map(|span| span.length as usize).sum::<usize>();
            (Just(spans), proptest::collection::vec(number(), buckets))
        })
    }

    fn histogram() -> impl Strategy<Value = Histogram> {
        let rest = (any::<bool>(), 0i64..4, -53i32..9, any::<bool>());
        let bounds = proptest::collection::vec(number(), 0..3);
        (side(4), side(2), rest, [number(), number(), number(), number()], bounds).prop_map(
            |(positive, negative, (integer, hint, schema, honest), numbers, custom_bounds)| {
                let mut h = Histogram {
                    schema,
                    integer,
                    hint: hint_of(hint).unwrap(),
                    zero_threshold: numbers[0],
                    zero_count: numbers[1],
                    count: numbers[2],
                    sum: numbers[3],
                    positive_spans: positive.0,
                    positive: positive.1,
                    negative_spans: negative.0,
                    negative: negative.1,
                    custom_bounds,
                };
                h.count = if honest { total(&h) } else { h.count };
                h
            },
        )
    }

    /// All bits, as text: NaN differs from itself otherwise.
    fn shown(h: &Histogram) -> String {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let numbers = bits(&[h.zero_threshold, h.zero_count, h.count, h.sum]);
        let lists = [bits(&h.positive), bits(&h.negative), bits(&h.custom_bounds)];
        let spans = (&h.positive_spans, &h.negative_spans);
        format!("{} {} {:?} {numbers:?} {lists:?} {spans:?}", h.schema, h.integer, h.hint)
    }

    proptest! {
        #[test]
        fn histograms_survive(all in proptest::collection::vec((1i64..50_000, histogram()), 1..40)) {
            let mut t_ms = 0;
            let mut samples = Vec::new();
            for (gap, h) in all {
                check(&h).unwrap();
                let mut bytes = Vec::new();
                encode_one(&h, &mut bytes);
                let back = decode_one(&mut Reader::new(&bytes)).unwrap();
                prop_assert_eq!(shown(&h), shown(&back));
                t_ms += gap;
                samples.push((t_ms, Arc::new(h)));
            }
            for page in pages(&samples) {
                let mut bytes = Vec::new();
                encode_page(page, &mut bytes);
                let back = decode_page(&bytes).unwrap();
                prop_assert_eq!(back.len(), page.len());
                for ((t, h), (t_back, h_back)) in page.iter().zip(&back) {
                    prop_assert_eq!((*t, shown(h)), (*t_back, shown(h_back)));
                }
                prop_assert_eq!(page_times(&bytes).unwrap().len(), page.len());
            }
        }

        #[test]
        fn noise_is_refused_or_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(h) = decode_one(&mut Reader::new(&bytes)) {
                prop_assert!(weight(&h) <= WEIGHT_MAX);
            }
            if let Ok(samples) = decode_page(&bytes) {
                prop_assert!(samples.iter().map(|(_, h)| weight(h)).sum::<usize>() <= WEIGHT_MAX);
            }
        }

        #[test]
        fn damaged_pages_are_refused_or_bounded(all in proptest::collection::vec(histogram(), 1..5),
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4)) {
            let samples: Vec<_> = (0i64..).zip(all.into_iter().map(Arc::new)).collect();
            let mut bytes = Vec::new();
            encode_page(&samples, &mut bytes);
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(samples) = decode_page(&bytes) {
                prop_assert!(samples.iter().map(|(_, h)| weight(h)).sum::<usize>() <= WEIGHT_MAX);
                prop_assert!(samples.len() <= SAMPLES_MAX);
            }
        }
    }

    #[test]
    fn what_has_no_encoding_is_refused_and_pages_are_cut() {
        let span = |offset, length| BucketSpan { offset, length };
        let of = |spans: &[BucketSpan], buckets: usize| Histogram {
            positive_spans: spans.to_vec(),
            positive: vec![0.0; buckets],
            ..Histogram::default()
        };
        assert!(check(&of(&[span(0, 2)], 1)).is_err());
        assert!(check(&of(&[span(-3, 1), span(-1, 1)], 2)).is_err());
        assert!(check(&of(&[span(0, u32::MAX), span(0, 5)], 4)).is_err());
        let wide = of(&[span(0, 60_000)], 60_000);
        check(&wide).unwrap();
        let samples: Vec<_> = (0i64..).zip(std::iter::repeat_n(Arc::new(wide), 10)).collect();
        assert_eq!(pages(&samples).map(<[_]>::len).collect::<Vec<_>>(), [4, 4, 2]);
        let none = Arc::new(of(&[], 0));
        let small: Vec<_> = (0i64..).zip(std::iter::repeat_n(none, 500)).collect();
        assert_eq!(pages(&small).map(<[_]>::len).collect::<Vec<_>>(), [SAMPLES_MAX, 20]);
    }
}
