//! What a sender did, counted.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::config::Remote;

/// Counts since the start (or since the remote changed).
#[derive(Debug, Default)]
pub struct Figures {
    /// Name of the remote.
    pub name: String,
    /// Its URL, without credentials.
    pub url: String,
    /// Requests side by side: at least, at most, samples of each at most.
    pub bounds: (usize, usize, usize),
    /// Float samples acknowledged.
    pub samples: AtomicU64,
    /// Native histograms acknowledged.
    pub histograms: AtomicU64,
    /// Exemplars acknowledged.
    pub exemplars: AtomicU64,
    /// Metadata acknowledged.
    pub metadata: AtomicU64,
    /// Bytes of bodies sent, compressed.
    pub bytes: AtomicU64,
    /// Samples and histograms refused for good by the receiver.
    pub failed: AtomicU64,
    /// Samples and histograms sent again.
    pub retried: AtomicU64,
    /// Samples and histograms dropped by relabelling.
    pub dropped_relabelled: AtomicU64,
    /// Samples and histograms dropped because of their age.
    pub dropped_old: AtomicU64,
    /// Native histograms not sent because they are switched off.
    pub dropped_histograms: AtomicU64,
    /// Records of the queue that could not be read.
    pub damaged: AtomicU64,
    /// Samples taken from the queue and not yet acknowledged.
    pub pending: AtomicU64,
    /// Requests side by side in the window under way or the last one.
    pub shards: AtomicU64,
    /// Time of the newest acknowledged sample, Unix milliseconds.
    pub newest_sent_ms: AtomicI64,
    /// Requests answered.
    pub requests: AtomicU64,
    /// Milliseconds they took, together.
    pub request_ms: AtomicU64,
}

impl Figures {
    pub(super) fn new(remote: &Remote) -> Self {
        let queue = &remote.queue;
        let mut url = reqwest::Url::parse(&remote.url).ok();
        if let Some(url) = &mut url {
            // Without a user there is nothing to take away.
            let _no_user = url.set_username("").and_then(|()| url.set_password(None));
        }
        Self {
            name: remote.name.clone(),
            url: url.map_or_else(String::new, |url| url.to_string()),
            bounds: (queue.min_shards, queue.max_shards, queue.max_samples_per_send),
            ..Self::default()
        }
    }
}

/// Adds without ordering: nobody decides by these.
pub(super) fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}
