//! OTLP traces: never panics, what is accepted is bounded, comes back from what is written of it, and is answered as Jaeger
//! does.

#![no_main]

use ingest::jaeger::answer::{Adjustment, answer, chunks};
use ingest::otlp::Encoding;
use ingest::otlp::traces::{IdForm, decode, to_json, to_protobuf};
use libfuzzer_sys::fuzz_target;
use model::Trace;

fuzz_target!(|body: &[u8]| {
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let Ok(received) = decode(encoding, body, 1_000) else { continue };
        assert!(received.len() <= 1_000);
        let written = to_protobuf(&received.groups);
        let again = decode(Encoding::Protobuf, &written, 10_000).expect("what was written is read");
        assert_eq!(format!("{:?}", again.groups), format!("{:?}", received.groups));
        let json = to_json(&received.groups, IdForm::Hexadecimal);
        // Values that protobuf still reads may nest too deep for a reader of JSON.
        if let Ok(again) = decode(Encoding::Json, json.as_bytes(), 10_000) {
            assert_eq!((again.len(), again.refused.rows), (received.len(), 0));
        }
        let trace = Trace { trace_id: 1, groups: received.groups };
        for skew_ns_max in [0, 1_000_000_000] {
            let adjustment = Adjustment::Clocks { skew_ns_max };
            let body: Vec<u8> = answer(vec![trace.clone()], &[], adjustment).flatten().collect();
            assert!(body.starts_with(b"{") && body.ends_with(b"}"));
            chunks(&trace, adjustment);
        }
    }
});
