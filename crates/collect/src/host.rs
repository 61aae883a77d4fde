//! The host: CPU, memory, load, filesystems, disks, network and the kernel's own counters, under node_exporter's names.
//!
//! Owns: when they are read and how a round becomes a batch; the parts are in `host/`, one per area. Reads `/proc` and
//! `/sys` only (roots configurable) and asks the kernel for filesystem sizes. Does not own: containers, storage.

mod cpu;
mod disk;
mod filesystem;
mod kernel;
mod memory;
mod network;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{Clock, MetricBatch, MetricKind, MetricMetadata, MetricRow, Sink};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::container::cgroup::read_file;
use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::series::SeriesCache;
use crate::ticks::Ticks;

/// `job` label of host series.
pub const JOB: &str = "node";
/// Source key of host samples.
pub const SOURCE: &str = "host";

/// How long [`Handle::stopped`] waits.
const STOP_WAIT: Duration = Duration::from_secs(2);
/// A filesystem that does not answer for so long (a network mount without its server) is left out.
const FILESYSTEMS_TIMEOUT: Duration = Duration::from_secs(2);

/// What to read and how often.
#[derive(Debug, Clone)]
pub struct Config {
    /// Distance between readings, milliseconds; at least 100.
    pub interval_ms: u64,
    /// `instance` label.
    pub host_name: String,
    /// Usually `/proc`.
    pub proc_root: PathBuf,
    /// Usually `/sys`.
    pub sys_root: PathBuf,
    /// Where the host's root is seen: `/`, or its mount point inside a container.
    pub root: PathBuf,
}

/// A running host collector.
#[derive(Debug)]
pub struct Handle {
    /// What was refused or dropped.
    pub counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Waits, after the cancellation, for the task to end; at most 2 s. `true` when it did.
    pub async fn stopped(self) -> bool {
        tokio::time::timeout(STOP_WAIT, self.task).await.is_ok()
    }
}

/// Starts reading; must be called inside a tokio runtime.
pub fn spawn(
    config: Config,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
) -> Handle {
    let counters = Arc::new(Counters::default());
    let delivery = Delivery { sink, counters: Arc::clone(&counters), cancel };
    let task = tokio::spawn(run(config, delivery, clock));
    Handle { counters, task }
}

async fn run(config: Config, delivery: Delivery, clock: Arc<dyn Clock>) {
    let ticks = Ticks::every_ms(config.interval_ms);
    let mut readings = Readings::new(config.clone());
    let mut filesystems = None;
    let mut described = false;
    let mut t_ms = i64::MIN;
    loop {
        let (tick_ms, left) = ticks.next(&*clock);
        tokio::select! {
            () = delivery.cancel.cancelled() => return,
            () = tokio::time::sleep(left) => {}
        }
        t_ms = ticks.stamp_ms(tick_ms, &*clock).max(t_ms.saturating_add(1));
        let found = read_filesystems(&config, &mut filesystems).await;
        let now_ns = clock.now_ns();
        let read = tokio::task::spawn_blocking(move || {
            let rows = readings.read(now_ns, &found);
            (readings, rows)
        });
        let Ok((back, rows)) = read.await else {
            tracing::error!("a round of host readings failed; its series begin anew");
            readings = Readings::new(config.clone());
            continue;
        };
        readings = back;
        let metadata = if described { Vec::new() } else { describe(&rows) };
        let source = Arc::from(SOURCE);
        let batch = MetricBatch { source, t_ms, rows, metadata, ..MetricBatch::default() };
        described |= delivery.metrics(batch, ticks.interval()).await;
    }
}

type PendingFilesystems = Option<JoinHandle<Vec<Filesystem>>>;

/// Asks for the filesystems in a thread of their own; one that hangs is waited for in later rounds, not asked again.
async fn read_filesystems(config: &Config, pending: &mut PendingFilesystems) -> Vec<Filesystem> {
    let mut task = pending.take().unwrap_or_else(|| {
        let (proc_root, root) = (config.proc_root.clone(), config.root.clone());
        tokio::task::spawn_blocking(move || filesystem::read(&proc_root, &root))
    });
    match tokio::time::timeout(FILESYSTEMS_TIMEOUT, &mut task).await {
        Ok(found) => found.unwrap_or_default(),
        Err(_) => {
            tracing::warn!("a filesystem does not answer; filesystems are left out of this round");
            *pending = Some(task);
            Vec::new()
        }
    }
}

pub use filesystem::Filesystem;

/// Reads the host; keeps series identities and buffers from round to round.
#[derive(Debug)]
pub struct Readings {
    proc_root: PathBuf,
    sys_root: PathBuf,
    cache: SeriesCache,
    buffer: Vec<u8>,
    page_bytes: f64,
}

impl Readings {
    /// Nothing read yet.
    pub fn new(config: Config) -> Self {
        let common = [("job", JOB), ("instance", config.host_name.as_str())]
            .map(|(n, v)| (n.to_owned(), v.to_owned()));
        Self {
            cache: SeriesCache::new(common.to_vec()),
            proc_root: config.proc_root,
            sys_root: config.sys_root,
            buffer: Vec::new(),
            page_bytes: rustix::param::page_size() as f64,
        }
    }

    /// One round: all areas that can be read, then staleness markers for series that were there last time.
    ///
    /// Units: `now_ns` is Unix nanoseconds.
    pub fn read(&mut self, now_ns: i64, filesystems: &[Filesystem]) -> Vec<MetricRow> {
        let mut rows = Vec::new();
        self.cache.begin();
        let mut round = Round {
            proc_root: &self.proc_root,
            sys_root: &self.sys_root,
            cache: &mut self.cache,
            rows: &mut rows,
            buffer: &mut self.buffer,
            page_bytes: self.page_bytes,
        };
        round.put("up", 1.0);
        round.put("node_time_seconds", now_ns as f64 / 1e9);
        cpu::read(&mut round);
        memory::read(&mut round);
        kernel::read(&mut round);
        disk::read(&mut round);
        filesystem::put(&mut round, filesystems);
        network::read(&mut round);
        self.cache.finish(&mut rows);
        rows
    }
}

/// What the parts of a round share.
struct Round<'a> {
    proc_root: &'a Path,
    sys_root: &'a Path,
    cache: &'a mut SeriesCache,
    rows: &'a mut Vec<MetricRow>,
    buffer: &'a mut Vec<u8>,
    page_bytes: f64,
}

impl Round<'_> {
    fn put(&mut self, metric: &str, value: f64) {
        self.put_with(metric, &[], value);
    }

    fn put_with(&mut self, metric: &str, extra: &[(&'static str, &str)], value: f64) {
        self.cache.put(self.rows, metric, extra, value);
    }

    /// Hands the text of a file below `/proc` to `take`; a file that this kernel lacks is no error.
    fn file(&mut self, name: &str, take: impl FnOnce(&mut Self, &str)) {
        self.path(&self.proc_root.join(name), take);
    }

    fn path(&mut self, path: &Path, take: impl FnOnce(&mut Self, &str)) {
        let mut buffer = std::mem::take(self.buffer);
        let mut take = Some(take);
        let read = read_file(path, &mut buffer, |text| {
            if let Some(take) = take.take() {
                take(self, text);
            }
        });
        *self.buffer = buffer;
        if let Err(error) = read {
            tracing::trace!(path = %path.display(), %error, "left out");
        }
    }
}

/// Type and help of the metrics in `rows`, each once.
pub fn describe(rows: &[MetricRow]) -> Vec<MetricMetadata> {
    let mut names: Vec<&str> = rows.iter().map(|row| row.labels.metric_name()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let (kind, help) = description(name);
            let (name, help) = (Arc::from(name), Arc::from(help));
            MetricMetadata { name, kind, help, unit: Arc::from("") }
        })
        .collect()
}

/// node_exporter's types and help texts; the families that follow a kernel file derive theirs from the name.
fn description(name: &str) -> (MetricKind, String) {
    let tables = [
        kernel::METRICS,
        cpu::METRICS,
        memory::METRICS,
        disk::METRICS,
        filesystem::METRICS,
        network::METRICS,
    ];
    if let Some((_, kind, help)) = tables.into_iter().flatten().find(|(n, ..)| *n == name) {
        return (*kind, (*help).to_owned());
    }
    if let Some(field) = name.strip_prefix("node_memory_") {
        return (MetricKind::Gauge, format!("Memory information field {field}."));
    }
    if let Some(field) = name.strip_prefix("node_vmstat_") {
        return (MetricKind::Unknown, format!("/proc/vmstat information field {field}."));
    }
    if let Some(field) = name.strip_prefix("node_netstat_") {
        return (MetricKind::Unknown, format!("Statistic {}.", field.replacen('_', "", 1)));
    }
    if let Some((protocol, state)) =
        name.strip_prefix("node_sockstat_").and_then(|rest| rest.split_once('_'))
    {
        return (MetricKind::Gauge, format!("Number of {protocol} sockets in state {state}."));
    }
    if let Some(field) = name.strip_prefix("node_network_") {
        let field = field.strip_suffix("_total").unwrap_or(field);
        return (MetricKind::Counter, format!("Network device statistic {field}."));
    }
    (MetricKind::Unknown, String::new())
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}
