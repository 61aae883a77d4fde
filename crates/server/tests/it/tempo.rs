//! Tempo's API over spans in memory.

use std::sync::Arc;

use http::Request;
use ingest::otlp::Encoding;
use ingest::otlp::traces::{decode, to_protobuf};
use model::{AttributeValue, Resource, Scope, Span, SpanGroup, SpanKind, SpanStatus};
use serde_json::{Value, json};
use server::{App, router};

use crate::table::spans::Spans;
use crate::table::{NOW_MS, app_tracing, open_access};
use crate::{ask, get};

const NOW_NS: i64 = NOW_MS * 1_000_000;

fn text(text: &str) -> AttributeValue {
    AttributeValue::String(text.to_owned())
}

/// `GET /` of `web` calls `SELECT` of `db`, which fails; a minute before there was another `GET /`.
fn groups() -> Vec<SpanGroup> {
    let group = |service: &str, spans| SpanGroup {
        resource: Arc::new(Resource {
            attributes: vec![(Arc::from("service.name"), text(service))],
            ..Resource::default()
        }),
        scope: Arc::new(Scope::default()),
        spans,
    };
    let root = Span {
        trace_id: 0xAB,
        span_id: 1,
        name: Arc::from("GET /"),
        kind: SpanKind::Server,
        start_ns: NOW_NS - 30_000_000_000,
        end_ns: NOW_NS - 29_000_000_000,
        attributes: vec![(Arc::from("http.status"), AttributeValue::Int(500))],
        ..Span::default()
    };
    let earlier = Span {
        trace_id: 0xCD,
        span_id: 3,
        start_ns: NOW_NS - 90_000_000_000,
        end_ns: NOW_NS - 89_500_000_000,
        attributes: vec![(Arc::from("http.status"), AttributeValue::Int(200))],
        ..root.clone()
    };
    let query = Span {
        span_id: 2,
        parent_id: 1,
        name: Arc::from("SELECT"),
        kind: SpanKind::Client,
        status: SpanStatus::Error,
        start_ns: NOW_NS - 29_900_000_000,
        end_ns: NOW_NS - 29_800_000_000,
        attributes: vec![(Arc::from("db.system"), text("postgres"))],
        ..root.clone()
    };
    vec![group("web", vec![root, earlier]), group("db", vec![query])]
}

async fn start() -> Arc<App> {
    let app = app_tracing(open_access(), Arc::new(Spans::default()));
    let request = Request::post("/v1/traces")
        .header("host", "localhost:7245")
        .header("content-type", "application/x-protobuf")
        .body(to_protobuf(&groups()).into())
        .unwrap();
    let (status, _, _) = ask(&router(&app), request).await;
    assert_eq!(status, 200);
    app
}

fn path(path: &str, params: &[(&str, &str)]) -> String {
    let query: String =
        form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    format!("{path}?{query}")
}

async fn shown(app: &Arc<App>, to: &str, params: &[(&str, &str)]) -> Value {
    let (status, _, body) = get(&router(app), &path(to, params)).await;
    assert_eq!(status, 200, "{to} {params:?}: {body}");
    serde_json::from_str(&body).unwrap()
}

async fn refused(app: &Arc<App>, to: &str, params: &[(&str, &str)]) -> (u16, String) {
    let (status, _, body) = get(&router(app), &path(to, params)).await;
    (status.as_u16(), body)
}

#[tokio::test]
async fn traces_are_searched_by_traceql_and_by_tags() {
    let app = start().await;
    let found = shown(&app, "/api/search", &[("q", "{ status = error }")]).await;
    let trace = &found["traces"][0];
    assert_eq!(found["traces"].as_array().unwrap().len(), 1);
    assert_eq!(trace["traceID"], "000000000000000000000000000000ab");
    assert_eq!(
        (&trace["rootServiceName"], &trace["rootTraceName"]),
        (&json!("web"), &json!("GET /"))
    );
    assert_eq!((&trace["durationMs"], &trace["spanSets"][0]["matched"]), (&json!(1000), &json!(1)));
    let span = &trace["spanSets"][0]["spans"][0];
    assert_eq!((&span["spanID"], &span["name"]), (&json!("0000000000000002"), &json!("SELECT")));
    assert_eq!(span["durationNanos"], "100000000");
    let attributes = json!([{"key": "status", "value": {"stringValue": "error"}}]);
    assert_eq!(span["attributes"], attributes);

    let tags = [("tags", "service.name=WEB http.status=500"), ("minDuration", "900ms")];
    assert_eq!(shown(&app, "/api/search", &tags).await["traces"].as_array().unwrap().len(), 1);
    let all = shown(&app, "/api/search", &[("limit", "1")]).await;
    assert_eq!(all["traces"].as_array().unwrap().len(), 1);
    let end = ((NOW_NS / 1_000_000_000) - 60).to_string();
    let early = shown(&app, "/api/search", &[("start", "1"), ("end", &end)]).await;
    assert_eq!(early["traces"][0]["traceID"], "000000000000000000000000000000cd");
}

#[tokio::test]
async fn mistakes_are_named_with_their_place() {
    let app = start().await;
    let bad = |status: (u16, String), expect: &str| {
        assert_eq!(status.0, 400, "{}", status.1);
        assert!(status.1.contains(expect), "{}", status.1);
    };
    let query = [("q", "{ nmae = \"x\" }")];
    bad(refused(&app, "/api/search", &query).await, "line 1, col 3: unknown field");
    bad(refused(&app, "/api/search", &[("q", "{} | rate()")]).await, "the query is a metric");
    bad(refused(&app, "/api/search", &[("limit", "0")]).await, "between 1 and 10000");
    bad(refused(&app, "/api/search", &[("start", "x")]).await, "neither a Unix time");
    bad(refused(&app, "/api/search", &[("tags", "x")]).await, "no pair name=value");
    bad(refused(&app, "/api/metrics/query_range", &[("q", "{}")]).await, "no metric");
    bad(refused(&app, "/api/v2/search/tags", &[("scope", "trace")]).await, "none of resource");
    bad(refused(&app, "/api/v2/traces/x", &[]).await, "hexadecimal");
    assert_eq!(refused(&app, "/api/v2/traces/77", &[]).await.0, 404);
}

#[tokio::test]
async fn metrics_are_series_and_instants() {
    let app = start().await;
    let query = "{} | count_over_time() by (resource.service.name)";
    let params = [("q", query), ("since", "2m"), ("step", "1m")];
    let found = shown(&app, "/api/metrics/query_range", &params).await;
    let series = found["series"].as_array().unwrap();
    assert_eq!(series.len(), 2);
    assert_eq!(series[0]["promLabels"], r#"{"resource.service.name"="db"}"#);
    let label = json!([{"key": "resource.service.name", "value": {"stringValue": "web"}}]);
    assert_eq!(series[1]["labels"], label);
    let sum = |series: &Value| -> f64 {
        series["samples"].as_array().unwrap().iter().map(|s| s["value"].as_f64().unwrap()).sum()
    };
    assert_eq!((sum(&series[0]), sum(&series[1])), (1.0, 2.0));
    let exemplar = &series[0]["exemplars"][0];
    assert_eq!(exemplar["labels"][0]["value"]["stringValue"], "000000000000000000000000000000ab");
    assert_eq!(exemplar["timestampMs"], (NOW_MS - 29_900).to_string());

    let params = [("q", "{ status = error } | rate()"), ("since", "100s")];
    let found = shown(&app, "/api/metrics/query", &params).await;
    assert_eq!(found["series"][0]["value"], 0.01);
    assert_eq!(found["series"][0]["promLabels"], r#"{__name__="rate"}"#);
}

#[tokio::test]
async fn tags_and_their_values_are_listed() {
    let app = start().await;
    let tags = shown(&app, "/api/search/tags", &[]).await;
    assert_eq!(tags["tagNames"], json!(["db.system", "http.status", "service.name"]));
    let tags = shown(&app, "/api/v2/search/tags", &[("scope", "resource")]).await;
    assert_eq!(tags["scopes"], json!([{"name": "resource", "tags": ["service.name"]}]));
    let scopes = shown(&app, "/api/v2/search/tags", &[]).await;
    assert_eq!(scopes["scopes"][2]["name"], "intrinsic");

    let values = |path: &'static str, params: &'static [(&str, &str)]| {
        let app = app.clone();
        async move { shown(&app, path, params).await["tagValues"].clone() }
    };
    assert_eq!(values("/api/search/tag/service.name/values", &[]).await, json!(["db", "web"]));
    assert_eq!(values("/api/search/tag/status/values", &[]).await, json!(["unset", "ok", "error"]));
    let path = "/api/v2/search/tag/span.http.status/values";
    let numbers = json!([{"type": "int", "value": "200"}, {"type": "int", "value": "500"}]);
    assert_eq!(values(path, &[]).await, numbers);
    let one = json!([{"type": "int", "value": "500"}]);
    assert_eq!(values(path, &[("q", "{ duration >= 1s && name = }")]).await, one);
    let path = "/api/v2/search/tag/resource.service.name/values";
    let failed = json!([{"type": "string", "value": "db"}]);
    assert_eq!(values(path, &[("q", "{ status = error }")]).await, failed);
    let roots = json!([{"type": "string", "value": "GET /"}]);
    assert_eq!(values("/api/v2/search/tag/rootName/values", &[]).await, roots);
    let (status, why) = refused(&app, "/api/v2/search/tag/nothing/values", &[]).await;
    assert!(status == 400 && why.contains("not one field"), "{why}");
}

#[tokio::test]
async fn traces_are_given_as_protobuf_and_json() {
    let app = start().await;
    let ask_for = |path: &'static str| {
        let app = app.clone();
        async move {
            let request = Request::get(path)
                .header("host", "localhost:7245")
                .header("accept", "application/protobuf")
                .body(axum::body::Body::empty())
                .unwrap();
            let response = tower::ServiceExt::oneshot(router(&app), request).await.unwrap();
            assert_eq!((response.status().as_u16(), path), (200, path));
            assert_eq!(response.headers()["content-type"], "application/protobuf");
            axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap()
        }
    };
    let spans = |bytes: &[u8]| {
        let received = decode(Encoding::Protobuf, bytes, 1000).unwrap();
        received.groups.iter().map(|g| g.spans.len()).sum::<usize>()
    };
    let first = ask_for("/api/traces/ab").await;
    assert_eq!(spans(&first), 2);
    // The second version wraps the trace as its first field.
    let second = ask_for("/api/v2/traces/ab").await;
    assert_eq!(second[0], 0x0A);
    assert!(second.ends_with(&first));

    let trace = shown(&app, "/api/v2/traces/ab", &[]).await;
    let spans = &trace["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans[0]["traceId"], "AAAAAAAAAAAAAAAAAAAAqw==");
    assert_eq!(shown(&app, "/api/traces/ab", &[]).await["data"][0]["traceID"], "00000000000000ab");
}

#[tokio::test]
async fn clients_find_out_whom_they_talk_to() {
    let app = start().await;
    let (status, _, body) = get(&router(&app), "/api/echo").await;
    assert_eq!((status.as_u16(), &*body), (200, "echo"));
    assert_eq!(shown(&app, "/api/status/buildinfo", &[]).await["version"], "2.8.0");
}
