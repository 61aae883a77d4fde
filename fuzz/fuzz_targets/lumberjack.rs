//! Lumberjack: never panics, lines do not depend on how the frames come, and are within the limits.

#![no_main]

use ingest::lumberjack::{self, Decoder, roles};
use ingest::pushed_lines::{Limits, Lines, Streams};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    rows_max: 1_000,
    labels_max: 16,
    name_bytes_max: 64,
    value_bytes_max: 64,
    line_fields_bytes_max: 1_000,
    field_bytes_max: 100_000,
    future_ms_max: 600_000,
};
const NOW_MS: i64 = 1_700_000_000_000;
const FRAMES: lumberjack::Limits =
    lumberjack::Limits { frame_bytes_max: 10_000, unpacked_bytes_max: 100_000 };

fn read(bytes: &[u8], step: usize) -> Option<Lines> {
    let (roles, streams) = (roles(), Streams::new(10_000, 100));
    let mut lines = Lines::new(&LIMITS, NOW_MS);
    let (mut decoder, mut held) = (Decoder::new(FRAMES), Vec::new());
    for piece in bytes.chunks(step) {
        held.extend_from_slice(piece);
        let (used, _) = decoder.read(&held, 10_000, &roles, &streams, &mut lines).ok()?;
        held.drain(..used);
    }
    Some(lines)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, bytes.len().max(1)).map(|lines| lines.rows);
    let pieces = read(bytes, 5).map(|lines| lines.rows);
    assert!(whole == pieces);
    assert!(whole.is_none_or(|rows| rows.len() <= LIMITS.rows_max));
});
