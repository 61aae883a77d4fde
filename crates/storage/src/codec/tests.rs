//! Round trips over random and special values, and decoders fed with noise.

use model::STALE_NAN_BITS;
use proptest::prelude::*;

use super::*;

fn special() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(STALE_NAN_BITS),
        Just((-0.0f64).to_bits()),
        Just(f64::INFINITY.to_bits()),
        Just(f64::NEG_INFINITY.to_bits()),
        Just(f64::NAN.to_bits()),
        Just(f64::MIN_POSITIVE.to_bits()),
        Just(f64::MAX.to_bits()),
        Just(1u64),
        any::<u64>(),
    ]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (-1000i64..100_000).prop_map(|i| floats::from_decimal(i, 0).to_bits()),
        4 => (any::<i32>(), 0u8..6).prop_map(|(i, e)| floats::from_decimal(i64::from(i), e).to_bits()),
        1 => special(),
    ]
}

fn counter() -> impl Strategy<Value = Vec<i64>> {
    (any::<i32>(), proptest::collection::vec(prop_oneof![9 => 0i64..50, 1 => any::<i64>()], 0..400))
        .prop_map(|(start, steps)| {
            let mut value = i64::from(start);
            steps
                .iter()
                .map(|step| {
                    value = value.wrapping_add(step.wrapping_mul(4096) % 1_000_000_007);
                    value
                })
                .collect()
        })
}

fn check_ints(values: &[i64]) {
    for encode in [ints::encode, ints::encode_brief] {
        let mut bytes = Vec::new();
        encode(values, &mut bytes);
        let mut r = Reader::new(&bytes);
        let mut back = Vec::new();
        ints::decode(&mut r, values.len(), &mut back).unwrap();
        assert_eq!(back, values);
        assert!(r.is_empty());
    }
}

/// Differences of any run of the values against those of the values themselves.
fn check_steps(values: &[i64], start: usize, end: usize) {
    let mut bytes = Vec::new();
    ints::encode(values, &mut bytes);
    let (mut before, mut steps) = (7, vec![0; end - start]);
    let r = &mut Reader::new(&bytes);
    let any = ints::decode_steps(r, values.len(), start..end, &mut before, &mut steps);
    let wanted = &values[start..end];
    let Some((first, last)) = wanted.first().zip(wanted.last()) else {
        return assert!(any.is_err());
    };
    let mut expected = vec![first.wrapping_sub(7).cast_unsigned()];
    expected.extend(wanted.windows(2).map(|w| w[1].wrapping_sub(w[0]).cast_unsigned()));
    assert_eq!((&steps, before), (&expected, *last));
    assert_eq!(any.unwrap(), expected[1..].iter().fold(0, |any, step| any | step));
}

/// Every width has code of its own, and so have full groups, full octets, and what is left of these.
#[test]
fn blocks_of_every_width_and_length_survive() {
    for width in 0..=64u32 {
        let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
        for len in 0..=bitpack::BLOCK {
            let noise = |k: usize| (k as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let values: Vec<u64> = (0..len).map(|k| noise(k) & mask).collect();
            let mut bytes = Vec::new();
            bitpack::encode_block(&values, &mut bytes);
            // What follows is another block.
            bytes.push(0xff);
            let (mut r, mut back) = (Reader::new(&bytes), vec![7; len]);
            bitpack::decode_block(&mut r, &mut back).unwrap();
            assert_eq!((back, r.remaining()), (values, 1), "{len} values of {width} bits");
        }
    }
}

fn check_floats(bits: &[u64]) -> usize {
    let values: Vec<f64> = bits.iter().map(|&b| f64::from_bits(b)).collect();
    let check = |encode: fn(&[f64], &mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&values, &mut bytes);
        let mut r = Reader::new(&bytes);
        let mut back = Vec::new();
        floats::decode(&mut r, values.len(), &mut back).unwrap();
        assert_eq!(back.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits);
        assert!(r.is_empty());
        bytes.len()
    };
    check(floats::encode_brief);
    check(floats::encode)
}

proptest! {
    #[test]
    fn the_least_exponent_is_found(
        bits in prop_oneof![
            value(),
            special(),
            (0u8..19, any::<i64>()).prop_map(|(e, i)| floats::from_decimal(i >> 8, e).to_bits()),
            (0u8..19, 0u8..54).prop_map(|(e, power)| floats::from_decimal((1 << power) - 1, e).to_bits()),
        ],
        least in 0u8..19,
    ) {
        let is_number = f64::from_bits(bits).is_finite() && bits != 1 << 63;
        let every = (least..=floats::EXPONENT_MAX).filter(|_| is_number);
        let expected = every.filter_map(|e| Some((e, floats::to_decimal(bits, e)?))).next();
        prop_assert_eq!(floats::find_decimal(bits, least), expected);
    }

    #[test]
    fn ints_survive(values in proptest::collection::vec(any::<i64>(), 0..300)) {
        check_ints(&values);
    }

    #[test]
    fn counters_survive(values in counter()) {
        check_ints(&values);
    }

    #[test]
    fn steps_are_those_of_the_values(
        values in prop_oneof![
            counter(),
            proptest::collection::vec(prop_oneof![9 => Just(4i64), 1 => any::<i64>()], 1..400),
            proptest::collection::vec(-40i64..40, 1..400),
            (any::<i64>(), -9i64..9, 1i64..400).prop_map(|(first, step, count)|
                (0..count).map(|k| first.wrapping_add(k * step)).collect()),
        ],
        cuts in (any::<prop::sample::Index>(), any::<prop::sample::Index>())
    ) {
        let (a, b) = (cuts.0.index(values.len() + 1), cuts.1.index(values.len() + 1));
        check_steps(&values, a.min(b), a.max(b));
        check_steps(&values, 0, values.len());
        let whole = values.iter().all(|v| v.unsigned_abs() < 1 << 53);
        let mut bytes = Vec::new();
        floats::encode(&values.iter().map(|v| *v as f64).collect::<Vec<_>>(), &mut bytes);
        if whole && !values.is_empty() {
            let (mut before, mut steps) = (0, vec![0; values.len()]);
            let r = &mut Reader::new(&bytes);
            let any = floats::decode_steps(r, values.len(), 0..values.len(), &mut before, &mut steps);
            prop_assert!(any.unwrap().is_some());
            prop_assert_eq!(before, values[values.len() - 1]);
        }
    }

    #[test]
    fn extreme_ints_survive(values in proptest::collection::vec(
        prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0i64), -3i64..3], 0..260)) {
        check_ints(&values);
    }

    #[test]
    fn floats_survive(bits in proptest::collection::vec(value(), 0..300)) {
        check_floats(&bits);
    }

    #[test]
    fn any_floats_survive(bits in proptest::collection::vec(special(), 0..300)) {
        check_floats(&bits);
    }

    #[test]
    fn times_survive(start in any::<i32>(), steps in proptest::collection::vec(
        prop_oneof![9 => 14_990i64..15_010, 1 => any::<i64>()], 0..300)) {
        let mut t = i64::from(start);
        let times: Vec<i64> = steps.iter().map(|s| { t = t.wrapping_add(*s); t }).collect();
        let mut bytes = Vec::new();
        times::encode(&times, &mut bytes);
        let mut back = Vec::new();
        times::decode(&mut Reader::new(&bytes), times.len(), &mut back).unwrap();
        prop_assert_eq!(back, times);
    }

    #[test]
    fn packed_blocks_survive(values in proptest::collection::vec(
        (any::<u64>(), 0u32..64).prop_map(|(v, s)| v >> s), 0..400)) {
        let mut bytes = Vec::new();
        bitpack::encode(&values, &mut bytes);
        let cost: usize = values.chunks(bitpack::BLOCK).map(bitpack::block_cost).sum();
        prop_assert_eq!(cost, bytes.len());
        let mut back = Vec::new();
        bitpack::decode(&mut Reader::new(&bytes), values.len(), &mut back).unwrap();
        prop_assert_eq!(back, values);
    }

    #[test]
    fn strings_survive(mut list in proptest::collection::vec(".{0,12}", 0..60)) {
        list.sort();
        let mut bytes = Vec::new();
        strings::encode(list.iter().map(String::as_str), &mut bytes);
        let table = strings::Table::decode(&mut Reader::new(&bytes)).unwrap();
        prop_assert_eq!(table.iter().collect::<Vec<_>>(), list.iter().map(String::as_str).collect::<Vec<_>>());
        for string in &list {
            let found = table.find(string).unwrap();
            prop_assert_eq!(table.get(found), Some(string.as_str()));
        }
    }

    #[test]
    fn varints_survive(value in any::<u64>(), signed in any::<i64>(), shift in 0u32..64) {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value >> shift);
        put_zigzag(&mut bytes, signed >> shift);
        let mut r = Reader::new(&bytes);
        prop_assert_eq!(r.varint().unwrap(), value >> shift);
        prop_assert_eq!(r.zigzag().unwrap(), signed >> shift);
        prop_assert!(r.is_empty());
    }

    #[test]
    fn noise_is_refused_or_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0usize..2000) {
        decode_noise(&bytes, count);
    }

    #[test]
    fn damaged_floats_are_refused_or_bounded(
        bits in proptest::collection::vec(special(), 1..200), at in any::<usize>(), flip in 1u8..=255
    ) {
        let values: Vec<f64> = bits.iter().map(|&b| f64::from_bits(b)).collect();
        let mut bytes = Vec::new();
        floats::encode(&values, &mut bytes);
        let at = at % bytes.len();
        bytes[at] ^= flip;
        decode_noise(&bytes, values.len());
    }

    #[test]
    fn blobs_survive_and_are_bounded(plain in proptest::collection::vec(0u8..4, 0..2000)) {
        let (mut lz4, mut zstd) = (Vec::new(), Vec::new());
        blob::compress_lz4(&plain, &mut lz4);
        blob::compress_zstd(&plain, 3, &mut zstd).unwrap();
        prop_assert_eq!(&blob::decompress_lz4(&lz4, 2000).unwrap(), &plain);
        prop_assert_eq!(&blob::decompress_zstd(&zstd, 2000).unwrap(), &plain);
        if !plain.is_empty() {
            prop_assert!(blob::decompress_lz4(&lz4, plain.len() - 1).is_err());
            prop_assert!(blob::decompress_zstd(&zstd, plain.len() - 1).is_err());
        }
    }
}

/// Runs every decoder; nothing may panic, and nothing may yield more than was asked for.
fn decode_noise(bytes: &[u8], count: usize) {
    let mut signed = Vec::new();
    if ints::decode(&mut Reader::new(bytes), count, &mut signed).is_ok() {
        assert_eq!(signed.len(), count);
    }
    let (mut before, mut steps) = (0, vec![0; count / 2]);
    ints::decode_steps(&mut Reader::new(bytes), count, 0..count / 2, &mut before, &mut steps).ok();
    let wanted = count - count / 2..count;
    steps.resize(wanted.len(), 0);
    floats::decode_steps(&mut Reader::new(bytes), count, wanted, &mut before, &mut steps).ok();
    let mut values = Vec::new();
    if floats::decode(&mut Reader::new(bytes), count, &mut values).is_ok() {
        assert_eq!(values.len(), count);
    }
    let mut stamps = Vec::new();
    if times::decode(&mut Reader::new(bytes), count, &mut stamps).is_ok() {
        assert_eq!(stamps.len(), count);
    }
    if let Ok(table) = strings::Table::decode(&mut Reader::new(bytes)) {
        assert!(table.len() <= bytes.len());
    }
    for plain in [blob::decompress_lz4(bytes, 4096), blob::decompress_zstd(bytes, 4096)] {
        assert!(plain.map_or(0, |p| p.len()) <= 4096);
    }
}

#[test]
fn smooth_series_are_small() {
    let constant = vec![42.5f64.to_bits(); 128];
    assert!(check_floats(&constant) <= 8);
    let line: Vec<u64> = (0..128).map(|i| floats::from_decimal(i * 150, 2).to_bits()).collect();
    assert!(check_floats(&line) <= 8);
    let mut ended = line.clone();
    ended.push(STALE_NAN_BITS);
    assert!(check_floats(&ended) <= 40, "a stale marker must not cost a series its packing");
    let pages: Vec<i64> = (0..128).map(|i| 4096 * (1000 + i * 7919 % 13)).collect();
    let mut bytes = Vec::new();
    ints::encode(&pages, &mut bytes);
    assert!(bytes.len() <= 128 / 2 + 16, "{}", bytes.len());
}

#[test]
fn overlong_varints_are_refused() {
    assert!(Reader::new(&[0xff; 11]).varint().is_err());
    assert!(Reader::new(&[0x80, 0x80]).varint().is_err());
}

#[test]
fn impossible_lengths_are_refused_before_they_are_allocated() {
    let mut blob = Vec::new();
    put_count(&mut blob, 1 << 30);
    blob.extend_from_slice(&[0; 20]);
    for refused in [blob::decompress_lz4(&blob, 1 << 30), blob::decompress_zstd(&blob, 1 << 30)] {
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("cannot have 1073741824 plain bytes"), "{message}");
    }
    // The best that zstd does stays possible.
    let (zeros, mut packed) = (vec![0; 32 << 20], Vec::new());
    blob::compress_zstd(&zeros, 3, &mut packed).unwrap();
    assert!(blob::decompress_zstd(&packed, zeros.len()).is_ok_and(|plain| plain == zeros));
}
