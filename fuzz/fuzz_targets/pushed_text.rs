//! Pushed text: never panics, what is accepted is within the limits, and the same when its series are known.

#![no_main]

use ingest::exposition::{self, Format};
use ingest::pushed_text::{KnownTexts, Limits, Push, Pushed, read};
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

/// The samples at their times, however they were recognised.
fn told(pushed: &Pushed, t_ms: i64) -> String {
    let steady = pushed.steady.series.iter().zip(&pushed.steady.values);
    let mut rows: Vec<_> = steady.map(|(labels, value)| (labels, value.to_bits(), t_ms)).collect();
    rows.extend(pushed.samples.iter().map(|row| (&row.labels, row.value.to_bits(), row.t_ms)));
    format!("{rows:?} {:?} {:?}", pushed.exemplars, pushed.metadata)
}

fuzz_target!(|text: &[u8]| {
    let added = Labels::from_pairs([("job", "a")]);
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let push = Push { format, added: &added, t_ms: 1 };
        let Ok((plain, _)) = read(text, push, &LIMITS, &KnownTexts::new(0)) else { continue };
        assert!(plain.samples.len() <= LIMITS.text.samples_max);
        let mut known = KnownTexts::new(200_000);
        // By series from the second time on, as a whole from the fourth.
        for _ in 0..5 {
            let (predicted, news) = read(text, push, &LIMITS, &known).unwrap();
            assert_eq!(told(&predicted, 1), told(&plain, 1));
            known.learn(news, 0);
        }
    }
});
