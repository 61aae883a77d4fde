//! Plain settings of scraping, as the configuration hands them in: validated there, acted on here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ingest::exposition::{Encoding, Format, Limits};
use ingest::relabel::Rule;

pub use model::http::{
    Assertion, Grant, HttpOptions, OAuth2, ProxyOptions, Secret, SignatureAlgorithm, TlsOptions,
    TlsVersion,
};

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

/// What a target may be asked for, in the words of `scrape_protocols`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScrapeProtocol {
    /// Protobuf, the only one with native histograms.
    PrometheusProto,
    /// OpenMetrics text 1.0.0.
    OpenMetricsText1,
    /// OpenMetrics text 0.0.1.
    OpenMetricsText0,
    /// Prometheus text 1.0.0, with quoted names.
    PrometheusText1,
    /// Prometheus text 0.0.4.
    PrometheusText0,
}

impl ScrapeProtocol {
    /// All of them, in the order in which a job that scrapes native histograms prefers them.
    pub const ALL: [Self; 5] = [
        Self::PrometheusProto,
        Self::OpenMetricsText1,
        Self::OpenMetricsText0,
        Self::PrometheusText1,
        Self::PrometheusText0,
    ];
    /// What a job asks for that says nothing about it.
    pub const TEXT: [Self; 4] = [
        Self::OpenMetricsText1,
        Self::OpenMetricsText0,
        Self::PrometheusText1,
        Self::PrometheusText0,
    ];

    /// As the configuration spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PrometheusProto => "PrometheusProto",
            Self::OpenMetricsText1 => "OpenMetricsText1.0.0",
            Self::OpenMetricsText0 => "OpenMetricsText0.0.1",
            Self::PrometheusText1 => "PrometheusText1.0.0",
            Self::PrometheusText0 => "PrometheusText0.0.4",
        }
    }

    /// Media type with the parameters that ask for this version.
    pub(super) fn media_range(self) -> &'static str {
        match self {
            Self::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::OpenMetricsText1 => "application/openmetrics-text;version=1.0.0",
            Self::OpenMetricsText0 => "application/openmetrics-text;version=0.0.1",
            Self::PrometheusText1 => "text/plain;version=1.0.0",
            Self::PrometheusText0 => "text/plain;version=0.0.4",
        }
    }

    /// Whether a target may be told how to escape names; older versions have no word for it.
    pub(super) fn negotiates_escaping(self) -> bool {
        matches!(self, Self::OpenMetricsText1 | Self::PrometheusText1)
    }

    /// How a body of this protocol is read.
    pub fn encoding(self) -> Encoding {
        match self {
            Self::PrometheusProto => Encoding::Protobuf,
            Self::OpenMetricsText1 | Self::OpenMetricsText0 => Encoding::Text(Format::OpenMetrics),
            Self::PrometheusText1 | Self::PrometheusText0 => Encoding::Text(Format::Prometheus),
        }
    }
}

/// How targets are asked to escape names that are not letters, digits and underscores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameEscaping {
    /// Not at all.
    AllowUtf8,
    /// Underscores for everything else.
    Underscores,
    /// `_dot_` for dots, `__` for underscores.
    Dots,
    /// `U__` and code points.
    Values,
}

impl NameEscaping {
    /// As the configuration and the `escaping` parameter spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// What becomes of histograms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistogramOptions {
    /// Whether native histograms are kept; if not, their classic buckets are.
    pub scrape_native: bool,
    /// Whether classic buckets are kept where a native histogram is there, too.
    pub always_classic: bool,
    /// Whether classic histograms become native ones with custom buckets.
    pub convert_classic: bool,
    /// Buckets of a native histogram at most; finer ones are merged until they fit. 0 means no limit.
    pub bucket_limit: u64,
    /// Factor by which a bucket must be wider than the one before; finer ones are merged. 0 means any.
    pub min_bucket_factor: f64,
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
    /// Dropped targets kept to show in the API.
    pub dropped_targets: u64,
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

/// Discovery from a list of targets that a server answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSd {
    /// Where the list is.
    pub url: String,
    /// How often it is asked for.
    pub refresh_interval_ms: u64,
    /// The HTTP side.
    pub http: HttpOptions,
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
    /// Assumed when a target does not name a known format.
    pub fallback_protocol: Option<ScrapeProtocol>,
    /// What to ask for, in order of preference.
    pub protocols: Vec<ScrapeProtocol>,
    /// Whether bodies may be compressed.
    pub enable_compression: bool,
    /// Whether names are letters, digits, underscores and colons; other names fail the scrape.
    pub legacy_names: bool,
    /// How targets are asked to escape names.
    pub name_escaping: NameEscaping,
    /// What becomes of histograms.
    pub histograms: HistogramOptions,
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
    /// `http_sd_configs`.
    pub http_sd: Vec<HttpSd>,
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
            fallback_protocol: None,
            protocols: ScrapeProtocol::TEXT.to_vec(),
            enable_compression: true,
            legacy_names: false,
            name_escaping: NameEscaping::AllowUtf8,
            histograms: HistogramOptions {
                scrape_native: false,
                always_classic: false,
                convert_classic: false,
                bucket_limit: 0,
                min_bucket_factor: 0.0,
            },
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
            limits: JobLimits::default(),
            http: HttpOptions::plain(),
            static_targets: Vec::new(),
            file_sd: Vec::new(),
            docker_sd: Vec::new(),
            http_sd: Vec::new(),
        }
    }
}
