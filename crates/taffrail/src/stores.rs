//! The stores as one [`Sink`]: routes batches, keeps the ledger, feeds the live tails, and holds the disk limit.

use std::path::Path;
use std::sync::Arc;

use ingest::span_metrics::SpanMetrics;
use model::{Clock, Done, ErrorKind, LogBatch, MetricBatch, Result, Sink, SpanBatch};
use parking_lot::{Mutex, RwLock};
use server::TailHub;
use storage::fs::{Fs, RealFs};
use storage::writer::WriterState;

use crate::archive::{self, Archived};
use crate::config::Config;
use crate::ledger::{Ledger, Signal};
use crate::log_metrics::LogMetrics;
use crate::redaction::{Redaction, keys_since};
use crate::remote_write::Feed;
use crate::sampling::Sampler;
use crate::span_forward::SpanFeed;

const MIB: u64 = 1 << 20;
/// Samples are moved from the head to parts at this age at the latest.
const FLUSH_AFTER_MS: i64 = 30 * 60_000;
/// Spans likewise: until then they are looked at one by one.
const TRACES_FLUSH_AFTER_MS: i64 = 5 * 60_000;
/// A thousand years.
const ARCHIVE_MS: i64 = 1_000 * 365 * 86_400_000;
/// Times further ahead than this are refused.
pub(crate) const FUTURE_MS_MAX: i64 = 10 * 60_000;
/// A log line longer than this is cut, with a marker. Readers of containers and files cut there themselves.
const LINE_BYTES_MAX: usize = ingest::docker::frames::LINE_BYTES_MAX;

/// All stores of the process.
pub struct Stores {
    /// Metrics.
    pub metrics: Arc<tsdb::Store>,
    /// Logs and events.
    pub logs: Arc<logdb::Store>,
    /// Traces.
    pub traces: Arc<tracedb::Store>,
    /// Copies of traces that are kept for good.
    pub(crate) archive: Arc<tracedb::Store>,
    /// What is made of spans as they are stored.
    pub(crate) span_metrics: Arc<Mutex<SpanMetrics>>,
    /// Which spans and traces stay, unless all do.
    pub(crate) sampler: Option<Arc<Sampler>>,
    /// What became of every row.
    pub ledger: Arc<Ledger>,
    /// What was found damaged when the stores were opened, for the operator.
    pub damage: Vec<String>,
    /// Where accepted batches go on to.
    forward: RwLock<Option<Feed>>,
    forward_spans: RwLock<Option<SpanFeed>>,
    tail: Arc<TailHub>,
    pub(crate) redaction: Option<Arc<Redaction>>,
    pub(crate) log_metrics: Arc<LogMetrics>,
    clock: Arc<dyn Clock>,
    fs: Arc<dyn Fs>,
    data_dir: std::path::PathBuf,
    disk_limit_bytes: Option<u64>,
    traces_disk_limit_bytes: Option<u64>,
}

impl Stores {
    /// Opens (or creates) the stores below `config.data_dir` and recovers what a crash left.
    ///
    /// # Errors
    /// When a directory cannot be read or written.
    pub fn open(config: &Config, clock: &Arc<dyn Clock>, tail: Arc<TailHub>) -> Result<Self> {
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let free_bytes_floor =
            config.disk_reserve_bytes.unwrap_or_else(|| default_reserve(&config.data_dir));
        // 60 % of the limit belongs to stores and queries, 35 % of that to the heads: half of it to metrics, a quarter
        // each to logs and traces. Beyond the caps a larger head saves nothing.
        let heads = config.memory_limit_bytes / 100 * 60 / 100 * 35;
        // What is in a head is in the write-ahead log as well, where it takes several times as much, and becomes a part at
        // once: under a small disk limit both stay small.
        let of_disk = |limit: Option<u64>| limit.map_or(u64::MAX, |limit| (limit / 64).max(MIB));
        let of_traces = of_disk(config.traces.disk_limit_bytes);
        let of_disk = of_disk(config.disk_limit_bytes);
        let metrics = tsdb::Config {
            dir: config.data_dir.join("metrics"),
            durability: config.durability,
            shards: 0,
            retention_ms: config.retention_ms,
            retention_rules: config.retention_rules.clone(),
            head_bytes_max: (heads / 2).clamp(4 * MIB, 256 * MIB),
            flush_after_ms: FLUSH_AFTER_MS,
            // 15 % of the 60 %; what queries want beyond is decoded each time.
            index_bytes_max: (heads / 35 * 15).clamp(8 * MIB, 512 * MIB),
            // 500 B per active series is the store's own aim.
            series_max: usize::try_from(heads / 2 / 500).unwrap_or(usize::MAX).max(100_000),
            future_ms_max: FUTURE_MS_MAX,
            free_bytes_floor,
        };
        let logs = logdb::Config {
            dir: config.data_dir.join("logs"),
            durability: config.durability,
            retention_ms: config.logs.retention_ms,
            retention_rules: config.logs.retention_rules.iter().map(|(_, r)| r.clone()).collect(),
            head_bytes_max: (heads / 4).clamp(4 * MIB, 64 * MIB).min(of_disk),
            // 20 % of the 60 %.
            cache_bytes_max: (heads / 35 * 20).clamp(4 * MIB, 1024 * MIB),
            flush_after_ms: FLUSH_AFTER_MS,
            streams_max: 100_000,
            line_bytes_max: LINE_BYTES_MAX,
            future_ms_max: FUTURE_MS_MAX,
            free_bytes_floor: Some(free_bytes_floor),
            part_bytes_max: piece_of(config.disk_limit_bytes),
            background_merge: true,
        };
        let sampler = config.traces.sampling.clone();
        let sampler = sampler.map(|rules| Arc::new(Sampler::new(rules, Arc::clone(clock))));
        let traces = tracedb::Config {
            dir: config.data_dir.join("traces"),
            durability: config.durability,
            retention_ms: config.traces.retention_ms,
            retention_rules: config.traces.retention_rules.iter().map(|(_, r)| r.clone()).collect(),
            head_bytes_max: (heads / 4).clamp(4 * MIB, 128 * MIB).min(of_disk).min(of_traces),
            flush_after_ms: TRACES_FLUSH_AFTER_MS,
            future_ms_max: FUTURE_MS_MAX,
            free_bytes_floor: Some(free_bytes_floor),
            part_bytes_max: piece_of(config.disk_limit_bytes)
                .min(piece_of(config.traces.disk_limit_bytes)),
            sampler: sampler.clone().filter(|s| s.has_tail()).map(|s| s as _),
            background_merge: true,
        };
        let archive = tracedb::Config {
            dir: config.data_dir.join("traces-archive"),
            retention_ms: ARCHIVE_MS,
            head_bytes_max: 4 * MIB,
            part_bytes_max: u64::MAX,
            sampler: None,
            ..traces.clone()
        };
        let (metrics, report) = tsdb::Store::open(fs.clone(), clock.clone(), metrics)?;
        tracing::info!(recovered_samples = report.recovered_samples, "metric store open");
        let mut damage = damage_of_metrics(&report);
        let (logs, report) = logdb::Store::open(fs.clone(), clock.clone(), logs)?;
        tracing::info!(
            recovered_rows = report.replayed_rows,
            parts = report.parts,
            torn_bytes = report.torn_bytes,
            "log store open"
        );
        damage.extend(report.warnings);
        let (traces, report) = tracedb::Store::open(fs.clone(), clock.clone(), traces)?;
        tracing::info!(
            recovered_spans = report.replayed_spans,
            parts = report.parts,
            torn_bytes = report.torn_bytes,
            "trace store open"
        );
        damage.extend(report.warnings);
        let (archive, report) = tracedb::Store::open(fs.clone(), clock.clone(), archive)?;
        damage.extend(report.warnings);
        for what in &damage {
            tracing::warn!("{what}");
        }
        let redaction = config.logs.redaction.as_ref();
        let redaction =
            redaction.map(|config| Redaction::new(config, keys_since(&logs, clock))).transpose()?;
        Ok(Self {
            metrics,
            logs,
            traces,
            archive,
            span_metrics: Arc::new(Mutex::new(SpanMetrics::new(&config.traces.metrics))),
            sampler,
            ledger: Arc::default(),
            damage,
            forward: RwLock::default(),
            forward_spans: RwLock::default(),
            tail,
            log_metrics: Arc::new(LogMetrics::new(&config.logs.metrics)?),
            clock: Arc::clone(clock),
            redaction: redaction.map(Arc::new),
            fs,
            data_dir: config.data_dir.clone(),
            disk_limit_bytes: config.disk_limit_bytes,
            traces_disk_limit_bytes: config.traces.disk_limit_bytes,
        })
    }

    /// From now on every accepted batch of metrics goes on to `feed`, too, or nowhere.
    pub fn forward_to(&self, feed: Option<Feed>) {
        *self.forward.write() = feed;
    }

    /// From now on every accepted batch of spans goes on to `feed`, too, or nowhere.
    pub fn forward_spans_to(&self, feed: Option<SpanFeed>) {
        *self.forward_spans.write() = feed;
    }

    /// Bytes on disk of everything stored.
    pub fn disk_bytes(&self) -> u64 {
        let (metrics, logs) = (self.metrics.stats(), self.logs.stats());
        let (parts, wal) = self.trace_bytes();
        let traces = parts + wal + archive::bytes_of(&self.archive);
        metrics.part_bytes + metrics.wal_bytes + logs.part_bytes + logs.wal_bytes + traces
    }

    /// The traces to be asked for and archived.
    pub(crate) fn archived(&self) -> Arc<Archived> {
        let limits = [self.disk_limit_bytes, self.traces_disk_limit_bytes];
        let limit = limits.into_iter().flatten().min();
        Arc::new(Archived {
            live: Arc::clone(&self.traces),
            archive: Arc::clone(&self.archive),
            bytes_max: limit.map(|limit| limit / archive::PART_OF_LIMIT),
        })
    }

    /// Bytes of the traces' parts and of their WAL.
    fn trace_bytes(&self) -> (u64, u64) {
        let traces = self.traces.stats();
        (traces.part_bytes, traces.wal_bytes)
    }

    /// Bytes of memory that hold what is not in parts yet.
    pub fn head_bytes(&self) -> u64 {
        let (metrics, logs) = (self.metrics.stats(), self.logs.stats());
        let traces = self.traces.stats().head_bytes + self.archive.stats().head_bytes;
        metrics.head_bytes + logs.head_bytes + traces
    }

    /// Bytes free on the data directory's disk.
    pub fn free_bytes(&self) -> u64 {
        self.fs.free_bytes(&self.data_dir).unwrap_or(0)
    }

    /// Deletes the oldest parts until everything fits into the disk limit, and traces into theirs. Returns the bytes freed.
    ///
    /// # Errors
    /// When a part cannot be removed.
    pub fn hold_disk_limit(&self) -> Result<u64> {
        let mut freed = self.hold_traces_limit()?;
        let Some(limit) = self.disk_limit_bytes else { return Ok(freed) };
        let wal_bytes =
            self.metrics.stats().wal_bytes + self.logs.stats().wal_bytes + self.trace_bytes().1;
        // A flush makes far less of what is in the WAL, and costs no data.
        if self.disk_bytes() > limit && wal_bytes > limit / 8 {
            self.flush()?;
        }
        loop {
            let excess = self.disk_bytes().saturating_sub(limit);
            if excess == 0 {
                return Ok(freed);
            }
            // One part at a time, from whichever store has the oldest, so that all keep the same span of time.
            let oldest = [
                self.metrics.stats().oldest_part_ms,
                self.logs.stats().oldest_part_ms,
                self.traces.stats().oldest_part_ms,
            ];
            let oldest = oldest.into_iter().enumerate().filter_map(|(of, ms)| Some((ms?, of)));
            let now_freed = match oldest.min() {
                None => 0,
                Some((_, 0)) => self.metrics.enforce_disk(1)?,
                Some((_, 1)) => self.logs.enforce_disk(1)?,
                Some(_) => self.traces.enforce_disk(1)?,
            };
            if now_freed == 0 {
                return Ok(freed);
            }
            freed += now_freed;
        }
    }

    fn hold_traces_limit(&self) -> Result<u64> {
        let Some(limit) = self.traces_disk_limit_bytes else { return Ok(0) };
        let (parts, wal) = self.trace_bytes();
        if parts + wal > limit && wal > limit / 8 {
            self.traces.flush()?;
        }
        let (parts, wal) = self.trace_bytes();
        match (parts + wal).saturating_sub(limit) {
            0 => Ok(0),
            excess => self.traces.enforce_disk(excess),
        }
    }

    /// Moves what is in memory to parts; frees memory.
    ///
    /// # Errors
    /// When a part cannot be written.
    pub fn flush(&self) -> Result<()> {
        self.metrics.flush()?;
        self.logs.flush()?;
        self.traces.flush()?;
        self.archive.flush()
    }

    /// The worst of the stores' states.
    pub fn state(&self) -> WriterState {
        let states = [
            self.metrics.stats().state,
            self.logs.stats().state,
            self.traces.stats().state,
            self.archive.stats().state,
        ];
        let rank = |state: &WriterState| match state {
            WriterState::Ok => 0,
            WriterState::DiskFull { .. } => 1,
            WriterState::Failed { .. } => 2,
        };
        states.into_iter().max_by_key(rank).unwrap_or(WriterState::Ok)
    }

    /// Orderly end: everything accepted is durable, files are closed.
    ///
    /// # Errors
    /// When what is in memory could not be written; it is in the WAL and recovered at the next start.
    pub fn close(&self) -> Result<()> {
        let metrics = self.metrics.close();
        let logs = self.logs.close();
        let archive = self.archive.close();
        self.traces.close().and(archive).and(logs).and(metrics)
    }
}

/// Parts are not merged beyond this: a disk limit is held by removing parts, each a small piece of it.
fn piece_of(disk_limit_bytes: Option<u64>) -> u64 {
    disk_limit_bytes.map_or(u64::MAX, |limit| (limit / 32).max(MIB))
}

/// What the operator must know of what opening the metric store found.
fn damage_of_metrics(report: &tsdb::OpenReport) -> Vec<String> {
    let mut damage: Vec<String> = report
        .quarantined
        .iter()
        .map(|file| format!("damaged metric file set aside: {file}"))
        .collect();
    damage.extend(report.missing_parts.iter().map(|part| format!("metric part {part} is missing")));
    let lost =
        report.damaged_records + report.wal.iter().map(|wal| wal.missing_records).sum::<u64>();
    if lost > 0 {
        damage.push(format!("{lost} metric wal records are lost"));
    }
    damage
}

/// 5 % of the disk, at most 1 GiB.
fn default_reserve(data_dir: &Path) -> u64 {
    // The directory may not exist yet; its nearest existing ancestor is on the same disk.
    let existing = data_dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let total = rustix::fs::statvfs(existing).map_or(20 << 30, |fs| fs.f_blocks * fs.f_frsize);
    (total / 20).min(1 << 30)
}

impl Sink for Stores {
    fn append_metrics(&self, batch: MetricBatch, done: Done) {
        let source = batch.source.clone();
        let rows = batch.sample_count() as u64;
        let ledger = self.ledger.clone();
        let forward = self.forward.read().clone();
        let forward = forward.map(|feed| (feed.prepare(&batch), feed));
        let done = Done::new(move |outcome| {
            match &outcome {
                Ok(receipt) => ledger.stored(Signal::Metrics, &source, receipt),
                // A scrape cannot be repeated for a moment that has passed.
                Err(error) => ledger.dropped(Signal::Metrics, &source, reason(error.kind()), rows),
            }
            match (outcome, forward) {
                // Acknowledged once it is in the queue as well. What the queue refuses is counted there; it is stored.
                (Ok(receipt), Some((batch, feed))) => {
                    feed.queue(batch, Done::new(move |_| done.call(Ok(receipt))));
                }
                (outcome, _) => done.call(outcome),
            }
        });
        self.metrics.append(batch, done);
    }

    fn append_logs(&self, mut batch: LogBatch, done: Done) {
        let redaction = self.redaction.clone();
        let found = redaction.and_then(|r| r.apply(&mut batch).map(|counts| (r, counts)));
        let source = batch.source.clone();
        let ledger = self.ledger.clone();
        let tail =
            self.tail.has_listeners().then(|| (self.tail.clone(), Arc::new(batch.rows.clone())));
        let observed = self.log_metrics.observe(&batch.rows);
        let observed = observed.map(|o| (o, self.log_metrics.clone(), self.clock.clone()));
        let done = Done::new(move |outcome| {
            if let Ok(receipt) = &outcome {
                ledger.stored(Signal::Logs, &source, receipt);
                if let Some((redaction, counts)) = found {
                    redaction.note(counts);
                }
                if let Some((observed, metrics, clock)) = observed {
                    metrics.add(observed, &*clock);
                }
                if let Some((tail, rows)) = tail {
                    tail.publish(rows);
                }
            }
            // On failure nothing is lost: the lines are still with the engine, and the cursor stands before them.
            done.call(outcome);
        });
        self.logs.append(batch, done);
    }

    fn append_spans(&self, batch: SpanBatch, done: Done) {
        let SpanBatch { source, mut groups } = batch;
        let sampler = self.sampler.clone();
        let sampled = sampler.and_then(|s| s.sort(&mut groups).map(|sorted| (s, sorted)));
        let (groups, sampled) = match sampled {
            Some((sampler, mut sorted)) => {
                (std::mem::take(&mut sorted.kept), Some((sampler, sorted)))
            }
            None => (groups, None),
        };
        let groups = Arc::new(groups);
        let ledger = self.ledger.clone();
        let (observed, metrics) = (groups.clone(), self.span_metrics.clone());
        let repeated = tracedb::Repeated::default();
        let sent_again = repeated.clone();
        let clock = self.clock.clone();
        let forward = self.forward_spans.read().clone().filter(|_| !groups.is_empty());
        let forward = forward.map(|feed| (feed.prepare(&groups), feed));
        let done = Done::new(move |outcome| {
            if let Ok(receipt) = &outcome {
                ledger.stored(Signal::Traces, &source, receipt);
                let mut metrics = metrics.lock();
                metrics.observe_but(&observed, &sent_again.lock(), clock.now_ms());
                // Metrics are of all spans, sampled or not.
                if let Some((sampler, sorted)) = sampled {
                    metrics.observe(&sorted.dropped, clock.now_ms());
                    sampler.note(&sorted.tally);
                    let dropped = sorted.dropped_spans();
                    ledger.dropped(Signal::Traces, &source, "sampled", dropped);
                }
            }
            match (outcome, forward) {
                // Acknowledged once it is in the queue as well. What the queue refuses is counted there; it is stored.
                (Ok(receipt), Some((spans, feed))) => {
                    feed.queue(spans, Done::new(move |_| done.call(Ok(receipt))));
                }
                // On failure nothing is lost yet: the sender, which is told, sends again; who cannot books it as dropped.
                (outcome, _) => done.call(outcome),
            }
        });
        self.traces.append_telling(&groups, repeated, done);
    }

    fn cursor(&self, source: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.logs.cursor(source))
    }
}

fn reason(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Busy => "busy",
        ErrorKind::Io | ErrorKind::Corrupt => "io",
        ErrorKind::Limit => "limit",
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Cancelled | ErrorKind::Bug => {
            "failed"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use ingest::pipeline::{Declared, MetricKind, Sample};

    use model::{
        Budget, Histogram, HistogramRow, Labels, LogPlan, LogRow, LogRows, LogSource as _, Matcher,
        Order, Span, SpanGroup, StampedRow, SystemClock, TimeRange, TraceSource as _,
    };
    use query::logql::LineMetric;

    use super::*;
    use crate::config;

    #[test]
    fn spans_become_metrics_once_they_are_stored() {
        let dir = tempfile::tempdir().unwrap();
        let overrides =
            config::Overrides { data_dir: Some(dir.path().join("data")), ..Default::default() };
        let config = config::load(&overrides, &|_| None).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stores = Stores::open(&config, &clock, Arc::new(TailHub::default())).unwrap();
        let (start_ns, end_ns) = (clock.now_ns() - 1_000, clock.now_ns());
        let append = |traces: std::ops::Range<u128>| {
            let span =
                |trace_id| Span { trace_id, span_id: 1, start_ns, end_ns, ..Span::default() };
            let groups =
                vec![SpanGroup { spans: traces.map(span).collect(), ..SpanGroup::default() }];
            let (answered, answer) = std::sync::mpsc::channel();
            let done = Done::new(move |outcome| drop(answered.send(outcome)));
            stores.append_spans(SpanBatch { source: Arc::from("test"), groups }, done);
            answer.recv().unwrap()
        };
        assert_eq!(append(1..3).unwrap().stored, 2);
        // The answer was lost: they come again, with another.
        assert_eq!(append(1..4).unwrap().stored, 3);
        stores.close().unwrap();
        append(4..5).unwrap_err();
        let batch = stores.span_metrics.lock().collect(clock.now_ms());
        let calls =
            batch.rows.iter().filter(|row| row.labels.metric_name().ends_with("calls_total"));
        assert_eq!(calls.map(|row| row.value).collect::<Vec<_>>(), [3.0]);
    }

    #[test]
    fn dropped_batches_are_booked_with_their_histograms() {
        let dir = tempfile::tempdir().unwrap();
        let overrides =
            config::Overrides { data_dir: Some(dir.path().join("data")), ..Default::default() };
        let config = config::load(&overrides, &|_| None).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stores = Stores::open(&config, &clock, Arc::new(TailHub::default())).unwrap();
        let append = || {
            let row = |i: i64| HistogramRow {
                labels: Labels::from_pairs([("__name__", "h")]),
                t_ms: clock.now_ms() + i,
                value: Arc::new(Histogram::default()),
            };
            let batch = MetricBatch {
                source: Arc::from("test"),
                stamped: vec![StampedRow::new(
                    Labels::from_pairs([("__name__", "a")]),
                    clock.now_ms(),
                    1.0,
                )],
                histograms: vec![row(0), row(1)],
                ..MetricBatch::default()
            };
            let (answered, answer) = std::sync::mpsc::channel();
            stores.append_metrics(batch, Done::new(move |outcome| drop(answered.send(outcome))));
            answer.recv().unwrap()
        };
        assert_eq!(append().unwrap().stored, 3);
        stores.close().unwrap();
        append().unwrap_err();
        let accounts = stores.ledger.accounts();
        let [(Signal::Metrics, _, account)] = &accounts[..] else { panic!("{accounts:?}") };
        assert_eq!((account.received, account.stored), (6, 3));
        assert_eq!(account.dropped.values().sum::<u64>(), 3);
    }

    #[test]
    fn traces_are_held_to_a_limit_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let overrides =
            config::Overrides { data_dir: Some(dir.path().join("data")), ..Default::default() };
        let mut config = config::load(&overrides, &|_| None).unwrap();
        config.traces.disk_limit_bytes = Some(1);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stores = Stores::open(&config, &clock, Arc::default()).unwrap();
        let (answered, answer) = std::sync::mpsc::channel();
        let done = || {
            let answered = answered.clone();
            Done::new(move |outcome| drop(answered.send(outcome)))
        };
        let span = Span { trace_id: 1, span_id: 1, start_ns: clock.now_ns(), ..Span::default() };
        let groups = vec![SpanGroup { spans: vec![span], ..SpanGroup::default() }];
        stores.append_spans(SpanBatch { source: Arc::from("test"), groups }, done());
        let mut rows = LogRows::default();
        rows.push(&Labels::from_pairs([("a", "b")]), clock.now_ns(), "kept", &Labels::default());
        stores.append_logs(LogBatch { source: Arc::from("test"), rows, cursor: None }, done());
        for _ in 0..2 {
            assert_eq!(answer.recv().unwrap().unwrap().stored, 1);
        }
        stores.flush().unwrap();
        let budget = Budget::unlimited();
        assert!(stores.traces.trace(1, &budget).unwrap().is_some());
        let logs_bytes = stores.logs.stats().part_bytes;
        assert!(stores.hold_disk_limit().unwrap() > 0);
        assert_eq!(stores.traces.trace(1, &budget).unwrap(), None);
        assert_eq!(stores.logs.stats().part_bytes, logs_bytes);
        let accounts = stores.ledger.accounts();
        let traces = accounts.iter().find(|(signal, ..)| *signal == Signal::Traces).unwrap();
        assert_eq!((traces.2.received, traces.2.stored), (1, 1));
    }

    #[test]
    fn secrets_are_gone_before_a_line_is_stored_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let overrides =
            config::Overrides { data_dir: Some(dir.path().join("data")), ..Default::default() };
        let mut config = config::load(&overrides, &|_| None).unwrap();
        config.logs.redaction.as_mut().unwrap().except = vec![vec![Matcher::equal("a", "demo")]];
        config.logs.metrics = vec![config::LogMetric {
            metric: Declared {
                name: "logins_total".into(),
                kind: MetricKind::Counter,
                help: String::new(),
                buckets: Vec::new(),
            },
            rule: LineMetric::parse("{a=~\".+\"} |= \"redacted\"", None, vec!["a".into()]).unwrap(),
        }];
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let tail = Arc::new(TailHub::default());
        let stores = Stores::open(&config, &clock, tail).unwrap();
        let mut rows = LogRows::default();
        for app in ["web", "demo"] {
            let stream = Labels::from_pairs([("a", app)]);
            rows.push(&stream, clock.now_ns(), "password=hunter2", &Labels::default());
        }
        let (answered, answer) = std::sync::mpsc::channel();
        let done = Done::new(move |outcome| drop(answered.send(outcome)));
        stores.append_logs(LogBatch { source: Arc::from("test"), rows, cursor: None }, done);
        assert_eq!(answer.recv().unwrap().unwrap().stored, 2);
        let mut lines = Vec::new();
        stores
            .logs
            .scan(&LogPlan::all(TimeRange::ALL, Order::Forward), &Budget::unlimited(), &mut |row| {
                lines.push(row.line.to_owned());
                ControlFlow::Continue(())
            })
            .unwrap();
        lines.sort();
        assert_eq!(lines, ["password=[redacted:password]", "password=hunter2"]);
        let samples = stores.log_metrics.metrics().samples(&*clock);
        let labels = Labels::from_pairs([("__name__", "logins_total"), ("a", "web")]);
        assert_eq!(samples, [Sample { labels, value: 1.0 }]);
        let counts = stores.redaction.as_ref().unwrap().counts();
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 1);
    }

    #[test]
    fn what_is_pushed_again_is_stored_once_also_with_a_secret_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let overrides =
            config::Overrides { data_dir: Some(dir.path().join("data")), ..Default::default() };
        let config = config::load(&overrides, &|_| None).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stores = Stores::open(&config, &clock, Arc::default()).unwrap();
        let stream = Labels::from_pairs([("a", "web")]);
        let mut rows = LogRows::default();
        for (t_ns, line) in (clock.now_ns()..).zip(["started", "password=hunter2", "ready"]) {
            rows.push(&stream, t_ns, line, &Labels::default());
        }
        rows.set_may_repeat();
        for _ in 0..2 {
            let (answered, answer) = std::sync::mpsc::channel();
            let done = Done::new(move |outcome| drop(answered.send(outcome)));
            let batch = LogBatch { source: Arc::from("push"), rows: rows.clone(), cursor: None };
            stores.append_logs(batch, done);
            answer.recv().unwrap().unwrap();
        }
        let mut lines = Vec::new();
        let plan = LogPlan::all(TimeRange::ALL, Order::Forward);
        let mut visit = |row: &LogRow<'_>| {
            lines.push(row.line.to_owned());
            ControlFlow::Continue(())
        };
        stores.logs.scan(&plan, &Budget::unlimited(), &mut visit).unwrap();
        assert_eq!(lines, ["started", "password=[redacted:password]", "ready"]);
    }

    #[test]
    fn a_private_key_is_replaced_again_when_its_batch_comes_again() {
        let overrides = config::Overrides { data_dir: Some("unused".into()), ..Default::default() };
        let config = config::load(&overrides, &|_| None).unwrap();
        let config = config.logs.redaction.unwrap();
        let redaction = Redaction::new(&config, ingest::redact::Keys::default()).unwrap();
        let stream = Labels::from_pairs([("a", "web")]);
        let batch = |lines: &[&str]| {
            let mut rows = LogRows::default();
            lines.iter().for_each(|line| rows.push(&stream, 1, line, &Labels::default()));
            LogBatch { source: Arc::from("test"), rows, cursor: None }
        };
        let begin = redaction.apply(&mut batch(&["-----BEGIN PRIVATE KEY-----"])).unwrap();
        redaction.note(begin);
        // The store refuses the first one: nothing of it is noted.
        for _ in 0..2 {
            let mut rest = batch(&["MIIEvQIBADANBg", "-----END PRIVATE KEY-----"]);
            assert!(redaction.apply(&mut rest).is_some());
            assert_eq!(rest.rows.row(0).line, "[redacted:private_key]");
        }
        let sum: u64 = redaction.counts().iter().map(|(_, count)| count).sum();
        assert_eq!(sum, 1);
    }
}
