//! A few series as a source, so that queries which parse are evaluated as well.

use std::sync::Arc;

use model::{
    BucketSpan, Budget, Histogram, Labels, Matcher, MetricMetadata, MetricPlan, MetricSource, Result, Selected,
    SeriesData, TimeRange, stale_nan,
};

/// Ten minutes of a gauge, two counters, histograms of both kinds and a stale series; whatever a selector's name is, they match.
#[derive(Debug, Default)]
pub struct Samples;

impl Samples {
    fn all() -> Vec<SeriesData> {
        let values = |f: &dyn Fn(f64) -> f64| (0..41).map(|i| f(f64::from(i))).collect::<Vec<_>>();
        let mut stale = values(&|i| i);
        stale[30..].fill(stale_nan());
        let series = [
            (&[("a", "x"), ("le", "0.1")][..], values(&|i| i * 2.0)),
            (&[("a", "x"), ("le", "+Inf")], values(&|i| i * 3.0)),
            (&[("a", "y"), ("job", "b")], values(&|i| (i % 10.0) * 1e300)),
            (&[("a", "z"), ("job", "c")], stale),
            (&[("a", "é"), ("job", "d")], values(&|i| 0.0 / i)),
        ];
        let timestamps: Arc<[i64]> = (0..41).map(|i| i * 15_000).collect();
        let series = series.into_iter().map(|(labels, values)| SeriesData {
            labels: Labels::from_pairs(labels.iter().copied()),
            timestamps: Arc::clone(&timestamps),
            values,
            histograms: Vec::new(),
            starts: None,
        });
        let native = SeriesData {
            labels: Labels::from_pairs([("a", "n")]),
            timestamps: Arc::from([]),
            values: Vec::new(),
            histograms: (0..41).map(|i| (i * 15_000, Arc::new(histogram(i as f64)))).collect(),
            starts: None,
        };
        series.chain([native]).collect()
    }
}

/// One that has counted up to `i`, and starts anew half-way.
fn histogram(i: f64) -> Histogram {
    let count = i % 20.0;
    Histogram {
        count: count * 3.0,
        sum: count * 2.5,
        positive_spans: vec![BucketSpan { offset: -1, length: 2 }],
        positive: vec![count, count * 2.0],
        ..Histogram::default()
    }
}

impl MetricSource for Samples {
    fn select(&self, plan: &MetricPlan, budget: &Budget) -> Result<Selected> {
        let mut series = Vec::new();
        for mut data in Self::all() {
            let mut others = plan.matchers.iter().filter(|m| m.name() != "__name__");
            if !others.all(|m| m.matches_labels(&data.labels)) {
                continue;
            }
            let wanted = |t: i64| plan.start_ms <= t && t <= plan.end_ms;
            let kept = data.timestamps.iter().copied().zip(data.values).filter(|(t, _)| wanted(*t));
            let (timestamps, values): (Vec<_>, Vec<_>) = kept.unzip();
            data.histograms.retain(|(t, _)| wanted(*t));
            budget.charge_samples((values.len() + data.histograms.len()) as u64)?;
            if !values.is_empty() || !data.histograms.is_empty() {
                data.labels = data.labels.with("__name__", "m");
                data.timestamps = timestamps.into();
                data.values = values;
                series.push(data);
            }
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Selected { series, warnings: Vec::new() })
    }

    fn series(&self, _: &[Vec<Matcher>], _: TimeRange, _: &Budget) -> Result<Vec<Labels>> {
        Ok(Self::all().into_iter().map(|s| s.labels).collect())
    }

    fn label_names(&self, _: &[Vec<Matcher>], _: TimeRange, _: &Budget) -> Result<Vec<String>> {
        Ok(vec!["a".to_owned(), "job".to_owned(), "le".to_owned()])
    }

    fn label_values(
        &self,
        name: &str,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: &Budget,
    ) -> Result<Vec<String>> {
        let all = Self::all();
        Ok(all.iter().filter_map(|s| s.labels.get(name)).map(str::to_owned).collect())
    }

    fn metadata(&self, _: Option<&str>) -> Vec<MetricMetadata> {
        Vec::new()
    }
}
