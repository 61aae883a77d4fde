//! OTLP metrics: never panics, what is accepted is within the limits.

#![no_main]

use ingest::otlp::delta::{self, Totals};
use ingest::otlp::translate::{Config, Limits, translate};
use ingest::otlp::{Encoding, decode};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    rows_max: 1_000,
    labels_max: 16,
    name_bytes_max: 64,
    value_bytes_max: 64,
    label_bytes_max: 100_000,
};

fuzz_target!(|body: &[u8]| {
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let Ok(request) = decode(encoding, body, 1_000) else { continue };
        let mut totals = Totals::new(delta::Config { series_max: 10, stale_after_ms: 1 });
        if let Ok(rows) = translate(&request, &Config::default(), &LIMITS, &mut totals, 0) {
            assert!(rows.samples.len() + rows.histograms.len() <= LIMITS.rows_max);
        }
        totals.take_back();
        assert!(totals.is_empty());
    }
});
