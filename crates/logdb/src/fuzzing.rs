//! Ways in for the fuzz targets (`fuzz/`): the decoders of foreign bytes, each with what must hold of its results.
//!
//! Not part of the store's interface; nothing in the process calls it. Panics are its findings.

use std::sync::Arc;

use memchr::memmem;
use model::Result;
use storage::codec::Reader;

use crate::bits::Bits;
use crate::column::{Column, Encoder};
use crate::fields::Fields;
use crate::needle::Needle;
use crate::part::{Summary, decode_index};
use crate::patterns::known::Known;
use crate::patterns::{Miner, coded};
use crate::{filter, record as wal_record};

/// A WAL record: `bytes` as they are, and compressed as a record would be. What decodes survives encoding.
///
/// # Panics
/// When it does not.
pub fn record(bytes: &[u8]) {
    // Either outcome is fine; it must come back.
    wal_record::decode(bytes).ok();
    let mut packed = Vec::new();
    let (plain, text) = bytes.split_at(bytes.len() / 2);
    wal_record::put_blobs(plain, text, &mut packed);
    let Ok(stored) = wal_record::decode(&packed) else { return };
    let mut again = Vec::new();
    let cursor = stored.cursor.as_deref();
    wal_record::encode(&stored.source, cursor, stored.received_ms, &stored.rows, &mut again);
    assert_eq!(wal_record::decode(&again).ok(), Some(stored));
}

/// The index of a part, and its summary.
///
/// # Panics
/// When the decoders do.
pub fn index(bytes: &[u8]) {
    Summary::decode(&mut Reader::new(bytes)).ok();
    for version in 1..=3 {
        let Ok((streams, blocks)) = decode_index(bytes, version) else { continue };
        assert!(streams.len() + blocks.len() <= bytes.len());
        let runs = blocks.iter().flat_map(|b| &b.runs);
        assert!(runs.clone().count() <= bytes.len());
        assert!(runs.map(|r| r.stream).all(|stream| (stream as usize) < streams.len()));
    }
}

/// A column of `rows` values in foreign bytes: read, measured and searched.
///
/// # Panics
/// When the decoder does.
pub fn column(bytes: &[u8], rows: usize, needle: &[u8]) {
    // Either outcome is fine; it must come back.
    read(bytes, rows, needle).ok();
    for token in filter::needle_tokens(needle) {
        filter::may_contain(bytes, token);
    }
}

/// Values, their lengths, and the rows with `needle`: by searching, and by asking each value.
type Found = (Vec<Vec<u8>>, Vec<usize>, Bits, Bits);

fn read(bytes: &[u8], rows: usize, needle: &[u8]) -> Result<Found> {
    let column = Column::open(Arc::from(bytes), rows)?;
    let mut all = Bits::new(rows);
    all.set_range(0, rows);
    let mut values = Vec::new();
    let lens: Vec<usize> = column.lens()?.into_iter().map(|len| len as usize).collect();
    // Enough to see a difference, not all: a value may be long and be there many times.
    let mut room: usize = 4 << 20;
    column.for_each(&all, &mut |_, value| {
        room = room.saturating_sub(value.len());
        if room > 0 {
            values.push(value.to_vec());
        }
    })?;
    let found = column.find(&Needle::contains(needle))?.into_bits(rows);
    column.retain(&mut all, &mut |value| memmem::find(value, needle).is_some())?;
    Ok((values, lens, found, all))
}

/// Lines through the encoder and back, once as encoded and once with bytes of `damage` (offset, mask) changed.
///
/// # Panics
/// When they do not survive, or searching and measuring disagree with reading.
pub fn lines(lines: &[&[u8]], needle: &[u8], damage: &[(u16, u8)]) {
    let mut encoder = Encoder::new(1).expect("BUG: zstd has level 1");
    let mut bytes = Vec::new();
    encoder.column(lines, &mut bytes);
    let tokens = encoder.take_filter();
    let (values, lens, found, retained) =
        read(&bytes, lines.len(), needle).expect("BUG: what was encoded does not decode");
    assert_eq!(values, lines);
    assert_eq!(lens, lines.iter().map(|l| l.len()).collect::<Vec<_>>());
    for (row, line) in lines.iter().enumerate() {
        let contains = memmem::find(line, needle).is_some();
        assert_eq!((found.get(row), retained.get(row)), (contains, contains), "row {row}");
        if contains {
            let hashes = filter::needle_tokens(needle);
            assert!(hashes.iter().all(|hash| filter::may_contain(&tokens, *hash)), "row {row}");
        }
    }
    for (at, mask) in damage {
        let at = usize::from(*at) % bytes.len().max(1);
        bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
    }
    column(&bytes, lines.len(), needle);
}

/// Which pattern each of `lines` has: as encoded, and with bytes of `damage` (offset, mask) changed.
///
/// # Panics
/// When what was encoded does not come back, or a row has a pattern that is not there.
pub fn patterns(lines: &[&[u8]], damage: &[(u16, u8)]) {
    let mut encoder = Encoder::new(1).expect("BUG: zstd has level 1");
    let (mut column, mut bytes) = (Vec::new(), Vec::new());
    encoder.column(lines, &mut column);
    let known = Known::default();
    coded::encode(lines, &column, &known, &mut encoder, &mut bytes);
    let column = Column::open(Arc::from(column), lines.len());
    let Ok(column) = column else { panic!("BUG: what was encoded does not decode") };
    let check = |bytes: &[u8]| -> Result<()> {
        let patterns = coded::decode(bytes, lines.len(), || Ok(&column))?;
        let coded = patterns.coded(&known);
        assert!((0..lines.len()).all(|row| (coded.codes.get(row) as usize) < coded.values.len()));
        Ok(())
    };
    assert!(lines.is_empty() || check(&bytes).is_ok());
    for (at, mask) in damage {
        let at = usize::from(*at) % bytes.len().max(1);
        bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
    }
    check(&bytes).ok();
}

/// The pattern of a line.
pub fn pattern(line: &str) -> String {
    let mut miner = Miner::default();
    miner.add(line.as_bytes());
    miner.into_texts().pop().unwrap_or_default()
}

/// Fields of `rows` rows in foreign bytes.
///
/// # Panics
/// When the decoder does.
pub fn fields(bytes: &[u8], rows: usize) {
    let Ok(fields) = Fields::open(&Arc::from(bytes), rows) else { return };
    for name in fields.names() {
        if let Ok(Some(coded)) = fields.coded(name) {
            assert!((0..rows).all(|row| coded.codes.get(row) as usize <= coded.values.len()));
        }
    }
    let mut all = Bits::new(rows);
    all.set_range(0, rows);
    let mut seen = 0;
    if fields.for_each(&all, None, |_, _| seen += 1).is_ok() {
        assert_eq!(seen, rows);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn runs_without_streams_are_refused() {
        // No streams, and a block of three rows whose run is of stream 0.
        super::index(&[0, 1, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 3, 0, 0]);
    }
}
