//! WAL records of the log store, compressed or not as the fuzzer likes: what decodes survives encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| logdb::fuzzing::record(bytes));
