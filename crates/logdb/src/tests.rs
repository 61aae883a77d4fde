//! The store as a whole, against a plain list of rows and through crashes.

mod crash;
mod patterns;
mod queries;
mod repeats;
mod retention;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc;

use model::{
    Budget, Done, Labels, LogBatch, LogPlan, LogRecord, LogSource, ManualClock, Order, Receipt,
    Result, TimeRange,
};
use storage::fs::{FaultyFs, Fs};
use storage::wal::Durability;

use crate::{Config, OpenReport, Store};

/// 2024-05-01T00:00:00Z, in milliseconds.
const MAY_MS: i64 = 1_714_521_600_000;
const DAY_MS: i64 = 86_400_000;

fn config() -> Config {
    Config {
        dir: "/logs".into(),
        durability: Durability::Strict,
        retention_ms: 30 * DAY_MS,
        retention_rules: Vec::new(),
        head_bytes_max: 64 << 20,
        // Small enough that tests see blocks come and go.
        cache_bytes_max: 300_000,
        flush_after_ms: 300_000,
        streams_max: 100,
        line_bytes_max: 256 << 10,
        future_ms_max: 600_000,
        free_bytes_floor: Some(0),
        part_bytes_max: u64::MAX,
        background_merge: false,
    }
}

/// A disk and a clock that outlive the store.
struct Rig {
    fs: FaultyFs,
    clock: Arc<ManualClock>,
    config: Config,
}

impl Rig {
    fn new() -> Self {
        Self {
            fs: FaultyFs::new(),
            clock: Arc::new(ManualClock::at_ms(MAY_MS + DAY_MS / 2)),
            config: config(),
        }
    }

    fn try_open(&self) -> Result<(Arc<Store>, OpenReport)> {
        let fs: Arc<dyn Fs> = Arc::new(self.fs.clone());
        Store::open(fs, Arc::clone(&self.clock) as _, self.config.clone())
    }

    fn open(&self) -> Arc<Store> {
        self.try_open().unwrap().0
    }
}

fn record(stream: &Labels, t_ns: i64, line: impl Into<String>) -> LogRecord {
    LogRecord { stream: stream.clone(), t_ns, line: line.into(), fields: Labels::default() }
}

fn batch(source: &str, records: Vec<LogRecord>, cursor: Option<&str>) -> LogBatch {
    let rows = records.into_iter().collect();
    LogBatch { source: source.into(), rows, cursor: cursor.map(|c| c.as_bytes().to_vec()) }
}

/// Appends without waiting.
fn send(store: &Store, batch: LogBatch) -> mpsc::Receiver<Result<Receipt>> {
    let (answer, wait) = mpsc::channel();
    store.append(batch, Done::new(move |outcome| answer.send(outcome).unwrap_or(())));
    wait
}

fn append(store: &Store, batch: LogBatch) -> Result<Receipt> {
    send(store, batch).recv().unwrap()
}

fn plan(order: Order) -> LogPlan {
    LogPlan::all(TimeRange::ALL, order)
}

fn rows(store: &Store, plan: &LogPlan) -> Vec<LogRecord> {
    let mut rows = Vec::new();
    let warnings = store
        .scan(plan, &Budget::unlimited(), &mut |row| {
            rows.push(row.to_record());
            if plan.limit.is_some_and(|l| rows.len() >= l) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    rows
}

/// splitmix64: the same numbers on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}
