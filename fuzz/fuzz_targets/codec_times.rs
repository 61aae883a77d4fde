//! Timestamps: any bytes give as many values as asked for or an error; all values survive.

#![no_main]

use libfuzzer_sys::fuzz_target;
use storage::codec::{Reader, times};
use taffrail_fuzz::Input;

fn survives(values: &[i64]) {
    let (mut bytes, mut back) = (Vec::new(), Vec::new());
    times::encode(values, &mut bytes);
    let mut reader = Reader::new(&bytes);
    let decoded = times::decode(&mut reader, values.len(), &mut back);
    assert!(decoded.is_ok() && reader.is_empty(), "{decoded:?}");
    assert_eq!(back, values);
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let (count, width) = (usize::from(input.u16()), usize::from(input.u8() % 8) + 1);
    let mut values = Vec::new();
    if times::decode(&mut Reader::new(input.rest()), count, &mut values).is_ok() {
        assert_eq!(values.len(), count);
        survives(&values);
    }
    assert!(values.len() <= count);
    let signed = |chunk: &[u8]| chunk.iter().fold(0_i64, |v, b| v << 8 | i64::from(*b));
    survives(&input.rest().chunks(width).map(signed).collect::<Vec<_>>());
});
