//! LogQL stages (json, logfmt, pattern, regexp, unpack, templates, filters) on any line. First line: the query.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Labels, LogRow};
use query::logql::Pipeline;
use taffrail_fuzz::assert_bounded;

fuzz_target!(|text: &str| {
    let Some((query, lines)) = text.split_once('\n') else { return };
    let stages = format!("{{app=\"a\"}}{query}");
    let Ok(pipeline) = Pipeline::parse(&stages) else { return };
    let stream = Labels::from_pairs([("app", "a"), ("pod", "p-1")]);
    let fields = Labels::from_pairs([("level", "info")]);
    for line in lines.split('\n').take(8) {
        let row =
            LogRow { stream: &stream, t_ns: 1_700_000_000_000_000_000, line, fields: &fields };
        let processed = pipeline.process(&row);
        assert_eq!(processed, pipeline.process(&row));
        if let Some((labels, line)) = processed {
            assert_bounded(labels.packed_len() + line.len(), text.len());
        }
    }
});
