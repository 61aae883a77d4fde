//! Requests are read back with the wire reader, and against bytes written down by hand.

use model::{BucketSpan, HistogramRow, MetricRow, StampedRow};

use super::*;
use crate::protobuf::{Reader, Value};

fn unpack(request: &[u8]) -> Vec<u8> {
    snap::raw::Decoder::new().decompress_vec(request).unwrap()
}

fn labels(name: &str, path: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("path", path)])
}

fn histogram() -> Histogram {
    Histogram {
        integer: true,
        count: 7.0,
        sum: 1.5,
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1.0,
        positive_spans: vec![BucketSpan { offset: -2, length: 2 }],
        positive: vec![4.0, 2.0],
        hint: ResetHint::NotReset,
        ..Histogram::default()
    }
}

fn batch() -> MetricBatch {
    MetricBatch {
        t_ms: 1_000,
        rows: vec![MetricRow { labels: labels("a", "/"), value: 1.0 }],
        stamped: [3, 2].map(|t_ms| StampedRow::new(labels("b", "/"), t_ms, 0.0)).into(),
        histograms: vec![HistogramRow {
            labels: labels("h", "/x"),
            t_ms: 5,
            value: Arc::new(histogram()),
        }],
        exemplars: vec![model::ExemplarRow {
            series: labels("a", "/"),
            exemplar: Exemplar {
                labels: Labels::from_pairs([("trace_id", "t")]),
                value: 9.0,
                t_ms: 4,
            },
        }],
        ..MetricBatch::default()
    }
}

#[test]
fn rows_are_gathered_by_series_in_order_of_time() {
    let series = series_of(&batch());
    assert_eq!(series.len(), 3);
    assert_eq!(series[0].exemplars.len(), 1);
    assert_eq!(series[1].samples.as_slice(), [(2, 0.0), (3, 0.0)]);
    assert_eq!(series[2].newest_ms(), Some(5));
}

/// Texts of the fields `number`.
fn texts(bytes: &[u8], number: u32) -> Vec<String> {
    let mut reader = Reader::new(bytes);
    let mut texts = Vec::new();
    while let Some(field) = reader.next_field().unwrap() {
        if field.number == number {
            texts.push(field.text().unwrap().to_owned());
        }
    }
    texts
}

#[test]
fn v2_has_each_text_once_behind_the_empty_one() {
    let metadata = Arc::new(MetricMetadata {
        name: "a".into(),
        kind: MetricKind::Gauge,
        help: "Paths.".into(),
        unit: "".into(),
    });
    let request =
        encode_v2(&series_of(&batch()), |of| (of.metric_name() == "a").then(|| metadata.clone()));
    let request = unpack(&request);
    let symbols = texts(&request, 4);
    assert_eq!(
        symbols,
        ["", "__name__", "a", "path", "/", "trace_id", "t", "Paths.", "b", "h", "/x"]
    );
    let mut reader = Reader::new(&request);
    let mut seen = Vec::new();
    while let Some(field) = reader.next_field().unwrap() {
        if field.number != 5 {
            continue;
        }
        let mut inner = field.message().unwrap();
        while let Some(field) = inner.next_field().unwrap() {
            seen.push((
                field.number,
                match field.value {
                    Value::Bytes(bytes) => bytes.to_vec(),
                    other => panic!("{other:?}"),
                },
            ));
        }
    }
    // __name__ a, path /
    assert_eq!(seen[0], (1, vec![1, 2, 3, 4]));
    // 1.0 at 1000
    assert_eq!(seen[1], (2, vec![9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 16, 0xe8, 0x07]));
    // Exemplar: trace_id t, 9.0 at 4
    assert_eq!(seen[2], (4, vec![10, 2, 5, 6, 17, 0, 0, 0, 0, 0, 0, 0x22, 0x40, 24, 4]));
    // Gauge with help 7
    assert_eq!(seen[3], (5, vec![8, 2, 24, 7]));
    // Zero is the default and left out.
    assert_eq!(seen[5], (2, vec![16, 2]));
}

#[test]
fn histograms_hold_differences_of_their_buckets() {
    let mut writer = Writer::new();
    super::histogram(&mut writer, 5, &histogram());
    let bytes = writer.finish();
    let mut reader = Reader::new(&bytes);
    let mut deltas = Vec::new();
    let mut numbers = Vec::new();
    while let Some(field) = reader.next_field().unwrap() {
        numbers.push(field.number);
        if field.number == 12 {
            field
                .varints(|raw| {
                    deltas.push(crate::protobuf::zigzag(raw));
                    Ok(())
                })
                .unwrap();
        }
    }
    assert_eq!(numbers, [1, 3, 4, 5, 6, 11, 12, 14, 15]);
    assert_eq!(deltas, [4, -2]);
}

#[test]
fn v1_carries_labels_as_texts_and_metadata_apart() {
    let metadata = Arc::new(MetricMetadata {
        name: "a_total".into(),
        kind: MetricKind::Counter,
        help: "H".into(),
        unit: "bytes".into(),
    });
    let request = unpack(&encode_v1(&series_of(&batch()), &[metadata]));
    let mut reader = Reader::new(&request);
    let mut numbers = Vec::new();
    while let Some(field) = reader.next_field().unwrap() {
        numbers.push(field.number);
        if field.number == 3 {
            let bytes = field.bytes().unwrap();
            assert_eq!(bytes[..2], [8, 1]);
            assert!(bytes.ends_with(b"*\x05bytes"));
        }
    }
    assert_eq!(numbers, [1, 1, 1, 3]);
}
