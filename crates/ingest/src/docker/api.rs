//! JSON of the Docker Engine API, read leniently: absent and null fields take their default, states stay text, and one
//! broken element of a list is counted instead of failing the list. `Config.Env` is never deserialised.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::{Error, Result};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::netdev::Interface;
use super::{DEVICES_MAX, Usage};

/// Label that names the compose project of a container.
pub const COMPOSE_PROJECT: &str = "com.docker.compose.project";
/// Label that names the compose service of a container.
pub const COMPOSE_SERVICE: &str = "com.docker.compose.service";

/// Label or attribute texts by name.
pub type Attributes = BTreeMap<String, String>;

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// One element of `/containers/json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Listed {
    /// Full id.
    pub id: String,
    /// Names with a leading slash.
    #[serde(deserialize_with = "or_default")]
    pub names: Vec<String>,
    /// Image as given when the container was created.
    #[serde(deserialize_with = "or_default")]
    pub image: String,
    /// State word, e.g. `running`.
    #[serde(deserialize_with = "or_default")]
    pub state: String,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: Attributes,
}

/// Decodes `/containers/json`: the readable elements and how many were not.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when the whole is not a JSON list.
pub fn decode_list(bytes: &[u8]) -> Result<(Vec<Listed>, u64)> {
    let raw: Vec<&RawValue> = decode(bytes, "container list")?;
    let mut unreadable = 0;
    let mut listed = Vec::with_capacity(raw.len().min(1024));
    for element in raw {
        match serde_json::from_str::<Listed>(element.get()) {
            Ok(container) if !container.id.is_empty() => listed.push(container),
            _ => unreadable += 1,
        }
    }
    Ok((listed, unreadable))
}

/// `/containers/{id}/json`, without the environment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Inspected {
    /// Full id.
    pub id: String,
    /// Name with a leading slash.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// RFC 3339.
    #[serde(deserialize_with = "or_default")]
    pub created: String,
    /// Image id.
    #[serde(deserialize_with = "or_default")]
    pub image: String,
    /// How often the restart policy restarted it.
    #[serde(deserialize_with = "or_default")]
    pub restart_count: i64,
    /// State.
    #[serde(deserialize_with = "or_default")]
    pub state: State,
    /// Configuration, as far as it is read.
    #[serde(deserialize_with = "or_default")]
    pub config: ContainerConfig,
    /// Limits.
    #[serde(deserialize_with = "or_default")]
    pub host_config: HostConfig,
    /// Networks it is in.
    #[serde(deserialize_with = "or_default")]
    pub network_settings: NetworkSettings,
}

impl Inspected {
    /// Addresses it has on its networks; none while it does not run, or where its network is the host's.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let networks = self.network_settings.networks.values().flatten();
        let texts = networks.flat_map(|n| [&n.ip_address, &n.global_ipv6_address]);
        let mut all: Vec<IpAddr> = texts.filter_map(|text| text.parse().ok()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// `NetworkSettings` of an inspected container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettings {
    /// By name.
    #[serde(deserialize_with = "or_default")]
    pub networks: BTreeMap<String, Option<Endpoint>>,
}

/// What a container is called in one network.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// `""` without one.
    #[serde(rename = "IPAddress", deserialize_with = "or_default")]
    pub ip_address: String,
    /// Likewise.
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "or_default")]
    pub global_ipv6_address: String,
}

/// `State` of an inspected container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct State {
    /// Word, e.g. `running`, `exited`; unknown words are kept.
    #[serde(deserialize_with = "or_default")]
    pub status: String,
    /// Whether its main process lives (also when paused).
    #[serde(deserialize_with = "or_default")]
    pub running: bool,
    /// Whether the last exit was an OOM kill.
    #[serde(rename = "OOMKilled", deserialize_with = "or_default")]
    pub oom_killed: bool,
    /// Main process in the host's namespace, 0 when none.
    #[serde(deserialize_with = "or_default")]
    pub pid: i64,
    /// Exit code of the last run.
    #[serde(deserialize_with = "or_default")]
    pub exit_code: i64,
    /// RFC 3339, year 1 when never.
    #[serde(deserialize_with = "or_default")]
    pub started_at: String,
    /// RFC 3339, year 1 when never.
    #[serde(deserialize_with = "or_default")]
    pub finished_at: String,
    /// Health, when a check is configured.
    #[serde(alias = "Healthcheck", deserialize_with = "or_default")]
    pub health: Option<Health>,
}

/// `State.Health`; its log is not read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// `starting`, `healthy`, `unhealthy`, `none`.
    #[serde(deserialize_with = "or_default")]
    pub status: String,
}

/// `Config`, without `Env`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// Image as given.
    #[serde(deserialize_with = "or_default")]
    pub image: String,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: Attributes,
    /// Whether output goes through a terminal (one raw stream).
    #[serde(deserialize_with = "or_default")]
    pub tty: bool,
}

/// `HostConfig`, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// Memory limit in bytes, 0 for none.
    #[serde(deserialize_with = "or_default")]
    pub memory: i64,
    /// CPU limit in 1e-9 cores, 0 for none.
    #[serde(deserialize_with = "or_default")]
    pub nano_cpus: i64,
    /// CFS quota, µs.
    #[serde(deserialize_with = "or_default")]
    pub cpu_quota: i64,
    /// CFS period, µs.
    #[serde(deserialize_with = "or_default")]
    pub cpu_period: i64,
    /// CPUs it may run on, e.g. `0-2,5`; `""` for all.
    #[serde(deserialize_with = "or_default")]
    pub cpuset_cpus: String,
    /// Where its output goes.
    #[serde(deserialize_with = "or_default")]
    pub log_config: LogConfig,
}

/// `LogConfig`, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// Logging driver: `json-file`, `local`, `journald`, ….
    #[serde(rename = "Type", deserialize_with = "or_default")]
    pub driver: String,
    /// The driver's options.
    #[serde(rename = "Config", deserialize_with = "or_default")]
    pub options: Attributes,
}

/// Size at which the driver `local` begins a new file unless told otherwise, bytes.
const LOCAL_FILE_BYTES: u64 = 20_000_000;

impl LogConfig {
    /// Bytes after which the driver begins a new file, at least; `None` when it keeps one file for ever, or none.
    pub fn rotates_at_bytes(&self) -> Option<u64> {
        let default = match self.driver.as_str() {
            "json-file" => None,
            "local" => Some(LOCAL_FILE_BYTES),
            _ => return None,
        };
        match self.options.get("max-size") {
            Some(size) => decode_size(size),
            None => default,
        }
    }
}

/// Bytes of a size like `10m`, `0.5g`, `200k` or `1048576`, at least; `None` when it is none, or not above 0.
fn decode_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor = match unit.trim().bytes().next().map(|b| b.to_ascii_lowercase()) {
        None | Some(b'b') => 1.0,
        Some(b'k') => 1e3,
        Some(b'm') => 1e6,
        Some(b'g') => 1e9,
        Some(b't') => 1e12,
        Some(_) => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    (bytes >= 1.0).then_some(bytes as u64)
}

impl Inspected {
    /// CPU limit in cores, by quota or by the set of CPUs, whichever is less; 0 when unlimited.
    pub fn cpu_limit_cores(&self) -> f64 {
        let host = &self.host_config;
        let period = if host.cpu_period > 0 { host.cpu_period } else { 100_000 };
        let limits = [
            host.nano_cpus as f64 / 1e9,
            host.cpu_quota as f64 / period as f64,
            cpu_count(&host.cpuset_cpus) as f64,
        ];
        let least = limits.into_iter().filter(|limit| *limit > 0.0).reduce(f64::min);
        least.unwrap_or(0.0)
    }
}

/// Number of CPUs in a list like `0-2,5`.
fn cpu_count(list: &str) -> u64 {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(u64::from(last.checked_sub(first)?) + 1)
    };
    list.split(',').filter_map(range).sum()
}

/// Decodes `/containers/{id}/json`.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when it is not such an object.
pub fn decode_inspect(bytes: &[u8]) -> Result<Inspected> {
    decode(bytes, "container")
}

/// One message of `/events`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `container`, `network`, …
    pub kind: String,
    /// `start`, `die`, `health_status: healthy`, …
    pub action: String,
    /// Container id.
    pub id: String,
    /// Name, image, labels, exit code.
    pub attributes: Attributes,
    /// Unix nanoseconds.
    pub t_ns: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireEvent {
    #[serde(rename = "Type", deserialize_with = "or_default")]
    kind: String,
    #[serde(rename = "Action", deserialize_with = "or_default")]
    action: String,
    #[serde(deserialize_with = "or_default")]
    status: String,
    #[serde(deserialize_with = "or_default")]
    id: String,
    #[serde(rename = "Actor", deserialize_with = "or_default")]
    actor: WireActor,
    #[serde(deserialize_with = "or_default")]
    time: i64,
    #[serde(rename = "timeNano", deserialize_with = "or_default")]
    time_nano: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WireActor {
    #[serde(rename = "ID", deserialize_with = "or_default")]
    id: String,
    #[serde(deserialize_with = "or_default")]
    attributes: Attributes,
}

/// Decodes one message of `/events` (before API 1.22 without `Type` and `Actor`).
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when it is not such an object.
pub fn decode_event(bytes: &[u8]) -> Result<Event> {
    let wire: WireEvent = decode(bytes, "event")?;
    let first = |a: String, b: String| if a.is_empty() { b } else { a };
    Ok(Event {
        kind: first(wire.kind, "container".to_owned()),
        action: first(wire.action, wire.status),
        id: first(wire.actor.id, wire.id),
        attributes: wire.actor.attributes,
        t_ns: if wire.time_nano == 0 {
            wire.time.saturating_mul(1_000_000_000)
        } else {
            wire.time_nano
        },
    })
}

/// `/version`, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Version {
    /// Engine version.
    #[serde(deserialize_with = "or_default")]
    pub version: String,
    /// Newest API version it speaks.
    #[serde(deserialize_with = "or_default")]
    pub api_version: String,
}

/// Decodes `/version`.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when it is not such an object.
pub fn decode_version(bytes: &[u8]) -> Result<Version> {
    decode(bytes, "version")
}

/// `/info`, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    /// Host name as the daemon sees it.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Containers running.
    #[serde(deserialize_with = "or_default")]
    pub containers_running: i64,
    /// Containers in all.
    #[serde(deserialize_with = "or_default")]
    pub containers: i64,
    /// Engine version.
    #[serde(deserialize_with = "or_default")]
    pub server_version: String,
    /// `1` or `2`.
    #[serde(deserialize_with = "or_default")]
    pub cgroup_version: String,
    /// `cgroupfs` or `systemd`.
    #[serde(deserialize_with = "or_default")]
    pub cgroup_driver: String,
}

/// Decodes `/info`.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when it is not such an object.
pub fn decode_info(bytes: &[u8]) -> Result<Info> {
    decode(bytes, "info")
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireStats {
    #[serde(deserialize_with = "or_default")]
    cpu_stats: WireCpu,
    #[serde(deserialize_with = "or_default")]
    memory_stats: WireMemory,
    #[serde(deserialize_with = "or_default")]
    blkio_stats: WireBlkio,
    #[serde(deserialize_with = "or_default")]
    pids_stats: WirePids,
    #[serde(deserialize_with = "or_default")]
    networks: BTreeMap<String, WireNetwork>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCpu {
    #[serde(deserialize_with = "or_default")]
    cpu_usage: WireCpuUsage,
    throttling_data: Option<WireThrottling>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCpuUsage {
    total_usage: Option<u64>,
    usage_in_kernelmode: Option<u64>,
    usage_in_usermode: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireThrottling {
    periods: Option<u64>,
    throttled_periods: Option<u64>,
    throttled_time: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireMemory {
    usage: Option<u64>,
    max_usage: Option<u64>,
    failcnt: Option<u64>,
    limit: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    stats: BTreeMap<String, serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireBlkio {
    #[serde(deserialize_with = "or_default")]
    io_service_bytes_recursive: Vec<WireIo>,
    #[serde(deserialize_with = "or_default")]
    io_serviced_recursive: Vec<WireIo>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireIo {
    major: u32,
    minor: u32,
    #[serde(deserialize_with = "or_default")]
    op: String,
    value: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WirePids {
    current: Option<u64>,
    limit: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireNetwork {
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

/// Decodes one `/containers/{id}/stats` answer.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when it is not such an object.
pub fn decode_stats(bytes: &[u8]) -> Result<Usage> {
    let wire: WireStats = decode(bytes, "stats")?;
    let mut usage = Usage {
        cpu_usage_ns: wire.cpu_stats.cpu_usage.total_usage,
        cpu_user_ns: wire.cpu_stats.cpu_usage.usage_in_usermode,
        cpu_system_ns: wire.cpu_stats.cpu_usage.usage_in_kernelmode,
        threads: wire.pids_stats.current,
        // The daemon sends the largest number for "unlimited".
        threads_max: wire.pids_stats.limit.map(|l| if l == u64::MAX { 0 } else { l }),
        ..Usage::default()
    };
    if let Some(throttling) = wire.cpu_stats.throttling_data {
        usage.cfs_periods = throttling.periods;
        usage.cfs_throttled_periods = throttling.throttled_periods;
        usage.cfs_throttled_ns = throttling.throttled_time;
    }
    memory_stats(&wire.memory_stats, &mut usage);
    for (list, bytes) in [
        (&wire.blkio_stats.io_service_bytes_recursive, true),
        (&wire.blkio_stats.io_serviced_recursive, false),
    ] {
        for io in list {
            let Some(device) = usage.device(io.major, io.minor) else { break };
            match (io.op.to_ascii_lowercase().as_str(), bytes) {
                ("read", true) => device.read_bytes = io.value,
                ("write", true) => device.write_bytes = io.value,
                ("read", false) => device.reads = io.value,
                ("write", false) => device.writes = io.value,
                _ => {}
            }
        }
    }
    usage.interfaces = wire.networks.into_iter().take(DEVICES_MAX).map(interface).collect();
    Ok(usage)
}

fn interface((name, n): (String, WireNetwork)) -> Interface {
    Interface {
        name,
        receive: [n.rx_bytes, n.rx_packets, n.rx_errors, n.rx_dropped, 0, 0, 0, 0],
        transmit: [n.tx_bytes, n.tx_packets, n.tx_errors, n.tx_dropped, 0, 0, 0, 0],
    }
}

/// v1 daemons send the `total_*` names of `memory.stat`, v2 daemons `file`, `anon`, ….
fn memory_stats(wire: &WireMemory, usage: &mut Usage) {
    let stat = |names: &[&str]| {
        names.iter().find_map(|name| wire.stats.get(*name).and_then(serde_json::Value::as_u64))
    };
    usage.memory_usage = wire.usage;
    usage.memory_max_usage = wire.max_usage;
    usage.memory_failcnt = wire.failcnt;
    // Without a limit of its own a container shows the machine's memory here, which must not pass as a limit: the
    // limit comes from inspect.
    usage.memory_limit = stat(&["hierarchical_memory_limit"])
        .map(|l| if l >= 1 << 62 { 0 } else { l })
        .filter(|&l| l == 0 || Some(l) == wire.limit);
    usage.memory_cache = stat(&["total_cache", "cache", "file"]);
    usage.memory_rss = stat(&["total_rss", "rss", "anon"]);
    usage.memory_swap = stat(&["total_swap", "swap"]);
    usage.memory_mapped_file = stat(&["total_mapped_file", "mapped_file", "file_mapped"]);
    usage.memory_inactive_file = stat(&["total_inactive_file", "inactive_file"]);
    usage.memory_active_file = stat(&["total_active_file", "active_file"]);
    usage.memory_file_dirty = stat(&["file_dirty"]);
    usage.memory_file_writeback = stat(&["file_writeback"]);
    usage.page_faults = stat(&["pgfault"]);
    usage.page_faults_major = stat(&["pgmajfault"]);
    usage.page_faults_hierarchy = stat(&["total_pgfault", "pgfault"]);
    usage.page_faults_major_hierarchy = stat(&["total_pgmajfault", "pgmajfault"]);
}

/// Reads an RFC 3339 time; `None` for text that is none and for Go's zero time (year 1).
///
/// Units: Unix nanoseconds.
pub fn decode_time_ns(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().filter(|&ns| ns > 0)
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::invalid(format!("cannot read docker {what}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_container_does_not_fail_the_list() {
        let text = br#"[{"Id":"a","State":"hibernating","Labels":null,"Names":null},
                        {"Id":7},{"Names":["/x"]},{"Id":"b","New":{"deep":[1]}}]"#;
        let (listed, unreadable) = decode_list(text).unwrap();
        assert_eq!(listed.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(listed[0].state, "hibernating");
        assert_eq!(unreadable, 2);
        assert!(decode_list(b"{}").is_err());
    }

    #[test]
    fn inspect_tolerates_nulls_and_computes_limits() {
        let text = br#"{"Id":"a","State":{"Status":"odd","Health":null,"OOMKilled":true},
                        "Config":{"Env":["SECRET=1"],"Labels":null,"Tty":true},
                        "NetworkSettings":{"IPAddress":"","Networks":{"host":null,
                          "bridge":{"IPAddress":"172.17.0.2","GlobalIPv6Address":""},
                          "own":{"IPAddress":"10.0.0.9","GlobalIPv6Address":"fd00::9","Gateway":null}}},
                        "HostConfig":{"CpuQuota":50000,"Memory":1048576}}"#;
        let inspected = decode_inspect(text).unwrap();
        let addresses: Vec<String> =
            inspected.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.9", "172.17.0.2", "fd00::9"]);
        assert!(
            decode_inspect(br#"{"Id":"a","NetworkSettings":null}"#).unwrap().addresses().is_empty()
        );
        assert!(inspected.state.oom_killed && inspected.config.tty);
        assert!((inspected.cpu_limit_cores() - 0.5).abs() < 1e-9);
        assert!(!format!("{inspected:?}").contains("SECRET"));
        assert_eq!(cpu_count("0-2,5"), 4);
        assert_eq!(cpu_count("") + cpu_count("3-1") + cpu_count("x"), 0);
    }

    #[test]
    fn events_of_old_daemons_are_read() {
        let event = decode_event(br#"{"status":"die","id":"c1","from":"x","time":3}"#).unwrap();
        assert_eq!((event.kind.as_str(), event.action.as_str()), ("container", "die"));
        assert_eq!((event.id.as_str(), event.t_ns), ("c1", 3_000_000_000));
    }

    #[test]
    fn times_of_year_one_are_none() {
        assert_eq!(decode_time_ns("0001-01-01T00:00:00Z"), None);
        assert_eq!(decode_time_ns("1970-01-01T00:00:01.5Z"), Some(1_500_000_000));
        assert_eq!(decode_time_ns("soon"), None);
    }
}
