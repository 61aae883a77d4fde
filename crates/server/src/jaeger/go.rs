//! Numbers, durations and ids as Go reads them, whose words Jaeger's clients show.

use model::{DurationMistake, Error};

/// Jaeger's words around a mistake in the parameter `name`.
pub(super) fn parse_error(name: &str, why: &str) -> Error {
    Error::invalid(format!("unable to parse param '{name}': {why}"))
}

/// `strconv.ParseInt`, decimal.
pub(super) fn parse_int(text: &str) -> Result<i64, String> {
    text.parse().map_err(|e: std::num::ParseIntError| {
        use std::num::IntErrorKind;
        let why = match e.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {text:?}: {why}")
    })
}

/// `time.ParseDuration`, in nanoseconds.
pub(super) fn duration_ns(text: &str) -> Result<i64, String> {
    model::go_duration_ns(text).map(|ns| ns as i64).map_err(|mistake| match mistake {
        DurationMistake::Invalid => format!("time: invalid duration {text:?}"),
        DurationMistake::MissingUnit => format!("time: missing unit in duration {text:?}"),
        DurationMistake::UnknownUnit(unit) => {
            format!("time: unknown unit {unit:?} in duration {text:?}")
        }
    })
}

/// `strconv.ParseBool`.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// A trace's id as Jaeger reads it: up to 32 hexadecimal digits.
pub(super) fn trace_id(text: &str) -> Result<u128, String> {
    if text.len() > 32 {
        let shown: String = text.chars().take(64).collect();
        return Err(format!("TraceID cannot be longer than 32 hex characters: {shown}"));
    }
    // The two halves are read one after the other.
    let (high, low) = match text.len().checked_sub(16).filter(|at| text.is_char_boundary(*at)) {
        Some(at) => text.split_at(at),
        None => ("", text),
    };
    let half = |half: &str| {
        let is_sound = !half.is_empty() && half.bytes().all(|b| b.is_ascii_hexdigit());
        let number = is_sound.then(|| u64::from_str_radix(half, 16).ok()).flatten();
        number.ok_or_else(|| format!("strconv.ParseUint: parsing {half:?}: invalid syntax"))
    };
    let high = if high.is_empty() { 0 } else { half(high)? };
    Ok(u128::from(high) << 64 | u128::from(half(low)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal() {
        let check = |text: &str, expected: Result<u128, &str>| {
            assert_eq!(trace_id(text), expected.map_err(str::to_owned), "{text}");
        };
        check("1", Ok(1));
        check("00000000000000ff", Ok(255));
        check("FFFFFFFFFFFFFFFFffffffffffffffff", Ok(u128::MAX));
        check("10000000000000000", Ok(1 << 64));
        check("", Err("strconv.ParseUint: parsing \"\": invalid syntax"));
        check("+1", Err("strconv.ParseUint: parsing \"+1\": invalid syntax"));
        check("x0000000000000001", Err("strconv.ParseUint: parsing \"x\": invalid syntax"));
        check("ä0000000000000000", Err("strconv.ParseUint: parsing \"ä\": invalid syntax"));
        let long = "000000000000000000000000000000001";
        let why = format!("TraceID cannot be longer than 32 hex characters: {long}");
        check(long, Err(&why));
    }

    #[test]
    fn mistakes_have_gos_words() {
        assert_eq!(parse_int("-5"), Ok(-5));
        let why = "strconv.ParseInt: parsing \"9223372036854775808\": value out of range";
        assert_eq!(parse_int("9223372036854775808"), Err(why.to_owned()));
        assert_eq!(duration_ns("-1.5h"), Ok(-5_400_000_000_000));
        let why = "time: unknown unit \"y\" in duration \"3y\"";
        assert_eq!(duration_ns("3y"), Err(why.to_owned()));
        assert_eq!(duration_ns("x"), Err("time: invalid duration \"x\"".to_owned()));
        assert_eq!(parse_bool("True"), Ok(true));
        assert!(parse_bool("yes").is_err());
    }
}
