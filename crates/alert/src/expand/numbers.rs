//! Numbers for people: the `humanize` functions, and numbers as moments and durations, as Prometheus has them.

use query::template::{Moment, Value, float_text, float_text_with, parse_float};

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_1024: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// A number, a text that is one, or a duration's seconds.
///
/// # Errors
/// For a text that is no number, and for anything else.
pub(super) fn to_float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(x) => Ok(*x),
        Value::Int(n) => Ok(*n as f64),
        Value::Text(text) => parse_float(text),
        Value::Duration(ns) => Ok(*ns as f64 / 1e9),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// `%.4g`
fn four_digits(x: f64) -> String {
    float_text_with('g', Some(4), x)
}

fn scaled(mut x: f64, base: f64, prefixes: &[&'static str]) -> (f64, &'static str) {
    let mut prefix = "";
    for next in prefixes {
        if x.abs() < base {
            break;
        }
        (x, prefix) = (x / base, next);
    }
    (x, prefix)
}

fn enlarged(mut x: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in SMALL {
        if x.abs() >= 1.0 {
            break;
        }
        (x, prefix) = (x * 1000.0, next);
    }
    (x, prefix)
}

/// `1.235M`, `120m`
pub(super) fn humanize(x: f64) -> String {
    let (x, prefix) = match x {
        x if x == 0.0 || !x.is_finite() => (x, ""),
        x if x.abs() >= 1.0 => scaled(x, 1000.0, &LARGE),
        x => enlarged(x),
    };
    four_digits(x) + prefix
}

/// `1.177Mi`
pub(super) fn humanize_1024(x: f64) -> String {
    let (x, prefix) = match x {
        x if x.abs() <= 1.0 || !x.is_finite() => (x, ""),
        x => scaled(x, 1024.0, &LARGE_1024),
    };
    four_digits(x) + prefix
}

/// `80%`
pub(super) fn humanize_percentage(x: f64) -> String {
    four_digits(x * 100.0) + "%"
}

/// Seconds as `14d 6h 56m 7s`, `1.234s` or `100ms`.
pub(super) fn humanize_duration(x: f64) -> String {
    if !x.is_finite() {
        return four_digits(x);
    }
    if x == 0.0 {
        return four_digits(x) + "s";
    }
    if x.abs() < 1.0 {
        let (x, prefix) = enlarged(x);
        return four_digits(x) + prefix + "s";
    }
    let sign = if x < 0.0 { "-" } else { "" };
    let whole = x.abs() as i64;
    let (seconds, minutes, hours, days) =
        (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four_digits(x.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, ..) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// Unix seconds as a moment, in whole milliseconds.
///
/// # Errors
/// When there is no such moment.
pub(super) fn to_time(x: f64) -> Result<Moment, String> {
    let ns = nanoseconds(x, "timestamp")?;
    Ok(Moment::utc(ns / 1_000_000 * 1_000_000))
}

/// Unix seconds as a moment's text; what is no number stays as it is.
pub(super) fn humanize_timestamp(x: f64) -> Result<String, String> {
    if x.is_finite() { Ok(to_time(x)?.to_text()) } else { Ok(four_digits(x)) }
}

/// Seconds as nanoseconds of a `what`.
///
/// # Errors
/// When there are too many, or `x` is no number.
pub(super) fn nanoseconds(x: f64, what: &str) -> Result<i64, String> {
    if !x.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let ns = x * 1e9;
    if ns > i64::MAX as f64 || ns < i64::MIN as f64 {
        return Err(format!(
            "{} cannot be represented as a nanoseconds {what} since it overflows int64",
            float_text(x)
        ));
    }
    Ok(ns as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(x: f64, expected: [&str; 4]) {
        let found = [humanize(x), humanize_1024(x), humanize_duration(x), humanize_percentage(x)];
        assert_eq!(found, expected, "{x}");
    }

    #[test]
    fn numbers_are_for_people() {
        check(0.0, ["0", "0", "0s", "0%"]);
        check(999.96, ["1000", "1000", "16m 39s", "1e+05%"]);
        check(1000.0, ["1k", "1000", "16m 40s", "1e+05%"]);
        check(-2048.0, ["-2.048k", "-2ki", "-34m 8s", "-2.048e+05%"]);
        check(1e27, ["1000Y", "827.2Yi", "106751991167300d 15h 30m 7s", "1e+29%"]);
        check(0.000_012_34, ["12.34u", "1.234e-05", "12.34us", "0.001234%"]);
        check(f64::NAN, ["NaN", "NaN", "NaN", "NaN%"]);
        check(f64::NEG_INFINITY, ["-Inf", "-Inf", "-Inf", "-Inf%"]);
        check(90_061.5, ["90.06k", "87.95ki", "1d 1h 1m 1s", "9.006e+06%"]);
        check(59.999, ["60", "60", "60s", "6000%"]);
    }

    #[test]
    fn moments_are_whole_milliseconds() {
        assert_eq!(humanize_timestamp(1.000_9).unwrap(), "1970-01-01 00:00:01 +0000 UTC");
        assert_eq!(humanize_timestamp(1.5).unwrap(), "1970-01-01 00:00:01.5 +0000 UTC");
        assert_eq!(humanize_timestamp(f64::INFINITY).unwrap(), "+Inf");
        assert!(humanize_timestamp(1e10).is_err() && to_time(f64::NAN).is_err());
    }
}
