//! What Prometheus' status and administration endpoints ask of the running process.

use std::collections::BTreeMap;

use alert::group::GroupReport;
use ingest::relabel::Rule;
use model::{LogDeletion, Matcher, Result, RetentionPreview, RetentionRule};

/// Answers that only the running process has; a part of [`Host`](crate::Host).
pub trait Operations: Send + Sync {
    /// How the process runs.
    fn runtime(&self) -> RuntimeInfo;

    /// Settings under the names of Prometheus' command line flags.
    fn flags(&self) -> BTreeMap<String, String>;

    /// The scrape configuration in force as YAML, without comments and secrets; empty when there is none.
    fn config_yaml(&self) -> String;

    /// Labels for everything that leaves the process.
    fn external_labels(&self) -> Vec<(String, String)>;

    /// The scrape jobs in force, in the order of the file.
    fn scrape_pools(&self) -> Vec<ScrapePool>;

    /// The metric store.
    fn store(&self) -> StoreInfo;

    /// What the operator must know now; empty when all is well.
    fn notifications(&self) -> Vec<Notification>;

    /// Everything configured that reads series.
    fn readers(&self) -> Readers;

    /// Groups of rules as they are now, by file and name.
    fn rule_groups(&self) -> Vec<GroupReport> {
        Vec::new()
    }

    /// URLs to which alerts are sent, and those of Alertmanagers that relabelling took out.
    fn alertmanagers(&self) -> (Vec<String>, Vec<String>) {
        Default::default()
    }

    /// Deletes the samples in `[start_ms, end_ms]` (Unix milliseconds, both inside) of the series that match any of
    /// `selectors`.
    ///
    /// # Errors
    /// When the store cannot note the deletion.
    fn delete_series(&self, selectors: &[Vec<Matcher>], start_ms: i64, end_ms: i64) -> Result<()>;

    /// Removes from disk what was deleted.
    ///
    /// # Errors
    /// When a part cannot be written.
    fn clean_tombstones(&self) -> Result<()>;

    /// Makes a snapshot below the data directory's `snapshots` and returns its name; without the head when `skip_head`.
    ///
    /// # Errors
    /// When a file cannot be written.
    fn snapshot(&self, skip_head: bool) -> Result<String>;

    /// Retentions of log streams in force, with their selectors, and the retention of all others in milliseconds.
    fn log_retention(&self) -> (Vec<(String, RetentionRule)>, i64);

    /// What such rules would keep and remove: an entry per rule, then one for all other streams. Nothing changes.
    ///
    /// # Errors
    /// When there are too many rules.
    fn preview_log_retention(
        &self,
        rules: Vec<RetentionRule>,
        default_ms: i64,
    ) -> Result<Vec<RetentionPreview>>;

    /// Retentions of services' traces in force, with their regular expressions, and the retention of all others in
    /// milliseconds.
    fn trace_retention(&self) -> (Vec<(String, RetentionRule)>, i64);

    /// What such rules would keep and remove, as [`preview_log_retention`](Self::preview_log_retention), with services for
    /// streams. Blocks.
    ///
    /// # Errors
    /// When there are too many rules, or a file cannot be read.
    fn preview_trace_retention(
        &self,
        rules: Vec<RetentionRule>,
        default_ms: i64,
    ) -> Result<Vec<RetentionPreview>>;

    /// Deletions of log rows, the oldest first.
    fn log_deletions(&self) -> Vec<LogDeletion>;

    /// Deletes log rows; `id` and `created_ms` are given by the store.
    ///
    /// # Errors
    /// When there are too many deletions, or the store cannot note it.
    fn delete_logs(&self, deletion: LogDeletion) -> Result<()>;

    /// Takes a deletion of log rows back; `force` does so after the time for it, too.
    ///
    /// # Errors
    /// [`NotFound`](model::ErrorKind::NotFound) without such a deletion, [`Invalid`](model::ErrorKind::Invalid) when it
    /// is too late.
    fn cancel_log_deletion(&self, id: &str, force: bool) -> Result<()>;
}

/// How the process runs. Times are Unix milliseconds.
#[derive(Debug, Clone, Default)]
pub struct RuntimeInfo {
    /// Start of the process.
    pub started_ms: i64,
    /// Working directory.
    pub working_dir: String,
    /// Name of the host.
    pub host_name: String,
    /// Whether the last reload worked.
    pub reload_ok: bool,
    /// When configuration was last taken over.
    pub config_ms: i64,
    /// Damaged files and lost records found so far.
    pub corruption_count: u64,
    /// Threads.
    pub thread_count: u64,
    /// Cores it may use.
    pub core_count: usize,
    /// Memory it should stay below, in bytes.
    pub memory_limit_bytes: u64,
    /// How long and how much is kept: `15d or 50GiB`.
    pub retention: String,
}

/// A scrape job.
#[derive(Debug, Clone)]
pub struct ScrapePool {
    /// Its name.
    pub name: String,
    /// Its effective settings as YAML, without secrets.
    pub yaml: String,
    /// Rules for its targets.
    pub relabel: Vec<Rule>,
}

/// The metric store in figures. Times are Unix milliseconds.
#[derive(Debug, Clone, Default)]
pub struct StoreInfo {
    /// Series with recent samples.
    pub series: u64,
    /// Samples not yet in parts.
    pub head_samples: u64,
    /// Bytes of parts and write-ahead log.
    pub disk_bytes: u64,
    /// Samples in parts.
    pub part_samples: u64,
    /// Immutable parts, oldest first.
    pub parts: Vec<PartInfo>,
}

/// An immutable part of the metric store.
#[derive(Debug, Clone, Default)]
pub struct PartInfo {
    /// Its name, unique in this store.
    pub name: String,
    /// First sample.
    pub first_ms: i64,
    /// Last sample.
    pub last_ms: i64,
    /// Samples in it.
    pub samples: u64,
    /// Series in it.
    pub series: u64,
    /// Columns of samples in it.
    pub columns: u64,
    /// How often its samples were merged: 1 when they came straight from the head.
    pub level: u32,
}

/// Something the operator must know.
#[derive(Debug, Clone)]
pub struct Notification {
    /// In words.
    pub text: String,
    /// Since when, Unix milliseconds.
    pub since_ms: i64,
}

/// Everything configured that reads series, for the question what dropping some of them would break.
#[derive(Debug, Clone, Default)]
pub struct Readers {
    /// Rules of the rule files that `prometheus.yml` names.
    pub rules: Vec<RuleReader>,
    /// What could not be read, in words.
    pub problems: Vec<String>,
}

/// A rule that reads series.
#[derive(Debug, Clone)]
pub struct RuleReader {
    /// Its file.
    pub file: String,
    /// Its group.
    pub group: String,
    /// Name of the alert or of the recorded series.
    pub name: String,
    /// `alerting` or `recording`.
    pub kind: &'static str,
    /// Its PromQL expression.
    pub expression: String,
}
