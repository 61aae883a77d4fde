//! Files of cgroups, both versions, with any content.

#![no_main]

use ingest::docker::{DEVICES_MAX, Usage, cgroup};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for files in [cgroup::V1, cgroup::V2] {
        let mut usage = Usage::default();
        for file in files {
            file.apply(text, &mut usage);
            // Twice, as from one reading to the next.
            file.apply(text, &mut usage);
            cgroup::path_of(text, file.controller);
        }
        assert!(usage.devices.len() <= DEVICES_MAX);
        usage.memory_working_set();
        usage.clear();
        assert!(usage.devices.is_empty());
    }
    cgroup::pressure_totals(text);
});
