//! WAL records of the metric store and the rows in them: what decodes survives encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use storage::codec::{Reader, blob};
use taffrail_fuzz::Input;
use tsdb::Bitmap;
use tsdb::record::decode;
use tsdb::row::{RowState, presence};

fn record(payload: &[u8]) {
    let Ok(Some(record)) = decode(payload) else { return };
    assert!(record.loose.len() <= payload.len());
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    let again = decode(&bytes);
    assert_eq!(again.as_ref().ok(), Some(&Some(record)), "{again:?}");
    rows(again.ok().flatten().and_then(|r| r.row).map_or(&[][..], |row| row.bytes));
}

/// A chain of rows: each that decodes is encoded again by a second state and must come back the same.
fn rows(bytes: &[u8]) {
    let columns_max = bytes.len() + 8;
    let (mut state, mut writer, mut reader) =
        (RowState::default(), RowState::default(), RowState::default());
    let mut r = Reader::new(bytes);
    let mut present = Bitmap::default();
    while !r.is_empty() {
        let row = &bytes[r.position()..];
        if state.decode(&mut r, columns_max).is_err() {
            break;
        }
        if presence(row, &mut present, columns_max).is_ok() {
            assert_eq!(
                present.ones().collect::<Vec<_>>(),
                state.present().ones().collect::<Vec<_>>()
            );
        }
        assert!(state.values().len() <= columns_max);
        let mut encoded = Vec::new();
        writer.encode(state.values(), state.present(), &mut encoded);
        let decoded = reader.decode(&mut Reader::new(&encoded), columns_max);
        assert!(decoded.is_ok(), "{decoded:?}");
        for i in state.present().ones() {
            assert_eq!(reader.values().get(i), state.values().get(i));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    match input.u8() % 3 {
        0 => record(input.rest()),
        1 => rows(input.rest()),
        _ => {
            // A reset with columns, whose definitions are compressed.
            let mut packed = Vec::new();
            blob::compress_lz4(input.rest(), &mut packed);
            let mut payload = vec![1, 3, 0, 1, b'k'];
            storage::codec::put_bytes(&mut payload, &packed);
            record(&payload);
        }
    }
});
