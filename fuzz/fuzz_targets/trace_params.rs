//! Searches as Jaeger's and Tempo's clients ask them: parameters, tags, bodies.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| server::fuzzing::trace_search(text));
