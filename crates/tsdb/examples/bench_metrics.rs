//! Measures the metric store: bytes per sample in WAL, fresh and final parts, memory per series, ingest and query speed.
//!
//! `cargo run --release -p tsdb --example bench_metrics -- [series] [hours] [series per target] [directory]`
//!
//! The mix: 15-second scrapes of constants 34 %, histogram buckets 19, sparse counters 12, request counters 9, byte
//! counters 5, CPU seconds in µs 5, memory in 4 KiB pages 5, slow integers 4, percentages of two decimals 3, booleans 3,
//! full-mantissa 1; with a daily wave and rare resets. Its entropy is about 0.43 bytes per sample.

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
use tsdb::{Config, Store};

const STEP_MS: i64 = 15_000;
const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 20_000 * DAY_MS;
/// CPU time each query is repeated for.
const SELECT_NS_MIN: i64 = 500_000_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0.0);
        while product > limit {
            product *= self.unit();
            count += 1.0;
        }
        count
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Constant,
    Counter { mean: f64, unit: f64, divisor: f64 },
    Memory,
    SlowInteger,
    Percent,
    Bool,
    Mantissa,
}

struct Series {
    labels: Labels,
    kind: Kind,
    value: f64,
}

fn kind(random: &mut Random, number: usize) -> (&'static str, Kind) {
    let spread = 10f64.powf(random.unit() * 2.0);
    match number % 100 {
        0..34 => ("config_limit", Kind::Constant),
        34..53 => {
            let mean = if number.is_multiple_of(3) { 0.0 } else { 0.3 * spread };
            ("request_duration_seconds_bucket", Kind::Counter { mean, unit: 1.0, divisor: 1.0 })
        }
        53..65 => ("errors_total", Kind::Counter { mean: 0.02, unit: 1.0, divisor: 1.0 }),
        65..74 => ("requests_total", Kind::Counter { mean: 5.0 * spread, unit: 1.0, divisor: 1.0 }),
        74..79 => {
            let mean = 2.0 * spread;
            ("network_bytes_total", Kind::Counter { mean, unit: 1448.0, divisor: 1.0 })
        }
        79..84 => {
            let mean = 3000.0 * spread;
            ("cpu_seconds_total", Kind::Counter { mean, unit: 1.0, divisor: 1e6 })
        }
        84..89 => ("memory_bytes", Kind::Memory),
        89..93 => ("goroutines", Kind::SlowInteger),
        93..96 => ("usage_percent", Kind::Percent),
        96..99 => ("up", Kind::Bool),
        _ => ("load", Kind::Mantissa),
    }
}

impl Series {
    fn next(&mut self, random: &mut Random, wave: f64) -> f64 {
        match self.kind {
            Kind::Constant => return self.value,
            Kind::Counter { mean, unit, divisor } => {
                if random.unit() < 1e-5 {
                    self.value = 0.0;
                }
                self.value += random.poisson(mean * wave) * unit;
                return self.value / divisor;
            }
            Kind::Memory => {
                if random.unit() < 0.5 {
                    self.value = (self.value + (random.normal() * 20.0).round()).max(100.0);
                }
                return self.value * 4096.0;
            }
            Kind::SlowInteger => {
                if random.unit() < 0.2 {
                    self.value = (self.value + random.normal().round()).max(0.0);
                }
            }
            Kind::Percent => {
                self.value = (self.value + random.normal() * 0.5).clamp(0.0, 100.0);
                return (self.value * 100.0).round() / 100.0;
            }
            Kind::Bool => {
                if random.unit() < 0.002 {
                    self.value = 1.0 - self.value.min(1.0);
                }
            }
            Kind::Mantissa => self.value = self.value * 0.95 + random.unit(),
        }
        self.value
    }
}

fn series(random: &mut Random, count: usize, per_target: usize) -> Vec<Series> {
    let one = |number: usize| {
        let (name, kind) = kind(random, number);
        let target = number / per_target;
        let labels = Labels::from_pairs([
            ("__name__", name),
            ("cluster", "eu-west-1"),
            ("container", format!("app-{}", number % 7).as_str()),
            ("instance", format!("10.0.{}.{}:9100", target / 250, target % 250).as_str()),
            ("job", "kubernetes-pods"),
            ("le", format!("{}", (number % 20) as f64 / 4.0).as_str()),
            ("namespace", format!("team-{}", target % 20).as_str()),
            ("path", format!("/api/v1/thing/{}", number % per_target).as_str()),
            ("pod", format!("app-{}-6f7d8b9c5-{target:05}", target % 50).as_str()),
        ]);
        let value = (random.unit() * 1000.0).round();
        Series { labels, kind, value }
    };
    (0..count).map(one).collect()
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

/// The same for the store's writer thread.
fn writer_cpu_ns() -> Result<i64> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let id = task?.file_name().to_string_lossy().into_owned();
        if std::fs::read_to_string(format!("/proc/self/task/{id}/comm"))?.trim() == "tsdb-writer" {
            return cpu_ns(&format!("self/task/{id}"));
        }
    }
    anyhow::bail!("there is no writer thread")
}

fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

struct Bench {
    store: Arc<Store>,
    clock: Arc<ManualClock>,
    series: Vec<Series>,
    per_target: usize,
    random: Random,
    samples: u64,
    ingest_ns: i64,
}

impl Bench {
    /// One scrape of every target; only the store's work is timed.
    fn scrape(&mut self, round: i64) -> Result<()> {
        self.clock.advance_ms(STEP_MS);
        let t_ms = self.clock.now_ms();
        let wave = 1.0
            + 0.5 * (round as f64 * STEP_MS as f64 / DAY_MS as f64 * std::f64::consts::TAU).sin();
        let mut batches = Vec::new();
        for (target, series) in self.series.chunks_mut(self.per_target).enumerate() {
            let rows = series
                .iter_mut()
                .map(|s| MetricRow {
                    value: s.next(&mut self.random, wave),
                    labels: s.labels.clone(),
                })
                .collect();
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
        future_ms_max: 600_000,
        free_bytes_floor: 0,
        retention_rules: Vec::new(),
    };
    let clock = Arc::new(ManualClock::at_ms(START_MS));
    let mut random = Random(1);
    let before_bytes = resident_bytes()?;
    let series = series(&mut random, count, per_target);
    let labels_bytes = resident_bytes()? - before_bytes;
    let store_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let (store, _) = Store::open(Arc::new(RealFs), store_clock, config.clone())?;
    let mut bench = Bench { store, clock, series, per_target, random, samples: 0, ingest_ns: 0 };
    run(&mut bench, hours, labels_bytes, before_bytes)?;
    bench.store.close()?;
    reopen(&bench, config)?;
    drop(bench);
    clean(&dir)
}

fn run(bench: &mut Bench, hours: i64, labels_bytes: u64, before_bytes: u64) -> Result<()> {
    let count = bench.series.len() as f64;
    let rounds = hours * 240;
    println!("| {} series, {hours} h of 15 s, {} series per target | |", count, bench.per_target);
    let first = rounds.min(110);
    (0..first).try_for_each(|round| bench.scrape(round))?;
    let stats = bench.store.stats();
    let resident = resident_bytes()? - before_bytes;
    println!("| labels alone, B/series | {:.0} |", labels_bytes as f64 / count);
    println!("| resident with {first} scrapes, B/series | {:.0} |", resident as f64 / count);
    println!("| samples in head, B/series | {:.0} |", stats.head_bytes as f64 / count);
    println!("| wal, B/sample | {:.3} |", stats.wal_bytes as f64 / bench.samples as f64);
    bench.selects("head", 3_600_000)?;
    (first..rounds).try_for_each(|round| bench.scrape(round))?;
    let rate = bench.samples as f64 / seconds(bench.ingest_ns) / 1e6;
    println!("| ingest with flushes and merges, Ms/s of wall time | {rate:.2} |");
    let rate = bench.samples as f64 / seconds(writer_cpu_ns()?) / 1e6;
    println!("| the same, Ms per CPU second of the writer thread | {rate:.2} |");
    bench.store.flush()?;
    while bench.store.merge()? {}
    report_parts(bench, "fresh parts");
    bench.selects("fresh parts", 3_600_000)?;
    // Close the day: its parts take their final form.
    let open_ms = bench.clock.now_ms() - START_MS;
    bench.clock.advance_ms(DAY_MS);
    let started_ns = cpu_ns("thread-self")?;
    while bench.store.merge()? {}
    let merged_s = seconds(cpu_ns("thread-self")? - started_ns);
    println!("| final merge, Ms/s of CPU | {:.1} |", bench.samples as f64 / merged_s / 1e6);
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
