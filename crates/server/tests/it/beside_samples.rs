//! What comes beside samples: metadata and exemplars by every way in that is pushed to, and the count of gRPC requests.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingest::protobuf::Writer;
use ingest::write_request::{self, Series, Version};
use model::{Exemplar, Labels, MetricKind, MetricMetadata};
use server::{Listener, router};
use tokio_util::sync::CancellationToken;

use crate::table::{Files, Kept, NOW_MS, app_over, open_access};
use crate::{ask, get};

fn described() -> MetricMetadata {
    MetricMetadata {
        name: "runs_total".into(),
        kind: MetricKind::Counter,
        help: "Runs.".into(),
        unit: "".into(),
    }
}

fn series() -> Series {
    let mut series = Series::new(Labels::from_pairs([("__name__", "runs_total")]));
    series.samples.push((NOW_MS, 3.0));
    series.exemplars.push(Exemplar {
        labels: Labels::from_pairs([("trace_id", "0a")]),
        value: 0.5,
        t_ms: NOW_MS,
    });
    series
}

/// A counter in OTLP with an exemplar of the trace `0a`, followed by 15 bytes of zeros.
fn otlp() -> Vec<u8> {
    // On the wire a time is eight bytes as a double is.
    let now_ns = f64::from_bits(NOW_MS.unsigned_abs() * 1_000_000);
    let mut body = Writer::new();
    body.message(1, |resource| {
        resource.message(2, |scope| {
            scope.message(2, |metric| {
                metric.text(1, "runs");
                metric.text(2, "Runs.");
                metric.message(7, |sum| {
                    sum.message(1, |point| {
                        point.always_double(3, now_ns);
                        point.double(4, 3.0);
                        point.message(5, |exemplar| {
                            exemplar.always_double(2, now_ns);
                            exemplar.double(3, 0.5);
                            exemplar.text(5, &format!("\n{}", "\0".repeat(15)));
                        });
                    });
                    sum.uint(2, 2);
                    sum.uint(3, 1);
                });
            });
        });
    });
    body.finish()
}

#[tokio::test]
async fn metadata_and_exemplars_arrive_from_every_push() {
    const TEXT: &str = "# HELP runs_total Runs.\n# TYPE runs_total counter\nruns_total 3\n";
    let v1 = write_request::encode_v1(&[series()], &[Arc::new(described())]);
    let v2 = write_request::encode_v2(&[series()], |_| Some(Arc::new(described())));
    let written = |version: Version| {
        vec![
            ("content-type", version.content_type()),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", version.header()),
        ]
    };
    let protobuf = vec![("content-type", "application/x-protobuf")];
    let short = ["0.5 0a"].as_slice();
    let long = ["0.5 0a000000000000000000000000000000"].as_slice();
    // The text format has no exemplars.
    let none = [].as_slice();
    for (method, path, headers, body, exemplars) in [
        ("POST", "/api/v1/write", written(Version::V1), v1, short),
        ("POST", "/api/v1/write", written(Version::V2), v2, short),
        ("POST", "/v1/metrics", protobuf.clone(), otlp(), long),
        ("POST", "/api/v1/otlp/v1/metrics", protobuf, otlp(), long),
        ("PUT", "/metrics/job/j", vec![], TEXT.into(), none),
        ("POST", "/api/v1/import/prometheus", vec![], TEXT.into(), none),
    ] {
        let kept = Arc::new(Kept::default());
        let files = Arc::new(Files::default());
        let router = router(&app_over(open_access(), kept.clone(), files).0);
        let mut request =
            Request::builder().method(method).uri(path).header("host", "localhost:7245");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let (status, _, answer) = ask(&router, request.body(Body::from(body)).unwrap()).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        let kept = kept.0.lock();
        let metadata: Vec<_> = kept
            .iter()
            .flat_map(|batch| &batch.metadata)
            .filter(|one| &*one.name == "runs_total")
            .map(|one| (one.kind, &*one.help))
            .collect();
        assert_eq!(metadata, [(MetricKind::Counter, "Runs.")], "{path}");
        let found: Vec<_> = kept
            .iter()
            .flat_map(|batch| &batch.exemplars)
            .map(|row| {
                assert_eq!((row.series.metric_name(), row.exemplar.t_ms), ("runs_total", NOW_MS));
                let trace = row.exemplar.labels.get("trace_id").unwrap_or_default();
                format!("{} {trace}", row.exemplar.value)
            })
            .collect();
        assert_eq!(found, exemplars, "{path}");
    }
}

#[tokio::test]
async fn requests_over_grpc_are_counted() {
    let kept = Arc::new(Kept::default());
    let (app, _) = app_over(open_access(), kept.clone(), Arc::new(Files::default()));
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    let server = tokio::spawn(server::receive::grpc::serve(listener, app.clone(), 4, stop.clone()));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let message = otlp();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let good = [&[0], &length[..], &message].concat();
    const METHOD: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    for (body, expected) in [(good, "0"), (vec![0, 0, 0, 0, 1, 7], "3")] {
        let request = Request::post(format!("http://{address}{METHOD}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(bytes::Bytes::from(body)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let in_head = response.headers().get("grpc-status").cloned();
        let whole = response.into_body().collect().await.unwrap();
        let in_trailers = whole.trailers().and_then(|t| t.get("grpc-status").cloned());
        assert_eq!(in_head.or(in_trailers).unwrap(), expected);
    }
    assert_eq!(kept.0.lock().iter().map(|batch| batch.exemplars.len()).sum::<usize>(), 1);
    let (_, _, figures) = get(&router(&app), "/metrics").await;
    for class in ["2xx", "4xx"] {
        let line = format!(
            "taffrail_http_requests_total{{handler=\"{METHOD}\",method=\"POST\",code=\"{class}\"}} 1\n"
        );
        assert!(figures.contains(&line), "{figures}");
    }
    drop(sender);
    stop.cancel();
    server.await.unwrap();
    connection.await.unwrap().unwrap();
}
