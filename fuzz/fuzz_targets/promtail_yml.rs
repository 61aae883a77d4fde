//! `promtail.yml`: never panics, a mistake is always in the file; stages that load run.

#![no_main]

use std::path::Path;

use ingest::pipeline::{Entry, Metrics, Pipeline};
use libfuzzer_sys::fuzz_target;
use model::ManualClock;
use taffrail::promtail_yml::load;

fuzz_target!(|text: &str| {
    let read = load(Path::new("/nowhere/promtail.yml"), text, &|_| Some("x".to_owned()));
    let config = match read {
        Ok((config, _)) => config,
        Err(mistake) => {
            let last = text.split(['\n', '\r']).count() as u64;
            assert!(mistake.line <= last, "{mistake}");
            return;
        }
    };
    let clock = ManualClock::at_ms(1_795_000_000_000);
    for job in &config.jobs {
        let Ok(mut pipeline) = Pipeline::new(&job.stages, &Metrics::default()) else { continue };
        let mut out = Vec::new();
        for line in text.lines().take(20) {
            let entry = Entry { line: line.to_owned(), ..Entry::default() };
            pipeline.process(entry, &clock, &mut out);
        }
        pipeline.flush(&clock, &mut out);
        assert_eq!(pipeline.oldest_held(), None);
    }
});
