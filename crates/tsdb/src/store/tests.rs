//! The store on the faulty file system, against a table of what must be there.

mod merging;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{
    BucketSpan, Budget, Clock, Done, Exemplar, ExemplarRow, Histogram, HistogramRow, Labels,
    ManualClock, MatchOp, Matcher, MetricBatch, MetricKind, MetricMetadata, MetricPlan, MetricRow,
    MetricSource, Receipt, RejectReason, ResetHint, RetentionRule, STALE_NAN_BITS, StampedRow,
    SteadyRows, TimeRange,
};
use storage::fs::{FaultyFs, Fs, FsCall};
use storage::wal::Durability;

use super::{Config, OpenReport, Removal, Store};

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 20_000 * DAY_MS + 80_000_000;
const RETENTION_MS: i64 = 3 * DAY_MS;

/// Deterministic numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn histogram(&mut self) -> Histogram {
        let number = |random: &mut Self| f64::from(random.below(1000) as u32);
        let lengths = [self.below(3), 1 + self.below(3)];
        let buckets = lengths.iter().sum::<u64>();
        let spans = lengths.map(|length| BucketSpan {
            offset: i32::try_from(self.below(3)).unwrap(),
            length: u32::try_from(length).unwrap(),
        });
        Histogram {
            schema: i32::try_from(self.below(3)).unwrap(),
            integer: self.below(2) == 0,
            hint: [ResetHint::Unknown, ResetHint::Reset, ResetHint::Gauge][self.below(3) as usize],
            zero_threshold: 0.25,
            zero_count: number(self),
            count: number(self),
            sum: f64::from_bits(self.value() & !STALE_NAN_BITS),
            positive_spans: spans.to_vec(),
            positive: (0..buckets).map(|_| number(self)).collect(),
            ..Histogram::default()
        }
    }

    fn value(&mut self) -> u64 {
        match self.below(12) {
            0 => STALE_NAN_BITS,
            1 => (-0.0f64).to_bits(),
            2 => f64::INFINITY.to_bits(),
            3 => self.next(),
            4..7 => (self.below(100_000) as f64 / 100.0).to_bits(),
            _ => (self.below(50) as f64).to_bits(),
        }
    }
}

fn config() -> Config {
    Config {
        dir: PathBuf::from("/data/metrics"),
        durability: Durability::Strict,
        shards: 1,
        retention_ms: RETENTION_MS,
        head_bytes_max: 1 << 20,
        flush_after_ms: 1_800_000,
        series_max: 10_000,
        index_bytes_max: 256 << 20,
        future_ms_max: 600_000,
        free_bytes_floor: 0,
        retention_rules: Vec::new(),
    }
}

fn open(fs: &FaultyFs, clock: &Arc<ManualClock>, config: Config) -> (Arc<Store>, OpenReport) {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    Store::open(Arc::new(fs.process()), clock, config).unwrap()
}

fn append(store: &Store, batch: MetricBatch) -> model::Result<Receipt> {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    store.append(batch, Done::new(move |outcome| sender.send(outcome).unwrap()));
    receiver.recv().unwrap()
}

fn labels(number: u64) -> Labels {
    let (name, value) = (format!("metric_{}", number % 5), format!("{number}"));
    let mut pairs = vec![("__name__", name.as_str()), ("n", value.as_str())];
    if number.is_multiple_of(3) {
        pairs.push(("third", "yes"));
    }
    Labels::from_pairs(pairs)
}

fn scrape(source: &str, t_ms: i64, rows: &[(Labels, u64)]) -> MetricBatch {
    let row = |(labels, bits): &(Labels, u64)| MetricRow {
        labels: labels.clone(),
        value: f64::from_bits(*bits),
    };
    MetricBatch {
        source: source.into(),
        t_ms,
        rows: rows.iter().map(row).collect(),
        ..MetricBatch::default()
    }
}

fn stamped(source: &str, rows: &[(Labels, i64, u64)]) -> MetricBatch {
    let row = |(labels, t_ms, bits): &(Labels, i64, u64)| {
        StampedRow::new(labels.clone(), *t_ms, f64::from_bits(*bits))
    };
    MetricBatch {
        source: source.into(),
        stamped: rows.iter().map(row).collect(),
        ..MetricBatch::default()
    }
}

fn metadata(name: &str) -> MetricMetadata {
    let (help, unit) = (format!("about {name}").into(), "seconds".into());
    MetricMetadata { name: name.into(), kind: MetricKind::Gauge, help, unit }
}

fn with_histograms(source: &str, rows: &[(Labels, i64, Histogram)]) -> MetricBatch {
    let row = |(labels, t_ms, h): &(Labels, i64, Histogram)| HistogramRow {
        labels: labels.clone(),
        t_ms: *t_ms,
        value: Arc::new(h.clone()),
    };
    let histograms = rows.iter().map(row).collect();
    MetricBatch { source: source.into(), histograms, ..MetricBatch::default() }
}

fn plan(matchers: Vec<Matcher>, start_ms: i64, end_ms: i64) -> MetricPlan {
    MetricPlan { matchers, start_ms, end_ms, step_ms: 0, range_ms: 0, function: "", grouping: None }
}

type Table = BTreeMap<Labels, BTreeMap<i64, u64>>;
type Histograms = BTreeMap<Labels, BTreeMap<i64, Histogram>>;

fn read(store: &Store, plan: &MetricPlan) -> (Table, Vec<String>) {
    let selected = store.select(plan, &Budget::unlimited()).unwrap();
    assert!(selected.series.is_sorted_by(|a, b| a.labels < b.labels), "sorted, each once");
    let mut table = Table::new();
    for series in selected.series {
        assert!(!series.values.is_empty() || !series.histograms.is_empty());
        assert!(series.values.len() == series.timestamps.len());
        assert!(series.timestamps.is_sorted_by(|a, b| a < b));
        if series.values.is_empty() {
            continue;
        }
        let bits = series.values.iter().map(|v| v.to_bits());
        table.insert(series.labels, series.timestamps.iter().copied().zip(bits).collect());
    }
    (table, selected.warnings)
}

/// Only the histograms of `plan`.
fn read_histograms(store: &Store, plan: &MetricPlan) -> Histograms {
    let mut found = Histograms::new();
    for series in store.select(plan, &Budget::unlimited()).unwrap().series {
        assert!(series.histograms.is_sorted_by(|a, b| a.0 < b.0));
        if !series.histograms.is_empty() {
            let samples = series.histograms.into_iter().map(|(t, h)| (t, Histogram::clone(&h)));
            found.insert(series.labels, samples.collect());
        }
    }
    found
}

/// What `plan` must give out of `truth`.
fn expected<T: Clone>(
    truth: &BTreeMap<Labels, BTreeMap<i64, T>>,
    plan: &MetricPlan,
    now_ms: i64,
) -> BTreeMap<Labels, BTreeMap<i64, T>> {
    let start_ms = plan.start_ms.max(now_ms - RETENTION_MS);
    let mut table = BTreeMap::new();
    for (labels, samples) in truth {
        if plan.matchers.iter().all(|m| m.matches_labels(labels)) && start_ms <= plan.end_ms {
            let inside: BTreeMap<i64, T> =
                samples.range(start_ms..=plan.end_ms).map(|(t, v)| (*t, v.clone())).collect();
            if !inside.is_empty() {
                table.insert(labels.clone(), inside);
            }
        }
    }
    table
}

/// What a source sends as a list of series, again and again.
#[derive(Clone)]
struct List {
    source: String,
    series: Arc<[Labels]>,
    is_group: bool,
}

/// One random life of a store.
struct Life {
    random: Random,
    fs: FaultyFs,
    clock: Arc<ManualClock>,
    store: Arc<Store>,
    truth: Table,
    histograms: Histograms,
    /// By series, newest last; and the names with metadata.
    exemplars: BTreeMap<Labels, Vec<Exemplar>>,
    described: BTreeSet<String>,
    lists: Vec<List>,
    series_max: u64,
    /// Whether sources are spread over several shards, of which each knows only its own samples.
    sharded: bool,
}

impl Life {
    fn new(seed: u64) -> Self {
        let fs = FaultyFs::new();
        let clock = Arc::new(ManualClock::at_ms(START_MS));
        let mut random = Random(seed);
        let series_max = 4 + random.below(150);
        let sharded = random.below(2) == 0;
        let config = Config { shards: 1 + usize::from(sharded) * 2, ..config() };
        let (store, _) = open(&fs, &clock, config);
        let (truth, histograms) = (Table::new(), Histograms::new());
        Self {
            random,
            fs,
            clock,
            store,
            truth,
            histograms,
            exemplars: BTreeMap::new(),
            described: BTreeSet::new(),
            lists: Vec::new(),
            series_max,
            sharded,
        }
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn reopen(&mut self) {
        // Sources move to other shards when the number of shards changes, and nothing gets lost.
        let shards =
            if self.sharded { 1 + usize::try_from(self.random.below(4)).unwrap() } else { 1 };
        let (store, report) = open(&self.fs, &self.clock, Config { shards, ..config() });
        assert!(report.quarantined.is_empty() && report.missing_parts.is_empty(), "{report:?}");
        assert_eq!(report.damaged_records, 0);
        self.store = store;
    }

    fn add(&mut self, rows: &[(Labels, i64, u64)]) {
        for (labels, t, bits) in rows {
            if self.histogram_at(labels, *t) {
                continue;
            }
            self.truth.entry(labels.clone()).or_default().insert(*t, *bits);
        }
    }

    fn histogram_at(&self, labels: &Labels, t_ms: i64) -> bool {
        self.histograms.get(labels).is_some_and(|samples| samples.contains_key(&t_ms))
    }

    fn add_histograms(&mut self, rows: &[(Labels, i64, Histogram)]) {
        for (labels, t, h) in rows {
            self.histograms.entry(labels.clone()).or_default().insert(*t, h.clone());
            if let Some(floats) = self.truth.get_mut(labels) {
                floats.remove(t);
                if floats.is_empty() {
                    self.truth.remove(labels);
                }
            }
        }
    }

    /// Sometimes an exemplar, twice, of a series; and metadata of a metric.
    fn add_notes(&mut self, batch: &mut MetricBatch) {
        if let Some(row) = batch.rows.first()
            && self.random.below(3) == 0
        {
            let id = format!("{}", self.random.below(1000));
            let (t_ms, value) = (batch.t_ms, self.random.below(100) as f64);
            let exemplar = Exemplar { labels: Labels::from_pairs([("id", &*id)]), value, t_ms };
            let new = ExemplarRow { series: row.labels.clone(), exemplar: exemplar.clone() };
            batch.exemplars = vec![new.clone(), new];
            let all = self.exemplars.entry(batch.rows[0].labels.clone()).or_default();
            all.push(exemplar);
            // Each shard keeps so many.
            if !self.sharded && all.len() > crate::exemplars::PER_SERIES_MAX {
                all.remove(0);
            }
        }
        if self.random.below(10) == 0 {
            let name = format!("metric_{}", self.random.below(100));
            batch.metadata = vec![metadata(&name)];
            self.described.insert(name);
        }
    }

    fn check_notes(&self) {
        let found = self.store.metadata(None);
        assert_eq!(found, self.described.iter().map(|n| metadata(n)).collect::<Vec<_>>());
        let everything = TimeRange::from_ms_inclusive(i64::MIN / 2_000_000, i64::MAX / 2_000_000);
        let found = self.store.exemplars(&[], everything, &Budget::unlimited()).unwrap();
        let oldest_ms = self.now_ms() - RETENTION_MS;
        let mut expected = Vec::new();
        for (labels, all) in &self.exemplars {
            let inside: Vec<_> = all.iter().filter(|e| e.t_ms >= oldest_ms).cloned().collect();
            if !inside.is_empty() {
                expected.push((labels.clone(), inside));
            }
        }
        let found: Vec<_> = found.into_iter().map(|s| (s.labels, s.exemplars)).collect();
        assert_eq!(found, expected);
    }

    /// Histograms of series that also have floats, sometimes in the past, sometimes twice.
    fn histograms(&mut self) {
        for _ in 0..1 + self.random.below(60) {
            self.clock.advance_ms(1 + i64::try_from(self.random.below(20_000)).unwrap());
            let mut rows = Vec::new();
            let first = self.random.below(self.series_max);
            for number in first..(first + 3).min(self.series_max) {
                rows.push((labels(number), self.now_ms(), self.random.histogram()));
            }
            let source = format!("source/{}", self.random.below(3));
            for _ in 0..1 + self.random.below(2) {
                let receipt = append(&self.store, with_histograms(&source, &rows)).unwrap();
                assert_eq!(receipt, Receipt { stored: rows.len() as u64, rejected: vec![] });
            }
            self.add_histograms(&rows);
        }
        let number = self.random.below(self.series_max);
        let age = i64::try_from(self.random.below(2 * DAY_MS.unsigned_abs())).unwrap();
        let mut t_ms = self.now_ms() - 1 - age;
        if let Some(samples) = self.truth.get(&labels(number)) {
            t_ms = samples.keys().next().copied().unwrap();
        }
        let is_second = self.sharded && self.histogram_at(&labels(number), t_ms);
        if t_ms < self.now_ms() - RETENTION_MS || is_second {
            return;
        }
        let row = [(labels(number), t_ms, self.random.histogram())];
        let receipt = append(&self.store, with_histograms("remote", &row)).unwrap();
        if receipt.rejected == [(RejectReason::DuplicateTimestamp, 1)] {
            assert!(
                self.truth[&row[0].0].contains_key(&t_ms) || self.histogram_at(&row[0].0, t_ms)
            );
        } else {
            assert_eq!(receipt, Receipt { stored: 1, rejected: vec![] });
            self.add_histograms(&row);
        }
    }

    /// A scrape at the current time of some series; sources mix, so that series move between them.
    fn scrape(&mut self) {
        let times = 1 + self.random.below(12);
        let source = format!("source/{}", self.random.below(3));
        let (from, width) = (self.random.below(self.series_max), 1 + self.random.below(20));
        for _ in 0..times {
            self.clock.advance_ms(1 + i64::try_from(self.random.below(15_000)).unwrap());
            let mut rows = Vec::new();
            for number in from..(from + width).min(self.series_max) {
                if self.random.below(8) > 0 {
                    rows.push((labels(number), self.random.value()));
                }
            }
            let t_ms = self.now_ms();
            let mut batch = scrape(&source, t_ms, &rows);
            self.add_notes(&mut batch);
            let receipt = append(&self.store, batch).unwrap();
            let all: Vec<_> = rows.iter().map(|(l, bits)| (l.clone(), t_ms, *bits)).collect();
            assert_eq!(receipt, Receipt { stored: all.len() as u64, rejected: vec![] });
            self.add(&all);
        }
    }

    /// A list of series once more, or a new one, with rows beside it.
    fn steady(&mut self) {
        if self.lists.len() < 4 || self.random.below(8) == 0 {
            let (from, width) = (self.random.below(self.series_max), self.random.below(20));
            let series = (from..(from + width).min(self.series_max)).map(labels).collect();
            let source = format!("source/{}", self.random.below(3));
            let is_group = self.random.below(2) == 0;
            self.lists.push(List { source, series, is_group });
        }
        let at = usize::try_from(self.random.below(self.lists.len() as u64)).unwrap();
        let List { source, series, is_group } = self.lists[at].clone();
        for _ in 0..1 + self.random.below(5) {
            self.clock.advance_ms(1 + i64::try_from(self.random.below(15_000)).unwrap());
            let others = (0..self.random.below(3)).map(|n| self.series_max + n);
            let others: Vec<_> = others.map(|n| (labels(n), self.random.value())).collect();
            let t_ms = self.now_ms();
            let mut batch = scrape(&source, t_ms, &others);
            let values: Vec<u64> = series.iter().map(|_| self.random.value()).collect();
            batch.steady = SteadyRows {
                series: series.clone(),
                values: values.iter().map(|bits| f64::from_bits(*bits)).collect(),
                is_group,
            };
            let receipt = append(&self.store, batch).unwrap();
            let steady = series.iter().cloned().zip(values);
            let all: Vec<_> = steady.chain(others).map(|(l, bits)| (l, t_ms, bits)).collect();
            assert_eq!(receipt, Receipt { stored: all.len() as u64, rejected: vec![] });
            self.add(&all);
        }
    }

    /// One sample somewhere in the past, maybe over another.
    fn old_sample(&mut self) {
        let number = self.random.below(self.series_max);
        let age = self.random.below(2 * DAY_MS.unsigned_abs());
        let mut t_ms = self.now_ms() - i64::try_from(age).unwrap();
        if let Some(samples) = self.truth.get(&labels(number))
            && self.random.below(2) == 0
        {
            let skip = usize::try_from(self.random.below(samples.len() as u64)).unwrap();
            t_ms = *samples.keys().nth(skip).unwrap();
        }
        let is_there = |samples: &BTreeMap<i64, u64>| samples.contains_key(&t_ms);
        let is_second = self.truth.get(&labels(number)).is_some_and(is_there);
        // Which of two samples counts that came through different shards is not promised.
        if t_ms < self.now_ms() - RETENTION_MS || (self.sharded && is_second) {
            return;
        }
        let sample = (labels(number), t_ms, self.random.value());
        let batch = if self.random.below(3) == 0 {
            scrape("source/0", t_ms, &[(sample.0.clone(), sample.2)])
        } else {
            stamped("remote", std::slice::from_ref(&sample))
        };
        let receipt = append(&self.store, batch).unwrap();
        if receipt.rejected == [(RejectReason::DuplicateTimestamp, 1)] {
            let before = self.truth.get(&sample.0).and_then(|samples| samples.get(&t_ms));
            let is_other = before.is_some_and(|bits| *bits != sample.2);
            assert!(is_other || self.histogram_at(&sample.0, t_ms), "nothing to duplicate");
        } else {
            assert_eq!(receipt, Receipt { stored: 1, rejected: vec![] });
            self.add(&[sample]);
        }
    }

    /// Samples with times of their own, newer than all others of their series.
    fn stamped(&mut self) {
        let mut rows = Vec::new();
        for _ in 0..1 + self.random.below(6) {
            self.clock.advance_ms(1 + i64::try_from(self.random.below(1000)).unwrap());
            let number = self.random.below(self.series_max);
            rows.push((labels(number), self.now_ms(), self.random.value()));
        }
        let receipt = append(&self.store, stamped("remote", &rows)).unwrap();
        assert_eq!(receipt, Receipt { stored: rows.len() as u64, rejected: vec![] });
        self.add(&rows);
    }

    /// The same scrape again, then with one other value.
    fn duplicates(&mut self) {
        self.clock.advance_ms(1);
        let number = self.random.below(self.series_max);
        let (t_ms, bits) = (self.now_ms(), 1.5f64.to_bits());
        let rows = [(labels(number), bits), (labels(number + 1000), bits)];
        for _ in 0..2 {
            let receipt = append(&self.store, scrape("source/1", t_ms, &rows)).unwrap();
            assert_eq!(receipt, Receipt { stored: 2, rejected: vec![] });
        }
        let other = [(labels(number), 2.5f64.to_bits()), (labels(number + 1000), bits)];
        let receipt = append(&self.store, scrape("source/1", t_ms, &other)).unwrap();
        let rejected = vec![(RejectReason::DuplicateTimestamp, 1)];
        assert_eq!(receipt, Receipt { stored: 1, rejected });
        self.add(&rows.map(|(labels, bits)| (labels, t_ms, bits)));
    }

    /// A write fails, the power goes: the batch in flight is there as a whole or not at all, all others are.
    fn fail_and_crash(&mut self) {
        self.clock.advance_ms(1);
        let call = [FsCall::Write, FsCall::Sync, FsCall::Change][self.random.below(3) as usize];
        self.fs.fail_io(call, 1 + self.random.below(3));
        let t_ms = self.now_ms();
        let rows: Vec<_> = (0..5).map(|n| (labels(n), t_ms, self.random.value())).collect();
        let scraped: Vec<_> = rows.iter().map(|(l, _, bits)| (l.clone(), *bits)).collect();
        let more = [(labels(2000), t_ms, self.random.histogram())];
        let mut batch = scrape("source/2", t_ms, &scraped);
        batch.histograms = with_histograms("", &more).histograms;
        let outcome = append(&self.store, batch);
        if self.random.below(2) == 0 {
            self.store.flush().ok();
        }
        self.fs.crash(self.random.next());
        self.fs.clear_faults();
        self.reopen();
        let whole = plan(vec![], i64::MIN, i64::MAX);
        let (found, _) = read(&self.store, &whole);
        let without = expected(&self.truth, &whole, self.now_ms());
        if outcome.is_ok() || found != without {
            self.add(&rows);
            self.add_histograms(&more);
        }
        assert_eq!(found, expected(&self.truth, &whole, self.now_ms()));
        let found = read_histograms(&self.store, &whole);
        assert_eq!(found, expected(&self.histograms, &whole, self.now_ms()));
    }

    fn step(&mut self) {
        match self.random.below(48) {
            44..48 => self.steady(),
            0..14 => self.scrape(),
            14..19 => self.old_sample(),
            19..22 => self.stamped(),
            22..24 => self.duplicates(),
            24..27 => self.store.flush().unwrap(),
            27..29 => while self.store.merge().unwrap() {},
            29 => self.clock.advance_ms(i64::try_from(self.random.below(30_000_000)).unwrap()),
            30 => self.clock.advance_ms(i64::try_from(self.random.below(200_000_000)).unwrap()),
            31 => {
                self.store.close().unwrap();
                self.reopen();
            }
            32 => {
                self.fs.kill();
                self.reopen();
            }
            33 | 34 => {
                let seed = self.random.next();
                self.fs.crash(seed);
                self.reopen();
            }
            35 => self.fail_and_crash(),
            36 | 37 => self.histograms(),
            38 | 39 => self.delete(),
            40 => drop(self.store.clean_tombstones().unwrap()),
            41 => self.snapshot(),
            _ => self.check(),
        }
    }

    /// Some series, over some time or for ever; what comes later is there again.
    fn delete(&mut self) {
        let number = self.random.below(self.series_max);
        let matchers = match self.random.below(3) {
            0 => vec![Matcher::equal("n", number.to_string())],
            1 => vec![Matcher::new(MatchOp::Regex, "n", ".*1").unwrap()],
            _ => vec![Matcher::equal("__name__", "metric_3"), Matcher::equal("third", "")],
        };
        let (mut start_ms, mut end_ms) = (i64::MIN, i64::MAX);
        if self.random.below(2) == 0 {
            let ages = [(); 2].map(|()| i64::try_from(self.random.below(100_000_000)).unwrap());
            start_ms = self.now_ms() - ages[0].max(ages[1]);
            end_ms = self.now_ms() - ages[0].min(ages[1]);
        }
        self.store.delete(std::slice::from_ref(&matchers), start_ms, end_ms).unwrap();
        let is_deleted = |labels: &Labels| matchers.iter().all(|m| m.matches_labels(labels));
        let inside = start_ms..=end_ms;
        self.truth.retain(|labels, samples| {
            samples.retain(|t, _| !is_deleted(labels) || !inside.contains(t));
            !samples.is_empty()
        });
        self.histograms.retain(|labels, samples| {
            samples.retain(|t, _| !is_deleted(labels) || !inside.contains(t));
            !samples.is_empty()
        });
        self.exemplars.retain(|labels, all| {
            all.retain(|e| !is_deleted(labels) || !inside.contains(&e.t_ms));
            !all.is_empty()
        });
    }

    /// A snapshot has what the store has, also after the store went on.
    fn snapshot(&mut self) {
        // A store that was opened at this moment names its first snapshot as the one before did.
        self.clock.advance_ms(1);
        let name = self.store.snapshot(Path::new("/data/snapshots")).unwrap();
        self.fs.crash(self.random.next());
        self.reopen();
        while self.store.merge().unwrap() {}
        let dir = Path::new("/data/snapshots").join(name);
        let (copy, report) = open(&self.fs, &self.clock, Config { dir: dir.clone(), ..config() });
        assert!(report.missing_parts.is_empty() && report.quarantined.is_empty(), "{report:?}");
        let original = std::mem::replace(&mut self.store, copy);
        self.check_notes();
        self.check_plan(&plan(vec![], i64::MIN, i64::MAX));
        let copy = std::mem::replace(&mut self.store, original);
        copy.close().unwrap();
        self.fs.remove_dir_all(&dir).unwrap();
    }

    fn check(&mut self) {
        self.check_notes();
        let whole = plan(vec![], i64::MIN, i64::MAX);
        self.check_plan(&whole);
        let number = self.random.below(self.series_max);
        let matchers = match self.random.below(5) {
            0 => vec![labels(number).iter().map(|(n, v)| Matcher::equal(n, v)).collect::<Vec<_>>()],
            1 => vec![vec![Matcher::new(MatchOp::Regex, "n", "1.*").unwrap()]],
            2 => vec![vec![Matcher::equal("third", "")]],
            3 => vec![vec![Matcher::new(MatchOp::NotEqual, "third", "yes").unwrap()]],
            _ => vec![vec![Matcher::equal("__name__", "metric_2")], vec![Matcher::equal("n", "3")]],
        };
        let ages = [(); 2].map(|()| i64::try_from(self.random.below(100_000_000)).unwrap());
        let (start_ms, end_ms) =
            (self.now_ms() - ages[0].max(ages[1]), self.now_ms() - ages[0].min(ages[1]));
        self.check_plan(&plan(matchers[0].clone(), start_ms, end_ms));
        self.check_lists(&matchers, start_ms, end_ms);
        self.check_lists(&[], start_ms, end_ms);
        self.check_lists(&[], i64::MIN / 2_000_000, i64::MAX / 2_000_000);
    }

    fn check_plan(&self, plan: &MetricPlan) {
        let (found, warnings) = read(&self.store, plan);
        assert_eq!(warnings, Vec::<String>::new());
        let floats = expected(&self.truth, plan, self.now_ms());
        for (labels, samples) in &floats {
            assert_eq!(found.get(labels), Some(samples), "{labels}");
        }
        assert_eq!(found.len(), floats.len());
        let found = read_histograms(&self.store, plan);
        assert_eq!(found, expected(&self.histograms, plan, self.now_ms()));
    }

    fn check_lists(&self, selectors: &[Vec<Matcher>], start_ms: i64, end_ms: i64) {
        let budget = Budget::unlimited();
        let range = TimeRange::from_ms_inclusive(start_ms, end_ms);
        let mut all = BTreeSet::new();
        for matchers in selectors {
            let plan = plan(matchers.clone(), start_ms, end_ms);
            all.extend(expected(&self.truth, &plan, self.now_ms()).into_keys());
            all.extend(expected(&self.histograms, &plan, self.now_ms()).into_keys());
        }
        if selectors.is_empty() {
            let plan = plan(vec![], start_ms, end_ms);
            all.extend(expected(&self.truth, &plan, self.now_ms()).into_keys());
            all.extend(expected(&self.histograms, &plan, self.now_ms()).into_keys());
        }
        let found = self.store.series(selectors, range, &budget).unwrap();
        assert_eq!(found, all.iter().cloned().collect::<Vec<_>>());
        let names: BTreeSet<&str> = all.iter().flat_map(|l| l.iter().map(|(n, _)| n)).collect();
        let found = self.store.label_names(selectors, range, &budget).unwrap();
        assert_eq!(found, names.into_iter().collect::<Vec<_>>());
        let values: BTreeSet<&str> = all.iter().filter_map(|l| l.get("n")).collect();
        let found = self.store.label_values("n", selectors, range, &budget).unwrap();
        assert_eq!(found, values.into_iter().collect::<Vec<_>>());
    }
}

/// Names the seed when a life ends in a panic.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {}", self.0);
        }
    }
}

#[test]
fn random_lives_match_the_table() {
    let seeds = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 0..3000 } else { 0..100 };
    for seed in seeds {
        let named = Seed(seed);
        let mut life = Life::new(seed);
        for _ in 0..40 {
            life.step();
        }
        life.check();
        life.store.close().unwrap();
        life.check();
        drop(named);
    }
}

/// A crash at each call of a flush, while batches come in: all that was acknowledged is there, before and after.
#[test]
fn a_crash_during_a_flush_loses_nothing() {
    for nth in 0.. {
        for seed in 0..4u64 {
            let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(START_MS)));
            let (store, _) = open(&fs, &clock, config());
            let mut truth = Table::new();
            let round = |store: &Store, truth: &mut Table| {
                clock.advance_ms(1000);
                let t_ms = clock.now_ms();
                let number = (t_ms / 1000).unsigned_abs() % 7;
                // Some series stay, some come and go; one has times of its own.
                let rows: Vec<_> = (0..70)
                    .chain(100 * number..100 * number + 80)
                    .map(|n| (labels(n + 1), t_ms.unsigned_abs() + n))
                    .collect();
                append(store, scrape("a", t_ms, &rows)).unwrap();
                let late = (labels(5000), t_ms - 7, number);
                append(store, stamped("b", std::slice::from_ref(&late))).unwrap();
                for (labels, bits) in rows {
                    truth.entry(labels).or_default().insert(t_ms, bits);
                }
                truth.entry(late.0).or_default().insert(late.1, late.2);
            };
            (0..3).for_each(|_| round(&store, &mut truth));
            let writer = &store.shards[0].writer;
            let flush = writer.run(|engine, wal| engine.freeze(wal)).unwrap().unwrap().unwrap();
            round(&store, &mut truth);
            let whole = plan(vec![], i64::MIN, i64::MAX);
            assert_eq!(read(&store, &whole).0, truth);
            fs.fail_io(FsCall::Change, nth);
            let outcome = flush.run();
            fs.clear_faults();
            let done = outcome.is_ok();
            assert_eq!(read(&store, &whole).0, truth);
            if seed.is_multiple_of(2) {
                // Either it is written, or the next flush writes it.
                let ended = writer.run(|engine, wal| engine.end_flush(wal, outcome)).unwrap();
                assert_eq!(ended.is_ok(), done);
                (0..2).for_each(|_| round(&store, &mut truth));
                assert_eq!(read(&store, &whole).0, truth);
                store.flush().ok();
                assert_eq!(read(&store, &whole).0, truth);
                round(&store, &mut truth);
            }
            fs.crash(seed + nth * 4);
            let (store, report) = open(&fs, &clock, config());
            assert_eq!((report.damaged_records, report.quarantined), (0, vec![]));
            assert_eq!(read(&store, &whole).0, truth, "call {nth}, seed {seed}");
            for _ in 0..2 {
                round(&store, &mut truth);
                store.flush().unwrap();
                assert_eq!(read(&store, &whole).0, truth);
            }
            if done && seed == 3 {
                return;
            }
        }
    }
}

#[test]
fn a_delete_is_whole_or_not_at_all() {
    let mut failed = 0;
    for nth in 0..30 {
        let (fs, clock, store) = two_days();
        fs.fail_io(FsCall::Change, nth);
        let outcome = store.delete(&[vec![Matcher::equal("n", "0")]], i64::MIN, i64::MAX);
        failed += u64::from(outcome.is_err());
        drop(store);
        fs.crash(nth);
        fs.clear_faults();
        let (store, _) = open(&fs, &clock, config());
        let (found, _) = read(&store, &plan(vec![], i64::MIN, i64::MAX));
        assert!(found.contains_key(&labels(1)));
        assert!(outcome.is_err() || !found.contains_key(&labels(0)), "call {nth}");
    }
    assert!(failed > 0, "no call failed");
}

#[test]
fn what_is_deleted_can_come_again() {
    let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(START_MS)));
    let (store, _) = open(&fs, &clock, config());
    let row = [(labels(0), 1f64.to_bits())];
    let other = [(labels(1), START_MS, 1f64.to_bits())];
    for _ in 0..2 {
        append(&store, scrape("a", START_MS, &row)).unwrap();
        append(&store, stamped("b", &other)).unwrap();
        let (found, _) = read(&store, &plan(vec![], i64::MIN, i64::MAX));
        assert_eq!(found.len(), 2);
        let all = vec![Matcher::new(MatchOp::NotEqual, "n", "").unwrap()];
        store.delete(&[all], i64::MIN, i64::MAX).unwrap();
        assert!(read(&store, &plan(vec![], i64::MIN, i64::MAX)).0.is_empty());
    }
}

#[test]
fn deleted_samples_leave_the_disk_and_deletions_are_checked() {
    let (fs, clock, store) = two_days();
    assert!(store.delete(&[], 0, 1).is_err() && store.delete(&[vec![]], 0, 1).is_err());
    assert!(store.delete(&[vec![Matcher::equal("n", "0")]], 1, 0).is_err());
    let samples = store.stats().part_samples;
    store.delete(&[vec![Matcher::equal("n", "0")]], 0, START_MS - 1).unwrap();
    assert_eq!(store.clean_tombstones().unwrap(), 0);
    store.delete(&[vec![Matcher::equal("n", "0")]], 0, START_MS).unwrap();
    let budget = Budget::unlimited();
    let everything = TimeRange::from_ms_inclusive(0, i64::MAX / 2_000_000);
    assert_eq!(store.label_values("n", &[], everything, &budget).unwrap(), ["1"]);
    assert_eq!(store.stats().part_samples, samples);
    assert_eq!(store.clean_tombstones().unwrap(), 1);
    assert_eq!(store.stats().part_samples, samples - 1);
    assert_eq!(store.clean_tombstones().unwrap(), 0);
    let t_ms = clock.now_ms();
    append(&store, scrape("a", t_ms, &[(labels(0), 1f64.to_bits())])).unwrap();
    append(&store, stamped("a", &[(labels(0), START_MS, 1f64.to_bits())])).unwrap();
    for _ in 0..2 {
        let (found, _) = read(&store, &plan(vec![], i64::MIN, i64::MAX));
        assert_eq!(found[&labels(0)].len(), 2, "what comes after a delete is there");
        store.flush().unwrap();
    }
    drop((store, fs));
}

#[test]
fn rules_of_retention_hide_and_remove() {
    let hour_ms = 3_600_000;
    let rule = |matcher, retention_ms| RetentionRule { matchers: vec![matcher], retention_ms };
    let rules =
        vec![rule(Matcher::equal("n", "0"), hour_ms), rule(Matcher::equal("n", "1"), 9 * DAY_MS)];
    let config = Config { retention_rules: rules.clone(), ..config() };
    let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(START_MS)));
    let (store, _) = open(&fs, &clock, config.clone());
    let one = 1f64.to_bits();
    let rows: Vec<_> = (0..3).map(|n| (labels(n), one)).collect();
    append(&store, scrape("a", START_MS, &rows)).unwrap();
    let h = [(labels(0), START_MS + 1, Histogram::default())];
    append(&store, with_histograms("a", &h)).unwrap();
    let budget = Budget::unlimited();
    let names = |store: &Store| {
        let (found, _) = read(store, &plan(vec![], i64::MIN, i64::MAX));
        let everything = TimeRange::from_ms_inclusive(0, i64::MAX / 2_000_000);
        let listed = store.series(&[], everything, &budget).unwrap();
        let with: BTreeSet<Labels> =
            read_histograms(store, &plan(vec![], 0, i64::MAX)).into_keys().collect();
        let all: BTreeSet<Labels> = found.into_keys().chain(with).collect();
        assert_eq!(listed, all.iter().cloned().collect::<Vec<_>>());
        let values = store.label_values("n", &[], everything, &budget).unwrap();
        assert_eq!(values.len(), all.len());
        values
    };
    assert_eq!(names(&store), ["0", "1", "2"]);
    // In the head, then in a part.
    clock.advance_ms(hour_ms + 2);
    assert_eq!(names(&store), ["1", "2"]);
    store.flush().unwrap();
    assert_eq!(names(&store), ["1", "2"]);
    let found = store.preview(&rule(Matcher::equal("n", "2"), hour_ms), &budget).unwrap();
    assert_eq!((found.series, found.samples), (1, 1));
    assert!(found.bytes > 0);
    let found = store.preview(&rule(Matcher::equal("n", "2"), 2 * hour_ms), &budget).unwrap();
    assert_eq!(found, Removal::default());
    // The day closes, and its part is written anew each time that a class is over.
    clock.advance_ms(DAY_MS);
    while store.merge().unwrap() {}
    assert_eq!((store.stats().part_samples, names(&store)), (2, vec!["1".into(), "2".into()]));
    clock.advance_ms(RETENTION_MS);
    while store.merge().unwrap() {}
    assert_eq!((store.stats().part_samples, names(&store)), (1, vec!["1".into()]));
    clock.advance_ms(9 * DAY_MS);
    store.flush().unwrap();
    assert_eq!(store.stats().parts, 0);
    let clock: Arc<dyn Clock> = clock;
    let many = Config { retention_rules: vec![rules[0].clone(); 9], ..config };
    assert!(Store::open(Arc::new(fs), clock, many).is_err());
}

fn part_files(fs: &FaultyFs) -> Vec<PathBuf> {
    let dir = Path::new("/data/metrics/parts");
    let names = fs.list(dir).unwrap().into_iter().map(|file| file.name);
    names.filter(|name| name.ends_with(".part")).map(|name| dir.join(name)).collect()
}

/// Two parts of two days, one series each.
fn two_days() -> (FaultyFs, Arc<ManualClock>, Arc<Store>) {
    let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(START_MS)));
    let (store, _) = open(&fs, &clock, config());
    for day in 0..2 {
        let t_ms = clock.now_ms();
        append(&store, scrape("a", t_ms, &[(labels(day), 1f64.to_bits())])).unwrap();
        store.flush().unwrap();
        clock.advance_ms(DAY_MS);
    }
    // Both days are closed: once nothing is due, the merger's thread leaves the files alone.
    while store.merge().unwrap() {}
    assert_eq!(part_files(&fs).len(), 2);
    (fs, clock, store)
}

#[test]
fn a_corrupt_part_is_set_aside_and_the_rest_served() {
    // Bit 100 is in the first block, found by reading; the last one is in the trailer, found by opening.
    for (bit, at_open) in [(100, false), (u64::MAX, true)] {
        let (fs, clock, store) = two_days();
        let file = part_files(&fs)[0].clone();
        let bit = bit.min(fs.read(&file).unwrap().len() as u64 * 8 - 1);
        store.close().unwrap();
        fs.flip_bit(&file, bit).unwrap();
        let (store, report) = open(&fs, &clock, config());
        assert_eq!(report.quarantined.len(), usize::from(at_open));
        for _ in 0..2 {
            let (found, warnings) = read(&store, &plan(vec![], i64::MIN, i64::MAX));
            assert_eq!(found.into_keys().collect::<Vec<_>>(), [labels(1)]);
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(&file.file_name().unwrap().display().to_string()));
        }
        assert_eq!((store.stats().parts, store.stats().quarantined), (1, 1));
        let aside = PathBuf::from(format!("{}.corrupt", file.display()));
        assert!(fs.exists(&aside).unwrap() && !fs.exists(&file).unwrap());
        store.close().unwrap();
        let (store, report) = open(&fs, &clock, config());
        assert!(report.quarantined.is_empty() && fs.exists(&aside).unwrap());
        assert_eq!(store.stats().quarantined, 1);
    }
}

#[test]
fn retention_and_disk_limit_remove_the_oldest_parts() {
    let (fs, clock, store) = two_days();
    clock.advance_ms(RETENTION_MS - DAY_MS);
    store.flush().unwrap();
    assert_eq!(part_files(&fs).len(), 1);
    assert!(store.enforce_disk(1).unwrap() > 0);
    assert_eq!((part_files(&fs).len(), store.stats().parts), (0, 0));
    assert_eq!(store.enforce_disk(1).unwrap(), 0);
}

#[test]
fn pushed_scrapes_become_rows() {
    let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(START_MS)));
    let (store, _) = open(&fs, &clock, Config { shards: 3, ..config() });
    let series = |target: u64, n: u64| {
        let (target, n) = (target.to_string(), n.to_string());
        Labels::from_pairs([("__name__", "m"), ("instance", &*target), ("n", &*n)])
    };
    let mut truth = Table::new();
    for round in 0..100i64 {
        clock.advance_ms(15_000);
        // Each scrape of two targets comes in two requests, with a stray sample, a refused one and something old.
        for half in 0..2 {
            let mut rows = Vec::new();
            for n in half * 20..half * 20 + 20 {
                rows.push((series(0, n), clock.now_ms(), round.unsigned_abs()));
                rows.push((series(1, n), clock.now_ms() - 3, n));
            }
            rows.push((series(2 + half, 0), clock.now_ms() - 5000, 7));
            for (labels, t_ms, bits) in &rows {
                truth.entry(labels.clone()).or_default().insert(*t_ms, *bits);
            }
            rows.push((series(0, 0), START_MS - RETENTION_MS - 1, 1));
            let receipt = append(&store, stamped("push", &rows)).unwrap();
            assert_eq!(receipt, Receipt { stored: 41, rejected: vec![(RejectReason::TooOld, 1)] });
        }
    }
    let whole = plan(vec![], i64::MIN, i64::MAX);
    assert_eq!(read(&store, &whole).0, truth);
    let loose: usize = store.shards.iter().map(|s| s.shared.head.read().loose.len()).sum();
    assert_eq!(loose, 2, "all but the stray ones are in rows");
    fs.kill();
    let (store, _) = open(&fs, &clock, config());
    assert_eq!(read(&store, &whole).0, truth);
    store.flush().unwrap();
    assert_eq!(read(&store, &whole).0, truth);
}

#[test]
fn the_series_limit_counts_all_shards() {
    let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(START_MS)));
    let config = Config { shards: 8, series_max: 10, ..config() };
    let (store, _) = open(&fs, &clock, config);
    let mut stored = 0;
    for source in 0..16 {
        let rows = [(labels(source), 1), (labels(source + 100), 2)];
        let receipt = append(&store, scrape(&format!("s/{source}"), START_MS, &rows)).unwrap();
        stored += receipt.stored;
    }
    assert_eq!((stored, store.stats().series), (10, 10));
    let used = fs.list(Path::new("/data/metrics")).unwrap();
    assert_eq!(used.iter().filter(|file| file.name.starts_with("shard-")).count(), 7);
    // Series that leave the head make room.
    for _ in 0..2 {
        store.flush().unwrap();
    }
    assert_eq!(store.stats().series, 0);
    let rows: Vec<_> = (50..70).map(|n| (labels(n), 1)).collect();
    assert_eq!(append(&store, scrape("a", START_MS, &rows)).unwrap().stored, 10);
}

#[test]
fn shards_beyond_the_configured_are_read_and_go_when_empty() {
    let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(START_MS)));
    let with = |shards| Config { shards, ..config() };
    let (store, _) = open(&fs, &clock, with(4));
    for source in 0..32 {
        append(&store, scrape(&format!("s/{source}"), START_MS, &[(labels(source), 1)])).unwrap();
    }
    store.close().unwrap();
    let (store, _) = open(&fs, &clock, with(1));
    for source in 0..32 {
        let t_ms = START_MS + 1;
        append(&store, scrape(&format!("s/{source}"), t_ms, &[(labels(source), 2)])).unwrap();
    }
    let (found, _) = read(&store, &plan(vec![], i64::MIN, i64::MAX));
    let both: BTreeMap<i64, u64> = [(START_MS, 1), (START_MS + 1, 2)].into();
    assert_eq!(found, (0..32).map(|n| (labels(n), both.clone())).collect());
    clock.advance_ms(RETENTION_MS + 1);
    store.flush().unwrap();
    store.close().unwrap();
    let shards =
        || fs.list(Path::new("/data/metrics")).unwrap().iter().filter(|f| f.is_dir).count();
    assert_eq!(shards(), 2 + 3);
    drop(open(&fs, &clock, with(1)));
    assert_eq!(shards(), 2, "wal and parts of the one that is left");
}

#[test]
fn refused_rows_are_counted() {
    let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(START_MS)));
    let (store, _) = open(&fs, &clock, Config { series_max: 2, ..config() });
    let one = 1f64.to_bits();
    let rows: Vec<_> = (0..5).map(|n| (labels(n), one)).collect();
    let receipt = append(&store, scrape("a", START_MS, &rows)).unwrap();
    assert_eq!(receipt, Receipt { stored: 2, rejected: vec![(RejectReason::SeriesLimit, 3)] });
    let more = [(labels(7), START_MS, Histogram::default())];
    let receipt = append(&store, with_histograms("a", &more)).unwrap();
    assert_eq!(receipt, Receipt { stored: 0, rejected: vec![(RejectReason::SeriesLimit, 1)] });
    let folded = [("metric_2", 2), ("metric_3", 1), ("metric_4", 1)];
    assert!(store.over_limit().iter().map(|(name, n)| (name.as_str(), *n)).eq(folded));
    let receipt = append(&store, scrape("a", START_MS + 600_001, &rows)).unwrap();
    assert_eq!(receipt, Receipt { stored: 0, rejected: vec![(RejectReason::TooNew, 5)] });
    let old = (labels(0), START_MS - RETENTION_MS - 1, one);
    let receipt = append(&store, stamped("a", &[old, (Labels::default(), START_MS, one)])).unwrap();
    let rejected = vec![(RejectReason::TooOld, 1), (RejectReason::Invalid, 1)];
    assert_eq!(receipt, Receipt { stored: 0, rejected });
}

#[test]
fn idle_series_leave_the_head_and_stay_readable() {
    let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(START_MS)));
    let (store, _) = open(&fs, &clock, config());
    for round in 0..4u64 {
        clock.advance_ms(15_000);
        let keep = (labels(0), round);
        let once = (labels(10 + round), round);
        append(&store, scrape("a", clock.now_ms(), &[keep, once])).unwrap();
        store.flush().unwrap();
    }
    assert_eq!(store.stats().series, 2);
    let (found, _) = read(&store, &plan(vec![], i64::MIN, i64::MAX));
    assert_eq!(found.len(), 5);
    assert_eq!(found[&labels(0)].len(), 4);
}

#[test]
fn series_of_a_target_share_their_timestamps() {
    let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(START_MS)));
    let (store, _) = open(&fs, &clock, config());
    for round in 0..300u64 {
        clock.advance_ms(15_000);
        let rows: Vec<_> = (0..4).map(|n| (labels(n), (round as f64).to_bits())).collect();
        append(&store, scrape("a", clock.now_ms(), &rows)).unwrap();
        if round == 200 {
            store.flush().unwrap();
        }
    }
    let selected = store.select(&plan(vec![], 0, i64::MAX), &Budget::unlimited()).unwrap();
    assert!(store.stats().parts > 0, "part and head are both read");
    assert!(selected.series.iter().all(|s| s.values.len() == 300));
    let first = &selected.series[0].timestamps;
    assert!(selected.series.iter().all(|s| Arc::ptr_eq(&s.timestamps, first)));
}

#[test]
fn a_days_parts_are_merged() {
    let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(20_000 * DAY_MS)));
    let (store, _) = open(&fs, &clock, config());
    for round in 0..20u64 {
        clock.advance_ms(15_000);
        let rows: Vec<_> = (0..3).map(|n| (labels(n), round)).collect();
        append(&store, scrape("a", clock.now_ms(), &rows)).unwrap();
        store.flush().unwrap();
    }
    while store.merge().unwrap() {}
    // The merger may have been at work meanwhile: of each eight or more it made one, fewer than eight are left alone.
    assert!(store.stats().parts <= 20 / 8 + 7, "{} parts", store.stats().parts);
    clock.advance_ms(DAY_MS + 600_000);
    while store.merge().unwrap() {}
    assert_eq!((store.stats().parts, part_files(&fs).len()), (1, 1));
    assert_eq!(store.stats().part_samples, 60);
    let (found, _) = read(&store, &plan(vec![], i64::MIN, i64::MAX));
    assert!(found.values().all(|samples| samples.len() == 20));
}
