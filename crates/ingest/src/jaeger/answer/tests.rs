//! Answers, and what is said of spans that cannot be true.

use model::{AttributeValue, Span, SpanGroup, SpanKind, SpanStatus};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::spans::put;

const MS: i64 = 1_000_000;
const CLOCKS: Adjustment = Adjustment::Clocks { skew_ns_max: 0 };

fn group(host: &str, spans: Vec<Span>) -> SpanGroup {
    let mut attributes = Attributes::new();
    put(&mut attributes, "service.name", format!("on-{host}"));
    put(&mut attributes, "host.name", host);
    SpanGroup {
        resource: Resource { attributes, ..Resource::default() }.into(),
        spans,
        ..SpanGroup::default()
    }
}

/// A span from and to so many milliseconds.
fn span(span_id: u64, parent_id: u64, from_ms: i64, to_ms: i64) -> Span {
    Span {
        trace_id: 1,
        span_id,
        parent_id,
        start_ns: (1_000 + from_ms) * MS,
        end_ns: (1_000 + to_ms) * MS,
        ..Span::default()
    }
}

fn whole(traces: Vec<Trace>, errors: &[(u128, &str)], adjustment: Adjustment) -> Vec<u8> {
    answer(traces, errors, adjustment).flatten().collect()
}

fn read(groups: Vec<SpanGroup>, adjustment: Adjustment) -> Value {
    let trace = Trace { trace_id: 1, groups };
    let answer: Value = serde_json::from_slice(&whole(vec![trace], &[], adjustment)).unwrap();
    answer["data"][0].clone()
}

/// Id, parent, start in milliseconds and warnings of each span.
fn shown(
    groups: Vec<SpanGroup>,
    adjustment: Adjustment,
) -> Vec<(String, String, i64, Vec<String>)> {
    let trace = read(groups, adjustment);
    let spans = trace["spans"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("").trim_start_matches('0').to_owned();
    spans
        .map(|span| {
            let warnings = span["warnings"].as_array().into_iter().flatten();
            (
                text(&span["spanID"]),
                text(&span["references"][0]["spanID"]),
                span["startTime"].as_i64().unwrap() / 1_000 - 1_000,
                warnings.map(|warning| warning.as_str().unwrap().to_owned()).collect(),
            )
        })
        .collect()
}

fn check(groups: Vec<SpanGroup>, adjustment: Adjustment, expected: &[(&str, &str, i64, &[&str])]) {
    let found = shown(groups, adjustment);
    let found: Vec<_> = found
        .iter()
        .map(|(id, parent, at, warnings)| {
            let warnings: Vec<&str> = warnings.iter().map(String::as_str).collect();
            (id.as_str(), parent.as_str(), *at, warnings)
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(id, parent, at, warnings)| (*id, *parent, *at, warnings.to_vec()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn all_of_a_span_is_told() {
    let int = AttributeValue::Int;
    let attributes: Attributes = vec![
        ("safe".into(), int(-9_007_199_254_740_991)),
        ("large".into(), int(9_007_199_254_740_992)),
        ("nan".into(), AttributeValue::Double(f64::NAN)),
        ("list".into(), AttributeValue::Array(vec![int(1), AttributeValue::String("\"".into())])),
        ("map".into(), AttributeValue::Map(vec![("b".into(), AttributeValue::Bytes(vec![1]))])),
        ("none".into(), AttributeValue::Empty),
        (
            WARNINGS.into(),
            AttributeValue::Array(vec![AttributeValue::String("from Jaeger".into())]),
        ),
    ];
    let mut ref_type = Attributes::new();
    put(&mut ref_type, REF_TYPE, CHILD_OF);
    let one = Span {
        trace_id: 1 << 64,
        name: "a\"b".into(),
        kind: SpanKind::Producer,
        status: SpanStatus::Error,
        status_message: "broken".to_owned(),
        trace_state: "a=b".to_owned(),
        flags: 0x301,
        attributes,
        dropped_attributes: 1,
        dropped_events: 2,
        dropped_links: 3,
        events: vec![SpanEvent { t_ns: 5_999, name: "e".into(), ..SpanEvent::default() }],
        links: vec![
            SpanLink { trace_id: 5, span_id: 6, ..SpanLink::default() },
            SpanLink { trace_id: 5, span_id: 7, attributes: ref_type, ..SpanLink::default() },
        ],
        ..span(2, 3, 0, 1)
    };
    let scope = Scope {
        name: "lib".to_owned(),
        version: "1".to_owned(),
        attributes: vec![("own".into(), AttributeValue::Bool(true))],
        ..Scope::default()
    };
    let group = SpanGroup { scope: scope.into(), spans: vec![one], ..SpanGroup::default() };
    let tag =
        |key: &str, kind: &str, value: Value| json!({"key": key, "type": kind, "value": value});
    let text = |key: &str, value: &str| tag(key, "string", json!(value));
    let reference = |kind: &str, trace: &str, span: &str| json!({"refType": kind, "traceID": trace, "spanID": span});
    let id = "00000000000000010000000000000000";
    let expected = json!({
        "traceID": "0000000000000001",
        "spans": [{
            "traceID": id, "spanID": "0000000000000002", "flags": 1, "operationName": "a\"b",
            "references": [
                reference("CHILD_OF", id, "0000000000000003"),
                reference("FOLLOWS_FROM", "0000000000000005", "0000000000000006"),
                reference("CHILD_OF", "0000000000000005", "0000000000000007"),
            ],
            "startTime": 1_000_000, "duration": 1_000,
            "tags": [
                text("otel.scope.name", "lib"), text("otel.scope.version", "1"),
                tag("otel.scope.own", "bool", json!(true)),
                tag("safe", "int64", json!(-9_007_199_254_740_991_i64)),
                tag("large", "int64", json!("9007199254740992")),
                tag("nan", "float64", json!("NaN")),
                text("list", "[1,\"\\\"\"]"), text("map", "{\"b\":\"AQ==\"}"), text("none", ""),
                text("span.kind", "producer"), text("otel.status_code", "ERROR"),
                tag("error", "bool", json!(true)), text("otel.status_description", "broken"),
                text("w3c.tracestate", "a=b"),
                tag("otel.dropped_attributes_count", "int64", json!(1)),
                tag("otel.dropped_events_count", "int64", json!(2)),
                tag("otel.dropped_links_count", "int64", json!(3)),
            ],
            "logs": [{"timestamp": 5, "fields": [text("event", "e")]}],
            "processID": "p1",
            "warnings": ["from Jaeger"],
        }],
        "processes": {"p1": {"serviceName": "missing-service-name", "tags": []}},
        "warnings": null,
    });
    assert_eq!(read(vec![group], Adjustment::None), expected);
}

#[test]
fn processes_that_say_the_same_are_one() {
    let groups =
        ["a", "b", "a"].into_iter().zip(1..).map(|(host, id)| group(host, vec![span(id, 0, 0, 1)]));
    let trace = read(groups.collect(), Adjustment::None);
    let ids: Vec<_> =
        trace["spans"].as_array().unwrap().iter().map(|span| &span["processID"]).collect();
    assert_eq!(ids, ["p1", "p2", "p1"]);
    assert_eq!(trace["processes"]["p2"]["serviceName"], "on-b");
    assert_eq!(trace["processes"].as_object().unwrap().len(), 2);
}

#[test]
fn clocks_are_adjusted_within_the_bound() {
    let groups = || {
        vec![
            group("a", vec![span(1, 0, 0, 100)]),
            group("b", vec![span(2, 1, -20, 40), span(3, 2, -10, 0)]),
        ]
    };
    let off = "clock skew adjustment disabled; not applying calculated delta of 40ms";
    check(groups(), CLOCKS, &[("1", "", 0, &[]), ("2", "1", -20, &[off]), ("3", "2", -10, &[off])]);
    let moved = "This span's timestamps were adjusted by 40ms";
    let adjustment = Adjustment::Clocks { skew_ns_max: 40 * MS as u64 };
    check(
        groups(),
        adjustment,
        &[("1", "", 0, &[]), ("2", "1", 20, &[moved]), ("3", "2", 30, &[moved])],
    );
    let beyond =
        "max clock skew adjustment delta of 39ms exceeded; not applying calculated delta of 40ms";
    let adjustment = Adjustment::Clocks { skew_ns_max: 39 * MS as u64 };
    check(
        groups(),
        adjustment,
        &[("1", "", 0, &[]), ("2", "1", -20, &[beyond]), ("3", "2", -10, &[beyond])],
    );
    check(
        groups(),
        Adjustment::None,
        &[("1", "", 0, &[]), ("2", "1", -20, &[]), ("3", "2", -10, &[])],
    );
    // On the same host nothing is wrong with clocks; a longer child only must not start earlier.
    check(
        vec![group("a", vec![span(1, 0, 0, 100), span(2, 1, -20, 40)])],
        CLOCKS,
        &[("1", "", 0, &[]), ("2", "1", -20, &[])],
    );
    let later = vec![
        group("a", vec![span(1, 0, 0, 10)]),
        group("b", vec![span(2, 1, 5, 40), span(3, 1, -1, 40)]),
    ];
    let off = "clock skew adjustment disabled; not applying calculated delta of 1ms";
    check(later, CLOCKS, &[("1", "", 0, &[]), ("2", "1", 5, &[]), ("3", "1", -1, &[off])]);
}

#[test]
fn spans_that_cannot_be_are_told() {
    let circle = "its parents form a circle; skipping clock skew adjustment";
    check(
        vec![group(
            "a",
            vec![span(1, 2, 0, 1), span(2, 1, 0, 1), span(3, 3, 0, 1), span(4, 1, 0, 1)],
        )],
        CLOCKS,
        &[
            ("1", "2", 0, &[circle]),
            ("2", "1", 0, &[circle]),
            ("3", "3", 0, &[circle]),
            ("4", "1", 0, &[circle]),
        ],
    );
    check(
        vec![group("a", vec![span(1, 9, 0, -2), span(2, 0, 0, 1), span(2, 0, 0, 1)])],
        CLOCKS,
        &[
            (
                "1",
                "9",
                0,
                &[
                    "span ends 2ms before it starts; shown without a duration",
                    "parent span ID=0000000000000009 is not in the trace; skipping clock skew adjustment",
                ],
            ),
            ("2", "", 0, &[]),
            ("2", "", 0, &["duplicate span IDs; skipping clock skew adjustment"]),
        ],
    );
}

#[test]
fn shared_spans_are_made_two() {
    let of = |kind, span: Span| Span { kind, ..span };
    let groups = || {
        vec![
            group("a", vec![span(10, 0, 0, 100), of(SpanKind::Client, span(1, 10, 10, 90))]),
            group("b", vec![of(SpanKind::Server, span(1, 10, 20, 80)), span(5, 1, 30, 40)]),
        ]
    };
    check(
        groups(),
        CLOCKS,
        &[("a", "", 0, &[]), ("1", "a", 10, &[]), ("2", "1", 20, &[]), ("5", "2", 30, &[])],
    );
    check(
        groups(),
        Adjustment::None,
        &[("a", "", 0, &[]), ("1", "a", 10, &[]), ("1", "a", 20, &[]), ("5", "1", 30, &[])],
    );
}

#[test]
fn deep_traces_are_answered() {
    let spans = (1..=100_000).map(|id| span(id, id - 1, 0, 1)).collect();
    let found = shown(vec![group("a", spans)], CLOCKS);
    assert!(found.len() == 100_000 && found.iter().all(|(.., warnings)| warnings.is_empty()));
}

proptest! {
    #[test]
    fn any_spans_are_answered(spans in proptest::collection::vec((1_u64..6, 0_u64..6, any::<i64>(), any::<i64>(), any::<bool>(), 0..3_u8), 0..8), max in any::<u64>()) {
        let groups: Vec<_> = spans
            .iter()
            .map(|(id, parent, start_ns, end_ns, is_server, host)| {
                let kind = if *is_server { SpanKind::Server } else { SpanKind::Client };
                let span = Span { kind, start_ns: *start_ns, end_ns: *end_ns, ..span(*id, *parent, 0, 0) };
                group(["a", "b", ""][usize::from(*host)], vec![span])
            })
            .collect();
        for adjustment in [Adjustment::None, CLOCKS, Adjustment::Clocks { skew_ns_max: max }] {
            let trace = read(groups.clone(), adjustment);
            prop_assert_eq!(trace["spans"].as_array().unwrap().len(), spans.len());
        }
    }
}

#[test]
fn spans_over_grpc_are_those_that_were_sent() {
    let mut spans: Vec<Span> = (1..=23).map(|id| span(id, id / 2, 0, 10)).collect();
    spans[3].kind = SpanKind::Server;
    spans[3].status = SpanStatus::Error;
    spans[4].events = vec![SpanEvent {
        t_ns: 5,
        name: "oops".into(),
        attributes: vec![("n".into(), AttributeValue::Int(-3))],
        dropped_attributes: 0,
    }];
    put(&mut spans[5].attributes, "half", "text");
    spans[5].attributes.push(("x".into(), AttributeValue::Double(0.5)));
    spans[5].attributes.push(("b".into(), AttributeValue::Bytes(vec![0, 255])));
    let trace = Trace { trace_id: 1, groups: vec![group("a", spans)] };
    let chunks = chunks(&trace, Adjustment::None);
    assert_eq!(chunks.len(), 3);
    // A request of the collector has a batch with the same field for spans.
    let mut groups: Vec<SpanGroup> = Vec::new();
    for chunk in chunks {
        let mut request = crate::protobuf::Writer::new();
        request.always_bytes(1, &chunk);
        let received = crate::jaeger::decode_protobuf(&request.finish(), 1_000).unwrap();
        assert_eq!(received.refused.reasons, Vec::<String>::new());
        groups.extend(received.groups);
    }
    let sent: Vec<&Span> = trace.groups.iter().flat_map(|g| &g.spans).collect();
    let found: Vec<&Span> = groups.iter().flat_map(|g| &g.spans).collect();
    assert_eq!(found, sent);
    assert!(groups.iter().all(|g| g.resource == trace.groups[0].resource));
}

#[test]
fn warnings_are_an_attribute_of_the_third_version() {
    let late = Span { attributes: Attributes::new(), ..span(1, 0, 10, 0) };
    let trace = Trace { trace_id: 1, groups: vec![group("a", vec![late, span(2, 1, 0, 1)])] };
    let shown = enriched(trace.clone(), CLOCKS);
    let warning = "span ends 10ms before it starts; shown without a duration";
    let list = AttributeValue::Array(vec![AttributeValue::String(warning.to_owned())]);
    assert_eq!(shown.groups[0].spans[0].attributes, [(WARNINGS.into(), list)]);
    assert_eq!(enriched(trace.clone(), Adjustment::None), trace);
}

#[test]
fn answers_come_in_pieces() {
    let spans = |first: u64| (first..first + 1_000).map(|id| span(id, 0, 0, 1)).collect();
    let trace = |trace_id| {
        let empty = group("a", Vec::new());
        Trace { trace_id, groups: vec![group("a", spans(1)), empty, group("b", spans(1_001))] }
    };
    let pieces: Vec<Vec<u8>> = answer(vec![trace(1), trace(2)], &[], CLOCKS).collect();
    assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.len() < 70_000));
    let body: Value = serde_json::from_slice(&pieces.concat()).unwrap();
    for (trace, id) in body["data"].as_array().unwrap().iter().zip(1..) {
        assert_eq!(trace["traceID"], format!("{id:016x}"));
        let spans = trace["spans"].as_array().unwrap();
        let ids = spans.iter().map(|span| span["spanID"].as_str().unwrap().to_owned());
        assert!(ids.eq((1..=2_000).map(|id| format!("{id:016x}"))));
        assert_eq!(
            (&spans[0]["processID"], &spans[1_999]["processID"]),
            (&json!("p1"), &json!("p2"))
        );
        assert_eq!(trace["processes"]["p2"]["serviceName"], "on-b");
    }
    assert_eq!(body["data"].as_array().unwrap().len(), 2);
}

#[test]
fn missing_traces_are_named() {
    let body =
        String::from_utf8(whole(Vec::new(), &[(0xAB, NOT_FOUND), (1 << 64, NOT_FOUND)], CLOCKS))
            .unwrap();
    let errors = json!([
        {"msg": "trace not found", "traceID": "00000000000000ab"},
        {"msg": "trace not found", "traceID": "00000000000000010000000000000000"},
    ]);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["data"], &body["errors"]), (&json!([]), &errors));
}
