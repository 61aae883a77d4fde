//! Redaction of log lines on their way to the store: which streams it leaves alone, what it asks the store of the time
//! before the process, and how much it found.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ingest::redact::{Counts, Keys, Past, Redactor};
use model::{
    Budget, Clock, Error, Labels, Limits, LogBatch, LogPlan, LogSource as _, Matcher, Order,
    Result, TimeRange,
};

use crate::config::Redaction as Config;

/// How far before a line the store is asked whether the line is inside a private key: a weekend without the process.
const PAST_NS: i64 = 7 * 24 * 3_600_000_000_000;
/// What one such question may cost.
const PAST_LIMITS: Limits =
    Limits { samples_max: 1_000_000, bytes_max: 64 << 20, time_ms_max: 1_000 };

/// What the log store has of a stream.
#[derive(Debug)]
struct Stored {
    logs: Arc<logdb::Store>,
    clock: Arc<dyn Clock>,
}

impl Past for Stored {
    fn visit_back(
        &self,
        stream: &Labels,
        t_ns: i64,
        visit: &mut dyn FnMut(i64, &str) -> ControlFlow<()>,
    ) {
        let range = TimeRange::new(t_ns.saturating_sub(PAST_NS), t_ns.saturating_add(1));
        let plan = LogPlan {
            matchers: stream.iter().map(|(name, value)| Matcher::equal(name, value)).collect(),
            needed_fields: Some(Vec::new()),
            ..LogPlan::all(range, Order::Backward)
        };
        let budget = Budget::new(Arc::clone(&self.clock), PAST_LIMITS);
        let scanned = self.logs.scan(&plan, &budget, &mut |row| {
            // Streams with more labels match as well.
            if row.stream == stream { visit(row.t_ns, row.line) } else { ControlFlow::Continue(()) }
        });
        if let Err(error) = scanned {
            tracing::warn!(%stream, "cannot tell whether a line is inside a private key: {error}");
        }
    }
}

/// Private keys that may have begun in what `logs` has, which is redacted.
pub(crate) fn keys_since(logs: &Arc<logdb::Store>, clock: &Arc<dyn Clock>) -> Keys {
    Keys::with_past(Box::new(Stored { logs: Arc::clone(logs), clock: Arc::clone(clock) }))
}

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
    pub(crate) fn new(config: &Config, keys: Keys) -> Result<Self> {
        let redactor = Redactor::new(&config.kinds, config.patterns.clone())
            .map_err(|e: Error| e.context("logs.redaction"))?;
        let counts = redactor.names().map(|_| AtomicU64::new(0)).collect();
        Ok(Self { redactor, config: config.clone(), counts, keys })
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
    use model::{Done, LogRow, LogRows, Sink as _, SystemClock};

    use super::*;
    use crate::config;
    use crate::stores::Stores;

    fn open_in(dir: &std::path::Path) -> Stores {
        let overrides =
            config::Overrides { data_dir: Some(dir.join("data")), ..Default::default() };
        let config = config::load(&overrides, &|_| None).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Stores::open(&config, &clock, Arc::default()).unwrap()
    }

    fn lines_of(stores: &Stores) -> Vec<String> {
        let mut lines = Vec::new();
        let plan = LogPlan::all(TimeRange::ALL, Order::Forward);
        let mut visit = |row: &LogRow<'_>| {
            lines.push(row.line.to_owned());
            ControlFlow::Continue(())
        };
        stores.logs.scan(&plan, &Budget::unlimited(), &mut visit).unwrap();
        lines
    }

    #[test]
    fn a_private_key_goes_on_after_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let clock = SystemClock;
        // The second one has the labels of the first, and one more.
        let streams = [vec![("a", "web")], vec![("a", "web"), ("b", "x")]];
        let streams = streams.map(Labels::from_pairs);
        let now_ns = clock.now_ns();
        let append = |stores: &Stores, stream: usize, from: i64, lines: &[&str], is_push: bool| {
            let mut rows = LogRows::default();
            for (t_ns, line) in (now_ns + from..).zip(lines) {
                rows.push(&streams[stream], t_ns, line, &Labels::default());
            }
            if is_push {
                rows.set_may_repeat();
            }
            let (answered, answer) = std::sync::mpsc::channel();
            let done = Done::new(move |outcome| drop(answered.send(outcome)));
            stores.append_logs(LogBatch { source: Arc::from("test"), rows, cursor: None }, done);
            answer.recv().unwrap().unwrap();
        };
        let key = [
            "-----BEGIN RSA PRIVATE KEY-----",
            "Proc-Type: 4,ENCRYPTED",
            "",
            "MIIEpAIBAAKCAQEA75",
            "bodyline2SEPARATE",
            "QQ9zbodyline3==",
            "-----END RSA PRIVATE KEY-----",
        ];
        let mark = "[redacted:private_key]";
        for cut in [1, 3, 4, 5] {
            let dir = dir.path().join(cut.to_string());
            let stores = open_in(&dir);
            append(&stores, 0, 0, &key[..cut], false);
            append(&stores, 1, cut as i64, &["0123456789abcdef"], false);
            stores.close().unwrap();
            drop(stores);
            let stores = open_in(&dir);
            append(&stores, 0, 10, &key[cut..], false);
            append(&stores, 0, 20, &["fine", "0123456789abcdef"], false);
            append(&stores, 1, 30, &["fedcba9876543210"], false);
            let begin = format!("{}{mark}", key[0]);
            let other = "0123456789abcdef";
            let mut expect = vec![begin.as_str(), mark, "", mark, mark, mark, key[6]];
            expect.insert(cut, other);
            expect.extend(["fine", other, "fedcba9876543210"]);
            assert_eq!(lines_of(&stores), expect, "cut at {cut}");
            stores.close().unwrap();
        }
        // The answer to the second push was lost: it comes again when its key has ended.
        let dir = dir.path().join("again");
        let stores = open_in(&dir);
        append(&stores, 0, 0, &key[..4], true);
        append(&stores, 0, 4, &key[4..], true);
        stores.close().unwrap();
        drop(stores);
        let stores = open_in(&dir);
        append(&stores, 0, 4, &key[4..], true);
        let first = format!("{}{mark}", key[0]);
        assert_eq!(lines_of(&stores), [&first, mark, "", mark, mark, mark, key[6]]);
    }

    #[test]
    fn batches_that_come_again_or_before_the_answer_are_redacted_as_the_first_time() {
        let config = Config { kinds: Kind::ALL.to_vec(), patterns: Vec::new(), except: Vec::new() };
        let redaction = Redaction::new(&config, Keys::default()).unwrap();
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
