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

#[cfg(test)]
mod tests {
    use ingest::redact::Kind;
    use model::LogRows;

    use super::*;

    #[test]
    fn batches_that_come_again_or_before_the_answer_are_redacted_as_the_first_time() {
        let config = Config { kinds: Kind::ALL.to_vec(), patterns: Vec::new(), except: Vec::new() };
        let redaction = Redaction::new(&config).unwrap();
        let send = |lines: &[&str]| {
            let mut rows = LogRows::default();
            let stream = Labels::from_pairs([("app", "web")]);
            lines.iter().for_each(|line| rows.push(&stream, 1, line, &Labels::default()));
            let mut batch = LogBatch { rows, ..LogBatch::default() };
            let found = redaction.apply(&mut batch);
            let lines = batch.rows.iter().map(|row| row.line.to_owned());
            (lines.collect::<Vec<_>>(), found)
        };
        let first = ["-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0"];
        let last = ["aZ09+/==", "-----END PRIVATE KEY-----"];
        let mark = "[redacted:private_key]";
        // The second one comes before the store has answered for the first one, and again when it was stored.
        let (_, of_first) = send(&first);
        for _ in 0..2 {
            let (lines, of_last) = send(&last);
            assert_eq!(lines, [mark, last[1]]);
            redaction.note(of_last.unwrap());
        }
        redaction.note(of_first.unwrap());
        let counted: Vec<_> = redaction.counts().into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [("private_key".to_owned(), 1)]);
    }
}
