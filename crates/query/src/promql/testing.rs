//! Running `promqltest` scripts against the evaluator: Prometheus' language for tests of PromQL.
//!
//! Owns: the notation of series and histograms, a source in memory, the script runner. Does not own: files. Source:
//! `promql/promqltest/README.md` of Prometheus.

mod classic;
mod expect;
mod histogram;
mod notation;
mod source;

use model::{Budget, Error, Histogram, Labels, Result};

use super::{Evaluated, Options, PromQuery, Value, evaluate};
use crate::syntax::duration_ms;
use expect::{Expectations, Got};
pub use histogram::{notation, parse_histogram};
pub use notation::{Noted, parse_series, parse_series_start};
pub use source::MemorySource;

/// Whether two histograms would be written alike in the notation, empty buckets at their ends left out.
pub fn identical(a: &Histogram, b: &Histogram) -> bool {
    let equal = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
    a.hint == b.hint && expect::same_by(a, b, equal)
}

/// How the evaluations of a script went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Evaluations with the expected result.
    pub passed: usize,
    /// Evaluations with another one.
    pub failures: Vec<Case>,
}

/// One evaluation of a script.
#[derive(Debug)]
pub struct Case {
    /// 1-based line of the `eval`.
    pub line: usize,
    /// The query.
    pub query: String,
    /// What went wrong.
    pub reason: String,
}

/// Look-back of all scripts.
const LOOKBACK_MS: i64 = 300_000;

/// Steps around a point in time at which an instant query is repeated as a range query.
const RANGE_CHECK_STEP_MS: i64 = 60_000;

/// When an `eval` evaluates.
#[derive(Debug, Clone, Copy)]
struct Times {
    start_ms: i64,
    end_ms: i64,
    /// 0 for an instant query.
    step_ms: i64,
}

/// Runs all commands of `script`.
///
/// # Errors
/// `Invalid` with the line for a command the language does not have; a failing evaluation is no error.
pub fn run_script(script: &str) -> Result<Outcome> {
    let lines: Vec<&str> = script
        .lines()
        .map(|line| if line.trim().starts_with('#') { "" } else { line.trim() })
        .collect();
    let mut outcome = Outcome::default();
    let mut source = MemorySource::default();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let number = at + 1;
        at += 1;
        let body_start = at;
        let block = line.starts_with("load") || line.starts_with("eval");
        while block && lines.get(at).is_some_and(|l| !l.is_empty() && !is_command(l)) {
            at += 1;
        }
        let body = lines.get(body_start..at).unwrap_or_default();
        let done = match line.split_whitespace().next() {
            None => Ok(()),
            Some("clear") => {
                source = MemorySource::default();
                Ok(())
            }
            Some("load" | "load_with_nhcb") => source.load(line, body),
            Some(command) if command.starts_with("eval") => {
                run_eval(line, body, number, &source, &mut outcome)
            }
            Some(command) => Err(Error::invalid(format!("unknown command {command:?}"))),
        };
        done.map_err(|e| e.context(format!("line {number}")))?;
    }
    Ok(outcome)
}

fn run_eval(
    line: &str,
    body: &[&str],
    number: usize,
    source: &MemorySource,
    outcome: &mut Outcome,
) -> Result<()> {
    let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (times, query) = header(rest.trim())?;
    let case = |reason: String| Case { line: number, query: query.to_owned(), reason };
    let expected = Expectations::parse(command, body)?;
    let result = evaluate_at(query, times, source);
    let checked = expected
        .check(&result, times.start_ms, times.step_ms)
        .and_then(|()| check_as_range(query, times, source, &expected, &result));
    match checked {
        Ok(()) => outcome.passed += 1,
        Err(reason) => outcome.failures.push(case(reason)),
    }
    Ok(())
}

fn evaluate_at(query: &str, times: Times, source: &MemorySource) -> Result<Evaluated> {
    let query = PromQuery {
        text: query.to_owned(),
        start_ms: times.start_ms,
        end_ms: times.end_ms,
        step_ms: times.step_ms,
        lookback_ms: LOOKBACK_MS,
    };
    let options = Options { experimental: true, ..Options::default() };
    evaluate(source, &query, &options, &Budget::unlimited())
}

/// An instant query must give the same as the middle of a range query.
fn check_as_range(
    query: &str,
    times: Times,
    source: &MemorySource,
    expected: &Expectations,
    result: &Result<Evaluated>,
) -> Result<(), String> {
    let depends_on_bounds =
        ["start()", "end()", "step()", "range()"].iter().any(|f| query.contains(f));
    let Ok(Evaluated { value: Value::Vector(samples), .. }) = result else { return Ok(()) };
    if times.step_ms > 0 || expected.is_ordered() || depends_on_bounds {
        return Ok(());
    }
    let around = Times {
        start_ms: times.start_ms - RANGE_CHECK_STEP_MS,
        end_ms: times.start_ms + RANGE_CHECK_STEP_MS,
        step_ms: RANGE_CHECK_STEP_MS,
    };
    let Ok(evaluated) = evaluate_at(query, around, source) else {
        // Another step may fail for reasons of its own.
        return Ok(());
    };
    let Value::Matrix(series) = evaluated.value else {
        return Err("as a range query: not a matrix".into());
    };
    let mut middle: Vec<(&Labels, Got)> = Vec::new();
    for one in &series {
        let at_time = Got::of_series(one).into_iter().find(|(t, _)| *t == times.start_ms);
        middle.extend(at_time.map(|(_, got)| (&one.labels, got)));
    }
    let mut instant: Vec<(&Labels, Got)> =
        samples.iter().map(|s| (&s.labels, Got::of_sample(s))).collect();
    middle.sort_by(|a, b| a.0.cmp(b.0));
    instant.sort_by(|a, b| a.0.cmp(b.0));
    let same = middle.len() == instant.len()
        && middle.iter().zip(&instant).all(|(a, b)| a.0 == b.0 && a.1.same(&b.1));
    if same { Ok(()) } else { Err(format!("as a range query: {middle:?} instead of {instant:?}")) }
}

/// `instant at TIME QUERY` or `range from TIME to TIME step TIME QUERY`.
fn header(rest: &str) -> Result<(Times, &str)> {
    let bad = || Error::invalid(format!("cannot read evaluation {rest:?}"));
    let mut rest = rest;
    let mut word = || {
        let (word, tail) = rest.split_once(char::is_whitespace)?;
        rest = tail.trim_start();
        Some(word)
    };
    let time = |text: Option<&str>| text.and_then(duration_of).ok_or_else(bad);
    match word() {
        Some("instant") => {
            word();
            let at_ms = time(word())?;
            Ok((Times { start_ms: at_ms, end_ms: at_ms, step_ms: 0 }, rest))
        }
        Some("range") => {
            word();
            let start_ms = time(word())?;
            word();
            let end_ms = time(word())?;
            word();
            let step_ms = time(word())?;
            Ok((Times { start_ms, end_ms, step_ms }, rest))
        }
        _ => Err(bad()),
    }
}

/// Whether a line starts something new, also without an empty line before it.
fn is_command(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or("");
    const COMMANDS: [&str; 8] = [
        "clear",
        "load",
        "load_with_nhcb",
        "eval",
        "eval_fail",
        "eval_warn",
        "eval_info",
        "eval_ordered",
    ];
    COMMANDS.contains(&first)
}

/// A duration that may be negative.
fn duration_of(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(rest) => duration_ms(rest).map(|ms| -ms),
        None => duration_ms(text),
    }
}
