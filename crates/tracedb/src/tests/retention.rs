//! Retention by service: traces go whole, with their part or before the rest of it, and a preview says which.

use model::{Clock as _, MatchOp, Matcher, RejectReason, RetentionPreview, RetentionRule};

use super::*;

fn rules() -> Vec<RetentionRule> {
    let rule = |service: &str, days: i64| RetentionRule {
        matchers: vec![Matcher::new(MatchOp::Regex, "service.name", service).unwrap()],
        retention_ms: days * DAY_MS,
    };
    vec![rule("noise.*", 1), rule("vip|noise-2", 60)]
}

fn of(service: &str, trace_id: u128, start_ns: i64, names: u64) -> SpanGroup {
    let name = AttributeValue::String(service.to_owned());
    let attributes = vec![(Arc::from("service.name"), name)];
    // Ids differ by service: a trace has several.
    let first = service.bytes().map(u64::from).sum::<u64>() << 32;
    let span = |i: u64| Span {
        trace_id,
        span_id: first + i,
        name: Arc::from(format!("op{i}")),
        start_ns,
        end_ns: start_ns,
        ..Span::default()
    };
    SpanGroup {
        resource: Arc::new(Resource { attributes, ..Resource::default() }),
        spans: (1..=names).map(span).collect(),
        ..SpanGroup::default()
    }
}

/// Spans of traces 1 to 5.
fn counts(store: &Store) -> Vec<usize> {
    (1..=5).map(|id| spans_of(store, id).len()).collect()
}

/// Rows and those going, by class.
fn shown(preview: &[RetentionPreview]) -> Vec<(u64, u64, u64)> {
    preview.iter().map(|class| (class.streams, class.rows, class.going_rows)).collect()
}

fn run(names: u64) {
    let mut rig = Rig::new();
    rig.config.retention_rules = rules();
    let mut store = rig.open();
    let now_ns = rig.clock.now_ns();
    append(&store, vec![of("noise-1", 1, now_ns, names), of("noise-2", 1, now_ns, 1)]);
    append(&store, vec![of("noise-1", 2, now_ns, names)]);
    store.flush().unwrap();
    append(&store, vec![of("web", 2, now_ns, 1), of("web", 3, now_ns, 1)]);
    append(&store, vec![of("vip", 4, now_ns, 1), of("noise-1", 4, now_ns, 1)]);
    store.flush().unwrap();
    let (n, names) = (names, names as usize);
    let all = [names + 1, names + 1, 1, 2, 0];
    assert_eq!(counts(&store), all);
    // One part for the day, of which later only some are past their time.
    rig.clock.advance_ms(DAY_MS / 24 * 14);
    assert_eq!((store.merge().unwrap(), counts(&store)), (1, all.to_vec()));
    rig.clock.advance_ms(DAY_MS);
    let preview = store.preview_retention(rules(), 30 * DAY_MS).unwrap();
    assert_eq!(shown(&preview), [(2, n + 1, n + 1), (1, 2, 0), (1, n + 2, 0)]);
    assert_eq!(store.merge().unwrap(), 1, "written anew without what is gone");
    assert_eq!(counts(&store), [0, names + 1, 1, 2, 0]);
    let preview = store.preview_retention(rules(), 30 * DAY_MS).unwrap();
    assert_eq!(shown(&preview), [(1, 0, 0), (1, 2, 0), (1, n + 2, 0)]);
    for opened_again in [false, true] {
        if opened_again {
            drop(store);
            store = rig.open();
        }
        assert_eq!(store.merge().unwrap(), 0, "nothing is left to do");
        assert_eq!(counts(&store), [0, names + 1, 1, 2, 0]);
    }
    // Late, but within the longest retention.
    let late = of("vip", 5, rig.clock.now_ns() - 50 * DAY_MS * 1_000_000, 1);
    assert_eq!(append(&store, vec![late]).stored, 1);
    let late = of("vip", 5, rig.clock.now_ns() - 61 * DAY_MS * 1_000_000, 1);
    assert_eq!(append(&store, vec![late]).rejected, [(RejectReason::TooOld, 1)]);
    rig.clock.advance_ms(29 * DAY_MS);
    store.merge().unwrap();
    store.flush().unwrap();
    assert_eq!(counts(&store)[..4], [0, 0, 0, 2]);
    rig.clock.advance_ms(60 * DAY_MS);
    store.flush().unwrap();
    assert_eq!((counts(&store), store.stats().parts), (vec![0; 5], 0));
}

#[test]
fn traces_are_kept_as_long_as_the_service_in_them_that_is_kept_longest() {
    run(1);
}

#[test]
fn services_are_known_where_the_index_does_not_list_them() {
    run(1_500);
}

#[test]
fn impossible_rules_are_refused() {
    let mut rig = Rig::new();
    rig.config.retention_rules = rules().into_iter().cycle().take(crate::RULES_MAX + 1).collect();
    let error = rig.try_open().unwrap_err();
    assert!(error.message().contains("9 rules of retention for traces; at most 8"), "{error}");
    let store = Rig::new().open();
    store.preview_retention(rig.config.retention_rules, DAY_MS).unwrap_err();
}
