//! Fields recognised in a log line: never panics, and never more than the line has.

#![no_main]

use ingest::logline::recognise;
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::assert_bounded;

fuzz_target!(|line: &str| {
    let fields = recognise(line);
    assert_bounded(fields.packed_len(), line.len());
    assert_eq!(fields, recognise(line));
});
