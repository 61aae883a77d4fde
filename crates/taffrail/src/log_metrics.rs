//! Metrics from logs: declared rules, applied to lines as they are stored, from wherever they come.

use std::sync::atomic::{AtomicU64, Ordering};

use ingest::pipeline::Metrics;
use model::{Clock, Labels, LogRows, Result};
use query::logql::Observed;

use crate::config::LogMetric;

/// All rules, and what they have counted since the start.
#[derive(Debug)]
pub(crate) struct LogMetrics {
    rules: Vec<LogMetric>,
    metrics: Metrics,
    failed: AtomicU64,
}

/// What a batch adds once it is stored: number of the rule, labels, value.
pub(crate) struct Observations {
    values: Vec<(usize, Labels, f64)>,
    failed: u64,
}

impl LogMetrics {
    /// # Errors
    /// When two rules of one name differ in kind.
    pub(crate) fn new(rules: &[LogMetric]) -> Result<Self> {
        let metrics = Metrics::default();
        rules.iter().try_for_each(|rule| metrics.declare(&rule.metric))?;
        Ok(Self { rules: rules.to_vec(), metrics, failed: AtomicU64::new(0) })
    }

    /// What `rows` add; `None` when that is nothing. A selector is looked at once for each stream.
    pub(crate) fn observe(&self, rows: &LogRows) -> Option<Observations> {
        let mut values = Vec::new();
        let mut failed = 0;
        for (number, rule) in self.rules.iter().enumerate() {
            let is_meant =
                |stream: &Labels| rule.rule.matchers().iter().all(|m| m.matches_labels(stream));
            let meant: Vec<bool> = rows.streams().iter().map(is_meant).collect();
            if !meant.contains(&true) {
                continue;
            }
            let is_meant = |i: &usize| meant[rows.stream_number(*i) as usize];
            for row in (0..rows.len()).filter(is_meant).map(|i| rows.row(i)) {
                match rule.rule.observe(&row) {
                    Observed::Nothing => {}
                    Observed::Failed => failed += 1,
                    Observed::Value(labels, value) => values.push((number, labels, value)),
                }
            }
        }
        (failed > 0 || !values.is_empty()).then_some(Observations { values, failed })
    }

    /// Adds what was observed.
    pub(crate) fn add(&self, observed: Observations, clock: &dyn Clock) {
        self.failed.fetch_add(observed.failed, Ordering::Relaxed);
        for (number, labels, value) in observed.values {
            if let Some(rule) = self.rules.get(number) {
                self.metrics.add(&rule.metric.name, &labels, value, clock);
            }
        }
    }

    /// The metrics.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Lines that a rule could not read.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}
