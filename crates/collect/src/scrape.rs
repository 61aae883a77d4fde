//! Scraping: discovers targets, scrapes each on its own steady grid, and hands batches to a [`model::Sink`].
//!
//! Owns: discovery (static, files, Docker, HTTP lists), target labels and relabelling, the scrape loops with their series caches,
//! staleness markers, the `up` and `scrape_*` series, and the view behind `/api/v1/targets`. Does not own: the formats
//! (`ingest::exposition`), relabelling rules (`ingest::relabel`), reading `prometheus.yml` (the binary), storage.
//!
//! Shape: one task owns the jobs and the table of targets; each discovery and each target is a task of its own, so a
//! broken one disturbs nobody. The [`Handle`] reads what the tasks publish.

pub mod alertmanager;
mod body;
mod cache;
mod config;
mod discovery;
pub(crate) mod docker_sd;
mod file_sd;
pub(crate) mod fuzzing;
pub(crate) mod http;
mod http_sd;
mod labels;
mod pool;
mod target;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::sync::Arc;

use model::{Clock, Labels, Sink};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use body::BodyReader;
pub use config::{
    Assertion, Config, DockerSd, FileSd, Grant, HistogramOptions, HttpOptions, HttpSd, JobLimits,
    NameEscaping, OAuth2, ProxyOptions, ScrapeJob, ScrapeProtocol, Secret, SignatureAlgorithm,
    TargetGroup, TlsOptions, TlsVersion,
};
pub use docker_sd::DockerApi;
pub use file_sd::{matching_files, read_target_groups};
pub use target::{format_duration, parse_duration};

use pool::{Board, Pool};

/// Whether the last scrape of a target worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    Unknown,
    /// It worked.
    Up,
    /// It failed; the target's `last_error` says why.
    Down,
}

impl Health {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Outcome of a target's last scrape.
#[derive(Debug, Clone, PartialEq)]
struct TargetStatus {
    health: Health,
    last_error: String,
    last_scrape_ms: i64,
    last_scrape_duration_s: f64,
}

/// A target that is being scraped, as `/api/v1/targets` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveTarget {
    /// Labels before relabelling.
    pub discovered_labels: Labels,
    /// Labels its series carry.
    pub labels: Labels,
    /// Name of its job.
    pub scrape_pool: String,
    /// URL as scraped, without user information.
    pub scrape_url: String,
    /// The same as seen from other machines.
    pub global_url: String,
    /// Why the last scrape failed, or `""`.
    pub last_error: String,
    /// Unix milliseconds of the last scrape, 0 before the first.
    pub last_scrape_ms: i64,
    /// Seconds the last scrape took.
    pub last_scrape_duration_s: f64,
    /// Whether it worked.
    pub health: Health,
    /// As written in `__scrape_interval__`, e.g. `15s`.
    pub scrape_interval: String,
    /// As written in `__scrape_timeout__`.
    pub scrape_timeout: String,
}

/// A target that relabelling dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct DroppedTarget {
    /// Labels before relabelling.
    pub discovered_labels: Labels,
    /// Name of its job.
    pub scrape_pool: String,
}

/// Everything known about targets at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetsSnapshot {
    /// Sorted by job and labels.
    pub active: Vec<ActiveTarget>,
    /// At most `Config::dropped_targets_max` per job.
    pub dropped: Vec<DroppedTarget>,
    /// Per job, how many were dropped, including those not kept.
    pub dropped_counts: Vec<(String, u64)>,
    /// Per job, what discovery or target making complains about (a bad file, an address with a slash).
    pub problems: Vec<(String, String)>,
}

/// The running scraper. Dropping it stops nothing; the cancellation token does.
pub struct Handle {
    jobs: watch::Sender<Vec<Arc<ScrapeJob>>>,
    board: Arc<Board>,
    tasks: TaskTracker,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("jobs", &self.jobs.borrow().len()).finish_non_exhaustive()
    }
}

/// Starts scraping `jobs` on the current tokio runtime, until `cancel` fires.
///
/// Cancelling writes no staleness markers, so that a restart leaves no holes; targets that vanish or are removed by
/// [`Handle::reload`] get them. `docker` answers the requests of `docker_sd_configs`
/// ([`engine_api`](crate::docker::engine_api)); without it those jobs report a problem. A rustls provider must be
/// installed before (`rustls::crypto::CryptoProvider::install_default`).
pub fn spawn(
    config: Config,
    jobs: Vec<ScrapeJob>,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    docker: Option<DockerApi>,
    cancel: CancellationToken,
) -> Handle {
    let (sender, receiver) = watch::channel(jobs.into_iter().map(Arc::new).collect());
    let board = Arc::new(Board::default());
    let tasks = TaskTracker::new();
    let pool = Pool::new(config, sink, clock, docker, cancel, Arc::clone(&board), tasks.clone());
    tasks.spawn(pool.run(receiver));
    tasks.close();
    Handle { jobs: sender, board, tasks }
}

impl Handle {
    /// Replaces the jobs. Jobs that did not change keep running untouched; of changed ones, targets that stay lose no
    /// sample and get no staleness markers. Takes effect within moments.
    pub fn reload(&self, jobs: Vec<ScrapeJob>) {
        self.jobs.send_replace(jobs.into_iter().map(Arc::new).collect());
    }

    /// The targets as they are now.
    pub fn targets(&self) -> TargetsSnapshot {
        self.board.snapshot()
    }

    /// Waits until all tasks have ended after cancellation, their last batches handed over.
    pub async fn closed(&self) {
        self.tasks.wait().await;
    }
}
