//! Type, help and unit of metrics, found by the names of their series.

use std::sync::Arc;

use hashbrown::HashMap;
use model::{Labels, MetricKind, MetricMetadata, MetricSource};

/// Names remembered.
const NAMES_MAX: usize = 100_000;
/// Looked up again after so many milliseconds.
const FRESH_MS: i64 = 60_000;
/// What series of a family may have behind its name, and which families have them.
const SUFFIXES: [(&str, &[MetricKind]); 7] = [
    ("_bucket", &[MetricKind::Histogram, MetricKind::GaugeHistogram]),
    ("_count", &[MetricKind::Histogram, MetricKind::Summary]),
    ("_sum", &[MetricKind::Histogram, MetricKind::Summary]),
    ("_total", &[MetricKind::Counter]),
    ("_created", &[MetricKind::Histogram, MetricKind::Summary, MetricKind::Counter]),
    ("_info", &[MetricKind::Info]),
    ("_gcount", &[MetricKind::GaugeHistogram]),
];

/// Remembers what a source knows.
pub(super) struct Lookup {
    source: Arc<dyn MetricSource>,
    known: HashMap<String, Option<Arc<MetricMetadata>>>,
    since_ms: i64,
}

impl Lookup {
    pub(super) fn new(source: Arc<dyn MetricSource>) -> Self {
        Self { source, known: HashMap::new(), since_ms: i64::MIN }
    }

    /// Everything known.
    pub(super) fn all(&self) -> Vec<Arc<MetricMetadata>> {
        self.source.metadata(None).into_iter().map(Arc::new).collect()
    }

    /// Of the family of a series.
    pub(super) fn of(&mut self, series: &Labels, now_ms: i64) -> Option<Arc<MetricMetadata>> {
        if now_ms.saturating_sub(self.since_ms) >= FRESH_MS || self.known.len() >= NAMES_MAX {
            self.known.clear();
            self.since_ms = now_ms;
        }
        let name = series.metric_name();
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let exactly = |name: &str| self.source.metadata(Some(name)).into_iter().next();
        let found = exactly(name).or_else(|| {
            SUFFIXES.iter().find_map(|(suffix, kinds)| {
                let family = exactly(name.strip_suffix(suffix)?)?;
                kinds.contains(&family.kind).then_some(family)
            })
        });
        let found = found.map(Arc::new);
        self.known.insert(name.to_owned(), found.clone());
        found
    }
}
