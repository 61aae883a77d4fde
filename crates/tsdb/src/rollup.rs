//! Roll-ups of a closed day: each series' samples summed up by windows of five minutes.
//!
//! Owns: what is kept of which series, and its bytes. Does not own: where pages of roll-ups lie ([`part`](crate::part)), what
//! queries make of them. Why so: `docs/decisions/0013-roll-ups.md`.
//!
//! A target with rows enough has a page with its windows and, for each stripe of series, a page with their numbers. Numbers are
//! decimals of one exponent for the series; what is no decimal is not rolled up.
//!
//! ```text
//! windows  = count, ints of numbers, ints of counts, ints of first offsets, ints of spans, ints of last gaps
//! page     = series u8, series × ( flags u8, length varint ), series × body
//! flags    = bit 0 kept, 1 all equal, 2 windows of its own, 3 staleness markers left out, 4 falls, 5 extremes, 6 sums
//! body     = [ 2: windows ] exponent u8, ( 1: value zigzag
//!            | ints of last, ints of first - last before (where first values are kept), [ 4: falls ]
//!              [ 5: ints of last - least, ints of greatest - last ], [ 6: ints of sum - count × last ] )
//! falls    = count, ints of window × 2 + whether at its start, ints of values before
//! ```
//! First values are kept of windows that begin a half hour, and of those after an empty window.

use model::{Error, FIRST_EVERY, Fall, ROLL_UP_MS, Result, RollUpNeeds, RollUpWindow, is_stale};
use storage::codec::{Reader, floats, ints, put_count, put_zigzag};

use crate::column::Column;
use crate::page::SERIES_MAX;
use crate::part::DAY_MS;

/// Windows a day can have: one more than fit, as windows are open where they begin.
pub const WINDOWS_MAX: usize = 289;
/// A series has at least so many samples per window, or samples are as good.
const SAMPLES_PER_WINDOW_MIN: usize = 4;
/// Falls per window up to which a series is thought to be a counter.
const FALLS_SHARE: usize = 8;
/// Sums up to here are exact in any order.
const EXACT_MAX: u64 = 1 << 53;
/// Of a gauge's bytes, the share that extremes may take, and sums; and how many samples of any series are worth a byte of each.
const BYTES_SHARE: usize = 6;
const SAMPLES_PER_BYTE: usize = 50;

const KEPT: u8 = 1;
const CONSTANT: u8 = 2;
const OWN: u8 = 4;
const MARKERS: u8 = 8;
const FALLS: u8 = 16;
const EXTREMES: u8 = 32;
const SUMS: u8 = 64;

/// Roll-ups of one series, ready for use. Values are empty where they were not asked for.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct RolledSeries {
    /// Its windows, where they are not those of its target.
    pub own: Option<Vec<RollUpWindow>>,
    /// First value of each window.
    pub first: Vec<f64>,
    /// Last value of each window.
    pub last: Vec<f64>,
    /// Where it fell.
    pub falls: Vec<Fall>,
    /// Least values.
    pub least: Vec<f64>,
    /// Greatest values.
    pub greatest: Vec<f64>,
    /// Sums.
    pub sums: Vec<f64>,
}

/// Appends the windows of a target with these times; false (and nothing) when samples are as good.
pub(crate) fn encode_target(times: &[i64], out: &mut Vec<u8>) -> bool {
    let windows: Vec<RollUpWindow> = RollUpWindow::of(times).into_iter().map(|w| w.0).collect();
    let worth = times.len() >= windows.len() * SAMPLES_PER_WINDOW_MIN && !windows.is_empty();
    if worth {
        encode_windows(&windows, out);
    }
    worth
}

fn encode_windows(windows: &[RollUpWindow], out: &mut Vec<u8>) {
    put_count(out, windows.len());
    let mut column = |f: &dyn Fn(&RollUpWindow) -> i64| {
        let values: Vec<i64> = windows.iter().map(f).collect();
        ints::encode(&values, out);
    };
    column(&|w| w.number);
    column(&|w| i64::from(w.count));
    column(&|w| w.first_ms - w.number * ROLL_UP_MS);
    column(&|w| w.last_ms - w.first_ms);
    column(&|w| if w.count == 1 { 0 } else { w.last_ms - w.before_last_ms });
}

/// Of these windows, those whose first value is kept.
fn first_windows<'w>(windows: impl Iterator<Item = &'w RollUpWindow>) -> Vec<usize> {
    let mut before = None;
    let is_kept = |(i, w): (usize, &RollUpWindow)| {
        let follows = before.replace(w.number) == Some(w.number - 1);
        (!follows || w.number % FIRST_EVERY == 0).then_some(i)
    };
    windows.enumerate().filter_map(is_kept).collect()
}

/// Reads windows.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
pub fn decode_windows(r: &mut Reader<'_>) -> Result<Vec<RollUpWindow>> {
    let count = r.count(WINDOWS_MAX)?;
    let mut column = || {
        let mut values = Vec::with_capacity(count);
        ints::decode(r, count, &mut values).map(|()| values)
    };
    let (numbers, counts, offsets) = (column()?, column()?, column()?);
    let (spans, gaps) = (column()?, column()?);
    let mut windows: Vec<RollUpWindow> = Vec::with_capacity(count);
    for i in 0..count {
        let impossible = || Error::corrupt(format!("window {i} of {count} is impossible"));
        let (number, offset, span, gap) = (numbers[i], offsets[i], spans[i], gaps[i]);
        let samples = u32::try_from(counts[i]).ok().filter(|n| *n > 0).ok_or_else(impossible)?;
        let is_inside = number.unsigned_abs() < u64::MAX / 4 / ROLL_UP_MS.unsigned_abs()
            && (1..=ROLL_UP_MS).contains(&offset)
            && (0..=ROLL_UP_MS - offset).contains(&span)
            && (0..=span).contains(&gap)
            && (samples == 1) == (span == 0)
            && windows.last().is_none_or(|before| before.number < number);
        if !is_inside {
            return Err(impossible());
        }
        let first_ms = number * ROLL_UP_MS + offset;
        let last_ms = first_ms + span;
        let before_last_ms = if samples == 1 { i64::MIN } else { last_ms - gap };
        windows.push(RollUpWindow { number, count: samples, first_ms, before_last_ms, last_ms });
    }
    let (first, last) = (windows.first(), windows.last());
    if let (Some(first), Some(last)) = (first, last)
        && last.number - first.number > DAY_MS / ROLL_UP_MS
    {
        return Err(Error::corrupt("windows of a part are of several days"));
    }
    Ok(windows)
}

/// Appends the page of at most [`SERIES_MAX`] columns with the same `times`; `sizes` are the bytes of their samples.
pub(crate) fn encode(columns: &[Column], times: &[i64], sizes: &[usize], out: &mut Vec<u8>) {
    let windows = RollUpWindow::of(times);
    out.push(columns.len().to_le_bytes()[0]);
    let mut body = Vec::new();
    for (k, column) in columns.iter().enumerate() {
        let start = body.len();
        let size = sizes.get(k).copied().unwrap_or(0);
        let flags = encode_series(column, (times, &windows), size, &mut body).unwrap_or(0);
        if flags == 0 {
            body.truncate(start);
        }
        out.push(flags);
        put_count(out, body.len() - start);
    }
    out.extend_from_slice(&body);
}

/// `None` when nothing is kept; what was appended is of no use then.
fn encode_series(
    column: &Column,
    (times, windows): (&[i64], &[(RollUpWindow, usize)]),
    size: usize,
    out: &mut Vec<u8>,
) -> Option<u8> {
    let has_markers = column.values.iter().any(|v| is_stale(*v));
    let mut flags = KEPT | if has_markers { MARKERS } else { 0 };
    let own_windows;
    let without_markers;
    let (windows, values): (&[(RollUpWindow, usize)], &[f64]) = if has_markers
        || column.values.len() < times.len()
    {
        let kept = column.iter().filter(|(_, v)| !is_stale(*v));
        let (times, values): (Vec<i64>, Vec<f64>) = kept.map(|(row, v)| (times[row], v)).unzip();
        own_windows = RollUpWindow::of(&times);
        without_markers = values;
        flags |= OWN;
        (&own_windows, &without_markers)
    } else {
        (windows, &column.values)
    };
    if values.is_empty() || values.len() < windows.len() * SAMPLES_PER_WINDOW_MIN {
        return None;
    }
    if flags & OWN != 0 {
        let windows: Vec<RollUpWindow> = windows.iter().map(|w| w.0).collect();
        encode_windows(&windows, out);
    }
    let (exponent, numbers) = decimals(values)?;
    out.push(exponent);
    if numbers.iter().all(|n| *n == numbers[0]) {
        put_zigzag(out, numbers[0]);
        // A sum is the value times the count, which is rounded once at most.
        return Some(flags | CONSTANT | FALLS | EXTREMES | SUMS);
    }
    let of_window = |i: usize| {
        let end = windows.get(i + 1).map_or(numbers.len(), |next| next.1);
        &numbers[windows[i].1..end]
    };
    let all = || (0..windows.len()).map(of_window);
    let lasts: Vec<i64> = all().map(|w| w[w.len() - 1]).collect();
    ints::encode(&lasts, out);
    let firsts = |i: usize| {
        let before = if i == 0 { lasts[0] } else { lasts[i - 1] };
        of_window(i)[0] - before
    };
    let has_first = first_windows(windows.iter().map(|w| &w.0));
    ints::encode(&has_first.into_iter().map(firsts).collect::<Vec<i64>>(), out);
    let mut falls: Vec<(i64, i64)> = Vec::new();
    for (window, (i, of)) in (0i64..).zip(all().enumerate()) {
        if i > 0 && of[0] < lasts[i - 1] {
            falls.push((window * 2 + 1, lasts[i - 1]));
        }
        let fell = of.windows(2).filter(|pair| pair[1] < pair[0]);
        falls.extend(fell.map(|pair| (window * 2, pair[0])));
    }
    let is_counter = falls.len() <= windows.len() / FALLS_SHARE + 1;
    if is_counter {
        flags |= FALLS;
        put_count(out, falls.len());
        let (at, before): (Vec<i64>, Vec<i64>) = falls.into_iter().unzip();
        ints::encode(&at, out);
        ints::encode(&before, out);
    }
    let share = if is_counter { 0 } else { size / BYTES_SHARE };
    let allowed = share.max(values.len() / SAMPLES_PER_BYTE);
    let mut keep = |flag: u8, columns: &[Vec<i64>]| {
        let mut bytes = Vec::new();
        columns.iter().for_each(|column| ints::encode(column, &mut bytes));
        if bytes.len() <= allowed {
            out.extend_from_slice(&bytes);
            flags |= flag;
        }
    };
    let extreme = |w: &[i64], f: fn(i64, i64) -> i64| w.iter().copied().reduce(f).unwrap_or(0);
    let below = all().zip(&lasts).map(|(w, last)| last - extreme(w, i64::min)).collect();
    let above = all().zip(&lasts).map(|(w, last)| extreme(w, i64::max) - last).collect();
    keep(EXTREMES, &[below, above]);
    if sums_are_exact(exponent, &numbers) {
        // As the decoder does it: a long window's may wrap on the way.
        let above = |(w, last): (&[i64], &i64)| {
            w.iter().fold(0i64, |sum, n| sum.wrapping_add(n.wrapping_sub(*last)))
        };
        keep(SUMS, &[all().zip(&lasts).map(above).collect()]);
    }
    Some(flags)
}

/// Whether sums of any of the numbers are those of the decimals to 1e-15 in any order: they are integers, or of one sign.
fn sums_are_exact(exponent: u8, numbers: &[i64]) -> bool {
    let total = numbers.iter().fold(0u64, |sum, n| sum.saturating_add(n.unsigned_abs()));
    let one_sign = || numbers.iter().all(|n| *n >= 0) || numbers.iter().all(|n| *n <= 0);
    total <= EXACT_MAX && (exponent == 0 || one_sign())
}

/// The values as integers over a common power of ten, if all of them are such.
fn decimals(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut exponent = 0;
    for value in values {
        let bits = value.to_bits();
        if floats::to_decimal(bits, exponent).is_none() {
            exponent = floats::find_decimal(bits, exponent)?.0;
        }
    }
    let numbers: Option<Vec<i64>> =
        values.iter().map(|value| floats::to_decimal(value.to_bits(), exponent)).collect();
    Some((exponent, numbers?))
}

/// A page's header: where each series' numbers are.
#[derive(Debug)]
pub struct RolledPage<'a> {
    series: Vec<(u8, &'a [u8])>,
}

impl<'a> RolledPage<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
    pub fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new(bytes);
        let count = usize::from(r.u8()?);
        if count > SERIES_MAX {
            return Err(Error::corrupt(format!("page of roll-ups of {count} series")));
        }
        let mut heads = Vec::with_capacity(count);
        for _ in 0..count {
            heads.push((r.u8()?, r.count(bytes.len())?));
        }
        let body = |(flags, len): (u8, usize)| Ok((flags, r.take(len)?));
        Ok(Self { series: heads.into_iter().map(body).collect::<Result<_>>()? })
    }

    /// Series in it.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether it has no series.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Whether what is needed of the series `slot` is there.
    pub fn has(&self, slot: usize, needs: RollUpNeeds) -> bool {
        let Some((flags, _)) = self.series.get(slot) else { return false };
        let wanted = [(needs.falls, FALLS), (needs.extremes, EXTREMES), (needs.sums, SUMS)];
        flags & KEPT != 0
            && wanted.iter().all(|(needed, flag)| !needed || flags & flag != 0)
            && !(needs.markers && flags & MARKERS != 0)
    }

    /// The numbers of the series `slot`, with those that are needed; `windows` are its target's.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when it does not have them or its bytes are impossible.
    pub fn series(
        &self,
        slot: usize,
        windows: &[RollUpWindow],
        needs: RollUpNeeds,
        out: &mut RolledSeries,
    ) -> Result<()> {
        let Some((flags, body)) = self.series.get(slot).filter(|_| self.has(slot, needs)) else {
            return Err(Error::corrupt(format!("no roll-ups of series {slot}")));
        };
        let flags = *flags;
        let mut r = Reader::new(body);
        out.own = if flags & OWN == 0 { None } else { Some(decode_windows(&mut r)?) };
        let windows = out.own.as_deref().unwrap_or(windows);
        let n = windows.len();
        let exponent = r.u8()?;
        if exponent > floats::EXPONENT_MAX {
            return Err(Error::corrupt(format!("decimal exponent {exponent}")));
        }
        let value = |n: i64| floats::from_decimal(n, exponent);
        [&mut out.first, &mut out.last, &mut out.least, &mut out.greatest, &mut out.sums]
            .into_iter()
            .for_each(Vec::clear);
        out.falls.clear();
        if flags & CONSTANT != 0 {
            let all = value(r.zigzag()?);
            out.first.resize(n, all);
            out.last.resize(n, all);
            if needs.extremes {
                out.least.resize(n, all);
                out.greatest.resize(n, all);
            }
            if needs.sums {
                out.sums.extend(windows.iter().map(|w| f64::from(w.count) * all));
            }
            return Ok(());
        }
        let mut column = |n: usize| {
            let mut values = Vec::with_capacity(n.min(WINDOWS_MAX));
            ints::decode(&mut r, n, &mut values).map(|()| values)
        };
        let lasts = column(n)?;
        let known = first_windows(windows.iter());
        let firsts = column(known.len())?;
        out.last.extend(lasts.iter().map(|n| value(*n)));
        out.first.resize(n, f64::NAN);
        for (i, first) in known.into_iter().zip(firsts) {
            let before = lasts[i.saturating_sub(1)];
            out.first[i] = value(first.wrapping_add(before));
        }
        if flags & FALLS != 0 {
            let count = r.count(n / FALLS_SHARE + 1)?;
            let mut column = || {
                let mut values = Vec::with_capacity(count);
                ints::decode(&mut r, count, &mut values).map(|()| values)
            };
            let (at, before) = (column()?, column()?);
            for (at, before) in at.into_iter().zip(before).filter(|_| needs.falls) {
                let window = u32::try_from(at / 2).ok().filter(|at| (*at as usize) < n);
                let window = window.ok_or_else(|| Error::corrupt("a fall in no window"))?;
                out.falls.push(Fall { window, at_start: at % 2 == 1, before: value(before) });
            }
            if !out.falls.is_sorted_by_key(|fall| (fall.window, !fall.at_start)) {
                return Err(Error::corrupt("falls are not in order"));
            }
        }
        let mut column = |n: usize| {
            let mut values = Vec::with_capacity(n.min(WINDOWS_MAX));
            ints::decode(&mut r, n, &mut values).map(|()| values)
        };
        if flags & EXTREMES != 0 && (needs.extremes || needs.sums) {
            let (below, above) = (column(n)?, column(n)?);
            if needs.extremes {
                let least = lasts.iter().zip(below).map(|(last, d)| value(last.wrapping_sub(d)));
                out.least.extend(least);
                let most = lasts.iter().zip(above).map(|(last, d)| value(last.wrapping_add(d)));
                out.greatest.extend(most);
            }
        }
        if needs.sums {
            let sums = column(n)?.into_iter().zip(&lasts).zip(windows);
            let sum = |((d, last), w): ((i64, &i64), &RollUpWindow)| {
                value(d.wrapping_add(last.wrapping_mul(i64::from(w.count))))
            };
            out.sums.extend(sums.map(sum));
        }
        Ok(())
    }
}

/// What roll-ups of some samples (ascending, never empty) would say, all first values included.
pub(crate) fn fold(times: &[i64], values: &[f64], needs: RollUpNeeds, out: &mut RolledSeries) {
    let windows = RollUpWindow::of(times);
    *out = RolledSeries::default();
    for (i, (_, start)) in windows.iter().enumerate() {
        let of = &values[*start..windows.get(i + 1).map_or(values.len(), |next| next.1)];
        out.first.push(of[0]);
        out.last.push(of[of.len() - 1]);
        if needs.extremes {
            let extreme = |better: fn(f64, f64) -> bool| {
                let best = |m: f64, x: &f64| if better(*x, m) || m.is_nan() { *x } else { m };
                of.iter().skip(1).fold(of[0], best)
            };
            out.least.push(extreme(|x, m| x < m));
            out.greatest.push(extreme(|x, m| x > m));
        }
        if needs.sums {
            let (mut total, mut error) = (0.0f64, 0.0f64);
            for x in of {
                let sum = total + x;
                let taken = sum - total;
                error += (total - (sum - taken)) + (x - taken);
                total = sum;
            }
            out.sums.push(total + error);
        }
    }
    if needs.falls {
        let starts: Vec<usize> = windows.iter().map(|w| w.1).collect();
        for row in (1..values.len()).filter(|row| values[*row] < values[row - 1]) {
            let window = starts.partition_point(|start| *start <= row) - 1;
            let at_start = starts[window] == row;
            let window = u32::try_from(window).unwrap_or(u32::MAX);
            out.falls.push(Fall { window, at_start, before: values[row - 1] });
        }
    }
    out.own = Some(windows.into_iter().map(|w| w.0).collect());
}

#[cfg(test)]
mod tests {
    use model::stale_nan;
    use proptest::prelude::*;

    use super::*;

    const ALL: RollUpNeeds =
        RollUpNeeds { falls: true, extremes: true, sums: true, markers: false };

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            40 => (0i32..9).prop_map(f64::from),
            1 => (-900i32..900).prop_map(|i| f64::from(i) / 100.0),
            1 => Just(stale_nan()),
        ]
    }

    /// A day's column with gaps of some kind, and its times.
    fn series() -> impl Strategy<Value = (Vec<i64>, Column)> {
        let steps =
            prop::collection::vec((1i64..40_000, value(), prop::bool::weighted(0.95)), 1..900);
        (steps, 0u8..4, 0i64..DAY_MS / 2).prop_map(|(steps, kind, start)| {
            let (mut t, mut total) = (20_000 * DAY_MS + start, 0.0);
            let (mut times, mut column) = (Vec::new(), Column::default());
            for (row, (step, value, has)) in steps.into_iter().enumerate() {
                t += if kind % 2 == 0 { 15_000 } else { step };
                times.push(t);
                total =
                    if kind < 2 && !value.is_nan() && value != 8.0 { total + value } else { value };
                if kind != 2 || has {
                    column.push(row, total);
                }
            }
            column.finish(times.len());
            (times, column)
        })
    }

    fn same(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
    }

    proptest! {
        #[test]
        fn roll_ups_say_what_samples_say((times, column) in series(), size in 0usize..9000) {
            let mut bytes = Vec::new();
            encode(&[Column::default(), column.clone()], &times, &[0, size], &mut bytes);
            let page = RolledPage::decode(&bytes).unwrap();
            prop_assert_eq!(page.len(), 2);
            prop_assert!(!page.has(0, RollUpNeeds::default()));
            let mut target = Vec::new();
            let target = encode_target(&times, &mut target)
                .then(|| decode_windows(&mut Reader::new(&target)).unwrap());
            let windows = RollUpWindow::of(&times).into_iter().map(|w| w.0).collect::<Vec<_>>();
            prop_assert!(target.is_none_or(|target| target == windows));
            let (rows, values): (Vec<i64>, Vec<f64>) =
                column.iter().filter(|(_, v)| !is_stale(*v)).map(|(row, v)| (times[row], v)).unzip();
            let markers = values.len() < column.values.len();
            let with_markers = RollUpNeeds { markers: true, ..RollUpNeeds::default() };
            let has_them = page.has(1, with_markers);
            prop_assert!(!markers || !has_them);
            for bits in 0u8..8 {
                let needs = RollUpNeeds {
                    falls: bits & 1 != 0, extremes: bits & 2 != 0, sums: bits & 4 != 0, markers: false,
                };
                if !page.has(1, needs) {
                    continue;
                }
                let (mut kept, mut expected) = (RolledSeries::default(), RolledSeries::default());
                page.series(1, &windows, needs, &mut kept).unwrap();
                fold(&rows, &values, needs, &mut expected);
                let own = expected.own.clone().unwrap();
                prop_assert_eq!(kept.own.as_ref().unwrap_or(&windows), &own);
                for (i, window) in own.iter().enumerate() {
                    let is_known = i == 0 || window.number % FIRST_EVERY == 0
                        || own[i - 1].number + 1 != window.number;
                    prop_assert!(is_known || kept.first[i].is_nan() || kept.first[i] == expected.first[i]);
                    prop_assert!(!is_known || kept.first[i].to_bits() == expected.first[i].to_bits());
                }
                prop_assert!(same(&kept.last, &expected.last));
                prop_assert!(same(&kept.least, &expected.least));
                prop_assert!(same(&kept.greatest, &expected.greatest));
                prop_assert_eq!(&kept.falls, &expected.falls);
                for (a, b) in kept.sums.iter().zip(&expected.sums) {
                    prop_assert!((a - b).abs() <= 1e-14 * b.abs(), "{} is not {}", a, b);
                }
                prop_assert_eq!(kept.sums.len(), expected.sums.len());
            }
        }

        #[test]
        fn noise_is_refused_or_bounded(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(windows) = decode_windows(&mut Reader::new(&bytes)) {
                prop_assert!(windows.len() <= WINDOWS_MAX);
            }
            let Ok(page) = RolledPage::decode(&bytes) else { return Ok(()) };
            let mut out = RolledSeries::default();
            for slot in 0..page.len() {
                if page.series(slot, &[], ALL, &mut out).is_ok() {
                    prop_assert!(out.last.len() <= WINDOWS_MAX && out.falls.len() <= WINDOWS_MAX);
                }
            }
        }
    }
}
