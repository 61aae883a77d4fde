//! Headers that name the caller's span: never panics, ids are not zero, states are bounded.

#![no_main]

use ingest::trace_context::read;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 8] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-flags",
    "uber-trace-id",
];

fuzz_target!(|text: &str| {
    let values: Vec<&str> = text.split('\n').collect();
    let header = |name: &str| {
        let at = NAMES.iter().position(|known| *known == name)?;
        values.get(at).copied().filter(|value| !value.is_empty())
    };
    if let Some(context) = read(header) {
        assert!(context.trace_id != 0 && context.span_id != 0);
        assert!(context.trace_state.len() <= 512);
    }
});
