//! Numbers of payment cards: 13 to 19 digits in a row or in groups, with the first digits of an issuer and a right
//! check digit (ISO/IEC 7812).

use std::ops::Range;

use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x32};

const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;
/// Bytes that are compared at once; each is one bit of a word.
const BLOCK: usize = 64;

/// Visits the numbers in `text`, in order.
///
/// Cost: compares all bytes, a vector at a time; runs of digits and separators as long as a number are read one by one.
pub(super) fn find(text: &[u8], visit: &mut dyn FnMut(Range<usize>)) {
    let mut seen = 0;
    let mut look = |at: usize| {
        if at >= seen {
            seen = run(text, at, visit);
        }
    };
    dispatch!(Level::new(), simd => long_runs(simd, text, &mut look));
}

/// Visits places at which [`DIGITS_MIN`] digits and separators begin; every one at which a run of these begins is among
/// them.
#[inline(always)]
fn long_runs<S: Simd>(simd: S, text: &[u8], visit: &mut dyn FnMut(usize)) {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut padded = [0; BLOCK];
    padded[..rest.len()].copy_from_slice(rest);
    let mut before = 0;
    for (number, block) in blocks.iter().chain([&padded, &[0; BLOCK]]).enumerate() {
        let here = parts(simd, block);
        // Bit i stands for the bytes from i on: first 2 of them, then 4, 8, 13.
        let mut runs = u128::from(before) | u128::from(here) << BLOCK;
        runs &= runs >> 1;
        runs &= runs >> 2;
        runs &= runs >> 4;
        runs &= runs >> (DIGITS_MIN - 8);
        // Those that begin in the block before; the others come with the next one.
        let mut begin = runs as u64;
        while begin != 0 {
            visit((number - 1) * BLOCK + begin.trailing_zeros() as usize);
            begin &= begin - 1;
        }
        before = here;
    }
}

/// A bit for each byte: whether it is a digit or a separator.
#[inline(always)]
fn parts<S: Simd>(simd: S, block: &[u8; BLOCK]) -> u64 {
    let (low, high) = block.split_at(BLOCK / 2);
    half_parts(simd, low) | half_parts(simd, high) << (BLOCK / 2)
}

/// As many as one vector has. A function of its own, for a closure would not be compiled for the vector's processor.
#[inline(always)]
fn half_parts<S: Simd>(simd: S, half: &[u8]) -> u64 {
    let bytes = u8x32::from_slice(simd, half);
    let is_digit = (bytes - b'0').simd_le(9);
    (is_digit | bytes.simd_eq(b' ') | bytes.simd_eq(b'-')).to_bitmask()
}

/// Visits the numbers among the digits and separators from `from` on; returns where these end.
fn run(text: &[u8], from: usize, visit: &mut dyn FnMut(Range<usize>)) -> usize {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let is_separator = |at: usize| matches!(text.get(at), Some(b' ' | b'-'));
    let mut at = from;
    loop {
        let start = (at..).find(|i| !is_separator(*i)).unwrap_or(at);
        if !is_digit(start) {
            return start;
        }
        // A single separator between digits is part of the number.
        let is_part = |i: usize| is_digit(i) || (is_separator(i) && is_digit(i + 1));
        at = (start..).find(|i| !is_part(*i)).unwrap_or(start);
        if at - start >= DIGITS_MIN {
            numbers(text, start..at, visit);
        }
    }
}

/// Numbers in a run of digits and separators: all of it, or groups of four and what follows.
fn numbers(text: &[u8], run: Range<usize>, visit: &mut dyn FnMut(Range<usize>)) {
    let is_word = |at: usize| text.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    // Part of a longer word, of a decimal number, of an IP address.
    let before = run.start.checked_sub(1);
    if before.is_some_and(|b| is_word(b) || matches!(text[b], b'.' | b'-' | b'+'))
        || is_word(run.end)
        || (text.get(run.end) == Some(&b'.')
            && text.get(run.end + 1).is_some_and(u8::is_ascii_digit))
    {
        return;
    }
    let mut digits = [0; DIGITS_MAX];
    let mut count = 0;
    for byte in text[run.clone()].iter().filter(|b| b.is_ascii_digit()) {
        let Some(slot) = digits.get_mut(count) else { return };
        *slot = byte - b'0';
        count += 1;
    }
    let digits = &digits[..count];
    if is_grouped_well(&text[run.clone()]) && is_issued(digits) && has_right_check_digit(digits) {
        visit(run);
    }
}

/// Without separators, or in groups as on a card: 4-4-4-4(-3), 4-6-5, 4-6-4; one kind of separator.
fn is_grouped_well(run: &[u8]) -> bool {
    let Some(separator) = run.iter().find(|b| !b.is_ascii_digit()) else { return true };
    let lengths: Vec<usize> = run.split(|b| b == separator).map(<[u8]>::len).collect();
    run.iter().all(|b| b.is_ascii_digit() || b == separator)
        && matches!(lengths[..], [4, 4, 4, 4] | [4, 4, 4, 4, 3] | [4, 6, 5] | [4, 6, 4])
}

/// Lengths and first digits of Visa, Mastercard, American Express, Discover, JCB, Diners Club.
fn is_issued(digits: &[u8]) -> bool {
    let first = |n: usize| digits.iter().take(n).fold(0_u32, |all, d| all * 10 + u32::from(*d));
    match digits.len() {
        13 | 19 => first(1) == 4,
        14 => matches!(first(2), 36 | 38) || (300..=305).contains(&first(3)),
        15 => matches!(first(2), 34 | 37),
        16 => {
            first(1) == 4
                || (51..=55).contains(&first(2))
                || (2221..=2720).contains(&first(4))
                || first(4) == 6011
                || first(2) == 65
                || (644..=649).contains(&first(3))
                || (3528..=3589).contains(&first(4))
        }
        _ => false,
    }
}

fn has_right_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, digit)| {
            let doubled = u32::from(*digit) << (i % 2);
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|d| *d != digits[0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every digit with no part of a number before it begins one.
    fn one_by_one(text: &[u8]) -> Vec<Range<usize>> {
        let is_part = |at: usize| {
            text[at].is_ascii_digit()
                || (matches!(text[at], b' ' | b'-')
                    && at.checked_sub(1).is_some_and(|b| text[b].is_ascii_digit())
                    && text.get(at + 1).is_some_and(u8::is_ascii_digit))
        };
        let mut found = Vec::new();
        for start in (0..text.len()).filter(|at| *at == 0 || !is_part(*at - 1)) {
            let end = (start..text.len()).find(|at| !is_part(*at)).unwrap_or(text.len());
            if end - start >= DIGITS_MIN {
                numbers(text, start..end, &mut |at| found.push(at));
            }
        }
        found
    }

    proptest! {
        #[test]
        fn numbers_are_found_wherever_they_stand(
            text in "([ -]{0,3}(4111111111111111|4111[ -]1111[ -]1111[ -]1111|37828[ -]?2246310005|[0-9]{1,20}|[a-z]{0,70})){0,12}",
        ) {
            let mut found = Vec::new();
            find(text.as_bytes(), &mut |at| found.push(at));
            prop_assert_eq!(found, one_by_one(text.as_bytes()));
        }
    }
}
