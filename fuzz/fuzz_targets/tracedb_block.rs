//! Pieces of a trace store's block: what decodes can be read as spans.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tracedb::fuzzing::block(bytes));
