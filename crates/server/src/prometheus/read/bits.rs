//! The bit streams inside chunks, written: bits from the highest on, integers in classes of width, floats as differences
//! to the one before. Reading them is [`ingest::prometheus_tsdb`]'s.
//!
//! Source: Prometheus, "tsdb/docs/format/chunks".

use super::super::wire::zigzag;

/// Bits, highest first.
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits free in the last byte.
    free: u32,
}

impl Bits {
    /// Goes on behind `bytes`.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, free: 0 }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// The low `count` bits of `value`.
    pub(super) fn push(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let part = (value >> (left - take)) as u8 & (0xff_u16 >> (8 - take)) as u8;
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << (self.free - take);
            }
            self.free -= take;
            left -= take;
        }
    }

    pub(super) fn float(&mut self, value: f64) {
        self.push(value.to_bits(), 64);
    }

    /// A base-128 number of bytes, at whatever bit the stream is.
    pub(super) fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.push(value, 8);
    }

    /// The same for numbers of either sign.
    pub(super) fn varint(&mut self, value: i64) {
        self.uvarint(zigzag(value));
    }

    /// A change of the distance between times of float samples.
    pub(super) fn time_difference(&mut self, change: i64) {
        self.classed(change, &[14, 17, 20]);
    }

    /// A number of either sign, short when it is near zero.
    pub(super) fn varbit_int(&mut self, value: i64) {
        self.classed(value, &[3, 6, 9, 12, 18, 25, 56]);
    }

    /// A number that is not negative, short when it is small.
    pub(super) fn varbit_uint(&mut self, value: u64) {
        let width = 64 - value.leading_zeros();
        self.in_class(value, &[3, 6, 9, 12, 18, 25, 56], |class| width <= class);
    }

    fn classed(&mut self, value: i64, widths: &[u32]) {
        // Each class reaches one further up than down.
        let fits = |width: u32| {
            let half = 1_i64 << (width - 1);
            (-(half - 1)..=half).contains(&value)
        };
        self.in_class(value as u64, widths, fits);
    }

    /// As many ones as classes are passed over, a zero, and the low bits; all 64 bits follow the ones of all classes.
    fn in_class(&mut self, value: u64, widths: &[u32], fits: impl Fn(u32) -> bool) {
        if value == 0 {
            self.push(0, 1);
            return;
        }
        for (passed, &width) in (1..).zip(widths) {
            if fits(width) {
                self.push((1 << (passed + 1)) - 2, passed + 1);
                self.push(value, width);
                return;
            }
        }
        let ones = widths.len() as u32 + 1;
        self.push((1 << ones) - 1, ones);
        self.push(value, 64);
    }
}

/// A float that is written as its difference to the one before.
#[derive(Clone, Copy, Default)]
pub(super) struct XorFloat {
    before: u64,
    /// Leading zeros and width of the window differences are written into; none yet.
    window: Option<(u32, u32)>,
}

impl XorFloat {
    /// The first one, whole.
    pub(super) fn first(bits: &mut Bits, value: f64) -> Self {
        bits.float(value);
        Self { before: value.to_bits(), window: None }
    }

    pub(super) fn next(&mut self, bits: &mut Bits, value: f64) {
        let xor = self.before ^ value.to_bits();
        self.before = value.to_bits();
        if xor == 0 {
            bits.push(0, 1);
            return;
        }
        bits.push(1, 1);
        // Five bits have room for 31.
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        match self.window {
            Some((first, width)) if leading >= first && trailing >= 64 - first - width => {
                bits.push(0, 1);
                bits.push(xor >> (64 - first - width), width);
            }
            _ => {
                let width = 64 - leading - trailing;
                bits.push(1, 1);
                bits.push(u64::from(leading), 5);
                // 64 does not fit into six bits and is written as 0, which cannot occur.
                bits.push(u64::from(width & 63), 6);
                bits.push(xor >> trailing, width);
                self.window = Some((leading, width));
            }
        }
    }
}
