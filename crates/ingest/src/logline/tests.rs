//! One line per case: a log line, and the fields it gives.

use proptest::prelude::*;

use super::recognise;

fn check(line: &str, expect: &str) {
    let fields: Vec<String> = recognise(line).iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(fields.join(" "), expect, "{line}");
}

#[test]
fn json_lines() {
    check(r#"{"level":"INFO","msg":"x"}"#, "level=info");
    check(r#"  {"msg":"level=error","lvl":"warning"}"#, "level=warn");
    check(r#"{"level":30,"time":1,"pid":2}"#, "level=info");
    check(r#"{"level":60}"#, "level=fatal");
    check(r#"{"level":35}"#, "");
    check(
        r#"{"log":{"level":"debug"},"trace":{"id":"4BF92F3577B34DA6A3CE929D0E0E4736"},"span":{"id":"00f067aa0ba902b7"}}"#,
        "level=debug span_id=00f067aa0ba902b7 trace_id=4bf92f3577b34da6a3ce929d0e0e4736",
    );
    check(r#"{"a":{"level":"error"},"b":[{"level":"error"}]}"#, "");
    check(r#"{"traceId":"00000000000000000000000000000000","spanId":"xyz"}"#, "");
    check(r#"{"severity":"Critical","a":"\"}{","log.level":"info"}"#, "level=fatal");
    check(r#"{"level":"error""#, "");
    check("{} ERROR x", "");
    check("{broken ERROR x", "level=error");
    let deep = format!(r#"{{"a":{}1{},"level":"error"}}"#, "[".repeat(60), "]".repeat(60));
    check(&deep, "level=error");
    let cut = format!(r#"{{"level":"warn","pad":"{}"}}"#, "x".repeat(20_000));
    check(&cut, "level=warn");
}

#[test]
fn logfmt_lines() {
    check("ts=2024-01-01T00:00:00Z level=warn msg=\"level=error inside\"", "level=warn");
    check(
        "time=\"x\" level=\"error\" trace_id=4bf92f3577b34da6a3ce929d0e0e4736",
        "level=error trace_id=4bf92f3577b34da6a3ce929d0e0e4736",
    );
    check("GET /x?level=error HTTP/1.1", "");
    check("msg=\"set level=debug now\" x=1", "");
    check("x=\"open level=debug", "level=debug");
    check("severity=NOTICE", "level=info");
    check("level=", "");
}

#[test]
fn ids_are_found_where_they_are_named() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";
    let both = |line: &str| check(line, &format!("span_id={SPAN} trace_id={TRACE}"));
    let trace = |line: &str| check(line, &format!("trace_id={TRACE}"));
    both(&format!("18:19:19 x#384 TraceID: {TRACE} SpanID: {SPAN} [get][done]"));
    both(&format!("traceparent=00-{TRACE}-{SPAN}-01 x"));
    both(&format!(r#"{{"traceparent":"00-{TRACE}-{SPAN}-01"}}"#));
    both(&format!("GET / traceparent: 00-{TRACE}-{SPAN}-01"));
    both(&format!(r#"{{"message":"TraceID: {TRACE} SpanID: {SPAN} List"}}"#));
    both(&format!(r#"{{"msg":"done {{\"trace_id\": \"{TRACE}\", \"span_id\": \"{SPAN}\"}}"}}"#));
    both(&format!(r#"2024-01-01 x {{"trace_id": "{TRACE}", 'span_id': '{SPAN}'}}"#));
    both(&format!("[trace_id={TRACE} span_id={SPAN}] x"));
    both(&format!("x (traceId:{TRACE}, spanId:{SPAN})"));
    trace(&format!("trace-id: {TRACE}; x"));
    trace(&format!("t=1 msg=\"trace_id: {TRACE}\""));
    trace(&format!("oteltraceid={}", TRACE.to_uppercase()));
    // A field of its own counts more than what is said in words.
    trace(&format!(r#"{{"msg":"not trace_id={SPAN}","trace_id":"{TRACE}"}}"#));
    check(&format!(r#"{{"msg":"x","log":"trace_id={TRACE}"}}"#), "");
    for none in [
        format!("subtrace_id: {TRACE}"),
        format!("trace_id: {TRACE}0"),
        format!("trace_id: {TRACE}-x"),
        format!("id: {TRACE}"),
        format!("text=\"trace_id: {TRACE}\""),
        format!("traceparent=00-{TRACE}-{SPAN}"),
        format!("traceparent=00-{SPAN}-{SPAN}-01"),
        "trace_id:".to_owned(),
        "\"trace_id\":".to_owned(),
        ":".to_owned(),
        "\\\":x".to_owned(),
    ] {
        check(&none, "");
    }
}

#[test]
fn plain_lines() {
    check("E1122 15:04:05.678901       1 reflector.go:138] failed", "level=error");
    check("I1122 15:04:05.678901       1 x.go:1] ok", "level=info");
    check("Error1122 x", "");
    check("2024-01-01 00:00:00,123 ERROR [main] com.x: failed", "level=error");
    check("2024/01/01 00:00:00 [warn] 12#0: *1 upstream", "level=warn");
    check("[2024-01-01T00:00:00] [info] started", "level=info");
    check("2024-01-01 00:00:00.000 UTC [1] LOG:  database system is ready", "level=info");
    check("2024-01-01 00:00:00.000 UTC [1] FATAL:  role does not exist", "level=fatal");
    check("error: could not open file", "level=error");
    check("\u{1b}[31mERROR\u{1b}[0m boom", "level=error");
    check(
        "\u{1b}[2m2024-01-01T00:00:00Z\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m taffrail: up",
        "level=info",
    );
    check("ERROR:root:boom", "level=error");
    check("WARNING:django.request:Not Found: /x", "level=warn");
    check("[2024-01-01T00:00:00.000000+00:00] app.CRITICAL: boom {} []", "level=fatal");
    check("2024-01-01T00:00:00.000Z\terror\tcontroller\tboom", "level=error");
    check("com.example.ERROR is a class", "");
    check("no error happened here", "");
    check("see http://x.y/ERROR:1", "");
    check("the user said: warning: not an issue of ours", "level=warn");
    check("A B C D E F", "");
    check("", "");
}

#[test]
fn finding_nothing_and_finding_a_level_share_allocations() {
    assert!(recognise("hello").same_allocation(&recognise("world")));
    assert!(recognise("ERROR a").same_allocation(&recognise(r#"{"level":"err"}"#)));
}

proptest! {
    #[test]
    fn any_text_is_survived(line in "\\PC{0,200}") {
        prop_assert!(recognise(&line).len() <= 3);
    }

    #[test]
    fn near_ids_are_survived(line in r#"(["'\\:= {}]|trace_id|traceparent|-|00|4bf92f3577b34da6a3ce929d0e0e4736){0,30}"#) {
        prop_assert!(recognise(&line).len() <= 3);
    }

    #[test]
    fn near_json_is_survived(line in r#"\{(["\\{}\[\]:, =a1]|level|"level":){0,60}"#) {
        prop_assert!(recognise(&line).len() <= 3);
    }
}
