//! Patterns and fields found in any lines; a pattern can be used as a filter, and every line is counted.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Budget, TimeRange};
use query::logql::{Pipeline, detect_fields, mine_patterns};
use taffrail_fuzz::rows::Rows;

fuzz_target!(|text: &str| {
    let rows = Rows::of_lines(text.split('\n').take(32));
    let budget = Budget::unlimited();
    let mined = mine_patterns(&rows, &[], TimeRange::ALL, 1, &budget).expect("rows are there");
    let total: u64 = mined.iter().map(|p| p.total()).sum();
    assert_eq!(total, text.split('\n').take(32).count() as u64);
    for pattern in mined {
        let quoted = pattern.pattern.replace('\\', "\\\\").replace('"', "\\\"");
        // A query's text has bounds, and `\r` and the like cannot stand in quotes.
        Pipeline::parse(&format!("{{a=\"b\"}} |> \"{quoted}\"")).ok();
    }
    let fields = detect_fields(&rows, "{app=~\".+\"}", TimeRange::ALL, 32, 100, &budget);
    assert!(fields.expect("rows are there").len() <= 100);
});
