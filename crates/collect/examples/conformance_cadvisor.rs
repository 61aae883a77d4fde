//! Compares names, types, help texts and labels of the container metrics with cAdvisor's own expected output.
//!
//! `conformance_cadvisor DIR`, where DIR is the topic `cadvisor` of the test data.

#![expect(clippy::print_stdout, reason = "a command-line tool")]

#[path = "conformance/suite.rs"]
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use collect::container::ContainerState;
use collect::container::metrics::{METRICS, rows_of};
use ingest::docker::netdev;
use ingest::docker::{DeviceIo, Pressure, Usage};

use suite::{Suite, files};

/// Why metrics of cAdvisor are not produced, by prefix of the name.
const NOT_PRODUCED: &[(&str, &str)] = &[
    ("cadvisor_", "describes cAdvisor itself"),
    ("container_custom_", "application metrics are scraped, not read by the collector"),
    ("container_scrape_error", "up says it"),
    ("container_perf_", "perf counters: off in cAdvisor by default"),
    ("container_llc_", "resctrl: off in cAdvisor by default"),
    ("container_memory_bandwidth_", "resctrl: off in cAdvisor by default"),
    ("container_referenced_", "clears page references: off in cAdvisor by default"),
    ("container_hugetlb_", "huge pages: off in cAdvisor by default"),
    ("container_memory_numa_", "NUMA: off in cAdvisor by default"),
    ("container_network_advance_", "socket tables: off in cAdvisor by default"),
    ("container_network_tcp", "socket tables: off in cAdvisor by default"),
    ("container_network_udp", "socket tables: off in cAdvisor by default"),
    ("container_cpu_schedstat_", "per-thread files: off in cAdvisor by default"),
    ("container_cpu_load_", "taskstats netlink: not read yet"),
    ("container_tasks_state", "taskstats netlink: not read yet"),
    ("container_ulimits_", "limits of the main process: not read yet"),
    ("container_file_descriptors", "walks every process: too dear per round"),
    ("container_sockets", "walks every process: too dear per round"),
    ("container_memory_migrate", "cpuset: off in cAdvisor by default"),
    ("container_fs_inodes_", "walk over the container's files: too dear per round"),
    ("container_fs_limit_", "walk over the container's files: too dear per round"),
    ("container_fs_usage_", "walk over the container's files: too dear per round"),
    ("container_fs_io_cost_", "blk-iocost controller: not read yet"),
    ("container_fs_io_", "CFQ statistics that current kernels no longer keep per cgroup"),
    ("container_fs_read_seconds", "CFQ statistics that current kernels no longer keep per cgroup"),
    ("container_fs_write_seconds", "CFQ statistics that current kernels no longer keep per cgroup"),
    ("container_fs_reads_merged", "CFQ statistics that current kernels no longer keep per cgroup"),
    ("container_fs_writes_merged", "CFQ statistics that current kernels no longer keep per cgroup"),
    ("container_fs_sector_", "CFQ statistics that current kernels no longer keep per cgroup"),
    ("container_blkio_device_usage", "same bytes as container_fs_{reads,writes}_bytes_total"),
    ("container_cpu_cfs_burst_", "CFS burst: not read yet"),
    ("container_memory_events_", "cgroup v2 events beyond oom_kill and max: not read yet"),
    ("container_memory_pgs", "cgroup v2 reclaim counters: not read yet"),
    ("container_memory_workingset_", "cgroup v2 refault counters: not read yet"),
];

/// Label names that belong to a deployment (target, white-listed labels), not to cAdvisor's metrics.
const DEPLOYMENT_LABELS: &[&str] = &[
    "__name__",
    "job",
    "instance",
    "zone_name",
    "container_env_foo_env",
    "container_label_foo_label",
    "container_label_com_docker_compose_project",
    "container_label_com_docker_compose_service",
];

fn main() -> ExitCode {
    let mut suite = Suite::new("cadvisor");
    let Some(dir) = Suite::dir() else {
        println!("cadvisor: no files; give the directory of the topic");
        return ExitCode::FAILURE;
    };
    for file in files(&dir) {
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        match name {
            "prometheus_metrics" => expected_output(&mut suite, &text),
            "procnetdev" => network(&mut suite, &text),
            "prometheus_metrics_failure" => suite.skip("output of a failing cAdvisor: up says it"),
            name if name.starts_with("prometheus_machine") => {
                suite.skip("machine topology: only cores, memory and swap are produced");
            }
            _ if file.starts_with(dir.join("google__cadvisor/lib")) => {
                suite.skip(&format!("input of a collector that is not ours: {}", parent(&file)));
            }
            _ => {}
        }
    }
    suite.finish()
}

fn parent(file: &Path) -> String {
    file.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// Metric, type and help against `# TYPE` and `# HELP`; label names against the samples.
fn expected_output(suite: &mut Suite, text: &str) {
    let mut help = BTreeMap::new();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            help.insert(name, text);
        } else if let Some((name, rest)) = line.split_once('{') {
            let names = rest.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0));
            labels.entry(name).or_default().extend(names.map(|n| n.trim_start_matches(',')));
        }
    }
    let ours = label_names();
    for line in text.lines() {
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        else {
            continue;
        };
        let Some((_, our_kind, our_help)) = METRICS.iter().find(|(n, ..)| *n == name) else {
            match NOT_PRODUCED.iter().find(|(prefix, _)| name.starts_with(prefix)) {
                Some((_, reason)) => suite.skip(reason),
                None => suite.fail(&format!("{name}: not produced")),
            }
            continue;
        };
        suite.check(&format!("{name} type"), our_kind.as_str(), kind);
        suite.check(&format!("{name} help"), *our_help, help.get(name).copied().unwrap_or(""));
        let want: BTreeSet<String> = labels
            .get(name)
            .into_iter()
            .flatten()
            .filter(|label| !DEPLOYMENT_LABELS.contains(label))
            .map(|label| (*label).to_owned())
            .collect();
        let got = ours.get(name).cloned().unwrap_or_default();
        suite.check(&format!("{name} labels"), got, want);
    }
}

/// Label names per metric of a reading in which everything is set.
fn label_names() -> BTreeMap<String, BTreeSet<String>> {
    let some = Some(1);
    let pressure = Pressure { some_us: some, full_us: some };
    let usage = Usage {
        cpu_usage_ns: some,
        cpu_user_ns: some,
        cpu_system_ns: some,
        cfs_periods: some,
        cfs_throttled_periods: some,
        cfs_throttled_ns: some,
        cpu_quota_us: some,
        cpu_period_us: some,
        cpu_shares: some,
        memory_usage: some,
        memory_max_usage: some,
        memory_limit: some,
        memory_failcnt: some,
        memory_cache: some,
        memory_rss: some,
        memory_swap: some,
        memory_mapped_file: some,
        memory_kernel: some,
        memory_inactive_file: some,
        memory_active_file: some,
        memory_file_dirty: some,
        memory_file_writeback: some,
        page_faults: some,
        page_faults_major: some,
        page_faults_hierarchy: some,
        page_faults_major_hierarchy: some,
        oom_kills: some,
        processes: some,
        threads: some,
        threads_max: some,
        pressure: [pressure; 3],
        devices: vec![DeviceIo { major: 8, ..DeviceIo::default() }],
        interfaces: vec![netdev::Interface { name: "eth0".to_owned(), ..Default::default() }],
    };
    let container = ContainerState {
        name: "n".to_owned(),
        image: "i".to_owned(),
        started_ms: Some(1),
        ..ContainerState::default()
    };
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows_of(&container, "/docker/x", "h", &usage, 1, &|_, _| "/dev/sda".to_owned()) {
        let labels = row.labels.iter().map(|(name, _)| name);
        let kept = labels.filter(|name| !DEPLOYMENT_LABELS.contains(name)).map(str::to_owned);
        names.entry(row.labels.metric_name().to_owned()).or_default().extend(kept);
    }
    names
}

/// cAdvisor's own expectations for this file: its test lists these interfaces and numbers.
fn network(suite: &mut Suite, text: &str) {
    let mut interfaces = Vec::new();
    netdev::decode(text, &mut interfaces);
    let kept: Vec<_> = interfaces.iter().filter(|i| !netdev::is_ignored(&i.name)).collect();
    let rows = text.lines().filter(|line| line.contains(':')).count();
    suite.check_number("procnetdev interfaces", Some(interfaces.len() as f64), rows as f64);
    suite.check("procnetdev without loopback", kept.iter().any(|i| i.name == "lo"), false);
    for interface in &interfaces {
        let line =
            text.lines().find(|l| l.trim_start().starts_with(&format!("{}:", interface.name)));
        let numbers: Vec<u64> = line
            .and_then(|l| l.rsplit_once(':'))
            .map(|(_, n)| n.split_whitespace().filter_map(|n| n.parse().ok()).collect())
            .unwrap_or_default();
        let got: Vec<u64> = interface.receive.into_iter().chain(interface.transmit).collect();
        suite.check(&format!("procnetdev {}", interface.name), got, numbers);
    }
}
