//! A trace in the terminal, its log lines, what is different about slow ones; and the API behind these.

use std::process::{Command, Output};

use serde_json::{Value, json};
use testkit::{Options, Taffrail, eventually};

use crate::{PROGRAM, now_ns, quiet_config};

const MS: i128 = 1_000_000;

fn ask(taffrail: &Taffrail, args: &[&str]) -> Output {
    let server = format!("http://{}", taffrail.address);
    Command::new(PROGRAM).args(args).args(["--server", &server]).output().unwrap()
}

/// What it prints, of a command that succeeds.
fn printed(taffrail: &Taffrail, args: &[&str]) -> String {
    let output = ask(taffrail, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says of why it fails.
fn refused(taffrail: &Taffrail, args: &[&str]) -> String {
    let output = ask(taffrail, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Spans of one trace: service, id, parent, name, start and end in milliseconds, version, whether it failed.
type Made<'a> = (&'a str, u64, u64, &'a str, i128, i128, &'a str, bool);

fn push(taffrail: &Taffrail, trace: u128, start_ns: i128, spans: &[Made<'_>]) {
    let text = |text: &str| json!({"stringValue": text});
    let resource_spans: Vec<Value> = spans
        .iter()
        .map(|(service, id, parent, name, start, end, version, failed)| {
            let parent = if *parent == 0 { String::new() } else { format!("{parent:016x}") };
            json!({
                "resource": {"attributes": [{"key": "service.name", "value": text(service)}]},
                "scopeSpans": [{"spans": [{
                    "traceId": format!("{trace:032x}"),
                    "spanId": format!("{id:016x}"),
                    "parentSpanId": parent,
                    "name": name,
                    "startTimeUnixNano": (start_ns + start * MS).to_string(),
                    "endTimeUnixNano": (start_ns + end * MS).to_string(),
                    "status": {"code": if *failed { 2 } else { 0 }},
                    "attributes": [{"key": "version", "value": text(version)}],
                }]}],
            })
        })
        .collect();
    let body = json!({ "resourceSpans": resource_spans }).to_string();
    let headers = [("Content-Type", "application/json")];
    let answer =
        testkit::send(taffrail.address, "POST /v1/traces", &headers, body.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
}

/// A web shop whose bank takes `bank_ms`; version 2 fails there.
fn shop(taffrail: &Taffrail, trace: u128, start_ns: i128, bank_ms: i128, version: &str) {
    let failed = version == "2";
    let end = bank_ms + 20;
    push(
        taffrail,
        trace,
        start_ns,
        &[
            ("web", 1, 0, "GET /cart", 0, end, version, failed),
            ("cart", 2, 1, "load", 2, 8, version, false),
            ("bank", 3, 1, "charge", 10, 10 + bank_ms, version, failed),
        ],
    );
}

fn start(dir: &std::path::Path) -> Taffrail {
    let config = quiet_config("host:\n  enabled: false\n");
    Taffrail::start(PROGRAM, dir, &Options { config, ..Options::default() })
}

#[test]
fn one_trace_is_a_waterfall_with_its_log_lines() {
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path());
    let start_ns = now_ns() - 60_000 * MS;
    let id = format!("{:032x}", 0xabc);
    shop(&taffrail, 0xabc, start_ns, 80, "2");
    // Lines: with the id as a field, in their text, of another trace, and long after.
    let line = |after_ms: i128, text: &str| json!([(start_ns + after_ms * MS).to_string(), text]);
    let late_ns = start_ns + 200_000 * MS;
    let pushed = json!({"streams": [
        {"stream": {"container": "bank"}, "values": [
            [(start_ns + 30 * MS).to_string(), "card declined", {"trace_id": id}],
            line(40, &format!("retry of {} fails", id.to_uppercase())),
            line(45, "of nothing"),
        ]},
        {"stream": {"container": "web"}, "values": [
            line(5, &format!(r#"{{"level":"info","traceId":"{id}","msg":"cart"}}"#)),
            line(6, r#"{"level":"info","traceId":"00000000000000000000000000000abd"}"#),
            [late_ns.to_string(), format!("late {id}")],
        ]},
    ]});
    let headers = [("Content-Type", "application/json")];
    let body = pushed.to_string();
    let push = "POST /loki/api/v1/push";
    let answer = testkit::send(taffrail.address, push, &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.body);

    let text = printed(&taffrail, &["trace", &id, "--width", "80"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(&format!("{id}  web GET /cart  ")), "{text}");
    assert!(lines[0].ends_with("  100ms"), "{text}");
    assert_eq!(lines[1], "3 spans, 3 services, 2 errors");
    assert_eq!(
        lines[2],
        "waited for: bank charge 80ms (80 %), web GET /cart 14ms (14 %), cart load 6ms (6 %)"
    );
    assert_eq!(lines[3], "failed in:  web GET /cart > bank charge");
    let rows: Vec<&str> =
        lines[6..].iter().map(|line| line.split("ms  ").next().unwrap()).collect();
    assert_eq!(
        rows,
        ["!* web      GET /cart  100", " * cart       load       6", "!* bank       charge    80"]
    );
    assert!(lines[8].ends_with("████") && lines[8].contains("80ms      "), "{text}");
    assert!(!text.contains('\x1b'), "colours without a terminal: {text}");

    let with_logs = printed(&taffrail, &["trace", "ABC", "--logs"]);
    let logged: Vec<&str> = with_logs.lines().skip(10).map(|line| &line[14..]).collect();
    let id_upper = id.to_uppercase();
    assert_eq!(
        logged,
        [
            format!(r#"web | {{"level":"info","traceId":"{id}","msg":"cart"}}"#),
            "bank | card declined".to_owned(),
            format!("bank | retry of {id_upper} fails"),
        ]
    );
    let both = printed(&taffrail, &["trace", &id, "--logs", "-o", "json"]);
    let both: Value = serde_json::from_str(&both).unwrap();
    assert_eq!(both["trace"]["spanCount"], 3);
    assert_eq!(both["logs"]["lines"].as_array().unwrap().len(), 3);
    assert_eq!(both["logs"]["lines"][1]["fields"]["trace_id"], id);
    let path = format!("/api/taffrail/v1/traces/{id}/logs");
    let wide = taffrail.get(&path, &[("slack", "10m")]).json();
    assert_eq!(wide["lines"].as_array().unwrap().len(), 4, "{wide}");
    let first = taffrail.get(&path, &[("limit", "1")]).json();
    assert_eq!((first["lines"].as_array().unwrap().len(), &first["isCut"]), (1, &json!(true)));

    assert!(refused(&taffrail, &["trace", "abcd"]).contains(&format!("no trace {:032x}", 0xabcd)));
    assert!(refused(&taffrail, &["trace", "../status"]).contains("not 1 to 32 hexadecimal"));
    // Of a trace that is not stored, lines may be.
    let gone = "/api/taffrail/v1/traces/abd/logs";
    let answer = taffrail.get(gone, &[]);
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("give start or end"), "{}", answer.body);
    let found = taffrail.get(gone, &[("start", "0")]).json();
    assert_eq!(found["lines"].as_array().unwrap().len(), 1);
    let few = ask(&taffrail, &["trace", &id, "-n", "1"]);
    assert!(String::from_utf8_lossy(&few.stderr).contains("1 of 3 spans"), "{few:?}");
    taffrail.assert_quiet(&[]);
}

#[test]
fn traces_are_found_counted_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path());
    let start_ns = now_ns() - 60_000 * MS;
    for trace in 1..=10 {
        let (bank_ms, version) = if trace > 7 { (500, "2") } else { (10, "1") };
        shop(&taffrail, trace, start_ns + trace as i128 * 1_000 * MS, bank_ms, version);
    }
    let table = printed(&taffrail, &["traces", "{ status = error }"]);
    let rows: Vec<&str> = table.lines().skip(1).collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(rows[0].starts_with(&format!("{:032x}  web ", 10)), "{table}");
    assert!(rows[0].ends_with("520ms  2      GET /cart"), "{table}");
    let two = ask(&taffrail, &["traces", "-n", "2"]);
    assert!(String::from_utf8_lossy(&two.stderr).contains("the newest 2 traces"), "{two:?}");
    let none = ask(&taffrail, &["traces", "{ name = \"x\" }"]);
    assert!(none.status.success() && none.stdout.is_empty());
    assert!(String::from_utf8_lossy(&none.stderr).contains("no trace"), "{none:?}");
    assert!(refused(&taffrail, &["traces", "{ nam = "]).contains("line 1"));
    let metric = "{} | count_over_time() by (resource.service.name)";
    let series = printed(&taffrail, &["traces", metric]);
    assert_eq!(series.lines().count(), 4, "{series}");
    assert!(series.contains("=\"bank\"}"), "{series}");
    let json = printed(&taffrail, &["traces", metric, "-o", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["series"].as_array().unwrap().len(), 3);

    let text =
        printed(&taffrail, &["traces", "compare", "{ name = \"GET /cart\" }", "--slower", "100ms"]);
    let lines: Vec<&str> = text.lines().collect();
    let words =
        |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(words(lines[1]), "usual 7 0 30ms 30ms");
    assert_eq!(words(lines[2]), "to explain 3 3 520ms 520ms");
    assert_eq!(words(lines[5]), "+490ms 10ms 500ms 33 % 96 % 0 3 bank");
    let json = printed(
        &taffrail,
        &[
            "traces",
            "compare",
            "{ span.version = \"1\" }",
            "{ span.version = \"2\" }",
            "-o",
            "json",
        ],
    );
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["services"][0]["service"], "bank");
    assert_eq!(
        json["services"][0]["selfNsPerTrace"],
        json!({"baseline": 10_000_000, "selection": 500_000_000})
    );
    let top: Vec<&Value> = json["attributes"].as_array().unwrap().iter().take(3).collect();
    let named =
        |name: &str, value: &str| top.iter().any(|a| a["name"] == name && a["value"] == value);
    assert!(named("span.version", "2") && named("status", "error"), "{top:?}");
    for args in [
        &["traces", "compare", "{}"][..],
        &["traces", "compare", "{}", "{}", "--slower", "1s"],
        &["traces", "compare", "{}", "{} | rate()"],
        &["traces", "compare", "{ name = \"x\" }", "{}"],
    ] {
        refused(&taffrail, args);
    }
    let path = "/api/taffrail/v1/traces/compare";
    for (params, words) in [
        (&[("q", "{}"), ("slower", "0s")][..], "nothing is faster than 0"),
        (&[("q", "{}")], "two searches, or one and a duration"),
        (&[("q", "{}"), ("slower", "1s"), ("traces", "0")], "not between 1 and 10000"),
        (&[("baseline", "{"), ("selection", "{}")], "baseline"),
    ] {
        let answer = taffrail.get(path, params);
        assert_eq!(answer.status, 400, "{params:?}: {}", answer.body);
        assert!(answer.json()["error"].as_str().unwrap().contains(words), "{}", answer.body);
    }
    taffrail.assert_quiet(&[]);
}

/// What was waited for, and what failed, comes behind more spans than are shown.
#[test]
fn what_is_said_of_a_trace_is_said_of_all_its_spans() {
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path());
    let mut spans: Vec<Made<'_>> = vec![("shop", 1, 0, "root", 0, 10_000, "1", false)];
    for i in 0..1_200 {
        let at = i128::from(i) * 2;
        spans.push(("shop", 2 + i, 1, "quick", at, at + 1, "1", false));
    }
    spans.push(("shop", 5_000, 1, "culprit", 3_000, 9_000, "1", false));
    spans.push(("shop", 5_001, 5_000, "deep culprit", 3_500, 8_500, "1", true));
    push(&taffrail, 0x3000, now_ns() - 60_000 * MS, &spans);
    let said = |limit: &str| {
        let text = printed(&taffrail, &["trace", "3000", "--limit", limit]);
        text.lines().skip(1).take(3).map(str::to_owned).collect::<Vec<_>>()
    };
    let whole = [
        "1203 spans, 1 service, 1 error",
        "waited for: shop deep culprit 5s (50 %), shop root 2.8s (28 %), shop quick 1.2s (12 %), shop culprit 1s (10 %)",
        "failed in:  shop root > shop culprit > shop deep culprit",
    ];
    for limit in ["0", "1000", "1"] {
        assert_eq!(said(limit), whole, "--limit {limit}");
    }
    let answer = taffrail.get("/api/taffrail/v1/traces/3000", &[("limit", "1")]).json();
    assert_eq!(answer["criticalPath"].as_array().unwrap().len(), 1_203);
    let counts = ["criticalPathCount", "waitedForCount", "criticalNs"].map(|key| &answer[key]);
    assert_eq!(counts, [&json!(1_203), &json!(4), &json!(10_000_000_000_u64)]);
    assert_eq!(answer["spans"].as_array().unwrap().len(), 1);
}

#[test]
fn exemplars_of_metrics_open_their_trace() {
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path());
    shop(&taffrail, 0x77, now_ns() - 1_000 * MS, 80, "2");
    let seconds = |offset: i128| ((now_ns() / (1_000 * MS)) + offset).to_string();
    let (from, to) = (seconds(-60), seconds(120));
    let query =
        "histogram_quantile(0.9, rate(traces_spanmetrics_latency_bucket{service=\"bank\"}[5m]))";
    let exemplar = eventually("an exemplar", 60, || {
        let params = [("query", query), ("start", &*from), ("end", &*to)];
        let answer = taffrail.get("/api/v1/query_exemplars", &params).json();
        answer.pointer("/data/0/exemplars/0").cloned()
    });
    let id = exemplar["labels"]["traceID"].as_str().unwrap();
    assert!(printed(&taffrail, &["trace", id]).contains("bank charge"), "{exemplar}");
}
