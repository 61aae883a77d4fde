//! OTLP metrics in binary protobuf, and what logs (`logs.rs`) and traces (`traces.rs`) share with them.

pub(super) mod logs;
pub(super) mod traces;

use std::borrow::Cow;

use model::{ErrorKind, Result};

use super::value::{Attributes, VALUE_DEPTH_MAX};
use super::{
    Data, ExemplarPoint, ExponentialBuckets, ExponentialPoint, HistogramPoint, Metric, NumberPoint,
    Request, ResourceMetrics, ScopeMetrics, SummaryPoint, Temporality, Value, too_many,
};
use crate::protobuf::{Field, Reader};

pub(super) fn decode(body: &[u8], elements_max: usize) -> Result<Request> {
    let mut decoder = Decoder::new(elements_max, String::from_utf8_lossy);
    let mut request = Request::default();
    each(Reader::new(body), |field| {
        if field.number == 1 {
            request.resources.push(decoder.resource(&field)?);
        }
        Ok(())
    })
    .map_err(|e| match e.kind() {
        ErrorKind::Limit => e,
        _ => e.context("body is not an OTLP/protobuf metrics request"),
    })?;
    Ok(request)
}

fn each<'a>(mut reader: Reader<'a>, mut visit: impl FnMut(Field<'a>) -> Result<()>) -> Result<()> {
    while let Some(field) = reader.next_field()? {
        visit(field)?;
    }
    Ok(())
}

struct Decoder {
    left: usize,
    elements_max: usize,
    /// What a text is that is not UTF-8, though it has to be: senders pass on what programs wrote, and of one broken text
    /// a batch must not be lost.
    text_of: fn(&[u8]) -> Cow<'_, str>,
    /// Whether the error that ended reading was about a value that goes too deep.
    is_too_deep: bool,
}

impl Decoder {
    fn new(elements_max: usize, text_of: fn(&[u8]) -> Cow<'_, str>) -> Self {
        Self { left: elements_max, elements_max, text_of, is_too_deep: false }
    }

    fn text<'a>(&self, field: &Field<'a>) -> Result<Cow<'a, str>> {
        let bytes = field.bytes()?;
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => (self.text_of)(bytes),
        })
    }

    fn charge(&mut self, elements: usize) -> Result<()> {
        self.left = self.left.checked_sub(elements).ok_or_else(|| too_many(self.elements_max))?;
        Ok(())
    }

    fn resource(&mut self, field: &Field<'_>) -> Result<ResourceMetrics> {
        self.charge(1)?;
        let mut resource = ResourceMetrics::default();
        each(field.message()?, |field| {
            match field.number {
                1 => each(field.message()?, |field| {
                    if field.number == 1 {
                        resource.attributes.push(self.attribute(&field, 0)?);
                    }
                    Ok(())
                })?,
                2 => resource.scopes.push(self.scope(&field)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(resource)
    }

    fn scope(&mut self, field: &Field<'_>) -> Result<ScopeMetrics> {
        self.charge(1)?;
        let mut scope = ScopeMetrics::default();
        each(field.message()?, |field| {
            match field.number {
                1 => {
                    (scope.name, scope.version, scope.attributes) = self.instrumentation(&field)?;
                }
                2 => scope.metrics.push(self.metric(&field)?),
                3 => scope.schema_url = self.text(&field)?.into_owned(),
                _ => {}
            }
            Ok(())
        })?;
        Ok(scope)
    }

    /// `InstrumentationScope`: name, version and attributes.
    fn instrumentation(&mut self, field: &Field<'_>) -> Result<(String, String, Attributes)> {
        let (mut name, mut version) = (String::new(), String::new());
        let mut attributes = Attributes::default();
        each(field.message()?, |field| {
            match field.number {
                1 => name = self.text(&field)?.into_owned(),
                2 => version = self.text(&field)?.into_owned(),
                3 => attributes.push(self.attribute(&field, 0)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok((name, version, attributes))
    }

    fn metric(&mut self, field: &Field<'_>) -> Result<Metric> {
        self.charge(1)?;
        let mut metric = Metric::default();
        each(field.message()?, |field| {
            match field.number {
                1 => metric.name = self.text(&field)?.into_owned(),
                2 => metric.description = self.text(&field)?.into_owned(),
                3 => metric.unit = self.text(&field)?.into_owned(),
                5 => {
                    let mut points = Vec::new();
                    self.points(&field, Self::number, &mut points)?;
                    metric.data = Data::Gauge(points);
                }
                7 => {
                    let mut points = Vec::new();
                    let (temporality, monotonic) =
                        self.points(&field, Self::number, &mut points)?;
                    metric.data = Data::Sum { points, temporality, monotonic };
                }
                9 => {
                    let mut points = Vec::new();
                    let (temporality, _) = self.points(&field, Self::histogram, &mut points)?;
                    metric.data = Data::Histogram { points, temporality };
                }
                10 => {
                    let mut points = Vec::new();
                    let (temporality, _) = self.points(&field, Self::exponential, &mut points)?;
                    metric.data = Data::Exponential { points, temporality };
                }
                11 => {
                    let mut points = Vec::new();
                    self.points(&field, Self::summary, &mut points)?;
                    metric.data = Data::Summary(points);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(metric)
    }

    /// The message around points, the same for all kinds.
    fn points<T>(
        &mut self,
        field: &Field<'_>,
        read: fn(&mut Self, Reader<'_>) -> Result<T>,
        points: &mut Vec<T>,
    ) -> Result<(Temporality, bool)> {
        let (mut temporality, mut monotonic) = (Temporality::Unspecified, false);
        each(field.message()?, |field| {
            match field.number {
                1 => {
                    self.charge(1)?;
                    points.push(read(self, field.message()?)?);
                }
                2 => temporality = Temporality::from_number(field.int32()?),
                3 => monotonic = field.boolean()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok((temporality, monotonic))
    }

    fn number(&mut self, reader: Reader<'_>) -> Result<NumberPoint> {
        let mut number = NumberPoint::default();
        each(reader, |field| {
            match field.number {
                3 => number.point.time_ns = field.fixed64()?,
                4 => number.value = field.double()?,
                5 => number.point.exemplars.push(self.exemplar(&field)?),
                6 => number.value = field.sfixed64()? as f64,
                7 => number.point.attributes.push(self.attribute(&field, 0)?),
                8 => number.point.no_value = no_value(&field)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(number)
    }

    fn histogram(&mut self, reader: Reader<'_>) -> Result<HistogramPoint> {
        let mut histogram = HistogramPoint::default();
        each(reader, |field| {
            match field.number {
                3 => histogram.point.time_ns = field.fixed64()?,
                4 => histogram.count = field.fixed64()?,
                5 => histogram.sum = Some(field.double()?),
                6 => {
                    let counts = field.fixed64s()?;
                    self.charge(counts.len() / 16)?;
                    histogram.bucket_counts.extend(counts);
                }
                7 => {
                    let bounds = field.doubles()?;
                    self.charge(bounds.len() / 16)?;
                    histogram.bounds.extend(bounds);
                }
                8 => histogram.point.exemplars.push(self.exemplar(&field)?),
                9 => histogram.point.attributes.push(self.attribute(&field, 0)?),
                10 => histogram.point.no_value = no_value(&field)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(histogram)
    }

    fn exponential(&mut self, reader: Reader<'_>) -> Result<ExponentialPoint> {
        let mut histogram = ExponentialPoint::default();
        each(reader, |field| {
            match field.number {
                1 => histogram.point.attributes.push(self.attribute(&field, 0)?),
                3 => histogram.point.time_ns = field.fixed64()?,
                4 => histogram.count = field.fixed64()?,
                5 => histogram.sum = Some(field.double()?),
                6 => histogram.scale = field.sint32()?,
                7 => histogram.zero_count = field.fixed64()?,
                8 => self.buckets(&field, &mut histogram.positive)?,
                9 => self.buckets(&field, &mut histogram.negative)?,
                10 => histogram.point.no_value = no_value(&field)?,
                11 => histogram.point.exemplars.push(self.exemplar(&field)?),
                14 => histogram.zero_threshold = field.double()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(histogram)
    }

    fn buckets(&mut self, field: &Field<'_>, buckets: &mut ExponentialBuckets) -> Result<()> {
        each(field.message()?, |field| {
            match field.number {
                1 => buckets.offset = field.sint32()?,
                2 => field.varints(|count| {
                    if buckets.counts.len().is_multiple_of(16) {
                        self.charge(1)?;
                    }
                    buckets.counts.push(count);
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })
    }

    fn summary(&mut self, reader: Reader<'_>) -> Result<SummaryPoint> {
        let mut summary = SummaryPoint::default();
        each(reader, |field| {
            match field.number {
                3 => summary.point.time_ns = field.fixed64()?,
                4 => summary.count = field.fixed64()?,
                5 => summary.sum = field.double()?,
                6 => {
                    self.charge(1)?;
                    let (mut quantile, mut value) = (0.0, 0.0);
                    each(field.message()?, |field| {
                        match field.number {
                            1 => quantile = field.double()?,
                            2 => value = field.double()?,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    summary.quantiles.push((quantile, value));
                }
                7 => summary.point.attributes.push(self.attribute(&field, 0)?),
                8 => summary.point.no_value = no_value(&field)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(summary)
    }

    fn exemplar(&mut self, field: &Field<'_>) -> Result<ExemplarPoint> {
        self.charge(1)?;
        let mut exemplar = ExemplarPoint::default();
        each(field.message()?, |field| {
            match field.number {
                2 => exemplar.time_ns = field.fixed64()?,
                3 => exemplar.value = field.double()?,
                4 => exemplar.span_id = field.bytes()?.to_vec(),
                5 => exemplar.trace_id = field.bytes()?.to_vec(),
                6 => exemplar.value = field.sfixed64()? as f64,
                7 => exemplar.attributes.push(self.attribute(&field, 0)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(exemplar)
    }

    fn attribute(&mut self, field: &Field<'_>, depth: usize) -> Result<(String, Value)> {
        self.charge(1)?;
        let (mut key, mut value) = (String::new(), Value::Empty);
        each(field.message()?, |field| {
            match field.number {
                1 => key = self.text(&field)?.into_owned(),
                2 => value = self.value(&field, depth)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok((key, value))
    }

    fn value(&mut self, field: &Field<'_>, depth: usize) -> Result<Value> {
        if depth > VALUE_DEPTH_MAX {
            self.is_too_deep = true;
            return Err(field.error(format_args!("values go deeper than {VALUE_DEPTH_MAX}")));
        }
        let mut value = Value::Empty;
        each(field.message()?, |field| {
            value = match field.number {
                1 => Value::Text(self.text(&field)?.into_owned()),
                2 => Value::Bool(field.boolean()?),
                3 => Value::Int(field.int64()?),
                4 => Value::Double(field.double()?),
                5 => {
                    let mut values = Vec::new();
                    each(field.message()?, |field| {
                        if field.number == 1 {
                            self.charge(1)?;
                            values.push(self.value(&field, depth + 1)?);
                        }
                        Ok(())
                    })?;
                    Value::List(values)
                }
                6 => {
                    let mut pairs = Vec::new();
                    each(field.message()?, |field| {
                        if field.number == 1 {
                            pairs.push(self.attribute(&field, depth + 1)?);
                        }
                        Ok(())
                    })?;
                    Value::Map(pairs)
                }
                7 => Value::Bytes(field.bytes()?.to_vec()),
                _ => return Ok(()),
            };
            Ok(())
        })?;
        Ok(value)
    }
}

/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`
fn no_value(field: &Field<'_>) -> Result<bool> {
    Ok(field.uint32()? & 1 != 0)
}
