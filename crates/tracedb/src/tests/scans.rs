//! Scans of traces: what comes is what a plain list has, newest first, whatever is left out on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use model::{AttributeScope, Clock as _, ErrorKind, Limits, SpanField, ValueTest};

use super::*;

fn test(random: &mut Random) -> SpanCondition {
    // A source may use what is known of a test, or not.
    let is_known = random.below(2) == 0;
    let text = |t: &str| {
        let wanted = t.to_owned();
        let test =
            ValueTest::new(move |v| matches!(v, AttributeValue::String(text) if *text == wanted));
        if is_known { test.with_text(t) } else { test }
    };
    let scopes = AttributeScope::ALL;
    let (field, holds): (SpanField, ValueTest) = match random.below(9) {
        0 => (SpanField::Name, text(random.one_of(&["GET /", "", "nothing"]))),
        1 => (SpanField::Service, text(random.one_of(&["cart", "web", "nobody"]))),
        2 => (SpanField::Kind, ValueTest::new(|v| *v == AttributeValue::Int(2))),
        3 => (SpanField::Status, ValueTest::new(|v| *v == AttributeValue::Int(2))),
        4 => (SpanField::Root, ValueTest::new(|v| *v == AttributeValue::Bool(true))),
        5 => {
            let ns_min = random.below(6000);
            let holds = move |v: &AttributeValue| matches!(v, AttributeValue::Int(ns) if *ns >= ns_min as i64);
            let test = ValueTest::new(holds);
            let test = if is_known { test.with_ints(ns_min as i64..=i64::MAX) } else { test };
            (SpanField::Duration { ns_min }, test)
        }
        _ => {
            let name = random.one_of(&["http.method", "http.status", "a", "", "none"]);
            let wanted = random.one_of(&["GET", "2", "true", "", "NaN", "/////w==", "[]"]);
            let holds = move |v: &AttributeValue| v.to_string() == wanted;
            let test = match wanted {
                _ if !is_known => ValueTest::new(holds),
                "2" => ValueTest::new(holds).with_text("2").with_ints(2..=2),
                text => ValueTest::new(holds).with_text(text).without_ints(),
            };
            (SpanField::Attribute(random.one_of(&scopes), name.to_owned()), test)
        }
    };
    SpanCondition::Test(field, holds)
}

fn condition(random: &mut Random, depth: u32) -> SpanCondition {
    if depth == 0 {
        return test(random);
    }
    let inner = (0..random.below(3)).map(|_| condition(random, depth - 1)).collect();
    match random.below(4) {
        0 => SpanCondition::All(inner),
        1 => SpanCondition::Any(inner),
        2 => SpanCondition::Always,
        _ => test(random),
    }
}

fn holds(condition: &SpanCondition, whole: &Whole) -> bool {
    let (resource, scope, span) = whole;
    let int = |n: i64| AttributeValue::Int(n);
    let (field, test) = match condition {
        SpanCondition::Always => return true,
        SpanCondition::All(all) => return all.iter().all(|c| holds(c, whole)),
        SpanCondition::Any(any) => return any.iter().any(|c| holds(c, whole)),
        SpanCondition::Test(field, test) => (field, test),
    };
    match field {
        SpanField::Name => test.holds(&AttributeValue::String(span.name.to_string())),
        SpanField::Kind => test.holds(&int(span.kind as i64)),
        SpanField::Status => test.holds(&int(span.status as i64)),
        SpanField::Duration { .. } => {
            test.holds(&int(span.duration_ns().min(i64::MAX as u64) as i64))
        }
        SpanField::Root => test.holds(&AttributeValue::Bool(span.parent_id == 0)),
        SpanField::Service => {
            resource.service().is_some_and(|s| test.holds(&AttributeValue::String(s.to_owned())))
        }
        SpanField::Attribute(of, name) => {
            let lists: Vec<&Attributes> = match of {
                AttributeScope::Resource => vec![&resource.attributes],
                AttributeScope::Instrumentation => vec![&scope.attributes],
                AttributeScope::Span => vec![&span.attributes],
                AttributeScope::Event => span.events.iter().map(|e| &e.attributes).collect(),
                AttributeScope::Link => span.links.iter().map(|l| &l.attributes).collect(),
            };
            lists.into_iter().flatten().any(|(key, value)| **key == **name && test.holds(value))
        }
    }
}

/// What the plan wants of a span.
fn shown(plan: &TracePlan, (resource, scope, span): &Whole) -> String {
    let mut span = span.clone();
    let keep = |attributes: &mut Attributes| {
        attributes.retain(|(name, _)| plan.attributes.as_ref().is_none_or(|w| w.contains(&**name)));
    };
    keep(&mut span.attributes);
    span.events.iter_mut().for_each(|e| keep(&mut e.attributes));
    span.links.iter_mut().for_each(|l| keep(&mut l.attributes));
    format!("{resource:?} {scope:?} {span:?}")
}

pub(super) fn check(store: &Store, plain: &Plain, random: &mut Random, now_ns: i64, context: &str) {
    for round in 0..4 {
        let start = now_ns - random.below(30) as i64 * 1_000_000_000;
        let range = match random.below(2) {
            0 => TimeRange::ALL,
            _ => TimeRange::new(start, start + random.below(20) as i64 * 1_000_000_000),
        };
        let names = ["a", "http.method"].map(str::to_owned);
        let plan = TracePlan {
            range,
            conditions: (0..1 + random.below(2)).map(|_| condition(random, 2)).collect(),
            is_whole: random.below(2) == 0,
            attributes: (random.below(2) == 0).then(|| BTreeSet::from(names)),
            details: true,
        };
        let context = format!("{context}, round {round}: {plan:?}");
        let mut seen: BTreeMap<u128, BTreeSet<String>> = BTreeMap::new();
        let mut starts = Vec::new();
        store
            .scan(&plan, &Budget::unlimited(), &mut |trace| {
                let all = trace.groups.iter().flat_map(|g| {
                    g.spans.iter().map(|s| (Arc::clone(&g.resource), Arc::clone(&g.scope), s))
                });
                let texts: Vec<String> =
                    all.map(|(r, s, span)| shown(&plan, &(r, s, span.clone()))).collect();
                let count = texts.len();
                let known = seen.entry(trace.trace_id).or_default();
                assert!(known.is_empty() || !plan.is_whole, "{context}: a trace came twice");
                let before = known.len();
                known.extend(texts);
                assert_eq!(known.len(), before + count, "{context}: a span came twice");
                let spans = trace.groups.iter().flat_map(|g| &g.spans);
                starts.push(spans.map(|s| s.start_ns).min().unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
        let wanted = |whole: &&Whole| {
            plan.range.contains(whole.2.start_ns) && plan.conditions.iter().any(|c| holds(c, whole))
        };
        if plan.is_whole {
            assert!(starts.is_sorted_by(|a, b| a >= b), "{context}: {starts:?}");
        }
        for id in plain.trace_ids() {
            let of = plain.of(id);
            let is_complete =
                plan.conditions.iter().all(|c| of.iter().any(|whole| holds(c, whole)));
            let is_wanted = of.iter().any(wanted);
            let found = seen.get(&id);
            if plan.is_whole {
                assert!(found.is_some() || !(is_wanted && is_complete), "{context}: {id:x} misses");
                assert!(found.is_none() || is_wanted, "{context}: {id:x} is not wanted");
                let expect: BTreeSet<String> = of.iter().map(|w| shown(&plan, w)).collect();
                assert!(found.is_none_or(|found| *found == expect), "{context}: {id:x}");
            } else {
                let expect: BTreeSet<String> =
                    of.iter().filter(|w| wanted(w)).map(|w| shown(&plan, w)).collect();
                assert_eq!(found.cloned().unwrap_or_default(), expect, "{context}: {id:x}");
            }
        }
    }
}

/// Of traces that are in one place only, those that miss a condition are left out.
#[test]
fn scans_stop_and_leave_out_what_they_can() {
    let rig = Rig::new();
    let store = rig.open();
    let now_ns = rig.clock.now_ns();
    let span = |i: u64, name: &str| Span {
        trace_id: u128::from(i / 2 + 1),
        span_id: i + 1,
        start_ns: now_ns + i as i64,
        end_ns: now_ns + i as i64,
        name: Arc::from(name),
        ..Span::default()
    };
    let spans = (0..100).map(|i| span(i, if i % 10 == 0 { "rare" } else { "common" })).collect();
    append(&store, vec![SpanGroup { spans, ..SpanGroup::default() }]);
    store.flush().unwrap();
    let named = |name: &'static str| {
        let holds = move |v: &AttributeValue| *v == AttributeValue::String(name.to_owned());
        SpanCondition::Test(SpanField::Name, ValueTest::new(holds))
    };
    let plan = |conditions| TracePlan {
        range: TimeRange::ALL,
        conditions,
        is_whole: true,
        attributes: None,
        details: false,
    };
    let ids = |plan: &TracePlan, limit: usize| {
        let mut ids = Vec::new();
        let budget = Budget::unlimited();
        let mut visit = |trace: &model::Trace| {
            ids.push(trace.trace_id);
            if ids.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        store.scan(plan, &budget, &mut visit).unwrap();
        ids
    };
    assert_eq!(ids(&plan(vec![named("common")]), 3), [50, 49, 48]);
    assert_eq!(ids(&plan(vec![named("common"), named("rare")]), 99).len(), 10);
    assert_eq!(ids(&plan(vec![named("none")]), 99).len(), 0);
}

/// While little is found, blocks are opened several at once: the order of what comes stays, and so does what is left out.
#[test]
fn blocks_opened_at_once_come_newest_first() {
    let rig = Rig::new();
    let store = rig.open();
    let start_ns = rig.clock.now_ns();
    for i in 0..40_u8 {
        let span = Span {
            trace_id: u128::from(i) + 1,
            span_id: 1,
            start_ns: start_ns + i64::from(i),
            end_ns: start_ns + i64::from(i),
            name: Arc::from(if i % 8 == 7 { "rare" } else { "common" }),
            ..Span::default()
        };
        append(&store, vec![SpanGroup { spans: vec![span], ..SpanGroup::default() }]);
        store.flush().unwrap();
    }
    assert_eq!(store.stats().parts, 40);
    // Whether a span is no root stands in its block alone.
    let rare = ValueTest::new(|name| name.to_string() == "rare");
    let plan = TracePlan {
        range: TimeRange::ALL,
        conditions: vec![SpanCondition::Any(vec![
            SpanCondition::Test(SpanField::Name, rare),
            SpanCondition::Test(
                SpanField::Root,
                ValueTest::new(|root| *root == AttributeValue::Bool(false)),
            ),
        ])],
        is_whole: true,
        attributes: None,
        details: true,
    };
    let ids = |limit: usize, budget: &Budget| {
        let mut ids = Vec::new();
        let mut visit = |trace: &Trace| {
            ids.push(trace.trace_id);
            if ids.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        store.scan(&plan, budget, &mut visit).map(|()| ids)
    };
    assert_eq!(ids(9, &Budget::unlimited()).unwrap(), [40, 32, 24, 16, 8]);
    assert_eq!(ids(2, &Budget::unlimited()).unwrap(), [40, 32]);
    let file = store.shared.snapshot().parts[15].summary.file_name();
    rig.fs.flip_bit(&std::path::Path::new("/traces/parts").join(file), 30 * 8).unwrap();
    let rest = ids(9, &Budget::unlimited()).unwrap();
    assert!(rest == [40, 32, 24, 8] || rest == [40, 32, 24, 16, 8], "{rest:?}");
    assert_eq!(store.stats().quarantined, 1);
    let limits = Limits { samples_max: 20, bytes_max: u64::MAX, time_ms_max: i64::MAX };
    let error = ids(9, &Budget::new(Arc::clone(&rig.clock) as _, limits)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}
