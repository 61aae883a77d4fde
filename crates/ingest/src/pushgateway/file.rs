//! A group as a file: a line that names format and checksum, then JSON. Described in `docs/format/pushgateway.md`.

use std::sync::Arc;

use model::{BucketSpan, Error, Histogram, Labels, MetricKind, ResetHint, Result};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use super::{Family, Group};

const MAGIC: &str = "taffrail-pushed-group 1 ";

#[derive(Serialize, Deserialize)]
struct StoredGroup {
    labels: Vec<(String, String)>,
    pushed_ms: Option<i64>,
    failed_ms: Option<i64>,
    families: Vec<StoredFamily>,
}

#[derive(Serialize, Deserialize)]
struct StoredFamily {
    name: String,
    kind: String,
    help: String,
    pushed_ms: i64,
    samples: Vec<(Vec<(String, String)>, StoredValue)>,
    histograms: Vec<(Vec<(String, String)>, StoredHistogram)>,
}

#[derive(Serialize, Deserialize)]
struct StoredHistogram {
    schema: i32,
    integer: bool,
    gauge: bool,
    zero_threshold: StoredValue,
    zero_count: StoredValue,
    count: StoredValue,
    sum: StoredValue,
    positive_spans: Vec<(i32, u32)>,
    positive: Vec<StoredValue>,
    negative_spans: Vec<(i32, u32)>,
    negative: Vec<StoredValue>,
    custom_bounds: Vec<StoredValue>,
}

/// A float as the 64 bits it is: JSON has neither NaN nor infinities.
#[derive(Serialize, Deserialize)]
struct StoredValue(u64);

impl From<f64> for StoredValue {
    fn from(value: f64) -> Self {
        Self(value.to_bits())
    }
}

impl StoredValue {
    fn float(&self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl Group {
    /// The group as the content of a file.
    pub fn encode(&self) -> Vec<u8> {
        let pairs = |labels: &Labels| -> Vec<(String, String)> {
            labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
        };
        let family = |(name, family): (&String, &Family)| StoredFamily {
            name: name.clone(),
            kind: family.kind.as_str().to_owned(),
            help: family.help.clone(),
            pushed_ms: family.pushed_ms,
            samples: family.samples.iter().map(|(l, v)| (pairs(l), (*v).into())).collect(),
            histograms: family.histograms.iter().map(|(l, h)| (pairs(l), stored(h))).collect(),
        };
        let group = StoredGroup {
            labels: pairs(&self.labels),
            pushed_ms: self.pushed_ms,
            failed_ms: self.failed_ms,
            families: self.families.iter().map(family).collect(),
        };
        let json = serde_json::to_string(&group).expect("BUG: texts and numbers are JSON");
        format!("{MAGIC}{:016x}\n{json}\n", XxHash64::oneshot(0, json.as_bytes())).into_bytes()
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when it is not what [`encode`](Self::encode) wrote.
    pub fn decode(content: &[u8]) -> Result<Self> {
        let corrupt = |what: &str| Error::corrupt(format!("pushed group {what}"));
        let text = std::str::from_utf8(content).map_err(|_| corrupt("is not UTF-8"))?;
        let (head, json) = text.split_once('\n').ok_or_else(|| corrupt("is one line"))?;
        let sum = head.strip_prefix(MAGIC).ok_or_else(|| corrupt("has another format"))?;
        let json = json.strip_suffix('\n').ok_or_else(|| corrupt("is cut off"))?;
        if u64::from_str_radix(sum, 16) != Ok(XxHash64::oneshot(0, json.as_bytes())) {
            return Err(corrupt("does not have the checksum it names"));
        }
        let stored: StoredGroup =
            serde_json::from_str(json).map_err(|e| corrupt(&format!("does not parse: {e}")))?;
        let labels = |pairs: &[(String, String)]| {
            Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
        };
        let mut group = Self {
            labels: labels(&stored.labels),
            pushed_ms: stored.pushed_ms,
            failed_ms: stored.failed_ms,
            ..Self::default()
        };
        for family in stored.families {
            let mut histograms = Vec::new();
            for (series, histogram) in &family.histograms {
                let histogram = restored(histogram);
                histogram.validate().map_err(|e| corrupt(e.message()))?;
                histograms.push((labels(series), Arc::new(histogram)));
            }
            group.families.insert(
                family.name,
                Family {
                    kind: kind(&family.kind).ok_or_else(|| corrupt("names an unknown type"))?,
                    help: family.help,
                    samples: family.samples.iter().map(|(l, v)| (labels(l), v.float())).collect(),
                    histograms,
                    pushed_ms: family.pushed_ms,
                },
            );
        }
        Ok(group)
    }
}

fn kind(name: &str) -> Option<MetricKind> {
    [
        MetricKind::Counter,
        MetricKind::Gauge,
        MetricKind::Histogram,
        MetricKind::GaugeHistogram,
        MetricKind::Summary,
        MetricKind::Info,
        MetricKind::StateSet,
        MetricKind::Unknown,
    ]
    .into_iter()
    .find(|kind| kind.as_str() == name)
}

fn stored(histogram: &Histogram) -> StoredHistogram {
    let spans = |spans: &[BucketSpan]| spans.iter().map(|s| (s.offset, s.length)).collect();
    let values = |values: &[f64]| values.iter().map(|v| (*v).into()).collect();
    StoredHistogram {
        schema: histogram.schema,
        integer: histogram.integer,
        gauge: histogram.hint == ResetHint::Gauge,
        zero_threshold: histogram.zero_threshold.into(),
        zero_count: histogram.zero_count.into(),
        count: histogram.count.into(),
        sum: histogram.sum.into(),
        positive_spans: spans(&histogram.positive_spans),
        positive: values(&histogram.positive),
        negative_spans: spans(&histogram.negative_spans),
        negative: values(&histogram.negative),
        custom_bounds: values(&histogram.custom_bounds),
    }
}

fn restored(stored: &StoredHistogram) -> Histogram {
    let spans = |spans: &[(i32, u32)]| {
        spans
            .iter()
            .map(|(offset, length)| BucketSpan { offset: *offset, length: *length })
            .collect()
    };
    let values = |values: &[StoredValue]| values.iter().map(StoredValue::float).collect();
    Histogram {
        schema: stored.schema,
        integer: stored.integer,
        hint: if stored.gauge { ResetHint::Gauge } else { ResetHint::Unknown },
        zero_threshold: stored.zero_threshold.float(),
        zero_count: stored.zero_count.float(),
        count: stored.count.float(),
        sum: stored.sum.float(),
        positive_spans: spans(&stored.positive_spans),
        positive: values(&stored.positive),
        negative_spans: spans(&stored.negative_spans),
        negative: values(&stored.negative),
        custom_bounds: values(&stored.custom_bounds),
    }
}
