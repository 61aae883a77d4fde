//! Fields of a block's rows, from foreign bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::Input;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let rows = input.u16();
    logdb::fuzzing::fields(input.rest(), usize::from(rows));
});
