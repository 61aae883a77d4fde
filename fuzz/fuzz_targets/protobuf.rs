//! The wire reader: never panics, never reads outside the input, never goes deeper than its bound.

#![no_main]

use ingest::protobuf::{DEPTH_MAX, Delimited, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    walk(Reader::new(bytes), bytes.len(), 0);
    let mut stream = Delimited::new(bytes);
    while let Ok(Some(message)) = stream.next_message() {
        walk(message, bytes.len(), 0);
    }
});

fn walk(mut message: Reader<'_>, length: usize, depth: u32) {
    assert!(depth <= DEPTH_MAX);
    while let Ok(Some(field)) = message.next_field() {
        assert!(field.offset < length);
        let mut items = 0;
        let whole = field.varints(|_| {
            items += 1;
            Ok(())
        });
        assert!(items <= length && (whole.is_ok() || items < length));
        assert!(field.doubles().map_or(0, |list| list.len()) <= length);
        assert!(field.text().map_or(0, str::len) <= length);
        if let Ok(inner) = field.message() {
            walk(inner, length, depth + 1);
        }
    }
}
