//! Files of Prometheus' storage with any content: chunks, index, tombstones, write-ahead log; checksums that hold.

#![no_main]

use ingest::prometheus_tsdb::{
    BlockMeta, Index, Samples, Tombstones, WalPages, decode_chunk, decode_record, open_frame,
};
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::Input;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    match input.u8() % 6 {
        0 => {
            let (encoding, mut samples) = (input.u8() % 6, Samples::default());
            let data = input.rest();
            if decode_chunk(encoding, data, &mut samples).is_ok() {
                assert!(samples.floats.len() + samples.histograms.len() <= usize::from(u16::MAX));
            }
        }
        1 => drop(open_frame(input.rest())),
        2 => drop((Tombstones::decode(&sealed(input.rest())), BlockMeta::decode(input.rest()))),
        3 => drop(decode_record(input.rest(), &mut |_| Ok(()))),
        4 => {
            let mut page = vec![input.u8() % 5];
            let data = input.rest();
            page.extend_from_slice(&(data.len() as u16).to_be_bytes());
            page.extend_from_slice(&crc32c::crc32c(data).to_be_bytes());
            page.extend_from_slice(data);
            drop(WalPages::default().page(&page, &mut |record| decode_record(record, &mut |_| Ok(()))));
        }
        _ => {
            // Header, sections at places of the fuzzer's choice, then the body.
            let version = input.u8();
            let places: Vec<u64> = (0..6).map(|_| u64::from(input.u16())).collect();
            let mut index = vec![0xba, 0xaa, 0xd7, 0x00, version];
            let symbols = input.slice();
            index.extend_from_slice(&(symbols.len() as u32).to_be_bytes());
            index.extend_from_slice(&sealed(symbols));
            index.extend_from_slice(input.rest());
            let contents: Vec<u8> = places.into_iter().flat_map(u64::to_be_bytes).collect();
            index.extend_from_slice(&sealed(&contents));
            if let Ok(opened) = Index::open(&index) {
                assert!(opened.series().count() <= index.len());
            }
        }
    }
});

/// Bytes with a right checksum behind them.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    sealed.extend_from_slice(&crc32c::crc32c(bytes).to_be_bytes());
    sealed
}
