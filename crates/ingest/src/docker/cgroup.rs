//! Texts of cgroup v1 and v2 files, and which file belongs to which controller.
//!
//! Does not own: where hierarchies are mounted and how files are opened (`collect`).

use super::{PRESSURE_CPU, PRESSURE_IO, PRESSURE_MEMORY, Usage};

/// `cpuacct.stat` counts in this unit (`USER_HZ` is 100 on every Linux).
const TICK_NS: u64 = 10_000_000;

/// A memory limit above this is none (v1 writes the largest page-aligned number).
const MEMORY_UNLIMITED: u64 = 1 << 62;

/// One file of a container's cgroup.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// v1 controller (directory below the mount point), `""` in v2.
    pub controller: &'static str,
    /// File name.
    pub name: &'static str,
    apply: fn(&str, &mut Usage),
}

impl File {
    /// Adds what `text` (the file's content) says to `usage`; unreadable lines are left out.
    pub fn apply(&self, text: &str, usage: &mut Usage) {
        (self.apply)(text, usage);
    }
}

const fn file(controller: &'static str, name: &'static str, apply: fn(&str, &mut Usage)) -> File {
    File { controller, name, apply }
}

/// The files read from cgroup v1.
pub const V1: &[File] = &[
    file("cpuacct", "cpuacct.usage", |t, u| u.cpu_usage_ns = number(t)),
    file("cpuacct", "cpuacct.stat", cpuacct_stat),
    file("cpu", "cpu.stat", cpu_stat_v1),
    file("cpu", "cpu.cfs_quota_us", |t, u| u.cpu_quota_us = number(t).filter(|&q| q > 0)),
    file("cpu", "cpu.cfs_period_us", |t, u| u.cpu_period_us = number(t)),
    file("cpu", "cpu.shares", |t, u| u.cpu_shares = number(t)),
    file("memory", "memory.usage_in_bytes", |t, u| u.memory_usage = number(t)),
    file("memory", "memory.max_usage_in_bytes", |t, u| u.memory_max_usage = number(t)),
    file("memory", "memory.limit_in_bytes", |t, u| u.memory_limit = number(t).map(limit)),
    file("memory", "memory.failcnt", |t, u| u.memory_failcnt = number(t)),
    file("memory", "memory.kmem.usage_in_bytes", |t, u| u.memory_kernel = number(t)),
    file("memory", "memory.stat", memory_stat_v1),
    file("memory", "memory.oom_control", |t, u| u.oom_kills = value_of(t, "oom_kill")),
    file("blkio", "blkio.throttle.io_service_bytes_recursive", |t, u| blkio(t, u, true)),
    file("blkio", "blkio.throttle.io_serviced_recursive", |t, u| blkio(t, u, false)),
    file("pids", "pids.current", |t, u| u.threads = number(t)),
    file("pids", "pids.max", |t, u| u.threads_max = Some(number(t).unwrap_or(0))),
    file("pids", "cgroup.procs", |t, u| u.processes = lines(t)),
];

/// The files read from cgroup v2.
pub const V2: &[File] = &[
    file("", "cpu.stat", cpu_stat_v2),
    file("", "cpu.max", cpu_max),
    file("", "cpu.weight", |t, u| u.cpu_shares = number(t).map(shares_of_weight)),
    file("", "memory.current", |t, u| u.memory_usage = number(t)),
    file("", "memory.peak", |t, u| u.memory_max_usage = number(t)),
    file("", "memory.max", |t, u| u.memory_limit = Some(number(t).map_or(0, limit))),
    file("", "memory.swap.current", |t, u| u.memory_swap = number(t)),
    file("", "memory.stat", memory_stat_v2),
    file("", "memory.events", memory_events),
    file("", "io.stat", io_stat),
    file("", "pids.current", |t, u| u.threads = number(t)),
    file("", "pids.max", |t, u| u.threads_max = Some(number(t).unwrap_or(0))),
    file("", "cgroup.procs", |t, u| u.processes = lines(t)),
    file("", "cpu.pressure", |t, u| pressure(t, u, PRESSURE_CPU)),
    file("", "memory.pressure", |t, u| pressure(t, u, PRESSURE_MEMORY)),
    file("", "io.pressure", |t, u| pressure(t, u, PRESSURE_IO)),
];

/// The path of `controller` in the text of `/proc/<pid>/cgroup`; `""` asks for the unified hierarchy.
///
/// Several controllers may share a line (`4:cpu,cpuacct:/docker/…`).
pub fn path_of<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        (controllers == controller || controllers.split(',').any(|c| c == controller))
            .then_some(path)
    })
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn limit(bytes: u64) -> u64 {
    if bytes >= MEMORY_UNLIMITED { 0 } else { bytes }
}

fn lines(text: &str) -> Option<u64> {
    u64::try_from(text.lines().count()).ok()
}

/// Pairs of a flat keyed file (`name number` per line).
fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name, value.trim().parse().ok()?))
    })
}

fn value_of(text: &str, name: &str) -> Option<u64> {
    pairs(text).find(|(n, _)| *n == name).map(|(_, v)| v)
}

fn cpuacct_stat(text: &str, usage: &mut Usage) {
    usage.cpu_user_ns = value_of(text, "user").map(|t| t.saturating_mul(TICK_NS));
    usage.cpu_system_ns = value_of(text, "system").map(|t| t.saturating_mul(TICK_NS));
}

fn cpu_stat_v1(text: &str, usage: &mut Usage) {
    for (name, value) in pairs(text) {
        match name {
            "nr_periods" => usage.cfs_periods = Some(value),
            "nr_throttled" => usage.cfs_throttled_periods = Some(value),
            "throttled_time" => usage.cfs_throttled_ns = Some(value),
            _ => {}
        }
    }
}

fn cpu_stat_v2(text: &str, usage: &mut Usage) {
    for (name, value) in pairs(text) {
        match name {
            "usage_usec" => usage.cpu_usage_ns = Some(value.saturating_mul(1000)),
            "user_usec" => usage.cpu_user_ns = Some(value.saturating_mul(1000)),
            "system_usec" => usage.cpu_system_ns = Some(value.saturating_mul(1000)),
            "nr_periods" => usage.cfs_periods = Some(value),
            "nr_throttled" => usage.cfs_throttled_periods = Some(value),
            "throttled_usec" => usage.cfs_throttled_ns = Some(value.saturating_mul(1000)),
            _ => {}
        }
    }
}

fn cpu_max(text: &str, usage: &mut Usage) {
    let mut parts = text.split_ascii_whitespace();
    usage.cpu_quota_us = parts.next().and_then(|q| q.parse().ok());
    usage.cpu_period_us = parts.next().and_then(|p| p.parse().ok());
}

/// Weight 1..=10,000 on the scale of shares 2..=262,144, as cAdvisor converts it.
fn shares_of_weight(weight: u64) -> u64 {
    2 + weight.clamp(1, 10_000).saturating_sub(1) * 262_142 / 9_999
}

fn memory_stat_v1(text: &str, usage: &mut Usage) {
    for (name, value) in pairs(text) {
        match name {
            "total_cache" => usage.memory_cache = Some(value),
            "total_rss" => usage.memory_rss = Some(value),
            "total_swap" => usage.memory_swap = Some(value),
            "total_mapped_file" => usage.memory_mapped_file = Some(value),
            "total_inactive_file" => usage.memory_inactive_file = Some(value),
            "total_active_file" => usage.memory_active_file = Some(value),
            "pgfault" => usage.page_faults = Some(value),
            "pgmajfault" => usage.page_faults_major = Some(value),
            "total_pgfault" => usage.page_faults_hierarchy = Some(value),
            "total_pgmajfault" => usage.page_faults_major_hierarchy = Some(value),
            _ => {}
        }
    }
}

fn memory_stat_v2(text: &str, usage: &mut Usage) {
    for (name, value) in pairs(text) {
        match name {
            "file" => usage.memory_cache = Some(value),
            "anon" => usage.memory_rss = Some(value),
            "file_mapped" => usage.memory_mapped_file = Some(value),
            "file_dirty" => usage.memory_file_dirty = Some(value),
            "file_writeback" => usage.memory_file_writeback = Some(value),
            "inactive_file" => usage.memory_inactive_file = Some(value),
            "active_file" => usage.memory_active_file = Some(value),
            "kernel" => usage.memory_kernel = Some(value),
            // v2 counts with descendants only; a container's cgroup is a leaf in all but nested runtimes.
            "pgfault" => {
                (usage.page_faults, usage.page_faults_hierarchy) = (Some(value), Some(value));
            }
            "pgmajfault" => {
                usage.page_faults_major = Some(value);
                usage.page_faults_major_hierarchy = Some(value);
            }
            _ => {}
        }
    }
}

fn memory_events(text: &str, usage: &mut Usage) {
    usage.oom_kills = value_of(text, "oom_kill");
    usage.memory_failcnt = value_of(text, "max");
}

fn device_numbers(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `8:0 Read 4096` lines; the sums (`Total`) and the sync/async split are left out.
fn blkio(text: &str, usage: &mut Usage, bytes: bool) {
    for line in text.lines() {
        let mut parts = line.split_ascii_whitespace();
        let (Some(device), Some(operation), Some(value)) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (Some((major, minor)), Ok(value)) = (device_numbers(device), value.parse()) else {
            continue;
        };
        let Some(io) = usage.device(major, minor) else { return };
        match (operation, bytes) {
            ("Read", true) => io.read_bytes = value,
            ("Write", true) => io.write_bytes = value,
            ("Read", false) => io.reads = value,
            ("Write", false) => io.writes = value,
            _ => {}
        }
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …` lines.
fn io_stat(text: &str, usage: &mut Usage) {
    for line in text.lines() {
        let mut parts = line.split_ascii_whitespace();
        let Some((major, minor)) = parts.next().and_then(device_numbers) else { continue };
        let Some(io) = usage.device(major, minor) else { return };
        for (name, value) in parts.filter_map(|p| p.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            match name {
                "rbytes" => io.read_bytes = value,
                "wbytes" => io.write_bytes = value,
                "rios" => io.reads = value,
                "wios" => io.writes = value,
                _ => {}
            }
        }
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123` lines; returns (some, full) totals in µs.
pub fn pressure_totals(text: &str) -> super::Pressure {
    let mut pressure = super::Pressure::default();
    for line in text.lines() {
        let total = line.rsplit_once("total=").and_then(|(_, n)| n.trim().parse().ok());
        if line.starts_with("some") {
            pressure.some_us = total;
        } else if line.starts_with("full") {
            pressure.full_us = total;
        }
    }
    pressure
}

fn pressure(text: &str, usage: &mut Usage, index: usize) {
    if let Some(slot) = usage.pressure.get_mut(index) {
        *slot = pressure_totals(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[File], name: &str, text: &str) -> Usage {
        let mut usage = Usage::default();
        let file = files.iter().find(|f| f.name == name).unwrap();
        file.apply(text, &mut usage);
        usage
    }

    #[test]
    fn v1_limits_and_quotas_know_none() {
        let usage = read(V1, "memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(usage.memory_limit, Some(0));
        assert_eq!(read(V1, "cpu.cfs_quota_us", "-1\n").cpu_quota_us, None);
        assert_eq!(read(V1, "cpu.cfs_quota_us", "50000\n").cpu_quota_us, Some(50_000));
        assert_eq!(read(V1, "pids.max", "max\n").threads_max, Some(0));
        assert_eq!(read(V1, "cpuacct.stat", "user 3\nsystem 4\n").cpu_system_ns, Some(40_000_000));
        assert_eq!(read(V1, "memory.oom_control", "under_oom 0\noom_kill 2\n").oom_kills, Some(2));
    }

    #[test]
    fn v1_block_io_takes_reads_and_writes_per_device() {
        let text = "8:0 Read 4096\n8:0 Write 1\n8:0 Sync 9\n8:16 Read 5\nTotal 4101\nrubbish\n";
        let usage = read(V1, "blkio.throttle.io_service_bytes_recursive", text);
        assert_eq!(usage.devices.len(), 2);
        assert_eq!((usage.devices[0].read_bytes, usage.devices[0].write_bytes), (4096, 1));
    }

    #[test]
    fn v2_reads_limits_io_and_pressure() {
        assert_eq!(read(V2, "memory.max", "max\n").memory_limit, Some(0));
        let usage = read(V2, "cpu.max", "max 100000\n");
        assert_eq!((usage.cpu_quota_us, usage.cpu_period_us), (None, Some(100_000)));
        assert_eq!(read(V2, "cpu.weight", "100\n").cpu_shares, Some(2597));
        let usage = read(V2, "io.stat", "259:0 rbytes=7 wbytes=8 rios=1 wios=2 dbytes=0 dios=0\n");
        assert_eq!(usage.devices[0].writes, 2);
        let usage = read(V2, "cpu.pressure", "some avg10=0.00 total=7\nfull avg10=0.00 total=5\n");
        assert_eq!(usage.pressure[PRESSURE_CPU].full_us, Some(5));
    }

    #[test]
    fn paths_are_found_in_shared_and_unified_lines() {
        let text = "4:cpu,cpuacct:/docker/a\n0::/docker/b\n1:name=systemd:/docker/c\n";
        assert_eq!(path_of(text, "cpuacct"), Some("/docker/a"));
        assert_eq!(path_of(text, ""), Some("/docker/b"));
        assert_eq!(path_of(text, "memory"), None);
    }
}
