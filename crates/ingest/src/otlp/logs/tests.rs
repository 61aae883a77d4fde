//! OTLP logs in both encodings, and the lines they become.

use proptest::prelude::*;

use super::*;
use crate::protobuf::Writer;

const LIMITS: Limits = Limits {
    rows_max: 100,
    labels_max: 30,
    name_bytes_max: 64,
    value_bytes_max: 32,
    line_fields_bytes_max: 1_000,
    field_bytes_max: 10_000,
    future_ms_max: 600_000,
};

fn read(encoding: Encoding, body: &[u8]) -> Result<Pushed> {
    let request = decode(encoding, body, 1_000)?;
    lines(&request, &LIMITS, &Streams::new(10_000, 100), 1_700_000_000_000)
}

#[test]
fn records_become_lines_with_fields() {
    let body = r#"{"resourceLogs":[{"resource":{"attributes":[
        {"key":"service.name","value":{"stringValue":"my.service"}},
        {"key":"host.name","value":{"stringValue":"box"}},
        {"key":"k8s.pod.name","value":{"stringValue":"a-pod-whose-name-is-too-long-for-a-label"}}]},
      "scopeLogs":[{"scope":{"name":"lib","version":"1.0","attributes":[
        {"key":"own","value":{"stringValue":"x"}}]},
       "logRecords":[{"timeUnixNano":"1544712660300000000","observedTimeUnixNano":1544712660300000001,
        "severityNumber":"SEVERITY_NUMBER_INFO2","severityText":"Information","flags":1,
        "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"0000000000000000",
        "body":{"stringValue":"Example"},"attributes":[
          {"key":"a.b","value":{"boolValue":true}},
          {"key":"list","value":{"arrayValue":{"values":[{"stringValue":"many"},{"intValue":"2"}]}}},
          {"key":"map","value":{"kvlistValue":{"values":[{"key":"some.key","value":{"doubleValue":1.5}}]}}}]},
        {"observedTimeUnixNano":"1544712660300000000","body":{"kvlistValue":{"values":[
          {"key":"k","value":{"intValue":3}}]}}}]}]}]}"#;
    let pushed = read(Encoding::Json, body.as_bytes()).unwrap();
    let rows: Vec<_> = pushed.rows.iter().collect();
    assert_eq!(rows[0].stream.to_string(), r#"{service_name="my.service"}"#);
    assert_eq!((rows[0].t_ns, rows[0].line), (1_544_712_660_300_000_000, "Example"));
    let fields: Vec<String> = rows[0].fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(
        fields,
        [
            "a_b=true",
            "flags=1",
            "host_name=box",
            "k8s_pod_name=a-pod-whose-name-is-too-long-for-a-label",
            "list=[\"many\",2]",
            "map_some_key=1.5",
            "observed_timestamp=1544712660300000001",
            "own=x",
            "scope_name=lib",
            "scope_version=1.0",
            "severity_number=10",
            "severity_text=Information",
            "trace_id=5b8efff798038103d269b633813fc60c",
        ]
    );
    assert_eq!((rows[1].t_ns, rows[1].line), (1_544_712_660_300_000_000, r#"{"k":3}"#));
}

#[test]
fn protobuf_says_the_same() {
    let mut body = Writer::new();
    body.message(1, |resource| {
        resource.message(2, |scope| {
            scope.message(2, |record| {
                record.uint(2, 17);
                record.text(3, "ERROR");
                record.message(5, |body| body.text(1, "boom"));
                record.message(6, |pair| {
                    pair.text(1, "code");
                    pair.message(2, |value| value.int(3, -1));
                });
                record.text(10, "abcdefgh");
                record.text(12, "crash");
            });
        });
    });
    let pushed = read(Encoding::Protobuf, &body.finish()).unwrap();
    let row = pushed.rows.row(0);
    assert_eq!(row.stream.to_string(), r#"{service_name="unknown_service"}"#);
    assert_eq!((row.t_ns, row.line), (1_700_000_000_000_000_000, "boom"));
    assert_eq!(
        row.fields.to_string(),
        r#"{code="-1", event_name="crash", severity_number="17", severity_text="ERROR", span_id="6162636465666768"}"#
    );
    assert_eq!(pushed.corrected.absent, 1);
}

#[test]
fn texts_that_are_not_utf8_are_kept() {
    let mut body = Writer::new();
    body.message(1, |resource| {
        resource.message(2, |scope| {
            for text in [&b"caf\xe9"[..], b"fine"] {
                scope.message(2, |record| {
                    record.message(5, |body| body.bytes(1, text));
                    record.message(6, |pair| {
                        pair.text(1, "path");
                        pair.message(2, |value| value.bytes(1, text));
                    });
                });
            }
        });
    });
    let pushed = read(Encoding::Protobuf, &body.finish()).unwrap();
    let rows: Vec<_> = pushed.rows.iter().collect();
    for (row, bytes) in rows.iter().zip([&b"caf\xe9"[..], b"fine"]) {
        assert_eq!(&*model::bytes_of_text(row.line), bytes);
        assert_eq!(&*model::bytes_of_text(row.fields.get("path").unwrap()), bytes);
    }
    assert_eq!(rows.len(), 2);
}

#[test]
fn what_is_no_request_is_refused() {
    let check = |encoding, body: &str, words: &str| {
        let error = read(encoding, body.as_bytes()).unwrap_err();
        assert!(error.message().contains(words), "{error}");
    };
    check(Encoding::Json, "[", "not an OTLP/JSON logs request");
    check(Encoding::Protobuf, "{", "not an OTLP/protobuf logs request");
    check(Encoding::Json, &"{".repeat(2_001), "more elements");
    let severity =
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"LOUD"}]}]}]}"#;
    check(Encoding::Json, severity, "\"LOUD\" is not a severity number");
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            if let Ok(pushed) = read(encoding, &noise) {
                prop_assert!(pushed.rows.len() <= LIMITS.rows_max);
            }
        }
    }
}
