//! Spans by OTLP, Jaeger's protocols and Zipkin's, and what is shown of them.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingest::otlp::traces::{IdForm, to_json, to_protobuf};
use model::{AttributeValue, ErrorKind, Resource, Scope, Span, SpanGroup};
use serde_json::{Value, json};
use server::receive::jaeger::{self, Datagrams};
use server::receive::sockets::{Addresses, Sockets};
use server::{App, Listener, Role, Tenant, Tenants, Token, router};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::sockets::SOON;
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

/// A batch as a real client sent it.
fn file(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../ingest/testdata/traces");
    std::fs::read(format!("{dir}/{name}")).unwrap()
}

#[tokio::test]
async fn jaeger_batches_are_accepted() {
    let (app, spans) = start();
    for thrift in ["application/x-thrift", "application/vnd.apache.thrift.binary; charset=utf-8"] {
        let headers = [("content-type", thrift)];
        let batch = file("jaeger_batch.binary");
        assert_eq!(post(&app, "/api/traces", &headers, batch).await, (202, String::new()));
    }
    let expected = ["jaeger checkout query", "jaeger checkout GET /cart"];
    assert_eq!(spans.names(), [expected, expected].concat());
    let headers = [("content-type", "application/x-thrift")];
    assert_eq!(post(&app, "/api/traces", &[JSON], "{}").await.0, 400);
    let (status, why) = post(&app, "/api/traces", &headers, "nonsense").await;
    assert_eq!(status, 400);
    assert!(why.contains("body is not a batch of Jaeger in Thrift"), "{why}");
    spans.failures.lock().push_back(ErrorKind::Busy);
    assert_eq!(post(&app, "/api/traces", &headers, file("jaeger_batch.binary")).await.0, 503);
}

#[tokio::test]
async fn ports_of_their_own_take_spans_and_nothing_else() {
    let (app, spans) = start();
    let router = server::ingest_router(&app, &["/api/traces"]);
    let request = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        request.header("content-type", "application/x-thrift")
    };
    let batch = request("POST", "/api/traces").body(file("jaeger_batch.binary").into()).unwrap();
    assert_eq!(ask(&router, batch).await.0, 202);
    for (method, path) in [("GET", "/api/traces/1"), ("GET", "/"), ("POST", "/v1/traces")] {
        let other = request(method, path).body(axum::body::Body::empty()).unwrap();
        assert_eq!(ask(&router, other).await.0, 404, "{path}");
    }
    assert_eq!(spans.names().len(), 2);
}

/// Sends `messages` to the methods and returns status and message of each.
pub(crate) async fn call(app: &Arc<App>, messages: &[(&str, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    let server = tokio::spawn(server::receive::grpc::serve(listener, app.clone(), 4, stop.clone()));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = Vec::new();
    for (method, message) in messages {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let body = bytes::Bytes::from([&[0], &length[..], message].concat());
        let request = Request::post(format!("http://{address}{method}"))
            .header("content-type", "application/grpc")
            .body(Full::new(body))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let in_head = response.headers().get("grpc-status").cloned();
        let whole = response.into_body().collect().await.unwrap();
        let in_trailers = whole.trailers().and_then(|t| t.get("grpc-status").cloned());
        let status = in_head.or(in_trailers).unwrap().to_str().unwrap().to_owned();
        let message = whole.to_bytes().get(5..).unwrap_or_default().to_vec();
        answers.push((status, message));
    }
    drop(sender);
    stop.cancel();
    server.await.unwrap();
    connection.await.unwrap().unwrap();
    answers
}

#[tokio::test]
async fn spans_come_over_grpc() {
    let (app, spans) = start();
    const OTLP: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    const JAEGER: &str = "/jaeger.api_v2.CollectorService/PostSpans";
    spans.failures.lock().push_back(ErrorKind::Busy);
    let sent = to_protobuf(&groups(&["get", "refused"]));
    let answers = call(
        &app,
        &[
            (OTLP, sent.clone()),
            (OTLP, sent),
            (OTLP, vec![7]),
            (JAEGER, file("jaeger_post_spans.pb")),
            (JAEGER, vec![7]),
            ("/jaeger.api_v2.CollectorService/Other", Vec::new()),
        ],
    )
    .await;
    let statuses: Vec<&str> = answers.iter().map(|(status, _)| status.as_str()).collect();
    // Unavailable, which is repeated; stored; invalid; stored; invalid; not implemented.
    assert_eq!(statuses, ["14", "0", "3", "0", "3", "12"]);
    let partial = String::from_utf8_lossy(&answers[1].1).into_owned();
    assert!(partial.contains("1 spans refused: too old"), "{partial}");
    assert!(answers[3].1.is_empty());
    assert_eq!(spans.names()[0], "otlp shop get");
    assert!(spans.names()[1].starts_with("jaeger checkout "), "{:?}", spans.names());
}

#[tokio::test]
async fn datagrams_of_jaegers_clients_are_taken_and_others_counted() {
    let (app, spans) = start();
    let stop = CancellationToken::new();
    for (form, name) in [
        (Datagrams::Compact, "jaeger_emit_batch.compact"),
        (Datagrams::Binary, "jaeger_emit_batch.binary"),
    ] {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = Addresses { udp: Some(local), ..Addresses::default() };
        let sockets = Sockets::bind(&addresses, None).await.unwrap();
        let address = sockets.addresses().udp.unwrap();
        tokio::spawn(jaeger::serve_datagrams(sockets, form, app.clone(), stop.clone()));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // The store is slow for a moment; nothing is lost.
        spans.failures.lock().push_back(ErrorKind::Busy);
        socket.send_to(b"nonsense", address).await.unwrap();
        socket.send_to(b"", address).await.unwrap();
        socket.send_to(&file(name), address).await.unwrap();
        tokio::time::timeout(SOON, spans.came.notified()).await.unwrap();
    }
    assert_eq!(spans.names().len(), 4, "{:?}", spans.names());
    let (_, _, figures) = get(&router(&app), "/metrics").await;
    for receiver in ["jaeger-compact", "jaeger-binary"] {
        let line = format!(
            "taffrail_receive_lost_datagrams_total{{receiver=\"{receiver}\",reason=\"malformed\"}} 1\n"
        );
        assert!(figures.contains(&line), "{figures}");
        assert!(figures.contains(&line.replace("malformed", "empty")), "{figures}");
    }
    stop.cancel();
}
