//! From the head to parts, and what the writer does between batches.
//!
//! Owns: when to flush, how rows and loose samples become parts, which series leave the head, retention. Does not own:
//! merging parts afterwards ([`merge`](crate::merge)).
//!
//! Order, so that a crash at any point loses nothing: parts are durable under their names, then the manifest names them
//! together with the WAL position behind their samples, then readers see them instead of the head, then the WAL is cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Labels, Result};
use storage::manifest::Edit;
use storage::wal::Wal;

use crate::column::Column;
use crate::engine::Engine;
use crate::head::{TargetSamples, settle, tail_columns};
use crate::histograms::{HeadHistograms, Samples};
use crate::part::{Part, PartBuilder, days, file_name};
use crate::shard::{Shared, WAL_SEQ_KEY};

/// How often indexes nobody used are dropped from memory.
const INDEX_IDLE_MS: i64 = 10 * 60_000;

/// The parts one flush or merge writes: one per day.
pub(crate) struct DayParts<'a> {
    shared: &'a Shared,
    builders: BTreeMap<i64, PartBuilder>,
    /// Sequence number, level and compression of all of them.
    seqs: (u64, u64),
    level: u8,
    cold: bool,
}

impl<'a> DayParts<'a> {
    pub(crate) fn new(shared: &'a Shared, seqs: (u64, u64), level: u8, cold: bool) -> Self {
        Self { shared, builders: BTreeMap::new(), seqs, level, cold }
    }

    /// The builder of `day`, started when first asked for.
    pub(crate) fn day(&mut self, day: i64) -> Result<&mut PartBuilder> {
        match self.builders.entry(day) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let path = self.shared.parts_dir.join(file_name(day, self.seqs.1, self.level));
                let fs = Arc::clone(&self.shared.fs);
                Ok(entry.insert(PartBuilder::create(fs, &path, self.cold)?))
            }
        }
    }

    /// Makes all parts durable; returns their names.
    pub(crate) fn finish(self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (day, builder) in self.builders {
            names.push(file_name(day, self.seqs.1, self.level));
            builder.finish(self.level, self.seqs.0, self.seqs.1)?;
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

impl Engine {
    /// Between groups of batches: flush when due, apply retention, forget idle indexes.
    pub(crate) fn maintain_store(&mut self, wal: &mut Wal, now_ms: i64) -> Result<()> {
        self.shared.note_wal(wal.bytes());
        let common = &self.shared.common;
        let is_old = self
            .dirty_since_ms
            .is_some_and(|since| now_ms.saturating_sub(since) >= common.config.flush_after_ms);
        if is_old || self.shared.head.read().sample_bytes >= common.head_bytes_max {
            self.flush(wal)?;
        }
        self.shared.expire(now_ms)?;
        if now_ms.saturating_sub(self.index_swept_ms) >= INDEX_IDLE_MS {
            self.index_swept_ms = now_ms;
            let parts = self.shared.head.read().parts.clone();
            parts.iter().for_each(|part| part.forget_idle_index());
        }
        Ok(())
    }

    /// Writes everything in the head to parts and cuts the WAL.
    pub(crate) fn flush(&mut self, wal: &mut Wal) -> Result<()> {
        if self.shared.head.read().samples == 0 {
            self.dirty_since_ms = None;
            self.drop_idle_series(&BTreeSet::new());
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let mut changes = shared.changes.lock();
        let (rows_seq, loose_seq) = (changes.next_seq, changes.next_seq + 1);
        let mut names = self.write_rows(&shared, rows_seq)?;
        names.extend(write_loose(&shared, loose_seq)?);
        let mut opened = Vec::with_capacity(names.len());
        for name in &names {
            opened.push(Arc::new(Part::open(&*shared.fs, &shared.parts_dir, name)?));
        }
        let add = |name: &String| Edit::AddPart { name: name.clone(), meta: Vec::new() };
        let mut edits: Vec<Edit> = names.iter().map(add).collect();
        let value = wal.next_seq().to_le_bytes().to_vec();
        edits.push(Edit::Set { key: WAL_SEQ_KEY.to_owned(), value });
        changes.manifest.commit(&edits)?;
        changes.next_seq += 2;
        let flushed = {
            let mut head = shared.head.write();
            head.parts.extend(opened);
            head.parts.sort_by_key(|part| part.meta().last_seq);
            head.targets.iter_mut().for_each(|target| *target = TargetSamples::default());
            (head.samples, head.sample_bytes) = (0, 0);
            let (loose, histograms) =
                (std::mem::take(&mut head.loose), std::mem::take(&mut head.histograms));
            loose.into_keys().chain(histograms.into_keys()).collect()
        };
        drop(changes);
        // Even if nothing more comes: series of sources that are gone leave the head at the next flush.
        self.dirty_since_ms = Some(shared.clock.now_ms());
        self.drop_idle_series(&flushed);
        wal.drop_before(wal.next_seq())?;
        shared.note_wal(wal.bytes());
        shared.common.wake_merger();
        Ok(())
    }

    fn write_rows(&self, shared: &Shared, seq: u64) -> Result<Vec<String>> {
        let mut parts = DayParts::new(shared, (seq, seq), 0, false);
        for (target, encoder) in self.encoders.iter().enumerate() {
            let Some(encoder) = encoder else { continue };
            let (samples, labels) = {
                let head = shared.head.read();
                let labels = |s: &u32| head.registry.get(*s).map(|s| s.labels.clone());
                let labels: Vec<Option<Labels>> = encoder.columns.iter().map(labels).collect();
                (head.targets[target].clone(), labels)
            };
            write_target(&mut parts, &encoder.key, &samples, &labels)?;
        }
        parts.finish()
    }

    /// Series without a sample in the flush that just happened leave the head.
    fn drop_idle_series(&mut self, flushed_loose: &BTreeSet<u32>) {
        let shared = Arc::clone(&self.shared);
        self.loose_last.retain(|series, _| flushed_loose.contains(series));
        let mut head = shared.head.write();
        for target in 0..self.encoders.len() {
            let Some(encoder) = &mut self.encoders[target] else { continue };
            if encoder.seen.count() == encoder.columns.len() {
                encoder.restart();
                continue;
            }
            let seen = std::mem::take(&mut encoder.seen);
            let (dropped, moved) = encoder.compact(&seen);
            let home_of = |column| Some((u32::try_from(target).ok()?, column));
            for (series, column) in moved {
                head.registry.set_home(series, home_of(column));
            }
            for series in dropped {
                head.registry.set_home(series, None);
            }
            if encoder.columns.is_empty() {
                self.forget_target(target);
            }
        }
        let registry = &head.registry;
        let idle: Vec<u32> = registry
            .iter()
            .filter(|(id, series)| series.home.is_none() && !flushed_loose.contains(id))
            .map(|(id, _)| id)
            .collect();
        shared.common.give_series(idle.len());
        idle.into_iter().for_each(|id| head.registry.remove(id));
    }
}

fn write_loose(shared: &Shared, seq: u64) -> Result<Vec<String>> {
    let loose: Vec<(Labels, Vec<(i64, u64)>)> = {
        let head = shared.head.read();
        let series = |(id, samples): (&u32, &Vec<(i64, u64)>)| {
            Some((head.registry.get(*id)?.labels.clone(), samples.clone()))
        };
        head.loose.iter().filter_map(series).collect()
    };
    let mut parts = DayParts::new(shared, (seq, seq), 0, false);
    add_loose(
        &mut parts,
        loose.into_iter().map(|(labels, samples)| {
            let (times, values) = settle(&samples);
            (labels, times, values)
        }),
    )?;
    write_histograms(shared, &mut parts)?;
    parts.finish()
}

fn write_histograms(shared: &Shared, parts: &mut DayParts<'_>) -> Result<()> {
    let mut all: Vec<(Labels, HeadHistograms)> = {
        let head = shared.head.read();
        let series = |(id, histograms): (&u32, &HeadHistograms)| {
            Some((head.registry.get(*id)?.labels.clone(), histograms.clone()))
        };
        head.histograms.iter().filter_map(series).collect()
    };
    all.sort_by(|a, b| a.0.cmp(&b.0));
    for (labels, histograms) in all {
        add_histograms(parts, &labels, &histograms.read(i64::MIN, i64::MAX)?)?;
    }
    Ok(())
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
