//! Traces in both encodings and both directions.

use model::{AttributeValue, ErrorKind, SpanEvent, SpanLink};
use proptest::prelude::*;

use super::*;

const BODY: &str = r#"{"resourceSpans":[
  {"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}],"droppedAttributesCount":1},
   "schemaUrl":"https://example.org/1","scopeSpans":[
    {"scope":{"name":"lib","version":"1.0","attributes":[{"key":"own","value":{"boolValue":true}}]},"schemaUrl":"u","spans":[
      {"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173",
       "traceState":"a=b","flags":257,"name":"GET /","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1544712660000000002",
       "endTimeUnixNano":1544712660000000001,"droppedAttributesCount":2,"droppedEventsCount":"3","dropped_links_count":4,
       "attributes":[{"key":"k","value":{"intValue":"-3"}},{"key":"k","value":{"doubleValue":"NaN"}},{"key":"e","value":{}},
         {"key":"map","value":{"kvlistValue":{"values":[{"key":"list","value":{"arrayValue":{"values":[
           {"bytesValue":"AQID"},{"stringValue":"x"}]}}}]}}}],
       "events":[{"timeUnixNano":"1544712660000000003","name":"exception","attributes":[{"key":"a","value":{"stringValue":"b"}}],
         "droppedAttributesCount":5}],
       "links":[{"traceId":"5b8efff798038103d269b633813fc60d","spanId":"eee19b7ec3c1b175","traceState":"c=d","flags":1,
         "attributes":[{"key":"l","value":{"boolValue":false}}],"droppedAttributesCount":6}],
       "status":{"code":2,"message":"broken"}},
      {"traceId":"00000000000000000000000000000000","spanId":"eee19b7ec3c1b174","name":"zero"},
      {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"abc","name":"odd"},
      {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"abcd","name":"short"},
      {"traceId":"5b8efff798038103d269b633813fc60c","name":"none"},
      {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"late","startTimeUnixNano":"18446744073709551615"}]},
    {"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"EEE19B7EC3C1B173","parentSpanId":"","name":"root","kind":1,"status":{}}]},
    {"scope":{"name":"empty"}}]},
  {"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"0000000000000001","kind":99,"status":{"code":"OK"}}]}]}]}"#;

fn body() -> Received {
    decode(Encoding::Json, BODY.as_bytes(), 1_000).unwrap()
}

#[test]
fn texts_that_are_not_utf8_come_with_replacement_characters() {
    let mut body = crate::protobuf::Writer::new();
    body.message(1, |resource| {
        resource.message(2, |scope| {
            scope.message(2, |span| {
                span.bytes(1, &[1; 16]);
                span.bytes(2, &[2; 8]);
                span.bytes(5, b"caf\xe9");
                span.message(9, |pair| {
                    pair.bytes(1, b"k\xff");
                    pair.message(2, |value| value.bytes(1, b"v\xff"));
                });
                span.message(15, |status| status.bytes(2, b"\xc3("));
            });
        });
    });
    let received = decode(Encoding::Protobuf, &body.finish(), 1_000).unwrap();
    let span = &received.groups[0].spans[0];
    assert_eq!((&*span.name, span.status_message.as_str()), ("caf\u{fffd}", "\u{fffd}("));
    let attribute = ("k\u{fffd}".into(), AttributeValue::String("v\u{fffd}".into()));
    assert_eq!(*span.attributes, [attribute]);
}

#[test]
fn all_of_a_span_is_kept() {
    let received = body();
    let group = &received.groups[0];
    assert_eq!(group.resource.service(), Some("shop"));
    assert_eq!(
        (group.resource.dropped_attributes, &*group.resource.schema_url),
        (1, "https://example.org/1")
    );
    assert_eq!(
        (&*group.scope.name, &*group.scope.version, &*group.scope.schema_url),
        ("lib", "1.0", "u")
    );
    assert_eq!(*group.scope.attributes, [("own".into(), AttributeValue::Bool(true))]);
    let span = &group.spans[0];
    assert_eq!(span.trace_id, 0x5b8e_fff7_9803_8103_d269_b633_813f_c60c);
    assert_eq!((span.span_id, span.parent_id), (0xeee1_9b7e_c3c1_b174, 0xeee1_9b7e_c3c1_b173));
    assert_eq!((&*span.name, span.kind, span.flags), ("GET /", SpanKind::Server, 257));
    assert_eq!(
        (span.start_ns, span.end_ns),
        (1_544_712_660_000_000_002, 1_544_712_660_000_000_001)
    );
    assert_eq!(
        (span.status, &*span.status_message, &*span.trace_state),
        (SpanStatus::Error, "broken", "a=b")
    );
    assert_eq!((span.dropped_attributes, span.dropped_events, span.dropped_links), (2, 3, 4));
    let names: Vec<&str> = span.attributes.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["k", "k", "e", "map"]);
    assert_eq!(span.attributes[0].1, AttributeValue::Int(-3));
    assert!(matches!(span.attributes[1].1, AttributeValue::Double(value) if value.is_nan()));
    assert_eq!(span.attributes[2].1, AttributeValue::Empty);
    let list = vec![AttributeValue::Bytes(vec![1, 2, 3]), AttributeValue::String("x".into())];
    let map = AttributeValue::Map(vec![("list".into(), AttributeValue::Array(list))]);
    assert_eq!(span.attributes[3].1, map);
    let event = SpanEvent {
        t_ns: 1_544_712_660_000_000_003,
        name: "exception".into(),
        attributes: vec![("a".into(), AttributeValue::String("b".into()))],
        dropped_attributes: 5,
    };
    assert_eq!(span.events, [event]);
    let link = SpanLink {
        trace_id: 0x5b8e_fff7_9803_8103_d269_b633_813f_c60d,
        span_id: 0xeee1_9b7e_c3c1_b175,
        trace_state: "c=d".into(),
        flags: 1,
        attributes: vec![("l".into(), AttributeValue::Bool(false))],
        dropped_attributes: 6,
    };
    assert_eq!(span.links, [link]);
    assert!(Arc::ptr_eq(&group.resource, &received.groups[1].resource));
    assert_eq!(received.groups[1].spans[0].parent_id, 0);
    let last = &received.groups[2].spans[0];
    assert_eq!((last.kind, last.status), (SpanKind::Unspecified, SpanStatus::Ok));
    assert_eq!((received.groups.len(), received.len()), (3, 3));
}

#[test]
fn spans_are_refused_alone() {
    let Refused { rows, reasons } = body().refused;
    assert_eq!(rows, 5);
    assert_eq!(
        reasons,
        [
            r#"span "zero": TraceID is empty or all zeros"#,
            r#"span "odd": invalid SpanID "abc" of 3 characters: not pairs of hexadecimal digits"#,
            r#"span "short": invalid length for SpanID: 2 bytes; need 8"#,
            r#"span "none": SpanID is empty or all zeros"#,
            r#"span "late": start time 18446744073709551615 ns is after the year 2262"#,
        ]
    );
}

#[test]
fn ids_in_protobuf_are_refused_alike() {
    let check = |trace_id: &[u8], span_id: &[u8], parent_id: &[u8], expected: &str| {
        let mut writer = crate::protobuf::Writer::new();
        writer.message(1, |writer| {
            writer.message(2, |writer| {
                writer.message(2, |writer| {
                    writer.bytes(1, trace_id);
                    writer.bytes(2, span_id);
                    writer.bytes(4, parent_id);
                    writer.text(5, "x");
                });
            });
        });
        let received = decode(Encoding::Protobuf, &writer.finish(), 10).unwrap();
        let expected =
            if expected.is_empty() { vec![] } else { vec![format!("span \"x\": {expected}")] };
        assert_eq!(received.refused.reasons, expected);
        assert_eq!(received.len() as u64 + received.refused.rows, 1);
    };
    check(&[1; 16], &[1; 8], &[], "");
    check(&[1; 16], &[1; 8], &[0; 8], "");
    check(&[1; 8], &[1; 8], &[], "invalid length for TraceID: 8 bytes; need 16");
    check(&[0; 16], &[1; 8], &[], "TraceID is empty or all zeros");
    check(&[1; 16], &[0; 8], &[], "SpanID is empty or all zeros");
    check(&[], &[], &[], "TraceID is empty or all zeros");
    check(&[1; 16], &[1; 7], &[], "invalid length for SpanID: 7 bytes; need 8");
    check(&[1; 16], &[1; 8], &[1], "invalid length for ParentSpanID: 1 bytes; need 8");
}

/// A value of so many lists or maps inside each other.
fn nested(depth: usize, is_map: bool) -> AttributeValue {
    (0..depth).fold(AttributeValue::Int(1), |inner, _| match is_map {
        true => AttributeValue::Map(vec![("k".to_owned(), inner)]),
        false => AttributeValue::Array(vec![inner]),
    })
}

#[test]
fn values_that_go_too_deep_cost_their_span_alone() {
    let span = |span_id, attributes: Vec<AttributeValue>| Span {
        trace_id: 1,
        span_id,
        name: Arc::from("x"),
        attributes: attributes.into_iter().map(|value| (Arc::from("a"), value)).collect(),
        ..Span::default()
    };
    let check = |deep: AttributeValue, is_taken: bool| {
        let spans = vec![span(1, vec![deep, AttributeValue::Bool(true)]), span(2, Vec::new())];
        let group = SpanGroup { spans: spans.clone(), ..SpanGroup::default() };
        let received = decode(Encoding::Protobuf, &to_protobuf(&[group]), 1000).unwrap();
        let taken = if is_taken { &spans[..] } else { &spans[1..] };
        assert_eq!(received.groups[0].spans, taken);
        let reasons = received.refused.reasons;
        assert_eq!(reasons.len() + taken.len(), 2);
        assert!(reasons.iter().all(|why| why.contains("values go deeper than 64")), "{reasons:?}");
    };
    for is_map in [true, false] {
        check(nested(64, is_map), true);
        check(nested(65, is_map), false);
        check(nested(200, is_map), false);
    }
    let attributes = vec![(Arc::from("a"), nested(65, true))];
    let resource = Arc::new(Resource { attributes, ..Resource::default() });
    let group = SpanGroup { resource, spans: vec![span(1, vec![])], ..SpanGroup::default() };
    let error = decode(Encoding::Protobuf, &to_protobuf(&[group]), 1000).unwrap_err();
    assert!(error.to_string().contains("values go deeper than 64"), "{error}");
}

#[test]
fn older_exporters_library_spans_are_read() {
    let mut writer = crate::protobuf::Writer::new();
    writer.message(1, |writer| {
        writer.message(1000, |writer| {
            writer.message(1, |writer| writer.text(1, "old"));
            writer.message(2, |writer| {
                writer.bytes(1, &[1; 16]);
                writer.bytes(2, &[2; 8]);
            });
        });
    });
    let received = decode(Encoding::Protobuf, &writer.finish(), 10).unwrap();
    assert_eq!((&*received.groups[0].scope.name, received.len()), ("old", 1));
}

#[test]
fn what_is_written_is_read() {
    let groups = body().groups;
    let shown = format!("{groups:?}");
    let protobuf = decode(Encoding::Protobuf, &to_protobuf(&groups), 1_000).unwrap();
    assert_eq!(format!("{:?}", protobuf.groups), shown);
    assert!(protobuf.refused.is_empty());
    let json =
        decode(Encoding::Json, to_json(&groups, IdForm::Hexadecimal).as_bytes(), 1_000).unwrap();
    assert_eq!(format!("{:?}", json.groups), shown);
}

#[test]
fn json_has_two_forms() {
    let groups = body().groups;
    let check = |form, id: &str, kind: &str| {
        let json: serde_json::Value = serde_json::from_str(&to_json(&groups, form)).unwrap();
        let resources = json["resourceSpans"].as_array().unwrap();
        assert_eq!(resources.len(), 2);
        assert_eq!(resources[0]["scopeSpans"].as_array().unwrap().len(), 2);
        let span = &resources[0]["scopeSpans"][0]["spans"][0];
        assert_eq!(
            (span["spanId"].as_str(), span["kind"].to_string()),
            (Some(id), kind.to_owned())
        );
    };
    check(IdForm::Hexadecimal, "eee19b7ec3c1b174", "2");
    check(IdForm::Base64, "7uGbfsPBsXQ=", "\"SPAN_KIND_SERVER\"");
}

#[test]
fn requests_are_bounded() {
    for (encoding, body) in [
        (Encoding::Protobuf, to_protobuf(&body().groups)),
        (Encoding::Json, BODY.as_bytes().to_vec()),
    ] {
        let error = decode(encoding, &body, 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        let error = decode(encoding, &body[..body.len() - 1], 1_000).unwrap_err();
        assert!(error.message().contains("traces request"), "{error}");
    }
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>()) {
        let mut bent = to_protobuf(&body().groups);
        let at = at.index(bent.len());
        bent.splice(at..(at + noise.len()).min(bent.len()), noise.iter().copied());
        for body in [&noise, &bent] {
            for encoding in [Encoding::Protobuf, Encoding::Json] {
                let Ok(received) = decode(encoding, body, 100) else { continue };
                prop_assert!(received.len() <= 100);
                prop_assert!(received.groups.iter().flat_map(|g| &g.spans).all(|s| s.trace_id != 0 && s.span_id != 0));
                let again = decode(Encoding::Protobuf, &to_protobuf(&received.groups), 1_000).unwrap();
                prop_assert_eq!(format!("{:?}", again.groups), format!("{:?}", received.groups));
            }
        }
    }
}

#[test]
fn a_request_of_a_real_client() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/traces/otlp_python.pb");
    let received = decode(Encoding::Protobuf, &std::fs::read(path).unwrap(), 1_000).unwrap();
    assert!(received.refused.is_empty());
    let [group] = &received.groups[..] else { panic!("{:?}", received.groups) };
    assert_eq!((group.resource.service(), &*group.scope.name), (Some("checkout"), "shop.lib"));
    let [child, root] = &group.spans[..] else { panic!("{:?}", group.spans) };
    assert_eq!(
        (child.parent_id, &*child.name, child.kind),
        (root.span_id, "query", SpanKind::Client)
    );
    assert_eq!((child.status, &*child.status_message), (SpanStatus::Error, "timed out"));
    assert_eq!((child.links[0].trace_id, child.links[0].span_id), (0xff, 0xfe));
    let sizes = AttributeValue::Array(vec![AttributeValue::Int(1), AttributeValue::Int(2)]);
    assert!(root.attributes.contains(&("sizes".into(), sizes)));
}
