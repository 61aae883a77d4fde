//! Syslog: every frame is a message, frames do not depend on how their bytes come, and no more than the bound is held.

#![no_main]

use ingest::pushed_lines::{Lines, Streams};
use ingest::syslog::{Frames, Reader, add};
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use model::text_of_bytes;
use taffrail_fuzz::lines::LIMITS;

const FRAME_BYTES_MAX: usize = 64;

fn frames(bytes: &[u8], step: usize) -> Vec<Vec<u8>> {
    let (mut frames, mut held, mut found) = (Frames::new(FRAME_BYTES_MAX), Vec::new(), Vec::new());
    let last = bytes.len().div_ceil(step);
    for (i, piece) in bytes.chunks(step).enumerate() {
        held.extend_from_slice(piece);
        let mut at = 0;
        while let Some(frame) = frames.next(&held, &mut at, i + 1 == last) {
            assert!(frame.bytes.len() <= FRAME_BYTES_MAX);
            found.push(frame.bytes.to_vec());
        }
        held.drain(..at);
        assert!(held.len() <= FRAME_BYTES_MAX + 16);
    }
    found
}

fuzz_target!(|bytes: &[u8]| {
    let whole = frames(bytes, bytes.len().max(1));
    assert_eq!(whole, frames(bytes, 3));
    let streams = Streams::new(10_000, 100);
    let mut lines = Lines::new(&LIMITS, 1_700_000_000_000);
    let reader = Reader::new(TimeZone::UTC, 1_700_000_000_000);
    for frame in &whole {
        let text = text_of_bytes(frame);
        if add(&reader.read(&text), "peer", &streams, &mut lines).is_err() {
            break;
        }
    }
    assert!(lines.rows.len() <= LIMITS.rows_max);
});
