//! Measures PromQL over the metric store, in process and warm: CPU time (all threads) and wall time per query.
//!
//! `cargo run --release -p tsdb --example bench_queries -- [series] [series per target] [directory] [queries] [seconds per query]`
//!
//! The documented mix (`testkit::mix`), 2 h 12 min of it; queries end at the last scrape. Three states of the same samples:
//! live (parts of half an hour each and a head), fresh parts alone, and the compressed part of a closed day. The physical
//! limit beside each is that of memory: the query's samples as `f64`, copied once at the speed measured at the start. Beside
//! the median stands the least CPU time, which other work on the machine raises less.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use crossbeam_channel::bounded;
use model::{Budget, Clock, Done, Labels, ManualClock, MetricBatch, MetricRow, SystemClock};
use query::promql::{Options, PromQuery, Value, evaluate};
use rustix::time::{ClockId, clock_gettime};
use storage::fs::{Fs, RealFs};
use storage::wal::Durability;
use testkit::mix::{Mix, STEP_MS};
use tsdb::{Config, Store};

const DAY_MS: i64 = 86_400_000;
/// An odd millisecond, so that no window ends on a sample.
const START_MS: i64 = 20_000 * DAY_MS + 137;
const ROUNDS: usize = 528;
const HOUR_MS: i64 = 3_600_000;
/// How often each query is repeated at least.
const RUNS_MIN: usize = 7;

/// 45 of 100 series.
const COUNTERS: &str = "{__name__=~\"request_duration_seconds_bucket|errors_total|requests_total|network_bytes_total\"}";

/// All series of 9 of 20 namespaces.
const MOST: &str = "{namespace=~\"team-[0-8]\"}";

/// What, query, step in milliseconds (0: now).
fn queries() -> Vec<(&'static str, String, i64)> {
    let all = "{job=\"kubernetes-pods\"}";
    let buckets = "request_duration_seconds_bucket";
    let panel = "requests_total{instance=\"10.0.0.7:9100\"}";
    let by = |f: &str, of: &str| format!("sum by (namespace) ({f}({of}[5m]))");
    let minute = 60_000;
    vec![
        ("sum by (rate), 45 %, 1 h, step 15 s", by("rate", COUNTERS), STEP_MS),
        ("sum by (rate), 45 %, 1 h, step 1 m", by("rate", COUNTERS), minute),
        ("sum by (rate), 45 %, now", by("rate", COUNTERS), 0),
        ("sum by (rate), 45 % of targets, all kinds, 1 h", by("rate", MOST), minute),
        ("avg by (avg_over_time), 45 %, 1 h", by("avg_over_time", COUNTERS), STEP_MS),
        ("sum by (max_over_time), 5 %, 1 h", by("max_over_time", "memory_bytes"), STEP_MS),
        ("sum by (sum_over_time), 1 % floats", by("sum_over_time", "load"), STEP_MS),
        (
            "histogram_quantile, 19 % buckets, 1 h",
            format!("histogram_quantile(0.9, sum by (le) (rate({buckets}[5m])))"),
            STEP_MS,
        ),
        ("count, all, now", format!("count({all})"), 0),
        ("count by (__name__), all, now", format!("count by (__name__) ({all})"), 0),
        ("sum by (pod), 34 % constants, 1 h", "sum by (pod) (config_limit)".into(), STEP_MS),
        ("panel: 90 series, 1 h", format!("rate({panel}[5m])"), STEP_MS),
        ("panel: sum of 90 series, 1 h", format!("sum(rate({panel}[5m]))"), STEP_MS),
        (
            "panel: 9 series, 1 h",
            "rate(requests_total{instance=\"10.0.0.7:9100\",path=\"/api/v1/thing/3\"}[5m])".into(),
            STEP_MS,
        ),
    ]
}

fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn wall_s() -> f64 {
    SystemClock.monotonic_ns() as f64 / 1e9
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Bytes per second of copying memory.
fn copy_speed() -> f64 {
    let from = vec![1u8; 64 << 20];
    let mut to = vec![0u8; 64 << 20];
    let mut seconds: Vec<f64> = (0..9)
        .map(|_| {
            let started = cpu_s();
            to.copy_from_slice(std::hint::black_box(&from));
            std::hint::black_box(&mut to);
            cpu_s() - started
        })
        .collect();
    from.len() as f64 / median(&mut seconds)
}

fn ingest(store: &Store, clock: &ManualClock, mix: &mut Mix) -> Result<f64> {
    let pairs = |number| mix.labels(number).iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let labels: Vec<Labels> = (0..mix.len()).map(|n| Labels::from_pairs(pairs(n))).collect();
    let mut values = Vec::new();
    let mut spent_s = 0.0;
    for _ in 0..ROUNDS {
        clock.advance_ms(STEP_MS);
        let t_ms = clock.now_ms();
        mix.scrape(&mut values);
        let size = mix.per_target();
        let targets = labels.chunks(size).zip(values.chunks(size)).enumerate();
        let batches: Vec<MetricBatch> = targets
            .map(|(target, (labels, values))| {
                let row = |(labels, value): (&Labels, &f64)| MetricRow {
                    labels: labels.clone(),
                    value: *value,
                };
                let rows = labels.iter().zip(values).map(row).collect();
                let source = format!("scrape/pods/{target}").into();
                MetricBatch { source, t_ms, rows, ..MetricBatch::default() }
            })
            .collect();
        let (sender, receiver) = bounded(batches.len());
        let (count, started) = (batches.len(), wall_s());
        for batch in batches {
            let sender = sender.clone();
            store.append(batch, Done::new(move |outcome| drop(sender.send(outcome))));
        }
        for _ in 0..count {
            receiver.recv()??;
        }
        spent_s += wall_s() - started;
    }
    Ok((labels.len() * ROUNDS) as f64 / spent_s)
}

fn measure(state: &str, store: &Store, end_ms: i64, copy_speed: f64) -> Result<()> {
    println!(
        "| {state} | series out | samples | CPU ms | least | wall ms | M samples/CPU s | limit ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let (only, run_s): (String, f64) = (argument(4, String::new()), argument(5, 1.0));
    for (what, text, step_ms) in queries() {
        if !what.contains(only.as_str()) {
            continue;
        }
        let start_ms = if step_ms == 0 { end_ms } else { end_ms - HOUR_MS };
        let query = PromQuery { text, start_ms, end_ms, step_ms, lookback_ms: 300_000 };
        let (mut cpu, mut wall) = (Vec::new(), Vec::new());
        let (mut out, mut samples) = (0, 0);
        let started = wall_s();
        while cpu.len() < RUNS_MIN || (wall_s() - started) < run_s {
            let (cpu_before, run) = (cpu_s(), wall_s());
            let budget = Budget::unlimited();
            let evaluated = evaluate(store, &query, &Options::default(), &budget)?;
            wall.push((wall_s() - run) * 1e3);
            cpu.push((cpu_s() - cpu_before) * 1e3);
            out = match evaluated.value {
                Value::Vector(samples) => samples.len(),
                Value::Matrix(series) => series.len(),
                Value::Scalar(..) | Value::String(..) => 1,
            };
            samples = budget.samples();
        }
        let (least, wall) = (cpu.iter().copied().fold(f64::INFINITY, f64::min), median(&mut wall));
        let cpu = median(&mut cpu);
        let limit = samples as f64 * 8.0 / copy_speed * 1e3;
        let speed = samples as f64 / cpu / 1e3;
        println!(
            "| {what} | {out} | {samples} | {cpu:.3} | {least:.3} | {wall:.3} | {speed:.0} | {limit:.3} |"
        );
    }
    Ok(())
}

fn argument<T: std::str::FromStr>(number: usize, default: T) -> T {
    std::env::args().nth(number).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> Result<()> {
    let (count, per_target) = (argument(1, 100_000usize), argument(2, 1000usize));
    let dir: PathBuf = argument(3, std::env::temp_dir().join("taffrail-bench-queries"));
    if RealFs.exists(&dir)? {
        RealFs.remove_dir_all(&dir).context("remove what an earlier run left")?;
    }
    let config = Config {
        dir: dir.clone(),
        durability: Durability::Interval { ms: 200 },
        shards: 0,
        retention_ms: 30 * DAY_MS,
        retention_rules: Vec::new(),
        head_bytes_max: 512 << 20,
        flush_after_ms: 30 * 60_000,
        series_max: 10_000_000,
        index_bytes_max: 256 << 20,
        future_ms_max: 600_000,
        free_bytes_floor: 0,
    };
    let clock = Arc::new(ManualClock::at_ms(START_MS));
    let store_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let (store, _) = Store::open(Arc::new(RealFs), store_clock, config)?;
    let copy_speed = copy_speed();
    let speed = ingest(&store, &clock, &mut Mix::new(1, count, per_target))?;
    println!(
        "{count} series, {per_target} per target; ingested {:.1} M/s; copying memory {:.1} GB/s",
        speed / 1e6,
        copy_speed / 1e9
    );
    let end_ms = clock.now_ms();
    measure("live", &store, end_ms, copy_speed)?;
    store.flush()?;
    measure("fresh parts", &store, end_ms, copy_speed)?;
    clock.advance_ms(DAY_MS);
    while store.merge()? {}
    measure("closed day", &store, end_ms, copy_speed)?;
    store.close()?;
    drop(store);
    RealFs.remove_dir_all(&dir).context("remove the bench directory")
}
