//! Spans by OTLP, Jaeger's protocols and Zipkin's, and what is shown of them.

use std::sync::Arc;

use http::Request;
use ingest::otlp::traces::{IdForm, to_json, to_protobuf};
use model::{AttributeValue, ErrorKind, Resource, Scope, Span, SpanGroup};
use serde_json::{Value, json};
use server::{App, Role, Tenant, Tenants, Token, router};

use crate::table::spans::Spans;
use crate::table::{NOW_MS, app_tracing, open_access};
use crate::{ask, get};

fn start() -> (Arc<App>, Arc<Spans>) {
    let spans = Arc::new(Spans::default());
    (app_tracing(open_access(), spans.clone()), spans)
}

/// Spans of service `shop` with the given names; trace and span ids count from 1.
fn groups(names: &[&str]) -> Vec<SpanGroup> {
    let span = |(id, name): (u64, &&str)| Span {
        trace_id: u128::from(id),
        span_id: id,
        name: Arc::from(*name),
        start_ns: NOW_MS * 1_000_000,
        end_ns: NOW_MS * 1_000_000 + 5_000,
        ..Span::default()
    };
    let service = AttributeValue::String("shop".to_owned());
    let attributes = vec![(Arc::from("service.name"), service)];
    vec![SpanGroup {
        resource: Arc::new(Resource { attributes, ..Resource::default() }),
        scope: Arc::new(Scope::default()),
        spans: (1..).zip(names).map(span).collect(),
    }]
}

async fn post(
    app: &Arc<App>,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> (u16, String) {
    let mut request = Request::post(path).header("host", "localhost:7245");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (status, _, body) = ask(&router(app), request.body(body.into().into()).unwrap()).await;
    (status.as_u16(), body)
}

async fn shown(app: &Arc<App>, path: &str) -> (u16, Value) {
    let (status, _, body) = get(&router(app), path).await;
    (status.as_u16(), serde_json::from_str(&body).unwrap())
}

const JSON: (&str, &str) = ("content-type", "application/json");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

#[tokio::test]
async fn otlp_spans_are_stored_and_shown() {
    let (app, spans) = start();
    let body = to_protobuf(&groups(&["get", "refused"]));
    let (status, answer) = post(&app, "/v1/traces", &[PROTOBUF], body).await;
    assert_eq!(status, 200);
    // A partial success with one span and why.
    assert!(answer.starts_with("\n") && answer.contains("1 spans refused: too old"), "{answer:?}");
    let body = to_json(&groups(&["put"]), IdForm::Hexadecimal);
    assert_eq!(post(&app, "/v1/traces", &[JSON], body).await, (200, "{}".to_owned()));
    let packed = zstd::encode_all(&to_protobuf(&groups(&["zip"]))[..], 0).unwrap();
    let headers = [PROTOBUF, ("content-encoding", "zstd")];
    assert_eq!(post(&app, "/v1/traces", &headers, packed).await, (200, String::new()));
    assert_eq!(spans.names(), ["otlp shop get", "otlp shop put", "otlp shop zip"]);

    let (status, answer) = shown(&app, "/api/traces/1").await;
    assert_eq!(status, 200);
    assert_eq!(answer["data"][0]["traceID"], "0000000000000001");
    let names: Vec<&Value> = answer["data"][0]["spans"].as_array().unwrap().iter().collect();
    assert_eq!(
        names.iter().map(|s| &s["operationName"]).collect::<Vec<_>>(),
        ["get", "put", "zip"]
    );
    assert_eq!(answer["data"][0]["processes"]["p1"]["serviceName"], "shop");
    let list = json!({"data": ["shop"], "total": 1, "limit": 0, "offset": 0, "errors": null});
    assert_eq!(shown(&app, "/api/services").await, (200, list));
    let (status, answer) = shown(&app, "/api/traces/77").await;
    assert_eq!((status, &answer["errors"][0]["msg"]), (404, &json!("trace not found")));
    let (status, answer) = shown(&app, "/api/traces/x").await;
    assert_eq!((status, &answer["errors"][0]["code"]), (400, &json!(400)));
}

#[tokio::test]
async fn otlp_requests_are_refused_with_the_status_that_says_why() {
    let (app, spans) = start();
    let (status, answer) = post(&app, "/v1/traces", &[JSON], "[").await;
    assert_eq!(status, 400);
    assert!(answer.contains("not an OTLP/JSON traces request"), "{answer}");
    assert_eq!(post(&app, "/v1/traces", &[("content-type", "text/plain")], "").await.0, 415);
    let headers = [PROTOBUF, ("content-encoding", "br")];
    assert_eq!(post(&app, "/v1/traces", &headers, "").await.0, 415);
    assert_eq!(post(&app, "/v1/traces", &[PROTOBUF], vec![0; (1 << 20) + 1]).await.0, 413);
    spans.failures.lock().extend([ErrorKind::Busy, ErrorKind::Io]);
    let body = to_protobuf(&groups(&["get"]));
    assert_eq!(post(&app, "/v1/traces", &[PROTOBUF], body.clone()).await.0, 503);
    assert_eq!(post(&app, "/v1/traces", &[PROTOBUF], body).await.0, 500);
    // An id of 0 is refused alone.
    let mut sent = groups(&["zero", "one"]);
    sent[0].spans[0].trace_id = 0;
    let body = to_json(&sent, IdForm::Hexadecimal);
    let (status, answer) = post(&app, "/v1/traces", &[JSON], body).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let partial = &answer["partialSuccess"];
    assert_eq!((status, &partial["rejectedSpans"]), (200, &json!("1")));
    let why = partial["errorMessage"].as_str().unwrap();
    assert!(why.contains("span \"zero\": TraceID is empty or all zeros"), "{why}");
    assert_eq!(spans.names(), ["otlp shop one"]);
}

#[tokio::test]
async fn zipkin_spans_are_accepted() {
    let (app, spans) = start();
    let one = |id: &str, name: &str| {
        format!(
            r#"[{{"traceId":"{id}","id":"1","name":"{name}","timestamp":1435781460000000,"duration":5,"localEndpoint":{{"serviceName":"shop"}}}}]"#
        )
    };
    let accepted = (202, String::new());
    assert_eq!(post(&app, "/api/v2/spans", &[JSON], one("a", "get")).await, accepted);
    assert_eq!(post(&app, "/api/v2/spans", &[], one("a", "put")).await, accepted);
    let v1 = r#"[{"traceId":"a","id":"2","name":"old","timestamp":1435781460000000,"annotations":[{"timestamp":1435781460000000,"value":"sr","endpoint":{"serviceName":"shop"}}]}]"#;
    assert_eq!(post(&app, "/api/v1/spans", &[JSON], v1).await, accepted);
    let (status, why) = post(&app, "/api/v2/spans", &[JSON], one("0", "zero")).await;
    assert_eq!(status, 400);
    assert!(why.contains("TraceID"), "{why}");
    let two = one("a", "left").replace(']', ",") + &one("0", "right").replace('[', "");
    let (status, why) = post(&app, "/api/v2/spans", &[JSON], two).await;
    assert_eq!(status, 202);
    assert!(why.starts_with("1 spans stored, 1 refused: span \"right\": TraceID"), "{why}");
    assert_eq!(post(&app, "/api/v2/spans", &[("content-type", "text/css")], "").await.0, 415);
    assert_eq!(post(&app, "/api/v2/spans", &[JSON], "{").await.0, 400);
    spans.failures.lock().push_back(ErrorKind::Busy);
    assert_eq!(post(&app, "/api/v2/spans", &[JSON], one("a", "get")).await.0, 503);
    let names = ["get", "put", "old", "left"].map(|name| format!("zipkin shop {name}"));
    assert_eq!(spans.names(), names);
}

#[tokio::test]
async fn spans_belong_to_their_tenant() {
    let spans = Arc::new(Spans::default());
    let tenant = |name: &str| Tenant::new(name).unwrap();
    let mut access = open_access();
    access.tenants = Tenants { from_header: true, default: Some(tenant("ops")) };
    let token = Token::new("a-viewer-0123456789", Role::Viewer);
    access.tokens = vec![token.of_tenant(tenant("a"))];
    let app = app_tracing(access, spans.clone());
    let send = async |name: &str, headers: &[(&str, &str)]| {
        let mut sent = groups(&[name]);
        let theirs = AttributeValue::String("b".to_owned());
        let resource = Arc::make_mut(&mut sent[0].resource);
        resource.attributes.push((Arc::from("tenant"), theirs));
        let headers = [&[PROTOBUF][..], headers].concat();
        assert_eq!(post(&app, "/v1/traces", &headers, to_protobuf(&sent)).await.0, 200);
    };
    send("of ops", &[]).await;
    send("of a", &[("x-scope-orgid", "a")]).await;
    let read = async |headers: &[(&str, &str)]| {
        let mut request = Request::get("/api/traces/1").header("host", "localhost:7245");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        let (_, _, body) = ask(&router(&app), request).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        let spans = answer["data"][0]["spans"].as_array().cloned().unwrap_or_default();
        spans.iter().map(|s| s["operationName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(read(&[]).await, ["of ops"]);
    assert_eq!(read(&[("x-scope-orgid", "a")]).await, ["of a"]);
    assert_eq!(read(&[("x-scope-orgid", "a|ops")]).await, ["of ops", "of a"]);
    assert_eq!(read(&[("x-scope-orgid", "b")]).await, [""; 0]);
    assert_eq!(read(&[("authorization", "Bearer a-viewer-0123456789")]).await, ["of a"]);
}
