//! The router over a real trace store, on a file system in memory.

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use ingest::otlp::traces::to_protobuf;
use model::{
    Done, LogBatch, ManualClock, MetricBatch, Receipt, Result, Sink, SpanBatch, SpanGroup,
};
use server::{App, router};
use storage::fs::FaultyFs;
use storage::wal::Durability;
use tower::ServiceExt as _;
use tracedb::{Config, Store};

use super::table::{NOW_MS, app_over_traces};

/// Hands spans to the store.
struct Traces(Arc<Store>);

impl Sink for Traces {
    fn append_metrics(&self, _batch: MetricBatch, done: Done) {
        done.call(Ok(Receipt::default()));
    }

    fn append_logs(&self, _batch: LogBatch, done: Done) {
        done.call(Ok(Receipt::default()));
    }

    fn append_spans(&self, batch: SpanBatch, done: Done) {
        self.0.append(&batch.groups, done);
    }

    fn cursor(&self, _source: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// A server and its store.
pub(crate) struct Traced {
    pub(crate) app: Arc<App>,
    pub(crate) store: Arc<Store>,
}

impl Traced {
    /// Takes spans of all times.
    pub(crate) fn start() -> Self {
        Self::start_with(1 << 30)
    }

    /// The same, where one query may hold so many bytes.
    pub(crate) fn start_with(bytes_max: u64) -> Self {
        let config = Config {
            dir: "/traces".into(),
            durability: Durability::Strict,
            retention_ms: NOW_MS,
            retention_rules: Vec::new(),
            head_bytes_max: 64 << 20,
            flush_after_ms: 300_000,
            future_ms_max: NOW_MS,
            free_bytes_floor: Some(0),
            part_bytes_max: u64::MAX,
            background_merge: false,
            sampler: None,
        };
        let clock = Arc::new(ManualClock::at_ms(NOW_MS));
        let fs = Arc::new(FaultyFs::new());
        let (store, _) = Store::open(fs, clock, config).expect("BUG: an empty store opens");
        let sink = Arc::new(Traces(store.clone()));
        Self { app: app_over_traces(sink, store.clone(), bytes_max), store }
    }

    /// Sends spans by OTLP; all must be taken.
    pub(crate) async fn send(&self, groups: &[SpanGroup]) {
        let (status, body) =
            self.ask("POST", "/v1/traces", "application/x-protobuf", to_protobuf(groups)).await;
        assert_eq!((status, body.as_str()), (200, ""));
    }

    /// Status and body of an answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost:7245")
            .header("content-type", content_type)
            .body(Body::from(body))
            .expect("BUG: a sound request");
        let response =
            router(&self.app).oneshot(request).await.unwrap_or_else(|never| match never {});
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("BUG: bodies are in memory");
        (status, String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }

    /// Status and body of the answer to `GET path?params`.
    pub(crate) async fn get(&self, path: &str, params: &[(&str, &str)]) -> (u16, String) {
        let query: String =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        self.ask("GET", &format!("{path}?{query}"), "", Vec::new()).await
    }
}
