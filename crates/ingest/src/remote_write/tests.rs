//! Requests good and bad.

use proptest::prelude::*;

use super::*;
use crate::protobuf::Writer;

const LIMITS: Limits = Limits {
    rows_max: 100,
    labels_max: 4,
    name_bytes_max: 32,
    value_bytes_max: 32,
    label_bytes_max: 1_000,
    buckets_max: 100,
};

/// The reason of the one refusal.
fn check(pairs: &[(&str, &str)], expected: &str) {
    let mut body = Writer::new();
    body.message(1, |series| {
        for (name, value) in pairs {
            series.message(1, |label| {
                label.text(1, name);
                label.text(2, value);
            });
        }
        series.message(2, |sample| sample.double(1, 1.0));
    });
    let request = decode(Message::V1, &body.finish(), &LIMITS).unwrap();
    assert_eq!(request.refused.samples, u64::from(!expected.is_empty()), "{pairs:?}");
    assert_eq!(request.refused.reasons.join(""), expected);
}

#[test]
fn labels_are_checked() {
    check(&[("z", "1"), ("__name__", "up")], "");
    check(&[("z", "1")], "series {z=\"1\"} has no __name__");
    check(&[("__name__", "up"), ("a", "1"), ("a", "2")], "label \"a\" is there twice");
    check(&[("__name__", "up"), ("", "1")], "a label with the value \"1\" has no name");
    let many = [("__name__", "up"), ("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
    check(&many, "a series has more labels than the limit of 4");
}

#[test]
fn symbols_must_be_there_and_pay_for_every_use() {
    let series = |symbols: &[&str], refs: &[u64], times: usize| {
        let mut body = Writer::new();
        for symbol in symbols {
            body.always_text(4, symbol);
        }
        for _ in 0..times {
            body.message(5, |series| {
                series.packed_uints(1, refs.iter().copied());
                series.message(2, |sample| sample.double(1, 1.0));
            });
        }
        decode(Message::V2, &body.finish(), &LIMITS)
            .map(|r| r.samples.len())
            .map_err(|e| e.message().to_owned())
    };
    assert_eq!(series(&["", "__name__", "up"], &[1, 2], 1), Ok(1));
    assert!(series(&["", "__name__"], &[1, 2], 1).unwrap_err().contains("symbol 2 is not there"));
    assert!(series(&["", "__name__"], &[1], 1).unwrap_err().contains("in pairs"));
    assert!(series(&["x"], &[], 1).unwrap_err().contains("empty string"));
    let long = "x".repeat(30);
    assert!(series(&["", "__name__", &long], &[1, 2], 40).unwrap_err().contains("bytes of labels"));
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        for message in [Message::V1, Message::V2] {
            if let Ok(request) = decode(message, &noise, &LIMITS) {
                let rows = request.samples.len() + request.histograms.len() + request.exemplars.len();
                prop_assert!(rows <= LIMITS.rows_max);
                prop_assert!(request.histograms.iter().all(|h| h.value.validate().is_ok() || model::is_stale(h.value.sum)));
            }
        }
    }
}
