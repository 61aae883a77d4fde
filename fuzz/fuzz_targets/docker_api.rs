//! Answers of the container engine: the same bytes as each of the answers.

#![no_main]

use ingest::docker::api;
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::assert_bounded;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((listed, unreadable)) = api::decode_list(bytes) {
        assert!(listed.len() as u64 + unreadable <= bytes.len() as u64);
        assert_bounded(listed.iter().map(|l| l.id.len() + size_of_val(l)).sum(), bytes.len() * 16);
    }
    if let Ok(inspected) = api::decode_inspect(bytes) {
        assert!(inspected.cpu_limit_cores() >= 0.0);
    }
    if let Ok(usage) = api::decode_stats(bytes) {
        assert!(usage.devices.len() <= ingest::docker::DEVICES_MAX);
        if let (Some(working_set), Some(used)) = (usage.memory_working_set(), usage.memory_usage) {
            assert!(working_set <= used);
        }
    }
    api::decode_event(bytes).ok();
    api::decode_version(bytes).ok();
    api::decode_info(bytes).ok();
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(api::decode_time_ns(text).is_none_or(|ns| ns > 0));
    }
});
