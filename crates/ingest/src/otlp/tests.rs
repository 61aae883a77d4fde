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

#[test]
fn messages_are_objects_and_no_lists() {
    let check = |body: &str| {
        let bytes = body.as_bytes();
        let errors = [
            decode(Encoding::Json, bytes, 100).err(),
            logs::decode(Encoding::Json, bytes, 100).err(),
            traces::decode(Encoding::Json, bytes, 100).err(),
        ];
        let refused = errors.iter().flatten().filter(|e| e.to_string().contains("an object"));
        assert!(refused.count() > 0, "{body}: {errors:?}");
    };
    check("[]");
    check(r#"{"resourceSpans":[[]]}"#);
    check(r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":["text"]}]}]}]}"#);
    check(r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"g","gauge":[]}]}]}]}"#);
}

#[test]
fn texts_that_are_not_utf8_come_with_replacement_characters() {
    let mut body = crate::protobuf::Writer::new();
    body.message(1, |resource| {
        resource.message(2, |scope| {
            scope.message(2, |metric| {
                metric.text(1, "up");
                metric.message(5, |gauge| {
                    gauge.message(1, |point| {
                        point.fixed64(3, 1_000_000);
                        point.always_double(4, 1.0);
                        point.message(7, |pair| {
                            pair.text(1, "path");
                            pair.message(2, |value| value.bytes(1, b"caf\xe9"));
                        });
                    });
                });
            });
        });
    });
    let request = decode(Encoding::Protobuf, &body.finish(), 100).unwrap();
    let rows = translate(&request, &Config::default(), &LIMITS, &mut totals(), 0).unwrap();
    let paths: Vec<_> = rows.samples.iter().filter_map(|row| row.labels.get("path")).collect();
    assert_eq!(paths, ["caf\u{fffd}"]);
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
