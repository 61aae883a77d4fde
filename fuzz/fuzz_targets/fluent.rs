//! Fluentd's forward protocol: never panics, a message's end does not depend on how it comes, lines are within the limits.

#![no_main]

use ingest::fluent::{Decoder, ping, roles};
use ingest::messagepack::{Measure, Reader};
use ingest::pushed_lines::{Lines, Streams};
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::lines::LIMITS;

const NOW_MS: i64 = 1_700_000_000_000;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    let skipped = reader.skip().ok().map(|()| reader.position());
    let mut measure = Measure::new(10_000);
    let mut end = None;
    for len in (0..bytes.len()).step_by(7).chain([bytes.len()]) {
        match measure.end(&bytes[..len]) {
            Ok(None) => {}
            Ok(found) => {
                end = found;
                break;
            }
            Err(_) => break,
        }
    }
    assert_eq!(end, skipped.filter(|end| *end <= 10_000));
    let _refused = ping(bytes);
    let (roles, streams) = (roles(), Streams::new(10_000, 100));
    let mut lines = Lines::new(&LIMITS, NOW_MS);
    let _refused = Decoder::new(&roles, &streams, 100_000).message(bytes, &mut lines);
    assert!(lines.rows.len() <= LIMITS.rows_max);
});
