//! OTLP logs: never panics, what is accepted is within the limits.

#![no_main]

use ingest::otlp::Encoding;
use ingest::otlp::logs::{decode, lines};
use ingest::pushed_lines::Streams;
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::lines::LIMITS;

fuzz_target!(|body: &[u8]| {
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let Ok(request) = decode(encoding, body, 1_000) else { continue };
        let streams = Streams::new(10_000, 100);
        if let Ok(pushed) = lines(&request, &LIMITS, &streams, 1_700_000_000_000) {
            assert!(pushed.rows.len() <= LIMITS.rows_max);
            assert!(pushed.rows.streams().iter().all(|labels| !labels.is_empty()));
        }
    }
});
