//! The server as clients see it: routes, roles, answers, errors, without a socket; and the receivers that have their own.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod access;
mod answers;
mod beside_samples;
mod jaeger;
mod lines;
mod loki;
mod origins;
mod own_spans;
mod prometheus;
mod protocols;
mod receive;
mod sockets;
mod stored;
mod table;
mod tail;
mod tempo;
mod tenants;
mod trace_costs;
mod traced;
mod traces;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

/// One request and the whole answer.
async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, mut body) = response.into_parts();
    let is_event_stream =
        parts.headers.get("content-type").is_some_and(|v| v.as_bytes() == b"text/event-stream");
    let bytes = if is_event_stream {
        // It has no end: its first piece.
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    } else {
        body.collect().await.unwrap().to_bytes()
    };
    (parts.status, parts.headers, String::from_utf8_lossy(&bytes).into_owned())
}

async fn get(router: &Router, path: &str) -> (StatusCode, HeaderMap, String) {
    ask(router, Request::get(path).header("host", "localhost:7245").body(Body::empty()).unwrap())
        .await
}
