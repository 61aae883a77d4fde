//! Frames of multiplexed log streams, cut anywhere.

use super::*;

const T1: &str = "2026-11-22T16:03:10.372872713Z";
const T2: &str = "2026-11-22T16:03:11.000000001Z";

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn message(kind: u8, stamp: &str, text: &[u8]) -> Vec<u8> {
    frame(kind, &[stamp.as_bytes(), b" ", text].concat())
}

/// Decodes `bytes` cut into pieces of `step` bytes; the end counts as the writer's end.
fn decode(bytes: &[u8], step: usize) -> Vec<(Output, Option<i64>, String)> {
    let mut decoder = Decoder::default();
    let mut lines = Vec::new();
    for piece in bytes.chunks(step) {
        decoder.feed(piece, &mut lines).unwrap();
    }
    decoder.finish(&mut lines);
    lines.into_iter().map(|l| (l.output, l.t_ns, l.text)).collect()
}

fn check(bytes: &[u8], expect: &[(Output, &str, &str)]) {
    let expect: Vec<_> = expect
        .iter()
        .map(|(o, stamp, text)| (*o, super::super::api::decode_time_ns(stamp), (*text).to_owned()))
        .collect();
    for step in [1, 2, 7, 31, 4096, 16_384, 1 << 20] {
        assert_eq!(decode(bytes, step), expect, "pieces of {step}");
    }
}

#[test]
fn frames_interleave() {
    let bytes =
        [message(2, T1, b"err\n"), message(1, T1, b"out\n"), message(1, T2, b"\n")].concat();
    check(
        &bytes,
        &[(Output::Stderr, T1, "err"), (Output::Stdout, T1, "out"), (Output::Stdout, T2, "")],
    );
}

#[test]
fn partials_are_joined_also_around_the_other_output() {
    let a = vec![b'a'; PIECE_BYTES];
    let bytes = [
        message(1, T1, &a),
        message(2, T2, b"between\n"),
        message(1, T1, &a),
        message(1, T1, b"end\n"),
    ]
    .concat();
    let joined = format!("{}end", "a".repeat(2 * PIECE_BYTES));
    check(&bytes, &[(Output::Stderr, T2, "between"), (Output::Stdout, T1, &joined)]);
}

#[test]
fn unterminated_lines_end_with_the_next_run_or_the_stream() {
    let bytes =
        [message(1, T1, b"first run"), message(1, T2, b"second\n"), message(1, T2, b"rest")]
            .concat();
    check(
        &bytes,
        &[
            (Output::Stdout, T1, "first run"),
            (Output::Stdout, T2, "second"),
            (Output::Stdout, T2, "rest"),
        ],
    );
}

#[test]
fn all_lines_of_one_payload_have_its_time() {
    let bytes = message(1, T1, b"one\ntwo\n\nthree");
    check(
        &bytes,
        &[
            (Output::Stdout, T1, "one"),
            (Output::Stdout, T1, "two"),
            (Output::Stdout, T1, ""),
            (Output::Stdout, T1, "three"),
        ],
    );
}

#[test]
fn terminals_are_raw_and_repeat_the_stamp_behind_a_piece() {
    let piece = "b".repeat(PIECE_BYTES);
    let text = format!("{T1} one\r\n{T1} {piece}{T1} {piece}{T1} tail\r\n{T2} {T2} own\r\n{T2} x");
    let joined = format!("{piece}{piece}tail");
    let own = format!("{T2} own");
    check(
        text.as_bytes(),
        &[
            (Output::Stdout, T1, "one"),
            (Output::Stdout, T1, &joined),
            (Output::Stdout, T2, &own),
            (Output::Stdout, T2, "x"),
        ],
    );
}

#[test]
fn a_line_of_exactly_one_piece_and_no_repetition_stays_whole() {
    let text = format!("{T1} {}\n{T2} next\n", "c".repeat(PIECE_BYTES));
    check(
        text.as_bytes(),
        &[(Output::Stdout, T1, &"c".repeat(PIECE_BYTES)), (Output::Stdout, T2, "next")],
    );
}

#[test]
fn long_lines_are_cut_with_a_marker_at_a_character() {
    let mut bytes = Vec::new();
    let text = "é".repeat(LINE_BYTES_MAX);
    // One byte in front puts the bound inside a character.
    let whole = [b"x", text.as_bytes()].concat();
    for piece in whole.chunks(PIECE_BYTES) {
        bytes.extend(message(1, T1, piece));
    }
    bytes.extend(message(1, T1, b"\n"));
    let mut decoder = Decoder::default();
    let mut lines = Vec::new();
    decoder.feed(&bytes, &mut lines).unwrap();
    let kept = LINE_BYTES_MAX - 1;
    let cut = whole.len() - kept;
    assert_eq!(lines[0].truncated_bytes, cut as u64);
    assert!(lines[0].text.ends_with(&format!("é…[truncated {cut} bytes]")));
}

#[test]
fn foreign_bytes_are_refused_or_survive() {
    let mut lines = Vec::new();
    assert!(Decoder::default().feed(&[1, 9, 0, 0, 0, 0, 0, 1, 1], &mut lines).is_err());
    let mut decoder = Decoder::default();
    let error = decoder.feed(&frame(3, b"log file is gone\n"), &mut lines).unwrap_err();
    assert!(error.message().contains("log file is gone"));
    // No timestamp, NUL and invalid UTF-8: the line stays, without a time.
    let got = decode(&frame(1, b"\0\xff no time here at all, and longer than a stamp\n"), 5);
    assert_eq!(got[0].1, None);
    let kept = model::bytes_of_text(&got[0].2).into_owned();
    assert_eq!(kept, b"\0\xff no time here at all, and longer than a stamp");
    assert!(decode(&frame(1, b""), 1).len() <= 1);
}
