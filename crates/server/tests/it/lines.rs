//! Receivers of log lines: what reaches the store, what is refused and in which words.

use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::Request;
use ingest::protobuf::Writer;
use model::LogRow;
use serde_json::json;
use server::router;

use crate::ask;
use crate::table::{Files, Kept, NOW_MS, app_over, open_access};

struct Receiver {
    router: Router,
    kept: Arc<Kept>,
}

impl Receiver {
    fn new() -> Self {
        let kept = Arc::new(Kept::default());
        let (app, _) = app_over(open_access(), kept.clone(), Arc::new(Files::default()));
        Self { router: router(&app), kept }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> (u16, String) {
        let mut request =
            Request::builder().method(method).uri(path).header("host", "localhost:7245");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (status, _, body) = ask(&self.router, request.body(body.into()).unwrap()).await;
        (status.as_u16(), body)
    }

    async fn push(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> (u16, String) {
        self.send("POST", "/loki/api/v1/push", headers, body).await
    }

    /// Lines stored so far as `{labels} time line {fields}`, in order of arrival; forgets them.
    fn stored(&self) -> Vec<String> {
        let spell = |row: LogRow<'_>| {
            let fields =
                if row.fields.is_empty() { String::new() } else { format!(" {}", row.fields) };
            format!("{} {} {}{fields}", row.stream, row.t_ns, row.line)
        };
        let batches = std::mem::take(&mut *self.kept.1.lock());
        batches.iter().flat_map(|batch| batch.rows.iter().map(spell).collect::<Vec<_>>()).collect()
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(plain).unwrap();
    packer.finish().unwrap()
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).unwrap()
}

/// A push request of one stream with lines of `(time, line)` and one field.
fn push_request(labels: &str, lines: &[(i64, &str)]) -> Vec<u8> {
    let mut request = Writer::new();
    request.message(1, |stream| {
        stream.text(1, labels);
        for (t_ns, line) in lines {
            stream.message(2, |entry| {
                entry.message(1, |time| {
                    time.int(1, t_ns / 1_000_000_000);
                    time.int(2, t_ns % 1_000_000_000);
                });
                entry.text(2, line);
                entry.message(3, |pair| {
                    pair.text(1, "trace.id");
                    pair.text(2, "abc");
                });
            });
        }
    });
    request.finish()
}

#[tokio::test]
async fn loki_pushes_are_stored_in_every_encoding() {
    let receiver = Receiver::new();
    let t_ns = NOW_MS * 1_000_000 - 5;
    let request = push_request("{job=\"a\", x=\"q\\\"\"}", &[(t_ns, "one"), (t_ns + 1, "two")]);
    let expected = [("one", 0), ("two", 1)].map(|(line, more)| {
        format!(
            "{{job=\"a\", service_name=\"a\", x=\"q\\\"\"}} {} {line} {{detected_level=\"unknown\", trace_id=\"abc\"}}",
            t_ns + more
        )
    });
    for (headers, body) in [
        (&[][..], snappy(&request)),
        (&[("content-type", "application/x-protobuf"), ("x-scope-orgid", "b")], snappy(&request)),
        (&[("content-encoding", "snappy")], snappy(&request)),
        (&[("content-encoding", "gzip")], gzip(&snappy(&request))),
    ] {
        assert_eq!(receiver.push(headers, body).await, (204, String::new()), "{headers:?}");
        assert_eq!(receiver.stored(), expected);
    }
    let text = t_ns.to_string();
    let body = json!({"streams": [{
        "values": [[text, "one", {"trace.id": "abc"}], [t_ns + 1, "two", {"trace.id": "abc"}]],
        "stream": {"job": "a", "x": "q\""},
    }]});
    let body = body.to_string();
    for (headers, body) in [
        (&[JSON][..], body.clone().into_bytes()),
        (&[JSON, ("content-encoding", "gzip")], gzip(body.as_bytes())),
    ] {
        assert_eq!(receiver.push(headers, body).await, (204, String::new()), "{headers:?}");
        assert_eq!(receiver.stored(), expected);
    }
    let old = r#"{"streams":[{"labels":"{job=\"a\"}","entries":[
        {"ts":"2012-02-29T12:00:00.5+01:00","line":"old"}]}]}"#;
    let (status, answer) = receiver.send("POST", "/api/prom/push", &[JSON], old).await;
    assert_eq!((status, answer.as_str()), (204, ""));
    let stored = receiver.stored();
    assert_eq!(
        stored,
        [r#"{job="a", service_name="a"} 1330513200500000000 old {detected_level="unknown"}"#]
    );
}

#[tokio::test]
async fn wrong_times_are_kept_beside_the_line() {
    let receiver = Receiver::new();
    let (now, hour) = (NOW_MS * 1_000_000, 3_600_000_000_000_i64);
    let lines = [(now + hour, "future"), (0, "epoch"), (now + 1_000, "soon")];
    assert_eq!(receiver.push(&[], snappy(&push_request("{a=\"b\"}", &lines))).await.0, 204);
    let stored = receiver.stored();
    let stream = r#"{a="b", service_name="unknown_service"}"#;
    assert_eq!(
        stored[1],
        format!(
            "{stream} {} epoch {{detected_level=\"unknown\", original_timestamp=\"1970-01-01T00:00:00Z\", trace_id=\"abc\"}}",
            // Lines that get their time on arrival stay apart.
            now + 1
        )
    );
    assert!(stored[0].starts_with(&format!(
        "{stream} {now} future {{detected_level=\"unknown\", original_timestamp="
    )));
    assert_eq!(
        stored[2],
        format!("{stream} {} soon {{detected_level=\"unknown\", trace_id=\"abc\"}}", now + 1_000)
    );
    let (_, metrics) = receiver.send("GET", "/metrics", &[], "").await;
    for reason in ["future", "epoch"] {
        let line = format!(
            "taffrail_receive_corrected_times_total{{receiver=\"loki\",reason=\"{reason}\"}} 1\n"
        );
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn labels_with_many_values_become_fields() {
    let receiver = Receiver::new();
    for i in 0..5 {
        let request =
            push_request(&format!("{{app=\"a\", id=\"{i}\"}}"), &[(NOW_MS * 1_000_000, "x")]);
        assert_eq!(receiver.push(&[], snappy(&request)).await.0, 204);
    }
    let stored = receiver.stored();
    assert!(stored[2].starts_with(r#"{app="a", id="2", service_name="a"}"#), "{stored:?}");
    assert!(stored[3].starts_with(r#"{app="a", service_name="a"}"#), "{stored:?}");
    assert!(
        stored[4].ends_with(r#"{detected_level="unknown", id="4", trace_id="abc"}"#),
        "{stored:?}"
    );
    let (_, status) = receiver.send("GET", "/api/taffrail/v1/status", &[], "").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["receivedLogs"]["demotedLabels"], json!([{"label": "id", "streams": 2}]));
}

#[tokio::test]
async fn what_loki_refuses_is_refused_in_its_words() {
    let receiver = Receiver::new();
    let now = (NOW_MS * 1_000_000).to_string();
    let check = async |headers: &[(&str, &str)], body: Vec<u8>, expected: u16, words: &str| {
        let (status, answer) = receiver.push(headers, body).await;
        assert_eq!(status, expected, "{headers:?}: {answer}");
        assert!(answer.contains(words), "{answer}");
    };
    let json = |value: serde_json::Value| value.to_string().into_bytes();
    let stream = |stream: serde_json::Value| {
        json(json!({"streams": [{"stream": stream, "values": [[now, "x"]]}]}))
    };
    let none = "error at least one label pair is required per stream";
    check(&[JSON], stream(json!({})), 400, none).await;
    check(&[JSON], stream(json!({"a.b": "c"})), 400, "Error parsing labels '{\"a.b\":\"c\"}'")
        .await;
    let long = "x".repeat(9 << 10);
    check(&[JSON], stream(json!({"a": long})), 400, "has label value too long: 'xxx").await;
    let many: serde_json::Map<_, _> = (0..70).map(|i| (format!("l{i}"), json!("v"))).collect();
    check(&[JSON], stream(many.into()), 400, "has 70 label names; limit 64").await;
    check(&[JSON], json(json!({"streams": []})), 422, "at least one valid stream").await;
    check(&[JSON], b"{".to_vec(), 400, "not a JSON push request").await;
    check(
        &[JSON],
        json(json!({"streams": [{"stream": {"a": "b"}, "values": [{}]}]})),
        400,
        "expected [time, line, fields]",
    )
    .await;
    let nested = json!([now, "x", {"a": {"b": "c"}}]);
    check(
        &[JSON],
        json(json!({"streams": [{"stream": {"a": "b"}, "values": [nested]}]})),
        400,
        "expected a string",
    )
    .await;
    check(
        &[JSON],
        json(json!({"streams": [{"stream": {"a": "b"}, "values": [["soon", "x"]]}]})),
        400,
        "\"soon\" is not a whole number",
    )
    .await;
    check(&[("content-encoding", "br")], Vec::new(), 400, "Content-Encoding \"br\" not supported")
        .await;
    check(&[], b"nonsense".to_vec(), 400, "snappy").await;
    check(&[], snappy(&[0x0a, 0xff]), 400, "not a protobuf push request").await;
    check(&[], snappy(b""), 422, "at least one valid stream").await;
    check(
        &[],
        snappy(&push_request("{a=\"b}", &[(1, "x")])),
        400,
        "1:4: parse error: unterminated quoted string",
    )
    .await;
    check(
        &[],
        snappy(&push_request("{a=\"b\", a=\"c\"}", &[])),
        400,
        "has duplicate label name: 'a'",
    )
    .await;
    check(&[], vec![7; (1 << 20) + 1], 413, "the limit of 1048576").await;
    let many: Vec<(i64, &str)> = vec![(1, ""); 10_001];
    check(
        &[],
        snappy(&push_request("{a=\"b\"}", &many)),
        413,
        "more lines than the limit of 10000",
    )
    .await;
    assert_eq!(receiver.stored(), [""; 0]);
    // What can be stored is, beside what cannot.
    let values = json!([[now, "kept"], [now, "refused"]]);
    let body = json!({"streams": [{"stream": {"a": "b"}, "values": values}, {"stream": {}, "values": [[now, "x"]]}]});
    let old = format!(
        "{none}\nentry for stream '{{a=\"b\", service_name=\"unknown_service\"}}' has timestamp too old: \
         2015-07-01T20:11:00Z, oldest acceptable timestamp is: 2015-06-16T20:11:00Z"
    );
    check(&[JSON], json(body), 400, &old).await;
    assert_eq!(receiver.stored().len(), 2);
}

#[tokio::test]
async fn otlp_logs_are_stored_with_partial_success() {
    let receiver = Receiver::new();
    let now = NOW_MS * 1_000_000;
    let record = |line: &str| json!({"timeUnixNano": now.to_string(), "body": {"stringValue": line}, "severityText": "INFO"});
    let service = json!({"key": "service.name", "value": {"stringValue": "shop"}});
    let request = json!({"resourceLogs": [{
        "resource": {"attributes": [service]},
        "scopeLogs": [{"logRecords": [record("one"), record("refused")]}],
    }]});
    for path in ["/v1/logs", "/otlp/v1/logs"] {
        let (status, answer) = receiver.send("POST", path, &[JSON], request.to_string()).await;
        assert_eq!(status, 200);
        assert_eq!(
            answer,
            r#"{"partialSuccess":{"errorMessage":"1 rows refused: too old, their time is before the retention","rejectedLogRecords":"1"}}"#
        );
        let stored = receiver.stored();
        assert_eq!(
            stored[0],
            format!(
                r#"{{service_name="shop"}} {now} one {{detected_level="info", severity_text="INFO"}}"#
            )
        );
    }
    let protobuf = [("content-type", "application/x-protobuf")];
    assert_eq!(receiver.send("POST", "/v1/logs", &protobuf, "").await, (200, String::new()));
    assert_eq!(receiver.send("POST", "/v1/logs", &protobuf, "{").await.0, 400);
    assert_eq!(receiver.send("POST", "/v1/logs", &[], "{}").await.0, 415);
}

#[tokio::test]
async fn bulk_requests_are_answered_document_by_document() {
    let receiver = Receiver::new();
    let now = NOW_MS * 1_000_000;
    let body = format!(
        r#"{{"create":{{"_index":"logs-a"}}}}
{{"@timestamp":{NOW_MS},"message":"one","host":{{"name":"box"}},"log":{{"level":"info"}}}}
{{"index":{{"_index":"logs-a","_id":"7"}}}}
{{"@timestamp":"2015-07-01T00:00:00Z","message":"refused"}}
{{"delete":{{"_index":"logs-a","_id":"7"}}}}
"#
    );
    let headers = [("content-type", "application/x-ndjson"), ("content-encoding", "gzip")];
    for path in ["/_bulk", "/elasticsearch/_bulk", "/elasticsearch/other/_bulk?refresh=true"] {
        let (status, answer) = receiver.send("POST", path, &headers, gzip(body.as_bytes())).await;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer["errors"]), (200, &json!(true)));
        let items = answer["items"].as_array().unwrap();
        assert_eq!((items.len(), &items[0]["create"]["status"]), (3, &json!(201)));
        assert_eq!(items[0]["create"]["_index"], "logs-a");
        // The store refused a row for its age: that is the older one.
        let why = items[1]["index"]["error"]["reason"].as_str().unwrap();
        assert!(items[1]["index"]["status"] == 400 && why.contains("too old"), "{answer}");
        let why = items[2]["delete"]["error"]["reason"].as_str().unwrap();
        assert!(why.contains("delete is not supported"), "{why}");
        let labels = r#"{host_name="box", index="logs-a", service_name="unknown_service"}"#;
        assert_eq!(receiver.stored()[0], format!("{labels} {now} one {{log_level=\"info\"}}"));
    }
    let (status, answer) = receiver.send("POST", "/_bulk", &[], "what\n").await;
    assert!(status == 400 && answer.contains("Malformed action/metadata line [1]"), "{answer}");
    assert_eq!(receiver.stored(), [""; 0]);
}

#[tokio::test]
async fn equal_documents_of_a_request_are_several_and_have_the_same_times_when_it_comes_again() {
    let receiver = Receiver::new();
    let document = format!("{{\"@timestamp\":{NOW_MS},\"message\":\"same\"}}\n");
    let body = format!("{{\"create\":{{\"_index\":\"a\"}}}}\n{document}").repeat(3);
    let now = NOW_MS * 1_000_000;
    for _ in 0..2 {
        receiver.send("POST", "/_bulk", &[], body.clone()).await;
        let stored = receiver.stored();
        let ends =
            [format!(" {now} same"), format!(" {} same", now + 1), format!(" {} same", now + 2)];
        assert_eq!(stored.len(), 3);
        assert!(stored.iter().zip(&ends).all(|(row, end)| row.ends_with(end)), "{stored:?}");
    }
}

#[tokio::test]
async fn documents_and_questions_of_shippers() {
    let receiver = Receiver::new();
    for (method, path) in [
        ("POST", "/elasticsearch/logs/_doc"),
        ("PUT", "/elasticsearch/logs/_doc/1"),
        ("PUT", "/logs/_create/1"),
    ] {
        let (status, answer) = receiver.send(method, path, &[], r#"{"a":1}"#).await;
        assert!(status == 201 && answer.contains(r#""result":"created""#), "{path}: {answer}");
    }
    let stored = receiver.stored();
    assert!(stored[0].ends_with(r#"{"a":1}"#), "{stored:?}");
    assert!(stored[1].ends_with(r#"{"a":1} {_id="1"}"#), "{stored:?}");
    let (status, answer) = receiver.send("POST", "/logs/_doc", &[], "[]").await;
    assert!(status == 400 && answer.contains("not a JSON object"), "{answer}");
    let check = async |method: &str, path: &str, expected: u16, words: &str| {
        let path = format!("/elasticsearch{path}");
        let request = Request::builder().method(method).uri(&path).header("host", "localhost");
        let (status, headers, body) =
            ask(&receiver.router, request.body("{}".into()).unwrap()).await;
        assert_eq!(status.as_u16(), expected, "{method} {path}: {body}");
        assert_eq!(headers["x-elastic-product"], "Elasticsearch", "{path}");
        assert!(body.contains(words), "{path}: {body}");
    };
    check("GET", "", 200, r#""number":"8."#).await;
    check("HEAD", "/", 200, "").await;
    check("GET", "/_license?human=false", 200, r#""status":"active""#).await;
    check("GET", "/_xpack", 200, r#""ilm":{"available":false"#).await;
    check("GET", "/_cluster/health", 200, r#""status":"green""#).await;
    check("GET", "/_nodes/http", 200, r#""nodes":{}"#).await;
    check("GET", "/_cat/indices?format=json", 200, "[]").await;
    for kind in ["_index_template", "_template", "_ilm/policy", "_ingest/pipeline", "_data_stream"]
    {
        check("HEAD", &format!("/{kind}/filebeat"), 404, "").await;
        check("PUT", &format!("/{kind}/filebeat"), 200, r#"{"acknowledged":true}"#).await;
    }
    check("PUT", "/filebeat-000001", 200, r#"{"acknowledged":true}"#).await;
}

#[tokio::test]
async fn lines_of_json_are_read_by_the_requests_parameters() {
    let receiver = Receiver::new();
    let body =
        format!("{{\"msg\":\"a\",\"ts\":{NOW_MS},\"app\":\"x\",\"n\":1,\"agent\":{{\"id\":2}}}}\n");
    let asked = "?_msg_field=log,msg&_time_field=ts&_stream_fields=app,dc&ignore_fields=agent.*&extra_fields=dc=eu,run=7";
    let now = NOW_MS * 1_000_000;
    let expected = format!(r#"{{app="x", dc="eu", service_name="x"}} {now} a {{n="1", run="7"}}"#);
    let path = "/insert/jsonline";
    let (status, answer) =
        receiver.send("POST", &format!("{path}{asked}"), &[], body.clone()).await;
    assert_eq!((status, answer.as_str()), (200, ""));
    assert_eq!(receiver.stored(), [expected.as_str()]);
    let headers = [
        ("vl-msg-field", "msg"),
        ("vl-time-field", "ts"),
        ("vl-stream-fields", "app,dc"),
        ("vl-ignore-fields", "agent.id"),
        ("vl-extra-fields", "dc=eu,run=7"),
    ];
    let more = format!("{body}[]\n");
    let (status, answer) = receiver.send("POST", path, &headers, more).await;
    assert!(status == 400 && answer.starts_with("line 2: not a JSON object"), "{answer}");
    assert_eq!(receiver.stored(), [expected]);
    let (status, answer) = receiver.send("POST", &format!("{path}?extra_fields=x"), &[], "").await;
    assert!(status == 400 && answer.contains("not of the form name=value"), "{answer}");
}
