//! Forwarding of spans: from what the trace store accepted to the senders of `collect::forward::spans`, through a queue
//! on disk like that of remote write.
//!
//! Owns: what is queued, and its figures. Does not own: the queue (`remote_write::spool`), sending.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use collect::forward::spans::{self, SpanSenders};
use ingest::compression::pack_snappy;
use ingest::otlp::traces::to_protobuf;
use model::{Clock, Done, Result, SpanGroup};
use server::Figure;
use storage::fs::{Fs, RealFs};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::remote_write::spool::{Entry, Settings, Spool};

/// A queue with its senders.
pub struct SpanForward {
    spool: Arc<Spool>,
    senders: SpanSenders,
}

impl SpanForward {
    /// Opens the queue below `config.data_dir` and begins to send; `None` when there is nobody to send to. Senders end
    /// when `cancel` fires. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the queue cannot be opened.
    pub fn open(
        config: &Config,
        clock: &Arc<dyn Clock>,
        cancel: &CancellationToken,
    ) -> Result<Option<Self>> {
        let remotes = config.traces.forward.clone();
        if remotes.is_empty() {
            return Ok(None);
        }
        let settings = Settings {
            what: "forwarded spans",
            dir: config.data_dir.join("trace_forward"),
            durability: config.durability,
            bytes_max: config.traces.forward_disk_limit_bytes,
        };
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let ids = remotes.iter().map(|remote| remote.id.clone()).collect();
        let spool = Arc::new(Spool::open(fs, clock.clone(), settings, ids)?);
        let queue: Arc<dyn collect::forward::Spool> = spool.clone();
        let senders = spans::spawn(env!("CARGO_PKG_VERSION"), remotes, &queue, clock, cancel);
        Ok(Some(Self { spool, senders }))
    }

    /// What to do with spans that were stored.
    pub fn feed(&self) -> SpanFeed {
        SpanFeed(self.spool.clone())
    }

    /// Waits for the senders, which were cancelled, and closes the queue.
    ///
    /// # Errors
    /// When the queue could not be closed in order; what was acknowledged is in it all the same.
    pub async fn closed(&self) -> Result<()> {
        self.senders.closed().await;
        let spool = self.spool.clone();
        let closed = tokio::task::spawn_blocking(move || spool.close()).await;
        closed.unwrap_or_else(|e| Err(model::Error::new(model::ErrorKind::Bug, e.to_string())))
    }

    /// Everything there is to say.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let mut out = Vec::new();
        let mut add = |name, kind, help, labels: Vec<(&'static str, String)>, value: u64| {
            out.push(Figure { name, kind, help, labels, value: value as f64 });
        };
        let (bytes, bytes_max) = self.spool.bytes();
        for (name, kind, help, value) in [
            ("taffrail_trace_forward_queue_bytes", "gauge", "Bytes of the queue on disk.", bytes),
            (
                "taffrail_trace_forward_queue_limit_bytes",
                "gauge",
                "Bytes at which the oldest spans of the queue are dropped.",
                bytes_max,
            ),
            (
                "taffrail_trace_forward_queue_refused_batches_total",
                "counter",
                "Stored batches that could not be queued.",
                self.spool.stats().refused,
            ),
            (
                "taffrail_trace_forward_spans_in_total",
                "counter",
                "Spans queued.",
                self.spool.samples_in(),
            ),
        ] {
            add(name, kind, help, vec![], value);
        }
        for (remote, figures) in self.senders.figures() {
            let labels = || vec![("remote_name", remote.name.clone())];
            let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            for (name, help, value) in [
                ("taffrail_trace_forward_spans_total", "Spans acknowledged.", of(&figures.sent)),
                (
                    "taffrail_trace_forward_refused_spans_total",
                    "Spans that the receiver refused for good.",
                    of(&figures.refused),
                ),
                (
                    "taffrail_trace_forward_retried_spans_total",
                    "Spans sent again.",
                    of(&figures.retried),
                ),
                (
                    "taffrail_trace_forward_lost_spans_total",
                    "Spans dropped unsent because the queue was full.",
                    self.spool.lost(&remote.id),
                ),
                (
                    "taffrail_trace_forward_damaged_batches_total",
                    "Queued batches that could not be read.",
                    of(&figures.damaged),
                ),
                (
                    "taffrail_trace_forward_requests_total",
                    "Requests answered or given up.",
                    of(&figures.requests),
                ),
                ("taffrail_trace_forward_bytes_total", "Bytes sent, packed.", of(&figures.bytes)),
            ] {
                add(name, "counter", help, labels(), value);
            }
            for (name, help, value) in [
                (
                    "taffrail_trace_forward_queue_batches",
                    "Batches in the queue that are not acknowledged.",
                    self.spool.behind(&remote.id),
                ),
                ("taffrail_trace_forward_pending_spans", "Spans under way.", of(&figures.pending)),
            ] {
                add(name, "gauge", help, labels(), value);
            }
        }
        out
    }
}

/// Puts spans into the queue.
#[derive(Clone)]
pub struct SpanFeed(Arc<Spool>);

/// Spans on their way: encoded before the store takes them, queued afterwards.
pub struct QueuedSpans(Entry);

impl SpanFeed {
    /// Prepares spans; the work of encoding is the caller's.
    pub fn prepare(&self, groups: &[SpanGroup]) -> QueuedSpans {
        let spans = || groups.iter().flat_map(|group| &group.spans);
        let newest_ns = spans().map(|span| span.end_ns).max().unwrap_or(0);
        let payload = pack_snappy(&to_protobuf(groups));
        QueuedSpans(Entry::new(&payload, spans().count(), newest_ns.div_euclid(1_000_000)))
    }

    /// Queues them; `done` is called once they are durable, or with the reason why they never will be.
    pub fn queue(&self, spans: QueuedSpans, done: Done) {
        self.0.send(spans.0, done);
    }
}
