//! The protobuf exposition format: `io.prometheus.client.MetricFamily` messages, each behind its length.
//!
//! Series are handed out under the text the Prometheus format would give them, so a scraper knows a series by its text
//! whatever the format, and skips all work on one it expects. Native histograms come as such, beside or instead of
//! their classic buckets, as [`Visitor::histograms`] asks. Created timestamps are read over: they say when a counter
//! began, not what it is.
//!
//! Bounds: labels and samples as in [`Limits`]; buckets, spans and exemplars of one histogram by
//! [`BUCKETS_MAX`]. Errors name the message (from 1), and the field with its offset in the body.
//!
//! Source: `io/prometheus/client/metrics.proto`; Prometheus "Native histograms", exposition formats.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::Write as _;

use model::histogram::{BUCKETS_MAX, SCHEMA_MAX};
use model::{BucketSpan, Error, ErrorKind, Histogram, MetricKind, ResetHint, Result};
use smallvec::SmallVec;

use super::bounds::open_metrics_float;
use super::exemplar::RawExemplar;
use super::labels::{is_bare, push_quoted};
use super::{Histograms, Limits, Metadata, NativeSample, Sample, Visitor, normal_nan, unit_fits};
use crate::native_histogram;
use crate::protobuf::{Delimited, Field, Reader, zigzag};

/// The finest schema the specification reserves. Buckets finer than [`SCHEMA_MAX`] are merged.
const SCHEMA_RESERVED_MAX: i32 = 52;

/// Parses a whole body; see [`super::parse`].
pub(super) fn parse(body: &[u8], limits: &Limits, visitor: &mut impl Visitor) -> Result<()> {
    let mut stream = Delimited::new(body);
    let mut families =
        Families { limits, visitor, samples: 0, series: String::new(), labels: String::new() };
    let mut number = 0_usize;
    loop {
        number += 1;
        let place = |e: Error| e.context(format_args!("message {number}"));
        let Some(message) = stream.next_message().map_err(place)? else { return Ok(()) };
        families.family(message).map_err(place)?;
    }
}

/// Name and value of an `io.prometheus.client.LabelPair`.
pub(super) fn label_pair<'a>(mut message: Reader<'a>) -> Result<(&'a str, &'a str)> {
    let (mut name, mut value) = ("", "");
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// What a family says about all its metrics.
struct Family<'a> {
    name: &'a str,
    kind: MetricKind,
}

/// One metric's value and time.
struct Metric<'a> {
    value: Reader<'a>,
    timestamp_ms: Option<i64>,
}

struct Families<'l, 'v, V> {
    limits: &'l Limits,
    visitor: &'v mut V,
    samples: usize,
    /// Text of the series handed out last.
    series: String,
    /// Labels of the metric being read, as they stand between braces.
    labels: String,
}

impl<V: Visitor> Families<'_, '_, V> {
    fn family(&mut self, message: Reader<'_>) -> Result<()> {
        let (mut name, mut help, mut unit, mut kind) = ("", "", "", MetricKind::Counter);
        let mut is_empty = true;
        let mut fields = message.clone();
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => name = self.name(&field)?,
                2 => help = field.text()?,
                3 => kind = metric_kind(&field)?,
                4 => is_empty = false,
                5 => unit = field.text()?,
                _ => {}
            }
        }
        if name.is_empty() {
            return Err(Error::invalid("the metric family has no name"));
        }
        if is_empty {
            return Ok(());
        }
        let stem = match kind {
            MetricKind::Counter => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        if !unit.is_empty() && !unit_fits(stem, unit) {
            return Err(Error::invalid(format!(
                "expected a metric name that ends with _{unit:.200}, found {name:.200?}"
            )));
        }
        let family = Cow::Borrowed(name);
        self.visitor.metadata(Metadata::Type { name: family.clone(), kind })?;
        if !help.is_empty() {
            self.visitor.metadata(Metadata::Help { name: family.clone(), text: help.into() })?;
        }
        if !unit.is_empty() {
            self.visitor.metadata(Metadata::Unit { name: family, unit: unit.into() })?;
        }
        let mut fields = message;
        while let Some(field) = fields.next_field()? {
            if field.number == 4 {
                self.metric(&Family { name, kind }, field.message()?)
                    .map_err(|e| e.context(format_args!("metric {name:.200?}")))?;
            }
        }
        Ok(())
    }

    fn name<'a>(&self, field: &Field<'a>) -> Result<&'a str> {
        let name = field.text()?;
        let (len, max) = (name.len(), self.limits.name_bytes_max);
        if len > max {
            let message = format!("metric name has {len} bytes; the limit is {max}");
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(name)
    }

    fn metric(&mut self, family: &Family<'_>, mut message: Reader<'_>) -> Result<()> {
        let wanted = match family.kind {
            MetricKind::Gauge => 2,
            MetricKind::Counter => 3,
            MetricKind::Summary => 4,
            MetricKind::Histogram | MetricKind::GaugeHistogram => 7,
            _ => 5,
        };
        self.labels.clear();
        let mut label_count = 0;
        // A value that is left out is all zeros, as everywhere in protocol buffers.
        let mut metric = Metric { value: Reader::new(&[]), timestamp_ms: None };
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => {
                    label_count += 1;
                    self.label(&field, label_count)?;
                }
                // No time and the year 1970 look the same.
                6 => metric.timestamp_ms = Some(field.int64()?).filter(|t| *t != 0),
                number if number == wanted => metric.value = field.message()?,
                _ => {}
            }
        }
        match family.kind {
            MetricKind::Summary => self.summary(family, metric),
            MetricKind::Histogram | MetricKind::GaugeHistogram => self.histogram(family, metric),
            _ => self.simple(family, metric),
        }
    }

    fn label(&mut self, field: &Field<'_>, count: usize) -> Result<()> {
        let limit = |what: &str, found: usize, max: usize| {
            if found <= max {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Limit, format!("{what} {found}; the limit is {max}")))
        };
        limit("series has a label count of", count, self.limits.labels_max)?;
        let (name, value) = label_pair(field.message()?)?;
        if name.is_empty() {
            return Err(field.error("the label has no name"));
        }
        limit("label name has a length of", name.len(), self.limits.name_bytes_max)?;
        limit("label value has a length of", value.len(), self.limits.value_bytes_max)?;
        if !self.labels.is_empty() {
            self.labels.push(',');
        }
        if is_bare(name, false) {
            self.labels.push_str(name);
        } else {
            push_quoted(&mut self.labels, name);
        }
        self.labels.push('=');
        push_quoted(&mut self.labels, value);
        Ok(())
    }

    /// Counters, gauges and untyped values, which share their first field.
    fn simple(&mut self, family: &Family<'_>, mut metric: Metric<'_>) -> Result<()> {
        let (mut value, mut exemplar) = (0.0, None);
        while let Some(field) = metric.value.next_field()? {
            match field.number {
                1 => value = field.double()?,
                2 if family.kind == MetricKind::Counter => {
                    exemplar = Some(RawExemplar::Protobuf(field.message()?.bytes()));
                }
                _ => {}
            }
        }
        self.sample(family, "", None, value, metric.timestamp_ms, exemplar)
    }

    fn summary(&mut self, family: &Family<'_>, metric: Metric<'_>) -> Result<()> {
        let (mut count, mut sum) = (0.0, 0.0);
        let mut fields = metric.value.clone();
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => count = whole(field.uint64()?),
                2 => sum = field.double()?,
                _ => {}
            }
        }
        self.sample(family, "_count", None, count, metric.timestamp_ms, None)?;
        self.sample(family, "_sum", None, sum, metric.timestamp_ms, None)?;
        let mut fields = metric.value;
        while let Some(field) = fields.next_field()? {
            if field.number != 3 {
                continue;
            }
            let (mut quantile, mut value) = (0.0, 0.0);
            let mut parts = field.message()?;
            while let Some(part) = parts.next_field()? {
                match part.number {
                    1 => quantile = part.double()?,
                    2 => value = part.double()?,
                    _ => {}
                }
            }
            let label = Some(("quantile", quantile));
            self.sample(family, "", label, value, metric.timestamp_ms, None)?;
        }
        Ok(())
    }

    fn histogram(&mut self, family: &Family<'_>, metric: Metric<'_>) -> Result<()> {
        let parts = HistogramParts::read(metric.value)?;
        let wanted = self.visitor.histograms();
        let is_native = parts.is_native() && wanted != Histograms::Classic;
        if is_native {
            let exemplars = parts.native_exemplars();
            self.count_sample()?;
            self.write_series(family.name, "", None);
            let sample = NativeSample {
                series: &self.series,
                value: parts.native(family.kind == MetricKind::GaugeHistogram)?,
                timestamp_ms: metric.timestamp_ms,
                exemplars: &exemplars,
                predicted: self.visitor.expects(&self.series) == Some(self.series.len()),
            };
            self.visitor.histogram(sample)?;
            if wanted == Histograms::Native || parts.buckets.is_empty() {
                return Ok(());
            }
        }
        self.classic(family, &parts, metric.timestamp_ms)
    }

    fn classic(
        &mut self,
        family: &Family<'_>,
        parts: &HistogramParts<'_>,
        timestamp_ms: Option<i64>,
    ) -> Result<()> {
        let count = parts.count();
        self.sample(family, "_count", None, count, timestamp_ms, None)?;
        self.sample(family, "_sum", None, parts.sum, timestamp_ms, None)?;
        for bucket in &parts.buckets {
            let le = Some(("le", bucket.upper_bound));
            let exemplar = bucket.exemplar.map(RawExemplar::Protobuf);
            self.sample(family, "_bucket", le, bucket.count(), timestamp_ms, exemplar)?;
            if bucket.upper_bound == f64::INFINITY {
                return Ok(());
            }
        }
        self.sample(family, "_bucket", Some(("le", f64::INFINITY)), count, timestamp_ms, None)
    }

    fn sample(
        &mut self,
        family: &Family<'_>,
        suffix: &str,
        bound: Option<(&str, f64)>,
        value: f64,
        timestamp_ms: Option<i64>,
        exemplar: Option<RawExemplar<'_>>,
    ) -> Result<()> {
        self.count_sample()?;
        self.write_series(family.name, suffix, bound);
        let predicted = self.visitor.expects(&self.series) == Some(self.series.len());
        let value = normal_nan(value);
        self.visitor.sample(Sample {
            series: &self.series,
            value,
            timestamp_ms,
            exemplar,
            predicted,
            series_end: None,
        })
    }

    fn count_sample(&mut self) -> Result<()> {
        self.samples += 1;
        if self.samples > self.limits.samples_max {
            let max = self.limits.samples_max;
            let message = format!("body has more samples than the limit of {max}");
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(())
    }

    /// Makes `series` what the Prometheus format would write.
    fn write_series(&mut self, name: &str, suffix: &str, bound: Option<(&str, f64)>) {
        let Self { series, labels, .. } = self;
        series.clear();
        let bare = is_bare(name, true);
        if bare {
            series.push_str(name);
            series.push_str(suffix);
            if labels.is_empty() && bound.is_none() {
                return;
            }
            series.push('{');
        } else {
            series.push('{');
            push_quoted(series, name);
            // The quote that closes the name comes behind the suffix.
            series.pop();
            series.push_str(suffix);
            series.push('"');
        }
        let mut separator = if bare { "" } else { "," };
        if !labels.is_empty() {
            series.push_str(separator);
            series.push_str(labels);
            separator = ",";
        }
        if let Some((label, value)) = bound {
            let bound = open_metrics_float(value);
            write!(series, "{separator}{label}=\"{bound}\"").expect("BUG: a string grows");
        }
        series.push('}');
    }
}

fn metric_kind(field: &Field<'_>) -> Result<MetricKind> {
    Ok(match field.int32()? {
        0 => MetricKind::Counter,
        1 => MetricKind::Gauge,
        2 => MetricKind::Summary,
        3 => MetricKind::Unknown,
        4 => MetricKind::Histogram,
        5 => MetricKind::GaugeHistogram,
        other => return Err(field.error(format_args!("metric type {other} is unknown"))),
    })
}

struct Bucket<'a> {
    cumulative: u64,
    cumulative_float: f64,
    upper_bound: f64,
    exemplar: Option<&'a [u8]>,
}

impl<'a> Bucket<'a> {
    fn read(mut message: Reader<'a>) -> Result<Self> {
        let mut bucket =
            Self { cumulative: 0, cumulative_float: 0.0, upper_bound: 0.0, exemplar: None };
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => bucket.cumulative = field.uint64()?,
                2 => bucket.upper_bound = field.double()?,
                3 => bucket.exemplar = Some(field.bytes()?),
                4 => bucket.cumulative_float = field.double()?,
                _ => {}
            }
        }
        Ok(bucket)
    }

    fn count(&self) -> f64 {
        if self.cumulative_float == 0.0 { whole(self.cumulative) } else { self.cumulative_float }
    }
}

/// Spans and counts of one side.
#[derive(Default)]
struct Side {
    spans: Vec<BucketSpan>,
    /// Counts of an integer histogram, already summed up from their differences.
    whole: Vec<f64>,
    previous: i64,
    /// Counts of a float histogram.
    float: Vec<f64>,
}

impl Side {
    fn span(&mut self, field: &Field<'_>) -> Result<()> {
        let mut span = BucketSpan { offset: 0, length: 0 };
        let mut parts = field.message()?;
        while let Some(part) = parts.next_field()? {
            match part.number {
                1 => span.offset = part.sint32()?,
                2 => span.length = part.uint32()?,
                _ => {}
            }
        }
        push(&mut self.spans, span, field)
    }

    fn deltas(&mut self, field: &Field<'_>) -> Result<()> {
        field.varints(|delta| {
            let next = self.previous.checked_add(zigzag(delta));
            self.previous = next.ok_or_else(|| field.error("bucket counts exceed 64 bits"))?;
            #[expect(clippy::cast_precision_loss, reason = "counts are exact up to 2^53")]
            push(&mut self.whole, self.previous as f64, field)
        })
    }

    fn floats(&mut self, field: &Field<'_>) -> Result<()> {
        field.doubles()?.try_for_each(|count| push(&mut self.float, count, field))
    }
}

/// Appends within [`BUCKETS_MAX`].
fn push<T>(list: &mut Vec<T>, item: T, field: &Field<'_>) -> Result<()> {
    if list.len() >= BUCKETS_MAX {
        let message = format!(
            "field {} at offset {}: more than {BUCKETS_MAX} items in a histogram",
            field.number, field.offset
        );
        return Err(Error::new(ErrorKind::Limit, message).with_span(field.offset, field.offset));
    }
    list.push(item);
    Ok(())
}

/// An `io.prometheus.client.Histogram`, which may be two histograms in one.
#[derive(Default)]
struct HistogramParts<'a> {
    count: u64,
    count_float: f64,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    positive: Side,
    negative: Side,
    buckets: Vec<Bucket<'a>>,
    exemplars: Vec<&'a [u8]>,
}

impl<'a> HistogramParts<'a> {
    fn read(mut message: Reader<'a>) -> Result<Self> {
        let mut parts = Self::default();
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => parts.count = field.uint64()?,
                2 => parts.sum = field.double()?,
                3 => push(&mut parts.buckets, Bucket::read(field.message()?)?, &field)?,
                4 => parts.count_float = field.double()?,
                5 => parts.schema = field.sint32()?,
                6 => parts.zero_threshold = field.double()?,
                7 => parts.zero_count = field.uint64()?,
                8 => parts.zero_count_float = field.double()?,
                9 => parts.negative.span(&field)?,
                10 => parts.negative.deltas(&field)?,
                11 => parts.negative.floats(&field)?,
                12 => parts.positive.span(&field)?,
                13 => parts.positive.deltas(&field)?,
                14 => parts.positive.floats(&field)?,
                16 => push(&mut parts.exemplars, field.bytes()?, &field)?,
                _ => {}
            }
        }
        Ok(parts)
    }

    /// Clients mark a native histogram that is still empty with a threshold or an empty span.
    fn is_native(&self) -> bool {
        !self.positive.spans.is_empty()
            || !self.negative.spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    fn count(&self) -> f64 {
        if self.count_float == 0.0 { whole(self.count) } else { self.count_float }
    }

    fn native(&self, is_gauge: bool) -> Result<Histogram> {
        let integer = !(self.count_float > 0.0 || self.zero_count_float > 0.0);
        let counts = |side: &Side| if integer { side.whole.clone() } else { side.float.clone() };
        let mut histogram = Histogram {
            schema: self.schema.min(SCHEMA_MAX),
            integer,
            hint: if is_gauge { ResetHint::Gauge } else { ResetHint::Unknown },
            zero_threshold: self.zero_threshold,
            zero_count: if integer { whole(self.zero_count) } else { self.zero_count_float },
            count: if integer { whole(self.count) } else { self.count_float },
            sum: normal_nan(self.sum),
            positive_spans: self.positive.spans.clone(),
            positive: counts(&self.positive),
            negative_spans: self.negative.spans.clone(),
            negative: counts(&self.negative),
            custom_bounds: Vec::new(),
        };
        histogram.validate()?;
        if self.schema > SCHEMA_MAX {
            if self.schema > SCHEMA_RESERVED_MAX {
                return Err(Error::invalid(format!("histogram schema {} is unknown", self.schema)));
            }
            histogram.schema = self.schema;
            native_histogram::reduce_resolution(&mut histogram, SCHEMA_MAX);
        }
        native_histogram::compact(&mut histogram);
        Ok(histogram)
    }

    /// The histogram's own exemplars, else those of its classic buckets; only with a time, since there may be many.
    fn native_exemplars(&self) -> SmallVec<[RawExemplar<'a>; 8]> {
        let own = self.exemplars.iter().copied();
        let of_buckets = self.buckets.iter().filter_map(|bucket| bucket.exemplar);
        let stamped = |bytes: &[u8]| {
            let mut fields = Reader::new(bytes);
            while let Ok(Some(field)) = fields.next_field() {
                if field.number == 3 {
                    return true;
                }
            }
            false
        };
        let of_buckets = of_buckets.filter(|_| self.exemplars.is_empty());
        own.chain(of_buckets).filter(|e| stamped(e)).map(RawExemplar::Protobuf).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are exact up to 2^53, as in every series")]
fn whole(count: u64) -> f64 {
    count as f64
}
