//! `taffrail.yml`: what was written ([`RawConfig`]) becomes what is meant ([`Config`]). All defaults stand here, once.
//!
//! Every key's doc comment is the source of `docs/guide/configuration.md`; a test checks that the page names each key.

mod files;
mod forward;
mod logs;
mod sampling;
pub mod sockets;
mod traces;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use server::{Access, Role, Tenant, Tenants, Token};
use sockets::{
    RawBeats, RawCertificate, RawFluent, RawGelf, RawJaeger, RawSyslog, RawZipkin, SocketReceivers,
    Written,
};

pub use self::files::{Files, RawFiles};
pub use self::forward::RawForward;
pub use self::logs::{LogMetric, Logs, RawLogs, Redaction};
pub use self::sampling::RawSampling;
pub use self::traces::{RawTraces, Traces};
use crate::memory;
use crate::yaml::{self, ConfigError};

/// The file as written; every key optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Directory of all stored data. Default: `/var/lib/taffrail` for root, otherwise `~/.local/share/taffrail`.
    pub data_dir: Option<PathBuf>,
    /// Address of HTTP and UI. Default: `127.0.0.1:7245`. Beyond loopback it needs `server.tokens`.
    pub listen: Option<String>,
    /// How long metrics, logs and traces are kept: `15d`, `12h`. Default: 15d.
    pub retention: Option<String>,
    /// Metrics that are kept longer or shorter: a list of selectors with their retention; the first that matches a series
    /// counts. At most 8.
    pub retention_rules: Option<Vec<RawRetentionRule>>,
    /// Memory for stores, caches and queries: `512MiB`. Default: the cgroup's limit, or the machine's memory.
    pub memory_limit: Option<String>,
    /// Disk for stored data: `50GiB`; the oldest data is deleted first. Default: no limit but the disk's.
    pub disk_limit: Option<String>,
    /// Disk for samples that wait to be sent by `remote_write`: `10GiB`; beyond it the oldest are lost, and counted.
    /// Default: 2GiB.
    pub remote_write_disk_limit: Option<String>,
    /// Free disk space below which ingest stops: `1GiB`. Default: 5 % of the disk, at most 1 GiB.
    pub disk_reserve: Option<String>,
    /// `strict`: acknowledged data survives power loss. `interval`: it survives a crash of the process; up to 200 ms
    /// are lost with the power. Default: strict.
    pub durability: Option<String>,
    /// A `prometheus.yml`, read as it is. Relative to this file.
    pub prometheus: Option<PathBuf>,
    /// A `promtail.yml`, read as it is; its jobs run. Relative to this file.
    pub promtail: Option<PathBuf>,
    /// An `alertmanager.yml`, read as it is. Relative to this file.
    pub alertmanager: Option<PathBuf>,
    /// Rule files beside those that `prometheus.yml` names: patterns such as `rules/*.yml`. Relative to this file.
    pub rules: Option<Vec<String>>,
    /// Whether the rules that come with Taffrail are evaluated; by default when neither `rules` nor `prometheus` names
    /// others.
    pub default_rules: Option<bool>,
    /// Containers: metrics, events, logs.
    pub containers: Option<RawContainers>,
    /// Log files that are read; of several entries the first that matches a file counts.
    pub files: Option<Vec<RawFiles>>,
    /// This host's metrics.
    pub host: Option<RawHost>,
    /// Access to HTTP and UI.
    pub server: Option<RawServer>,
    /// Limits of queries.
    pub query: Option<RawQuery>,
    /// Data that is pushed: remote write, OTLP, the Pushgateway's API.
    pub receive: Option<RawReceive>,
    /// What happens to log lines, wherever they come from.
    pub logs: Option<RawLogs>,
    /// How long traces are kept, and how much of them.
    pub traces: Option<RawTraces>,
    /// How requests about log lines say whose they are.
    pub tenants: Option<RawTenants>,
}

/// `tenants:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTenants {
    /// Whether requests about log lines and traces name their tenant by `X-Scope-OrgID`, as Loki's with `auth_enabled: true`.
    /// Default: false, and there is one tenant.
    pub from_header: Option<bool>,
    /// The tenant of requests without that header, and of lines that are collected here. Default: none, and such requests
    /// are refused.
    pub default: Option<String>,
}

/// An entry of `retention_rules:`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRetentionRule {
    /// Which series: `{job="debug"}`.
    pub selector: String,
    /// How long they are kept: `1d`.
    pub keep: String,
}

/// `containers:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawContainers {
    /// Whether to watch containers. Default: true.
    pub enabled: Option<bool>,
    /// The engine's socket. Default: `DOCKER_HOST` when it is a `unix://` address, else the first that exists of Docker's
    /// and Podman's.
    pub socket: Option<PathBuf>,
    /// Distance of metric readings. Default: 15s.
    pub interval: Option<String>,
    /// Whether to store containers' stdout and stderr. Default: true.
    pub logs: Option<bool>,
    /// Whether stack traces in them become one record. Default: true.
    pub multiline: Option<bool>,
}

/// `host:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawHost {
    /// Whether to watch the host. Default: true.
    pub enabled: Option<bool>,
    /// Distance of metric readings. Default: 15s.
    pub interval: Option<String>,
    /// Where the host's `/proc` is seen. Default: `/proc`.
    pub proc: Option<PathBuf>,
    /// Where the host's `/sys` is seen. Default: `/sys`.
    pub sys: Option<PathBuf>,
    /// Where the host's root file system is seen. Default: `/`.
    pub rootfs: Option<PathBuf>,
    /// Name in the `instance` label. Default: the host name.
    pub name: Option<String>,
}

/// `server:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawServer {
    /// Host names under which browsers and clients address this server, beside loopback and IP addresses.
    pub host_names: Option<Vec<String>>,
    /// Bearer tokens. With any token set, requests without one are refused, also on loopback.
    pub tokens: Option<Vec<RawToken>>,
    /// The address users reach this server under, such as `https://taffrail.example.org`: links in alerts begin with it.
    /// Default: `listen`, with the host's name when that is beyond loopback.
    pub external_url: Option<String>,
    /// Whether admins may delete series and make snapshots over HTTP (`/api/v1/admin/tsdb/*`). Default: false.
    pub admin_api: Option<bool>,
    /// Pages of which origins may read the Prometheus API: a regular expression, matched against the whole origin, such
    /// as `https://.*\.example\.org`. Default: all (`.*`) when tokens are configured, otherwise none.
    pub cors_origin: Option<String>,
}

/// An entry of `server.tokens`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawToken {
    /// `viewer`, `editor`, `admin` or `ingest`.
    pub role: String,
    /// The tenant whose log lines it writes and reads. Default: any.
    pub tenant: Option<String>,
    /// File whose first line is the token. Relative to this file.
    pub token_file: PathBuf,
}

/// `query:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawQuery {
    /// Samples or log lines one query may read. Default: 50000000.
    pub max_samples: Option<u64>,
    /// Time one query may take. Default: 30s.
    pub timeout: Option<String>,
    /// Queries evaluated at the same time; more wait. Default: twice the number of cores.
    pub max_concurrency: Option<usize>,
    /// Age at which a sample no longer counts as current. Default: 5m.
    pub lookback: Option<String>,
    /// Log lines one query may return. Default: 5000.
    pub max_log_lines: Option<usize>,
    /// Whether PromQL's experimental functions are accepted. Default: false.
    pub experimental_functions: Option<bool>,
}

/// `receive:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawReceive {
    /// Address of OTLP over gRPC, or `off`. Default: port 4317 beside `listen`, if that is free.
    pub otlp_grpc: Option<String>,
    /// Largest request, unpacked. Default: a 32nd of `memory_limit`, at most 64MiB.
    pub max_request: Option<String>,
    /// Distance of the samples of pushed groups. Default: 15s.
    pub push_interval: Option<String>,
    /// Values one label of pushed log lines may have; further ones become a field. Default: 10000.
    pub max_label_values: Option<usize>,
    /// Certificate of the receivers below, for TLS.
    pub tls: Option<RawCertificate>,
    /// Syslog. Default: off.
    pub syslog: Option<RawSyslog>,
    /// Fluentd's forward protocol. Default: off.
    pub fluent: Option<RawFluent>,
    /// Lumberjack, as Beats and Logstash speak it. Default: off.
    pub beats: Option<RawBeats>,
    /// GELF. Default: off.
    pub gelf: Option<RawGelf>,
    /// Spans as Jaeger's clients send them. Default: off.
    pub jaeger: Option<RawJaeger>,
    /// Spans as Zipkin's clients send them. Default: off.
    pub zipkin: Option<RawZipkin>,
}

/// What the command line says; it wins over the file.
#[derive(Debug, Default, Clone)]
pub struct Overrides {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--retention`
    pub retention: Option<String>,
    /// `--memory-limit`
    pub memory_limit: Option<String>,
    /// `--disk-limit`
    pub disk_limit: Option<String>,
}

/// Everything the process needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: Option<PathBuf>,
    /// Directory of all stored data.
    pub data_dir: PathBuf,
    /// Address of HTTP and UI.
    pub listen: SocketAddr,
    /// How long data is kept.
    pub retention_ms: i64,
    /// Retentions of their own for some metrics.
    pub retention_rules: Vec<model::RetentionRule>,
    /// Memory the process should stay below.
    pub memory_limit_bytes: u64,
    /// Where that number came from, for the log.
    pub memory_limit_source: &'static str,
    /// Bytes of stored data.
    pub disk_limit_bytes: Option<u64>,
    /// Bytes of samples waiting to be sent.
    pub remote_write_disk_limit_bytes: u64,
    /// Free bytes below which ingest stops; `None` for 5 % of the disk, at most 1 GiB.
    pub disk_reserve_bytes: Option<u64>,
    /// When an append is acknowledged.
    pub durability: storage::wal::Durability,
    /// `prometheus.yml`.
    pub prometheus: Option<PathBuf>,
    /// `promtail.yml`.
    pub promtail: Option<PathBuf>,
    /// `alertmanager.yml`.
    pub alertmanager: Option<PathBuf>,
    /// Patterns of rule files beside those of `prometheus.yml`, as written.
    pub rules: Vec<String>,
    /// Whether the rules that come with the program are evaluated.
    pub default_rules: bool,
    /// Where users reach this server, without a slash at its end; `None` for its own address.
    pub external_url: Option<String>,
    /// Container collection, unless switched off.
    pub containers: Option<Containers>,
    /// Log files that are read.
    pub files: Vec<Files>,
    /// Host collection, unless switched off.
    pub host: Option<Host>,
    /// Name in the `instance` label.
    pub host_name: String,
    /// Who may do what.
    pub access: Access,
    /// Whether series may be deleted and snapshots made over HTTP.
    pub admin_api: bool,
    /// Origins whose pages may read the Prometheus API.
    pub cors_origin: Option<regex::Regex>,
    /// Limits of queries.
    pub query: Query,
    /// Data that is pushed.
    pub receive: Receive,
    /// What happens to log lines.
    pub logs: Logs,
    /// What happens to traces.
    pub traces: Traces,
}

/// Data that is pushed.
#[derive(Debug, Clone)]
pub struct Receive {
    /// Address of OTLP over gRPC; `None` when it is off.
    pub otlp_grpc: Option<SocketAddr>,
    /// Whether that address was asked for; one that was not may be taken already.
    pub otlp_grpc_asked: bool,
    /// Largest request, unpacked.
    pub request_bytes_max: usize,
    /// Distance of the samples of pushed groups.
    pub push_interval_ms: u64,
    /// Values one label of pushed log lines may have.
    pub label_values_max: usize,
    /// Receivers with sockets of their own.
    pub sockets: SocketReceivers,
}

/// Container collection.
#[derive(Debug, Clone)]
pub struct Containers {
    /// The engine's socket.
    pub socket: PathBuf,
    /// Distance of readings.
    pub interval_ms: u64,
    /// Whether to store their logs.
    pub logs: bool,
    /// Whether stack traces in them become one record.
    pub joins_traces: bool,
}

/// Host collection.
#[derive(Debug, Clone)]
pub struct Host {
    /// Distance of readings.
    pub interval_ms: u64,
    /// The host's `/proc`.
    pub proc: PathBuf,
    /// The host's `/sys`.
    pub sys: PathBuf,
    /// The host's root file system.
    pub rootfs: PathBuf,
}

/// Limits of queries.
#[derive(Debug, Clone)]
pub struct Query {
    /// Bounds of one query.
    pub limits: model::Limits,
    /// Queries at the same time.
    pub concurrency: usize,
    /// Look-back of instant selectors.
    pub lookback_ms: i64,
    /// Log lines one query may return.
    pub log_rows_max: usize,
    /// Experimental PromQL functions.
    pub experimental: bool,
}

const MIB: u64 = 1 << 20;
const DAY_MS: i64 = 86_400_000;

/// Reads the file named by `overrides` (if any) and lays `overrides` over it. `env` looks environment variables up.
///
/// # Errors
/// The first mistake, with its place.
pub fn load(
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let Some(path) = &overrides.config else {
        return check(RawConfig::default(), None, "", overrides, env);
    };
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError::whole_file(path, format!("cannot read: {e}")))?;
    let text = crate::expand::lines(path, &text, env)?;
    let raw = if text.trim().is_empty() { RawConfig::default() } else { yaml::parse(path, &text)? };
    check(raw, Some(path), &text, overrides, env)
}

/// `text` is what `raw` was read from; mistakes are shown at their place in it.
fn check(
    raw: RawConfig,
    path: Option<&Path>,
    text: &str,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let mistakes = Mistakes { path, text, overrides };
    let base = path.and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
    let data_dir = match overrides.data_dir.clone() {
        Some(dir) => dir,
        None => raw.data_dir.map(|dir| base.join(dir)).unwrap_or_else(|| default_data_dir(env)),
    };
    let listen =
        overrides.listen.clone().or(raw.listen).unwrap_or_else(|| "127.0.0.1:7245".to_owned());
    let listen = mistakes.address(&listen)?;
    let server = raw.server.unwrap_or_default();
    let external_url = server.external_url.clone();
    let external_url =
        external_url.map(|url| mistakes.url("server.external_url", &url)).transpose()?;
    let (admin_api, cors_origin) = (server.admin_api.unwrap_or(false), server.cors_origin.clone());
    let tenants = tenants(raw.tenants.unwrap_or_default(), &mistakes)?;
    let access = access(server, listen, tenants, &base, &mistakes)?;
    let cors_origin = cors_origin.or_else(|| (!access.tokens.is_empty()).then(|| ".*".to_owned()));
    let cors_origin = cors_origin
        .map(|pattern| model::anchored_regex(&pattern))
        .transpose()
        .map_err(|e| mistakes.error("cors_origin", format!("server.cors_origin: {e}")))?;

    let retention =
        overrides.retention.clone().or(raw.retention).unwrap_or_else(|| "15d".to_owned());
    let retention_ms = mistakes.duration("retention", &retention, 60_000, 100 * 365 * DAY_MS)?;
    let names_rules = raw.rules.is_some() || raw.prometheus.is_some();
    let default_rules = raw.default_rules.unwrap_or(!names_rules);
    let retention_rules = retention_rules(raw.retention_rules.unwrap_or_default(), &mistakes)?;
    let (memory_limit_bytes, memory_limit_source) =
        match overrides.memory_limit.clone().or(raw.memory_limit) {
            Some(text) => (mistakes.bytes("memory_limit", &text, 64 * MIB)?, "configured"),
            None => memory::available(),
        };
    let disk_limit = overrides.disk_limit.clone().or(raw.disk_limit);
    let disk_limit_bytes =
        disk_limit.map(|text| mistakes.bytes("disk_limit", &text, 64 * MIB)).transpose()?;
    let remote_write_disk_limit_bytes = match raw.remote_write_disk_limit {
        Some(text) => mistakes.bytes("remote_write_disk_limit", &text, 64 * MIB)?,
        None => 2_048 * MIB,
    };
    let disk_reserve_bytes =
        raw.disk_reserve.map(|text| mistakes.bytes("disk_reserve", &text, 0)).transpose()?;
    let durability = match raw.durability.as_deref() {
        None | Some("strict") => storage::wal::Durability::Strict,
        Some("interval") => storage::wal::Durability::Interval { ms: 200 },
        Some(other) => {
            return Err(mistakes.error(
                "durability",
                format!("durability: {other:?} is neither strict nor interval"),
            ));
        }
    };

    let containers = raw.containers.unwrap_or_default();
    let host = raw.host.unwrap_or_default();
    let interval_ms = |key: &str, text: Option<String>| {
        mistakes
            .duration(key, text.as_deref().unwrap_or("15s"), 1_000, DAY_MS)
            .map(i64::unsigned_abs)
    };
    let containers_interval_ms = interval_ms("containers.interval", containers.interval)?;
    let host_interval_ms = interval_ms("host.interval", host.interval)?;
    let socket = match containers.socket {
        Some(socket) => socket,
        None => default_socket(env)
            .map_err(|message| ConfigError::whole_file(Path::new("environment"), message))?,
    };
    let query = query(raw.query.unwrap_or_default(), memory_limit_bytes, &mistakes)?;
    let receive = receive(
        raw.receive.unwrap_or_default(),
        listen,
        &access,
        memory_limit_bytes,
        &base,
        &mistakes,
    )?;
    let logs = logs::check(raw.logs.unwrap_or_default(), retention_ms, &mistakes)?;
    let traces = traces::check(raw.traces.unwrap_or_default(), retention_ms, &base, &mistakes)?;
    Ok(Config {
        path: path.map(Path::to_owned),
        data_dir,
        listen,
        retention_ms,
        retention_rules,
        memory_limit_bytes,
        memory_limit_source,
        disk_limit_bytes,
        remote_write_disk_limit_bytes,
        disk_reserve_bytes,
        durability,
        prometheus: raw.prometheus.map(|file| base.join(file)),
        promtail: raw.promtail.map(|file| base.join(file)),
        alertmanager: raw.alertmanager.map(|file| base.join(file)),
        default_rules,
        rules: raw.rules.unwrap_or_default(),
        external_url,
        containers: containers.enabled.unwrap_or(true).then(|| Containers {
            socket,
            interval_ms: containers_interval_ms,
            logs: containers.logs.unwrap_or(true),
            joins_traces: containers.multiline.unwrap_or(true),
        }),
        files: files::check(raw.files.unwrap_or_default(), &base, &mistakes)?,
        host_name: host.name.clone().unwrap_or_else(host_name),
        host: host.enabled.unwrap_or(true).then(|| Host {
            interval_ms: host_interval_ms,
            proc: host.proc.unwrap_or_else(|| "/proc".into()),
            sys: host.sys.unwrap_or_else(|| "/sys".into()),
            rootfs: host.rootfs.unwrap_or_else(|| "/".into()),
        }),
        access,
        admin_api,
        cors_origin,
        query,
        receive,
        logs,
        traces,
    })
}

/// Values of a label of pushed log lines, unless `receive.max_label_values` says otherwise, and the most it may say.
const LABEL_VALUES_MAX: usize = 10_000;
const LABEL_VALUES_BOUND: usize = 1_000_000;

/// OTLP's port for gRPC.
const OTLP_GRPC_PORT: u16 = 4317;

fn receive(
    raw: RawReceive,
    listen: SocketAddr,
    access: &Access,
    memory_limit_bytes: u64,
    base: &Path,
    mistakes: &Mistakes<'_>,
) -> Result<Receive, ConfigError> {
    let asked = raw.otlp_grpc.is_some();
    let otlp_grpc = match raw.otlp_grpc.as_deref() {
        // What `listen` needs tokens for, this has them for.
        None => Some(SocketAddr::new(listen.ip(), OTLP_GRPC_PORT)),
        Some("off") => None,
        Some(text) => Some(sockets::guarded("receive.otlp_grpc", text, access, mistakes)?),
    };
    let request_bytes_max = match raw.max_request {
        Some(text) => mistakes.bytes("receive.max_request", &text, MIB)?,
        None => (memory_limit_bytes / 32).clamp(4 * MIB, 64 * MIB),
    };
    let push_interval_ms = mistakes
        .duration(
            "receive.push_interval",
            raw.push_interval.as_deref().unwrap_or("15s"),
            1_000,
            DAY_MS,
        )?
        .unsigned_abs();
    let label_values_max = raw.max_label_values.unwrap_or(LABEL_VALUES_MAX);
    if !(1..=LABEL_VALUES_BOUND).contains(&label_values_max) {
        let message = format!(
            "receive.max_label_values: {label_values_max} is out of range; it must be 1 to {LABEL_VALUES_BOUND}"
        );
        return Err(mistakes.error("receive.max_label_values", message));
    }
    let written = Written {
        certificate: raw.tls,
        syslog: raw.syslog,
        fluent: raw.fluent,
        beats: raw.beats,
        gelf: raw.gelf,
        jaeger: raw.jaeger,
        zipkin: raw.zipkin,
    };
    Ok(Receive {
        otlp_grpc,
        otlp_grpc_asked: asked,
        request_bytes_max: usize::try_from(request_bytes_max).unwrap_or(usize::MAX),
        push_interval_ms,
        label_values_max,
        sockets: sockets::check(written, access, base, mistakes)?,
    })
}

fn query(
    raw: RawQuery,
    memory_limit_bytes: u64,
    mistakes: &Mistakes<'_>,
) -> Result<Query, ConfigError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let positive = |key: &str, value: usize| {
        if value == 0 {
            let message = format!("{key}: 0 would refuse every query; it must be 1 or more");
            Err(mistakes.error(key, message))
        } else {
            Ok(value)
        }
    };
    let concurrency = positive("query.max_concurrency", raw.max_concurrency.unwrap_or(2 * cores))?;
    Ok(Query {
        limits: model::Limits {
            samples_max: raw.max_samples.unwrap_or(50_000_000),
            // A quarter of the 60 % that stores and queries may take, as ENGINE's memory plan has it.
            bytes_max: memory_limit_bytes / 100 * 15,
            time_ms_max: mistakes.duration(
                "query.timeout",
                raw.timeout.as_deref().unwrap_or("30s"),
                1,
                DAY_MS,
            )?,
        },
        concurrency,
        lookback_ms: mistakes.duration(
            "query.lookback",
            raw.lookback.as_deref().unwrap_or("5m"),
            1,
            DAY_MS,
        )?,
        log_rows_max: positive("query.max_log_lines", raw.max_log_lines.unwrap_or(5_000))?,
        experimental: raw.experimental_functions.unwrap_or(false),
    })
}

fn retention_rules(
    raw: Vec<RawRetentionRule>,
    mistakes: &Mistakes<'_>,
) -> Result<Vec<model::RetentionRule>, ConfigError> {
    let max = tsdb::cuts::RULES_MAX;
    if raw.len() > max {
        let message = format!("retention_rules: {} rules; at most {max}", raw.len());
        return Err(mistakes.error("retention_rules", message));
    }
    let mut rules = Vec::new();
    for (index, rule) in raw.into_iter().enumerate() {
        let key = format!("retention_rules.{index}.selector");
        let matchers = query::promql::parse_selector(&rule.selector).map_err(|e| {
            mistakes.error(&key, format!("retention_rules: {:?}: {}", rule.selector, e.message()))
        })?;
        let key = format!("retention_rules.{index}.keep");
        let retention_ms = mistakes.duration(&key, &rule.keep, 60_000, 100 * 365 * DAY_MS)?;
        rules.push(model::RetentionRule { matchers, retention_ms });
    }
    Ok(rules)
}

fn tenants(raw: RawTenants, mistakes: &Mistakes<'_>) -> Result<Tenants, ConfigError> {
    let from_header = raw.from_header.unwrap_or(false);
    if raw.default.is_some() && !from_header {
        let message = "tenants.default: it is of requests without X-Scope-OrgID, which means something only with \
                       tenants.from_header: true";
        return Err(mistakes.error("tenants.default", message.to_owned()));
    }
    let default = raw.default.map(|name| tenant("tenants.default", &name, mistakes)).transpose()?;
    Ok(Tenants { from_header, default })
}

fn tenant(key: &str, name: &str, mistakes: &Mistakes<'_>) -> Result<Tenant, ConfigError> {
    Tenant::new(name).map_err(|_| {
        let message = format!(
            "{key}: {name:?} cannot be the name of a tenant: it has 1 to 150 letters, digits and any of !-_.*'()"
        );
        mistakes.error(key, message)
    })
}

fn access(
    raw: RawServer,
    listen: SocketAddr,
    tenants: Tenants,
    base: &Path,
    mistakes: &Mistakes<'_>,
) -> Result<Access, ConfigError> {
    let mut tokens = Vec::new();
    for (index, token) in raw.tokens.unwrap_or_default().into_iter().enumerate() {
        let role = match token.role.as_str() {
            "viewer" => Role::Viewer,
            "editor" => Role::Editor,
            "admin" => Role::Admin,
            "ingest" => Role::Ingest,
            other => {
                return Err(mistakes.error(
                    &format!("server.tokens.{index}.role"),
                    format!("server.tokens: unknown role {other:?}; it is viewer, editor, admin or ingest"),
                ));
            }
        };
        let file_key = format!("server.tokens.{index}.token_file");
        let file = base.join(&token.token_file);
        let text = std::fs::read_to_string(&file).map_err(|e| {
            let message = format!("server.tokens: cannot read token_file {}: {e}", file.display());
            mistakes.error(&file_key, message)
        })?;
        let secret = text.lines().next().unwrap_or("").trim();
        if secret.len() < 16 {
            let message = format!(
                "server.tokens: {} holds a token of {} characters; it needs 16 or more",
                file.display(),
                secret.len()
            );
            return Err(mistakes.error(&file_key, message));
        }
        let new = Token::new(secret, role);
        tokens.push(match token.tenant {
            Some(name) => {
                let key = format!("server.tokens.{index}.tenant");
                new.of_tenant(tenant(&key, &name, mistakes)?)
            }
            None => new,
        });
    }
    if !listen.ip().is_loopback() && tokens.is_empty() {
        let message = format!(
            "listen: {listen} is reachable from other machines, and without server.tokens everybody there could read everything; \
             add server.tokens, or listen on 127.0.0.1"
        );
        return Err(mistakes.error("listen", message));
    }
    let anonymous = tokens.is_empty().then_some(Role::Admin);
    let host_names = raw.host_names.unwrap_or_default();
    Ok(Access { anonymous, tokens, host_names, tenants })
}

/// Words mistakes in values and finds their place; keys are checked by the YAML reader.
struct Mistakes<'a> {
    path: Option<&'a Path>,
    text: &'a str,
    overrides: &'a Overrides,
}

impl Mistakes<'_> {
    /// A mistake in the value of `key`: dotted, with numbers for entries of lists.
    fn error(&self, key: &str, message: String) -> ConfigError {
        let flag = match key {
            "listen" => &self.overrides.listen,
            "retention" => &self.overrides.retention,
            "memory_limit" => &self.overrides.memory_limit,
            "disk_limit" => &self.overrides.disk_limit,
            _ => &None,
        };
        let Some(path) = self.path.filter(|_| flag.is_none()) else {
            return ConfigError::whole_file(Path::new("command line"), message);
        };
        let (line, column) = yaml::place_of(self.text, key).unwrap_or((0, 0));
        ConfigError { path: path.to_owned(), line, column, message }
    }

    /// An address of pages, without a slash at its end.
    fn url(&self, key: &str, text: &str) -> Result<String, ConfigError> {
        let parsed = reqwest::Url::parse(text).ok();
        if parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Ok(text.trim_end_matches('/').to_owned());
        }
        let message =
            format!("{key}: {text:?} is not an address such as https://taffrail.example.org");
        Err(self.error(key, message))
    }

    fn address(&self, text: &str) -> Result<SocketAddr, ConfigError> {
        self.address_of("listen", text)
    }

    fn address_of(&self, key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
        let with_host = if text.starts_with(':') {
            format!("0.0.0.0{text}")
        } else {
            text.replacen("localhost:", "127.0.0.1:", 1)
        };
        with_host.parse().map_err(|_| {
            let message = format!("{key}: {text:?} is not an address such as 127.0.0.1:7245");
            self.error(key, message)
        })
    }

    fn duration(
        &self,
        key: &str,
        text: &str,
        min_ms: i64,
        max_ms: i64,
    ) -> Result<i64, ConfigError> {
        let ms = duration_ms(text).ok_or_else(|| {
            self.error(key, format!("{key}: {text:?} is not a duration such as 15s, 12h or 30d"))
        })?;
        if (min_ms..=max_ms).contains(&ms) {
            return Ok(ms);
        }
        let message = format!(
            "{key}: {text} is out of bounds; it may be {} to {}",
            spell(min_ms),
            spell(max_ms)
        );
        Err(self.error(key, message))
    }

    fn bytes(&self, key: &str, text: &str, min: u64) -> Result<u64, ConfigError> {
        let bytes = parse_bytes(text).ok_or_else(|| {
            self.error(key, format!("{key}: {text:?} is not a size such as 512MiB or 50GB"))
        })?;
        if bytes < min {
            let message =
                format!("{key}: {text} is too small; it must be {} MiB or more", min / MIB);
            return Err(self.error(key, message));
        }
        Ok(bytes)
    }
}

/// `1h30m`, `15d`, `250ms`, as Prometheus writes durations.
pub fn duration_ms(text: &str) -> Option<i64> {
    collect::scrape::parse_duration(text.trim()).and_then(|ms| i64::try_from(ms).ok())
}

fn spell(ms: i64) -> String {
    collect::scrape::format_duration(ms.unsigned_abs())
}

/// `512MiB`, `50GB`, `1048576`; `K`, `M`, `G`, `T` alone are binary, as Docker has them.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1_048_576.0,
        "g" | "gib" => 1_073_741_824.0,
        "t" | "tib" => 1_099_511_627_776.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    (bytes.is_finite() && bytes < 1.8e19).then_some(bytes as u64)
}

fn default_data_dir(env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/var/lib/taffrail".into();
    }
    let data = env("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    data.map_or_else(|| "taffrail-data".into(), |dir| dir.join("taffrail"))
}

/// The engine's socket: `DOCKER_HOST`, else the first that exists, else Docker's (which may appear later).
fn default_socket(env: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    if let Some(host) = env("DOCKER_HOST").filter(|h| !h.is_empty()) {
        return match host.strip_prefix("unix://") {
            Some(path) => Ok(path.into()),
            None => Err(format!(
                "DOCKER_HOST={host} is not supported; only unix:// sockets are. Set containers.socket or containers.enabled: false"
            )),
        };
    }
    let mut candidates =
        vec![PathBuf::from("/var/run/docker.sock"), PathBuf::from("/run/podman/podman.sock")];
    if let Some(dir) = env("XDG_RUNTIME_DIR") {
        candidates.push(Path::new(&dir).join("docker.sock"));
        candidates.push(Path::new(&dir).join("podman/podman.sock"));
    }
    let existing = candidates.iter().find(|path| path.exists());
    Ok(existing.unwrap_or(&candidates[0]).clone())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Config, String> {
        let raw: RawConfig =
            yaml::parse(Path::new("taffrail.yml"), text).map_err(|e| e.to_string())?;
        check(raw, Some(Path::new("taffrail.yml")), text, &Overrides::default(), &|_| None)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_hold_without_any_key() {
        let config =
            check(RawConfig::default(), None, "", &Overrides::default(), &|_| None).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:7245");
        assert_eq!(config.retention_ms, 15 * DAY_MS);
        assert_eq!(config.containers.unwrap().interval_ms, 15_000);
        assert_eq!(config.access.anonymous, Some(Role::Admin));
    }

    #[test]
    fn values_are_checked_and_named() {
        let check = |text: &str, expected: &str| assert_eq!(load_text(text).unwrap_err(), expected);
        check(
            "retenton: 3d\n",
            "taffrail.yml:1:1: unknown key \"retenton\"; did you mean \"retention\"?",
        );
        let error = load_text("retention_rules:\n- selector: '{job='\n  keep: 1d\n").unwrap_err();
        assert!(error.starts_with("taffrail.yml:2:"), "{error}");
        assert!(error.contains("retention_rules: \"{job=\": "), "{error}");
        let rules = "retention_rules:\n- selector: '{job=\"a\"}'\n  keep: 1d\n";
        let rules = load_text(rules).unwrap().retention_rules;
        assert_eq!(rules[0].retention_ms, DAY_MS);
        assert_eq!(rules[0].matchers, [model::Matcher::equal("job", "a")]);
        check(
            "logs:\n  redaction:\n    kinds: [jwt, pasword]\n",
            "taffrail.yml:3:18: logs.redaction.kinds: unknown kind \"pasword\"; it is one of password, authorization, cookie, \
             url, private_key, jwt, token, card",
        );
        check(
            "logs:\n  redaction:\n    patterns: [{name: a, regex: 'b*'}]\n",
            "taffrail.yml:3:33: logs.redaction.patterns: \"b*\": it matches the empty text, which is everywhere",
        );
        let metric = |rest: &str| format!("logs:\n  metrics:\n  - name: a_total\n    {rest}\n");
        let error = load_text(&metric("query: '{a=\"b\"} | jsn'")).unwrap_err();
        assert!(error.starts_with("taffrail.yml:4:12: logs.metrics: \"a_total\": "), "{error}");
        let error = load_text(&metric("query: '{a=\"b\"}'\n    buckets: [1]")).unwrap_err();
        assert!(error.ends_with("logs.metrics: \"a_total\": buckets need a value"), "{error}");
        let rules =
            metric("query: '{a=\"b\"} | json'\n    value: bytes(size)\n    buckets: [1, 2]");
        assert_eq!(load_text(&rules).unwrap().logs.metrics[0].metric.buckets, [1.0, 2.0]);
        check(
            "traces:\n  disk_limit: 1MiB\n",
            "taffrail.yml:2:15: traces.disk_limit: 1MiB is too small; it must be 64 MiB or more",
        );
        let traces = load_text("traces: {retention: 1d, disk_limit: 1GiB}\n").unwrap().traces;
        assert_eq!((traces.retention_ms, traces.disk_limit_bytes), (DAY_MS, Some(1024 * MIB)));
        let sampling = |rules: &str| format!("traces:\n  sampling:\n    {rules}\n");
        let check_sampling = |rules: &str, expect: &str| check(&sampling(rules), expect);
        check_sampling(
            "tail: [{name: a, query: '{ status = bad }'}]",
            "taffrail.yml:3:29: traces.sampling.tail: \"a\": unknown field \"bad\"; attributes begin with a dot or a scope, as in .bad or span.bad",
        );
        check_sampling(
            "tail: [{name: a, query: '{} | rate()'}]",
            "taffrail.yml:3:29: traces.sampling.tail: \"a\": the query is a metric, which no trace is; ask for spans",
        );
        check_sampling(
            "tail: [{name: a}, {name: b}]",
            "taffrail.yml:3:19: traces.sampling.tail: \"a\": it is about everything, so no rule behind it is ever asked",
        );
        check_sampling(
            "head: [{name: a, service: b}, {name: a}]",
            "taffrail.yml:3:42: traces.sampling.head: \"a\": another rule has this name",
        );
        check_sampling(
            "head: [{name: a, sampling_percentage: 101}]",
            "taffrail.yml:3:43: traces.sampling.head.0.sampling_percentage: 101 is not between 0 and 100",
        );
        check_sampling(
            "head: [{name: a, spans_per_second: 0}]",
            "taffrail.yml:3:40: traces.sampling.head.0.spans_per_second: it must be 1 or more; sampling_percentage: 0 keeps nothing",
        );
        check_sampling(
            "decision_wait: 1ms",
            "taffrail.yml:3:20: traces.sampling.decision_wait: 1ms is out of bounds; it may be 1s to 1h",
        );
        check(
            "traces:\n  retention_rules: [{service: '(', keep: 1d}]\n",
            "taffrail.yml:2:31: traces.retention_rules: invalid regular expression \"(\": unclosed group",
        );
        let rules = "traces: {retention_rules: [{service: noise-.*, keep: 1h}]}\n";
        let rules = load_text(rules).unwrap().traces.retention_rules;
        assert_eq!((&*rules[0].0, rules[0].1.retention_ms), ("noise-.*", 3_600_000));
        let check_forward = |entry: &str, expect: &str| {
            check(&format!("traces:\n  forward:\n  - {entry}\n"), expect);
        };
        check_forward(
            "url: otlp.example.com:4317",
            "taffrail.yml:3:10: traces.forward: url \"otlp.example.com:4317\" must begin with http:// or https://",
        );
        check_forward(
            "{url: 'http://a/', basic_auth: {username: u}}",
            "taffrail.yml:3:36: traces.forward: basic_auth.password or basic_auth.password_file is missing",
        );
        check_forward(
            "{url: 'http://a/', queue_config: {max_shards: 0}}",
            "taffrail.yml:3:51: traces.forward: queue_config.max_shards: 0 is not between 1 and 1000",
        );
        check_forward(
            "{url: 'http://a/', tls_config: {cert_file: c}}",
            "taffrail.yml:3:36: traces.forward: tls_config: cert_file and key_file belong together",
        );
        check_forward(
            "url: http://a/\n  - url: http://a/",
            "taffrail.yml:4:10: traces.forward: \"http://a/\" is there twice; give each a name",
        );
        let entry = "{url: 'http://a/v1/traces', name: b, headers: {X-A: c}, compression: none, \
                     authorization: {credentials_file: t}, queue_config: {max_backoff: 5s}}";
        let traces = format!("traces: {{forward: [{entry}], forward_disk_limit: 64MiB}}\n");
        let traces = load_text(&traces).unwrap().traces;
        let remote = &traces.forward[0];
        assert_eq!((&*remote.name, remote.gzip, remote.timeout_ms), ("b", false, 30_000));
        assert_eq!((remote.queue.max_backoff_ms, remote.queue.max_shards), (5_000, 10));
        assert_eq!((remote.http.headers.len(), traces.forward_disk_limit_bytes), (1, 64 * MIB));
        assert_eq!(remote.http.authorization.as_ref().unwrap().0, "Bearer");
        let rules =
            sampling("{head: [{name: a, service: b}], decision_wait: 5s, decision_cache: 7}");
        let rules = load_text(&rules).unwrap().traces.sampling.unwrap();
        assert_eq!((rules.head.len(), rules.wait_ms, rules.decisions_max), (1, 5_000, 7));
        assert!(load_text("traces: {sampling: {tail: []}}\n").unwrap().traces.sampling.is_none());
        let logs = "logs:\n  retention: 1d\n  redaction:\n    except: ['{a=\"b\"}']\n";
        let logs = load_text(logs).unwrap().logs;
        assert_eq!(logs.retention_ms, DAY_MS);
        assert_eq!(logs.redaction.unwrap().except, [[model::Matcher::equal("a", "b")]]);
        assert!(
            load_text("logs: {redaction: {enabled: false}}\n").unwrap().logs.redaction.is_none()
        );
        check(
            "retention: 3 parsecs\n",
            "taffrail.yml:1:12: retention: \"3 parsecs\" is not a duration such as 15s, 12h or 30d",
        );
        check(
            "memory_limit: 1MiB\n",
            "taffrail.yml:1:15: memory_limit: 1MiB is too small; it must be 64 MiB or more",
        );
        check(
            "durability: maybe\n",
            "taffrail.yml:1:13: durability: \"maybe\" is neither strict nor interval",
        );
        check(
            "query:\n  max_concurrency: 0\n",
            "taffrail.yml:2:20: query.max_concurrency: 0 would refuse every query; it must be 1 or more",
        );
        check(
            "receive:\n  syslog: {}\n",
            "taffrail.yml:2:11: receive.syslog names no address to listen on",
        );
        check(
            "receive:\n  jaeger:\n    thrift_http: :14268\n",
            "taffrail.yml:3:18: receive.jaeger.thrift_http: 0.0.0.0:14268 is reachable from other machines, and without \
             server.tokens everybody there could write; add server.tokens, or use 127.0.0.1",
        );
        check(
            "receive:\n  zipkin: {}\n",
            "taffrail.yml:2:11: receive.zipkin names no address to listen on",
        );
        let jaeger = "receive: {jaeger: {thrift_compact: ':6831', grpc: 'localhost:14250'}}\n";
        let jaeger = load_text(jaeger).unwrap().receive.sockets.jaeger;
        assert_eq!(jaeger.thrift_compact, "0.0.0.0:6831".parse().ok());
        assert_eq!(jaeger.grpc, "127.0.0.1:14250".parse().ok());
        check(
            "receive:\n  beats:\n    tls: 127.0.0.1:5044\n",
            "taffrail.yml:3:10: receive.beats.tls needs receive.tls with cert_file and key_file",
        );
        check(
            "receive:\n  syslog:\n    udp: localhost:1514\n    time_zone: Moon\n",
            "taffrail.yml:4:16: receive.syslog.time_zone: \"Moon\" is not a time zone such as Europe/Berlin or UTC",
        );
        check(
            "tenants:\n  default: ops\n",
            "taffrail.yml:2:12: tenants.default: it is of requests without X-Scope-OrgID, which means something only \
             with tenants.from_header: true",
        );
        check(
            "tenants:\n  from_header: true\n  default: a/b\n",
            "taffrail.yml:3:12: tenants.default: \"a/b\" cannot be the name of a tenant: it has 1 to 150 letters, digits \
             and any of !-_.*'()",
        );
        let tenants = load_text("tenants: {from_header: true, default: ops}\n").unwrap();
        let tenants = tenants.access.tenants;
        assert_eq!((tenants.from_header, tenants.default), (true, Tenant::new("ops").ok()));
        assert!(load_text("listen: 0.0.0.0:7245\n").unwrap_err().contains("server.tokens"));
        check(
            "server:\n  tokens:\n    - token_file: a\n      role: boss\n",
            "taffrail.yml:4:13: server.tokens: unknown role \"boss\"; it is viewer, editor, admin or ingest",
        );
    }

    #[test]
    fn files_are_checked() {
        let text = "files:\n- paths: ['logs/*.log', /var/log/**/*log]\n  exclude: [/var/log/lastlog]\n  \
                    labels: {job: varlogs}\n  start: end\n  encoding: latin1\n  positions: p.yaml\n";
        let files = load_text(text).unwrap().files;
        let here = std::env::current_dir().unwrap();
        let target = &files[0].target;
        assert_eq!(target.paths[0].as_str(), here.join("logs/*.log").to_str().unwrap());
        assert_eq!(target.paths[1].as_str(), "/var/log/**/*log");
        assert!(target.start_at_end && target.labels.get("job") == Some("varlogs"));
        assert_eq!(files[0].positions.as_deref(), Some(here.join("p.yaml").as_path()));
        let check = |entry: &str, expected: &str| {
            let error = load_text(&format!("files:\n- paths: [/a]\n{entry}")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("  path: /b\n", "taffrail.yml:3:3: unknown key \"path\"; did you mean \"paths\"?");
        check("- paths: ['/a/{b']\n", "taffrail.yml:3:11: files: pattern \"/a/{b\": { has no }");
        check("- paths: []\n", "paths names no file");
        check("  encoding: klingon\n", "taffrail.yml:3:13: files: unknown encoding \"klingon\"");
        check("  start: now\n", "files: \"now\" is neither beginning nor end");
        check("  labels: {a-b: c}\n", "files: \"a-b\" is no label name");
        check("  labels: {filename: c}\n", "the label filename is that of the file's path");
    }

    #[test]
    fn a_mistake_in_a_flag_is_not_blamed_on_the_file() {
        let overrides = Overrides { retention: Some("soon".to_owned()), ..Overrides::default() };
        let raw = yaml::parse(Path::new("t.yml"), "retention: 3d\n").unwrap();
        let error = check(raw, Some(Path::new("t.yml")), "retention: 3d\n", &overrides, &|_| None)
            .unwrap_err();
        assert!(error.to_string().starts_with("command line: retention: \"soon\""), "{error}");
    }

    #[test]
    fn sizes_and_durations() {
        assert_eq!(parse_bytes("512MiB"), Some(512 * MIB));
        assert_eq!(parse_bytes("1.5g"), Some(1536 * MIB));
        assert_eq!(parse_bytes("50GB"), Some(50_000_000_000));
        assert_eq!(parse_bytes("x"), None);
        assert_eq!(duration_ms("1h30m"), Some(5_400_000));
        assert_eq!(duration_ms("5"), None);
    }

    #[test]
    fn the_guide_names_every_key() {
        let guide = include_str!("../../../docs/guide/configuration.md");
        let source = include_str!("config.rs");
        let raw = source.split("/// What the command line says").next().unwrap();
        let files = include_str!("config/files.rs").split("/// Log files that are read").next();
        let logs = include_str!("config/logs.rs").split("/// What happens to").next();
        let sockets = include_str!("config/sockets.rs").split("/// A certificate with its").next();
        let traces = include_str!("config/traces.rs").split("/// What happens to").next();
        let sampling = include_str!("config/sampling.rs").split("// What follows").next();
        let forward = include_str!("config/forward.rs").split("// What follows").next();
        let of_traces = [traces.unwrap(), sampling.unwrap(), forward.unwrap()];
        let parts = [raw, files.unwrap(), logs.unwrap(), sockets.unwrap()];
        for key in parts.iter().chain(&of_traces).flat_map(|part| part.lines()).filter_map(|line| {
            let (key, _) = line.trim().strip_prefix("pub ")?.split_once(": ")?;
            Some(key.trim_start_matches("r#"))
        }) {
            assert!(
                guide.contains(&format!("`{key}`")),
                "docs/guide/configuration.md does not name {key}"
            );
        }
    }
}
