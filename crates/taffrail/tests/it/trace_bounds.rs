//! Traces that cannot be true, over receivers of other makers, and traces that are larger than what may be asked for.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ingest::otlp::traces::to_protobuf;
use model::{AttributeValue, Resource, Span, SpanGroup};
use serde_json::{Value, json};
use testkit::{Answer, Options, Taffrail};

use crate::shippers::port;
use crate::{PROGRAM, now_ns, quiet_config};

fn start(dir: &Path, more: &str, args: &[&str]) -> Taffrail {
    let config = quiet_config(&format!("host:\n  enabled: false\n{more}"));
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    Taffrail::start(PROGRAM, dir, &Options { config, args })
}

fn post(taffrail: &Taffrail, port: u16, path: &str, kind: &str, body: &[u8]) -> Answer {
    let address = (taffrail.address.ip(), port).into();
    let headers = [("Content-Type", kind)];
    testkit::send(address, &format!("POST {path}"), &headers, body).unwrap()
}

/// Names of the spans of trace 1 and what is said of each.
fn warnings(taffrail: &Taffrail) -> Vec<(String, String)> {
    let answer = taffrail.get("/api/traces/1", &[]).json();
    let spans = answer["data"][0]["spans"].as_array().unwrap().iter();
    let mut found: Vec<(String, String)> = spans
        .map(|span| {
            let name = span["operationName"].as_str().unwrap().to_owned();
            let texts = span["warnings"].as_array().into_iter().flatten();
            (name, texts.map(|text| text.as_str().unwrap()).collect::<Vec<_>>().join("; "))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn spans_of_zipkin_that_cannot_be_true_are_told_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), "receive:\n  zipkin:\n    http: 127.0.0.1:0\n", &[]);
    let now_us = i64::try_from(now_ns() / 1_000).unwrap();
    let span = |id: &str, parent: &str, host: &str, start_us: i64, duration_us: i64| {
        json!({
            "traceId": "1", "id": id, "parentId": parent, "name": format!("op{id}"),
            "timestamp": start_us, "duration": duration_us,
            "localEndpoint": {"serviceName": format!("on-{host}"), "ipv4": host},
        })
    };
    let with = |mut span: Value, name: &str, value: Value| {
        span[name] = value;
        span
    };
    let sound = span("1", "", "10.0.0.1", now_us, 5_000);
    let spans = json!([
        sound,
        // On another host, and seconds before its parent: its clock is wrong.
        span("2", "1", "10.0.0.2", now_us - 3_000_000, 1_000),
        // Each other's parents; a parent that is nowhere.
        span("3", "4", "10.0.0.1", now_us, 1_000),
        span("4", "3", "10.0.0.1", now_us, 1_000),
        span("5", "99", "10.0.0.1", now_us, 1_000),
        // Ids of an odd number of digits are whole in Zipkin; zeros and other characters are no ids.
        span("abc", "1", "10.0.0.1", now_us, 1_000),
        with(span("6", "", "10.0.0.1", now_us, 1_000), "traceId", json!("000")),
        with(span("7", "", "10.0.0.1", now_us, 1_000), "traceId", json!("xyz")),
        span("0", "", "10.0.0.1", now_us, 1_000),
    ]);
    let port = port(&taffrail, "Zipkin over HTTP").parse().unwrap();
    let body = spans.to_string();
    let answer = post(&taffrail, port, "/api/v2/spans", "application/json", body.as_bytes());
    assert_eq!(answer.status, 202);
    for why in [
        r#"span "op6": TraceID is empty or all zeros"#,
        r#"span "op7": invalid traceId "xyz" of 3 characters; need 1 to 32 hexadecimal digits"#,
        r#"span "op0": SpanID is empty or all zeros"#,
    ] {
        assert!(answer.body.contains(why), "{why}: {}", answer.body);
    }
    let circle = "its parents form a circle; skipping clock skew adjustment";
    let orphan =
        "parent span ID=0000000000000099 is not in the trace; skipping clock skew adjustment";
    let skew = "clock skew adjustment disabled; not applying calculated delta of 3.002s";
    let expected = [
        ("op1", ""),
        ("op2", skew),
        ("op3", circle),
        ("op4", circle),
        ("op5", orphan),
        ("opabc", ""),
    ];
    let expected = expected.map(|(name, why)| (name.to_owned(), why.to_owned()));
    assert_eq!(warnings(&taffrail), expected);
    taffrail.assert_quiet(&[]);
}

const MILLION: u64 = 1_000_000;

fn send_a_million(taffrail: &Taffrail) {
    let service = AttributeValue::String("shop".to_owned());
    let attributes = vec![(Arc::from("service.name"), service)];
    let resource = Arc::new(Resource { attributes, ..Resource::default() });
    let start_ns = i64::try_from(now_ns()).unwrap();
    let names: Vec<Arc<str>> = (0..50).map(|n| Arc::from(format!("op{n}"))).collect();
    let span = |id: u64| Span {
        trace_id: 1,
        span_id: id,
        // Ten children each.
        parent_id: if id == 1 { 0 } else { 1 + (id - 2) / 10 },
        name: Arc::clone(&names[id as usize % names.len()]),
        start_ns: start_ns + id as i64 * 1_000,
        end_ns: start_ns + id as i64 * 1_000 + 500_000,
        ..Span::default()
    };
    for first in (0..MILLION).step_by(50_000) {
        let spans = (first + 1..=first + 50_000).map(span).collect();
        let group = SpanGroup { resource: Arc::clone(&resource), spans, ..SpanGroup::default() };
        let body = to_protobuf(&[group]);
        let port = taffrail.address.port();
        let answer = post(taffrail, port, "/v1/traces", "application/x-protobuf", &body);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
}

/// The most memory that the program had so far.
fn peak_bytes(taffrail: &Taffrail) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", taffrail.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

/// What `taffrail trace` prints, and whether it succeeds.
fn waterfall(taffrail: &Taffrail, limit: &str) -> (bool, String) {
    let server = format!("http://{}", taffrail.address);
    let mut command = Command::new(PROGRAM);
    command.args(["trace", "1", "--limit", limit, "--width", "100", "--server", &server]);
    let output = command.output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}

#[test]
fn a_trace_of_a_million_spans_costs_no_more_than_a_query_may() {
    let dir = tempfile::tempdir().unwrap();
    let limit_bytes = 512 << 20;
    let taffrail = start(dir.path(), "", &["--memory-limit", "512MiB"]);
    send_a_million(&taffrail);
    let refused =
        ["/api/traces/1", "/api/v2/traces/1", "/api/v3/traces/1", "/api/taffrail/v1/traces/1"];
    for path in refused {
        let answer = taffrail.get(path, &[]);
        let why = "the limit is 80530635 (its share of memory_limit)";
        assert!(answer.status == 422 && answer.body.contains(why), "{path}: {}", answer.body);
    }
    let (succeeds, printed) = waterfall(&taffrail, "10");
    assert!(!succeeds && printed.contains("its share of memory_limit"), "{printed}");
    let peak = peak_bytes(&taffrail);
    assert!(peak < limit_bytes, "{peak} bytes of memory");
    taffrail.assert_quiet(&[]);
    assert!(taffrail.stop().0.success());
    // With more memory it is shown, out of a file now.
    let taffrail = start(dir.path(), "", &["--memory-limit", "8GiB"]);
    let headers = [("Accept", "application/protobuf")];
    let answer = testkit::send(taffrail.address, "GET /api/traces/1", &headers, b"").unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.len() > 50 << 20, "{}", answer.body.len());
    let (succeeds, printed) = waterfall(&taffrail, "10");
    assert!(succeeds && printed.contains("1000000 spans"), "{printed}");
}
