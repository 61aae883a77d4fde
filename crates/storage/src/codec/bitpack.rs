//! Blocks of up to 128 unsigned integers, packed to one bit width, with patched exceptions for the few larger ones.
//!
//! ```text
//! block = width u8 (bit 7: exceptions) [ count u8, high width u8, count × position u8, packed high bits ] packed low bits
//! packed = little-endian bit stream, value i at bit i × width, padded to a whole byte
//! ```

use model::{Error, Result};

use super::lanes::vectorized;
use super::{Reader, check_count};

/// Values in a full block.
pub const BLOCK: usize = 128;

const EXCEPTIONS: u8 = 0x80;
/// Exceptions of most blocks that have any; more room than needed would have to be cleared.
const FEW: usize = 16;
/// Values that fill whole bytes at any width.
const OCTET: usize = 8;
/// Octets unpacked at once.
const OCTETS: usize = 8;
/// Up to this width, four values that begin within a byte are within the eight bytes from it on.
const NARROW: usize = 15;

/// How one block will be packed.
#[derive(Debug, Clone, Copy)]
struct Shape {
    width: usize,
    high_width: usize,
    exceptions: usize,
    bytes: usize,
}

/// Bytes that [`encode_block`] will append.
pub fn block_cost(values: &[u64]) -> usize {
    shape(values).bytes
}

fn shape(values: &[u64]) -> Shape {
    let mut histogram = [0u8; 65];
    let mut all = 0;
    for &value in values {
        all |= value;
        histogram[(64 - value.leading_zeros()) as usize] += 1;
    }
    let widest = (64 - all.leading_zeros()) as usize;
    let packed_bytes = |width: usize| (values.len() * width).div_ceil(8);
    let mut best =
        Shape { width: widest, high_width: 0, exceptions: 0, bytes: 1 + packed_bytes(widest) };
    let mut exceptions = 0;
    for width in (0..widest).rev() {
        exceptions += usize::from(histogram[width + 1]);
        let high_width = widest - width;
        let bytes = 3 + exceptions + (exceptions * high_width).div_ceil(8) + packed_bytes(width);
        if bytes < best.bytes {
            best = Shape { width, high_width, exceptions, bytes };
        }
    }
    best
}

/// Appends one block of at most [`BLOCK`] values; more are ignored.
pub fn encode_block(values: &[u64], out: &mut Vec<u8>) {
    let values = &values[..values.len().min(BLOCK)];
    let shape = shape(values);
    let width_byte = shape.width.to_le_bytes()[0];
    if shape.exceptions == 0 {
        out.push(width_byte);
        pack(values, shape.width, out);
        return;
    }
    let mut high = [0; BLOCK];
    let mut count = 0;
    out.push(width_byte | EXCEPTIONS);
    out.push(shape.exceptions.to_le_bytes()[0]);
    out.push(shape.high_width.to_le_bytes()[0]);
    for (position, &value) in values.iter().enumerate() {
        let above = value >> shape.width;
        if above != 0 {
            out.push(position.to_le_bytes()[0]);
            high[count] = above;
            count += 1;
        }
    }
    pack(&high[..count], shape.high_width, out);
    pack(values, shape.width, out);
}

/// Reads one block of `out.len()` values, at most [`BLOCK`].
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short input, a width over 64 or an exception outside the block.
pub fn decode_block(r: &mut Reader<'_>, out: &mut [u64]) -> Result<()> {
    let head = r.u8()?;
    let width = usize::from(head & !EXCEPTIONS);
    if head & EXCEPTIONS == 0 {
        return unpack(r, width, out);
    }
    let (count, high_width) = (usize::from(r.u8()?), usize::from(r.u8()?));
    if count > out.len() || width + high_width > 64 {
        return Err(Error::corrupt(format!(
            "packed block has {count} exceptions of {high_width} over {width} bits"
        )));
    }
    if count <= FEW {
        patched(r, width, high_width, &mut [0; FEW][..count], out)
    } else {
        patched(r, width, high_width, &mut [0; BLOCK][..count], out)
    }
}

/// Reads the rest of a block with as many exceptions as there is room for in `high`.
#[inline]
fn patched(
    r: &mut Reader<'_>,
    width: usize,
    high_width: usize,
    high: &mut [u64],
    out: &mut [u64],
) -> Result<()> {
    let positions = r.take(high.len())?;
    unpack(r, high_width, high)?;
    unpack(r, width, out)?;
    for (&position, &above) in positions.iter().zip(&*high) {
        match out.get_mut(usize::from(position)) {
            Some(value) if width < 64 => *value |= above << width,
            _ => return Err(Error::corrupt(format!("exception at {position} is outside block"))),
        }
    }
    Ok(())
}

/// Appends any number of values as consecutive blocks.
pub fn encode(values: &[u64], out: &mut Vec<u8>) {
    for block in values.chunks(BLOCK) {
        encode_block(block, out);
    }
}

/// Appends `count` values written by [`encode`] to `out`.
///
/// # Errors
/// As [`decode_block`], or when `count` is over [`COUNT_MAX`](super::COUNT_MAX).
pub fn decode(r: &mut Reader<'_>, count: usize, out: &mut Vec<u64>) -> Result<()> {
    check_count(count)?;
    let mut left = count;
    while left > 0 {
        let mut block = [0; BLOCK];
        let n = left.min(BLOCK);
        decode_block(r, &mut block[..n])?;
        out.extend_from_slice(&block[..n]);
        left -= n;
    }
    Ok(())
}

/// Appends the low `width` bits of each value.
fn pack(values: &[u64], width: usize, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let mask = mask(width);
    let (mut accumulator, mut filled) = (0u128, 0);
    for &value in values {
        accumulator |= u128::from(value & mask) << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&accumulator.to_le_bytes()[..8]);
            accumulator >>= 64;
            filled -= 64;
        }
    }
    out.extend_from_slice(&accumulator.to_le_bytes()[..filled.div_ceil(8)]);
}

fn mask(width: usize) -> u64 {
    if width == 64 { u64::MAX } else { (1 << width) - 1 }
}

/// Calls the function for a width known at compile time; of widths that there are, `narrow` ones up to [`NARROW`].
macro_rules! dispatch {
    (narrow $unpack:ident, $width:expr, $source:expr, $out:expr) => {
        dispatch!($unpack, $width, $source, $out; 15; 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    (wide $unpack:ident, $width:expr, $source:expr, $out:expr) => {
        dispatch!($unpack, $width, $source, $out; 64; 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38
            39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63)
    };
    ($unpack:ident, $width:expr, $source:expr, $out:expr; $last:literal; $($w:literal)*) => {
        match $width {
            $($w => $unpack::<$w>($source, $out),)*
            _ => $unpack::<$last>($source, $out),
        }
    };
}

fn unpack(r: &mut Reader<'_>, width: usize, out: &mut [u64]) -> Result<()> {
    if width > 64 {
        return Err(Error::corrupt(format!("packed width {width} is over 64")));
    }
    let bytes = r.take((out.len() * width).div_ceil(8))?;
    match width {
        0 => out.fill(0),
        1..=NARROW => vectorized(
            #[inline(always)]
            move || unpack_narrow(width, bytes, out),
        ),
        _ => unpack_wide(width, bytes, out),
    }
    Ok(())
}

/// Unpacks values of more than [`NARROW`] bits: 64 by 64, then eight by eight, the last few as eight whose rest is zeros.
fn unpack_wide(width: usize, bytes: &[u8], out: &mut [u64]) {
    let (groups, tail) = out.as_chunks_mut::<64>();
    let (group_bytes, bytes) = bytes.split_at(groups.len() * width * 8);
    for (group, source) in groups.iter_mut().zip(group_bytes.chunks_exact(width * 8)) {
        dispatch!(wide unpack_words, width, source, group);
    }
    let (octets, rest) = tail.as_chunks_mut::<OCTET>();
    let (octet_bytes, rest_bytes) = bytes.split_at(octets.len() * width);
    unpack_octets(width, octet_bytes, octets);
    if !rest.is_empty() {
        let mut padded = [0; 64];
        padded[..rest_bytes.len()].copy_from_slice(rest_bytes);
        let mut octet = [[0; OCTET]];
        unpack_octets(width, &padded[..width], &mut octet);
        rest.copy_from_slice(&octet[0][..rest.len()]);
    }
}

fn unpack_octets(width: usize, source: &[u8], out: &mut [[u64; OCTET]]) {
    dispatch!(wide unpack_eights, width, source, out);
}

/// Unpacks values of 1 to [`NARROW`] bits.
#[inline(always)]
fn unpack_narrow(width: usize, bytes: &[u8], out: &mut [u64]) {
    dispatch!(narrow unpack_quads, width, bytes, out);
}

/// Unpacks values of a width known at compile time, four from one word, so that one shift by four amounts does for them.
#[inline(always)]
fn unpack_quads<const W: usize>(source: &[u8], out: &mut [u64]) {
    let (groups, rest) = out.as_chunks_mut::<{ OCTETS * OCTET }>();
    let (group_bytes, rest_bytes) = source.split_at(groups.len() * OCTETS * W);
    for (group, source) in groups.iter_mut().zip(group_bytes.chunks_exact(OCTETS * W)) {
        octets_of_quads::<W>(source, group.as_chunks_mut().0);
    }
    let (octets, rest) = rest.as_chunks_mut::<OCTET>();
    let (octet_bytes, rest_bytes) = rest_bytes.split_at(octets.len() * W);
    octets_of_quads::<W>(octet_bytes, octets);
    if !rest.is_empty() {
        let mut last = [[0; OCTET]];
        octets_of_quads::<W>(rest_bytes, &mut last);
        rest.copy_from_slice(&last[0][..rest.len()]);
    }
}

/// Unpacks at most [`OCTETS`] times eight values, each of them from `W` bytes; those not in `source` are zeros.
#[inline(always)]
fn octets_of_quads<const W: usize>(source: &[u8], out: &mut [[u64; OCTET]]) {
    let mut padded = [0; OCTETS * NARROW + 8];
    padded[..source.len()].copy_from_slice(source);
    for (octet, start) in out.iter_mut().zip((0..).step_by(W)) {
        let (low, high) = octet.split_at_mut(OCTET / 2);
        quad::<W>(&padded, start, 0, low);
        quad::<W>(&padded, start + W / 2, 4 * W % 8, high);
    }
}

/// Four values of `W` bits from bit `shift` of byte `start` on.
#[inline(always)]
fn quad<const W: usize>(
    bytes: &[u8; OCTETS * NARROW + 8],
    start: usize,
    shift: usize,
    out: &mut [u64],
) {
    let Some(word) = bytes.get(start..).and_then(<[u8]>::first_chunk) else { return };
    let word = u64::from_le_bytes(*word);
    for (i, value) in out.iter_mut().enumerate() {
        *value = (word >> (shift + i * W)) & mask(W);
    }
}

/// Unpacks 64 values of a width known at compile time; the optimiser turns shifts and word numbers into constants.
#[inline]
fn unpack_words<const W: usize>(source: &[u8], out: &mut [u64; 64]) {
    let mut words = [0; W];
    for (word, bytes) in words.iter_mut().zip(source.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let mask = mask(W);
    for (i, value) in out.iter_mut().enumerate() {
        let (word, shift) = (i * W / 64, i * W % 64);
        let mut bits = words[word] >> shift;
        if shift + W > 64 {
            bits |= words[word + 1] << (64 - shift);
        }
        *value = bits & mask;
    }
}

/// Unpacks eight values at a time of a width known at compile time, each of them from `W` bytes.
#[inline]
fn unpack_eights<const W: usize>(source: &[u8], out: &mut [[u64; OCTET]]) {
    let mask = mask(W);
    let (sources, _) = source.as_chunks::<W>();
    for (octet, source) in out.iter_mut().zip(sources) {
        let mut bytes = [0; 72];
        bytes[..W].copy_from_slice(source);
        let words = bytes.as_chunks::<8>().0;
        for (i, value) in octet.iter_mut().enumerate() {
            let (word, shift) = (i * W / 64, i * W % 64);
            let mut bits = u64::from_le_bytes(words[word]) >> shift;
            if shift + W > 64 {
                bits |= u64::from_le_bytes(words[word + 1]) << (64 - shift);
            }
            *value = bits & mask;
        }
    }
}
