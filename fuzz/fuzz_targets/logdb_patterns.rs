//! Which pattern each row of a block has: lines survive, and damage is refused or bounded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::Input;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let count = input.u8() % 4;
    let damage: Vec<(u16, u8)> = (0..count).map(|_| (input.u16(), input.u8())).collect();
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    let lines: Vec<&[u8]> = text.split('\n').map(str::as_bytes).collect();
    logdb::fuzzing::patterns(&lines, &damage);
});
