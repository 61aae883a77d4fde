//! Floats: any bytes give as many values as asked for or an error; every bit pattern survives.

#![no_main]

use libfuzzer_sys::fuzz_target;
use storage::codec::{Reader, floats};
use taffrail_fuzz::Input;

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn survives(values: &[f64]) {
    let (mut bytes, mut back) = (Vec::new(), Vec::new());
    floats::encode(values, &mut bytes);
    let mut reader = Reader::new(&bytes);
    let decoded = floats::decode(&mut reader, values.len(), &mut back);
    assert!(decoded.is_ok() && reader.is_empty(), "{decoded:?}");
    assert_eq!(bits(&back), bits(values));
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let (count, exponent) = (usize::from(input.u16()), input.u8());
    let mut values = Vec::new();
    if floats::decode(&mut Reader::new(input.rest()), count, &mut values).is_ok() {
        assert_eq!(values.len(), count);
        survives(&values);
    }
    assert!(values.len() <= count);
    let number = |chunk: &[u8]| chunk.iter().fold(0_u64, |v, b| v << 8 | u64::from(*b));
    // Bit patterns, and the decimals that real series are made of.
    survives(&input.rest().chunks(8).map(|c| f64::from_bits(number(c))).collect::<Vec<_>>());
    let decimal = |c: &[u8]| floats::from_decimal(number(c).cast_signed(), exponent % 8);
    survives(&input.rest().chunks(3).map(decimal).collect::<Vec<_>>());
});
