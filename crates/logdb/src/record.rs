//! The WAL record of a batch: its rows, its source and cursor, compressed with lz4.
//!
//! Does not own: the log itself (`storage::wal`). The record is drawn in `docs/format/logs.md`.

use model::{Error, ErrorKind, Labels, LogRecord, Result};
use rustc_hash::FxHashMap;
use storage::codec::{Reader, blob, put_bytes, put_count, put_zigzag};

use crate::part::{put_labels, take_labels};

/// Kind of these records in the WAL.
pub(crate) const KIND: u8 = 1;
const VERSION: u8 = 1;
/// Plain bytes a record may have.
pub(crate) const RECORD_BYTES_MAX: usize = 256 << 20;

/// One batch as stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) source: String,
    pub(crate) cursor: Option<Vec<u8>>,
    /// Unix milliseconds at which it was taken in.
    pub(crate) received_ms: i64,
    pub(crate) records: Vec<LogRecord>,
}

/// Appends the record.
pub(crate) fn encode(
    source: &str,
    cursor: Option<&[u8]>,
    received_ms: i64,
    records: &[LogRecord],
    out: &mut Vec<u8>,
) {
    let mut plain =
        Vec::with_capacity(records.iter().map(|r| r.line.len() + 8).sum::<usize>() + 128);
    put_bytes(&mut plain, source.as_bytes());
    plain.push(u8::from(cursor.is_some()));
    put_bytes(&mut plain, cursor.unwrap_or_default());
    put_zigzag(&mut plain, received_ms);
    put_count(&mut plain, records.len());
    put_labels_column(records.iter().map(|r| &r.stream), &mut plain);
    put_labels_column(records.iter().map(|r| &r.fields), &mut plain);
    let mut previous = 0_i64;
    for record in records {
        put_zigzag(&mut plain, record.t_ns.wrapping_sub(previous));
        previous = record.t_ns;
    }
    for record in records {
        put_bytes(&mut plain, record.line.as_bytes());
    }
    out.push(VERSION);
    blob::compress_lz4(&plain, out);
}

/// Distinct label sets, and which one each row has (nothing when there is only one).
fn put_labels_column<'a>(rows: impl Iterator<Item = &'a Labels>, out: &mut Vec<u8>) {
    let mut known: FxHashMap<&Labels, usize> = FxHashMap::default();
    let mut distinct: Vec<&Labels> = Vec::new();
    let mut codes = Vec::new();
    for labels in rows {
        // Neighbours usually share one allocation; no need to hash then.
        if let (Some(last), Some(code)) = (codes.last().map(|c: &usize| distinct[*c]), codes.last())
            && last.same_allocation(labels)
        {
            codes.push(*code);
            continue;
        }
        let code = *known.entry(labels).or_insert_with(|| {
            distinct.push(labels);
            distinct.len() - 1
        });
        codes.push(code);
    }
    put_count(out, distinct.len());
    distinct.iter().for_each(|labels| put_labels(labels, out));
    if distinct.len() > 1 {
        codes.iter().for_each(|code| put_count(out, *code));
    }
}

fn take_labels_column(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<Labels>> {
    let count = reader.count(reader.remaining())?;
    let distinct = (0..count).map(|_| take_labels(reader)).collect::<Result<Vec<_>>>()?;
    let missing = || Error::corrupt("log record has rows without labels");
    (0..rows)
        .map(|_| {
            let code = if count > 1 { reader.count(count - 1)? } else { 0 };
            distinct.get(code).cloned().ok_or_else(missing)
        })
        .collect()
}

/// Reads a record back.
pub(crate) fn decode(payload: &[u8]) -> Result<Stored> {
    let (version, packed) =
        payload.split_first().ok_or_else(|| Error::corrupt("log record is empty"))?;
    if *version != VERSION {
        let message =
            format!("log record has format version {version}; this program reads {VERSION}");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let plain = blob::decompress_lz4(packed, RECORD_BYTES_MAX)?;
    let mut reader = Reader::new(&plain);
    let source = reader.str()?.to_owned();
    let has_cursor = reader.u8()? != 0;
    let cursor = reader.bytes()?.to_vec();
    let received_ms = reader.zigzag()?;
    // A row takes two bytes at least.
    let rows = reader.count(reader.remaining() / 2)?;
    let streams = take_labels_column(&mut reader, rows)?;
    let fields = take_labels_column(&mut reader, rows)?;
    let mut previous = 0_i64;
    let mut times = Vec::with_capacity(rows);
    for _ in 0..rows {
        previous = previous.wrapping_add(reader.zigzag()?);
        times.push(previous);
    }
    let mut records = Vec::with_capacity(rows);
    for ((stream, fields), t_ns) in streams.into_iter().zip(fields).zip(times) {
        records.push(LogRecord { stream, t_ns, line: reader.str()?.to_owned(), fields });
    }
    Ok(Stored { source, cursor: has_cursor.then_some(cursor), received_ms, records })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_round_trip() {
        let stream = Labels::from_pairs([("app", "a")]);
        let other = Labels::from_pairs([("app", "b"), ("pod", "x")]);
        let record = |stream: &Labels, t_ns, line: &str, fields: &Labels| LogRecord {
            stream: stream.clone(),
            t_ns,
            line: line.to_owned(),
            fields: fields.clone(),
        };
        let empty = Labels::default();
        let records = [
            record(&stream, 5, "one", &empty),
            record(&other, i64::MIN, "", &other),
            record(&stream, i64::MAX, "é\n", &empty),
        ];
        for (cursor, records) in
            [(Some(&b"c"[..]), &records[..]), (None, &[]), (Some(b""), &records[..1])]
        {
            let mut bytes = Vec::new();
            encode("docker/1", cursor, 7, records, &mut bytes);
            let stored = decode(&bytes).unwrap();
            assert_eq!(stored.records, records);
            assert_eq!(stored.cursor.as_deref(), cursor);
            assert_eq!((stored.source.as_str(), stored.received_ms), ("docker/1", 7));
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(plain in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = vec![VERSION];
            blob::compress_lz4(&plain, &mut bytes);
            // Either outcome is fine; it must come back.
            decode(&bytes).ok();
            decode(&plain).ok();
        }
    }
}
