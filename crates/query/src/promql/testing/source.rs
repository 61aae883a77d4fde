//! Series in memory, as `load` makes them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use model::{
    Budget, Error, Labels, METRIC_NAME, Matcher, MetricMetadata, MetricPlan, MetricSource, Result,
    Selected, SeriesData, TimeRange,
};

use super::notation;
use crate::syntax::duration_ms;

/// A table of series.
#[derive(Debug, Default)]
pub struct MemorySource {
    series: BTreeMap<Labels, BTreeMap<i64, f64>>,
    /// Series that cannot be held, and why.
    withheld: Vec<(Labels, &'static str)>,
    /// Why the last answers were incomplete.
    touched: Mutex<Option<&'static str>>,
}

impl MemorySource {
    /// Adds samples `(Unix milliseconds, value)` to a series; a sample replaces an earlier one of the same time.
    pub fn insert(&mut self, labels: &Labels, samples: impl IntoIterator<Item = (i64, f64)>) {
        self.series.entry(labels.clone()).or_default().extend(samples);
    }

    /// `load 5m` with its lines of series.
    pub(super) fn load(&mut self, command: &str, lines: &[&str]) -> Result<()> {
        let bad = || Error::invalid(format!("cannot read {command:?}"));
        let (name, interval) = command.split_once(char::is_whitespace).ok_or_else(bad)?;
        let interval_ms = duration_ms(interval.trim()).ok_or_else(bad)?;
        for line in lines {
            let (metric, values) = notation::split(line);
            if let Some(metric) = metric.strip_suffix("@st") {
                self.withheld.push((notation::labels(metric)?, "needs start timestamps"));
                continue;
            }
            let labels = notation::labels(metric)?;
            if values.contains("{{") {
                self.withheld.push((labels, "reads native histograms"));
                continue;
            }
            if name == "load_with_nhcb" {
                self.withhold_converted(&labels);
            }
            let values = notation::expand(values)?;
            let samples = (0..).zip(values).filter_map(|(i, v)| Some((i * interval_ms, v?)));
            self.insert(&labels, samples);
        }
        Ok(())
    }

    /// Notes the native histogram that Prometheus would make of classic buckets.
    fn withhold_converted(&mut self, labels: &Labels) {
        let name = labels.metric_name();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
        if let Some(base) = base {
            let labels = labels.without("le").with(METRIC_NAME, base);
            self.withheld.push((labels, "reads native histograms"));
        }
    }

    /// Starts anew with [`touched`](Self::touched).
    pub(super) fn forget_touched(&self) {
        if let Ok(mut touched) = self.touched.lock() {
            *touched = None;
        }
    }

    /// Why some answer since then was incomplete, if any was.
    pub(super) fn touched(&self) -> Option<&'static str> {
        self.touched.lock().ok().and_then(|touched| *touched)
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

impl MetricSource for MemorySource {
    fn select(&self, plan: &MetricPlan, budget: &Budget) -> Result<Selected> {
        budget.check()?;
        let matches = |labels: &Labels| plan.matchers.iter().all(|m| m.matches_labels(labels));
        if let Some((_, reason)) = self.withheld.iter().find(|(labels, _)| matches(labels))
            && let Ok(mut touched) = self.touched.lock()
        {
            *touched = Some(reason);
        }
        let mut selected = Selected::default();
        if plan.start_ms > plan.end_ms {
            return Ok(selected);
        }
        for (labels, samples) in self.series.iter().filter(|(labels, _)| matches(labels)) {
            let inside = samples.range(plan.start_ms..=plan.end_ms);
            let (times, values): (Vec<i64>, Vec<f64>) = inside.map(|(t, v)| (*t, *v)).unzip();
            if !times.is_empty() {
                let labels = labels.clone();
                selected.series.push(SeriesData {
                    labels,
                    timestamps: times.into(),
                    values,
                    histograms: Vec::new(),
                });
            }
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
