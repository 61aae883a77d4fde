//! Spans of real clients, and rules of the translation.

use model::{AttributeValue, Span, SpanGroup, SpanKind};
use proptest::prelude::*;

use super::*;

const NOW_NS: i64 = 1_700_000_100_000_000_000;

fn file(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/traces");
    std::fs::read(format!("{dir}/{name}")).unwrap()
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::String(text.to_owned())
}

fn shown(attributes: &Attributes) -> Vec<String> {
    let show = |value: &AttributeValue| match value {
        AttributeValue::String(text) => text.clone(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|(name, value)| format!("{name}={}", show(value))).collect()
}

fn read(form: Form, body: &[u8]) -> Vec<SpanGroup> {
    let received = decode(form, body, 1_000, NOW_NS).unwrap();
    assert!(received.refused.is_empty(), "{:?}", received.refused);
    received.groups
}

fn one(form: Form, body: &str) -> (Arc<Resource>, Span) {
    let groups = read(form, format!("[{body}]").as_bytes());
    (groups[0].resource.clone(), groups[0].spans[0].clone())
}

#[test]
fn spans_of_a_real_client() {
    for (form, name) in [
        (Form::V2Json, "zipkin_v2.json"),
        (Form::V2Protobuf, "zipkin_v2.pb"),
        (Form::V1Json, "zipkin_v1.json"),
    ] {
        let groups = read(form, &file(name));
        let [group] = &groups[..] else { panic!("{name}: {groups:?}") };
        assert_eq!(group.resource.service(), Some("checkout"), "{name}");
        let resource = shown(&group.resource.attributes);
        assert!(resource.contains(&"process.pid=42".to_owned()), "{resource:?}");
        assert_eq!((&*group.scope.name, &*group.scope.version), ("shop.lib", "1.2.3"));
        let [child, root] = &group.spans[..] else { panic!("{:?}", group.spans) };
        assert_eq!(child.trace_id, 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
        assert_eq!(
            (child.span_id, child.parent_id),
            (0x0102_0304_0506_0712, 0x0102_0304_0506_0711)
        );
        assert_eq!((root.parent_id, &*root.name, root.flags), (0, "GET /cart", 1));
        assert_eq!(
            (child.start_ns, child.end_ns),
            (1_700_000_000_001_000_000, 1_700_000_000_005_000_000)
        );
        assert_eq!((child.status, &*child.status_message), (SpanStatus::Error, "timed out"));
        assert_eq!(root.status, SpanStatus::Unset);
        let event = &child.events[0];
        assert_eq!((event.t_ns, &*event.name), (1_700_000_000_002_000_000, "retry"));
        assert_eq!(event.attributes, [("attempt".into(), AttributeValue::Int(2))]);
        assert!(root.attributes.contains(&("http.status_code".into(), text("200"))));
        if form != Form::V1Json {
            assert_eq!((child.kind, root.kind), (SpanKind::Client, SpanKind::Server), "{name}");
            assert!(root.attributes.contains(&("net.host.ip".into(), text("192.0.2.1"))));
            assert!(root.attributes.contains(&("net.host.port".into(), AttributeValue::Int(9411))));
        }
    }
}

#[test]
fn thrift_spans_of_the_first_version() {
    let groups = read(Form::V1Thrift, &file("zipkin_v1.thrift"));
    let services: Vec<_> = groups.iter().map(|g| g.resource.service()).collect();
    assert_eq!(services, [Some("front"), Some("cron")]);
    assert_eq!(
        shown(&groups[0].resource.attributes),
        ["service.name=front", "ipv4=172.31.0.4", "ipv6=::1", "port=8080"]
    );
    let span = &groups[0].spans[0];
    assert_eq!(span.trace_id, 7 << 64 | u128::from((-5_i64).cast_unsigned()));
    assert_eq!((span.span_id, span.parent_id, span.kind, span.flags), (9, 8, SpanKind::Client, 1));
    assert_eq!((span.start_ns, span.duration_ns()), (1_700_000_000_000_000_000, 500_000));
    assert_eq!(
        shown(&span.attributes),
        [
            "http.url=http://x/",
            "n=Int(-3)",
            "d=Double(1.5)",
            "b=Bool(true)",
            "short=AQ==",
            "peer.service=back",
            "net.peer.port=Int(65535)",
            "error=refused",
        ]
    );
    assert_eq!((span.status, &*span.status_message), (SpanStatus::Error, "refused"));
    assert_eq!((span.events.len(), &*span.events[0].name), (1, "wait"));
    assert_eq!(shown(&groups[1].spans[0].attributes), ["component=cron"]);
}

#[test]
fn fields_of_the_second_version() {
    let (resource, span) = one(
        Form::V2Json,
        r#"{"traceId":"1f","id":"0000000000000002","parentId":"2","kind":"CONSUMER","name":"poll","shared":true,
            "timestamp":1000.0,"duration":"5","localEndpoint":{"serviceName":"s","ipv6":"7::0.128.128.127"},
            "remoteEndpoint":{"serviceName":"kafka","ipv4":"10.0.0.1","port":9092},"debug":null,"later":[{}],
            "tags":{"k8s.pod.name":"p","n":7,"w3c.tracestate":"a=b","span.kind":"x","otel.status_code":"Ok",
              "otlp.link.0":"0000000000000000000000000000000a|000000000000000b|c=d|{\"x\":1.5,\"y\":true}|3",
              "otlp.link.1":"nonsense"},
            "annotations":[{"timestamp":1001,"value":"plain"},{"timestamp":1002,"value":"n|{\"a\":\"x|y\"}|2"},
              {"timestamp":1003,"value":"a|b|c"}]}"#,
    );
    assert_eq!(shown(&resource.attributes), ["service.name=s", "k8s.pod.name=p"]);
    assert_eq!((span.trace_id, span.span_id, span.parent_id), (0x1f, 2, 0));
    assert_eq!(
        (span.kind, span.status, &*span.trace_state),
        (SpanKind::Consumer, SpanStatus::Ok, "a=b")
    );
    assert_eq!((span.start_ns, span.end_ns), (1_000_000, 1_005_000));
    assert_eq!(
        shown(&span.attributes),
        [
            "n=7",
            "otlp.link.1=nonsense",
            "net.host.ip=7::80:807f",
            "peer.service=kafka",
            "net.peer.ip=10.0.0.1",
            "net.peer.port=Int(9092)",
        ]
    );
    let link = &span.links[0];
    assert_eq!((link.trace_id, link.span_id, &*link.trace_state), (10, 11, "c=d"));
    assert_eq!(
        (shown(&link.attributes), link.dropped_attributes),
        (vec!["x=Double(1.5)".into(), "y=Bool(true)".into()], 3)
    );
    let events: Vec<_> = span
        .events
        .iter()
        .map(|e| (&*e.name, shown(&e.attributes), e.dropped_attributes))
        .collect();
    assert_eq!(
        events,
        [("plain", vec![], 0), ("n", vec!["a=x|y".into()], 2), ("a|b|c", vec![], 0)]
    );
}

#[test]
fn times_that_were_not_sent() {
    let absent = format!("{START_ABSENT}=Bool(true)");
    let check = |form, body: &str, expected: (i64, u64), is_marked: bool| {
        let (_, span) = one(form, &format!(r#"{{"traceId":"1","id":"1",{body}}}"#));
        assert_eq!((span.start_ns, span.duration_ns()), expected, "{body}");
        assert_eq!(shown(&span.attributes).contains(&absent), is_marked, "{body}");
    };
    check(Form::V2Json, r#""duration":5"#, (NOW_NS, 5_000), true);
    check(
        Form::V2Json,
        r#""annotations":[{"timestamp":9,"value":"x"},{"timestamp":7,"value":"x"}]"#,
        (7_000, 0),
        true,
    );
    check(
        Form::V1Json,
        r#""annotations":[{"timestamp":9,"value":"cr"},{"timestamp":7,"value":"cs"}]"#,
        (7_000, 2_000),
        false,
    );
    check(
        Form::V1Json,
        r#""timestamp":3,"duration":1,"annotations":[{"timestamp":9,"value":"cr"}]"#,
        (3_000, 1_000),
        false,
    );
    check(Form::V1Json, r#""annotations":[]"#, (NOW_NS, 0), true);
}

#[test]
fn services_of_the_first_version() {
    let check = |body: &str, expected: &str, attributes: &[&str]| {
        let (resource, span) =
            one(Form::V1Json, &format!(r#"{{"traceId":"1","id":"1","timestamp":1,{body}}}"#));
        assert_eq!(
            (resource.service(), shown(&span.attributes)),
            (Some(expected), attributes.iter().map(|a| (*a).to_owned()).collect())
        );
    };
    let place = |service: &str| format!(r#""endpoint":{{"serviceName":"{service}"}}"#);
    check(r#""name":"x""#, "unknown-service", &[]);
    check(
        &format!(
            r#""annotations":[{{"value":"x",{}}},{{"value":"sr",{}}}]"#,
            place("a"),
            place("b")
        ),
        "b",
        &[],
    );
    check(
        &format!(
            r#""binaryAnnotations":[{{"key":"lc","value":"cron"}},{{"key":"k","value":"v",{}}}]"#,
            place("c")
        ),
        "c",
        &["component=cron", "k=v"],
    );
    check(r#""binaryAnnotations":[{"key":"lc","value":"cron"}]"#, "cron", &["component=cron"]);
    check(
        &format!(
            r#""annotations":[{{"value":"sr",{}}}],"binaryAnnotations":[{{"key":"ca","value":true,{}}},{{"key":"sa","value":true,{}}}]"#,
            place("b"),
            place("caller"),
            place("me")
        ),
        "b",
        &["peer.service=caller", "sa=true"],
    );
}

#[test]
fn errors_are_what_their_tag_says() {
    let check = |tag: &str, expected: (SpanStatus, &str), left: usize| {
        let body =
            format!(r#"{{"traceId":"1","id":"1","timestamp":1,"tags":{{"error":"{tag}"}}}}"#);
        let (_, span) = one(Form::V2Json, &body);
        assert_eq!(
            (span.status, &*span.status_message, span.attributes.len()),
            (expected.0, expected.1, left)
        );
    };
    check("true", (SpanStatus::Error, ""), 0);
    check("false", (SpanStatus::Unset, ""), 1);
    check("", (SpanStatus::Error, ""), 1);
    check("no route", (SpanStatus::Error, "no route"), 1);
}

#[test]
fn spans_are_refused_alone() {
    let ids = [
        r#""x","id":"1""#,
        r#""0","id":"1""#,
        r#""1""#,
        r#""1","id":"00000000000000001""#,
        r#""1","id":"1","timestamp":9223372036854775807"#,
        r#""1","id":"1""#,
    ];
    let spans: Vec<String> =
        ids.iter().map(|ids| format!(r#"{{"name":"n","traceId":{ids}}}"#)).collect();
    let received =
        decode(Form::V2Json, format!("[{}]", spans.join(",")).as_bytes(), 100, NOW_NS).unwrap();
    assert_eq!((received.len(), received.refused.rows), (1, 5));
    assert_eq!(
        received.refused.reasons,
        [
            r#"span "n": invalid traceId "x" of 1 characters; need 1 to 32 hexadecimal digits"#,
            r#"span "n": TraceID is empty or all zeros"#,
            r#"span "n": SpanID is empty or all zeros"#,
            r#"span "n": invalid id "00000000000000001" of 17 characters; need 1 to 16 hexadecimal digits"#,
            r#"span "n": a time or duration of 9223372036854775807 µs does not fit in 64 bits of nanoseconds"#,
        ]
    );
}

#[test]
fn bodies_are_bounded_and_mistakes_named() {
    let check = |form, body: &[u8], elements_max, expected: &str| {
        let error = decode(form, body, elements_max, NOW_NS).unwrap_err();
        assert!(error.message().starts_with(expected), "{error}");
    };
    for (form, name) in [
        (Form::V1Json, "zipkin_v1.json"),
        (Form::V1Thrift, "zipkin_v1.thrift"),
        (Form::V2Json, "zipkin_v2.json"),
        (Form::V2Protobuf, "zipkin_v2.pb"),
    ] {
        check(
            form,
            &file(name),
            8,
            "request has more elements (spans, attributes, events, …) than the limit of 8",
        );
        check(form, &file(name)[..100], 1_000, "body is no list of Zipkin's spans, version ");
    }
    check(
        Form::V2Json,
        br#"[{"timestamp":"soon"}]"#,
        10,
        "body is no list of Zipkin's spans, version 2, in JSON: expected a whole number at line 1 column 15",
    );
    check(
        Form::V2Json,
        b"{}",
        10,
        "body is no list of Zipkin's spans, version 2, in JSON: expected a list of spans",
    );
    check(
        Form::V2Json,
        b"[] x",
        10,
        "body is no list of Zipkin's spans, version 2, in JSON: trailing",
    );
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>()) {
        for name in ["zipkin_v1.json", "zipkin_v1.thrift", "zipkin_v2.json", "zipkin_v2.pb", "README.md"] {
            let mut bytes = file(name);
            let from = at.index(bytes.len());
            let to = (from + noise.len()).min(bytes.len());
            bytes.splice(from..to, noise.iter().copied());
            for form in [Form::V1Json, Form::V1Thrift, Form::V2Json, Form::V2Protobuf] {
                let Ok(received) = decode(form, &bytes, 100, NOW_NS) else { continue };
                prop_assert!(received.len() <= 100);
                prop_assert!(received.groups.iter().flat_map(|g| &g.spans).all(|s| s.trace_id != 0 && s.span_id != 0));
            }
        }
    }

    #[test]
    fn json_like_noise_is_refused_or_bounded(noise in "[\\[\\]{}\",:a1nul.|\\\\ ]{0,80}") {
        for body in [noise.clone(), format!("[{{\"traceId\":\"1\",\"id\":\"1\",{noise}}}]"), format!("[{{\"traceId\":\"1\",\"id\":\"1\",\"tags\":{noise}}}]")] {
            for form in [Form::V1Json, Form::V2Json] {
                let _refused = decode(form, body.as_bytes(), 10, NOW_NS).is_ok();
            }
        }
    }
}
