//! Limits of jobs, and what the report says when they are hit.

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::routing::get;
use collect::scrape::TargetGroup;

use crate::scene::{Scene, TEXT, patient_job, serve};

fn bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &vec![b'\n'; 8 << 20]).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn gzip_bombs_stop_at_the_limit() {
    let (bomb, plain) = (bomb(), "identity");
    let app = Router::new()
        .route(
            "/metrics",
            get(|headers: HeaderMap| async move {
                assert_eq!(headers["accept-encoding"], "gzip");
                ([(header::CONTENT_TYPE, "text/plain"), (header::CONTENT_ENCODING, "gzip")], bomb)
            }),
        )
        .route(
            "/plain",
            get(move |headers: HeaderMap| async move {
                assert_eq!(headers["accept-encoding"], plain);
                (TEXT, "a 1\n")
            }),
        );
    let address = serve(app).await;
    let mut bounded = patient_job("bomb", &address);
    bounded.limits.body_bytes = 1 << 20;
    bounded.extra_scrape_metrics = true;
    bounded.limits.samples = 5;
    let mut uncompressed = patient_job("plain", &address);
    uncompressed.metrics_path = "/plain".to_owned();
    uncompressed.enable_compression = false;
    let scene = Scene::start(vec![bounded, uncompressed]);
    scene.fails("bomb", "body has more bytes than the limit of 1048576").await;
    assert_eq!(scene.value("scrape_body_size_bytes", "bomb"), Some(-1.0));
    assert_eq!(scene.value("scrape_sample_limit", "bomb"), Some(5.0));
    assert_eq!(scene.value("scrape_timeout_seconds", "bomb"), Some(1.0));
    scene.up("plain").await;
    scene.stop().await;
}

#[tokio::test]
async fn floods_fail_the_scrape_and_store_nothing() {
    let body = "a{long_name=\"x\"} 1\nb{l=\"a much longer value\"} 2\nc{m=\"1\",n=\"2\"} 3\n";
    let address =
        serve(Router::new().route("/metrics", get(move || async move { (TEXT, body) }))).await;
    let limited = |name: &str, set: fn(&mut collect::scrape::JobLimits)| {
        let mut job = patient_job(name, &address);
        job.static_targets[0].labels.clear();
        set(&mut job.limits);
        job
    };
    let scene = Scene::start(vec![
        limited("samples", |l| l.samples = 2),
        limited("names", |l| l.label_name_bytes = 8),
        limited("values", |l| l.label_value_bytes = 15),
        limited("labels", |l| l.labels = 4),
        limited("fits", |l| (l.samples, l.labels) = (3, 5)),
    ]);
    scene.fails("samples", "target sent 3 samples; sample_limit is 2").await;
    scene.fails("names", "series a has a label name length of 9; the limit is 8").await;
    scene.fails("values", "series b has a label value length of 19; the limit is 15").await;
    scene
        .fails("labels", "line 3, column 1: series c has a label count of 5; the limit is 4")
        .await;
    scene.up("fits").await;
    assert_eq!(scene.value("scrape_samples_post_metric_relabeling", "samples"), Some(3.0));
    for job in ["samples", "names", "values", "labels"] {
        assert_eq!(scene.value("a", job), None, "{job}");
    }
    assert_eq!(scene.value("a", "fits"), Some(1.0));
    scene.stop().await;
}

#[tokio::test]
async fn too_many_targets_are_all_down() {
    let address = serve(Router::new().route("/metrics", get(|| async { (TEXT, "a 1\n") }))).await;
    let mut many = patient_job("many", &address);
    many.limits.targets = 1;
    let localhost = address.replace("127.0.0.1", "localhost");
    many.static_targets.push(TargetGroup::of_addresses("1", [localhost], Default::default()));
    let scene = Scene::start(vec![many.clone()]);
    scene.fails("many", "job has 2 targets; target_limit is 1").await;
    assert_eq!((scene.handle.targets().active.len(), scene.value("a", "many")), (2, None));
    many.static_targets.pop();
    scene.handle.reload(vec![many]);
    scene.up("many").await;
    scene.stop().await;
}
