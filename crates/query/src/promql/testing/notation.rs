//! The notation of series: `metric{label="value"} 1 2+3x4 _ stale {{schema:1 count:3 buckets:[1 2]}}`.

use std::sync::Arc;

use model::{Error, Histogram, Labels, LabelsBuilder, METRIC_NAME, Result, stale_nan};

use super::duration_of;
use super::histogram::take_histogram;
use crate::histogram::Total;
use crate::syntax::{parse_number, unquote};

/// A sample as noted.
#[derive(Debug, Clone, PartialEq)]
pub enum Noted {
    /// A number; the staleness marker for `stale`.
    Number(f64),
    /// A native histogram.
    Histogram {
        /// The histogram.
        histogram: Arc<Histogram>,
        /// Whether its hint was written.
        hint_given: bool,
    },
}

/// Most values one series may expand to.
const VALUES_MAX: usize = 1_000_000;

/// The labels and expanded values of a series; `None` where there is no sample.
///
/// # Errors
/// `Invalid` naming the part that is not of the notation; over 1,000,000 values.
pub fn parse_series(text: &str) -> Result<(Labels, Vec<Option<Noted>>)> {
    parse_series_start(text, usize::MAX)
}

/// As [`parse_series`], but gives the first `count` values only; what follows is read all the same.
///
/// # Errors
/// As [`parse_series`]; the bound is on the values that are given.
pub fn parse_series_start(text: &str, count: usize) -> Result<(Labels, Vec<Option<Noted>>)> {
    let (metric, values) = split(text);
    Ok((labels(metric)?, expand_items(values, count, expand_item)?))
}

/// The series' name with labels, and the rest.
pub(super) fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (mut quoted, mut escaped, mut braces) = (None, false, false);
    for (i, c) in text.char_indices() {
        match (quoted, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), _) if c == q => quoted = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quoted = Some(c),
            (None, '{') => braces = true,
            (None, '}') => braces = false,
            (None, _) if c.is_whitespace() && !braces => {
                let (metric, values) = text.split_at(i);
                return (metric, values.trim());
            }
            _ => {}
        }
    }
    (text, "")
}

/// The labels of `name{a="b", "c"="d"}`.
pub(super) fn labels(metric: &str) -> Result<Labels> {
    let bad = || Error::invalid(format!("cannot read series {metric:?}"));
    let (name, rest) = metric.split_once('{').unwrap_or((metric, "}"));
    let mut rest = rest.trim().strip_suffix('}').ok_or_else(bad)?;
    let mut builder = LabelsBuilder::default();
    builder.set(METRIC_NAME, name.trim());
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if rest.is_empty() {
            return Ok(builder.build());
        }
        let label = if rest.starts_with(['"', '\'', '`']) {
            let (quoted, tail) = take_quoted(rest).ok_or_else(bad)?;
            rest = tail.trim_start();
            if !rest.starts_with('=') {
                builder.set(METRIC_NAME, &quoted);
                continue;
            }
            quoted
        } else {
            let end = rest.find('=').ok_or_else(bad)?;
            let (name, tail) = rest.split_at(end);
            rest = tail;
            name.trim().to_owned()
        };
        rest = rest.strip_prefix('=').ok_or_else(bad)?.trim_start();
        let (value, tail) = take_quoted(rest).ok_or_else(bad)?;
        builder.set(&label, &value);
        rest = tail;
    }
}

/// The value of the literal that `text` starts with, and what follows.
fn take_quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            let (raw, tail) = text.split_at(i + 1);
            return Some((unquote(raw, 0).ok()?.text, tail));
        }
    }
    None
}

/// The values of `1 2+3x4 _x5 stale`.
pub(super) fn expand(text: &str) -> Result<Vec<Option<Noted>>> {
    expand_items(text, usize::MAX, expand_item)
}

/// The start times of `-1m-30sx3 _ 0`, relative to the times of their samples.
pub(super) fn expand_starts(text: &str) -> Result<Vec<Option<i64>>> {
    expand_items(text, usize::MAX, |item, room, starts| {
        let (first, times) = repeated(item, room)?;
        if first == "_" {
            starts.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
            return Some(());
        }
        let body = first.strip_prefix('+').unwrap_or(first);
        let sign = body.get(1..)?.find(['+', '-']).map_or(body.len(), |at| at + 1);
        let (start, step) = body.split_at(sign);
        let (mut start_ms, step_ms) = (
            duration_of(start)?,
            match step {
                "" => 0,
                _ => duration_of(step.strip_prefix('+').unwrap_or(step))?,
            },
        );
        for _ in 0..=times.unwrap_or(0) {
            starts.push(Some(start_ms));
            start_ms += step_ms;
        }
        Some(())
    })
}

/// The first `count` values; `expand` may stop repeating once it has added as many as there is room for.
fn expand_items<T>(
    text: &str,
    count: usize,
    expand: impl Fn(&str, usize, &mut Vec<Option<T>>) -> Option<()>,
) -> Result<Vec<Option<T>>> {
    let mut values = Vec::new();
    for item in items(text) {
        let room = count.min(VALUES_MAX + 1).saturating_sub(values.len());
        expand(item, room, &mut values)
            .ok_or_else(|| Error::invalid(format!("cannot read values {item:?}")))?;
        values.truncate(count);
        if values.len() > VALUES_MAX {
            return Err(Error::invalid(format!(
                "series expands to over {VALUES_MAX} values, at {item:?}"
            )));
        }
    }
    Ok(values)
}

/// Words, where a histogram's inside belongs to its word.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text.trim_start();
    std::iter::from_fn(move || {
        let mut inside = false;
        let end = rest.char_indices().find(|(at, c)| {
            let here = rest.get(*at..).unwrap_or("");
            inside = (inside || here.starts_with("{{")) && !here.starts_with("}}");
            c.is_whitespace() && !inside
        });
        let (item, tail) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = tail.trim_start();
        (!item.is_empty()).then_some(item)
    })
}

/// What stands before `x3`, and the 3, at most `room`.
fn repeated(item: &str, room: usize) -> Option<(&str, Option<usize>)> {
    match item.rsplit_once('x') {
        Some((first, count)) => Some((first, Some(count.parse::<usize>().ok()?.min(room)))),
        None => Some((item, None)),
    }
}

fn expand_item(item: &str, room: usize, values: &mut Vec<Option<Noted>>) -> Option<()> {
    if item.starts_with("{{") {
        return expand_histogram(item, room, values);
    }
    let (item, times) = repeated(item, room)?;
    match (item, times) {
        ("_", times) => values.extend(std::iter::repeat_n(None, times.unwrap_or(1))),
        ("stale", times) => {
            let count = times.map_or(1, |n| n + 1);
            values.extend(std::iter::repeat_n(Some(Noted::Number(stale_nan())), count));
        }
        (_, None) => {
            let (value, rest) = take_number(item)?;
            if !rest.is_empty() {
                return None;
            }
            values.push(Some(Noted::Number(value)));
        }
        (_, Some(times)) => {
            let (mut value, rest) = take_number(item)?;
            let step = if rest.is_empty() {
                0.0
            } else {
                let (step, rest) = take_number(rest).filter(|_| rest.starts_with(['+', '-']))?;
                if !rest.is_empty() {
                    return None;
                }
                step
            };
            // The first value is not counted.
            for _ in 0..=times {
                values.push(Some(Noted::Number(value)));
                value += step;
            }
        }
    }
    Some(())
}

/// `{{…}}`, `{{…}}x3`, `{{…}}+{{…}}x3`, `{{…}}-{{…}}x3`.
fn expand_histogram(item: &str, room: usize, values: &mut Vec<Option<Noted>>) -> Option<()> {
    let (first, hint_given, rest) = take_histogram(item)?;
    let noted = |histogram: Histogram| {
        Some(Noted::Histogram { histogram: Arc::new(histogram), hint_given })
    };
    let sign = rest.starts_with(['+', '-']).then(|| if rest.starts_with('-') { -1.0 } else { 1.0 });
    let (step, rest) = match sign {
        Some(_) => {
            let (step, _, rest) = take_histogram(rest.get(1..)?)?;
            (Some(step), rest)
        }
        None => (None, rest),
    };
    let times = match rest {
        "" if step.is_none() => 0,
        _ => rest.strip_prefix('x')?.parse::<usize>().ok()?.min(room),
    };
    let mut current = first;
    for i in 0..=times {
        if let (Some(step), Some(sign), 1..) = (&step, sign, i) {
            // As in Prometheus, what is added must not be coarser.
            if step.schema < current.schema {
                return None;
            }
            let mut total = Total::new(&current);
            total.merge(Total::new(step), sign).ok()?;
            current = total.into_histogram();
        }
        values.push(noted(current.clone()));
    }
    Some(())
}

/// A signed number at the start of `text`, and what follows.
pub(super) fn take_number(text: &str) -> Option<(f64, &str)> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let bytes = body.as_bytes();
    let mut len = 0;
    while let Some(b) = bytes.get(len) {
        let exponent_sign = matches!(b, b'+' | b'-')
            && len > 0
            && matches!(bytes.get(len - 1), Some(b'e' | b'E'))
            && bytes.first().is_some_and(|b| b.is_ascii_digit() || *b == b'.');
        if !(b.is_ascii_alphanumeric() || *b == b'.' || exponent_sign) {
            break;
        }
        len += 1;
    }
    let (number, rest) = body.split_at(len);
    let value = parse_number(number)?;
    Some((if text.starts_with('-') { -value } else { value }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_series_is_enough() {
        let check = |text: &str, count: usize, expected: &[f64]| {
            let (_, values) = parse_series_start(text, count).unwrap();
            let numbers = values.into_iter().map(|v| match v {
                Some(Noted::Number(value)) => value,
                _ => -1.0,
            });
            assert_eq!(numbers.collect::<Vec<_>>(), expected, "{text}");
        };
        check("a 1+1x100000000000 5", 3, &[1.0, 2.0, 3.0]);
        check("a _x2 1x2 5", 4, &[-1.0, -1.0, 1.0, 1.0]);
        check("a _x2 1x2 5", 9, &[-1.0, -1.0, 1.0, 1.0, 1.0, 5.0]);
        assert!(parse_series_start("a 1x9 nonsense", 3).is_err());
        assert!(parse_series("a 1x100000000000").is_err());
        assert!(parse_series("a 1x999999").is_ok() && parse_series("a 1x999999 1").is_err());
    }
}
