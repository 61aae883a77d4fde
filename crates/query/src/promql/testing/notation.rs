//! The notation of series: `metric{label="value"} 1 2+3x4 _ stale`.

use model::{Error, Labels, LabelsBuilder, METRIC_NAME, Result, stale_nan};

use crate::syntax::{parse_number, unquote};

/// Most values one series may expand to.
const VALUES_MAX: usize = 1_000_000;

/// The labels and expanded values of a series; `None` where there is no sample, staleness markers as their NaN.
///
/// # Errors
/// `Invalid` naming the part that is not of the notation; over 1,000,000 values.
pub fn parse_series(text: &str) -> Result<(Labels, Vec<Option<f64>>)> {
    let (metric, values) = split(text);
    Ok((labels(metric)?, expand(values)?))
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
pub(super) fn expand(text: &str) -> Result<Vec<Option<f64>>> {
    let mut values = Vec::new();
    for item in text.split_whitespace() {
        expand_item(item, &mut values)
            .ok_or_else(|| Error::invalid(format!("cannot read values {item:?}")))?;
        if values.len() > VALUES_MAX {
            return Err(Error::invalid(format!(
                "series expands to over {VALUES_MAX} values, at {item:?}"
            )));
        }
    }
    Ok(values)
}

fn expand_item(item: &str, values: &mut Vec<Option<f64>>) -> Option<()> {
    let (item, times) = match item.rsplit_once('x') {
        Some((first, count)) => (first, Some(count.parse::<usize>().ok()?.min(VALUES_MAX))),
        None => (item, None),
    };
    match (item, times) {
        ("_", times) => values.extend(std::iter::repeat_n(None, times.unwrap_or(1))),
        ("stale", times) => {
            values.extend(std::iter::repeat_n(Some(stale_nan()), times.map_or(1, |n| n + 1)));
        }
        (_, None) => {
            let (value, rest) = take_number(item)?;
            if !rest.is_empty() {
                return None;
            }
            values.push(Some(value));
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
                values.push(Some(value));
                value += step;
            }
        }
    }
    Some(())
}

/// A signed number at the start of `text`, and what follows.
fn take_number(text: &str) -> Option<(f64, &str)> {
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
