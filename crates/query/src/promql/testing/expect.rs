//! What a script expects of an evaluation, and whether it got it.

use std::sync::Arc;

use model::histogram::bucket_indexes;
use model::{Error, Histogram, Labels, Result, is_stale};
use regex::Regex;

use super::histogram::notation as noted;
use super::notation::Noted;
use super::{duration_of, notation};
use crate::promql::{Evaluated, Sample, Series, Value};
use crate::syntax::{parse_float, unquote};

/// Relative difference up to which values are the same.
const EPSILON: f64 = 1e-6;

/// How a text is compared.
#[derive(Debug)]
enum Pattern {
    Any,
    Exactly(String),
    Regex(Regex),
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(expected) => text == expected,
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// A value that came out.
#[derive(Debug, Clone)]
pub(super) enum Got {
    Number(f64),
    Histogram(Arc<Histogram>),
}

impl Got {
    pub(super) fn of_sample(sample: &Sample) -> Self {
        sample.histogram.clone().map_or(Self::Number(sample.value), Self::Histogram)
    }

    /// All values of a series, by time.
    pub(super) fn of_series(series: &Series) -> Vec<(i64, Self)> {
        let numbers = series.points.iter().map(|(t_ms, v)| (*t_ms, Self::Number(*v)));
        let histograms =
            series.histograms.iter().map(|(t_ms, h)| (*t_ms, Self::Histogram(h.clone())));
        let mut all: Vec<(i64, Self)> = numbers.chain(histograms).collect();
        all.sort_by_key(|(t_ms, _)| *t_ms);
        all
    }

    /// Whether it is what was noted, up to rounding; of a hint only when one was noted.
    fn is(&self, expected: &Noted) -> bool {
        match (self, expected) {
            (Self::Number(got), Noted::Number(expected)) => almost_equal(*expected, *got),
            (Self::Histogram(got), Noted::Histogram { histogram, hint_given }) => {
                (!hint_given || got.hint == histogram.hint) && almost_same(histogram, got)
            }
            _ => false,
        }
    }

    /// Whether two results are the same up to rounding.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => almost_equal(*a, *b),
            (Self::Histogram(a), Self::Histogram(b)) => almost_same(a, b),
            _ => false,
        }
    }
}

impl std::fmt::Display for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(value) => write!(f, "{value}"),
            Self::Histogram(h) => f.write_str(&noted(h)),
        }
    }
}

/// Expectations of one evaluation.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    fail: Vec<Pattern>,
    warn: Vec<Pattern>,
    info: Vec<Pattern>,
    no_warn: bool,
    no_info: bool,
    ordered: bool,
    text: Option<String>,
    scalar: Option<f64>,
    /// Of a range vector: first time and step.
    range_vector: Option<(i64, i64)>,
    series: Vec<(Labels, Vec<Option<Noted>>)>,
}

impl Expectations {
    /// Reads the lines below an `eval`, whose name may carry an expectation too (`eval_fail`).
    pub(super) fn parse(command: &str, lines: &[&str]) -> Result<Self> {
        let mut expected = Self::default();
        match command {
            "eval_fail" => expected.fail.push(Pattern::Any),
            "eval_warn" => expected.warn.push(Pattern::Any),
            "eval_info" => expected.info.push(Pattern::Any),
            "eval_ordered" => expected.ordered = true,
            _ => {}
        }
        for line in lines {
            if let Some(rest) = line.strip_prefix("expect ") {
                expected.line(rest.trim())?;
            } else if let Some(message) = line.strip_prefix("expected_fail_message ") {
                expected.fail = vec![Pattern::Exactly(message.trim().to_owned())];
            } else if let Some(regex) = line.strip_prefix("expected_fail_regexp ") {
                expected.fail = vec![Pattern::Regex(compile(regex.trim())?)];
            } else if let Some(scalar) = parse_float(line) {
                expected.scalar = Some(scalar);
            } else {
                expected.series.push(notation::parse_series(line)?);
            }
        }
        Ok(expected)
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.ordered
    }

    fn line(&mut self, rest: &str) -> Result<()> {
        let (kind, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let tail = tail.trim();
        let pattern = || -> Result<Pattern> {
            Ok(match tail.split_once(':') {
                Some(("msg", text)) => Pattern::Exactly(text.trim().to_owned()),
                Some(("regex", text)) => Pattern::Regex(compile(text.trim())?),
                _ => Pattern::Any,
            })
        };
        match kind {
            "fail" => self.fail.push(pattern()?),
            "warn" => self.warn.push(pattern()?),
            "info" => self.info.push(pattern()?),
            "no_warn" => self.no_warn = true,
            "no_info" => self.no_info = true,
            "ordered" => self.ordered = true,
            "string" => self.text = Some(unquote(tail, 0)?.text),
            "range" => {
                let words: Vec<&str> = tail.split_whitespace().collect();
                let time = |i: usize| words.get(i).and_then(|w| duration_of(w));
                // vector from TIME to TIME step TIME
                self.range_vector = time(2).zip(time(6));
            }
            _ => return Err(Error::invalid(format!("unknown expectation {rest:?}"))),
        }
        Ok(())
    }

    /// Why `result` is not what was expected.
    pub(super) fn check(
        &self,
        result: &Result<Evaluated>,
        start_ms: i64,
        step_ms: i64,
    ) -> Result<(), String> {
        let evaluated = match (result, self.fail.is_empty()) {
            (Err(e), true) => return Err(format!("failed: {e}")),
            (Ok(_), false) => return Err("did not fail".into()),
            (Err(e), false) if self.fail.iter().all(|p| p.matches(e.message())) => return Ok(()),
            (Err(e), false) => return Err(format!("failed with another message: {e}")),
            (Ok(evaluated), true) => evaluated,
        };
        check_notes("warning", &self.warn, self.no_warn, &evaluated.warnings)?;
        check_notes("info", &self.info, self.no_info, &evaluated.infos)?;
        match &evaluated.value {
            Value::String(_, text) if self.text.as_ref() == Some(text) => Ok(()),
            Value::String(_, text) => Err(format!("got string {text:?}")),
            Value::Scalar(_, value) => match self.scalar {
                Some(expected) if almost_equal(expected, *value) => Ok(()),
                _ => Err(format!("got scalar {value}")),
            },
            Value::Vector(samples) => {
                let got = samples
                    .iter()
                    .map(|s| (&s.labels, vec![(s.t_ms, Got::of_sample(s))]))
                    .collect();
                self.check_series(got, start_ms, 1)
            }
            Value::Matrix(series) => {
                let got = series.iter().map(|s| (&s.labels, Got::of_series(s))).collect();
                let (start_ms, step_ms) = self.range_vector.unwrap_or((start_ms, step_ms));
                self.check_series(got, start_ms, step_ms)
            }
        }
    }

    fn check_series(
        &self,
        got: Vec<(&Labels, Vec<(i64, Got)>)>,
        start_ms: i64,
        step_ms: i64,
    ) -> Result<(), String> {
        // Several lines may describe one series, each some of its steps.
        let mut expected: Vec<(&Labels, Vec<(i64, &Noted)>)> = Vec::new();
        for (labels, values) in &self.series {
            let points = (0..)
                .zip(values)
                .filter_map(|(i, v)| Some((start_ms + i * step_ms, v.as_ref()?)))
                .filter(|(_, v)| !matches!(v, Noted::Number(v) if is_stale(*v)));
            let points: Vec<_> = points.collect();
            if !points.is_empty() {
                expected.push((labels, points));
            }
        }
        let mut got = got;
        if !self.ordered {
            expected.sort_by(|a, b| a.0.cmp(b.0));
            got.sort_by(|a, b| a.0.cmp(b.0));
        }
        let same = expected.len() == got.len()
            && expected.iter().zip(&got).all(|(e, g)| e.0 == g.0 && same_points(&e.1, &g.1));
        if same {
            return Ok(());
        }
        let shown = |v: &Noted| match v {
            Noted::Number(v) => v.to_string(),
            Noted::Histogram { histogram, .. } => noted(histogram),
        };
        let mut text = String::from("got");
        for (labels, points) in &got {
            text += &format!(" {labels:?}");
            points.iter().for_each(|(t_ms, v)| text += &format!(" {v}@{t_ms}"));
        }
        text += ", expected";
        for (labels, points) in &expected {
            text += &format!(" {labels:?}");
            points.iter().for_each(|(t_ms, v)| text += &format!(" {}@{t_ms}", shown(v)));
        }
        Err(text)
    }
}

fn same_points(expected: &[(i64, &Noted)], got: &[(i64, Got)]) -> bool {
    expected.len() == got.len() && expected.iter().zip(got).all(|(e, g)| e.0 == g.0 && g.1.is(e.1))
}

/// Whether two histograms have the same populated buckets with counts that are equal up to rounding.
fn almost_same(a: &Histogram, b: &Histogram) -> bool {
    same_by(a, b, almost_equal)
}

/// Whether two histograms have the same populated buckets, with counts that are the same by `equal`. Hints are not
/// looked at.
pub(super) fn same_by(a: &Histogram, b: &Histogram, equal: fn(f64, f64) -> bool) -> bool {
    let side = |h: &Histogram, negative: bool| -> Vec<(i32, f64)> {
        let (spans, counts) = if negative {
            (&h.negative_spans, &h.negative)
        } else {
            (&h.positive_spans, &h.positive)
        };
        let all = bucket_indexes(spans).zip(counts.iter().copied());
        all.filter(|(_, count)| *count != 0.0).collect()
    };
    let same_side = |negative: bool| {
        let (a, b) = (side(a, negative), side(b, negative));
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && equal(a.1, b.1))
    };
    a.schema == b.schema
        && a.custom_bounds == b.custom_bounds
        && a.zero_threshold == b.zero_threshold
        && equal(a.zero_count, b.zero_count)
        && equal(a.count, b.count)
        && equal(a.sum, b.sum)
        && same_side(false)
        && same_side(true)
}

fn compile(pattern: &str) -> Result<Regex> {
    Regex::new(pattern).map_err(|e| Error::invalid(format!("bad pattern {pattern:?}: {e}")))
}

fn check_notes(
    kind: &str,
    patterns: &[Pattern],
    none: bool,
    notes: &[String],
) -> Result<(), String> {
    if none && !notes.is_empty() {
        return Err(format!("unexpected {kind}: {notes:?}"));
    }
    if patterns.iter().any(|p| !notes.iter().any(|n| p.matches(n))) {
        return Err(format!("expected another {kind}; got {notes:?}"));
    }
    match notes.iter().find(|n| !patterns.iter().any(|p| p.matches(n))) {
        Some(note) if !patterns.is_empty() => Err(format!("unexpected {kind} {note:?}")),
        _ => Ok(()),
    }
}

/// Whether two values are equal up to rounding; NaN equals NaN.
pub(super) fn almost_equal(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    if !a.is_finite() || !b.is_finite() {
        return false;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}
