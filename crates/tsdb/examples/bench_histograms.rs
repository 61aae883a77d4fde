//! Measures native histograms in the metric store: bytes per sample in WAL, head, fresh and final parts, and how fast
//! they are written and read.
//!
//! `cargo run --release -p tsdb --example bench_histograms -- [series] [hours] [directory]`
//!
//! The data: 15-second scrapes of request durations, log-normal (median 1 to 50 ms, sigma 0.6), 0.2 to 100 requests per
//! second and series, exponential buckets of schema 3 (8 per factor of two), integer counts, sums of full mantissa. New
//! buckets appear when a duration first falls into them, as with real clients.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use crossbeam_channel::bounded;
use model::{
    BucketSpan, Budget, Clock, Done, Histogram, HistogramRow, Labels, ManualClock, Matcher,
    MetricBatch, MetricPlan, MetricSource, SystemClock,
};
use storage::fs::{Fs, RealFs};
use storage::wal::Durability;
use tsdb::{Config, Store};

const STEP_MS: i64 = 15_000;
const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 20_000 * DAY_MS;
const SCHEMA: i32 = 3;

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
}

struct Series {
    labels: Labels,
    median_s: f64,
    per_scrape: f64,
    buckets: BTreeMap<i32, f64>,
    sum: f64,
}

impl Series {
    fn new(random: &mut Random, number: usize) -> Self {
        let (instance, path) =
            (format!("10.0.{}.7:9100", number / 50), format!("/api/{}", number % 50));
        let labels = Labels::from_pairs([
            ("__name__", "http_request_duration_seconds"),
            ("instance", &*instance),
            ("job", "api"),
            ("path", &*path),
        ]);
        let median_s = 0.001 * 50f64.powf(random.unit());
        let per_scrape = 3.0 * 500f64.powf(random.unit());
        Self { labels, median_s, per_scrape, buckets: BTreeMap::new(), sum: 0.0 }
    }

    fn scrape(&mut self, random: &mut Random) -> Histogram {
        let requests = (self.per_scrape * (0.7 + 0.6 * random.unit())).round();
        for _ in 0..requests as u64 {
            let seconds = self.median_s * (0.6 * random.normal()).exp();
            self.sum += seconds;
            let index = (seconds.log2() * f64::from(1 << SCHEMA)).ceil();
            *self.buckets.entry(index as i32).or_default() += 1.0;
        }
        let (mut spans, mut next) = (Vec::<BucketSpan>::new(), 0);
        for index in self.buckets.keys() {
            match spans.last_mut() {
                Some(span) if *index == next => span.length += 1,
                _ => spans.push(BucketSpan { offset: index - next, length: 1 }),
            }
            next = index + 1;
        }
        Histogram {
            schema: SCHEMA,
            integer: true,
            zero_threshold: 2f64.powi(-128),
            count: self.buckets.values().sum(),
            sum: self.sum,
            positive_spans: spans,
            positive: self.buckets.values().copied().collect(),
            ..Histogram::default()
        }
    }
}

fn argument<T: std::str::FromStr>(number: usize, default: T) -> T {
    std::env::args().nth(number).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> Result<()> {
    let (count, hours) = (argument(1, 200usize), argument(2, 4i64));
    let dir: PathBuf = argument(3, std::env::temp_dir().join("taffrail-bench-histograms"));
    if RealFs.exists(&dir)? {
        RealFs.remove_dir_all(&dir).context("remove what an earlier run left")?;
    }
    let config = Config {
        dir: dir.clone(),
        durability: Durability::Interval { ms: 200 },
        shards: 1,
        retention_ms: 30 * DAY_MS,
        retention_rules: Vec::new(),
        head_bytes_max: 256 << 20,
        flush_after_ms: 30 * 60_000,
        series_max: 10_000_000,
        index_bytes_max: 256 << 20,
        future_ms_max: 600_000,
        free_bytes_floor: 0,
    };
    let clock = Arc::new(ManualClock::at_ms(START_MS));
    let store_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let (store, _) = Store::open(Arc::new(RealFs), store_clock, config)?;
    let mut random = Random(1);
    let mut series: Vec<Series> = (0..count).map(|n| Series::new(&mut random, n)).collect();
    let (mut buckets, mut ingest_ns) = (0usize, 0);
    let rounds = hours * 240;
    for round in 0..rounds {
        clock.advance_ms(STEP_MS);
        let mut batches: Vec<MetricBatch> = Vec::new();
        for target in series.chunks_mut(50) {
            let row = |series: &mut Series| HistogramRow {
                labels: series.labels.clone(),
                t_ms: clock.now_ms(),
                value: Arc::new(series.scrape(&mut random)),
            };
            let histograms: Vec<HistogramRow> = target.iter_mut().map(row).collect();
            buckets += histograms.iter().map(|row| row.value.positive.len()).sum::<usize>();
            let source = format!("scrape/{}", batches.len()).into();
            batches.push(MetricBatch { source, histograms, ..MetricBatch::default() });
        }
        let started_ns = SystemClock.monotonic_ns();
        for batch in batches {
            let (sender, receiver) = bounded(1);
            store.append(batch, Done::new(move |outcome| drop(sender.send(outcome))));
            receiver.recv()??;
        }
        ingest_ns += SystemClock.monotonic_ns() - started_ns;
        if round == 100 {
            let (stats, samples) = (store.stats(), 101.0 * count as f64);
            println!("| wal, B/histogram | {:.1} |", stats.wal_bytes as f64 / samples);
            println!("| head, B/histogram | {:.1} |", stats.head_bytes as f64 / samples);
        }
    }
    let samples = (rounds as usize * count) as f64;
    println!(
        "| {count} series, {hours} h, buckets per histogram | {:.1} |",
        buckets as f64 / samples
    );
    println!("| ingest, histograms/s of wall time | {:.0} |", samples / (ingest_ns as f64 / 1e9));
    store.flush()?;
    while store.merge()? {}
    report(&store, "fresh parts", samples, buckets)?;
    clock.advance_ms(DAY_MS);
    while store.merge()? {}
    report(&store, "final part", samples, buckets)?;
    store.close()?;
    RealFs.remove_dir_all(&dir).context("remove the directory")
}

fn report(store: &Store, what: &str, samples: f64, buckets: usize) -> Result<()> {
    let bytes = store.stats().part_bytes as f64;
    println!("| {what}, B/histogram | {:.1} |", bytes / samples);
    println!("| {what}, B/bucket | {:.3} |", bytes / buckets as f64);
    let plan = MetricPlan {
        matchers: vec![Matcher::equal("job", "api")],
        start_ms: 0,
        end_ms: i64::MAX,
        step_ms: 0,
        range_ms: 0,
        function: "",
        grouping: None,
    };
    let started_ns = SystemClock.monotonic_ns();
    let selected = store.select(&plan, &Budget::unlimited())?;
    let found: usize = selected.series.iter().map(|series| series.histograms.len()).sum();
    let seconds = (SystemClock.monotonic_ns() - started_ns) as f64 / 1e9;
    println!("| {what}, read, histograms/s | {:.0} |", found as f64 / seconds);
    Ok(())
}
