//! Literals as Go and Prometheus spell them: quoted strings, numbers, durations.

use std::fmt::Write as _;

use model::{Error, Result};

/// A string literal's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quoted {
    /// The text; bytes that are not UTF-8 are replaced by U+FFFD.
    pub(crate) text: String,
    /// Whether escapes named bytes that are not UTF-8.
    pub(crate) lossy: bool,
}

/// Value of the string literal `raw` (with its quotes), whose first byte stands at `at` in the query.
///
/// # Errors
/// `Invalid` for unknown or incomplete escapes.
pub(crate) fn unquote(raw: &str, at: usize) -> Result<Quoted> {
    let quote = raw.chars().next().unwrap_or('"');
    let body = raw.get(1..raw.len().saturating_sub(1)).unwrap_or("");
    if quote == '`' {
        return Ok(Quoted { text: body.to_owned(), lossy: false });
    }
    let mut bytes = Vec::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            escape(&mut chars, quote, &mut bytes).map_err(|e| e.with_span(at, at + raw.len()))?;
        } else {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Quoted { text, lossy: false },
        Err(e) => Quoted { text: String::from_utf8_lossy(e.as_bytes()).into_owned(), lossy: true },
    })
}

fn escape(chars: &mut std::str::Chars<'_>, quote: char, out: &mut Vec<u8>) -> Result<()> {
    let c = chars.next().ok_or_else(|| Error::invalid("escape sequence not terminated"))?;
    let byte = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        _ if c == quote => c as u8,
        '0'..='7' => {
            let value = digits(chars, 8, 2)? + c.to_digit(8).unwrap_or(0) * 64;
            u8::try_from(value).map_err(|_| Error::invalid("escape sequence is an invalid byte"))?
        }
        'x' => u8::try_from(digits(chars, 16, 2)?).unwrap_or(0),
        'u' | 'U' => {
            let value = digits(chars, 16, if c == 'u' { 4 } else { 8 })?;
            let c = char::from_u32(value).ok_or_else(|| {
                Error::invalid("escape sequence is an invalid Unicode code point")
            })?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(());
        }
        _ => {
            let code = u32::from(c);
            return Err(Error::invalid(format!("unknown escape sequence U+{code:04X} '{c}'")));
        }
    };
    out.push(byte);
    Ok(())
}

fn digits(chars: &mut std::str::Chars<'_>, radix: u32, count: usize) -> Result<u32> {
    let mut value = 0;
    for _ in 0..count {
        let c = chars.next().ok_or_else(|| Error::invalid("escape sequence not terminated"))?;
        let digit = c.to_digit(radix).ok_or_else(|| {
            Error::invalid(format!(
                "illegal character U+{:04X} '{c}' in escape sequence",
                u32::from(c)
            ))
        })?;
        value = value * radix + digit;
    }
    Ok(value)
}

/// `text` as a double-quoted literal that [`unquote`] reads back.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A number: decimal with `_` between digits, hexadecimal, `Inf` or `NaN` in any case. `None` for anything else.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "inf" | "nan") {
        return lower.parse().ok();
    }
    let underscores_between_digits = lower.split('_').all(|part| {
        part.starts_with(|c: char| c.is_ascii_hexdigit())
            && part.ends_with(|c: char| c.is_ascii_hexdigit())
    });
    if lower.contains('_') && !underscores_between_digits {
        return None;
    }
    let plain = lower.replace('_', "");
    if let Some(hex) = plain.strip_prefix("0x") {
        if hex.is_empty() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        return Some(
            hex.bytes()
                .fold(0.0, |n, b| n * 16.0 + f64::from(char::from(b).to_digit(16).unwrap_or(0))),
        );
    }
    let octal = plain.len() > 1
        && plain.starts_with('0')
        && plain.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if octal {
        return u64::from_str_radix(&plain, 8).ok().map(|n| n as f64);
    }
    if !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || plain.contains(|c: char| c.is_ascii_alphabetic() && c != 'e')
    {
        return None;
    }
    plain.parse().ok()
}

/// A float as Go's `strconv.ParseFloat` reads label values and samples: sign, decimal, exponent, hexadecimal, `Inf`,
/// `infinity`, `NaN`.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let (negative, magnitude) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let value = if magnitude.eq_ignore_ascii_case("infinity") {
        f64::INFINITY
    } else {
        parse_number(magnitude)?
    };
    Some(if negative { -value } else { value })
}

const UNITS_MS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A duration such as `1h30m` or `0` in milliseconds: each unit at most once, from large to small.
pub fn duration_ms(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut total, mut next_unit) = (text, 0_i64, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let found = UNITS_MS.iter().position(|(name, _)| *name == unit)?;
        if found < next_unit {
            return None;
        }
        let count: i64 = number.parse().ok()?;
        total = total.checked_add(count.checked_mul(UNITS_MS[found].1)?)?;
        next_unit = found + 1;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// A duration as Prometheus prints it: `1h30m`, `0s`; years, weeks and days only when they divide it.
pub(crate) fn format_duration_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::from(if ms < 0 { "-" } else { "" });
    let mut rest = ms.unsigned_abs();
    for (unit, unit_ms) in UNITS_MS {
        let unit_ms = unit_ms.unsigned_abs();
        let exact_only = matches!(unit, "y" | "w" | "d");
        if exact_only && !rest.is_multiple_of(unit_ms) {
            continue;
        }
        if rest >= unit_ms {
            let _infallible = write!(out, "{}{unit}", rest / unit_ms);
            rest %= unit_ms;
        }
    }
    out
}

/// A float as Go's shortest `'f'` format, with `+Inf`, `-Inf` and `NaN`.
pub(crate) fn format_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}
