//! Pushed text: never panics, what is accepted is within the limits, and the same when its series are known.

#![no_main]

use ingest::exposition::{self, Format};
use ingest::known::Known;
use ingest::pushed_text::{Limits, Push, read};
use libfuzzer_sys::fuzz_target;
use model::Labels;

const LIMITS: Limits = Limits {
    text: exposition::Limits {
        body_bytes_max: 100_000,
        samples_max: 1_000,
        labels_max: 16,
        name_bytes_max: 64,
        value_bytes_max: 64,
    },
    label_bytes_max: 10_000,
};

fuzz_target!(|text: &[u8]| {
    let added = Labels::from_pairs([("job", "a")]);
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let push = Push { format, added: &added, t_ms: 1 };
        let Ok((plain, _)) = read(text, push, &LIMITS, &Known::new(0)) else { continue };
        assert!(plain.samples.len() <= LIMITS.text.samples_max);
        let mut known = Known::new(100_000);
        for _ in 0..2 {
            let (predicted, news) = read(text, push, &LIMITS, &known).unwrap();
            assert_eq!(format!("{predicted:?}"), format!("{plain:?}"));
            known.learn(news, 0);
        }
    }
});
