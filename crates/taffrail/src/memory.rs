//! How much memory there is, and how much this process uses.

use std::fs;

/// Bytes this process should stay below, and where the number comes from: the cgroup's limit (v2 or v1), or the
/// machine's memory.
pub fn available() -> (u64, &'static str) {
    let machine = meminfo_total().unwrap_or(1 << 30);
    match cgroup_limit() {
        // Without a limit, v1 reports a number near the largest there is.
        Some(limit) if limit < machine => (limit, "cgroup"),
        _ => (machine, "machine"),
    }
}

fn meminfo_total() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .ok()?;
    Some(kib * 1024)
}

/// The smallest limit on the way from this process's cgroup up to the root.
fn cgroup_limit() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut smallest = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (root, file) = match id {
            "0" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Inside a container the path is the host's while the files are mounted at the root: look at both ends.
        let mut directory = Some(path.trim_end_matches('/'));
        while let Some(path) = directory {
            let limit = fs::read_to_string(format!("{root}{path}/{file}"))
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok());
            smallest = smallest.min(limit).or(smallest).or(limit);
            directory = path.rsplit_once('/').map(|(parent, _)| parent);
        }
    }
    smallest
}

/// What the operating system accounts to this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// CPU time, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
}

/// Reads [`Usage`] from `/proc/self`.
pub fn usage() -> Usage {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command name may hold spaces and parentheses; fields are counted behind its last one.
    let fields: Vec<&str> =
        stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    let number = |index: usize| fields.get(index).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    Usage {
        cpu_seconds: (number(11) + number(12)) as f64 / ticks_per_second,
        threads: number(17),
        virtual_bytes: number(20),
        rss_bytes: number(21) * rustix::param::page_size() as u64,
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_has_memory_and_this_process_uses_some() {
        let (bytes, _) = super::available();
        assert!(bytes > 32 << 20);
        let usage = super::usage();
        assert!(usage.rss_bytes > 1 << 20 && usage.rss_bytes < bytes);
        assert!(usage.threads >= 1 && usage.open_fds >= 3);
    }
}
