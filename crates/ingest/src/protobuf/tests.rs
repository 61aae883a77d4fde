//! What is written is read; short, long and foreign bytes are refused with their offset.

use proptest::prelude::*;

use super::*;

/// Reads a message with one field and applies `read` to it.
fn check<'a, T>(message: &'a [u8], read: impl Fn(&Field<'a>) -> Result<T>) -> Result<T, String> {
    let mut reader = Reader::new(message);
    let field = reader.next_field().map_err(|e| e.to_string())?.ok_or("no field")?;
    let value = read(&field).map_err(|e| e.to_string())?;
    match reader.next_field() {
        Ok(None) => Ok(value),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn scalars() {
    assert_eq!(check(&[0x08, 0x96, 0x01], Field::uint64), Ok(150));
    assert_eq!(check(&[0x08, 0x01], Field::sint64), Ok(-1));
    assert_eq!(check(&[0x08, 0x04], Field::sint32), Ok(2));
    assert_eq!(check(&[0x08, 0x02], Field::boolean), Ok(true));
    let minus_one = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(check(&minus_one, Field::int64), Ok(-1));
    assert_eq!(check(&minus_one, Field::int32), Ok(-1));
    assert_eq!(check(&[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f], Field::double), Ok(1.0));
    assert_eq!(check(&[0x0d, 0, 0, 0x80, 0x3f], Field::float), Ok(1.0));
    assert_eq!(check(&[0x0a, 2, b'h', b'i'], |f| f.text().map(str::to_owned)), Ok("hi".to_owned()));
}

#[test]
fn lists_packed_or_not() {
    let varints = |field: &Field<'_>| {
        let mut items = Vec::new();
        field.varints(|v| {
            items.push(zigzag(v));
            Ok(())
        })?;
        Ok(items)
    };
    assert_eq!(check(&[0x0a, 3, 0x01, 0xac, 0x02], varints), Ok(vec![-1, 150]));
    assert_eq!(check(&[0x08, 0x03], varints), Ok(vec![-2]));
    let doubles = |f: &Field<'_>| f.doubles().map(Iterator::collect::<Vec<_>>);
    let mut packed = vec![0x0a, 16];
    packed.extend([1.0_f64, -2.5].iter().flat_map(|v| v.to_le_bytes()));
    assert_eq!(check(&packed, doubles), Ok(vec![1.0, -2.5]));
    assert_eq!(check(&[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f], doubles), Ok(vec![1.0]));
}

#[test]
fn errors_name_field_and_offset() {
    let refused = |message: &[u8], expected: &str| {
        assert_eq!(check(message, Field::text), Err(expected.to_owned()), "{message:x?}");
    };
    refused(&[0x08, 1], "field 1 at offset 0: expected a length and bytes, found a varint");
    refused(&[0x0a, 5, b'h'], "field 1 at offset 0: length is 5; 1 bytes are left");
    refused(&[0x0a, 0x80], "field 1 at offset 0: varint ends with the message");
    refused(&[0x0b], "field 1 at offset 0: wire type 3 is not supported");
    refused(&[0x00], "field number at offset 0 is 0; it must be 1 to 2^29-1");
    refused(&[0x09, 1], "field 1 at offset 0: value needs 8 bytes; 1 are left");
    refused(
        &[0x0a, 2, b'a', 0xff],
        "field 1 at offset 0: expected UTF-8, found an invalid byte at offset 3",
    );
    let mut long = vec![0x08];
    long.extend([0xff; 9]);
    long.push(0x02);
    refused(&long, "field 1 at offset 0: varint exceeds 64 bits");
}

#[test]
fn offsets_count_from_the_start_of_the_stream() {
    let mut stream = Delimited::new(&[2, 0x08, 1, 4, 0x12, 2, 0x0a, 9]);
    let mut first = stream.next_message().unwrap().unwrap();
    assert_eq!(first.next_field().unwrap().unwrap().offset, 1);
    let mut second = stream.next_message().unwrap().unwrap();
    let inner = second.next_field().unwrap().unwrap();
    assert_eq!((inner.number, inner.offset), (2, 4));
    let error = inner.message().unwrap().next_field().unwrap_err();
    assert_eq!(error.message(), "field 1 at offset 6: length is 9; 0 bytes are left");
    assert!(stream.next_message().unwrap().is_none());
}

#[test]
fn depth_is_bounded() {
    let mut message = Vec::new();
    for _ in 0..=DEPTH_MAX {
        let mut outer = vec![0x0a];
        let mut length = message.len();
        while length >= 0x80 {
            outer.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(&message);
        message = outer;
    }
    fn descend(mut reader: Reader<'_>) -> Result<u32> {
        match reader.next_field()? {
            Some(field) => Ok(1 + descend(field.message()?)?),
            None => Ok(0),
        }
    }
    assert_eq!(descend(Reader::new(&message)).unwrap_err().kind(), ErrorKind::Limit);
}

proptest! {
    /// Every read ends, moves forward, and stays inside the input.
    #[test]
    fn noise_is_refused_or_bounded(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut stream = Delimited::new(&noise);
        while let Ok(Some(mut message)) = stream.next_message() {
            let mut fields = 0;
            while let Ok(Some(field)) = message.next_field() {
                fields += 1;
                prop_assert!(field.offset < noise.len());
                prop_assert!(field.bytes().map_or(0, <[u8]>::len) < noise.len());
                let mut items = 0;
                let read = field.varints(|_| { items += 1; Ok(()) });
                prop_assert!(read.is_ok() || items < noise.len());
                prop_assert!(items <= noise.len());
            }
            prop_assert!(fields <= noise.len());
        }
    }
}
