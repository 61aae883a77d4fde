//! Lumberjack: never panics, lines do not depend on how the frames come, and are within the limits.

#![no_main]

use ingest::lumberjack::{self, Decoder, roles};
use ingest::pushed_lines::{Lines, Streams};
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::lines::LIMITS;

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
