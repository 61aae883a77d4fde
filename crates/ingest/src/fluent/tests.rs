//! Messages of the forward protocol in all modes, and noise.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::pushed_lines::SMALL;

const NOW_MS: i64 = 1_700_000_000_000;

/// Lines of a message, as `{labels} time line {fields}`; its chunk; what was refused.
fn read(message: &[u8]) -> Result<(Vec<String>, Option<String>, Vec<String>)> {
    let (roles, streams) = (roles(), Streams::new(10_000, 100));
    let mut lines = Lines::new(&SMALL, NOW_MS);
    let chunk = Decoder::new(&roles, &streams, 1_000).message(message, &mut lines)?;
    let spelled = lines.rows.iter().map(|row| {
        let stream = row.stream.without("service_name").without("job");
        format!("{stream} {} {} {}", row.t_ns / 1_000_000, row.line, row.fields)
    });
    let chunk = chunk.map(|chunk| String::from_utf8_lossy(chunk).into_owned());
    Ok((spelled.collect(), chunk, lines.refused.reasons.clone()))
}

/// `{"log": text}`
fn record(text: &str) -> Vec<u8> {
    Writer::default().map(1).text(b"log").text(text.as_bytes()).finish()
}

/// 2023-11-14T22:13:19.5Z
const TIME: &[u8] = b"\xd7\x00\x65\x53\xf0\xff\x1d\xcd\x65\x00";

fn option(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut map = Writer::default().map(pairs.len() as u8);
    for (name, value) in pairs {
        map = map.text(name.as_bytes()).text(value.as_bytes());
    }
    map.finish()
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn check(message: &[u8], lines: &[&str], chunk: Option<&str>) {
    let (found, found_chunk, refused) = read(message).unwrap();
    assert_eq!(found, lines);
    assert_eq!(found_chunk.as_deref(), chunk);
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn messages_of_every_mode() {
    let tag = Writer::default().text(b"web").finish();
    let head = |count: u8| join(&[&Writer::default().array(count).finish(), &tag]);
    let one = r#"{tag="web"} 1699999999500 one {}"#;
    let two = r#"{tag="web"} 1699999999000 two {}"#;
    let seconds = b"\xce\x65\x53\xf0\xff";
    check(&join(&[&head(3), TIME, &record("one")]), &[one], None);
    check(&join(&[&head(3), seconds, &record("two")]), &[two], None);
    let chunk = option(&[("chunk", "c1")]);
    check(&join(&[&head(4), TIME, &record("one"), &chunk]), &[one], Some("c1"));
    // With metadata, as Fluent Bit has it.
    check(&join(&[&head(3), b"\x92", TIME, b"\x80", &record("one")]), &[one], None);
    let entries =
        join(&[b"\x92", TIME, &record("one"), b"\x92\x92", seconds, b"\x80", &record("two")]);
    check(&join(&[&head(3), b"\x92", &entries, &chunk]), &[one, two], Some("c1"));
    check(&join(&[&head(2), b"\x92", &entries]), &[one, two], None);
    check(&join(&[&head(2), b"\x90"]), &[], None);
    let packed = Writer::default().bytes(&entries).finish();
    check(&join(&[&head(2), &packed]), &[one, two], None);
    let text = Writer::default().text(&entries).finish();
    check(&join(&[&head(3), &text, &chunk]), &[one, two], Some("c1"));
    // Members of gzip one after the other, as Fluentd appends them.
    let gzip = |plain: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(plain).unwrap();
        packer.finish().unwrap()
    };
    let (a, b) = entries.split_at(7);
    let packed = Writer::default().bytes(&[gzip(a), gzip(b)].concat()).finish();
    let asked = option(&[("chunk", "c2"), ("size", "2"), ("compressed", "gzip")]);
    check(&join(&[&head(3), &packed, &asked]), &[one, two], Some("c2"));
    check(b"\xc0", &[], None);
}

#[test]
fn records_are_objects() {
    let record = b"\x87\xa7message\xa1m\xa4host\xa1h\xa1n\x81\xa1d\xcb\x3f\xf8\0\0\0\0\0\0\xa1l\x92\x01\xc3\xa1x\xc0\x07\xd0\xff\xa1b\xc4\x01\xff";
    let message = join(&[b"\x93\xa1t", TIME, record]);
    check(
        &message,
        &[
            "{host=\"h\", tag=\"t\"} 1699999999500 m {_7=\"-1\", b=\"\\u{efff}\", l=\"[1,true]\", n_d=\"1.5\"}",
        ],
        None,
    );
    let message = join(&[b"\x93\xa1t", TIME, b"\x81\xa1a\x81\xa1b\x01"]);
    check(&message, &[r#"{tag="t"} 1699999999500 {"a":{"b":1}} {}"#], None);
    // 1970 is kept beside the line.
    let message = join(&[b"\x93\xa1t\x07", b"\x81\xa3log\xa1x"]);
    let expected = r#"{tag="t"} 1700000000000 x {original_timestamp="1970-01-01T00:00:07Z"}"#;
    check(&message, &[expected], None);
}

#[test]
fn what_is_wrong_is_named() {
    let check = |message: &[u8], words: &str| {
        let error = read(message).unwrap_err();
        assert!(error.message().contains(words), "{error}");
    };
    check(b"\x01", "expected an array as message, found a number");
    check(b"\x92\x01", "expected a text as tag, found a number");
    check(b"\x93\xa1t\xa1x\x01", "expected a map as option, found a number");
    check(b"\x92\xa1t\x91\x01", "expected [time, record] as entry, found a number");
    check(b"\x93\xa1t\xc2\x80", "time is neither");
    check(b"\x93\xa1t\x01", "takes 1 bytes; 0 are there");
    let asked = option(&[("compressed", "br")]);
    check(
        &join(&[b"\x93\xa1t\xc4\0", &asked]),
        "compressed by \"br\"; gzip and zstd are supported",
    );
    let deep = join(&[b"\x93\xa1t", TIME, b"\x81\xa1a", &[0x91; 70], b"\x01"]);
    check(&deep, "more than 64 deep");
    let (_, _, refused) = read(&join(&[b"\x93\xa1t", TIME, b"\x01"])).unwrap();
    assert_eq!(refused, ["an event's record is not a map"]);
}

#[test]
fn words_of_the_handshake() {
    let message = Writer::default().array(6).text(b"PING").text(b"h").bytes(b"s").text(b"d");
    let message = message.text(b"").text(b"").finish();
    assert_eq!(ping(&message).unwrap(), Ping { host: b"h", salt: b"s", digest: b"d" });
    assert!(ping(b"\x93\xa1t\x01\x80").is_err());
    assert_eq!(acknowledgement(b"c"), b"\x81\xdb\0\0\0\x03ack\xdb\0\0\0\x01c");
    let mut reader = Reader::new(b"");
    assert!(reader.value().is_err());
    for message in [hello(b"n"), pong(Ok(b"d"), b"h"), pong(Err("no"), b"h")] {
        let mut reader = Reader::new(&message);
        reader.skip().unwrap();
        assert!(reader.is_at_end());
    }
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..80), head in 0..4_usize) {
        let head: &[u8] = [&b""[..], b"\x93\xa1t\x01", b"\x92\xa1t\x92\x92\x01\x80", b"\x93\xa1t\x01\x8f"][head];
        if let Ok((lines, ..)) = read(&join(&[head, &noise])) {
            prop_assert!(lines.len() <= SMALL.rows_max);
        }
    }
}
