//! Filters of a trace store's part: of values, of traces, and its pages of fingerprints.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tracedb::fuzzing::filters(bytes));
