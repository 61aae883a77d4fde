//! Numbers of payment cards: 13 to 19 digits in a row or in groups, with the first digits of an issuer and a right
//! check digit (ISO/IEC 7812).

use std::ops::Range;

const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;
/// In every so many bytes of a card's number at least one is a digit, however it is grouped.
const STRIDE: usize = 4;

/// Visits the numbers in `text`, in order.
///
/// Cost: looks at every fourth byte, and at all bytes around digits.
pub(super) fn find(text: &[u8], visit: &mut dyn FnMut(Range<usize>)) {
    let mut i = STRIDE - 1;
    let mut seen = 0;
    while i < text.len() {
        if !text[i].is_ascii_digit() {
            // A separator between groups: the byte behind it belongs to the number as well.
            i += STRIDE - usize::from(matches!(text[i], b' ' | b'-'));
            continue;
        }
        let is_part = |at: usize| -> bool {
            text[at].is_ascii_digit()
                || (matches!(text[at], b' ' | b'-')
                    && at.checked_sub(1).is_some_and(|b| text[b].is_ascii_digit())
                    && text.get(at + 1).is_some_and(u8::is_ascii_digit))
        };
        let start = (seen..i).rev().take_while(|at| is_part(*at)).last().unwrap_or(i);
        let end = (i..text.len()).find(|at| !is_part(*at)).unwrap_or(text.len());
        if end - start >= DIGITS_MIN {
            numbers(text, start..end, visit);
        }
        seen = end;
        i = end + STRIDE;
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
