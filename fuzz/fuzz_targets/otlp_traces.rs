//! OTLP traces: never panics, what is accepted is bounded and comes back from what is written of it.

#![no_main]

use ingest::otlp::Encoding;
use ingest::otlp::traces::{IdForm, decode, to_json, to_protobuf};
use libfuzzer_sys::fuzz_target;

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
    }
});
