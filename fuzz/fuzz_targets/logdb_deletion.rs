//! A deletion of log rows, as the manifest holds it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Either outcome is fine; it must come back.
    logdb::inspect::deletion(bytes).ok();
});
