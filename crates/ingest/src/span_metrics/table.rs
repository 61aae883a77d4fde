//! Series by their labels: counters and histograms that grow together, and become the rows of a batch.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use model::{
    Exemplar, ExemplarRow, Labels, MetricBatch, MetricKind, MetricMetadata, MetricRow, StampedRow,
};
use rustc_hash::FxBuildHasher;

use super::{IDLE_MS, TRACE_ID};

/// Value of all labels of the set that stands for those that are too many.
const FOLDED: &str = "other";

/// Appends a text to a key, so that no two lists of texts make the same key.
pub(super) fn put_text(key: &mut Vec<u8>, text: &str) {
    key.extend(text.len().to_le_bytes());
    key.extend(text.as_bytes());
}

/// One metric of a table.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// Upper bounds, ascending; of a counter none.
    pub(super) bounds: Option<Arc<[f64]>>,
}

impl Metric {
    pub(super) fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, bounds: None }
    }

    pub(super) fn histogram(name: &'static str, help: &'static str, bounds: &[f64]) -> Self {
        Self { name, help, bounds: Some(Arc::from(bounds)) }
    }
}

/// The metrics of sets of labels.
#[derive(Debug)]
pub(super) struct Table {
    metrics: Vec<Metric>,
    series: HashMap<Box<[u8]>, Series, FxBuildHasher>,
    /// What stands for the sets that are too many.
    folded: Option<Series>,
    series_max: usize,
    /// Whether the metrics were described.
    is_described: bool,
}

/// The metrics of one set of labels.
#[derive(Debug)]
pub(super) struct Series {
    values: Box<[Value]>,
    /// Of all rows, in their order.
    labels: Box<[Labels]>,
    touched_ms: i64,
    is_new: bool,
}

#[derive(Debug)]
enum Value {
    Counter(f64),
    Histogram {
        bounds: Arc<[f64]>,
        /// By bucket, not added up; the last has no bound.
        counts: Box<[u64]>,
        sum: f64,
        /// Of each bucket, since they were last taken.
        exemplars: Box<[Option<Observed>]>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Observed {
    trace_id: u128,
    value: f64,
    t_ms: i64,
}

impl Series {
    /// Adds to the counter number `metric`.
    pub(super) fn add(&mut self, metric: usize, increase: f64) {
        if let Some(Value::Counter(value)) = self.values.get_mut(metric) {
            *value += increase;
        }
    }

    /// Counts `seconds` in the histogram number `metric`, as seen at `t_ms` in a trace.
    pub(super) fn record(&mut self, metric: usize, seconds: f64, trace_id: u128, t_ms: i64) {
        let Some(Value::Histogram { bounds, counts, sum, exemplars }) = self.values.get_mut(metric)
        else {
            return;
        };
        let bucket = bounds.partition_point(|bound| *bound < seconds);
        *sum += seconds;
        if let Some(count) = counts.get_mut(bucket) {
            *count += 1;
        }
        if let Some(exemplar) = exemplars.get_mut(bucket) {
            *exemplar = Some(Observed { trace_id, value: seconds, t_ms });
        }
    }
}

impl Table {
    pub(super) fn new(metrics: Vec<Metric>, series_max: usize) -> Self {
        Self { metrics, series: HashMap::default(), folded: None, series_max, is_described: false }
    }

    /// The series of a set of labels that `key` stands for; `labels` gives the set if it is new.
    pub(super) fn series<'a>(
        &mut self,
        key: &[u8],
        now_ms: i64,
        labels: impl FnOnce() -> Vec<(String, &'a str)>,
    ) -> &mut Series {
        let is_full = self.series.len() >= self.series_max;
        let metrics = &self.metrics;
        let series = match self.series.entry_ref(key) {
            EntryRef::Occupied(entry) => entry.into_mut(),
            EntryRef::Vacant(_) if is_full => {
                let mut labels = labels();
                labels.iter_mut().for_each(|(_, value)| *value = FOLDED);
                self.folded.get_or_insert_with(|| Series::new(metrics, &labels))
            }
            EntryRef::Vacant(entry) => entry.insert(Series::new(metrics, &labels())),
        };
        series.touched_ms = now_ms;
        series
    }

    /// Appends all rows; those of new series also as 0 at `before_ms`.
    pub(super) fn collect(&mut self, before_ms: i64, batch: &mut MetricBatch) {
        if !std::mem::replace(&mut self.is_described, true) {
            batch.metadata.extend(self.metrics.iter().map(|metric| MetricMetadata {
                name: Arc::from(metric.name),
                kind: match metric.bounds {
                    Some(_) => MetricKind::Histogram,
                    None => MetricKind::Counter,
                },
                help: Arc::from(metric.help),
                unit: Arc::from(""),
            }));
        }
        let idle_since_ms = batch.t_ms.saturating_sub(IDLE_MS);
        self.series.retain(|_, series| series.touched_ms >= idle_since_ms);
        for series in self.series.values_mut().chain(&mut self.folded) {
            series.collect(before_ms, batch);
        }
    }
}

impl Series {
    fn new(metrics: &[Metric], pairs: &[(String, &str)]) -> Self {
        let mut labels = Vec::new();
        let mut named = |name: &str, le: Option<&str>| {
            let own = [("__name__", name)].into_iter().chain(le.map(|le| ("le", le)));
            let pairs = pairs.iter().map(|(name, value)| (name.as_str(), *value));
            labels.push(Labels::from_pairs(own.chain(pairs)));
        };
        let value = |metric: &Metric| match &metric.bounds {
            None => {
                named(metric.name, None);
                Value::Counter(0.0)
            }
            Some(bounds) => {
                let bucket = format!("{}_bucket", metric.name);
                for bound in bounds.iter() {
                    named(&bucket, Some(&bound.to_string()));
                }
                named(&bucket, Some("+Inf"));
                named(&format!("{}_sum", metric.name), None);
                named(&format!("{}_count", metric.name), None);
                Value::Histogram {
                    bounds: Arc::clone(bounds),
                    counts: vec![0; bounds.len() + 1].into(),
                    sum: 0.0,
                    exemplars: vec![None; bounds.len() + 1].into(),
                }
            }
        };
        let values = metrics.iter().map(value).collect();
        Self { values, labels: labels.into(), touched_ms: 0, is_new: true }
    }

    fn collect(&mut self, before_ms: i64, batch: &mut MetricBatch) {
        if std::mem::take(&mut self.is_new) {
            let zero = |labels: &Labels| StampedRow::new(labels.clone(), before_ms, 0.0);
            batch.stamped.extend(self.labels.iter().map(zero));
        }
        let mut labels = self.labels.iter();
        let mut push = |value: f64| {
            let labels = labels.next()?;
            batch.rows.push(MetricRow { labels: labels.clone(), value });
            Some(labels)
        };
        for value in &mut self.values {
            match value {
                Value::Counter(value) => drop(push(*value)),
                Value::Histogram { counts, sum, exemplars, .. } => {
                    let mut total = 0;
                    for (count, exemplar) in counts.iter().zip(exemplars) {
                        total += count;
                        if let (Some(series), Some(seen)) = (push(total as f64), exemplar.take()) {
                            let trace_id = format!("{:032x}", seen.trace_id);
                            let labels = Labels::from_pairs([(TRACE_ID, trace_id.as_str())]);
                            let exemplar = Exemplar { labels, value: seen.value, t_ms: seen.t_ms };
                            batch.exemplars.push(ExemplarRow { series: series.clone(), exemplar });
                        }
                    }
                    push(*sum);
                    push(total as f64);
                }
            }
        }
    }
}
