//! Servers, a store that remembers, and a running scraper to play with.

use std::sync::{Arc, Once};
use std::time::Duration;

use axum::Router;
use axum::http::header;
use collect::scrape::{Config, Handle, ScrapeJob, TargetGroup, spawn};
use ingest::exposition::Limits;
use model::{Done, LogBatch, MetricBatch, Receipt, Result, Sink, SystemClock};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const TEXT: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];

/// Keeps every batch.
pub(crate) struct Table {
    batches: Mutex<Vec<MetricBatch>>,
    arrived: watch::Sender<usize>,
}

impl Default for Table {
    fn default() -> Self {
        Self { batches: Mutex::default(), arrived: watch::Sender::new(0) }
    }
}

impl Sink for Table {
    fn append_metrics(&self, batch: MetricBatch, done: Done) {
        self.batches.lock().push(batch);
        done.call(Ok(Receipt::default()));
        self.arrived.send_modify(|n| *n += 1);
    }

    fn append_logs(&self, _: LogBatch, done: Done) {
        done.call(Ok(Receipt::default()));
    }

    fn cursor(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

impl Table {
    pub(crate) fn batches(&self) -> MutexGuard<'_, Vec<MetricBatch>> {
        self.batches.lock()
    }

    /// Newest value of the series whose text is `series`; `None` before there is one.
    pub(crate) fn newest(&self, series: &str) -> Option<f64> {
        let batches = self.batches.lock();
        let mut samples = batches.iter().rev().flat_map(MetricBatch::samples);
        samples.find(|(labels, _)| labels.to_string() == series).map(|(_, value)| value)
    }

    pub(crate) async fn wait_for(&self, series: &str, fits: impl Fn(f64) -> bool) {
        self.until(series, || self.newest(series).is_some_and(&fits)).await;
    }

    /// Waits for batches until `holds`.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let mut arrived = self.arrived.subscribe();
        let wait = async {
            while !holds() {
                arrived.changed().await.expect("the table lives");
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("in vain: {what}"));
    }
}

/// Once per process, as the binary does it.
pub(crate) fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .expect("no other provider in this process");
    });
}

pub(crate) async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener").to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

pub(crate) fn job(name: &str, address: &str) -> ScrapeJob {
    let mut job = ScrapeJob::new(name);
    job.scrape_interval_ms = 200;
    job.scrape_timeout_ms = 150;
    let labels = [("env".to_owned(), "test".to_owned())].into();
    job.static_targets = vec![TargetGroup::of_addresses("0", [address.to_owned()], labels)];
    job
}

/// A job whose scrapes have time enough on a busy machine.
pub(crate) fn patient_job(name: &str, address: &str) -> ScrapeJob {
    let mut job = job(name, address);
    (job.scrape_interval_ms, job.scrape_timeout_ms) = (1000, 1000);
    job
}

pub(crate) fn config() -> Config {
    Config { version: "1.2.3".to_owned(), limits: Limits::NONE, dropped_targets_max: 10 }
}

/// A running scraper.
pub(crate) struct Scene {
    pub(crate) table: Arc<Table>,
    pub(crate) handle: Handle,
    cancel: CancellationToken,
}

impl Scene {
    pub(crate) fn start(jobs: Vec<ScrapeJob>) -> Self {
        install_provider();
        let table = Arc::new(Table::default());
        let cancel = CancellationToken::new();
        let sink: Arc<dyn Sink> = Arc::clone(&table) as _;
        let handle = spawn(config(), jobs, sink, Arc::new(SystemClock), None, cancel.clone());
        Self { table, handle, cancel }
    }

    /// Newest value of a series of the job.
    pub(crate) fn value(&self, name: &str, job: &str) -> Option<f64> {
        let batches = self.table.batches();
        let mut samples = batches.iter().rev().flat_map(model::MetricBatch::samples);
        let is_wanted = |l: &model::Labels| l.metric_name() == name && l.get("job") == Some(job);
        samples.find(|(labels, _)| is_wanted(labels)).map(|(_, value)| value)
    }

    /// Waits until the job's target answers.
    pub(crate) async fn up(&self, job: &str) {
        self.table.until(&format!("{job} is up"), || self.value("up", job) == Some(1.0)).await;
    }

    /// Waits until the job's target fails with an error that holds `text`.
    pub(crate) async fn fails(&self, job: &str, text: &str) {
        let error = || {
            let targets = self.handle.targets();
            let target = targets.active.into_iter().find(|t| t.scrape_pool == job);
            target.map(|t| t.last_error).unwrap_or_default()
        };
        let holds = || error().contains(text) && self.value("up", job) == Some(0.0);
        self.table.until(&format!("{job} fails with {text:?}"), holds).await;
    }

    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        self.handle.closed().await;
    }
}
