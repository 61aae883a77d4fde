//! OTLP out: spans that were stored go on to other servers, until they have them.
//!
//! Owns: requests, retries, and figures about them. Records of the queue are `TracesData` as it will be sent, in snappy blocks:
//! since messages of protobuf that stand behind each other are one message, a request is several records, packed. Does not
//! own: the queue (the binary implements [`Spool`]), HTTP options (`scrape`).
//!
//! As OTLP asks for it, 429, 502, 503 and 504 and failures of the network are tried again, any other refusal is final. A window
//! of requests goes out side by side, then the cursor moves; after a crash they are sent again.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use ingest::compression::{Encoding, unpack};
use ingest::protobuf;
use model::{Clock, Error, Result};
use reqwest::header;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::figures::add;
use super::gather::{self, Window};
use super::sender::{Logged, RETRY_AFTER_MS_MAX, Trouble, first_line, retry_after_ms};
use super::{Cursor, Record, Spool};
use crate::scrape::HttpOptions;
use crate::scrape::http::{Http, post};

/// Bytes of an unpacked record at most; a batch is far smaller.
const RECORD_BYTES_MAX: usize = 1 << 30;
/// Of an answer with a partial success, so much is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// One receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanRemote {
    /// Name in figures and messages; unique.
    pub name: String,
    /// Tells its cursor from others'; changes with the URL, not with other settings.
    pub id: String,
    /// Where to send, `…/v1/traces`.
    pub url: String,
    /// Milliseconds a request may take.
    pub timeout_ms: u64,
    /// Whether bodies are packed by gzip.
    pub gzip: bool,
    /// The HTTP side.
    pub http: HttpOptions,
    /// Batching and retries.
    pub queue: SpanQueue,
}

/// Batching and retries of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanQueue {
    /// Requests side by side at most.
    pub max_shards: usize,
    /// Spans of a request, about: a batch that was received is not divided.
    pub max_spans_per_send: usize,
    /// Milliseconds spans wait for a request to become full.
    pub batch_send_deadline_ms: u64,
    /// Milliseconds before the first retry.
    pub min_backoff_ms: u64,
    /// Milliseconds between retries at most.
    pub max_backoff_ms: u64,
}

impl Default for SpanQueue {
    /// As the collector of OpenTelemetry has it, but for smaller pauses.
    fn default() -> Self {
        Self {
            max_shards: 10,
            max_spans_per_send: 8_192,
            batch_send_deadline_ms: 1_000,
            min_backoff_ms: 1_000,
            max_backoff_ms: 30_000,
        }
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct SpanFigures {
    /// Spans acknowledged.
    pub sent: AtomicU64,
    /// Spans refused for good by the receiver.
    pub refused: AtomicU64,
    /// Spans sent again.
    pub retried: AtomicU64,
    /// Bytes of bodies sent, packed.
    pub bytes: AtomicU64,
    /// Requests answered.
    pub requests: AtomicU64,
    /// Records of the queue that could not be read.
    pub damaged: AtomicU64,
    /// Spans taken from the queue and not yet acknowledged.
    pub pending: AtomicU64,
}

/// The running senders. Dropping it stops nothing; the cancellation token does.
#[derive(Debug)]
pub struct SpanSenders {
    figures: Vec<(Arc<SpanRemote>, Arc<SpanFigures>)>,
    tasks: TaskTracker,
}

/// Starts sending to `remotes` on the current tokio runtime, until `cancel` fires. A rustls provider must be installed
/// before.
pub fn spawn(
    version: &str,
    remotes: Vec<SpanRemote>,
    spool: &Arc<dyn Spool>,
    clock: &Arc<dyn Clock>,
    cancel: &CancellationToken,
) -> SpanSenders {
    let tasks = TaskTracker::new();
    let start = |remote: SpanRemote| {
        let (remote, figures) = (Arc::new(remote), Arc::<SpanFigures>::default());
        let requests = Requests {
            remote: remote.clone(),
            figures: figures.clone(),
            http: Http::new(version, clock.clone()),
            clock: clock.clone(),
            logged: Logged::default(),
        };
        let windows = windows(spool.clone(), Arc::new(requests));
        let cancel = cancel.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = windows => {}
            }
        });
        (remote, figures)
    };
    let figures = remotes.into_iter().map(start).collect();
    tasks.close();
    SpanSenders { figures, tasks }
}

impl SpanSenders {
    /// What the senders did.
    pub fn figures(&self) -> &[(Arc<SpanRemote>, Arc<SpanFigures>)] {
        &self.figures
    }

    /// Waits until all senders have ended after cancellation; what is under way is given up and sent again later.
    pub async fn closed(&self) {
        self.tasks.wait().await;
    }
}

async fn windows(spool: Arc<dyn Spool>, requests: Arc<Requests>) {
    let queue = requests.remote.queue;
    let full = queue.max_spans_per_send as u64;
    let most = full.saturating_mul(queue.max_shards as u64);
    let window = Window { full, most, deadline_ms: queue.batch_send_deadline_ms };
    let mut reader = spool.reader(spool.cursor(&requests.remote.id).acked);
    loop {
        let records;
        let trouble = |error: Error| {
            requests.log(Trouble::Loss, &format!("cannot read the queue: {error}"));
            add(&requests.figures.damaged, 1);
        };
        (reader, records) = gather::next(&spool, reader, None, window, trouble).await;
        let Some(last) = records.last() else { continue };
        let end = last.seq + 1;
        let spans: u64 = records.iter().map(|record| record.samples).sum();
        requests.figures.pending.store(spans, Ordering::Relaxed);
        let mut sending = futures_util::stream::iter(bodies(&records, full))
            .map(|records| requests.clone().deliver(records))
            .buffer_unordered(queue.max_shards);
        while sending.next().await.is_some() {}
        let cursor = Cursor { acked: end, sending: end };
        let (noting, id) = (spool.clone(), requests.remote.id.clone());
        let noted = tokio::task::spawn_blocking(move || noting.set_cursor(&id, cursor)).await;
        if let Ok(Err(error)) = noted {
            // Sending goes on; a crash now sends more than once.
            requests.log(Trouble::Delay, &format!("cannot note the position: {error}"));
        }
        requests.figures.pending.store(0, Ordering::Relaxed);
    }
}

/// The records of each request.
fn bodies(records: &[Record], full: u64) -> Vec<Vec<Record>> {
    let (mut all, mut spans) = (Vec::<Vec<Record>>::new(), full);
    for record in records {
        if spans.saturating_add(record.samples) > full || all.is_empty() {
            all.push(Vec::new());
            spans = 0;
        }
        spans += record.samples;
        if let Some(body) = all.last_mut() {
            body.push(record.clone());
        }
    }
    all
}

/// What sending a request needs.
struct Requests {
    remote: Arc<SpanRemote>,
    figures: Arc<SpanFigures>,
    http: Http,
    clock: Arc<dyn Clock>,
    logged: Logged,
}

/// What became of a request.
enum Answer {
    /// All but so many spans, which were refused for a reason.
    Taken(u64, String),
    /// Nothing of it will ever be taken.
    Refused(String),
    /// It may be taken later; how long to wait if the receiver said so.
    Later(String, Option<u64>),
}

impl Requests {
    fn log(&self, kind: Trouble, trouble: &str) {
        if self.logged.is_due(kind, self.clock.now_ms()) {
            tracing::warn!(remote = self.remote.name, "forwarding spans: {trouble}");
        }
    }

    /// Sends until the receiver has taken or refused it.
    async fn deliver(self: Arc<Self>, records: Vec<Record>) {
        let spans: u64 = records.iter().map(|record| record.samples).sum();
        let packing = self.clone();
        let packed = tokio::task::spawn_blocking(move || packing.pack(&records)).await;
        let Ok(Some(body)) = packed else { return };
        let mut backoff_ms = self.remote.queue.min_backoff_ms.max(1);
        loop {
            add(&self.figures.bytes, body.len());
            let answer = self.exchange(body.clone()).await;
            add(&self.figures.requests, 1);
            match answer.unwrap_or_else(|error| Answer::Later(error.to_string(), None)) {
                Answer::Taken(refused, why) => {
                    let refused = refused.min(spans);
                    self.figures.sent.fetch_add(spans - refused, Ordering::Relaxed);
                    self.figures.refused.fetch_add(refused, Ordering::Relaxed);
                    if refused > 0 {
                        self.log(
                            Trouble::Loss,
                            &format!("{refused} of {spans} spans are refused: {why}"),
                        );
                    }
                    return;
                }
                Answer::Refused(why) => {
                    self.figures.refused.fetch_add(spans, Ordering::Relaxed);
                    return self.log(Trouble::Loss, &format!("{spans} spans are refused: {why}"));
                }
                Answer::Later(why, wait_ms) => {
                    self.figures.retried.fetch_add(spans, Ordering::Relaxed);
                    self.log(Trouble::Delay, &format!("trying again: {why}"));
                    let wait_ms = wait_ms.unwrap_or(backoff_ms).min(RETRY_AFTER_MS_MAX);
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    backoff_ms = (backoff_ms * 2).min(self.remote.queue.max_backoff_ms.max(1));
                }
            }
        }
    }

    /// The body of a request; `None` when no record can be read.
    fn pack(&self, records: &[Record]) -> Option<Bytes> {
        let mut plain = Vec::new();
        for record in records {
            match unpack(Encoding::Snappy, &record.payload, RECORD_BYTES_MAX) {
                Ok(part) => plain.extend_from_slice(&part),
                Err(error) => {
                    tracing::error!(%error, seq = record.seq, "forwarding spans: a queued batch is unreadable");
                    add(&self.figures.damaged, 1);
                }
            }
        }
        if plain.is_empty() {
            return None;
        }
        if !self.remote.gzip {
            return Some(Bytes::from(plain));
        }
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        // Writing to memory does not fail.
        packer.write_all(&plain).ok()?;
        packer.finish().ok().map(Bytes::from)
    }

    async fn exchange(&self, body: Bytes) -> Result<Answer> {
        let url = reqwest::Url::parse(&self.remote.url)
            .map_err(|e| Error::invalid(format!("url {:?}: {e}", self.remote.url)))?;
        let headers = |request: reqwest::RequestBuilder| {
            let request = request.header(header::CONTENT_TYPE, "application/x-protobuf");
            let request = if self.remote.gzip {
                request.header(header::CONTENT_ENCODING, "gzip")
            } else {
                request
            };
            request.body(body.clone())
        };
        let exchange = async {
            let mut response = post(&self.http, &self.remote.http, &url, headers).await?;
            let status = response.status().as_u16();
            if (200..300).contains(&status) {
                let mut answer = Vec::new();
                while answer.len() < ANSWER_BYTES_MAX
                    && let Ok(Some(chunk)) = response.chunk().await
                {
                    answer.extend_from_slice(&chunk);
                }
                // Receivers that answer otherwise have taken it all the same.
                let (refused, why) = partial_success(&answer).unwrap_or_default();
                return Ok(Answer::Taken(refused, why));
            }
            let retry_after = response.headers().get(header::RETRY_AFTER);
            let retry_after = retry_after.and_then(|value| value.to_str().ok());
            let wait_ms = retry_after.and_then(|text| retry_after_ms(text, self.clock.now_ms()));
            let why = format!("HTTP status {status}: {}", first_line(response).await);
            Ok(match status {
                429 | 502..=504 => Answer::Later(why, wait_ms),
                _ => Answer::Refused(why),
            })
        };
        let timeout = Duration::from_millis(self.remote.timeout_ms);
        match tokio::time::timeout(timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => {
                let why = format!("no answer within {} ms", self.remote.timeout_ms);
                Ok(Answer::Later(why, None))
            }
        }
    }
}

/// Spans that were refused, and why, of an `ExportTraceServiceResponse`.
fn partial_success(answer: &[u8]) -> Result<(u64, String)> {
    let (mut refused, mut why) = (0, String::new());
    let mut reader = protobuf::Reader::new(answer);
    while let Some(field) = reader.next_field()? {
        if field.number != 1 {
            continue;
        }
        let mut partial = field.message()?;
        while let Some(field) = partial.next_field()? {
            match field.number {
                1 => refused = u64::try_from(field.int64()?).unwrap_or(0),
                2 => why = field.text()?.chars().take(500).collect(),
                _ => {}
            }
        }
    }
    Ok((refused, why))
}
