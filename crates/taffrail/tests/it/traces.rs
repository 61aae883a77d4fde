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
