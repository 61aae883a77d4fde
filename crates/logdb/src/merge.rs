//! Merging the parts of a day, so that there are few and their blocks are large and sorted.
//!
//! Only neighbours in the order of arrival are merged, so rows of equal time keep their order. A block that is large
//! already and alone in its time is copied as it is, so a row is encoded a few times at most however often its part is
//! merged. Reading and writing happen on the caller's thread; the result is put in place on the writer thread, if its
//! inputs are still live.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Error, ErrorKind, Labels, LogDeletion, Result};
use rustc_hash::FxHashMap;

use crate::bits::Bits;
use crate::column::Encoder;
use crate::deletions::CANCEL_MS;
use crate::hot::OpenBlock;
use crate::part::{BlockMeta, Builder, DAY_NS, Part, Summary};
use crate::retention::{Classes, Retention};
use crate::select::Filters;
use crate::store::Store;
use crate::texts::Texts;

/// zstd level of merged parts.
const MERGE_LEVEL: i32 = 3;
/// Neighbours of similar size that are merged into one.
const FAN_IN: usize = 8;
/// Raw bytes of lines a merged part may have.
const RAW_BYTES_MAX: u64 = 4 << 30;
/// Raw bytes of the smallest size class; each further class is eight times larger.
const TIER_BYTES: u64 = 8 << 20;
/// A day is merged for good this long after its end.
const DAY_GRACE_NS: i64 = 3_600_000_000_000;
/// Raw bytes of lines, or rows, from which on a block of one stream is not encoded again.
const COPIED_BYTES_MIN: u64 = 640 << 10;
const COPIED_ROWS_MIN: u32 = 16 << 10;
/// Raw bytes of decoded blocks kept during a merge.
const CACHE_BYTES_MAX: u64 = 32 << 20;

/// Merges what is due; returns how many merges were done.
pub(crate) fn run(store: &Store) -> Result<u64> {
    let _one_at_a_time = store.merging.lock();
    let mut done = 0;
    loop {
        let parts = store.shared.view.read().parts.clone();
        let bytes_max = store.part_bytes_max;
        let now_ns = store.clock.now_ns();
        let Some(inputs) = pick(&parts, &store.retention, bytes_max, now_ns) else {
            return Ok(done + store.apply_deletions()? + forget_classes(store)?);
        };
        if !merge(store, &inputs)? {
            return Ok(done);
        }
        done += 1;
    }
}

/// The next parts to merge: neighbours of one day.
fn pick(
    parts: &[Arc<Part>],
    retention: &Retention,
    part_bytes_max: u64,
    now_ns: i64,
) -> Option<Vec<Arc<Part>>> {
    let mut days: Vec<i64> = parts.iter().map(|p| p.summary.day).collect();
    days.sort_unstable();
    days.dedup();
    days.into_iter().find_map(|day| {
        let of_day: Vec<&Arc<Part>> = parts.iter().filter(|p| p.summary.day == day).collect();
        let is_closed = (day + 1).saturating_mul(DAY_NS).saturating_add(DAY_GRACE_NS) < now_ns;
        // Parts of different classes have no stream in common, unless one has several classes: nothing goes past that.
        let is_mixed = |p: &&Arc<Part>| !retention.classes_of(p).is_power_of_two();
        let runs = of_day.split(is_mixed).chain(of_day.split(|p| !is_mixed(p)));
        runs.filter(|run| !run.is_empty()).find_map(|run| {
            let mut classes: Vec<Classes> = run.iter().map(|p| retention.classes_of(p)).collect();
            classes.sort_unstable();
            classes.dedup();
            classes.into_iter().find_map(|class| {
                let is_of = |p: &&&Arc<Part>| retention.classes_of(p) == class;
                let of_class: Vec<&Arc<Part>> = run.iter().filter(is_of).copied().collect();
                pick_of_day(&of_class, is_closed, part_bytes_max)
                    .map(|inputs| inputs.into_iter().cloned().collect())
            })
        })
    })
}

/// Writes parts anew that have streams past their time beside others; returns how many.
fn forget_classes(store: &Store) -> Result<u64> {
    let now_ms = store.clock.now_ms();
    let parts = store.shared.view.read().parts.clone();
    let mut rewritten = 0;
    for part in parts {
        if part.damaged_blocks() == 0 && store.retention.is_partly_over(&part, now_ms) {
            rewritten += u64::from(merge(store, &[part])?);
        }
    }
    Ok(rewritten)
}

fn pick_of_day<'p>(
    parts: &[&'p Arc<Part>],
    is_closed: bool,
    part_bytes_max: u64,
) -> Option<Vec<&'p Arc<Part>>> {
    let tier =
        |p: &Part| (p.summary.raw_bytes / TIER_BYTES).checked_ilog2().map_or(0, |l| l / 3 + 1);
    let raw = |run: &[&Arc<Part>]| run.iter().map(|p| p.summary.raw_bytes).sum::<u64>();
    let fits = |run: &[&Arc<Part>]| run.iter().map(|p| p.bytes).sum::<u64>() <= part_bytes_max;
    // Two that are not past the half can always become one; so none is left small for its neighbour's sake.
    let is_large = |p: &Part| p.bytes > part_bytes_max / 2;
    for level in 0..=12 {
        for run in parts.split(|p| tier(p) > level || p.damaged_blocks() > 0 || is_large(p)) {
            let mut run = run;
            while run.len() > FAN_IN * 2 || (run.len() > 1 && raw(run) > RAW_BYTES_MAX) {
                run = &run[..run.len() - 1];
            }
            let is_full = !fits(run);
            while run.len() > 1 && !fits(run) {
                run = &run[..run.len() - 1];
            }
            let total = raw(run);
            let largest = run.iter().map(|p| p.summary.raw_bytes).max().unwrap_or(0);
            // Writing a large part again must bring in something worth it.
            let worth = run.len() >= 2 && (total - largest).saturating_mul(4) >= largest;
            if run.len() >= FAN_IN || (is_closed && worth) || (is_full && run.len() >= 2) {
                return Some(run.to_vec());
            }
        }
    }
    None
}

/// `false` when the merge came to nothing: damage was found, or an input was removed meanwhile.
pub(crate) fn merge(store: &Store, inputs: &[Arc<Part>]) -> Result<bool> {
    let Some(first) = inputs.first() else { return Ok(false) };
    let (order, day) = (first.summary.order, first.summary.day);
    let (id, dir) = store.writer.run(|engine, _| (engine.next_id(), engine.parts_dir.clone()))?;
    let mut encoder = Encoder::new(MERGE_LEVEL)?;
    let known = Arc::clone(&store.shared.view.read().known);
    let mut builder =
        Builder::file(Arc::clone(&store.fs), &dir, known, Summary::new(id, order, day))?;
    let due_ms = store.clock.now_ms().saturating_sub(CANCEL_MS);
    let view = store.shared.snapshot();
    let due: Vec<LogDeletion> =
        view.deletions.iter().filter(|d| d.created_ms <= due_ms).cloned().collect();
    let gone = Filters::of_deletions(&due, &view.known);
    let cache = FxHashMap::default();
    match (Merge { store, inputs, gone, cache, cached_bytes: 0, uses: 0 })
        .write(&mut builder, &mut encoder)
    {
        Ok(()) => {}
        // Noted on the block: it is not merged again, and the rest stays as it is.
        Err(e) if e.kind() == ErrorKind::Corrupt => return Ok(true),
        Err(e) => return Err(e),
    }
    let inputs = inputs.to_vec();
    if builder.is_empty() {
        // Dropped unfinished, it leaves no file that anybody knows of.
        return store.writer.run(move |engine, _| engine.discard(&inputs))?;
    }
    let merged = builder.finish_file(&mut encoder, &*store.fs, &dir)?;
    store.writer.run(move |engine, _| engine.replace(&inputs, merged))?
}

/// A block's rows, decoded.
struct Decoded {
    times: Vec<i64>,
    /// Rows that are left out.
    gone: Option<Bits>,
    lines: Texts,
    /// Empty when the block has none.
    fields: Vec<Labels>,
    raw_bytes: u64,
}

struct Merge<'m> {
    store: &'m Store,
    inputs: &'m [Arc<Part>],
    /// What was deleted.
    gone: Filters<'m>,
    /// By input and block; with the time of last use.
    cache: FxHashMap<(usize, usize), (u64, Rc<Decoded>)>,
    cached_bytes: u64,
    uses: u64,
}

/// Time, input, block, row and index among the open pieces: compared in this order.
type NextRow = (i64, usize, usize, usize, usize);

/// A run of one stream in one block of one input.
#[derive(Clone, Copy)]
struct Piece {
    min_ns: i64,
    max_ns: i64,
    input: usize,
    block: usize,
    /// First row and end in the block.
    start: usize,
    end: usize,
}

impl Merge<'_> {
    fn write(&mut self, builder: &mut Builder, encoder: &mut Encoder) -> Result<()> {
        let mut pieces: FxHashMap<&Labels, Vec<Piece>> = FxHashMap::default();
        for (input, part) in self.inputs.iter().enumerate() {
            for (block, meta) in part.blocks.iter().enumerate() {
                let mut start = 0;
                for run in &meta.runs {
                    let end = start + run.rows as usize;
                    let (min_ns, max_ns) = (run.min_ns, run.max_ns);
                    let piece = Piece { min_ns, max_ns, input, block, start, end };
                    pieces.entry(&part.streams[run.stream as usize]).or_default().push(piece);
                    start = end;
                }
            }
        }
        let mut streams: Vec<(&Labels, Vec<Piece>)> = pieces.into_iter().collect();
        streams.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let now_ms = self.store.clock.now_ms();
        for (stream, mut pieces) in streams {
            let retention = &self.store.retention;
            let oldest_ns = retention.oldest_ns(retention.class(stream), now_ms);
            pieces.retain(|p| p.max_ns >= oldest_ns);
            if pieces.is_empty() {
                continue;
            }
            let number = builder.stream(stream);
            pieces.sort_by_key(|p| Reverse((p.min_ns, p.input, p.block)));
            self.write_stream(number, pieces, builder, encoder)?;
        }
        Ok(())
    }

    /// A k-way merge by time that opens a piece when it gets there; `pieces` has the first one last.
    fn write_stream(
        &mut self,
        stream: u32,
        mut pieces: Vec<Piece>,
        builder: &mut Builder,
        encoder: &mut Encoder,
    ) -> Result<()> {
        let none = Labels::default();
        let mut open: Vec<Option<(Rc<Decoded>, Piece)>> = Vec::new();
        let mut heap: BinaryHeap<Reverse<NextRow>> = BinaryHeap::new();
        loop {
            if heap.is_empty()
                && let Some(piece) = pieces.pop_if(|p| self.is_copied(p))
            {
                if pieces.last().is_none_or(|next| piece.max_ns < next.min_ns) {
                    self.copy(&piece, stream, builder, encoder)?;
                    continue;
                }
                pieces.push(piece);
            }
            while let Some(piece) =
                pieces.pop_if(|p| heap.peek().is_none_or(|Reverse(top)| p.min_ns <= top.0))
            {
                let decoded = self.decoded(piece.input, piece.block)?;
                if let Some(t_ns) = decoded.times.get(piece.start) {
                    heap.push(Reverse((*t_ns, piece.input, piece.block, piece.start, open.len())));
                }
                open.push(Some((decoded, piece)));
            }
            let Some(Reverse((t_ns, input, block, row, index))) = heap.pop() else { return Ok(()) };
            let Some(Some((decoded, piece))) = open.get(index) else { continue };
            let fields = decoded.fields.get(row).unwrap_or(&none);
            if !decoded.gone.as_ref().is_some_and(|gone| gone.get(row)) {
                builder.push(encoder, stream, t_ns, decoded.lines.get(row), fields)?;
            }
            match decoded.times.get(row + 1).filter(|_| row + 1 < piece.end) {
                Some(next) => heap.push(Reverse((*next, input, block, row + 1, index))),
                None => open[index] = None,
            }
        }
    }

    /// Whether the block of `piece` may be copied: it is large, of one stream, and keeps all its rows.
    fn is_copied(&self, piece: &Piece) -> bool {
        let part = &self.inputs[piece.input];
        let meta = &part.blocks[piece.block];
        meta.runs.len() == 1
            && (meta.raw_bytes >= COPIED_BYTES_MIN || meta.rows >= COPIED_ROWS_MIN)
            && self.gone.are_idle(part, meta)
    }

    fn copy(
        &self,
        piece: &Piece,
        stream: u32,
        builder: &mut Builder,
        encoder: &mut Encoder,
    ) -> Result<()> {
        self.check_open()?;
        let part = &self.inputs[piece.input];
        let meta = &part.blocks[piece.block];
        builder.copy_block(encoder, part, meta, stream).inspect_err(|e| note_damage(part, meta, e))
    }

    fn check_open(&self) -> Result<()> {
        if self.store.closing.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "store is shutting down"));
        }
        Ok(())
    }

    fn decoded(&mut self, input: usize, block: usize) -> Result<Rc<Decoded>> {
        self.uses += 1;
        if let Some((used, decoded)) = self.cache.get_mut(&(input, block)) {
            *used = self.uses;
            return Ok(Rc::clone(decoded));
        }
        self.check_open()?;
        let part = &self.inputs[input];
        let meta = &part.blocks[block];
        let decoded = decode(part, meta, &self.gone).inspect_err(|e| note_damage(part, meta, e))?;
        let decoded = Rc::new(decoded);
        self.cached_bytes += decoded.raw_bytes;
        while self.cached_bytes > CACHE_BYTES_MAX {
            let oldest = self.cache.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            let Some((_, gone)) = oldest.and_then(|key| self.cache.remove(&key)) else { break };
            self.cached_bytes -= gone.raw_bytes;
        }
        self.cache.insert((input, block), (self.uses, Rc::clone(&decoded)));
        Ok(decoded)
    }
}

fn note_damage(part: &Part, meta: &BlockMeta, e: &Error) {
    if e.kind() == ErrorKind::Corrupt {
        part.set_damaged(meta, e);
    }
}

fn decode(part: &Part, meta: &BlockMeta, deleted: &Filters<'_>) -> Result<Decoded> {
    let mut all = Bits::new(meta.rows as usize);
    all.set_range(0, meta.rows as usize);
    let mut lines = Texts::default();
    let open = OpenBlock::default();
    open.lines(part, meta)?.for_each(&all, &mut |_, line| lines.push(line))?;
    let mut fields = Vec::new();
    if let Some(stored) = open.fields(part, meta)? {
        stored.for_each(&all, None, |_, labels| fields.push(labels))?;
    }
    let raw_bytes = lines.bytes_len() as u64;
    let gone = deleted.deleted_rows(part, meta, &open)?;
    let times = open.times(part, meta)?.to_vec();
    Ok(Decoded { times, gone, lines, fields, raw_bytes })
}
