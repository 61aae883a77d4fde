//! Numbers of payment cards: 13 to 19 digits in a row or in groups, with the first digits of an issuer and a right
//! check digit (ISO/IEC 7812).
//!
//! One in fifty numbers of 16 digits is such a one by chance. Digits in groups as on a card are taken for one; digits in a
//! row are if a name or the words around them say so (`card_words`).

use std::ops::Range;

use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x32};

use super::card_words;
use super::quotes::Quote;
use super::values::is_escape_before;

const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;
/// Digits of the groups on a card.
const SHAPES: [&[usize]; 4] = [&[4, 4, 4, 4, 3], &[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4]];
/// Groups of four in a row: those of a card, and a year or what was before.
const FOURS_MAX: usize = 5;
/// Bytes that are compared at once; each is one bit of a word.
const BLOCK: usize = 64;

/// Visits the places in `text` that may be numbers, to be looked at in their line with [`numbers`]: where digits and
/// separators as long as a number begin.
///
/// Cost: compares all bytes, a vector at a time.
pub(super) fn places(text: &[u8], visit: &mut dyn FnMut(usize)) {
    dispatch!(Level::new(), simd => long_runs(simd, text, visit));
}

/// Visits the numbers among the digits and separators of `line` from `from` on, and the quotes that a mark needs in place
/// of each; returns where digits and separators end. `field` is what `line` is the value of.
pub(super) fn numbers(
    line: &[u8],
    field: Option<&str>,
    from: usize,
    visit: &mut dyn FnMut(Range<usize>, Option<Quote>),
) -> usize {
    run(line, from, &mut |run| {
        let groups = groups(line, run);
        grouped(line, &groups, &mut |at| visit(at, None));
        let long = groups.iter().filter(|group| (DIGITS_MIN..=DIGITS_MAX).contains(&group.len()));
        for at in long.filter(|at| is_card(&line[(*at).clone()]) && is_bounded(line, at)) {
            if let Some(quote) = card_words::said(line, field, at.clone()) {
                visit(at.clone(), quote);
            }
        }
    })
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

/// Visits the runs of digits with single separators from `from` on, up to something else; returns where that is.
fn run(text: &[u8], from: usize, visit: &mut dyn FnMut(Range<usize>)) -> usize {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let is_separator = |at: usize| matches!(text.get(at), Some(b' ' | b'-'));
    let mut at = from;
    loop {
        let start = (at..).find(|i| !is_separator(*i)).unwrap_or(at);
        if !is_digit(start) {
            return start;
        }
        // A single separator between digits is part of the run.
        let is_part = |i: usize| is_digit(i) || (is_separator(i) && is_digit(i + 1));
        at = (start..).find(|i| !is_part(*i)).unwrap_or(start);
        if at - start >= DIGITS_MIN {
            visit(start..at);
        }
    }
}

/// The groups of digits in a run.
fn groups(text: &[u8], run: Range<usize>) -> Vec<Range<usize>> {
    let mut start = run.start;
    let group = |digits: &[u8]| {
        let at = start..start + digits.len();
        start = at.end + 1;
        at
    };
    text[run].split(|b| !b.is_ascii_digit()).map(group).collect()
}

/// Whether digits go on in another way beyond `at`: as a longer word, a decimal number, an IP address, a negative number.
fn is_bounded(text: &[u8], at: &Range<usize>) -> bool {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let is_apart = match &text[..at.start] {
        [.., b'-', b'-'] => true,
        [.., before, b'-'] => before.is_ascii_digit(),
        [.., b'.' | b'+'] | [b'-'] => false,
        before => !before.last().is_some_and(is_word) || is_escape_before(text, at.start),
    };
    let is_ended = match &text[at.end..] {
        [b'.', digit, ..] => !digit.is_ascii_digit(),
        rest => !rest.first().is_some_and(is_word),
    };
    is_apart && is_ended
}

/// Visits numbers in groups as on a card. Other digits may stand around, as the date at which it expires.
fn grouped(text: &[u8], groups: &[Range<usize>], visit: &mut dyn FnMut(Range<usize>)) {
    let mut at = 0;
    while at < groups.len() {
        let shape = SHAPES.iter().find(|shape| has_shape(text, groups, at, shape));
        if let Some(shape) = shape {
            visit(groups[at].start..groups[at + shape.len() - 1].end);
        }
        at += shape.map_or(1, |shape| shape.len());
    }
}

/// Whether the groups from `first` on are a number in a card's groups, with one kind of separator. More than five groups of
/// four are something else, and so are the groups of an IBAN.
fn has_shape(text: &[u8], groups: &[Range<usize>], first: usize, shape: &[usize]) -> bool {
    let Some(own) = groups.get(first..first + shape.len()) else { return false };
    let fits = own.iter().map(ExactSizeIterator::len).eq(shape.iter().copied());
    let separator = text[own[0].end];
    if !fits || own.array_windows().any(|[group, _]| text[group.end] != separator) {
        return false;
    }
    let is_four = |group: &&Range<usize>| group.len() == 4;
    let before = groups[..first].iter().rev().take_while(is_four);
    let before = before.take(FOURS_MAX).take_while(|group| text[group.end] == separator).count();
    let fours = groups[first..].iter().take_while(is_four).take(FOURS_MAX + 1).count();
    let is_iban = groups[0].len() == 2
        && text[..groups[0].start]
            .last_chunk::<2>()
            .is_some_and(|country| country.iter().all(u8::is_ascii_uppercase));
    let at = own[0].start..own[own.len() - 1].end;
    before + fours <= FOURS_MAX && !is_iban && is_card(&text[at.clone()]) && is_bounded(text, &at)
}

/// Whether the digits of `text` have a card's length, issuer and check digit.
fn is_card(text: &[u8]) -> bool {
    let mut digits = [0; DIGITS_MAX];
    let mut count = 0;
    for byte in text.iter().filter(|b| b.is_ascii_digit()) {
        let Some(slot) = digits.get_mut(count) else { return false };
        *slot = byte - b'0';
        count += 1;
    }
    is_issued(&digits[..count]) && has_right_check_digit(&digits[..count])
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

    proptest! {
        /// Every place at which a run of digits and separators begins is visited, and none that has less of them.
        #[test]
        fn long_runs_are_found_wherever_they_stand(
            text in "([ -]{0,3}(4111111111111111|4111[ -]1111[ -]1111[ -]1111|37828[ -]?2246310005|[0-9]{1,20}|[a-z]{0,70})){0,12}",
        ) {
            let text = text.as_bytes();
            let mut found = Vec::new();
            places(text, &mut |at| found.push(at));
            let is_part = |b: &u8| b.is_ascii_digit() || matches!(b, b' ' | b'-');
            let is_place = |at: &usize| {
                text.get(*at..at + DIGITS_MIN).is_some_and(|run| run.iter().all(is_part))
            };
            prop_assert_eq!(found, (0..text.len()).filter(is_place).collect::<Vec<_>>());
        }
    }
}
