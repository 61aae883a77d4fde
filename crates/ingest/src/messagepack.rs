//! MessagePack: values one by one, borrowed, and the length of a value that is still arriving.
//!
//! Owns: the format. Nothing is allocated, and no length is believed before its bytes are there. Does not own: what values
//! mean.
//!
//! Source: MessagePack specification.

use model::{Error, ErrorKind, Result};

/// A value, or the beginning of one that holds others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    Nil,
    /// A truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond [`Int`](Self::Int).
    Large(u64),
    /// Another number.
    Float(f64),
    /// A text, which need not be UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
    /// So many values follow.
    Array(usize),
    /// So many pairs of values follow.
    Map(usize),
    /// Bytes of an application's own type.
    Extension(i8, &'a [u8]),
}

/// Reads values from bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Why a value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It takes so many bytes, and they are not there.
    Short(usize),
    /// No value begins with this byte.
    Unknown(u8),
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next value; of one that holds others, its beginning.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when there is none or its bytes are not all there.
    pub fn value(&mut self) -> Result<Value<'a>> {
        let (value, len) = read(self.bytes.get(self.at..).unwrap_or_default())
            .map_err(|fault| self.fault(fault))?;
        self.at += len;
        Ok(value)
    }

    /// Passes over the next value with all it holds.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn skip(&mut self) -> Result<()> {
        let mut left = 1_u64;
        while left > 0 {
            left = left - 1 + held_by(&self.value()?);
        }
        Ok(())
    }

    fn fault(&self, fault: Fault) -> Error {
        Error::invalid(match fault {
            Fault::Short(bytes) => {
                let (at, there) = (self.at, self.bytes.len() - self.at);
                format!("MessagePack value at byte {at} takes {bytes} bytes; {there} are there")
            }
            Fault::Unknown(byte) => {
                format!("byte {byte:#04x} at {} begins no MessagePack value", self.at)
            }
        })
    }
}

/// Values that follow as part of this one.
fn held_by(value: &Value<'_>) -> u64 {
    match value {
        Value::Array(count) => *count as u64,
        Value::Map(count) => 2 * *count as u64,
        _ => 0,
    }
}

/// Finds the end of a value that arrives in pieces; each byte is looked at once.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    bytes_max: usize,
    at: usize,
    left: u64,
}

impl Measure {
    /// Of a value of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, at: 0, left: 1 }
    }

    /// The bytes of the value at the beginning of `bytes`, once all are there; `bytes` may only have grown since the last
    /// call. Then it begins anew.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when it is no value, [`Limit`](ErrorKind::Limit) when it takes more than the bound.
    pub fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        while self.left > 0 {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let len = match read(rest) {
                Ok((value, len)) => {
                    self.left = self.left - 1 + held_by(&value);
                    self.at += len;
                    // Each of them takes a byte.
                    usize::try_from(self.left).unwrap_or(usize::MAX)
                }
                Err(Fault::Short(len)) => len,
                Err(fault) => return Err(Reader { bytes, at: self.at }.fault(fault)),
            };
            if len > self.bytes_max.saturating_sub(self.at) {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("message takes more than the limit of {} bytes", self.bytes_max),
                ));
            }
            if self.at >= bytes.len() && self.left > 0 || len > rest.len() {
                return Ok(None);
            }
        }
        let end = self.at;
        *self = Self::new(self.bytes_max);
        Ok(Some(end))
    }
}

/// The value at the beginning of `bytes`, and how many of them it takes.
fn read(bytes: &[u8]) -> Result<(Value<'_>, usize), Fault> {
    let first = *bytes.first().ok_or(Fault::Short(1))?;
    let number = |width: usize| -> Result<u64, Fault> {
        let number = bytes.get(1..=width).ok_or(Fault::Short(1 + width))?;
        Ok(number.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    };
    let long = |at: usize, len: u64| -> Result<(&[u8], usize), Fault> {
        let end = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(at);
        Ok((bytes.get(at..end).ok_or(Fault::Short(end))?, end))
    };
    let text = |at, len| long(at, len).map(|(bytes, end)| (Value::Text(bytes), end));
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let extension = |at: usize, len: u64| -> Result<(Value<'_>, usize), Fault> {
        let (bytes, end) = long(at, len.saturating_add(1))?;
        let (kind, bytes) = bytes.split_first().ok_or(Fault::Short(end))?;
        Ok((Value::Extension(i8::from_be_bytes([*kind]), bytes), end))
    };
    Ok(match first {
        0x00..=0x7f => (Value::Int(i64::from(first)), 1),
        0x80..=0x8f => (Value::Map(usize::from(first & 15)), 1),
        0x90..=0x9f => (Value::Array(usize::from(first & 15)), 1),
        0xa0..=0xbf => text(1, u64::from(first & 31))?,
        0xc0 => (Value::Nil, 1),
        0xc1 => return Err(Fault::Unknown(first)),
        0xc2 | 0xc3 => (Value::Bool(first == 0xc3), 1),
        0xc4..=0xc6 => {
            let width = 1 << (first - 0xc4);
            let (bytes, end) = long(1 + width, number(width)?)?;
            (Value::Bytes(bytes), end)
        }
        0xc7..=0xc9 => {
            let width = 1 << (first - 0xc7);
            extension(1 + width, number(width)?)?
        }
        0xca => (Value::Float(f64::from(f32::from_bits(number(4)? as u32))), 5),
        0xcb => (Value::Float(f64::from_bits(number(8)?)), 9),
        0xcc..=0xcf => {
            let width = 1 << (first - 0xcc);
            let number = number(width)?;
            (i64::try_from(number).map_or(Value::Large(number), Value::Int), 1 + width)
        }
        0xd0..=0xd3 => {
            let width = 1 << (first - 0xd0);
            let unused = 64 - 8 * width as u32;
            ((Value::Int((number(width)? << unused).cast_signed() >> unused)), 1 + width)
        }
        0xd4..=0xd8 => extension(1, 1 << (first - 0xd4))?,
        0xd9..=0xdb => {
            let width = 1 << (first - 0xd9);
            text(1 + width, number(width)?)?
        }
        0xdc | 0xdd => {
            let width = 2 << (first - 0xdc);
            (Value::Array(count(number(width)?)), 1 + width)
        }
        0xde | 0xdf => {
            let width = 2 << (first - 0xde);
            (Value::Map(count(number(width)?)), 1 + width)
        }
        0xe0..=0xff => (Value::Int(i64::from(i8::from_be_bytes([first]))), 1),
    })
}

/// Writes values; what answers need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// The beginning of an array of `count` values, 15 at most.
    pub fn array(mut self, count: u8) -> Self {
        self.0.push(0x90 | count.min(15));
        self
    }

    /// The beginning of a map of `count` pairs, 15 at most.
    pub fn map(mut self, count: u8) -> Self {
        self.0.push(0x80 | count.min(15));
        self
    }

    /// A truth.
    pub fn bool(mut self, truth: bool) -> Self {
        self.0.push(0xc2 | u8::from(truth));
        self
    }

    /// A text.
    pub fn text(self, text: &[u8]) -> Self {
        self.long(text, 0xdb)
    }

    /// Bytes.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.long(bytes, 0xc6)
    }

    fn long(mut self, bytes: &[u8], first: u8) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.push(first);
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(bytes.get(..len as usize).unwrap_or_default());
        self
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(bytes: &[u8], expected: Value<'_>) {
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.value().unwrap(), expected, "{bytes:x?}");
        assert!(reader.is_at_end());
        for len in 0..bytes.len() {
            assert!(Reader::new(&bytes[..len]).value().is_err());
        }
    }

    #[test]
    fn values_of_every_kind() {
        check(&[0x7f], Value::Int(127));
        check(&[0xe0], Value::Int(-32));
        check(&[0xcc, 0xff], Value::Int(255));
        check(&[0xcd, 1, 0], Value::Int(256));
        check(&[0xcf, 0xff, 0, 0, 0, 0, 0, 0, 0], Value::Large(0xff << 56));
        check(&[0xd0, 0x80], Value::Int(-128));
        check(&[0xd1, 0xff, 0xfe], Value::Int(-2));
        check(&[0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Int(-1));
        check(&[0xca, 0x3f, 0x80, 0, 0], Value::Float(1.0));
        check(&[0xcb, 0xbf, 0xf0, 0, 0, 0, 0, 0, 0], Value::Float(-1.0));
        check(&[0xc0], Value::Nil);
        check(&[0xc3], Value::Bool(true));
        check(b"\xa2ab", Value::Text(b"ab"));
        check(b"\xd9\x02ab", Value::Text(b"ab"));
        check(b"\xda\0\x01a", Value::Text(b"a"));
        check(b"\xdb\0\0\0\x01a", Value::Text(b"a"));
        check(b"\xc4\x01\0", Value::Bytes(b"\0"));
        check(b"\xc5\0\x01\0", Value::Bytes(b"\0"));
        check(b"\xc6\0\0\0\0", Value::Bytes(b""));
        check(b"\xd4\x05a", Value::Extension(5, b"a"));
        check(b"\xd7\x0012345678", Value::Extension(0, b"12345678"));
        check(b"\xc7\x01\xffa", Value::Extension(-1, b"a"));
        check(&[0x92], Value::Array(2));
        check(&[0xdc, 1, 0], Value::Array(256));
        check(&[0x81], Value::Map(1));
        check(&[0xdf, 0, 1, 0, 0], Value::Map(65_536));
        let error = Reader::new(&[0xc1]).value().unwrap_err();
        assert_eq!(error.message(), "byte 0xc1 at 0 begins no MessagePack value");
        let error = Reader::new(&[0xa5, 1]).value().unwrap_err();
        assert_eq!(error.message(), "MessagePack value at byte 0 takes 6 bytes; 2 are there");
    }

    #[test]
    fn ends_are_found_as_the_bytes_arrive() {
        let bytes = b"\x93\x01\x81\xa1a\x92\xc0\xc4\x02xy\xc2\x07";
        let mut measure = Measure::new(100);
        for len in 0..bytes.len() - 1 {
            assert_eq!(measure.end(&bytes[..len]).unwrap(), None, "{len}");
        }
        assert_eq!(measure.end(bytes).unwrap(), Some(bytes.len() - 1));
        assert_eq!(measure.end(&bytes[bytes.len() - 1..]).unwrap(), Some(1));
        let mut reader = Reader::new(bytes);
        reader.skip().unwrap();
        assert_eq!(reader.position(), bytes.len() - 1);
    }

    #[test]
    fn lengths_are_not_believed() {
        for bytes in
            [&b"\xdd\xff\xff\xff\xff"[..], b"\xc6\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff"]
        {
            assert_eq!(Measure::new(1_000).end(bytes).unwrap_err().kind(), ErrorKind::Limit);
            assert!(Reader::new(bytes).skip().is_err());
        }
        let deep = [0x91; 2_000];
        assert_eq!(Measure::new(1_000).end(&deep).unwrap_err().kind(), ErrorKind::Limit);
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = Writer::default().array(4).text(b"a").bytes(b"b").bool(true).map(0).finish();
        let mut reader = Reader::new(&bytes);
        let values: Vec<_> = (0..5).map(|_| reader.value().unwrap()).collect();
        let expected = [
            Value::Array(4),
            Value::Text(b"a"),
            Value::Bytes(b"b"),
            Value::Bool(true),
            Value::Map(0),
        ];
        assert_eq!(values, expected);
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_bounded(
            noise in proptest::collection::vec(any::<u8>(), 0..60),
            cut in 0..60_usize,
        ) {
            let mut reader = Reader::new(&noise);
            let skipped = reader.skip().ok().map(|()| reader.position());
            let mut measure = Measure::new(100);
            let early = measure.end(&noise[..cut.min(noise.len())]);
            let end = match early {
                Ok(None) => measure.end(&noise).ok().flatten(),
                Ok(end) => end,
                Err(_) => None,
            };
            prop_assert_eq!(end, skipped);
        }
    }
}
