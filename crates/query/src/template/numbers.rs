//! Numbers as Go writes and reads them.

/// `x` as Go prints a float: the shortest digits that read back as `x`, with an exponent below 1e-4 and from 1e6 on.
pub fn float_text(x: f64) -> String {
    float_text_with('g', None, x)
}

/// `x` by Go's verb `e`, `f` or `g` (upper case too) with so many digits; without, as many as it takes.
pub fn float_text_with(verb: char, precision: Option<usize>, x: f64) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = match verb.to_ascii_lowercase() {
        'f' => match precision {
            Some(precision) => format!("{x:.precision$}"),
            None => format!("{x}"),
        },
        'e' => exponent(&match precision {
            Some(precision) => format!("{x:.precision$e}"),
            None => format!("{x:e}"),
        }),
        _ => general(precision, x),
    };
    if verb.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text }
}

/// `1.5e7` as `1.5e+07`.
fn exponent(scientific: &str) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn general(precision: Option<usize>, x: f64) -> String {
    let scientific = match precision {
        Some(precision) => format!("{x:.*e}", precision.max(1) - 1),
        None => format!("{x:e}"),
    };
    let (mantissa, tail) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i64 = tail.parse().unwrap_or(0);
    let mantissa = match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').trim_end_matches('.'),
        false => mantissa,
    };
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count() as i64;
    let limit = match precision {
        None => 6,
        Some(precision) => {
            let precision = i64::try_from(precision.max(1)).unwrap_or(i64::MAX);
            if precision > digits && digits > power { digits } else { precision }
        }
    };
    if power < -4 || power >= limit {
        return exponent(&format!("{mantissa}e{power}"));
    }
    let places = usize::try_from((digits - 1 - power).max(0)).unwrap_or(0);
    match precision {
        None => format!("{x}"),
        // What was rounded to its digits is rounded no further.
        Some(_) => {
            let rounded: f64 = scientific.parse().unwrap_or(x);
            format!("{rounded:.places$}")
        }
    }
}

/// Reads a number as Go's `strconv.ParseFloat` does.
///
/// # Errors
/// In its words.
pub fn parse_float(text: &str) -> Result<f64, String> {
    let fail = |why: &str| format!("strconv.ParseFloat: parsing {}: {why}", super::go_quote(text));
    let value = read_number(text).ok_or_else(|| fail("invalid syntax"))?;
    if value.is_infinite() && !text.to_ascii_lowercase().contains("inf") {
        return Err(fail("value out of range"));
    }
    Ok(value)
}

/// A number as Go reads one: decimal, `1e3`, `0x1p3`, `Inf`, `NaN`.
pub(crate) fn read_number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let value = read_hex_float(hex)?;
        return Some(if text.starts_with('-') { -value } else { value });
    }
    let lower = unsigned.to_ascii_lowercase();
    let is_word = matches!(lower.as_str(), "inf" | "infinity" | "nan");
    let starts_numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if is_word || starts_numeric { text.parse().ok() } else { None }
}

fn read_hex_float(hex: &str) -> Option<f64> {
    let (mantissa, exponent) = hex.split_once(['p', 'P'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars() {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let mut scale = 1.0 / 16.0;
    for digit in fraction.chars() {
        value += f64::from(digit.to_digit(16)?) * scale;
        scale /= 16.0;
    }
    Some(value * 2f64.powi(exponent))
}

/// What a number in a template stands for: a whole number, or a float where it has a point or an exponent.
pub(super) fn constant(text: &str) -> Result<super::Value, String> {
    let bad = || format!("bad number syntax: {}", super::go_quote(text));
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(tail) => (-1, tail),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = unsigned.replace('_', "").to_ascii_lowercase();
    let (base, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.split_at(2).1),
        Some("0o") => (8, lower.split_at(2).1),
        Some("0b") => (2, lower.split_at(2).1),
        _ if lower.len() > 1 && lower.bytes().all(|b| b.is_ascii_digit()) => {
            if lower.starts_with('0') { (8, lower.as_str()) } else { (10, lower.as_str()) }
        }
        _ => (10, lower.as_str()),
    };
    if let Ok(value) = i128::from_str_radix(digits, base) {
        return match i64::try_from(sign * value) {
            Ok(value) => Ok(super::Value::Int(value)),
            Err(_) => Err(format!("integer overflow: {}", super::go_quote(text))),
        };
    }
    let is_float = lower.contains('.') || lower.contains(if base == 16 { 'p' } else { 'e' });
    if !is_float {
        return Err(bad());
    }
    let value = read_number(&lower).ok_or_else(bad)?;
    Ok(super::Value::Float(if sign < 0 { -value } else { value }))
}
