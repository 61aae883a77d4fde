//! Remote write: never panics, what is accepted is within the limits, and the same when its series are known.

#![no_main]

use ingest::known::Known;
use ingest::remote_write::{Limits, Message, decode, decode_known};
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
        let Ok(request) = decode(message, body, &LIMITS) else { continue };
        assert!(request.samples.len() + request.histograms.len() <= LIMITS.rows_max);
        let mut known = Known::new(100_000);
        for _ in 0..2 {
            let (predicted, news) = decode_known(message, body, &LIMITS, &known).unwrap();
            assert_eq!(format!("{predicted:?}"), format!("{request:?}"));
            known.learn(news, 0);
        }
    }
});
