//! The index of a trace store's part, compressed or not.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tracedb::fuzzing::index(bytes));
