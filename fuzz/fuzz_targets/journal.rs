//! Journal entries: never panics, entries do not depend on how their bytes come, and are within the limits.

#![no_main]

use ingest::journal::{Decoder, Entry, Limits};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { fields_max: 8, value_bytes_max: 32, entry_bytes_max: 100 };

fn read(bytes: &[u8], step: usize) -> Option<Vec<Entry>> {
    let mut found = Vec::new();
    let mut visit = |entry: Entry| {
        found.push(entry);
        Ok(())
    };
    let mut decoder = Decoder::new(LIMITS);
    for piece in bytes.chunks(step) {
        decoder.read(piece, &mut visit).ok()?;
    }
    decoder.finish(&mut visit).ok()?;
    Some(found)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(whole, read(bytes, 3));
    for entry in whole.unwrap_or_default() {
        assert!(entry.fields.len() <= LIMITS.fields_max);
        assert!(!entry.fields.iter().any(|(name, _)| name.is_empty()));
    }
});
