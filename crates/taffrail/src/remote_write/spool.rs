//! The queue: a write-ahead log of encoded batches, one for all remotes, each with its own cursor. Spans that are forwarded
//! have one of their own, with spans in the place of samples.
//!
//! Bytes on disk: `docs/format/remote-write.md`. A batch is in the queue once it is synced like a batch of a store. It
//! leaves when every remote has acknowledged it, or when the queue is over its bound: then the oldest go, whole segments
//! at a time, and are counted for every remote that had not sent them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use collect::forward::{self, Cursor, Reader, Record};
use ingest::write_request::{encode_v2, series_of};
use model::{Clock, Done, MetricBatch, Receipt, Result};
use parking_lot::Mutex;
use storage::fs::Fs;
use storage::wal::{Durability, Tail, Wal, WalConfig};
use storage::writer::{Engine, Writer, WriterConfig, WriterStats};
use tokio::sync::watch;

use super::cursors::Cursors;

/// What is dropped at a time when the queue is over its bound, and what a reader reads to find its place.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Batches on their way into the queue.
const QUEUE: usize = 256;
const GROUP_WINDOW_MS: u64 = 20;
/// Kind of a record with a batch.
const BATCH: u8 = 1;
/// Samples (u32) and newest time (i64), before the request.
const HEADER_BYTES: usize = 12;

/// How a queue is kept.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What messages call it.
    pub(crate) what: &'static str,
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) bytes_max: u64,
}

/// A batch as it is queued.
#[derive(Debug)]
pub(crate) struct Entry {
    payload: Vec<u8>,
    samples: u64,
    newest_ms: i64,
}

impl Entry {
    pub(crate) fn of(batch: &MetricBatch) -> Self {
        let series = series_of(batch);
        let samples: usize = series.iter().map(|one| one.sample_count()).sum();
        let newest_ms = series.iter().filter_map(|one| one.newest_ms()).max().unwrap_or(i64::MIN);
        // Metadata is looked up when it is sent.
        Self::new(&encode_v2(&series, |_| None), samples, newest_ms)
    }

    /// A request with so many samples or spans, the newest of which is of `newest_ms`.
    pub(crate) fn new(request: &[u8], samples: usize, newest_ms: i64) -> Self {
        let mut payload = Vec::with_capacity(HEADER_BYTES + request.len());
        payload.extend(u32::try_from(samples).unwrap_or(u32::MAX).to_le_bytes());
        payload.extend(newest_ms.to_le_bytes());
        payload.extend_from_slice(request);
        Self { payload, samples: samples as u64, newest_ms }
    }
}

/// The samples a record says it has, the newest time, and the request.
fn open_payload(payload: &[u8]) -> Option<(u64, i64, &[u8])> {
    let (header, request) = payload.split_first_chunk::<HEADER_BYTES>()?;
    let (samples, newest_ms) = header.split_first_chunk::<4>()?;
    let newest_ms = i64::from_le_bytes(newest_ms.try_into().ok()?);
    Some((u64::from(u32::from_le_bytes(*samples)), newest_ms, request))
}

/// The queue.
pub(crate) struct Spool {
    shared: Arc<Shared>,
    writer: Writer<Queue>,
    dir: PathBuf,
}

struct Shared {
    what: &'static str,
    fs: Arc<dyn Fs>,
    cursors: Cursors,
    /// Behind the last durable record.
    end: watch::Sender<u64>,
    /// Where each configured remote is.
    at: Mutex<BTreeMap<String, Cursor>>,
    /// Samples lost to the bound, by remote.
    lost: Mutex<BTreeMap<String, u64>>,
    bytes: AtomicU64,
    bytes_max: u64,
    samples_in: AtomicU64,
    newest_ms: std::sync::atomic::AtomicI64,
}

/// What the writer thread knows.
struct Queue {
    shared: Arc<Shared>,
    /// Records on disk, oldest first: number and samples.
    records: VecDeque<(u64, u64)>,
}

impl Spool {
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        ids: Vec<String>,
    ) -> Result<Self> {
        let Settings { what, dir, durability, bytes_max } = settings;
        fs.create_dir_all(&dir)
            .map_err(|e| storage::fs::error(format!("create {}", dir.display()), e))?;
        let wal_dir = dir.join("wal");
        let (mut records, mut newest_ms) = (VecDeque::new(), i64::MIN);
        let config = WalConfig { segment_bytes: SEGMENT_BYTES.min(bytes_max / 8), durability };
        let (wal, recovery) = Wal::open(fs.clone(), &wal_dir, config, &mut |record| {
            if let Some((samples, newest, _)) = open_payload(record.payload) {
                records.push_back((record.seq, samples));
                newest_ms = newest_ms.max(newest);
            }
            Ok(())
        })?;
        for damage in &recovery.damage {
            tracing::warn!(
                segment = damage.segment,
                kept_as = damage.kept_as,
                missing_records = recovery.missing_records,
                "the queue of {what} is damaged: {}",
                damage.reason
            );
        }
        let (end, _) = watch::channel(wal.next_seq());
        let shared = Arc::new(Shared {
            what,
            cursors: Cursors::new(fs.clone(), &dir),
            fs,
            end,
            at: Mutex::default(),
            lost: Mutex::default(),
            bytes: AtomicU64::new(wal.bytes()),
            bytes_max,
            samples_in: AtomicU64::new(0),
            newest_ms: newest_ms.into(),
        });
        shared.keep_only(ids)?;
        let queue = Queue { shared: shared.clone(), records };
        let config = WriterConfig {
            queue: QUEUE,
            group_window_ms: GROUP_WINDOW_MS,
            // The stores stop first.
            free_floor_bytes: Some(0),
        };
        let writer = Writer::spawn("forward-queue", queue, wal, clock, config)?;
        Ok(Self { shared, writer, dir: wal_dir })
    }

    pub(crate) fn send(&self, entry: Entry, done: Done) {
        self.writer.send(entry, done);
    }

    /// Forgets remotes that are not configured any more; new ones begin at the end.
    pub(crate) fn keep_only(&self, ids: Vec<String>) {
        if let Err(error) = self.shared.keep_only(ids) {
            let what = self.shared.what;
            tracing::error!(%error, "{what}: cannot read the position of a remote");
        }
    }

    pub(crate) fn close(&self) -> Result<()> {
        self.writer.close()
    }

    /// Bytes on disk, and the bound.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.shared.bytes.load(Ordering::Relaxed), self.shared.bytes_max)
    }

    /// Samples queued since the start.
    pub(crate) fn samples_in(&self) -> u64 {
        self.shared.samples_in.load(Ordering::Relaxed)
    }

    /// Newest time queued, Unix milliseconds.
    pub(crate) fn newest_ms(&self) -> i64 {
        self.shared.newest_ms.load(Ordering::Relaxed)
    }

    /// Samples that remote `id` never got because the queue was full.
    pub(crate) fn lost(&self, id: &str) -> u64 {
        self.shared.lost.lock().get(id).copied().unwrap_or(0)
    }

    /// Batches remote `id` has yet to acknowledge.
    pub(crate) fn behind(&self, id: &str) -> u64 {
        let at = self.shared.at.lock().get(id).copied().unwrap_or_default();
        self.shared.end.borrow().saturating_sub(at.acked)
    }

    /// What the writer did.
    pub(crate) fn stats(&self) -> WriterStats {
        self.writer.stats()
    }
}

impl Shared {
    fn keep_only(&self, ids: Vec<String>) -> Result<()> {
        let end = *self.end.borrow();
        let mut at = self.at.lock();
        at.retain(|id, _| ids.contains(id));
        for id in &ids {
            if at.contains_key(id) {
                continue;
            }
            let cursor = match self.cursors.read(id) {
                Ok(Some(known)) => {
                    Cursor { sending: known.sending.min(end).max(known.acked), ..known }
                }
                Ok(None) => Cursor { acked: end, sending: end },
                Err(error) => {
                    let what = self.what;
                    tracing::warn!(%error, "{what}: everything queued is sent again");
                    Cursor::default()
                }
            };
            // At once: a remote without a file is a new one, and would skip what comes before its first answer.
            self.cursors.write(id, cursor)?;
            at.insert(id.clone(), cursor);
        }
        self.cursors.keep_only(&ids)
    }

    /// First record that somebody needs.
    fn needed(&self, end: u64) -> u64 {
        self.at.lock().values().map(|cursor| cursor.acked).min().unwrap_or(end)
    }
}

impl forward::Spool for Spool {
    fn end(&self) -> watch::Receiver<u64> {
        self.shared.end.subscribe()
    }

    fn reader(&self, seq: u64) -> Box<dyn Reader> {
        Box::new(QueueReader(Tail::new(self.shared.fs.clone(), &self.dir, seq)))
    }

    fn cursor(&self, id: &str) -> Cursor {
        let end = *self.shared.end.borrow();
        self.shared.at.lock().get(id).copied().unwrap_or(Cursor { acked: end, sending: end })
    }

    fn set_cursor(&self, id: &str, cursor: Cursor) -> Result<()> {
        let mut at = self.shared.at.lock();
        // One that was removed meanwhile must not come back.
        let Some(known) = at.get_mut(id) else { return Ok(()) };
        *known = cursor;
        drop(at);
        self.shared.cursors.write(id, cursor)
    }
}

struct QueueReader(Tail);

impl Reader for QueueReader {
    fn read(&mut self, end: u64, samples_max: u64) -> Result<Vec<Record>> {
        let (mut records, mut samples) = (Vec::new(), 0);
        while samples < samples_max {
            let next = self.0.next(end, &mut |record| {
                let opened = open_payload(record.payload).filter(|_| record.kind == BATCH);
                Ok(opened.map(|(samples, _, request)| Record {
                    seq: record.seq,
                    samples,
                    payload: request.to_vec(),
                }))
            });
            match next {
                Ok(None) => break,
                Ok(Some(record)) => {
                    samples += record.as_ref().map_or(0, |r| r.samples);
                    records.extend(record);
                }
                // What was read before is good; the trouble comes again, or is behind.
                Err(_) if !records.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }
}

impl Engine for Queue {
    type Batch = Entry;

    fn encode(&mut self, batch: &mut Entry, record: &mut Vec<u8>) -> Result<u8> {
        *record = std::mem::take(&mut batch.payload);
        Ok(BATCH)
    }

    fn apply(&mut self, batch: Entry, seq: u64) -> Receipt {
        self.records.push_back((seq, batch.samples));
        self.shared.samples_in.fetch_add(batch.samples, Ordering::Relaxed);
        self.shared.newest_ms.fetch_max(batch.newest_ms, Ordering::Relaxed);
        self.shared.end.send_replace(seq + 1);
        Receipt { stored: batch.samples, rejected: Vec::new() }
    }

    fn maintain(&mut self, wal: &mut Wal, _now_ms: i64) -> Result<()> {
        let needed = self.shared.needed(wal.next_seq());
        if self.records.front().is_some_and(|(seq, _)| *seq < needed) {
            wal.drop_before(needed)?;
            self.forget(needed);
        }
        if wal.bytes() > self.shared.bytes_max {
            self.make_room(wal)?;
        }
        self.shared.bytes.store(wal.bytes(), Ordering::Relaxed);
        Ok(())
    }

    fn close(&mut self, _wal: &mut Wal) -> Result<()> {
        Ok(())
    }
}

impl Queue {
    /// Drops the oldest records, whether they were sent or not, until a segment is free.
    fn make_room(&mut self, wal: &mut Wal) -> Result<()> {
        let before = wal.bytes();
        let records = self.records.clone();
        let mut dropped_to = 0;
        for (seq, _) in &records {
            // Whole segments only: nothing happens until the last record of one is named.
            wal.drop_before(seq + 1)?;
            if wal.bytes() < before {
                dropped_to = seq + 1;
                if wal.bytes() <= self.shared.bytes_max {
                    break;
                }
            }
        }
        let mut lost = self.shared.lost.lock();
        let mut at = self.shared.at.lock();
        for (id, cursor) in at.iter_mut() {
            let of_remote: u64 = records
                .iter()
                .filter(|(seq, _)| (cursor.acked..dropped_to).contains(seq))
                .map(|(_, samples)| samples)
                .sum();
            if of_remote > 0 {
                let total = lost.entry(id.clone()).or_default();
                if *total == 0 {
                    tracing::warn!(
                        remote = id,
                        limit_bytes = self.shared.bytes_max,
                        "{}: the queue is full, the oldest are lost",
                        self.shared.what
                    );
                }
                *total += of_remote;
            }
        }
        drop((lost, at));
        self.forget(dropped_to);
        Ok(())
    }

    fn forget(&mut self, before: u64) {
        while self.records.front().is_some_and(|(seq, _)| *seq < before) {
            self.records.pop_front();
        }
    }
}
