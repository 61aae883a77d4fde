//! The reader beside `serde_json`: the same is JSON, and texts are the same.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn is_json(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    reader.skip().is_ok() && reader.end().is_ok()
}

#[test]
fn what_is_skipped_is_given_as_it_is_written() {
    let mut reader = Reader::new(b" [ {\"a\" : [1,-2.5e+3 ,{}],\"b\":\"\\\"]\"} ,null, []]x");
    assert_eq!(reader.skip().unwrap(), b"[ {\"a\" : [1,-2.5e+3 ,{}],\"b\":\"\\\"]\"} ,null, []]");
    assert_eq!(reader.end().unwrap_err().message(), "trailing characters at line 1 column 48");
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(is_json(deep(DEPTH_MAX).as_bytes()) && !is_json(deep(DEPTH_MAX + 1).as_bytes()));
}

#[test]
fn errors_name_the_place() {
    let check = |body: &str, expected: &str| {
        let mut reader = Reader::new(body.as_bytes());
        assert_eq!(reader.skip().unwrap_err().message(), expected, "{body}");
    };
    check("[1,\n 2 3]", "expected `,` or `]` at line 2 column 4");
    check("{\"a\" 1}", "expected `:` at line 1 column 6");
    check("{\"a\":\"b", "body ends inside of a text at line 1 column 8");
    check("[\"a\nb\"]", "control character inside of a text at line 1 column 4");
    check("\"\\x\"", "escape in a text is none of JSON's at line 1 column 2");
    check("\"\\ud800\"", "half of a surrogate pair in a text at line 1 column 2");
    check("[01]", "expected a value at line 1 column 2");
    check("[", "body ends inside of a value at line 1 column 2");
}

proptest! {
    #[test]
    fn noise_is_json_when_it_is_json(noise in "[\\[\\]{}\",:0-2a.e+\\-\\\\nul \t\n]{0,40}") {
        let expected = serde_json::from_str::<IgnoredAny>(&noise).is_ok();
        // Of a number beyond all bounds only serde_json knows.
        prop_assert_eq!(is_json(noise.as_bytes()), expected);
    }

    #[test]
    fn texts_are_read_as_they_were(
        parts in proptest::collection::vec("(\"|\\\\|/|\n|\u{1}|é|😀|[a-z ]{1,70})", 0..20),
        behind in "[ \\]\"a-z]{0,70}",
    ) {
        let text = parts.concat();
        let body = serde_json::to_string(&text).unwrap() + &behind;
        let mut reader = Reader::new(body.as_bytes());
        prop_assert_eq!(&*reader.text().unwrap(), text.as_bytes());
        prop_assert_eq!(&body[reader.at..], &*behind);
        let escaped: String = text
            .encode_utf16()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect();
        let body = format!("\"{escaped}\"");
        prop_assert_eq!(&*Reader::new(body.as_bytes()).utf8().unwrap(), &*text);
    }

    #[test]
    fn texts_are_refused_or_the_same(noise in "\"[\"\\\\nu0-9d-f\n a-z]{0,90}") {
        let mut expected = serde_json::Deserializer::from_str(&noise).into_iter::<String>();
        let mut reader = Reader::new(noise.as_bytes());
        match expected.next().unwrap() {
            Ok(text) => {
                prop_assert_eq!(&*reader.utf8().unwrap(), &*text);
                prop_assert_eq!(reader.at, expected.byte_offset());
            }
            Err(_) => prop_assert!(reader.utf8().is_err()),
        }
    }
}
