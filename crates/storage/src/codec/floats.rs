//! Sequences of `f64`, lossless for every bit pattern: exact decimals as integers, everything else by other means.
//!
//! ```text
//! floats  = head u8: bits 0-1 kind, bit 2 exceptions, bits 3-7 exponent
//! decimal = [ exceptions ] ints              value = int / 10^exponent
//! same    = bits u64                         every value has these bits
//! pco     = len varint, pco bytes            full-mantissa data
//! raw     = bits u64 …
//! exceptions = count, count × ( position delta varint, class u8 [ bits u64 ] )
//! ```

use std::ops::Range;

use model::{Error, Result, STALE_NAN_BITS};

use super::{Reader, check_count, ints, put_bytes, put_count};

const DECIMAL: u8 = 0;
const SAME: u8 = 1;
const PCO: u8 = 2;
const RAW: u8 = 3;
const EXCEPTIONS: u8 = 4;

const CLASS_STALE: u8 = 0;
const CLASS_BITS: u8 = 1;

/// Largest power of ten tried: beyond it no decimal of 15 digits that is worth the name appears.
pub const EXPONENT_MAX: u8 = 18;
/// Integers up to here are exact as `f64`, so dividing them by an exact power of ten rounds correctly, once.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// Values for which room is made at once; more must show that they are there.
const CAPACITY_MAX: usize = 1 << 16;
/// 1.5 × 2^52: numbers near it have no fraction bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// Up to here [`ROUNDER`] rounds right.
const ROUNDED_MAX: f64 = 2_251_799_813_685_248.0;
/// Below this many values pco's tables cost more than they save.
const PCO_COUNT_MIN: usize = 24;

const POWERS: [f64; 19] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];

/// The integer `i` with `i / 10^exponent` being exactly the value with these bits, if there is one.
#[inline]
pub fn to_decimal(bits: u64, exponent: u8) -> Option<i64> {
    let value = f64::from_bits(bits);
    let scaled = if exponent == 0 {
        if value.is_nan() || value.abs() > EXACT_MAX {
            return None;
        }
        value
    } else {
        let scaled = value * POWERS.get(usize::from(exponent))?;
        if scaled.is_nan() || scaled.abs() > ROUNDED_MAX {
            return None;
        }
        // Adding and taking away rounds to the nearest integer, without a call on processors before SSE 4.1.
        (scaled + ROUNDER) - ROUNDER
    };
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within 2^53")]
    let int = scaled as i64;
    (from_decimal(int, exponent).to_bits() == bits).then_some(int)
}

/// `int / 10^exponent`; exponents over [`EXPONENT_MAX`] count as it.
#[inline]
pub fn from_decimal(int: i64, exponent: u8) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "encoders check that the value survives")]
    let value = int as f64;
    if exponent == 0 { value } else { value / POWERS[usize::from(exponent.min(EXPONENT_MAX))] }
}

/// The least exponent from `least` on under which the value with these bits is an exact decimal, and its integer.
pub fn find_decimal(bits: u64, least: u8) -> Option<(u8, i64)> {
    let value = f64::from_bits(bits);
    if !value.is_finite() || bits == 1 << 63 {
        return None;
    }
    // What is an exact decimal is one under every larger exponent, too, as long as its integer stays far below 2^53:
    // one look at the largest of these spares numbers that are no decimals all others.
    let least = match roomy_exponent(bits) {
        Some(e) if e > least && to_decimal(bits, e).is_none() => e + 1,
        _ => least,
    };
    (least..=EXPONENT_MAX).find_map(|e| to_decimal(bits, e).map(|int| (e, int)))
}

/// An exponent under which the integer of the value with these bits is below 2^50, and nearly the largest such.
fn roomy_exponent(bits: u64) -> Option<u8> {
    // The value is below 2^(power - 1022).
    let power = (bits >> 52) & 0x7ff;
    let room = 1072u64.checked_sub(power)?;
    // A little less than log10(2).
    u8::try_from((room * 1233) >> 12).ok().map_or(Some(EXPONENT_MAX), |e| Some(e.min(EXPONENT_MAX)))
}

/// Appends `values`; an empty slice appends nothing.
pub fn encode(values: &[f64], out: &mut Vec<u8>) {
    let Some(first) = values.first().map(|v| v.to_bits()) else { return };
    if values.iter().all(|v| v.to_bits() == first) && find_decimal(first, 0).is_none() {
        out.push(SAME);
        return out.extend_from_slice(&first.to_le_bytes());
    }
    let mut decimals = Vec::with_capacity(values.len());
    let mut exceptions = Vec::new();
    match decimal(values, &mut decimals, &mut exceptions) {
        Some(exponent) => {
            let flag = if exceptions.is_empty() { 0 } else { EXCEPTIONS };
            out.push(DECIMAL | flag | exponent << 3);
            if !exceptions.is_empty() {
                put_exceptions(&exceptions, out);
            }
            ints::encode(&decimals, out);
        }
        None => encode_binary(values, out),
    }
}

/// As [`encode`], in a fraction of the time and somewhat larger: for what is soon encoded again.
pub fn encode_brief(values: &[f64], out: &mut Vec<u8>) {
    let (mut decimals, mut exceptions) = (Vec::with_capacity(values.len()), Vec::new());
    match decimal(values, &mut decimals, &mut exceptions) {
        Some(exponent) if exceptions.is_empty() => encode_decimals(&decimals, exponent, out),
        Some(exponent) => {
            out.push(DECIMAL | EXCEPTIONS | exponent << 3);
            put_exceptions(&exceptions, out);
            ints::encode_brief(&decimals, out);
        }
        None => encode_raw(values, out),
    }
}

/// Appends the values `int / 10^exponent` as [`encode_brief`] does; each must be the nearest number to its decimal, as
/// [`to_decimal`] and [`find_decimal`] see to.
pub fn encode_decimals(ints: &[i64], exponent: u8, out: &mut Vec<u8>) {
    if ints.is_empty() {
        return;
    }
    out.push(DECIMAL | exponent.min(EXPONENT_MAX) << 3);
    ints::encode_brief(ints, out);
}

/// Finds one exponent for all; values that do not fit become exceptions. `None` when these are too many.
fn decimal(
    values: &[f64],
    decimals: &mut Vec<i64>,
    exceptions: &mut Vec<(usize, u64)>,
) -> Option<u8> {
    let tolerated = values.len() / 8 + 2;
    let mut exponent = 0;
    let mut misfits = 0;
    // Most columns have their exponent from the first value on; when a larger one turns up, the integers so far were not
    // the last ones.
    let mut settled = true;
    for (position, value) in values.iter().enumerate() {
        let bits = value.to_bits();
        if let Some(int) = to_decimal(bits, exponent) {
            decimals.push(int);
            continue;
        }
        match find_decimal(bits, exponent + 1) {
            Some((e, int)) => {
                settled &= position == 0;
                exponent = e;
                decimals.push(int);
            }
            None => {
                misfits += 1;
                exceptions.push((position, bits));
                decimals.push(decimals.last().copied().unwrap_or(0));
            }
        }
        if misfits > tolerated {
            return None;
        }
    }
    if !settled {
        decimals.clear();
        exceptions.clear();
        for (position, value) in values.iter().enumerate() {
            let bits = value.to_bits();
            decimals.push(to_decimal(bits, exponent).unwrap_or_else(|| {
                exceptions.push((position, bits));
                decimals.last().copied().unwrap_or(0)
            }));
        }
    }
    // Leading exceptions repeat what follows, which costs nothing.
    let leading =
        exceptions.iter().enumerate().take_while(|(k, (position, _))| k == position).count();
    if let Some(&next) = decimals.get(leading) {
        decimals[..leading].fill(next);
    }
    (exceptions.len() <= tolerated).then_some(exponent)
}

fn put_exceptions(exceptions: &[(usize, u64)], out: &mut Vec<u8>) {
    put_count(out, exceptions.len());
    let mut after = 0;
    for &(position, bits) in exceptions {
        put_count(out, position - after);
        after = position + 1;
        if bits == STALE_NAN_BITS {
            out.push(CLASS_STALE);
        } else {
            out.push(CLASS_BITS);
            out.extend_from_slice(&bits.to_le_bytes());
        }
    }
}

fn encode_binary(values: &[f64], out: &mut Vec<u8>) {
    if values.len() >= PCO_COUNT_MIN {
        let config = pco::ChunkConfig::default().with_compression_level(4);
        if let Ok(packed) = pco::standalone::simple_compress(values, &config)
            && packed.len() < values.len() * 8
            && survives(&packed, values)
        {
            out.push(PCO);
            return put_bytes(out, &packed);
        }
    }
    encode_raw(values, out);
}

fn encode_raw(values: &[f64], out: &mut Vec<u8>) {
    out.push(RAW);
    for value in values {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

/// Whether the library gives back the same bits; losing one in silence is not an option.
fn survives(packed: &[u8], values: &[f64]) -> bool {
    let mut back = vec![0.0f64; values.len()];
    matches!(pco::standalone::simple_decompress_into(packed, &mut back), Ok(p) if p.finished)
        && back.iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Appends `count` values written by [`encode`] to `out`.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input, or when `count` is over
/// [`COUNT_MAX`](super::COUNT_MAX).
pub fn decode(r: &mut Reader<'_>, count: usize, out: &mut Vec<f64>) -> Result<()> {
    decode_first(r, count, count, out)
}

/// Appends the first `wanted` of `count` values written by [`encode`]; what is behind them may not have been read.
///
/// # Errors
/// As [`decode`].
pub fn decode_first(
    r: &mut Reader<'_>,
    count: usize,
    wanted: usize,
    out: &mut Vec<f64>,
) -> Result<()> {
    check_count(count)?;
    let wanted = wanted.min(count);
    if wanted == 0 {
        return Ok(());
    }
    let head = r.u8()?;
    match head & 3 {
        DECIMAL => decode_decimal(r, head, (count, wanted), out)?,
        SAME => {
            let value = f64::from_bits(r.u64()?);
            out.resize(out.len() + wanted, value);
        }
        PCO => {
            let packed = r.bytes()?;
            let start = out.len();
            out.resize(start + count, 0.0);
            match pco::standalone::simple_decompress_into(packed, &mut out[start..]) {
                Ok(progress) if progress.n_processed == count => {}
                Ok(progress) => {
                    return Err(Error::corrupt(format!(
                        "pco frame has {} of {count} values",
                        progress.n_processed
                    )));
                }
                Err(e) => return Err(Error::corrupt("cannot decode pco frame").with_source(e)),
            }
            out.truncate(start + wanted);
        }
        _ => {
            let (bits, _) = r.take(count * 8)?.as_chunks::<8>();
            out.extend(bits.iter().take(wanted).map(|b| f64::from_bits(u64::from_le_bytes(*b))));
        }
    }
    Ok(())
}

/// If the `count` values written by [`encode`] are all whole numbers, the differences between neighbours among those
/// `wanted`, as by [`ints::decode_steps`]; `None`, with nothing but `r` changed, if some is not.
///
/// # Errors
/// As [`ints::decode_steps`].
pub fn decode_steps(
    r: &mut Reader<'_>,
    count: usize,
    wanted: Range<usize>,
    before: &mut i64,
    out: &mut [u64],
) -> Result<Option<u64>> {
    // No exceptions, and exponent 0.
    if r.u8()? != DECIMAL {
        return Ok(None);
    }
    ints::decode_steps(r, count, wanted, before, out).map(Some)
}

/// Whether the values whose encoding begins here are decimals without exceptions: none is a staleness marker.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) when nothing is there.
pub fn are_plain(r: &mut Reader<'_>) -> Result<bool> {
    Ok(r.u8()? & 7 == DECIMAL)
}

fn decode_decimal(
    r: &mut Reader<'_>,
    head: u8,
    (count, wanted): (usize, usize),
    out: &mut Vec<f64>,
) -> Result<()> {
    let exponent = head >> 3;
    if exponent > EXPONENT_MAX {
        return Err(Error::corrupt(format!("decimal exponent {exponent} is over {EXPONENT_MAX}")));
    }
    let mut exceptions = Vec::new();
    if head & EXCEPTIONS != 0 {
        let n = r.count(count.min(r.remaining()))?;
        let mut position = 0;
        for _ in 0..n {
            position += r.count(count)?;
            let bits = match r.u8()? {
                CLASS_STALE => STALE_NAN_BITS,
                CLASS_BITS => r.u64()?,
                class => return Err(Error::corrupt(format!("unknown exception class {class}"))),
            };
            if position >= count {
                return Err(Error::corrupt(format!("exception at {position} of {count} values")));
            }
            exceptions.push((position, bits));
            position += 1;
        }
    }
    let start = out.len();
    out.reserve(wanted.min(CAPACITY_MAX));
    #[expect(clippy::cast_precision_loss, reason = "encoders check that the value survives")]
    let float = |int: &i64| *int as f64;
    if exponent == 0 {
        ints::decode_blocks(r, count, wanted, |block| out.extend(block.iter().map(float)))?;
    } else {
        let divisor = POWERS[usize::from(exponent)];
        let value = |int: &i64| float(int) / divisor;
        ints::decode_blocks(r, count, wanted, |block| out.extend(block.iter().map(value)))?;
    }
    for (position, bits) in exceptions.into_iter().filter(|(position, _)| *position < wanted) {
        out[start + position] = f64::from_bits(bits);
    }
    Ok(())
}
