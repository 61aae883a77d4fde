//! Paths and files of pushed groups: never panic.

#![no_main]

use ingest::pushgateway::{Group, group_labels};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    drop(Group::decode(bytes));
    if let Ok(path) = std::str::from_utf8(bytes) {
        drop(group_labels(path));
    }
});
