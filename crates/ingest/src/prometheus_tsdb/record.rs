//! Records of the write-ahead log: series with their numbers, and samples, histograms and exemplars by number.

use model::histogram::BUCKETS_MAX;
use model::{BucketSpan, Error, Exemplar, Histogram, Labels, ResetHint, Result};

use super::bytes::Bytes;
use super::tombstones::Interval;

/// One thing a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A number stands for these labels from here on.
    Series(u64, Labels),
    /// A sample of a series; the time in Unix milliseconds.
    Sample(u64, i64, f64),
    /// A native histogram of a series; the time in Unix milliseconds.
    Histogram(u64, i64, Box<Histogram>),
    /// An exemplar of a series.
    Exemplar(u64, Box<Exemplar>),
    /// Times of a series were deleted.
    Tombstone(u64, Interval),
}

/// Hands out what a record says; records of kinds without meaning for an import (memory-mapped chunk markers, metadata)
/// say nothing.
///
/// # Errors
/// What `visit` returns; [`Corrupt`](model::ErrorKind::Corrupt) for records that do not fit their kind and unknown kinds.
pub fn decode_record(record: &[u8], visit: &mut dyn FnMut(Record) -> Result<()>) -> Result<()> {
    let mut bytes = Bytes::new(record);
    if bytes.is_empty() {
        return Err(Error::corrupt("wal record without bytes"));
    }
    match bytes.u8()? {
        1 => series(bytes, visit),
        2 => samples(bytes, &mut |r, t, b| Ok(Record::Sample(r, t, b.f64()?)), visit),
        3 => {
            while !bytes.is_empty() {
                let reference = bytes.u64()?;
                let interval = Interval { min_ms: bytes.varint()?, max_ms: bytes.varint()? };
                visit(Record::Tombstone(reference, interval))?;
            }
            Ok(())
        }
        4 => samples(bytes, &mut exemplar, visit),
        // Markers of memory-mapped chunks, metadata.
        5 | 6 => Ok(()),
        7 | 9 => samples(
            bytes,
            &mut |r, t, b| Ok(Record::Histogram(r, t, Box::new(histogram(b, true)?))),
            visit,
        ),
        8 | 10 => samples(
            bytes,
            &mut |r, t, b| Ok(Record::Histogram(r, t, Box::new(histogram(b, false)?))),
            visit,
        ),
        other => {
            Err(Error::corrupt(format!("wal record kind {other} is unknown; known are 1 to 10")))
        }
    }
}

fn series(mut bytes: Bytes<'_>, visit: &mut dyn FnMut(Record) -> Result<()>) -> Result<()> {
    while !bytes.is_empty() {
        let reference = bytes.u64()?;
        visit(Record::Series(reference, labels(&mut bytes)?))?;
    }
    Ok(())
}

fn labels(bytes: &mut Bytes<'_>) -> Result<Labels> {
    let mut pairs = Vec::new();
    for _ in 0..bytes.count()? {
        pairs.push((bytes.text()?, bytes.text()?));
    }
    Ok(Labels::from_pairs(pairs))
}

type ReadSample<'a> = dyn FnMut(u64, i64, &mut Bytes<'_>) -> Result<Record> + 'a;

/// Series and times are differences to those of the first sample, which stand in front.
fn samples(
    mut bytes: Bytes<'_>,
    read: &mut ReadSample<'_>,
    visit: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let (first_reference, first_ms) = (bytes.u64()?, bytes.u64()?.cast_signed());
    while !bytes.is_empty() {
        let reference = first_reference.wrapping_add_signed(bytes.varint()?);
        let t_ms = first_ms.wrapping_add(bytes.varint()?);
        visit(read(reference, t_ms, &mut bytes)?)?;
    }
    Ok(())
}

fn exemplar(reference: u64, t_ms: i64, bytes: &mut Bytes<'_>) -> Result<Record> {
    let value = bytes.f64()?;
    let labels = labels(bytes)?;
    Ok(Record::Exemplar(reference, Box::new(Exemplar { labels, value, t_ms })))
}

fn histogram(bytes: &mut Bytes<'_>, integer: bool) -> Result<Histogram> {
    let hint = match bytes.u8()? {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    let schema = bytes.varint()?;
    let schema = i32::try_from(schema)
        .map_err(|_| Error::corrupt(format!("histogram schema {schema} is unknown")))?;
    let zero_threshold = bytes.f64()?;
    let count = |bytes: &mut Bytes<'_>| {
        if integer { bytes.uvarint().map(|n| n as f64) } else { bytes.f64() }
    };
    let (zero_count, total) = (count(bytes)?, count(bytes)?);
    let sum = bytes.f64()?;
    let mut histogram = Histogram {
        schema,
        integer,
        hint,
        zero_threshold,
        zero_count,
        count: total,
        sum,
        positive_spans: spans(bytes)?,
        negative_spans: spans(bytes)?,
        positive: buckets(bytes, integer)?,
        negative: buckets(bytes, integer)?,
        custom_bounds: Vec::new(),
    };
    if histogram.has_custom_bounds() {
        for _ in 0..bytes.count()? {
            histogram.custom_bounds.push(bytes.f64()?);
        }
    }
    Ok(histogram)
}

fn spans(bytes: &mut Bytes<'_>) -> Result<Vec<BucketSpan>> {
    let mut spans = Vec::new();
    for _ in 0..bytes.count()? {
        let (offset, length) = (bytes.varint()?, bytes.uvarint()?);
        let (Ok(length), Ok(offset)) = (u32::try_from(length), i32::try_from(offset)) else {
            return Err(Error::corrupt(format!("histogram span of {length} at {offset}")));
        };
        spans.push(BucketSpan { offset, length });
    }
    Ok(spans)
}

/// Counts of integer histograms are differences to the bucket before.
fn buckets(bytes: &mut Bytes<'_>, integer: bool) -> Result<Vec<f64>> {
    let count = bytes.count()?;
    if count > BUCKETS_MAX {
        return Err(Error::corrupt(format!("{count} histogram buckets; at most {BUCKETS_MAX}")));
    }
    let mut before = 0_i64;
    (0..count)
        .map(|_| {
            if !integer {
                return bytes.f64();
            }
            before = before.wrapping_add(bytes.varint()?);
            Ok(before as f64)
        })
        .collect()
}
