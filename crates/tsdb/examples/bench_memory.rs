//! Measures what a series costs the metric store in memory, by use and in the process as a whole, what its index costs on
//! disk, and how long a restart takes after a crash.
//!
//! `cargo run --release -p tsdb --example bench_memory -- [series] [scrapes] [series per target] [directory]`
//!
//! The data is the documented mix of `testkit::mix`. Labels are made anew for each scrape and dropped after it, as a
//! receiver does: what stays is the store's own.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use crossbeam_channel::bounded;
use model::{
    Budget, Clock, Done, Labels, ManualClock, Matcher, MetricBatch, MetricPlan, MetricRow,
    MetricSource, SystemClock,
};
use storage::fs::{Fs, RealFs};
use storage::wal::Durability;
use testkit::mix::{Mix, STEP_MS};
use tsdb::{Config, Store};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 20_000 * DAY_MS;
/// Targets whose batches are under way at once.
const BATCHES: usize = 64;

fn argument<T: std::str::FromStr>(number: usize, default: T) -> T {
    std::env::args().nth(number).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Resident bytes now, and the most there were.
fn resident() -> Result<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no field")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

fn cpu_ns() -> Result<i64> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        total += stat.split(' ').next().context("schedstat has a first field")?.parse::<i64>()?;
    }
    Ok(total)
}

struct Bench {
    store: Arc<Store>,
    clock: Arc<ManualClock>,
    mix: Mix,
    series: f64,
}

impl Bench {
    fn scrape(&mut self, values: &mut Vec<f64>) -> Result<()> {
        self.clock.advance_ms(STEP_MS);
        let t_ms = self.clock.now_ms();
        self.mix.scrape(values);
        let per_target = self.mix.per_target();
        let (sender, receiver) = bounded(BATCHES);
        for (number, values) in values.chunks(per_target).enumerate() {
            if number >= BATCHES {
                receiver.recv()??;
            }
            let row = |(k, value): (usize, &f64)| {
                let labels = self.mix.labels(number * per_target + k);
                let labels: Labels = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                MetricRow { labels, value: *value }
            };
            let rows = values.iter().enumerate().map(row).collect();
            let source = format!("scrape/pods/{number}").into();
            let batch = MetricBatch { source, t_ms, rows, ..MetricBatch::default() };
            let sender = sender.clone();
            self.store.append(batch, Done::new(move |outcome| drop(sender.send(outcome))));
        }
        drop(sender);
        receiver.iter().try_for_each(|outcome| outcome.map(drop))?;
        Ok(())
    }

    fn report(&self, what: &str, before: u64) -> Result<()> {
        let (now, most) = resident()?;
        let per_series = |bytes: u64| bytes as f64 / self.series;
        println!("| {what}: resident, B/series | {:.0} |", per_series(now.saturating_sub(before)));
        println!("| the most until then | {:.0} |", per_series(most.saturating_sub(before)));
        for (of, bytes) in self.store.memory().by_use() {
            println!("| - {of} | {:.1} |", per_series(bytes));
        }
        Ok(())
    }

    /// Asks for the sum of one metric of one target in the last hour.
    fn ask(&self) -> Result<()> {
        let matchers = vec![
            Matcher::equal("__name__", "requests_total"),
            Matcher::equal("instance", "10.0.0.0:9100"),
        ];
        let end_ms = self.clock.now_ms();
        let (start_ms, grouping) = (end_ms - 3_600_000, None);
        let plan = MetricPlan {
            matchers,
            start_ms,
            end_ms,
            step_ms: 0,
            range_ms: 0,
            function: "",
            grouping,
        };
        for what in ["first", "second"] {
            let started_ns = cpu_ns()?;
            let found = self.store.select(&plan, &Budget::unlimited())?.series.len();
            let spent_ms = (cpu_ns()? - started_ns) as f64 / 1e6;
            println!("| {what} query of a target's {found} series, CPU ms | {spent_ms:.2} |");
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    RealFs.create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let (count, scrapes) = (argument(1, 100_000usize), argument(2, 60u32));
    let per_target = argument(3, 1000usize).min(count);
    let dir: PathBuf = argument(4, std::env::temp_dir().join("taffrail-bench-memory"));
    if RealFs.exists(&dir)? {
        RealFs.remove_dir_all(&dir).context("remove what an earlier run left")?;
    }
    let config = Config {
        dir: dir.join("store"),
        durability: Durability::Interval { ms: 200 },
        shards: 1,
        retention_ms: 30 * DAY_MS,
        head_bytes_max: 256 << 20,
        flush_after_ms: 30 * 60_000,
        index_bytes_max: 256 << 20,
        series_max: 10_000_000,
        future_ms_max: 600_000,
        free_bytes_floor: 0,
        retention_rules: Vec::new(),
    };
    let clock = Arc::new(ManualClock::at_ms(START_MS));
    let mix = Mix::new(1, count, per_target);
    let mut values = Vec::with_capacity(count);
    let (before, _) = resident()?;
    let open = |config: Config| Store::open(Arc::new(RealFs), Arc::clone(&clock) as _, config);
    let (store, _) = open(config.clone())?;
    let mut bench = Bench { store, clock: Arc::clone(&clock), mix, series: count as f64 };
    println!("| {count} series, {scrapes} scrapes, {per_target} series per target | |");
    let started_ns = cpu_ns()?;
    (0..scrapes).try_for_each(|_| bench.scrape(&mut values))?;
    let rate = bench.series * f64::from(scrapes) / (cpu_ns()? - started_ns) as f64 * 1e3;
    println!("| samples per CPU second, making their labels included, M | {rate:.2} |");
    bench.report("head", before)?;
    // As if the process had been killed now: its files, without its memory.
    std::thread::sleep(std::time::Duration::from_millis(500));
    copy(&config.dir, &dir.join("crashed"))?;
    let started_ns = (SystemClock.monotonic_ns(), cpu_ns()?);
    let (crashed, report) = open(Config { dir: dir.join("crashed"), ..config.clone() })?;
    let wall_s = (SystemClock.monotonic_ns() - started_ns.0) as f64 / 1e9;
    let cpu_s = (cpu_ns()? - started_ns.1) as f64 / 1e9;
    let recovered = report.recovered_samples;
    println!("| restart after a crash, s of wall time | {wall_s:.2} |");
    println!("| the same, s of CPU, for {recovered} samples in the wal | {cpu_s:.2} |");
    anyhow::ensure!(crashed.stats().series == bench.store.stats().series, "series are missing");
    crashed.close()?;
    drop(crashed);
    bench.store.flush()?;
    while bench.store.merge()? {}
    bench.report("flushed", before)?;
    for part in bench.store.part_list() {
        let per_series = part.index_bytes as f64 / part.series as f64;
        println!("| {}: index on disk, B/series | {per_series:.2} |", part.name);
    }
    bench.ask()?;
    bench.report("with decoded indexes", before)?;
    bench.store.close()?;
    Ok(RealFs.remove_dir_all(&dir)?)
}
