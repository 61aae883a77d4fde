//! JSON objects as log lines, in `_bulk` requests and line by line: never panics, what is accepted is within the limits.

#![no_main]

use ingest::document::{More, Roles};
use ingest::pushed_lines::Streams;
use ingest::{elastic, jsonline};
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::lines::LIMITS;

const NOW_MS: i64 = 1_700_000_000_000;

fuzz_target!(|body: &[u8]| {
    let streams = Streams::new(10_000, 100);
    if let Ok(bulk) = elastic::bulk(body, Some("a"), &LIMITS, &streams, NOW_MS) {
        assert!(bulk.items.len() <= LIMITS.rows_max);
        let rows = bulk.items.iter().filter(|item| item.row.is_some()).count();
        assert_eq!(rows, bulk.pushed.rows.len());
    }
    let roles = Roles { labels: vec!["a".into(), "b.c".into()], ..elastic::roles() };
    if let Ok(pushed) = jsonline::decode(body, &roles, &More::default(), &LIMITS, &streams, NOW_MS)
    {
        assert!(pushed.rows.len() <= LIMITS.rows_max);
        assert!(pushed.rows.streams().iter().all(|labels| !labels.is_empty()));
    }
});
