//! The writing side, on the store's one writer thread: checks batches, keeps the head, seals, flushes, forgets.
//!
//! Owns the promise that lines and cursors agree: they are one WAL record, and a flush commits the parts, the cursors
//! and the last flushed record's number as one manifest record. A replay skips records up to that number.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;
use model::{
    Clock, ErrorKind, Labels, LogBatch, LogRows, Receipt, RejectReason, Result, bytes_of_text,
    text_of_bytes,
};
use rustc_hash::FxHashSet;
use storage::codec::{Reader, put_varint, put_zigzag};
use storage::fs::Fs;
use storage::manifest::{Edit, Manifest};
use storage::wal::{self, Wal};
use storage::writer;

use crate::column::Encoder;
use crate::head::{self, Chunk};
use crate::part::{Builder, Part, Summary};
use crate::repeats::{self, Newest};
use crate::retention::{Classes, Retention};
use crate::view::{Cursor, Shared};
use crate::{Config, record};

/// zstd level of parts when rows leave the head.
const FLUSH_LEVEL: i32 = 1;
/// Bytes of memory after which rows are sealed into blocks, unless the head is smaller altogether. Larger blocks are
/// smaller and faster per row; a seal takes as much again while it works.
const SEAL_BYTES: usize = 24 << 20;
/// Longest label set of a stream or of a row's fields, and longest cursor, in bytes.
const LABELS_BYTES_MAX: usize = 64 << 10;
const CURSOR_BYTES_MAX: usize = 64 << 10;
/// A WAL with more bytes than this times the head's limit is flushed: replay takes time.
const WAL_PER_HEAD: u64 = 4;
/// How often retention is looked at.
const RETENTION_EVERY_MS: i64 = 60_000;
const FLUSHED_KEY: &str = "flushed";
const CURSOR_PREFIX: &str = "cursor/";

/// One batch on its way to the writer thread.
pub(crate) struct Batch {
    pub(crate) batch: LogBatch,
    received_ms: i64,
    rejected: Vec<(RejectReason, u64)>,
}

impl From<LogBatch> for Batch {
    fn from(batch: LogBatch) -> Self {
        Self { batch, received_ms: 0, rejected: Vec::new() }
    }
}

/// The store's single writer.
pub(crate) struct Engine {
    pub(crate) fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    config: Config,
    retention: Retention,
    pub(crate) parts_dir: PathBuf,
    pub(crate) shared: Arc<Shared>,
    pub(crate) manifest: Manifest,
    encoder: Encoder,
    /// Streams known, the same allocations for all rows.
    streams: FxHashSet<Labels>,
    /// Of the same streams.
    newest: Newest,
    /// Sources whose cursor the manifest does not have yet.
    dirty_cursors: FxHashSet<String>,
    /// Last record applied, and last record whose rows and cursor the manifest covers.
    applied_seq: u64,
    flushed_seq: u64,
    next_id: u64,
    /// Monotonic time at which the oldest unflushed batch came.
    head_since_ns: Option<i64>,
    retention_checked_ms: i64,
    /// Tells the merger that parts were added.
    merge_due: Sender<()>,
}

impl Engine {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, with everything that opening found"
    )]
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        config: Config,
        shared: Arc<Shared>,
        manifest: Manifest,
        flushed_seq: u64,
        next_id: u64,
        merge_due: Sender<()>,
    ) -> Result<Self> {
        let parts_dir = manifest.dir().to_owned();
        let streams = shared.view.read().streams();
        let retention = Retention::new(config.retention_rules.clone(), config.retention_ms)?;
        let newest = repeats::newest(shared.view.read().all_parts().map(|part| &**part));
        Ok(Self {
            fs,
            clock,
            config,
            retention,
            parts_dir,
            shared,
            manifest,
            encoder: Encoder::new(FLUSH_LEVEL)?,
            streams,
            newest,
            dirty_cursors: FxHashSet::default(),
            applied_seq: flushed_seq,
            flushed_seq,
            next_id,
            head_since_ns: None,
            retention_checked_ms: i64::MIN,
            merge_due,
        })
    }

    /// Takes in a record found in the WAL; `false` when a part already has its rows.
    pub(crate) fn replay(&mut self, stored: record::Stored, seq: u64) -> Result<bool> {
        if seq <= self.flushed_seq {
            return Ok(false);
        }
        let mut rows = stored.rows;
        for number in 0..rows.streams().len() {
            let labels = &rows.streams()[number];
            match self.streams.get(labels) {
                Some(known) => rows.share_stream(number as u32, known.clone()),
                None => drop(self.streams.insert(labels.clone())),
            }
        }
        // Those that were found before the restart are found again.
        self.take_in(&stored.source, stored.cursor, stored.received_ms, rows, seq);
        self.seal_if_large()?;
        Ok(true)
    }

    /// Makes rows and cursor visible; returns how many rows were there already.
    fn take_in(
        &mut self,
        source: &str,
        cursor: Option<Vec<u8>>,
        received_ms: i64,
        mut rows: LogRows,
        seq: u64,
    ) -> u64 {
        let mut repeated = 0;
        if rows.may_repeat() {
            repeated = repeats::remove(&self.shared.view.read(), &self.newest, &mut rows);
        }
        repeats::note(&mut self.newest, &rows);
        if let Some(bytes) = cursor {
            let cursor = Cursor { bytes, updated_ms: received_ms };
            self.shared.cursors.lock().insert(source.to_owned(), cursor);
            if !self.dirty_cursors.contains(source) {
                self.dirty_cursors.insert(source.to_owned());
            }
        }
        if let Some(chunk) = Chunk::new(rows) {
            head::push(&mut self.shared.view.write().chunks, chunk);
        }
        self.applied_seq = self.applied_seq.max(seq);
        self.head_since_ns.get_or_insert(self.clock.monotonic_ns());
        self.shared.stream_count.store(self.streams.len() as u64, Ordering::Relaxed);
        repeated
    }

    fn seal_if_large(&mut self) -> Result<()> {
        let limit = SEAL_BYTES.min(self.config.head_bytes_max as usize / 2).max(1);
        if self.shared.view.read().chunk_bytes() >= limit { self.seal() } else { Ok(()) }
    }

    /// Turns the head's chunks into blocks in memory.
    fn seal(&mut self) -> Result<()> {
        let chunks = self.shared.view.read().chunks.clone();
        if chunks.is_empty() {
            return Ok(());
        }
        let next_id = &mut self.next_id;
        let known = Arc::clone(&self.shared.view.read().known);
        let parts = head::seal(&chunks, &self.retention, &known, &mut self.encoder, || {
            *next_id += 1;
            *next_id - 1
        })?;
        let mut view = self.shared.view.write();
        view.sealed.extend(parts.into_iter().map(Arc::new));
        view.chunks.clear();
        Ok(())
    }

    /// Writes everything in memory to parts, and cursors to the manifest, in one commit; then drops the WAL.
    pub(crate) fn flush(&mut self, wal: &mut Wal) -> Result<()> {
        if self.applied_seq == self.flushed_seq {
            self.head_since_ns = None;
            return Ok(());
        }
        self.seal()?;
        let sealed = self.shared.view.read().sealed.clone();
        let written = self.write_parts(&sealed)?;
        let mut edits = self.flush_edits(&written);
        let known = Arc::clone(&self.shared.view.read().known);
        let templates = known.edits();
        edits.extend_from_slice(&templates);
        if let Err(e) = self.manifest.commit(&edits) {
            // After a failed write nobody knows what the manifest will say: the next start sorts it out.
            if e.kind() == ErrorKind::Busy {
                self.remove_files(written.iter());
            }
            return Err(e);
        }
        {
            let mut view = self.shared.view.write();
            view.hot.forget(|id| sealed.iter().any(|p| p.summary.id == id));
            view.sealed.clear();
            view.parts.extend(written.into_iter().map(Arc::new));
            view.parts.sort_by_key(|p| p.summary.order);
        }
        known.saved(templates.len());
        self.flushed_seq = self.applied_seq;
        self.dirty_cursors.clear();
        self.head_since_ns = None;
        self.forget_streams();
        // The channel has room for one: a signal already waiting is as good.
        self.merge_due.try_send(()).ok();
        wal.drop_before(self.flushed_seq + 1)
    }

    fn write_parts(&mut self, sealed: &[Arc<Part>]) -> Result<Vec<Part>> {
        let mut files: BTreeMap<(i64, Classes), Vec<&Arc<Part>>> = BTreeMap::new();
        for part in sealed {
            let classes = self.retention.classes_of(part);
            files.entry((part.summary.day, classes)).or_default().push(part);
        }
        let mut written = Vec::new();
        for ((day, _), parts) in files {
            match self.write_part(day, &parts) {
                Ok(part) => written.push(part),
                Err(e) => {
                    self.remove_files(written.iter());
                    return Err(e);
                }
            }
        }
        Ok(written)
    }

    fn write_part(&mut self, day: i64, parts: &[&Arc<Part>]) -> Result<Part> {
        let order = parts.first().map_or(self.next_id, |p| p.summary.order);
        let summary = Summary::new(self.next_id(), order, day);
        let known = Arc::clone(&self.shared.view.read().known);
        let mut builder = Builder::file(Arc::clone(&self.fs), &self.parts_dir, known, summary)?;
        parts.iter().try_for_each(|part| builder.copy(part))?;
        builder.finish_file(&mut self.encoder, &*self.fs, &self.parts_dir)
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn flush_edits(&self, written: &[Part]) -> Vec<Edit> {
        let mut edits: Vec<Edit> = written.iter().map(|p| add_edit(&p.summary)).collect();
        let cursors = self.shared.cursors.lock();
        let mut dirty: Vec<&String> = self.dirty_cursors.iter().collect();
        dirty.sort_unstable();
        for source in dirty {
            if let Some(cursor) = cursors.get(source) {
                let mut value = Vec::with_capacity(cursor.bytes.len() + 8);
                put_zigzag(&mut value, cursor.updated_ms);
                value.extend_from_slice(&cursor.bytes);
                edits.push(Edit::Set { key: format!("{CURSOR_PREFIX}{source}"), value });
            }
        }
        let mut value = Vec::new();
        put_varint(&mut value, self.applied_seq);
        edits.push(Edit::Set { key: FLUSHED_KEY.to_owned(), value });
        edits
    }

    /// Drops what is older than retention: parts, and cursors of sources gone quiet.
    fn retain(&mut self, now_ms: i64) -> Result<()> {
        let oldest_ms = now_ms.saturating_sub(self.retention.longest_ms());
        let oldest_ns = oldest_ms.saturating_mul(1_000_000);
        let parts = self.shared.view.read().parts.clone();
        let old: Vec<Arc<Part>> =
            parts.into_iter().filter(|p| self.retention.is_over(p, now_ms)).collect();
        self.remove_parts(&old)?;
        self.forget_deletions(oldest_ns)?;
        let mut edits = Vec::new();
        self.shared.cursors.lock().retain(|source, cursor| {
            let keep = cursor.updated_ms >= oldest_ms || self.dirty_cursors.contains(source);
            if !keep {
                edits.push(Edit::Unset { key: format!("{CURSOR_PREFIX}{source}") });
            }
            keep
        });
        if edits.is_empty() { Ok(()) } else { self.manifest.commit(&edits) }
    }

    /// Takes parts out of the manifest, out of sight, and off the disk, in this order.
    fn remove_parts(&mut self, parts: &[Arc<Part>]) -> Result<()> {
        if parts.is_empty() {
            return Ok(());
        }
        let edits: Vec<Edit> =
            parts.iter().map(|p| Edit::RemovePart { name: p.summary.file_name() }).collect();
        self.manifest.commit(&edits)?;
        let gone: FxHashSet<u64> = parts.iter().map(|p| p.summary.id).collect();
        self.shared.view.write().parts.retain(|p| !gone.contains(&p.summary.id));
        self.remove_files(parts.iter().map(|p| &**p));
        self.forget_streams();
        Ok(())
    }

    /// Removes the oldest parts until `bytes` are free; returns how many were freed.
    pub(crate) fn remove_oldest(&mut self, bytes: u64) -> Result<u64> {
        let mut parts = self.shared.view.read().parts.clone();
        parts.sort_by_key(|p| (p.summary.day, p.summary.order));
        let mut freed = 0;
        let count = parts
            .iter()
            .take_while(|p| {
                let wanted = freed < bytes;
                freed += if wanted { p.bytes } else { 0 };
                wanted
            })
            .count();
        parts.truncate(count);
        self.remove_parts(&parts)?;
        Ok(freed)
    }

    /// Removes `inputs`, of which nothing is left; `false` when one of them is gone meanwhile.
    pub(crate) fn discard(&mut self, inputs: &[Arc<Part>]) -> Result<bool> {
        if !self.are_live(inputs) {
            return Ok(false);
        }
        self.remove_parts(inputs)?;
        Ok(true)
    }

    fn are_live(&self, inputs: &[Arc<Part>]) -> bool {
        let view = self.shared.view.read();
        let live: FxHashSet<u64> = view.parts.iter().map(|p| p.summary.id).collect();
        inputs.iter().all(|p| live.contains(&p.summary.id))
    }

    /// Puts `merged` in the place of `inputs`; `false` when one of them is gone meanwhile.
    pub(crate) fn replace(&mut self, inputs: &[Arc<Part>], merged: Part) -> Result<bool> {
        if !self.are_live(inputs) {
            self.remove_files([&merged]);
            return Ok(false);
        }
        let mut edits = vec![add_edit(&merged.summary)];
        edits.extend(inputs.iter().map(|p| Edit::RemovePart { name: p.summary.file_name() }));
        let known = Arc::clone(&self.shared.view.read().known);
        let templates = known.edits();
        edits.extend_from_slice(&templates);
        self.manifest.commit(&edits)?;
        known.saved(templates.len());
        let gone: FxHashSet<u64> = inputs.iter().map(|p| p.summary.id).collect();
        {
            let mut view = self.shared.view.write();
            view.parts.retain(|p| !gone.contains(&p.summary.id));
            view.parts.push(Arc::new(merged));
            view.parts.sort_by_key(|p| p.summary.order);
        }
        self.remove_files(inputs.iter().map(|p| &**p));
        Ok(true)
    }

    /// Best effort: a file that stays is unknown to the manifest, and removed at the next start.
    pub(crate) fn remove_files<'a>(&self, parts: impl IntoIterator<Item = &'a Part>) {
        let hot = Arc::clone(&self.shared.view.read().hot);
        for part in parts {
            hot.forget(|id| id == part.summary.id);
            let name = part.summary.file_name();
            if let Err(e) = self.fs.remove(&self.parts_dir.join(&name)) {
                tracing::warn!(part = name, error = %e, "log part could not be removed");
            }
        }
    }

    fn forget_streams(&mut self) {
        self.streams = self.shared.view.read().streams();
        self.newest.retain(|stream, _| self.streams.contains(stream));
        self.shared.stream_count.store(self.streams.len() as u64, Ordering::Relaxed);
    }

    /// Takes out of `batch` what may not be stored, and cuts lines that are too long.
    fn check(&mut self, batch: &mut Batch, now_ms: i64) {
        let oldest_ns =
            now_ms.saturating_sub(self.retention.longest_ms()).saturating_mul(1_000_000);
        let newest_ns = now_ms.saturating_add(self.config.future_ms_max).saturating_mul(1_000_000);
        let line_bytes_max = self.config.line_bytes_max;
        let rows = &mut batch.batch.rows;
        let too_long = |labels: &Labels| labels.packed_len() > LABELS_BYTES_MAX;
        let bad_fields: Vec<bool> = rows.field_sets().iter().map(too_long).collect();
        // A stream is looked at when the first row of it comes that may be stored otherwise.
        // It says the oldest time that it keeps.
        let mut verdicts: Vec<Option<Result<i64, RejectReason>>> = vec![None; rows.streams().len()];
        let mut refused: Vec<(usize, RejectReason)> = Vec::new();
        let mut is_cut = false;
        for i in 0..rows.len() {
            let (t_ns, number) = (rows.t_ns(i), rows.stream_number(i));
            is_cut |= rows.line_len(i) > line_bytes_max;
            let verdict = if t_ns < oldest_ns {
                Err(RejectReason::TooOld)
            } else if t_ns > newest_ns {
                Err(RejectReason::TooNew)
            } else if bad_fields[rows.fields_number(i) as usize] {
                Err(RejectReason::Invalid)
            } else {
                let keeps_from = *verdicts[number as usize].get_or_insert_with(|| {
                    admit(&mut self.streams, self.config.streams_max, rows, number)?;
                    let class = self.retention.class(&rows.streams()[number as usize]);
                    Ok(self.retention.oldest_ns(class, now_ms))
                });
                keeps_from.and_then(|oldest_ns| {
                    if t_ns < oldest_ns { Err(RejectReason::TooOld) } else { Ok(()) }
                })
            };
            if let Err(reason) = verdict {
                refused.push((i, reason));
            }
        }
        if refused.is_empty() && !is_cut {
            return;
        }
        for (_, reason) in &refused {
            match batch.rejected.iter_mut().find(|(known, _)| known == reason) {
                Some((_, count)) => *count += 1,
                None => batch.rejected.push((*reason, 1)),
            }
        }
        let mut refused = refused.into_iter().map(|(i, _)| i).peekable();
        let mut kept = rows.emptied();
        let mut truncated = 0;
        for (i, row) in rows.iter().enumerate() {
            if refused.next_if_eq(&i).is_some() {
                continue;
            }
            let line = truncate(row.line, line_bytes_max);
            // Those that came cut are longer by their mark.
            let came_cut =
                || row.line.len() > line_bytes_max && marked(row.line).0.len() < row.line.len();
            truncated += u64::from(matches!(line, Cow::Owned(_)) || came_cut());
            kept.push(row.stream, row.t_ns, &line, row.fields);
        }
        *rows = kept;
        self.shared.truncated_lines.fetch_add(truncated, Ordering::Relaxed);
    }
}

/// Whether rows of a stream may be stored; a new stream becomes known, a known one shares its allocation.
fn admit(
    known: &mut FxHashSet<Labels>,
    streams_max: usize,
    rows: &mut LogRows,
    number: u32,
) -> Result<(), RejectReason> {
    let labels = &rows.streams()[number as usize];
    if labels.packed_len() > LABELS_BYTES_MAX {
        return Err(RejectReason::Invalid);
    }
    match known.get(labels) {
        Some(known) => rows.share_stream(number, known.clone()),
        None if known.len() >= streams_max => return Err(RejectReason::SeriesLimit),
        None => drop(known.insert(labels.clone())),
    }
    Ok(())
}

fn add_edit(summary: &Summary) -> Edit {
    let mut meta = Vec::new();
    summary.encode(&mut meta);
    Edit::AddPart { name: summary.file_name(), meta }
}

/// `line`, or its first `bytes_max` bytes and a mark that says how many are missing. The mark of one who has cut the line
/// before does not count for its length, and what was missing then is missing still.
fn truncate(line: &str, bytes_max: usize) -> Cow<'_, str> {
    let (text, missing_before) = marked(line);
    let bytes = bytes_of_text(text);
    if bytes.len() <= bytes_max {
        return Cow::Borrowed(line);
    }
    let kept = match &bytes {
        Cow::Borrowed(_) => Cow::Borrowed(&text[..text.floor_char_boundary(bytes_max)]),
        Cow::Owned(bytes) => text_of_bytes(&bytes[..bytes_max]),
    };
    let missing = bytes.len() - bytes_of_text(&kept).len();
    Cow::Owned(match missing_before {
        Some(before) => format!("{kept}{CUT} {} bytes]", before.saturating_add(missing)),
        None => format!("{kept}{CUT}]"),
    })
}

/// How the mark of a line that was cut begins; ` N bytes]` follows, or `]` where nobody knows how many are missing.
const CUT: &str = "…[truncated";

/// A line without the mark at its end, and how many bytes that says are missing.
fn marked(line: &str) -> (&str, Option<usize>) {
    let split = || {
        let (text, mark) = line.strip_suffix(']')?.rsplit_once(CUT)?;
        let missing = match mark {
            "" => None,
            _ => Some(mark.strip_prefix(' ')?.strip_suffix(" bytes")?.parse().ok()?),
        };
        Some((text, missing))
    };
    split().unwrap_or((line, Some(0)))
}

/// The cursors and the last flushed record's number in the manifest's values.
pub(crate) fn read_values(
    values: &BTreeMap<String, Vec<u8>>,
) -> Result<(u64, Vec<(String, Cursor)>)> {
    let flushed = match values.get(FLUSHED_KEY) {
        Some(value) => Reader::new(value).varint()?,
        None => 0,
    };
    let mut cursors = Vec::new();
    for (key, value) in values {
        if let Some(source) = key.strip_prefix(CURSOR_PREFIX) {
            let mut reader = Reader::new(value);
            let updated_ms = reader.zigzag()?;
            let bytes = reader.take(reader.remaining())?.to_vec();
            cursors.push((source.to_owned(), Cursor { bytes, updated_ms }));
        }
    }
    Ok((flushed, cursors))
}

impl writer::Engine for Engine {
    type Batch = Batch;

    fn encode(&mut self, batch: &mut Batch, out: &mut Vec<u8>) -> Result<u8> {
        let cursor_len = batch.batch.cursor.as_ref().map_or(0, Vec::len);
        if cursor_len > CURSOR_BYTES_MAX {
            let source = &batch.batch.source;
            return Err(model::Error::invalid(format!(
                "cursor of {source} has {cursor_len} bytes; the limit is {CURSOR_BYTES_MAX}"
            )));
        }
        let now_ms = self.clock.now_ms();
        batch.received_ms = now_ms;
        self.check(batch, now_ms);
        let rows = &batch.batch.rows;
        let raw = rows.memory_bytes() + rows.len() * 64;
        if raw > record::RECORD_BYTES_MAX.min(wal::PAYLOAD_BYTES_MAX) {
            return Err(model::Error::invalid(format!(
                "log batch of {} has about {raw} bytes; the limit is {}",
                batch.batch.source,
                record::RECORD_BYTES_MAX.min(wal::PAYLOAD_BYTES_MAX)
            )));
        }
        let LogBatch { source, rows, cursor } = &batch.batch;
        record::encode(source, cursor.as_deref(), now_ms, rows, out);
        Ok(record::KIND)
    }

    fn apply(&mut self, batch: Batch, seq: u64) -> Receipt {
        let LogBatch { source, rows, cursor } = batch.batch;
        let stored = rows.len() as u64;
        let repeated = self.take_in(&source, cursor, batch.received_ms, rows, seq);
        self.shared.repeated_rows.fetch_add(repeated, Ordering::Relaxed);
        Receipt { stored, rejected: batch.rejected }
    }

    fn maintain(&mut self, wal: &mut Wal, now_ms: i64) -> Result<()> {
        self.seal_if_large()?;
        let age_ns = self.head_since_ns.map_or(0, |t| self.clock.monotonic_ns().saturating_sub(t));
        let is_old = age_ns >= self.config.flush_after_ms.saturating_mul(1_000_000);
        let head_bytes = self.shared.view.read().head_bytes();
        let is_large = head_bytes >= self.config.head_bytes_max
            || wal.bytes() >= self.config.head_bytes_max.saturating_mul(WAL_PER_HEAD);
        if self.head_since_ns.is_some() && (is_old || is_large) {
            self.flush(wal)?;
        }
        if now_ms >= self.retention_checked_ms.saturating_add(RETENTION_EVERY_MS)
            || now_ms < self.retention_checked_ms
        {
            self.retention_checked_ms = now_ms;
            self.retain(now_ms)?;
        }
        self.shared.wal_bytes.store(wal.bytes(), Ordering::Relaxed);
        Ok(())
    }

    fn close(&mut self, wal: &mut Wal) -> Result<()> {
        self.flush(wal)
    }
}
