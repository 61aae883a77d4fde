//! Spans that were acknowledged are there: after a crash, sent again, and over every socket that takes them.

use std::path::Path;

use testkit::{Options, Taffrail};

use crate::{PROGRAM, now_ns, quiet_config};

fn start(dir: &Path, more: &str) -> Taffrail {
    let config = quiet_config(&format!("host:\n  enabled: false\n{more}"));
    Taffrail::start(PROGRAM, dir, &Options { config, ..Options::default() })
}

/// An OTLP request with the spans `ids` of trace 1, and its end.
fn request(ids: std::ops::Range<u64>, start_ns: i128) -> String {
    let spans: Vec<String> = ids
        .map(|id| {
            format!(
                r#"{{"traceId":"{:032x}","spanId":"{id:016x}","name":"op{id}","kind":2,"startTimeUnixNano":"{start_ns}","endTimeUnixNano":"{}"}}"#,
                1,
                start_ns + 5_000
            )
        })
        .collect();
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        spans.join(",")
    )
}

fn post(taffrail: &Taffrail, path: &str, body: &str) -> (u16, String) {
    let headers = [("Content-Type", "application/json")];
    let what = format!("POST {path}");
    let answer = testkit::send(taffrail.address, &what, &headers, body.as_bytes()).unwrap();
    (answer.status, answer.body)
}

/// Operations of a trace, sorted.
fn operations(taffrail: &Taffrail, trace: &str) -> Vec<String> {
    let answer = taffrail.get(&format!("/api/traces/{trace}"), &[]).json();
    let spans = answer["data"][0]["spans"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> =
        spans.iter().map(|span| span["operationName"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// What the ledger says of spans from `source`.
fn account(taffrail: &Taffrail, source: &str) -> serde_json::Value {
    let status = taffrail.get("/api/taffrail/v1/status", &[]).json();
    let ledger = status["ledger"].as_array().unwrap();
    let line = ledger.iter().find(|line| line["signal"] == "traces" && line["source"] == source);
    line.cloned().unwrap_or_default()
}

#[test]
fn spans_survive_a_crash_and_come_again_without_being_stored_twice() {
    let dir = tempfile::tempdir().unwrap();
    let start_ns = now_ns();
    let taffrail = start(dir.path(), "");
    assert_eq!(post(&taffrail, "/v1/traces", &request(1..4, start_ns)), (200, "{}".to_owned()));
    assert_eq!(operations(&taffrail, "1"), ["op1", "op2", "op3"]);
    taffrail.kill();
    let taffrail = start(dir.path(), "");
    assert_eq!(operations(&taffrail, "1"), ["op1", "op2", "op3"]);
    // The answer was lost: the exporter sends all of it again, and more.
    assert_eq!(post(&taffrail, "/v1/traces", &request(1..5, start_ns)), (200, "{}".to_owned()));
    assert_eq!(operations(&taffrail, "1"), ["op1", "op2", "op3", "op4"]);
    let metrics = taffrail.get("/metrics", &[]).body;
    for line in ["taffrail_spans_repeated_total 3", "taffrail_store_spans 4"] {
        assert!(metrics.lines().any(|l| l == line), "{line}: {metrics}");
    }
    let account = account(&taffrail, "otlp");
    assert_eq!((&account["received"], &account["stored"]), (&4.into(), &4.into()));
    assert_eq!(taffrail.get("/api/services", &[]).json()["data"], serde_json::json!(["shop"]));
    taffrail.assert_quiet(&[]);
    assert!(taffrail.stop().0.success());
    let taffrail = start(dir.path(), "");
    assert_eq!(operations(&taffrail, "1"), ["op1", "op2", "op3", "op4"]);
}

#[test]
fn archived_traces_outlive_their_store() {
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), "");
    let start_ns = now_ns();
    assert_eq!(post(&taffrail, "/v1/traces", &request(1..4, start_ns)).0, 200);
    let kept = r#"{"data":[],"errors":[],"limit":0,"offset":0,"total":0}"#.to_owned();
    assert_eq!(post(&taffrail, "/api/archive/1", ""), (200, kept.clone()));
    assert_eq!(post(&taffrail, "/api/archive/1", ""), (200, kept));
    let (status, answer) = post(&taffrail, "/api/archive/2", "");
    assert!(status == 404 && answer.contains("trace not found"), "{answer}");
    // What came after it was archived is live alone.
    assert_eq!(post(&taffrail, "/v1/traces", &request(4..5, start_ns)).0, 200);
    assert_eq!(operations(&taffrail, "1"), ["op1", "op2", "op3", "op4"]);
    taffrail.kill();
    std::fs::remove_dir_all(dir.path().join("data/traces")).unwrap();
    let taffrail = start(dir.path(), "");
    assert_eq!(operations(&taffrail, "1"), ["op1", "op2", "op3"]);
    // Searches and lists are about what is live.
    assert_eq!(taffrail.get("/api/services", &[]).json()["data"], serde_json::json!([]));
    let metrics = taffrail.get("/metrics", &[]).body;
    assert!(metrics.lines().any(|line| line == "taffrail_archive_spans 3"), "{metrics}");
}

#[test]
fn spans_outside_of_the_retention_are_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), "traces: {retention: 1h, disk_limit: 64MiB}\n");
    let hour_ns = 3_600_000_000_000;
    for (start_ns, why) in [(now_ns() - 2 * hour_ns, "too old"), (now_ns() + hour_ns, "too new")] {
        let (status, answer) = post(&taffrail, "/v1/traces", &request(1..3, start_ns));
        assert_eq!(status, 200);
        assert!(answer.contains(&format!("2 spans refused: {why}")), "{answer}");
    }
    let account = account(&taffrail, "otlp");
    assert_eq!(account["received"], 4);
    assert_eq!(account["rejected"], serde_json::json!({"too_new": 2, "too_old": 2}));
    assert_eq!(taffrail.get("/api/traces/1", &[]).status, 404);
}

/// The only trace there is: its spans and their warnings.
fn spans(taffrail: &Taffrail, id: &str) -> Vec<serde_json::Value> {
    let answer = taffrail.get(&format!("/api/traces/{id}"), &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["data"][0]["spans"].as_array().unwrap().clone()
}

#[test]
fn what_cannot_be_true_is_stored_and_shown_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), "");
    let now_ns = now_ns();
    let span = |id: u64, parent: &str, end_ns: i128, more: &str| {
        format!(
            r#"{{"traceId":"{:032x}","spanId":"{id:016x}","parentSpanId":"{parent}","name":"op{id}","startTimeUnixNano":"{now_ns}","endTimeUnixNano":"{end_ns}"{more}}}"#,
            1
        )
    };
    let attribute = |i: u32| format!(r#"{{"key":"a{i}","value":{{"intValue":"{i}"}}}}"#);
    let many: Vec<String> = (0..10_000).map(attribute).collect();
    let id = |n: u64| format!("{n:016x}");
    let all = [
        // Ends before it starts; two that are each other's parents; an orphan; ten thousand attributes; no
        // id at all, one too short, one of an odd number of digits, one of zeros.
        span(1, "", now_ns - 1_000, ""),
        span(2, &id(3), now_ns + 1, ""),
        span(3, &id(2), now_ns + 1, ""),
        span(4, &id(99), now_ns + 1, ""),
        span(5, "", now_ns + 1, &format!(r#","attributes":[{}]"#, many.join(","))),
        span(0, "", now_ns + 1, ""),
        span(6, "", now_ns + 1, "").replace(&format!("{:032x}", 1), "1234"),
        span(7, "", now_ns + 1, "").replace(&format!("{:032x}", 1), "123"),
        span(8, "", now_ns + 1, "").replace(&format!("{:032x}", 1), &"0".repeat(32)),
    ];
    let body =
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, all.join(","));
    let (status, answer) = post(&taffrail, "/v1/traces", &body);
    assert_eq!(status, 200);
    for part in [
        r#""rejectedSpans":"4""#,
        r#"span \"op0\": SpanID is empty or all zeros"#,
        r#"span \"op6\": invalid length for TraceID: 2 bytes; need 16"#,
        r#"span \"op7\": invalid TraceID \"123\" of 3 characters: not pairs of hexadecimal digits"#,
        r#"span \"op8\": TraceID is empty or all zeros"#,
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    let shown = spans(&taffrail, "1");
    assert_eq!(shown.len(), 5);
    for span in shown {
        let warnings = span["warnings"].as_array().map_or(0, Vec::len);
        let is_sound = span["operationName"] == "op5";
        assert_eq!(warnings > 0, !is_sound, "{span}");
        if is_sound {
            assert_eq!(span["tags"].as_array().unwrap().len(), 10_000);
        }
    }
    let raw = taffrail.get("/api/traces/1", &[("raw", "true")]).json();
    let raw = raw["data"][0]["spans"].as_array().unwrap().clone();
    assert!(raw.iter().all(|span| span["warnings"].is_null()), "{raw:?}");
    let account = account(&taffrail, "otlp");
    assert_eq!((&account["received"], &account["stored"]), (&9.into(), &5.into()));
    taffrail.assert_quiet(&[]);
}

#[test]
fn a_trace_may_be_large_and_its_answer_may_cost_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), "query: {max_samples: 20000}\n");
    let start_ns = now_ns();
    for part in 0..4 {
        let body = request(1 + part * 5_000..1 + (part + 1) * 5_000, start_ns);
        assert_eq!(post(&taffrail, "/v1/traces", &body), (200, "{}".to_owned()));
    }
    assert_eq!(spans(&taffrail, "1").len(), 20_000);
    let body = request(20_001..20_002, start_ns);
    assert_eq!(post(&taffrail, "/v1/traces", &body).0, 200);
    let answer = taffrail.get("/api/traces/1", &[]);
    assert_eq!(answer.status, 422);
    let why = answer.json()["errors"][0]["msg"].as_str().unwrap().to_owned();
    assert!(why.contains("query.max_samples"), "{why}");
}

#[test]
fn a_flood_of_datagrams_is_stored_or_counted() {
    const SENT: u64 = 30_000;
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(
        dir.path(),
        "traces: {retention: 50y}\nreceive:\n  jaeger:\n    thrift_compact: 127.0.0.1:0\n",
    );
    let port = crate::shippers::port(&taffrail, "Jaeger's compact Thrift over UDP");
    let file =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../ingest/testdata/traces/jaeger_emit_batch.compact");
    // A batch of two spans.
    let datagram = std::fs::read(file).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..SENT {
        socket.send_to(&datagram, format!("127.0.0.1:{port}")).unwrap();
    }
    let figure = |metrics: &str, name: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
    };
    let counted = testkit::eventually("all datagrams are accounted for", 120, || {
        let metrics = taffrail.get("/metrics", &[]).body;
        let lost = figure(
            &metrics,
            "taffrail_receive_lost_datagrams_total{receiver=\"jaeger-compact\",reason=\"queue\"}",
        );
        let dropped = figure(
            &metrics,
            "taffrail_receive_kernel_dropped_datagrams_total{receiver=\"jaeger-compact\"}",
        );
        let spans = account(&taffrail, "jaeger")["received"].as_u64().unwrap_or(0);
        (spans / 2 + lost + dropped >= SENT).then_some((spans, lost, dropped))
    });
    let (spans, lost, dropped) = counted;
    assert_eq!(spans / 2 + lost + dropped, SENT, "{counted:?}");
    // All of them are the same two.
    assert_eq!(figure(&taffrail.get("/metrics", &[]).body, "taffrail_store_spans"), 2);
    taffrail.assert_quiet(&["datagrams are lost"]);
}

#[test]
fn taffrail_traces_itself_below_its_callers_and_rules_of_retention_see_it() {
    let dir = tempfile::tempdir().unwrap();
    let more = "traces:\n  self_tracing: true\n  retention_rules: [{service: taf.*, keep: 1h}]\n";
    let taffrail = start(dir.path(), more);
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{id}-00f067aa0ba902b7-01");
    let headers = [("traceparent", parent.as_str())];
    let answer = testkit::send(taffrail.address, "GET /api/v1/labels", &headers, b"").unwrap();
    assert_eq!(answer.status, 200);
    // What is sent makes none, or it would never end.
    let body = request(1..2, now_ns());
    let headers = [headers[0], ("Content-Type", "application/json")];
    let answer =
        testkit::send(taffrail.address, "POST /v1/traces", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200);
    // An orderly stop stores what waits.
    assert!(taffrail.stop().0.success());
    let taffrail = start(dir.path(), more);
    let [span] = &spans(&taffrail, id)[..] else { panic!("one span") };
    assert_eq!(span["operationName"], "GET /api/v1/labels");
    assert_eq!(span["references"][0]["spanID"], "00f067aa0ba902b7");
    let preview = taffrail.get("/api/taffrail/v1/traces/retention", &[]).json();
    let class = &preview["classes"][0];
    assert_eq!(
        (&class["service"], &class["keepMs"], &class["services"]),
        (&"taf.*".into(), &3_600_000.into(), &1.into())
    );
    // The span, and perhaps that of the question for it.
    assert!([1, 2].contains(&class["rows"].as_u64().unwrap()), "{class}");
    assert_eq!(preview["classes"][1]["rows"], 1);
}
