//! Spans about requests: whose children they are, what they say, and which requests make none.

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use model::{AttributeValue, Resource, Span, SpanStatus};
use server::{OwnSpans, router};

use crate::ask;
use crate::table::{app_traced, open_access};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Sends a request; the spans about it.
async fn spans_of(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<Span> {
    let spans = Arc::new(OwnSpans::new(Resource::default(), "1.2.3"));
    let router = router(&app_traced(open_access(), spans.clone()));
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost:7245");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ask(&router, request.body(Body::empty()).unwrap()).await;
    let groups = spans.take();
    assert!(spans.take().is_empty() && spans.dropped() == 0);
    assert!(groups.iter().all(|group| group.scope.name == "taffrail"));
    groups.into_iter().flat_map(|group| group.spans).collect()
}

fn shown(span: &Span) -> String {
    let attributes = span.attributes.iter().map(|(name, value)| format!("{name}={value}"));
    format!("{} {:?} {}", span.name, span.status, attributes.collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn a_request_is_a_span_below_its_callers() {
    let headers = [("traceparent", PARENT), ("tracestate", "a=b"), ("user-agent", "curl/8")];
    let spans = spans_of("GET", "/api/v1/label/job/values?start=1", &headers).await;
    let [span] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(
        shown(span),
        "GET /api/v1/label/{name}/values Unset http.request.method=GET http.route=/api/v1/label/{name}/values \
         url.path=/api/v1/label/job/values url.scheme=http http.response.status_code=200 user_agent.original=curl/8"
    );
    assert_eq!(
        (span.trace_id, span.parent_id),
        (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7)
    );
    assert_eq!((&*span.trace_state, span.kind), ("a=b", model::SpanKind::Server));
    assert!(span.span_id != 0 && span.span_id != span.parent_id && span.end_ns >= span.start_ns);
    // Without a caller it begins a trace of its own, each time another one.
    let first = spans_of("GET", "/api/v1/labels", &[]).await.remove(0);
    let second = spans_of("GET", "/api/v1/labels", &[]).await.remove(0);
    assert!(first.trace_id != 0 && first.trace_id != second.trace_id && first.parent_id == 0);
    let b3 = [("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")];
    let span = spans_of("GET", "/api/v1/labels", &b3).await.remove(0);
    assert_eq!(span.parent_id, 0xe457_b5a2_e4d8_6bd1);
    let jaeger = [("uber-trace-id", "4bf92f3577b34da6:f067aa0ba902b7:0:1")];
    let span = spans_of("GET", "/api/v1/labels", &jaeger).await.remove(0);
    assert_eq!(span.trace_id, 0x4bf9_2f35_77b3_4da6);
}

#[tokio::test]
async fn mistakes_of_callers_are_no_errors_of_ours() {
    let span = spans_of("GET", "/api/v1/query?query=(", &[]).await.remove(0);
    let status = ("http.response.status_code", &AttributeValue::Int(400));
    assert!(span.attributes.iter().any(|(name, value)| (&**name, value) == status));
    assert_eq!(span.status, SpanStatus::Unset);
}

#[tokio::test]
async fn data_that_is_sent_and_questions_of_health_make_no_spans() {
    for (method, path) in [
        ("POST", "/v1/traces"),
        ("POST", "/api/v2/spans"),
        ("POST", "/api/v1/write"),
        ("GET", "/livez"),
        ("GET", "/-/ready"),
        ("GET", "/"),
    ] {
        assert_eq!(spans_of(method, path, &[("traceparent", PARENT)]).await, [], "{path}");
    }
    let not_sampled = PARENT.replace("-01", "-00");
    assert_eq!(spans_of("GET", "/api/v1/labels", &[("traceparent", &not_sampled)]).await, []);
}
