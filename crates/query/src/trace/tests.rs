//! Traces made by hand, with every number worked out; and traces of any shape.

use std::sync::Arc;

use model::{
    AttributeValue, Budget, Resource, Span, SpanGroup, SpanKind, SpanStatus, TimeRange, Trace,
};
use proptest::prelude::*;

use super::{Comparison, Side, Sides, Waterfall};

const MS: i64 = 1_000_000;
/// 2024-05-01T00:00:00Z.
const MAY_NS: i64 = 1_714_521_600_000_000_000;

/// Service, id, parent, start and end in milliseconds; a `!` behind the service's name is an error, a `>` a client's kind, a
/// `<` a server's.
type Made = (&'static str, u64, u64, i64, i64);

fn trace(spans: &[Made]) -> Trace {
    let group = |(service, id, parent, start, end): &Made| {
        let name = service.trim_end_matches(['!', '>', '<']);
        let value = AttributeValue::String(name.to_owned());
        let attributes = vec![(Arc::from("service.name"), value)];
        let span = Span {
            trace_id: 1,
            span_id: *id,
            parent_id: *parent,
            name: format!("op{id}").into(),
            kind: match service {
                caller if caller.contains('>') => SpanKind::Client,
                called if called.contains('<') => SpanKind::Server,
                _ => SpanKind::Unspecified,
            },
            status: if service.contains('!') { SpanStatus::Error } else { SpanStatus::Unset },
            start_ns: MAY_NS + start * MS,
            end_ns: MAY_NS + end * MS,
            ..Span::default()
        };
        let resource = Arc::new(Resource { attributes, ..Resource::default() });
        SpanGroup { resource, spans: vec![span], ..SpanGroup::default() }
    };
    Trace { trace_id: 1, groups: spans.iter().map(group).collect() }
}

fn waterfall(trace: &Trace) -> Waterfall<'_> {
    Waterfall::new(trace, &Budget::unlimited()).unwrap()
}

/// `id@depth self[critical parts]` of each row, in milliseconds.
fn check(spans: &[Made], expected: &str) {
    let trace = trace(spans);
    let ms = |t_ns: i64| (t_ns - MAY_NS) as f64 / MS as f64;
    let waterfall = waterfall(&trace);
    let rows: Vec<String> = waterfall
        .rows
        .iter()
        .map(|row| {
            let parts = row.critical.iter().map(|(from, to)| format!("{}-{}", ms(*from), ms(*to)));
            let parts = parts.collect::<Vec<_>>().join(",");
            format!("{}@{} {}[{parts}]", row.span.span_id, row.depth, row.self_ns / MS as u64)
        })
        .collect();
    assert_eq!(rows.join(" "), expected, "{spans:?}");
}

/// Zipkin's clients give both sides of a call one id.
#[test]
fn the_called_half_of_a_shared_span_is_on_the_path() {
    check(
        &[("a", 1, 0, 0, 9), ("a>", 2, 1, 1, 8), ("b<", 2, 1, 2, 7), ("b>", 3, 2, 3, 4)],
        "1@0 2[0-1,8-9] 2@1 2[1-2,7-8] 2@2 4[2-3,4-7] 3@3 1[3-4]",
    );
}

#[test]
fn the_critical_path_is_what_was_waited_for() {
    // One after the other; the path is in one span at a time.
    check(
        &[("a", 1, 0, 0, 100), ("b", 2, 1, 10, 40), ("b", 3, 1, 40, 90)],
        "1@0 20[0-10,90-100] 2@1 30[10-40] 3@1 50[40-90]",
    );
    // Side by side: what ended first was not waited for.
    check(
        &[("a", 1, 0, 0, 100), ("b", 2, 1, 10, 40), ("c", 3, 1, 20, 90)],
        "1@0 20[0-20,90-100] 2@1 30[] 3@1 70[20-90]",
    );
    // Below a child; a span of a moment has no part of it.
    check(
        &[("a", 1, 0, 0, 100), ("b", 2, 1, 0, 100), ("c", 3, 2, 50, 60), ("c", 4, 2, 60, 60)],
        "1@0 0[] 2@1 90[0-50,60-100] 3@2 10[50-60] 4@2 0[]",
    );
    // What goes on behind the parent counts only within it, what begins behind it not at all.
    check(
        &[("a", 1, 0, 0, 100), ("b", 2, 1, 80, 150), ("c", 3, 1, 120, 200)],
        "1@0 80[0-80] 2@1 70[80-100] 3@1 80[]",
    );
    // Ends before it starts.
    check(&[("a", 1, 0, 0, -5), ("b", 2, 1, 0, 5)], "1@0 0[] 2@1 5[]");
    check(&[], "");
}

#[test]
fn trees_without_the_root_have_a_path_of_their_longest() {
    check(
        &[("a", 1, 9, 0, 10), ("b", 2, 8, 5, 95), ("c", 3, 2, 10, 20)],
        "1@0 10[] 2@0 80[5-10,20-95] 3@1 10[10-20]",
    );
    // The root is the root, however short.
    check(&[("a", 1, 9, 0, 10), ("b", 2, 0, 5, 6)], "1@0 10[] 2@0 1[5-6]");
}

#[test]
fn errors_are_followed_down_to_the_deepest() {
    let check = |spans: &[Made], expected: &[u64]| {
        let trace = trace(spans);
        let waterfall = waterfall(&trace);
        let path = waterfall.error_path.iter().map(|at| waterfall.rows[*at].span.span_id);
        assert_eq!(path.collect::<Vec<_>>(), expected, "{spans:?}");
    };
    let shop = [("a!", 1, 0, 0, 9), ("b", 2, 1, 1, 8), ("c!", 3, 2, 2, 3), ("c!", 4, 2, 4, 5)];
    check(&shop, &[1, 2, 3]);
    check(&[("a", 1, 0, 0, 9)], &[]);
    // A deeper one in a tree without its root is not what the trace failed of.
    check(&[("a!", 1, 0, 0, 9), ("b", 2, 7, 1, 8), ("c!", 3, 2, 2, 3)], &[1]);
    check(&[("a", 1, 0, 0, 9), ("b", 2, 7, 1, 8), ("c!", 3, 2, 2, 3)], &[2, 3]);
}

#[test]
fn what_cannot_be_true_is_said() {
    let check = |spans: &[Made], expected: &[&str]| {
        let trace = trace(spans);
        let rows = waterfall(&trace).rows;
        let said = rows.iter().flat_map(|row| {
            row.warnings.iter().map(move |warning| format!("{}: {warning}", row.span.span_id))
        });
        assert_eq!(said.collect::<Vec<_>>(), expected, "{spans:?}");
    };
    check(&[("a", 1, 0, 0, 9), ("b", 2, 1, 1, 8)], &[]);
    check(
        &[("a", 1, 0, 5, 2), ("b", 2, 1, 1, 8), ("c", 3, 4, 0, 1)],
        &[
            "3: its parent 0000000000000004 is not stored",
            "1: ends 3 ms before it starts; shown without a duration",
            "2: starts 4 ms before its parent; their clocks disagree",
        ],
    );
    check(
        &[("a", 1, 2, 0, 9), ("b", 2, 1, 1, 8), ("c", 3, 3, 2, 3)],
        &[
            "1: its parents form a circle; shown as a root",
            "3: its parents form a circle; shown as a root",
        ],
    );
    let twice = "another span of the trace has its id";
    check(
        &[("a", 1, 0, 0, 9), ("a", 1, 0, 1, 8)],
        &[&format!("1: {twice}"), &format!("1: {twice}")],
    );
    let mut sender = trace(&[("a", 1, 0, 0, 9)]);
    sender.groups[0].spans[0].dropped_events = 2;
    sender.groups[0].spans[0].dropped_attributes = 1;
    let said = waterfall(&sender).rows[0].warnings[0].to_string();
    assert_eq!(said, "its sender left out 3 attributes, events or links");
}

#[test]
fn both_sides_of_a_call_may_share_an_id() {
    let mut zipkin = trace(&[("a>", 1, 0, 0, 9), ("b", 1, 0, 1, 8)]);
    zipkin.groups[1].spans[0].kind = SpanKind::Server;
    assert!(waterfall(&zipkin).rows.iter().all(|row| row.warnings.is_empty()));
}

#[test]
fn a_million_spans_deep_or_wide_are_taken_apart() {
    for is_deep in [true, false] {
        let span = |id: u64| Span {
            trace_id: 1,
            span_id: id,
            parent_id: if is_deep { id - 1 } else { u64::from(id > 1) },
            start_ns: MAY_NS + id as i64,
            end_ns: MAY_NS + 3_000_000 - if is_deep { id as i64 } else { 0 },
            ..Span::default()
        };
        let group = SpanGroup { spans: (1..=1_000_000).map(span).collect(), ..Default::default() };
        let trace = Trace { trace_id: 1, groups: vec![group] };
        let waterfall = waterfall(&trace);
        let depth = waterfall.rows.last().unwrap().depth;
        assert_eq!(depth, if is_deep { 999_999 } else { 1 });
        let critical_ns: u64 = waterfall.rows.iter().map(super::Row::critical_ns).sum();
        assert_eq!(critical_ns, waterfall.rows[0].span.duration_ns());
    }
}

fn compare(baseline: &[Trace], selection: &[Trace]) -> Sides {
    let budget = Budget::unlimited();
    let mut comparison = Comparison::default();
    for (side, traces) in [(Side::Baseline, baseline), (Side::Selection, selection)] {
        traces.iter().for_each(|trace| comparison.add(side, trace, &budget).unwrap());
    }
    comparison.finish()
}

fn with(mut trace: Trace, span: usize, name: &str, value: &str) -> Trace {
    let value = AttributeValue::String(value.to_owned());
    trace.groups[span].spans[0].attributes.push((Arc::from(name), value));
    trace
}

#[test]
fn values_are_compared_by_the_traces_that_have_them() {
    let of = |version: &str| {
        let made = trace(&[("a", 1, 0, 0, 10), ("a", 2, 1, 1, 3)]);
        // Twice in a trace is once.
        with(with(made, 0, "version", version), 1, "version", version)
    };
    let sides = compare(&[of("1"), of("1"), of("1"), of("2")], &[of("2"), of("2")]);
    let found: Vec<_> = sides
        .attributes
        .iter()
        .filter(|share| share.difference() != 0.0)
        .map(|s| (s.name.as_str(), s.value.as_str(), s.traces, s.shares, s.difference()))
        .collect();
    assert_eq!(
        found,
        [
            ("span.version", "1", [3, 0], [0.75, 0.0], -0.75),
            ("span.version", "2", [1, 2], [0.25, 1.0], 0.75),
        ]
    );
    let same = sides.attributes[2..].iter().map(|s| format!("{}={}", s.name, s.value));
    assert_eq!(
        same.collect::<Vec<_>>().join(" "),
        "kind=unspecified name=op1 name=op2 resource.service.name=a status=unset"
    );
    assert!(sides.cut.is_empty());
    let [baseline, selection] = &sides.sides;
    assert_eq!((baseline.traces, baseline.spans, baseline.failed), (4, 8, 0));
    assert_eq!((selection.traces, selection.median_ns), (2, 10 * MS as u64));
}

#[test]
fn time_is_compared_by_service_and_by_span() {
    // The frontend calls the bank, which has always needed 5 ms; then it has to wait for it.
    let fast = trace(&[("web", 1, 0, 0, 20), ("web>", 2, 1, 5, 15), ("bank", 3, 2, 7, 12)]);
    let slow = trace(&[("web", 1, 0, 0, 60), ("web>!", 2, 1, 5, 55), ("bank", 3, 2, 47, 52)]);
    let sides = compare(&[fast.clone(), fast], &[slow]);
    let ms = |ns: [f64; 2]| ns.map(|ns| ns / MS as f64);
    let services: Vec<_> = sides
        .services
        .iter()
        .map(|s| (s.service.as_deref().unwrap(), ms(s.self_ns_per_trace), s.spans, s.errors))
        .collect();
    // The client's own time is the bank's: 5 and 45 of it.
    assert_eq!(
        services,
        [("bank", [10.0, 50.0], [4, 2], [0, 1]), ("web", [10.0, 10.0], [2, 1], [0, 0]),]
    );
    assert_eq!(sides.services[0].self_shares, [0.5, 50.0 / 60.0]);
    assert_eq!(sides.services[1].traces, [2, 1]);
    let operations: Vec<_> = sides
        .operations
        .iter()
        .map(|o| (&*o.name, ms(o.duration_ns.map(Option::unwrap)), ms(o.self_ns_per_trace)))
        .collect();
    assert_eq!(
        operations,
        [
            ("op2", [10.0, 50.0], [5.0, 45.0]),
            ("op3", [5.0, 5.0], [5.0, 5.0]),
            ("op1", [20.0, 60.0], [10.0, 10.0]),
        ]
    );
    assert_eq!(sides.sides[1].failed, 1);
}

#[test]
fn only_calls_count_for_whom_they_call() {
    let check = |spans: &[Made], expected: &[(&str, u64)]| {
        let sides = compare(&[], &[trace(spans)]);
        let mut services: Vec<(String, u64)> = sides
            .services
            .iter()
            .map(|s| (s.service.clone().unwrap(), s.self_ns[1] / MS as u64))
            .collect();
        services.sort();
        let expected: Vec<_> = expected.iter().map(|(s, ms)| ((*s).to_owned(), *ms)).collect();
        assert_eq!(services, expected, "{spans:?}");
    };
    // Without a kind: a span that does something in its own service, too, is no call.
    check(&[("a", 1, 0, 0, 10), ("b", 2, 1, 2, 4)], &[("b", 10)]);
    check(&[("a", 1, 0, 0, 10), ("b", 2, 1, 2, 4), ("a", 3, 1, 5, 6)], &[("a", 8), ("b", 2)]);
    // A client's is one whatever else it does, and one without an answer is its own.
    check(&[("a>", 1, 0, 0, 10), ("b", 2, 1, 2, 4), ("a", 3, 1, 5, 6)], &[("a", 1), ("b", 9)]);
    check(&[("a>", 1, 0, 0, 10)], &[("a", 10)]);
}

#[test]
fn attributes_with_too_many_values_are_named_and_cost_is_bounded() {
    let budget = Budget::unlimited();
    let mut comparison = Comparison::default();
    for i in 0..10_001 {
        let trace = with(trace(&[("a", 1, 0, 0, 1)]), 0, "id", &i.to_string());
        comparison.add(Side::Baseline, &trace, &budget).unwrap();
    }
    assert_eq!(comparison.finish().cut, ["span.id"]);
    let limits = model::Limits { samples_max: 10, bytes_max: 1_000, time_ms_max: 60_000 };
    let small = Budget::new(Arc::new(model::SystemClock), limits);
    let wide = trace(&[("a", 1, 0, 0, 1); 10]);
    let refused = Comparison::default().add(Side::Baseline, &wide, &small).unwrap_err();
    assert!(refused.message().contains("bytes of memory"), "{refused}");
}

#[test]
fn nothing_compared_with_nothing_is_nothing() {
    let sides = compare(&[], &[]);
    assert_eq!((sides.sides[0].median_ns, sides.attributes.len()), (0, 0));
}

proptest! {
    /// Whatever is sent: every span has a row behind its parent's, and the path covers the root, each moment once.
    #[test]
    fn any_trace_is_taken_apart(
        spans in proptest::collection::vec((1_u64..12, 0_u64..14, 0_i64..40, -5_i64..40), 0..30),
    ) {
        let made: Vec<Made> = spans.iter().map(|(id, parent, start, length)| {
            ("a", *id, *parent, *start, start + length)
        }).collect();
        let trace = trace(&made);
        let waterfall = waterfall(&trace);
        prop_assert_eq!(waterfall.rows.len(), spans.len());
        for (at, row) in waterfall.rows.iter().enumerate() {
            prop_assert!(row.parent.is_none_or(|parent| (parent as usize) < at));
            prop_assert!(row.self_ns <= row.span.duration_ns());
        }
        let Some(root) = waterfall.root else { return Ok(()) };
        let mut parts: Vec<(i64, i64)> =
            waterfall.rows.iter().flat_map(|row| row.critical.clone()).collect();
        parts.sort_unstable();
        let root = waterfall.rows[root].span;
        let range = TimeRange::new(root.start_ns, root.end_ns.max(root.start_ns));
        let mut at_ns = range.start_ns;
        for (from, to) in parts {
            prop_assert_eq!(from, at_ns);
            prop_assert!(from < to);
            at_ns = to;
        }
        prop_assert_eq!(at_ns, range.end_ns);
        let path: std::collections::BTreeSet<usize> =
            waterfall.critical_path().into_iter().collect();
        let entered = waterfall.rows.iter().filter(|row| row.critical_ns() > 0).count();
        prop_assert_eq!(path.len(), entered);
    }
}
