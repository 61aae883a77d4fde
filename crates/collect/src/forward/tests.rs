//! Senders against a receiver that answers as told, and a queue in memory.

mod spans;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::IntoResponse as _;
use http::{HeaderMap, StatusCode};
use ingest::compression::{Encoding, unpack};
use ingest::relabel::{Action, Rule, RuleConfig};
use ingest::remote_write::{Limits, Message, decode};
use ingest::write_request::{Series, Version, encode_v2, series_of};
use model::{
    Budget, Labels, ManualClock, Matcher, MetricBatch, MetricMetadata, MetricPlan, MetricRow,
    Selected, TimeRange,
};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::sender::{Logged, Trouble};
use super::*;
use crate::scrape::HttpOptions;

const LIMITS: Limits = Limits {
    rows_max: 1 << 20,
    labels_max: 100,
    name_bytes_max: 1 << 10,
    value_bytes_max: 1 << 10,
    label_bytes_max: 1 << 20,
    buckets_max: 1 << 20,
};

/// A queue in memory.
struct Memory {
    records: Mutex<Vec<Record>>,
    end: watch::Sender<u64>,
    cursor: Mutex<Cursor>,
    /// Every cursor that was set.
    noted: UnboundedSender<Cursor>,
}

impl Memory {
    fn new(cursor: Cursor) -> (Arc<Self>, UnboundedReceiver<Cursor>) {
        let (noted, cursors) = unbounded_channel();
        let memory = Self {
            records: Mutex::default(),
            end: watch::channel(1).0,
            cursor: Mutex::new(cursor),
            noted,
        };
        (Arc::new(memory), cursors)
    }

    /// Queues one sample of each of `names`.
    fn push(&self, t_ms: i64, names: &[&str]) {
        let rows = names.iter().map(|name| MetricRow { labels: labels(name), value: t_ms as f64 });
        let batch = MetricBatch { t_ms, rows: rows.collect(), ..MetricBatch::default() };
        let mut records = self.records.lock();
        let seq = records.len() as u64 + 1;
        let payload = encode_v2(&series_of(&batch), |_| None);
        records.push(Record { seq, samples: names.len() as u64, payload });
        self.end.send_replace(seq + 1);
    }
}

struct MemoryReader {
    from: Arc<Memory>,
    next: u64,
}

impl Reader for MemoryReader {
    fn read(&mut self, end: u64, samples_max: u64) -> Result<Vec<Record>> {
        let (mut read, mut samples) = (Vec::new(), 0);
        for record in self.from.records.lock().iter() {
            if record.seq >= self.next && record.seq < end && samples < samples_max {
                samples += record.samples;
                read.push(record.clone());
            }
        }
        self.next = read.last().map_or(self.next, |last| last.seq + 1);
        Ok(read)
    }
}

/// The queue as senders see it.
struct Live(Arc<Memory>);

impl Spool for Live {
    fn end(&self) -> watch::Receiver<u64> {
        self.0.end.subscribe()
    }

    fn reader(&self, seq: u64) -> Box<dyn Reader> {
        Box::new(MemoryReader { from: self.0.clone(), next: seq })
    }

    fn cursor(&self, _: &str) -> Cursor {
        *self.0.cursor.lock()
    }

    fn set_cursor(&self, _: &str, cursor: Cursor) -> Result<()> {
        *self.0.cursor.lock() = cursor;
        // Nobody may be listening.
        let _unheard = self.0.noted.send(cursor);
        Ok(())
    }
}

/// Knows one metric.
struct Known;

impl MetricSource for Known {
    fn select(&self, _: &MetricPlan, _: &Budget) -> Result<Selected> {
        Ok(Selected::default())
    }

    fn series(&self, _: &[Vec<Matcher>], _: TimeRange, _: &Budget) -> Result<Vec<Labels>> {
        Ok(Vec::new())
    }

    fn label_names(&self, _: &[Vec<Matcher>], _: TimeRange, _: &Budget) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &str,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: &Budget,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn metadata(&self, metric: Option<&str>) -> Vec<MetricMetadata> {
        let known = MetricMetadata {
            name: "a".into(),
            kind: model::MetricKind::Counter,
            help: "A.".into(),
            unit: "".into(),
        };
        if metric.is_none_or(|name| name == "a") { vec![known] } else { Vec::new() }
    }
}

/// A request as it came.
#[derive(Debug)]
struct Seen {
    headers: HeaderMap,
    message: Message,
    /// Name, time.
    samples: Vec<(String, i64)>,
    labels: Vec<Labels>,
    metadata: usize,
}

/// Answers in order; afterwards everything is taken.
type Script = Arc<Mutex<VecDeque<(StatusCode, &'static [(&'static str, &'static str)])>>>;

const WRITTEN: &[(&str, &str)] = &[("X-Prometheus-Remote-Write-Samples-Written", "1")];

async fn receiver(
    script: &[(StatusCode, &'static [(&'static str, &'static str)])],
) -> (String, UnboundedReceiver<Seen>) {
    let (seen, requests) = unbounded_channel();
    let script: Script = Arc::new(Mutex::new(script.iter().copied().collect()));
    let app =
        axum::Router::new().route("/write", axum::routing::post(answer)).with_state((script, seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/write", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, requests)
}

async fn answer(
    State((script, seen)): State<(Script, UnboundedSender<Seen>)>,
    headers: HeaderMap,
    body: bytes::Bytes,
) -> axum::response::Response {
    let content_type = headers["content-type"].to_str().unwrap();
    let message = Message::from_content_type(content_type).unwrap();
    assert_eq!(headers["content-encoding"], "snappy");
    let body = unpack(Encoding::Snappy, &body, 1 << 20).unwrap();
    let request = decode(message, &body, &LIMITS).unwrap();
    assert!(request.refused.is_empty(), "{:?}", request.refused);
    let samples = request.samples.iter().map(|s| (s.labels.metric_name().to_owned(), s.t_ms));
    let labels = request.samples.iter().map(|s| s.labels.clone());
    let one = Seen {
        headers,
        message,
        samples: samples.collect(),
        labels: labels.collect(),
        metadata: request.metadata.len(),
    };
    seen.send(one).unwrap();
    let (status, headers) = script.lock().pop_front().unwrap_or((StatusCode::NO_CONTENT, WRITTEN));
    let mut response = status.into_response();
    for (name, value) in headers {
        response.headers_mut().insert(*name, http::HeaderValue::from_static(value));
    }
    response
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "j")])
}

fn remote(url: &str) -> Remote {
    Remote {
        name: "r".to_owned(),
        id: "r".to_owned(),
        url: url.to_owned(),
        version: Version::V2,
        timeout_ms: 60_000,
        http: HttpOptions::plain(),
        relabel: Vec::new(),
        send_exemplars: true,
        send_native_histograms: true,
        queue: QueueConfig {
            max_samples_per_send: 2,
            batch_send_deadline_ms: 1,
            min_backoff_ms: 1,
            max_backoff_ms: 1,
            ..QueueConfig::default()
        },
        metadata: None,
    }
}

fn start(memory: &Arc<Memory>, remote: Remote, external: Labels) -> (Handle, CancellationToken) {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let cancel = CancellationToken::new();
    let handle = spawn(
        "1.2.3",
        vec![remote],
        external,
        Arc::new(Live(memory.clone())),
        Arc::new(Known),
        Arc::new(ManualClock::at_ms(1_000_000)),
        cancel.clone(),
    );
    (handle, cancel)
}

const START: Cursor = Cursor { acked: 1, sending: 1 };

/// Waits until everything up to `acked` is acknowledged.
async fn acked(cursors: &mut UnboundedReceiver<Cursor>, acked: u64) {
    while cursors.recv().await.unwrap().acked < acked {}
}

#[tokio::test]
async fn what_is_queued_arrives_once_and_moves_the_cursor() {
    let (url, mut requests) = receiver(&[]).await;
    let (memory, mut cursors) = Memory::new(START);
    let (handle, cancel) = start(&memory, remote(&url), Labels::default());
    memory.push(1, &["a", "b"]);
    let seen = requests.recv().await.unwrap();
    assert_eq!(seen.message, Message::V2);
    assert_eq!(seen.headers["x-prometheus-remote-write-version"], "2.0.0");
    assert_eq!(seen.headers["user-agent"], "Taffrail/1.2.3");
    assert_eq!(seen.samples, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    // Only `a` is known.
    assert_eq!(seen.metadata, 1);
    assert_eq!(cursors.recv().await.unwrap(), Cursor { acked: 1, sending: 2 });
    assert_eq!(cursors.recv().await.unwrap(), Cursor { acked: 2, sending: 2 });
    let (id, figures) = handle.figures().remove(0);
    assert_eq!((id.as_str(), figures.samples.load(Ordering::Relaxed)), ("r", 2));
    // A lone sample does not wait for company forever.
    memory.push(2, &["a"]);
    assert_eq!(requests.recv().await.unwrap().samples, [("a".to_owned(), 2)]);
    acked(&mut cursors, 3).await;
    cancel.cancel();
    handle.closed().await;
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn what_can_pass_is_tried_again_and_what_cannot_is_counted() {
    let busy: &[(&str, &str)] = &[("Retry-After", "0")];
    let answers = [
        (StatusCode::SERVICE_UNAVAILABLE, busy),
        (StatusCode::INTERNAL_SERVER_ERROR, &[]),
        (StatusCode::OK, WRITTEN),
        (StatusCode::BAD_REQUEST, &[]),
        (StatusCode::TOO_MANY_REQUESTS, &[]),
    ];
    let (url, mut requests) = receiver(&answers).await;
    let (memory, mut cursors) = Memory::new(START);
    let (handle, cancel) = start(&memory, remote(&url), Labels::default());
    memory.push(1, &["a"]);
    for _ in 0..3 {
        assert_eq!(requests.recv().await.unwrap().samples, [("a".to_owned(), 1)]);
    }
    acked(&mut cursors, 2).await;
    // Refused, and refused: 429 is not retried unless asked for.
    for t_ms in [2, 3] {
        memory.push(t_ms, &["a"]);
        assert_eq!(requests.recv().await.unwrap().samples, [("a".to_owned(), t_ms)]);
        acked(&mut cursors, t_ms.unsigned_abs() + 1).await;
    }
    let (_, figures) = handle.figures().remove(0);
    let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
    assert_eq!(
        (count(&figures.retried), count(&figures.failed), count(&figures.samples)),
        (2, 2, 1)
    );
    cancel.cancel();
    handle.closed().await;
}

#[tokio::test]
async fn version_1_is_used_where_version_2_is_not_known() {
    // One that looks at nothing finds nothing it knows, and is content.
    for answer in [StatusCode::UNSUPPORTED_MEDIA_TYPE, StatusCode::NO_CONTENT] {
        let (url, mut requests) = receiver(&[(answer, &[])]).await;
        let (memory, mut cursors) = Memory::new(START);
        let (handle, cancel) = start(&memory, remote(&url), Labels::default());
        memory.push(1, &["a"]);
        assert_eq!(requests.recv().await.unwrap().message, Message::V2);
        let second = requests.recv().await.unwrap();
        assert_eq!(second.message, Message::V1);
        assert_eq!(second.headers["content-type"], "application/x-protobuf");
        assert_eq!(second.headers["x-prometheus-remote-write-version"], "0.1.0");
        assert_eq!(second.samples, [("a".to_owned(), 1)]);
        acked(&mut cursors, 2).await;
        memory.push(2, &["a"]);
        assert_eq!(requests.recv().await.unwrap().message, Message::V1);
        cancel.cancel();
        handle.closed().await;
    }
}

#[tokio::test]
async fn after_a_crash_the_same_window_goes_first_and_alone() {
    let (url, mut requests) = receiver(&[]).await;
    let (memory, mut cursors) = Memory::new(Cursor { acked: 2, sending: 4 });
    for t_ms in 1..=6 {
        memory.push(t_ms, &["a"]);
    }
    let mut remote = remote(&url);
    remote.queue.max_samples_per_send = 100;
    let (handle, cancel) = start(&memory, remote, Labels::default());
    let times = |seen: Seen| seen.samples.into_iter().map(|(_, t)| t).collect::<Vec<_>>();
    assert_eq!(times(requests.recv().await.unwrap()), [2, 3]);
    assert_eq!(times(requests.recv().await.unwrap()), [4, 5, 6]);
    acked(&mut cursors, 7).await;
    cancel.cancel();
    handle.closed().await;
}

#[tokio::test]
async fn a_backlog_is_sent_side_by_side_and_series_keep_their_order() {
    let (url, mut requests) = receiver(&[]).await;
    let (memory, mut cursors) = Memory::new(START);
    // So many that no shard is empty: hashes differ from run to run.
    let names: Vec<String> = (0..80).map(|n| format!("m{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for t_ms in 1..=30 {
        memory.push(t_ms, &names);
    }
    let mut remote = remote(&url);
    (remote.queue.max_samples_per_send, remote.queue.max_shards) = (20, 4);
    let (handle, cancel) = start(&memory, remote, Labels::default());
    acked(&mut cursors, 31).await;
    cancel.cancel();
    handle.closed().await;
    let mut newest = std::collections::BTreeMap::new();
    let mut count = 0;
    while let Ok(seen) = requests.try_recv() {
        assert!(seen.samples.len() <= 20);
        for (name, t_ms) in seen.samples {
            let before = newest.insert(name.clone(), t_ms).unwrap_or(0);
            assert_eq!(t_ms, before + 1, "{name}");
            count += 1;
        }
    }
    assert_eq!((count, newest.len()), (2400, 80));
    assert_eq!(handle.figures()[0].1.shards.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn labels_are_added_and_rules_applied_on_the_way_out() {
    let (url, mut requests) = receiver(&[]).await;
    let (memory, mut cursors) = Memory::new(START);
    let mut remote = remote(&url);
    let rule = RuleConfig {
        source_labels: Some(vec!["__name__".to_owned()]),
        separator: None,
        regex: Some("secret.*".to_owned()),
        modulus: None,
        target_label: None,
        replacement: None,
        action: Some(Action::Drop),
    };
    remote.relabel = vec![Rule::new(rule).unwrap()];
    let external = Labels::from_pairs([("job", "other"), ("region", "eu")]);
    let (handle, cancel) = start(&memory, remote, external);
    memory.push(1, &["a", "secret_a"]);
    let seen = requests.recv().await.unwrap();
    assert_eq!(
        seen.labels,
        [Labels::from_pairs([("__name__", "a"), ("job", "j"), ("region", "eu")])]
    );
    acked(&mut cursors, 2).await;
    let (_, figures) = handle.figures().remove(0);
    assert_eq!(figures.dropped_relabelled.load(Ordering::Relaxed), 1);
    cancel.cancel();
    handle.closed().await;
}

#[tokio::test]
async fn samples_that_are_too_old_are_dropped_and_counted() {
    let (url, mut requests) = receiver(&[]).await;
    let (memory, mut cursors) = Memory::new(START);
    let mut remote = remote(&url);
    remote.queue.sample_age_limit_ms = 1_000;
    let (handle, cancel) = start(&memory, remote, Labels::default());
    memory.push(998_999, &["a"]);
    memory.push(999_000, &["a"]);
    assert_eq!(requests.recv().await.unwrap().samples, [("a".to_owned(), 999_000)]);
    acked(&mut cursors, 3).await;
    assert_eq!(handle.figures()[0].1.dropped_old.load(Ordering::Relaxed), 1);
    cancel.cancel();
    handle.closed().await;
}

#[test]
fn requests_hold_no_more_than_they_may() {
    let series = |name: &str, count: i64| {
        let mut one = Series::new(labels(name));
        one.samples.extend((0..count).map(|t| (t, 0.0)));
        one
    };
    let requests = window::requests(vec![series("a", 2), series("b", 7), series("c", 1)], 4);
    let shape: Vec<Vec<(&str, usize)>> = requests
        .iter()
        .map(|r| r.iter().map(|s| (s.labels.metric_name(), s.samples.len())).collect())
        .collect();
    assert_eq!(shape, [vec![("a", 2), ("b", 2)], vec![("b", 4)], vec![("b", 1), ("c", 1)]]);
    assert_eq!(requests[1][0].samples[0].0, 2);
}

#[test]
fn delays_that_repeat_hide_no_loss() {
    let logged = Logged::default();
    let check = |kind, now_ms, expected| assert_eq!(logged.is_due(kind, now_ms), expected);
    check(Trouble::Delay, 0, true);
    check(Trouble::Delay, 59_999, false);
    check(Trouble::Loss, 59_999, true);
    check(Trouble::Loss, 60_000, false);
    check(Trouble::Delay, 60_000, true);
}
