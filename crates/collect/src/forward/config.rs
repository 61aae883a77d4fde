//! Plain settings of remote write, as the configuration hands them in.

use ingest::relabel::Rule;
use ingest::write_request::Version;

use crate::scrape::HttpOptions;

/// One receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Remote {
    /// Name in figures and messages; unique.
    pub name: String,
    /// Tells its cursor from others'; changes with the URL, not with other settings.
    pub id: String,
    /// Where to send.
    pub url: String,
    /// Message to begin with; 2.0 falls back to 1.0 where the receiver does not know it.
    pub version: Version,
    /// Milliseconds a request may take.
    pub timeout_ms: u64,
    /// The HTTP side, with the headers of the block.
    pub http: HttpOptions,
    /// Rules for series.
    pub relabel: Vec<Rule>,
    /// Whether exemplars leave.
    pub send_exemplars: bool,
    /// Whether native histograms leave.
    pub send_native_histograms: bool,
    /// Batching and retries.
    pub queue: QueueConfig,
    /// Metadata requests of version 1.0, unless switched off.
    pub metadata: Option<MetadataConfig>,
}

/// Batching and retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// Requests side by side at least, if there are series for them.
    pub min_shards: usize,
    /// Requests side by side at most.
    pub max_shards: usize,
    /// Samples of a request at most.
    pub max_samples_per_send: usize,
    /// Milliseconds samples wait for a request to become full.
    pub batch_send_deadline_ms: u64,
    /// Milliseconds before the first retry.
    pub min_backoff_ms: u64,
    /// Milliseconds between retries at most.
    pub max_backoff_ms: u64,
    /// Whether 429 is retried like 5xx.
    pub retry_on_http_429: bool,
    /// Samples older than this many milliseconds are dropped; 0 for none.
    pub sample_age_limit_ms: u64,
}

impl Default for QueueConfig {
    /// Prometheus' defaults.
    fn default() -> Self {
        Self {
            min_shards: 1,
            max_shards: 50,
            max_samples_per_send: 2_000,
            batch_send_deadline_ms: 5_000,
            min_backoff_ms: 30,
            max_backoff_ms: 5_000,
            retry_on_http_429: false,
            sample_age_limit_ms: 0,
        }
    }
}

/// Metadata requests of version 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataConfig {
    /// Milliseconds between them.
    pub send_interval_ms: u64,
    /// Metrics of a request at most.
    pub max_samples_per_send: usize,
}
