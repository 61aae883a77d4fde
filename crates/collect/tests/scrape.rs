//! The scraper against real HTTP servers on loopback: negotiation, failures, redirects, limits, reload, stop.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use collect::scrape::{Config, Health, ScrapeJob, TargetGroup, spawn};
use ingest::exposition::Limits;
use model::{Done, LogBatch, MetricBatch, Receipt, Result, Sink, SystemClock, is_stale};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Table(Mutex<Vec<MetricBatch>>);

impl Sink for Table {
    fn append_metrics(&self, batch: MetricBatch, done: Done) {
        self.0.lock().push(batch);
        done.call(Ok(Receipt::default()));
    }

    fn append_logs(&self, _: LogBatch, done: Done) {
        done.call(Ok(Receipt::default()));
    }

    fn cursor(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

impl Table {
    /// Newest value of the series whose text is `series`; `None` before there is one.
    fn newest(&self, series: &str) -> Option<f64> {
        let batches = self.0.lock();
        let mut rows = batches.iter().rev().flat_map(|b| b.rows.iter());
        rows.find(|row| row.labels.to_string() == series).map(|row| row.value)
    }

    async fn wait_for(&self, series: &str, fits: impl Fn(f64) -> bool) {
        let wait = async {
            while !self.newest(series).is_some_and(&fits) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("no fitting {series}"));
    }
}

/// Once per process, as the binary does it.
fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .expect("no other provider in this process");
    });
}

async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener").to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn job(name: &str, address: &str) -> ScrapeJob {
    let mut job = ScrapeJob::new(name);
    job.scrape_interval_ms = 200;
    job.scrape_timeout_ms = 150;
    let labels = [("env".to_owned(), "test".to_owned())].into();
    job.static_targets = vec![TargetGroup::of_addresses("0", [address.to_owned()], labels)];
    job
}

fn config() -> Config {
    Config { version: "1.2.3".to_owned(), limits: Limits::NONE, dropped_targets_max: 10 }
}

const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];

#[tokio::test]
async fn scrapes_reloads_and_stops() {
    install_provider();
    let hits = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&hits);
    let metrics = move |headers: HeaderMap| async move {
        let n = counted.fetch_add(1, Ordering::SeqCst);
        assert_eq!(headers["user-agent"], "Taffrail/1.2.3");
        assert_eq!(headers["x-prometheus-scrape-timeout-seconds"], "0.15");
        assert!(headers["accept"].to_str().unwrap().starts_with("application/openmetrics-text"));
        (TEXT, format!("hits {n}\n"))
    };
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/moved", get(|| async { Redirect::temporary("/metrics") }))
        .route("/broken", get(|| async { (TEXT, "hits x\n") }))
        .route("/html", get(|| async { ([(header::CONTENT_TYPE, "text/html")], "hits 1\n") }))
        .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(60)).await }))
        .route("/teapot", get(|| async { StatusCode::IM_A_TEAPOT.into_response() }));
    let address = serve(app).await;
    let table = Arc::new(Table::default());
    let cancel = CancellationToken::new();
    let mut jobs = vec![job("good", &address)];
    for path in ["/moved", "/broken", "/html", "/slow", "/teapot"] {
        let mut other = job(path.trim_start_matches('/'), &address);
        other.metrics_path = path.to_owned();
        jobs.push(other);
    }
    jobs.push(job("refused", "127.0.0.1:1"));
    let sink: Arc<dyn Sink> = Arc::clone(&table) as _;
    let handle = spawn(config(), jobs.clone(), sink, Arc::new(SystemClock), None, cancel.clone());

    let series = |name: &str, job: &str| {
        format!("{name}{{env=\"test\", instance=\"{address}\", job=\"{job}\"}}")
    };
    table.wait_for(&series("hits", "good"), |v| v >= 2.0).await;
    table.wait_for(&series("up", "good"), |v| v == 1.0).await;
    table.wait_for(&series("scrape_samples_scraped", "moved"), |v| v == 1.0).await;
    for name in ["broken", "html", "slow", "teapot"] {
        table.wait_for(&series("up", name), |v| v == 0.0).await;
    }
    table
        .wait_for("up{env=\"test\", instance=\"127.0.0.1:1\", job=\"refused\"}", |v| v == 0.0)
        .await;
    let targets = handle.targets();
    let error = |pool: &str| {
        let target = targets.active.iter().find(|t| t.scrape_pool == pool).unwrap();
        assert_eq!(target.health == Health::Up, target.last_error.is_empty());
        target.last_error.clone()
    };
    assert_eq!(error("good"), "");
    assert_eq!(error("broken"), "line 1, column 6: expected a value, found 'x'");
    assert_eq!(error("teapot"), "server returned HTTP status 418 I'm a teapot");
    assert_eq!(error("slow"), "no complete answer within 150ms");
    assert!(error("html").contains("text/html"));
    assert!(error("refused").contains("Connection refused"), "{}", error("refused"));

    jobs.retain(|j| j.job_name == "good");
    jobs[0].params.insert("x".to_owned(), vec!["y".to_owned()]);
    handle.reload(jobs.clone());
    table.wait_for(&series("hits", "moved"), is_stale).await;
    table.wait_for(&series("up", "moved"), is_stale).await;
    jobs[0].params.clear();
    jobs[0].honor_labels = true;
    handle.reload(jobs);
    table.wait_for(&series("hits", "good"), |v| !is_stale(v)).await;
    cancel.cancel();
    handle.closed().await;
    assert!(
        table.newest(&series("up", "good")).is_some_and(|v| !is_stale(v)),
        "no markers at a stop"
    );
    let grid: Vec<i64> = table.0.lock().iter().map(|b| b.t_ms).collect();
    assert!(grid.len() > 10);
}

#[tokio::test]
async fn gzip_bombs_stop_at_the_limit() {
    install_provider();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &vec![b'\n'; 8 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    let app = Router::new().route(
        "/metrics",
        get(|headers: HeaderMap| async move {
            assert!(headers["accept-encoding"].to_str().unwrap().contains("gzip"));
            ([(header::CONTENT_TYPE, "text/plain"), (header::CONTENT_ENCODING, "gzip")], bomb)
        }),
    );
    let address = serve(app).await;
    let table = Arc::new(Table::default());
    let cancel = CancellationToken::new();
    let mut bounded = job("bomb", &address);
    bounded.limits.body_bytes = 1 << 20;
    let sink: Arc<dyn Sink> = Arc::clone(&table) as _;
    let handle = spawn(config(), vec![bounded], sink, Arc::new(SystemClock), None, cancel.clone());
    table
        .wait_for(&format!("up{{env=\"test\", instance=\"{address}\", job=\"bomb\"}}"), |v| {
            v == 0.0
        })
        .await;
    assert_eq!(
        handle.targets().active[0].last_error,
        "body has more bytes than the limit of 1048576"
    );
    cancel.cancel();
    handle.closed().await;
}
