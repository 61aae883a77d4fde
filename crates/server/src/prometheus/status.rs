//! How the process runs and what it stores: `status/*` and `features`.

use std::sync::Arc;

use ::query::promql;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Error, ErrorKind, Result, TimeRange, anchored_regex};
use serde_json::{Map, Value, json};

use super::{json as text, respond};
use crate::cardinality::{Counts, top};
use crate::operations::PartInfo;
use crate::params::Params;
use crate::{App, error};

/// The Prometheus version whose API this is; clients switch features on by it.
const API_VERSION: &str = "3.8.0";
/// Rows of each list of `status/tsdb`, and the most that may be asked for.
const ROWS: usize = 10;
const ROWS_MAX: i64 = 10_000;

fn ok(data: &Value) -> Response {
    error::json(StatusCode::OK, text::success(data))
}

pub(crate) async fn build_info() -> Response {
    ok(&build())
}

/// Loki's build information comes without the envelope.
pub(crate) async fn bare_build_info() -> Response {
    error::json(StatusCode::OK, build().to_string())
}

fn build() -> Value {
    json!({
        "version": API_VERSION,
        "revision": option_env!("TAFFRAIL_REVISION").unwrap_or("unknown"),
        "branch": "main",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "Taffrail",
        "applicationVersion": env!("CARGO_PKG_VERSION"),
    })
}

pub(crate) async fn config(State(app): State<Arc<App>>) -> Response {
    ok(&json!({ "yaml": app.host.config_yaml() }))
}

pub(crate) async fn flags(State(app): State<Arc<App>>) -> Response {
    ok(&json!(app.host.flags()))
}

/// Go's own settings have no counterpart: they are there, and empty.
pub(crate) async fn runtime_info(State(app): State<Arc<App>>) -> Response {
    let info = app.host.runtime();
    ok(&json!({
        "startTime": text::rfc3339(info.started_ms),
        "CWD": info.working_dir,
        "hostname": info.host_name,
        "serverTime": text::rfc3339(app.clock.now_ms()),
        "reloadConfigSuccess": info.reload_ok,
        "lastConfigTime": text::rfc3339(info.config_ms),
        "timeSeriesCount": app.host.store().series,
        "corruptionCount": info.corruption_count,
        "goroutineCount": info.thread_count,
        "GOMAXPROCS": info.core_count,
        "GOMEMLIMIT": info.memory_limit_bytes,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": info.retention,
    }))
}

pub(crate) async fn tsdb(State(app): State<Arc<App>>, params: Params) -> Response {
    respond(counted(&app, &params).await.map(|data| text::success(&data)))
}

/// The series of the last look-back: those Prometheus would hold in its head, without the ones that ended.
async fn counted(app: &Arc<App>, params: &Params) -> Result<Value> {
    let limit = match params.non_empty("limit").map(str::parse::<i64>) {
        None => ROWS,
        Some(Ok(n)) if n > ROWS_MAX => {
            return Err(Error::invalid(format!("limit must not exceed {ROWS_MAX}")));
        }
        Some(Ok(n)) if n >= 1 => usize::try_from(n).unwrap_or(ROWS),
        Some(_) => return Err(Error::invalid("limit must be a positive number")),
    };
    let store = app.host.store();
    let end_ms = app.clock.now_ms();
    let start_ms = end_ms - app.config.lookback_ms;
    let source = app.metrics.clone();
    let work = move |budget: &model::Budget| {
        let all = source.series(&[], TimeRange::from_ms_inclusive(start_ms, end_ms), budget)?;
        let counts = Counts::of(&all);
        let labels = counts.labels();
        let rows = |rows: Vec<(String, u64)>| -> Value {
            rows.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
        };
        let named = |of: fn(&crate::cardinality::LabelCount) -> u64| {
            rows(top(labels.iter().map(|(name, c)| ((*name).to_owned(), of(c))), limit))
        };
        let metrics = top(counts.metrics.iter().map(|(n, c)| ((*n).to_owned(), *c)), limit);
        let pairs = top(counts.pairs.iter().map(|((n, v), c)| (format!("{n}={v}"), *c)), limit);
        Ok(json!({
            "headStats": {
                "numSeries": all.len(),
                "numLabelPairs": counts.pairs.len(),
                "chunkCount": store.series,
                "minTime": start_ms,
                "maxTime": end_ms,
            },
            "seriesCountByMetricName": rows(metrics),
            "labelValueCountByLabelName": named(|c| c.values),
            "memoryInBytesByLabelName": named(|c| c.bytes),
            "seriesCountByLabelValuePair": rows(pairs),
        }))
    };
    app.queries.run(None, work).await
}

pub(crate) async fn blocks(State(app): State<Arc<App>>) -> Response {
    let blocks: Vec<Value> = app.host.store().parts.iter().map(block).collect();
    ok(&json!({ "blocks": blocks }))
}

/// A part in the words of a block. Ends of blocks are exclusive.
fn block(part: &PartInfo) -> Value {
    json!({
        "ulid": part.name,
        "minTime": part.first_ms,
        "maxTime": part.last_ms + 1,
        "stats": {
            "numSamples": part.samples,
            "numSeries": part.series,
            "numChunks": part.columns,
        },
        "compaction": {"level": part.level, "sources": [part.name]},
        "version": 1,
    })
}

/// Nothing is answered before the log is replayed, so it always is.
pub(crate) async fn wal_replay() -> Response {
    ok(&json!({"min": 0, "max": 0, "current": 0, "state": "done"}))
}

pub(crate) async fn self_metrics(State(app): State<Arc<App>>, params: Params) -> Response {
    let pattern = params.non_empty("metric_name_pattern").map(anchored_regex).transpose();
    respond(pattern.map_err(invalid_pattern).map(|pattern| {
        let mut figures = app.host.figures();
        figures.extend(app.requests.figures());
        let mut families: Vec<Value> = Vec::new();
        for figure in figures {
            if pattern.as_ref().is_some_and(|p| !p.is_match(figure.name)) {
                continue;
            }
            if families.last().is_none_or(|f| f["name"] != figure.name) {
                families.push(json!({
                    "name": figure.name,
                    "help": figure.help,
                    "type": figure.kind.to_ascii_uppercase(),
                    "metric": [],
                }));
            }
            let labels: Vec<Value> = figure
                .labels
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            let mut metric = Map::new();
            metric.insert("label".to_owned(), json!(labels));
            metric.insert(figure.kind.to_owned(), json!({ "value": figure.value }));
            if let Some(Value::Array(metrics)) =
                families.last_mut().and_then(|f| f.get_mut("metric"))
            {
                metrics.push(Value::Object(metric));
            }
        }
        text::success(&json!(families))
    }))
}

fn invalid_pattern(e: Error) -> Error {
    Error::new(ErrorKind::Invalid, e.message().to_owned())
        .context("invalid parameter \"metric_name_pattern\"")
}

pub(crate) async fn features(State(app): State<Arc<App>>) -> Response {
    let experimental = app.config.promql_experimental;
    let functions: Map<String, Value> = promql::functions()
        .map(|(name, is_experimental)| (name.to_owned(), json!(!is_experimental || experimental)))
        .collect();
    let operators: Map<String, Value> =
        promql::OPERATORS.iter().map(|name| ((*name).to_owned(), json!(true))).collect();
    let served = |path: &str| crate::routes::route_list().any(|route| route.path == path);
    ok(&json!({
        "api": {
            "admin": app.config.admin_api,
            "exclude_alerts": true,
            "label_values_match": true,
            "lifecycle": served("/-/reload"),
            "openapi_3.1": false,
            "query_stats": true,
            "query_warnings": true,
            "remote_read": served("/api/v1/read"),
            "search": served("/api/v1/search/metric_names"),
            "time_range_labels": true,
            "time_range_series": true,
        },
        "prometheus": {"agent_mode": false, "auto_reload_config": true},
        "promql": {
            "anchored": experimental,
            "at_modifier": true,
            "bool": true,
            "by": true,
            "duration_expr": experimental,
            "experimental_functions": experimental,
            "group_left": true,
            "group_right": true,
            "ignoring": true,
            "negative_offset": true,
            "offset": true,
            "on": true,
            "per_query_lookback_delta": true,
            "per_step_stats": false,
            "smoothed": experimental,
            "subqueries": true,
            "without": true,
        },
        "promql_functions": functions,
        "promql_operators": operators,
        "rules": {"concurrent_rule_eval": false, "keep_firing_for": false},
        "scrape": {"extra_metrics": true, "start_timestamp_zero_ingestion": false},
        "service_discovery": {"azure": false, "consul": false, "docker": true, "file": true, "http": true, "static": true},
        "templating": {"args": false, "externalURL": false},
        "otlp_receiver": {"delta_conversion": true, "native_delta_ingestion": false},
        "tsdb": {"delayed_compaction": false, "exemplar_storage": true, "native_histograms": true},
    }))
}
