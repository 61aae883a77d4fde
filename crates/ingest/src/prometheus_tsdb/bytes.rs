//! Big-endian numbers, varints and texts at the front of a byte slice, and checksums. Nothing is sized by a claim.

use model::{Error, Result};

/// Takes numbers and bytes from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, whole: bytes.len() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes taken so far.
    pub(super) fn offset(&self) -> usize {
        self.whole - self.rest.len()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(Error::corrupt(format!(
                "{len} bytes are needed at offset {}, {} are there",
                self.offset(),
                self.rest.len()
            )));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("BUG: as many bytes as asked for"))
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn f64(&mut self) -> Result<f64> {
        self.u64().map(f64::from_bits)
    }

    pub(super) fn uvarint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if i == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(Error::corrupt(format!("no varint at offset {}", self.offset())))
    }

    /// A signed varint, zigzag.
    pub(super) fn varint(&mut self) -> Result<i64> {
        let raw = self.uvarint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A varint that sizes or numbers something in memory; the caller bounds it by the bytes that are there.
    pub(super) fn length(&mut self) -> Result<usize> {
        let value = self.uvarint()?;
        usize::try_from(value)
            .map_err(|_| Error::corrupt(format!("length {value} at offset {}", self.offset())))
    }

    /// How many items follow, of which each takes a byte or more.
    pub(super) fn count(&mut self) -> Result<usize> {
        let count = self.length()?;
        if count > self.rest.len() {
            return Err(Error::corrupt(format!(
                "{count} items are claimed at offset {}, {} bytes are there",
                self.offset(),
                self.rest.len()
            )));
        }
        Ok(count)
    }

    /// A text with its length in front.
    pub(super) fn text(&mut self) -> Result<&'a str> {
        let len = self.length()?;
        let at = self.offset();
        std::str::from_utf8(self.take(len)?)
            .map_err(|_| Error::corrupt(format!("text at offset {at} is not UTF-8")))
    }
}

/// Takes the checksum off the end of `bytes` and holds it against what is before.
pub(super) fn checked<'a>(bytes: &'a [u8], what: &str) -> Result<&'a [u8]> {
    let Some((body, stored)) = bytes.split_last_chunk::<4>() else {
        return Err(Error::corrupt(format!("{what} has {} bytes; need 4", bytes.len())));
    };
    let (stored, found) = (u32::from_be_bytes(*stored), crc32c::crc32c(body));
    if stored != found {
        return Err(Error::corrupt(format!(
            "checksum of {what} is {found:08x}; {stored:08x} was written"
        )));
    }
    Ok(body)
}
