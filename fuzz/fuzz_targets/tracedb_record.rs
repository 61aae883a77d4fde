//! WAL records of the trace store, compressed or not as the fuzzer likes: what decodes survives encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tracedb::fuzzing::record(bytes));
