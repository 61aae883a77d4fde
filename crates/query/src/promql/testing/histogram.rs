//! The notation of native histograms: `{{schema:1 sum:3 count:4 buckets:[1 2 1]}}`.

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, bucket_indexes};
use model::{BucketSpan, Error, Histogram, ResetHint, Result};

use super::notation::take_number;
use crate::histogram::format_general;

/// Names of hints.
const HINTS: [(&str, ResetHint); 4] = [
    ("unknown", ResetHint::Unknown),
    ("reset", ResetHint::Reset),
    ("not_reset", ResetHint::NotReset),
    ("gauge", ResetHint::Gauge),
];

/// A histogram of the notation.
///
/// # Errors
/// `Invalid` naming the part that is not of the notation.
pub fn parse_histogram(text: &str) -> Result<Histogram> {
    match take_histogram(text.trim()) {
        Some((histogram, _, "")) => Ok(histogram),
        _ => Err(Error::invalid(format!("cannot read histogram {text:?}"))),
    }
}

/// The histogram that `text` starts with, whether it names its hint, and what follows.
pub(super) fn take_histogram(text: &str) -> Option<(Histogram, bool, &str)> {
    let (inside, rest) = text.strip_prefix("{{")?.split_once("}}")?;
    let mut h = Histogram::default();
    let (mut offset, mut n_offset, mut hint_given) = (0, 0, false);
    let mut body = inside.trim_start();
    while !body.is_empty() {
        let (key, tail) = body.split_once(':')?;
        let (value, tail) = match tail.strip_prefix('[') {
            Some(list) => list.split_once(']')?,
            None => tail.split_once(char::is_whitespace).unwrap_or((tail, "")),
        };
        body = tail.trim_start();
        match key {
            "schema" => h.schema = value.parse().ok()?,
            "sum" => h.sum = number(value)?,
            "count" => h.count = number(value)?,
            "z_bucket" => h.zero_count = number(value)?,
            "z_bucket_w" => h.zero_threshold = number(value)?,
            "custom_values" => h.custom_bounds = numbers(value)?,
            "buckets" => h.positive = numbers(value)?,
            "n_buckets" => h.negative = numbers(value)?,
            "offset" => offset = value.parse().ok()?,
            "n_offset" => n_offset = value.parse().ok()?,
            "counter_reset_hint" => {
                h.hint = HINTS.iter().find(|(name, _)| *name == value)?.1;
                hint_given = true;
            }
            _ => return None,
        }
    }
    h.positive_spans = span(offset, h.positive.len());
    h.negative_spans = span(n_offset, h.negative.len());
    Some((h, hint_given, rest))
}

fn number(text: &str) -> Option<f64> {
    take_number(text).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

fn numbers(text: &str) -> Option<Vec<f64>> {
    text.split_whitespace().map(number).collect()
}

fn span(offset: i32, count: usize) -> Vec<BucketSpan> {
    let length = u32::try_from(count).unwrap_or(u32::MAX);
    if length == 0 { Vec::new() } else { vec![BucketSpan { offset, length }] }
}

/// `h` in the notation; its hint where there is one.
pub fn notation(h: &Histogram) -> String {
    let mut parts = Vec::new();
    if h.schema != 0 {
        parts.push(format!("schema:{}", h.schema));
    }
    for (key, value) in [
        ("count", h.count),
        ("sum", h.sum),
        ("z_bucket", h.zero_count),
        ("z_bucket_w", h.zero_threshold),
    ] {
        if value != 0.0 {
            parts.push(format!("{key}:{}", format_general(value)));
        }
    }
    let list =
        |numbers: &[f64]| numbers.iter().map(|n| format_general(*n)).collect::<Vec<_>>().join(" ");
    if h.schema == CUSTOM_BUCKETS_SCHEMA {
        parts.push(format!("custom_values:[{}]", list(&h.custom_bounds)));
    }
    if let Some((name, _)) = HINTS.iter().skip(1).find(|(_, hint)| *hint == h.hint) {
        parts.push(format!("counter_reset_hint:{name}"));
    }
    for (prefix, spans, counts) in
        [("", &h.positive_spans, &h.positive), ("n_", &h.negative_spans, &h.negative)]
    {
        let indexes: Vec<i32> = bucket_indexes(spans).take(counts.len()).collect();
        let (Some(first), Some(last)) = (indexes.first(), indexes.last()) else { continue };
        if *first != 0 {
            parts.push(format!("{prefix}offset:{first}"));
        }
        let gap = usize::try_from(i64::from(*last) - i64::from(*first)).unwrap_or(0);
        if gap > model::histogram::BUCKETS_MAX {
            parts.push(format!("{prefix}buckets:[{} in {} spans]", list(counts), spans.len()));
            continue;
        }
        let mut dense = vec![0.0; gap + 1];
        for (index, count) in indexes.iter().zip(counts) {
            let place = usize::try_from(i64::from(*index) - i64::from(*first)).unwrap_or(0);
            if let Some(slot) = dense.get_mut(place) {
                *slot = *count;
            }
        }
        parts.push(format!("{prefix}buckets:[{}]", list(&dense)));
    }
    format!("{{{{{}}}}}", parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation_reads_back() {
        for text in [
            "{{}}",
            "{{schema:-1 count:5 sum:-2.5 z_bucket:1 z_bucket_w:0.001 counter_reset_hint:gauge offset:1 buckets:[1 0 2] n_buckets:[3]}}",
            "{{schema:-53 count:1e+100 sum:NaN custom_values:[-2 3] n_offset:-4 n_buckets:[+Inf]}}",
        ] {
            assert_eq!(notation(&parse_histogram(text).unwrap()), text);
        }
        let h = parse_histogram(" {{ buckets:[1 2]  schema:2 }} ").unwrap();
        assert_eq!((h.schema, h.positive), (2, vec![1.0, 2.0]));
        for bad in ["{{", "{{x:1}}", "{{sum:}}", "{{buckets:[a]}}", "{{}} 1", "{{schema:1.5}}"] {
            assert!(parse_histogram(bad).is_err(), "{bad}");
        }
    }
}
