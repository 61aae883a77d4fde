//! The native histogram message, the same in both versions of remote write.

use model::histogram::SCHEMA_MAX;
use model::{BucketSpan, Error, ErrorKind, Histogram, ResetHint, Result, is_stale};

use crate::native_histogram::reduce_resolution;
use crate::protobuf::{Field, Reader, zigzag};

/// Spans of one side at most; each has at least one bucket or is noise.
const SPANS_MAX: usize = 1 << 16;

/// Time, number of buckets, and the histogram or why it is not acceptable.
///
/// # Errors
/// When the bytes are not such a message; [`Limit`](ErrorKind::Limit) beyond `buckets_max` values.
pub(super) fn read(
    mut reader: Reader<'_>,
    buckets_max: usize,
) -> Result<(i64, usize, Result<Histogram>)> {
    let mut t_ms = 0;
    let mut histogram = Histogram::default();
    let (mut float_count, mut int_count) = (None, None);
    let mut values = Values { left: buckets_max };
    let (mut negative, mut positive) = (Side::default(), Side::default());
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => int_count = Some(field.uint64()?),
            2 => float_count = Some(field.double()?),
            3 => histogram.sum = field.double()?,
            4 => histogram.schema = field.sint32()?,
            5 => histogram.zero_threshold = field.double()?,
            6 => histogram.zero_count = field.uint64()? as f64,
            7 => histogram.zero_count = field.double()?,
            8 => span(&field, &mut negative.spans)?,
            9 => values.deltas(&field, &mut negative.deltas)?,
            10 => values.floats(&field, &mut negative.counts)?,
            11 => span(&field, &mut positive.spans)?,
            12 => values.deltas(&field, &mut positive.deltas)?,
            13 => values.floats(&field, &mut positive.counts)?,
            14 => histogram.hint = hint(field.int32()?),
            15 => t_ms = field.int64()?,
            16 => values.floats(&field, &mut histogram.custom_bounds)?,
            _ => {}
        }
    }
    let used = buckets_max - values.left;
    histogram.integer = float_count.is_none();
    histogram.count = float_count.unwrap_or(int_count.unwrap_or(0) as f64);
    histogram.positive = positive.buckets(histogram.integer);
    histogram.negative = negative.buckets(histogram.integer);
    histogram.positive_spans = positive.spans;
    histogram.negative_spans = negative.spans;
    // A marker ends the series; the rest of it means nothing.
    if is_stale(histogram.sum) {
        let marker = Histogram { sum: histogram.sum, integer: true, ..Histogram::default() };
        return Ok((t_ms, used, Ok(marker)));
    }
    Ok((t_ms, used, checked(histogram)))
}

/// Schemas the specification reserves beyond the finest one; their buckets are merged.
const SCHEMA_RESERVED_MAX: i32 = 52;

fn checked(mut histogram: Histogram) -> Result<Histogram> {
    let schema = histogram.schema;
    let is_finer = (SCHEMA_MAX + 1..=SCHEMA_RESERVED_MAX).contains(&schema);
    if is_finer {
        histogram.schema = SCHEMA_MAX;
    }
    histogram.validate()?;
    if is_finer {
        histogram.schema = schema;
        reduce_resolution(&mut histogram, SCHEMA_MAX);
    }
    Ok(histogram)
}

#[derive(Default)]
struct Side {
    spans: Vec<BucketSpan>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl Side {
    /// Absolute counts; integer histograms have differences to the bucket before on the wire.
    fn buckets(&mut self, integer: bool) -> Vec<f64> {
        if !integer {
            return std::mem::take(&mut self.counts);
        }
        let mut count = 0_i64;
        self.deltas
            .iter()
            .map(|delta| {
                count = count.saturating_add(*delta);
                count as f64
            })
            .collect()
    }
}

struct Values {
    left: usize,
}

impl Values {
    fn take(&mut self) -> Result<()> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Error::new(ErrorKind::Limit, "request has too many buckets"))?;
        Ok(())
    }

    fn deltas(&mut self, field: &Field<'_>, out: &mut Vec<i64>) -> Result<()> {
        field.varints(|value| {
            self.take()?;
            out.push(zigzag(value));
            Ok(())
        })
    }

    fn floats(&mut self, field: &Field<'_>, out: &mut Vec<f64>) -> Result<()> {
        for value in field.doubles()? {
            self.take()?;
            out.push(value);
        }
        Ok(())
    }
}

fn span(field: &Field<'_>, spans: &mut Vec<BucketSpan>) -> Result<()> {
    let mut span = BucketSpan { offset: 0, length: 0 };
    let mut reader = field.message()?;
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => span.offset = field.sint32()?,
            2 => span.length = field.uint32()?,
            _ => {}
        }
    }
    if spans.len() >= SPANS_MAX {
        return Err(field.error(format_args!("more than {SPANS_MAX} spans")));
    }
    spans.push(span);
    Ok(())
}

fn hint(number: i32) -> ResetHint {
    match number {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}
