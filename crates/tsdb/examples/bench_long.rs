//! Measures queries over long times: samples read and CPU time (all threads), with roll-ups and without.
//!
//! `cargo run --release -p tsdb --example bench_long -- [series] [days] [directory]`
//!
//! The documented mix (`testkit::mix`), every 15 s, days closed one after the other. "Without" is the same store when only
//! asked for samples.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use crossbeam_channel::bounded;
use model::{
    Budget, Clock, Done, Labels, ManualClock, Matcher, MetricBatch, MetricMetadata, MetricPlan,
    MetricRow, MetricSource, MetricVisitor, MetricWorker, Selected, TimeRange, Visited,
};
use query::promql::{Options, PromQuery, evaluate};
use rustix::time::{ClockId, clock_gettime};
use storage::fs::{Fs, RealFs};
use storage::wal::Durability;
use testkit::mix::{Mix, STEP_MS};
use tsdb::{Config, Store};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Every scrape is this long after a round moment.
const PHASE_MS: i64 = 4_137;
const START_MS: i64 = 20_000 * DAY_MS;
const RUNS: usize = 3;

/// A visitor that takes no roll-ups.
struct Plain<'v>(&'v dyn MetricVisitor);

impl MetricVisitor for Plain<'_> {
    fn group(&self, labels: &Labels) -> model::Result<u32> {
        self.0.group(labels)
    }

    fn worker(&self) -> Box<dyn MetricWorker + '_> {
        self.0.worker()
    }
}

/// A store whose visits show samples.
struct Samples<'s>(&'s Store);

impl MetricSource for Samples<'_> {
    fn select(&self, plan: &MetricPlan, budget: &Budget) -> model::Result<Selected> {
        self.0.select(plan, budget)
    }

    fn visit(
        &self,
        plan: &MetricPlan,
        visitor: &dyn MetricVisitor,
        budget: &Budget,
    ) -> model::Result<Visited> {
        self.0.visit(plan, &Plain(visitor), budget)
    }

    fn series(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> model::Result<Vec<Labels>> {
        self.0.series(selectors, range, budget)
    }

    fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> model::Result<Vec<String>> {
        self.0.label_names(selectors, range, budget)
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> model::Result<Vec<String>> {
        self.0.label_values(name, selectors, range, budget)
    }

    fn metadata(&self, metric: Option<&str>) -> Vec<MetricMetadata> {
        self.0.metadata(metric)
    }
}

fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn argument<T: std::str::FromStr>(number: usize, default: T) -> T {
    std::env::args().nth(number).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn ingest(store: &Store, clock: &ManualClock, mix: &mut Mix, days: i64) -> Result<()> {
    let pairs = |number| mix.labels(number).iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let labels: Vec<Labels> = (0..mix.len()).map(|n| Labels::from_pairs(pairs(n))).collect();
    let mut values = Vec::new();
    for round in 0..days * DAY_MS / STEP_MS {
        let t_ms = clock.now_ms();
        mix.scrape(&mut values);
        let row =
            |(labels, value): (&Labels, &f64)| MetricRow { labels: labels.clone(), value: *value };
        let rows = labels.iter().zip(&values).map(row).collect();
        let batch =
            MetricBatch { source: "scrape/pods/0".into(), t_ms, rows, ..MetricBatch::default() };
        let (sender, receiver) = bounded(1);
        store.append(batch, Done::new(move |outcome| drop(sender.send(outcome))));
        receiver.recv()??;
        clock.advance_ms(STEP_MS);
        if round % 960 == 959 {
            store.flush()?;
            while store.merge()? {}
        }
    }
    clock.advance_ms(HOUR_MS);
    store.flush()?;
    while store.merge()? {}
    Ok(())
}

fn main() -> Result<()> {
    let (series, days) = (argument(1, 192usize), argument(2, 30i64));
    let dir: PathBuf = argument(3, std::env::temp_dir().join("taffrail-bench-long"));
    if RealFs.exists(&dir)? {
        RealFs.remove_dir_all(&dir).context("remove what an earlier run left")?;
    }
    let config = Config {
        dir: dir.clone(),
        durability: Durability::Interval { ms: 200 },
        shards: 1,
        retention_ms: 1000 * DAY_MS,
        head_bytes_max: 256 << 20,
        index_bytes_max: 64 << 20,
        flush_after_ms: 1000 * DAY_MS,
        series_max: 10_000_000,
        future_ms_max: 600_000,
        free_bytes_floor: 0,
        retention_rules: Vec::new(),
    };
    let clock = Arc::new(ManualClock::at_ms(START_MS + PHASE_MS));
    let store_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let (store, _) = Store::open(Arc::new(RealFs), store_clock, config)?;
    let mut mix = Mix::new(1, series, series);
    ingest(&store, &clock, &mut mix, days)?;
    let stats = store.stats();
    let per_sample = stats.part_bytes as f64 / stats.part_samples as f64;
    println!("| {series} series, {days} d of 15 s: B/sample of all parts | {per_sample:.3} |");
    println!("| query, step | read | without | CPU ms | without | ratio |");
    println!("|---|---|---|---|---|---|");
    for (text, step_ms) in [
        ("rate(requests_total[1h])", HOUR_MS),
        ("sum(rate(requests_total[1h]))", HOUR_MS),
        ("sum by (job) (rate({job=\"kubernetes-pods\"}[1h15s]))", HOUR_MS),
        ("avg_over_time(memory_bytes[1d])", DAY_MS),
        ("max_over_time(memory_bytes[1h])", HOUR_MS),
        ("avg(config_limit)", HOUR_MS),
        ("requests_total", HOUR_MS),
    ] {
        let query = PromQuery {
            text: text.to_owned(),
            start_ms: START_MS + DAY_MS,
            end_ms: START_MS + days * DAY_MS,
            step_ms,
            lookback_ms: 300_000,
        };
        let run = |source: &dyn MetricSource| -> Result<(u64, f64)> {
            let mut best = (0, f64::MAX);
            for _ in 0..RUNS {
                let (budget, started) = (Budget::unlimited(), cpu_ms());
                evaluate(source, &query, &Options::default(), &budget)?;
                best = (budget.samples(), (cpu_ms() - started).min(best.1));
            }
            Ok(best)
        };
        let (rolled, plain) = (run(&*store)?, run(&Samples(&store))?);
        let ratio = plain.1 / rolled.1;
        let step_h = step_ms / HOUR_MS;
        println!(
            "| {text}, {step_h} h | {} | {} | {:.2} | {:.2} | {ratio:.1} |",
            rolled.0, plain.0, rolled.1, plain.1
        );
    }
    store.close()?;
    RealFs.remove_dir_all(&dir).context("remove the bench directory")
}
