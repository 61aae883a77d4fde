//! How much there is: `index/stats`, `index/volume`, `index/volume_range`, `index/shards`.
//!
//! All of them are read off the store's index and are about right, as in Loki: rows at the edges of the range are counted
//! in proportion.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::response::Response;
use model::{Error, Matcher, Result, StreamVolume, TimeRange};
use serde_json::{Value as Json, json};

use super::{bounds, parse_selector, respond, step};
use crate::params::Params;
use crate::tenants::Reader;

const SERIES_DEFAULT: usize = 100;
const HOUR_NS: i64 = 3_600_000_000_000;

pub(crate) async fn stats(app: Reader, params: Params) -> Response {
    respond(totals(&app, &params).await.map(|totals| totals.to_string()))
}

/// A plan for dividing a query; there is no need to divide any here, so that it has one piece.
pub(crate) async fn shards(app: Reader, params: Params) -> Response {
    let answer = totals(&app, &params).await.map(|totals| {
        let all = json!({"bounds": {"min": 0, "max": u64::MAX}, "stats": totals});
        json!({"shards": [all], "statistics": {}}).to_string()
    });
    respond(answer)
}

async fn totals(app: &Reader, params: &Params) -> Result<Json> {
    let (start_ns, end_ns) = bounds(app, params, HOUR_NS)?;
    let matchers = parse_selector(params.get("query"))?;
    let source = app.logs.clone();
    let volumes = app
        .queries
        .run(None, move |budget| {
            source.volumes(&matchers, TimeRange::new(start_ns, end_ns), budget)
        })
        .await?;
    let sum = |of: fn(&StreamVolume) -> u64| volumes.iter().map(of).sum::<u64>();
    Ok(json!({
        "streams": volumes.len(),
        "chunks": sum(|v| v.blocks),
        "bytes": sum(|v| v.bytes),
        "entries": sum(|v| v.rows),
    }))
}

pub(crate) async fn volume(app: Reader, params: Params) -> Response {
    respond(volumes(&app, &params, false).await)
}

pub(crate) async fn volume_range(app: Reader, params: Params) -> Response {
    respond(volumes(&app, &params, true).await)
}

/// What volumes are told apart by.
#[derive(Clone)]
struct Grouping {
    /// Labels looked at; `None` for all.
    labels: Option<Vec<String>>,
    /// Whether by names of labels alone.
    names_only: bool,
}

/// Name-value pairs of one group; values are empty when only names count.
type Group = BTreeMap<String, String>;

impl Grouping {
    fn new(params: &Params, matchers: &[Matcher]) -> Result<Self> {
        let names_only = match params.get("aggregateBy") {
            "" | "series" => false,
            "labels" => true,
            other => {
                return Err(Error::invalid(format!(
                    "invalid aggregation option {other:?}; it is series or labels"
                )));
            }
        };
        let targets = params.all("targetLabels").flat_map(|list| list.split(','));
        let mut labels: Vec<String> =
            targets.map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect();
        if labels.is_empty() {
            labels = matchers.iter().map(|m| m.name().to_owned()).collect();
        }
        labels.sort_unstable();
        labels.dedup();
        Ok(Self { labels: Some(labels).filter(|l| !l.is_empty()), names_only })
    }

    /// The groups a stream counts for.
    fn groups(&self, stream: &model::Labels) -> Vec<Group> {
        let is_target =
            |name: &str| self.labels.as_ref().is_none_or(|l| l.iter().any(|n| n == name));
        let pairs = stream.iter().filter(|(name, _)| is_target(name));
        if self.names_only {
            pairs.map(|(name, _)| Group::from([(name.to_owned(), String::new())])).collect()
        } else {
            vec![pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()]
        }
    }
}

async fn volumes(app: &Reader, params: &Params, is_range: bool) -> Result<String> {
    let (start_ns, end_ns) = bounds(app, params, HOUR_NS)?;
    let matchers = parse_selector(params.get("query"))?;
    let grouping = Grouping::new(params, &matchers)?;
    let limit = params.count("limit")?.unwrap_or(SERIES_DEFAULT);
    let step_ns =
        if is_range { step(params, start_ns, end_ns)? } else { end_ns.saturating_sub(start_ns) };
    let source = app.logs.clone();
    let found = app
        .queries
        .run(None, move |budget| {
            let mut found: BTreeMap<Group, Vec<(i64, u64)>> = BTreeMap::new();
            let mut from_ns = start_ns;
            loop {
                let to_ns = from_ns.saturating_add(step_ns.max(1)).min(end_ns);
                let t_ns = if is_range { from_ns } else { end_ns };
                for volume in source.volumes(&matchers, TimeRange::new(from_ns, to_ns), budget)? {
                    for group in grouping.groups(&volume.stream) {
                        let points = found.entry(group).or_default();
                        match points.last_mut().filter(|(last, _)| *last == t_ns) {
                            Some((_, bytes)) => *bytes += volume.bytes,
                            None => points.push((t_ns, volume.bytes)),
                        }
                    }
                }
                if to_ns >= end_ns {
                    return Ok(found);
                }
                from_ns = to_ns;
            }
        })
        .await?;
    let mut found: Vec<(Group, Vec<(i64, u64)>)> = found.into_iter().collect();
    // Stable: groups of one size stay in order of their labels.
    found.sort_by_key(|(_, points)| Reverse(points.iter().map(|(_, bytes)| bytes).sum::<u64>()));
    found.truncate(limit);
    let point = |(t_ns, bytes): &(i64, u64)| {
        json!([t_ns.div_euclid(1_000_000) as f64 / 1000.0, bytes.to_string()])
    };
    let result: Vec<Json> = found
        .iter()
        .map(|(group, points)| {
            if is_range {
                json!({"metric": group, "values": points.iter().map(point).collect::<Vec<_>>()})
            } else {
                json!({"metric": group, "value": points.first().map(point)})
            }
        })
        .collect();
    let kind = if is_range { "matrix" } else { "vector" };
    let stats = super::json::statistics(query::logql::Stats::default(), 0, 0);
    let data = json!({"resultType": kind, "result": result, "stats": stats});
    Ok(json!({"status": "success", "data": data}).to_string())
}
