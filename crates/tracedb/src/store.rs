//! The store as others hold it: opening, appending, and its figures. Reading is in `find` and `lists`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, bounded};
use model::{
    Clock, Done, Error, ErrorKind, Receipt, RejectReason, Result, RetentionRule, SpanGroup,
    TraceSampler,
};
use parking_lot::Mutex;
use storage::codec::Reader;
use storage::fs::{self, Fs};
use storage::manifest::{Edit, Manifest, ManifestState};
use storage::wal::{Durability, Wal, WalConfig};
use storage::writer::{Writer, WriterConfig, WriterState};

use crate::engine::{Batch, Engine};
use crate::part::{Part, Summary};
use crate::record;
use crate::retention::Retention;
use crate::rows::Rows;
use crate::view::{Shared, View};

/// Numbers of a batch's spans that were stored already; see [`Store::append_telling`].
pub type Repeated = Arc<Mutex<Vec<u32>>>;

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
    /// Spans that start more than this many milliseconds ago are refused, and traces deleted once they did; > 0. With rules,
    /// spans are refused by the longest of them.
    pub retention_ms: i64,
    /// Retentions of their own for some services, which the matchers are about; at most [`RULES_MAX`](crate::RULES_MAX).
    pub retention_rules: Vec<RetentionRule>,
    /// Bytes of memory for spans not yet in files; more are flushed. A flush takes as much again for a moment.
    pub head_bytes_max: u64,
    /// Spans are flushed to files after this many milliseconds at the latest.
    pub flush_after_ms: i64,
    /// Spans that start more than this many milliseconds ahead of the clock are refused.
    pub future_ms_max: i64,
    /// Ingest stops below this many free bytes on the disk; `None`: 5 % of it, at least 1 GiB.
    pub free_bytes_floor: Option<u64>,
    /// Parts are not merged into one of more bytes than this: what [`Store::enforce_disk`] removes is a part at a time.
    pub part_bytes_max: u64,
    /// Which traces stay; `None` for all.
    pub sampler: Option<Arc<dyn TraceSampler>>,
    /// Whether small parts are merged on a thread of their own; otherwise only by [`Store::merge`].
    pub background_merge: bool,
}

/// What opening a store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Live parts.
    pub parts: u64,
    /// Spans in them.
    pub part_spans: u64,
    /// WAL records whose spans were not in parts yet.
    pub replayed_records: u64,
    /// Spans in those.
    pub replayed_spans: u64,
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
    /// Spans not yet in files.
    pub spans_head: u64,
    /// Bytes of memory they take.
    pub head_bytes: u64,
    /// Part files.
    pub parts: u64,
    /// Their bytes.
    pub part_bytes: u64,
    /// Spans in them.
    pub part_spans: u64,
    /// Bytes of memory that filters of their traces take.
    pub filter_bytes: u64,
    /// Bytes of the WAL.
    pub wal_bytes: u64,
    /// Parts and blocks found damaged since opening.
    pub quarantined: u64,
    /// Spans not stored since opening because they were stored already: equal trace, span, kind and start.
    pub repeated_spans: u64,
    /// When the first spans of the oldest part file arrived, Unix milliseconds: what [`Store::enforce_disk`] removes first.
    pub oldest_part_ms: Option<i64>,
    /// Whether batches are taken.
    pub state: WriterState,
}

/// The trace store. Share it; dropping the last reference closes it.
#[derive(Debug)]
pub struct Store {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer<Engine>,
    pub(crate) retention: Retention,
    future_ms_max: i64,
    pub(crate) part_bytes_max: u64,
    pub(crate) merging: Mutex<()>,
    /// Set when closing: merges give up at their next block.
    pub(crate) closing: AtomicBool,
    merger: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens (or starts) the store in `config.dir`.
    ///
    /// Cost: reads the parts' indexes and filters and replays the WAL. Damaged parts are set aside as `*.corrupt` and
    /// reported.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a newer format or an impossible config; [`Io`](ErrorKind::Io) or
    /// [`Busy`](ErrorKind::Busy) (disk full) from the file system.
    pub fn open(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Result<(Arc<Self>, OpenReport)> {
        let rules = config.retention_rules.clone();
        let retention = Retention::new(rules, config.retention_ms)?;
        let dir = config.dir.clone();
        fs.create_dir_all(&dir)
            .map_err(|e| fs::error(format!("create trace directory {}", dir.display()), e))?;
        let (mut manifest, state) = Manifest::open(Arc::clone(&fs), &dir.join("parts"))?;
        let mut report = OpenReport::default();
        let (view, next_id) = open_parts(&*fs, &mut manifest, &state, &mut report)?;
        let shared = Arc::new(Shared::default());
        *shared.view.write() = view;
        shared.quarantined_parts.store(report.quarantined, Ordering::Relaxed);
        let (durability, free_floor_bytes) = (config.durability, config.free_bytes_floor);
        let future_ms_max = config.future_ms_max;
        let (background_merge, part_bytes_max) = (config.background_merge, config.part_bytes_max);
        let (merge_sender, merge_receiver) = bounded(1);
        let mut engine = Engine::new(
            Arc::clone(&fs),
            Arc::clone(&clock),
            config,
            Arc::clone(&shared),
            manifest,
            next_id,
            merge_sender,
        )?;
        let flushed_seq = engine.flushed_seq();
        let wal_config = WalConfig { segment_bytes: SEGMENT_BYTES, durability };
        let mut visit = |r: storage::wal::Record<'_>| replay(&mut engine, r, &mut report);
        let (mut wal, recovery) =
            Wal::open(Arc::clone(&fs), &dir.join("wal"), wal_config, &mut visit)?;
        // A power loss may have taken records that parts hold already; replay skips their numbers for ever.
        wal.ensure_next_seq(flushed_seq + 1)?;
        report.torn_bytes = recovery.torn_bytes;
        report.warnings.extend(recovery.warnings("trace"));
        shared.wal_bytes.store(wal.bytes(), Ordering::Relaxed);
        let writer_config =
            WriterConfig { queue: QUEUE, group_window_ms: GROUP_WINDOW_MS, free_floor_bytes };
        let writer =
            Writer::spawn("tracedb-writer", engine, wal, Arc::clone(&clock), writer_config)?;
        let store = Arc::new(Self {
            fs,
            clock,
            shared,
            writer,
            retention,
            future_ms_max,
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

    /// Hands over spans; `done` is called once they are durable (by `durability`), or with the reason why not. Spans are
    /// refused one by one when they start too early or too late, have an id of 0, attributes nested over 64 deep, or over a
    /// million attributes, events and links. Those that are stored already (equal trace, span, kind and start) are not
    /// stored again, and count as stored.
    ///
    /// Cost: encodes on the caller's thread; blocks while 256 batches wait.
    pub fn append(&self, groups: &[SpanGroup], done: Done) {
        self.append_telling(groups, Repeated::default(), done);
    }

    /// Likewise; before `done`, `repeated` gets the numbers of spans that were there already, ascending, the first of all
    /// groups' spans being 0.
    pub fn append_telling(&self, groups: &[SpanGroup], repeated: Repeated, done: Done) {
        let (mut number, mut refused) = (0, Vec::new());
        let mut rows = Rows::default();
        rows.reserve(groups);
        let mut rejected = Vec::new();
        let now_ms = self.clock.now_ms();
        let oldest_ns =
            now_ms.saturating_sub(self.retention.longest_ms()).saturating_mul(1_000_000);
        let newest_ns = now_ms.saturating_add(self.future_ms_max).saturating_mul(1_000_000);
        let mut reject = |reason: RejectReason, count: usize| match rejected
            .iter_mut()
            .find(|(known, _)| *known == reason)
        {
            Some((_, sum)) => *sum += count as u64,
            None => rejected.push((reason, count as u64)),
        };
        for group in groups {
            let Ok(origin) = rows.origin_of(group) else {
                reject(RejectReason::Invalid, group.spans.len());
                let end = number + group.spans.len() as u32;
                refused.extend(number..end);
                number = end;
                continue;
            };
            for span in &group.spans {
                let outcome = if span.start_ns < oldest_ns {
                    Err(RejectReason::TooOld)
                } else if span.start_ns > newest_ns {
                    Err(RejectReason::TooNew)
                } else if span.trace_id == 0 || span.span_id == 0 {
                    Err(RejectReason::Invalid)
                } else {
                    rows.push(origin, span).map_err(|_| RejectReason::Invalid)
                };
                if let Err(reason) = outcome {
                    reject(reason, 1);
                    refused.push(number);
                }
                number += 1;
            }
        }
        if rows.is_empty() {
            return done.call(Ok(Receipt { stored: 0, rejected }));
        }
        let mut record = Vec::new();
        match record::encode(&rows, &mut record) {
            Ok(()) => {
                self.writer.send(Batch { rows, record, rejected, refused, repeated }, done);
            }
            Err(e) => done.call(Err(e)),
        }
    }

    /// Waits for everything appended before, and writes it to part files. Traces that a sampler has yet to decide about stay
    /// in the head.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) when the disk is full or the store closed, [`Io`](ErrorKind::Io) when it failed.
    pub fn flush(&self) -> Result<()> {
        self.writer.flush()?;
        self.writer.run(|engine, wal| engine.flush(wal))?
    }

    /// Merges what is due, until nothing is; returns how many parts were written.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn merge(&self) -> Result<u64> {
        crate::merge::run(self)
    }

    /// Removes the part files that arrived first until `bytes_to_free` are free; returns the bytes removed, which are
    /// fewer when there is nothing left to remove.
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
            return Err(Error::new(ErrorKind::Bug, "trace merge thread panicked"));
        }
        outcome
    }

    /// Current figures.
    pub fn stats(&self) -> Stats {
        let view = self.shared.snapshot();
        let sum = |f: fn(&Part) -> u64| view.parts.iter().map(|p| f(p)).sum::<u64>();
        Stats {
            spans_head: view.chunks.iter().map(|c| c.rows.len() as u64).sum(),
            head_bytes: view.head_bytes(),
            parts: view.parts.len() as u64,
            part_bytes: sum(|p| p.bytes),
            part_spans: sum(|p| p.summary.rows),
            filter_bytes: sum(Part::filter_bytes),
            wal_bytes: self.shared.wal_bytes.load(Ordering::Relaxed),
            quarantined: self.shared.quarantined_parts.load(Ordering::Relaxed)
                + sum(Part::damaged_blocks),
            repeated_spans: self.shared.repeated_spans.load(Ordering::Relaxed),
            oldest_part_ms: view.parts.iter().map(|p| p.summary.arrived_ms).min(),
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
        let known = Summary::decode(&mut Reader::new(meta))?;
        next_id = next_id.max(known.id + 1);
        let problem = match Part::open(fs, &dir.join(name)) {
            Ok(part) => {
                report.parts += 1;
                report.part_spans += part.summary.rows;
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
        let spans = known.rows;
        report.warnings.push(format!("trace part {name} with {spans} spans {problem}"));
        report.quarantined += 1;
        edits.push(Edit::RemovePart { name: name.clone() });
    }
    if !edits.is_empty() {
        manifest.commit(&edits)?;
    }
    let orphans = state.orphans.iter().map(|name| format!("file {name} was set aside unused"));
    report.warnings.extend(orphans);
    report.warnings.extend(state.damage.iter().map(|d| format!("trace manifest: {d}")));
    view.parts.sort_by_key(|p| p.summary.id);
    Ok((view, next_id))
}

fn replay(
    engine: &mut Engine,
    found: storage::wal::Record<'_>,
    report: &mut OpenReport,
) -> Result<()> {
    if found.kind != record::KIND {
        let message =
            format!("trace wal has records of kind {}; this program is older", found.kind);
        return Err(Error::invalid(message));
    }
    match record::decode(found.payload) {
        Ok(rows) => {
            let spans = rows.len() as u64;
            if engine.replay(rows, found.seq) {
                report.replayed_records += 1;
                report.replayed_spans += spans;
            }
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            report.warnings.push(format!("trace wal record {} is lost: {e}", found.seq));
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
                tracing::warn!(error = %e, "trace parts could not be merged");
            }
        }
    };
    std::thread::Builder::new()
        .name("tracedb-merge".to_owned())
        .spawn(run)
        .map_err(|e| Error::io("start trace merge thread", e))
}
