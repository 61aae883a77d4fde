//! Jaeger's query API over spans that came by OTLP and lie in a real store, as its UI and Grafana ask it; and its services
//! over gRPC.

use std::sync::Arc;

use ingest::jaeger::decode_protobuf;
use ingest::otlp::Encoding;
use ingest::otlp::traces::decode;
use ingest::protobuf::Writer;
use model::{AttributeValue, Resource, Scope, Span, SpanEvent, SpanGroup, SpanKind, SpanStatus};
use serde_json::{Value, json};

use crate::table::NOW_MS;
use crate::traced::Traced;
use crate::traces::call;

const NOW_NS: i64 = NOW_MS * 1_000_000;
const MS: i64 = 1_000_000;

fn text(text: &str) -> AttributeValue {
    AttributeValue::String(text.to_owned())
}

fn group(service: &str, spans: Vec<Span>) -> SpanGroup {
    let attributes = vec![(Arc::from("service.name"), text(service))];
    SpanGroup {
        resource: Arc::new(Resource { attributes, ..Resource::default() }),
        scope: Arc::new(Scope { name: "lib".to_owned(), ..Scope::default() }),
        spans,
    }
}

/// A span that begins so many seconds ago.
fn span(trace_id: u128, id: u64, parent_id: u64, kind: SpanKind, s_ago: i64, ms: i64) -> Span {
    let start_ns = NOW_NS - s_ago * 1_000 * MS + id as i64 * MS;
    Span {
        trace_id,
        span_id: id,
        parent_id,
        kind,
        name: Arc::from("op"),
        start_ns,
        end_ns: start_ns + ms * MS,
        ..Span::default()
    }
}

/// `web` is asked, asks `cart`, which asks a database and fails; an hour before `web` was asked alone.
fn groups() -> Vec<SpanGroup> {
    let named = |span: Span, name: &str| Span { name: Arc::from(name), ..span };
    let root = named(span(0xAB, 1, 0, SpanKind::Server, 60, 500), "GET /");
    let asks = named(span(0xAB, 2, 1, SpanKind::Client, 60, 400), "call cart");
    let asked = Span {
        status: SpanStatus::Error,
        events: vec![SpanEvent {
            t_ns: NOW_NS,
            name: "exception".into(),
            attributes: vec![("exception.type".into(), text("Timeout"))],
            ..SpanEvent::default()
        }],
        ..named(span(0xAB, 3, 2, SpanKind::Server, 60, 300), "add")
    };
    let select = Span {
        attributes: vec![("db.system".into(), text("pg")), ("rows".into(), AttributeValue::Int(7))],
        ..named(span(0xAB, 4, 3, SpanKind::Client, 60, 200), "SELECT")
    };
    let earlier = named(span(0xCD, 5, 0, SpanKind::Server, 3_600, 5), "GET /old");
    vec![group("web", vec![root, asks, earlier]), group("cart", vec![asked, select])]
}

async fn start() -> Traced {
    let traced = Traced::start();
    let mut groups = groups();
    traced.send(&groups.split_off(1)).await;
    // What is called lies in a file, who calls in memory.
    traced.store.flush().unwrap();
    traced.send(&groups).await;
    traced
}

async fn shown(traced: &Traced, path: &str, params: &[(&str, &str)]) -> Value {
    let (status, body) = traced.get(path, params).await;
    assert_eq!(status, 200, "{path} {params:?}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Status and message of an error of version 1.
async fn refused(traced: &Traced, path: &str, params: &[(&str, &str)]) -> (u16, String) {
    let (status, body) = traced.get(path, params).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let error = &body["errors"][0];
    assert_eq!((&body["data"], &error["code"]), (&Value::Null, &json!(status)));
    (status, error["msg"].as_str().unwrap().to_owned())
}

async fn found(traced: &Traced, params: &[(&str, &str)]) -> Vec<String> {
    let answer = shown(traced, "/api/traces", params).await;
    assert_eq!((&answer["errors"], &answer["total"]), (&Value::Null, &json!(0)));
    let traces = answer["data"].as_array().unwrap().iter();
    traces
        .map(|trace| trace["traceID"].as_str().unwrap().trim_start_matches('0').to_owned())
        .collect()
}

#[tokio::test]
async fn services_and_operations_are_listed() {
    let traced = start().await;
    let answer = shown(&traced, "/api/services", &[]).await;
    let list =
        json!({"data": ["cart", "web"], "total": 2, "limit": 0, "offset": 0, "errors": null});
    assert_eq!(answer, list);
    let answer = shown(&traced, "/api/services/web/operations", &[]).await;
    assert_eq!(answer["data"], json!(["GET /", "GET /old", "call cart"]));
    let web = ("service", "web");
    let answer = shown(&traced, "/api/operations", &[web]).await;
    let client = json!({"name": "call cart", "spanKind": "client"});
    assert_eq!((&answer["data"][2], &answer["total"]), (&client, &json!(3)));
    let answer = shown(&traced, "/api/operations", &[web, ("spanKind", "client")]).await;
    assert_eq!(answer["data"], json!([client]));
    assert_eq!(shown(&traced, "/api/services/none/operations", &[]).await["data"], json!([]));
    let required = (400, "parameter 'service' is required".to_owned());
    assert_eq!(refused(&traced, "/api/operations", &[]).await, required);
    assert_eq!(refused(&traced, "/api/traces", &[]).await, required);
}

#[tokio::test]
async fn traces_are_found_as_the_ui_and_grafana_ask() {
    let traced = start().await;
    let check = async |params: &[(&str, &str)], expected: &[&str]| {
        assert_eq!(found(&traced, params).await, expected, "{params:?}");
    };
    let web = ("service", "web");
    let cart = ("service", "cart");
    check(&[web], &["ab", "cd"]).await;
    check(&[web, ("limit", "1")], &["ab"]).await;
    check(&[cart], &["ab"]).await;
    check(&[("service", "none")], &[]).await;
    check(&[web, ("operation", "GET /old"), ("lookback", "1h")], &["cd"]).await;
    check(&[web, ("minDuration", "450ms")], &["ab"]).await;
    check(&[web, ("maxDuration", "10ms")], &["cd"]).await;
    // All of it must hold for one span.
    check(&[cart, ("operation", "SELECT"), ("minDuration", "250ms")], &[]).await;
    let us = |s_ago: i64| ((NOW_NS - s_ago * 1_000 * MS) / 1_000).to_string();
    check(&[web, ("start", &us(7_200)), ("end", &us(1_800))], &["cd"]).await;
    check(&[web, ("start", &us(1_800)), ("end", &us(0))], &["ab"]).await;
    check(&[cart, ("tags", r#"{"rows":"7","db.system":"pg"}"#)], &["ab"]).await;
    check(&[cart, ("tags", r#"{"rows":"7","error":"true"}"#)], &[]).await;
    check(&[cart, ("tags", r#"{"error":"true","exception.type":"Time.*"}"#)], &["ab"]).await;
    check(&[web, ("tags", r#"{"error":"true"}"#)], &[]).await;
    check(&[web, ("tag", "span.kind:client"), ("tag", "otel.scope.name:lib")], &["ab"]).await;
    check(&[cart, ("tag", "event:exception")], &["ab"]).await;
    let bad = refused(&traced, "/api/traces", &[web, ("tags", r#"{"a":1}"#)]).await;
    assert_eq!(
        bad,
        (
            400,
            "malformed 'tags' parameter, cannot unmarshal JSON: json: cannot unmarshal number into Go value of type string"
                .to_owned()
        )
    );
}

#[tokio::test]
async fn traces_are_given_by_their_ids() {
    let traced = start().await;
    let answer = shown(&traced, "/api/traces/ab", &[]).await;
    let trace = &answer["data"][0];
    assert_eq!(trace["spans"].as_array().unwrap().len(), 4);
    assert_eq!(trace["processes"]["p1"]["serviceName"], "cart");
    let several = [("traceID", "cd"), ("traceID", "77"), ("traceID", "ab")];
    let answer = shown(&traced, "/api/traces", &several).await;
    assert_eq!(answer["data"][0]["traceID"], "00000000000000cd");
    assert_eq!(answer["data"][1]["traceID"], "00000000000000ab");
    let missing = json!([{"msg": "trace not found", "traceID": "0000000000000077"}]);
    assert_eq!(answer["errors"], missing);
    let none = (404, "trace not found".to_owned());
    assert_eq!(refused(&traced, "/api/traces/77", &[]).await, none);
    let why = "strconv.ParseUint: parsing \"x\": invalid syntax".to_owned();
    assert_eq!(refused(&traced, "/api/traces/x", &[]).await, (400, why));
}

#[tokio::test]
async fn calls_between_services_are_counted() {
    let traced = start().await;
    let end = ("endTs", &*NOW_MS.to_string());
    let list =
        |data: Value| json!({"data": data, "total": 0, "limit": 0, "offset": 0, "errors": null});
    let one = json!([{"parent": "web", "child": "cart", "callCount": 1}]);
    let path = "/api/dependencies";
    assert_eq!(shown(&traced, path, &[end, ("lookback", "600000")]).await, list(one.clone()));
    assert_eq!(shown(&traced, path, &[]).await, list(one.clone()));
    assert_eq!(shown(&traced, path, &[("service", "cart")]).await, list(one));
    assert_eq!(shown(&traced, path, &[("service", "x")]).await, list(json!([])));
    assert_eq!(shown(&traced, path, &[end, ("lookback", "1000")]).await, list(json!([])));
    let why = "unable to parse param 'endTs': strconv.ParseInt: parsing \"x\": invalid syntax";
    assert_eq!(refused(&traced, path, &[("endTs", "x")]).await, (400, why.to_owned()));

    let path = "/api/taffrail/v1/service_graph";
    let start = ((NOW_MS - 600_000) / 1_000).to_string();
    let graph = shown(&traced, path, &[("start", &start)]).await;
    let nodes = json!([
        {"name": "cart", "kind": "service", "calls": 1, "errors": 1},
        {"name": "pg", "kind": "database", "calls": 1, "errors": 0},
        {"name": "user", "kind": "outside", "calls": 0, "errors": 0},
        {"name": "web", "kind": "service", "calls": 1, "errors": 0},
    ]);
    assert_eq!(graph["nodes"], nodes);
    let edges = graph["edges"].as_array().unwrap();
    let ends: Vec<(&Value, &Value, &Value)> =
        edges.iter().map(|e| (&e["client"], &e["server"], &e["connection"])).collect();
    assert_eq!(
        ends,
        [
            (&json!("cart"), &json!("pg"), &json!("database")),
            (&json!("user"), &json!("web"), &json!("virtual_node")),
            (&json!("web"), &json!("cart"), &json!("")),
        ]
    );
    let call = &edges[2];
    assert_eq!((&call["calls"], &call["errors"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&call["clientMs"]["mean"], &call["serverMs"]["mean"]),
        (&json!(400.0), &json!(300.0))
    );
    assert!((call["serverMs"]["p99"].as_f64().unwrap() / 300.0 - 1.0).abs() < 1.0 / 16.0);
    assert_eq!(
        (&edges[0]["serverMs"], &call["callsPerSecond"]),
        (&Value::Null, &json!(1.0 / 600.0))
    );
    let (status, body) = traced.get(path, &[("start", "5"), ("end", "4")]).await;
    assert!(status == 400 && body.contains("before \\\"start\\\""), "{body}");
}

#[tokio::test]
async fn the_third_version_is_otlp() {
    let traced = start().await;
    let answer = shown(&traced, "/api/v3/services", &[]).await;
    assert_eq!(answer, json!({"services": ["cart", "web"]}));
    let params = [("service", "cart"), ("spanKind", "server")];
    let answer = shown(&traced, "/api/v3/operations", &params).await;
    assert_eq!(answer, json!({"operations": [{"name": "add", "spanKind": "server"}]}));
    let times = [
        ("query.start_time_min", "2015-07-01T00:00:00Z"),
        ("query.startTimeMax", "2015-07-02T00:00:00.5Z"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&times[..], more].concat();
    let params = with(&[
        ("query.serviceName", "cart"),
        ("query.attributes", r#"{"rows":"7"}"#),
        ("query.duration_min", "0.1s"),
        ("query.searchDepth", "5"),
    ]);
    let answer = shown(&traced, "/api/v3/traces", &params).await;
    let json = answer["result"].to_string();
    let read = decode(Encoding::Json, json.as_bytes(), 100).unwrap();
    assert_eq!(read.groups.iter().map(|g| g.spans.len()).sum::<usize>(), 4);
    let answer = shown(&traced, "/api/v3/traces/cd", &[("raw_traces", "true")]).await;
    let one = &answer["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!((&one["name"], &one["kind"]), (&json!("GET /old"), &json!(2)));
    assert_eq!(one["traceId"], "000000000000000000000000000000cd");

    let posted = json!({"query": {
        "service_name": "cart", "startTimeMin": times[0].1, "startTimeMax": times[1].1,
        "attributes": {"rows": "7"},
    }});
    let kind = "application/json";
    let (status, body) =
        traced.ask("POST", "/api/v3/trace-summaries", kind, posted.to_string().into()).await;
    assert_eq!(status, 200, "{body}");
    let summary = json!({"summaries": [{
        "traceId": "000000000000000000000000000000ab",
        "rootServiceName": "web",
        "rootOperationName": "GET /",
        "minStartTimeUnixNano": (NOW_NS - 59_999 * MS).to_string(),
        "maxEndTimeUnixNano": (NOW_NS - 59_499 * MS).to_string(),
        "spanCount": 4,
        "errorSpanCount": 1,
        "orphanSpanCount": 0,
        "services": [
            {"name": "cart", "spanCount": 2, "errorSpanCount": 1},
            {"name": "web", "spanCount": 2, "errorSpanCount": 0},
        ],
    }]});
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), summary);
    let params = with(&[("query.service_name", "cart")]);
    assert_eq!(shown(&traced, "/api/v3/trace-summaries", &params).await, summary);
    let params = [("startTime", times[0].1), ("end_time", times[1].1)];
    let answer = shown(&traced, "/api/v3/dependencies", &params).await;
    let links = json!({"dependencies": [{"parent": "web", "child": "cart", "callCount": "1"}]});
    assert_eq!(answer, links);
}

#[tokio::test]
async fn mistakes_of_the_third_version_are_named() {
    let traced = start().await;
    let check = async |path: &str, params: &[(&str, &str)], status: u16, expected: &str| {
        let (found, body) = traced.get(path, params).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((found, &body["error"]["httpCode"]), (status, &json!(status)), "{body}");
        assert_eq!(body["error"]["message"], expected);
    };
    let path = "/api/v3/traces";
    let required = "query.start_time_min and query.start_time_max are required";
    check(path, &[], 400, required).await;
    let times = [
        ("query.startTimeMin", "2015-07-01T00:00:00Z"),
        ("query.startTimeMax", "2015-07-02T00:00:00Z"),
    ];
    let with = |more: (&'static str, &'static str)| [times[0], times[1], more];
    check(path, &with(("query.service_name", "x")), 404, "No traces found").await;
    let why = "malformed parameter query.duration_max: time: invalid duration \"x\"";
    check(path, &with(("query.durationMax", "x")), 400, why).await;
    let why = "malformed parameter query.start_time_min: \"x\" is not a time in RFC 3339";
    check(path, &[("query.start_time_min", "x"), times[1]], 400, why).await;
    let why = "query.filter is not supported; use query.service_name, query.operation_name, query.attributes and durations";
    check(path, &with(("query.filter", "{}")), 400, why).await;
    let why = "malformed parameter trace_id: strconv.ParseUint: parsing \"x\": invalid syntax";
    check("/api/v3/traces/x", &[], 400, why).await;
    check("/api/v3/traces/77", &[], 404, "trace not found").await;
    check("/api/v3/operations", &[], 400, "malformed parameter service: it is required").await;
    let (status, body) = traced.ask("POST", path, "application/json", b"[]".to_vec()).await;
    assert!(status == 400 && body.contains("no object"), "{body}");
}

#[tokio::test]
async fn metrics_of_services_are_asked_of_the_metric_store() {
    let traced = start().await;
    let web = ("service", "web");
    let answer = shown(&traced, "/api/metrics/calls", &[web]).await;
    let empty = json!({
        "name": "service_call_rate",
        "type": "GAUGE",
        "help": "calls/sec, grouped by service",
        "metrics": [],
    });
    assert_eq!(answer, empty);
    assert_eq!(shown(&traced, "/api/metrics/errors", &[web]).await["metrics"], json!([]));
    let params = [web, ("quantile", "0.95"), ("groupByOperation", "true")];
    let answer = shown(&traced, "/api/metrics/latencies", &params).await;
    assert_eq!(answer["name"], "service_operation_latencies");
    assert_eq!(shown(&traced, "/api/metrics/minstep", &[]).await["data"], 1);
    let why = "unable to parse param 'quantile': strconv.ParseFloat: parsing \"\": invalid syntax";
    assert_eq!(refused(&traced, "/api/metrics/latencies", &[web]).await, (400, why.to_owned()));
    let why = "unable to parse param 'service': please provide at least one service name";
    assert_eq!(refused(&traced, "/api/metrics/calls", &[]).await, (400, why.to_owned()));
}

#[tokio::test]
async fn without_an_archive_nothing_is_archived() {
    let traced = start().await;
    let (status, body) = traced.ask("POST", "/api/archive/ab", "", Vec::new()).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let error = json!([{"code": 500, "msg": "archive span storage was not configured"}]);
    assert_eq!((status, &body["errors"]), (500, &error));
    let (status, _) = traced.ask("POST", "/api/archive/x", "", Vec::new()).await;
    assert_eq!(status, 400);
}

/// Messages of a stream, of which the first has lost its prefix.
fn messages(body: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut rest = [&[0; 5][..], body].concat();
    // Ends of messages are where the next prefix names what is left, seen from the end.
    fn split(bytes: &[u8], messages: &mut Vec<Vec<u8>>) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let Some((head, body)) = bytes.split_at_checked(5) else { return false };
        let len = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        let Some((message, rest)) = body.split_at_checked(len).filter(|_| head[0] == 0) else {
            return false;
        };
        messages.push(message.to_vec());
        split(rest, messages)
    }
    for len in 0..=body.len() {
        rest[1..5].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
        messages.clear();
        if split(&rest, &mut messages) {
            return messages;
        }
    }
    panic!("no messages in {} bytes", body.len())
}

#[tokio::test]
async fn queries_come_over_grpc() {
    const V2: &str = "/jaeger.api_v2.QueryService/";
    const V3: &str = "/jaeger.api_v3.QueryService/";
    let traced = start().await;
    let mut id = Writer::new();
    id.bytes(1, &0xAB_u128.to_be_bytes());
    // The third version wants times.
    let search = |end_s: Option<u64>| {
        let mut search = Writer::new();
        search.message(1, |query| {
            query.text(1, "cart");
            query.message(3, |tag| {
                tag.text(1, "rows");
                tag.text(2, "7");
            });
            if let Some(end_s) = end_s {
                query.message(4, |time| time.uint(1, 1));
                query.message(5, |time| time.uint(1, end_s));
            }
        });
        search.finish()
    };
    let id = id.finish();
    let hex = |text: &str| [&[0x0A, text.len() as u8], text.as_bytes()].concat();
    let ask = async |calls: &[(String, Vec<u8>)]| {
        let calls: Vec<(&str, Vec<u8>)> =
            calls.iter().map(|(path, body)| (path.as_str(), body.clone())).collect();
        call(&traced.app, &calls).await
    };
    let answers = ask(&[
        (format!("{V2}GetTrace"), id.clone()),
        (format!("{V2}FindTraces"), search(None)),
        (format!("{V2}GetServices"), Vec::new()),
        (format!("{V2}GetOperations"), hex("cart")),
        (format!("{V2}GetDependencies"), Vec::new()),
        (format!("{V3}GetTrace"), hex("ab")),
        (format!("{V3}FindTraces"), search(Some(4_000_000_000))),
        (format!("{V3}GetServices"), Vec::new()),
        (format!("{V3}GetOperations"), hex("cart")),
        (format!("{V3}GetDependencies"), Vec::new()),
        (format!("{V3}FindTraceSummaries"), search(Some(4_000_000_000))),
    ])
    .await;
    assert!(answers.iter().all(|(status, _)| status == "0"), "{answers:?}");
    for answer in &answers[..2] {
        // Chunks have spans where a batch has them.
        let mut request = Writer::new();
        request.always_bytes(1, &messages(&answer.1).concat());
        let received = decode_protobuf(&request.finish(), 100).unwrap();
        let groups = received.groups.iter();
        let mut services: Vec<(&str, usize)> =
            groups.map(|g| (g.resource.service().unwrap(), g.spans.len())).collect();
        services.sort_unstable();
        assert_eq!(services, [("cart", 2), ("web", 2)]);
    }
    let services = [hex("cart"), hex("web")].concat();
    assert_eq!((&answers[2].1, &answers[7].1), (&services, &services));
    let operation = |name: &str, kind: &str, field: u8| {
        let inner = [hex(name), vec![0x12, kind.len() as u8], kind.as_bytes().to_vec()].concat();
        [vec![field, inner.len() as u8], inner].concat()
    };
    let expected = [
        hex("SELECT"),
        hex("add"),
        operation("SELECT", "client", 0x12),
        operation("add", "server", 0x12),
    ];
    assert_eq!(answers[3].1, expected.concat());
    let expected = [operation("SELECT", "client", 0x0A), operation("add", "server", 0x0A)];
    assert_eq!(answers[8].1, expected.concat());
    let link = [hex("web"), b"\x12\x04cart\x18\x01".to_vec()].concat();
    let link = [vec![0x0A, link.len() as u8], link].concat();
    assert_eq!((&answers[4].1, &answers[9].1), (&link, &link));
    for answer in &answers[5..7] {
        let received = decode(Encoding::Protobuf, &messages(&answer.1).concat(), 100).unwrap();
        assert_eq!(received.groups.iter().map(|g| g.spans.len()).sum::<usize>(), 4);
    }
    assert!(String::from_utf8_lossy(&answers[10].1).contains("000000000000000000000000000000ab"));

    let answers = ask(&[
        (format!("{V2}GetTrace"), vec![0x0A, 1, 7]),
        (format!("{V3}GetTrace"), hex("77")),
        (format!("{V2}FindTraces"), Vec::new()),
        (format!("{V2}FindTraces"), vec![7]),
        (format!("{V3}FindTraces"), search(None)),
    ])
    .await;
    let statuses: Vec<&str> = answers.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(statuses, ["3", "5", "3", "3", "3"]);
}
