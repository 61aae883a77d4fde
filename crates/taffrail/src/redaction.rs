//! Redaction of log lines on their way to the store: which streams it leaves alone, and how much it found.

use std::sync::atomic::{AtomicU64, Ordering};

use ingest::redact::Redactor;
use model::{Error, Labels, LogBatch, Result};

use parking_lot::Mutex;
use rustc_hash::FxHashSet;

use crate::config::Redaction as Config;

/// Redaction as configured, with its counts.
#[derive(Debug)]
pub(crate) struct Redaction {
    redactor: Redactor,
    config: Config,
    counts: Vec<AtomicU64>,
    /// Streams whose last line was inside a private key.
    open: Mutex<FxHashSet<Labels>>,
}

/// Streams inside a private key; of more, the rest of the key is not looked for.
const OPEN_MAX: usize = 1_000;

impl Redaction {
    /// # Errors
    /// When a pattern cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let redactor = Redactor::new(&config.kinds, config.patterns.clone())
            .map_err(|e: Error| e.context("logs.redaction"))?;
        let counts = redactor.names().map(|_| AtomicU64::new(0)).collect();
        Ok(Self { redactor, config: config.clone(), counts, open: Mutex::default() })
    }

    /// Takes secrets out of a batch.
    pub(crate) fn apply(&self, batch: &mut LogBatch) {
        let is_left = |stream: &Labels| {
            let holds =
                |selector: &Vec<model::Matcher>| selector.iter().all(|m| m.matches_labels(stream));
            self.config.except.iter().any(holds)
        };
        // Usually empty. Batches of one stream come one after the other; those of others do not wait for this one.
        let mut open = self.open.lock().clone();
        let was_open = !open.is_empty();
        let redacted = self.redactor.redact(&batch.rows, is_left, &mut open);
        if was_open || !open.is_empty() {
            let mut shared = self.open.lock();
            for stream in batch.rows.streams() {
                if !open.contains(stream) {
                    shared.remove(stream);
                } else if shared.len() < OPEN_MAX {
                    shared.insert(stream.clone());
                }
            }
        }
        if let Some((rows, counts)) = redacted {
            batch.rows = rows;
            for (counter, count) in self.counts.iter().zip(counts) {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Secrets replaced since the start, by rule.
    pub(crate) fn counts(&self) -> Vec<(String, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        self.redactor.names().map(str::to_owned).zip(counts).collect()
    }
}
