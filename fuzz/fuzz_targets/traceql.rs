//! TraceQL: parsing never panics, and errors point into the text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use query::traceql::parse;
use taffrail_fuzz::assert_span;

fuzz_target!(|text: &str| {
    if let Err(e) = parse(text) {
        assert_span(&e, text);
    }
});
