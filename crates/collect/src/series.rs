//! Series identities of one collector, built once and handed out again each round.
//!
//! Owns: the labels of every series a source has, the order in which they come, and the staleness markers of those that
//! stop coming. Does not own: values, metric names, or when a round takes place.

use model::{Labels, LabelsBuilder, METRIC_NAME, MetricRow, stale_nan};

/// The series of one source (a container, the host).
#[derive(Debug)]
pub(crate) struct SeriesCache {
    common: Vec<(String, String)>,
    slots: Vec<Slot>,
    next: usize,
    round: u32,
}

#[derive(Debug)]
struct Slot {
    metric: Box<str>,
    extra: Vec<(&'static str, String)>,
    labels: Labels,
    round: u32,
}

impl SeriesCache {
    /// A cache whose series all carry `common`.
    pub(crate) fn new(common: Vec<(String, String)>) -> Self {
        Self { common, slots: Vec::new(), next: 0, round: 0 }
    }

    /// Opens a round.
    pub(crate) fn begin(&mut self) {
        self.next = 0;
        self.round = self.round.wrapping_add(1);
    }

    /// Adds a row. Rounds that put the same series in the same order find them without a search.
    pub(crate) fn put(
        &mut self,
        rows: &mut Vec<MetricRow>,
        metric: &str,
        extra: &[(&'static str, &str)],
        value: f64,
    ) {
        let index = match self.slots.get(self.next) {
            Some(slot) if slot.is(metric, extra) => self.next,
            _ => self.find_or_insert(metric, extra),
        };
        self.next = index + 1;
        if let Some(slot) = self.slots.get_mut(index) {
            slot.round = self.round;
            rows.push(MetricRow { labels: slot.labels.clone(), value });
        }
    }

    /// Closes a round: series that did not come get their staleness marker and are forgotten.
    pub(crate) fn finish(&mut self, rows: &mut Vec<MetricRow>) {
        let round = self.round;
        self.slots.retain(|slot| {
            let came = slot.round == round;
            if !came {
                rows.push(MetricRow { labels: slot.labels.clone(), value: stale_nan() });
            }
            came
        });
    }

    /// Marks all series as gone.
    pub(crate) fn end(&mut self, rows: &mut Vec<MetricRow>) {
        self.begin();
        self.finish(rows);
    }

    fn find_or_insert(&mut self, metric: &str, extra: &[(&'static str, &str)]) -> usize {
        if let Some(index) = self.slots.iter().position(|slot| slot.is(metric, extra)) {
            return index;
        }
        let mut labels = LabelsBuilder::default();
        for (name, value) in &self.common {
            labels.set(name, value);
        }
        for (name, value) in extra {
            labels.set(name, value);
        }
        labels.set(METRIC_NAME, metric);
        let index = self.next.min(self.slots.len());
        self.slots.insert(
            index,
            Slot {
                metric: Box::from(metric),
                extra: extra.iter().map(|(n, v)| (*n, (*v).to_owned())).collect(),
                labels: labels.build(),
                round: self.round,
            },
        );
        index
    }
}

impl Slot {
    fn is(&self, metric: &str, extra: &[(&'static str, &str)]) -> bool {
        *self.metric == *metric
            && self.extra.len() == extra.len()
            && self.extra.iter().zip(extra).all(|((n, v), (m, w))| n == m && v == w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_same_allocation_and_missing_series_go_stale_once() {
        let mut cache = SeriesCache::new(vec![("job".into(), "node".into())]);
        let mut first = Vec::new();
        cache.begin();
        cache.put(&mut first, "a", &[("cpu", "0")], 1.0);
        cache.put(&mut first, "b", &[], 2.0);
        cache.finish(&mut first);
        let mut second = Vec::new();
        cache.begin();
        cache.put(&mut second, "b", &[], 3.0);
        cache.put(&mut second, "c", &[], 4.0);
        cache.finish(&mut second);
        assert!(first[1].labels.same_allocation(&second[0].labels));
        assert_eq!(first[0].labels.to_string(), r#"a{cpu="0", job="node"}"#);
        assert_eq!(second.len(), 3);
        assert!(model::is_stale(second[2].value) && second[2].labels == first[0].labels);
        let mut third = Vec::new();
        cache.end(&mut third);
        assert_eq!(third.len(), 2);
        assert!(cache.slots.is_empty());
    }
}
