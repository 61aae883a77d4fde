//! Apache Thrift's binary and compact protocols: one pass over foreign bytes, value by value, without allocation.
//!
//! Owns: fields of structures, lists, numbers, texts, heads of messages, and errors that name field and offset. Does not
//! own: any structure; decoders match on [`Field::id`] and read the value with the method of the declared type. Unknown
//! fields are skipped.
//!
//! Bounds: a length or count never exceeds the bytes that are there, values nest [`DEPTH_MAX`] deep. Callers that keep
//! items of lists bound them with what they know.
//!
//! Source: Apache Thrift, "Thrift Binary protocol encoding" and "Thrift Compact protocol encoding".

#[cfg(test)]
mod tests;

use model::{Error, ErrorKind, Result};

use crate::protobuf::zigzag;

/// Structures, lists and maps inside each other at most.
pub const DEPTH_MAX: u32 = 64;

/// Bytes of a message's name at most; those of known methods have a dozen.
const NAME_BYTES_MAX: usize = 256;

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Big-endian numbers of fixed width.
    Binary,
    /// Variable-length numbers.
    Compact,
}

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Truth value.
    Bool,
    /// 8-bit number.
    I8,
    /// 16-bit number.
    I16,
    /// 32-bit number, also enumerations.
    I32,
    /// 64-bit number.
    I64,
    /// Floating point.
    Double,
    /// Text or bytes.
    Binary,
    /// Structure.
    Struct,
    /// Map.
    Map,
    /// List or set.
    List,
    /// 16 bytes.
    Uuid,
}

/// Field of a structure; its value is to be read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Number in the structure.
    pub id: i16,
    /// Type of its value.
    pub kind: Kind,
    offset: usize,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Wants an answer.
    Call,
    /// An answer.
    Reply,
    /// An answer that tells a failure.
    Exception,
    /// Wants no answer.
    Oneway,
}

/// Head of a message; its structure of arguments is to be read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: MessageKind,
    /// The method.
    pub name: &'a str,
}

/// A place in bytes of Thrift.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    protocol: Protocol,
    depth: u32,
    /// A truth value that the compact protocol has put into the head of its field.
    truth: Option<bool>,
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`.
    pub fn new(protocol: Protocol, bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, protocol, depth: 0, truth: None }
    }

    /// Offset of the next byte.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Reads the head of a message.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when there is none of this protocol.
    pub fn message(&mut self) -> Result<Message<'a>> {
        let (kind, name) = match self.protocol {
            Protocol::Binary => {
                let first = u32::from_be_bytes(self.fixed()?);
                if first >> 16 == 0x8001 {
                    let name = self.bytes_of_length()?;
                    self.fixed::<4>()?;
                    (first & 0xff, name)
                } else {
                    // The older form without a version: the name comes first.
                    let name = self.slice(first as usize)?;
                    let [kind] = self.fixed()?;
                    self.fixed::<4>()?;
                    (u32::from(kind), name)
                }
            }
            Protocol::Compact => {
                let [id, version_and_kind] = self.fixed()?;
                if id != 0x82 || version_and_kind & 0x1f != 1 {
                    return Err(self.error("expected a message of the compact protocol, version 1"));
                }
                self.varint()?;
                (u32::from(version_and_kind >> 5), self.bytes_of_length()?)
            }
        };
        let name = std::str::from_utf8(name).ok().filter(|name| name.len() <= NAME_BYTES_MAX);
        let name = name.ok_or_else(|| self.error("the name of a method is none"))?;
        let kind = match kind {
            1 => MessageKind::Call,
            2 => MessageKind::Reply,
            3 => MessageKind::Exception,
            4 => MessageKind::Oneway,
            other => return Err(self.error(format_args!("messages have no type {other}"))),
        };
        Ok(Message { kind, name })
    }

    /// Reads a structure: `each` is called with its fields in the order of the bytes and reads or leaves their values.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when it is cut off or of no known form, [`Limit`](ErrorKind::Limit) when values
    /// nest too deep; `each`'s own.
    pub fn structure(
        &mut self,
        mut each: impl FnMut(&mut Self, Field) -> Result<()>,
    ) -> Result<()> {
        self.deeper()?;
        let mut last_id = 0;
        while let Some(field) = self.field(last_id)? {
            last_id = field.id;
            let (at, truth) = (self.at, self.truth);
            each(self, field)?;
            if (self.at, self.truth) == (at, truth) {
                // Left, or of no bytes, which is the same.
                self.skip(field.kind)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(&mut self, last_id: i16) -> Result<Option<Field>> {
        let offset = self.at;
        let [head] = self.fixed()?;
        match self.protocol {
            Protocol::Binary => {
                if head == 0 {
                    return Ok(None);
                }
                let kind = self.kind(head)?;
                Ok(Some(Field { id: i16::from_be_bytes(self.fixed()?), kind, offset }))
            }
            Protocol::Compact => {
                if head & 0x0f == 0 {
                    return Ok(None);
                }
                let kind = self.kind(head & 0x0f)?;
                let id = match i16::from(head >> 4) {
                    0 => self.whole::<i16>()?,
                    step => last_id
                        .checked_add(step)
                        .ok_or_else(|| self.error("the number of a field exceeds 32767"))?,
                };
                if kind == Kind::Bool {
                    self.truth = Some(head & 0x0f == 1);
                }
                Ok(Some(Field { id, kind, offset }))
            }
        }
    }

    /// Reads the list that is the value of `field`: `each` is called once per item and must read it; returns how many.
    ///
    /// # Errors
    /// As [`structure`](Self::structure), and when the items are of another type than `kind`.
    pub fn list(
        &mut self,
        field: Field,
        kind: Kind,
        mut each: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<usize> {
        self.expect(field, Kind::List)?;
        let (found, count) = self.begin_list()?;
        if count > 0 && found != kind {
            return Err(self.mistaken(field, &format!("a list of {kind:?}"), found));
        }
        self.deeper()?;
        for _ in 0..count {
            each(self)?;
        }
        self.depth -= 1;
        Ok(count)
    }

    /// A list that stands alone here, as in bodies without a message around.
    pub fn bare_list(&self) -> Field {
        Field { id: 0, kind: Kind::List, offset: self.at }
    }

    /// Type and count of the items; there are at least as many bytes.
    fn begin_list(&mut self) -> Result<(Kind, usize)> {
        let [head] = self.fixed()?;
        let (kind, count) = match self.protocol {
            Protocol::Binary => {
                let count = u32::from_be_bytes(self.fixed()?);
                // An empty list may name no type.
                let kind = if count == 0 { Kind::Struct } else { self.kind(head)? };
                (kind, u64::from(count))
            }
            Protocol::Compact => {
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                let kind = if count == 0 { Kind::Struct } else { self.kind(head & 0x0f)? };
                (kind, count)
            }
        };
        Ok((kind, self.bounded(count, "list of")?))
    }

    fn bounded(&self, count: u64, what: &str) -> Result<usize> {
        let left = self.bytes.len() - self.at;
        usize::try_from(count).ok().filter(|count| *count <= left).ok_or_else(|| {
            self.error(format_args!("{what} {count} items in {left} bytes that are left"))
        })
    }

    /// The `bool` that is the value of `field`.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if the type is another or the bytes end; so for all methods of this kind.
    pub fn boolean(&mut self, field: Field) -> Result<bool> {
        self.expect(field, Kind::Bool)?;
        match self.truth.take() {
            Some(truth) => Ok(truth),
            None => Ok(self.fixed::<1>()? == [1]),
        }
    }

    /// `i16`.
    ///
    /// # Errors
    /// As [`boolean`](Self::boolean).
    pub fn i16(&mut self, field: Field) -> Result<i16> {
        self.expect(field, Kind::I16)?;
        match self.protocol {
            Protocol::Binary => Ok(i16::from_be_bytes(self.fixed()?)),
            Protocol::Compact => self.whole(),
        }
    }

    /// `i32`, also enumerations.
    ///
    /// # Errors
    /// As [`boolean`](Self::boolean).
    pub fn i32(&mut self, field: Field) -> Result<i32> {
        self.expect(field, Kind::I32)?;
        match self.protocol {
            Protocol::Binary => Ok(i32::from_be_bytes(self.fixed()?)),
            Protocol::Compact => self.whole(),
        }
    }

    /// `i64`.
    ///
    /// # Errors
    /// As [`boolean`](Self::boolean).
    pub fn i64(&mut self, field: Field) -> Result<i64> {
        self.expect(field, Kind::I64)?;
        match self.protocol {
            Protocol::Binary => Ok(i64::from_be_bytes(self.fixed()?)),
            Protocol::Compact => self.whole(),
        }
    }

    /// `double`.
    ///
    /// # Errors
    /// As [`boolean`](Self::boolean).
    pub fn double(&mut self, field: Field) -> Result<f64> {
        self.expect(field, Kind::Double)?;
        let bytes = self.fixed()?;
        Ok(match self.protocol {
            Protocol::Binary => f64::from_be_bytes(bytes),
            Protocol::Compact => f64::from_le_bytes(bytes),
        })
    }

    /// `binary`.
    ///
    /// # Errors
    /// As [`boolean`](Self::boolean).
    pub fn binary(&mut self, field: Field) -> Result<&'a [u8]> {
        self.expect(field, Kind::Binary)?;
        self.bytes_of_length()
    }

    /// `string`.
    ///
    /// # Errors
    /// As [`boolean`](Self::boolean), and for anything that is not UTF-8.
    pub fn text(&mut self, field: Field) -> Result<&'a str> {
        let bytes = self.binary(field)?;
        let start = self.at - bytes.len();
        std::str::from_utf8(bytes).map_err(|e| {
            let at = start + e.valid_up_to();
            let id = field.id;
            self.error(format_args!(
                "field {id}: expected UTF-8, found an invalid byte at offset {at}"
            ))
        })
    }

    /// Goes into the structure that is the value of `field`.
    ///
    /// # Errors
    /// As [`structure`](Self::structure).
    pub fn inner(
        &mut self,
        field: Field,
        each: impl FnMut(&mut Self, Field) -> Result<()>,
    ) -> Result<()> {
        self.expect(field, Kind::Struct)?;
        self.structure(each)
    }

    /// Goes past a value.
    fn skip(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Bool => {
                if self.truth.take().is_none() {
                    self.slice(1)?;
                }
            }
            Kind::I8 => {
                self.slice(1)?;
            }
            Kind::I16 | Kind::I32 | Kind::I64 => match (self.protocol, kind) {
                (Protocol::Compact, _) => {
                    self.varint()?;
                }
                (Protocol::Binary, Kind::I16) => {
                    self.slice(2)?;
                }
                (Protocol::Binary, Kind::I32) => {
                    self.slice(4)?;
                }
                (Protocol::Binary, _) => {
                    self.slice(8)?;
                }
            },
            Kind::Double => {
                self.slice(8)?;
            }
            Kind::Uuid => {
                self.slice(16)?;
            }
            Kind::Binary => {
                self.bytes_of_length()?;
            }
            Kind::Struct => {
                self.deeper()?;
                let mut last_id = 0;
                while let Some(field) = self.field(last_id)? {
                    last_id = field.id;
                    self.skip(field.kind)?;
                }
                self.depth -= 1;
            }
            Kind::List => {
                let (kind, count) = self.begin_list()?;
                self.skip_items(&[kind], count)?;
            }
            Kind::Map => self.skip_map()?,
        }
        Ok(())
    }

    fn skip_map(&mut self) -> Result<()> {
        let (kinds, count) = match self.protocol {
            Protocol::Binary => {
                let kinds: [u8; 2] = self.fixed()?;
                (kinds, u64::from(u32::from_be_bytes(self.fixed()?)))
            }
            Protocol::Compact => match self.varint()? {
                0 => ([0; 2], 0),
                count => {
                    let [kinds] = self.fixed()?;
                    ([kinds >> 4, kinds & 0x0f], count)
                }
            },
        };
        if count == 0 {
            // An empty map may name no types.
            return Ok(());
        }
        let count = self.bounded(count, "map of")?;
        let [key, value] = kinds.map(|number| self.kind(number));
        self.skip_items(&[key?, value?], count)
    }

    fn skip_items(&mut self, kinds: &[Kind], count: usize) -> Result<()> {
        self.deeper()?;
        for _ in 0..count {
            for kind in kinds {
                self.skip(*kind)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn kind(&self, number: u8) -> Result<Kind> {
        Ok(match (self.protocol, number) {
            (Protocol::Binary, 2) | (Protocol::Compact, 1 | 2) => Kind::Bool,
            (_, 3) => Kind::I8,
            (Protocol::Binary, 6) | (Protocol::Compact, 4) => Kind::I16,
            (Protocol::Binary, 8) | (Protocol::Compact, 5) => Kind::I32,
            (Protocol::Binary, 10) | (Protocol::Compact, 6) => Kind::I64,
            (Protocol::Binary, 4) | (Protocol::Compact, 7) => Kind::Double,
            (Protocol::Binary, 11) | (Protocol::Compact, 8) => Kind::Binary,
            (_, 12) => Kind::Struct,
            (Protocol::Binary, 13) | (Protocol::Compact, 11) => Kind::Map,
            (Protocol::Binary, 14 | 15) | (Protocol::Compact, 9 | 10) => Kind::List,
            (Protocol::Binary, 16) | (Protocol::Compact, 13) => Kind::Uuid,
            (protocol, other) => {
                let why = format!("the {protocol:?} protocol has no type {other}");
                return Err(self.error(why));
            }
        })
    }

    fn bytes_of_length(&mut self) -> Result<&'a [u8]> {
        let length = match self.protocol {
            Protocol::Binary => u64::from(u32::from_be_bytes(self.fixed()?)),
            Protocol::Compact => self.varint()?,
        };
        self.slice(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(slice) = rest.get(..len) else {
            let left = rest.len();
            return Err(self.error(format_args!("value needs {len} bytes; {left} are left")));
        };
        self.at += len;
        Ok(slice)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let slice = self.slice(N)?;
        Ok(slice.try_into().expect("BUG: it has the length that was asked for"))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed()?;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("varint exceeds 64 bits"))
    }

    fn whole<T: TryFrom<i64>>(&mut self) -> Result<T> {
        let value = zigzag(self.varint()?);
        T::try_from(value).map_err(|_| {
            self.error(format_args!("{value} does not fit in {} bits", 8 * size_of::<T>()))
        })
    }

    /// Looks at the type of a field.
    ///
    /// # Errors
    /// As [`boolean`](Self::boolean).
    pub fn expect(&self, field: Field, kind: Kind) -> Result<()> {
        if field.kind == kind {
            return Ok(());
        }
        Err(self.mistaken(field, &format!("{kind:?}"), field.kind))
    }

    fn mistaken(&self, field: Field, expected: &str, found: Kind) -> Error {
        let Field { id, offset, .. } = field;
        Error::invalid(format!(
            "field {id} at offset {offset}: expected {expected}, found {found:?}"
        ))
        .with_span(offset, offset)
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let message = format!("values at offset {} nest deeper than {DEPTH_MAX}", self.at);
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(())
    }

    fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::invalid(format!("{message} at offset {}", self.at)).with_span(self.at, self.at)
    }
}
