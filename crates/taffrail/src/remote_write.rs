//! Remote write: from what the stores accepted to the senders of `collect::forward`, through a queue on disk.
//!
//! Owns: what is queued, the queue, and its figures. Does not own: sending (`collect::forward`), reading
//! `prometheus.yml`.

mod cursors;
mod figures;
pub(crate) mod spool;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use collect::forward::Remote;
use model::{Clock, Done, Error, Labels, MetricBatch, MetricSource, Result};
use parking_lot::Mutex;
use storage::fs::{Fs, RealFs};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use spool::Spool;

pub(crate) use figures::figures;

/// What `prometheus.yml` says about remote write.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remotes {
    /// The receivers.
    pub remotes: Vec<Remote>,
    /// Labels for series that lack them.
    pub external_labels: Labels,
}

impl Remotes {
    /// From the blocks and `global.external_labels`.
    pub fn of(remotes: Vec<Remote>, external_labels: &BTreeMap<String, String>) -> Self {
        let pairs = external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Self { remotes, external_labels: Labels::from_pairs(pairs) }
    }
}

/// Sending on. The queue is opened with the first receiver there is, and stays open then.
pub struct RemoteWrite {
    settings: spool::Settings,
    source: Arc<dyn MetricSource>,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
    running: OnceLock<Running>,
    /// Held while receivers are replaced.
    reloading: Mutex<()>,
}

/// A queue with its senders.
struct Running {
    spool: Arc<Spool>,
    senders: collect::forward::Handle,
}

impl RemoteWrite {
    /// Sends to nobody yet; the queue is below `config.data_dir`. Senders end when `cancel` fires.
    pub fn new(
        config: &Config,
        source: Arc<dyn MetricSource>,
        clock: Arc<dyn Clock>,
        cancel: CancellationToken,
    ) -> Self {
        let settings = spool::Settings {
            what: "remote write",
            dir: config.data_dir.join("remote_write"),
            durability: config.durability,
            bytes_max: config.remote_write_disk_limit_bytes,
        };
        Self {
            settings,
            source,
            clock,
            cancel,
            running: OnceLock::new(),
            reloading: Mutex::default(),
        }
    }

    /// Replaces the receivers; what to do with batches from now on, `None` when there is nobody to send to. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// When the queue cannot be opened; nothing has changed then.
    pub fn reload(&self, remotes: Remotes) -> Result<Option<Feed>> {
        let _one_at_a_time = self.reloading.lock();
        let ids: Vec<String> = remotes.remotes.iter().map(|remote| remote.id.clone()).collect();
        let wanted = !ids.is_empty();
        match self.running.get() {
            Some(running) => {
                // Without receivers nothing is needed any more, and the queue empties itself.
                running.spool.keep_only(ids);
                running.senders.reload(remotes.remotes, remotes.external_labels);
            }
            None if wanted => {
                let running = self.open(remotes, ids)?;
                self.running.get_or_init(|| running);
            }
            None => {}
        }
        Ok(self.running.get().filter(|_| wanted).map(|running| Feed(running.spool.clone())))
    }

    fn open(&self, remotes: Remotes, ids: Vec<String>) -> Result<Running> {
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let spool = Arc::new(Spool::open(fs, self.clock.clone(), self.settings.clone(), ids)?);
        let senders = collect::forward::spawn(
            env!("CARGO_PKG_VERSION"),
            remotes.remotes,
            remotes.external_labels,
            spool.clone(),
            self.source.clone(),
            self.clock.clone(),
            self.cancel.clone(),
        );
        Ok(Running { spool, senders })
    }

    /// Waits for the senders, which were cancelled, and closes the queue.
    ///
    /// # Errors
    /// When the queue could not be closed in order; what was acknowledged is in it all the same.
    pub async fn closed(&self) -> Result<()> {
        let Some(running) = self.running.get() else { return Ok(()) };
        running.senders.closed().await;
        let spool = running.spool.clone();
        let closed = tokio::task::spawn_blocking(move || spool.close()).await;
        closed.unwrap_or_else(|e| Err(Error::new(model::ErrorKind::Bug, e.to_string())))
    }
}

/// Puts batches into the queue.
#[derive(Clone)]
pub struct Feed(Arc<Spool>);

/// A batch on its way: encoded before the store takes it, queued afterwards.
pub struct Queued(spool::Entry);

impl Feed {
    /// Prepares a batch; the work of encoding is the caller's.
    pub fn prepare(&self, batch: &MetricBatch) -> Queued {
        Queued(spool::Entry::of(batch))
    }

    /// Queues it; `done` is called once it is durable, or with the reason why it never will be.
    pub fn queue(&self, batch: Queued, done: Done) {
        self.0.send(batch.0, done);
    }
}

/// FNV-1a as hexadecimal digits; names a file, and nothing depends on its being hard to guess.
pub(crate) fn short_hash(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
