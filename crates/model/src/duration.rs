//! Durations as numbers with units, in Go's notation: `1h30m`, `1.5s`, `250ms`.
//!
//! Owns: reading them, and what can be wrong. Does not own: durations of Prometheus (`15d`), which have no fractions, nor
//! the words of an error, which differ by where a duration stands.

/// What is wrong with a text that is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationMistake<'a> {
    /// Not numbers with units, or beyond 292 years.
    Invalid,
    /// A number without a unit.
    MissingUnit,
    /// A unit that does not exist.
    UnknownUnit(&'a str),
}

/// Reads Go's durations, also with a sign in front, as nanoseconds.
///
/// # Errors
/// What is wrong with `text`.
pub fn go_duration_ns(text: &str) -> Result<f64, DurationMistake<'_>> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0.0);
    }
    let ns = sum_of_units(rest, go_unit_ns)?;
    if ns > i64::MAX as f64 { Err(DurationMistake::Invalid) } else { Ok(sign * ns) }
}

/// Nanoseconds of one of Go's units.
pub fn go_unit_ns(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

/// Adds up numbers with units, at least one: `1.5h30m`. `value_of` says what a unit is worth.
///
/// # Errors
/// What is wrong with `text`.
pub fn sum_of_units(
    text: &str,
    value_of: impl Fn(&str) -> Option<f64>,
) -> Result<f64, DurationMistake<'_>> {
    let mut rest = text;
    let mut total = 0.0;
    loop {
        let len = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, tail) = rest.split_at(len);
        let number: f64 = number.parse().map_err(|_| DurationMistake::Invalid)?;
        let len = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(len);
        if unit.is_empty() {
            return Err(DurationMistake::MissingUnit);
        }
        total += number * value_of(unit).ok_or(DurationMistake::UnknownUnit(unit))?;
        rest = tail;
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_mistakes_told_apart() {
        for (text, expected) in [
            ("1h30m", Ok(5400e9)),
            ("-1.5s", Ok(-1.5e9)),
            ("+250ms", Ok(250e6)),
            ("0", Ok(0.0)),
            ("1µs2ns", Ok(1002.0)),
            ("", Err(DurationMistake::Invalid)),
            ("-", Err(DurationMistake::Invalid)),
            ("1.2.3s", Err(DurationMistake::Invalid)),
            ("5", Err(DurationMistake::MissingUnit)),
            ("1h5", Err(DurationMistake::MissingUnit)),
            ("5d", Err(DurationMistake::UnknownUnit("d"))),
            ("12 hours", Err(DurationMistake::UnknownUnit(" hours"))),
            ("3000000h", Err(DurationMistake::Invalid)),
        ] {
            assert_eq!(go_duration_ns(text), expected, "{text}");
        }
    }
}
