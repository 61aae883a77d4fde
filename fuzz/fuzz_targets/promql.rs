//! PromQL: parsing never panics, printing and parsing agree, and what parses can be evaluated within its budget.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use model::{Budget, Limits, SystemClock};
use query::promql::{Options, PromQuery, evaluate, format, parse, parse_selector};
use taffrail_fuzz::assert_span;
use taffrail_fuzz::series::Samples;

fuzz_target!(|text: &str| {
    if let Err(e) = parse_selector(text) {
        assert_span(&e, text);
    }
    let expr = match parse(text) {
        Ok(expr) => expr,
        Err(e) => return assert_span(&e, text),
    };
    let printed = format(&expr);
    let again = parse(&printed).map(|expr| format(&expr));
    assert_eq!(again.as_ref().ok(), Some(&printed), "{again:?}");
    for (start_ms, end_ms, step_ms) in [(600_000, 600_000, 0), (0, 600_000, 50_000)] {
        let text = text.to_owned();
        let query = PromQuery { text, start_ms, end_ms, step_ms, lookback_ms: 300_000 };
        let limits = Limits { samples_max: 200_000, bytes_max: 64 << 20, time_ms_max: 2_000 };
        let budget = Budget::new(Arc::new(SystemClock), limits);
        let options = Options { experimental: true, ..Options::default() };
        // Either outcome is fine; it must come back.
        evaluate(&Samples::default(), &query, &options, &budget).ok();
    }
});
