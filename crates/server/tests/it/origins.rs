//! Spans say which container they come from, where that can be known; over real connections.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use server::{Listener, router, serve};
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

use super::table::{CONTAINER_ADDRESS, CONTAINER_ID, NOW_MS};
use super::traced::Traced;

/// Sends spans of the resources over a connection from `from`, each in trace `id`.
async fn send(to: SocketAddr, from: &str, agent: &str, id: u32, resources: &[&[(&str, &str)]]) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let stream = TokioIo::new(socket.connect(to).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let groups: Vec<serde_json::Value> = resources
        .iter()
        .zip(1..)
        .map(|(pairs, span): (_, u32)| {
            let pairs = pairs.iter().map(
                |(key, value)| serde_json::json!({"key": key, "value": {"stringValue": value}}),
            );
            let start_ns = NOW_MS * 1_000_000;
            let span = serde_json::json!({
                "traceId": format!("{id:032x}"), "spanId": format!("{span:016x}"), "name": "x",
                "startTimeUnixNano": start_ns.to_string(), "endTimeUnixNano": start_ns.to_string(),
            });
            serde_json::json!({
                "resource": {"attributes": pairs.collect::<Vec<_>>()},
                "scopeSpans": [{"spans": [span]}],
            })
        })
        .collect();
    let body = serde_json::json!({ "resourceSpans": groups }).to_string();
    let request = http::Request::post("/v1/traces")
        .header("host", "localhost")
        .header("user-agent", agent)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!((status, &*body), (200, &b"{}"[..]));
    drop(sender);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn spans_say_their_container_where_it_is_known() {
    let traced = Traced::start();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, router(&traced.app), 16, stop.clone()));

    let (here, elsewhere) = (CONTAINER_ADDRESS, "127.0.0.1");
    let (sdk, collector) = ("OTel-OTLP-Exporter-Go/1.38.0", "OpenTelemetry Collector/0.130.0");
    let full = format!(
        "container.id={CONTAINER_ID} container.name=web compose_project=shop compose_service=front host.name=box"
    );
    let short = &CONTAINER_ID[..12];
    let name = ("service.name", "s");
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, &str, &[Pairs<'_>], String); 9] = [
        // By its address, by its id, by the host's name that Docker gives it.
        (here, sdk, &[&[name]], format!("service.name=s {full}")),
        (elsewhere, collector, &[&[("container.id", CONTAINER_ID)]], full.clone()),
        (
            elsewhere,
            sdk,
            &[&[("host.name", short)]],
            format!("host.name={short} {}", full.trim_end_matches(" host.name=box")),
        ),
        // What was said stays.
        (
            here,
            sdk,
            &[&[("container.name", "own"), ("host.name", "h")]],
            format!(
                "container.name=own host.name=h container.id={CONTAINER_ID} compose_project=shop compose_service=front"
            ),
        ),
        // Nobody's address; passed on; of several; of a container that is not here; of too few digits.
        (elsewhere, sdk, &[&[name]], "service.name=s".to_owned()),
        (here, collector, &[&[name]], "service.name=s".to_owned()),
        (here, sdk, &[&[name], &[("service.name", "t")]], "service.name=s".to_owned()),
        (here, sdk, &[&[("container.id", "0123456789ab")]], "container.id=0123456789ab".to_owned()),
        (
            elsewhere,
            sdk,
            &[&[("container.id", "f00f00f00f0")]],
            "container.id=f00f00f00f0".to_owned(),
        ),
    ];
    for ((from, agent, resources, expected), id) in cases.into_iter().zip(1..) {
        send(address, from, agent, id, resources).await;
        let budget = model::Budget::unlimited();
        let source: &dyn model::TraceSource = traced.store.as_ref();
        let trace = source.trace(u128::from(id), &budget).unwrap().unwrap();
        let group = trace.groups.iter().find(|g| g.spans.iter().any(|s| s.span_id == 1)).unwrap();
        let pairs = group.resource.attributes.iter().map(|(name, value)| format!("{name}={value}"));
        assert_eq!(pairs.collect::<Vec<_>>().join(" "), expected, "{id}");
    }
    stop.cancel();
    server.await.unwrap();
}
