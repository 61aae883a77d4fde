//! Encodings: pure functions between values and bytes, shared by the WAL records and parts of all stores.
//!
//! Owns: [`bitpack`] (blocks of 128 integers), [`ints`] (const, delta, delta of delta, frame of reference, by cost),
//! [`floats`] (exact decimals, lossless for every bit pattern), [`times`] (grid and residual), [`strings`] (front-coded
//! sorted lists), [`blob`] (general compression with a bound), [`lanes`] (loops in the version that suits the processor).
//! Does not own: files, checksums, what the values mean. The formats are drawn in `docs/format/codec.md`.
//!
//! Every decoder takes foreign bytes: it never panics, and never allocates more than its caller's count allows.

pub mod bitpack;
pub mod blob;
pub mod floats;
pub mod ints;
pub mod lanes;
pub mod strings;
pub mod times;

#[cfg(test)]
mod tests;

use model::{Error, Result};

/// Values one encoded sequence may have; a decoder refuses larger counts before it allocates.
pub const COUNT_MAX: usize = 1 << 24;

/// Takes values from the front of a byte slice, refusing to go past its end.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes taken so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when fewer are left; so for all methods below.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        match self.bytes.get(self.position..).and_then(|rest| rest.get(..n)) {
            Some(taken) => {
                self.position += n;
                Ok(taken)
            }
            None => Err(self.short(n)),
        }
    }

    #[cold]
    fn short(&self, n: usize) -> Error {
        let (position, left) = (self.position, self.remaining());
        Error::corrupt(format!("need {n} bytes at offset {position}, {left} are left"))
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[inline]
    pub fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A LEB128 varint of at most ten bytes.
    ///
    /// # Errors
    /// As [`take`](Self::take), or when it does not fit 64 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u64> {
        // One and two bytes are most.
        let Some(&[first, second]) =
            self.bytes.get(self.position..).and_then(|rest| rest.first_chunk::<2>())
        else {
            return self.varint_long();
        };
        if first < 0x80 {
            self.position += 1;
            return Ok(u64::from(first));
        }
        if second < 0x80 {
            self.position += 2;
            return Ok(u64::from(first & 0x7f) | u64::from(second) << 7);
        }
        self.varint_long()
    }

    fn varint_long(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::corrupt(format!("varint before offset {} is over 64 bits", self.position)))
    }

    /// A zigzag varint.
    ///
    /// # Errors
    /// As [`varint`](Self::varint).
    #[inline]
    pub fn zigzag(&mut self) -> Result<i64> {
        self.varint().map(unzigzag)
    }

    /// A varint that counts things of which at most `max` may exist.
    ///
    /// # Errors
    /// As [`varint`](Self::varint), or when it is over `max`.
    #[inline]
    pub fn count(&mut self, max: usize) -> Result<usize> {
        let count = self.varint()?;
        match usize::try_from(count) {
            Ok(count) if count <= max => Ok(count),
            _ => Err(self.too_many(count, max)),
        }
    }

    #[cold]
    fn too_many(&self, count: u64, max: usize) -> Error {
        let position = self.position;
        Error::corrupt(format!("count {count} before offset {position} is over the limit {max}"))
    }

    /// A varint length and that many bytes.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.count(self.remaining())?;
        self.take(len)
    }

    /// A varint length and that many bytes of UTF-8.
    ///
    /// # Errors
    /// As [`take`](Self::take), or when it is not UTF-8.
    pub fn str(&mut self) -> Result<&'a str> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|e| {
            Error::corrupt(format!("text before offset {} is not UTF-8: {e}", self.position))
        })
    }
}

/// Maps small positive and negative numbers to small ones: 0, -1, 1, -2, … become 0, 1, 2, 3, ….
#[inline]
pub fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// The inverse of [`zigzag`].
#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Appends `value` as a LEB128 varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a count or length as a varint.
#[inline]
pub fn put_count(out: &mut Vec<u8>, count: usize) {
    put_varint(out, count as u64);
}

/// Appends `value` as a zigzag varint.
#[inline]
pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends a varint length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Refuses counts over [`COUNT_MAX`].
fn check_count(count: usize) -> Result<()> {
    if count > COUNT_MAX {
        return Err(Error::corrupt(format!("{count} values are over the limit {COUNT_MAX}")));
    }
    Ok(())
}
