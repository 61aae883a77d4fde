//! Parameters of requests: query strings, times, durations, counts.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| server::fuzzing::params(text));
