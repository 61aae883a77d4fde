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

/// A series as a sender may write it: numbers of its labels, its samples, whether it says what it is.
type Sent = (Vec<(u8, u8)>, Vec<(i64, i8)>, bool);

fn sent() -> impl Strategy<Value = Sent> {
    let pairs = proptest::collection::btree_map(0u8..4, 0u8..4, 0..4)
        .prop_map(|pairs| pairs.into_iter().collect());
    let time = prop_oneof![Just(0i64), Just(-1), 1_700_000_000_000i64..1_700_000_000_100];
    (pairs, proptest::collection::vec((time, -2i8..3), 0..3), any::<bool>())
}

/// `variant` picks one of the spellings that mean the same or nearly so.
fn body(message: Message, series: &[Sent], variant: u8) -> Vec<u8> {
    let (mut symbols, mut list, mut body) = (vec![String::new()], Writer::new(), Writer::new());
    for (pairs, samples, is_described) in series {
        let mut pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| (format!("label{name}"), "é".repeat(usize::from(*value) * 30)))
            .collect();
        pairs.insert(0, ("__name__".to_owned(), format!("m{}", samples.len())));
        if variant == 1 {
            pairs.reverse();
        }
        let write_samples = |series: &mut Writer| {
            for (t_ms, value) in samples {
                series.message(2, |sample| {
                    sample.double(1, f64::from(*value));
                    sample.int(2, *t_ms);
                });
            }
        };
        let number = if message == Message::V1 { 1 } else { 5 };
        body.message(number, |series| {
            if variant == 2 {
                write_samples(series);
            }
            if message == Message::V1 {
                for (name, value) in &pairs {
                    series.message(1, |label| {
                        label.text(1, name);
                        label.text(2, value);
                    });
                }
            } else {
                let numbers = pairs.iter().flat_map(|(name, value)| [name, value]).map(|text| {
                    symbols.push(text.clone());
                    symbols.len() as u64 - 1
                });
                series.packed_uints(1, numbers.collect::<Vec<_>>().into_iter());
            }
            if variant != 2 {
                write_samples(series);
            }
            if *is_described && message == Message::V2 {
                series.message(5, |described| described.uint(1, 2));
            }
            if variant == 3 {
                // As exemplar in one version, as histogram in the other.
                series.message(3, |other| other.double(2, 1.0));
            }
        });
    }
    symbols.iter().filter(|_| message == Message::V2).for_each(|text| list.always_text(4, text));
    let mut whole = list.finish();
    whole.extend(body.finish());
    whole
}

fn told(decoded: Result<Request>) -> String {
    decoded.map_or_else(|e| e.message().to_owned(), |request| format!("{request:?}"))
}

proptest! {
    #[test]
    fn what_is_known_changes_nothing(
        requests in proptest::collection::vec((proptest::collection::vec(sent(), 0..6), 0u8..5), 1..6),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        for message in [Message::V1, Message::V2] {
            let mut known = Known::new(10_000);
            for (series, variant) in &requests {
                let mut body = body(message, series, *variant);
                for again in [false, false, true] {
                    if again && !body.is_empty() {
                        flips.iter().for_each(|(at, byte)| *at.get_mut(&mut body) = *byte);
                    }
                    let plain = decode(message, &body, &LIMITS);
                    let predicted = match decode_known(message, &body, &LIMITS, &known) {
                        Ok((request, news)) => {
                            known.learn(news, 0);
                            Ok(request)
                        }
                        Err(e) => Err(e),
                    };
                    prop_assert_eq!(told(predicted), told(plain));
                }
            }
        }
    }

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
