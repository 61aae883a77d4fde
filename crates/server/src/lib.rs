//! HTTP: the APIs of Prometheus, Alertmanager, Loki, Jaeger and Tempo, health, our own API, and the embedded UI.
//!
//! Owns: the [`routes`] table (method, path, role) from which router, authorisation and their test are generated; JSON
//! types and error bodies of each API; connection limits and the graceful stop; the live-tail hub. Does not own: query
//! semantics (`query`), what is collected (`collect`), configuration files and process life (`taffrail`). Samples,
//! lines and spans are reached only through `model`'s sources.

mod access;
mod alertmanager;
mod assets;
mod cardinality;
mod compression;
mod cors;
mod error;
mod figures;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod jaeger;
mod listen;
mod log_retention;
mod loki;
pub mod operations;
mod own_api;
mod own_spans;
mod paid_body;
mod params;
mod prometheus;
pub mod receive;
mod routes;
mod run;
mod streamed;
mod tail;
mod tempo;
mod tenants;
mod traces;

pub use access::{Access, Role, Token};
pub use alertmanager::AlertDesk;
pub use figures::{Figure, render as render_figures};
pub use listen::{Listener, serve};
pub use own_spans::OwnSpans;
pub use routes::{ROUTE_COUNT_MAX, RouteInfo, ingest_router, route_list, router};
pub use tail::TailHub;
pub use tenants::{Tenant, Tenants};

use std::sync::Arc;

use collect::container::ContainerState;
use collect::scrape::TargetsSnapshot;
use futures_util::future::BoxFuture;
use model::{Clock, Done, LogSource, MetricSource, Trace, TraceSource};

/// Limits and addresses of the server; plain values, defaults live in the binary.
#[derive(Debug, Clone)]
pub struct Config {
    /// Queries evaluated at the same time; more wait.
    pub query_concurrency: usize,
    /// What one query may cost.
    pub query_limits: model::Limits,
    /// Look-back of instant selectors in milliseconds.
    pub lookback_ms: i64,
    /// Whether experimental PromQL functions are accepted.
    pub promql_experimental: bool,
    /// Milliseconds between the steps of PromQL subqueries that name none.
    pub evaluation_interval_ms: i64,
    /// Whether series may be deleted and snapshots made over HTTP.
    pub admin_api: bool,
    /// Origins whose pages may read the Prometheus API, anchored; `None` for none.
    pub cors_origin: Option<regex::Regex>,
    /// Rows a log query may ask for.
    pub log_rows_max: usize,
    /// Who may do what.
    pub access: Access,
    /// Where spans about requests to the APIs gather; `None` when none are made.
    pub own_spans: Option<Arc<OwnSpans>>,
}

/// What only the running process knows; the binary implements it, tests use a table.
pub trait Host: operations::Operations {
    /// Whether everything has started and the stores accept data.
    ///
    /// # Errors
    /// The reason in words when not. Whoever asks may hear it; particulars are part of the status.
    fn ready(&self) -> Result<(), &'static str>;

    /// State of stores, collectors and limits, as `/api/taffrail/v1/status` shows it.
    fn status(&self) -> serde_json::Value;

    /// All known containers.
    fn containers(&self) -> Vec<ContainerState>;

    /// The known container whose id begins with `digits`, if there is just one.
    fn container_of_id(&self, _digits: &str) -> Option<ContainerState> {
        None
    }

    /// The running container that has `address` on one of its networks.
    fn container_at(&self, _address: std::net::IpAddr) -> Option<ContainerState> {
        None
    }

    /// Name of the host that the containers are on; `""` when nothing is known.
    fn host_name(&self) -> &str {
        ""
    }

    /// All known scrape targets.
    fn targets(&self) -> TargetsSnapshot;

    /// Figures about this process, for `/metrics`.
    fn figures(&self) -> Vec<Figure>;

    /// Metrics made of log lines, for `/metrics`.
    fn line_metrics(&self) -> Vec<ingest::pipeline::Metrics> {
        Vec::new()
    }

    /// Books `rows` that a receiver refused before they reached a store.
    fn refused(&self, source: &'static str, rows: u64);

    /// Books log lines that a receiver refused before they reached a store.
    fn refused_lines(&self, source: &'static str, rows: u64);

    /// Books log lines that came and are lost, for `reason`.
    fn dropped_lines(&self, source: &'static str, reason: &'static str, rows: u64);

    /// Books spans that a receiver refused before they reached a store.
    fn refused_spans(&self, source: &'static str, spans: u64);

    /// Books spans that came and are lost, for `reason`.
    fn dropped_spans(&self, source: &'static str, reason: &'static str, spans: u64);

    /// Reads the configuration files again and applies them.
    fn reload(&self) -> BoxFuture<'static, Result<(), model::Error>>;

    /// Alerts and silences; `None` where nothing is told to anybody.
    fn alerting(&self) -> Option<Arc<dyn AlertDesk>> {
        None
    }

    /// When the process began, Unix milliseconds.
    fn started_ms(&self) -> i64 {
        0
    }

    /// Begins the orderly end of the process.
    fn quit(&self);
}

/// What there is to be asked.
pub struct Sources {
    /// Samples.
    pub metrics: Arc<dyn MetricSource>,
    /// Log lines.
    pub logs: Arc<dyn LogSource>,
    /// Traces.
    pub traces: Arc<dyn TraceSource>,
    /// Where traces are kept for good, if there is such a place.
    pub archive: Option<Arc<dyn TraceArchive>>,
}

/// Keeps copies of traces beyond all retention; what is in it is found by its id among the other traces.
pub trait TraceArchive: Send + Sync {
    /// Keeps `trace` as it is; `done` is called once it is durable.
    fn keep(&self, trace: &Trace, done: Done);
}

/// Everything handlers need.
pub struct App {
    config: Config,
    metrics: Arc<dyn MetricSource>,
    /// Of all tenants; handlers read lines through [`tenants::Reader`].
    all_logs: Arc<dyn LogSource>,
    /// Likewise.
    all_traces: Arc<dyn TraceSource>,
    archive: Option<Arc<dyn TraceArchive>>,
    clock: Arc<dyn Clock>,
    host: Arc<dyn Host>,
    tail: Arc<TailHub>,
    queries: run::QueryPool,
    requests: figures::RequestCounters,
    receivers: Arc<receive::Receivers>,
    /// Slots of live notifications.
    listeners: Arc<tokio::sync::Semaphore>,
}

impl App {
    /// Puts the parts together.
    pub fn new(
        config: Config,
        sources: Sources,
        clock: Arc<dyn Clock>,
        host: Arc<dyn Host>,
        tail: Arc<TailHub>,
        receivers: Arc<receive::Receivers>,
    ) -> Arc<Self> {
        let queries =
            run::QueryPool::new(clock.clone(), config.query_concurrency, config.query_limits);
        Arc::new(Self {
            config,
            metrics: sources.metrics,
            all_logs: sources.logs,
            all_traces: sources.traces,
            archive: sources.archive,
            clock,
            host,
            tail,
            queries,
            requests: figures::RequestCounters::default(),
            receivers,
            listeners: Arc::new(tokio::sync::Semaphore::new(prometheus::LISTENERS_MAX)),
        })
    }

    /// What receivers share.
    pub fn receivers(&self) -> &Arc<receive::Receivers> {
        &self.receivers
    }
}
