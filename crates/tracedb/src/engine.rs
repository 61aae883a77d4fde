//! The writing side, on the store's one writer thread: leaves out what came before, keeps the head, flushes, forgets.
//!
//! A flush commits the part and the number of the last record in it as one manifest record; a replay skips records up to
//! that number. Does not own: checks of spans, which are made before they get here (`store`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;
use model::{Clock, ErrorKind, Receipt, RejectReason, Result};
use rustc_hash::FxHashSet;
use storage::codec::{Reader, put_varint};
use storage::fs::Fs;
use storage::manifest::{Edit, Manifest};
use storage::wal::Wal;
use storage::writer;

use crate::head::{self, Chunk, Seen};
use crate::part::{Builder, Part, Summary};
use crate::retention::Retention;
use crate::rows::Rows;
use crate::sampling::{Sampling, Sorted};
use crate::view::Shared;
use crate::{Config, Repeated, record};

/// zstd level of parts when spans leave the head.
const FLUSH_LEVEL: i32 = 1;
/// A WAL with more bytes than this times the head's limit is flushed: replay takes time.
const WAL_PER_HEAD: u64 = 4;
/// How often retention is looked at, and what is due for merging.
const RETENTION_EVERY_MS: i64 = 60_000;
const FLUSHED_KEY: &str = "flushed";

/// One batch on its way to the writer thread.
pub(crate) struct Batch {
    pub(crate) rows: Rows,
    /// Its WAL record.
    pub(crate) record: Vec<u8>,
    pub(crate) rejected: Vec<(RejectReason, u64)>,
    /// Which of its spans became no rows, ascending.
    pub(crate) refused: Vec<u32>,
    pub(crate) repeated: Repeated,
}

/// Which spans of a batch rows are of, when spans `refused` became none; both ascend.
fn spans_of(rows: &[u32], refused: &[u32]) -> Vec<u32> {
    let mut before = 0;
    let span = |row: &u32| {
        while refused.get(before).is_some_and(|span| *span <= row + before as u32) {
            before += 1;
        }
        row + before as u32
    };
    rows.iter().map(span).collect()
}

/// The store's single writer.
pub(crate) struct Engine {
    pub(crate) fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    config: Config,
    retention: Retention,
    pub(crate) parts_dir: PathBuf,
    shared: Arc<Shared>,
    manifest: Manifest,
    seen: Seen,
    sampling: Option<Sampling>,
    /// Last record applied, and last record whose spans are in parts.
    applied_seq: u64,
    flushed_seq: u64,
    next_id: u64,
    /// When the oldest batch in the head came: by the monotonic clock in nanoseconds, and by the other in milliseconds.
    head_since: Option<(i64, i64)>,
    retention_checked_ms: i64,
    /// Tells the merger that something may be due.
    merge_due: Sender<()>,
}

impl Engine {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        config: Config,
        shared: Arc<Shared>,
        manifest: Manifest,
        next_id: u64,
        merge_due: Sender<()>,
    ) -> Result<Self> {
        let flushed_seq = match manifest.value(FLUSHED_KEY) {
            Some(value) => Reader::new(value).varint()?,
            None => 0,
        };
        let retention = Retention::new(config.retention_rules.clone(), config.retention_ms)?;
        let sampling = config.sampler.clone().map(Sampling::new);
        Ok(Self {
            fs,
            clock,
            config,
            retention,
            parts_dir: manifest.dir().to_owned(),
            shared,
            manifest,
            seen: Seen::default(),
            sampling,
            applied_seq: flushed_seq,
            flushed_seq,
            next_id,
            head_since: None,
            retention_checked_ms: i64::MIN,
            merge_due,
        })
    }

    /// The last record whose spans are in parts.
    pub(crate) fn flushed_seq(&self) -> u64 {
        self.flushed_seq
    }

    /// Takes in a record found in the WAL; `false` when a part already has its spans.
    pub(crate) fn replay(&mut self, rows: Rows, seq: u64) -> bool {
        if seq <= self.flushed_seq {
            return false;
        }
        // Spans that were left out before the restart are left out again.
        self.take_in(rows, seq);
        true
    }

    /// Makes spans visible; returns which rows were there already.
    fn take_in(&mut self, mut rows: Rows, seq: u64) -> Vec<u32> {
        let parts = self.shared.view.read().parts.clone();
        let repeated = self.seen.remove_repeated(&mut rows, &parts);
        if let Some(chunk) = Chunk::new(rows, self.clock.now_ms()) {
            head::push(&mut self.shared.view.write().chunks, chunk);
        }
        self.applied_seq = self.applied_seq.max(seq);
        self.head_since.get_or_insert((self.clock.monotonic_ns(), self.clock.now_ms()));
        repeated
    }

    /// Writes all of the head to a part, then drops the WAL. With a sampler: the traces that it keeps, while those it has yet
    /// to decide about stay.
    pub(crate) fn flush(&mut self, wal: &mut Wal) -> Result<()> {
        if self.applied_seq == self.flushed_seq {
            self.head_since = None;
            return Ok(());
        }
        let chunks = self.shared.view.read().chunks.clone();
        let sorted = match &mut self.sampling {
            Some(sampling) => {
                sampling.sort(&chunks, self.clock.now_ms(), self.config.head_bytes_max)?
            }
            None => Sorted::all(&chunks),
        };
        let covered_seq = self.applied_seq;
        let written =
            if sorted.kept_spans == 0 { None } else { Some(self.write_part(&chunks, &sorted)?) };
        if let Some(waiting) = &sorted.waiting {
            let carried = self.carry(&waiting.rows, wal);
            if let Err(e) = carried {
                self.remove_files(written.iter());
                return Err(e);
            }
        }
        let mut value = Vec::new();
        put_varint(&mut value, covered_seq);
        let mut edits = vec![Edit::Set { key: FLUSHED_KEY.to_owned(), value }];
        edits.extend(written.iter().map(add_edit));
        if let Err(e) = self.manifest.commit(&edits) {
            // After a failed write nobody knows what the manifest will say: the next start sorts it out.
            if e.kind() == ErrorKind::Busy {
                self.remove_files(written.iter());
            }
            return Err(e);
        }
        {
            let mut view = self.shared.view.write();
            view.chunks.clear();
            view.chunks.extend(sorted.waiting.clone());
            view.parts.extend(written.map(Arc::new));
        }
        self.seen.clear();
        if let Some(sampling) = &self.sampling {
            sampling.settle(&sorted);
        }
        self.head_since = sorted.waiting.map(|waiting| {
            self.seen.insert_all(&waiting.rows);
            (self.clock.monotonic_ns(), self.clock.now_ms())
        });
        self.flushed_seq = covered_seq;
        self.signal_merger();
        wal.drop_before(self.flushed_seq + 1)
    }

    /// Writes spans that stay in the head behind all others in the WAL, whose records go.
    fn carry(&mut self, rows: &Rows, wal: &mut Wal) -> Result<()> {
        let mut record = Vec::new();
        record::encode(rows, &mut record)?;
        // In a segment of its own, so that those before it can go.
        wal.start_segment()?;
        // From here on a replay may find these spans twice, and takes them in once.
        self.applied_seq = wal.append(record::KIND, &record)?;
        wal.sync()
    }

    fn write_part(&mut self, chunks: &[Arc<Chunk>], sorted: &Sorted) -> Result<Part> {
        let arrived_ms = self.head_since.map_or_else(|| self.clock.now_ms(), |(_, ms)| ms);
        let summary = Summary::new(self.next_id(), 0, arrived_ms);
        let mut builder =
            Builder::create(Arc::clone(&self.fs), &self.parts_dir, FLUSH_LEVEL, summary)?;
        head::write(chunks, &|trace_id| sorted.is_kept(trace_id), &mut builder)?;
        builder.finish(&*self.fs, &self.parts_dir)
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn signal_merger(&self) {
        // The channel has room for one: a signal already waiting is as good.
        self.merge_due.try_send(()).ok();
    }

    /// Drops parts all of whose spans are older than retention.
    fn retain(&mut self, now_ms: i64) -> Result<()> {
        let parts = self.shared.view.read().parts.clone();
        let old: Vec<Arc<Part>> =
            parts.into_iter().filter(|part| self.retention.is_over(part, now_ms)).collect();
        self.remove_parts(&old)
    }

    /// Takes parts out of the manifest, out of sight, and off the disk, in this order.
    pub(crate) fn remove_parts(&mut self, parts: &[Arc<Part>]) -> Result<()> {
        if parts.is_empty() {
            return Ok(());
        }
        let edits: Vec<Edit> = parts.iter().map(|p| remove_edit(p)).collect();
        self.manifest.commit(&edits)?;
        let gone: FxHashSet<u64> = parts.iter().map(|p| p.summary.id).collect();
        self.shared.view.write().parts.retain(|p| !gone.contains(&p.summary.id));
        self.remove_files(parts.iter().map(|p| &**p));
        Ok(())
    }

    /// Removes the parts that arrived first until `bytes` are free; returns how many were freed.
    pub(crate) fn remove_oldest(&mut self, bytes: u64) -> Result<u64> {
        let mut parts = self.shared.view.read().parts.clone();
        parts.sort_by_key(|p| (p.summary.arrived_ms, p.summary.id));
        let mut freed = 0;
        let mut count = 0;
        while freed < bytes && count < parts.len() {
            freed += parts[count].bytes;
            count += 1;
        }
        self.remove_parts(&parts[..count])?;
        Ok(freed)
    }

    /// Puts `merged` in the place of `inputs`; `false` when one of them is gone meanwhile.
    pub(crate) fn replace(&mut self, inputs: &[Arc<Part>], merged: Part) -> Result<bool> {
        let live: FxHashSet<u64> =
            self.shared.view.read().parts.iter().map(|p| p.summary.id).collect();
        if !inputs.iter().all(|p| live.contains(&p.summary.id)) {
            self.remove_files([&merged]);
            return Ok(false);
        }
        let mut edits = vec![add_edit(&merged)];
        edits.extend(inputs.iter().map(|p| remove_edit(p)));
        self.manifest.commit(&edits)?;
        let gone: FxHashSet<u64> = inputs.iter().map(|p| p.summary.id).collect();
        {
            let mut view = self.shared.view.write();
            view.parts.retain(|p| !gone.contains(&p.summary.id));
            view.parts.push(Arc::new(merged));
            view.parts.sort_by_key(|p| p.summary.id);
        }
        self.remove_files(inputs.iter().map(|p| &**p));
        Ok(true)
    }

    /// Best effort: a file that stays is unknown to the manifest, and removed at the next start.
    fn remove_files<'a>(&self, parts: impl IntoIterator<Item = &'a Part>) {
        for part in parts {
            let name = part.summary.file_name();
            if let Err(e) = self.fs.remove(&self.parts_dir.join(&name)) {
                tracing::warn!(part = name, error = %e, "trace part could not be removed");
            }
        }
    }
}

fn add_edit(part: &Part) -> Edit {
    let mut meta = Vec::new();
    part.summary.encode(&mut meta);
    Edit::AddPart { name: part.summary.file_name(), meta }
}

fn remove_edit(part: &Part) -> Edit {
    Edit::RemovePart { name: part.summary.file_name() }
}

impl writer::Engine for Engine {
    type Batch = Batch;

    fn encode(&mut self, batch: &mut Batch, out: &mut Vec<u8>) -> Result<u8> {
        *out = std::mem::take(&mut batch.record);
        Ok(record::KIND)
    }

    fn apply(&mut self, batch: Batch, seq: u64) -> Receipt {
        let stored = batch.rows.len() as u64;
        let repeated = self.take_in(batch.rows, seq);
        self.shared.repeated_spans.fetch_add(repeated.len() as u64, Ordering::Relaxed);
        if !repeated.is_empty() {
            *batch.repeated.lock() = spans_of(&repeated, &batch.refused);
        }
        Receipt { stored, rejected: batch.rejected }
    }

    fn maintain(&mut self, wal: &mut Wal, now_ms: i64) -> Result<()> {
        if let Some((since_ns, _)) = self.head_since {
            let age_ns = self.clock.monotonic_ns().saturating_sub(since_ns);
            let is_old = age_ns >= self.config.flush_after_ms.saturating_mul(1_000_000);
            let head_bytes = self.shared.view.read().head_bytes();
            let wal_max = self.config.head_bytes_max.saturating_mul(WAL_PER_HEAD);
            if is_old || head_bytes >= self.config.head_bytes_max || wal.bytes() >= wal_max {
                self.flush(wal)?;
            }
        }
        if now_ms >= self.retention_checked_ms.saturating_add(RETENTION_EVERY_MS)
            || now_ms < self.retention_checked_ms
        {
            self.retention_checked_ms = now_ms;
            self.retain(now_ms)?;
            self.signal_merger();
        }
        self.shared.wal_bytes.store(wal.bytes(), Ordering::Relaxed);
        Ok(())
    }

    fn close(&mut self, wal: &mut Wal) -> Result<()> {
        self.flush(wal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_of_the_spans_that_were_not_refused() {
        assert_eq!(spans_of(&[0, 1, 2, 4], &[]), [0, 1, 2, 4]);
        // Spans 1, 3, 4 and 6 are rows 0 to 3.
        assert_eq!(spans_of(&[0, 1, 2, 3], &[0, 2, 5]), [1, 3, 4, 6]);
        assert_eq!(spans_of(&[1, 3], &[0, 2, 5, 7]), [3, 6]);
    }
}
