//! Values of both protocols, and what is no Thrift.

use proptest::prelude::*;

use super::*;

/// Everything of a structure, as far as it can be told without knowing it.
fn read(protocol: Protocol, bytes: &[u8]) -> Result<String> {
    let mut reader = Reader::new(protocol, bytes);
    let shown = structure(&mut reader)?;
    Ok(shown)
}

fn structure(reader: &mut Reader<'_>) -> Result<String> {
    let mut shown = String::new();
    reader.structure(|reader, field| {
        let value = match field.kind {
            Kind::Bool => reader.boolean(field)?.to_string(),
            Kind::I16 => reader.i16(field)?.to_string(),
            Kind::I32 => reader.i32(field)?.to_string(),
            Kind::I64 => reader.i64(field)?.to_string(),
            Kind::Double => reader.double(field)?.to_string(),
            Kind::Binary => format!("{:?}", reader.text(field)?),
            Kind::Struct => format!("{{{}}}", structure(reader)?),
            // Left: the reader must find the next field by itself.
            Kind::I8 | Kind::Map | Kind::List | Kind::Uuid => "_".to_owned(),
        };
        shown.push_str(&format!("{}={value} ", field.id));
        Ok(())
    })?;
    Ok(shown)
}

fn check(protocol: Protocol, bytes: &[u8], expected: &str) {
    let found = read(protocol, bytes).unwrap_or_else(|e| e.to_string());
    assert_eq!(found, expected, "{bytes:x?}");
}

#[test]
fn binary_values() {
    let check = |bytes: &[u8], expected: &str| check(Protocol::Binary, bytes, expected);
    check(&[0], "");
    check(&[2, 0, 1, 1, 2, 0, 2, 0, 3, 0, 3, 9, 0], "1=true 2=false 3=_ ");
    check(&[6, 0, 1, 0xff, 0xfe, 8, 0, 2, 0, 0, 1, 0, 0], "1=-2 2=256 ");
    check(&[10, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0], "32767=-1 ");
    check(
        &[4, 0, 1, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 11, 0, 2, 0, 0, 0, 2, b'h', b'i', 0],
        "1=1.5 2=\"hi\" ",
    );
    check(&[12, 0, 1, 2, 0, 7, 1, 0, 0], "1={7=true } ");
    check(&[15, 0, 1, 8, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 2, 0, 2, 1, 0], "1=_ 2=true ");
    check(
        &[13, 0, 1, 11, 8, 0, 0, 0, 1, 0, 0, 0, 1, b'k', 0, 0, 0, 9, 2, 0, 2, 1, 0],
        "1=_ 2=true ",
    );
    check(&[13, 0, 1, 0, 0, 0, 0, 0, 0, 15, 0, 2, 0, 0, 0, 0, 0, 0], "1=_ 2=_ ");
}

#[test]
fn compact_values() {
    let check = |bytes: &[u8], expected: &str| check(Protocol::Compact, bytes, expected);
    check(&[0], "");
    // Truth is in the head; a number that goes back is written out.
    check(&[0x11, 0x12, 0x02, 0x01, 0], "1=true 2=false -1=false ");
    check(&[0x14, 0x03, 0x15, 0x80, 0x04, 0x16, 0x01, 0], "1=-2 2=256 3=-1 ");
    check(&[0x17, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x18, 2, b'h', b'i', 0], "1=1.5 2=\"hi\" ");
    check(&[0x1c, 0x71, 0, 0x11, 0], "1={7=true } 2=true ");
    check(&[0x19, 0x25, 0x02, 0x04, 0x11, 0], "1=_ 2=true ");
    check(
        &[0x19, 0x21, 0x01, 0x02, 0x1b, 0x01, 0x85, 1, b'k', 0x12, 0x1b, 0, 0x13, 5, 0],
        "1=_ 2=_ 3=_ 4=_ ",
    );
}

#[test]
fn what_is_no_thrift() {
    let check = |protocol, bytes: &[u8], expected: &str| {
        let error = read(protocol, bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(Protocol::Binary, &[], "value needs 1 bytes; 0 are left at offset 0");
    check(
        Protocol::Binary,
        &[11, 0, 1, 0x7f, 0xff, 0xff, 0xff],
        "value needs 2147483647 bytes; 0 are left at offset 7",
    );
    check(Protocol::Binary, &[99, 0, 1], "the Binary protocol has no type 99 at offset 1");
    check(
        Protocol::Binary,
        &[11, 0, 1, 0, 0, 0, 1, 0xff, 0],
        "field 1: expected UTF-8, found an invalid byte at offset 7",
    );
    check(
        Protocol::Binary,
        &[15, 0, 1, 12, 0, 0, 0, 9, 0],
        "list of 9 items in 1 bytes that are left",
    );
    check(Protocol::Compact, &[0x14, 0x80, 0x80, 0x08, 0], "65536 does not fit in 16 bits");
    check(
        Protocol::Compact,
        &[0x16, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
        "varint exceeds 64 bits",
    );
    check(
        Protocol::Compact,
        &[0x1b, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x88],
        "map of 4294967295 items",
    );
    check(Protocol::Compact, &[0x1c; 100], "nest deeper than 64");
    check(Protocol::Binary, &[15, 0, 1, 15], "value needs 4 bytes");
    let mut reader = Reader::new(Protocol::Binary, &[8, 0, 1, 0, 0, 0, 1, 0]);
    let error = reader.structure(|reader, field| reader.i64(field).map(|_| ())).unwrap_err();
    assert_eq!(error.message(), "field 1 at offset 0: expected I64, found I32");
}

#[test]
fn lists_in_lists_are_bounded() {
    for (protocol, nested) in
        [(Protocol::Binary, &[15, 0, 0, 0, 1][..]), (Protocol::Compact, &[0x19])]
    {
        let mut bytes = if protocol == Protocol::Binary { vec![15, 0, 1] } else { vec![0x19] };
        bytes.extend(nested.repeat(200));
        let error = read(protocol, &bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    }
}

#[test]
fn heads_of_messages() {
    let check = |protocol, bytes: &[u8], expected: Option<(MessageKind, &str)>| {
        let head = Reader::new(protocol, bytes).message().ok();
        assert_eq!(head.map(|head| (head.kind, head.name)), expected);
    };
    let oneway = Some((MessageKind::Oneway, "go"));
    check(Protocol::Binary, &[0x80, 1, 0, 4, 0, 0, 0, 2, b'g', b'o', 0, 0, 0, 0], oneway);
    check(Protocol::Binary, &[0, 0, 0, 2, b'g', b'o', 4, 0, 0, 0, 0], oneway);
    check(Protocol::Compact, &[0x82, 0x81, 0, 2, b'g', b'o'], oneway);
    check(Protocol::Compact, &[0x82, 0x21, 0, 2, b'g', b'o'], Some((MessageKind::Call, "go")));
    check(Protocol::Compact, &[0x82, 0x82, 0, 2, b'g', b'o'], None);
    check(Protocol::Compact, &[0x81, 0x81, 0, 2, b'g', b'o'], None);
    check(Protocol::Binary, &[0x80, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0], None);
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        for protocol in [Protocol::Binary, Protocol::Compact] {
            let _refused = read(protocol, &noise).is_ok();
            let _refused = Reader::new(protocol, &noise).message().is_ok();
            // Skipping ends where reading ends.
            let mut left = Reader::new(protocol, &noise);
            let skipped = left.structure(|_, _| Ok(())).is_ok().then(|| left.offset());
            if let Some(end) = skipped {
                prop_assert!(end <= noise.len());
                let mut whole = Reader::new(protocol, &noise[..end]);
                prop_assert!(whole.structure(|_, _| Ok(())).is_ok());
            }
        }
    }
}
