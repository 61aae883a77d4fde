//! Columns of the log store: foreign bytes never panic; lines survive, and searching agrees with reading.

#![no_main]

use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::Input;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let choice = input.u8();
    let needle = input.u8() % 32;
    let needle = input.take(usize::from(needle));
    if choice == 0 {
        let rows = input.u16();
        logdb::fuzzing::column(input.rest(), usize::from(rows), needle);
    } else {
        let damage: Vec<(u16, u8)> = (0..choice % 4).map(|_| (input.u16(), input.u8())).collect();
        let Ok(text) = std::str::from_utf8(input.rest()) else { return };
        let lines: Vec<&[u8]> = text.split('\n').map(str::as_bytes).collect();
        logdb::fuzzing::lines(&lines, needle, &damage);
    }
});
