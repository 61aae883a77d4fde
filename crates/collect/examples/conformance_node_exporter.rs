//! Reads node_exporter's `/proc` and `/sys` fixtures with the host collector and compares with its end-to-end output.
//!
//! `conformance_node_exporter DIR`, where DIR is the topic `node-exporter` of the test data.

#![expect(clippy::print_stdout, reason = "a command-line tool")]
#![expect(clippy::disallowed_methods, reason = "unpacks fixtures into a temporary directory")]

#[path = "conformance/suite.rs"]
mod suite;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use collect::host;

use suite::{Suite, files};

/// Families compared sample by sample.
const READ: &[&str] = &[
    "node_cpu_seconds_total",
    "node_cpu_guest_seconds_total",
    "node_intr_total",
    "node_context_switches_total",
    "node_forks_total",
    "node_boot_time_seconds",
    "node_procs_",
    "node_load",
    "node_schedstat_",
    "node_softnet_processed_total",
    "node_softnet_dropped_total",
    "node_softnet_times_squeezed_total",
    "node_memory_",
    "node_vmstat_",
    "node_pressure_",
    "node_filefd_",
    "node_entropy_",
    "node_nf_conntrack_entries",
    "node_disk_reads_",
    "node_disk_read_",
    "node_disk_writes_",
    "node_disk_write_time_",
    "node_disk_written_",
    "node_disk_io_",
    "node_disk_discard",
    "node_disk_flush_",
    "node_netstat_",
    "node_sockstat_",
    "node_arp_entries",
    "node_network_up",
    "node_network_mtu_bytes",
    "node_network_speed_bytes",
];

/// Reasons for families that need a word of their own; all others are collectors that are not ours.
const SKIPPED: &[(&str, &str)] = &[
    ("node_memory_numa_", "collector meminfo_numa: off in node_exporter by default"),
    ("node_network_receive", "netdev of the fixture comes from netlink, there is no net/dev file"),
    ("node_network_transmit", "netdev of the fixture comes from netlink, there is no net/dev file"),
    ("node_network_", "collector netclass: only up, mtu_bytes and speed_bytes are produced"),
    ("node_disk_", "collector diskstats: information from udev is not read"),
    ("node_cpu_", "collectors cpu (info, frequencies, throttling) and cpufreq: not read yet"),
    ("node_softnet_", "collector softnet: only processed, dropped and times_squeezed are produced"),
    ("node_nf_conntrack_", "collector conntrack: per-CPU statistics are not read"),
    ("go_", "describes node_exporter itself"),
    ("process_", "describes node_exporter itself"),
    ("promhttp_", "describes node_exporter itself"),
    ("node_exporter_", "describes node_exporter itself"),
    ("node_scrape_", "describes node_exporter itself"),
    ("testmetric", "collector textfile: not ours"),
];

/// Devices that the run which made the expected output was told to leave out.
const EXCLUDED_DEVICES: &[&str] = &["dmz", "int", "nope"];

fn main() -> ExitCode {
    let mut suite = Suite::new("node-exporter");
    let Some(dir) = Suite::dir() else {
        println!("node-exporter: no files; give the directory of the topic");
        return ExitCode::FAILURE;
    };
    for file in files(&dir) {
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or("");
        match name {
            "e2e-output.txt" => {
                if let Some(fixtures) = file.parent() {
                    compare(&mut suite, fixtures, &file);
                }
            }
            "e2e-output-darwin.txt" | "e2e-output-netbsd.txt" => {
                suite.skip("expected output of another operating system");
            }
            _ => {}
        }
    }
    suite.finish()
}

fn compare(suite: &mut Suite, fixtures: &Path, expected: &Path) {
    let (Ok(work), Ok(text)) = (tempfile::tempdir(), std::fs::read_to_string(expected)) else {
        suite.fail("cannot read the expected output or make a temporary directory");
        return;
    };
    if let Err(error) = unpack(&fixtures.join("sys.ttar"), work.path()) {
        suite.fail(&format!("cannot unpack sys.ttar: {error}"));
        return;
    }
    let config = host::Config {
        interval_ms: 15_000,
        host_name: "fixture".to_owned(),
        proc_root: fixtures.join("proc"),
        sys_root: work.path().join("sys"),
        root: work.path().to_path_buf(),
    };
    let rows = host::Readings::new(config).read(0, &[]);
    let descriptions = host::describe(&rows);
    let mut got: BTreeMap<String, f64> = BTreeMap::new();
    for row in &rows {
        let labels =
            row.labels.iter().filter(|(n, _)| !["__name__", "job", "instance"].contains(n));
        let labels: Vec<String> = labels.map(|(n, v)| format!("{n}={v:?}")).collect();
        let name = row.labels.metric_name();
        let key = if labels.is_empty() {
            name.to_owned()
        } else {
            format!("{name}{{{}}}", labels.join(","))
        };
        got.insert(key, row.value);
    }
    let mut help: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            help.insert(name, text);
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            if let Some(ours) = descriptions.iter().find(|d| &*d.name == name) {
                let kind = if kind == "untyped" { "unknown" } else { kind };
                suite.check(&format!("{name} type"), ours.kind.as_str(), kind);
                let want = help.get(name).copied().unwrap_or("");
                suite.check(&format!("{name} help"), &*ours.help, want);
            }
            continue;
        }
        let Some((key, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        match reason_to_skip(key) {
            Some(reason) => suite.skip(&reason),
            None => {
                let value = value.parse().unwrap_or(f64::NAN);
                suite.check_number(key, got.remove(key), value);
            }
        }
    }
    for (key, value) in got.iter().filter(|(key, _)| reason_to_skip(key).is_none()) {
        if EXCLUDED_DEVICES.iter().any(|device| key.contains(&format!("device={device:?}"))) {
            suite.skip("the end-to-end run excludes the devices dmz, int and nope by flags");
        } else {
            suite.fail(&format!("{key} {value}: not in the expected output"));
        }
    }
}

fn reason_to_skip(key: &str) -> Option<String> {
    if READ.iter().any(|family| key.starts_with(family)) && !key.starts_with("node_memory_numa_") {
        return None;
    }
    if let Some((_, reason)) = SKIPPED.iter().find(|(prefix, _)| key.starts_with(prefix)) {
        return Some((*reason).to_owned());
    }
    let collector = key.split(['_', '{']).nth(1).unwrap_or(key);
    Some(format!("collector {collector}: not ours"))
}

/// A ttar archive: `Path:` with `Lines: n` and that many lines, `Directory:`, or `SymlinkTo:`.
fn unpack(archive: &Path, into: &Path) -> std::io::Result<()> {
    let text = std::fs::read(archive)?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let mut path = None;
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("Directory: ") {
            std::fs::create_dir_all(into.join(name))?;
        } else if let Some(name) = line.strip_prefix("Path: ") {
            path = Some(into.join(name));
        } else if let (Some(target), Some(path)) = (line.strip_prefix("SymlinkTo: "), &path) {
            std::os::unix::fs::symlink(target, path)?;
        } else if let (Some(count), Some(path)) = (line.strip_prefix("Lines: "), &path) {
            let mut content = String::new();
            for line in lines.by_ref().take(count.trim().parse().unwrap_or(0)) {
                // A missing newline at the end of a file is written as EOF, NUL bytes by name.
                match line.strip_suffix("EOF") {
                    Some(last) => content.push_str(last),
                    None => {
                        content.push_str(line);
                        content.push('\n');
                    }
                }
            }
            std::fs::write(path, content.replace("NULLBYTE", "\0"))?;
        }
    }
    Ok(())
}
