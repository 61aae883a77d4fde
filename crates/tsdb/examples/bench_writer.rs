//! Measures what one sample costs the writer of the metric store, from the batch to WAL, head and parts.
//!
//! `cargo run --release -p tsdb --example bench_writer -- [series] [scrapes] [series per target] [directory]`
//!
//! The data is the documented mix of `testkit::mix`. CPU time is that of the threads that do the work, after a first
//! scrape that brings all series.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use model::{Clock, Done, Labels, ManualClock, MetricBatch, MetricRow};
use storage::fs::{Fs, RealFs};
use storage::wal::Durability;
use testkit::mix::{Mix, STEP_MS};
use tsdb::{Config, Store};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START_MS: i64 = 20_000 * 86_400_000;

fn argument<T: std::str::FromStr>(number: usize, default: T) -> T {
    std::env::args().nth(number).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Nanoseconds of CPU that a thread of this process had, by its directory.
fn cpu_ns(thread: &str) -> Result<i64> {
    let stat = std::fs::read_to_string(format!("{thread}/schedstat"))?;
    Ok(stat.split(' ').next().context("schedstat has a first field")?.parse()?)
}

/// The same for the store's writer threads.
fn writers_ns() -> Result<i64> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if std::fs::read_to_string(path.join("comm"))?.starts_with("tsdb-writer") {
            total += cpu_ns(&path.to_string_lossy())?;
        }
    }
    Ok(total)
}

fn labels(mix: &Mix) -> Vec<Labels> {
    let one = |number: usize| {
        Labels::from_pairs(mix.labels(number).iter().map(|(n, v)| (n.as_str(), v.as_str())))
    };
    (0..mix.len()).map(one).collect()
}

fn main() -> Result<()> {
    let (count, rounds) = (argument(1, 100_000usize), argument(2, 130usize));
    let per_target = argument(3, 500usize).min(count);
    let dir: PathBuf = argument(4, std::env::temp_dir().join("taffrail-bench-writer"));
    if RealFs.exists(&dir)? {
        RealFs.remove_dir_all(&dir)?;
    }
    let clock = Arc::new(ManualClock::at_ms(START_MS));
    let config = Config {
        dir: dir.clone(),
        durability: Durability::Interval { ms: 200 },
        shards: 1,
        retention_ms: 30 * 86_400_000,
        retention_rules: Vec::new(),
        head_bytes_max: 4 << 30,
        flush_after_ms: i64::MAX,
        series_max: 10_000_000,
        index_bytes_max: 256 << 20,
        future_ms_max: 600_000,
        free_bytes_floor: 0,
    };
    let (store, _) = Store::open(Arc::new(RealFs), Arc::clone(&clock) as Arc<dyn Clock>, config)?;
    let mut mix = Mix::new(1, count, per_target);
    let labels = labels(&mix);
    let sources: Vec<Arc<str>> =
        (0..count.div_ceil(per_target)).map(|n| format!("scrape/pods/{n}").into()).collect();
    let (mut values, mut stored, mut first) = (Vec::new(), 0, (0, 0, 0));
    let mut sender_ns = 0;
    for round in 0..rounds {
        clock.advance_ms(STEP_MS);
        let t_ms = clock.now_ms();
        mix.scrape(&mut values);
        let (sender, receiver) = crossbeam_channel::unbounded();
        let started_ns = cpu_ns("/proc/thread-self")?;
        let targets = labels.chunks(per_target).zip(values.chunks(per_target));
        for (source, (labels, values)) in sources.iter().zip(targets) {
            let row = |(labels, value): (&Labels, &f64)| MetricRow {
                labels: labels.clone(),
                value: *value,
            };
            let rows = labels.iter().zip(values).map(row).collect();
            let batch =
                MetricBatch { source: Arc::clone(source), t_ms, rows, ..MetricBatch::default() };
            let sender = sender.clone();
            store.append(batch, Done::new(move |outcome| drop(sender.send(outcome))));
        }
        drop(sender);
        sender_ns += cpu_ns("/proc/thread-self")? - started_ns;
        for outcome in receiver {
            stored += outcome?.stored;
        }
        if round == 0 {
            first = (stored, writers_ns()?, store.stats().wal_bytes);
            sender_ns = 0;
        }
    }
    let ns = writers_ns()? - first.1;
    let later = (stored - first.0).max(1);
    let each = |ns: i64| ns as f64 / later as f64;
    let stats = store.stats();
    println!("| {count} series, {rounds} scrapes, {per_target} series per target | |");
    println!("| first scrape, writer, ns/sample | {:.0} |", first.1 as f64 / first.0.max(1) as f64);
    println!("| writer, ns/sample | {:.1} |", each(ns));
    println!("| writer, Ms/s | {:.1} |", 1e3 / each(ns));
    println!("| making and sending batches, ns/sample | {:.1} |", each(sender_ns));
    println!("| wal, B/sample | {:.3} |", (stats.wal_bytes - first.2) as f64 / later as f64);
    println!("| head, B/sample | {:.3} |", stats.head_bytes as f64 / stored.max(1) as f64);
    let started_ns = writers_ns()?;
    store.flush()?;
    println!("| flush, writer, ns/sample | {:.1} |", each(writers_ns()? - started_ns));
    println!("| parts, B/sample | {:.3} |", store.stats().part_bytes as f64 / stored.max(1) as f64);
    drop(store);
    RealFs.remove_dir_all(&dir)?;
    Ok(())
}
