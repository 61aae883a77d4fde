//! Numbers, durations and byte sizes as they stand in log lines, read the way Loki reads label values.
//!
//! Durations here are the machine notation of label values (`1h30m`, `1.5s`), which knows no days; durations written in
//! a query belong to the lexer. Error texts become `__error_details__` and follow Loki's.

use model::DurationMistake;

use crate::template::read_number;

/// Longest excerpt of a foreign text that goes into an error text.
const EXCERPT_BYTES_MAX: usize = 128;

/// Reads a duration such as `1h30m`, `-1.5s` or `250ms` as seconds.
pub(crate) fn parse_duration(text: &str) -> Result<f64, String> {
    parse_duration_ns(text).map(|ns| ns / 1e9)
}

/// As [`parse_duration`], in nanoseconds.
pub(crate) fn parse_duration_ns(text: &str) -> Result<f64, String> {
    model::go_duration_ns(text).map_err(|mistake| match mistake {
        DurationMistake::Invalid => format!("time: invalid duration {:?}", excerpt(text)),
        DurationMistake::MissingUnit => {
            format!("time: missing unit in duration {:?}", excerpt(text))
        }
        DurationMistake::UnknownUnit(unit) => {
            format!("time: unknown unit {:?} in duration {:?}", excerpt(unit), excerpt(text))
        }
    })
}

/// Reads a size such as `42kB`, `1.5 GiB` or `2,048` as whole bytes. Case does not matter; `K` is 1000, `Ki` is 1024.
pub(crate) fn parse_bytes(text: &str) -> Result<f64, String> {
    let number_len =
        text.bytes().take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b',')).count();
    let (number, unit) = text.split_at(number_len);
    let value = parse_number(&number.replace(',', ""))?;
    let unit = unit.trim();
    let factor =
        bytes_of_unit(unit).ok_or_else(|| format!("unhandled size name: {}", excerpt(unit)))?;
    let bytes = (value * factor).trunc();
    if bytes >= 18_446_744_073_709_551_615.0 {
        return Err(format!("too large: {}", excerpt(text)));
    }
    Ok(bytes)
}

/// How many bytes one of `unit` is, whatever its case.
pub(crate) fn bytes_of_unit(unit: &str) -> Option<f64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "p" | "pb" => 1e15,
        "e" | "eb" => 1e18,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1_048_576.0,
        "gi" | "gib" => 1_073_741_824.0,
        "ti" | "tib" => 1_099_511_627_776.0,
        "pi" | "pib" => 1_125_899_906_842_624.0,
        "ei" | "eib" => 1_152_921_504_606_846_976.0,
        _ => return None,
    })
}

/// Reads a number: decimal, `1e3`, `0x1p3`, `Inf`, `NaN`.
pub(crate) fn parse_number(text: &str) -> Result<f64, String> {
    read_number(text)
        .ok_or_else(|| format!("strconv.ParseFloat: parsing {:?}: invalid syntax", excerpt(text)))
}

/// The beginning of `text`, cut at a character boundary.
pub(crate) fn excerpt(text: &str) -> &str {
    if text.len() <= EXCERPT_BYTES_MAX {
        return text;
    }
    let mut end = EXCERPT_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.split_at(end).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_label_values() {
        for (text, seconds) in
            [("1h30m", 5400.0), ("-5s", -5.0), ("1.5h", 5400.0), ("250µs", 0.00025), ("0", 0.0)]
        {
            assert_eq!(parse_duration(text), Ok(seconds), "{text}");
        }
        assert_eq!(
            parse_duration("2weeeeee").unwrap_err(),
            r#"time: unknown unit "weeeeee" in duration "2weeeeee""#
        );
        assert_eq!(parse_duration("90").unwrap_err(), r#"time: missing unit in duration "90""#);
        assert_eq!(parse_duration("oops").unwrap_err(), r#"time: invalid duration "oops""#);
        assert!(parse_duration("").is_err() && parse_duration("1d").is_err());
    }

    #[test]
    fn sizes_and_numbers() {
        for (text, bytes) in [
            ("42kB", 42_000.0),
            ("13 MiB", 13_631_488.0),
            ("2,048", 2048.0),
            ("1.5B", 1.0),
            ("2Kb", 2000.0),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        assert!(parse_bytes("1XB").is_err() && parse_bytes("oops").is_err());
        assert_eq!(parse_number("0x1.8p3"), Ok(12.0));
        assert_eq!(parse_number("-Inf"), Ok(f64::NEG_INFINITY));
        assert!(parse_number("0x10").is_err() && parse_number("infinite").is_err());
    }
}
