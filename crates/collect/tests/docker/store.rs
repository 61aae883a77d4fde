//! A sink that remembers everything, with cursors, and can be busy for a while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{
    Done, Error, ErrorKind, LogBatch, LogRecord, LogRow, MetricBatch, MetricRow, Receipt, Sink,
};
use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct Store {
    records: Mutex<Vec<LogRecord>>,
    rows: Mutex<Vec<MetricRow>>,
    cursors: Mutex<BTreeMap<String, Vec<u8>>>,
    busy: AtomicU64,
}

impl Store {
    /// Answers the next `calls` batches of lines with "busy".
    pub(crate) fn be_busy(&self, calls: u64) {
        self.busy.store(calls, Ordering::SeqCst);
    }

    /// Lines of a container's outputs, in the order stored.
    pub(crate) fn lines(&self, container: &str) -> Vec<String> {
        self.select(container, false)
    }

    /// Lines of a container's events.
    pub(crate) fn events(&self, container: &str) -> Vec<String> {
        self.select(container, true)
    }

    fn select(&self, container: &str, events: bool) -> Vec<String> {
        let records = self.records.lock();
        let wanted = records.iter().filter(|r| {
            r.stream.get("container") == Some(container)
                && (r.stream.get("stream") == Some("events")) == events
        });
        wanted.map(|r| r.line.clone()).collect()
    }

    /// Newest value of a metric of a container (`""` for those without a name).
    pub(crate) fn latest(&self, metric: &str, container: &str) -> Option<f64> {
        let rows = self.rows.lock();
        rows.iter().rev().find(|row| is(row, metric, container)).map(|row| row.value)
    }

    /// Number of samples of a metric of a container.
    pub(crate) fn samples(&self, metric: &str, container: &str) -> usize {
        self.rows.lock().iter().filter(|row| is(row, metric, container)).count()
    }

    pub(crate) fn has_cursor(&self, source: &str) -> bool {
        self.cursors.lock().contains_key(source)
    }
}

fn is(row: &MetricRow, metric: &str, container: &str) -> bool {
    row.labels.metric_name() == metric && row.labels.get("name").unwrap_or("") == container
}

impl Sink for Store {
    fn append_metrics(&self, batch: MetricBatch, done: Done) {
        let stored = batch.rows.len() as u64;
        self.rows.lock().extend(batch.rows);
        done.call(Ok(Receipt { stored, rejected: Vec::new() }));
    }

    fn append_logs(&self, batch: LogBatch, done: Done) {
        let busy = self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if busy.is_ok() {
            done.call(Err(Error::new(ErrorKind::Busy, "full")));
            return;
        }
        let stored = batch.rows.len() as u64;
        let mut cursors = self.cursors.lock();
        self.records.lock().extend(batch.rows.iter().map(LogRow::to_record));
        if let Some(cursor) = batch.cursor {
            cursors.insert(batch.source.to_string(), cursor);
        }
        drop(cursors);
        done.call(Ok(Receipt { stored, rejected: Vec::new() }));
    }

    fn cursor(&self, source: &str) -> model::Result<Option<Vec<u8>>> {
        Ok(self.cursors.lock().get(source).cloned())
    }
}
