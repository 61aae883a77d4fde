//! Sequences of 64-bit integers: the cheapest of constant, line, delta, delta of delta and frame of reference.
//!
//! ```text
//! ints  = mode u8 (bit 7: gcd varint follows) body
//! const = value                      line  = first, delta
//! delta = first, blocks of zigzag    dfor  = first, base, blocks of delta - base
//! delta2 = first, delta, blocks      for   = least, blocks of value - least
//! ```
//! Heads are zigzag varints; deltas, bases and blocks are in units of the gcd. Arithmetic wraps, so every input
//! survives.

use std::ops::Range;

use model::{Error, Result};

use super::lanes::vectorized;
use super::{Reader, bitpack, check_count, put_varint, put_zigzag, unzigzag, zigzag};

const CONST: u8 = 0;
const LINE: u8 = 1;
const DELTA: u8 = 2;
const DELTA_FOR: u8 = 3;
const DELTA2: u8 = 4;
const FOR: u8 = 5;
const GCD: u8 = 0x80;

/// Stretches of values, and values in each, by which [`encode_sampled`] chooses.
const SAMPLES: usize = 3;
const SAMPLE_VALUES: usize = 1 + 2 * bitpack::BLOCK;

/// One way to turn the values into small unsigned numbers.
#[derive(Debug, Clone, Copy)]
enum Plan {
    Delta,
    DeltaFor { base: i64 },
    Delta2,
    For { least: i64 },
}

/// What one pass over the values finds.
struct Profile {
    least: i64,
    /// `None` when the span does not fit 63 bits.
    span: Option<i64>,
    gcd: i64,
    delta_min: i64,
    delta_max: i64,
}

/// Appends `values`; an empty slice appends nothing.
pub fn encode(values: &[i64], out: &mut Vec<u8>) {
    encode_as(values, out, cheapest);
}

/// As [`encode`], in half the time and a few per cent larger: for what is soon encoded again.
pub fn encode_brief(values: &[i64], out: &mut Vec<u8>) {
    encode_as(values, out, likely);
}

/// As [`encode`], but the way is chosen by a few stretches of the values: in half the time, and hardly larger where they
/// are alike all along.
pub fn encode_sampled(values: &[i64], out: &mut Vec<u8>) {
    encode_as(values, out, |values, profile| {
        if values.len() <= SAMPLES * SAMPLE_VALUES {
            return cheapest(values, profile);
        }
        let stride = (values.len() - SAMPLE_VALUES) / (SAMPLES - 1);
        let samples: Vec<&[i64]> =
            (0..SAMPLES).map(|k| &values[k * stride..][..SAMPLE_VALUES]).collect();
        cheapest_of(&samples, profile)
    });
}

fn encode_as(values: &[i64], out: &mut Vec<u8>, choose: impl FnOnce(&[i64], &Profile) -> Plan) {
    let Some(&first) = values.first() else { return };
    if values.iter().all(|&v| v == first) {
        out.push(CONST);
        return put_zigzag(out, first);
    }
    let profile = profile(values);
    if profile.delta_min == profile.delta_max {
        out.push(LINE);
        put_zigzag(out, first);
        return put_zigzag(out, profile.delta_min);
    }
    let gcd = profile.gcd;
    let plan = choose(values, &profile);
    let flag = if gcd > 1 { GCD } else { 0 };
    let mode = match plan {
        Plan::Delta => DELTA,
        Plan::DeltaFor { .. } => DELTA_FOR,
        Plan::Delta2 => DELTA2,
        Plan::For { .. } => FOR,
    };
    out.push(mode | flag);
    if gcd > 1 {
        put_varint(out, gcd.unsigned_abs());
    }
    match plan {
        Plan::Delta => put_zigzag(out, first),
        Plan::DeltaFor { base } => {
            put_zigzag(out, first);
            put_zigzag(out, base);
        }
        Plan::Delta2 => {
            put_zigzag(out, first);
            put_zigzag(out, delta(values, 1, gcd));
        }
        Plan::For { least } => put_zigzag(out, least),
    }
    blocks(values, gcd, plan, |block| bitpack::encode_block(block, out));
}

fn profile(values: &[i64]) -> Profile {
    let (mut least, mut most) = (i64::MAX, i64::MIN);
    let (mut delta_min, mut delta_max) = (i64::MAX, i64::MIN);
    let mut gcd = 0u64;
    let mut previous = values[0];
    for &value in values {
        least = least.min(value);
        most = most.max(value);
    }
    for &value in &values[1..] {
        let delta = value.wrapping_sub(previous);
        previous = value;
        delta_min = delta_min.min(delta);
        delta_max = delta_max.max(delta);
        if gcd != 1 {
            gcd = greatest_divisor(gcd, delta.unsigned_abs());
        }
    }
    let span = most.checked_sub(least);
    // Wrapped deltas say nothing about common divisors of the distances that frame of reference needs.
    let gcd = if span.is_some() { i64::try_from(gcd).unwrap_or(1).max(1) } else { 1 };
    Profile { least, span, gcd, delta_min, delta_max }
}

fn greatest_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Difference of value `i` to the one before, in units of `gcd`.
#[inline]
fn delta(values: &[i64], i: usize, gcd: i64) -> i64 {
    let delta = values[i].wrapping_sub(values[i - 1]);
    if gcd == 1 { delta } else { delta / gcd }
}

fn cheapest(values: &[i64], profile: &Profile) -> Plan {
    cheapest_of(&[values], profile)
}

/// The plan that is cheapest for `samples` of the values with `profile`.
fn cheapest_of(samples: &[&[i64]], profile: &Profile) -> Plan {
    let gcd = profile.gcd;
    let mut candidates = [Plan::Delta; 5];
    candidates[1] = Plan::Delta2;
    candidates[2] = Plan::DeltaFor { base: profile.delta_min / gcd };
    let mut count = 3;
    if profile.delta_min < 0 && profile.delta_max > 0 {
        // A counter that was reset: the few falls become exceptions, the rest needs no sign bit.
        candidates[count] = Plan::DeltaFor { base: 0 };
        count += 1;
    }
    if profile.span.is_some() {
        candidates[count] = Plan::For { least: profile.least };
        count += 1;
    }
    let mut best = (usize::MAX, Plan::Delta);
    for &plan in &candidates[..count] {
        let mut bytes = 0;
        for values in samples {
            blocks(values, gcd, plan, |block| {
                // What costs more already needs no look at its other blocks.
                bytes += if bytes < best.0 { bitpack::block_cost(block) } else { 0 };
            });
        }
        if bytes < best.0 {
            best = (bytes, plan);
        }
    }
    best.1
}

/// The plan that looks cheapest by the range of its numbers; only where values fall as well as rise, two are tried.
fn likely(values: &[i64], profile: &Profile) -> Plan {
    let gcd = profile.gcd;
    let width = |span: i64| 64 - (span / gcd).cast_unsigned().leading_zeros();
    let steps = profile.delta_max.checked_sub(profile.delta_min).map_or(64, width);
    let narrow = match profile.span {
        Some(span) if width(span) < steps => Plan::For { least: profile.least },
        _ => Plan::DeltaFor { base: profile.delta_min / gcd },
    };
    if profile.delta_min >= 0 {
        return narrow;
    }
    let cost = |plan| {
        let mut bytes = 0;
        blocks(values, gcd, plan, |block| bytes += bitpack::block_cost(block));
        bytes
    };
    if cost(Plan::Delta) < cost(narrow) { Plan::Delta } else { narrow }
}

/// Calls `f` with each block of unsigned numbers that `plan` makes of `values`.
fn blocks(values: &[i64], gcd: i64, plan: Plan, mut f: impl FnMut(&[u64])) {
    let start = match plan {
        Plan::For { .. } => 0,
        Plan::Delta | Plan::DeltaFor { .. } => 1,
        Plan::Delta2 => 2,
    };
    let mut block = [0u64; bitpack::BLOCK];
    let mut at = start;
    while at < values.len() {
        let n = (values.len() - at).min(bitpack::BLOCK);
        let filled = &mut block[..n];
        match plan {
            Plan::Delta => {
                for (k, x) in filled.iter_mut().enumerate() {
                    *x = zigzag(delta(values, at + k, gcd));
                }
            }
            Plan::DeltaFor { base } => {
                for (k, x) in filled.iter_mut().enumerate() {
                    *x = delta(values, at + k, gcd).wrapping_sub(base).cast_unsigned();
                }
            }
            Plan::Delta2 => {
                let mut before = delta(values, at - 1, gcd);
                for (k, x) in filled.iter_mut().enumerate() {
                    let now = delta(values, at + k, gcd);
                    *x = zigzag(now.wrapping_sub(before));
                    before = now;
                }
            }
            Plan::For { least } => {
                let divisor = gcd.unsigned_abs();
                for (x, &value) in filled.iter_mut().zip(&values[at..]) {
                    let above = value.wrapping_sub(least).cast_unsigned();
                    *x = if divisor == 1 { above } else { above / divisor };
                }
            }
        }
        f(filled);
        at += n;
    }
}

/// Appends `count` values written by [`encode`] to `out`.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input, or when `count` is over
/// [`COUNT_MAX`](super::COUNT_MAX).
pub fn decode(r: &mut Reader<'_>, count: usize, out: &mut Vec<i64>) -> Result<()> {
    decode_blocks(r, count, count, |block| out.extend_from_slice(block))
}

/// Calls `f` with the first `wanted` of `count` values written by [`encode`], in blocks of at most
/// [`BLOCK`](bitpack::BLOCK); reads no further than these are.
///
/// # Errors
/// As [`decode`].
pub fn decode_blocks(
    r: &mut Reader<'_>,
    count: usize,
    wanted: usize,
    mut f: impl FnMut(&[i64]),
) -> Result<()> {
    check_count(count)?;
    let wanted = wanted.min(count);
    if wanted == 0 {
        return Ok(());
    }
    let head = r.u8()?;
    let gcd = if head & GCD == 0 { 1 } else { r.varint()?.cast_signed() };
    match head & !GCD {
        CONST => {
            let block = [r.zigzag()?; bitpack::BLOCK];
            for start in (0..wanted).step_by(bitpack::BLOCK) {
                f(&block[..(wanted - start).min(bitpack::BLOCK)]);
            }
        }
        LINE => {
            let (mut value, delta) = (r.zigzag()?, r.zigzag()?.wrapping_mul(gcd));
            let mut block = [0; bitpack::BLOCK];
            for start in (0..wanted).step_by(bitpack::BLOCK) {
                for x in &mut block {
                    *x = value;
                    value = value.wrapping_add(delta);
                }
                f(&block[..(wanted - start).min(bitpack::BLOCK)]);
            }
        }
        DELTA => {
            let mut value = r.zigzag()?;
            f(&[value]);
            unpack(r, count - 1, wanted - 1, &mut f, |x| {
                value = value.wrapping_add(unzigzag(x).wrapping_mul(gcd));
                value
            })?;
        }
        DELTA_FOR => {
            let (mut value, base) = (r.zigzag()?, r.zigzag()?);
            f(&[value]);
            unpack(r, count - 1, wanted - 1, &mut f, |x| {
                let delta = x.cast_signed().wrapping_add(base).wrapping_mul(gcd);
                value = value.wrapping_add(delta);
                value
            })?;
        }
        DELTA2 => {
            let (mut value, mut delta) = (r.zigzag()?, r.zigzag()?);
            f(&[value]);
            if wanted > 1 {
                value = value.wrapping_add(delta.wrapping_mul(gcd));
                f(&[value]);
            }
            unpack(r, count.saturating_sub(2), wanted.saturating_sub(2), &mut f, |x| {
                delta = delta.wrapping_add(unzigzag(x));
                value = value.wrapping_add(delta.wrapping_mul(gcd));
                value
            })?;
        }
        FOR => {
            let least = r.zigzag()?;
            unpack(r, count, wanted, &mut f, |x| {
                least.wrapping_add(x.cast_signed().wrapping_mul(gcd))
            })?;
        }
        mode => return Err(Error::corrupt(format!("unknown integer mode {mode}"))),
    }
    Ok(())
}

/// The differences between neighbours among the values `wanted` of `count` written by [`encode`]: as many as wanted,
/// the first one to `before`, which becomes the last value. Arithmetic wraps; differences are in two's complement.
///
/// Returns all bits that any but the first of them has: without the sign bit, the values never fall.
///
/// # Errors
/// As [`decode`], or when `wanted` is empty, ends behind `count`, or has not the length of `out`.
pub fn decode_steps(
    r: &mut Reader<'_>,
    count: usize,
    wanted: Range<usize>,
    before: &mut i64,
    out: &mut [u64],
) -> Result<u64> {
    check_count(count)?;
    if wanted.is_empty() || wanted.end > count || wanted.len() != out.len() {
        return Err(Error::corrupt(format!("cannot take values {wanted:?} of {count}")));
    }
    let head = r.clone().u8()?;
    match head & !GCD {
        CONST if head & GCD == 0 => {
            r.u8()?;
            let value = r.zigzag()?;
            out.fill(0);
            out[0] = value.wrapping_sub(*before).cast_unsigned();
            *before = value;
            Ok(0)
        }
        DELTA | DELTA_FOR => {
            r.u8()?;
            let gcd = if head & GCD == 0 { 1 } else { r.varint()? };
            let first = r.zigzag()?.cast_unsigned();
            if head & !GCD == DELTA {
                let step = |x| unzigzag(x).cast_unsigned().wrapping_mul(gcd);
                return steps(r, count, wanted, first, before, out, step);
            }
            let base = r.zigzag()?.cast_unsigned();
            if gcd == 1 {
                // The usual counter: worth a loop without a multiplication.
                steps(r, count, wanted, first, before, out, |x| x.wrapping_add(base))
            } else {
                let step = |x: u64| x.wrapping_add(base).wrapping_mul(gcd);
                steps(r, count, wanted, first, before, out, step)
            }
        }
        _ => {
            let (mut row, mut last, mut any) = (0, before.cast_unsigned(), 0);
            decode_blocks(r, count, wanted.end, |block| {
                for value in block.iter().map(|v| v.cast_unsigned()) {
                    if row >= wanted.start {
                        let step = value.wrapping_sub(last);
                        any |= if row > wanted.start { step } else { 0 };
                        out[row - wanted.start] = step;
                        last = value;
                    }
                    row += 1;
                }
            })?;
            *before = last.cast_signed();
            Ok(any)
        }
    }
}

/// [`decode_steps`] of a sequence that begins with `first` and goes on in blocks of numbers, each of which `step` makes
/// the difference to the next value.
#[inline]
fn steps(
    r: &mut Reader<'_>,
    count: usize,
    wanted: Range<usize>,
    mut first: u64,
    before: &mut i64,
    out: &mut [u64],
    step: impl Fn(u64) -> u64 + Copy,
) -> Result<u64> {
    // Number `k` leads from value `k` to the next, so it belongs to `rest[k - wanted.start]`.
    let Some((head, rest)) = out.split_first_mut() else { return Ok(0) };
    let (mut any, mut total) = (0u64, 0u64);
    for start in (0..wanted.end - 1).step_by(bitpack::BLOCK) {
        let n = (count - 1 - start).min(bitpack::BLOCK);
        let end = n.min(wanted.end - 1 - start);
        let skipped = wanted.start.saturating_sub(start).min(end);
        let rows = if skipped == 0 && end == n {
            let rows = &mut rest[start - wanted.start..][..n];
            bitpack::decode_block(r, rows)?;
            rows
        } else {
            let mut packed = [0u64; bitpack::BLOCK];
            bitpack::decode_block(r, &mut packed[..n])?;
            for x in &packed[..skipped] {
                first = first.wrapping_add(step(*x));
            }
            if skipped == end {
                continue;
            }
            let rows = &mut rest[start + skipped - wanted.start..][..end - skipped];
            rows.copy_from_slice(&packed[skipped..end]);
            rows
        };
        let (bits, sum) = vectorized(
            #[inline(always)]
            move || {
                let (mut bits, mut sum) = (0u64, 0u64);
                for x in rows {
                    *x = step(*x);
                    bits |= *x;
                    sum = sum.wrapping_add(*x);
                }
                (bits, sum)
            },
        );
        any |= bits;
        total = total.wrapping_add(sum);
    }
    *head = first.wrapping_sub(before.cast_unsigned());
    *before = first.wrapping_add(total).cast_signed();
    Ok(any)
}

/// Unpacks blocks until `wanted` of `count` values were made of their numbers.
#[inline]
fn unpack(
    r: &mut Reader<'_>,
    count: usize,
    wanted: usize,
    f: &mut impl FnMut(&[i64]),
    mut value: impl FnMut(u64) -> i64,
) -> Result<()> {
    let mut packed = [0u64; bitpack::BLOCK];
    let mut block = [0i64; bitpack::BLOCK];
    for start in (0..wanted).step_by(bitpack::BLOCK) {
        let n = (count - start).min(bitpack::BLOCK);
        bitpack::decode_block(r, &mut packed[..n])?;
        let n = n.min(wanted - start);
        for (value_out, x) in block[..n].iter_mut().zip(&packed[..n]) {
            *value_out = value(*x);
        }
        f(&block[..n]);
    }
    Ok(())
}
