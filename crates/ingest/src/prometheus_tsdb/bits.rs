//! The bit streams inside chunks: single bits, integers in classes of width, floats as differences to the one before.

use model::{Error, Result};

/// Reads bits from the most significant end.
#[derive(Debug, Clone)]
pub(super) struct Bits<'a> {
    rest: &'a [u8],
    /// The next bits, at the top.
    word: u64,
    /// How many of `word` are there.
    have: u32,
}

/// Widths of the classes of variable-width integers; the unary prefix is the index.
const VARBIT_WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];
/// Likewise of differences of timestamps in float chunks.
const TIME_WIDTHS: [u32; 5] = [0, 14, 17, 20, 64];

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, word: 0, have: 0 }
    }

    fn refill(&mut self) {
        while self.have <= 56 {
            let Some((&byte, rest)) = self.rest.split_first() else { return };
            self.rest = rest;
            self.word |= u64::from(byte) << (56 - self.have);
            self.have += 8;
        }
    }

    pub(super) fn bit(&mut self) -> Result<bool> {
        if self.have == 0 {
            self.refill();
            if self.have == 0 {
                return Err(ended());
            }
        }
        let bit = self.word >> 63 == 1;
        self.word <<= 1;
        self.have -= 1;
        Ok(bit)
    }

    /// The next `width` bits, at most 64.
    pub(super) fn bits(&mut self, width: u32) -> Result<u64> {
        if width == 0 {
            return Ok(0);
        }
        if width > 56 {
            let high = self.bits(width - 32)?;
            return Ok(high << 32 | self.bits(32)?);
        }
        if self.have < width {
            self.refill();
            if self.have < width {
                return Err(ended());
            }
        }
        let bits = self.word >> (64 - width);
        self.word <<= width;
        self.have -= width;
        Ok(bits)
    }

    /// How many ones come before the next zero, at most `max`; a full run has no zero behind it.
    fn unary(&mut self, max: usize) -> Result<usize> {
        for ones in 0..max {
            if !self.bit()? {
                return Ok(ones);
            }
        }
        Ok(max)
    }

    fn signed(&mut self, width: u32) -> Result<i64> {
        let raw = self.bits(width)?;
        if width == 64 || width == 0 {
            return Ok(raw.cast_signed());
        }
        // Each class reaches one further up than down: all ones but the top bit stand for the largest value plus one.
        let top = 1_u64 << (width - 1);
        Ok(if raw > top { raw.cast_signed() - (1_i64 << width) } else { raw.cast_signed() })
    }

    pub(super) fn varbit_int(&mut self) -> Result<i64> {
        let class = self.unary(8)?;
        self.signed(VARBIT_WIDTHS[class])
    }

    pub(super) fn varbit_uint(&mut self) -> Result<u64> {
        let class = self.unary(8)?;
        self.bits(VARBIT_WIDTHS[class])
    }

    /// A change of the distance of timestamps in a float chunk.
    pub(super) fn time_difference(&mut self) -> Result<i64> {
        let class = self.unary(4)?;
        self.signed(TIME_WIDTHS[class])
    }

    /// A varint of bytes at whatever bit the stream is.
    pub(super) fn uvarint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for i in 0..10 {
            let byte = self.bits(8)?;
            if i == 9 && byte > 1 {
                break;
            }
            value |= (byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::corrupt("varint in a chunk exceeds 64 bits"))
    }

    pub(super) fn varint(&mut self) -> Result<i64> {
        let raw = self.uvarint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    pub(super) fn f64(&mut self) -> Result<f64> {
        self.bits(64).map(f64::from_bits)
    }
}

fn ended() -> Error {
    Error::corrupt("chunk ends inside a sample")
}

/// A float that is written as its difference to the one before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct XorFloat {
    pub(super) value: f64,
    leading: u32,
    trailing: u32,
}

impl XorFloat {
    pub(super) fn new(value: f64) -> Self {
        Self { value, leading: 0, trailing: 0 }
    }

    /// Moves on to the next value.
    pub(super) fn advance(&mut self, bits: &mut Bits<'_>) -> Result<f64> {
        if !bits.bit()? {
            return Ok(self.value);
        }
        if bits.bit()? {
            let leading = u32::try_from(bits.bits(5)?).expect("BUG: five bits");
            // No difference at all has its own class, so 0 stands for 64.
            let significant = match u32::try_from(bits.bits(6)?).expect("BUG: six bits") {
                0 => 64,
                n => n,
            };
            if leading + significant > 64 {
                return Err(Error::corrupt(format!(
                    "{leading} leading and {significant} significant bits of a value are over 64"
                )));
            }
            (self.leading, self.trailing) = (leading, 64 - leading - significant);
        }
        let difference = bits.bits(64 - self.leading - self.trailing)? << self.trailing;
        self.value = f64::from_bits(self.value.to_bits() ^ difference);
        Ok(self.value)
    }
}
