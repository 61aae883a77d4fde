//! Messages and chunks as senders write them, and noise.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::pushed_lines::SMALL;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn read(message: &str) -> Result<String> {
    let (roles, streams) = (roles(), Streams::new(10_000, 100));
    let mut lines = Lines::new(&SMALL, 1_700_000_000_000);
    add(message.as_bytes(), &roles, &streams, &mut lines)?;
    let row = lines.rows.row(0);
    let stream = row.stream.without("service_name").without("job");
    Ok(format!("{stream} {} {} {}", row.t_ns / 1_000_000, row.line, row.fields))
}

#[test]
fn members_find_their_roles() {
    let check = |message: &str, expected: &str| assert_eq!(read(message).unwrap(), expected);
    check(
        r#"{"version":"1.1","host":"h","short_message":"boom","full_message":"boom\n at a","timestamp":1699999999.5,"level":3,"_user_id":9,"_a.b":"c"}"#,
        "{host=\"h\"} 1699999999500 boom\n at a {a_b=\"c\", level=\"error\", severity=\"error\", user_id=\"9\"}",
    );
    check(
        r#"{"host":"h","short_message":"s","full_message":"other","timestamp":"1.6999999995E9","level":9}"#,
        r#"{host="h"} 1699999999500 other {level="9", short_message="s"}"#,
    );
    check(
        r#"{"short_message":"s","full_message":"","_container_name":"web","level":7}"#,
        r#"{container_name="web"} 1700000000000 s {level="debug", severity="debug"}"#,
    );
    check(r#"{"a":1}"#, r#"{} 1700000000000 {"a":1} {}"#);
    assert!(read("[]").unwrap_err().message().contains("not a JSON object"));
}

#[test]
fn messages_are_spelled_out() {
    let check = |message: &str, expected: (&str, &str, &str, Option<i64>), line: &str| {
        let read = Message::read(message.as_bytes()).unwrap();
        let found = (read.host.as_str(), read.severity, read.facility.as_str(), read.sent_ns);
        assert_eq!((found, read.line.as_str()), (expected, line), "{message}");
        serde_json::from_str::<serde_json::Value>(&read.line).unwrap();
    };
    check(
        "{ \"_b\" : {\"x\": [1, \" \\\" y\"]},\n\"_a\": 1.50, \"level\": 4, \"timestamp\":1699999999.5, \"short_message\": \"a \\n b\",\"host\":\"h\\u0031\",\"version\":\"1.1\"}\n\0",
        ("h1", "warning", "", Some(1_699_999_999_500_000_000)),
        r#"{"version":"1.1","host":"h\u0031","short_message":"a \n b","timestamp":1699999999.5,"level":4,"_a":1.50,"_b":{"x":[1," \" y"]}}"#,
    );
    check(
        r#"{"level":"0","facility":"f","timestamp":"1.6999999995E9","other":null}"#,
        ("", "emergency", "f", Some(1_699_999_999_500_000_000)),
        r#"{"timestamp":"1.6999999995E9","level":"0","facility":"f","other":null}"#,
    );
    check(
        r#"{"level":8,"timestamp":0,"host":null,"host":7}"#,
        ("7", "", "", None),
        r#"{"host":7,"timestamp":0,"level":8}"#,
    );
    check("{}", ("", "", "", None), "{}");
    for wrong in ["[]", "", "{", "{} {}", "\0"] {
        let error = Message::read(wrong.as_bytes()).unwrap_err();
        assert!(error.message().starts_with("not a JSON object: "), "{error}");
    }
}

fn chunk(id: u8, number: u8, count: u8, body: &[u8]) -> Vec<u8> {
    [&[0x1e, 0x0f][..], &[id; 8], &[number, count], body].concat()
}

#[test]
fn chunks_come_in_any_order() {
    let mut chunks = Chunks::new(100_000);
    let mut give = |datagram: &[u8]| match chunks.give(PEER, datagram, 0) {
        Given::Complete(message) => String::from_utf8(message).unwrap(),
        other => format!("{other:?}"),
    };
    assert_eq!(give(&chunk(1, 1, 3, b"b")), "Waiting");
    assert_eq!(give(&chunk(2, 0, 1, b"one")), "one");
    assert_eq!(give(&chunk(1, 1, 3, b"x")), "Waiting");
    assert_eq!(give(&chunk(1, 2, 3, b"c")), "Waiting");
    assert_eq!(give(&chunk(1, 0, 3, b"a")), "abc");
    assert_eq!(give(&chunk(1, 0, 3, b"a")), "Waiting");
    assert_eq!(give(&chunk(1, 5, 128, b"a")), "Unusable");
    for unusable in
        [chunk(3, 3, 3, b""), chunk(3, 0, 0, b""), chunk(3, 0, 129, b""), b"\x1e\x0f".to_vec()]
    {
        assert_eq!(give(&unusable), "Unusable");
    }
    assert_eq!(chunks.give(PEER, b"{}", 0), Given::Whole(b"{}"));
    let other = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    assert_eq!(chunks.give(other, &chunk(1, 1, 3, b"b"), 0), Given::Waiting);
}

#[test]
fn waiting_is_bounded_in_time_and_memory() {
    let mut chunks = Chunks::new(1_000);
    chunks.give(PEER, &chunk(1, 0, 2, b"a"), 0);
    chunks.give(PEER, &chunk(2, 0, 2, b"a"), 1_000_000_000);
    assert_eq!(
        chunks.give(PEER, &chunk(1, 1, 2, b"b"), 4_999_999_999),
        Given::Complete(b"ab".to_vec())
    );
    assert_eq!(chunks.give(PEER, &chunk(2, 1, 2, b"b"), 6_000_000_000), Given::Waiting);
    assert_eq!(chunks.take_lost(), Lost { late: 1, crowded: 0 });
    for id in 3..20 {
        chunks.give(PEER, &chunk(id, 0, 2, &[0; 100]), 6_000_000_000);
        assert!(chunks.bytes() <= 1_000);
    }
    let lost = chunks.take_lost();
    assert_eq!(lost.late, 0);
    assert!((13..18).contains(&lost.crowded), "{lost:?}");
    chunks.expire(20_000_000_000);
    assert_eq!((chunks.bytes(), chunks.take_lost().late + lost.crowded), (0, 18));
}

#[test]
fn messages_unpack_by_their_first_bytes() {
    use std::io::Write as _;
    let level = flate2::Compression::fast();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
    gzip.write_all(b"{}").unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), level);
    zlib.write_all(b"{}").unwrap();
    for message in [gzip.finish().unwrap(), zlib.finish().unwrap(), b"{}".to_vec()] {
        assert_eq!(&*unpack(&message, 100).unwrap(), b"{}");
    }
    assert!(unpack(&[b'x'; 101], 100).is_err());
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(
        pieces in proptest::collection::vec((0..3_u8, 0..4_u8, 0..5_u8, 0..50_usize), 0..60),
        noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut chunks = Chunks::new(500);
        for (i, (id, number, count, len)) in pieces.into_iter().enumerate() {
            let now_ns = i as i64 * 500_000_000;
            chunks.give(PEER, &chunk(id, number, count, &vec![0; len]), now_ns);
            prop_assert!(chunks.bytes() <= 500 + 700);
        }
        chunks.give(PEER, &noise, 0);
        if let Ok(plain) = unpack(&noise, 100) {
            let _refused = read(&String::from_utf8_lossy(&plain)).is_ok();
            let _refused = Message::read(&plain).is_ok();
        }
        chunks.expire(i64::MAX / 2);
        prop_assert_eq!(chunks.bytes(), 0);
    }

    #[test]
    fn messages_say_the_same_spelled_out(
        members in proptest::collection::btree_map("[_a-c\"\\\\ ]{0,3}", "[a-c\"\\\\\u{0}é ]{0,9}", 0..6),
        number in any::<i64>(),
    ) {
        let mut object: serde_json::Map<_, _> =
            members.into_iter().map(|(name, value)| (name, serde_json::json!([value, {"n": number}]))).collect();
        object.insert("timestamp".to_owned(), serde_json::json!(number));
        let object = serde_json::Value::from(object);
        let spaced = serde_json::to_string_pretty(&object).unwrap();
        let line = Message::read(spaced.as_bytes()).unwrap().line;
        prop_assert!(line.len() <= spaced.len());
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), object);
    }
}
