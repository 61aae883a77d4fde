//! Receivers: data that is pushed to us: metrics by remote write, OTLP, as text and by the Pushgateway's API; log lines
//! by Loki's push API, OTLP, Elasticsearch's `_bulk`, as JSON, by syslog, Fluentd's forward
//! protocol, Lumberjack, GELF, and as journal entries; spans by OTLP, Jaeger's
//! protocols and Zipkin's.
//!
//! Owns: what all of them share: bounds of bodies and requests, the lanes requests are decoded in, and handing rows to the
//! [`Sink`] so that an answer means they are durable. Does not own: wire formats (`ingest`), what the store accepts, and
//! the ledger, which the binary keeps; rows refused before the store are reported to it through
//! [`Host::refused`](crate::Host::refused).
//!
//! Memory: all bodies being read share one budget; what they unpack to is bounded per request and by the number of
//! lanes. A request beyond a bound is refused with the bound and its cost, before that cost is paid.

pub mod beats;
pub(crate) mod body;
mod connections;
mod datagrams;
mod delivery;
pub(crate) mod elastic;
pub mod fluent;
pub mod gelf;
pub mod grpc;
pub(crate) mod import;
pub mod jaeger;
pub(crate) mod journal;
pub(crate) mod jsonline;
pub(crate) mod lines;
pub(crate) mod loki;
pub(crate) mod origin;
pub(crate) mod otlp;
pub(crate) mod otlp_logs;
pub(crate) mod otlp_traces;
pub mod push_target;
pub mod pushgateway;
pub(crate) mod remote_write;
pub mod sockets;
pub(crate) mod spans;
pub mod syslog;
pub(crate) mod zipkin;

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use ingest::known::{ByLabels, Known};
use ingest::otlp::delta::Totals;
use ingest::pushed_text::KnownTexts;
use model::{Done, Error, ErrorKind, MetricBatch, Receipt, RejectReason, Result, Sink};
use parking_lot::RwLock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{App, assets, error};
use pushgateway::Gateway;

/// A request waits this long for a lane, then it is told to come again.
const LANE_WAIT_MAX: Duration = Duration::from_secs(10);
/// When a sender that was refused for lack of room should try again, in seconds.
const RETRY_AFTER_S: &str = "5";

/// Bounds of receivers; plain values, defaults live in the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one body as it is sent.
    pub body_bytes_max: usize,
    /// Bytes of one body unpacked.
    pub unpacked_bytes_max: usize,
    /// Bytes of all bodies being read at the same time.
    pub bodies_bytes_max: usize,
    /// Requests decoded at the same time.
    pub lanes: usize,
    /// Rows (samples, histograms, exemplars) one request may become.
    pub rows_max: usize,
    /// Labels of one series, its name included.
    pub labels_max: usize,
    /// Bytes of a metric or label name.
    pub name_bytes_max: usize,
    /// Bytes of a label value.
    pub value_bytes_max: usize,
    /// Bytes that may be kept, by each format that does so, to recognise series that come again.
    pub known_bytes_max: usize,
    /// Values that one label of pushed log lines may have; further ones become a field.
    pub label_values_max: usize,
    /// How far ahead of its arrival the time of a log line may lie, in milliseconds.
    pub future_ms_max: i64,
}

impl Limits {
    /// What the labels of one request's rows may take together: a request names labels once and rows share them.
    fn label_bytes_max(&self) -> usize {
        self.unpacked_bytes_max.saturating_mul(4)
    }
}

/// Everything the receivers need.
pub struct Receivers {
    pub(crate) limits: Limits,
    sink: Arc<dyn Sink>,
    pub(crate) bodies: Arc<body::Budget>,
    lanes: Arc<Semaphore>,
    otlp: RwLock<Arc<ingest::otlp::translate::Config>>,
    /// Held from translation to the store's answer by requests with deltas: what could not be stored is taken back.
    totals: Arc<tokio::sync::Mutex<Totals>>,
    gateway: Arc<Gateway>,
    /// Series of remote writes.
    known: RwLock<Known<ByLabels>>,
    /// Pushed texts and their series.
    known_texts: RwLock<KnownTexts>,
    /// Log lines.
    pub(crate) lines: lines::LineBook,
}

impl Receivers {
    /// Puts the parts together.
    pub fn new(
        limits: Limits,
        sink: Arc<dyn Sink>,
        otlp: ingest::otlp::translate::Config,
        totals: ingest::otlp::delta::Config,
        gateway: Arc<Gateway>,
    ) -> Arc<Self> {
        Arc::new(Self {
            limits,
            bodies: Arc::new(body::Budget::new(limits.bodies_bytes_max)),
            lanes: Arc::new(Semaphore::new(limits.lanes)),
            otlp: RwLock::new(Arc::new(otlp)),
            totals: Arc::new(tokio::sync::Mutex::new(Totals::new(totals))),
            sink,
            gateway,
            known: RwLock::new(Known::new(limits.known_bytes_max)),
            known_texts: RwLock::new(KnownTexts::new(limits.known_bytes_max)),
            lines: lines::LineBook::new(&limits),
        })
    }

    /// Translates OTLP from now on by other settings.
    pub fn set_otlp(&self, config: ingest::otlp::translate::Config) {
        *self.otlp.write() = Arc::new(config);
    }

    /// The pushed groups.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// A lane for decoding one request.
    async fn lane(&self) -> Result<OwnedSemaphorePermit> {
        match tokio::time::timeout(LANE_WAIT_MAX, self.lanes.clone().acquire_owned()).await {
            Ok(Ok(lane)) => Ok(lane),
            _ => Err(Error::new(
                ErrorKind::Busy,
                format!(
                    "no lane for another request became free within {} s",
                    LANE_WAIT_MAX.as_secs()
                ),
            )),
        }
    }
}

impl Receivers {
    /// As [`lane`](Self::lane), for senders that can be made to wait.
    async fn patient_lane(&self) -> Option<OwnedSemaphorePermit> {
        self.lanes.clone().acquire_owned().await.ok()
    }
}

/// Runs `work` off the runtime's workers.
async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(Error::new(ErrorKind::Bug, "request ended unexpectedly").with_source(panic))
    })
}

/// What the store says about a batch, once it is durable.
struct Answer(Option<oneshot::Receiver<Result<Receipt>>>);

impl Answer {
    /// Waits for it.
    async fn get(self) -> Result<Receipt> {
        let Some(receiver) = self.0 else { return Ok(Receipt::default()) };
        let gone = |_| Err(Error::new(ErrorKind::Busy, "store is shutting down"));
        receiver.await.unwrap_or_else(gone)
    }
}

/// Hands a batch to the store, off the runtime's workers, as it may block for a moment; an empty one is nothing to wait for.
fn hand_over(sink: &Arc<dyn Sink>, batch: MetricBatch) -> Answer {
    if batch.sample_count() + batch.exemplars.len() + batch.metadata.len() == 0 {
        return Answer(None);
    }
    let (sender, receiver) = oneshot::channel();
    let done = Done::new(move |outcome| {
        // The client went away; the rows are stored all the same.
        drop(sender.send(outcome));
    });
    sink.append_metrics(batch, done);
    Answer(Some(receiver))
}

/// Hands a batch to the store and waits until it is durable.
async fn store(sink: &Arc<dyn Sink>, batch: MetricBatch) -> Result<Receipt> {
    let sink = sink.clone();
    off_runtime(move || Ok(hand_over(&sink, batch))).await?.get().await
}

fn rejected(receipt: &Receipt) -> u64 {
    receipt.rejected.iter().map(|(_, count)| count).sum()
}

/// What the store refused, in words.
fn reasons(receipt: &Receipt) -> impl Iterator<Item = String> + '_ {
    receipt.rejected.iter().map(|(reason, count)| {
        let why = match reason {
            RejectReason::TooOld => "too old, their time is before the retention",
            RejectReason::TooNew => "too new, their time is more than ten minutes ahead",
            RejectReason::DuplicateTimestamp => "duplicate timestamp, with another value",
            RejectReason::SeriesLimit => {
                "over the number of active series or streams that there may be"
            }
            RejectReason::Invalid => "invalid",
        };
        format!("{count} rows refused: {why}")
    })
}

/// Status of an error while receiving: other than for queries, a limit is about the size of the request.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
        kind => error::status(kind),
    }
}

/// An error as plain text.
fn refuse(error: &Error) -> Response {
    let mut response = assets::plain(status(error.kind()), &error::public_message(error));
    if error.kind() == ErrorKind::Busy {
        retry_later(&mut response);
    }
    response
}

fn retry_later(response: &mut Response) {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
}

/// Reports rows that never reached the store.
fn book_refused(app: &App, source: &'static str, rows: u64) {
    if rows > 0 {
        app.host.refused(source, rows);
    }
}
