//! WAL records of the metric store: what one batch changed.
//!
//! Owns: the bytes. Does not own: what columns mean when a chain is broken ([`engine`](crate::engine) skips it).
//!
//! ```text
//! record = target varint, flags u8, chain varint,
//!          [ reset: key bytes ] [ columns: lz4 blob, with length ] [ row: t zigzag, row bytes with length ]
//!          [ loose: count, count × ( column varint, t delta zigzag, bits u64 ) ]
//!          [ histograms ] [ exemplars ] [ metadata ]: lz4 blobs, each with length
//! flags  = bit 0 reset (the target starts anew: no columns, chain 0), bit 1 new columns, bit 2 row,
//!          bit 3 the row starts a row chain, bit 4 loose, bit 5 histograms, bit 6 exemplars, bit 7 metadata
//! columns = count, strings (symbols), count × ( labels, labels × ( name symbol, value symbol ) )
//! histograms = count, count × ( column varint, t delta zigzag, bytes of one histogram with length )
//! ```
//! `chain` counts the target's records since its reset; a hole means that records between were lost. An empty record is
//! a batch of which nothing was stored.

use std::sync::Arc;

use model::{Error, Labels, MetricMetadata, Result};
use rustc_hash::FxHashMap;
use storage::codec::{Reader, blob, put_bytes, put_count, put_varint, put_zigzag, strings};

use crate::buckets;
use crate::exemplars::{self, Stored};
use crate::metadata;

const RESET: u8 = 1;
const COLUMNS: u8 = 2;
const ROW: u8 = 4;
const KEYFRAME: u8 = 8;
const LOOSE: u8 = 16;
const HISTOGRAMS: u8 = 32;
const EXEMPLARS: u8 = 64;
const METADATA: u8 = 128;

/// Plain bytes of column definitions one record may have.
const COLUMNS_BYTES_MAX: usize = 1 << 28;
/// Plain bytes of histograms, exemplars or metadata one record may have.
const BLOB_BYTES_MAX: usize = 1 << 28;
/// Bytes of labels per byte of definitions beyond which they cannot be honest.
const EXPANSION_MAX: usize = 256;

/// A sample with a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LooseSample {
    /// Column of the record's target.
    pub column: u32,
    /// Unix milliseconds.
    pub t_ms: i64,
    /// Bits of the value.
    pub bits: u64,
}

/// A native histogram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSample {
    /// Column of the record's target.
    pub column: u32,
    /// Unix milliseconds.
    pub t_ms: i64,
    /// Bytes of [`buckets::encode_one`].
    pub bytes: Arc<[u8]>,
}

/// A row inside a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRow<'a> {
    /// Unix milliseconds.
    pub t_ms: i64,
    /// Whether it starts a row chain.
    pub keyframe: bool,
    /// Bytes of the row codec.
    pub bytes: &'a [u8],
}

/// One decoded record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number of the target since the store was opened.
    pub target: u32,
    /// Position since the reset.
    pub chain: u64,
    /// For a reset: the source.
    pub key: Option<&'a str>,
    /// Labels of columns that are new.
    pub columns: Vec<Labels>,
    /// The scrape.
    pub row: Option<RecordRow<'a>>,
    /// Samples with times of their own.
    pub loose: Vec<LooseSample>,
    /// Native histograms, each decodable.
    pub histograms: Vec<HistogramSample>,
    /// Exemplars of any series.
    pub exemplars: Vec<Stored>,
    /// Metadata of metrics.
    pub metadata: Vec<MetricMetadata>,
}

impl Record<'_> {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        flags |= if self.key.is_some() { RESET } else { 0 };
        flags |= if self.columns.is_empty() { 0 } else { COLUMNS };
        flags |= if self.row.is_some() { ROW } else { 0 };
        flags |= if self.row.is_some_and(|row| row.keyframe) { KEYFRAME } else { 0 };
        flags |= if self.loose.is_empty() { 0 } else { LOOSE };
        flags |= if self.histograms.is_empty() { 0 } else { HISTOGRAMS };
        flags |= if self.exemplars.is_empty() { 0 } else { EXEMPLARS };
        flags |= if self.metadata.is_empty() { 0 } else { METADATA };
        put_varint(out, u64::from(self.target));
        out.push(flags);
        put_varint(out, self.chain);
        if let Some(key) = self.key {
            put_bytes(out, key.as_bytes());
        }
        if !self.columns.is_empty() {
            put_blob(out, |plain| encode_columns(&self.columns, plain));
        }
        if let Some(row) = &self.row {
            put_zigzag(out, row.t_ms);
            put_bytes(out, row.bytes);
        }
        if !self.loose.is_empty() {
            put_count(out, self.loose.len());
            let mut before = 0i64;
            for sample in &self.loose {
                put_varint(out, u64::from(sample.column));
                put_zigzag(out, sample.t_ms.wrapping_sub(before));
                out.extend_from_slice(&sample.bits.to_le_bytes());
                before = sample.t_ms;
            }
        }
        if !self.histograms.is_empty() {
            put_blob(out, |plain| encode_histograms(&self.histograms, plain));
        }
        if !self.exemplars.is_empty() {
            put_blob(out, |plain| exemplars::encode(&self.exemplars, plain));
        }
        if !self.metadata.is_empty() {
            put_blob(out, |plain| metadata::encode(self.metadata.iter(), plain));
        }
    }
}

fn put_blob(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let (mut plain, mut packed) = (Vec::new(), Vec::new());
    encode(&mut plain);
    blob::compress_lz4(&plain, &mut packed);
    put_bytes(out, &packed);
}

fn encode_histograms(histograms: &[HistogramSample], out: &mut Vec<u8>) {
    put_count(out, histograms.len());
    let mut before = 0i64;
    for sample in histograms {
        put_varint(out, u64::from(sample.column));
        put_zigzag(out, sample.t_ms.wrapping_sub(before));
        put_bytes(out, &sample.bytes);
        before = sample.t_ms;
    }
}

fn decode_histograms(bytes: &[u8]) -> Result<Vec<HistogramSample>> {
    let mut r = Reader::new(bytes);
    let count = r.count(r.remaining() / 3)?;
    let mut histograms = Vec::new();
    let mut t_ms = 0i64;
    for _ in 0..count {
        let column = number(r.varint()?)?;
        t_ms = t_ms.wrapping_add(r.zigzag()?);
        let bytes = r.bytes()?;
        buckets::decode_one(&mut Reader::new(bytes))?;
        histograms.push(HistogramSample { column, t_ms, bytes: bytes.into() });
    }
    Ok(histograms)
}

pub(crate) fn encode_columns(columns: &[Labels], out: &mut Vec<u8>) {
    let texts = || columns.iter().flat_map(|labels| labels.iter().flat_map(|(n, v)| [n, v]));
    // Most come again and again: each is looked up once, sorted are those that differ.
    let mut numbers: FxHashMap<&str, usize> = texts().map(|text| (text, 0)).collect();
    let mut symbols: Vec<&str> = numbers.keys().copied().collect();
    symbols.sort_unstable();
    for (number, text) in symbols.iter().enumerate() {
        numbers.insert(text, number);
    }
    let number = |text: &str| numbers.get(text).copied().unwrap_or(0);
    put_count(out, columns.len());
    strings::encode(symbols.iter().copied(), out);
    for labels in columns {
        put_count(out, labels.len());
        for (name, value) in labels.iter() {
            put_count(out, number(name));
            put_count(out, number(value));
        }
    }
}

pub(crate) fn decode_columns(r: &mut Reader<'_>) -> Result<Vec<Labels>> {
    let bytes_max = r.remaining().saturating_mul(EXPANSION_MAX);
    let count = r.count(r.remaining())?;
    let symbols = strings::Table::decode(r)?;
    let (mut columns, mut total) = (Vec::new(), 0usize);
    for _ in 0..count {
        let labels = r.count(r.remaining() / 2)?;
        let mut pairs = Vec::with_capacity(labels);
        for _ in 0..labels {
            let (name, value) = (r.count(symbols.len())?, r.count(symbols.len())?);
            match (symbols.get(name), symbols.get(value)) {
                (Some(name), Some(value)) => pairs.push((name, value)),
                _ => return Err(Error::corrupt("label symbol is past the table")),
            }
            total += pairs.last().map_or(0, |(n, v)| n.len() + v.len());
        }
        if total > bytes_max {
            return Err(Error::corrupt(format!("labels of {count} columns are too long")));
        }
        columns.push(pairs.into_iter().collect());
    }
    Ok(columns)
}

/// Reads one record; `None` for an empty one.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
pub fn decode(payload: &[u8]) -> Result<Option<Record<'_>>> {
    if payload.is_empty() {
        return Ok(None);
    }
    let mut r = Reader::new(payload);
    let target = number(r.varint()?)?;
    let flags = r.u8()?;
    let chain = r.varint()?;
    let key = if flags & RESET == 0 { None } else { Some(r.str()?) };
    let columns = if flags & COLUMNS == 0 {
        Vec::new()
    } else {
        decode_columns(&mut Reader::new(&blob::decompress_lz4(r.bytes()?, COLUMNS_BYTES_MAX)?))?
    };
    let row = if flags & ROW == 0 {
        None
    } else {
        let (t_ms, keyframe) = (r.zigzag()?, flags & KEYFRAME != 0);
        Some(RecordRow { t_ms, keyframe, bytes: r.bytes()? })
    };
    let mut loose = Vec::new();
    if flags & LOOSE != 0 {
        let count = r.count(r.remaining() / 10)?;
        loose.reserve(count);
        let mut t_ms = 0i64;
        for _ in 0..count {
            let column = number(r.varint()?)?;
            t_ms = t_ms.wrapping_add(r.zigzag()?);
            loose.push(LooseSample { column, t_ms, bits: r.u64()? });
        }
    }
    let histograms = if flags & HISTOGRAMS == 0 {
        Vec::new()
    } else {
        decode_histograms(&blob::decompress_lz4(r.bytes()?, BLOB_BYTES_MAX)?)?
    };
    let exemplars = if flags & EXEMPLARS == 0 {
        Vec::new()
    } else {
        exemplars::decode(&blob::decompress_lz4(r.bytes()?, BLOB_BYTES_MAX)?)?
    };
    let metadata = if flags & METADATA == 0 {
        Vec::new()
    } else {
        metadata::decode(&blob::decompress_lz4(r.bytes()?, BLOB_BYTES_MAX)?)?
    };
    Ok(Some(Record { target, chain, key, columns, row, loose, histograms, exemplars, metadata }))
}

fn number(value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::corrupt(format!("number {value} is over 32 bits")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_survive() {
        let columns = (0..50)
            .map(|i| Labels::from_pairs([("__name__", "m"), ("i", i.to_string().as_str())]))
            .collect();
        let row = RecordRow { t_ms: -5, keyframe: true, bytes: &[1, 2, 3] };
        let loose = vec![LooseSample { column: 49, t_ms: i64::MIN, bits: u64::MAX }; 3];
        let mut bytes = Vec::new();
        buckets::encode_one(&model::Histogram::default(), &mut bytes);
        let histograms = vec![HistogramSample { column: 7, t_ms: 5, bytes: bytes.into() }; 2];
        let exemplar = Stored {
            series: Labels::from_pairs([("__name__", "m")]),
            labels: Labels::from_pairs([("trace_id", "7")]),
            t_ms: -1,
            bits: u64::MAX,
        };
        let metadata = MetricMetadata {
            name: "m".into(),
            kind: model::MetricKind::Gauge,
            help: "é".into(),
            unit: "".into(),
        };
        let record = Record {
            target: 7,
            chain: 0,
            key: Some("k"),
            columns,
            row: Some(row),
            loose,
            histograms,
            exemplars: vec![exemplar; 2],
            metadata: vec![metadata],
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(decode(&bytes).unwrap(), Some(record));
        assert_eq!(decode(&[]).unwrap(), None);
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_bounded(mut bytes in proptest::collection::vec(any::<u8>(), 3..200), flags in any::<u8>()) {
            bytes[1] = flags;
            if let Ok(Some(record)) = decode(&bytes) {
                prop_assert!(record.loose.len() <= bytes.len());
            }
        }
    }
}
