//! Texts that are really numbers, times or addresses: parsed only when formatting gives the same bytes back.
//!
//! Owns the parsers and formatters, one value at a time. Does not own choosing among them or storing them (`column`).

/// Largest scale of a decimal and largest number of digits of a fixed-width number.
pub(crate) const DIGITS_MAX: usize = 18;
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// `-?(0|[1-9][0-9]*)`, without `-0`, of at most 18 digits.
pub(crate) fn parse_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let value = parse_digits(digits)?;
    let canonical = digits.len() == 1 || digits[0] != b'0';
    (canonical && !(negative && value == 0)).then_some(if negative { -value } else { value })
}

/// 1 to 18 digits.
pub(crate) fn parse_digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > DIGITS_MAX {
        return None;
    }
    let mut value = 0;
    for b in text {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

pub(crate) fn format_int(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    format_digits(value.unsigned_abs(), 1, out);
}

/// At least `width` digits, zero-padded.
pub(crate) fn format_digits(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&two_digits(value % 100));
        value /= 100;
    }
    if value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
    }
    // A pair may have begun with a zero that is not part of the number.
    at += usize::from(at < digits.len() && digits[at] == b'0');
    let at = at.min(digits.len() - width.min(digits.len()));
    out.extend_from_slice(&digits[at..]);
}

/// Decimal digits of a number below 100.
fn two_digits(value: u64) -> [u8; 2] {
    [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]
}

/// A decimal as `(mantissa, scale)`: `-1.50` is `(-150, 2)`; integers have scale 0.
pub(crate) fn parse_decimal(text: &[u8]) -> Option<(i64, u8)> {
    let Some(point) = memchr::memchr(b'.', text) else {
        return parse_int(text).map(|v| (v, 0));
    };
    let (whole, fraction) = (&text[..point], &text[point + 1..]);
    let negative = whole.first() == Some(&b'-');
    let digits = if negative { &whole[1..] } else { whole };
    if digits.len() + fraction.len() > DIGITS_MAX || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    let mantissa = parse_digits(digits)? * 10_i64.pow(fraction.len() as u32);
    let mantissa = mantissa + parse_digits(fraction)?;
    let signed = if negative { -mantissa } else { mantissa };
    (!(negative && mantissa == 0)).then_some((signed, fraction.len() as u8))
}

pub(crate) fn format_decimal(mantissa: i64, scale: usize, out: &mut Vec<u8>) {
    if mantissa < 0 {
        out.push(b'-');
    }
    let start = out.len();
    format_digits(mantissa.unsigned_abs(), scale + 1, out);
    if scale > 0 {
        let point = (out.len() - scale).max(start);
        out.insert(point, b'.');
    }
}

pub(crate) fn parse_ipv4(text: &[u8]) -> Option<i64> {
    if text.len() > 15 {
        return None;
    }
    let mut address = 0;
    let mut count = 0;
    for part in text.split(|b| *b == b'.') {
        let value = parse_int(part).filter(|v| (0..256).contains(v))?;
        address = address << 8 | value;
        count += 1;
    }
    (count == 4).then_some(address)
}

pub(crate) fn format_ipv4(address: i64, out: &mut Vec<u8>) {
    for shift in [24, 16, 8, 0] {
        format_int(address >> shift & 255, out);
        if shift > 0 {
            out.push(b'.');
        }
    }
}

/// Hexadecimal digits of one case to bytes, appended to `out`; `false` (and garbage in `out`) when it is not that.
pub(crate) fn parse_hex(text: &[u8], upper: bool, out: &mut Vec<u8>) -> bool {
    let table = &HEX_DIGITS[usize::from(upper)];
    text.len().is_multiple_of(2)
        && text.chunks_exact(2).all(|pair| {
            let (high, low) = (table[usize::from(pair[0])], table[usize::from(pair[1])]);
            out.push((high << 4) | (low & 15));
            (high | low) < 16
        })
}

/// Value of each lower-case (then upper-case) hexadecimal digit; 255 for other bytes.
const HEX_DIGITS: [[u8; 256]; 2] = {
    let mut tables = [[255; 256]; 2];
    let mut value = 0;
    while value < 16 {
        let lower = b"0123456789abcdef"[value];
        tables[0][lower as usize] = value as u8;
        tables[1][lower.to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    tables
};

pub(crate) fn format_hex(bytes: &[u8], upper: bool, out: &mut Vec<u8>) {
    let pairs = &HEX_PAIRS[usize::from(upper)];
    let start = out.len();
    out.resize(start + bytes.len() * 2, 0);
    for (pair, b) in out[start..].as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = pairs[usize::from(*b)];
    }
}

/// The two lower-case (then upper-case) digits of each byte.
const HEX_PAIRS: [[[u8; 2]; 256]; 2] = {
    let mut tables = [[[0; 2]; 256]; 2];
    let mut byte = 0;
    while byte < 256 {
        let lower = [b"0123456789abcdef"[byte >> 4], b"0123456789abcdef"[byte & 15]];
        tables[0][byte] = lower;
        tables[1][byte] = [lower[0].to_ascii_uppercase(), lower[1].to_ascii_uppercase()];
        byte += 1;
    }
    tables
};

/// Where the dashes of a UUID stand, in bytes of its binary form.
const UUID_DASHES: [usize; 4] = [4, 6, 8, 10];

pub(crate) fn parse_uuid(text: &[u8], upper: bool, out: &mut Vec<u8>) -> bool {
    let mut groups = text.split(|b| *b == b'-');
    let fits = [8, 4, 4, 4, 12]
        .iter()
        .all(|len| groups.next().is_some_and(|g| g.len() == *len && parse_hex(g, upper, out)));
    fits && groups.next().is_none()
}

pub(crate) fn format_uuid(bytes: &[u8], upper: bool, out: &mut Vec<u8>) {
    for (i, b) in bytes.iter().enumerate() {
        if UUID_DASHES.contains(&i) {
            out.push(b'-');
        }
        format_hex(std::slice::from_ref(b), upper, out);
    }
}

/// How the times of a column are written, apart from the moment itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeFormat {
    /// `T` or ` ` between date and time of an ISO 8601 time, or `/` for `02/Jan/2006:15:04:05`.
    pub(crate) layout: u8,
    /// `.` or `,` before the fraction, or 0 when there is none.
    pub(crate) point: u8,
    /// Digits of the fraction, or [`TRIMMED`].
    pub(crate) digits: u8,
    /// What follows, the same for all: `Z`, `+02:00`, …
    pub(crate) zone: Vec<u8>,
}

/// Fractions of up to nine digits without trailing zeros, left out when zero.
pub(crate) const TRIMMED: u8 = 255;

/// One time as written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParsedTime<'a> {
    pub(crate) layout: u8,
    pub(crate) point: u8,
    pub(crate) digits: u8,
    pub(crate) zone: &'a [u8],
    /// Seconds since 1970 as if the zone were UTC.
    seconds: i64,
    fraction_ns: i64,
}

impl ParsedTime<'_> {
    /// The moment in units of the last digit of `digits` ([`TRIMMED`]: nanoseconds).
    pub(crate) fn scaled(&self, digits: u8) -> i64 {
        let digits = if digits == TRIMMED { 9 } else { u32::from(digits.min(9)) };
        self.seconds * 10_i64.pow(digits) + self.fraction_ns / 10_i64.pow(9 - digits)
    }

    /// Whether the fraction is written without trailing zeros.
    pub(crate) fn is_trimmed(&self) -> bool {
        if self.digits == 0 {
            true
        } else {
            self.fraction_ns / 10_i64.pow(9 - u32::from(self.digits)) % 10 != 0
        }
    }
}

pub(crate) fn parse_time(text: &[u8]) -> Option<ParsedTime<'_>> {
    let (layout, days, clock) = if text.get(2) == Some(&b'/') {
        let month = MONTHS.iter().position(|m| text.get(3..6) == Some(m.as_slice()))? as i64 + 1;
        if text.get(6) != Some(&b'/') || text.get(11) != Some(&b':') {
            return None;
        }
        (b'/', days(number(text, 7, 4)?, month, number(text, 0, 2)?)?, 12)
    } else {
        let layout = *text.get(10)?;
        if !matches!(layout, b'T' | b' ') || text[4] != b'-' || text[7] != b'-' {
            return None;
        }
        (layout, days(number(text, 0, 4)?, number(text, 5, 2)?, number(text, 8, 2)?)?, 11)
    };
    let (hour, minute, second) =
        (number(text, clock, 2)?, number(text, clock + 3, 2)?, number(text, clock + 6, 2)?);
    if text[clock + 2] != b':' || text[clock + 5] != b':' || hour > 23 || minute > 59 || second > 59
    {
        return None;
    }
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    let rest = &text[clock + 8..];
    let mut parsed =
        ParsedTime { layout, point: 0, digits: 0, zone: rest, seconds, fraction_ns: 0 };
    if let Some(point @ (b'.' | b',')) = rest.first().copied() {
        let count = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 || count > 9 {
            return None;
        }
        parsed.point = point;
        parsed.digits = count as u8;
        parsed.fraction_ns = number(rest, 1, count)? * 10_i64.pow(9 - count as u32);
        parsed.zone = &rest[1 + count..];
    }
    is_zone(parsed.zone).then_some(parsed)
}

/// Nothing, `Z`, `+02:00`, `+0200` or ` +0200`. Anything wider could make tokens that the filter has to know.
fn is_zone(text: &[u8]) -> bool {
    match text {
        b"" | b"Z" => true,
        [b' ', rest @ ..] | rest => match rest {
            [b'+' | b'-', a, b, b':', c, d] | [b'+' | b'-', a, b, c, d] => {
                [a, b, c, d].iter().all(|d| d.is_ascii_digit())
            }
            _ => false,
        },
    }
}

pub(crate) fn format_time(value: i64, format: &TimeFormat, out: &mut Vec<u8>) {
    let digits = if format.digits == TRIMMED { 9 } else { usize::from(format.digits.min(9)) };
    let unit = 10_i64.pow(digits as u32);
    let (seconds, fraction) = (value.div_euclid(unit), value.rem_euclid(unit));
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let clock = seconds.rem_euclid(86_400) as u64;
    // Foreign bytes may ask for any year; written ones have four digits.
    let year = year.unsigned_abs() % 10_000;
    let ([y1, y2], [y3, y4]) = (two_digits(year / 100), two_digits(year % 100));
    let ([m1, m2], [d1, d2]) = (two_digits(month), two_digits(day));
    let ([h1, h2], [n1, n2], [s1, s2]) =
        (two_digits(clock / 3_600), two_digits(clock / 60 % 60), two_digits(clock % 60));
    if format.layout == b'/' {
        let [a, b, c] = *MONTHS[(month as usize).wrapping_sub(1) % 12];
        out.extend_from_slice(&[d1, d2, b'/', a, b, c, b'/', y1, y2, y3, y4, b':']);
    } else {
        out.extend_from_slice(&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, format.layout]);
    }
    out.extend_from_slice(&[h1, h2, b':', n1, n2, b':', s1, s2]);
    if digits > 0 && !(format.digits == TRIMMED && fraction == 0) {
        out.push(format.point);
        format_digits(fraction as u64, digits, out);
        while format.digits == TRIMMED && out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.extend_from_slice(&format.zone);
}

fn number(text: &[u8], at: usize, len: usize) -> Option<i64> {
    parse_digits(text.get(at..at + len)?)
}

/// Days since 1970-01-01, for the years whose nanoseconds fit into an `i64`.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1971..=2260).contains(&year) || !(1..=last).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last day of one.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468)
}

/// Year, month and day of a day since 1970-01-01. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: i64) -> (i64, u64, u64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, month as u64, (doy - (153 * mp + 2) / 5 + 1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(f: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_round_trip_or_are_refused() {
        for text in
            ["0", "-1", "10", "105", "1000", "99999", "123456789012345678", "-999999999999999999"]
        {
            let value = parse_int(text.as_bytes()).unwrap();
            assert_eq!(formatted(|o| format_int(value, o)), text);
        }
        for text in ["", "-", "-0", "01", "+1", "1e3", "1234567890123456789", "１"] {
            assert_eq!(parse_int(text.as_bytes()), None, "{text}");
        }
        for text in ["0.5", "-0.05", "12.340", "7", "-3.000", "0.000", "100.0", "1234567.25"] {
            let (mantissa, scale) = parse_decimal(text.as_bytes()).unwrap();
            assert_eq!(formatted(|o| format_decimal(mantissa, usize::from(scale), o)), text);
        }
        for text in [".5", "5.", "-0.0", "00.5", "1.2.3", "-.5"] {
            assert_eq!(parse_decimal(text.as_bytes()), None, "{text}");
        }
        let address = parse_ipv4(b"192.168.0.255").unwrap();
        assert_eq!(formatted(|o| format_ipv4(address, o)), "192.168.0.255");
        for text in ["1.2.3", "1.2.3.4.5", "256.1.1.1", "01.1.1.1"] {
            assert_eq!(parse_ipv4(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_round_trip_or_are_refused() {
        for text in [
            "2016-12-19T16:00:01Z",
            "2024-02-29 23:59:59,123",
            "2024-12-31T00:00:00.000000001+05:30",
            "19/Dec/2016:16:00:01 +0000",
            "1999-03-01T00:00:00",
        ] {
            let time = parse_time(text.as_bytes()).unwrap();
            let format = TimeFormat {
                layout: time.layout,
                point: time.point,
                digits: time.digits,
                zone: time.zone.to_vec(),
            };
            assert_eq!(formatted(|o| format_time(time.scaled(time.digits), &format, o)), text);
        }
        for text in
            ["2023-02-29T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:00.1234567890Z", "x"]
        {
            assert!(parse_time(text.as_bytes()).is_none(), "{text}");
        }
    }
}
