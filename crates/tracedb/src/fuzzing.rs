//! The decoders of stored bytes by themselves, for fuzzing: what decodes survives being read through.
//!
//! Does not own: any format.

use model::ValueTest;
use storage::codec::{Reader, blob};

use crate::attributes::AttributeColumns;
use crate::block::{Core, OpenBlock, Projection, ROWS_MAX, Rest, decode_ids};
use crate::filter::{Filter, find_in_page};
use crate::part::Summary;
use crate::rows::Rows;
use crate::values::Values;
use crate::{part, record};

/// A WAL record, compressed or not.
///
/// # Panics
/// When a record that decodes does not survive encoding.
pub fn record(bytes: &[u8]) {
    let mut packed = Vec::new();
    record::put_blob(bytes, &mut packed);
    for payload in [bytes, &packed[..]] {
        let Ok(rows) = record::decode(payload) else { continue };
        // Texts need not be UTF-8 in foreign bytes.
        let groups = rows.groups();
        let mut again = Vec::new();
        if record::encode(&rows, &mut again).is_ok() {
            let decoded = record::decode(&again).map(|rows| rows.groups());
            let decoded = decoded.expect("BUG: what was encoded decodes");
            // NaN is not equal to itself.
            assert_eq!(format!("{:?}", groups.ok()), format!("{:?}", decoded.ok()));
        }
    }
}

/// Pieces of a block: the first two bytes say how many rows it has, the next four where the pieces part.
pub fn block(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk::<6>() else { return };
    let rows = usize::from(u16::from_le_bytes([head[0], head[1]])) % (ROWS_MAX + 1);
    let first = usize::from(head[2]) | usize::from(head[3]) << 8;
    let second = usize::from(head[4]) | usize::from(head[5]) << 8;
    let (core, rest) = rest.split_at(first.min(rest.len()));
    let (attributes, rest) = rest.split_at(second.min(rest.len()));
    let attributes = AttributeColumns::decode(&mut Reader::new(attributes), rows);
    let (core, rest) = (Core::decode(core, rows), Rest::decode(rest, rows));
    let ids = decode_ids(&vec![7; rows * 8], rows);
    if let (Ok(core), Ok(attributes), Ok(rest), Ok(ids)) = (core, attributes, rest, ids) {
        let mut out = Rows::default();
        let open = OpenBlock { core, ids, attributes, rest: Some(rest) };
        if open.read(0..rows, Projection::ALL, &mut out).is_ok() {
            // Either outcome is fine; it must come back.
            drop(out.groups());
        }
    }
}

/// What a block may hold, and where a trace may be: a filter of values, one of traces, and a page of fingerprints, of as many
/// entries as the first byte says.
pub fn filters(bytes: &[u8]) {
    let Some((count, bytes)) = bytes.split_first() else { return };
    let key = String::from_utf8_lossy(&bytes[..bytes.len().min(8)]);
    if let Ok(values) = Values::decode(bytes) {
        for test in [ValueTest::new(|_| true), ValueTest::new(|_| true).with_text(key.as_ref())] {
            values.may_hold(&key, &test);
        }
    }
    let number = u64::from(*count) << 32 | bytes.len() as u64;
    Filter::decode(bytes).may_have(number);
    let (count, blocks) = (usize::from(*count), 3);
    // Either outcome is fine; it must come back.
    let found = |block| assert!(block < blocks, "block {block} of {blocks}");
    find_in_page(bytes, count, blocks, number, found).ok();
    Summary::decode(&mut Reader::new(bytes)).ok();
}

/// A part's index, decompressed or not.
pub fn index(bytes: &[u8]) {
    drop(part::decode_index(bytes));
    if let Ok(plain) = blob::decompress_zstd(bytes, 1 << 20) {
        drop(part::decode_index(&plain));
    }
}
