//! Gorilla chunks as Prometheus' TSDB writes them: delta-of-delta times, XORed values.
//!
//! Source: Prometheus, "tsdb/docs/format/chunks", XOR chunk data.

use super::bits::{Bits, XorFloat};

/// A chunk of samples with ascending times (Unix milliseconds); at most 65,535 of them.
pub(super) fn encode(times: &[i64], values: &[f64]) -> Vec<u8> {
    let count = times.len() as u16;
    let mut bits = Bits::after(count.to_be_bytes().to_vec());
    let (mut t, mut delta, mut value) = (0_i64, 0_i64, XorFloat::default());
    for (i, (&next_t, &next)) in times.iter().zip(values).enumerate() {
        let next_delta = next_t.wrapping_sub(t);
        match i {
            0 => {
                bits.varint(next_t);
                value = XorFloat::first(&mut bits, next);
            }
            1 => {
                bits.uvarint(next_delta as u64);
                value.next(&mut bits, next);
            }
            _ => {
                bits.time_difference(next_delta.wrapping_sub(delta));
                value.next(&mut bits, next);
            }
        }
        (t, delta) = (next_t, next_delta);
    }
    bits.finish()
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
