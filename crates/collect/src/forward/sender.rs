//! The task of one remote: window after window, each request until it is acknowledged or refused for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use ingest::write_request::{Series, Version, encode_v1, encode_v2};
use model::{Clock, Error, Labels, Result};
use parking_lot::Mutex;
use reqwest::header;
use tokio_util::sync::CancellationToken;

use super::config::Remote;
use super::figures::{Figures, add};
use super::gather::{self, Window};
use super::metadata::Lookup;
use super::window::{Outbound, requests};
use super::{Cursor, Reader, Record, Shared};
use crate::scrape::http::{Http, post};

/// Of an answer that refuses something, so much is shown.
const REASON_BYTES_MAX: usize = 500;
/// The same kind of trouble is logged again after so long.
const LOG_EVERY_MS: i64 = 60_000;

/// What goes wrong while sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It comes later, or more than once.
    Delay,
    /// Something does not come at all.
    Loss,
}

/// When each kind of trouble was logged last: what repeats hides nothing of the other kind.
#[derive(Debug, Default)]
pub(super) struct Logged(Mutex<[Option<i64>; 2]>);

impl Logged {
    /// Whether trouble is to be logged now.
    pub(super) fn is_due(&self, kind: Trouble, now_ms: i64) -> bool {
        let last_ms = &mut self.0.lock()[kind as usize];
        let is_due = last_ms.is_none_or(|last| now_ms.saturating_sub(last) >= LOG_EVERY_MS);
        if is_due {
            *last_ms = Some(now_ms);
        }
        is_due
    }
}

/// A receiver that asks for a longer pause is asked again anyway.
pub(super) const RETRY_AFTER_MS_MAX: u64 = 300_000;

/// Sends to one remote.
pub(super) struct Sender {
    shared: Shared,
    remote: Arc<Remote>,
    figures: Arc<Figures>,
    outbound: Outbound,
    request: Arc<Requests>,
}

/// What sending a request needs.
struct Requests {
    remote: Arc<Remote>,
    figures: Arc<Figures>,
    http: Http,
    lookup: Mutex<Lookup>,
    clock: Arc<dyn Clock>,
    /// The receiver does not know version 2.0.
    fell_back: AtomicBool,
    logged: Logged,
}

/// What became of a request.
enum Answer {
    Taken,
    /// Nothing of it will ever be taken, or the rest will not.
    Refused(String),
    /// It may be taken later; how long to wait if the receiver said so.
    Later(String, Option<u64>),
    /// The receiver does not know this version.
    OtherVersion,
}

impl Sender {
    pub(super) fn new(
        shared: Shared,
        remote: Arc<Remote>,
        external_labels: Labels,
        figures: Arc<Figures>,
    ) -> Self {
        let request = Requests {
            remote: remote.clone(),
            figures: figures.clone(),
            http: Http::new(&shared.version, shared.clock.clone()),
            lookup: Mutex::new(Lookup::new(shared.source.clone())),
            clock: shared.clock.clone(),
            fell_back: AtomicBool::new(false),
            logged: Logged::default(),
        };
        let outbound = Outbound::new(remote.clone(), external_labels, figures.clone());
        Self { shared, remote, figures, outbound, request: Arc::new(request) }
    }

    /// Until `stop` fires.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = metadata_requests(self.request.clone()) => {}
            () = self.windows() => {}
        }
    }

    async fn windows(&mut self) {
        let mut cursor = self.shared.spool.cursor(&self.remote.id);
        let mut reader = self.shared.spool.reader(cursor.acked);
        // What may have arrived already goes alone.
        let mut repeated = (cursor.sending > cursor.acked).then_some(cursor.sending);
        loop {
            let records;
            (reader, records) = self.window(reader, repeated.take()).await;
            let Some(last) = records.last() else { continue };
            let end = last.seq + 1;
            let samples: u64 = records.iter().map(|record| record.samples).sum();
            self.figures.pending.store(samples, Ordering::Relaxed);
            cursor.sending = end;
            self.note(cursor).await;
            self.send(&records).await;
            cursor = Cursor { acked: end, sending: end };
            self.note(cursor).await;
            self.figures.pending.store(0, Ordering::Relaxed);
        }
    }

    async fn window(
        &self,
        reader: Box<dyn Reader>,
        repeated: Option<u64>,
    ) -> (Box<dyn Reader>, Vec<Record>) {
        let queue = &self.remote.queue;
        let full = queue.max_samples_per_send as u64;
        let most = full.saturating_mul(queue.max_shards as u64);
        let window = Window { full, most, deadline_ms: queue.batch_send_deadline_ms };
        let trouble = |error: Error| {
            self.request.log(Trouble::Loss, &format!("cannot read the queue: {error}"));
            add(&self.figures.damaged, 1);
        };
        gather::next(&self.shared.spool, reader, repeated, window, trouble).await
    }

    async fn note(&self, cursor: Cursor) {
        let (spool, id) = (self.shared.spool.clone(), self.remote.id.clone());
        let noted = tokio::task::spawn_blocking(move || spool.set_cursor(&id, cursor)).await;
        if let Ok(Err(error)) = noted {
            // Sending goes on; a crash now sends more than once.
            self.request.log(Trouble::Delay, &format!("cannot note the position: {error}"));
        }
    }

    /// Sends the shards of a window side by side.
    async fn send(&mut self, records: &[Record]) {
        let shards = self.outbound.shards(records);
        self.figures.shards.store(shards.len() as u64, Ordering::Relaxed);
        let samples_max = self.remote.queue.max_samples_per_send;
        let mut shards = futures_util::stream::iter(shards)
            .map(|series| {
                let request = self.request.clone();
                async move {
                    for series in requests(series, samples_max) {
                        request.deliver(series).await;
                    }
                }
            })
            .buffer_unordered(self.remote.queue.max_shards);
        while shards.next().await.is_some() {}
    }
}

impl Requests {
    fn version(&self) -> Version {
        if self.fell_back.load(Ordering::Relaxed) { Version::V1 } else { self.remote.version }
    }

    fn log(&self, kind: Trouble, trouble: &str) {
        if self.logged.is_due(kind, self.clock.now_ms()) {
            tracing::warn!(remote = self.remote.name, "remote write: {trouble}");
        }
    }

    /// Sends until the receiver has taken or refused it.
    async fn deliver(&self, mut series: Vec<Series>) {
        let queue = &self.remote.queue;
        let mut backoff_ms = queue.min_backoff_ms.max(1);
        let mut body = None;
        loop {
            if self.drop_old(&mut series) {
                body = None;
            }
            if series.is_empty() {
                return;
            }
            let version = self.version();
            let bytes = body.get_or_insert_with(|| self.encode(version, &series)).clone();
            let samples: usize = series.iter().map(Series::sample_count).sum();
            match self.send(version, bytes, samples > 0).await {
                Answer::Taken => return self.taken(&series),
                Answer::Refused(why) => {
                    add(&self.figures.failed, samples);
                    return self
                        .log(Trouble::Loss, &format!("{samples} samples are refused: {why}"));
                }
                Answer::OtherVersion => {
                    body = None;
                    if !self.fell_back.swap(true, Ordering::Relaxed) {
                        tracing::info!(
                            remote = self.remote.name,
                            "remote write: the receiver does not know version 2.0; version 1.0 is used"
                        );
                    }
                }
                Answer::Later(why, wait_ms) => {
                    add(&self.figures.retried, samples);
                    self.log(Trouble::Delay, &format!("trying again: {why}"));
                    let wait_ms = wait_ms.unwrap_or(backoff_ms).min(RETRY_AFTER_MS_MAX);
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    backoff_ms = (backoff_ms * 2).min(queue.max_backoff_ms.max(1));
                }
            }
        }
    }

    fn encode(&self, version: Version, series: &[Series]) -> Bytes {
        let now_ms = self.clock.now_ms();
        Bytes::from(match version {
            Version::V1 => encode_v1(series, &[]),
            Version::V2 => {
                let mut lookup = self.lookup.lock();
                encode_v2(series, |labels| lookup.of(labels, now_ms))
            }
        })
    }

    /// Whether something was too old to be sent.
    fn drop_old(&self, series: &mut Vec<Series>) -> bool {
        let limit_ms = self.remote.queue.sample_age_limit_ms;
        if limit_ms == 0 {
            return false;
        }
        let oldest_ms = self.clock.now_ms().saturating_sub_unsigned(limit_ms);
        let count = |series: &[Series]| series.iter().map(Series::sample_count).sum::<usize>();
        let before = count(series);
        for one in series.iter_mut() {
            one.samples.retain(|(t_ms, _)| *t_ms >= oldest_ms);
            one.histograms.retain(|(t_ms, _)| *t_ms >= oldest_ms);
            one.exemplars.retain(|exemplar| exemplar.t_ms >= oldest_ms);
        }
        series.retain(|one| one.sample_count() > 0 || !one.exemplars.is_empty());
        let dropped = before - count(series);
        add(&self.figures.dropped_old, dropped);
        dropped > 0
    }

    fn taken(&self, series: &[Series]) {
        let figures = &self.figures;
        add(&figures.samples, series.iter().map(|one| one.samples.len()).sum());
        add(&figures.histograms, series.iter().map(|one| one.histograms.len()).sum());
        add(&figures.exemplars, series.iter().map(|one| one.exemplars.len()).sum());
        if let Some(newest_ms) = series.iter().filter_map(Series::newest_ms).max() {
            figures.newest_sent_ms.fetch_max(newest_ms, Ordering::Relaxed);
        }
    }

    async fn send(&self, version: Version, body: Bytes, has_samples: bool) -> Answer {
        let started_ns = self.clock.monotonic_ns();
        add(&self.figures.bytes, body.len());
        let answer = self.exchange(version, body, has_samples).await;
        let took_ms = (self.clock.monotonic_ns() - started_ns).max(0) / 1_000_000;
        add(&self.figures.requests, 1);
        add(&self.figures.request_ms, usize::try_from(took_ms).unwrap_or(0));
        answer.unwrap_or_else(|error| Answer::Later(error.to_string(), None))
    }

    async fn exchange(&self, version: Version, body: Bytes, has_samples: bool) -> Result<Answer> {
        let url = reqwest::Url::parse(&self.remote.url)
            .map_err(|e| Error::invalid(format!("url {:?}: {e}", self.remote.url)))?;
        let headers = |request: reqwest::RequestBuilder| {
            request
                .header(header::CONTENT_TYPE, version.content_type())
                .header(header::CONTENT_ENCODING, "snappy")
                .header("X-Prometheus-Remote-Write-Version", version.header())
                .body(body.clone())
        };
        let timeout = Duration::from_millis(self.remote.timeout_ms);
        let exchange = async {
            let response = post(&self.http, &self.remote.http, &url, headers).await?;
            let status = response.status().as_u16();
            let text = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
            let written = text("X-Prometheus-Remote-Write-Samples-Written").is_some()
                || text("X-Prometheus-Remote-Write-Histograms-Written").is_some();
            let retry_after = text("Retry-After");
            if (200..300).contains(&status) {
                // A receiver of 1.0 that does not look at the type takes a request of 2.0 for an empty one.
                let understood = version == Version::V1 || written || !has_samples;
                return Ok(if understood { Answer::Taken } else { Answer::OtherVersion });
            }
            let why = format!("HTTP status {status}: {}", first_line(response).await);
            let wait_ms = retry_after.and_then(|text| retry_after_ms(&text, self.clock.now_ms()));
            Ok(match status {
                415 if version == Version::V2 => Answer::OtherVersion,
                429 if self.remote.queue.retry_on_http_429 => Answer::Later(why, wait_ms),
                500..=599 => Answer::Later(why, wait_ms),
                _ => Answer::Refused(why),
            })
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => {
                let why = format!("no answer within {} ms", self.remote.timeout_ms);
                Ok(Answer::Later(why, None))
            }
        }
    }
}

/// The milliseconds of a `Retry-After`: seconds or a date.
pub(crate) fn retry_after_ms(text: &str, now_ms: i64) -> Option<u64> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_millisecond();
    u64::try_from(at.saturating_sub(now_ms)).ok()
}

/// Sends all metadata now and then, which only version 1.0 needs; 2.0 has it with the series.
async fn metadata_requests(requests: Arc<Requests>) {
    let Some(config) = requests.remote.metadata else {
        return std::future::pending().await;
    };
    let mut tick = tokio::time::interval(Duration::from_millis(config.send_interval_ms.max(1_000)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if requests.version() == Version::V2 {
            continue;
        }
        let all = requests.lookup.lock().all();
        for metadata in all.chunks(config.max_samples_per_send.max(1)) {
            let body = Bytes::from(encode_v1(&[], metadata));
            // What is missed comes with the next round.
            match requests.send(Version::V1, body, false).await {
                Answer::Taken => add(&requests.figures.metadata, metadata.len()),
                Answer::Refused(why) | Answer::Later(why, _) => {
                    requests.log(Trouble::Delay, &format!("metadata was not taken: {why}"));
                }
                Answer::OtherVersion => {}
            }
        }
    }
}

/// What an answer says, not too long.
pub(super) async fn first_line(mut response: reqwest::Response) -> String {
    let mut body = Vec::new();
    while body.len() < REASON_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(REASON_BYTES_MAX);
    let text = String::from_utf8_lossy(&body);
    text.lines().next().unwrap_or("").trim().to_owned()
}
