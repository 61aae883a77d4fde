//! [`Store`]: opening, closing and asking the metric store.
//!
//! Owns: the pieces and what they share, quarantine, retention and the disk limit, figures about itself. Directory:
//! `wal/` and `parts/` (with the manifest) inside [`Config::dir`].

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use model::{
    Budget, Clock, Done, Error, ErrorKind, Labels, Matcher, MetricBatch, MetricMetadata,
    MetricPlan, MetricSource, Result, Selected, TimeRange,
};
use parking_lot::{Mutex, RwLock};
use storage::fs::Fs;
use storage::manifest::{Edit, Manifest};
use storage::wal::{Durability, Recovery, Wal, WalConfig};
use storage::writer::{Writer, WriterConfig, WriterState};

use crate::engine::{Batch, Engine};
use crate::head::Head;
use crate::merge;
use crate::part::Part;
use crate::select;

/// Manifest key: WAL sequence number behind the samples that are in parts.
pub(crate) const WAL_SEQ_KEY: &str = "wal_seq";

const SEGMENT_BYTES: u64 = 64 << 20;
const QUEUE: usize = 1024;
const GROUP_WINDOW_MS: u64 = 20;

/// How a store works.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its directory; nothing else may be in there.
    pub dir: PathBuf,
    /// When an append is answered.
    pub durability: Durability,
    /// Samples older than this many milliseconds are refused, not shown and removed.
    pub retention_ms: i64,
    /// Bytes of unflushed samples at which the head is flushed.
    pub head_bytes_max: u64,
    /// Milliseconds after which unflushed samples are flushed.
    pub flush_after_ms: i64,
    /// Active series at most.
    pub series_max: usize,
    /// Samples further than this many milliseconds in the future are refused.
    pub future_ms_max: i64,
    /// Ingest stops below this many free bytes on the disk.
    pub free_bytes_floor: u64,
}

/// What opening a store found.
#[derive(Debug, Clone, Default)]
pub struct OpenReport {
    /// Samples taken from the WAL.
    pub recovered_samples: u64,
    /// WAL records that could not be used; their samples are lost.
    pub damaged_records: u64,
    /// File names of parts and WAL segments set aside as damaged, now.
    pub quarantined: Vec<String>,
    /// Live parts whose file is missing.
    pub missing_parts: Vec<String>,
    /// What the WAL says about its recovery.
    pub wal: Recovery,
}

/// Figures about a store.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Active series.
    pub series: u64,
    /// Samples in the head.
    pub samples_head: u64,
    /// Bytes these take in memory, without series.
    pub head_bytes: u64,
    /// Live parts.
    pub parts: u64,
    /// Bytes of their files.
    pub part_bytes: u64,
    /// Samples in parts.
    pub part_samples: u64,
    /// Bytes of part indexes in memory.
    pub index_bytes: u64,
    /// Bytes of the WAL.
    pub wal_bytes: u64,
    /// Parts set aside as damaged.
    pub quarantined: u64,
    /// Last sample of the oldest part, Unix milliseconds: what [`Store::enforce_disk`] removes first.
    pub oldest_part_ms: Option<i64>,
    /// Whether it takes samples.
    pub state: WriterState,
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
}

/// What writer, merger and readers share. Lock order: `changes` before `head`.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Config,
    pub(crate) parts_dir: PathBuf,
    pub(crate) head: RwLock<Head>,
    pub(crate) changes: Mutex<Changes>,
    /// Held while merging: two merges of the same parts would write the same file.
    pub(crate) merging: Mutex<()>,
    quarantined: Mutex<Vec<Quarantined>>,
    metadata: RwLock<BTreeMap<Arc<str>, MetricMetadata>>,
    wal_bytes: AtomicU64,
    wake: Mutex<Option<Sender<()>>>,
}

impl Shared {
    /// Earliest millisecond inside retention.
    pub(crate) fn oldest_ms(&self) -> i64 {
        self.clock.now_ms().saturating_sub(self.config.retention_ms)
    }

    pub(crate) fn note_wal(&self, bytes: u64) {
        self.wal_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn wake_merger(&self) {
        if let Some(wake) = &*self.wake.lock() {
            // Full means it is about to look anyway.
            wake.try_send(()).ok();
        }
    }

    pub(crate) fn remember_metadata(&self, new: Vec<MetricMetadata>) {
        let mut known = self.metadata.write();
        for metadata in new {
            if known.len() >= self.config.series_max && !known.contains_key(&metadata.name) {
                let max = self.config.series_max;
                tracing::warn!(max, "metadata of further metrics is not kept: as many as series");
                break;
            }
            known.insert(Arc::clone(&metadata.name), metadata);
        }
    }

    /// Removes parts that are wholly outside retention.
    pub(crate) fn expire(&self, now_ms: i64) -> Result<()> {
        let oldest_ms = now_ms.saturating_sub(self.config.retention_ms);
        let is_old = |part: &&Arc<Part>| part.meta().last_ms < oldest_ms;
        let old: Vec<Arc<Part>> = self.head.read().parts.iter().filter(is_old).cloned().collect();
        if old.is_empty() { Ok(()) } else { self.remove_parts(&old) }
    }

    fn remove_parts(&self, parts: &[Arc<Part>]) -> Result<()> {
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
fn set_aside(
    fs: &dyn Fs,
    dir: &std::path::Path,
    manifest: &mut Manifest,
    name: &str,
) -> Result<()> {
    // The name first: a file the manifest does not know would be removed at the next start.
    let (from, to) = (dir.join(name), dir.join(format!("{name}.corrupt")));
    fs.rename(&from, &to)
        .and_then(|()| fs.sync_dir(dir))
        .map_err(|e| Error::io(format!("rename part {name} to *.corrupt"), e))?;
    manifest.commit(&[removal(name)])
}

/// The metric store.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    writer: Writer<Engine>,
    merger: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in [`Config::dir`], creating it if it is not there, and replays its WAL.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io), [`Busy`](ErrorKind::Busy) on a full disk, or [`Invalid`](ErrorKind::Invalid) for files of
    /// a newer version. Damage is no error: it is set aside and in the report.
    pub fn open(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Result<(Arc<Self>, OpenReport)> {
        let mut report = OpenReport::default();
        let parts_dir = config.dir.join("parts");
        let (mut manifest, state) = Manifest::open(Arc::clone(&fs), &parts_dir)?;
        let mut quarantined = earlier_quarantined(&*fs, &parts_dir);
        let mut parts = Vec::new();
        for name in state.missing.iter() {
            tracing::error!(part = name, "metric part is missing");
            manifest.commit(&[removal(name)])?;
        }
        let live = state.parts.keys().filter(|name| !state.missing.contains(name));
        for name in live.chain(&state.orphans) {
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
        adopt(&mut manifest, &state.orphans, &parts)?;
        report.missing_parts = state.missing;
        parts.sort_by_key(|part| part.meta().last_seq);
        let next_seq = parts.iter().map(|p| p.meta().last_seq).max().map_or(1, |seq| seq + 1);
        let flushed_seq = state.values.get(WAL_SEQ_KEY).map_or(0, |v| number(v));
        let shared = Arc::new(Shared {
            fs,
            clock,
            parts_dir,
            head: RwLock::new(Head { parts, ..Head::default() }),
            changes: Mutex::new(Changes { manifest, next_seq }),
            merging: Mutex::new(()),
            quarantined: Mutex::new(quarantined),
            metadata: RwLock::default(),
            wal_bytes: AtomicU64::new(0),
            wake: Mutex::new(None),
            config,
        });
        let (engine, wal) = recover(&shared, flushed_seq, &mut report)?;
        let writer_config = WriterConfig {
            queue: QUEUE,
            group_window_ms: GROUP_WINDOW_MS,
            free_floor_bytes: Some(shared.config.free_bytes_floor),
        };
        let writer =
            Writer::spawn("tsdb-writer", engine, wal, Arc::clone(&shared.clock), writer_config)?;
        let merger = Mutex::new(Some(spawn_merger(&shared)?));
        Ok((Arc::new(Self { shared, writer, merger }), report))
    }

    /// Hands a batch over; `done` learns what became of it, once it is durable. Visible to queries from then on, all of
    /// it at once.
    ///
    /// Cost: blocks while the queue (1,024 batches) is full.
    pub fn append(&self, batch: MetricBatch, done: Done) {
        self.writer.send(Batch::new(batch), done);
    }

    /// Writes everything appended before to parts, now.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) on a full disk or when closed, otherwise [`Io`](ErrorKind::Io); nothing is lost, it
    /// stays in the WAL.
    pub fn flush(&self) -> Result<()> {
        self.writer.flush()?;
        self.writer.run(|engine, wal| engine.flush(wal))?
    }

    /// Merges parts once if that is due (a thread does so by itself, at most with a quarter of a core); whether it did.
    ///
    /// # Errors
    /// A failure to read or write; [`Corrupt`](ErrorKind::Corrupt) after which the damaged part is set aside.
    pub fn merge(&self) -> Result<bool> {
        merge::merge_once(&self.shared)
    }

    /// Flushes and stops; appends are refused from then on, queries go on.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn close(&self) -> Result<()> {
        *self.shared.wake.lock() = None;
        if let Some(merger) = self.merger.lock().take()
            && merger.join().is_err()
        {
            tracing::error!("merger thread panicked");
        }
        self.writer.close()
    }

    /// Removes the oldest parts until `bytes_to_free` are freed or none is left; returns the bytes freed.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) when the manifest cannot be written.
    pub fn enforce_disk(&self, bytes_to_free: u64) -> Result<u64> {
        let mut freed = 0;
        while freed < bytes_to_free {
            let oldest = {
                let head = self.shared.head.read();
                head.parts.iter().min_by_key(|part| part.meta().last_ms).cloned()
            };
            let Some(part) = oldest else { break };
            self.shared.remove_parts(std::slice::from_ref(&part))?;
            freed += part.file_bytes();
        }
        Ok(freed)
    }

    /// Figures of this moment.
    pub fn stats(&self) -> Stats {
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
            state: self.writer.state(),
        }
    }

    /// Whether appends are taken.
    pub fn state(&self) -> WriterState {
        self.writer.state()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            tracing::error!(error = %e, "metric store was not closed in order");
        }
    }
}

impl MetricSource for Store {
    fn select(&self, plan: &MetricPlan, budget: &Budget) -> Result<Selected> {
        select::select(&self.shared, plan, budget)
    }

    fn series(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Labels>> {
        select::series(&self.shared, selectors, range, budget)
    }

    fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>> {
        select::label_names(&self.shared, selectors, range, budget)
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>> {
        select::label_values(&self.shared, name, selectors, range, budget)
    }

    fn metadata(&self, metric: Option<&str>) -> Vec<MetricMetadata> {
        let known = self.shared.metadata.read();
        match metric {
            Some(metric) => known.get(metric).cloned().into_iter().collect(),
            None => known.values().cloned().collect(),
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
    let dir = shared.config.dir.join("wal");
    let config = WalConfig { segment_bytes: SEGMENT_BYTES, durability: shared.config.durability };
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
    report.wal = recovery;
    Ok((engine, wal))
}

fn spawn_merger(shared: &Arc<Shared>) -> Result<JoinHandle<()>> {
    let (sender, receiver) = bounded(1);
    *shared.wake.lock() = Some(sender);
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("tsdb-merger".to_owned())
        .spawn(move || merge::run(&shared, &receiver))
        .map_err(|e| Error::io("start merger thread", e))
}

/// Makes orphans that opened live again.
fn adopt(manifest: &mut Manifest, orphans: &[String], parts: &[Arc<Part>]) -> Result<()> {
    let opened: BTreeSet<&str> = parts.iter().map(|part| part.name()).collect();
    let adopted = orphans.iter().filter(|name| opened.contains(name.as_str()));
    let edits: Vec<Edit> =
        adopted.map(|name| Edit::AddPart { name: name.clone(), meta: Vec::new() }).collect();
    if edits.is_empty() { Ok(()) } else { manifest.commit(&edits) }
}

fn earlier_quarantined(fs: &dyn Fs, dir: &std::path::Path) -> Vec<Quarantined> {
    let files = fs.list(dir).unwrap_or_default();
    let corrupt = files.into_iter().filter_map(|file| {
        let name = file.name.strip_suffix(".corrupt")?.to_owned();
        Some(Quarantined { name, first_ms: i64::MIN, last_ms: i64::MAX })
    });
    corrupt.collect()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
