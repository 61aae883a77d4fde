//! Reads what containers use, every interval and at their start, and delivers it as one batch per round.
//!
//! Data: the registry says which containers run; cgroup and `/proc` files give the figures, the daemon where those may
//! not be read. A container that vanishes during a round ends its own series and disturbs nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use ingest::docker::Usage;
use model::{Clock, MetricBatch, MetricRow};
use tokio::sync::mpsc;

use super::cgroup::{Location, Roots, read_file};
use super::metrics::{METRICS, Rows, common_labels};
use super::registry::{ContainerState, DockerState, Registry};
use super::{Config, JOB, SOURCE};
use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::docker::Client;
use crate::metadata;
use crate::series::SeriesCache;
use crate::ticks::Ticks;

/// A container that just started is read again after this time, so that one living two seconds leaves a rate.
const SECOND_READING: Duration = Duration::from_secs(1);
/// How many containers are asked of the daemon at once.
const STATS_AT_ONCE: usize = 8;
/// Longest wait for one answer of the daemon during a round.
const STATS_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks for a reading of one container outside of the rounds; its state in the registry is already new.
#[derive(Debug)]
pub(crate) struct Poke(pub(crate) String);

/// Everything the polling task needs.
pub(crate) struct Poller {
    pub(crate) config: Config,
    pub(crate) client: Arc<Client>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) delivery: Delivery,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pokes: mpsc::Receiver<Poke>,
}

impl Poller {
    /// Runs until cancelled.
    pub(crate) async fn run(mut self) {
        let ticks = Ticks::every_ms(self.config.interval_ms);
        let mut readings = Box::new(Readings::new(&self.config));
        let mut again: BTreeSet<String> = BTreeSet::new();
        let cancel = self.delivery.cancel.clone();
        loop {
            let (tick_ms, left) = ticks.next(&*self.clock);
            let second = if again.is_empty() { Duration::MAX } else { SECOND_READING };
            let (only, stamp_ms) = tokio::select! {
                () = cancel.cancelled() => return,
                poke = self.pokes.recv() => {
                    let Some(Poke(id)) = poke else { return };
                    let mut ids = BTreeSet::from([id]);
                    while let Ok(Poke(id)) = self.pokes.try_recv() {
                        ids.insert(id);
                    }
                    again.extend(ids.iter().cloned());
                    (Some(ids), self.clock.now_ms())
                }
                () = tokio::time::sleep(second.min(left)), if second < left => {
                    (Some(std::mem::take(&mut again)), self.clock.now_ms())
                }
                () = tokio::time::sleep(left) => (None, ticks.stamp_ms(tick_ms, &*self.clock)),
            };
            readings = self.round(readings, only.as_ref(), stamp_ms, ticks.interval()).await;
        }
    }

    /// One round over `only` these containers, or all.
    async fn round(
        &self,
        mut readings: Box<Readings>,
        only: Option<&BTreeSet<String>>,
        stamp_ms: i64,
        patience: Duration,
    ) -> Box<Readings> {
        let wanted: Vec<ContainerState> = match only {
            Some(ids) => ids.iter().filter_map(|id| self.registry.get(id)).collect(),
            None => self.registry.snapshot(),
        };
        // Times of one source ascend, also when the clock does not.
        let t_ms = stamp_ms.max(readings.last_ms + 1);
        readings.last_ms = t_ms;
        let connected = self.registry.docker_status().state == DockerState::Connected;
        let scope = only.cloned();
        let read = tokio::task::spawn_blocking(move || {
            let missing = readings.read(&wanted, scope.as_ref(), connected, t_ms);
            (readings, wanted, missing)
        });
        let Ok((mut readings, wanted, missing)) = read.await else {
            tracing::error!("a round of container readings failed; its series begin anew");
            return Box::new(Readings::new(&self.config));
        };
        self.ask_daemon(&mut readings, &wanted, missing, t_ms).await;
        let rows = std::mem::take(&mut readings.rows);
        if rows.is_empty() {
            return readings;
        }
        readings.rows = Vec::with_capacity(rows.len());
        let first = !readings.described;
        let batch = MetricBatch {
            source: Arc::clone(&readings.source),
            t_ms,
            rows,
            metadata: if first { metadata::to_model(METRICS) } else { Vec::new() },
            ..MetricBatch::default()
        };
        readings.described |= self.delivery.metrics(batch, patience).await;
        readings
    }

    /// The fall-back for containers whose files cannot be read.
    async fn ask_daemon(
        &self,
        readings: &mut Readings,
        wanted: &[ContainerState],
        missing: Vec<usize>,
        t_ms: i64,
    ) {
        if missing.is_empty() {
            return;
        }
        Counters::add_len(&self.delivery.counters.cgroup_fallbacks, missing.len());
        let ids: Vec<(usize, String)> = missing
            .into_iter()
            .filter_map(|index| Some((index, wanted.get(index)?.id.clone())))
            .collect();
        let answers: Vec<(usize, Option<Usage>)> = futures_util::stream::iter(ids)
            .map(|(index, id)| {
                let client = Arc::clone(&self.client);
                async move {
                    let usage = tokio::time::timeout(STATS_TIMEOUT, client.stats(&id)).await;
                    // Without CPU figures the container has ended and the daemon sends zeros.
                    let usage = usage.ok().and_then(Result::ok);
                    (index, usage.filter(|u| u.cpu_usage_ns.is_some_and(|ns| ns > 0)))
                }
            })
            .buffered(STATS_AT_ONCE)
            .collect()
            .await;
        for (index, usage) in answers {
            let Some(container) = wanted.get(index) else { continue };
            readings.put_from_daemon(container, usage.as_ref(), t_ms);
        }
    }
}

/// The state kept from round to round.
struct Readings {
    roots: Roots,
    host_name: String,
    source: Arc<str>,
    machine: SeriesCache,
    targets: BTreeMap<String, Target>,
    devices: BTreeMap<(u32, u32), String>,
    usage: Usage,
    buffer: Vec<u8>,
    rows: Vec<MetricRow>,
    described: bool,
    last_ms: i64,
}

/// One container: its series, and where its current run is read.
struct Target {
    container: ContainerState,
    life: SeriesCache,
    run: Option<Run>,
}

struct Run {
    pid: u32,
    path: String,
    location: Option<Location>,
    series: SeriesCache,
}

impl Readings {
    fn new(config: &Config) -> Self {
        let machine = [("job", JOB), ("instance", config.host_name.as_str())]
            .map(|(n, v)| (n.to_owned(), v.to_owned()));
        Self {
            roots: Roots { proc: config.proc_root.clone(), sys: config.sys_root.clone() },
            host_name: config.host_name.clone(),
            source: Arc::from(SOURCE),
            machine: SeriesCache::new(machine.to_vec()),
            targets: BTreeMap::new(),
            devices: BTreeMap::new(),
            usage: Usage::default(),
            buffer: Vec::new(),
            rows: Vec::new(),
            described: false,
            last_ms: i64::MIN,
        }
    }

    /// Reads the `wanted` containers and returns the indexes of those that only the daemon can tell about.
    fn read(
        &mut self,
        wanted: &[ContainerState],
        only: Option<&BTreeSet<String>>,
        connected: bool,
        t_ms: i64,
    ) -> Vec<usize> {
        self.rows.clear();
        if only.is_none() {
            self.machine_rows(connected);
        }
        self.end_vanished(wanted, only);
        let mut missing = Vec::new();
        for (index, container) in wanted.iter().enumerate() {
            self.reconcile(container);
            let Some(target) = self.targets.get_mut(&container.id) else { continue };
            target.life.begin();
            Rows { cache: &mut target.life, rows: &mut self.rows }.life(container);
            target.life.finish(&mut self.rows);
            let Some(run) = &mut target.run else { continue };
            let read = match &run.location {
                Some(location) => location.read(&mut self.usage, &mut self.buffer).is_ok(),
                None => false,
            };
            if read {
                learn_devices(&self.roots, &mut self.devices, &self.usage, &mut self.buffer);
                put_usage(&self.devices, run, container, &self.usage, t_ms, &mut self.rows);
            } else {
                missing.push(index);
            }
        }
        missing
    }

    fn machine_rows(&mut self, connected: bool) {
        self.machine.begin();
        let up = f64::from(u8::from(connected));
        self.machine.put(&mut self.rows, "up", &[], up);
        let mut memory = [None; 2];
        let path = self.roots.proc.join("meminfo");
        let read = read_file(&path, &mut self.buffer, |text| {
            memory = ["MemTotal:", "SwapTotal:"].map(|name| kilobytes(text, name));
        });
        let path = self.roots.proc.join("stat");
        let mut cores = 0_u32;
        let counted = read_file(&path, &mut self.buffer, |text| {
            let cpus = text.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu "));
            cores = u32::try_from(cpus.count()).unwrap_or(u32::MAX);
        });
        if counted.is_ok() {
            self.machine.put(&mut self.rows, "machine_cpu_cores", &[], f64::from(cores));
        }
        if read.is_ok() {
            for (metric, value) in
                ["machine_memory_bytes", "machine_swap_bytes"].into_iter().zip(memory)
            {
                if let Some(bytes) = value {
                    self.machine.put(&mut self.rows, metric, &[], bytes);
                }
            }
        }
        self.machine.finish(&mut self.rows);
    }

    /// Ends the series of containers that are no longer known.
    fn end_vanished(&mut self, wanted: &[ContainerState], only: Option<&BTreeSet<String>>) {
        let known: BTreeSet<&str> = wanted.iter().map(|c| c.id.as_str()).collect();
        let rows = &mut self.rows;
        self.targets.retain(|id, target| {
            let concerned = only.is_none_or(|ids| ids.contains(id));
            let keep = !concerned || known.contains(id.as_str());
            if !keep {
                target.end(rows);
            }
            keep
        });
    }

    /// Brings the target in line with the container's state: new names, a new run, an end.
    fn reconcile(&mut self, container: &ContainerState) {
        let same_names = |old: &ContainerState| {
            (&old.name, &old.image, &old.compose_project, &old.compose_service)
                == (
                    &container.name,
                    &container.image,
                    &container.compose_project,
                    &container.compose_service,
                )
        };
        if let Some(target) = self.targets.get_mut(&container.id)
            && !same_names(&target.container)
        {
            target.end(&mut self.rows);
            self.targets.remove(&container.id);
        }
        let target = self.targets.entry(container.id.clone()).or_insert_with(|| {
            let path = format!("/docker/{}", container.id);
            Target {
                container: container.clone(),
                life: SeriesCache::new(common_labels(container, &path, &self.host_name)),
                run: None,
            }
        });
        if target.run.as_ref().map(|r| r.pid) != container.pid
            || target.container.started_ms != container.started_ms
        {
            let ended = target.run.take();
            target.run = container.pid.map(|pid| {
                let location = Location::find(&self.roots, pid, &container.id).ok();
                let fallback = format!("/docker/{}", container.id);
                let path = location.as_ref().map_or(fallback, |l| l.path.clone());
                let series = SeriesCache::new(common_labels(container, &path, &self.host_name));
                Run { pid, path, location, series }
            });
            match (ended, &mut target.run) {
                // The same series go on: counters begin anew, which is what counters do.
                (Some(ended), Some(run)) if ended.path == run.path => run.series = ended.series,
                (Some(mut ended), _) => ended.series.end(&mut self.rows),
                (None, _) => {}
            }
        }
        target.container = container.clone();
    }

    /// Takes the daemon's figures; without any, the run's series end.
    fn put_from_daemon(&mut self, container: &ContainerState, usage: Option<&Usage>, t_ms: i64) {
        let Some(run) = self.targets.get_mut(&container.id).and_then(|t| t.run.as_mut()) else {
            return;
        };
        match usage {
            Some(usage) => {
                learn_devices(&self.roots, &mut self.devices, usage, &mut self.buffer);
                put_usage(&self.devices, run, container, usage, t_ms, &mut self.rows);
            }
            None => run.series.end(&mut self.rows),
        }
    }
}

impl Target {
    fn end(&mut self, rows: &mut Vec<MetricRow>) {
        self.life.end(rows);
        if let Some(run) = &mut self.run {
            run.series.end(rows);
        }
    }
}

fn put_usage(
    devices: &BTreeMap<(u32, u32), String>,
    run: &mut Run,
    container: &ContainerState,
    usage: &Usage,
    t_ms: i64,
    rows: &mut Vec<MetricRow>,
) {
    run.series.begin();
    let device_name = |major, minor| {
        devices.get(&(major, minor)).cloned().unwrap_or_else(|| format!("{major}:{minor}"))
    };
    Rows { cache: &mut run.series, rows }.usage(container, usage, t_ms, &device_name);
    run.series.finish(rows);
}

/// Looks unknown device numbers up in `/proc/diskstats`.
fn learn_devices(
    roots: &Roots,
    devices: &mut BTreeMap<(u32, u32), String>,
    usage: &Usage,
    buffer: &mut Vec<u8>,
) {
    if usage.devices.iter().all(|d| devices.contains_key(&(d.major, d.minor))) {
        return;
    }
    let read = read_file(&roots.proc.join("diskstats"), buffer, |text| {
        for line in text.lines() {
            let mut parts = line.split_ascii_whitespace();
            if let (Some(Ok(major)), Some(Ok(minor)), Some(name)) =
                (parts.next().map(str::parse), parts.next().map(str::parse), parts.next())
            {
                devices.insert((major, minor), format!("/dev/{name}"));
            }
        }
    });
    if read.is_err() {
        tracing::debug!("cannot read diskstats; devices keep their numbers");
    }
    for io in &usage.devices {
        devices.entry((io.major, io.minor)).or_insert_with(|| {
            let mut name = String::new();
            // Writing to a String cannot fail.
            write!(name, "{}:{}", io.major, io.minor).unwrap_or_default();
            name
        });
    }
}

fn kilobytes(meminfo: &str, name: &str) -> Option<f64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix(name))?;
    let number: f64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(number * 1024.0)
}
