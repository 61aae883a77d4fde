//! Remote write: from what the stores accepted to the senders of `collect::forward`, through a queue on disk.
//!
//! Owns: what is queued, the queue, and its figures. Does not own: sending (`collect::forward`), reading
//! `prometheus.yml`.

mod cursors;
mod figures;
mod spool;

use std::collections::BTreeMap;
use std::sync::Arc;

use collect::forward::Remote;
use model::{Clock, Done, Error, Labels, MetricBatch, MetricSource, Result};
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

/// A queue with its senders.
pub struct RemoteWrite {
    spool: Arc<Spool>,
    senders: collect::forward::Handle,
}

impl RemoteWrite {
    /// Opens the queue below `config.data_dir` if there is anybody to send to.
    ///
    /// # Errors
    /// When the queue cannot be opened.
    pub fn open(
        config: &Config,
        remotes: Remotes,
        source: Arc<dyn MetricSource>,
        clock: Arc<dyn Clock>,
        cancel: CancellationToken,
    ) -> Result<Option<Self>> {
        if remotes.remotes.is_empty() {
            return Ok(None);
        }
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let settings = spool::Settings {
            dir: config.data_dir.join("remote_write"),
            durability: config.durability,
            bytes_max: config.remote_write_disk_limit_bytes,
        };
        let ids = remotes.remotes.iter().map(|remote| remote.id.clone()).collect();
        let spool = Arc::new(Spool::open(fs, clock.clone(), settings, ids)?);
        let senders = collect::forward::spawn(
            env!("CARGO_PKG_VERSION"),
            remotes.remotes,
            remotes.external_labels,
            spool.clone(),
            source,
            clock,
            cancel,
        );
        Ok(Some(Self { spool, senders }))
    }

    /// Replaces the receivers.
    pub fn reload(&self, remotes: Remotes) {
        self.spool.keep_only(remotes.remotes.iter().map(|remote| remote.id.clone()).collect());
        self.senders.reload(remotes.remotes, remotes.external_labels);
    }

    /// What to do with a batch once the store has taken it.
    pub fn feed(&self) -> Feed {
        Feed(self.spool.clone())
    }

    /// Waits for the senders, which were cancelled, and closes the queue.
    ///
    /// # Errors
    /// When the queue could not be closed in order; what was acknowledged is in it all the same.
    pub async fn closed(&self) -> Result<()> {
        self.senders.closed().await;
        let spool = self.spool.clone();
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
