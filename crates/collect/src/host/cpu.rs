//! `/proc/stat`, `/proc/loadavg`, `/proc/schedstat`, `/proc/net/softnet_stat`: time per CPU and mode, load, scheduling.

use super::Round;
use crate::metadata::{COUNTER, Described, GAUGE};

pub(super) const METRICS: &[Described] = &[
    ("node_cpu_seconds_total", COUNTER, "Seconds the CPUs spent in each mode."),
    (
        "node_cpu_guest_seconds_total",
        COUNTER,
        "Seconds the CPUs spent in guests (VMs) for each mode.",
    ),
    ("node_intr_total", COUNTER, "Total number of interrupts serviced."),
    ("node_context_switches_total", COUNTER, "Total number of context switches."),
    ("node_forks_total", COUNTER, "Total number of forks."),
    ("node_boot_time_seconds", GAUGE, "Node boot time, in unixtime."),
    ("node_procs_running", GAUGE, "Number of processes in runnable state."),
    ("node_procs_blocked", GAUGE, "Number of processes blocked waiting for I/O to complete."),
    ("node_load1", GAUGE, "1m load average."),
    ("node_load5", GAUGE, "5m load average."),
    ("node_load15", GAUGE, "15m load average."),
    (
        "node_schedstat_running_seconds_total",
        COUNTER,
        "Number of seconds CPU spent running a process.",
    ),
    (
        "node_schedstat_waiting_seconds_total",
        COUNTER,
        "Number of seconds spent by processing waiting for this CPU.",
    ),
    ("node_schedstat_timeslices_total", COUNTER, "Number of timeslices executed by CPU."),
    ("node_softnet_processed_total", COUNTER, "Number of processed packets"),
    ("node_softnet_dropped_total", COUNTER, "Number of dropped packets"),
    (
        "node_softnet_times_squeezed_total",
        COUNTER,
        "Number of times processing packets ran out of quota",
    ),
];

/// Ticks per second in `/proc/stat` (`USER_HZ`).
const TICKS: f64 = 100.0;

const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

pub(super) fn read(round: &mut Round<'_>) {
    round.file("stat", stat);
    round.file("loadavg", |round, text| {
        let loads = text.split_ascii_whitespace().map(str::parse);
        for (metric, load) in ["node_load1", "node_load5", "node_load15"].into_iter().zip(loads) {
            if let Ok(load) = load {
                round.put(metric, load);
            }
        }
    });
    round.file("schedstat", schedstat);
    round.file("net/softnet_stat", softnet);
}

fn stat(round: &mut Round<'_>, text: &str) {
    for line in text.lines() {
        let mut parts = line.split_ascii_whitespace();
        let Some(name) = parts.next() else { continue };
        let mut value = || parts.next().and_then(|v| v.parse::<f64>().ok());
        let metric = match name {
            "intr" => "node_intr_total",
            "ctxt" => "node_context_switches_total",
            "processes" => "node_forks_total",
            "btime" => "node_boot_time_seconds",
            "procs_running" => "node_procs_running",
            "procs_blocked" => "node_procs_blocked",
            _ => {
                if let Some(cpu) = name.strip_prefix("cpu").filter(|cpu| !cpu.is_empty()) {
                    cpu_line(round, cpu, &mut value);
                }
                continue;
            }
        };
        if let Some(value) = value() {
            round.put(metric, value);
        }
    }
}

fn cpu_line(round: &mut Round<'_>, cpu: &str, next: &mut dyn FnMut() -> Option<f64>) {
    for mode in MODES {
        let Some(ticks) = next() else { return };
        round.put_with("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], ticks / TICKS);
    }
    for mode in ["user", "nice"] {
        let Some(ticks) = next() else { return };
        let labels = [("cpu", cpu), ("mode", mode)];
        round.put_with("node_cpu_guest_seconds_total", &labels, ticks / TICKS);
    }
}

/// `cpu0 … running_ns waiting_ns timeslices` lines: the last three of nine columns.
fn schedstat(round: &mut Round<'_>, text: &str) {
    for line in text.lines() {
        let mut parts = line.split_ascii_whitespace();
        let Some(cpu) = parts.next().and_then(|name| name.strip_prefix("cpu")) else { continue };
        let numbers = parts.skip(6).map(str::parse::<f64>);
        for ((metric, scale), value) in [
            ("node_schedstat_running_seconds_total", 1e9),
            ("node_schedstat_waiting_seconds_total", 1e9),
            ("node_schedstat_timeslices_total", 1.0),
        ]
        .into_iter()
        .zip(numbers)
        {
            if let Ok(value) = value {
                round.put_with(metric, &[("cpu", cpu)], value / scale);
            }
        }
    }
}

/// One line of hexadecimal columns per CPU; newer kernels write the CPU's number in column 12.
fn softnet(round: &mut Round<'_>, text: &str) {
    for (line_index, line) in text.lines().enumerate() {
        let columns: Vec<u32> = line
            .split_ascii_whitespace()
            .map_while(|column| u32::from_str_radix(column, 16).ok())
            .collect();
        let cpu = columns.get(12).map_or_else(|| line_index.to_string(), u32::to_string);
        for (metric, column) in [
            ("node_softnet_processed_total", 0),
            ("node_softnet_dropped_total", 1),
            ("node_softnet_times_squeezed_total", 2),
        ] {
            if let Some(value) = columns.get(column) {
                round.put_with(metric, &[("cpu", &cpu)], f64::from(*value));
            }
        }
    }
}
