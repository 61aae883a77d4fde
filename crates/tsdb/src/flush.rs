//! From the head to parts, and what the writer does between batches.
//!
//! Owns: when to flush, how rows and loose samples become parts, which series leave the head, retention. Does not own:
//! merging parts afterwards ([`merge`](crate::merge)).
//!
//! A flush draws a line ([`Engine::freeze`]): what is in the head is frozen, what comes is after it. The parts are written
//! on another thread while ingest goes on ([`Flush::run`]), and the next flush waits for that. Order, so that a crash at any
//! point loses nothing: parts are durable under their names, then the manifest names them together with the WAL position
//! of the line, then readers see them instead of the head, then the WAL is cut.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use model::{Error, ErrorKind, Labels, Matcher, MetricMetadata, Result};
use storage::manifest::Edit;
use storage::wal::Wal;

use crate::column::Column;
use crate::cuts::{TOMBSTONES_MAX, Tombstone};
use crate::engine::{Encoder, Engine};
use crate::exemplars::Stored;
use crate::head::{Frame, LOOSE_BYTES, TargetSamples, settle, tail_columns};
use crate::histograms::{HeadHistograms, Samples};
use crate::part::{Part, PartBuilder, days, file_name, hold_index_bytes, rewritten_name};
use crate::shard::{Shared, WAL_SEQ_KEY};
use crate::side;

/// How often indexes nobody used are dropped from memory.
const INDEX_IDLE_MS: i64 = 10 * 60_000;
/// How often the bytes of indexes are held to their limit.
const MEMORY_LOOK_MS: i64 = 1000;

/// The parts one flush or merge writes: one per day.
pub(crate) struct DayParts<'a> {
    shared: &'a Shared,
    builders: BTreeMap<i64, PartBuilder>,
    /// Sequence number, level and compression of all of them.
    seqs: (u64, u64),
    level: u8,
    cold: bool,
    /// Newest tombstone under which they are written.
    clean: u64,
    /// Name of the part whose place the only one takes.
    instead_of: Option<String>,
}

impl<'a> DayParts<'a> {
    pub(crate) fn new(shared: &'a Shared, seqs: (u64, u64), level: u8, cold: bool) -> Self {
        let (builders, clean, instead_of) = (BTreeMap::new(), 0, None);
        Self { shared, builders, seqs, level, cold, clean, instead_of }
    }

    /// The same, under tombstone number `clean`.
    pub(crate) fn under(self, clean: u64) -> Self {
        Self { clean, ..self }
    }

    /// The same, for the one part that takes the place of `part`.
    pub(crate) fn instead_of(self, part: &Part) -> Self {
        Self { instead_of: Some(part.name().to_owned()), ..self }
    }

    /// Whether they are of a closed day.
    pub(crate) fn cold(&self) -> bool {
        self.cold
    }

    fn name(&self, day: i64) -> String {
        match &self.instead_of {
            Some(before) => rewritten_name(before),
            None => file_name(day, self.seqs.1, self.level),
        }
    }

    /// The builder of `day`, started when first asked for.
    pub(crate) fn day(&mut self, day: i64) -> Result<&mut PartBuilder> {
        let name = self.name(day);
        match self.builders.entry(day) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let path = self.shared.parts_dir.join(name);
                let fs = Arc::clone(&self.shared.fs);
                Ok(entry.insert(PartBuilder::create(fs, &path, self.cold)?))
            }
        }
    }

    /// Makes all parts durable; returns their names.
    pub(crate) fn finish(mut self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (day, builder) in std::mem::take(&mut self.builders) {
            names.push(self.name(day));
            builder.finish(self.level, self.seqs, self.clean)?;
        }
        Ok(names)
    }
}

/// Adds series that have timestamps of their own; those with the same ones share them.
pub(crate) fn add_loose(
    parts: &mut DayParts<'_>,
    loose: impl Iterator<Item = (Labels, Vec<i64>, Vec<f64>)>,
) -> Result<()> {
    type Group = Vec<(Labels, Vec<f64>)>;
    let mut groups: BTreeMap<(i64, Vec<i64>), Group> = BTreeMap::new();
    for (labels, times, values) in loose {
        for (day, start, end) in days(&times) {
            let group = groups.entry((day, times[start..end].to_vec())).or_default();
            group.push((labels.clone(), values[start..end].to_vec()));
        }
    }
    for ((day, times), mut series) in groups {
        series.sort_by(|a, b| a.0.cmp(&b.0));
        let builder = parts.day(day)?;
        builder.target("", &times)?;
        for (labels, values) in series {
            builder.series(&labels, Column { valid: None, values })?;
        }
    }
    Ok(())
}

/// A flush on a thread of its own.
#[derive(Debug)]
pub(crate) struct Running {
    thread: JoinHandle<Result<u64>>,
    /// Disconnected once the thread is done.
    done: Receiver<Never>,
}

/// Nothing is ever sent.
#[derive(Debug)]
pub(crate) enum Never {}

/// What the head had at one moment, on its way to parts. Nothing is copied: it is the front of what each target and
/// series has, which [`TargetSamples::frozen`] and `loose` tell, and which nobody else changes until it is in parts.
#[derive(Debug)]
pub(crate) struct Flush {
    shared: Arc<Shared>,
    /// WAL records below it are in the flush, none from it on.
    wal_seq: u64,
    /// Sequence numbers of the parts of rows and of loose samples.
    seqs: (u64, u64),
    targets: Vec<FrozenTarget>,
    /// Number of series, and how many of its loose samples.
    loose: Vec<(u32, usize)>,
    /// Numbers of series with histograms.
    histograms: Vec<u32>,
    samples: u64,
    notes: Option<Notes>,
}

/// What the side file will say.
#[derive(Debug)]
struct Notes {
    exemplars: Vec<Stored>,
    metadata: Vec<MetricMetadata>,
}

#[derive(Debug)]
struct FrozenTarget {
    number: usize,
    key: Arc<str>,
    /// Number of the series of each column.
    columns: Vec<u32>,
}

impl Flush {
    /// Writes the parts and lets readers see them instead of the head; returns the WAL position behind them.
    ///
    /// # Errors
    /// A failure to write: nothing has changed then.
    pub(crate) fn run(self) -> Result<u64> {
        let shared = &*self.shared;
        let mut names = self.write_rows()?;
        names.extend(self.write_loose()?);
        let mut opened = Vec::with_capacity(names.len());
        for name in &names {
            opened.push(Arc::new(Part::open(&*shared.fs, &shared.parts_dir, name)?));
        }
        let add = |name: &String| Edit::AddPart { name: name.clone(), meta: Vec::new() };
        let mut edits: Vec<Edit> = names.iter().map(add).collect();
        let value = self.wal_seq.to_le_bytes().to_vec();
        edits.push(Edit::Set { key: WAL_SEQ_KEY.to_owned(), value });
        let side = self.write_side()?;
        let mut changes = shared.changes.lock();
        if let Some(name) = &side {
            edits.extend(changes.side.iter().map(|name| Edit::RemovePart { name: name.clone() }));
            edits.push(add(name));
        }
        changes.manifest.commit(&edits)?;
        let flushed = self.swap(opened);
        let before = side.and_then(|name| changes.side.replace(name));
        drop(changes);
        if let Some(Err(e)) = before.map(|name| shared.fs.remove(&shared.parts_dir.join(name))) {
            // No longer in the manifest: the next start removes it.
            tracing::warn!(error = %e, "cannot remove side file");
        }
        // Freeing takes a while; not under the locks.
        drop(flushed);
        Ok(self.wal_seq)
    }

    /// Puts the parts in the place of what they hold; returns that.
    fn swap(&self, opened: Vec<Arc<Part>>) -> (Vec<TargetSamples>, Vec<HeadHistograms>) {
        let mut head = self.shared.head.write();
        let head = &mut *head;
        head.parts.extend(opened);
        head.parts.sort_by_key(|part| part.meta().last_seq);
        let mut flushed = Vec::with_capacity(self.targets.len());
        let mut bytes = 0;
        for target in &self.targets {
            let samples = &mut head.targets[target.number];
            let (frames, rows) = std::mem::take(&mut samples.frozen);
            let gone = TargetSamples {
                key: Arc::clone(&target.key),
                frames: samples.frames.drain(..frames).collect(),
                tail: samples.tail.drain(..rows).collect(),
                frozen: (0, 0),
            };
            bytes += gone.memory_bytes();
            flushed.push(gone);
        }
        for (series, count) in &self.loose {
            let Some(samples) = head.loose.get_mut(series) else { continue };
            samples.drain(..*count);
            bytes += count * LOOSE_BYTES;
            if samples.is_empty() {
                head.loose.remove(series);
            }
        }
        let mut histograms = Vec::with_capacity(self.histograms.len());
        for series in &self.histograms {
            let Some(all) = head.histograms.get_mut(series) else { continue };
            let gone = all.take_frozen();
            bytes += gone.memory_bytes();
            histograms.push(gone);
            if all.is_empty() {
                head.histograms.remove(series);
            }
        }
        head.samples = head.samples.saturating_sub(self.samples);
        head.sample_bytes = head.sample_bytes.saturating_sub(bytes as u64);
        (flushed, histograms)
    }

    fn write_rows(&self) -> Result<Vec<String>> {
        let mut parts = DayParts::new(&self.shared, (self.seqs.0, self.seqs.0), 0, false);
        for target in &self.targets {
            let (samples, labels) = {
                let head = self.shared.head.read();
                let labels = |s: &u32| head.registry.labels(*s);
                let labels: Vec<Option<Labels>> = target.columns.iter().map(labels).collect();
                let samples = &head.targets[target.number];
                let (frames, rows) = samples.frozen;
                let frozen = TargetSamples {
                    key: Arc::clone(&target.key),
                    frames: samples.frames[..frames].to_vec(),
                    tail: samples.tail[..rows].to_vec(),
                    frozen: (0, 0),
                };
                (frozen, labels)
            };
            write_target(&mut parts, &target.key, &samples, &labels)?;
        }
        parts.finish()
    }

    /// Writes the side file if there is something new to say; returns its name.
    fn write_side(&self) -> Result<Option<String>> {
        let Some(Notes { exemplars, metadata }) = &self.notes else { return Ok(None) };
        let name = side::file_name(self.seqs.0);
        let path = self.shared.parts_dir.join(&name);
        side::write(Arc::clone(&self.shared.fs), &path, exemplars, metadata)?;
        Ok(Some(name))
    }

    fn write_loose(&self) -> Result<Vec<String>> {
        let loose: Vec<(Labels, Vec<(i64, u64)>)> = {
            let head = self.shared.head.read();
            let series = |(id, count): &(u32, usize)| {
                let samples = head.loose.get(id)?.get(..*count)?;
                Some((head.registry.labels(*id)?, samples.to_vec()))
            };
            self.loose.iter().filter_map(series).collect()
        };
        let mut parts = DayParts::new(&self.shared, (self.seqs.1, self.seqs.1), 0, false);
        add_loose(
            &mut parts,
            loose.into_iter().map(|(labels, samples)| {
                let (times, values) = settle(&samples);
                (labels, times, values)
            }),
        )?;
        self.write_histograms(&mut parts)?;
        parts.finish()
    }

    fn write_histograms(&self, parts: &mut DayParts<'_>) -> Result<()> {
        let mut all: Vec<(Labels, HeadHistograms)> = {
            let head = self.shared.head.read();
            let series =
                |id: &u32| Some((head.registry.labels(*id)?, head.histograms.get(id)?.frozen()));
            self.histograms.iter().filter_map(series).collect()
        };
        all.sort_by(|a, b| a.0.cmp(&b.0));
        for (labels, histograms) in all {
            add_histograms(parts, &labels, &histograms.read(i64::MIN, i64::MAX)?)?;
        }
        Ok(())
    }
}

impl Engine {
    /// Between groups of batches: flush when due, apply retention, forget idle indexes.
    pub(crate) fn maintain_store(&mut self, wal: &mut Wal, now_ms: i64) -> Result<()> {
        self.shared.note_wal(wal.bytes());
        if self.flushing.as_ref().is_some_and(|running| running.thread.is_finished()) {
            self.join_flush(wal)?;
        }
        let (after_ms, bytes_max) =
            (self.shared.common.config.flush_after_ms, self.shared.common.head_bytes_max);
        let is_old =
            self.dirty_since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= after_ms);
        if self.flushing.is_some() && self.shared.head.read().sample_bytes >= bytes_max {
            // What came while the flush before was written has reached the bound, too: ingest waits.
            self.join_flush(wal)?;
        }
        if self.flushing.is_none()
            && (is_old || self.shared.head.read().sample_bytes >= bytes_max / 2)
        {
            self.start_flush(wal)?;
        }
        self.shared.expire()?;
        if now_ms.saturating_sub(self.index_swept_ms) >= INDEX_IDLE_MS {
            self.index_swept_ms = now_ms;
            let parts = self.shared.head.read().parts.clone();
            parts.iter().for_each(|part| part.forget_idle_index());
        }
        if now_ms.saturating_sub(self.memory_looked_ms) >= MEMORY_LOOK_MS {
            self.memory_looked_ms = now_ms;
            let parts = self.shared.head.read().parts.clone();
            hold_index_bytes(&parts, self.shared.common.index_bytes_max);
            self.shared.note_writer(self.memory_bytes() as u64);
        }
        Ok(())
    }

    /// Writes everything in the head to parts and cuts the WAL, before it returns.
    pub(crate) fn flush(&mut self, wal: &mut Wal) -> Result<()> {
        self.join_flush(wal)?;
        let Some(flush) = self.freeze(wal)? else { return Ok(()) };
        let outcome = flush.run();
        self.end_flush(wal, outcome)
    }

    /// Starts to write everything in the head to parts; the receiver disconnects when that is done.
    pub(crate) fn flush_anew(&mut self, wal: &mut Wal) -> Result<Option<Receiver<Never>>> {
        self.join_flush(wal)?;
        self.start_flush(wal)?;
        Ok(self.flushing.as_ref().map(|running| running.done.clone()))
    }

    /// Like [`flush`](Self::flush), on a thread of its own.
    fn start_flush(&mut self, wal: &mut Wal) -> Result<()> {
        let Some(flush) = self.freeze(wal)? else { return Ok(()) };
        let (sender, done) = bounded(0);
        let run = move || {
            let _sender: Sender<Never> = sender;
            flush.run()
        };
        let thread = std::thread::Builder::new()
            .name("tsdb-flush".to_owned())
            .spawn(run)
            .map_err(|e| Error::new(ErrorKind::Busy, format!("cannot start flush thread: {e}")));
        match thread {
            Ok(thread) => {
                self.flushing = Some(Running { thread, done });
                Ok(())
            }
            Err(e) => self.end_flush(wal, Err(e)),
        }
    }

    /// Waits for the flush that is being written, if any.
    pub(crate) fn join_flush(&mut self, wal: &mut Wal) -> Result<()> {
        let Some(Running { thread, .. }) = self.flushing.take() else { return Ok(()) };
        let panicked = |_| Err(Error::new(ErrorKind::Bug, "flush thread panicked"));
        self.end_flush(wal, thread.join().unwrap_or_else(panicked))
    }

    /// Draws the line between what the next flush writes and what comes after; `None` when there is nothing to write.
    pub(crate) fn freeze(&mut self, wal: &mut Wal) -> Result<Option<Flush>> {
        let shared = Arc::clone(&self.shared);
        let now_ms = shared.clock.now_ms();
        if shared.head.read().samples == 0 && !self.has_notes() {
            self.dirty_since_ms = None;
            self.drop_idle_series();
            return Ok(None);
        }
        // Segments before this one go as a whole once the flush is done.
        wal.start_segment()?;
        let seqs = {
            let mut changes = shared.changes.lock();
            changes.next_seq += 2;
            (changes.next_seq - 2, changes.next_seq - 1)
        };
        let mut targets = Vec::new();
        let (loose, histograms, samples) = {
            let mut head = shared.head.write();
            let head = &mut *head;
            for (number, encoder) in self.encoders.iter().enumerate() {
                let Some(encoder) = encoder else { continue };
                let samples = &mut head.targets[number];
                samples.frozen = (samples.frames.len(), samples.tail.len());
                if samples.frozen != (0, 0) {
                    let (key, columns) = (Arc::clone(&encoder.key), encoder.columns.clone());
                    targets.push(FrozenTarget { number, key, columns });
                }
            }
            let loose = head.loose.iter().map(|(series, samples)| (*series, samples.len()));
            head.histograms.values_mut().for_each(HeadHistograms::freeze);
            (loose.collect(), head.histograms.keys().copied().collect(), head.samples)
        };
        // Even if nothing more comes: series of sources that are gone leave the head at the next flush.
        self.dirty_since_ms = Some(now_ms);
        if std::mem::take(&mut self.unwritten) {
            // Series without new samples still have some that no part has.
            self.encoders.iter_mut().flatten().for_each(Encoder::restart);
        } else {
            self.drop_idle_series();
        }
        let (wal_seq, notes) = (wal.next_seq(), self.freeze_notes());
        Ok(Some(Flush { shared, wal_seq, seqs, targets, loose, histograms, samples, notes }))
    }

    /// After a flush: cuts the WAL, or lets the next flush write what this one could not.
    pub(crate) fn end_flush(&mut self, wal: &mut Wal, outcome: Result<u64>) -> Result<()> {
        let wal_seq = match outcome {
            Ok(wal_seq) => wal_seq,
            Err(e) => {
                let mut head = self.shared.head.write();
                head.targets.iter_mut().for_each(|samples| samples.frozen = (0, 0));
                head.histograms.values_mut().for_each(HeadHistograms::thaw);
                self.unwritten = true;
                // Perhaps there were none; saving them once too often does no harm.
                self.metadata_dirty = true;
                self.shared.exemplars.write().is_dirty = true;
                return Err(e);
            }
        };
        self.compact_targets();
        wal.drop_before(wal_seq)?;
        self.shared.note_wal(wal.bytes());
        self.shared.common.wake_merger();
        Ok(())
    }

    /// Hides what matches any of `selectors` in `[start_ms, end_ms]`; what comes later is not meant.
    pub(crate) fn delete(
        &mut self,
        wal: &mut Wal,
        selectors: Vec<Vec<Matcher>>,
        (start_ms, end_ms): (i64, i64),
    ) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        shared.exemplars.write().delete(
            |series| selectors.iter().any(|all| all.iter().all(|m| m.matches_labels(series))),
            (start_ms, end_ms),
        );
        // Then everything meant is in parts, and nothing else is in the parts of before.
        self.flush(wal)?;
        // What is deleted may come again, and is no duplicate then.
        self.forget_lasts();
        let mut changes = shared.changes.lock();
        let known = shared.head.read().tombstones.len();
        if known + selectors.len() > TOMBSTONES_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("{known} deletions wait to be cleaned; the limit is {TOMBSTONES_MAX}"),
            ));
        }
        let seq = changes.next_seq - 1;
        let (mut new, mut edits) = (Vec::new(), Vec::new());
        for (number, matchers) in (changes.next_tombstone..).zip(selectors) {
            let tombstone = Tombstone { number, seq, start_ms, end_ms, matchers };
            let mut value = Vec::new();
            tombstone.encode(&mut value);
            edits.push(Edit::Set { key: tombstone.key(), value });
            new.push(Arc::new(tombstone));
        }
        changes.manifest.commit(&edits)?;
        changes.next_tombstone += new.len() as u64;
        shared.head.write().tombstones.extend(new);
        Ok(())
    }

    /// Exemplars and metadata for the side file, when it would say something else.
    fn freeze_notes(&mut self) -> Option<Notes> {
        if !self.has_notes() {
            return None;
        }
        self.metadata_dirty = false;
        let mut kept = self.shared.exemplars.write();
        kept.expire(self.shared.oldest_ms());
        kept.is_dirty = false;
        let metadata = self.shared.common.metadata.read().find(None);
        Some(Notes { exemplars: kept.all(), metadata })
    }

    /// Series without a sample in what was just frozen leave the head.
    fn drop_idle_series(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut head = shared.head.write();
        let head = &mut *head;
        let (loose, histograms) = (&head.loose, &head.histograms);
        let is_active =
            |series: u32| loose.contains_key(&series) || histograms.contains_key(&series);
        self.loose_last.retain(|series, _| is_active(*series));
        for target in 0..self.encoders.len() {
            let Some(encoder) = &mut self.encoders[target] else { continue };
            if encoder.seen.count() == encoder.columns.len() {
                encoder.restart();
                continue;
            }
            for series in encoder.drop_unseen(&is_active) {
                head.registry.set_home(series, None);
            }
            let samples = &head.targets[target];
            let is_empty = samples.frames.is_empty() && samples.tail.is_empty();
            if is_empty && encoder.holes == encoder.columns.len() {
                self.forget_target(target);
            }
        }
        let idle =
            head.registry.iter().filter(|(id, series)| series.home().is_none() && !is_active(*id));
        let idle: Vec<u32> = idle.map(|(id, _)| id).collect();
        shared.common.give_series(idle.len());
        idle.into_iter().for_each(|id| head.registry.remove(id));
        head.registry.compact();
    }

    /// Numbers the columns of targets anew that lost most of their series. Right after a flush, as then there are few
    /// rows to write again.
    fn compact_targets(&mut self) {
        let shared = Arc::clone(&self.shared);
        for (target, encoder) in self.encoders.iter_mut().enumerate() {
            let Some(encoder) = encoder.as_mut().filter(|encoder| encoder.is_sparse()) else {
                continue;
            };
            let kept = encoder.compact();
            let columns: Vec<u32> = kept.iter().map(|(column, _)| *column).collect();
            let mut head = shared.head.write();
            let head = &mut *head;
            let samples = &mut head.targets[target];
            let before = samples.memory_bytes();
            if !samples.tail.is_empty() {
                let tail = std::mem::take(&mut samples.tail);
                let frame = Frame::seal(&tail).expect("BUG: rows in memory are what was encoded");
                samples.frames.push(Arc::new(frame));
            }
            for frame in &mut samples.frames {
                *frame = Arc::new(frame.pick(&columns));
            }
            let after = samples.memory_bytes();
            head.sample_bytes = (head.sample_bytes + after as u64).saturating_sub(before as u64);
            let number = u32::try_from(target).unwrap_or(u32::MAX);
            for ((_, series), column) in kept.iter().zip(0u32..) {
                let is_home = head
                    .registry
                    .get(*series)
                    .is_some_and(|s| s.home().is_some_and(|h| h.0 == number));
                if is_home {
                    head.registry.set_home(*series, Some((number, column)));
                }
            }
        }
    }
}

/// Adds a series of histograms to the parts of its days; after all targets.
pub(crate) fn add_histograms(
    parts: &mut DayParts<'_>,
    labels: &Labels,
    samples: &Samples,
) -> Result<()> {
    let times: Vec<i64> = samples.iter().map(|(t, _)| *t).collect();
    for (day, start, end) in days(&times) {
        parts.day(day)?.histograms(labels, &samples[start..end].to_vec())?;
    }
    Ok(())
}

fn write_target(
    parts: &mut DayParts<'_>,
    key: &str,
    samples: &TargetSamples,
    labels: &[Option<Labels>],
) -> Result<()> {
    let mut times: Vec<i64> = Vec::new();
    samples.frames.iter().for_each(|frame| times.extend_from_slice(&frame.times));
    times.extend(samples.tail.iter().map(|row| row.t_ms));
    let days = days(&times);
    for (day, start, end) in &days {
        parts.day(*day)?.target(key, &times[*start..*end])?;
    }
    if days.is_empty() {
        return Ok(());
    }
    let mut order: Vec<(&Labels, u32)> =
        labels.iter().zip(0u32..).filter_map(|(labels, c)| Some((labels.as_ref()?, c))).collect();
    order.sort();
    let wanted: Vec<u32> = (0u32..).take(labels.len()).collect();
    let tails = tail_columns(&samples.tail, &wanted)?;
    let frame_rows = times.len() - samples.tail.len();
    for (labels, c) in order {
        let c = c as usize;
        let mut column = Column::default();
        let mut rows = 0;
        for frame in &samples.frames {
            column.append(rows, &frame.column(c)?, frame.times.len());
            rows += frame.times.len();
        }
        column.append(frame_rows, &tails[c], samples.tail.len());
        for (day, start, end) in &days {
            let part = if days.len() == 1 { column.clone() } else { column.slice(*start, *end) };
            if !part.is_empty() {
                parts.day(*day)?.series(labels, part)?;
            }
        }
    }
    Ok(())
}
