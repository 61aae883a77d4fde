//! `load_with_nhcb`: native histograms with custom bounds beside the classic ones they are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{BucketSpan, Histogram, Labels, METRIC_NAME};

use crate::syntax::parse_float;

/// One histogram at one time.
#[derive(Debug, Default)]
struct Parts {
    /// Bounds and cumulative counts, as they came.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// A series of native histograms with their times.
pub(super) type Converted = (Labels, Vec<(i64, Arc<Histogram>)>);

/// The parts of all classic histograms of a load.
#[derive(Debug, Default)]
pub(super) struct Batch {
    parts: BTreeMap<Labels, BTreeMap<i64, Parts>>,
}

impl Batch {
    /// Takes a sample in if its name says that it is a part.
    pub(super) fn add(&mut self, labels: &Labels, t_ms: i64, value: f64) {
        let name = labels.metric_name();
        let Some((base, suffix)) = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| Some((name.strip_suffix(suffix)?, *suffix)))
        else {
            return;
        };
        let bound = labels.get("le").and_then(parse_float).filter(|bound| !bound.is_nan());
        let key = labels.without("le").with(METRIC_NAME, base);
        let parts = self.parts.entry(key).or_default().entry(t_ms).or_default();
        match (suffix, bound) {
            ("_sum", _) => parts.sum = value,
            ("_count", _) => parts.count = Some(value),
            (_, Some(bound)) if parts.buckets.iter().all(|(b, _)| *b != bound) => {
                parts.buckets.push((bound, value));
            }
            _ => {}
        }
    }

    /// The histograms they make.
    pub(super) fn converted(self) -> Vec<Converted> {
        let whole = |(t_ms, parts): (i64, Parts)| (t_ms, Arc::new(parts.converted()));
        self.parts
            .into_iter()
            .map(|(labels, by_time)| (labels, by_time.into_iter().map(whole).collect()))
            .collect()
    }
}

impl Parts {
    fn converted(mut self) -> Histogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or(0.0);
        if last.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let mut positive = Vec::with_capacity(self.buckets.len());
        for (_, up_to) in &self.buckets {
            positive.push(up_to - below);
            below = *up_to;
        }
        let length = u32::try_from(positive.len()).unwrap_or(u32::MAX);
        let bounds = self.buckets.iter().map(|(bound, _)| *bound);
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            custom_bounds: bounds.filter(|bound| bound.is_finite()).collect(),
            positive_spans: vec![BucketSpan { offset: 0, length }],
            positive,
            ..Histogram::default()
        }
    }
}
