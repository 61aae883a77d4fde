//! One shard of the metric store: a writer thread with its head, WAL and parts.
//!
//! Owns: what the writer, the merger and readers of one shard share, quarantine, retention, figures about itself.
//! Directory: `wal/` and `parts/` (with the manifest) inside [`Shared::dir`]. Does not own: which source belongs to it
//! ([`store`](crate::store)).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::Sender;
use model::{Clock, Done, Error, ErrorKind, Matcher, MetricBatch, Result};
use parking_lot::{Mutex, RwLock};
use storage::fs::Fs;
use storage::manifest::{Edit, Manifest};
use storage::wal::{Wal, WalConfig};
use storage::writer::{Writer, WriterConfig, WriterState};

use crate::cuts::{KEY_PREFIX, Retention, Tombstone};
use crate::engine::{Batch, Engine};
use crate::exemplars::{self, Exemplars};
use crate::head::Head;
use crate::merge::Brake;
use crate::metadata::Metadata;
use crate::part::Part;
use crate::side;
use crate::snapshot;
use crate::store::{Config, OpenReport, Stats};
use crate::visit::Tails;

/// Manifest key: WAL sequence number behind the samples that are in parts.
pub(crate) const WAL_SEQ_KEY: &str = "wal_seq";

const SEGMENT_BYTES: u64 = 64 << 20;
const QUEUE: usize = 1024;
const GROUP_WINDOW_MS: u64 = 20;
/// Bytes of decoded tails that all shards keep for queries: those of some 100,000 series.
const TAILS_BYTES_MAX: usize = 64 << 20;
/// Metrics over the series limit that are counted each by itself.
const OVER_LIMIT_NAMES_MAX: usize = 1000;

/// What the shards of a store have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) config: Config,
    /// Bytes of unflushed samples at which one shard flushes.
    pub(crate) head_bytes_max: u64,
    /// Bytes of decoded indexes that one shard keeps.
    pub(crate) index_bytes_max: u64,
    /// Active series of all shards.
    series: AtomicUsize,
    pub(crate) metadata: RwLock<Metadata>,
    exemplars_max: usize,
    /// Bytes of decoded tails that one shard keeps for queries.
    tails_bytes_max: usize,
    /// Rows refused because of the series limit since the start, by metric.
    over_limit: Mutex<BTreeMap<String, u64>>,
    wake: Mutex<Option<Sender<()>>>,
    /// Of all merges.
    pub(crate) brake: Brake,
}

impl Common {
    pub(crate) fn new(config: Config, shards: usize) -> Self {
        let head_bytes_max = config.head_bytes_max / shards.max(1) as u64;
        let index_bytes_max = config.index_bytes_max / shards.max(1) as u64;
        let metadata = RwLock::new(Metadata::new(config.series_max));
        let exemplars_max = exemplars::STORE_MAX / shards.max(1);
        let (series, wake) = (AtomicUsize::new(0), Mutex::new(None));
        let over_limit = Mutex::default();
        let tails_bytes_max = TAILS_BYTES_MAX / shards.max(1);
        Self {
            config,
            head_bytes_max,
            index_bytes_max,
            series,
            metadata,
            exemplars_max,
            tails_bytes_max,
            over_limit,
            wake,
            brake: Brake::default(),
        }
    }

    /// Takes one of the series the limit allows; false when there is none left.
    pub(crate) fn take_series(&self, limited: bool) -> bool {
        let max = if limited { self.config.series_max } else { usize::MAX };
        let more = |taken: usize| (taken < max).then_some(taken + 1);
        self.series.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives the places of series that left the head back.
    pub(crate) fn give_series(&self, count: usize) {
        self.series.fetch_sub(count, Ordering::Relaxed);
    }

    /// Adds rows refused because of the series limit to those of their metrics.
    pub(crate) fn fold(&self, counts: BTreeMap<String, u64>) {
        let mut all = self.over_limit.lock();
        for (name, count) in counts {
            let is_known = all.len() < OVER_LIMIT_NAMES_MAX || all.contains_key(&name);
            *all.entry(if is_known { name } else { String::new() }).or_default() += count;
        }
    }

    /// Rows refused because of the series limit, by metric.
    pub(crate) fn over_limit(&self) -> BTreeMap<String, u64> {
        self.over_limit.lock().clone()
    }

    /// From now on, merging is asked for through `wake`; `None` ends that.
    pub(crate) fn set_wake(&self, wake: Option<Sender<()>>) {
        *self.wake.lock() = wake;
    }

    pub(crate) fn wake_merger(&self) {
        if let Some(wake) = &*self.wake.lock() {
            // Full means it is about to look anyway.
            wake.try_send(()).ok();
        }
    }
}

/// A part set aside.
#[derive(Debug, Clone)]
struct Quarantined {
    name: String,
    /// Times of its samples, Unix milliseconds; everything when not even its meta could be read.
    first_ms: i64,
    last_ms: i64,
}

/// What changes which parts are live, one at a time.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) manifest: Manifest,
    pub(crate) next_seq: u64,
    /// File name of the side file.
    pub(crate) side: Option<String>,
    /// Number of the next tombstone; above those under which parts were written.
    pub(crate) next_tombstone: u64,
}

/// What writer, merger and readers share. Lock order: `changes` before `head`.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) common: Arc<Common>,
    pub(crate) dir: PathBuf,
    pub(crate) parts_dir: PathBuf,
    pub(crate) head: RwLock<Head>,
    pub(crate) changes: Mutex<Changes>,
    pub(crate) exemplars: RwLock<Exemplars>,
    /// Tails as queries read them.
    pub(crate) tails: Tails,
    /// Held while merging: two merges of the same parts would write the same file.
    pub(crate) merging: Mutex<()>,
    quarantined: Mutex<Vec<Quarantined>>,
    wal_bytes: AtomicU64,
    writer_bytes: AtomicU64,
}

impl Shared {
    /// Retention of this moment.
    pub(crate) fn retention(&self) -> Retention<'_> {
        let config = &self.common.config;
        let (rules, default_ms) = (&config.retention_rules[..], config.retention_ms);
        Retention { rules, default_ms, now_ms: self.clock.now_ms() }
    }

    /// Earliest millisecond inside the retention of any series.
    pub(crate) fn oldest_ms(&self) -> i64 {
        self.retention().oldest_ms()
    }

    /// Bytes that can still be written to the disk.
    pub(crate) fn free_bytes(&self) -> Result<u64> {
        self.fs.free_bytes(&self.parts_dir).map_err(|e| {
            storage::fs::error(format!("ask {} for room", self.parts_dir.display()), e)
        })
    }

    pub(crate) fn note_wal(&self, bytes: u64) {
        self.wal_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Notes how many bytes the writer has noted down about its sources.
    pub(crate) fn note_writer(&self, bytes: u64) {
        self.writer_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes the writer has noted down about its sources.
    pub(crate) fn writer_bytes(&self) -> u64 {
        self.writer_bytes.load(Ordering::Relaxed)
    }

    /// Removes parts that are wholly outside retention.
    pub(crate) fn expire(&self) -> Result<()> {
        let oldest_ms = self.oldest_ms();
        let is_old = |part: &&Arc<Part>| part.meta().last_ms < oldest_ms;
        let old: Vec<Arc<Part>> = self.head.read().parts.iter().filter(is_old).cloned().collect();
        if old.is_empty() { Ok(()) } else { self.remove_parts(&old) }
    }

    pub(crate) fn remove_parts(&self, parts: &[Arc<Part>]) -> Result<()> {
        let mut changes = self.changes.lock();
        let edits: Vec<Edit> = parts.iter().map(|p| removal(p.name())).collect();
        changes.manifest.commit(&edits)?;
        self.head.write().parts.retain(|live| !parts.iter().any(|p| p.name() == live.name()));
        self.unlink(parts);
        Ok(())
    }

    fn unlink(&self, parts: &[Arc<Part>]) {
        for part in parts {
            if let Err(e) = self.fs.remove(&self.parts_dir.join(part.name())) {
                // No longer in the manifest: the next start removes it.
                tracing::warn!(part = part.name(), error = %e, "cannot remove part file");
            }
        }
    }

    /// Forgets tombstones, durably.
    pub(crate) fn drop_tombstones(&self, done: &[Arc<Tombstone>]) -> Result<()> {
        let mut changes = self.changes.lock();
        let edits: Vec<Edit> = done.iter().map(|t| Edit::Unset { key: t.key() }).collect();
        changes.manifest.commit(&edits)?;
        self.head.write().tombstones.retain(|t| !done.iter().any(|d| Arc::ptr_eq(d, t)));
        Ok(())
    }

    /// Makes the parts `names` live instead of `inputs`; false (and the new files removed) when an input is gone.
    pub(crate) fn replace_parts(&self, inputs: &[Arc<Part>], names: &[String]) -> Result<bool> {
        let mut opened = Vec::with_capacity(names.len());
        for name in names {
            opened.push(Arc::new(Part::open(&*self.fs, &self.parts_dir, name)?));
        }
        let mut changes = self.changes.lock();
        let all_live = {
            let head = self.head.read();
            inputs.iter().all(|input| head.parts.iter().any(|live| Arc::ptr_eq(live, input)))
        };
        if !all_live {
            self.unlink(&opened);
            return Ok(false);
        }
        let mut edits: Vec<Edit> = inputs.iter().map(|p| removal(p.name())).collect();
        edits.extend(names.iter().map(|n| Edit::AddPart { name: n.clone(), meta: Vec::new() }));
        changes.manifest.commit(&edits)?;
        {
            let mut head = self.head.write();
            head.parts.retain(|live| !inputs.iter().any(|input| Arc::ptr_eq(live, input)));
            head.parts.extend(opened);
            head.parts.sort_by_key(|part| part.meta().last_seq);
        }
        self.unlink(inputs);
        Ok(true)
    }

    /// A merge met damage: the part is set aside like one that a query could not read.
    pub(crate) fn note_damage(&self, part: &Arc<Part>, e: &Error) {
        if e.kind() == ErrorKind::Corrupt {
            self.quarantine(part, e);
        }
    }

    /// Sets a damaged part aside; returns what to tell the reader.
    pub(crate) fn quarantine(&self, part: &Arc<Part>, why: &Error) -> String {
        let mut changes = self.changes.lock();
        let is_live = self.head.read().parts.iter().any(|live| Arc::ptr_eq(live, part));
        if is_live {
            tracing::error!(part = part.name(), error = %why, "metric part is damaged and set aside");
            self.head.write().parts.retain(|live| !Arc::ptr_eq(live, part));
            let meta = part.meta();
            let (first_ms, last_ms) = (meta.first_ms, meta.last_ms);
            let name = part.name().to_owned();
            if let Err(e) = set_aside(&*self.fs, &self.parts_dir, &mut changes.manifest, &name) {
                tracing::error!(part = name, error = %e, "cannot set damaged part aside on disk");
            }
            self.quarantined.lock().push(Quarantined { name, first_ms, last_ms });
        }
        warning(part.name())
    }

    pub(crate) fn quarantine_warnings(
        &self,
        (start_ms, end_ms): (i64, i64),
        warnings: &mut Vec<String>,
    ) {
        let quarantined = self.quarantined.lock();
        let inside = quarantined.iter().filter(|q| q.first_ms <= end_ms && q.last_ms >= start_ms);
        warnings.extend(inside.map(|q| warning(&q.name)));
    }
}

fn warning(name: &str) -> String {
    format!("metric part {name} is damaged and was set aside: samples may be missing")
}

fn removal(name: &str) -> Edit {
    Edit::RemovePart { name: name.to_owned() }
}

/// Takes a part out of the manifest and renames its file to `*.corrupt`.
fn set_aside(fs: &dyn Fs, dir: &Path, manifest: &mut Manifest, name: &str) -> Result<()> {
    // The name first: a file the manifest does not know would be removed at the next start.
    storage::part::set_aside(fs, dir, name)?;
    manifest.commit(&[removal(name)])
}

/// One shard; see the module.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer<Engine>,
}

impl Shard {
    /// Opens the shard in `dir`, creating it if it is not there, and replays its WAL.
    ///
    /// # Errors
    /// As [`Store::open`](crate::Store::open).
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        common: Arc<Common>,
        dir: PathBuf,
    ) -> Result<(Self, OpenReport)> {
        let mut report = OpenReport::default();
        let parts_dir = dir.join("parts");
        let (mut manifest, state) = Manifest::open(Arc::clone(&fs), &parts_dir)?;
        let mut quarantined = earlier_quarantined(&*fs, &parts_dir);
        let mut parts = Vec::new();
        for name in state.missing.iter() {
            tracing::error!(part = name, "metric part is missing");
            manifest.commit(&[removal(name)])?;
        }
        let live = state.parts.keys().filter(|name| !state.missing.contains(name));
        let (sides, live): (Vec<&String>, Vec<&String>) =
            live.partition(|name| name.ends_with(side::SUFFIX));
        let mut exemplars = Exemplars::new(common.exemplars_max);
        for name in &sides {
            match side::read(&*fs, &parts_dir.join(name)) {
                Ok((kept, metadata)) => {
                    kept.into_iter().for_each(|exemplar| exemplars.add(exemplar));
                    let mut known = common.metadata.write();
                    metadata.into_iter().for_each(|metadata| known.add(metadata));
                }
                Err(e) if e.kind() == ErrorKind::Corrupt => {
                    tracing::error!(file = *name, error = %e, "exemplars and metadata are damaged and set aside");
                    set_aside(&*fs, &parts_dir, &mut manifest, name)?;
                    report.quarantined.push((*name).clone());
                }
                Err(e) => return Err(e.context(format!("open {name}"))),
            }
        }
        exemplars.is_dirty = false;
        // A side file that the manifest forgot may be older than what is known.
        let orphans: Vec<String> =
            state.orphans.iter().filter(|name| !name.contains(side::SUFFIX)).cloned().collect();
        for name in live.into_iter().chain(&orphans) {
            match Part::open(&*fs, &parts_dir, name) {
                Ok(part) => parts.push(Arc::new(part)),
                Err(e) if e.kind() == ErrorKind::Corrupt => {
                    tracing::error!(part = name, error = %e, "metric part is damaged and set aside");
                    set_aside(&*fs, &parts_dir, &mut manifest, name)?;
                    report.quarantined.push(name.clone());
                    let (first_ms, last_ms) = (i64::MIN, i64::MAX);
                    quarantined.push(Quarantined { name: name.clone(), first_ms, last_ms });
                }
                Err(e) => return Err(e.context(format!("open metric part {name}"))),
            }
        }
        adopt(&mut manifest, &orphans, &parts)?;
        report.missing_parts = state.missing;
        parts.sort_by_key(|part| part.meta().last_seq);
        let mut tombstones = Vec::new();
        for (key, value) in state.values.iter().filter(|(key, _)| key.starts_with(KEY_PREFIX)) {
            // Passing over it would show what was deleted.
            let tombstone =
                Tombstone::decode(value).map_err(|e| e.context(format!("manifest value {key}")))?;
            tombstones.push(Arc::new(tombstone));
        }
        tombstones.sort_by_key(|tombstone| tombstone.number);
        let numbers = tombstones.iter().map(|tombstone| tombstone.number);
        let numbers = numbers.chain(parts.iter().map(|part| part.meta().clean));
        let next_tombstone = numbers.max().unwrap_or(0) + 1;
        let side_seqs = manifest.parts().keys().filter_map(|name| side::seq_of(name));
        // Parts to come must be newer than any deletion, also when those it concerned are gone.
        let tombstone_seqs = tombstones.iter().map(|tombstone| tombstone.seq);
        let seqs = parts.iter().map(|p| p.meta().last_seq).chain(side_seqs).chain(tombstone_seqs);
        let next_seq = seqs.max().map_or(1, |seq| seq + 1);
        let flushed_seq = state.values.get(WAL_SEQ_KEY).map_or(0, |v| number(v));
        let side = manifest.parts().keys().rfind(|name| name.ends_with(side::SUFFIX)).cloned();
        let shared = Arc::new(Shared {
            fs,
            clock,
            parts_dir,
            head: RwLock::new(Head { parts, tombstones, ..Head::default() }),
            changes: Mutex::new(Changes { manifest, next_seq, side, next_tombstone }),
            exemplars: RwLock::new(exemplars),
            tails: Tails::new(common.tails_bytes_max),
            merging: Mutex::new(()),
            quarantined: Mutex::new(quarantined),
            wal_bytes: AtomicU64::new(0),
            writer_bytes: AtomicU64::new(0),
            common,
            dir,
        });
        let (engine, wal) = recover(&shared, flushed_seq, &mut report)?;
        let writer_config = WriterConfig {
            queue: QUEUE,
            group_window_ms: GROUP_WINDOW_MS,
            free_floor_bytes: Some(shared.common.config.free_bytes_floor),
        };
        let writer =
            Writer::spawn("tsdb-writer", engine, wal, Arc::clone(&shared.clock), writer_config)?;
        Ok((Self { shared, writer }, report))
    }

    /// Hands a batch over; see [`Store::append`](crate::Store::append).
    pub(crate) fn append(&self, batch: MetricBatch, is_group: bool, done: Done) {
        self.writer.send(Batch::new(batch, is_group), done);
    }

    /// Writes everything appended before to parts, now.
    ///
    /// # Errors
    /// As [`Store::flush`](crate::Store::flush).
    pub(crate) fn flush(&self) -> Result<()> {
        self.writer.flush()?;
        if let Some(done) = self.writer.run(|engine, wal| engine.flush_anew(wal))?? {
            // Ingest goes on meanwhile; nothing is ever sent.
            done.recv().ok();
            self.writer.run(|engine, wal| engine.join_flush(wal))??;
        }
        // The writer may have met the outcome first.
        self.writer.flush()
    }

    /// Deletes; see [`Store::delete`](crate::Store::delete).
    pub(crate) fn delete(
        &self,
        selectors: &[Vec<Matcher>],
        (start_ms, end_ms): (i64, i64),
    ) -> Result<()> {
        let selectors = selectors.to_vec();
        self.writer.run(move |engine, wal| engine.delete(wal, selectors, (start_ms, end_ms)))?
    }

    /// Flushes and makes a snapshot in `dest`.
    pub(crate) fn snapshot(&self, dest: PathBuf) -> Result<()> {
        self.writer.flush()?;
        self.writer.run(move |engine, wal| {
            engine.flush(wal)?;
            let shared = &engine.shared;
            snapshot::write(shared, &shared.changes.lock(), &dest)
        })?
    }

    /// Flushes and stops; appends are refused from then on.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub(crate) fn close(&self) -> Result<()> {
        self.writer.close()
    }

    /// Whether it has neither samples nor parts.
    pub(crate) fn is_empty(&self) -> bool {
        let head = self.shared.head.read();
        head.samples == 0 && head.parts.is_empty() && self.shared.quarantined.lock().is_empty()
    }

    /// Whether appends are taken.
    pub(crate) fn state(&self) -> WriterState {
        self.writer.state()
    }

    /// Figures of this moment.
    pub(crate) fn stats(&self) -> Stats {
        let exemplars = self.shared.exemplars.read();
        let head = self.shared.head.read();
        Stats {
            series: head.registry.len() as u64,
            samples_head: head.samples,
            head_bytes: head.sample_bytes,
            parts: head.parts.len() as u64,
            part_bytes: head.parts.iter().map(|part| part.file_bytes()).sum(),
            part_samples: head.parts.iter().map(|part| part.meta().samples).sum(),
            index_bytes: head.parts.iter().map(|part| part.index_memory_bytes() as u64).sum(),
            wal_bytes: self.shared.wal_bytes.load(Ordering::Relaxed),
            quarantined: self.shared.quarantined.lock().len() as u64,
            oldest_part_ms: head.parts.iter().map(|part| part.meta().last_ms).min(),
            exemplars: exemplars.len() as u64,
            exemplars_dropped: exemplars.dropped(),
            // Of the whole store; shards are added up without it.
            metadata_dropped: self.shared.common.metadata.read().dropped(),
            state: self.writer.state(),
        }
    }
}

/// Replays the WAL into the head.
fn recover(
    shared: &Arc<Shared>,
    flushed_seq: u64,
    report: &mut OpenReport,
) -> Result<(Engine, Wal)> {
    let mut engine = Engine::new(Arc::clone(shared));
    let dir = shared.dir.join("wal");
    let config =
        WalConfig { segment_bytes: SEGMENT_BYTES, durability: shared.common.config.durability };
    let opened = Wal::open(Arc::clone(&shared.fs), &dir, config, &mut |record| {
        if record.seq >= flushed_seq {
            engine.replay(record.payload);
        }
        Ok(())
    });
    let (mut wal, recovery) = opened?;
    wal.ensure_next_seq(flushed_seq)?;
    engine.end_replay();
    shared.note_wal(wal.bytes());
    report.recovered_samples = engine.replayed.samples;
    report.damaged_records = engine.replayed.damaged_records;
    report.quarantined.extend(recovery.damage.iter().map(|damage| damage.kept_as.clone()));
    report.wal.push(recovery);
    Ok((engine, wal))
}

/// Makes orphans that opened live again.
fn adopt(manifest: &mut Manifest, orphans: &[String], parts: &[Arc<Part>]) -> Result<()> {
    let opened: BTreeSet<&str> = parts.iter().map(|part| part.name()).collect();
    let adopted = orphans.iter().filter(|name| opened.contains(name.as_str()));
    let edits: Vec<Edit> =
        adopted.map(|name| Edit::AddPart { name: name.clone(), meta: Vec::new() }).collect();
    if edits.is_empty() { Ok(()) } else { manifest.commit(&edits) }
}

fn earlier_quarantined(fs: &dyn Fs, dir: &Path) -> Vec<Quarantined> {
    let files = fs.list(dir).unwrap_or_default();
    let corrupt = files.into_iter().filter_map(|file| {
        let name = file.name.strip_suffix(".corrupt")?.to_owned();
        if name.ends_with(side::SUFFIX) {
            return None;
        }
        Some(Quarantined { name, first_ms: i64::MIN, last_ms: i64::MAX })
    });
    corrupt.collect()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
