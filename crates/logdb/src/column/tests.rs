//! Every encoding gives its values back byte for byte, finds what a plain search finds, and survives foreign bytes.

use std::sync::Arc;

use proptest::prelude::*;
use storage::codec::Reader;

use super::*;
use crate::bits::Bits;
use crate::needle::Needle;

/// Encodes, reads back, searches; returns the tag and the encoded size.
fn check(values: &[String], needles: &[&str]) -> (u8, usize) {
    let slices: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
    let mut encoder = Encoder::new(1).unwrap();
    let mut bytes = Vec::new();
    encoder.column(&slices, &mut bytes);
    let filter = encoder.take_filter();
    let column = Column::open(Arc::from(bytes.as_slice()), values.len()).unwrap();
    let mut all = Bits::new(values.len());
    all.set_range(0, values.len());
    let mut got = Vec::new();
    column.for_each(&all, &mut |_, v| got.push(String::from_utf8(v.to_vec()).unwrap())).unwrap();
    assert_eq!(got, values);
    let lens = column.lens().unwrap();
    assert_eq!(lens, values.iter().map(|v| v.len() as u32).collect::<Vec<_>>());
    for needle in needles {
        let exact = Needle::contains(needle.as_bytes());
        let folded = Needle::contains_folded(needle.as_bytes());
        for any in [&exact, &folded] {
            for (start, end) in [(false, false), (true, false), (false, true), (true, true)] {
                let needle = any.piece(any.text(), start, end);
                // Once as it is opened, once with everything decoded.
                for column in
                    [&Column::open(Arc::from(bytes.as_slice()), values.len()).unwrap(), &column]
                {
                    let hits = column.find(&needle).unwrap().into_bits(values.len());
                    let found: Vec<usize> = hits.ones().collect();
                    let has = |i: &usize| needle.matches(values[*i].as_bytes());
                    let expect: Vec<usize> = (0..values.len()).filter(has).collect();
                    assert_eq!(found, expect, "{needle:?}");
                }
            }
        }
        let expect: Vec<usize> =
            (0..values.len()).filter(|i| values[*i].contains(needle)).collect();
        if !expect.is_empty() {
            for hash in crate::filter::needle_tokens(needle.as_bytes()) {
                assert!(crate::filter::may_contain(&filter, hash), "{needle:?}");
            }
        }
    }
    (bytes.first().copied().unwrap_or(0), bytes.len())
}

fn made(count: usize, f: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(f).collect()
}

#[test]
fn each_encoding_is_chosen_for_its_values() {
    let cases: [(u8, Vec<String>); 11] = [
        (CONST, made(9, |_| "same".into())),
        (DICT, made(900, |i| ["info", "warn", "error"][i * i % 3].into())),
        (INT, made(900, |i| (i as i64 * 7919 % 1000 - 500).to_string())),
        (FIXED, made(900, |i| format!("{:06}", i * 7919 % 100_000))),
        (DECIMAL, made(900, |i| format!("{}.{}", i % 7, i * 31 % 997))),
        (TIME, made(900, |i| format!("2024-05-01T10:{:02}:{:02}.{:03}Z", i / 60, i % 60, i))),
        (IPV4, made(900, |i| format!("10.{}.{}.{}", i % 3, i % 250, i * 7 % 250))),
        (
            HEX,
            made(900, |i| format!("{:016x}", (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        ),
        (
            UUID,
            made(900, |i| {
                let x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                format!(
                    "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
                    x >> 32,
                    x & 0xffff,
                    x >> 52,
                    x & 0xfff,
                    x >> 16
                )
            }),
        ),
        (AFFIX, made(900, |i| format!("req-{}ms", i * 7919 % 1000))),
        (
            SHAPES,
            made(900, |i| {
                format!(r#"{{"n":{i},"who":"user{}","ok": {}}}"#, i * 7 % 300, i % 2 == 0)
            }),
        ),
    ];
    for (tag, values) in cases {
        let (got, _) =
            check(&values, &["1", "e", "99", "-", "user12", r#""ok": true"#, "", "05-01T"]);
        assert_eq!(got, tag, "{}", values[0]);
    }
}

#[test]
fn templates_pay_on_messages() {
    let values = made(5_000, |i| match i % 3 {
        0 => format!(
            "2024-05-01 10:00:00,{:03} INFO took {}ms for user {}",
            i % 1000,
            i * 31 % 977,
            i * 7
        ),
        1 => format!(
            "2024-05-01 10:00:00,{:03} WARN retry {} of /a/b/{}",
            i % 1000,
            i % 5,
            i * 13 % 1009
        ),
        _ => format!("odd {}", "x".repeat(i % 9)),
    });
    let (tag, len) =
        check(&values, &["INFO took", "retry 3 of /a", "user 21", "odd xxx", "ms for user"]);
    assert_eq!(tag, SHAPES);
    assert!(len < 5_000 * 5, "{len}");
}

fn json_like() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "[a-z]{0,6}".prop_map(|s| format!("\"{s}\"")),
        any::<i32>().prop_map(|n| n.to_string()),
        (0..9_u8, 0..99_u8).prop_map(|(a, b)| format!("{a}.{b}")),
        Just("null".to_owned()),
        Just(r#"["a", {"b":"]"}]"#.to_owned()),
        Just(r#"{"in": {"x":"\"q\\"}}"#.to_owned()),
        "\\PC{0,8}".prop_map(|s| format!("\"{s}\"")),
    ];
    let key = prop_oneof![Just("level"), Just("msg"), Just("a.b"), Just("é")];
    let pad = prop_oneof![Just(""), Just(" "), Just("\t")];
    prop::collection::vec((key, pad, value), 0..5).prop_map(|members| {
        let members: Vec<String> =
            members.into_iter().map(|(k, pad, v)| format!("\"{k}\":{pad}{v}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn json_like_lines_round_trip(lines in prop::collection::vec(json_like(), 1..120), needle in "\\PC{1,3}") {
        check(&lines, &[&needle, "\"level\":", "null", "a", "0", "}"]);
    }

    #[test]
    fn any_text_round_trips(
        lines in prop::collection::vec("([a-z0-9=\"\\[\\] .:/-]|\\PC){0,40}", 1..120),
        needle in "[a-z0-9= .]{1,3}",
    ) {
        check(&lines, &[&needle, " ", "\""]);
    }

    #[test]
    fn repeated_templates_round_trip(
        rows in prop::collection::vec((0..4_usize, any::<u16>(), "[a-f0-9]{0,4}"), 1..300),
    ) {
        let lines: Vec<String> = rows.iter().map(|(shape, n, word)| match shape {
            0 => format!("n={n} word=\"{word}\" [{n}]"),
            1 => format!("GET /x/{word}/{n} 200 {n}"),
            2 => format!("{n}.{n}.1.2 {word}"),
            _ => word.clone(),
        }).collect();
        check(&lines, &["n=1", "word=\"a", "/x/a", "00", "[", "1.2 "]);
    }

    #[test]
    fn foreign_bytes_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        tag in 0..14_u8,
        len in 0..2_000_usize,
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = tag;
        }
        touch(&bytes, len);
    }

    #[test]
    fn damaged_columns_never_panic(at in any::<prop::sample::Index>(), flip in 1..=255_u8, cut in any::<prop::sample::Index>()) {
        let values = made(300, |i| format!(r#"{{"t":"2024-05-01T10:00:{:02}Z","n":{i},"msg":"took {}ms {}"}}"#, i % 60, i * 7, i % 5));
        let slices: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
        let mut bytes = Vec::new();
        Encoder::new(1).unwrap().column(&slices, &mut bytes);
        let i = at.index(bytes.len());
        bytes[i] ^= flip;
        touch(&bytes, 300);
        bytes.truncate(cut.index(bytes.len()));
        touch(&bytes, 300);
    }
}

/// Uses whatever opens.
fn touch(bytes: &[u8], len: usize) {
    let Ok(column) = Column::open(Arc::from(bytes), len) else { return };
    let mut all = Bits::new(len);
    all.set_range(0, len);
    let mut total = 0;
    let read = column.for_each(&all, &mut |_, v| total += v.len());
    let found = column.find(&Needle::contains(b"ms 1"));
    let retained = column.retain(&mut all, &mut |v| v.len() > 3);
    // Errors are fine here; what counts is that all three came back.
    drop((read, found, retained));
}

#[test]
fn codes_of_any_number_of_distinct_values_survive() {
    for distinct in [2_u16, 3, 4, 5, 15, 16, 17, 255, 256, 257, 4096] {
        for len in [1_usize, 7, 8, 9, 1000, 4099] {
            // Skewed, without runs, so that frames are smaller than packed integers.
            let mut state = 1_u64;
            let codes: Vec<u16> = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if state >> 61 == 0 { (state >> 33) as u16 % distinct } else { distinct - 1 }
                })
                .collect();
            let mut bytes = Vec::new();
            Encoder::new(3).unwrap().codes(&codes, usize::from(distinct), &mut bytes);
            let read = read_codes(&mut Reader::new(&bytes), len, usize::from(distinct)).unwrap();
            let read: Vec<u16> = (0..len).map(|i| read.get(i) as u16).collect();
            assert_eq!(read, codes, "{distinct} distinct, {len}, stored as {}", bytes[0]);
            assert!(len < 1000 || (bytes[0] == 2) == (distinct <= 16), "{distinct} {len}");
        }
    }
}
