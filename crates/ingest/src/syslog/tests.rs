//! Messages and frames as senders write them, and noise.

use jiff::tz::TimeZone;
use model::text_of_bytes;
use proptest::prelude::*;

use super::*;
use crate::pushed_lines::{Lines, SMALL, Streams};

/// 2023-11-14T22:13:20Z
const NOW_MS: i64 = 1_700_000_000_000;

fn reader() -> Reader {
    Reader::new(TimeZone::fixed(jiff::tz::offset(1)), NOW_MS)
}

/// `format priority time host app proc msg data | text`
fn check(text: &str, expected: &str) {
    let m = reader().read(text);
    let time = match m.sent {
        Sent::At(t_ns) => jiff::Timestamp::from_nanosecond(i128::from(t_ns)).unwrap().to_string(),
        Sent::Absent => "-".to_owned(),
        Sent::Unreadable(text) => format!("?{text}"),
    };
    let priority = m
        .priority
        .map_or("-".to_owned(), |p| format!("{}.{}", p.facility_name(), p.severity_name()));
    let data: Vec<String> = m
        .data
        .iter()
        .map(|e| {
            let params: Vec<String> = e.params.iter().map(|(n, v)| format!("{n}={v}")).collect();
            format!("{}({})", e.id, params.join(","))
        })
        .collect();
    let spelled = format!(
        "{:?} {priority} {time} {:?} {:?} {:?} {:?} {} | {}",
        m.format,
        m.host,
        m.app_name,
        m.proc_id,
        m.msg_id,
        data.concat(),
        m.text
    );
    assert_eq!(spelled, expected, "{text}");
}

#[test]
fn rfc5424_is_taken_apart() {
    check(
        "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"App\\\"\\]\\\\ \\x\"][b] \u{feff}An event\n",
        r#"Rfc5424 local4.notice 2003-10-11T22:14:15.003Z "mymachine.example.com" "evntslog" "" "ID47" exampleSDID@32473(iut=3,eventSource=App"]\ \x)b() | An event"#,
    );
    check(
        "<34>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time",
        r#"Rfc5424 auth.critical 2003-08-24T12:14:15.000003Z "192.0.2.1" "myproc" "8710" ""  | %% It's time"#,
    );
    check("<0>1 - - - - - -", r#"Rfc5424 kern.emergency - "" "" "" ""  | "#);
    check(
        "<13>1 2003-99-24T05:14:15Z h a - - - x",
        r#"Rfc5424 user.notice ?2003-99-24T05:14:15Z "h" "a" "" ""  | x"#,
    );
    // Structured data that never ends is text.
    check("<13>1 - h a - - [id a=\"b x", r#"Rfc5424 user.notice - "h" "a" "" ""  | [id a="b x"#);
    check("<13>1 - h a - - [a][ b", r#"Rfc5424 user.notice - "h" "a" "" "" a() | [ b"#);
}

#[test]
fn rfc3164_is_taken_apart_as_it_is_written() {
    check(
        "<34>Oct 11 22:14:15 mymachine su: 'su root' failed",
        r#"Rfc3164 auth.critical 2023-10-11T21:14:15Z "mymachine" "su" "" ""  | 'su root' failed"#,
    );
    check(
        "<86>Apr 28 11:53:46 doas: catap ran command ls",
        r#"Rfc3164 authpriv.informational 2023-04-28T10:53:46Z "" "doas" "" ""  | catap ran command ls"#,
    );
    check(
        "<13>Feb  5 17:32:18.125 10.0.0.99 cron[42]: done",
        r#"Rfc3164 user.notice 2023-02-05T16:32:18.125Z "10.0.0.99" "cron" "42" ""  | done"#,
    );
    check(
        "<13>Dec 17 2022 12:23:16 router CEF:0|Ubiquiti|x",
        r#"Rfc3164 user.notice 2022-12-17T11:23:16Z "router" "" "" ""  | CEF:0|Ubiquiti|x"#,
    );
    check(
        "<13>Dec 17 12:23:16 2022 box [LAN] DESCR=\"no\" IN=br0",
        r#"Rfc3164 user.notice 2022-12-17T11:23:16Z "box" "" "" ""  | [LAN] DESCR="no" IN=br0"#,
    );
    check(
        "<30>2023-11-14T22:13:19.5+01:00 box systemd[1]: Started.\0",
        r#"Rfc3164 daemon.informational 2023-11-14T21:13:19.5Z "box" "systemd" "1" ""  | Started."#,
    );
    check("Nov 14 1:2:3 a b", r#"Rfc3164 - 2023-11-14T00:02:03Z "a" "" "" ""  | b"#);
}

#[test]
fn other_texts_are_messages_all_the_same() {
    check("<189>77: 000073: *Jan  1", r#"Bare local7.notice - "" "" "" ""  | 77: 000073: *Jan  1"#);
    check("<192>x", r#"Bare - - "" "" "" ""  | <192>x"#);
    check("<13>", r#"Bare user.notice - "" "" "" ""  | "#);
    check("<13>1 apple", r#"Bare user.notice - "" "" "" ""  | 1 apple"#);
    check("Foo 14 11:22:33 x", r#"Bare - - "" "" "" ""  | Foo 14 11:22:33 x"#);
    check("Nov 31 11:22:33 x", r#"Bare - - "" "" "" ""  | Nov 31 11:22:33 x"#);
}

#[test]
fn years_are_the_last_there_can_have_been() {
    let check = |now: &str, stamp: &str, expected: &str| {
        let now: jiff::Timestamp = now.parse().unwrap();
        let reader = Reader::new(TimeZone::UTC, now.as_millisecond());
        let text = format!("{stamp} h a: x");
        let Sent::At(t_ns) = reader.read(&text).sent else { panic!("{stamp}") };
        let t = jiff::Timestamp::from_nanosecond(i128::from(t_ns)).unwrap();
        assert_eq!(t.to_string(), expected);
    };
    check("2024-01-01T00:00:05Z", "Dec 31 23:59:59", "2023-12-31T23:59:59Z");
    check("2023-12-31T23:59:55Z", "Jan  1 00:00:01", "2024-01-01T00:00:01Z");
    check("2024-06-01T00:00:00Z", "Feb 29 00:00:01", "2024-02-29T00:00:01Z");
    check("2023-03-01T00:00:00Z", "Feb 29 00:00:01", "2020-02-29T00:00:01Z");
    check("2022-03-01T00:00:00Z", "Feb 29 00:00:01", "2020-02-29T00:00:01Z");
}

/// Frames of `bytes` when they come in pieces of `step`.
fn frames(bytes: &[u8], bytes_max: usize, step: usize) -> Vec<String> {
    let (mut frames, mut held, mut found) = (Frames::new(bytes_max), Vec::new(), Vec::new());
    let pieces = bytes.chunks(step);
    let last = pieces.len();
    for (i, piece) in pieces.enumerate() {
        held.extend_from_slice(piece);
        let mut at = 0;
        while let Some(frame) = frames.next(&held, &mut at, i + 1 == last) {
            let cut = if frame.missing == Missing::Nothing { "" } else { "…" };
            found.push(format!("{}{cut}", text_of_bytes(frame.bytes)));
        }
        held.drain(..at);
        assert!(held.len() <= bytes_max + 16, "{} bytes held", held.len());
    }
    found
}

#[test]
fn frames_choose_how_they_end() {
    let check = |bytes: &str, expected: &[&str]| {
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(frames(bytes.as_bytes(), 20, step), expected, "{bytes:?} by {step}");
        }
    };
    check(
        "5 <1>ab6 <2>a\nb<3>c\r\n7 <4>abcd<5>",
        &["<1>ab", "<2>a\nb", "<3>c\r", "<4>abcd", "<5>"],
    );
    check("5 <1>ab\n5 <1>cd\n", &["<1>ab", "<1>cd"]);
    check(
        "a\0b\n\n12 x\n0 <1>\n123456789 <1>\n12",
        &["a", "b", "12 x", "0 <1>", "123456789 <1>", "12"],
    );
    check("25 <1>45678901234567890abcde3 <1>", &["<1>45678901234567890…", "<1>"]);
    check("<1>45678901234567890abcde\nx\n", &["<1>45678901234567890…", "x"]);
    check("<1>45678901234567890\nx\n", &["<1>45678901234567890", "x"]);
    check("40 <1>abc", &["<1>abc…"]);
    check("4 <1>", &["<1>…"]);
}

#[test]
fn messages_become_lines() {
    let streams = Streams::new(10_000, 100);
    let mut lines = Lines::new(&SMALL, NOW_MS);
    let long = format!("<13>Nov 14 23:13:19 {} a: x", "h".repeat(33));
    for text in [
        "<11>1 2023-11-14T22:13:19Z h app 7 M [a@1 b.c=\"d\"] x",
        "plain",
        "<7>Jan  1 1970 01:00:00 h a: b",
        &long,
    ] {
        assert!(add(&reader().read(text), "10.0.0.1", &streams, &mut lines).unwrap());
    }
    let spelled: Vec<String> = lines
        .rows
        .iter()
        .map(|row| {
            format!(
                "{} {} {} {}",
                row.stream.without("service_name"),
                row.t_ns,
                row.line,
                row.fields
            )
        })
        .collect();
    assert_eq!(
        spelled,
        [
            r#"{app="app", host="h", job="syslog"} 1699999999000000000 x {a_1_b_c="d", facility="user", level="error", msg_id="M", proc_id="7", severity="error"}"#.to_owned(),
            r#"{host="10.0.0.1", job="syslog"} 1700000000000000000 plain {}"#.to_owned(),
            r#"{app="a", host="h", job="syslog"} 1700000000000000001 b {facility="kern", level="debug", original_timestamp="1970-01-01T00:00:00Z", severity="debug"}"#.to_owned(),
            format!(r#"{{app="a", job="syslog"}} 1699999999000000000 x {{facility="user", host="{}", level="info", severity="notice"}}"#, "h".repeat(33)),
        ]
    );
    assert_eq!((lines.corrected.absent, lines.corrected.epoch), (1, 1));
}

proptest! {
    #[test]
    fn noise_is_a_message(noise in proptest::collection::vec(any::<u8>(), 0..200), head in 0..4_usize) {
        let head = ["", "<13>", "<13>1 2023-11-14T22:13:19Z h a - - [x ", "<13>Nov 14 23:13:19 "][head];
        let text = text_of_bytes(&noise);
        let text = format!("{head}{text}");
        let message = reader().read(&text);
        prop_assert!(text.contains(message.text) || text.is_empty());
    }

    #[test]
    fn frames_do_not_depend_on_pieces(noise in "[0-9 <>a\n]{0,80}", step in 1..9_usize, max in 1..20_usize) {
        let whole = frames(noise.as_bytes(), max, 1000);
        prop_assert_eq!(frames(noise.as_bytes(), max, step), whole);
    }
}
