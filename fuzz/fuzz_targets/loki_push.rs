//! Loki's push requests: never panics, what is accepted is within the limits, and the same when its streams are known.

#![no_main]

use ingest::loki::{Encoding, decode, labels};
use ingest::pushed_lines::Streams;
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::lines::LIMITS;

fuzz_target!(|body: &[u8]| {
    if let Ok(text) = std::str::from_utf8(body) {
        let _refused = labels::parse(text, 16);
    }
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let streams = Streams::new(10_000, 100);
        let read = || decode(encoding, body, &LIMITS, &streams, 1_700_000_000_000);
        let Ok(Some(first)) = read() else { continue };
        assert!(first.rows.len() <= LIMITS.rows_max);
        assert!(first.rows.streams().iter().all(|labels| !labels.is_empty()));
        let again = read().unwrap().unwrap();
        assert!(again.rows == first.rows);
    }
});
