//! From spans to metrics: how often, how fast and how well services work ([`requests`]), and who calls whom ([`edges`]),
//! with the names and labels of Tempo's metrics generator.
//!
//! [`SpanMetrics`] sees spans once they are stored and is asked for its series at intervals; it is pure and bounded, and
//! told what time it is. Does not own: when it is asked, and where the series go (`taffrail`).

mod edges;
mod requests;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use model::{MetricBatch, SpanGroup};

use edges::Edges;
use requests::Requests;

/// Service of spans whose resource names none, as OpenTelemetry has it.
const NO_SERVICE: &str = "unknown_service";
/// Label of exemplars, as Tempo writes it.
const TRACE_ID: &str = "traceID";
/// Series that were not touched for so many milliseconds end.
const IDLE_MS: i64 = 15 * 60 * 1000;

/// What is made of spans.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanMetricsConfig {
    /// Whether `traces_spanmetrics_*` are made.
    pub requests: bool,
    /// Attributes of spans, or else of their resources, that become labels beside service, name, kind and status.
    pub dimensions: Vec<String>,
    /// Upper bounds of `traces_spanmetrics_latency`, seconds, ascending.
    pub request_bounds: Vec<f64>,
    /// Whether `traces_spanmetrics_size_total` is one of them; each span is written as OTLP to know its bytes.
    pub sizes: bool,
    /// Whether `traces_service_graph_*` are made.
    pub edges: bool,
    /// Upper bounds of the service graph's durations, seconds, ascending.
    pub edge_bounds: Vec<f64>,
    /// A call's other side may come so many milliseconds later.
    pub wait_ms: i64,
    /// Spans that wait for their other side at most; those that waited longest give way, and are counted.
    pub waiting_max: usize,
    /// Spans that ended longer ago, or end later than in so many milliseconds, are counted as [late](SpanMetrics::late)
    /// only: they would be shown at a time that is not theirs.
    pub slack_ms: i64,
    /// Sets of labels of each of the two at most; what comes with others is counted together, their values being
    /// `other`.
    pub series_max: usize,
}

impl Default for SpanMetricsConfig {
    /// Bounds and waiting time as Tempo has them.
    fn default() -> Self {
        Self {
            requests: true,
            dimensions: Vec::new(),
            request_bounds: vec![
                0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.02, 2.05, 4.10,
            ],
            sizes: false,
            edges: true,
            edge_bounds: vec![0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8],
            wait_ms: 10_000,
            waiting_max: 65_536,
            slack_ms: 30_000,
            series_max: 2_000,
        }
    }
}

/// The metrics of all spans of a process.
#[derive(Debug)]
pub struct SpanMetrics {
    requests: Option<Requests>,
    edges: Option<Edges>,
    source: Arc<str>,
    slack_ms: i64,
    late: u64,
    collected_ms: Option<i64>,
}

impl SpanMetrics {
    /// With `config`, and without any series.
    pub fn new(config: &SpanMetricsConfig) -> Self {
        Self {
            requests: config.requests.then(|| Requests::new(config)),
            edges: config.edges.then(|| Edges::new(config)),
            source: Arc::from("traces"),
            slack_ms: config.slack_ms,
            late: 0,
            collected_ms: None,
        }
    }

    /// Counts spans that came at `now_ms`, Unix milliseconds.
    ///
    /// Cost: a hash of the names of each span; allocates for what was not seen before, and for each of the dimensions.
    pub fn observe(&mut self, groups: &[SpanGroup], now_ms: i64) {
        self.observe_but(groups, &[], now_ms);
    }

    /// Likewise, without the spans `repeated`: numbers in ascending order, the first of all groups' spans being 0.
    pub fn observe_but(&mut self, groups: &[SpanGroup], repeated: &[u32], now_ms: i64) {
        let (mut number, mut repeated) = (0, repeated.iter().copied().peekable());
        if let Some(edges) = &mut self.edges {
            edges.expire(now_ms);
        }
        for group in groups {
            let service = group.resource.service().unwrap_or(NO_SERVICE);
            let caller = self.edges.as_mut().map(|edges| edges.name(service));
            // Libraries of OpenTelemetry name themselves, and give every span an id of its own.
            let may_share = group.scope.name.is_empty();
            for span in &group.spans {
                number += 1;
                if repeated.next_if_eq(&(number - 1)).is_some() {
                    continue;
                }
                let ended_ms = span.end_ns.div_euclid(1_000_000);
                if ended_ms.abs_diff(now_ms) > self.slack_ms.unsigned_abs() {
                    self.late += 1;
                    continue;
                }
                if let Some(requests) = &mut self.requests {
                    requests.observe(service, group, span, now_ms);
                }
                if let (Some(edges), Some(service)) = (&mut self.edges, &caller) {
                    edges.observe(service, span, may_share, now_ms);
                }
            }
        }
    }

    /// Spans left out because of [`slack_ms`](SpanMetricsConfig::slack_ms).
    pub fn late(&self) -> u64 {
        self.late
    }

    /// All series at `now_ms`, which must ascend from call to call. Series that are new stand there as 0 for the call
    /// before, so that their first increase is seen. Series idle for a quarter of an hour are forgotten.
    pub fn collect(&mut self, now_ms: i64) -> MetricBatch {
        let mut batch = MetricBatch {
            source: Arc::clone(&self.source),
            t_ms: now_ms,
            ..MetricBatch::default()
        };
        let before_ms = self.collected_ms.replace(now_ms).unwrap_or(now_ms - 1).min(now_ms - 1);
        if let Some(requests) = &mut self.requests {
            requests.table.collect(before_ms, &mut batch);
        }
        if let Some(edges) = &mut self.edges {
            edges.expire(now_ms);
            edges.calls.collect(before_ms, &mut batch);
            edges.lost.collect(before_ms, &mut batch);
        }
        batch
    }
}
