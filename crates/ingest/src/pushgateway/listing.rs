//! Groups as `GET /api/v1/metrics` of the Pushgateway lists them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{Labels, METRIC_NAME, MetricKind};
use serde_json::{Map, Value, json};

use super::{Family, Group, Groups, PUSH_FAILURE_TIME, PUSH_TIME};

impl Groups {
    /// The `data` of the answer: one object per group, its families by name.
    pub fn listing(&self) -> Value {
        self.iter().map(group).collect()
    }
}

fn group(group: &Group) -> Value {
    let mut object = Map::new();
    object.insert("labels".to_owned(), labels(&group.labels, &[]));
    let succeeded = group.failed_ms.is_none() || group.pushed_ms > group.failed_ms;
    object.insert("last_push_successful".to_owned(), json!(succeeded));
    for (name, at) in &group.families {
        object.insert(name.clone(), family(at, name));
    }
    for (name, at_ms, help) in [
        (
            PUSH_TIME,
            group.pushed_ms,
            "Last Unix time when changing this group in the Pushgateway succeeded.",
        ),
        (
            PUSH_FAILURE_TIME,
            group.failed_ms,
            "Last Unix time when changing this group in the Pushgateway failed.",
        ),
    ] {
        let gauge = Family {
            kind: MetricKind::Gauge,
            help: help.to_owned(),
            samples: vec![(group.labels.with(METRIC_NAME, name), at_ms.unwrap_or(0) as f64 / 1e3)],
            histograms: Vec::new(),
            pushed_ms: group.pushed_ms.max(group.failed_ms).unwrap_or(0),
        };
        object.insert(name.to_owned(), family(&gauge, name));
    }
    Value::Object(object)
}

fn family(family: &Family, name: &str) -> Value {
    let mut metrics: BTreeMap<Labels, Map<String, Value>> = BTreeMap::new();
    for (series, value) in &family.samples {
        let part = series.metric_name().strip_prefix(name).unwrap_or("");
        let (key, bound) = match (family.kind, part) {
            (MetricKind::Histogram | MetricKind::GaugeHistogram, "_bucket") => ("buckets", "le"),
            (MetricKind::Summary, "") => ("quantiles", "quantile"),
            (_, "_sum") => ("sum", ""),
            (_, "_count") => ("count", ""),
            _ => ("value", ""),
        };
        let metric = metrics.entry(series.without(METRIC_NAME).without(bound)).or_default();
        let text = Value::String(spell(*value));
        match series.get(bound).filter(|_| !bound.is_empty()) {
            Some(bound) => {
                let inner = metric.entry(key).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(inner) = inner {
                    inner.insert(bound.to_owned(), text);
                }
            }
            None => {
                metric.insert(key.to_owned(), text);
            }
        }
    }
    for (series, histogram) in &family.histograms {
        let metric = metrics.entry(series.without(METRIC_NAME)).or_default();
        metric.insert("count".to_owned(), spell(histogram.count).into());
        metric.insert("sum".to_owned(), spell(histogram.sum).into());
    }
    let metrics: Vec<Value> = metrics
        .into_iter()
        .map(|(series, mut metric)| {
            metric.insert("labels".to_owned(), labels(&series, &["instance"]));
            Value::Object(metric)
        })
        .collect();
    let kind = match family.kind {
        MetricKind::Unknown => "UNTYPED".to_owned(),
        MetricKind::GaugeHistogram => "GAUGE_HISTOGRAM".to_owned(),
        kind => kind.as_str().to_uppercase(),
    };
    let time = Timestamp::from_millisecond(family.pushed_ms).unwrap_or_default().to_string();
    json!({"time_stamp": time, "type": kind, "help": family.help, "metrics": metrics})
}

/// Labels as an object; those of `shown` also when they are not there.
fn labels(labels: &Labels, shown: &[&str]) -> Value {
    let mut object = Map::new();
    for name in shown {
        object.insert((*name).to_owned(), json!(""));
    }
    for (name, value) in labels.iter() {
        object.insert(name.to_owned(), json!(value));
    }
    Value::Object(object)
}

/// A value as Go prints it: `1.5837836480257448e+09`, `+Inf`.
fn spell(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    value.to_string()
}
