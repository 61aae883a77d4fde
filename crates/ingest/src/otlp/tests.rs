//! Requests in both encodings, and what they become.

use proptest::prelude::*;

use super::delta::{Config as DeltaConfig, Totals};
use super::translate::{Config, Limits, translate};
use super::*;

const LIMITS: Limits = Limits {
    rows_max: 1_000,
    labels_max: 64,
    name_bytes_max: 512,
    value_bytes_max: 512,
    label_bytes_max: 1 << 20,
};

fn totals() -> Totals {
    Totals::new(DeltaConfig { series_max: 100, stale_after_ms: 1_000 })
}

#[test]
fn exponential_histograms_become_native() {
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"h","exponentialHistogram":{
        "aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","dataPoints":[{
        "timeUnixNano":"1000000","count":"7","sum":3.5,"scale":9,"zeroCount":1,
        "positive":{"offset":-1,"bucketCounts":["1","2","0","3"]}}]}}]}]}]}"#;
    let request = decode(Encoding::Json, json.as_bytes(), 100).unwrap();
    let rows = translate(&request, &Config::default(), &LIMITS, &mut totals(), 0).unwrap();
    let histogram = &rows.histograms[0].value;
    // Scale 9 is halved to 8: indexes -1, 0, 1, 2 become -1, 0, 0, 1, and end one further here.
    assert_eq!((histogram.schema, histogram.count), (8, 7.0));
    assert_eq!(histogram.positive, [1.0, 2.0, 3.0]);
    assert_eq!(histogram.positive_spans, [model::BucketSpan { offset: 0, length: 3 }]);
    assert_eq!(rows.histograms[0].t_ms, 1);
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let Ok(request) = decode(encoding, &noise, 100) else { continue };
            let rows = translate(&request, &Config::default(), &LIMITS, &mut totals(), 0);
            prop_assert!(rows.is_err() || rows.is_ok_and(|r| r.samples.len() <= LIMITS.rows_max));
        }
    }
}
