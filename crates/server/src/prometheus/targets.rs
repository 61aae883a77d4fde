//! Scrape targets: `targets`, `targets/metadata`, `targets/relabel_steps`, `scrape_pools`, `scrape_pools/config`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use ::query::promql;
use axum::extract::State;
use axum::response::Response;
use collect::scrape::TargetsSnapshot;
use http::StatusCode;
use ingest::relabel::{self, Rule};
use model::{Error, Labels, Matcher, MetricMetadata, Result, TimeRange};
use serde_json::{Value, json};

use super::{json as text, positioned, respond, whole_number};
use crate::operations::ScrapePool;
use crate::params::Params;
use crate::{App, error, streamed};

pub(crate) async fn targets(State(app): State<Arc<App>>, params: Params) -> Response {
    let state = params.get("state").to_ascii_lowercase();
    let body = snapshot(&app.host.targets(), &state, params.get("scrapePool"));
    error::json(StatusCode::OK, body)
}

/// Targets in `state` (`active`, `dropped`, `any` or `""`; any other has none) of `pool` (`""`: of all).
fn snapshot(snapshot: &TargetsSnapshot, state: &str, pool: &str) -> String {
    let shows = |which: &str| matches!(state, "" | "any") || state == which;
    let in_pool = |scrape_pool: &str| pool.is_empty() || pool == scrape_pool;
    let mut out = String::from("{\"status\":\"success\",\"data\":{\"activeTargets\":");
    let active: Vec<_> =
        snapshot.active.iter().filter(|t| shows("active") && in_pool(&t.scrape_pool)).collect();
    text::list(&mut out, &active, |out, target| {
        out.push_str("{\"discoveredLabels\":");
        text::labels(out, &target.discovered_labels);
        out.push_str(",\"labels\":");
        text::labels(out, &target.labels);
        let last_scrape = text::rfc3339(target.last_scrape_ms);
        for (name, value) in [
            ("scrapePool", &*target.scrape_pool),
            ("scrapeUrl", &target.scrape_url),
            ("globalUrl", &target.global_url),
            ("lastError", &target.last_error),
            ("lastScrape", &last_scrape),
        ] {
            let _infallible = write!(out, ",\"{name}\":");
            text::string(out, value);
        }
        let _infallible = write!(out, ",\"lastScrapeDuration\":{}", target.last_scrape_duration_s);
        for (name, value) in [
            ("health", target.health.as_str()),
            ("scrapeInterval", &target.scrape_interval),
            ("scrapeTimeout", &target.scrape_timeout),
        ] {
            let _infallible = write!(out, ",\"{name}\":");
            text::string(out, value);
        }
        out.push('}');
    });
    out.push_str(",\"droppedTargets\":");
    let dropped: Vec<_> =
        snapshot.dropped.iter().filter(|t| shows("dropped") && in_pool(&t.scrape_pool)).collect();
    text::list(&mut out, &dropped, |out, target| {
        out.push_str("{\"discoveredLabels\":");
        text::labels(out, &target.discovered_labels);
        out.push_str(",\"scrapePool\":");
        text::string(out, &target.scrape_pool);
        out.push('}');
    });
    let counts: BTreeMap<&str, u64> = snapshot
        .dropped_counts
        .iter()
        .filter(|_| shows("dropped"))
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    let _infallible = write!(out, ",\"droppedTargetCounts\":{}}}}}", json!(counts));
    out
}

pub(crate) async fn scrape_pools(State(app): State<Arc<App>>) -> Response {
    let names: Vec<String> = app.host.scrape_pools().into_iter().map(|pool| pool.name).collect();
    error::json(StatusCode::OK, text::success(&json!({ "scrapePools": names })))
}

pub(crate) async fn scrape_pool_config(State(app): State<Arc<App>>, params: Params) -> Response {
    respond(find_pool(&app, &params).map(|pool| text::success(&json!({ "yaml": pool.yaml }))))
}

fn find_pool(app: &App, params: &Params) -> Result<ScrapePool> {
    let name = params.get("scrapePool");
    if name.is_empty() {
        return Err(Error::invalid("no scrapePool parameter provided"));
    }
    app.host.scrape_pools().into_iter().find(|pool| pool.name == name).ok_or_else(|| {
        Error::invalid(format!("error getting scrape config: scrape pool {name:?} not found"))
    })
}

pub(crate) async fn relabel_steps(State(app): State<Arc<App>>, params: Params) -> Response {
    respond(steps(&app, &params).map(|steps| text::success(&json!({ "steps": steps }))))
}

fn steps(app: &App, params: &Params) -> Result<Vec<Value>> {
    if params.get("scrapePool").is_empty() {
        return Err(Error::invalid("no scrapePool parameter provided"));
    }
    let labels = params.get("labels");
    if labels.is_empty() {
        return Err(Error::invalid("no labels parameter provided"));
    }
    let labels: BTreeMap<String, String> = serde_json::from_str(labels)
        .map_err(|e| Error::invalid(format!("error parsing labels: {e}")))?;
    let pool = find_pool(app, params)?;
    let mut labels =
        Labels::from_pairs(labels.iter().map(|(n, v)| (n.as_str(), v.as_str()))).to_builder();
    let mut steps = Vec::new();
    for rule in &pool.relabel {
        let keep = relabel::apply(std::slice::from_ref(rule), &mut labels);
        let output: BTreeMap<&str, &str> = labels.pairs().filter(|_| keep).collect();
        steps.push(json!({ "rule": described(rule), "output": output, "keep": keep }));
        if !keep {
            break;
        }
    }
    Ok(steps)
}

/// A rule with its defaults, as Prometheus shows it: keys without a meaning for it are left out.
fn described(rule: &Rule) -> Value {
    let config = rule.effective();
    let mut out = json!({
        "separator": config.separator,
        "regex": config.regex,
        "replacement": config.replacement,
        "action": config.action.map(relabel::Action::as_str),
    });
    if let Some(labels) = config.source_labels.filter(|labels| !labels.is_empty()) {
        out["source_labels"] = json!(labels);
    }
    if let Some(modulus) = config.modulus.filter(|modulus| *modulus > 0) {
        out["modulus"] = json!(modulus);
    }
    if let Some(target) = config.target_label.filter(|target| !target.is_empty()) {
        out["target_label"] = json!(target);
    }
    out
}

pub(crate) async fn target_metadata(State(app): State<Arc<App>>, params: Params) -> Response {
    metadata_of_targets(&app, &params).await.unwrap_or_else(|e| error::prometheus(&e))
}

/// Metadata of the metrics that each target has had inside the look-back. Metadata itself is kept per metric, so
/// targets that disagree about one are shown with the latest.
async fn metadata_of_targets(app: &Arc<App>, params: &Params) -> Result<Response> {
    let limit = whole_number(params.get("limit"))
        .map_err(|_| Error::invalid("limit must be a number"))?
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(usize::MAX);
    let wanted: Vec<Matcher> = match params.non_empty("match_target") {
        Some(text) => promql::parse_selector(text).map_err(|e| positioned(e, text))?,
        None => Vec::new(),
    };
    let metric = params.get("metric").to_owned();
    let targets: Vec<Labels> = app
        .host
        .targets()
        .active
        .into_iter()
        .map(|target| target.labels)
        .filter(|labels| wanted.iter().all(|m| m.matches_labels(labels)))
        .collect();
    let end_ms = app.clock.now_ms();
    let range = TimeRange::from_ms_inclusive(end_ms - app.config.lookback_ms, end_ms);
    let known: BTreeMap<Arc<str>, MetricMetadata> = app
        .metrics
        .metadata(Some(metric.as_str()).filter(|m| !m.is_empty()))
        .into_iter()
        .map(|entry| (entry.name.clone(), entry))
        .collect();
    let source = app.metrics.clone();
    let work = move |budget: &model::Budget| {
        let mut found = Vec::new();
        for target in targets {
            // As in Prometheus: no further target once there are so many entries; one without any does not count.
            if found.len() >= limit {
                break;
            }
            let selector = target.iter().map(|(n, v)| Matcher::equal(n, v)).collect();
            let names = source.label_values(model::METRIC_NAME, &[selector], range, budget)?;
            let families: BTreeMap<&str, &MetricMetadata> = names
                .iter()
                .filter_map(|name| family(&known, name))
                .map(|entry| (&*entry.name, entry))
                .collect();
            found.extend(families.into_values().map(|entry| Entry {
                target: target.clone(),
                metadata: entry.clone(),
                named: metric.is_empty(),
            }));
        }
        Ok(found)
    };
    let found = app.queries.run(None, work).await?;
    let head = "{\"status\":\"success\",\"data\":".to_owned();
    Ok(streamed::list(head, found, entry, "}".to_owned()))
}

/// Metadata of one target's metric.
struct Entry {
    target: Labels,
    metadata: MetricMetadata,
    /// Whether the answer is about several metrics, so that each says which.
    named: bool,
}

fn entry(out: &mut String, entry: &Entry) {
    out.push_str("{\"target\":");
    text::labels(out, &entry.target);
    let metadata = &entry.metadata;
    let name = entry.named.then_some(("metric", &*metadata.name));
    let rest =
        [("type", metadata.kind.as_str()), ("help", &metadata.help), ("unit", &metadata.unit)];
    for (name, value) in name.into_iter().chain(rest) {
        let _infallible = write!(out, ",\"{name}\":");
        text::string(out, value);
    }
    out.push('}');
}

/// Metadata of the family a series called `name` belongs to.
fn family<'a>(
    known: &'a BTreeMap<Arc<str>, MetricMetadata>,
    name: &str,
) -> Option<&'a MetricMetadata> {
    const SUFFIXES: [&str; 7] = ["", "_bucket", "_count", "_sum", "_total", "_info", "_created"];
    SUFFIXES.iter().find_map(|suffix| known.get(name.strip_suffix(suffix)?))
}
