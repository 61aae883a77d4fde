//! cAdvisor's metric names: which of them are produced, and how a [`Usage`] becomes their samples.
//!
//! Does not own: reading (`cgroup`), when (`poll`). Left out of cAdvisor's list: what needs a walk over the
//! container's files (`container_fs_usage_bytes`), per-socket tables, perf and resctrl counters, and what cAdvisor itself
//! has switched off by default.

use ingest::docker::netdev::is_ignored;
use ingest::docker::{PRESSURE_CPU, PRESSURE_IO, PRESSURE_MEMORY, Usage};
use model::MetricRow;

use super::registry::ContainerState;
use crate::metadata::{COUNTER, Described, GAUGE};
use crate::series::SeriesCache;

/// Every metric this collector may produce, with cAdvisor's types and help texts.
pub const METRICS: &[Described] = &[
    ("up", GAUGE, "1 if the source could be read, 0 otherwise."),
    ("machine_cpu_cores", GAUGE, "Number of logical CPU cores."),
    ("machine_memory_bytes", GAUGE, "Amount of memory installed on the machine."),
    ("machine_swap_bytes", GAUGE, "Amount of swap memory available on the machine."),
    ("taffrail_container_up", GAUGE, "1 while the container runs, 0 while it exists and does not."),
    (
        "taffrail_container_restarts_total",
        COUNTER,
        "Restarts of the container by its restart policy.",
    ),
    ("container_last_seen", GAUGE, "Last time a container was seen by the exporter"),
    (
        "container_start_time_seconds",
        GAUGE,
        "Start time of the container since unix epoch in seconds.",
    ),
    (
        "container_creation_time_seconds",
        GAUGE,
        "Container creation time since unix epoch in seconds.",
    ),
    ("container_health_state", GAUGE, "The result of the container's health check"),
    ("container_spec_cpu_period", GAUGE, "CPU period of the container."),
    ("container_spec_cpu_quota", GAUGE, "CPU quota of the container."),
    ("container_spec_cpu_shares", GAUGE, "CPU share of the container."),
    ("container_spec_memory_limit_bytes", GAUGE, "Memory limit for the container."),
    ("container_cpu_usage_seconds_total", COUNTER, "Cumulative cpu time consumed in seconds."),
    ("container_cpu_user_seconds_total", COUNTER, "Cumulative user cpu time consumed in seconds."),
    (
        "container_cpu_system_seconds_total",
        COUNTER,
        "Cumulative system cpu time consumed in seconds.",
    ),
    ("container_cpu_cfs_periods_total", COUNTER, "Number of elapsed enforcement period intervals."),
    ("container_cpu_cfs_throttled_periods_total", COUNTER, "Number of throttled period intervals."),
    (
        "container_cpu_cfs_throttled_seconds_total",
        COUNTER,
        "Total time duration the container has been throttled.",
    ),
    (
        "container_memory_usage_bytes",
        GAUGE,
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
    ),
    ("container_memory_working_set_bytes", GAUGE, "Current working set in bytes."),
    ("container_memory_rss", GAUGE, "Size of RSS in bytes."),
    ("container_memory_cache", GAUGE, "Number of bytes of page cache memory."),
    ("container_memory_swap", GAUGE, "Container swap usage in bytes."),
    ("container_memory_mapped_file", GAUGE, "Size of memory mapped files in bytes."),
    ("container_memory_kernel_usage", GAUGE, "Size of kernel memory allocated in bytes."),
    ("container_memory_max_usage_bytes", GAUGE, "Maximum memory usage recorded in bytes"),
    ("container_memory_failcnt", COUNTER, "Number of memory usage hits limits"),
    ("container_memory_failures_total", COUNTER, "Cumulative count of memory allocation failures."),
    ("container_memory_total_active_file_bytes", GAUGE, "Current total active file in bytes."),
    ("container_memory_total_inactive_file_bytes", GAUGE, "Current total inactive file in bytes."),
    (
        "container_memory_file_dirty_bytes",
        GAUGE,
        "Number of bytes of file cache that has been modified but not yet written back to disk.",
    ),
    (
        "container_memory_file_writeback_bytes",
        GAUGE,
        "Number of bytes of file cache that is currently being written back to disk.",
    ),
    (
        "container_oom_events_total",
        COUNTER,
        "Count of out of memory events observed for the container",
    ),
    ("container_fs_reads_bytes_total", COUNTER, "Cumulative count of bytes read"),
    ("container_fs_writes_bytes_total", COUNTER, "Cumulative count of bytes written"),
    ("container_fs_reads_total", COUNTER, "Cumulative count of reads completed"),
    ("container_fs_writes_total", COUNTER, "Cumulative count of writes completed"),
    ("container_network_receive_bytes_total", COUNTER, "Cumulative count of bytes received"),
    ("container_network_receive_packets_total", COUNTER, "Cumulative count of packets received"),
    (
        "container_network_receive_errors_total",
        COUNTER,
        "Cumulative count of errors encountered while receiving",
    ),
    (
        "container_network_receive_packets_dropped_total",
        COUNTER,
        "Cumulative count of packets dropped while receiving",
    ),
    ("container_network_transmit_bytes_total", COUNTER, "Cumulative count of bytes transmitted"),
    (
        "container_network_transmit_packets_total",
        COUNTER,
        "Cumulative count of packets transmitted",
    ),
    (
        "container_network_transmit_errors_total",
        COUNTER,
        "Cumulative count of errors encountered while transmitting",
    ),
    (
        "container_network_transmit_packets_dropped_total",
        COUNTER,
        "Cumulative count of packets dropped while transmitting",
    ),
    ("container_processes", GAUGE, "Number of processes running inside the container."),
    ("container_threads", GAUGE, "Number of threads running inside the container"),
    (
        "container_threads_max",
        GAUGE,
        "Maximum number of threads allowed inside the container, infinity if value is zero",
    ),
    (
        "container_pressure_cpu_waiting_seconds_total",
        COUNTER,
        "Total time duration tasks in the container have waited due to CPU congestion.",
    ),
    (
        "container_pressure_cpu_stalled_seconds_total",
        COUNTER,
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
    ),
    (
        "container_pressure_memory_waiting_seconds_total",
        COUNTER,
        "Total time duration tasks in the container have waited due to memory congestion.",
    ),
    (
        "container_pressure_memory_stalled_seconds_total",
        COUNTER,
        "Total time duration no tasks in the container could make progress due to memory congestion.",
    ),
    (
        "container_pressure_io_waiting_seconds_total",
        COUNTER,
        "Total time duration tasks in the container have waited due to IO congestion.",
    ),
    (
        "container_pressure_io_stalled_seconds_total",
        COUNTER,
        "Total time duration no tasks in the container could make progress due to IO congestion.",
    ),
];

const NS: f64 = 1e9;
const US: f64 = 1e6;

/// Labels all series of a container share: cAdvisor's `id`, `name`, `image`, the compose labels, and the target's.
pub fn common_labels(
    container: &ContainerState,
    cgroup_path: &str,
    host_name: &str,
) -> Vec<(String, String)> {
    [
        ("id", cgroup_path),
        ("name", &container.name),
        ("image", &container.image),
        ("container_label_com_docker_compose_project", &container.compose_project),
        ("container_label_com_docker_compose_service", &container.compose_service),
        ("job", super::JOB),
        ("instance", host_name),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// The samples of one reading of a running container, as a round would deliver them.
///
/// Units: `now_ms` is Unix milliseconds. `device_name` turns device numbers into cAdvisor's device label.
pub fn rows_of(
    container: &ContainerState,
    cgroup_path: &str,
    host_name: &str,
    usage: &Usage,
    now_ms: i64,
    device_name: &dyn Fn(u32, u32) -> String,
) -> Vec<MetricRow> {
    let mut cache = SeriesCache::new(common_labels(container, cgroup_path, host_name));
    let mut rows = Vec::new();
    cache.begin();
    Rows { cache: &mut cache, rows: &mut rows }.life(container);
    Rows { cache: &mut cache, rows: &mut rows }.usage(container, usage, now_ms, device_name);
    rows
}

/// Collects rows of one container into a batch.
pub(crate) struct Rows<'a> {
    pub(crate) cache: &'a mut SeriesCache,
    pub(crate) rows: &'a mut Vec<MetricRow>,
}

impl Rows<'_> {
    fn put(&mut self, metric: &'static str, value: f64) {
        self.cache.put(self.rows, metric, &[], value);
    }

    fn scaled(&mut self, metric: &'static str, value: Option<u64>, divisor: f64) {
        if let Some(value) = value {
            self.put(metric, value as f64 / divisor);
        }
    }

    fn plain(&mut self, metric: &'static str, value: Option<u64>) {
        self.scaled(metric, value, 1.0);
    }

    /// Series that exist as long as the container does.
    pub(crate) fn life(&mut self, container: &ContainerState) {
        self.put("taffrail_container_up", f64::from(u8::from(container.is_running())));
        self.plain("taffrail_container_restarts_total", Some(container.restart_count));
    }

    /// Series of a running container. `device_name` turns device numbers into cAdvisor's device label.
    pub(crate) fn usage(
        &mut self,
        container: &ContainerState,
        usage: &Usage,
        now_ms: i64,
        device_name: &dyn Fn(u32, u32) -> String,
    ) {
        self.facts(container, usage, now_ms);
        self.cpu(usage);
        self.memory(usage);
        self.plain("container_processes", usage.processes);
        self.plain("container_threads", usage.threads);
        self.plain("container_threads_max", usage.threads_max);
        self.pressure(usage);
        for io in &usage.devices {
            let device = device_name(io.major, io.minor);
            for (metric, value) in [
                ("container_fs_reads_bytes_total", io.read_bytes),
                ("container_fs_writes_bytes_total", io.write_bytes),
                ("container_fs_reads_total", io.reads),
                ("container_fs_writes_total", io.writes),
            ] {
                self.cache.put(self.rows, metric, &[("device", &device)], value as f64);
            }
        }
        self.network(usage);
    }

    fn facts(&mut self, container: &ContainerState, usage: &Usage, now_ms: i64) {
        // cAdvisor gives whole seconds here.
        self.put("container_last_seen", now_ms.div_euclid(1000) as f64);
        if let Some(started_ms) = container.started_ms {
            self.put("container_start_time_seconds", started_ms.div_euclid(1000) as f64);
        }
        self.put("container_creation_time_seconds", container.created_ms.div_euclid(1000) as f64);
        let health = match container.health.as_str() {
            "" => -1.0,
            "healthy" => 1.0,
            _ => 0.0,
        };
        self.put("container_health_state", health);
        self.plain("container_spec_cpu_period", usage.cpu_period_us);
        self.plain("container_spec_cpu_quota", usage.cpu_quota_us);
        self.plain("container_spec_cpu_shares", usage.cpu_shares);
        let limit = usage.memory_limit.unwrap_or(container.memory_limit_bytes);
        self.plain("container_spec_memory_limit_bytes", Some(limit));
    }

    fn cpu(&mut self, usage: &Usage) {
        if let Some(ns) = usage.cpu_usage_ns {
            let total = [("cpu", "total")];
            self.cache.put(self.rows, "container_cpu_usage_seconds_total", &total, ns as f64 / NS);
        }
        self.scaled("container_cpu_user_seconds_total", usage.cpu_user_ns, NS);
        self.scaled("container_cpu_system_seconds_total", usage.cpu_system_ns, NS);
        // As in cAdvisor: without a quota there is nothing to throttle.
        if usage.cpu_quota_us.is_some() || usage.cfs_periods.is_some_and(|n| n > 0) {
            self.plain("container_cpu_cfs_periods_total", usage.cfs_periods);
            self.plain("container_cpu_cfs_throttled_periods_total", usage.cfs_throttled_periods);
            self.scaled("container_cpu_cfs_throttled_seconds_total", usage.cfs_throttled_ns, NS);
        }
    }

    fn memory(&mut self, usage: &Usage) {
        for (metric, value) in [
            ("container_memory_usage_bytes", usage.memory_usage),
            ("container_memory_working_set_bytes", usage.memory_working_set()),
            ("container_memory_rss", usage.memory_rss),
            ("container_memory_cache", usage.memory_cache),
            ("container_memory_swap", usage.memory_swap),
            ("container_memory_mapped_file", usage.memory_mapped_file),
            ("container_memory_kernel_usage", usage.memory_kernel),
            ("container_memory_max_usage_bytes", usage.memory_max_usage),
            ("container_memory_failcnt", usage.memory_failcnt),
            ("container_memory_total_active_file_bytes", usage.memory_active_file),
            ("container_memory_total_inactive_file_bytes", usage.memory_inactive_file),
            ("container_memory_file_dirty_bytes", usage.memory_file_dirty),
            ("container_memory_file_writeback_bytes", usage.memory_file_writeback),
            ("container_oom_events_total", usage.oom_kills),
        ] {
            self.plain(metric, value);
        }
        for (kind, scope, value) in [
            ("pgfault", "container", usage.page_faults),
            ("pgmajfault", "container", usage.page_faults_major),
            ("pgfault", "hierarchy", usage.page_faults_hierarchy),
            ("pgmajfault", "hierarchy", usage.page_faults_major_hierarchy),
        ] {
            if let Some(value) = value {
                let extra = [("failure_type", kind), ("scope", scope)];
                self.cache.put(self.rows, "container_memory_failures_total", &extra, value as f64);
            }
        }
    }

    fn pressure(&mut self, usage: &Usage) {
        for (index, waiting, stalled) in [
            (
                PRESSURE_CPU,
                "container_pressure_cpu_waiting_seconds_total",
                "container_pressure_cpu_stalled_seconds_total",
            ),
            (
                PRESSURE_MEMORY,
                "container_pressure_memory_waiting_seconds_total",
                "container_pressure_memory_stalled_seconds_total",
            ),
            (
                PRESSURE_IO,
                "container_pressure_io_waiting_seconds_total",
                "container_pressure_io_stalled_seconds_total",
            ),
        ] {
            if let Some(pressure) = usage.pressure.get(index) {
                self.scaled(waiting, pressure.some_us, US);
                self.scaled(stalled, pressure.full_us, US);
            }
        }
    }

    fn network(&mut self, usage: &Usage) {
        for interface in usage.interfaces.iter().filter(|i| !is_ignored(&i.name)) {
            let [rx_bytes, rx_packets, rx_errors, rx_dropped, ..] = interface.receive;
            let [tx_bytes, tx_packets, tx_errors, tx_dropped, ..] = interface.transmit;
            for (metric, value) in [
                ("container_network_receive_bytes_total", rx_bytes),
                ("container_network_receive_packets_total", rx_packets),
                ("container_network_receive_errors_total", rx_errors),
                ("container_network_receive_packets_dropped_total", rx_dropped),
                ("container_network_transmit_bytes_total", tx_bytes),
                ("container_network_transmit_packets_total", tx_packets),
                ("container_network_transmit_errors_total", tx_errors),
                ("container_network_transmit_packets_dropped_total", tx_dropped),
            ] {
                let extra = [("interface", interface.name.as_str())];
                self.cache.put(self.rows, metric, &extra, value as f64);
            }
        }
    }
}
