//! `traces:` of `taffrail.yml`: how long traces are kept, how much of them, and which metrics are made of spans.

use ingest::span_metrics::SpanMetricsConfig;
use serde::Deserialize;

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
    /// Disk for traces: `20GiB`; what arrived first is deleted first. Default: no limit but `disk_limit`.
    pub disk_limit: Option<String>,
    /// Which spans and traces are kept when not all are.
    pub sampling: Option<RawSampling>,
    /// How often, how fast and how well services work, as `traces_spanmetrics_*`.
    pub span_metrics: Option<RawSpanMetrics>,
    /// Who calls whom, as `traces_service_graph_*`.
    pub service_graph: Option<RawServiceGraph>,
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
    /// Bytes of them.
    pub disk_limit_bytes: Option<u64>,
    /// What is made of spans.
    pub metrics: SpanMetricsConfig,
    /// Which of them stay, unless all do.
    pub sampling: Option<Sampling>,
}

/// Attributes that become labels.
const DIMENSIONS_MAX: usize = 16;
/// Buckets of a histogram.
const BUCKETS_MAX: usize = 64;

/// `retention_ms` is that of everything.
pub(super) fn check(
    raw: RawTraces,
    retention_ms: i64,
    mistakes: &Mistakes<'_>,
) -> Result<Traces, ConfigError> {
    let retention_ms = match raw.retention {
        Some(text) => mistakes.duration("traces.retention", &text, 60_000, 100 * 365 * DAY_MS)?,
        None => retention_ms,
    };
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
    Ok(Traces { retention_ms, disk_limit_bytes, metrics, sampling })
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
