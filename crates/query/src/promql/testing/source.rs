//! Series in memory, as `load` makes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Budget, Error, Histogram, Labels, Matcher, MetricMetadata, MetricPlan, MetricSource, ResetHint,
    Result, Selected, SeriesData, StartTimes, TimeRange,
};

use super::notation::{self, Noted};
use super::{classic, duration_of};
use crate::histogram;

/// A table of series.
#[derive(Debug, Default)]
pub struct MemorySource {
    series: BTreeMap<Labels, BTreeMap<i64, Stored>>,
}

#[derive(Debug, Clone)]
struct Stored {
    value: Value,
    /// 0 where unknown.
    start_ms: i64,
}

#[derive(Debug, Clone)]
enum Value {
    Number(f64),
    Histogram(Arc<Histogram>),
}

impl MemorySource {
    /// Adds samples `(Unix milliseconds, value)` to a series; a sample replaces an earlier one of the same time.
    pub fn insert(&mut self, labels: &Labels, samples: impl IntoIterator<Item = (i64, f64)>) {
        let stored = |(t_ms, value)| (t_ms, Stored { value: Value::Number(value), start_ms: 0 });
        self.series.entry(labels.clone()).or_default().extend(samples.into_iter().map(stored));
    }

    /// Adds native histograms, with the hints a store would give them: see [`hinted`].
    pub fn insert_histograms(
        &mut self,
        labels: &Labels,
        samples: impl IntoIterator<Item = (i64, Arc<Histogram>)>,
    ) {
        let stored = |(t_ms, h)| (t_ms, Stored { value: Value::Histogram(h), start_ms: 0 });
        let series = self.series.entry(labels.clone()).or_default();
        series.extend(samples.into_iter().map(stored));
        hinted(series);
    }

    /// `load 5m` with its lines of series.
    pub(super) fn load(&mut self, command: &str, lines: &[&str]) -> Result<()> {
        let bad = || Error::invalid(format!("cannot read {command:?}"));
        let (name, interval) = command.split_once(char::is_whitespace).ok_or_else(bad)?;
        let interval_ms = duration_of(interval.trim()).ok_or_else(bad)?;
        let mut starts: BTreeMap<Labels, Vec<Option<i64>>> = BTreeMap::new();
        let mut classics = classic::Batch::default();
        for line in lines {
            let (metric, values) = notation::split(line);
            if let Some(metric) = metric.strip_suffix("@st") {
                starts.insert(notation::labels(metric)?, notation::expand_starts(values)?);
                continue;
            }
            let labels = notation::labels(metric)?;
            let starts = starts.get(&labels);
            let series = self.series.entry(labels.clone()).or_default();
            for (i, noted) in notation::expand(values)?.into_iter().enumerate() {
                let Some(noted) = noted else { continue };
                let t_ms = i as i64 * interval_ms;
                let start = starts.and_then(|starts| *starts.get(i)?);
                let value = match noted {
                    Noted::Number(value) => {
                        classics.add(&labels, t_ms, value);
                        Value::Number(value)
                    }
                    Noted::Histogram { histogram, .. } => Value::Histogram(histogram),
                };
                let start_ms = start.map_or(0, |start| t_ms + start);
                series.insert(t_ms, Stored { value, start_ms });
            }
            hinted(series);
        }
        if name == "load_with_nhcb" {
            for (labels, histograms) in classics.converted() {
                self.insert_histograms(&labels, histograms);
            }
        }
        Ok(())
    }

    fn matching<'a>(
        &'a self,
        selectors: &'a [Vec<Matcher>],
        range: TimeRange,
    ) -> impl Iterator<Item = &'a Labels> {
        let (start_ms, end_ms) =
            (range.start_ns.div_euclid(1_000_000), range.end_ns.div_euclid(1_000_000));
        self.series
            .iter()
            .filter(move |(labels, samples)| {
                let selected = selectors.is_empty()
                    || selectors.iter().any(|s| s.iter().all(|m| m.matches_labels(labels)));
                selected && samples.range(start_ms..end_ms.max(start_ms)).next().is_some()
            })
            .map(|(labels, _)| labels)
    }
}

/// Gives histograms the hints that Prometheus' store gives them: one that goes on from the one before it says so, the
/// first of a chunk says nothing. A number, another layout or a reset begins a chunk.
fn hinted(samples: &mut BTreeMap<i64, Stored>) {
    let mut previous: Option<Arc<Histogram>> = None;
    for stored in samples.values_mut() {
        let Value::Histogram(h) = &mut stored.value else {
            previous = None;
            continue;
        };
        if h.hint != ResetHint::Gauge {
            let same_chunk = |before: &Arc<Histogram>| {
                let unhinted = Histogram { hint: ResetHint::Unknown, ..h.as_ref().clone() };
                before.hint != ResetHint::Gauge
                    && h.hint != ResetHint::Reset
                    && before.schema == h.schema
                    && before.zero_threshold == h.zero_threshold
                    && before.custom_bounds == h.custom_bounds
                    && !histogram::is_reset(&unhinted, before)
            };
            let goes_on = previous.as_ref().is_some_and(same_chunk);
            let hint = if goes_on { ResetHint::NotReset } else { ResetHint::Unknown };
            *h = Arc::new(Histogram { hint, ..h.as_ref().clone() });
        }
        previous = Some(h.clone());
    }
}

impl MetricSource for MemorySource {
    fn select(&self, plan: &MetricPlan, budget: &Budget) -> Result<Selected> {
        budget.check()?;
        let matches = |labels: &Labels| plan.matchers.iter().all(|m| m.matches_labels(labels));
        let mut selected = Selected::default();
        if plan.start_ms > plan.end_ms {
            return Ok(selected);
        }
        for (labels, samples) in self.series.iter().filter(|(labels, _)| matches(labels)) {
            let (mut times, mut values, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
            let mut starts = StartTimes::default();
            for (t_ms, stored) in samples.range(plan.start_ms..=plan.end_ms) {
                match &stored.value {
                    Value::Number(value) => {
                        times.push(*t_ms);
                        values.push(*value);
                        starts.values.push(stored.start_ms);
                    }
                    Value::Histogram(h) => {
                        histograms.push((*t_ms, h.clone()));
                        starts.histograms.push(stored.start_ms);
                    }
                }
            }
            if times.is_empty() && histograms.is_empty() {
                continue;
            }
            let known = starts.values.iter().chain(&starts.histograms).any(|start| *start != 0);
            selected.series.push(SeriesData {
                labels: labels.clone(),
                timestamps: times.into(),
                values,
                histograms,
                starts: known.then(|| Box::new(starts)),
            });
        }
        Ok(selected)
    }

    fn series(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        _: &Budget,
    ) -> Result<Vec<Labels>> {
        Ok(self.matching(selectors, range).cloned().collect())
    }

    fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        _: &Budget,
    ) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .matching(selectors, range)
            .flat_map(|labels| labels.iter().map(|(n, _)| n.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        _: &Budget,
    ) -> Result<Vec<String>> {
        let mut values: Vec<String> = self
            .matching(selectors, range)
            .filter_map(|labels| labels.get(name).map(str::to_owned))
            .collect();
        values.sort();
        values.dedup();
        Ok(values)
    }

    fn metadata(&self, _: Option<&str>) -> Vec<MetricMetadata> {
        Vec::new()
    }
}
