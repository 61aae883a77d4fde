//! Answers of OAuth 2.0 token servers, good and bad ones.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| collect::fuzzing::token_answer(bytes));
