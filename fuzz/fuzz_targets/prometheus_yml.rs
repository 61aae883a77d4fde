//! `prometheus.yml` with any content.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use taffrail::prometheus_yml::load;

fuzz_target!(|text: &str| {
    // It names other files to read, and the fuzzer would find those of this machine.
    if text.contains("scrape_config_files") || text.contains('\\') {
        return;
    }
    let env = |name: &str| (name.len() % 2 == 0).then(|| name.to_owned());
    let path = Path::new("/nowhere/prometheus.yml");
    match load(path, text, &env) {
        Ok((_, notes)) => notes.iter().for_each(|note| assert!(!note.to_string().is_empty())),
        Err(e) => assert!(e.line <= text.split(['\n', '\r']).count() as u64, "{e}"),
    }
});
