//! Receivers: what reaches the store, what is refused and how that is said.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request};
use ingest::protobuf::Writer;
use ingest::write_request::{self, Series, Version};
use model::{Exemplar, Histogram, Labels, MetricBatch, MetricKind, MetricMetadata};
use server::router;

use crate::ask;
use crate::table::{Files, Kept, NOW_MS, app_over, open_access};

struct Receiver {
    router: Router,
    kept: Arc<Kept>,
    files: Arc<Files>,
}

impl Receiver {
    fn new() -> Self {
        Self::over(Arc::new(Files::default()))
    }

    fn over(files: Arc<Files>) -> Self {
        let kept = Arc::new(Kept::default());
        let (app, _) = app_over(open_access(), kept.clone(), files.clone());
        Self { router: router(&app), kept, files }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> (u16, HeaderMap, String) {
        let mut request =
            Request::builder().method(method).uri(path).header("host", "localhost:7245");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (status, headers, body) = ask(&self.router, request.body(body.into()).unwrap()).await;
        (status.as_u16(), headers, body)
    }

    async fn write(&self, version: Version, body: Vec<u8>) -> (u16, [u64; 3], String) {
        let sent = [
            ("content-type", version.content_type()),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", version.header()),
        ];
        let (status, headers, body) = self.send("POST", "/api/v1/write", &sent, body).await;
        let written = ["samples", "histograms", "exemplars"].map(|what| {
            let name = format!("x-prometheus-remote-write-{what}-written");
            headers.get(name).and_then(|v| v.to_str().ok()?.parse().ok()).unwrap_or(u64::MAX)
        });
        (status, written, body)
    }

    /// Everything stored so far, and forgets it.
    fn stored(&self) -> Vec<MetricBatch> {
        std::mem::take(&mut *self.kept.0.lock())
    }

    /// Samples stored so far as `series value`, in order of arrival.
    fn samples(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for batch in self.stored() {
            texts.extend(batch.samples().map(|(l, v)| format!("{l} {}", spell(v))));
            texts.extend(batch.stamped.iter().map(|r| format!("{} {}", r.labels, spell(r.value))));
        }
        texts
    }
}

fn spell(value: f64) -> String {
    if model::is_stale(value) { "stale".to_owned() } else { value.to_string() }
}

fn series(pairs: &[(&str, &str)]) -> Series {
    let mut series = Series::new(Labels::from_pairs(pairs.iter().copied()));
    series.samples.push((NOW_MS, 1.5));
    series
}

fn histogram() -> Histogram {
    Histogram {
        integer: true,
        count: 3.0,
        sum: 4.5,
        positive_spans: vec![model::BucketSpan { offset: 1, length: 2 }],
        positive: vec![1.0, 2.0],
        ..Histogram::default()
    }
}

#[tokio::test]
async fn remote_write_of_both_versions_is_stored_and_counted() {
    let receiver = Receiver::new();
    let mut native = Series::new(Labels::from_pairs([("__name__", "h")]));
    native.histograms.push((NOW_MS, Arc::new(histogram())));
    native.exemplars.push(Exemplar {
        labels: Labels::from_pairs([("trace_id", "abc")]),
        value: 2.0,
        t_ms: NOW_MS,
    });
    let all = [series(&[("__name__", "up"), ("job", "a")]), native];
    let described = Arc::new(MetricMetadata {
        name: "up".into(),
        kind: MetricKind::Gauge,
        help: "Is it up?".into(),
        unit: "".into(),
    });
    for (version, body) in [
        (Version::V1, write_request::encode_v1(&all, std::slice::from_ref(&described))),
        (
            Version::V2,
            write_request::encode_v2(&all, |labels| {
                (labels.metric_name() == "up").then(|| described.clone())
            }),
        ),
    ] {
        let (status, written, answer) = receiver.write(version, body).await;
        assert_eq!((status, written, answer.as_str()), (204, [1, 1, 1], ""), "{version:?}");
        let stored = receiver.stored();
        let rows: Vec<_> = stored.iter().flat_map(|b| &b.stamped).collect();
        assert_eq!(rows[0].labels.to_string(), r#"up{job="a"}"#);
        assert_eq!((rows[0].t_ms, rows[0].value), (NOW_MS, 1.5));
        let histograms: Vec<_> = stored.iter().flat_map(|b| &b.histograms).collect();
        assert_eq!(*histograms[0].value, histogram());
        let metadata: Vec<_> = stored.iter().flat_map(|b| &b.metadata).collect();
        assert_eq!(*metadata[0], *described);
        assert!(stored.iter().all(|b| &*b.source == "remote_write"));
    }
}

#[tokio::test]
async fn valid_samples_are_stored_beside_invalid_ones() {
    let receiver = Receiver::new();
    let all = [
        series(&[("job", "nameless")]),
        series(&[("__name__", "up")]),
        series(&[("__name__", "refused")]),
    ];
    let body = write_request::encode_v2(&all, |_| None);
    let (status, written, answer) = receiver.write(Version::V2, body).await;
    assert_eq!((status, written), (400, [1, 0, 0]), "{answer}");
    assert_eq!(
        answer,
        "refused 2 samples, 1 series: series {job=\"nameless\"} has no __name__; 1 rows refused: too old, their time is before the retention\n"
    );
    assert_eq!(receiver.samples(), ["up{} 1.5"]);
}

#[tokio::test]
async fn what_is_not_remote_write_is_refused() {
    let receiver = Receiver::new();
    let good = write_request::encode_v1(&[series(&[("__name__", "up")])], &[]);
    let check = async |headers: &[(&str, &str)], body: Vec<u8>, expected: u16, word: &str| {
        let (status, _, answer) = receiver.send("POST", "/api/v1/write", headers, body).await;
        assert_eq!(status, expected, "{headers:?}: {answer}");
        assert!(answer.contains(word), "{answer}");
    };
    let protobuf = ("content-type", "application/x-protobuf");
    check(&[protobuf, ("content-encoding", "gzip")], good.clone(), 415, "must be snappy").await;
    check(&[("content-type", "application/json")], good.clone(), 415, "application/json").await;
    let other = ("content-type", "application/x-protobuf;proto=other.Message");
    check(&[other], good.clone(), 415, "other.Message").await;
    check(&[protobuf], b"nonsense".to_vec(), 400, "snappy").await;
    let packed = |plain: &[u8]| snap::raw::Encoder::new().compress_vec(plain).unwrap();
    check(&[protobuf], packed(&[0x0a, 0xff]), 400, "field 1").await;
    // 5 MB of zeros in a few bytes, and a megabyte of noise.
    check(&[protobuf], packed(&vec![0; 5 << 20]), 413, "the limit is 4194304 bytes").await;
    check(&[protobuf], vec![7; (1 << 20) + 1], 413, "the limit of 1048576").await;
    assert!(receiver.stored().is_empty());
    // Early senders said nothing about their body.
    check(&[], good, 204, "").await;
}

fn otlp_json() -> String {
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[
            {{"key":"service.name","value":{{"stringValue":"shop"}}}},
            {{"key":"host.name","value":{{"stringValue":"box"}}}}]}},
          "scopeMetrics":[{{"metrics":[
            {{"name":"requests","unit":"1","sum":{{"aggregationTemporality":1,"isMonotonic":true,
              "dataPoints":[{{"timeUnixNano":"{NOW_MS}000000","asInt":"3"}}]}}}},
            {{"name":"odd","sum":{{"isMonotonic":true,"dataPoints":[{{"asInt":"3"}}]}}}}]}}]}}]}}"#
    )
}

#[tokio::test]
async fn series_that_come_again_are_stored_the_same() {
    let receiver = Receiver::new();
    let all = [series(&[("__name__", "up"), ("job", "a")]), series(&[("__name__", "up")])];
    for (version, body) in [
        (Version::V1, write_request::encode_v1(&all, &[])),
        (Version::V2, write_request::encode_v2(&all, |_| None)),
    ] {
        let mut kept = Vec::new();
        for _ in 0..2 {
            assert_eq!(receiver.write(version, body.clone()).await.0, 204);
            kept.extend(receiver.stored());
        }
        let labels = |n: usize| kept[n].stamped.iter().map(|row| &row.labels).collect::<Vec<_>>();
        assert_eq!(labels(0), labels(1));
        assert!(labels(0)[1].same_allocation(labels(1)[1]), "labels are made once");
    }
}

#[tokio::test]
async fn text_is_imported_with_labels_of_the_request() {
    let receiver = Receiver::new();
    let path = "/api/v1/import/prometheus";
    let push = async |path: &str, text: &'static str| {
        let (status, _, answer) = receiver.send("POST", path, &[], text).await;
        (status, answer)
    };
    let text = "# HELP a Of a.\na{job=\"own\"} 1\nb 2 1600000000000\n";
    assert_eq!(push(path, text).await, (204, String::new()));
    let stored = receiver.stored();
    assert_eq!(&*stored[0].source, "import");
    assert_eq!(&*stored[0].metadata[0].help, "Of a.");
    let times: Vec<i64> = stored[0].stamped.iter().map(|row| row.t_ms).collect();
    assert_eq!(times, [NOW_MS, 1_600_000_000_000]);
    let asked = format!("{path}/metrics/job/x%2Fy/env/a?extra_label=env=b&timestamp=5");
    assert_eq!(push(&asked, text).await.0, 204);
    let stored = receiver.stored();
    assert_eq!(stored[0].stamped[0].labels.to_string(), r#"a{env="b", job="x/y"}"#);
    assert_eq!(stored[0].stamped[0].t_ms, 5);
    for (path, text, status, message) in [
        (path.to_owned(), "a 1\nb{c=\"d} 2\n", 400, "line 2, column 10: expected a closing quote"),
        (format!("{path}?extra_label=x"), "a 1\n", 400, "\"x\" is not of the form name=value"),
        (format!("{path}?timestamp=now"), "a 1\n", 400, "\"now\" is not a number of milliseconds"),
        (format!("{path}/metrics/job/a/b"), "a 1\n", 400, "must come in pairs"),
        (path.to_owned(), "refused 1\n", 400, "1 of 1 samples refused"),
    ] {
        let (found, answer) = push(&path, text).await;
        assert!(found == status && answer.contains(message), "{path}: {found} {answer}");
    }
    assert_eq!(receiver.samples(), [] as [&str; 0]);
    let protobuf = [("content-type", "application/vnd.google.protobuf")];
    assert_eq!(receiver.send("POST", path, &protobuf, "").await.0, 415);
}

#[tokio::test]
async fn otlp_is_stored_with_partial_success() {
    let receiver = Receiver::new();
    let json = [("content-type", "application/json")];
    let (status, headers, answer) = receiver.send("POST", "/v1/metrics", &json, otlp_json()).await;
    assert_eq!((status, &headers["content-type"]), (200, &"application/json".parse().unwrap()));
    assert_eq!(
        answer,
        r#"{"partialSuccess":{"errorMessage":"metric \"odd\" does not say its temporality","rejectedDataPoints":"1"}}"#
    );
    assert_eq!(
        receiver.samples(),
        [r#"requests_total{job="shop"} 3"#, r#"target_info{host_name="box", job="shop"} 1"#]
    );
    // The same in protobuf with gzip; the delta adds up.
    let mut body = Writer::new();
    body.message(1, |resource| {
        resource.message(1, |r| {
            r.message(1, |kv| {
                kv.text(1, "service.name");
                kv.message(2, |v| v.text(1, "shop"));
            });
        });
        resource.message(2, |scope| {
            scope.message(2, |metric| {
                metric.text(1, "requests");
                metric.text(3, "1");
                metric.message(7, |sum| {
                    sum.message(1, |point| {
                        point.double(4, 4.0);
                    });
                    sum.uint(2, 1);
                    sum.uint(3, 1);
                });
            });
        });
    });
    let body = body.finish();
    let packed = zstd::bulk::compress(&body, 1).unwrap();
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "zstd")];
    let (status, _, answer) =
        receiver.send("POST", "/api/v1/otlp/v1/metrics", &headers, packed).await;
    // Without a time the point is not newer than the one before.
    assert_eq!(status, 200);
    assert!(answer.contains("not newer"), "{answer:?}");
    assert!(!receiver.samples().iter().any(|s| s.starts_with("requests_total")));
}

#[tokio::test]
async fn what_is_not_otlp_is_refused() {
    let receiver = Receiver::new();
    let check = async |headers: &[(&str, &str)], body: &str, expected: u16, word: &str| {
        let (status, _, answer) =
            receiver.send("POST", "/v1/metrics", headers, body.to_owned()).await;
        assert_eq!(status, expected, "{headers:?}: {answer}");
        assert!(answer.contains(word), "{answer}");
    };
    let json = ("content-type", "application/json");
    check(&[], "{}", 415, "content type").await;
    check(&[json, ("content-encoding", "br")], "{}", 415, "br").await;
    let protobuf = ("content-type", "application/x-protobuf");
    check(&[json], "{", 400, "not an OTLP/JSON metrics request").await;
    check(&[protobuf], "{", 400, "not an OTLP/protobuf metrics request").await;
    check(&[json], r#"{"resourceMetrics":[{"scopeMetrics":7}]}"#, 400, "line 1").await;
    let deep = "[".repeat(10_000);
    check(&[json], &format!(r#"{{"x":{deep}"#), 400, "EOF while parsing").await;
    check(&[json], &"{}".repeat(100_000), 413, "elements").await;
    check(&[json], "{}", 200, "{}").await;
}

#[tokio::test]
async fn groups_are_pushed_listed_and_deleted() {
    let receiver = Receiver::new();
    let group = "/metrics/job/batch/instance@base64/YS9i";
    let text = "# TYPE a counter\na 1\nb{instance=\"other\"} 2\n";
    assert_eq!(receiver.send("PUT", group, &[], text).await.0, 200);
    assert_eq!(
        receiver.samples(),
        [
            r#"a{instance="a/b", job="batch"} 1"#,
            r#"b{instance="a/b", job="batch"} 2"#,
            &format!(r#"push_time_seconds{{instance="a/b", job="batch"}} {}"#, NOW_MS as f64 / 1e3),
            r#"push_failure_time_seconds{instance="a/b", job="batch"} 0"#,
        ]
    );
    // POST replaces only what it names, PUT everything.
    assert_eq!(receiver.send("POST", group, &[], "b 3\n").await.0, 200);
    let after_post = receiver.samples();
    assert!(
        after_post.contains(&r#"a{instance="a/b", job="batch"} 1"#.to_owned()),
        "{after_post:?}"
    );
    assert_eq!(receiver.send("PUT", group, &[], "b 4\n").await.0, 200);
    let after_put = receiver.samples();
    assert!(
        after_put.contains(&r#"a{instance="a/b", job="batch"} stale"#.to_owned()),
        "{after_put:?}"
    );

    let (status, _, listing) = receiver.send("GET", "/api/v1/metrics", &[], "").await;
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    assert_eq!((status, &listing["status"]), (200, &"success".into()));
    assert_eq!(listing["data"][0]["b"]["metrics"][0]["value"], "4");
    assert_eq!(listing["data"][0]["last_push_successful"], true);

    // A new process with the same files has the same groups.
    let again = Receiver::over(receiver.files.clone());
    let (_, _, kept) = again.send("GET", "/api/v1/metrics", &[], "").await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&kept).unwrap(), listing);

    assert_eq!(receiver.send("DELETE", group, &[], "").await.0, 202);
    assert!(receiver.files.0.lock().is_empty());
    let ended = receiver.samples();
    assert_eq!(ended.len(), 3);
    assert!(ended.iter().all(|s| s.ends_with(" stale")), "{ended:?}");
    assert_eq!(receiver.send("DELETE", group, &[], "").await.0, 202);
}

#[tokio::test]
async fn pushes_that_do_not_fit_are_refused_and_remembered() {
    let receiver = Receiver::new();
    let check = async |path: &str, body: &str, expected: u16, word: &str| {
        let (status, _, answer) = receiver.send("PUT", path, &[], body.to_owned()).await;
        assert_eq!(status, expected, "{path}: {answer}");
        assert!(answer.contains(word), "{answer}");
    };
    check("/metrics/job/a", "# TYPE x counter\nx 1\n", 200, "").await;
    check("/metrics/job/b", "# TYPE x gauge\nx 1\n", 400, "is a gauge, in group {job=\"a\"}").await;
    check("/metrics/job/a", "x 1 1000\n", 400, "must not have timestamps").await;
    check("/metrics/job/a", "x{l=\"1\"} 1\nx{l=\"1\"} 2\n", 400, "twice").await;
    check("/metrics/job/a", "x {\n", 400, "line 1").await;
    check("/metrics/job/a/odd", "x 1\n", 400, "pairs").await;
    check("/metrics/job/a/__name__/x", "x 1\n", 400, "improper").await;
    check("/metrics/job@base64/=", "x 1\n", 400, "job name is required").await;
    check("/metrics/job/c", "x 1\n", 400, "inconsistent").await;
    check("/metrics/job/d", "y 1\n", 413, "3 groups").await;
    let many: String = (0..101).map(|i| format!("z{i} 1\n")).collect();
    check("/metrics/job/a", &many, 413, "the limit is 100").await;
    let (_, _, listing) = receiver.send("GET", "/api/v1/metrics", &[], "").await;
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    assert_eq!(listing["data"][0]["last_push_successful"], false);
    assert_eq!(listing["data"][0]["x"]["metrics"][0]["value"], "1");
    assert_eq!(receiver.send("PUT", "/api/v1/admin/wipe", &[], "").await.0, 202);
    let (_, _, listing) = receiver.send("GET", "/api/v1/metrics", &[], "").await;
    assert_eq!(listing, r#"{"data":[],"status":"success"}"#);
}
