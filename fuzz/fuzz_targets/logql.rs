//! LogQL: parsing never panics, errors point into the text, and what parses can be evaluated.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Budget, Order};
use query::logql::{LogQuery, evaluate, parse, parse_selector};
use taffrail_fuzz::assert_span;
use taffrail_fuzz::rows::Rows;

fuzz_target!(|text: &str| {
    if let Err(e) = parse_selector(text) {
        assert_span(&e, text);
    }
    if let Err(e) = parse(text) {
        assert_span(&e, text);
        return;
    }
    for (start_ns, end_ns, step_ns) in
        [(0, 60_000_000_000, 0), (0, 60_000_000_000, 7_000_000_000), (i64::MAX, i64::MAX, 0)]
    {
        let (text, limit, order) = (text.to_owned(), 100, Order::Backward);
        let query = LogQuery {
            text,
            start_ns,
            end_ns,
            step_ns,
            limit,
            order,
            interval_ns: 0,
            categorize: true,
        };
        // Either outcome is fine; it must come back.
        evaluate(&Rows::sample(), &query, &Budget::unlimited()).ok();
    }
});
