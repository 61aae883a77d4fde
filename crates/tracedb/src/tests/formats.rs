//! Encoded spans come back as they were, and foreign bytes are refused or bounded.

use proptest::prelude::*;

use super::Random;
use crate::block::{self, Buffer, Core, OpenBlock, Projection, Rest, decode_ids};
use crate::column::Encoder;
use crate::rows::Rows;
use crate::{attributes::AttributeColumns, fuzzing, record};
use storage::codec::Reader;

fn rows(seed: u64) -> Rows {
    let mut rows = Rows::default();
    for group in Random(seed).groups(1_714_521_600_000_000_000, 6, 40) {
        let origin = rows.origin_of(&group).unwrap();
        group.spans.iter().for_each(|span| rows.push(origin, span).unwrap());
    }
    rows
}

fn text(rows: &Rows) -> String {
    format!("{:?}", rows.groups().unwrap())
}

#[test]
fn records_and_blocks_round_trip() {
    for seed in 0..200 {
        let rows = rows(seed);
        let mut bytes = Vec::new();
        record::encode(&rows, &mut bytes).unwrap();
        assert_eq!(text(&record::decode(&bytes).unwrap()), text(&rows), "seed {seed}");
        fuzzing::record(&bytes);

        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|i| (rows.rows[*i].trace_id, rows.rows[*i].start_ns));
        let mut buffer = Buffer::default();
        let mut map = crate::rows::Renumbering::new(&rows);
        for row in order {
            buffer.rows.push_from(&rows, row, &mut map);
            buffer.note(rows.rows[row].start_ns);
        }
        let pieces = block::encode(&buffer, &mut Encoder::new(1).unwrap()).unwrap();
        let n = rows.len();
        let core = Core::decode(&pieces.core, n).unwrap();
        let open = OpenBlock {
            core,
            ids: decode_ids(&pieces.ids, n).unwrap(),
            attributes: AttributeColumns::decode(&mut Reader::new(&pieces.attributes), n).unwrap(),
            rest: Some(Rest::decode(&pieces.rest, n).unwrap()),
        };
        let mut whole = Rows::default();
        open.read(0..n, Projection::ALL, &mut whole).unwrap();
        assert_eq!(text(&whole), text(&buffer.rows), "seed {seed}");
        // Row by row it is the same.
        let mut each = Rows::default();
        (0..n).for_each(|row| open.read([row], Projection::ALL, &mut each).unwrap());
        assert_eq!(text(&each), text(&whole), "seed {seed}");
    }
}

/// A good block or record with some bytes changed.
fn damaged(seed: u64, changes: &[(usize, u8)], of_block: bool) -> Vec<u8> {
    let rows = rows(seed);
    let mut bytes = Vec::new();
    if of_block {
        let mut buffer = Buffer::default();
        let mut map = crate::rows::Renumbering::new(&rows);
        for row in 0..rows.len() {
            buffer.rows.push_from(&rows, row, &mut map);
            buffer.note(rows.rows[row].start_ns);
        }
        let pieces = block::encode(&buffer, &mut Encoder::new(1).unwrap()).unwrap();
        for n in [rows.len(), pieces.core.len(), pieces.attributes.len()] {
            bytes.extend_from_slice(&(n as u16).to_le_bytes());
        }
        bytes.extend([pieces.core, pieces.attributes, pieces.rest].concat());
    } else {
        record::encode(&rows, &mut bytes).unwrap();
        bytes = storage::codec::blob::decompress_lz4(&bytes[1..], 1 << 30).unwrap();
    }
    for (at, value) in changes {
        let at = at % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = *value;
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn foreign_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        seed in 0..20_u64,
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        fuzzing::record(&bytes);
        fuzzing::block(&bytes);
        fuzzing::index(&bytes);
        fuzzing::record(&damaged(seed, &changes, false));
        fuzzing::block(&damaged(seed, &changes, true));
    }
}
