//! `taffrail.yml` with any content, and the durations and sizes in it.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use taffrail::config::{RawConfig, duration_ms, parse_bytes};
use taffrail::yaml::parse;

fuzz_target!(|text: &str| {
    let path = Path::new("/nowhere/taffrail.yml");
    if let Err(e) = parse::<RawConfig>(path, text) {
        assert!(e.line <= text.split(['\n', '\r']).count() as u64, "{e}");
    }
    assert!(duration_ms(text).is_none_or(|ms| ms >= 0));
    parse_bytes(text);
});
