//! `/proc/diskstats`: I/O per block device, without partitions and memory disks as node_exporter leaves them out.

use super::Round;
use crate::metadata::{COUNTER, Described, GAUGE};

pub(super) const METRICS: &[Described] = &[
    (
        "node_disk_reads_completed_total",
        COUNTER,
        "The total number of reads completed successfully.",
    ),
    ("node_disk_reads_merged_total", COUNTER, "The total number of reads merged."),
    ("node_disk_read_bytes_total", COUNTER, "The total number of bytes read successfully."),
    (
        "node_disk_read_time_seconds_total",
        COUNTER,
        "The total number of seconds spent by all reads.",
    ),
    (
        "node_disk_writes_completed_total",
        COUNTER,
        "The total number of writes completed successfully.",
    ),
    ("node_disk_writes_merged_total", COUNTER, "The number of writes merged."),
    ("node_disk_written_bytes_total", COUNTER, "The total number of bytes written successfully."),
    (
        "node_disk_write_time_seconds_total",
        COUNTER,
        "This is the total number of seconds spent by all writes.",
    ),
    ("node_disk_io_now", GAUGE, "The number of I/Os currently in progress."),
    ("node_disk_io_time_seconds_total", COUNTER, "Total seconds spent doing I/Os."),
    (
        "node_disk_io_time_weighted_seconds_total",
        COUNTER,
        "The weighted # of seconds spent doing I/Os.",
    ),
    (
        "node_disk_discards_completed_total",
        COUNTER,
        "The total number of discards completed successfully.",
    ),
    ("node_disk_discards_merged_total", COUNTER, "The total number of discards merged."),
    (
        "node_disk_discarded_sectors_total",
        COUNTER,
        "The total number of sectors discarded successfully.",
    ),
    (
        "node_disk_discard_time_seconds_total",
        COUNTER,
        "This is the total number of seconds spent by all discards.",
    ),
    (
        "node_disk_flush_requests_total",
        COUNTER,
        "The total number of flush requests completed successfully",
    ),
    (
        "node_disk_flush_requests_time_seconds_total",
        COUNTER,
        "This is the total number of seconds spent by all flush requests.",
    ),
];

/// The kernel counts sectors of this size whatever the device's are.
const SECTOR_BYTES: f64 = 512.0;
/// Milliseconds to seconds.
const MS: f64 = 0.001;

/// Metric and factor per column behind the device's name; older kernels have fewer columns.
const COLUMNS: [(&str, f64); 17] = [
    ("node_disk_reads_completed_total", 1.0),
    ("node_disk_reads_merged_total", 1.0),
    ("node_disk_read_bytes_total", SECTOR_BYTES),
    ("node_disk_read_time_seconds_total", MS),
    ("node_disk_writes_completed_total", 1.0),
    ("node_disk_writes_merged_total", 1.0),
    ("node_disk_written_bytes_total", SECTOR_BYTES),
    ("node_disk_write_time_seconds_total", MS),
    ("node_disk_io_now", 1.0),
    ("node_disk_io_time_seconds_total", MS),
    ("node_disk_io_time_weighted_seconds_total", MS),
    ("node_disk_discards_completed_total", 1.0),
    ("node_disk_discards_merged_total", 1.0),
    ("node_disk_discarded_sectors_total", 1.0),
    ("node_disk_discard_time_seconds_total", MS),
    ("node_disk_flush_requests_total", 1.0),
    ("node_disk_flush_requests_time_seconds_total", MS),
];

pub(super) fn read(round: &mut Round<'_>) {
    round.file("diskstats", |round, text| {
        for line in text.lines() {
            let mut parts = line.split_ascii_whitespace().skip(2);
            let Some(device) = parts.next().filter(|device| !is_excluded(device)) else { continue };
            for ((metric, factor), column) in COLUMNS.into_iter().zip(parts) {
                if let Some(value) = super::number(column) {
                    round.put_with(metric, &[("device", device)], value * factor);
                }
            }
        }
    });
}

/// node_exporter's default: `^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`.
fn is_excluded(device: &str) -> bool {
    let stem = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == device.len() {
        return false;
    }
    if matches!(stem, "ram" | "zram" | "loop" | "fd") {
        return true;
    }
    let disk = ["hd", "sd", "vd", "xvd"].iter().find_map(|kind| stem.strip_prefix(kind));
    if let Some([b'a'..=b'z']) = disk.map(str::as_bytes) {
        return true;
    }
    // nvme0n1p, of which the digits in between vary.
    let nvme = stem.strip_prefix("nvme").and_then(|rest| rest.strip_suffix('p'));
    nvme.and_then(|rest| rest.split_once('n')).is_some_and(|(controller, namespace)| {
        [controller, namespace]
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_memory_disks_are_left_out() {
        for device in ["ram0", "zram1", "loop7", "fd0", "sda1", "vdb12", "xvda3", "nvme0n1p2"] {
            assert!(is_excluded(device), "{device}");
        }
        for device in ["sda", "dm-0", "nvme0n1", "mmcblk0p1", "vda", "sr0", "md0", "sdaa1"] {
            assert!(!is_excluded(device), "{device}");
        }
    }
}
