//! Patterns and fields found in any lines: patterns are bounded, and can be used as a filter when they can be quoted.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Budget, TimeRange};
use query::logql::{Pipeline, detect_fields};
use taffrail_fuzz::rows::Rows;

fuzz_target!(|text: &str| {
    for line in text.split('\n').take(32) {
        let pattern = logdb::fuzzing::pattern(line);
        assert!(pattern.len() <= 1_100, "{} bytes", pattern.len());
        let quoted = pattern.replace('\\', "\\\\").replace('"', "\\\"");
        // A query's text has bounds, and `\r` and the like cannot stand in quotes.
        if !pattern.is_empty() && !pattern.contains(char::is_control) {
            let query = format!("{{a=\"b\"}} |> \"{quoted}\"");
            assert!(Pipeline::parse(&query).is_ok(), "{query}");
        }
    }
    let rows = Rows::of_lines(text.split('\n').take(32));
    let budget = Budget::unlimited();
    let fields = detect_fields(&rows, "{app=~\".+\"}", TimeRange::ALL, 32, 100, &budget);
    assert!(fields.expect("rows are there").len() <= 100);
});
