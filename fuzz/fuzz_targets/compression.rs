//! Packed bodies: never more than the bound.

#![no_main]

use ingest::compression::{Encoding, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for encoding in [Encoding::Snappy, Encoding::Gzip, Encoding::Zstd] {
        if let Ok(plain) = unpack(encoding, body, 10_000) {
            assert!(plain.len() <= 10_000);
        }
    }
});
