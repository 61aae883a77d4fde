//! Batches of real clients, and rules of the translation.

use model::{AttributeValue, Span, SpanKind, SpanStatus};
use proptest::prelude::*;

use super::translate::{Batch, JaegerSpan, Log, Process, Reference, resource};
use super::*;
use crate::spans::put;

const NOW_NS: i64 = 1_700_000_100_000_000_000;

fn file(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/traces");
    std::fs::read(format!("{dir}/{name}")).unwrap()
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::String(text.to_owned())
}

/// What both encodings say of the same two spans.
fn check_spans(received: &Received) -> (Span, Span) {
    assert!(received.refused.is_empty(), "{:?}", received.refused);
    assert_eq!(received.groups.len(), 1);
    let group = &received.groups[0];
    assert_eq!(group.resource.service(), Some("checkout"));
    assert!(group.resource.attributes.contains(&("host.name".into(), text("box"))));
    assert_eq!((&*group.scope.name, &*group.scope.version), ("shop.lib", "1.2.3"));
    let [child, root] = &group.spans[..] else { panic!("{:?}", group.spans) };
    assert_eq!(child.trace_id, 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
    assert_eq!((child.span_id, child.parent_id), (0x0102_0304_0506_0712, 0x0102_0304_0506_0711));
    assert_eq!((root.span_id, root.parent_id), (0x0102_0304_0506_0711, 0));
    assert_eq!((&*child.name, child.kind), ("query", SpanKind::Client));
    assert_eq!(
        (&*root.name, root.kind, root.status),
        ("GET /cart", SpanKind::Server, SpanStatus::Unset)
    );
    assert_eq!((child.status, &*child.status_message), (SpanStatus::Error, "timed out"));
    // The client that writes protobuf takes times through floating point.
    let us = |t_ns: i64| (t_ns + 500) / 1_000;
    assert_eq!(
        (us(child.start_ns), us(child.end_ns)),
        (1_700_000_000_001_000, 1_700_000_000_005_000)
    );
    assert_eq!(us(root.end_ns) - us(root.start_ns), 9_000);
    for (name, value) in [
        ("http.method", text("GET")),
        ("http.status_code", AttributeValue::Int(200)),
        ("ratio", AttributeValue::Double(0.5)),
        ("cached", AttributeValue::Bool(true)),
    ] {
        assert!(root.attributes.contains(&(name.into(), value)), "{name}: {:?}", root.attributes);
    }
    assert!(child.attributes.contains(&("db.system".into(), text("postgresql"))));
    assert_eq!(us(child.events[0].t_ns), 1_700_000_000_002_000);
    assert!(child.events[0].attributes.contains(&("attempt".into(), AttributeValue::Int(2))));
    let link = &child.links[0];
    assert_eq!((link.trace_id, link.span_id), (0xff, 0xfe));
    assert_eq!(link.attributes, [("opentracing.ref_type".into(), text("follows_from"))]);
    (child.clone(), root.clone())
}

#[test]
fn thrift_of_a_real_client() {
    let batch = decode_thrift(Protocol::Binary, &file("jaeger_batch.binary"), 1_000).unwrap();
    let (child, _) = check_spans(&batch);
    assert!(child.attributes.contains(&("raw".into(), AttributeValue::Bytes(vec![0, 1, 255]))));
    assert_eq!((child.links[1].trace_id, child.links[1].span_id), ((2 << 64) - 1, u64::MAX - 1));
    let resource = &batch.groups[0].resource.attributes;
    assert!(resource.contains(&("opencensus.exporterversion".into(), text("Jaeger-Python-4.8.0"))));
    assert!(resource.contains(&("pid".into(), AttributeValue::Int(42))));
    for (protocol, name) in [
        (Protocol::Compact, "jaeger_emit_batch.compact"),
        (Protocol::Binary, "jaeger_emit_batch.binary"),
    ] {
        assert_eq!(decode_datagram(protocol, &file(name), 1_000, NOW_NS).unwrap(), batch);
    }
}

#[test]
fn protobuf_of_a_real_client() {
    check_spans(&decode_protobuf(&file("jaeger_post_spans.pb"), 1_000).unwrap());
}

#[test]
fn agents_take_spans_of_zipkin() {
    let received =
        decode_datagram(Protocol::Compact, &file("zipkin_emit_batch.compact"), 100, NOW_NS)
            .unwrap();
    assert_eq!(received.len(), 2);
}

fn one(span: JaegerSpan) -> Result<Span, Vec<String>> {
    let mut batch = Batch::default();
    batch.push(&std::sync::Arc::new(resource(Process::default())), span);
    let received = batch.finish();
    received.groups.into_iter().flat_map(|g| g.spans).next().ok_or(received.refused.reasons)
}

fn plain() -> JaegerSpan {
    JaegerSpan {
        trace_id: 1,
        span_id: 2,
        name: "x".into(),
        start_ns: 1_000,
        ..JaegerSpan::default()
    }
}

#[test]
fn tags_tell_the_status() {
    let check = |tags: Vec<(&str, AttributeValue)>, expected: (SpanStatus, &str), left: &[&str]| {
        let tags = tags.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let span = one(JaegerSpan { tags, ..plain() }).unwrap();
        assert_eq!((span.status, &*span.status_message), expected);
        let names: Vec<&str> = span.attributes.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, left);
    };
    let (yes, no) = (AttributeValue::Bool(true), AttributeValue::Bool(false));
    check(vec![("error", yes.clone())], (SpanStatus::Error, ""), &[]);
    check(vec![("error", no.clone())], (SpanStatus::Unset, ""), &["error"]);
    check(vec![("error", text("true"))], (SpanStatus::Unset, ""), &["error"]);
    check(
        vec![
            ("error", yes.clone()),
            ("otel.status_code", text("OK")),
            ("otel.status_description", text("d")),
        ],
        (SpanStatus::Error, "d"),
        &[],
    );
    check(
        vec![
            ("otel.status_code", text("ok")),
            ("otel.status_description", text("d")),
            ("error", no),
        ],
        (SpanStatus::Ok, "d"),
        &["error"],
    );
    check(vec![("otel.status_code", text("ERROR"))], (SpanStatus::Error, ""), &[]);
    check(
        vec![("http.status_code", AttributeValue::Int(500)), ("http.status_message", text("m"))],
        (SpanStatus::Error, "m"),
        &["http.status_code", "http.status_message"],
    );
    check(vec![("http.status_code", text("404"))], (SpanStatus::Error, ""), &["http.status_code"]);
    check(
        vec![("http.status_code", text("404")), ("span.kind", text("server"))],
        (SpanStatus::Unset, ""),
        &["http.status_code"],
    );
    check(vec![("http.status_code", text("302"))], (SpanStatus::Unset, ""), &["http.status_code"]);
}

#[test]
fn references_are_the_parent_or_links() {
    let reference = |is_child, trace_id, span_id| Reference { is_child, trace_id, span_id };
    let check = |parent_id, references: &[Reference], expected: u64, links: &[u64]| {
        let span =
            one(JaegerSpan { parent_id, references: references.to_vec(), ..plain() }).unwrap();
        assert_eq!(span.parent_id, expected);
        let linked: Vec<u64> = span.links.iter().map(|link| link.span_id).collect();
        assert_eq!(linked, links);
    };
    check(0, &[], 0, &[]);
    check(7, &[], 7, &[]);
    check(0, &[reference(false, 1, 8), reference(true, 1, 9)], 9, &[8]);
    check(0, &[reference(true, 5, 8), reference(false, 1, 9)], 9, &[8, 9]);
    check(0, &[reference(true, 5, 8)], 0, &[8]);
    check(7, &[reference(true, 1, 7), reference(true, 5, 7)], 7, &[7]);
}

#[test]
fn the_rest_of_a_span() {
    let mut fields = model::Attributes::new();
    put(&mut fields, "event", "boom");
    put(&mut fields, "stack", "…");
    let mut tags = model::Attributes::new();
    put(&mut tags, "w3c.tracestate", "a=b");
    put(&mut tags, "k", "1");
    put(&mut tags, "k", "2");
    let span = one(JaegerSpan {
        flags: 3,
        duration_ns: -500,
        tags,
        logs: vec![Log { t_ns: 5, fields }],
        warnings: vec!["w".to_owned()],
        ..plain()
    });
    let span = span.unwrap();
    assert_eq!(
        (span.start_ns, span.end_ns, span.flags, &*span.trace_state),
        (1_000, 500, 1, "a=b")
    );
    assert_eq!((&*span.events[0].name, span.events[0].attributes.len()), ("boom", 1));
    let names: Vec<&str> = span.attributes.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["k", "k", "@jaeger@warnings"]);
}

#[test]
fn spans_are_refused_alone() {
    let check = |span: JaegerSpan, expected: &str| {
        assert_eq!(one(span).unwrap_err(), [format!("span \"x\": {expected}")]);
    };
    check(JaegerSpan { trace_id: 0, ..plain() }, "TraceID is empty or all zeros");
    check(JaegerSpan { span_id: 0, ..plain() }, "SpanID is empty or all zeros");
    check(
        JaegerSpan { duration_ns: i64::MAX, ..plain() },
        "its duration of 9223372036854775807 ns ends after the year 2262",
    );
    let mut writer = crate::protobuf::Writer::new();
    writer.message(1, |batch| {
        batch.message(1, |span| {
            span.bytes(1, &[1; 8]);
            span.bytes(2, &[1; 8]);
        });
        batch.message(1, |span| {
            span.bytes(1, &[1; 16]);
            span.bytes(2, &[1; 8]);
        });
    });
    let received = decode_protobuf(&writer.finish(), 10).unwrap();
    assert_eq!((received.len(), received.refused.rows), (1, 1));
    assert_eq!(
        received.refused.reasons,
        ["span \"\": invalid length for TraceID: 8 bytes; need 16"]
    );
}

#[test]
fn spans_may_have_their_own_process() {
    let mut writer = crate::protobuf::Writer::new();
    writer.message(1, |batch| {
        for (id, service) in [(1, ""), (2, "own"), (3, "own"), (4, "shared")] {
            batch.message(1, |span| {
                span.bytes(1, &[1; 16]);
                span.bytes(2, &[id; 8]);
                if !service.is_empty() {
                    span.message(10, |process| process.text(1, service));
                }
            });
        }
        batch.message(2, |process| process.text(1, "shared"));
    });
    let received = decode_protobuf(&writer.finish(), 100).unwrap();
    let groups: Vec<_> =
        received.groups.iter().map(|g| (g.resource.service(), g.spans.len())).collect();
    assert_eq!(groups, [(Some("shared"), 2), (Some("own"), 2)]);
}

#[test]
fn batches_are_bounded_and_mistakes_named() {
    let body = file("jaeger_batch.binary");
    let error = decode_thrift(Protocol::Binary, &body, 5).unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::Limit, "{error}");
    let error = decode_thrift(Protocol::Binary, &body[..300], 1_000).unwrap_err();
    assert!(error.message().starts_with("body is not a batch of Jaeger in Thrift: "), "{error}");
    let error =
        decode_datagram(Protocol::Binary, &file("jaeger_emit_batch.compact"), 1_000, NOW_NS)
            .unwrap_err();
    assert!(error.message().starts_with("datagram is no message to a Jaeger agent: "), "{error}");
    let error = decode_datagram(Protocol::Compact, &[0x82, 0x81, 0, 2, b'g', b'o'], 1_000, NOW_NS)
        .unwrap_err();
    assert!(
        error.message().ends_with(r#"a Oneway of "go"; known are emitBatch and emitZipkinBatch"#),
        "{error}"
    );
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>()) {
        let names = ["jaeger_batch.binary", "jaeger_emit_batch.compact", "jaeger_post_spans.pb"];
        for mut bytes in names.map(file).into_iter().chain([Vec::new()]) {
            let from = at.index(bytes.len() + 1);
            let to = (from + noise.len()).min(bytes.len());
            bytes.splice(from..to, noise.iter().copied());
            let results = [Protocol::Binary, Protocol::Compact].map(|protocol| {
                [decode_thrift(protocol, &bytes, 100), decode_datagram(protocol, &bytes, 100, NOW_NS)]
            });
            let protobuf = decode_protobuf(&bytes, 100);
            for received in results.into_iter().flatten().chain([protobuf]).flatten() {
                prop_assert!(received.len() <= 100);
                prop_assert!(received.groups.iter().flat_map(|g| &g.spans).all(|s| s.trace_id != 0 && s.span_id != 0));
            }
        }
    }
}
