//! The index of a metric part, the rows of its chunks, and its meta: whatever it says, looking series up stays inside.

#![no_main]

use libfuzzer_sys::fuzz_target;
use storage::codec::blob;
use tsdb::index::{Index, IndexBuilder};
use tsdb::part;

fn walk(index: &Index) {
    for id in 0..index.series_count().min(1000) {
        let labels = index.labels(id);
        assert!(labels.len() <= 1 << 16);
        index.target_of(id);
    }
    assert!(index.labels(index.series_count()).is_empty());
    for target in index.targets().iter().take(100) {
        for chunk in 0..target.chunks().min(10) {
            assert!(target.chunk_rows(chunk) <= tsdb::page::ROWS_MAX);
            index.times_block(target.times_page(chunk));
            index.data_block(target.data_page(0, chunk).0);
        }
    }
    for name in index.names().take(100) {
        assert!(index.values(name).take(100).count() <= 100);
    }
    assert!(index.memory_bytes() < 256 << 20, "index takes {} bytes", index.memory_bytes());
}

/// An index of three targets, cut into whatever chunks `bytes` say.
fn cut(bytes: &[u8]) {
    let mut builder = IndexBuilder::default();
    for rows in [3, 700, 6000] {
        builder.target("target", rows);
        builder.series(&model::Labels::from_pairs([("a", "b")]));
    }
    let mut index = Index::decode(&builder.encode()).expect("what was built can be decoded");
    if index.cut(bytes).is_ok() {
        for target in index.targets() {
            let rows: usize = (0..target.chunks()).map(|chunk| target.chunk_rows(chunk)).sum();
            assert_eq!(rows, target.rows);
        }
        walk(&index);
    }
}

fuzz_target!(|bytes: &[u8]| {
    part::Meta::decode(bytes).ok();
    cut(bytes);
    part::decode_index(bytes).ok();
    let mut packed = Vec::new();
    blob::compress_zstd(bytes, 1, &mut packed).expect("any bytes can be compressed");
    assert_eq!(part::decode_index(&packed).is_ok(), Index::decode(bytes).is_ok());
    if let Ok(index) = Index::decode(bytes) {
        walk(&index);
    }
});
