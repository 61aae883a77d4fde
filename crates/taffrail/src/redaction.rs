//! Redaction of log lines on their way to the store: which streams it leaves alone, and how much it found.

use std::sync::atomic::{AtomicU64, Ordering};

use ingest::redact::{Counts, Redactor};
use model::{Error, Labels, LogBatch, Matcher, Result};

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

/// What redacting a batch changes once it is stored.
#[derive(Debug)]
pub(crate) struct Redacted {
    /// Streams of the batch, and whether their last line is inside a private key; none when no stream is.
    keys: Vec<(Labels, bool)>,
    counts: Counts,
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

    /// Takes secrets out of a batch; what that changes here is [`noted`](Self::note) once the batch is stored, for one
    /// that is refused comes again.
    pub(crate) fn apply(&self, batch: &mut LogBatch) -> Option<Redacted> {
        let is_left = |stream: &Labels| {
            let holds = |selector: &Vec<Matcher>| selector.iter().all(|m| m.matches_labels(stream));
            self.config.except.iter().any(holds)
        };
        // Usually empty.
        let mut open = self.open.lock().clone();
        let was_open = !open.is_empty();
        let redacted = self.redactor.redact(&batch.rows, is_left, &mut open);
        let is_open = |stream: &Labels| (stream.clone(), open.contains(stream));
        let keys = if was_open || !open.is_empty() {
            batch.rows.streams().iter().map(is_open).collect()
        } else {
            Vec::new()
        };
        let counts = redacted.map(|(rows, counts)| {
            batch.rows = rows;
            counts
        });
        let counts = counts.unwrap_or_default();
        (!keys.is_empty() || !counts.is_empty()).then_some(Redacted { keys, counts })
    }

    /// Notes what a stored batch has changed.
    pub(crate) fn note(&self, redacted: Redacted) {
        for (counter, count) in self.counts.iter().zip(redacted.counts) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
        let mut open = self.open.lock();
        for (stream, is_open) in redacted.keys {
            if !is_open {
                open.remove(&stream);
            } else if open.len() < OPEN_MAX {
                open.insert(stream);
            }
        }
    }

    /// Secrets replaced since the start, by rule.
    pub(crate) fn counts(&self) -> Vec<(String, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        self.redactor.names().map(str::to_owned).zip(counts).collect()
    }
}
