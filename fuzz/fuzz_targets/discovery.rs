//! Lists of targets: files of `file_sd`, answers of `http_sd` and of the container engine.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| collect::fuzzing::discovery(bytes));
