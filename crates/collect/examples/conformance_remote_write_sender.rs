//! Scrapes the body of every remote-write sender fact, sends what came of it to a receiver, and checks what arrives.
//!
//! `conformance_remote_write_sender DIR`, where DIR is the topic `compliance` of the test data. The facts name a body and
//! a requirement; what a requirement means for the bytes is written down here. Every request of every case must hold all
//! rules that can be seen in any request; a case with a requirement of its own is held to that as well.

#![expect(clippy::print_stdout, reason = "a command-line tool")]
#![expect(clippy::unwrap_used, reason = "a failed step is a failed run")]

#[path = "conformance/suite.rs"]
#[expect(dead_code, reason = "other suites use the rest")]
mod suite;

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use collect::forward::{Cursor, QueueConfig, Reader, Record, Remote, Spool};
use collect::scrape::{self, HttpOptions, ScrapeJob, TargetGroup};
use http::HeaderMap;
use ingest::compression::{Encoding, unpack};
use ingest::protobuf::{Reader as Wire, Value};
use ingest::write_request::{Version, encode_v2, series_of};
use model::{Clock as _, Done, LogBatch, MetricBatch, MetricMetadata, Result, Sink, SystemClock};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use suite::Suite;

#[derive(serde::Deserialize)]
struct Facts {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    file: String,
    name: String,
    level: String,
    scrape_data: Option<String>,
}

/// Bodies that the suite makes up at run time.
fn made_up(name: &str) -> Option<String> {
    let now_ms = SystemClock.now_ms();
    Some(match name {
        "batch_size_reasonable" | "many_timeseries" => {
            (0..12_000).map(|n| format!("many{{n=\"{n}\"}} {n}\n")).collect()
        }
        "very_long_metric_name" => format!("{} 1\n", "long_".repeat(100)),
        "future_timestamp" => format!("ahead 1 {}\n", now_ms + 60_000),
        _ => return None,
    })
}

/// A request as it came.
struct Seen {
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Names and values.
type LabelSet = Vec<(String, String)>;

/// One series of a request.
#[derive(Debug, Default)]
struct Sent {
    labels: LabelSet,
    samples: Vec<(i64, f64)>,
    histograms: usize,
    exemplars: Vec<(LabelSet, f64, i64)>,
    kind: u64,
    help: String,
    unit: String,
}

impl Sent {
    fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

/// What a request says, and which rule it breaks.
fn read(seen: &Seen, version: Version) -> std::result::Result<Vec<Sent>, String> {
    let header =
        |name: &str| seen.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let rule = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    rule(header("content-type") == version.content_type(), "content type")?;
    rule(header("content-encoding") == "snappy", "content encoding")?;
    rule(header("x-prometheus-remote-write-version") == version.header(), "version header")?;
    rule(header("user-agent").starts_with("Taffrail/"), "user agent")?;
    let body = unpack(Encoding::Snappy, &seen.body, 64 << 20).map_err(|e| e.to_string())?;
    let series = match version {
        Version::V1 => read_v1(&body),
        Version::V2 => read_v2(&body),
    };
    let series = series.map_err(|e| e.to_string())?;
    let now_ms = SystemClock.now_ms();
    for one in &series {
        let sorted = one.labels.windows(2).all(|pair| pair[0].0 < pair[1].0);
        rule(sorted, "labels are sorted, each once")?;
        rule(one.labels.iter().all(|(n, _)| !n.is_empty()), "label names are not empty")?;
        rule(!one.label("__name__").is_empty(), "series have names")?;
        rule(one.samples.is_empty() || one.histograms == 0, "histograms and samples apart")?;
        rule(one.samples.windows(2).all(|pair| pair[0].0 <= pair[1].0), "samples in order")?;
        let near = |t_ms: i64| (t_ms - now_ms).abs() < 600_000;
        rule(one.samples.iter().all(|(t_ms, _)| near(*t_ms)), "times are recent milliseconds")?;
    }
    rule(series.len() <= 10_000, "batches are not too large")?;
    Ok(series)
}

fn read_v1(body: &[u8]) -> Result<Vec<Sent>> {
    let mut request = Wire::new(body);
    let mut series = Vec::new();
    while let Some(field) = request.next_field()? {
        if field.number != 1 {
            assert_eq!(field.number, 3, "no symbols in 1.0");
            continue;
        }
        let mut one = Sent::default();
        let mut message = field.message()?;
        while let Some(field) = message.next_field()? {
            let inner = field.message()?;
            match field.number {
                1 => one.labels.push(label(inner)?),
                2 => one.samples.push(sample(inner)?),
                3 => one.exemplars.push((Vec::new(), 0.0, 0)),
                _ => one.histograms += 1,
            }
        }
        series.push(one);
    }
    Ok(series)
}

fn label(mut message: Wire<'_>) -> Result<(String, String)> {
    let (mut name, mut value) = (String::new(), String::new());
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => field.text()?.clone_into(&mut name),
            _ => field.text()?.clone_into(&mut value),
        }
    }
    Ok((name, value))
}

fn sample(mut message: Wire<'_>) -> Result<(i64, f64)> {
    let (mut t_ms, mut value) = (0, 0.0);
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => value = field.double()?,
            _ => t_ms = field.int64()?,
        }
    }
    Ok((t_ms, value))
}

fn read_v2(body: &[u8]) -> Result<Vec<Sent>> {
    let mut symbols = Vec::new();
    let mut request = Wire::new(body);
    while let Some(field) = request.next_field()? {
        if field.number == 4 {
            symbols.push(field.text()?.to_owned());
        }
    }
    let once: std::collections::BTreeSet<&String> = symbols.iter().collect();
    if symbols.first().is_none_or(|s| !s.is_empty()) || once.len() != symbols.len() {
        return Err(model::Error::invalid("symbols begin with the empty text, each is there once"));
    }
    let symbol = |at: u64| {
        let text = usize::try_from(at).ok().and_then(|at| symbols.get(at));
        text.cloned().ok_or_else(|| model::Error::invalid(format!("symbol {at} is not there")))
    };
    let labels = |field: &ingest::protobuf::Field<'_>| -> Result<Vec<(String, String)>> {
        let mut texts = Vec::new();
        field.varints(|at| {
            texts.push(symbol(at)?);
            Ok(())
        })?;
        Ok(texts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    };
    let mut request = Wire::new(body);
    let mut series = Vec::new();
    while let Some(field) = request.next_field()? {
        if field.number != 5 {
            continue;
        }
        let mut one = Sent::default();
        let mut message = field.message()?;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => one.labels = labels(&field)?,
                2 => one.samples.push(sample(field.message()?)?),
                3 => one.histograms += 1,
                4 => {
                    let mut exemplar = (Vec::new(), 0.0, 0);
                    let mut inner = field.message()?;
                    while let Some(field) = inner.next_field()? {
                        match field.number {
                            1 => exemplar.0 = labels(&field)?,
                            2 => exemplar.1 = field.double()?,
                            _ => exemplar.2 = field.int64()?,
                        }
                    }
                    one.exemplars.push(exemplar);
                }
                _ => {
                    let mut inner = field.message()?;
                    while let Some(field) = inner.next_field()? {
                        let Value::Varint(value) = field.value else { continue };
                        match field.number {
                            1 => one.kind = value,
                            3 => one.help = symbol(value)?,
                            _ => one.unit = symbol(value)?,
                        }
                    }
                }
            }
        }
        series.push(one);
    }
    Ok(series)
}

/// Whether what was sent for a case is what its requirement asks for.
fn meets(
    case: &Case,
    body: &str,
    requests: usize,
    sent: &[Sent],
) -> std::result::Result<(), String> {
    let rule = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    let own: Vec<&Sent> = sent
        .iter()
        .filter(|s| {
            !matches!(s.label("__name__"), "up") && !s.label("__name__").starts_with("scrape_")
        })
        .collect();
    // A target's own `up` is the scraper's.
    let lines = body.lines().filter(|l| !l.trim().is_empty() && !l.starts_with(['#']));
    let lines = lines.filter(|l| !l.starts_with("up ")).count();
    let points: usize = own.iter().map(|s| s.samples.len()).sum();
    // The suite has one body with the same series twice; the second is a duplicate.
    let expected = lines - usize::from(case.name == "string_deduplication");
    rule(points == expected, &format!("{points} samples arrived of {expected}"))?;
    rule(
        own.iter().all(|s| !s.label("job").is_empty() && !s.label("instance").is_empty()),
        "job and instance",
    )?;
    let values: Vec<f64> = own.iter().flat_map(|s| &s.samples).map(|(_, v)| *v).collect();
    let has = |value: f64| values.iter().any(|v| v.to_bits() == value.to_bits());
    let exemplars: Vec<_> = own.iter().flat_map(|s| &s.exemplars).collect();
    let first = own.first();
    match case.name.as_str() {
        "multiple_series_per_request" | "metadata_batching" | "complete_metric_family" => {
            rule(requests == 1, "in one request")
        }
        "positive_infinity_encoding" => rule(has(f64::INFINITY), "+Inf"),
        "negative_infinity_encoding" => rule(has(f64::NEG_INFINITY), "-Inf"),
        "zero_value_encoding" => rule(has(0.0), "zero"),
        "integer_value_encoding" => rule(has(42.0), "42"),
        "large_float_values" => rule(has(f64::MAX), "the largest float"),
        "small_float_values" => rule(has(f64::MIN_POSITIVE), "the smallest normal float"),
        "precision_preservation" => rule(has(0.123_456_789_012_345), "all digits"),
        "special_float_combinations" => rule(
            values.iter().any(|v| v.is_nan()) && has(f64::INFINITY) && has(-123.45),
            "NaN, Inf and a negative value",
        ),
        "unicode_in_labels" | "unicode_in_label_values" => rule(
            first.is_some_and(|s| s.label("emoji") == "🚀" && s.label("chinese") == "测试"),
            "unicode",
        ),
        "label_values_may_be_empty" => {
            rule(first.is_some_and(|s| s.label("empty").is_empty()), "no value")
        }
        "metadata_type_gauge" => rule(own.iter().all(|s| s.kind == 2), "gauge"),
        "metadata_type_histogram" => rule(own.iter().all(|s| s.kind == 3), "histogram"),
        "metadata_help_text" => {
            rule(own.iter().all(|s| s.help == "The total number of HTTP requests"), "help")
        }
        "metadata_unit" => rule(own.iter().all(|s| s.unit == "bytes"), "unit"),
        "metadata_help_with_special_chars" => {
            rule(own.iter().all(|s| s.help.contains("\"quotes\"") && s.help.contains('\\')), "help")
        }
        "exemplar_with_trace_id"
        | "exemplar_on_histogram"
        | "samples_with_exemplars"
        | "histogram_with_metadata_and_exemplars" => rule(
            exemplars.iter().any(|e| e.0.iter().any(|(n, v)| n == "trace_id" && !v.is_empty())),
            "exemplar with a trace id",
        ),
        "exemplar_value_valid" => {
            rule(exemplars.iter().any(|e| e.1 == 99.5), "value of the exemplar")
        }
        "exemplar_timestamp_valid" => {
            rule(exemplars.iter().any(|e| e.2 == 1_234_567_890_123), "time of the exemplar")
        }
        "exemplar_custom_labels" => {
            rule(exemplars.iter().any(|e| e.0.iter().any(|(n, _)| n == "user_id")), "its labels")
        }
        "multiple_exemplars_per_series" => rule(exemplars.len() == 2, "both exemplars"),
        "rw1_no_native_histograms" => rule(own.iter().all(|s| s.histograms == 0), "no histograms"),
        _ => Ok(()),
    }
}

/// Keeps the first batch with samples of each case.
#[derive(Default)]
struct Batches(Mutex<HashMap<String, MetricBatch>>);

impl Sink for Batches {
    fn append_metrics(&self, batch: MetricBatch, done: Done) {
        let job =
            batch.samples().find_map(|(labels, _)| labels.get("job")).unwrap_or("").to_owned();
        let samples = batch.sample_count() as u64;
        self.0.lock().unwrap().entry(job).or_insert(batch);
        done.call(Ok(model::Receipt { stored: samples, rejected: Vec::new() }));
    }

    fn append_logs(&self, _: LogBatch, done: Done) {
        done.call(Ok(model::Receipt::default()));
    }

    fn cursor(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// One batch to send.
struct Once {
    record: Record,
    end: watch::Sender<u64>,
    acked: mpsc::UnboundedSender<u64>,
}

impl Spool for Once {
    fn end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    fn reader(&self, _: u64) -> Box<dyn Reader> {
        Box::new(OnceReader(Some(self.record.clone())))
    }

    fn cursor(&self, _: &str) -> Cursor {
        Cursor { acked: 1, sending: 1 }
    }

    fn set_cursor(&self, _: &str, cursor: Cursor) -> Result<()> {
        // The run may have ended.
        let _unheard = self.acked.send(cursor.acked);
        Ok(())
    }
}

struct OnceReader(Option<Record>);

impl Reader for OnceReader {
    fn read(&mut self, _: u64, _: u64) -> Result<Vec<Record>> {
        Ok(self.0.take().into_iter().collect())
    }
}

/// Knows the metadata of one case.
struct Known(Vec<MetricMetadata>);

impl model::MetricSource for Known {
    fn select(&self, _: &model::MetricPlan, _: &model::Budget) -> Result<model::Selected> {
        Ok(model::Selected::default())
    }

    fn series(
        &self,
        _: &[Vec<model::Matcher>],
        _: model::TimeRange,
        _: &model::Budget,
    ) -> Result<Vec<model::Labels>> {
        Ok(Vec::new())
    }

    fn label_names(
        &self,
        _: &[Vec<model::Matcher>],
        _: model::TimeRange,
        _: &model::Budget,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &str,
        _: &[Vec<model::Matcher>],
        _: model::TimeRange,
        _: &model::Budget,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn metadata(&self, metric: Option<&str>) -> Vec<MetricMetadata> {
        self.0.iter().filter(|m| metric.is_none_or(|name| *m.name == *name)).cloned().collect()
    }
}

type Bodies = Arc<BTreeMap<String, String>>;

async fn page(State(bodies): State<Bodies>, Path(name): Path<String>) -> axum::response::Response {
    let body = bodies.get(&name).cloned().unwrap_or_default();
    let open = body.contains(" # {") || body.contains("# UNIT");
    let (kind, body) = if open {
        let body = body.replace("\n\n", "\n");
        let body = if body.ends_with('\n') { body } else { body + "\n" };
        ("application/openmetrics-text; version=1.0.0", body + "# EOF\n")
    } else {
        ("text/plain; version=0.0.4", if body.ends_with('\n') { body } else { body + "\n" })
    };
    axum::response::IntoResponse::into_response(([("content-type", kind)], body))
}

async fn receive(
    State(seen): State<mpsc::UnboundedSender<Seen>>,
    headers: HeaderMap,
    body: bytes::Bytes,
) -> impl axum::response::IntoResponse {
    seen.send(Seen { headers, body: body.to_vec() }).unwrap();
    (http::StatusCode::NO_CONTENT, [("X-Prometheus-Remote-Write-Samples-Written", "1")])
}

async fn listen(app: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Everything a sender of `version` sends for `batch`.
async fn sent(batch: &MetricBatch, version: Version) -> Vec<Seen> {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let app = axum::Router::new().route("/", axum::routing::post(receive)).with_state(seen);
    let url = format!("http://{}/", listen(app).await);
    let series = series_of(batch);
    let samples = series.iter().map(|one| one.sample_count() as u64).sum();
    let payload = encode_v2(&series, |_| None);
    let (acked, mut cursors) = mpsc::unbounded_channel();
    let spool =
        Once { record: Record { seq: 1, samples, payload }, end: watch::channel(2).0, acked };
    let remote = Remote {
        name: "receiver".to_owned(),
        id: "receiver".to_owned(),
        url,
        version,
        timeout_ms: 30_000,
        http: HttpOptions::plain(),
        relabel: Vec::new(),
        send_exemplars: true,
        send_native_histograms: version == Version::V2,
        queue: QueueConfig { batch_send_deadline_ms: 1, ..QueueConfig::default() },
        metadata: None,
    };
    let cancel = CancellationToken::new();
    let handle = collect::forward::spawn(
        "1.0",
        vec![remote],
        model::Labels::default(),
        Arc::new(spool),
        Arc::new(Known(batch.metadata.clone())),
        Arc::new(SystemClock),
        cancel.clone(),
    );
    while cursors.recv().await.unwrap() < 2 {}
    cancel.cancel();
    handle.closed().await;
    let mut all = Vec::new();
    while let Ok(one) = requests.try_recv() {
        all.push(one);
    }
    all
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(dir) = Suite::dir() else {
        println!("usage: conformance_remote_write_sender DIR (the topic compliance)");
        return ExitCode::FAILURE;
    };
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let text = std::fs::read_to_string(dir.join("facts/remote-write-sender.json")).unwrap();
    let facts: Facts = serde_json::from_str(&text).unwrap();
    let body = |case: &Case| case.scrape_data.clone().or_else(|| made_up(&case.name));
    let bodies: Bodies = Arc::new(
        facts.cases.iter().filter_map(|case| Some((case.name.clone(), body(case)?))).collect(),
    );
    let page = axum::Router::new().route("/{name}", axum::routing::get(page));
    let address = listen(page.with_state(bodies.clone())).await;
    let jobs = bodies.keys().map(|name| {
        let mut job = ScrapeJob::new(name);
        (job.scrape_interval_ms, job.scrape_timeout_ms) = (1_000, 1_000);
        job.metrics_path = format!("/{name}");
        let targets = [address.clone()];
        job.static_targets = vec![TargetGroup::of_addresses("suite", targets, BTreeMap::new())];
        job
    });
    let (batches, cancel) = (Arc::new(Batches::default()), CancellationToken::new());
    let config = scrape::Config {
        version: "1.0".to_owned(),
        limits: ingest::exposition::Limits::NONE,
        dropped_targets_max: 0,
    };
    let scraper = scrape::spawn(
        config,
        jobs.collect(),
        batches.clone(),
        Arc::new(SystemClock),
        None,
        cancel.clone(),
    );
    while batches.0.lock().unwrap().len() < bodies.len() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    cancel.cancel();
    scraper.closed().await;
    let batches = std::mem::take(&mut *batches.0.lock().unwrap());
    let mut suite = Suite::new("remote-write-sender");
    for case in &facts.cases {
        let Some(batch) = batches.get(&case.name) else {
            suite.skip("a body made at run time that is not described");
            continue;
        };
        let version = if case.file.starts_with("rw1") { Version::V1 } else { Version::V2 };
        let requests = sent(batch, version).await;
        let read: std::result::Result<Vec<Vec<Sent>>, String> =
            requests.iter().map(|seen| read(seen, version)).collect();
        let outcome = read.and_then(|sent| {
            let sent: Vec<Sent> = sent.into_iter().flatten().collect();
            meets(case, &bodies[&case.name], requests.len(), &sent)
        });
        let what = format!("{}/{} ({})", case.file, case.name, case.level);
        suite.check(&what, outcome, Ok(()));
    }
    suite.finish()
}
