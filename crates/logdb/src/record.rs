//! The WAL record of a batch: its rows, its source and cursor, compressed with lz4; the lines by themselves, as they lie.
//!
//! Does not own: the log itself (`storage::wal`). The record is drawn in `docs/format/logs.md`.

use model::{Error, ErrorKind, Labels, LogRows, Result};
use storage::codec::{Reader, blob, put_bytes, put_count, put_zigzag};

use crate::part::{put_labels, take_labels};

/// Kind of these records in the WAL.
pub(crate) const KIND: u8 = 1;
pub(crate) const VERSION: u8 = 3;
/// Plain bytes a record may have.
pub(crate) const RECORD_BYTES_MAX: usize = 256 << 20;

/// Flags of a record.
const HAS_CURSOR: u8 = 1;
const MAY_REPEAT: u8 = 2;

/// One batch as stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) source: String,
    pub(crate) cursor: Option<Vec<u8>>,
    /// Unix milliseconds at which it was taken in.
    pub(crate) received_ms: i64,
    pub(crate) rows: LogRows,
}

/// Appends the record.
pub(crate) fn encode(
    source: &str,
    cursor: Option<&[u8]>,
    received_ms: i64,
    rows: &LogRows,
    out: &mut Vec<u8>,
) {
    let mut plain = Vec::with_capacity(rows.memory_bytes() - rows.line_bytes() + 256);
    put_bytes(&mut plain, source.as_bytes());
    let repeat = if rows.may_repeat() { MAY_REPEAT } else { 0 };
    plain.push(if cursor.is_some() { HAS_CURSOR } else { 0 } | repeat);
    put_bytes(&mut plain, cursor.unwrap_or_default());
    put_zigzag(&mut plain, received_ms);
    put_count(&mut plain, rows.len());
    put_label_sets(rows.streams(), &mut plain);
    put_label_sets(rows.field_sets(), &mut plain);
    let mut previous = 0_i64;
    for i in 0..rows.len() {
        let t_ns = rows.t_ns(i);
        put_zigzag(&mut plain, t_ns.wrapping_sub(previous));
        previous = t_ns;
        put_count(&mut plain, rows.stream_number(i) as usize);
        put_count(&mut plain, rows.fields_number(i) as usize);
        put_count(&mut plain, rows.line_len(i));
    }
    put_blobs(&plain, rows.text().as_bytes(), out);
}

/// Appends version, what is not text, and the lines.
pub(crate) fn put_blobs(plain: &[u8], text: &[u8], out: &mut Vec<u8>) {
    out.push(VERSION);
    let mut packed = Vec::new();
    blob::compress_lz4(plain, &mut packed);
    put_bytes(out, &packed);
    blob::compress_lz4(text, out);
}

fn put_label_sets(sets: &[Labels], out: &mut Vec<u8>) {
    put_count(out, sets.len());
    sets.iter().for_each(|labels| put_labels(labels, out));
}

fn take_label_sets(reader: &mut Reader<'_>) -> Result<Vec<Labels>> {
    let count = reader.count(reader.remaining())?;
    (0..count).map(|_| take_labels(reader)).collect()
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
    let mut parts = Reader::new(packed);
    let plain = blob::decompress_lz4(parts.bytes()?, RECORD_BYTES_MAX)?;
    let text = blob::decompress_lz4(parts.take(parts.remaining())?, RECORD_BYTES_MAX)?;
    let mut text = Reader::new(&text);
    let mut reader = Reader::new(&plain);
    let source = reader.str()?.to_owned();
    let flags = reader.u8()?;
    let has_cursor = flags & HAS_CURSOR != 0;
    let cursor = reader.bytes()?.to_vec();
    let received_ms = reader.zigzag()?;
    // A row takes four bytes at least.
    let count = reader.count(reader.remaining() / 4)?;
    let streams = take_label_sets(&mut reader)?;
    let fields = take_label_sets(&mut reader)?;
    let mut previous = 0_i64;
    let mut heads = Vec::with_capacity(count);
    for _ in 0..count {
        previous = previous.wrapping_add(reader.zigzag()?);
        let stream = reader.count(streams.len())?;
        let fields = reader.count(fields.len())?;
        heads.push((previous, stream, fields, reader.count(text.remaining())?));
    }
    let missing = || Error::corrupt("log record has rows without labels");
    let mut rows = LogRows::with_capacity(count, text.remaining());
    for (t_ns, stream, set, bytes) in heads {
        let line = std::str::from_utf8(text.take(bytes)?)
            .map_err(|_| Error::corrupt("line of a log record is not UTF-8"))?;
        let stream = streams.get(stream).ok_or_else(missing)?;
        rows.push(stream, t_ns, line, fields.get(set).ok_or_else(missing)?);
    }
    if flags & MAY_REPEAT != 0 {
        rows.set_may_repeat();
    }
    Ok(Stored { source, cursor: has_cursor.then_some(cursor), received_ms, rows })
}

#[cfg(test)]
mod tests {
    use model::LogRecord;
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
            let rows: LogRows = records.iter().cloned().collect();
            encode("docker/1", cursor, 7, &rows, &mut bytes);
            let stored = decode(&bytes).unwrap();
            assert_eq!(stored.rows, rows);
            assert_eq!(stored.cursor.as_deref(), cursor);
            assert_eq!((stored.source.as_str(), stored.received_ms), ("docker/1", 7));
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(
            plain in prop::collection::vec(any::<u8>(), 0..200),
            text in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = Vec::new();
            put_blobs(&plain, &text, &mut bytes);
            // Either outcome is fine; it must come back.
            decode(&bytes).ok();
            decode(&plain).ok();
        }
    }
}
