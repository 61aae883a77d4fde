//! [`Store`]: opening, closing and asking the metric store.
//!
//! Owns: which shards there are, which one a source belongs to, and one answer out of theirs. Does not own: anything
//! that happens within one ([`shard`](crate::shard)).
//!
//! Directory: shard 0 is [`Config::dir`] itself, shard N is `shard-NN` inside it. Every shard that is found is read;
//! batches go to the first [`Config::shards`].

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, BuildHasherDefault};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::bounded;
use model::{
    Budget, Clock, Done, Error, ErrorKind, Labels, Matcher, MetricBatch, MetricMetadata,
    MetricPlan, MetricSource, MetricVisitor, Result, RetentionRule, Selected, SeriesData,
    SeriesExemplars, TimeRange, Visited,
};
use parking_lot::Mutex;
use rustc_hash::FxHasher;
use storage::fs::Fs;
use storage::wal::{Durability, Recovery};
use storage::writer::WriterState;

use crate::cuts::RULES_MAX;
use crate::exemplars;
use crate::histograms;
use crate::merge::{self, Pace};
use crate::regroup;
use crate::scan::Piece;
use crate::select;
use crate::shard::{Common, Shard, Shared};
use crate::snapshot;
use crate::visit;

/// Shards at most.
const SHARDS_MAX: usize = 64;
/// On so few cores a second writer would only compete with the first.
const ONE_SHARD_CORES: usize = 2;

/// How a store works.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its directory; nothing else may be in there.
    pub dir: PathBuf,
    /// When an append is answered.
    pub durability: Durability,
    /// Samples older than this many milliseconds are refused, not shown and removed.
    pub retention_ms: i64,
    /// Retentions of their own for some series, in order of precedence; at most [`RULES_MAX`]. Longer and shorter ones are
    /// possible.
    pub retention_rules: Vec<RetentionRule>,
    /// Sources are spread over this many writers; 0: as many as there are cores, one on two cores. A store keeps what
    /// other numbers of shards left.
    pub shards: usize,
    /// Bytes of unflushed samples at which the head is flushed; all shards share them.
    pub head_bytes_max: u64,
    /// Milliseconds after which unflushed samples are flushed.
    pub flush_after_ms: i64,
    /// Bytes of decoded indexes of parts that are kept for the next query, in all shards together; those not used for
    /// the longest go first.
    pub index_bytes_max: u64,
    /// Active series at most, in all shards together.
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
    /// What the WALs say about their recovery.
    pub wal: Vec<Recovery>,
}

/// Figures about a store.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Active series; one whose samples come from sources of several shards counts in each of them.
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
    /// Exemplars kept.
    pub exemplars: u64,
    /// Exemplars left out since the start: out of order, or with labels of over 128 characters.
    pub exemplars_dropped: u64,
    /// Metadata left out since the start: of more metrics than there may be series, or of over 32 MiB together.
    pub metadata_dropped: u64,
    /// Whether it takes samples.
    pub state: WriterState,
}

/// What a rule of retention would remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removal {
    /// Series that lose samples.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Bytes on the disk, estimated by the bytes per sample of their parts.
    pub bytes: u64,
}

impl OpenReport {
    fn add(&mut self, other: Self) {
        self.recovered_samples += other.recovered_samples;
        self.damaged_records += other.damaged_records;
        self.quarantined.extend(other.quarantined);
        self.missing_parts.extend(other.missing_parts);
        self.wal.extend(other.wal);
    }
}

impl Stats {
    fn add(&mut self, other: Self) {
        self.series += other.series;
        self.samples_head += other.samples_head;
        self.head_bytes += other.head_bytes;
        self.parts += other.parts;
        self.part_bytes += other.part_bytes;
        self.part_samples += other.part_samples;
        self.index_bytes += other.index_bytes;
        self.wal_bytes += other.wal_bytes;
        self.quarantined += other.quarantined;
        self.exemplars += other.exemplars;
        self.exemplars_dropped += other.exemplars_dropped;
        let oldest = [self.oldest_part_ms, other.oldest_part_ms];
        self.oldest_part_ms = oldest.into_iter().flatten().min();
        self.state = worse(std::mem::replace(&mut self.state, WriterState::Ok), other.state);
    }
}

fn worse(a: WriterState, b: WriterState) -> WriterState {
    match (&a, &b) {
        (WriterState::Failed { .. }, _) | (_, WriterState::Ok) => a,
        (WriterState::DiskFull { .. }, WriterState::DiskFull { .. }) => a,
        _ => b,
    }
}

/// The metric store.
#[derive(Debug)]
pub struct Store {
    common: Arc<Common>,
    shards: Vec<Shard>,
    /// How many of them take batches.
    writing: usize,
    merger: Mutex<Option<JoinHandle<()>>>,
    /// Snapshots made, to name them apart.
    snapshots: AtomicU64,
}

impl Store {
    /// Opens the store in [`Config::dir`], creating it if it is not there, and replays the WALs of all shards, each on
    /// a thread of its own.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io), [`Busy`](ErrorKind::Busy) on a full disk, or [`Invalid`](ErrorKind::Invalid) for files of
    /// a newer version. Damage is no error: it is set aside and in the report.
    pub fn open(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Result<(Arc<Self>, OpenReport)> {
        if config.retention_rules.len() > RULES_MAX {
            return Err(Error::invalid(format!(
                "{} rules of retention; at most {RULES_MAX}",
                config.retention_rules.len()
            )));
        }
        let writing = shard_count(config.shards);
        fs.create_dir_all(&config.dir)
            .map_err(|e| storage::fs::error(format!("create {}", config.dir.display()), e))?;
        let dirs = shard_dirs(&*fs, &config, writing)?;
        let common = Arc::new(Common::new(config, writing));
        let open = |dir: &PathBuf| {
            let (fs, clock, common) = (Arc::clone(&fs), Arc::clone(&clock), Arc::clone(&common));
            Shard::open(fs, clock, common, dir.clone())
        };
        let opened: Vec<Result<(Shard, OpenReport)>> = match &dirs[..] {
            [only] => vec![open(only)],
            _ => std::thread::scope(|scope| {
                let open = &open;
                let threads: Vec<_> =
                    dirs.iter().map(|dir| scope.spawn(move || open(dir))).collect();
                let panicked = |_| Err(Error::new(ErrorKind::Bug, "opening a shard panicked"));
                threads.into_iter().map(|t| t.join().unwrap_or_else(panicked)).collect()
            }),
        };
        let (mut shards, mut report) = (Vec::new(), OpenReport::default());
        for (number, opened) in opened.into_iter().enumerate() {
            let (shard, found) = opened?;
            report.add(found);
            if number >= writing && shard.is_empty() {
                // A shard of an earlier, larger number whose samples have all expired.
                shard.close()?;
                remove_shard(&*fs, &dirs[number])?;
                continue;
            }
            shards.push(shard);
        }
        let merger = Mutex::new(Some(spawn_merger(&common, &shards)?));
        let snapshots = AtomicU64::new(0);
        Ok((Arc::new(Self { common, shards, writing, merger, snapshots }), report))
    }

    /// Hands a batch over; `done` learns what became of it, once it is durable. Visible to queries from then on, all of
    /// it at once.
    ///
    /// Cost: blocks while the queue of its shard (1,024 batches) is full.
    pub fn append(&self, mut batch: MetricBatch, done: Done) {
        let groups = regroup::take_groups(&mut batch);
        if groups.is_empty() {
            return self.send(batch, false, done);
        }
        let rest = (!regroup::is_empty(&batch)).then_some(batch);
        let mut answers =
            regroup::fan_in(done, groups.len() + usize::from(rest.is_some())).into_iter();
        for (group, done) in groups.into_iter().zip(&mut answers) {
            self.send(group, true, done);
        }
        for (batch, done) in rest.into_iter().zip(answers) {
            self.send(batch, false, done);
        }
    }

    fn send(&self, batch: MetricBatch, is_group: bool, done: Done) {
        let shard = shard_of(&batch.source, self.writing);
        self.shards[shard].append(batch, is_group, done);
    }

    /// Writes everything appended before to parts, now.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) on a full disk or when closed, otherwise [`Io`](ErrorKind::Io); nothing is lost, it
    /// stays in the WAL.
    pub fn flush(&self) -> Result<()> {
        self.each_shard(Shard::flush)
    }

    /// Merges parts once if that is due (a thread does so by itself, at most with a quarter of a core); whether it did.
    ///
    /// # Errors
    /// A failure to read or write; [`Corrupt`](ErrorKind::Corrupt) after which the damaged part is set aside;
    /// [`Busy`](ErrorKind::Busy) without room on the disk; [`Cancelled`](ErrorKind::Cancelled) when the store is closed.
    pub fn merge(&self) -> Result<bool> {
        for shard in &self.shards {
            if merge::merge_once(&shard.shared, &mut Pace::fast(&shard.shared))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes the samples in `[start_ms, end_ms]` (Unix milliseconds) and exemplars of the series that match any of
    /// `selectors`, of those appended before: they are hidden at once and from then on, and leave the disk when their
    /// parts are merged or [`clean_tombstones`](Self::clean_tombstones) is called. Samples appended later are shown.
    ///
    /// Cost: a flush of all shards.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) without a selector or with an empty one, which would mean everything, and when
    /// the range is empty; [`Limit`](ErrorKind::Limit) when 1,000 deletions wait to be cleaned; otherwise as
    /// [`flush`](Self::flush), and then some shards may have deleted and others not.
    pub fn delete(&self, selectors: &[Vec<Matcher>], start_ms: i64, end_ms: i64) -> Result<()> {
        if selectors.is_empty() || selectors.iter().any(Vec::is_empty) {
            return Err(Error::invalid("deleting needs a selector with at least one matcher"));
        }
        if start_ms > end_ms {
            return Err(Error::invalid(format!("deleting from {start_ms} to {end_ms} ends early")));
        }
        self.each_shard(|shard| shard.delete(selectors, (start_ms, end_ms)))
    }

    /// Writes the parts anew that have deleted samples, so that these leave the disk; returns how many parts.
    ///
    /// # Errors
    /// As [`merge`](Self::merge).
    pub fn clean_tombstones(&self) -> Result<usize> {
        let clean = |shared| merge::clean_tombstones(shared, &mut Pace::fast(shared));
        self.shards.iter().map(|shard| clean(&shard.shared)).sum()
    }

    /// Flushes, and makes the directory NAME in `dir`, which opens as a store with what is there now; returns NAME
    /// (`20260102T150405Z-…`, UTC). It takes no space until parts are merged here: files are hard links.
    ///
    /// # Errors
    /// As [`flush`](Self::flush), and [`Io`](ErrorKind::Io) when `dir` is on another file system; nothing is left
    /// behind.
    pub fn snapshot(&self, dir: &Path) -> Result<String> {
        let clock = &self.shards[0].shared.clock;
        let taken = self.snapshots.fetch_add(1, Ordering::Relaxed);
        let salt = clock.monotonic_ns().cast_unsigned().rotate_left(20) ^ taken;
        let number = BuildHasherDefault::<FxHasher>::default().hash_one(salt);
        let name = snapshot::name(clock.now_ms(), number);
        let dest = dir.join(&name);
        let written = self.each_shard(|shard| {
            let shared = &shard.shared;
            let below = shared.dir.strip_prefix(&self.common.config.dir).unwrap_or(Path::new(""));
            shard.snapshot(dest.join(below))
        });
        if let Err(e) = written {
            if let Err(e) = self.shards[0].shared.fs.remove_dir_all(&dest) {
                tracing::warn!(snapshot = name, error = %e, "cannot remove unfinished snapshot");
            }
            return Err(e.context(format!("make snapshot {name}")));
        }
        Ok(name)
    }

    /// What a rule of retention would remove if it were the only one that matches its series: for showing before it is
    /// set. What is not in parts yet is too new to count.
    ///
    /// Cost: reads all matching series of the parts that reach back far enough.
    ///
    /// # Errors
    /// What `budget` says, or a failure to read.
    pub fn preview(&self, rule: &RetentionRule, budget: &Budget) -> Result<Removal> {
        let (mut series, mut all) = (BTreeSet::new(), Removal::default());
        for shard in &self.shards {
            let found = select::preview(&shard.shared, rule, budget, &mut series)?;
            all.samples += found.samples;
            all.bytes += found.bytes;
        }
        all.series = series.len() as u64;
        Ok(all)
    }

    /// Stops merges where they are, flushes and stops; appends and merges are refused from then on, queries go on.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn close(&self) -> Result<()> {
        self.common.set_wake(None);
        self.common.brake.stop();
        if let Some(merger) = self.merger.lock().take()
            && merger.join().is_err()
        {
            tracing::error!("merger thread panicked");
        }
        self.each_shard(Shard::close)
    }

    /// Does `work` for all shards, at the same time; the first error after all are done.
    fn each_shard(&self, work: impl Fn(&Shard) -> Result<()> + Sync) -> Result<()> {
        if let [only] = &self.shards[..] {
            return work(only);
        }
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> =
                self.shards.iter().map(|shard| scope.spawn(move || work(shard))).collect();
            let panicked = |_| Err(Error::new(ErrorKind::Bug, "a shard's thread panicked"));
            let outcomes: Vec<Result<()>> =
                threads.into_iter().map(|t| t.join().unwrap_or_else(panicked)).collect();
            outcomes.into_iter().collect()
        })
    }

    /// Removes the oldest parts until `bytes_to_free` are freed or none is left; returns the bytes freed.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) when the manifest cannot be written.
    pub fn enforce_disk(&self, bytes_to_free: u64) -> Result<u64> {
        let mut freed = 0;
        while freed < bytes_to_free {
            let of_shard = |shard: &Shard| {
                let head = shard.shared.head.read();
                head.parts.iter().min_by_key(|part| part.meta().last_ms).cloned()
            };
            let oldest = self.shards.iter().filter_map(|s| Some((s, of_shard(s)?)));
            let Some((shard, part)) = oldest.min_by_key(|(_, part)| part.meta().last_ms) else {
                break;
            };
            shard.shared.remove_parts(std::slice::from_ref(&part))?;
            freed += part.file_bytes();
        }
        Ok(freed)
    }

    /// Rows refused because of the series limit since the start, folded by the name of their metric: the first 1,000
    /// names by themselves, all others under the empty name.
    pub fn over_limit(&self) -> BTreeMap<String, u64> {
        self.common.over_limit()
    }

    /// Figures of this moment.
    pub fn stats(&self) -> Stats {
        let mut all = self.shards[0].stats();
        self.shards[1..].iter().for_each(|shard| all.add(shard.stats()));
        all
    }

    /// Whether appends are taken: the worst of the shards' states.
    pub fn state(&self) -> WriterState {
        self.shards.iter().map(Shard::state).fold(WriterState::Ok, worse)
    }

    /// What each shard's readers see.
    pub(crate) fn shards(&self) -> impl ExactSizeIterator<Item = &Arc<Shared>> {
        self.shards.iter().map(|shard| &shard.shared)
    }

    /// Strings that `f` finds in the shards, sorted, each once.
    fn union<T: Ord>(&self, f: impl Fn(&Shared) -> Result<Vec<T>>) -> Result<Vec<T>> {
        if let [only] = &self.shards[..] {
            return f(&only.shared);
        }
        let mut all = BTreeSet::new();
        for shard in &self.shards {
            all.extend(f(&shard.shared)?);
        }
        Ok(all.into_iter().collect())
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
        let mut all = Selected::default();
        for shard in &self.shards {
            let found = select::select(&shard.shared, plan, budget)?;
            all.series.extend(found.series);
            all.warnings.extend(found.warnings);
        }
        if self.shards.len() > 1 {
            all.series = join(all.series);
        }
        Ok(all)
    }

    fn visit(
        &self,
        plan: &MetricPlan,
        visitor: &dyn MetricVisitor,
        budget: &Budget,
    ) -> Result<Visited> {
        let shards: Vec<&Shared> = self.shards.iter().map(|shard| &*shard.shared).collect();
        visit::visit(&shards, plan, visitor, budget)
    }

    fn series(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Labels>> {
        self.union(|shared| select::series(shared, selectors, range, budget))
    }

    fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>> {
        self.union(|shared| select::label_names(shared, selectors, range, budget))
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>> {
        self.union(|shared| select::label_values(shared, name, selectors, range, budget))
    }

    fn metadata(&self, metric: Option<&str>) -> Vec<MetricMetadata> {
        self.common.metadata.read().find(metric)
    }

    fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<SeriesExemplars>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            budget.check()?;
            let shared = &shard.shared;
            all.extend(shared.exemplars.read().find(selectors, select::ms_range(shared, range)));
        }
        budget.charge_samples(all.iter().map(|series| series.exemplars.len() as u64).sum())?;
        Ok(exemplars::join(all))
    }
}

/// One series of each identity out of those of all shards (in order of shards): a series that moved between sources of
/// different shards, or is sent by several. Of two samples at the same time that of the later shard counts.
fn join(mut series: Vec<SeriesData>) -> Vec<SeriesData> {
    // Stable, and made for runs that are sorted already.
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut joined: Vec<SeriesData> = Vec::with_capacity(series.len());
    for next in series {
        match joined.last_mut() {
            Some(last) if last.labels == next.labels => join_two(last, &next),
            _ => joined.push(next),
        }
    }
    joined
}

fn join_two(series: &mut SeriesData, later: &SeriesData) {
    let floats = |s: &SeriesData| -> Vec<(i64, f64)> {
        s.timestamps.iter().copied().zip(s.values.iter().copied()).collect()
    };
    let (times, values): (Vec<i64>, Vec<f64>) =
        join_samples(floats(series), floats(later)).into_iter().unzip();
    let histograms: histograms::Samples = std::mem::take(&mut series.histograms);
    series.histograms = join_samples(histograms, later.histograms.clone());
    let piece = histograms::beside(Piece { times: times.into(), values }, &series.histograms);
    (series.timestamps, series.values) = (piece.times, piece.values);
}

fn join_samples<T>(mut samples: Vec<(i64, T)>, later: Vec<(i64, T)>) -> Vec<(i64, T)> {
    samples.extend(later);
    samples.sort_by_key(|(t, _)| *t);
    samples.reverse();
    samples.dedup_by_key(|(t, _)| *t);
    samples.reverse();
    samples
}

/// How many shards take batches.
fn shard_count(configured: usize) -> usize {
    if configured > 0 {
        return configured.min(SHARDS_MAX);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores <= ONE_SHARD_CORES { 1 } else { cores.min(SHARDS_MAX) }
}

/// Which of `shards` a source belongs to. Sources should stay where they are, as that keeps their parts together, but
/// nothing breaks when one moves.
fn shard_of(source: &str, shards: usize) -> usize {
    let hash = BuildHasherDefault::<FxHasher>::default().hash_one(source);
    usize::try_from((u128::from(hash) * shards as u128) >> 64).unwrap_or(0)
}

/// Directories of the shards that take batches, and of those found beyond.
fn shard_dirs(fs: &dyn Fs, config: &Config, writing: usize) -> Result<Vec<PathBuf>> {
    let name = |number: usize| format!("shard-{number:02}");
    let files = fs
        .list(&config.dir)
        .map_err(|e| storage::fs::error(format!("list {}", config.dir.display()), e))?;
    let found = (1..SHARDS_MAX).filter(|number| {
        *number < writing || files.iter().any(|file| file.is_dir && file.name == name(*number))
    });
    let others = found.map(|number| config.dir.join(name(number)));
    Ok(std::iter::once(config.dir.clone()).chain(others).collect())
}

fn remove_shard(fs: &dyn Fs, dir: &Path) -> Result<()> {
    // Durably, so that a crash cannot undo it after the shard was made anew.
    fs.remove_dir_all(dir)
        .and_then(|()| fs.sync_dir(dir.parent().unwrap_or(dir)))
        .map_err(|e| storage::fs::error(format!("remove {}", dir.display()), e))
}

fn spawn_merger(common: &Common, shards: &[Shard]) -> Result<JoinHandle<()>> {
    let (sender, receiver) = bounded(1);
    common.set_wake(Some(sender));
    let shards: Vec<Arc<Shared>> = shards.iter().map(|shard| Arc::clone(&shard.shared)).collect();
    std::thread::Builder::new()
        .name("tsdb-merger".to_owned())
        .spawn(move || merge::run(&shards, &receiver))
        .map_err(|e| Error::io("start merger thread", e))
}
