//! Redaction of log lines on their way to the store: which streams it leaves alone, and how much it found.

use std::sync::atomic::{AtomicU64, Ordering};

use ingest::redact::{Counts, Keys, Redactor};
use model::{Error, Labels, LogBatch, Matcher, Result};

use crate::config::Redaction as Config;

/// Redaction as configured, with its counts.
#[derive(Debug)]
pub(crate) struct Redaction {
    redactor: Redactor,
    config: Config,
    counts: Vec<AtomicU64>,
    keys: Keys,
}

impl Redaction {
    /// # Errors
    /// When a pattern cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let redactor = Redactor::new(&config.kinds, config.patterns.clone())
            .map_err(|e: Error| e.context("logs.redaction"))?;
        let counts = redactor.names().map(|_| AtomicU64::new(0)).collect();
        Ok(Self { redactor, config: config.clone(), counts, keys: Keys::default() })
    }

    /// Takes secrets out of a batch. How many there were is [`noted`](Self::note) once the batch is stored, for one that is
    /// refused comes again.
    pub(crate) fn apply(&self, batch: &mut LogBatch) -> Option<Counts> {
        let is_left = |stream: &Labels| {
            let holds = |selector: &Vec<Matcher>| selector.iter().all(|m| m.matches_labels(stream));
            self.config.except.iter().any(holds)
        };
        let (rows, counts) = self.redactor.redact(&batch.rows, is_left, &self.keys)?;
        batch.rows = rows;
        Some(counts)
    }

    /// Notes what was found in a batch that is stored.
    pub(crate) fn note(&self, counts: Counts) {
        for (counter, count) in self.counts.iter().zip(counts) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Secrets replaced since the start, by rule.
    pub(crate) fn counts(&self) -> Vec<(String, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        self.redactor.names().map(str::to_owned).zip(counts).collect()
    }
}
