//! Which metrics, labels and values make the series, how many are new each hour, and what reads them.
//!
//! Owns: `/api/taffrail/v1/cardinality` and what `status/tsdb` counts. Does not own: where series are
//! ([`MetricSource`]), which rules there are ([`Operations`](crate::operations::Operations)).

mod drop;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ::query::promql;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Budget, Error, Labels, METRIC_NAME, Matcher, MetricSource, Result, TimeRange};
use serde_json::{Value, json};

use crate::params::{Params, prometheus_time_ms};
use crate::{App, error};

pub(crate) use drop::drop;

const HOUR_MS: i64 = 3_600_000;
/// Time that is looked at when nothing else is asked for.
const RANGE_MS: i64 = 3 * HOUR_MS;
/// Pieces a range is cut into to see when series began.
const PIECES_MAX: i64 = 24;
/// Rows of each list.
const ROWS: usize = 20;
/// More rows are not given.
const ROWS_MAX: usize = 10_000;

/// Series by what they have in common.
#[derive(Debug, Default)]
pub(crate) struct Counts<'a> {
    /// By metric name.
    pub(crate) metrics: HashMap<&'a str, u64>,
    /// By label and value.
    pub(crate) pairs: HashMap<(&'a str, &'a str), u64>,
}

impl<'a> Counts<'a> {
    /// Counts `all`.
    pub(crate) fn of(all: &'a [Labels]) -> Self {
        let mut counts = Self::default();
        for labels in all {
            for pair in labels.iter() {
                *counts.pairs.entry(pair).or_default() += 1;
                if pair.0 == METRIC_NAME {
                    *counts.metrics.entry(pair.1).or_default() += 1;
                }
            }
        }
        counts
    }

    /// By label name: distinct values, series, bytes of their values.
    pub(crate) fn labels(&self) -> BTreeMap<&'a str, LabelCount> {
        let mut labels: BTreeMap<&str, LabelCount> = BTreeMap::new();
        self.pairs.iter().for_each(|((name, value), series)| {
            let label = labels.entry(name).or_default();
            label.values += 1;
            label.series += series;
            label.bytes += series * value.len() as u64;
        });
        labels
    }
}

/// What is known of one label name.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct LabelCount {
    /// Distinct values.
    pub(crate) values: u64,
    /// Series that have it.
    pub(crate) series: u64,
    /// Bytes of its values, counted for each series.
    pub(crate) bytes: u64,
}

/// The `limit` items with the highest figure; equal ones in the order of `T`.
pub(crate) fn top<T: Ord>(items: impl Iterator<Item = (T, u64)>, limit: usize) -> Vec<(T, u64)> {
    let mut all: Vec<(T, u64)> = items.collect();
    all.sort_unstable_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
    all.truncate(limit);
    all
}

/// When series began.
struct Beginnings {
    all: Vec<Labels>,
    /// Of each piece of the range: start (Unix milliseconds), series in it, series that no earlier piece had.
    pieces: Vec<(i64, u64, u64)>,
    /// New series by metric name.
    new: HashMap<String, u64>,
    piece_ms: i64,
}

/// Reads the series of `[start_ms, end_ms]` piece by piece. What was there in the piece before the range is not new.
fn beginnings(
    source: &dyn MetricSource,
    selectors: &[Vec<Matcher>],
    (start_ms, end_ms): (i64, i64),
    budget: &Budget,
) -> Result<Beginnings> {
    let span_ms = end_ms - start_ms;
    let count = (span_ms / HOUR_MS).clamp(1, PIECES_MAX);
    let piece_ms = (span_ms / count).max(1);
    let series = |from_ms: i64, to_ms: i64| {
        source.series(selectors, TimeRange::from_ms_inclusive(from_ms, to_ms), budget)
    };
    let mut seen: HashSet<Labels> =
        series(start_ms.saturating_sub(piece_ms), start_ms - 1)?.into_iter().collect();
    let mut found =
        Beginnings { all: Vec::new(), pieces: Vec::new(), new: HashMap::new(), piece_ms };
    let mut inside: HashSet<Labels> = HashSet::new();
    for i in 0..count {
        let from_ms = start_ms + i * piece_ms;
        let to_ms = if i + 1 == count { end_ms } else { from_ms + piece_ms - 1 };
        let now = series(from_ms, to_ms)?;
        budget.check()?;
        let (total, mut new) = (now.len() as u64, 0);
        for labels in now {
            if seen.insert(labels.clone()) {
                new += 1;
                *found.new.entry(labels.metric_name().to_owned()).or_default() += 1;
            }
            if inside.insert(labels.clone()) {
                found.all.push(labels);
            }
        }
        found.pieces.push((from_ms, total, new));
    }
    Ok(found)
}

pub(crate) async fn cardinality(State(app): State<Arc<App>>, params: Params) -> Response {
    answered(answer(&app, &params).await)
}

fn answered(answer: Result<Value>) -> Response {
    match answer {
        Ok(body) => error::json(StatusCode::OK, body.to_string()),
        Err(e) => error::prometheus(&e),
    }
}

async fn answer(app: &Arc<App>, params: &Params) -> Result<Value> {
    let range = range(app, params)?;
    let limit = params.count("limit")?.unwrap_or(ROWS).min(ROWS_MAX);
    let selectors = selectors(params)?;
    let (source, store) = (app.metrics.clone(), app.host.store());
    let work = move |budget: &Budget| {
        let found = beginnings(source.as_ref(), &selectors, range, budget)?;
        Ok(described(&found, range, limit))
    };
    let mut answer = app.queries.run(None, work).await?;
    let samples = store.head_samples + store.part_samples;
    answer["store"] = json!({
        "activeSeries": store.series,
        "samples": samples,
        "diskBytes": store.disk_bytes,
        "bytesPerSample": (samples > 0).then(|| store.disk_bytes as f64 / samples as f64),
    });
    Ok(answer)
}

fn described(found: &Beginnings, (start_ms, end_ms): (i64, i64), limit: usize) -> Value {
    let counts = Counts::of(&found.all);
    let hours = (found.piece_ms * found.pieces.len() as i64) as f64 / HOUR_MS as f64;
    let per_hour = |new: u64| new as f64 / hours;
    let all_new: u64 = found.pieces.iter().map(|(_, _, new)| new).sum();
    let metrics: Vec<Value> = top(counts.metrics.iter().map(|(n, c)| (*n, *c)), limit)
        .into_iter()
        .map(|(name, series)| {
            let new = found.new.get(name).copied().unwrap_or(0);
            json!({"name": name, "series": series, "newPerHour": per_hour(new)})
        })
        .collect();
    let by_label = counts.labels();
    let labels: Vec<Value> = top(by_label.iter().map(|(n, c)| (*n, c.values)), limit)
        .into_iter()
        .filter_map(|(name, values)| {
            let LabelCount { series, bytes, .. } = by_label.get(name)?;
            Some(json!({"name": name, "values": values, "series": series, "bytes": bytes}))
        })
        .collect();
    let pairs: Vec<Value> = top(counts.pairs.iter().map(|(p, c)| (*p, *c)), limit)
        .into_iter()
        .map(|((name, value), series)| json!({"name": name, "value": value, "series": series}))
        .collect();
    let pieces: Vec<Value> = found
        .pieces
        .iter()
        .map(|(start_ms, series, new)| json!({"startMs": start_ms, "series": series, "new": new}))
        .collect();
    json!({
        "startMs": start_ms,
        "endMs": end_ms,
        "series": found.all.len(),
        "newPerHour": per_hour(all_new),
        "metricCount": counts.metrics.len(),
        "labelCount": by_label.len(),
        "pairCount": counts.pairs.len(),
        "metrics": metrics,
        "labels": labels,
        "pairs": pairs,
        "churn": pieces,
    })
}

/// `start` and `end`, both inside, Unix milliseconds; the last three hours when absent.
fn range(app: &App, params: &Params) -> Result<(i64, i64)> {
    let time = |name: &str| {
        params
            .non_empty(name)
            .map(|text| {
                prometheus_time_ms(text).ok_or_else(|| {
                    Error::invalid(format!(
                        "invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp"
                    ))
                })
            })
            .transpose()
    };
    let end_ms = time("end")?.unwrap_or_else(|| app.clock.now_ms());
    let start_ms = time("start")?.unwrap_or(end_ms.saturating_sub(RANGE_MS));
    if end_ms <= start_ms || end_ms.checked_sub(start_ms).is_none() {
        return Err(Error::invalid("invalid parameter \"end\": it must be after start"));
    }
    Ok((start_ms, end_ms))
}

fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>> {
    params
        .all("match[]")
        .map(|text| {
            promql::parse_selector(text).map_err(|e| {
                let (line, column) = promql::position(text, e.span().map_or(0, |(start, _)| start));
                e.context(format!("invalid parameter \"match[]\": {line}:{column}: parse error"))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_by_name_label_and_pair() {
        let series = [
            Labels::from_pairs([("__name__", "a"), ("x", "1")]),
            Labels::from_pairs([("__name__", "a"), ("x", "22")]),
            Labels::from_pairs([("__name__", "b"), ("x", "22")]),
        ];
        let counts = Counts::of(&series);
        assert_eq!(top(counts.metrics.iter().map(|(n, c)| (*n, *c)), 9), [("a", 2), ("b", 1)]);
        assert_eq!(top(counts.pairs.iter().map(|(n, c)| (*n, *c)), 1), [(("__name__", "a"), 2)]);
        let x = counts.labels()["x"];
        assert_eq!((x.values, x.series, x.bytes), (2, 3, 5));
    }
}
