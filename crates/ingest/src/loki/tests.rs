//! Label sets and push requests, good and bad.

use model::ErrorKind;
use proptest::prelude::*;

use super::*;
use crate::protobuf::Writer;
use crate::pushed_lines::SMALL;

fn pairs(text: &str) -> Result<String, String> {
    let pairs = labels::parse(text, 10)?;
    Ok(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
}

#[test]
fn label_sets_are_read_as_they_are_written() {
    let check =
        |text: &str, expected: &str| assert_eq!(pairs(text).as_deref(), Ok(expected), "{text}");
    check("{}", "");
    check(" { a = \"b\" , _c9='d',\n} ", "a=b _c9=d");
    check(r#"{a="\"\\\t\x41\101\u00e9\U0001F600"}"#, "a=\"\\\tAAé😀");
    check(r#"{a='it\'s "so"', b=`C:\x`}"#, "a=it's \"so\" b=C:\\x");
    check(r#"{"a"="b"}"#, "a=b");
    check(r#"{a="\xc3\xa9"}"#, "a=é");
    let refused = |text: &str, expected: &str| {
        assert_eq!(pairs(text), Err(format!("1:{expected}")), "{text}");
    };
    refused("", "1: parse error: unexpected end of input in label set, expected \"{\"");
    refused("cat", "1: parse error: unexpected \"c\" in label set, expected \"{\"");
    refused("{a}", "3: parse error: unexpected \"}\" in label set, expected \"=\"");
    refused("{a=b}", "4: parse error: unexpected \"b\" in label set, expected string");
    refused(
        "{a=\"é\" b=\"\"}",
        "8: parse error: unexpected \"b\" in label set, expected \",\" or \"}\"",
    );
    refused("{a=\"b\"} x", "9: parse error: unexpected \"x\" in label set, expected the end");
    refused("{,}", "2: parse error: unexpected \",\" in label set, expected identifier or \"}\"");
    refused("{a=\"b", "4: parse error: unterminated quoted string");
    refused(r#"{a="\q"}"#, "5: parse error: invalid escape sequence in string");
    refused(r#"{a="\xff"}"#, "4: parse error: string is not UTF-8");
    refused(r#"{"a.b"="c"}"#, "2: parse error: \"a.b\" is not a valid label name");
    assert!(labels::parse("{a=\"\",b=\"\"}", 1).unwrap_err().contains("more than 1 labels"));
}

fn decode_new(encoding: Encoding, body: &[u8]) -> Result<Option<Pushed>> {
    decode(encoding, body, &SMALL, &Streams::new(10_000, 100), 1_700_000_000_000)
}

#[test]
fn lines_that_are_not_utf8_come_back() {
    let mut request = Writer::new();
    request.message(1, |stream| {
        // Labels may stand behind.
        stream.message(2, |entry| entry.message(1, |time| time.int(1, 1_700_000_000)));
        stream.text(1, "{a=\"b\"}");
    });
    let mut body = request.finish();
    let at = body.len();
    // A second stream whose line is the byte 0xff.
    body.extend([0x0a, 14, 0x0a, 7]);
    body.extend(b"{a=\"b\"}");
    body.extend([0x12, 3, 0x12, 1, 0xff]);
    assert_eq!(body.len(), at + 16);
    let pushed = decode_new(Encoding::Protobuf, &body).unwrap().unwrap();
    assert_eq!(pushed.rows.len(), 2);
    assert_eq!(pushed.rows.streams().len(), 1);
    assert_eq!(&*model::bytes_of_text(pushed.rows.row(1).line), [0xff]);
    assert_eq!(pushed.corrected.absent, 1);
}

#[test]
fn lines_of_json_that_are_not_utf8_come_back() {
    for line in [&b"caf\xe9 \\\" au lait"[..], b"\xff", "\u{ef80} of others".as_bytes()] {
        let mut body = br#"{"streams":[{"values":[["1700000000000000000",""#.to_vec();
        body.extend(line);
        body.extend(br#""]],"stream":{"a":"b"}}]}"#);
        let pushed = decode_new(Encoding::Json, &body).unwrap().unwrap();
        let kept = model::bytes_of_text(pushed.rows.row(0).line).into_owned();
        assert_eq!(kept, line.iter().copied().filter(|b| *b != b'\\').collect::<Vec<_>>());
        assert_eq!(pushed.rows.row(0).stream.get("a"), Some("b"));
    }
    let error =
        decode_new(Encoding::Json, b"{\"streams\":[{\"stream\":{\"a\":\"\xff\"}}]}").unwrap_err();
    assert!(error.message().contains("not UTF-8"), "{error}");
}

#[test]
fn json_values_are_strings_but_for_labels() {
    let check = |body: &str, expected: &str| {
        let pushed = decode_new(Encoding::Json, body.as_bytes()).unwrap().unwrap();
        let row = pushed.rows.row(0);
        assert_eq!(
            format!("{} {} {}", row.stream.without("service_name"), row.line, row.fields),
            expected
        );
    };
    check(
        r#"{"streams":[{"stream":{"test":"test","text":{"a":"b"},"n":5},"values":[null,["1700000000000000000","super\nline",{"a":"1","b":"2"}]]}]}"#,
        "{n=\"5\", test=\"test\", text=\"{\\\"a\\\":\\\"b\\\"}\"} super\nline {a=\"1\", b=\"2\"}",
    );
    check(
        r#"{"stats":{},"streams":[{"labels":"{a=\"b\"}","entries":[{"line":"x","ts":"2023-11-14T22:13:20Z","structuredMetadata":{"c":"d"}}]}]}"#,
        r#"{a="b"} x {c="d"}"#,
    );
    let refused = |body: &str, words: &str| {
        let error = decode_new(Encoding::Json, body.as_bytes()).unwrap_err();
        assert!(error.message().contains(words), "{error}");
    };
    refused(
        r#"{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"soon"}]}]}"#,
        "\"soon\" is not a time",
    );
    refused(r#"{"streams":[{"stream":{"a":"b"},"values":[["1"]]}]}"#, "a line without text");
    refused(
        r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x",{"a":1}]]}]}"#,
        "expected a string",
    );
    refused(r#"{"streams":[{"stream":7,"values":[]}]}"#, "expected an object of labels");
    refused(r#"{"streams":[]} x"#, "trailing characters");
    let many = r#"["1700000000000000000",""],"#.repeat(101);
    let body = format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[{many}[]]}}]}}"#);
    let error = decode_new(Encoding::Json, body.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            if let Ok(Some(pushed)) = decode_new(encoding, &noise) {
                prop_assert!(pushed.rows.len() <= SMALL.rows_max);
            }
        }
    }

    #[test]
    fn noisy_json_is_refused_or_bounded(noise in "[\\[\\]{}\",:a1nul ]{0,80}") {
        for body in [
            noise.clone(),
            format!("{{\"streams\":[{noise}]}}"),
            format!("{{\"streams\":[{{\"stream\":{{\"a\":\"b\"}},\"values\":[{noise}]}}]}}"),
        ] {
            if let Ok(Some(pushed)) = decode_new(Encoding::Json, body.as_bytes()) {
                prop_assert!(pushed.rows.len() <= SMALL.rows_max);
            }
        }
    }

    #[test]
    fn written_label_sets_are_read(values in proptest::collection::vec("[^\\p{C}]{1,20}", 1..5)) {
        let written: Vec<String> =
            values.iter().enumerate().map(|(i, value)| format!("l{i}={value:?}")).collect();
        // Rust and Go spell plain characters and quotes the same way.
        prop_assume!(!written.iter().any(|text| text.contains("\\u{") || text.contains("\\'")));
        let text = format!("{{{}}}", written.join(", "));
        let read = labels::parse(&text, 10).unwrap();
        prop_assert!(read.iter().map(|(_, value)| &**value).eq(values.iter().map(String::as_str)));
    }
}
