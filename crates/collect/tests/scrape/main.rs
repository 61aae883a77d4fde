//! The scraper against real HTTP servers on loopback: negotiation, TLS, credentials, proxies, redirects, limits, discovery,
//! reload, stop.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests and their servers; secrets are read from real files"
)]

mod assertion;
mod auth;
mod limits;
mod protocols;
mod proxy;
mod scene;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use collect::scrape::{Health, spawn};
use model::{Sink, SystemClock, is_stale};
use tokio_util::sync::CancellationToken;

use scene::{TEXT, Table, config, install_provider, job, serve};

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
    // One scrape may have been under way; those after it are the new job's, whose markers nothing follows.
    let before = f64::from(hits.load(Ordering::SeqCst));
    table.wait_for(&series("hits", "good"), |v| v >= before + 2.0).await;
    table.wait_for(&series("up", "good"), |v| v == 1.0).await;
    cancel.cancel();
    handle.closed().await;
    assert!(
        table.newest(&series("up", "good")).is_some_and(|v| !is_stale(v)),
        "no markers at a stop"
    );
    assert!(table.batches().len() > 10);
}
