//! Texts of JSON: where they end, and what their escapes stand for; many bytes at a time.

use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x32};

/// Bytes looked at together.
const BLOCK: usize = 32;

/// The first byte from `at` that ends a text or is not itself: a quote, a backslash, a control character; or the end.
pub(super) fn plain_end(level: Level, bytes: &[u8], at: usize) -> usize {
    // Names, times and numbers end soon.
    let near = bytes.get(at..bytes.len().min(at + 8)).unwrap_or_default();
    if let Some(end) = near.iter().position(|b| is_special(*b)) {
        return at + end;
    }
    dispatch!(level, simd => plain_end_simd(simd, bytes, at + near.len()))
}

#[inline(always)]
fn plain_end_simd<S: Simd>(simd: S, bytes: &[u8], mut at: usize) -> usize {
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        let special = specials(simd, block);
        if special != 0 {
            return at + special.trailing_zeros() as usize;
        }
        at += BLOCK;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|b| is_special(*b)).unwrap_or(rest.len())
}

fn is_special(byte: u8) -> bool {
    byte < b' ' || matches!(byte, b'"' | b'\\')
}

/// A bit for each byte.
#[inline(always)]
fn specials<S: Simd>(simd: S, block: &[u8; BLOCK]) -> u64 {
    let bytes = u8x32::from_slice(simd, block);
    let special = bytes.simd_eq(b'"') | bytes.simd_eq(b'\\') | bytes.simd_lt(b' ');
    special.to_bitmask()
}

/// Appends the text from `at` to its closing quote, whose place it returns; otherwise a place and what is wrong there.
pub(super) fn unescape(
    level: Level,
    bytes: &[u8],
    at: usize,
    out: &mut Vec<u8>,
) -> Result<usize, (usize, &'static str)> {
    dispatch!(level, simd => unescape_simd(simd, bytes, at, out))
}

#[inline(always)]
fn unescape_simd<S: Simd>(
    simd: S,
    bytes: &[u8],
    mut at: usize,
    out: &mut Vec<u8>,
) -> Result<usize, (usize, &'static str)> {
    // Twice the block: from any byte of it another block can be read.
    while let Some(window) = bytes.get(at..).and_then(<[u8]>::first_chunk::<{ 2 * BLOCK }>) {
        let (block, _) = window.split_first_chunk::<BLOCK>().expect("BUG: it is twice as long");
        let mut left = specials(simd, block);
        let mut from = 0;
        while left != 0 {
            let special = left.trailing_zeros() as usize;
            put(window, from, special - from, out);
            match block[special] {
                b'"' => return Ok(at + special),
                b'\\' => {
                    from = escape(bytes, at + special, out)? - at;
                    left = if from < BLOCK { left & (u64::MAX << from) } else { 0 };
                }
                _ => return Err((at + special, CONTROL)),
            }
        }
        if from < BLOCK {
            put(window, from, BLOCK - from, out);
        }
        at += from.max(BLOCK);
    }
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at),
            b'\\' => at = escape(bytes, at, out)?,
            0..b' ' => return Err((at, CONTROL)),
            byte => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    Err((at, "body ends inside of a text"))
}

const CONTROL: &str = "control character inside of a text";

/// Appends `count` bytes, no more than a block, of `window` from `from`, which is within the first block: as a whole
/// block, of which the rest is taken back, for a copy of a length known beforehand costs least.
#[inline(always)]
fn put(window: &[u8; 2 * BLOCK], from: usize, count: usize, out: &mut Vec<u8>) {
    if let Some(block) = window.get(from..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        let len = out.len();
        out.extend_from_slice(block);
        out.truncate(len + count);
    }
}

/// Appends what the escape at `at` stands for; returns the place behind it.
#[inline(always)]
fn escape(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, (usize, &'static str)> {
    let byte = match bytes.get(at + 1) {
        Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
        Some(b'n') => b'\n',
        Some(b't') => b'\t',
        Some(b'r') => b'\r',
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'u') => return code_point(bytes, at, out),
        _ => return Err((at, "escape in a text is none of JSON's")),
    };
    out.push(byte);
    Ok(at + 2)
}

/// `\uXXXX`, two of them for characters beyond the first 65,536.
#[cold]
fn code_point(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, (usize, &'static str)> {
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0_u32, |unit, b| Some(unit << 4 | char::from(*b).to_digit(16)?))
    };
    let first = unit(at).ok_or((at, "\\u in a text is not followed by four hex digits"))?;
    let lone = (at, "half of a surrogate pair in a text");
    let (code, end) = match first {
        0xD800..0xDC00 => {
            let second = unit(at + 6).filter(|unit| (0xDC00..0xE000).contains(unit)).ok_or(lone)?;
            (0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00), at + 12)
        }
        code => (code, at + 6),
    };
    let c = char::from_u32(code).ok_or(lone)?;
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(end)
}
