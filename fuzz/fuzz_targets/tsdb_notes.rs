//! Exemplars, metadata and tombstones: what decodes is bounded and survives encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use storage::codec::{blob, put_bytes};
use taffrail_fuzz::Input;
use tsdb::cuts::Tombstone;
use tsdb::record::decode;
use tsdb::{exemplars, metadata};

/// A record with nothing but the blob of `flag`.
fn record(flag: u8, plain: &[u8]) {
    let mut packed = Vec::new();
    blob::compress_lz4(plain, &mut packed);
    let mut payload = vec![1, flag, 0];
    put_bytes(&mut payload, &packed);
    let Ok(Some(record)) = decode(&payload) else { return };
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    let again = decode(&bytes);
    assert_eq!(again.as_ref().ok(), Some(&Some(record)), "{again:?}");
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    match input.u8() % 3 {
        0 => {
            let all = exemplars::decode(input.rest());
            assert!(all.map_or(0, |all| all.len()) <= bytes.len());
            record(64, input.rest());
        }
        1 => {
            let all = metadata::decode(input.rest());
            assert!(all.map_or(0, |all| all.len()) <= bytes.len());
            record(128, input.rest());
        }
        _ => {
            let Ok(tombstone) = Tombstone::decode(input.rest()) else { return };
            let mut encoded = Vec::new();
            tombstone.encode(&mut encoded);
            assert_eq!(Tombstone::decode(&encoded).ok(), Some(tombstone));
        }
    }
});
