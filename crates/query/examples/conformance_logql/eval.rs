//! Cases that load rows, evaluate a query and compare values.

use std::collections::BTreeMap;

use model::{Budget, Labels, Order};
use query::logql::{self, LogQuery, Value};
use query::promql;
use serde_json::Value as Json;

use crate::Outcome;
use crate::table::{Row, Table};

/// A series: labels, and a value or gap for each step.
type Series = (Labels, Vec<Option<f64>>);

/// Runs a case twice: with a store that counts itself and with one that does not.
pub(crate) fn run(case: &Json) -> Outcome {
    for aggregates in [false, true] {
        let outcome = run_once(case, aggregates);
        if !matches!(outcome, Outcome::Passed) {
            return outcome;
        }
    }
    Outcome::Passed
}

fn run_once(case: &Json, aggregates: bool) -> Outcome {
    let mut table = Table { rows: Vec::new(), aggregates };
    for line in case["load"].as_array().into_iter().flatten() {
        let line = line.as_str().unwrap_or("");
        let Some(rows) = load(line) else {
            return Outcome::Failed(format!("cannot read the load line {line}"));
        };
        table.rows.extend(rows);
    }
    let time = |key: &str| case[key].as_str().and_then(duration_ns);
    let (start_ns, end_ns, step_ns) = match case["kind"].as_str() {
        Some("instant") => (time("at"), time("at"), Some(0)),
        _ => (time("start"), time("end"), time("step")),
    };
    let (Some(start_ns), Some(end_ns), Some(step_ns)) = (start_ns, end_ns, step_ns) else {
        return Outcome::Failed("cannot read the times".to_owned());
    };
    let text = case["query"].as_str().unwrap_or("").to_owned();
    let query = LogQuery {
        text: text.clone(),
        start_ns,
        end_ns,
        step_ns,
        limit: 100,
        order: Order::Backward,
        interval_ns: 0,
        categorize: false,
    };
    let steps = if step_ns == 0 { 1 } else { (end_ns - start_ns) / step_ns + 1 };
    let result = evaluate(&table, &query);
    let expected: Vec<&str> =
        case["expected"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    match compare(&result, &expected, usize::try_from(steps).unwrap_or(0)) {
        Ok(()) => Outcome::Passed,
        Err(_) if has_twins(&expected) => {
            Outcome::Skipped("series that differ in a label without value only are one here")
        }
        Err(what) => Outcome::Failed(format!("{text}: {what}")),
    }
}

/// The value of an instant query over one row, by series.
pub(crate) fn instant(row: Row, query: &str) -> Result<Vec<(Labels, f64)>, String> {
    let table = Table { rows: vec![row], aggregates: false };
    let query = LogQuery {
        text: query.to_owned(),
        start_ns: 0,
        end_ns: 0,
        step_ns: 0,
        limit: 1,
        order: Order::Backward,
        interval_ns: 0,
        categorize: false,
    };
    let series = evaluate(&table, &query)?;
    let value = |(labels, values): Series| Some((labels, values.first().copied().flatten()?));
    Ok(series.into_iter().filter_map(value).collect())
}

fn evaluate(table: &Table, query: &LogQuery) -> Result<Vec<Series>, String> {
    let answer = logql::evaluate(table, query, &Budget::unlimited()).map_err(|e| e.to_string())?;
    let Value::Metric(value) = answer.value else { return Err("a log query".to_owned()) };
    let step_ms = (query.step_ns / 1_000_000).max(1);
    let count =
        usize::try_from((query.end_ns - query.start_ns) / query.step_ns.max(1)).unwrap_or(0);
    Ok(match value {
        promql::Value::Scalar(_, number) => vec![(Labels::default(), vec![Some(number)])],
        promql::Value::String(..) => Vec::new(),
        promql::Value::Vector(samples) => {
            samples.into_iter().map(|s| (s.labels, vec![Some(s.value)])).collect()
        }
        promql::Value::Matrix(series) => series
            .into_iter()
            .map(|one| {
                let mut values = vec![None; count + 1];
                for (t_ms, value) in one.points {
                    let step = (t_ms - query.start_ns / 1_000_000) / step_ms;
                    values[usize::try_from(step).unwrap_or(0)] = Some(value);
                }
                (one.labels, values)
            })
            .collect(),
    })
}

fn compare(
    result: &Result<Vec<Series>, String>,
    expected: &[&str],
    steps: usize,
) -> Result<(), String> {
    let mut wanted: Vec<Series> = Vec::new();
    let mut is_ordered = false;
    for line in expected {
        if let Some(message) = line.strip_prefix("expect fail") {
            let message = message.trim_start_matches(" msg: ");
            let message = message.strip_prefix(" regex: ").unwrap_or(message);
            return match result {
                Ok(series) => Err(format!("wants a failure ({message}), got {series:?}")),
                Err(e) if e.contains(message) => Ok(()),
                Err(e) if is_reworded(message, e) => Ok(()),
                Err(e) => Err(format!("wants failure {message:?}, failed with {e:?}")),
            };
        }
        match *line {
            "expect empty" => {}
            "expect ordered" => is_ordered = true,
            _ if line.starts_with("skip ") => {}
            _ => wanted.push(series(line).ok_or_else(|| format!("cannot read {line:?}"))?),
        }
    }
    let mut got = result.as_ref().map_err(Clone::clone)?.clone();
    if !is_ordered {
        // Sorted by labels, so that an equal set compares equal.
        got.sort_by(|a, b| a.0.cmp(&b.0));
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let is_same = got.len() == wanted.len()
        && got.iter().zip(&wanted).all(|(g, w)| {
            g.0 == w.0
                && w.1.len() == steps
                && g.1.len() == steps
                && g.1.iter().zip(&w.1).all(|(a, b)| equals(*a, *b))
        });
    if is_same { Ok(()) } else { Err(format!("got {got:?}, want {wanted:?}")) }
}

/// Whether two of the series expected have the same labels.
fn has_twins(expected: &[&str]) -> bool {
    let mut labels: Vec<Labels> = expected
        .iter()
        .filter(|l| l.starts_with('{'))
        .filter_map(|l| series(l))
        .map(|s| s.0)
        .collect();
    let count = labels.len();
    labels.sort();
    labels.dedup();
    labels.len() < count
}

/// PromQL's words for the same failure name the series as well.
fn is_reworded(message: &str, error: &str) -> bool {
    let side = message.strip_prefix("found duplicate series on the ");
    side.is_some_and(|s| error.contains("found duplicate series") && error.contains(s))
}

fn equals(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
        }
        _ => false,
    }
}

/// `{a="b"} 1 _ 3` or a bare number.
fn series(line: &str) -> Option<Series> {
    let (labels, values) = match line.starts_with('{') {
        true => selector(line)?,
        false => (Labels::default(), line),
    };
    let values = values
        .split_whitespace()
        .map(|v| match v {
            "_" => Some(None),
            v => v.parse().ok().map(Some),
        })
        .collect::<Option<Vec<_>>>()?;
    Some((labels, values))
}

/// The labels of a leading `{…}` and the text behind it.
fn selector(text: &str) -> Option<(Labels, &str)> {
    let mut quoted = false;
    let end = text.char_indices().find_map(|(i, c)| {
        quoted ^= c == '"';
        (c == '}' && !quoted).then_some(i + 1)
    })?;
    let (selector, rest) = text.split_at(end);
    let matchers = logql::parse_selector(selector).ok()?;
    Some((Labels::from_pairs(matchers.iter().map(|m| (m.name(), m.value()))), rest))
}

/// `{a="b"} "line" @ 10s [repeat every 5s for 3] [metadata c="d"]`
fn load(text: &str) -> Option<Vec<Row>> {
    let (stream, rest) = selector(text)?;
    let rest = rest.trim_start();
    let quote = rest.chars().next()?;
    let (line, rest) = rest.split_at(1).1.split_once(&format!("{quote} @")).or_else(|| {
        // The columns of the table are padded with spaces.
        let (line, tail) = rest.split_at(1).1.rsplit_once('@')?;
        Some((line.trim_end().strip_suffix(quote)?, tail))
    })?;
    let (at, options) = rest.split_once('[').unwrap_or((rest, ""));
    let at_ns = duration_ns(at.trim())?;
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let (mut every_ns, mut count) = (0, 1);
    for option in options.split('[').map(|o| o.trim().trim_end_matches(']')) {
        if let Some(repeat) = option.strip_prefix("repeat every ") {
            let (every, times) = repeat.split_once(" for ")?;
            (every_ns, count) = (duration_ns(every.trim())?, times.trim().parse().ok()?);
        } else if let Some(metadata) = option.strip_prefix("metadata ") {
            for matcher in logql::parse_selector(&format!("{{{}}}", commas(metadata))).ok()? {
                fields.insert(matcher.name().to_owned(), matcher.value().to_owned());
            }
        }
    }
    let fields = Labels::from_pairs(fields.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    let row = |i: i64| Row {
        stream: stream.clone(),
        t_ns: at_ns + i * every_ns,
        line: line.to_owned(),
        fields: fields.clone(),
    };
    Some((0..count).map(row).collect())
}

/// Commas behind each quoted value.
fn commas(pairs: &str) -> String {
    let mut out = String::new();
    let mut quotes = 0;
    for c in pairs.chars() {
        out.push(c);
        quotes += usize::from(c == '"');
        if c == '"' && quotes % 2 == 0 {
            out.push(',');
        }
    }
    out
}

/// `90s`, `500ms`, `0s`.
fn duration_ns(text: &str) -> Option<i64> {
    let (number, unit_ns) = match text.strip_suffix("ms") {
        Some(number) => (number, 1_000_000),
        None => match text.strip_suffix('m') {
            Some(number) => (number, 60_000_000_000),
            None => (text.strip_suffix('s')?, 1_000_000_000),
        },
    };
    Some(number.parse::<i64>().ok()? * unit_ns)
}
