//! Answers about large traces are paid from the query's budget while they are made, whoever asks.

use std::sync::Arc;

use model::{AttributeValue, Resource, Scope, Span, SpanGroup};
use serde_json::{Value, json};

use crate::table::NOW_MS;
use crate::traced::Traced;

const NOW_NS: i64 = NOW_MS * 1_000_000;
/// Enough for the spans of the large trace, not for an answer with all of them.
const BYTES_MAX: u64 = 2_500_000;
const LARGE: u128 = 0xD005;
const SMALL: u128 = 0xD006;
const SPANS: u64 = 3_000;

fn trace(trace_id: u128, spans: u64, s_ago: i64) -> SpanGroup {
    let service = AttributeValue::String("shop".to_owned());
    let span = |id: u64| {
        let start_ns = NOW_NS - s_ago * 1_000_000_000 + id as i64 * 1_000;
        Span {
            trace_id,
            span_id: id,
            parent_id: u64::from(id > 1),
            name: Arc::from("op"),
            start_ns,
            end_ns: start_ns + 500,
            ..Span::default()
        }
    };
    let attributes = vec![(Arc::from("service.name"), service)];
    SpanGroup {
        resource: Arc::new(Resource { attributes, ..Resource::default() }),
        scope: Arc::new(Scope::default()),
        spans: (1..=spans).map(span).collect(),
    }
}

async fn start() -> Traced {
    start_with(BYTES_MAX).await
}

async fn start_with(bytes_max: u64) -> Traced {
    let traced = Traced::start_with(bytes_max);
    traced.send(&[trace(LARGE, SPANS, 60), trace(SMALL, 2, 120)]).await;
    traced
}

#[tokio::test]
async fn what_is_too_large_for_the_budget_is_refused() {
    let traced = start().await;
    let by_span = [("q", "{} | by(span:id)"), ("spss", "1"), ("limit", "1")];
    let all = "{ trace:id = \"0000000000000000000000000000d005\" } | select(resource.service.name, kind, status, nestedSetLeft)";
    let whole: [(&str, &[(&str, &str)]); 4] = [
        ("/api/search", &by_span),
        ("/api/search", &[("q", all), ("spss", "100000")]),
        ("/api/taffrail/v1/traces/d005", &[("limit", "0")]),
        ("/api/metrics/query_range", &[("q", "{} | rate() by(span:id)"), ("since", "10m")]),
    ];
    for (path, params) in whole {
        let (status, body) = traced.get(path, params).await;
        assert_eq!(status, 422, "{path} {params:?}: {body:.200}");
        assert!(body.contains("its share of memory_limit"), "{path}: {body:.200}");
    }
    let (status, body) = traced.get("/api/search", &[("q", "{ duration > 1ns }")]).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["traces"][0]["spanSets"][0]["matched"]), (200, &json!(SPANS)));
    let (status, body) = traced.get("/api/taffrail/v1/traces/d005", &[("limit", "10")]).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let shown = body["spans"].as_array().unwrap().len();
    assert_eq!((status, shown, &body["spanCount"]), (200, 10, &json!(SPANS)));
}

#[tokio::test]
async fn a_search_names_traces_too_large_beside_the_others() {
    // Less than the large one takes by itself.
    let traced = start_with(BYTES_MAX / 4).await;
    let (status, body) = traced.get("/api/search", &[]).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["status"]), (200, &json!("PARTIAL")));
    assert_eq!(body["traces"].as_array().unwrap().len(), 1);
    assert_eq!(body["traces"][0]["traceID"], format!("{SMALL:032x}"));
    let why = body["message"].as_str().unwrap();
    assert!(why.starts_with(&format!("not searched: trace {LARGE:032x}: query needs")), "{why}");
    let (status, body) = traced.get("/api/traces", &[("service", "shop")]).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["errors"][0]["traceID"]), (200, &json!("000000000000d005")));
    assert_eq!(body["data"].as_array().unwrap().len(), 1);
    let large = [("q", "{ span:id = \"0000000000000bb8\" }")];
    assert_eq!(traced.get("/api/search", &large).await.0, 422);
}

#[tokio::test]
async fn summaries_take_little() {
    let traced = start().await;
    let times = [
        ("query.service_name", "shop"),
        ("query.start_time_min", "1970-01-01T00:00:00Z"),
        ("query.start_time_max", "2200-01-01T00:00:00Z"),
    ];
    let (status, body) = traced.get("/api/v3/trace-summaries", &times).await;
    assert_eq!(status, 200, "{body:.300}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let counts: Vec<_> =
        body["summaries"].as_array().unwrap().iter().map(|of| of["spanCount"].clone()).collect();
    assert_eq!(counts, [json!(SPANS), json!(2)]);
}
