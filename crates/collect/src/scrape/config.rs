//! Plain settings of scraping, as the configuration hands them in: validated there, acted on here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ingest::exposition::{Format, Limits};
use ingest::relabel::Rule;

/// Settings of all scraping.
#[derive(Debug, Clone)]
pub struct Config {
    /// `User-Agent` is `Taffrail/<version>`.
    pub version: String,
    /// Bounds for bodies whose job sets none of its own. A job's limit replaces the one here, up or down.
    pub limits: Limits,
    /// Dropped targets kept per job to show in the API.
    pub dropped_targets_max: usize,
}

/// A value that never shows in logs, or the file it is read from at each use.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The value itself.
    Text(String),
    /// A file whose trimmed content is the value.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("<secret>"),
            Self::File(path) => write!(f, "<secret in {}>", path.display()),
        }
    }
}

/// How the HTTP side of a scrape is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// User name and password.
    pub basic_auth: Option<(Secret, Secret)>,
    /// Scheme (`Bearer`) and credentials of the `Authorization` header.
    pub authorization: Option<(String, Secret)>,
    /// Whether to follow up to ten redirects.
    pub follow_redirects: bool,
    /// Headers added to each request.
    pub headers: Vec<(String, Secret)>,
    /// Proxy for all requests of the job.
    pub proxy_url: Option<String>,
    /// Verification of HTTPS targets.
    pub tls: TlsOptions,
}

/// Verification of HTTPS targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM text of the only authorities to trust.
    pub ca: Option<String>,
    /// File with the same.
    pub ca_file: Option<PathBuf>,
    /// Files with the client's certificate chain and key, PEM.
    pub client_files: Option<(PathBuf, PathBuf)>,
    /// Whether any certificate is taken.
    pub insecure_skip_verify: bool,
}

/// Limits of one job; 0 means none of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobLimits {
    /// Bytes of a decompressed body.
    pub body_bytes: u64,
    /// Samples that remain after metric relabelling.
    pub samples: u64,
    /// Targets of the job.
    pub targets: u64,
    /// Labels of a finished series, name included.
    pub labels: u64,
    /// Bytes of a label name.
    pub label_name_bytes: u64,
    /// Bytes of a label value.
    pub label_value_bytes: u64,
}

/// Targets that share labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Where the group comes from, for messages.
    pub source: String,
    /// Each target's own labels, `__address__` among them.
    pub targets: Vec<BTreeMap<String, String>>,
    /// Labels of all of them; a target's own win.
    pub labels: BTreeMap<String, String>,
}

impl TargetGroup {
    /// A group from plain addresses.
    pub fn of_addresses(
        source: impl Into<String>,
        addresses: impl IntoIterator<Item = String>,
        labels: BTreeMap<String, String>,
    ) -> Self {
        let target = |address| BTreeMap::from([("__address__".to_owned(), address)]);
        Self { source: source.into(), targets: addresses.into_iter().map(target).collect(), labels }
    }
}

/// Discovery from JSON and YAML files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSd {
    /// Paths; the last element may be a pattern with `*`, `?` and `[…]`.
    pub files: Vec<PathBuf>,
    /// Files are read again at least this often, and sooner when they change.
    pub refresh_interval_ms: u64,
}

/// Discovery of containers through the Docker Engine API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerSd {
    /// `unix:///path` or `http://host:port`.
    pub host: String,
    /// Port of targets whose containers expose none.
    pub port: u16,
    /// Address of targets in the host's network.
    pub host_networking_host: String,
    /// Whether only the first network of a container makes targets.
    pub match_first_network: bool,
    /// Filters of the list request: name and values.
    pub filters: Vec<(String, Vec<String>)>,
    /// How often the list is asked for.
    pub refresh_interval_ms: u64,
}

/// One `scrape_config`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeJob {
    /// Unique name; the `job` label unless relabelled.
    pub job_name: String,
    /// Milliseconds between scrapes.
    pub scrape_interval_ms: u64,
    /// Milliseconds a scrape may take; at most the interval.
    pub scrape_timeout_ms: u64,
    /// Path of the URL.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Query parameters.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether labels in the body win over the target's.
    pub honor_labels: bool,
    /// Whether times in the body are used.
    pub honor_timestamps: bool,
    /// Whether series with times of their own get staleness markers, too.
    pub track_timestamps_staleness: bool,
    /// Whether to write `scrape_timeout_seconds` and its like.
    pub extra_scrape_metrics: bool,
    /// Format assumed when a target does not name a known one.
    pub fallback_format: Option<Format>,
    /// Formats to ask for, in order of preference.
    pub formats: Vec<Format>,
    /// Rules for targets.
    pub relabel: Vec<Rule>,
    /// Rules for samples.
    pub metric_relabel: Vec<Rule>,
    /// Limits.
    pub limits: JobLimits,
    /// The HTTP side.
    pub http: HttpOptions,
    /// `static_configs`.
    pub static_targets: Vec<TargetGroup>,
    /// `file_sd_configs`.
    pub file_sd: Vec<FileSd>,
    /// `docker_sd_configs`.
    pub docker_sd: Vec<DockerSd>,
}

impl ScrapeJob {
    /// A job with Prometheus' defaults (1 m interval, 10 s timeout, `http`, `/metrics`) and no targets.
    pub fn new(job_name: impl Into<String>) -> Self {
        Self {
            job_name: job_name.into(),
            scrape_interval_ms: 60_000,
            scrape_timeout_ms: 10_000,
            metrics_path: "/metrics".to_owned(),
            scheme: "http".to_owned(),
            params: BTreeMap::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            extra_scrape_metrics: false,
            fallback_format: None,
            formats: vec![Format::OpenMetrics, Format::Prometheus],
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
            limits: JobLimits::default(),
            http: HttpOptions { follow_redirects: true, ..HttpOptions::default() },
            static_targets: Vec::new(),
            file_sd: Vec::new(),
            docker_sd: Vec::new(),
        }
    }
}
