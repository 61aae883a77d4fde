//! Formats on the wire, and targets from a server's list.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::routing::get;
use collect::scrape::{HttpOptions, HttpSd, NameEscaping, ScrapeProtocol};
use ingest::protobuf::Writer;
use model::{MetricBatch, MetricKind, is_stale};
use parking_lot::Mutex;

use crate::scene::{Scene, TEXT, patient_job, serve};

const PROTOBUF: [(header::HeaderName, &str); 1] = [(
    header::CONTENT_TYPE,
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
)];

/// A family `h` with five observations in native buckets of schema 3, and classic buckets beside them.
const NATIVE: &[u8] = &[
    48, 0x0a, 1, b'h', 0x18, 4, 0x22, 41, 0x3a, 39, // family, its type, metric, histogram
    0x08, 5, 0x11, 0, 0, 0, 0, 0, 0, 16, 64, // count 5, sum 4
    0x1a, 11, 0x08, 3, 0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // 3 up to 1
    0x28, 6, 0x62, 4, 0x08, 2, 0x10, 5, // schema 3, a span of 5 from 1
    0x6a, 5, 2, 0, 0, 0, 0, // the first count is 1, the others do not differ
];

#[tokio::test]
async fn native_histograms_come_through_protobuf() {
    let metrics = |headers: HeaderMap| async move {
        let accept = headers["accept"].to_str().unwrap().to_owned();
        assert!(
            accept.starts_with("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"),
            "{accept}"
        );
        assert!(
            accept.contains("application/openmetrics-text;version=1.0.0;escaping=values;q=0.5,")
        );
        (PROTOBUF, NATIVE)
    };
    let broken = || async { (PROTOBUF, [NATIVE, &[4, 0x0a, 1, b'x', 0x19]].concat()) };
    let app = Router::new().route("/metrics", get(metrics)).route("/broken", get(broken));
    let address = serve(app).await;
    let with = |name: &str| {
        let mut job = patient_job(name, &address);
        job.protocols = ScrapeProtocol::ALL.to_vec();
        job.name_escaping = NameEscaping::Values;
        job.histograms.scrape_native = true;
        job
    };
    let mut broken = with("broken");
    broken.metrics_path = "/broken".to_owned();
    let scene = Scene::start(vec![with("native"), broken]);
    scene.up("native").await;
    scene.fails("broken", "message 2: field 3 at offset 53: value needs 8 bytes; 0 are left").await;
    check_native(&scene.table.batches());
    scene.stop().await;
}

fn check_native(batches: &[MetricBatch]) {
    let histograms: Vec<_> = batches.iter().flat_map(|b| &b.histograms).collect();
    assert!(histograms.iter().all(|row| row.labels.get("job") == Some("native")));
    assert_eq!(histograms[0].value.positive, [1.0; 5]);
    assert_eq!((histograms[0].value.count, histograms[0].labels.metric_name()), (5.0, "h"));
    let of_native = |b: &&MetricBatch| b.source.contains("/native/");
    let first = batches.iter().find(of_native).unwrap();
    assert_eq!((first.t_ms, first.metadata.len()), (first.histograms[0].t_ms, 1));
}

/// A counter with metadata and an exemplar, as protobuf has it.
fn described() -> Vec<u8> {
    let mut family = Writer::new();
    family.text(1, "runs_total");
    family.text(2, "Runs.");
    family.always_uint(3, 0);
    family.message(4, |metric| {
        metric.message(3, |counter| {
            counter.double(1, 3.0);
            counter.message(2, |exemplar| {
                exemplar.message(1, |pair| {
                    pair.text(1, "trace_id");
                    pair.text(2, "0a");
                });
                exemplar.double(2, 0.5);
            });
        });
    });
    let family = family.finish();
    [&[u8::try_from(family.len()).unwrap()], &family[..]].concat()
}

#[tokio::test]
async fn metadata_and_exemplars_come_with_every_format() {
    const OPEN_METRICS: [(header::HeaderName, &str); 1] =
        [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0")];
    let text = "# HELP runs_total Runs.\n# TYPE runs_total counter\nruns_total 3\n";
    let open =
        "# HELP runs Runs.\n# TYPE runs counter\nruns_total 3 # {trace_id=\"0a\"} 0.5\n# EOF\n";
    let app = Router::new()
        .route("/text", get(move || async move { (TEXT, text) }))
        .route("/open", get(move || async move { (OPEN_METRICS, open) }))
        .route("/protobuf", get(|| async { (PROTOBUF, described()) }));
    let address = serve(app).await;
    let formats = [
        // Families of OpenMetrics are named without the ending of their counters.
        ("text", "runs_total", false),
        ("open", "runs", true),
        ("protobuf", "runs_total", true),
    ];
    let jobs = formats.map(|(name, ..)| {
        let mut job = patient_job(name, &address);
        job.metrics_path = format!("/{name}");
        job
    });
    let scene = Scene::start(jobs.to_vec());
    for (name, family, has_exemplar) in formats {
        scene.up(name).await;
        let batches = scene.table.batches();
        let of_job = || batches.iter().filter(|b| b.source.contains(&format!("/{name}/")));
        let described = of_job().flat_map(|b| &b.metadata).next().unwrap();
        assert_eq!(
            (&*described.name, described.kind, &*described.help),
            (family, MetricKind::Counter, "Runs."),
        );
        let exemplar = of_job().flat_map(|b| &b.exemplars).next().map(|row| {
            let trace = row.exemplar.labels.get("trace_id").unwrap_or_default();
            format!("{} {} {trace}", row.series.metric_name(), row.exemplar.value)
        });
        assert_eq!(exemplar, has_exemplar.then(|| "runs_total 0.5 0a".to_owned()), "{name}");
    }
    scene.stop().await;
}

#[tokio::test]
async fn unknown_content_types_need_a_fallback() {
    let app = Router::new()
        .route("/metrics", get(|| async { ([(header::CONTENT_TYPE, "text/html")], "a 1\n") }))
        .route("/blank", get(|| async { ([(header::CONTENT_TYPE, "")], "a 1\n# EOF\n") }));
    let address = serve(app).await;
    let mut fallback = patient_job("fallback", &address);
    fallback.fallback_protocol = Some(ScrapeProtocol::PrometheusText0);
    let mut blank = patient_job("blank", &address);
    blank.metrics_path = "/blank".to_owned();
    blank.fallback_protocol = Some(ScrapeProtocol::OpenMetricsText1);
    let mut strict = blank.clone();
    (strict.job_name, strict.fallback_protocol) = ("strict".to_owned(), None);
    let scene = Scene::start(vec![patient_job("html", &address), fallback, blank, strict]);
    scene.up("fallback").await;
    scene.up("blank").await;
    scene.fails("html", "Content-Type \"text/html\", which is no exposition format").await;
    scene
        .fails("strict", "target sent no Content-Type, and the job has no fallback_scrape_protocol")
        .await;
    scene.stop().await;
}

#[tokio::test]
async fn lists_of_targets_are_asked_for() {
    let target = serve(Router::new().route("/metrics", get(|| async { (TEXT, "a 1\n") }))).await;
    let full = format!(r#"[{{"targets":["{target}"],"labels":{{"zone":"x"}}}}]"#);
    let list = Arc::new(Mutex::new(full.clone()));
    let answers = Arc::clone(&list);
    let app = Router::new().route(
        "/list",
        get(move |headers: HeaderMap| async move {
            assert_eq!(headers["x-prometheus-refresh-interval-seconds"], "2");
            assert_eq!(headers["authorization"], "Basic dTpw");
            ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], answers.lock().clone())
        }),
    );
    let address = serve(app).await;
    let mut found = patient_job("found", "");
    found.static_targets.clear();
    let secret = |text: &str| collect::scrape::Secret::Text(text.to_owned());
    let http = HttpOptions { basic_auth: Some((secret("u"), secret("p"))), ..HttpOptions::plain() };
    found.http_sd =
        vec![HttpSd { url: format!("http://{address}/list"), refresh_interval_ms: 2000, http }];
    let scene = Scene::start(vec![found]);
    scene.up("found").await;
    let active = &scene.handle.targets().active[0];
    assert_eq!(active.labels.get("zone"), Some("x"));
    let url = format!("http://{address}/list");
    assert_eq!(active.discovered_labels.get("__meta_url"), Some(url.as_str()));
    // An answer that cannot be read takes nothing away; an empty one does.
    "oops".clone_into(&mut list.lock());
    scene.table.until("a complaint", || !scene.handle.targets().problems.is_empty()).await;
    assert_eq!(scene.handle.targets().active.len(), 1);
    "[]".clone_into(&mut list.lock());
    scene.table.until("an end", || scene.value("up", "found").is_some_and(is_stale)).await;
    scene.stop().await;
}
