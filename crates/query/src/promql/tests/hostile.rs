//! Queries of all kinds over histograms that no honest client makes: refused or answered, never a panic, inside limits.

use std::sync::Arc;

use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{
    BucketSpan, Budget, ErrorKind, Histogram, Labels, Limits, ManualClock, ResetHint, stale_nan,
};
use proptest::prelude::*;

use super::*;
use crate::promql::testing::MemorySource;

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0..20u32).prop_map(f64::from),
        1 => prop::sample::select(vec![
            f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, -3.0, 1e308, 5e-324, stale_nan(),
        ]),
    ]
}

fn side() -> impl Strategy<Value = (Vec<BucketSpan>, Vec<f64>)> {
    let offset = prop_oneof![8 => -3..4i32, 1 => any::<i32>()];
    let length = prop_oneof![8 => 0..4u32, 1 => any::<u32>()];
    let span = (offset, length).prop_map(|(offset, length)| BucketSpan { offset, length });
    (prop::collection::vec(span, 0..4), prop::collection::vec(number(), 0..6))
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let schema = prop_oneof![
        4 => prop::sample::select(vec![0, 1, -1]),
        2 => Just(CUSTOM_BUCKETS_SCHEMA),
        1 => any::<i32>(),
    ];
    let hint = prop::sample::select(vec![
        ResetHint::Unknown,
        ResetHint::Reset,
        ResetHint::NotReset,
        ResetHint::Gauge,
    ]);
    let bounds = prop::collection::vec(number(), 0..4);
    let numbers = (number(), number(), number(), number());
    (schema, hint, numbers, side(), side(), bounds).prop_map(
        |(schema, hint, (zero_threshold, zero_count, count, sum), positive, negative, bounds)| {
            Histogram {
                schema,
                integer: false,
                hint,
                // Stores refuse other thresholds.
                zero_threshold: if zero_threshold >= 0.0 { zero_threshold } else { 0.0 },
                zero_count,
                count,
                sum,
                positive_spans: positive.0,
                positive: positive.1,
                negative_spans: negative.0,
                negative: negative.1,
                custom_bounds: bounds,
            }
        },
    )
}

fn source() -> impl Strategy<Value = MemorySource> {
    let cell = prop_oneof![3 => histogram().prop_map(Ok), 1 => number().prop_map(Err)];
    prop::collection::vec((0..3usize, cell), 1..24).prop_map(|cells| {
        let mut source = MemorySource::default();
        for (i, (series, cell)) in cells.into_iter().enumerate() {
            let job = series.to_string();
            let labels = Labels::from_pairs([("__name__", "h"), ("job", &job), ("le", &job)]);
            let t_ms = i as i64 * 20_000;
            match cell {
                Ok(h) => source.insert_histograms(&labels, [(t_ms, Arc::new(h))]),
                Err(value) => source.insert(&labels, [(t_ms, value)]),
            }
        }
        source
    })
}

const RANGES: [&str; 5] =
    ["h[2m]", "h[2m] anchored", "h[90s] smoothed", "(h * 2)[3m:30s]", "h[1m] @ end() offset -20s"];
const OVER_TIME: [&str; 22] = [
    "rate(R)",
    "increase(R)",
    "delta(R)",
    "irate(R)",
    "idelta(R)",
    "resets(R)",
    "changes(R)",
    "sum_over_time(R)",
    "avg_over_time(R)",
    "count_over_time(R)",
    "min_over_time(R)",
    "first_over_time(R)",
    "last_over_time(R)",
    "ts_of_max_over_time(R)",
    "quantile_over_time(0.5, R)",
    "mad_over_time(R)",
    "stddev_over_time(R)",
    "deriv(R)",
    "predict_linear(R, 60)",
    "double_exponential_smoothing(R, 0.5, 0.5)",
    "present_over_time(R)",
    "absent_over_time(R)",
];
const AROUND: [&str; 36] = [
    "V",
    "-V",
    "V * 0",
    "V / -0",
    "NaN * V",
    "V + V",
    "V - ignoring(job, le) group_left() sum(V)",
    "V == bool V",
    "V != on(job, le) h",
    "V > 1",
    "V </ 1.5",
    "V >/ -Inf",
    "V </ NaN",
    "V or h",
    "V unless h smoothed",
    "sum by (le) (V)",
    "avg(V)",
    "count without (job) (V)",
    "max(V)",
    "stddev(V)",
    "topk(2, V)",
    "limitk(1, V)",
    "limit_ratio(0.5, V)",
    "count_values(\"v\", V)",
    "quantile(0.3, V)",
    "histogram_quantile(0.3, V)",
    "histogram_quantile(0.9, sum(V))",
    "histogram_quantiles(V, \"q\", 0, 1, NaN)",
    "histogram_fraction(-1, 1.5, V)",
    "histogram_count(sum(V))",
    "histogram_sum(V)",
    "histogram_stdvar(V)",
    "label_replace(V, \"job\", \"$1\", \"le\", \"(.*)\")",
    "sort(V)",
    "timestamp(V)",
    "start_timestamp(h) + clamp(V, 0, 1)",
];

fn query() -> impl Strategy<Value = String> {
    let pick = |from: &'static [&'static str]| prop::sample::select(from.to_vec());
    let leaf = prop_oneof![
        Just("h".to_owned()),
        Just("h smoothed".to_owned()),
        (pick(&RANGES), pick(&OVER_TIME)).prop_map(|(range, f)| f.replace('R', range)),
    ];
    (leaf, pick(&AROUND), pick(&AROUND))
        .prop_map(|(leaf, inner, outer)| outer.replace('V', &inner.replace('V', &leaf)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn hostile_histograms_make_no_panic(source in source(), text in query(), step_ms in 0..3i64) {
        let query = PromQuery {
            text,
            start_ms: 0,
            end_ms: 300_000,
            step_ms: step_ms * 35_000,
            lookback_ms: 60_000,
        };
        let options = Options { experimental: true, ..Options::default() };
        let limits = Limits { samples_max: 1 << 20, bytes_max: 64 << 20, time_ms_max: 1000 };
        let budget = Budget::new(Arc::new(ManualClock::at_ms(0)), limits);
        if let Err(error) = evaluate(&source, &query, &options, &budget) {
            prop_assert!(error.kind() == ErrorKind::Invalid, "{}: {error}", query.text);
        }
        let budget = Budget::unlimited();
        budget.cancel();
        prop_assert!(evaluate(&source, &query, &options, &budget).is_err());
    }
}
