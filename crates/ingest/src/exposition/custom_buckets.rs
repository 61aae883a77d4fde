//! Classic histograms as native ones with custom buckets: one sample instead of one per bucket.
//!
//! [`CustomBuckets`] stands between a parser and a [`Visitor`]. Series of one histogram (a family declared as such, the
//! same labels but for `le`) that follow each other become one [`NativeSample`]. What does not add up (counts that
//! fall, a count that is not the last bucket's) is left out, as the specification of Prometheus has it.
//!
//! Cost: it reads the labels of every classic series, which the fast path of the parser saves otherwise.

use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{BucketSpan, Histogram, Labels, METRIC_NAME, MetricKind, Result};

use super::labels::{series_labels, series_text};
use super::{
    Format, Histograms, Metadata, NativeSample, RawExemplar, Sample, Visitor, normal_nan, number,
};
use crate::native_histogram;

#[cfg(test)]
mod tests;

/// See the module's page. Call [`finish`](Self::finish) after the body.
#[derive(Debug)]
pub struct CustomBuckets<'v, V> {
    inner: &'v mut V,
    format: Format,
    keep_classic: bool,
    family: String,
    kind: MetricKind,
    group: Option<Group>,
    /// Labels of the last native histogram; its classic buckets beside it say nothing new.
    native: Option<Labels>,
}

/// The series of one classic histogram so far.
#[derive(Debug)]
struct Group {
    base: Labels,
    timestamp_ms: Option<i64>,
    /// Upper bound and cumulative count.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    exemplars: Vec<OwnedExemplar>,
}

#[derive(Debug)]
enum OwnedExemplar {
    Text(String),
    Protobuf(Vec<u8>),
}

/// What a series says about its histogram.
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

impl<'v, V: Visitor> CustomBuckets<'v, V> {
    /// Hands on to `inner`, with the classic series too if `keep_classic`. `format` is that of [`Sample::series`].
    pub fn new(inner: &'v mut V, format: Format, keep_classic: bool) -> Self {
        Self {
            inner,
            format,
            keep_classic,
            family: String::new(),
            kind: MetricKind::Unknown,
            group: None,
            native: None,
        }
    }

    /// Hands on the last histogram.
    ///
    /// # Errors
    /// Whatever the inner visitor refuses.
    pub fn finish(mut self) -> Result<()> {
        self.flush()
    }

    /// The part a series plays in a histogram of the current family, and the labels of that histogram.
    fn part(&self, series: &str) -> Result<Option<(Part, Labels)>> {
        if self.kind != MetricKind::Histogram {
            return Ok(None);
        }
        let labels = series_labels(series, self.format)?;
        let Some(suffix) = labels.metric_name().strip_prefix(self.family.as_str()) else {
            return Ok(None);
        };
        let part = match suffix {
            "_bucket" => match labels.get("le").and_then(number).filter(|le| !le.is_nan()) {
                Some(le) => Part::Bucket(le),
                None => return Ok(None),
            },
            "_count" => Part::Count,
            "_sum" => Part::Sum,
            _ => return Ok(None),
        };
        Ok(Some((part, labels.without("le").with(METRIC_NAME, &self.family))))
    }

    /// Hands on a sample that was read while a histogram may have been pending, which changes what is expected.
    fn forward(&mut self, sample: Sample<'_>) -> Result<()> {
        let predicted = self.inner.expects(sample.series) == Some(sample.series.len());
        self.inner.sample(Sample { predicted, ..sample })
    }

    fn flush(&mut self) -> Result<()> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let Some(value) = group.convert() else { return Ok(()) };
        let series = series_text(&group.base);
        let exemplars: Vec<_> = group.exemplars.iter().map(OwnedExemplar::raw).collect();
        let predicted = self.inner.expects(&series) == Some(series.len());
        self.inner.histogram(NativeSample {
            series: &series,
            value,
            timestamp_ms: group.timestamp_ms,
            exemplars: &exemplars,
            predicted,
        })
    }
}

impl<V: Visitor> Visitor for CustomBuckets<'_, V> {
    fn expects(&self, text: &str) -> Option<usize> {
        self.inner.expects(text)
    }

    fn histograms(&self) -> Histograms {
        self.inner.histograms()
    }

    fn sample(&mut self, sample: Sample<'_>) -> Result<()> {
        let Some((part, base)) = self.part(sample.series)? else {
            self.flush()?;
            return self.forward(sample);
        };
        if self.native.as_ref() == Some(&base) {
            return self.forward(sample);
        }
        if self.group.as_ref().is_some_and(|group| group.base != base) {
            self.flush()?;
        }
        let group = self.group.get_or_insert_with(|| Group::new(base));
        group.timestamp_ms = sample.timestamp_ms;
        group.exemplars.extend(sample.exemplar.as_ref().map(OwnedExemplar::new));
        match part {
            Part::Bucket(le) => group.buckets.push((le, sample.value)),
            Part::Count => group.count = Some(sample.value),
            Part::Sum => group.sum = sample.value,
        }
        if self.keep_classic { self.forward(sample) } else { Ok(()) }
    }

    fn histogram(&mut self, sample: NativeSample<'_>) -> Result<()> {
        self.flush()?;
        self.native = Some(series_labels(sample.series, self.format)?);
        let predicted = self.inner.expects(sample.series) == Some(sample.series.len());
        self.inner.histogram(NativeSample { predicted, ..sample })
    }

    fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()> {
        self.flush()?;
        if let Metadata::Type { name, kind } = &metadata {
            self.family.clear();
            self.family.push_str(name);
            self.kind = *kind;
        }
        self.inner.metadata(metadata)
    }
}

impl Group {
    fn new(base: Labels) -> Self {
        Self {
            base,
            timestamp_ms: None,
            buckets: Vec::new(),
            count: None,
            sum: 0.0,
            exemplars: Vec::new(),
        }
    }

    fn convert(&self) -> Option<Histogram> {
        let mut buckets = self.buckets.clone();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets.dedup();
        let count = self.count.or(buckets.last().map(|(_, count)| *count))?;
        if buckets.last().is_none_or(|(le, _)| *le != f64::INFINITY) {
            buckets.push((f64::INFINITY, count));
        }
        let (last, mut below) = (buckets.last()?.1, 0.0);
        if last != count {
            return None;
        }
        let mut positive = Vec::with_capacity(buckets.len());
        for (_, cumulative) in &buckets {
            positive.push(cumulative - below);
            below = *cumulative;
        }
        let integer = buckets.iter().all(|(_, count)| count.fract() == 0.0);
        buckets.pop();
        let mut histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            integer,
            count,
            sum: normal_nan(self.sum),
            positive_spans: vec![BucketSpan {
                offset: 0,
                length: u32::try_from(positive.len()).ok()?,
            }],
            positive,
            custom_bounds: buckets.into_iter().map(|(le, _)| le).collect(),
            ..Histogram::default()
        };
        histogram.validate().ok()?;
        native_histogram::compact(&mut histogram);
        Some(histogram)
    }
}

impl OwnedExemplar {
    fn new(raw: &RawExemplar<'_>) -> Self {
        match raw {
            RawExemplar::Text(text) => Self::Text((*text).to_owned()),
            RawExemplar::Protobuf(bytes) => Self::Protobuf(bytes.to_vec()),
        }
    }

    fn raw(&self) -> RawExemplar<'_> {
        match self {
            Self::Text(text) => RawExemplar::Text(text),
            Self::Protobuf(bytes) => RawExemplar::Protobuf(bytes),
        }
    }
}
