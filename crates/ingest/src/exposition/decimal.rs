//! Short decimals, which most values are: `12`, `-0.25`, `1027.0031`, `1.5e+09`.
//!
//! Owns: the numbers for which one division or multiplication gives the float nearest to the text. Does not own: all others (the standard
//! library reads those).

/// Significant digits whose integer is exact in a float.
const DIGITS_MAX: usize = 15;

/// Powers of ten; all are exact in a float.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Reads `[-]digits[.digits][e[+-]digits]` of at most 15 digits and a small exponent of at most two at the start of `text`,
/// and how many bytes it has. `None` for anything else; what follows the number is the caller's to judge.
#[inline]
pub(super) fn read(text: &[u8]) -> Option<(f64, usize)> {
    let negative = text.first() == Some(&b'-');
    let first = usize::from(negative);
    let (mut int, mut at) = (0u64, first);
    // One more than fits, so that the end of a number that is too long is not taken for its end.
    let end = text.len().min(first + DIGITS_MAX + 2);
    while at < end && text[at].is_ascii_digit() {
        int = int * 10 + u64::from(text[at] - b'0');
        at += 1;
    }
    let whole = at - first;
    let mut fraction = 0;
    if whole > 0 && at < end && text[at] == b'.' {
        let point = at;
        at += 1;
        while at < end && text[at].is_ascii_digit() {
            int = int * 10 + u64::from(text[at] - b'0');
            at += 1;
        }
        fraction = at - point - 1;
        if fraction == 0 {
            return None;
        }
    }
    if whole == 0 || whole + fraction > DIGITS_MAX {
        return None;
    }
    let (power, len) = match text.get(at) {
        Some(b'e' | b'E') => exponent(&text[at + 1..])?,
        _ => (0, 0),
    };
    #[expect(clippy::cast_precision_loss, reason = "15 digits are below 2^53")]
    let value = int as f64;
    // Both are exact, so the result is rounded once.
    let scale = power - i32::try_from(fraction).unwrap_or(0);
    let factor = POWERS.get(scale.unsigned_abs() as usize)?;
    let value = if scale < 0 { value / factor } else { value * factor };
    Some((if negative { -value } else { value }, at + len))
}

/// Reads `[+-]digits` of one or two digits, and their length with the letter before them.
fn exponent(text: &[u8]) -> Option<(i32, usize)> {
    let signed = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let digits = text[signed..].iter().take(3).take_while(|b| b.is_ascii_digit());
    let (mut power, mut count) = (0, 0);
    for digit in digits {
        power = power * 10 + i32::from(digit - b'0');
        count += 1;
    }
    if !(1..=2).contains(&count) {
        return None;
    }
    Some((if text[0] == b'-' { -power } else { power }, 1 + signed + count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::read;

    fn check(text: &str, expected: Option<(f64, usize)>) {
        let found = read(text.as_bytes());
        let bits = |found: Option<(f64, usize)>| found.map(|(value, len)| (value.to_bits(), len));
        assert_eq!(bits(found), bits(expected), "{text:?}");
    }

    #[test]
    fn short_decimals_are_read_and_others_left() {
        check("0", Some((0.0, 1)));
        check("-0 ", Some((-0.0, 2)));
        check("12.5\n", Some((12.5, 4)));
        check("123456789012345", Some((123_456_789_012_345.0, 15)));
        check("1234567890.12345,", Some((1_234_567_890.123_45, 16)));
        for text in ["", "-", ".5", "5.", "+1", "NaN", "1234567890123456", "1.234567890123456"] {
            check(text, None);
        }
        check("1.5e+09\n", Some((1.5e9, 7)));
        check("-25E-4", Some((-0.0025, 6)));
        check("1e22", Some((1e22, 4)));
        check("1.00e05", Some((1e5, 7)));
        for text in ["1e", "1e+", "1e23", "1e-023", "1e100", "1ex", "1.5e-22"] {
            check(text, None);
        }
        // Left to the caller, who sees that the number goes on.
        check("1.5.2", Some((1.5, 3)));
    }

    proptest! {
        #[test]
        fn values_are_those_of_the_standard_library(int in 0u64..1_000_000_000, fraction in "[0-9]{1,6}", negative: bool) {
            let sign = if negative { "-" } else { "" };
            let text = format!("{sign}{int}.{fraction}");
            let expected = text.parse::<f64>().unwrap().to_bits();
            prop_assert_eq!(read(text.as_bytes()).map(|(v, len)| (v.to_bits(), len)), Some((expected, text.len())));
        }

        #[test]
        fn exponents_are_those_of_the_standard_library(int in 0u64..1_000_000_000_000_000, power in -30i32..30, point in 0usize..15) {
            let mut text = int.to_string();
            if (1..text.len()).contains(&point) {
                text.insert(point, '.');
            }
            let text = format!("{text}e{power:+03}");
            if let Some((value, len)) = read(text.as_bytes()) {
                prop_assert_eq!((value.to_bits(), len), (text.parse::<f64>().unwrap().to_bits(), text.len()));
            } else {
                prop_assert!(power.abs() > 8);
            }
        }

        #[test]
        fn noise_is_left_or_a_number(text in "[-0-9.e+]{0,20}") {
            if let Some((value, len)) = read(text.as_bytes()) {
                prop_assert_eq!(text[..len].parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
            }
        }
    }
}
