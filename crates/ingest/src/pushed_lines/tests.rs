//! Times, fields and streams of pushed lines.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    rows_max: 100,
    labels_max: 5,
    name_bytes_max: 32,
    value_bytes_max: 32,
    line_fields_bytes_max: 100,
    field_bytes_max: 1_000,
    future_ms_max: 600_000,
};

/// 2023-11-14T22:13:20Z
const NOW_MS: i64 = 1_700_000_000_000;

fn stream(pairs: &[(&str, &str)]) -> Stream {
    Stream { labels: Labels::from_pairs(pairs.iter().copied()), demoted: Labels::default() }
}

#[test]
fn times_that_cannot_be_are_replaced() {
    let now_ns = NOW_MS * 1_000_000;
    let check = |sent: Sent<'_>, t_ns: i64, original: Option<&str>, reason: &str| {
        let mut lines = Lines::new(&LIMITS, NOW_MS);
        lines.push(&stream(&[("a", "b")]), sent, "x", &mut Fields::default()).unwrap();
        let row = lines.rows.row(0);
        assert_eq!((row.t_ns, row.fields.get(ORIGINAL_TIMESTAMP)), (t_ns, original), "{sent:?}");
        let counted: Vec<_> = lines
            .corrected
            .by_reason()
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .map(|(r, _)| r)
            .collect();
        assert_eq!(counted.join(" "), reason);
    };
    let (limit, year) = (now_ns + 600_000_000_000, 31_536_000_000_000_000);
    check(Sent::At(now_ns - 5), now_ns - 5, None, "");
    check(Sent::At(limit), limit, None, "");
    check(Sent::At(limit + 1), now_ns, Some("2023-11-14T22:23:20.000000001Z"), "future");
    check(Sent::At(year), year, None, "");
    check(Sent::At(1_700_000_000), now_ns, Some("1970-01-01T00:00:01.7Z"), "epoch");
    check(Sent::At(i64::MIN), now_ns, Some("1677-09-21T00:12:43.145224192Z"), "epoch");
    check(Sent::Absent, now_ns, None, "absent");
    check(Sent::Unreadable("soon"), now_ns, Some("soon"), "unreadable");
}

#[test]
fn fields_are_named_for_queries_and_bounded() {
    let mut lines = Lines::new(&LIMITS, NOW_MS);
    let mut push = |pairs: &[(&str, &str)]| {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.add(Cow::Borrowed(name), Cow::Borrowed(value));
        }
        let added =
            lines.push(&stream(&[("a", "b")]), Sent::At(NOW_MS * 1_000_000), "x", &mut fields);
        added.map(|added| {
            added.then(|| lines.rows.field_sets().last().cloned().unwrap().to_string())
        })
    };
    let spelled = push(&[("b.c", "1"), ("1st", "2"), ("", "3"), ("b_c", "4"), ("d", "")]).unwrap();
    assert_eq!(spelled.as_deref(), Some(r#"{_1st="2", b_c="4"}"#));
    assert_eq!(push(&[("a", &"x".repeat(100))]).unwrap(), None);
    let error = (0..20).find_map(|i| push(&[("a", &format!("{i:090}"))]).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert_eq!(lines.refused.rows, 1);
    assert!(
        lines.refused.reasons[0].contains("too large: '103' bytes, limit: '100'"),
        "{:?}",
        lines.refused
    );
    let mut fields = Fields::default();
    for i in 0..=FIELDS_MAX {
        fields.set(Cow::Owned(format!("f{i}")), Cow::Borrowed("v"));
    }
    assert!(!lines.push(&stream(&[("a", "b")]), Sent::Absent, "x", &mut fields).unwrap());
    assert!(lines.refused.reasons[1].contains("too many structured metadata labels: '4097'"));
}

fn of(streams: &Streams, now_ms: i64, pairs: &[(&str, &str)]) -> Stream {
    let labels = Labels::from_pairs(pairs.iter().copied());
    streams.of(&labels.to_string(), now_ms, || Ok(labels.clone())).unwrap()
}

#[test]
fn streams_come_again_without_their_labels_being_made() {
    let streams = Streams::new(1_000, 10);
    let first = of(&streams, 0, &[("app", "a"), ("job", "b")]);
    assert_eq!(first.labels.to_string(), r#"{app="a", job="b", service_name="a"}"#);
    let again = streams.of(r#"{app="a", job="b"}"#, 0, || unreachable!()).unwrap();
    assert!(again.labels.same_allocation(&first.labels));
    let refused = streams.of("{", 0, || Err(Error::invalid("no"))).unwrap_err();
    assert_eq!(refused.message(), "no");
    // Full: emptied, and the same all the same.
    for i in 0..9 {
        of(&streams, 0, &[("app", &i.to_string())]);
    }
    assert_eq!(of(&streams, 0, &[("app", "a"), ("job", "b")]), first);
}

#[test]
fn values_beyond_the_bound_become_fields_until_they_are_fewer() {
    const DAY_MS: i64 = 86_400_000;
    let streams = Streams::new(1 << 20, 3);
    let is_label = |now_ms: i64, value: &str| {
        of(&streams, now_ms, &[("job", "j"), ("id", value)]).labels.get("id").is_some()
    };
    for value in ["a", "b", "c"] {
        assert!(is_label(0, value));
    }
    let demoted = of(&streams, 0, &[("job", "j"), ("id", "d")]);
    assert_eq!(demoted.labels.to_string(), r#"{job="j", service_name="j"}"#);
    assert_eq!(demoted.demoted.to_string(), r#"{id="d"}"#);
    assert_eq!(streams.news(), ["id"]);
    assert_eq!(streams.news(), [""; 0]);
    assert!(!is_label(1, "e") && is_label(1, "a"));
    assert_eq!(streams.demoted(), [Demoted { name: "id".into(), streams: 2 }]);
    // The next day only what was there goes on; the day after there is room.
    assert!(is_label(DAY_MS, "a") && !is_label(DAY_MS, "f"));
    assert!(is_label(2 * DAY_MS, "f"));
    // A stream always has a label.
    let streams = Streams::new(1 << 20, 0);
    let nothing_left = of(&streams, 0, &[("id", "d")]);
    assert_eq!(nothing_left.labels.to_string(), r#"{demoted="true"}"#);
    assert_eq!(nothing_left.demoted.to_string(), r#"{id="d", service_name="unknown_service"}"#);
}

proptest! {
    #[test]
    fn names_are_what_queries_can_spell(name in ".{0,20}") {
        let plain = field_name(Cow::Borrowed(&name));
        prop_assert_eq!(plain.is_empty(), name.is_empty());
        prop_assert!(!plain.starts_with(|c: char| c.is_ascii_digit()));
        prop_assert!(plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    }
}
