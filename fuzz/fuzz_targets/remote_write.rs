//! Remote write: never panics, what is accepted is within the limits.

#![no_main]

use ingest::remote_write::{Limits, Message, decode};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    rows_max: 1_000,
    labels_max: 16,
    name_bytes_max: 64,
    value_bytes_max: 64,
    label_bytes_max: 10_000,
    buckets_max: 1_000,
};

fuzz_target!(|body: &[u8]| {
    for message in [Message::V1, Message::V2] {
        if let Ok(request) = decode(message, body, &LIMITS) {
            assert!(request.samples.len() + request.histograms.len() <= LIMITS.rows_max);
        }
    }
});
