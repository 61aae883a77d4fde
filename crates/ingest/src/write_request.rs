//! Remote-write requests as this process sends them, versions 1.0 and 2.0.
//!
//! Owns: the two messages and their headers, and gathering a batch's rows by series. Does not own: sending, batching,
//! relabelling, and reading requests. Source: "Prometheus Remote-Write 1.0 specification" and 2.0.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use model::{Exemplar, Histogram, Labels, MetricBatch, MetricKind, MetricMetadata, ResetHint};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::protobuf::Writer;

/// Which message to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

impl Version {
    /// Value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// Value of `X-Prometheus-Remote-Write-Version`.
    pub fn header(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}

/// What a request says about one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Identity, with `__name__`.
    pub labels: Labels,
    /// Unix milliseconds and values, ascending.
    pub samples: SmallVec<[(i64, f64); 1]>,
    /// Unix milliseconds and native histograms, ascending; never beside samples.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
    /// Exemplars, ascending.
    pub exemplars: Vec<Exemplar>,
}

impl Series {
    /// A series without data.
    pub fn new(labels: Labels) -> Self {
        Self { labels, samples: SmallVec::new(), histograms: Vec::new(), exemplars: Vec::new() }
    }

    /// Samples and histograms.
    pub fn sample_count(&self) -> usize {
        self.samples.len() + self.histograms.len()
    }

    /// Time of the last sample or histogram, Unix milliseconds.
    pub fn newest_ms(&self) -> Option<i64> {
        let sample = self.samples.last().map(|(t, _)| *t);
        sample.max(self.histograms.last().map(|(t, _)| *t))
    }
}

/// The rows of a batch by series, in the order of their first row. Samples and histograms of one series make two
/// entries, because a request must not mix them.
pub fn series_of(batch: &MetricBatch) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::with_capacity(batch.sample_count());
    for (labels, value) in batch.samples() {
        let mut one = Series::new(labels.clone());
        one.samples.push((batch.t_ms, value));
        series.push(one);
    }
    let mut stamped: FxHashMap<Labels, usize> = FxHashMap::default();
    for row in &batch.stamped {
        // Rows of a series mostly follow each other.
        let at = match series.last() {
            Some(last) if !stamped.is_empty() && last.labels == row.labels => series.len() - 1,
            _ => *stamped.entry(row.labels.clone()).or_insert_with(|| {
                series.push(Series::new(row.labels.clone()));
                series.len() - 1
            }),
        };
        series[at].samples.push((row.t_ms, row.value));
    }
    let mut histograms: FxHashMap<Labels, usize> = FxHashMap::default();
    for row in &batch.histograms {
        let at = *histograms.entry(row.labels.clone()).or_insert_with(|| {
            series.push(Series::new(row.labels.clone()));
            series.len() - 1
        });
        series[at].histograms.push((row.t_ms, row.value.clone()));
    }
    if !batch.exemplars.is_empty() {
        let by_labels: FxHashMap<Labels, usize> =
            series.iter().enumerate().map(|(at, one)| (one.labels.clone(), at)).collect();
        for row in &batch.exemplars {
            let at = by_labels.get(&row.series).copied().unwrap_or_else(|| {
                series.push(Series::new(row.series.clone()));
                series.len() - 1
            });
            series[at].exemplars.push(row.exemplar.clone());
        }
    }
    for one in &mut series {
        one.samples.sort_by_key(|(t, _)| *t);
        one.histograms.sort_by_key(|(t, _)| *t);
        one.exemplars.sort_by_key(|e| e.t_ms);
    }
    series
}

/// A snappy block of a 1.0 request. `metadata` may come without series and the other way round.
pub fn encode_v1(series: &[Series], metadata: &[Arc<MetricMetadata>]) -> Vec<u8> {
    let mut request = Writer::new();
    for one in series {
        request.message(1, |message| {
            for (name, value) in one.labels.iter() {
                message.message(1, |label| {
                    label.text(1, name);
                    label.text(2, value);
                });
            }
            samples(message, one);
            for exemplar in &one.exemplars {
                message.message(3, |inner| {
                    for (name, value) in exemplar.labels.iter() {
                        inner.message(1, |label| {
                            label.text(1, name);
                            label.text(2, value);
                        });
                    }
                    inner.double(2, exemplar.value);
                    inner.int(3, exemplar.t_ms);
                });
            }
            for (t_ms, value) in &one.histograms {
                message.message(4, |inner| histogram(inner, *t_ms, value));
            }
        });
    }
    for one in metadata {
        request.message(3, |message| {
            message.uint(1, kind_number(one.kind));
            message.text(2, &one.name);
            message.text(4, &one.help);
            message.text(5, &one.unit);
        });
    }
    pack(&request.finish())
}

/// A snappy block of a 2.0 request. `metadata` finds what is known about a metric.
pub fn encode_v2(
    series: &[Series],
    mut metadata: impl FnMut(&Labels) -> Option<Arc<MetricMetadata>>,
) -> Vec<u8> {
    let known: Vec<Option<Arc<MetricMetadata>>> =
        series.iter().map(|one| metadata(&one.labels)).collect();
    let mut symbols = Symbols::default();
    // The first symbol is the empty text, so that 0 means "none".
    symbols.number("");
    let mut body = Writer::new();
    let mut references = Vec::new();
    for (one, known) in series.iter().zip(&known) {
        body.message(5, |message| {
            symbols.labels(&one.labels, &mut references);
            message.packed_uints(1, references.iter().copied());
            samples(message, one);
            for (t_ms, value) in &one.histograms {
                message.message(3, |inner| histogram(inner, *t_ms, value));
            }
            for exemplar in &one.exemplars {
                symbols.labels(&exemplar.labels, &mut references);
                message.message(4, |inner| {
                    inner.packed_uints(1, references.iter().copied());
                    inner.double(2, exemplar.value);
                    inner.int(3, exemplar.t_ms);
                });
            }
            if let Some(known) = known {
                message.message(5, |inner| {
                    inner.uint(1, kind_number(known.kind));
                    inner.uint(3, symbols.number(&known.help));
                    inner.uint(4, symbols.number(&known.unit));
                });
            }
        });
    }
    let mut request = Writer::new();
    for symbol in &symbols.list {
        request.always_text(4, symbol);
    }
    let mut request = request.finish();
    request.extend_from_slice(&body.finish());
    pack(&request)
}

/// The texts of a request, each once.
#[derive(Default)]
struct Symbols<'a> {
    numbers: FxHashMap<&'a str, u64>,
    list: Vec<&'a str>,
}

impl<'a> Symbols<'a> {
    fn number(&mut self, text: &'a str) -> u64 {
        let next = self.list.len() as u64;
        let number = *self.numbers.entry(text).or_insert(next);
        if number == next {
            self.list.push(text);
        }
        number
    }

    /// Numbers of names and values, alternating.
    fn labels(&mut self, labels: &'a Labels, numbers: &mut Vec<u64>) {
        numbers.clear();
        for (name, value) in labels.iter() {
            numbers.push(self.number(name));
            numbers.push(self.number(value));
        }
    }
}

/// Field 2 of a series in both versions.
fn samples(message: &mut Writer, series: &Series) {
    for (t_ms, value) in &series.samples {
        message.message(2, |sample| {
            sample.double(1, *value);
            sample.int(2, *t_ms);
        });
    }
}

/// The same in both versions.
fn histogram(message: &mut Writer, t_ms: i64, histogram: &Histogram) {
    if histogram.integer {
        message.always_uint(1, histogram.count as u64);
    } else {
        message.always_double(2, histogram.count);
    }
    message.double(3, histogram.sum);
    message.sint(4, i64::from(histogram.schema));
    message.double(5, histogram.zero_threshold);
    if histogram.integer {
        message.always_uint(6, histogram.zero_count as u64);
    } else {
        message.always_double(7, histogram.zero_count);
    }
    let mut side = |spans: &[model::BucketSpan], counts: &[f64], first: u32| {
        for span in spans {
            message.message(first, |inner| {
                inner.sint(1, i64::from(span.offset));
                inner.uint(2, u64::from(span.length));
            });
        }
        if histogram.integer {
            let differences = counts.iter().scan(0_i64, |before, count| {
                let count = *count as i64;
                Some(count - std::mem::replace(before, count))
            });
            let differences: Vec<i64> = differences.collect();
            message.packed_sints(first + 1, differences.into_iter());
        } else {
            message.packed_doubles(first + 2, counts.iter().copied());
        }
    };
    side(&histogram.negative_spans, &histogram.negative, 8);
    side(&histogram.positive_spans, &histogram.positive, 11);
    message.uint(
        14,
        match histogram.hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        },
    );
    message.int(15, t_ms);
    message.packed_doubles(16, histogram.custom_bounds.iter().copied());
}

/// The same in both versions.
fn kind_number(kind: MetricKind) -> u64 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::GaugeHistogram => 4,
        MetricKind::Summary => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}

fn pack(request: &[u8]) -> Vec<u8> {
    crate::compression::pack_snappy(request)
}
