//! Gorilla chunks as Prometheus' TSDB writes them: delta-of-delta times, XORed values.
//!
//! Source: Prometheus, "tsdb/docs/format/chunks", XOR chunk data.

/// Bits, highest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits free in the last byte.
    free: u32,
}

impl Bits {
    /// The low `count` bits of `value`.
    fn push(&mut self, value: u64, count: u32) {
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

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.push(value, 8);
    }
}

/// A chunk of samples with ascending times (Unix milliseconds); at most 65,535 of them.
pub(super) fn encode(times: &[i64], values: &[f64]) -> Vec<u8> {
    let count = times.len() as u16;
    let mut bits = Bits { bytes: count.to_be_bytes().to_vec(), free: 0 };
    let (mut t, mut delta, mut value) = (0_i64, 0_i64, 0_u64);
    // Leading zeros and width of the window values are written into; none yet.
    let mut window: Option<(u32, u32)> = None;
    for (i, (&next_t, &next)) in times.iter().zip(values).enumerate() {
        let next = next.to_bits();
        let next_delta = next_t.wrapping_sub(t);
        match i {
            0 => {
                bits.varint(super::super::wire::zigzag(next_t));
                bits.push(next, 64);
            }
            1 => {
                bits.varint(next_delta as u64);
                xored(&mut bits, value ^ next, &mut window);
            }
            _ => {
                time(&mut bits, next_delta.wrapping_sub(delta));
                xored(&mut bits, value ^ next, &mut window);
            }
        }
        (t, delta, value) = (next_t, next_delta, next);
    }
    bits.bytes
}

/// A change of the distance between times, in the shortest of five forms.
fn time(bits: &mut Bits, change: i64) {
    let fits = |width: u32| {
        let half = 1_i64 << (width - 1);
        (-(half - 1)..=half).contains(&change)
    };
    match change {
        0 => bits.push(0, 1),
        _ if fits(14) => {
            bits.push(0b10, 2);
            bits.push(change as u64, 14);
        }
        _ if fits(17) => {
            bits.push(0b110, 3);
            bits.push(change as u64, 17);
        }
        _ if fits(20) => {
            bits.push(0b1110, 4);
            bits.push(change as u64, 20);
        }
        _ => {
            bits.push(0b1111, 4);
            bits.push(change as u64, 64);
        }
    }
}

fn xored(bits: &mut Bits, xor: u64, window: &mut Option<(u32, u32)>) {
    if xor == 0 {
        bits.push(0, 1);
        return;
    }
    bits.push(1, 1);
    // Five bits have room for 31.
    let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
    match *window {
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
            *window = Some((leading, width));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a chunk back, from the description of the format alone.
    fn decode(chunk: &[u8]) -> Vec<(i64, u64)> {
        let mut at = 16;
        let mut bit = |count: u32| {
            (0..count).fold(0_u64, |value, _| {
                let bit = chunk[at / 8] >> (7 - at % 8) & 1;
                at += 1;
                value << 1 | u64::from(bit)
            })
        };
        let count = usize::from(u16::from_be_bytes([chunk[0], chunk[1]]));
        let (mut t, mut delta, mut value) = (0_i64, 0_i64, 0_u64);
        let (mut leading, mut width) = (0, 0);
        let mut out = Vec::new();
        for i in 0..count {
            let varint = |bit: &mut dyn FnMut(u32) -> u64| {
                let (mut value, mut shift) = (0_u64, 0);
                loop {
                    let byte = bit(8);
                    value |= (byte & 0x7f) << shift;
                    shift += 7;
                    if byte < 0x80 {
                        return value;
                    }
                }
            };
            match i {
                0 => {
                    let raw = varint(&mut bit);
                    t = (raw >> 1) as i64 ^ -((raw & 1) as i64);
                    value = bit(64);
                    out.push((t, value));
                    continue;
                }
                1 => delta = varint(&mut bit) as i64,
                _ => {
                    let mut ones = 0;
                    while ones < 4 && bit(1) == 1 {
                        ones += 1;
                    }
                    let size = [0, 14, 17, 20, 64][ones];
                    let raw = bit(size);
                    let over = size > 0 && size < 64 && raw > 1 << (size - 1);
                    delta += if over { raw as i64 - (1 << size) } else { raw as i64 };
                }
            }
            t += delta;
            if bit(1) == 1 {
                if bit(1) == 1 {
                    leading = bit(5) as u32;
                    width = bit(6) as u32;
                    width = if width == 0 { 64 } else { width };
                }
                value ^= bit(width) << (64 - leading - width);
            }
            out.push((t, value));
        }
        out
    }

    proptest::proptest! {
        #[test]
        fn samples_come_back(
            steps in proptest::collection::vec((1_i64..40_000, proptest::num::f64::ANY, 0_u8..4), 0..200),
            start in -1_000_000_000_i64..2_000_000_000_000,
        ) {
            let (mut t, mut times, mut values) = (start, Vec::new(), Vec::new());
            for (step, value, kind) in steps {
                t += match kind { 0 => 15_000, 1 => step, 2 => 15_000 + step % 100, _ => step * 1_000_000 };
                times.push(t);
                values.push(if kind == 0 { 1.5 } else { value });
            }
            let expected: Vec<(i64, u64)> =
                times.iter().copied().zip(values.iter().map(|v| v.to_bits())).collect();
            proptest::prop_assert_eq!(decode(&encode(&times, &values)), expected);
        }
    }
}
