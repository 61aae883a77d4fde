//! `/proc/meminfo`, `/proc/vmstat` and `/proc/pressure/*`: memory and stalls.

use ingest::docker::cgroup::pressure_totals;

use super::Round;
use crate::metadata::{COUNTER, Described};

pub(super) const METRICS: &[Described] = &[
    (
        "node_pressure_cpu_waiting_seconds_total",
        COUNTER,
        "Total time in seconds that processes have waited for CPU time",
    ),
    (
        "node_pressure_io_waiting_seconds_total",
        COUNTER,
        "Total time in seconds that processes have waited due to IO congestion",
    ),
    (
        "node_pressure_io_stalled_seconds_total",
        COUNTER,
        "Total time in seconds no process could make progress due to IO congestion",
    ),
    (
        "node_pressure_memory_waiting_seconds_total",
        COUNTER,
        "Total time in seconds that processes have waited for memory",
    ),
    (
        "node_pressure_memory_stalled_seconds_total",
        COUNTER,
        "Total time in seconds no process could make progress due to memory congestion",
    ),
    (
        "node_pressure_irq_stalled_seconds_total",
        COUNTER,
        "Total time in seconds no process could make progress due to IRQ congestion",
    ),
];

pub(super) fn read(round: &mut Round<'_>) {
    round.file("meminfo", meminfo);
    round.file("vmstat", |round, text| {
        for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            let kept = ["oom_kill", "pgpg", "pswp"].iter().any(|prefix| name.starts_with(prefix))
                || (name.starts_with("pg") && name.contains("fault"));
            if let Some(value) = super::number(value).filter(|_| kept) {
                round.put(&format!("node_vmstat_{name}"), value);
            }
        }
    });
    for (resource, waiting, stalled) in [
        ("cpu", Some("node_pressure_cpu_waiting_seconds_total"), None),
        (
            "io",
            Some("node_pressure_io_waiting_seconds_total"),
            Some("node_pressure_io_stalled_seconds_total"),
        ),
        (
            "memory",
            Some("node_pressure_memory_waiting_seconds_total"),
            Some("node_pressure_memory_stalled_seconds_total"),
        ),
        ("irq", None, Some("node_pressure_irq_stalled_seconds_total")),
    ] {
        round.file(&format!("pressure/{resource}"), |round, text| {
            let totals = pressure_totals(text);
            for (metric, us) in [(waiting, totals.some_us), (stalled, totals.full_us)] {
                if let (Some(metric), Some(us)) = (metric, us) {
                    // As node_exporter: whole milliseconds would lose the digits, so microseconds over a million.
                    round.put(metric, us as f64 / 1e6);
                }
            }
        });
    }
}

/// `Active(anon):  123 kB` becomes `node_memory_Active_anon_bytes`; lines without a unit are counts.
fn meminfo(round: &mut Round<'_>, text: &str) {
    let mut metric = String::new();
    for (name, rest) in text.lines().filter_map(|line| line.split_once(':')) {
        let mut parts = rest.split_ascii_whitespace();
        let Some(value) = parts.next().and_then(super::number) else { continue };
        metric.clear();
        metric.push_str("node_memory_");
        metric.extend(name.chars().filter_map(|c| match c {
            '(' => Some('_'),
            ')' => None,
            other => Some(other),
        }));
        if parts.next() == Some("kB") {
            metric.push_str("_bytes");
            round.put(&metric, value * 1024.0);
        } else {
            round.put(&metric, value);
        }
    }
}
