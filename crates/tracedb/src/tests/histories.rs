//! Histories of appends, flushes, merges and restarts: what is read is what a plain list has.

use std::collections::BTreeSet;

use model::{AttributeScope, Clock as _, Operation, RejectReason, SpanField, ValueTest};

use super::*;

fn check_lists(store: &Store, plain: &Plain, context: &str) {
    let budget = Budget::unlimited();
    let all = || plain.spans.values();
    let services: BTreeSet<&str> = all().filter_map(|(r, _, _)| r.service()).collect();
    assert!(store.services(TimeRange::ALL, &budget).unwrap().iter().eq(&services), "{context}");
    for service in services {
        let of = all().filter(|(r, _, _)| r.service() == Some(service));
        let expect: BTreeSet<Operation> = of
            .map(|(_, _, s)| Operation { name: s.name.to_string(), kind: s.kind as u8 })
            .collect();
        let found = store.operations(service, TimeRange::ALL, &budget).unwrap();
        assert!(found.iter().eq(&expect), "{context}");
    }
    let each = |f: &mut dyn FnMut(AttributeScope, &Attributes)| {
        for (resource, scope, span) in all() {
            f(AttributeScope::Resource, &resource.attributes);
            f(AttributeScope::Instrumentation, &scope.attributes);
            f(AttributeScope::Span, &span.attributes);
            span.events.iter().for_each(|e| f(AttributeScope::Event, &e.attributes));
            span.links.iter().for_each(|l| f(AttributeScope::Link, &l.attributes));
        }
    };
    let mut names = BTreeSet::new();
    each(&mut |scope, attributes| {
        names.extend(attributes.iter().map(|(name, _)| (scope, name.to_string())));
    });
    let found = store.attribute_names(TimeRange::ALL, &budget).unwrap();
    assert!(found.iter().eq(&names), "{context}: {found:?} {names:?}");
    for (scope, name) in names {
        let mut values = BTreeSet::new();
        each(&mut |of, attributes| {
            let of_name = attributes.iter().filter(|(n, _)| of == scope && **n == *name);
            values.extend(of_name.map(|(_, v)| {
                (
                    v.to_string(),
                    std::mem::discriminant(v) == std::mem::discriminant(&AttributeValue::Empty),
                )
            }));
        });
        let found =
            store.attribute_values(scope, &name, TimeRange::ALL, usize::MAX, &budget).unwrap();
        let found: BTreeSet<_> =
            found.iter().map(|v| (v.to_string(), *v == AttributeValue::Empty)).collect();
        assert_eq!(found, values, "{context}: {scope:?} {name}");
    }
}

fn history(seed: u64) {
    let mut random = Random(seed);
    let mut rig = Rig::new();
    if seed.is_multiple_of(3) {
        rig.config.head_bytes_max = 100_000;
    }
    let mut store = rig.open();
    let mut plain = Plain::default();
    let mut sent: Vec<Vec<SpanGroup>> = Vec::new();
    for step in 0..25 {
        let context = format!("seed {seed}, step {step}");
        let now_ns = rig.clock.now_ns();
        match random.below(12) {
            0 => store.flush().unwrap(),
            1 => drop(store.merge().unwrap()),
            2 => {
                drop(store);
                store = rig.open();
            }
            3 => rig.clock.advance_ms(random.below(7_200_000) as i64),
            4 if !sent.is_empty() => {
                let again = random.below(sent.len() as u64) as usize;
                let count: u64 = sent[again].iter().map(|g| g.spans.len() as u64).sum();
                assert_eq!(append(&store, sent[again].clone()).stored, count, "{context}");
            }
            _ => {
                let groups = random.groups(now_ns, 20, 30);
                plain.add(&groups);
                sent.push(groups.clone());
                append(&store, groups);
            }
        }
    }
    let context = format!("seed {seed}");
    let now_ns = rig.clock.now_ns();
    for state in ["as it is", "flushed", "merged", "opened again"] {
        let context = format!("{context}, {state}");
        match state {
            "flushed" => store.flush().unwrap(),
            "merged" => {
                rig.clock.advance_ms(2 * DAY_MS);
                store.merge().unwrap();
                let days = store.stats().parts;
                assert!(days <= 3, "{context}: {days} parts");
            }
            "opened again" => {
                drop(store);
                store = rig.open();
            }
            _ => {}
        }
        check_all(&store, &plain, &context);
        check_lists(&store, &plain, &context);
        super::scans::check(&store, &plain, &mut random, now_ns, &context);
        let stats = store.stats();
        assert_eq!(stats.spans_head + stats.part_spans, plain.spans.len() as u64, "{context}");
    }
}

#[test]
fn what_is_read_is_what_a_plain_list_has() {
    for seed in 0..60 {
        history(seed);
    }
}

#[test]
fn spans_are_refused_one_by_one_with_a_reason() {
    let rig = Rig::new();
    let store = rig.open();
    let now_ns = rig.clock.now_ns();
    let good =
        Span { trace_id: 1, span_id: 1, start_ns: now_ns, end_ns: now_ns, ..Span::default() };
    let mut deep = AttributeValue::Int(1);
    for _ in 0..65 {
        deep = AttributeValue::Array(vec![deep]);
    }
    let spans = vec![
        Span { trace_id: 0, ..good.clone() },
        Span { span_id: 0, ..good.clone() },
        Span { start_ns: now_ns - 31 * DAY_MS * 1_000_000, ..good.clone() },
        Span { start_ns: now_ns + 700_000_000_000, ..good.clone() },
        Span { attributes: vec![(Arc::from("a"), deep)], ..good.clone() },
        good.clone(),
    ];
    let receipt = append(&store, vec![SpanGroup { spans, ..SpanGroup::default() }]);
    let expect = [(RejectReason::Invalid, 3), (RejectReason::TooOld, 1), (RejectReason::TooNew, 1)];
    assert_eq!((receipt.stored, &receipt.rejected[..]), (1, &expect[..]));
    let trace = store.trace(1, &Budget::unlimited()).unwrap().unwrap();
    assert_eq!(trace.groups, [SpanGroup { spans: vec![good], ..SpanGroup::default() }]);
}

/// Traces that are cut by blocks, and spans without measure.
#[test]
fn long_traces_and_wide_spans_come_back_whole() {
    let rig = Rig::new();
    let store = rig.open();
    let now_ns = rig.clock.now_ns();
    let span = |i: u64| Span {
        trace_id: 7,
        span_id: i + 1,
        parent_id: i,
        start_ns: now_ns + i as i64,
        end_ns: now_ns + 2 * i as i64,
        name: Arc::from(format!("name {i}")),
        ..Span::default()
    };
    let mut spans: Vec<Span> = (0..40_000).map(span).collect();
    let attribute = |i| (Arc::from(format!("key {i}")), AttributeValue::Int(i));
    spans[17].attributes = (0..10_000).map(attribute).collect();
    let group = SpanGroup { spans, ..SpanGroup::default() };
    append(&store, vec![group.clone()]);
    let check = || {
        let trace = store.trace(7, &Budget::unlimited()).unwrap().unwrap();
        assert!(trace.groups == [group.clone()]);
        let has = |field, wanted: &'static str| {
            let test = ValueTest::new(move |value| value.to_string() == wanted);
            found(&store, SpanCondition::Test(field, test))
        };
        assert_eq!(has(SpanField::Name, "name 39999"), [7]);
        let field = SpanField::Attribute(AttributeScope::Span, "key 9999".to_owned());
        assert_eq!(has(field, "9999"), [7]);
        let names = store.attribute_names(TimeRange::ALL, &Budget::unlimited()).unwrap();
        assert_eq!(names.len(), 10_000);
    };
    check();
    store.flush().unwrap();
    check();
    // Another part with spans of the same trace.
    let more = SpanGroup { spans: (40_000..40_010).map(span).collect(), ..SpanGroup::default() };
    append(&store, vec![more.clone()]);
    append(&store, vec![group.clone()]);
    store.flush().unwrap();
    rig.clock.advance_ms(2 * DAY_MS);
    assert_eq!(store.merge().unwrap(), 1);
    let trace = store.trace(7, &Budget::unlimited()).unwrap().unwrap();
    assert_eq!((store.stats().parts, trace.groups[0].spans.len()), (1, 40_010));
    assert!(trace.groups[0].spans[40_000..] == more.spans[..]);
    assert_eq!(store.stats().repeated_spans, 40_000);
}

#[test]
fn parts_go_with_their_time_and_for_their_size() {
    let rig = Rig::new();
    let store = rig.open();
    let ids = || found(&store, SpanCondition::Always);
    for day in 1..=4_u8 {
        let start_ns = rig.clock.now_ns();
        let span = Span { trace_id: u128::from(day), span_id: 1, start_ns, ..Span::default() };
        append(&store, vec![SpanGroup { spans: vec![span], ..SpanGroup::default() }]);
        store.flush().unwrap();
        rig.clock.advance_ms(DAY_MS);
    }
    assert_eq!(ids(), [1, 2, 3, 4]);
    // Days are not merged with each other.
    assert_eq!(store.merge().unwrap(), 0);
    assert!(store.enforce_disk(1).unwrap() > 1);
    assert_eq!(ids(), [2, 3, 4]);
    rig.clock.advance_ms(27 * DAY_MS + 1000);
    store.flush().unwrap();
    assert_eq!(ids(), [3, 4]);
    rig.clock.advance_ms(DAY_MS);
    store.flush().unwrap();
    assert_eq!(ids(), [4]);
}

#[test]
fn parts_stay_below_their_bound() {
    let mut rig = Rig::new();
    let mut random = Random(7);
    rig.config.part_bytes_max = 20_000;
    let store = rig.open();
    let mut plain = Plain::default();
    for _ in 0..20 {
        let groups = random.groups(rig.clock.now_ns(), 200, 60);
        plain.add(&groups);
        append(&store, groups);
        store.flush().unwrap();
        store.merge().unwrap();
        rig.clock.advance_ms(60_000);
    }
    rig.clock.advance_ms(2 * DAY_MS);
    store.merge().unwrap();
    let view = store.shared.snapshot();
    assert!(view.parts.len() > 2, "several parts");
    assert!(view.parts.iter().all(|p| p.bytes <= 24_000), "about the sum of the inputs at most");
    check_all(&store, &plain, "merged");
}

#[test]
fn damaged_blocks_are_left_out_and_the_rest_is_served() {
    let rig = Rig::new();
    let store = rig.open();
    let mut random = Random(3);
    let groups = random.groups(rig.clock.now_ns(), 20, 40);
    append(&store, groups.clone());
    store.flush().unwrap();
    let more = random.groups(rig.clock.now_ns() + 5_000_000_000, 20, 40);
    append(&store, more);
    store.flush().unwrap();
    let part = store.shared.snapshot().parts[0].summary.file_name();
    // The first block's core is behind the file's magic and the block's header.
    rig.fs.flip_bit(&std::path::Path::new("/traces/parts").join(part), 30 * 8).unwrap();
    let rest = found(&store, SpanCondition::Always);
    assert!(!rest.is_empty());
    assert_eq!(store.stats().quarantined, 1);
    rig.clock.advance_ms(2 * DAY_MS);
    assert_eq!((store.merge().unwrap(), store.stats().parts), (0, 2), "what is damaged stays");
    assert_eq!(found(&store, SpanCondition::Always), rest);
}
