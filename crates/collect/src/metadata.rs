//! Type and help of the metrics a collector produces itself, in the shape of its static tables.

use std::sync::Arc;

use model::{MetricKind, MetricMetadata};

/// One metric: name, type, help.
pub type Described = (&'static str, MetricKind, &'static str);

pub(crate) const COUNTER: MetricKind = MetricKind::Counter;
pub(crate) const GAUGE: MetricKind = MetricKind::Gauge;

pub(crate) fn to_model(table: &[Described]) -> Vec<MetricMetadata> {
    table
        .iter()
        .map(|(name, kind, help)| MetricMetadata {
            name: Arc::from(*name),
            kind: *kind,
            help: Arc::from(*help),
            unit: Arc::from(""),
        })
        .collect()
}
