//! Zipkin's spans in all forms: never panics, what is accepted is bounded and has ids.

#![no_main]

use ingest::zipkin::{Form, decode};
use libfuzzer_sys::fuzz_target;

const NOW_NS: i64 = 1_700_000_000_000_000_000;

fuzz_target!(|body: &[u8]| {
    for form in [Form::V1Json, Form::V1Thrift, Form::V2Json, Form::V2Protobuf] {
        let Ok(received) = decode(form, body, 1_000, NOW_NS) else { continue };
        assert!(received.len() <= 1_000);
        let mut spans = received.groups.iter().flat_map(|group| &group.spans);
        assert!(spans.all(|span| span.trace_id != 0 && span.span_id != 0));
    }
});
