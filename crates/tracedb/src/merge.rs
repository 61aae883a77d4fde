//! Merging parts by the hour and the day of their arrival, so that there are few, and each trace lies in one place.
//!
//! Inputs are read block by block in their order, which is the output's; where a trace is in several of them, its other
//! spans are fetched through their lookups, so that memory holds a block per input and one trace. Reading and writing
//! happen on the caller's thread; the result is put in place on the writer thread, if its inputs are still live.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Error, ErrorKind, Result};
use rustc_hash::FxHashSet;

use crate::block::Core;
use crate::part::{Builder, LEVEL_DAY, LEVEL_HOUR, Part, Summary};
use crate::rows::Rows;
use crate::store::Store;

/// zstd level of merged parts.
const MERGE_LEVEL: i32 = 3;
/// Parts of similar size in an hour that is not over, which are merged into one.
const FAN_IN: usize = 8;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// An hour, or a day, is merged for good this long after its end.
const HOUR_GRACE_MS: i64 = 600_000;
const DAY_GRACE_MS: i64 = HOUR_MS;

/// Merges what is due; returns how many parts were written.
pub(crate) fn run(store: &Store) -> Result<u64> {
    let _one_at_a_time = store.merging.lock();
    let mut done = 0;
    loop {
        let parts = store.shared.view.read().parts.clone();
        let Some((level, inputs)) = pick(&parts, store.part_bytes_max, store.clock.now_ms()) else {
            return Ok(done + forget(store)?);
        };
        if !merge(store, level, &inputs, FxHashSet::default())? {
            return Ok(done);
        }
        done += 1;
    }
}

/// Writes parts anew that have traces past their time beside others; returns how many.
fn forget(store: &Store) -> Result<u64> {
    let now_ms = store.clock.now_ms();
    let parts = store.shared.view.read().parts.clone();
    let mut rewritten = 0;
    for part in parts.into_iter().filter(|part| part.damaged_blocks() == 0) {
        let gone = match store.retention.gone(&part, now_ms) {
            // Damage was found just now: the part stays for whoever can repair it.
            Err(e) if e.kind() == ErrorKind::Corrupt => continue,
            gone => gone?,
        };
        if !gone.is_empty() {
            rewritten += u64::from(merge(store, part.summary.level, &[part], gone)?);
        }
    }
    Ok(rewritten)
}

/// The next parts to merge, and the level of what comes out.
fn pick(parts: &[Arc<Part>], bytes_max: u64, now_ms: i64) -> Option<(u8, Vec<Arc<Part>>)> {
    // What is damaged stays as it is, for whoever can repair it.
    let whole = || parts.iter().filter(|p| p.damaged_blocks() == 0);
    let is_over = |start: i64, len: i64, grace: i64| start * len + len + grace <= now_ms;
    let by = |len: i64, level_end: u8| {
        let mut groups: BTreeMap<i64, Vec<&Arc<Part>>> = BTreeMap::new();
        for part in whole().filter(|p| p.summary.level < level_end) {
            groups.entry(part.summary.arrived_ms.div_euclid(len)).or_default().push(part);
        }
        groups
    };
    for (day, group) in by(DAY_MS, LEVEL_DAY) {
        if is_over(day, DAY_MS, DAY_GRACE_MS)
            && let Some(inputs) = fitting(&group, bytes_max)
        {
            return Some((LEVEL_DAY, inputs));
        }
    }
    for (hour, group) in by(HOUR_MS, LEVEL_HOUR) {
        if is_over(hour, HOUR_MS, HOUR_GRACE_MS) {
            if let Some(inputs) = fitting(&group, bytes_max) {
                return Some((LEVEL_HOUR, inputs));
            }
            continue;
        }
        let mut tiers: BTreeMap<u32, Vec<&Arc<Part>>> = BTreeMap::new();
        let tier = |p: &Part| p.bytes.checked_ilog2().unwrap_or(0) / 3;
        group.iter().for_each(|p| tiers.entry(tier(p)).or_default().push(p));
        let full = tiers.into_values().filter(|tier| tier.len() >= FAN_IN);
        if let Some(inputs) = full.filter_map(|tier| fitting(&tier, bytes_max)).next() {
            return Some((0, inputs));
        }
    }
    None
}

/// The first neighbours that fit into one part.
fn fitting(parts: &[&Arc<Part>], bytes_max: u64) -> Option<Vec<Arc<Part>>> {
    (0..parts.len()).find_map(|start| {
        let mut bytes = 0_u64;
        let fit = parts[start..].iter().take_while(|p| {
            bytes = bytes.saturating_add(p.bytes);
            bytes <= bytes_max
        });
        let inputs: Vec<Arc<Part>> = fit.map(|p| Arc::clone(p)).collect();
        (inputs.len() > 1).then_some(inputs)
    })
}

/// Writes the parts as one, without the traces that are `gone`. `false` when the merge came to nothing: damage was found, or an input was removed meanwhile.
fn merge(store: &Store, level: u8, inputs: &[Arc<Part>], gone: FxHashSet<u128>) -> Result<bool> {
    let (id, dir) = store.writer.run(|engine, _| (engine.next_id(), engine.parts_dir.clone()))?;
    let arrived_ms = inputs.iter().map(|p| p.summary.arrived_ms).min().unwrap_or(0);
    let summary = Summary::new(id, level, arrived_ms);
    let mut builder = Builder::create(Arc::clone(&store.fs), &dir, MERGE_LEVEL, summary)?;
    let sources = inputs.iter().map(|part| Source::new(part)).collect();
    let merge = Merge { store, sources, gone, taken: FxHashSet::default(), trace: Rows::default() };
    if !merge.write(&mut builder)? || builder.is_empty() {
        // Dropped unfinished, it leaves no file. The damage is noted: its part is not picked again, others are.
        return Ok(inputs.iter().any(|p| p.damaged_blocks() > 0));
    }
    let merged = builder.finish(&*store.fs, &dir)?;
    let inputs = inputs.to_vec();
    store.writer.run(move |engine, _| engine.replace(&inputs, merged))?
}

/// A part that is read from its first trace to its last.
struct Source<'m> {
    part: &'m Part,
    /// The block that is open, and the one behind it.
    block: Option<(Core, Rows)>,
    next_block: usize,
    /// Next run in the open block.
    run: usize,
}

impl<'m> Source<'m> {
    fn new(part: &'m Part) -> Self {
        Self { part, block: None, next_block: 0, run: 0 }
    }
}

struct Merge<'m> {
    store: &'m Store,
    sources: Vec<Source<'m>>,
    /// Traces that are left out.
    gone: FxHashSet<u128>,
    /// Traces of a source whose spans were fetched before their turn.
    taken: FxHashSet<(usize, u128)>,
    /// Spans of a trace that is in several sources.
    trace: Rows,
}

impl Merge<'_> {
    /// `false` when damage was found.
    fn write(mut self, builder: &mut Builder) -> Result<bool> {
        let mut heap = BinaryHeap::new();
        for number in 0..self.sources.len() {
            if !self.open_next(number, builder)? {
                return Ok(false);
            }
            heap.extend(self.next_of(number).map(Reverse));
        }
        while let Some(Reverse((start_ns, trace_id, number))) = heap.pop() {
            let is_gone = self.gone.contains(&trace_id);
            let is_taken = is_gone || self.taken.contains(&(number, trace_id));
            if !is_taken {
                let others = (0..self.sources.len()).filter(|other| *other != number);
                let mut blocks = Vec::new();
                for other in others {
                    let found = self.sources[other].part.blocks_of(trace_id)?;
                    blocks.extend(found.into_iter().map(|block| (other, block)));
                }
                self.fetch(trace_id, &blocks)?;
            }
            let is_alone = self.trace.is_empty();
            // The trace may go on in the next block.
            while self.next_of(number).is_some_and(|(_, id, _)| id == trace_id) {
                if !is_taken {
                    self.write_run(number, start_ns, is_alone, builder)?;
                }
                self.sources[number].run += 1;
                if self.next_of(number).is_none() && !self.open_next(number, builder)? {
                    return Ok(false);
                }
            }
            if is_taken {
                self.taken.remove(&(number, trace_id));
            } else if !is_alone {
                self.write_trace(start_ns, builder)?;
            }
            if self.sources.iter().any(|source| source.part.damaged_blocks() > 0) {
                return Ok(false);
            }
            heap.extend(self.next_of(number).map(Reverse));
        }
        Ok(true)
    }

    /// Start, trace and source of the next run.
    fn next_of(&self, number: usize) -> Option<(i64, u128, usize)> {
        let source = &self.sources[number];
        let (core, _) = source.block.as_ref()?;
        core.runs.get(source.run).map(|run| (run.trace_start_ns, run.trace_id, number))
    }

    /// Opens the next block, if there is one; `false` when it is damaged.
    fn open_next(&mut self, number: usize, builder: &mut Builder) -> Result<bool> {
        if self.store.closing.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "store is shutting down"));
        }
        let source = &mut self.sources[number];
        builder.forget_source(number);
        source.block = None;
        source.run = 0;
        let block = source.next_block;
        if block == source.part.index.blocks.len() {
            return Ok(true);
        }
        source.next_block += 1;
        source.block = source.part.guard(block, || source.part.read_block(block))?;
        Ok(source.block.is_some())
    }

    /// Fetches the trace's spans in other sources.
    fn fetch(&mut self, trace_id: u128, blocks: &[(usize, usize)]) -> Result<()> {
        self.trace = Rows::default();
        let mut last = None;
        for (number, _) in blocks {
            if last.replace(*number) == Some(*number) {
                continue;
            }
            let before = self.trace.len();
            self.sources[*number].part.read_trace(trace_id, &mut self.trace, &mut |_| Ok(()))?;
            if self.trace.len() > before {
                self.taken.insert((*number, trace_id));
            }
        }
        Ok(())
    }

    fn write_run(
        &mut self,
        number: usize,
        start_ns: i64,
        is_alone: bool,
        builder: &mut Builder,
    ) -> Result<()> {
        let source = &self.sources[number];
        let Some((core, rows)) = &source.block else { return Ok(()) };
        let of_run = core.rows_of(source.run);
        if is_alone {
            return of_run
                .into_iter()
                .try_for_each(|row| builder.push(number, rows, row, start_ns));
        }
        let mut map = crate::rows::Renumbering::new(rows);
        of_run.for_each(|row| self.trace.push_from(rows, row, &mut map));
        Ok(())
    }

    fn write_trace(&mut self, start_ns: i64, builder: &mut Builder) -> Result<()> {
        let source = self.sources.len();
        builder.forget_source(source);
        let mut order: Vec<usize> = (0..self.trace.len()).collect();
        order.sort_by_key(|row| self.trace.rows[*row].start_ns);
        order.into_iter().try_for_each(|row| builder.push(source, &self.trace, row, start_ns))
    }
}
