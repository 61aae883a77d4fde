//! `traces:` of `taffrail.yml`: how long traces are kept, how much of them, and which metrics are made of spans.

use std::path::Path;

use collect::forward::spans::SpanRemote;
use ingest::span_metrics::SpanMetricsConfig;
use model::{MatchOp, Matcher, RetentionRule};
use serde::Deserialize;

use super::forward::{self, RawForward};
use super::sampling::{self, RawSampling};
use super::{DAY_MS, MIB, Mistakes};
use crate::sampling::Sampling;
use crate::yaml::ConfigError;

/// `traces:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTraces {
    /// How long traces are kept, if not as long as everything: `7d`.
    pub retention: Option<String>,
    /// Traces that are kept longer or shorter, by their services; of the rules about a service the first one counts. At most 8.
    pub retention_rules: Option<Vec<RawServiceRetention>>,
    /// Disk for traces: `20GiB`; what arrived first is deleted first. Default: no limit but `disk_limit`.
    pub disk_limit: Option<String>,
    /// Which spans and traces are kept when not all are.
    pub sampling: Option<RawSampling>,
    /// Where spans go on to, by OTLP over HTTP. At most 16.
    pub forward: Option<Vec<RawForward>>,
    /// Disk for spans that wait to be forwarded: `10GiB`; beyond it the oldest are lost, and counted. Default: 2GiB.
    pub forward_disk_limit: Option<String>,
    /// Whether requests to our own APIs become spans of the service `taffrail`. Default: false.
    pub self_tracing: Option<bool>,
    /// How often, how fast and how well services work, as `traces_spanmetrics_*`.
    pub span_metrics: Option<RawSpanMetrics>,
    /// Who calls whom, as `traces_service_graph_*`.
    pub service_graph: Option<RawServiceGraph>,
}

/// An entry of `traces.retention_rules`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawServiceRetention {
    /// Which services: a regular expression of the whole name.
    pub service: String,
    /// How long traces that they are in are kept: `1d`.
    pub keep: String,
}

/// `traces.span_metrics:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSpanMetrics {
    /// Whether they are made. Default: true.
    pub enabled: Option<bool>,
    /// Attributes of spans, or else of their resources, that become labels: `http.request.method`. At most 16.
    pub dimensions: Option<Vec<String>>,
    /// Whether `traces_spanmetrics_size_total` is made, too: bytes of spans. Default: false.
    pub size: Option<bool>,
    /// Upper bounds of the durations, seconds.
    pub histogram_buckets: Option<Vec<f64>>,
    /// Sets of labels at most; further ones are counted together. Also of the service graph. Default: 2000.
    pub max_series: Option<usize>,
}

/// `traces.service_graph:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawServiceGraph {
    /// Whether it is made. Default: true.
    pub enabled: Option<bool>,
    /// Upper bounds of the durations, seconds.
    pub histogram_buckets: Option<Vec<f64>>,
    /// How long a call's one side waits for the other: `10s`.
    pub wait: Option<String>,
    /// Spans that wait at most. Default: 65536.
    pub max_items: Option<usize>,
}

/// What happens to traces.
#[derive(Debug, Clone)]
pub struct Traces {
    /// How long they are kept.
    pub retention_ms: i64,
    /// Retentions of their own for some services, and their regular expressions as written.
    pub retention_rules: Vec<(String, RetentionRule)>,
    /// Bytes of them.
    pub disk_limit_bytes: Option<u64>,
    /// What is made of spans.
    pub metrics: SpanMetricsConfig,
    /// Which of them stay, unless all do.
    pub sampling: Option<Sampling>,
    /// Whether our own requests are among them.
    pub self_tracing: bool,
    /// Where they go on to.
    pub forward: Vec<SpanRemote>,
    /// Bytes of those that wait to be sent.
    pub forward_disk_limit_bytes: u64,
}

/// Attributes that become labels.
const DIMENSIONS_MAX: usize = 16;
/// Buckets of a histogram.
const BUCKETS_MAX: usize = 64;

/// `retention_ms` is that of everything; relative paths start from `base`.
pub(super) fn check(
    raw: RawTraces,
    retention_ms: i64,
    base: &Path,
    mistakes: &Mistakes<'_>,
) -> Result<Traces, ConfigError> {
    let retention_ms = match raw.retention {
        Some(text) => mistakes.duration("traces.retention", &text, 60_000, 100 * 365 * DAY_MS)?,
        None => retention_ms,
    };
    let rules = raw.retention_rules.unwrap_or_default();
    if rules.len() > tracedb::RULES_MAX {
        let key = "traces.retention_rules";
        let message = format!("{key}: {} rules; at most {}", rules.len(), tracedb::RULES_MAX);
        return Err(mistakes.error(key, message));
    }
    let mut retention_rules = Vec::new();
    for (index, rule) in rules.into_iter().enumerate() {
        let key = format!("traces.retention_rules.{index}.service");
        let matcher = Matcher::new(MatchOp::Regex, "service.name", rule.service.as_str());
        let matcher = matcher.map_err(|e| {
            mistakes.error(&key, format!("traces.retention_rules: {}", e.message()))
        })?;
        let key = format!("traces.retention_rules.{index}.keep");
        let retention_ms = mistakes.duration(&key, &rule.keep, 60_000, 100 * 365 * DAY_MS)?;
        retention_rules
            .push((rule.service, RetentionRule { matchers: vec![matcher], retention_ms }));
    }
    let disk_limit_bytes = raw
        .disk_limit
        .map(|text| mistakes.bytes("traces.disk_limit", &text, 64 * MIB))
        .transpose()?;
    let metrics = metrics(
        raw.span_metrics.unwrap_or_default(),
        raw.service_graph.unwrap_or_default(),
        mistakes,
    )?;
    let sampling = sampling::check(raw.sampling.unwrap_or_default(), mistakes)?;
    let forward = forward::check(raw.forward.unwrap_or_default(), base, mistakes)?;
    let forward_disk_limit_bytes = match raw.forward_disk_limit {
        Some(text) => mistakes.bytes("traces.forward_disk_limit", &text, 64 * MIB)?,
        None => 2_048 * MIB,
    };
    Ok(Traces {
        retention_ms,
        retention_rules,
        disk_limit_bytes,
        metrics,
        sampling,
        self_tracing: raw.self_tracing.unwrap_or(false),
        forward,
        forward_disk_limit_bytes,
    })
}

fn metrics(
    requests: RawSpanMetrics,
    edges: RawServiceGraph,
    mistakes: &Mistakes<'_>,
) -> Result<SpanMetricsConfig, ConfigError> {
    let standard = SpanMetricsConfig::default();
    let dimensions = requests.dimensions.unwrap_or_default();
    if dimensions.len() > DIMENSIONS_MAX {
        let key = "traces.span_metrics.dimensions";
        let message = format!("{key}: {} attributes; at most {DIMENSIONS_MAX}", dimensions.len());
        return Err(mistakes.error(key, message));
    }
    let bounds = |key: &str, given: Option<Vec<f64>>, standard: Vec<f64>| {
        let bounds = given.unwrap_or(standard);
        let is_ascending = bounds.is_sorted_by(|a, b| a < b);
        if !is_ascending || bounds.is_empty() || bounds.len() > BUCKETS_MAX {
            let message = format!("{key}: 1 to {BUCKETS_MAX} ascending numbers of seconds");
            return Err(mistakes.error(key, message));
        }
        Ok(bounds)
    };
    let between = |key: &str, given: Option<usize>, standard: usize, max: usize| {
        let number = given.unwrap_or(standard);
        if !(1..=max).contains(&number) {
            return Err(mistakes.error(key, format!("{key}: {number} is not between 1 and {max}")));
        }
        Ok(number)
    };
    let wait_ms = match &edges.wait {
        Some(text) => mistakes.duration("traces.service_graph.wait", text, 1_000, 600_000)?,
        None => standard.wait_ms,
    };
    Ok(SpanMetricsConfig {
        requests: requests.enabled.unwrap_or(standard.requests),
        dimensions,
        request_bounds: bounds(
            "traces.span_metrics.histogram_buckets",
            requests.histogram_buckets,
            standard.request_bounds,
        )?,
        sizes: requests.size.unwrap_or(standard.sizes),
        edges: edges.enabled.unwrap_or(standard.edges),
        edge_bounds: bounds(
            "traces.service_graph.histogram_buckets",
            edges.histogram_buckets,
            standard.edge_bounds,
        )?,
        wait_ms,
        waiting_max: between(
            "traces.service_graph.max_items",
            edges.max_items,
            standard.waiting_max,
            10_000_000,
        )?,
        series_max: between(
            "traces.span_metrics.max_series",
            requests.max_series,
            standard.series_max,
            1_000_000,
        )?,
        slack_ms: standard.slack_ms,
    })
}
