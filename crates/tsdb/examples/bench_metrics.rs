//! Measures the metric store: bytes per sample in WAL, fresh and final parts, memory per series, ingest and query speed.
//!
//! `cargo run --release -p tsdb --example bench_metrics -- [series] [hours] [series per target] [directory]`
//!
//! The data is the documented mix of `testkit::mix`; the entropy of its distributions is printed beside the sizes.

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
/// CPU time each query is repeated for.
const SELECT_NS_MIN: i64 = 500_000_000;

/// Labels of all series, as collectors keep them.
fn labels(mix: &Mix) -> Vec<Labels> {
    let one = |number: usize| {
        Labels::from_pairs(mix.labels(number).iter().map(|(n, v)| (n.as_str(), v.as_str())))
    };
    (0..mix.len()).map(one).collect()
}

fn resident_bytes() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("read /proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).context("statm has a second field")?.parse()?;
    Ok(pages * 4096)
}

/// Nanoseconds of CPU that a thread of this process had; `thread-self` or `self/task/ID`.
fn cpu_ns(thread: &str) -> Result<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{thread}/schedstat"))?;
    Ok(stat.split(' ').next().context("schedstat has a first field")?.parse()?)
}

/// The same for a thread of the store by name.
fn cpu_ns_of(name: &str) -> Result<i64> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let id = task?.file_name().to_string_lossy().into_owned();
        if std::fs::read_to_string(format!("/proc/self/task/{id}/comm"))?.trim() == name {
            return cpu_ns(&format!("self/task/{id}"));
        }
    }
    anyhow::bail!("there is no thread {name}")
}

fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

struct Bench {
    store: Arc<Store>,
    clock: Arc<ManualClock>,
    mix: Mix,
    labels: Vec<Labels>,
    values: Vec<f64>,
    per_target: usize,
    samples: u64,
    ingest_ns: i64,
}

impl Bench {
    /// One scrape of every target; only the store's work is timed.
    fn scrape(&mut self) -> Result<()> {
        self.clock.advance_ms(STEP_MS);
        let t_ms = self.clock.now_ms();
        self.mix.scrape(&mut self.values);
        let mut batches = Vec::new();
        let targets = self.labels.chunks(self.per_target).zip(self.values.chunks(self.per_target));
        for (target, (labels, values)) in targets.enumerate() {
            let row = |(labels, value): (&Labels, &f64)| MetricRow {
                labels: labels.clone(),
                value: *value,
            };
            let rows = labels.iter().zip(values).map(row).collect();
            let source = format!("scrape/pods/{target}").into();
            batches.push(MetricBatch { source, t_ms, rows, ..MetricBatch::default() });
        }
        let (sender, receiver) = bounded(batches.len());
        let started_ns = SystemClock.monotonic_ns();
        let count = batches.len();
        for batch in batches {
            let sender = sender.clone();
            self.store.append(batch, Done::new(move |outcome| drop(sender.send(outcome))));
        }
        for _ in 0..count {
            self.samples += receiver.recv()??.stored;
        }
        self.ingest_ns += SystemClock.monotonic_ns() - started_ns;
        Ok(())
    }

    /// Selects everything of `matchers` in the last `range_ms`; prints CPU time and speed.
    fn select(&self, what: &str, matchers: &[Matcher], range_ms: i64) -> Result<()> {
        let now_ms = self.clock.now_ms();
        let plan = MetricPlan {
            matchers: matchers.to_vec(),
            start_ms: now_ms - range_ms,
            end_ms: now_ms,
            step_ms: 0,
            range_ms: 0,
            function: "",
            grouping: None,
        };
        // The kernel counts a running thread's time in ticks: repeat until they are many.
        let (started_ns, mut runs) = (cpu_ns("thread-self")?, 0);
        let (mean, found) = loop {
            let selected = self.store.select(&plan, &Budget::unlimited())?;
            let samples: usize = selected.series.iter().map(|s| s.values.len()).sum();
            let found = (selected.series.len(), samples);
            runs += 1;
            let spent_ns = cpu_ns("thread-self")? - started_ns;
            if spent_ns >= SELECT_NS_MIN {
                break (seconds(spent_ns) / f64::from(runs), found);
            }
        };
        let rate = found.1 as f64 / mean / 1e6;
        println!(
            "| {what:<34} | {:>7} series, {:>9} samples | {:>8.2} ms | {rate:>7.1} Ms/s |",
            found.0,
            found.1,
            mean * 1e3
        );
        Ok(())
    }

    fn selects(&self, where_: &str, range_ms: i64) -> Result<()> {
        let all = [Matcher::equal("job", "kubernetes-pods")];
        let name = [Matcher::equal("__name__", "request_duration_seconds_bucket")];
        let panel = [
            Matcher::equal("__name__", "requests_total"),
            Matcher::equal("instance", "10.0.0.0:9100"),
        ];
        self.select(&format!("{where_}: all"), &all, range_ms)?;
        self.select(&format!("{where_}: one metric"), &name, range_ms)?;
        self.select(&format!("{where_}: one metric of one target"), &panel, range_ms)
    }
}

fn argument<T: std::str::FromStr>(number: usize, default: T) -> T {
    std::env::args().nth(number).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> Result<()> {
    let (count, hours) = (argument(1, 2000usize), argument(2, 2i64));
    let per_target = argument(3, 500usize).min(count);
    let dir: PathBuf = argument(4, std::env::temp_dir().join("taffrail-bench-metrics"));
    if RealFs.exists(&dir)? {
        RealFs.remove_dir_all(&dir).context("remove what an earlier run left")?;
    }
    let config = Config {
        dir: dir.clone(),
        durability: Durability::Interval { ms: 200 },
        shards: 1,
        retention_ms: 30 * DAY_MS,
        head_bytes_max: 256 << 20,
        flush_after_ms: 30 * 60_000,
        series_max: 10_000_000,
        index_bytes_max: 256 << 20,
        future_ms_max: 600_000,
        free_bytes_floor: 0,
        retention_rules: Vec::new(),
    };
    let clock = Arc::new(ManualClock::at_ms(START_MS));
    let mix = Mix::new(1, count, per_target);
    let before_bytes = resident_bytes()?;
    let labels = labels(&mix);
    let labels_bytes = resident_bytes()? - before_bytes;
    let store_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let (store, _) = Store::open(Arc::new(RealFs), store_clock, config.clone())?;
    let values = Vec::new();
    let mut bench =
        Bench { store, clock, mix, labels, values, per_target, samples: 0, ingest_ns: 0 };
    run(&mut bench, hours, labels_bytes, before_bytes)?;
    bench.store.close()?;
    reopen(&bench, config)?;
    drop(bench);
    clean(&dir)
}

fn run(bench: &mut Bench, hours: i64, labels_bytes: u64, before_bytes: u64) -> Result<()> {
    let count = bench.labels.len() as f64;
    let rounds = hours * 240;
    println!("| {} series, {hours} h of 15 s, {} series per target | |", count, bench.per_target);
    let first = rounds.min(110);
    (0..first).try_for_each(|_| bench.scrape())?;
    let stats = bench.store.stats();
    let resident = resident_bytes()? - before_bytes;
    let entropy = bench.mix.entropy_bits() / 8.0;
    println!("| entropy of the values, B/sample: the limit of all sizes below | {entropy:.3} |");
    println!("| labels alone, B/series | {:.0} |", labels_bytes as f64 / count);
    println!("| resident with {first} scrapes, B/series | {:.0} |", resident as f64 / count);
    println!("| samples in head, B/series | {:.0} |", stats.head_bytes as f64 / count);
    println!("| wal, B/sample | {:.3} |", stats.wal_bytes as f64 / bench.samples as f64);
    bench.selects("head", 3_600_000)?;
    (first..rounds).try_for_each(|_| bench.scrape())?;
    let rate = bench.samples as f64 / seconds(bench.ingest_ns) / 1e6;
    println!("| ingest with flushes and merges, Ms/s of wall time | {rate:.2} |");
    let rate = bench.samples as f64 / seconds(cpu_ns_of("tsdb-writer")?) / 1e6;
    println!("| the same, Ms per CPU second of the writer thread | {rate:.2} |");
    bench.store.flush()?;
    let started_ns = cpu_ns("thread-self")?;
    while bench.store.merge()? {}
    let merging_ns = cpu_ns("thread-self")? - started_ns + cpu_ns_of("tsdb-merger")?;
    let per_sample = merging_ns as f64 / bench.samples as f64;
    println!("| merges of the open day, ns of CPU per sample | {per_sample:.1} |");
    report_parts(bench, "fresh parts");
    bench.selects("fresh parts", 3_600_000)?;
    // Close the day: its parts take their final form.
    let open_ms = bench.clock.now_ms() - START_MS;
    bench.clock.advance_ms(DAY_MS);
    let started_ns = cpu_ns("thread-self")?;
    while bench.store.merge()? {}
    let per_sample = (cpu_ns("thread-self")? - started_ns) as f64 / bench.samples as f64;
    println!("| final merge, ns of CPU per sample | {per_sample:.1} |");
    report_parts(bench, "final part");
    bench.selects("final part", DAY_MS + open_ms)
}

fn report_parts(bench: &Bench, what: &str) {
    let stats = bench.store.stats();
    let per_sample = stats.part_bytes as f64 / stats.part_samples as f64;
    println!("| {what}: {} files, B/sample of all bytes | {per_sample:.3} |", stats.parts);
}

/// Time to open the store again.
fn reopen(bench: &Bench, config: Config) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::clone(&bench.clock) as Arc<dyn Clock>;
    let started_ns = SystemClock.monotonic_ns();
    let (store, report) = Store::open(Arc::new(RealFs), clock, config)?;
    let opened_s = seconds(SystemClock.monotonic_ns() - started_ns);
    println!(
        "| open, ms ({} samples from the wal) | {:.1} |",
        report.recovered_samples,
        opened_s * 1e3
    );
    store.close()?;
    Ok(())
}

fn clean(dir: &Path) -> Result<()> {
    RealFs.remove_dir_all(dir).context("remove the bench directory")
}
