//! Stack traces: every line comes out once, in order, and records are bounded.

#![no_main]

use ingest::stack_traces::{Joiner, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut joiner = Joiner::default();
    let (mut lines, mut marks) = (Vec::new(), Vec::new());
    let mut out = |record: Record<'_, usize>| {
        lines.extend(record.line.split('\n').map(str::to_owned));
        marks.extend_from_slice(record.marks);
        assert!(record.marks.len() <= 1_000);
    };
    let count = text.split('\n').count();
    for (at, line) in text.split('\n').enumerate() {
        joiner.push(line, 0, at, 0, &mut out);
    }
    joiner.flush(&mut out);
    assert_eq!(marks, (0..count).collect::<Vec<_>>());
    assert!(lines.iter().eq(text.split('\n')));
});
