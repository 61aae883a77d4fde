//! The wire format of protocol buffers: one pass over foreign bytes, field by field, without allocation.
//!
//! Owns: varints, tags, lengths, packed lists, delimited streams, and errors that name field and offset. Does not own:
//! any message; decoders match on [`Field::number`] and read the value with the method of the declared type. Unknown
//! fields are skipped by not matching them. Groups (deprecated before any format read here existed) are refused.
//!
//! Bounds: a length never exceeds the bytes that are there, so nothing is sized by what a message merely claims;
//! messages inside messages go [`DEPTH_MAX`] deep. A packed list yields at most one item per byte; callers that keep
//! items per field bound them with what they know.

#[cfg(test)]
mod tests;
mod write;

use model::{Error, ErrorKind, Result};

pub use write::Writer;

/// Messages inside messages at most; as in Google's decoders.
pub const DEPTH_MAX: u32 = 256;

const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

/// Reads the fields of one message, in the order of the bytes.
///
/// ```ignore
/// while let Some(field) = reader.next_field()? {
///     match field.number {
///         1 => name = field.text()?,
///         2 => sample(field.message()?)?,
///         _ => {}
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of `bytes` in the whole input.
    base: usize,
    depth: u32,
}

/// A value as the wire has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1, little-endian.
    Fixed64(u64),
    /// Wire type 2: texts, bytes, messages, packed lists.
    Bytes(&'a [u8]),
    /// Wire type 5, little-endian.
    Fixed32(u32),
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Number, from 1.
    pub number: u32,
    /// Value.
    pub value: Value<'a>,
    /// Where the field begins, in bytes from the start of the whole input.
    pub offset: usize,
    /// Where the content of a [`Value::Bytes`] begins, likewise.
    content_offset: usize,
    depth: u32,
}

impl<'a> Reader<'a> {
    /// A reader of a whole message.
    pub fn new(message: &'a [u8]) -> Self {
        Self { bytes: message, at: 0, base: 0, depth: 0 }
    }

    /// Offset of the next byte in the whole input.
    pub fn offset(&self) -> usize {
        self.base + self.at
    }

    /// The bytes of the whole message, read or not.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes that are not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Goes past `count` bytes that the caller has read from [`rest`](Self::rest); they must end with a field.
    pub fn skip(&mut self, count: usize) {
        self.at = self.bytes.len().min(self.at + count);
    }

    /// The next field, or `None` at the end of the message.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for truncated values, field numbers outside 1 to 2^29-1 and wire types that do
    /// not exist, naming field and offset.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let offset = self.offset();
        let Some(tag) = self.varint() else { return Err(self.bad_tag(offset)) };
        let number = tag >> 3;
        if !(1..=FIELD_NUMBER_MAX).contains(&number) {
            return Err(bad_number(offset, number));
        }
        let number = number as u32;
        let value = match tag & 7 {
            0 => self.varint().map(Value::Varint),
            1 => self.fixed::<8>().map(|b| Value::Fixed64(u64::from_le_bytes(b))),
            2 => self.length_delimited().map(Value::Bytes),
            5 => self.fixed::<4>().map(|b| Value::Fixed32(u32::from_le_bytes(b))),
            _ => None,
        };
        let Some(value) = value else { return Err(self.bad_value(offset, number, tag & 7)) };
        let content_offset = match value {
            Value::Bytes(content) => self.offset() - content.len(),
            _ => offset,
        };
        Ok(Some(Field { number, value, offset, content_offset, depth: self.depth }))
    }

    /// `None` leaves the place as it is; so for all below. What is wrong is found out by [`bad_varint`](Self::bad_varint) and
    /// the like, which nothing waits for when all is well.
    #[inline]
    fn varint(&mut self) -> Option<u64> {
        // Most tags, lengths and counts are one byte.
        match self.bytes.get(self.at) {
            Some(&first) if first < 0x80 => {
                self.at += 1;
                Some(u64::from(first))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for (i, &byte) in self.rest().iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if i == 9 && byte > 1 {
                return None;
            }
            value |= bits << (7 * i);
            if byte < 0x80 {
                self.at += i + 1;
                return Some(value);
            }
        }
        None
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let value = *self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(value)
    }

    #[inline]
    fn length_delimited(&mut self) -> Option<&'a [u8]> {
        let before = self.at;
        let content = self.varint().and_then(|length| {
            let rest = self.bytes.get(self.at..)?;
            rest.get(..usize::try_from(length).ok()?)
        });
        match content {
            Some(content) => self.at += content.len(),
            None => self.at = before,
        }
        content
    }

    #[cold]
    fn bad_tag(&self, offset: usize) -> Error {
        self.bad_varint().context(format_args!("tag at offset {offset}"))
    }

    /// What is wrong with the value of a field, whose tag was read.
    #[cold]
    fn bad_value(&mut self, offset: usize, number: u32, wire_type: u64) -> Error {
        let needs =
            |bytes: usize, left: usize| format!("value needs {bytes} bytes; {left} are left");
        let error = match wire_type {
            0 => self.bad_varint(),
            1 => failure(self.offset(), needs(8, self.rest().len())),
            2 => self.bad_length(),
            5 => failure(self.offset(), needs(4, self.rest().len())),
            other => failure(offset, format!("wire type {other} is not supported")),
        };
        error.context(format_args!("field {number} at offset {offset}"))
    }

    #[cold]
    fn bad_varint(&self) -> Error {
        let is_short = self.rest().len() < 10;
        let what = if is_short { "varint ends with the message" } else { "varint exceeds 64 bits" };
        failure(self.offset(), what.to_owned())
    }

    #[cold]
    fn bad_length(&mut self) -> Error {
        let Some(length) = self.varint() else { return self.bad_varint() };
        let left = self.rest().len();
        failure(self.offset(), format!("length is {length}; {left} bytes are left"))
    }
}

/// Messages one after the other, each behind its length as a varint.
#[derive(Debug, Clone)]
pub struct Delimited<'a>(Reader<'a>);

impl<'a> Delimited<'a> {
    /// A stream of messages.
    pub fn new(stream: &'a [u8]) -> Self {
        Self(Reader::new(stream))
    }

    /// The next message, or `None` at the end of the stream. Offsets count from the start of the stream.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the length or the message is cut off, naming the offset.
    pub fn next_message(&mut self) -> Result<Option<Reader<'a>>> {
        let stream = &mut self.0;
        if stream.at >= stream.bytes.len() {
            return Ok(None);
        }
        let offset = stream.offset();
        let Some(bytes) = stream.length_delimited() else {
            return Err(stream.bad_length().context(format_args!("message at offset {offset}")));
        };
        Ok(Some(Reader { bytes, at: 0, base: stream.offset() - bytes.len(), depth: 0 }))
    }
}

impl<'a> Field<'a> {
    /// An error about this field: `field 3 at offset 17: message`.
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        failure(self.offset, format!("field {} at offset {}: {message}", self.number, self.offset))
    }

    fn expected(&self, what: &str) -> Error {
        let found = match self.value {
            Value::Varint(_) => "a varint",
            Value::Fixed64(_) => "8 fixed bytes",
            Value::Bytes(_) => "a length and bytes",
            Value::Fixed32(_) => "4 fixed bytes",
        };
        self.error(format_args!("expected {what}, found {found}"))
    }

    /// `uint64`.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if the wire type is another; so for all methods of this kind.
    pub fn uint64(&self) -> Result<u64> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.expected("a varint")),
        }
    }

    /// `uint32`; larger values are cut to their low bits, as everywhere in protocol buffers.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn uint32(&self) -> Result<u32> {
        self.uint64().map(low_bits)
    }

    /// `int64`.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn int64(&self) -> Result<i64> {
        self.uint64().map(u64::cast_signed)
    }

    /// `int32`, also enumerations.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn int32(&self) -> Result<i32> {
        self.uint32().map(u32::cast_signed)
    }

    /// `sint64` (zigzag).
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn sint64(&self) -> Result<i64> {
        self.uint64().map(zigzag)
    }

    /// `sint32` (zigzag).
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn sint32(&self) -> Result<i32> {
        self.uint32().map(zigzag32)
    }

    /// `bool`.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn boolean(&self) -> Result<bool> {
        self.uint64().map(|value| value != 0)
    }

    /// `fixed64`.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn fixed64(&self) -> Result<u64> {
        match self.value {
            Value::Fixed64(value) => Ok(value),
            _ => Err(self.expected("8 fixed bytes")),
        }
    }

    /// `sfixed64`.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn sfixed64(&self) -> Result<i64> {
        self.fixed64().map(u64::cast_signed)
    }

    /// `double`.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn double(&self) -> Result<f64> {
        self.fixed64().map(f64::from_bits)
    }

    /// `fixed32`.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn fixed32(&self) -> Result<u32> {
        match self.value {
            Value::Fixed32(value) => Ok(value),
            _ => Err(self.expected("4 fixed bytes")),
        }
    }

    /// `float`.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn float(&self) -> Result<f32> {
        self.fixed32().map(f32::from_bits)
    }

    /// `bytes`.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64).
    pub fn bytes(&self) -> Result<&'a [u8]> {
        match self.value {
            Value::Bytes(content) => Ok(content),
            _ => Err(self.expected("a length and bytes")),
        }
    }

    /// `string`.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64), and for anything that is not UTF-8.
    pub fn text(&self) -> Result<&'a str> {
        let content = self.bytes()?;
        std::str::from_utf8(content).map_err(|e| {
            let at = self.content_offset + e.valid_up_to();
            self.error(format_args!("expected UTF-8, found an invalid byte at offset {at}"))
        })
    }

    /// A message inside the message.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64), and [`Limit`](ErrorKind::Limit) more than [`DEPTH_MAX`] deep.
    pub fn message(&self) -> Result<Reader<'a>> {
        let bytes = self.bytes()?;
        if self.depth >= DEPTH_MAX {
            let message = format!(
                "field {} at offset {}: messages go deeper than {DEPTH_MAX}",
                self.number, self.offset
            );
            return Err(Error::new(ErrorKind::Limit, message).with_span(self.offset, self.offset));
        }
        Ok(Reader { bytes, at: 0, base: self.content_offset, depth: self.depth + 1 })
    }

    /// Items of a `repeated` field of varints (`uint64`), packed into one field or alone in it. Convert with
    /// [`zigzag`] for `sint64`.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64), and for lists cut off; `each`'s own.
    pub fn varints(&self, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        match self.value {
            Value::Varint(value) => each(value),
            Value::Bytes(bytes) => {
                let mut list =
                    Reader { bytes, at: 0, base: self.content_offset, depth: self.depth };
                while list.at < bytes.len() {
                    let Some(value) = list.varint() else {
                        return Err(list.bad_varint().context(format_args!(
                            "field {} at offset {}: item at offset {}",
                            self.number,
                            self.offset,
                            list.offset()
                        )));
                    };
                    each(value)?;
                }
                Ok(())
            }
            _ => Err(self.expected("varints")),
        }
    }

    /// Items of a `repeated fixed64`, packed into one field or alone in it.
    ///
    /// # Errors
    /// As [`uint64`](Self::uint64), and for lists that are no multiple of 8 bytes.
    pub fn fixed64s(&self) -> Result<impl ExactSizeIterator<Item = u64> + 'a> {
        let (alone, packed): (Option<u64>, &'a [u8]) = match self.value {
            Value::Fixed64(value) => (Some(value), &[]),
            Value::Bytes(packed) => (None, packed),
            _ => return Err(self.expected("lists of 8 fixed bytes")),
        };
        let (items, rest) = packed.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(self.error(format_args!(
                "a packed list has {} bytes; expected a multiple of 8",
                packed.len()
            )));
        }
        Ok(Fixed64s { alone, items: items.iter() })
    }

    /// Items of a `repeated double`, likewise.
    ///
    /// # Errors
    /// As [`fixed64s`](Self::fixed64s).
    pub fn doubles(&self) -> Result<impl ExactSizeIterator<Item = f64> + 'a> {
        Ok(self.fixed64s()?.map(f64::from_bits))
    }
}

struct Fixed64s<'a> {
    alone: Option<u64>,
    items: std::slice::Iter<'a, [u8; 8]>,
}

impl Iterator for Fixed64s<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.alone.take().or_else(|| self.items.next().map(|b| u64::from_le_bytes(*b)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.items.len() + usize::from(self.alone.is_some());
        (left, Some(left))
    }
}

impl ExactSizeIterator for Fixed64s<'_> {}

/// The signed number a `sint64` varint stands for.
pub fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// The signed number a `sint32` varint stands for.
pub fn zigzag32(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[expect(clippy::cast_possible_truncation, reason = "protocol buffers cut 32-bit fields this way")]
fn low_bits(value: u64) -> u32 {
    value as u32
}

#[cold]
fn bad_number(offset: usize, number: u64) -> Error {
    failure(offset, format!("field number at offset {offset} is {number}; it must be 1 to 2^29-1"))
}

fn failure(offset: usize, message: String) -> Error {
    Error::invalid(message).with_span(offset, offset)
}
