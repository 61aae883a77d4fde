//! GELF: never panics, chunks that wait are bounded, lines are within the limits.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use ingest::gelf::{Chunks, Given, Message, add, roles, unpack};
use ingest::pushed_lines::{Lines, Streams};
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::lines::LIMITS;

const NOW_MS: i64 = 1_700_000_000_000;
const WAITING_BYTES_MAX: usize = 20_000;

fuzz_target!(|bytes: &[u8]| {
    let (roles, streams) = (roles(), Streams::new(10_000, 100));
    let mut lines = Lines::new(&LIMITS, NOW_MS);
    let mut chunks = Chunks::new(WAITING_BYTES_MAX);
    // Datagrams begin with their length.
    let (mut rest, mut now_ns) = (bytes, 0);
    while let Some((len, tail)) = rest.split_first() {
        let (datagram, after) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = after;
        now_ns += i64::from(*len) * 10_000_000;
        let message = match chunks.give(IpAddr::V4(Ipv4Addr::LOCALHOST), datagram, now_ns) {
            Given::Whole(message) => message.to_vec(),
            Given::Complete(message) => message,
            Given::Waiting | Given::Unusable => Vec::new(),
        };
        assert!(chunks.bytes() <= WAITING_BYTES_MAX + 10_000);
        if let Ok(plain) = unpack(&message, 10_000) {
            let _refused = add(&plain, &roles, &streams, &mut lines);
            if let Ok(read) = Message::read(&plain) {
                // Bytes that are not UTF-8 take three.
                assert!(read.line.len() <= 3 * plain.len());
                assert!(Message::read(read.line.as_bytes()).is_ok());
            }
        }
    }
    if let Ok(plain) = unpack(bytes, 10_000) {
        let _refused = add(&plain, &roles, &streams, &mut lines);
    }
    assert!(lines.rows.len() <= LIMITS.rows_max);
    chunks.expire(i64::MAX / 2);
    assert_eq!(chunks.bytes(), 0);
});
