//! Remote write, sending side: what was stored goes on to other servers, in order, until they have it. [`spans`] does so by
//! OTLP.
//!
//! Owns: what leaves (external labels, relabelling, exemplars, histograms, metadata), batching, sharding, retries and
//! falling back to version 1.0, and figures about all that. Does not own: the queue on disk (the binary implements
//! [`Spool`]), requests' bytes (`ingest::write_request`), HTTP options (`scrape`).
//!
//! Shape: one task per remote. It takes the records behind its cursor, as many as `max_shards` requests hold, splits
//! their series by hash over as many shards as the backlog fills (at least `min_shards`), sends the shards side by side
//! and waits for all; then the cursor moves. A series is always in one shard of a window and windows follow each other,
//! so its samples never overtake each other, and resharding has no state.
//!
//! The cursor says what is acknowledged and what was being sent. After a crash the same window is sent again, alone: a
//! receiver that refuses what it already has then refuses nothing new.

mod config;
mod figures;
mod gather;
mod metadata;
mod sender;
pub mod spans;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;

use model::{Clock, Labels, MetricSource, Result};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{MetadataConfig, QueueConfig, Remote};
pub use figures::Figures;

pub(crate) use sender::retry_after_ms;

use sender::Sender;

/// How far a remote is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// First record that is not acknowledged.
    pub acked: u64,
    /// Behind the last record of the window under way; `acked` when there is none.
    pub sending: u64,
}

/// One batch of the queue.
#[derive(Debug, Clone)]
pub struct Record {
    /// Position in the queue.
    pub seq: u64,
    /// Samples and histograms in it, or spans.
    pub samples: u64,
    /// A snappy block of a remote-write 2.0 request, or of `TracesData` of OTLP.
    pub payload: Vec<u8>,
}

/// Reads the records of the queue in order. Calls block.
pub trait Reader: Send {
    /// Records below `end`, until they hold `samples_max` samples; at least one if there is one. Records lost or
    /// dropped meanwhile are passed over.
    ///
    /// # Errors
    /// When the queue cannot be read; the next call goes on behind what is damaged.
    fn read(&mut self, end: u64, samples_max: u64) -> Result<Vec<Record>>;
}

/// The queue.
pub trait Spool: Send + Sync {
    /// Position behind the last durable record, as it grows.
    fn end(&self) -> watch::Receiver<u64>;

    /// A reader from `seq` on.
    fn reader(&self, seq: u64) -> Box<dyn Reader>;

    /// Where remote `id` is; a new one starts at the end.
    fn cursor(&self, id: &str) -> Cursor;

    /// Notes where remote `id` is; survives the process, after a power loss an earlier one may come back. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    fn set_cursor(&self, id: &str, cursor: Cursor) -> Result<()>;
}

/// The running senders. Dropping it stops nothing; the cancellation token does.
pub struct Handle {
    shared: Shared,
    running: Mutex<Vec<Running>>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// What all senders use.
#[derive(Clone)]
struct Shared {
    version: String,
    spool: Arc<dyn Spool>,
    source: Arc<dyn MetricSource>,
    clock: Arc<dyn Clock>,
}

struct Running {
    remote: Arc<Remote>,
    external_labels: Labels,
    figures: Arc<Figures>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("remotes", &self.running.lock().len())
            .finish_non_exhaustive()
    }
}

/// Starts sending to `remotes` on the current tokio runtime, until `cancel` fires. `source` tells metadata of metrics;
/// `external_labels` are added to series that lack them. A rustls provider must be installed before.
pub fn spawn(
    version: &str,
    remotes: Vec<Remote>,
    external_labels: Labels,
    spool: Arc<dyn Spool>,
    source: Arc<dyn MetricSource>,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
) -> Handle {
    let shared = Shared { version: version.to_owned(), spool, source, clock };
    let handle = Handle { shared, running: Mutex::default(), tasks: TaskTracker::new(), cancel };
    handle.reload(remotes, external_labels);
    handle
}

impl Handle {
    /// Replaces the remotes. Those that did not change go on undisturbed, changed ones from where they were.
    pub fn reload(&self, remotes: Vec<Remote>, external_labels: Labels) {
        let mut running = self.running.lock();
        running.retain(|one| {
            let stays = one.external_labels == external_labels
                && remotes.iter().any(|remote| *remote == *one.remote);
            if !stays {
                one.stop.cancel();
            }
            stays
        });
        for remote in remotes {
            if running.iter().any(|one| *one.remote == remote) {
                continue;
            }
            let (remote, stop) = (Arc::new(remote), self.cancel.child_token());
            let figures = Arc::new(Figures::new(&remote));
            let sender = Sender::new(
                self.shared.clone(),
                remote.clone(),
                external_labels.clone(),
                figures.clone(),
            );
            self.tasks.spawn(sender.run(stop.clone()));
            running.push(Running {
                remote,
                external_labels: external_labels.clone(),
                figures,
                stop,
            });
        }
    }

    /// What the senders did, with the [`id`](Remote::id) of their remote.
    pub fn figures(&self) -> Vec<(String, Arc<Figures>)> {
        let running = self.running.lock();
        running.iter().map(|one| (one.remote.id.clone(), one.figures.clone())).collect()
    }

    /// Waits until all senders have ended after cancellation; what is under way is given up and sent again later.
    pub async fn closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
