//! The `limit` stage: at most so many lines per second, of all or of each value of a label.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::{Error, Result};

use super::Entry;
use super::stage::Context;

/// Settings of the `limit` stage.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LimitConfig {
    /// Lines per second.
    pub rate: f64,
    /// Lines that may come at once.
    pub burst: u64,
    /// Whether lines beyond it are dropped; otherwise reading waits.
    pub drop: bool,
    /// The label each value of which has a limit of its own.
    pub by_label_name: Option<String>,
    /// So many values are known at a time; 10,000 at least.
    pub max_distinct_labels: u64,
}

const DISTINCT_MIN: usize = 10_000;
const REASON: &str = "ratelimit_drop_stage";
const NS: f64 = 1e9;

/// All sources of a job share it.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    rate: f64,
    burst: f64,
    drop: bool,
    by_label: Option<Arc<str>>,
    distinct_max: usize,
    buckets: Arc<Mutex<Buckets>>,
    reason: Arc<str>,
}

#[derive(Debug, Default)]
struct Buckets {
    all: Option<Bucket>,
    /// By value of the label; when there are too many, those not seen since the last time are forgotten.
    recent: HashMap<String, Bucket>,
    older: HashMap<String, Bucket>,
}

/// Lines that may still come; below 0 they have been borrowed.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    lines: f64,
    at_ns: i64,
}

impl Limit {
    pub(super) fn new(config: &LimitConfig) -> Result<Self> {
        let LimitConfig { rate, burst, drop, .. } = *config;
        if !rate.is_finite() || rate <= 0.0 || burst == 0 {
            return Err(Error::invalid("needs a rate and a burst above 0"));
        }
        let by_label = config.by_label_name.as_deref().filter(|name| !name.is_empty());
        if by_label.is_some() && !drop {
            return Err(Error::invalid("by_label_name needs drop: true"));
        }
        let distinct_max = usize::try_from(config.max_distinct_labels).unwrap_or(usize::MAX);
        Ok(Self {
            rate,
            burst: burst as f64,
            drop,
            by_label: by_label.map(Arc::from),
            distinct_max: distinct_max.max(DISTINCT_MIN),
            buckets: Arc::default(),
            reason: Arc::from(REASON),
        })
    }

    /// The reason when the line is to be dropped; when it is to wait instead, the pipeline pauses behind it.
    pub(super) fn drops(&self, entry: &Entry, context: &mut Context<'_>) -> Option<Arc<str>> {
        let now_ns = context.clock.monotonic_ns();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = match &self.by_label {
            None => buckets.all.get_or_insert(self.full(now_ns)),
            Some(label) => {
                let value = entry.labels.get(label)?;
                buckets.of_value(value, self.full(now_ns), self.distinct_max)
            }
        };
        let passed_ns = now_ns.saturating_sub(bucket.at_ns).max(0);
        bucket.lines = (bucket.lines + passed_ns as f64 / NS * self.rate).min(self.burst);
        bucket.at_ns = now_ns;
        if bucket.lines >= 1.0 {
            bucket.lines -= 1.0;
            return None;
        }
        if self.drop {
            return Some(Arc::clone(&self.reason));
        }
        bucket.lines -= 1.0;
        let wait_ns = (-bucket.lines / self.rate * NS) as i64;
        *context.paused_until_ns = Some(now_ns.saturating_add(wait_ns));
        None
    }

    fn full(&self, at_ns: i64) -> Bucket {
        Bucket { lines: self.burst, at_ns }
    }
}

impl Buckets {
    fn of_value(&mut self, value: &str, full: Bucket, distinct_max: usize) -> &mut Bucket {
        if !self.recent.contains_key(value) {
            if self.recent.len() >= distinct_max {
                self.older = std::mem::take(&mut self.recent);
            }
            let bucket = self.older.remove(value).unwrap_or(full);
            self.recent.insert(value.to_owned(), bucket);
        }
        self.recent.entry(value.to_owned()).or_insert(full)
    }
}
