//! The store as others hold it: opening, appending, reading, and its figures.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, bounded};
use model::{Clock, Done, Error, ErrorKind, LogBatch, LogDeletion, Result, RetentionRule};
use parking_lot::Mutex;
use storage::fs::{self, Fs};
use storage::manifest::{Edit, Manifest, ManifestState};
use storage::wal::{Durability, Wal, WalConfig};
use storage::writer::{Writer, WriterConfig, WriterState};

use crate::deletions;
use crate::engine::{self, Batch, Engine};
use crate::hot::HotBlocks;
use crate::part::{Part, Summary};
use crate::patterns::known::{self, Known};
use crate::record;
use crate::retention::Retention;
use crate::view::{Shared, View};

/// Batches that may wait for the writer thread.
const QUEUE: usize = 256;
/// A group of batches is synced after this many milliseconds at the latest.
const GROUP_WINDOW_MS: u64 = 10;
/// Bytes of a WAL segment.
const SEGMENT_BYTES: u64 = 64 << 20;

/// How a store works. All bounds are of this store alone.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of its files; made if it does not exist.
    pub dir: PathBuf,
    /// When batches are acknowledged.
    pub durability: Durability,
    /// Rows older than this many milliseconds are refused, and parts deleted once all their rows are; > 0.
    pub retention_ms: i64,
    /// Streams for which another retention holds: the first rule that matches; up to [`RULES_MAX`](crate::RULES_MAX).
    pub retention_rules: Vec<RetentionRule>,
    /// Bytes of memory for rows not yet in files; more are flushed.
    pub head_bytes_max: u64,
    /// Bytes of memory for blocks that were read lately, so that reading them again costs less; 0 for none.
    pub cache_bytes_max: u64,
    /// Rows are flushed to files after this many milliseconds at the latest.
    pub flush_after_ms: i64,
    /// Streams with stored rows; rows of more streams are refused.
    pub streams_max: usize,
    /// Bytes of a line; longer ones are cut there and end with `…[truncated N bytes]`.
    pub line_bytes_max: usize,
    /// Rows more than this many milliseconds ahead of the clock are refused.
    pub future_ms_max: i64,
    /// Ingest stops below this many free bytes on the disk; `None`: 5 % of it, at least 1 GiB.
    pub free_bytes_floor: Option<u64>,
    /// Parts are not merged into one of more bytes than this: what [`Store::enforce_disk`] removes is a part at a time.
    pub part_bytes_max: u64,
    /// Whether small parts are merged on a thread of their own; otherwise only by [`Store::merge`].
    pub background_merge: bool,
}

/// What opening a store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Live parts.
    pub parts: u64,
    /// Rows in them.
    pub part_rows: u64,
    /// WAL records whose rows were not in parts yet.
    pub replayed_records: u64,
    /// Rows in those.
    pub replayed_rows: u64,
    /// Bytes of unacknowledged writes cut off the WAL.
    pub torn_bytes: u64,
    /// Parts set aside as damaged or missing.
    pub quarantined: u64,
    /// What the operator should know: damage, and what it cost.
    pub warnings: Vec<String>,
}

/// Figures of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Streams with rows.
    pub streams: u64,
    /// Rows not yet in files.
    pub rows_head: u64,
    /// Bytes of memory they take.
    pub head_bytes: u64,
    /// Bytes of memory that blocks read lately take.
    pub cache_bytes: u64,
    /// Part files.
    pub parts: u64,
    /// Their bytes.
    pub part_bytes: u64,
    /// Rows in them.
    pub part_rows: u64,
    /// Bytes of lines in them, uncompressed.
    pub part_raw_bytes: u64,
    /// Bytes of the WAL.
    pub wal_bytes: u64,
    /// Parts and blocks found damaged since opening.
    pub quarantined: u64,
    /// Lines cut since opening.
    pub truncated_lines: u64,
    /// Rows not stored since opening because they were stored already: equal stream, time, line and fields.
    pub repeated_rows: u64,
    /// Last row of the oldest part file, Unix milliseconds: what [`Store::enforce_disk`] removes first.
    pub oldest_part_ms: Option<i64>,
    /// Whether batches are taken.
    pub state: WriterState,
}

/// The log store. Share it; dropping the last reference closes it.
#[derive(Debug)]
pub struct Store {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer<Engine>,
    pub(crate) retention: Retention,
    pub(crate) part_bytes_max: u64,
    pub(crate) merging: Mutex<()>,
    /// Set when closing: merges give up at their next block.
    pub(crate) closing: AtomicBool,
    merger: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens (or starts) the store in `config.dir`.
    ///
    /// Cost: reads the parts' indexes and replays the WAL. Damaged parts are set aside as `*.corrupt` and reported.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a newer format or an impossible config; [`Io`](ErrorKind::Io) or
    /// [`Busy`](ErrorKind::Busy) (disk full) from the file system.
    pub fn open(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Result<(Arc<Self>, OpenReport)> {
        if config.retention_ms <= 0 || config.line_bytes_max == 0 {
            let message = "retention_ms and line_bytes_max of the log store must be above 0";
            return Err(Error::invalid(message));
        }
        let retention = Retention::new(config.retention_rules.clone(), config.retention_ms)?;
        let dir = config.dir.clone();
        fs.create_dir_all(&dir)
            .map_err(|e| fs::error(format!("create log directory {}", dir.display()), e))?;
        let (mut manifest, state) = Manifest::open(Arc::clone(&fs), &dir.join("parts"))?;
        let mut report = OpenReport::default();
        let (mut view, next_id) = open_parts(&*fs, &mut manifest, &state, &mut report)?;
        view.deletions = read_deletions(&state, &mut report);
        view.hot = Arc::new(HotBlocks::new(config.cache_bytes_max));
        read_templates(&state, &view.known);
        let (flushed_seq, cursors) = engine::read_values(&state.values)?;
        let shared = Arc::new(Shared::default());
        *shared.view.write() = view;
        shared.cursors.lock().extend(cursors);
        shared.quarantined_parts.store(report.quarantined, Ordering::Relaxed);
        let (durability, free_floor_bytes) = (config.durability, config.free_bytes_floor);
        let (background_merge, part_bytes_max) = (config.background_merge, config.part_bytes_max);
        let (merge_sender, merge_receiver) = bounded(1);
        let mut engine = Engine::new(
            Arc::clone(&fs),
            Arc::clone(&clock),
            config,
            Arc::clone(&shared),
            manifest,
            flushed_seq,
            next_id,
            merge_sender,
        )?;
        let wal_config = WalConfig { segment_bytes: SEGMENT_BYTES, durability };
        let mut visit = |r: storage::wal::Record<'_>| replay(&mut engine, r, &mut report);
        let (mut wal, recovery) =
            Wal::open(Arc::clone(&fs), &dir.join("wal"), wal_config, &mut visit)?;
        // A power loss may have taken records that parts hold already; replay skips their numbers for ever.
        wal.ensure_next_seq(flushed_seq + 1)?;
        report.torn_bytes = recovery.torn_bytes;
        report.warnings.extend(recovery.warnings("log"));
        shared.wal_bytes.store(wal.bytes(), Ordering::Relaxed);
        let writer_config =
            WriterConfig { queue: QUEUE, group_window_ms: GROUP_WINDOW_MS, free_floor_bytes };
        let writer = Writer::spawn("logdb-writer", engine, wal, Arc::clone(&clock), writer_config)?;
        let store = Arc::new(Self {
            fs,
            clock,
            shared,
            writer,
            retention,
            part_bytes_max,
            merging: Mutex::new(()),
            closing: AtomicBool::new(false),
            merger: Mutex::new(None),
        });
        if background_merge {
            *store.merger.lock() = Some(spawn_merger(&store, merge_receiver)?);
        }
        Ok((store, report))
    }

    /// Hands over a batch; `done` is called once its lines and cursor are durable (by `durability`), or with the reason
    /// why not. Rows that are too old, too new, of too many streams, or with labels over 64 KiB are refused one by one,
    /// the cursor is committed all the same. Of a batch that may repeat others ([`LogRows::set_may_repeat`](model::LogRows::set_may_repeat)),
    /// rows that are stored already are not stored again, and count as stored in its receipt.
    ///
    /// Cost: blocks while 256 batches wait.
    pub fn append(&self, batch: LogBatch, done: Done) {
        self.writer.send(Batch::from(batch), done);
    }

    /// The cursor last committed for `source`. Cursors are forgotten when not set for longer than retention.
    pub fn cursor(&self, source: &str) -> Option<Vec<u8>> {
        self.shared.cursors.lock().get(source).map(|c| c.bytes.clone())
    }

    /// Waits for everything appended before, and writes it to part files.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) when the disk is full or the store closed, [`Io`](ErrorKind::Io) when it failed.
    pub fn flush(&self) -> Result<()> {
        self.writer.flush()?;
        self.writer.run(|engine, wal| engine.flush(wal))?
    }

    /// Merges what is due and takes deleted rows off the disk, until nothing is due; returns how many parts were written.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn merge(&self) -> Result<u64> {
        crate::merge::run(self)
    }

    /// Removes the oldest part files until `bytes_to_free` are free; returns the bytes removed, which are fewer when
    /// there is nothing left to remove.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn enforce_disk(&self, bytes_to_free: u64) -> Result<u64> {
        self.writer.run(move |engine, _| engine.remove_oldest(bytes_to_free))?
    }

    /// Flushes and stops; later batches are refused as the store is shutting down. Reading goes on working.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn close(&self) -> Result<()> {
        self.closing.store(true, Ordering::Relaxed);
        let outcome = self.writer.close();
        if let Some(merger) = self.merger.lock().take()
            && merger.thread().id() != std::thread::current().id()
            && merger.join().is_err()
        {
            return Err(Error::new(ErrorKind::Bug, "log merge thread panicked"));
        }
        outcome
    }

    /// Current figures.
    pub fn stats(&self) -> Stats {
        let view = self.shared.snapshot();
        let sum = |f: fn(&Part) -> u64| view.parts.iter().map(|p| f(p)).sum::<u64>();
        let sealed_rows: u64 = view.sealed.iter().map(|p| p.summary.rows).sum();
        let chunk_rows: usize = view.chunks.iter().map(|c| c.len()).sum();
        let damaged: u64 = view.all_parts().map(|p| p.damaged_blocks()).sum();
        Stats {
            streams: self.shared.stream_count.load(Ordering::Relaxed),
            rows_head: sealed_rows + chunk_rows as u64,
            head_bytes: view.head_bytes(),
            cache_bytes: view.hot.bytes(),
            parts: view.parts.len() as u64,
            part_bytes: sum(|p| p.bytes),
            part_rows: sum(|p| p.summary.rows),
            part_raw_bytes: sum(|p| p.summary.raw_bytes),
            wal_bytes: self.shared.wal_bytes.load(Ordering::Relaxed),
            quarantined: self.shared.quarantined_parts.load(Ordering::Relaxed) + damaged,
            repeated_rows: self.shared.repeated_rows.load(Ordering::Relaxed),
            truncated_lines: self.shared.truncated_lines.load(Ordering::Relaxed),
            oldest_part_ms: view.parts.iter().map(|p| p.summary.max_ns.div_euclid(1_000_000)).min(),
            state: self.writer.state(),
        }
    }
}

/// Opens the live parts; sets damaged ones aside. Returns what there is to see and the next free id.
fn open_parts(
    fs: &dyn Fs,
    manifest: &mut Manifest,
    state: &ManifestState,
    report: &mut OpenReport,
) -> Result<(View, u64)> {
    let dir = manifest.dir().to_owned();
    let mut view = View::default();
    let mut next_id = 1;
    let mut edits = Vec::new();
    for (name, meta) in &state.parts {
        let known = Summary::decode(&mut storage::codec::Reader::new(meta))?;
        // Ids are not used twice, and orders of later parts are above all earlier ones.
        next_id = next_id.max(known.id.max(known.order) + 1);
        let problem = match Part::open(fs, &dir.join(name)) {
            Ok(part) => {
                report.parts += 1;
                report.part_rows += part.summary.rows;
                view.parts.push(Arc::new(part));
                continue;
            }
            Err(e) if e.kind() == ErrorKind::NotFound => "is missing".to_owned(),
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                storage::part::set_aside(fs, &dir, name)?;
                format!("is damaged and set aside: {e}")
            }
            Err(e) => return Err(e),
        };
        let rows = known.rows;
        report.warnings.push(format!("log part {name} with {rows} rows {problem}"));
        report.quarantined += 1;
        edits.push(Edit::RemovePart { name: name.clone() });
    }
    if !edits.is_empty() {
        manifest.commit(&edits)?;
    }
    let orphans = state.orphans.iter().map(|name| format!("file {name} was set aside unused"));
    report.warnings.extend(orphans);
    report.warnings.extend(state.damage.iter().map(|d| format!("log manifest: {d}")));
    view.parts.sort_by_key(|p| p.summary.order);
    Ok((view, next_id))
}

/// Deletions in the manifest, the oldest first. One that cannot be read is reported: its rows are seen again.
fn read_deletions(state: &ManifestState, report: &mut OpenReport) -> Arc<[LogDeletion]> {
    let mut found = Vec::new();
    for (key, value) in &state.values {
        let Some(id) = key.strip_prefix(deletions::PREFIX) else { continue };
        match deletions::decode(id, value) {
            Ok(deletion) => found.push(deletion),
            Err(e) => report.warnings.push(format!("deletion {id} of logs has no effect: {e}")),
        }
    }
    found.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
    found.into()
}

/// Patterns with words taken out that turned out to vary.
fn read_templates(state: &ManifestState, known: &Known) {
    for (_, value) in state.values.iter().filter(|(key, _)| key.starts_with(known::PREFIX)) {
        known.load(&String::from_utf8_lossy(value));
    }
}

fn replay(
    engine: &mut Engine,
    found: storage::wal::Record<'_>,
    report: &mut OpenReport,
) -> Result<()> {
    if found.kind != record::KIND {
        let message = format!("log wal has records of kind {}; this program is older", found.kind);
        return Err(Error::invalid(message));
    }
    match record::decode(found.payload) {
        Ok(stored) => {
            let rows = stored.rows.len() as u64;
            if engine.replay(stored, found.seq)? {
                report.replayed_records += 1;
                report.replayed_rows += rows;
            }
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            report.warnings.push(format!("log wal record {} is lost: {e}", found.seq));
            Ok(())
        }
        Err(e) => Err(e),
    }
}

fn spawn_merger(store: &Arc<Store>, due: Receiver<()>) -> Result<JoinHandle<()>> {
    let weak: Weak<Store> = Arc::downgrade(store);
    let run = move || {
        // Ends when the engine, which holds the sender, is gone.
        while due.recv().is_ok() {
            let Some(store) = weak.upgrade() else { return };
            if let Err(e) = store.merge()
                && e.kind() != ErrorKind::Cancelled
            {
                tracing::warn!(error = %e, "log parts could not be merged");
            }
        }
    };
    std::thread::Builder::new()
        .name("logdb-merge".to_owned())
        .spawn(run)
        .map_err(|e| Error::io("start log merge thread", e))
}
