//! `/proc/PID/net/dev` with any content.

#![no_main]

use ingest::docker::{DEVICES_MAX, netdev};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut interfaces = Vec::new();
    netdev::decode(text, &mut interfaces);
    assert!(interfaces.len() <= DEVICES_MAX);
    for interface in &interfaces {
        assert!(text.contains(&interface.name));
        netdev::is_ignored(&interface.name);
    }
});
