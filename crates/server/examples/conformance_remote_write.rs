//! Suite `remote-write`: what the public compliance suite asserts of a receiver, against our router with requests built for
//! each fact. Usage: `conformance_remote_write DIR`, DIR with the layout of that topic.
//!
//! A fact names the parts of a request (by the names upstream's code gives them) and the outcome. Each becomes one 2.0
//! request, and where the old message can say the same one 1.0 request too; it passes when status, headers and what reached
//! the sink are as they must be. Facts about senders need a sender; they are skipped here.

#![expect(clippy::print_stdout, reason = "a command line tool")]

#[expect(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/it/table.rs"]
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use ingest::write_request::{self, Series, Version};
use model::{
    BucketSpan, Exemplar, Histogram, Labels, MetricKind, MetricMetadata,
    histogram::CUSTOM_BUCKETS_SCHEMA,
};
use serde_json::Value;
use table::{Files, Kept, NOW_MS};
use tower::ServiceExt as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let dir = std::env::args().nth(1).unwrap_or_default();
    let read = |name: &str| -> Result<Vec<Value>, String> {
        let path = Path::new(&dir).join("facts").join(name);
        let text = std::fs::read_to_string(&path)
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let facts: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        Ok(facts["cases"].as_array().cloned().unwrap_or_default())
    };
    let (receiver, sender) =
        match (read("remote-write-receiver.json"), read("remote-write-sender.json")) {
            (Ok(receiver), Ok(sender)) => (receiver, sender),
            (Err(error), _) | (_, Err(error)) => {
                println!("{error}");
                return ExitCode::FAILURE;
            }
        };
    let (mut passed, mut failed) = (0, 0);
    for (number, fact) in receiver.iter().enumerate() {
        match check(fact).await {
            Ok(()) => passed += 1,
            Err(problem) => {
                let case = &fact["case"];
                println!(
                    "FAIL #{number} {} {}: {problem}",
                    text(&fact["test"]),
                    text(&case["name"])
                );
                failed += 1;
            }
        }
    }
    println!("skipped {}: facts about senders", sender.len());
    println!("remote-write: {passed} passed, {failed} failed, {} skipped", sender.len());
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// What an answer must be.
struct Outcome {
    success: bool,
    samples: u64,
    histograms: u64,
    exemplars: u64,
}

impl Outcome {
    fn success(samples: u64, histograms: u64, exemplars: u64) -> Self {
        Self { success: true, samples, histograms, exemplars }
    }
}

/// Series of one request and the metadata of their metrics.
#[derive(Default)]
struct Sent {
    series: Vec<Series>,
    metadata: Vec<Arc<MetricMetadata>>,
    /// Series of which only metadata is sent.
    nameless: bool,
}

async fn check(fact: &Value) -> Result<(), String> {
    let case = &fact["case"];
    let name = text(&case["name"]);
    match text(&fact["test"]) {
        "TestBadContentEncodings" => return bad_encodings().await,
        "TestCorruptRequestBody" => return corrupt_bodies(Version::V2).await,
        "TestRW1ErrorHandling" => return corrupt_bodies(Version::V1).await,
        "TestSingleMetric" => return single_metric(case).await,
        "TestMultipleMetrics" => {
            let metrics = case["metrics"].as_array().map_or(&[][..], Vec::as_slice);
            let mut sent = Sent::default();
            for metric in metrics {
                sent.series.push(sample_of(labels(&metric["Labels"]), 1.0));
            }
            let valid = case["validSamples"].as_u64().unwrap_or(0);
            let success = case["success"].as_bool().unwrap_or(false);
            return expect(sent, Outcome { success, samples: valid, histograms: 0, exemplars: 0 })
                .await;
        }
        "TestExemplars" => {
            let mut series = Series::new(labels(&case["labels"]));
            let own = exemplar_labels(&case["exemplarLabels"]);
            let value = case["value"].as_f64().unwrap_or(1.0);
            series.exemplars.push(Exemplar { labels: own, value, t_ms: NOW_MS });
            series.samples.push((NOW_MS, value));
            let sent = Sent { series: vec![series], ..Sent::default() };
            return expect(sent, Outcome::success(1, 0, 1)).await;
        }
        "TestExemplarValidation" => {
            let series = labels(&case["labels"]);
            let named = !series.metric_name().is_empty();
            let mut series = sample_of(series, 1.0);
            series.exemplars.push(exemplar("id"));
            let sent = Sent { series: vec![series], ..Sent::default() };
            let count = u64::from(named);
            let outcome =
                Outcome { success: named, samples: count, histograms: 0, exemplars: count };
            return expect(sent, outcome).await;
        }
        "TestExemplarSpecialValues" => {
            let value = special(&case["value"]);
            let mut series = sample_of(metric("special"), 1.0);
            series.exemplars.push(Exemplar { value, ..exemplar("id") });
            let sent = Sent { series: vec![series], ..Sent::default() };
            return expect(sent, Outcome::success(1, 0, 1)).await;
        }
        "TestHistograms" => {
            let flag = |key: &str| case[key].as_bool().unwrap_or(false);
            let histogram = histogram(
                flag("includePositive"),
                flag("includeNegative"),
                flag("includeZero"),
                flag("useCustomBuckets"),
            );
            let mut series = Series::new(labels(&case["labels"]));
            series.histograms.push((NOW_MS, Arc::new(histogram)));
            let sent = Sent { series: vec![series], ..Sent::default() };
            return expect(sent, Outcome::success(0, 1, 0)).await;
        }
        "TestMetadata" => {
            let series = sample_of(labels(&case["labels"]), 1.0);
            let metadata = MetricMetadata {
                name: series.labels.metric_name().into(),
                kind: kind(text(&case["metricType"]["go"])),
                help: text(&case["help"]).into(),
                unit: text(&case["unit"]).into(),
            };
            let sent =
                Sent { series: vec![series], metadata: vec![Arc::new(metadata)], nameless: false };
            return expect(sent, Outcome::success(1, 0, 0)).await;
        }
        "TestMetadataValidation" => {
            let sent = Sent {
                series: vec![Series::new(labels(&case["labels"]))],
                nameless: true,
                ..Sent::default()
            };
            let outcome = Outcome { success: false, samples: 0, histograms: 0, exemplars: 0 };
            return expect(sent, outcome).await;
        }
        "TestEdgeCaseCombinations" => {
            let exemplars = case["expectedParams"]["exemplars"].as_u64().unwrap_or(0);
            let mut series = Series::new(metric("edge"));
            series.exemplars.extend((exemplars > 0).then(|| exemplar("id")));
            let sent =
                Sent { series: vec![series], metadata: vec![described("edge")], nameless: false };
            return expect(sent, Outcome::success(0, 0, exemplars)).await;
        }
        _ => {}
    }
    if case["request"].is_null() {
        return Err(format!("no request is known for {name:?}"));
    }
    composed(case).await
}

/// A request of so many samples, histograms, exemplars and metadata as the fact names.
async fn composed(case: &Value) -> Result<(), String> {
    let (request, expected) = (&case["request"], &case["expect"]);
    let count = |key: &str| expected[key].as_u64().unwrap_or(0);
    let (samples, histograms, exemplars) =
        (count("samples"), count("histograms"), count("exemplars"));
    let mut sent = Sent::default();
    for i in 0..samples.max(histograms) {
        let name = format!("composed_{i}");
        let mut series = Series::new(metric(&name));
        if i < samples {
            series.samples.push((NOW_MS, i as f64));
        } else {
            let custom = text(&case["description"]).contains("ustom buckets");
            series.histograms.push((NOW_MS, Arc::new(histogram(true, !custom, !custom, custom))));
        }
        series.exemplars.extend((i < exemplars).then(|| exemplar("id")));
        if !request["Metadata"].is_null() {
            sent.metadata.push(described(&name));
        }
        sent.series.push(series);
    }
    expect(sent, Outcome::success(samples, histograms, exemplars)).await
}

/// Sends in both versions and compares.
async fn expect(sent: Sent, outcome: Outcome) -> Result<(), String> {
    let find =
        |labels: &Labels| sent.metadata.iter().find(|m| *m.name == *labels.metric_name()).cloned();
    let v2 = write_request::encode_v2(&sent.series, find);
    judge(Version::V2, v2, &sent, &outcome).await?;
    // Metadata of 1.0 hangs on no series.
    if sent.nameless {
        return Ok(());
    }
    let v1 = write_request::encode_v1(&sent.series, &sent.metadata);
    judge(Version::V1, v1, &sent, &outcome).await
}

async fn judge(
    version: Version,
    body: Vec<u8>,
    sent: &Sent,
    outcome: &Outcome,
) -> Result<(), String> {
    let receiver = Receiver::new();
    let (status, headers, answer) = receiver.write(&version_headers(version), body).await?;
    let problem = |what: String| Err(format!("{version:?}: {what} ({status} {answer:.200})"));
    let expected_status = if outcome.success { 204 } else { 400 };
    if status != expected_status {
        return problem(format!("status must be {expected_status}"));
    }
    if !outcome.success && answer.trim().is_empty() {
        return problem("a refusal must say why".to_owned());
    }
    let stored = receiver.kept.0.lock();
    let count = |of: fn(&model::MetricBatch) -> usize| stored.iter().map(of).sum::<usize>() as u64;
    for (what, expected, reached) in [
        ("samples", outcome.samples, count(|b| b.stamped.len())),
        ("histograms", outcome.histograms, count(|b| b.histograms.len())),
        ("exemplars", outcome.exemplars, count(|b| b.exemplars.len())),
    ] {
        let header = format!("x-prometheus-remote-write-{what}-written");
        let said = headers.get(header).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if said != Some(expected) || reached != expected {
            return problem(format!(
                "{expected} {what} must be written; {said:?} said, {reached} stored"
            ));
        }
    }
    // Values and identities arrive as they were sent.
    let rows: Vec<_> = stored.iter().flat_map(|b| &b.stamped).collect();
    for series in sent.series.iter().filter(|s| !s.labels.metric_name().is_empty()) {
        for (t_ms, value) in &series.samples {
            let found = rows.iter().any(|row| {
                row.labels == series.labels
                    && row.t_ms == *t_ms
                    && row.value.to_bits() == value.to_bits()
            });
            if !found {
                return problem(format!("sample of {} is not what was sent", series.labels));
            }
        }
    }
    for series in &sent.series {
        for (t_ms, histogram) in &series.histograms {
            let found = stored.iter().flat_map(|b| &b.histograms).any(|row| {
                row.labels == series.labels && row.t_ms == *t_ms && *row.value == **histogram
            });
            if !found {
                return problem(format!("histogram of {} is not what was sent", series.labels));
            }
        }
    }
    Ok(())
}

async fn single_metric(case: &Value) -> Result<(), String> {
    let success = case["success"].as_bool().unwrap_or(false);
    for value in
        [0.0, 1.0, -1.5, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, model::stale_nan()]
    {
        let series = sample_of(labels(&case["metric"]["Labels"]), value);
        let sent = Sent { series: vec![series], ..Sent::default() };
        let samples = u64::from(success);
        expect(sent, Outcome { success, samples, histograms: 0, exemplars: 0 }).await?;
    }
    Ok(())
}

async fn bad_encodings() -> Result<(), String> {
    for encoding in ["gzip", "deflate", "br", "zstd", "unknown", "identity"] {
        let body = write_request::encode_v2(&[sample_of(metric("up"), 1.0)], |_| None);
        let headers = [
            ("content-type", Version::V2.content_type()),
            ("content-encoding", encoding),
            ("x-prometheus-remote-write-version", Version::V2.header()),
        ];
        let (status, _, _) = Receiver::new().write(&headers, body).await?;
        if status != 415 {
            return Err(format!("{encoding}: status {status}, must be 415"));
        }
    }
    Ok(())
}

async fn corrupt_bodies(version: Version) -> Result<(), String> {
    let packed =
        |plain: &[u8]| snap::raw::Encoder::new().compress_vec(plain).map_err(|e| e.to_string());
    let bodies = [
        b"not snappy at all".to_vec(),
        packed(b"not protobuf at all")?,
        packed(&[0x0a, 0x7f, 0x01])?,
        packed(&[0x2a, 0x7f, 0x01])?,
        Vec::new(),
    ];
    for body in bodies {
        let receiver = Receiver::new();
        let (status, _, answer) = receiver.write(&version_headers(version), body).await?;
        if !(400..500).contains(&status) || status == 429 {
            return Err(format!("{version:?}: status {status} {answer}, must be 4xx"));
        }
        if receiver.kept.0.lock().iter().any(|b| !b.stamped.is_empty()) {
            return Err("something of a corrupt body was stored".to_owned());
        }
    }
    Ok(())
}

struct Receiver {
    router: Router,
    kept: Arc<Kept>,
}

impl Receiver {
    fn new() -> Self {
        let kept = Arc::new(Kept::default());
        let files = Arc::new(Files::default());
        let (app, _) = table::app_over(table::open_access(), kept.clone(), files);
        Self { router: server::router(&app), kept }
    }

    async fn write(
        &self,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<(u16, HeaderMap, String), String> {
        let mut request = Request::post("/api/v1/write").header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).map_err(|e| e.to_string())?;
        let response = self.router.clone().oneshot(request).await.map_err(|e| e.to_string())?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        let answer = String::from_utf8_lossy(&bytes).trim().to_owned();
        Ok((parts.status.as_u16(), parts.headers, answer))
    }
}

fn version_headers(version: Version) -> [(&'static str, &'static str); 4] {
    [
        ("content-type", version.content_type()),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", version.header()),
        ("user-agent", "conformance/1"),
    ]
}

fn metric(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)])
}

fn sample_of(labels: Labels, value: f64) -> Series {
    let mut series = Series::new(labels);
    series.samples.push((NOW_MS, value));
    series
}

fn exemplar(id: &str) -> Exemplar {
    Exemplar { labels: Labels::from_pairs([("trace_id", id)]), value: 0.5, t_ms: NOW_MS }
}

fn described(name: &str) -> Arc<MetricMetadata> {
    let (help, unit) = ("Help.".into(), "".into());
    Arc::new(MetricMetadata { name: name.into(), kind: MetricKind::Gauge, help, unit })
}

/// Labels as a fact has them: an object, or the call of an upstream function.
fn labels(value: &Value) -> Labels {
    match text(&value["call"]) {
        "basicMetric" => metric(text(&value["args"][0])),
        "testJobInstanceLabels" => Labels::from_pairs([
            ("__name__", "up"),
            ("instance", "localhost:9090"),
            ("job", "test"),
        ]),
        _ => plain_labels(value),
    }
}

fn exemplar_labels(value: &Value) -> Labels {
    match text(&value["call"]) {
        "traceExemplar" => Labels::from_pairs([("trace_id", text(&value["args"][0]))]),
        _ => plain_labels(value),
    }
}

fn plain_labels(value: &Value) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    Labels::from_pairs(pairs.map(|(name, value)| (name.as_str(), text(value))))
}

fn special(value: &Value) -> f64 {
    match text(&value["call"]) {
        "float64" => f64::NAN,
        "math.Inf" if value["args"][0].as_i64() == Some(-1) => f64::NEG_INFINITY,
        "math.Inf" => f64::INFINITY,
        _ => value.as_f64().unwrap_or(0.0),
    }
}

fn kind(name: &str) -> MetricKind {
    match name.rsplit('_').next().unwrap_or("") {
        "COUNTER" => MetricKind::Counter,
        "GAUGE" => MetricKind::Gauge,
        "HISTOGRAM" => MetricKind::Histogram,
        "GAUGEHISTOGRAM" => MetricKind::GaugeHistogram,
        "SUMMARY" => MetricKind::Summary,
        "INFO" => MetricKind::Info,
        "STATESET" => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

fn histogram(positive: bool, negative: bool, zero: bool, custom: bool) -> Histogram {
    let spans = |used: bool| if used { vec![BucketSpan { offset: 0, length: 2 }] } else { vec![] };
    let buckets = |used: bool| if used { vec![1.0, 2.0] } else { vec![] };
    let (negative, zero) = (negative && !custom, zero && !custom);
    Histogram {
        schema: if custom { CUSTOM_BUCKETS_SCHEMA } else { 0 },
        integer: true,
        zero_threshold: if custom { 0.0 } else { 0.001 },
        zero_count: if zero { 4.0 } else { 0.0 },
        count: 3.0 * f64::from(u8::from(positive) + u8::from(negative))
            + if zero { 4.0 } else { 0.0 },
        sum: 10.0,
        positive_spans: spans(positive),
        positive: buckets(positive),
        negative_spans: spans(negative),
        negative: buckets(negative),
        custom_bounds: if custom { vec![1.0, 5.0] } else { vec![] },
        ..Histogram::default()
    }
}
