//! Entries come out as they went in, in whatever pieces they come; noise is refused or bounded.

use proptest::prelude::*;

use super::*;
use crate::pushed_lines::{self, Lines, Streams};

const LIMITS: Limits = Limits { fields_max: 4, value_bytes_max: 10, entry_bytes_max: 40 };

/// Entries of `bytes` that come in pieces of `step`, as `NAME=value NAME=value -missing`.
fn read(bytes: &[u8], limits: Limits, step: usize) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut visit = |entry: Entry| {
        let fields: Vec<String> = entry.fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
        found.push(format!("{} -{}", fields.join(" "), entry.missing_bytes));
        Ok(())
    };
    let mut decoder = Decoder::new(limits);
    for piece in bytes.chunks(step) {
        decoder.read(piece, &mut visit)?;
    }
    decoder.finish(&mut visit)?;
    Ok(found)
}

fn check(bytes: &[u8], expected: &[&str]) {
    for step in [1, 2, 5, 1000] {
        assert_eq!(read(bytes, LIMITS, step).unwrap(), expected, "by {step}");
    }
}

#[test]
fn entries_come_in_pieces() {
    check(b"A=1\nB=\n\n\nC=x=y\n\n", &["A=1 B= -0", "C=x=y -0"]);
    check(b"A\n\x03\0\0\0\0\0\0\0a\nb\nB\n\0\0\0\0\0\0\0\0\nC=1\n", &["A=a\nb B= C=1 -0"]);
    check(b"", &[]);
    check(b"A\n\x01\0\0\0\0\0\0\0\xff\n", &["A=\u{efff} -0"]);
}

#[test]
fn what_is_beyond_the_bounds_is_left_out_and_counted() {
    check(b"A=12345678901234\nB=1\n\n", &["A=1234567890 B=1 -4"]);
    check(b"A=1\nB=2\nC=3\nD=4\nE=56\n\nA=1\n", &["A=1 B=2 C=3 D=4 -3", "A=1 -0"]);
    let long = "x".repeat(10);
    let entry = format!("A={long}\nB={long}\nC={long}\nD={long}\n\n");
    check(entry.as_bytes(), &[&format!("A={long} B={long} C={long} D=xxxxxx -4")]);
    let mut core = b"CORE\n".to_vec();
    core.extend_from_slice(&100_000_u64.to_le_bytes());
    core.extend(std::iter::repeat_n(b'x', 100_000));
    core.extend_from_slice(b"\nB=1\n\n");
    check(&core, &[&format!("CORE={long} B=1 -99990")]);
}

#[test]
fn other_bytes_are_refused_with_their_place() {
    let check = |bytes: &[u8], words: &str| {
        let error = read(bytes, LIMITS, 3).unwrap_err();
        assert!(error.message().contains(words), "{error}");
    };
    check(b"=1\n", "a field has no name");
    check(
        b"A=1\nB C=1\n",
        "a name has other bytes than letters, digits, '_', '.' and '-' (field \"\" behind \"A\")",
    );
    check(&b"A".repeat(300), "a name is longer than 256 bytes");
    check(b"A\n\x01\0\0\0\0\0\0\0ab", "no newline behind a binary value");
    check(b"A=1", "the stream ends within a field");
    check(b"A", "the stream ends within a field");
}

#[test]
fn entries_become_lines() {
    let limits = pushed_lines::Limits {
        rows_max: 100,
        labels_max: 5,
        name_bytes_max: 32,
        value_bytes_max: 32,
        line_fields_bytes_max: 1_000,
        field_bytes_max: 10_000,
        future_ms_max: 600_000,
    };
    let streams = Streams::new(10_000, 100);
    let mut lines = Lines::new(&limits, 1_700_000_000_000);
    let export = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1699999999000001\nPRIORITY=4\n_HOSTNAME=box\n_SYSTEMD_UNIT=a.service\n_COMM=ad\n_PID=7\nMESSAGE=hello\n\nA=b\n\n";
    let mut decoder = Decoder::new(Limits::default());
    decoder
        .read(export, &mut |entry| {
            assert_eq!(entry.cursor().is_some(), entry.t_ns().is_some());
            add(&entry, &streams, &mut lines).map(|added| assert!(added))
        })
        .unwrap();
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
            r#"{app="ad", host="box", job="journal", unit="a.service"} 1699999999000001000 hello {PRIORITY="4", _PID="7", level="warn"}"#,
            r#"{job="journal"} 1700000000000000000 {"A":"b"} {}"#,
        ]
    );
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(noise in "[A=\n\\x00\\x01]{0,100}", step in 1..7_usize) {
        let whole = read(noise.as_bytes(), LIMITS, 1000);
        let pieces = read(noise.as_bytes(), LIMITS, step);
        prop_assert_eq!(whole.as_ref().ok(), pieces.as_ref().ok());
        for entry in whole.unwrap_or_default() {
            prop_assert!(entry.len() < 4 * LIMITS.entry_bytes_max);
        }
    }
}
