//! The index of a log part: streams and blocks, and the summary in its meta block.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| logdb::fuzzing::index(bytes));
