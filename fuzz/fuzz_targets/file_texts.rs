//! What is read around log files: cursors, positions files, patterns of paths, and the lines.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| collect::fuzzing::file_texts(bytes));
