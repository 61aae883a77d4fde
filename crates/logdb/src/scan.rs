//! Visiting rows in any order of the plan, without decoding more than the visit takes.
//!
//! In time order, blocks and chunks are sources of a k-way merge that are opened only when the merge reaches their first
//! row, and give out lines in small batches. Rows of equal time come in the order in which they were stored (backward:
//! in the reverse of it).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

use model::{
    Budget, Labels, LogPlan, LogRow, LogSource, Order, PATTERN_LABEL, Result, StreamVolume,
    TimeRange,
};
use rustc_hash::FxHashSet;

use crate::bits::Bits;
use crate::fields::Coded;
use crate::head::Chunk;
use crate::hot::{Hot, HotBlocks, OpenBlock};
use crate::part::{BlockMeta, Part};
use crate::patterns::known::Known;
use crate::select::{self, Filters};
use crate::store::Store;
use crate::texts::Texts;
use crate::view::View;

type Visit<'v> = dyn FnMut(&LogRow<'_>) -> ControlFlow<()> + 'v;

/// Lines decoded at once from a source of an ordered scan, at first and later.
const BATCH_MIN: usize = 128;
const BATCH_MAX: usize = 8192;

/// Raw bytes of blocks that stay open during an ordered scan; others are opened again for their next batch.
const OPEN_BYTES_MAX: u64 = 64 << 20;

/// Bytes of memory a row takes while its block is being merged in.
const KEY_BYTES: u64 = size_of::<(i64, u32)>() as u64;

impl LogSource for Store {
    fn scan(&self, plan: &LogPlan, budget: &Budget, visit: &mut Visit<'_>) -> Result<Vec<String>> {
        let view = self.shared.snapshot();
        view.learn_patterns(plan, &[]);
        let filters = Filters::new(plan, &view);
        match plan.order {
            Order::Any => scan_any(&view, plan, &filters, budget, visit)?,
            Order::Forward | Order::Backward => {
                Ordered::new(&view, plan, &filters, budget).run(visit)?;
            }
        }
        Ok(warnings(&view, plan.range))
    }

    fn aggregate(
        &self,
        plan: &LogPlan,
        aggregation: &model::LogAggregation,
        budget: &Budget,
    ) -> Result<Option<Vec<model::StepCounts>>> {
        crate::aggregate::run(&self.shared.snapshot(), plan, aggregation, budget)
    }

    fn volumes(
        &self,
        matchers: &[model::Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<StreamVolume>> {
        crate::volume::run(&self.shared.snapshot(), matchers, range, budget)
    }

    fn streams(
        &self,
        selectors: &[Vec<model::Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Labels>> {
        let view = self.shared.snapshot();
        let mut found: FxHashSet<&Labels> = FxHashSet::default();
        for part in view.all_parts() {
            budget.check()?;
            let runs = part.blocks.iter().flat_map(|b| &b.runs);
            let hit = runs.filter(|r| range.overlaps(r.min_ns, r.max_ns));
            found.extend(hit.filter_map(|r| part.streams.get(r.stream as usize)));
        }
        for chunk in view.chunks.iter().filter(|c| range.overlaps(c.min_ns, c.max_ns)) {
            let rows = chunk.rows.iter().filter(|r| range.contains(r.t_ns));
            found.extend(rows.map(|r| r.stream));
        }
        let matches = |stream: &&&Labels| {
            selectors.is_empty()
                || selectors.iter().any(|s| s.iter().all(|m| m.matches_labels(stream)))
        };
        let mut streams: Vec<Labels> = found.iter().filter(matches).map(|s| (*s).clone()).collect();
        streams.sort_unstable();
        Ok(streams)
    }
}

/// What readers of `range` must know about damage.
pub(crate) fn warnings(view: &View, range: TimeRange) -> Vec<String> {
    let parts = view.all_parts().filter(|p| range.overlaps(p.summary.min_ns, p.summary.max_ns));
    parts.filter_map(|p| p.warning()).collect()
}

fn scan_any(
    view: &View,
    plan: &LogPlan,
    filters: &Filters<'_>,
    budget: &Budget,
    visit: &mut Visit<'_>,
) -> Result<()> {
    for part in view.all_parts() {
        if !plan.range.overlaps(part.summary.min_ns, part.summary.max_ns) {
            continue;
        }
        let wanted = select::matching(&part.streams, &plan.matchers);
        for block in &part.blocks {
            let place = (part, block);
            let Some(selected) = select::select(place, &wanted, plan, filters, &view.hot, budget)?
            else {
                continue;
            };
            let visited = visit_block(part, block, &selected, (plan, &view.known), visit);
            if select::undamaged(part, block, visited)?.is_some_and(|flow| flow.is_break()) {
                return Ok(());
            }
        }
    }
    for chunk in &view.chunks {
        let chunk_row = ChunkRows::new(chunk, plan, &view.known);
        for (_, row) in select::select_chunk(chunk, plan, filters, budget)? {
            if chunk_row.visit(row as usize, visit).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Visits the selected rows of a block as they are stored.
fn visit_block(
    part: &Part,
    block: &BlockMeta,
    selected: &select::Selected<'_>,
    (plan, known): (&LogPlan, &Known),
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>> {
    let none = Labels::default();
    let mut fields = Vec::new();
    let (rows, open) = (&selected.rows, &selected.open);
    read_fields((part, block, open), rows, (plan, known), &mut fields)?;
    let times = open.times(part, block)?;
    let mut runs = block.runs.iter();
    let (mut stream, mut end) = (&none, 0);
    let mut count = 0;
    let mut foreign = None;
    let mut give = |row: usize, line: &[u8]| {
        while row >= end {
            let Some(run) = runs.next() else { return ControlFlow::Break(()) };
            end += run.rows as usize;
            stream = &part.streams[run.stream as usize];
        }
        let line = match std::str::from_utf8(line) {
            Ok(line) => line,
            Err(e) => {
                foreign = Some(e);
                return ControlFlow::Break(());
            }
        };
        count += 1;
        let fields = fields.get(count - 1).unwrap_or(&none);
        visit(&LogRow { stream, t_ns: times[row], line, fields })
    };
    let flow = if !plan.needs_line {
        rows.ones().try_for_each(|row| give(row, b""))
    } else {
        open.lines(part, block)?.try_for_each(rows, &mut give)?
    };
    match foreign {
        Some(e) => Err(select::not_utf8(e)),
        None if flow.is_break() => Ok(flow),
        None => Ok(ControlFlow::Continue(())),
    }
}

/// Appends the fields that `plan` wants of the selected rows; nothing when there are none.
fn read_fields(
    (part, block, open): (&Part, &BlockMeta, &OpenBlock),
    rows: &Bits,
    (plan, known): (&LogPlan, &Known),
    fields: &mut Vec<Labels>,
) -> Result<()> {
    let wanted = plan.needed_fields.as_deref();
    if !wanted.is_some_and(<[String]>::is_empty)
        && let Some(stored) = open.fields(part, block)?
    {
        stored.for_each(rows, wanted, |_, labels| fields.push(labels))?;
    }
    if plan.patterns {
        let patterns = open.patterns(part, block)?.coded(known);
        fields.resize(rows.count(), Labels::default());
        for (fields, row) in fields.iter_mut().zip(rows.ones()) {
            *fields = with_pattern(fields, patterns.value(row));
        }
    }
    Ok(())
}

fn with_pattern(fields: &Labels, pattern: &str) -> Labels {
    let own = fields.iter().filter(|(name, _)| *name != PATTERN_LABEL);
    Labels::from_pairs(own.chain([(PATTERN_LABEL, pattern)]))
}

/// Rows of a chunk as a plan wants them.
struct ChunkRows<'v> {
    chunk: &'v Chunk,
    patterns: Option<Coded<'v>>,
}

impl<'v> ChunkRows<'v> {
    fn new(chunk: &'v Chunk, plan: &LogPlan, known: &Known) -> Self {
        Self { chunk, patterns: plan.patterns.then(|| chunk.patterns().coded(known)) }
    }

    fn visit(&self, row: usize, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let stored = self.chunk.rows.row(row);
        match &self.patterns {
            None => visit(&stored),
            Some(patterns) => {
                let fields = with_pattern(stored.fields, patterns.value(row));
                visit(&LogRow { fields: &fields, ..stored })
            }
        }
    }
}

/// Some rows of a block with their lines and fields.
struct Batch {
    /// Row numbers, ascending.
    rows: Vec<usize>,
    /// One per row, or none at all when lines are not needed.
    lines: Texts,
    /// One per row, or none at all when the block has no fields.
    fields: Vec<Labels>,
}

impl Batch {
    /// `rows` must ascend.
    fn decode(
        part: &Part,
        block: &BlockMeta,
        open: &OpenBlock,
        rows: &[usize],
        (plan, known): (&LogPlan, &Known),
    ) -> Result<Self> {
        let mut select = Bits::new(block.rows as usize);
        rows.iter().for_each(|row| select.set(*row));
        let mut lines = Texts::default();
        if plan.needs_line {
            let mut take = |_: usize, line: &[u8]| lines.push(line);
            open.lines(part, block)?.for_each(&select, &mut take)?;
        }
        let mut fields = Vec::new();
        read_fields((part, block, open), &select, (plan, known), &mut fields)?;
        Ok(Self { rows: rows.to_vec(), lines, fields })
    }

    fn line(&self, i: usize) -> Result<&str> {
        std::str::from_utf8(self.lines.get(i)).map_err(select::not_utf8)
    }
}

/// Where a source's rows are.
enum Place<'v> {
    Block { part: &'v Arc<Part>, block: &'v BlockMeta, wanted: Arc<[bool]> },
    Chunk(&'v Arc<Chunk>),
}

/// A source that the merge has not reached yet.
struct Pending<'v> {
    /// Time of its first row in the order of the visit, or before.
    bound_ns: i64,
    /// Position in the order of storing.
    rank: usize,
    place: Place<'v>,
}

/// A source being merged.
struct Open<'v> {
    place: Place<'v>,
    /// Its rows as (time, row number) in the order of the visit, and how many were visited.
    keys: Vec<(i64, u32)>,
    at: usize,
    batch: Option<Batch>,
    /// How many of `keys` the batch reaches.
    batch_end: usize,
    batch_len: usize,
    /// Kept while there is room.
    block: Option<Hot<'v>>,
    /// Raw bytes of that.
    raw_bytes: u64,
}

/// One scan in time order.
struct Ordered<'v, 'p> {
    plan: &'p LogPlan,
    known: &'v Known,
    filters: &'p Filters<'p>,
    hot: &'v HotBlocks,
    budget: &'p Budget,
    backward: bool,
    /// Last one first.
    pending: Vec<Pending<'v>>,
    open: Vec<Option<Open<'v>>>,
    /// Next row of each open source, first in the order of the visit on top: (time, rank, row, index in `open`), with
    /// the numbers turned around for a forward scan.
    heap: BinaryHeap<Reverse<(i64, i64, i64, usize)>>,
    /// Raw bytes of the blocks that are kept open.
    open_bytes: u64,
}

impl<'v, 'p> Ordered<'v, 'p> {
    fn new(
        view: &'v View,
        plan: &'p LogPlan,
        filters: &'p Filters<'p>,
        budget: &'p Budget,
    ) -> Self {
        let backward = plan.order == Order::Backward;
        let mut pending = Vec::new();
        let mut rank = 0;
        let mut add = |(min_ns, max_ns): (i64, i64), place| {
            let bound_ns = if backward { max_ns } else { min_ns };
            pending.push(Pending { bound_ns, rank, place });
            rank += 1;
        };
        for part in view.all_parts() {
            if !plan.range.overlaps(part.summary.min_ns, part.summary.max_ns) {
                continue;
            }
            let wanted: Arc<[bool]> = select::matching(&part.streams, &plan.matchers).into();
            for block in &part.blocks {
                if let Some(bounds) = select::bounds(block, &wanted, plan.range) {
                    add(bounds, Place::Block { part, block, wanted: Arc::clone(&wanted) });
                }
            }
        }
        for chunk in view.chunks.iter().filter(|c| plan.range.overlaps(c.min_ns, c.max_ns)) {
            add((chunk.min_ns, chunk.max_ns), Place::Chunk(chunk));
        }
        pending.sort_by_key(|p| (p.bound_ns, p.rank));
        if !backward {
            pending.reverse();
        }
        let (open, heap) = (Vec::new(), BinaryHeap::new());
        let (known, hot) = (&*view.known, &*view.hot);
        let open_bytes = 0;
        Self { plan, known, filters, hot, budget, backward, pending, open, heap, open_bytes }
    }

    /// Turns numbers around so that the smallest comes first in the order of the visit.
    fn turn(&self, number: i64) -> i64 {
        if self.backward { !number } else { number }
    }

    fn run(&mut self, visit: &mut Visit<'_>) -> Result<()> {
        let mut visited = 0_u64;
        loop {
            while let Some(next) = self.pending.last() {
                let reached =
                    self.heap.peek().is_none_or(|Reverse(top)| self.turn(next.bound_ns) <= top.0);
                if !reached {
                    break;
                }
                let Some(next) = self.pending.pop() else { break };
                self.open(next)?;
            }
            let Some(Reverse((_, rank, _, index))) = self.heap.pop() else { return Ok(()) };
            visited += 1;
            if visited.is_multiple_of(4096) {
                self.budget.check()?;
            }
            if self.visit_next(index, visit)?.is_break() {
                return Ok(());
            }
            self.push_next(rank, index);
        }
    }

    fn open(&mut self, next: Pending<'v>) -> Result<()> {
        let (mut kept, mut raw_bytes) = (None, 0);
        let mut keys: Vec<(i64, u32)> = match &next.place {
            Place::Chunk(chunk) => {
                select::select_chunk(chunk, self.plan, self.filters, self.budget)?
            }
            Place::Block { part, block, wanted } => {
                let (plan, place) = (self.plan, (*part, *block));
                let found =
                    select::select(place, wanted, plan, self.filters, self.hot, self.budget)?;
                let Some(mut selected) = found else { return Ok(()) };
                if let (Some(limit), [_]) = (self.plan.limit, block.runs.as_slice()) {
                    // Times ascend within a run, and the caller takes no more rows of all together.
                    match self.backward {
                        true => selected.rows.keep_last(limit.max(1)),
                        false => selected.rows.keep_first(limit.max(1)),
                    }
                }
                let keys = selected.open.times(part, block).map(|times| {
                    selected.rows.ones().map(|row| (times[row], row as u32)).collect()
                });
                let keys = select::undamaged(part, block, keys)?.unwrap_or_default();
                if self.open_bytes + block.raw_bytes <= OPEN_BYTES_MAX {
                    (kept, raw_bytes) = (Some(selected.open), block.raw_bytes);
                }
                keys
            }
        };
        if keys.is_empty() {
            return Ok(());
        }
        // The caller takes no more rows than that of all together.
        let limit = self.plan.limit.unwrap_or(usize::MAX).max(1);
        if limit < keys.len() {
            if self.backward {
                keys.select_nth_unstable_by(limit, |a, b| b.cmp(a));
            } else {
                keys.select_nth_unstable(limit);
            }
            keys.truncate(limit);
        }
        keys.sort_unstable();
        if self.backward {
            keys.reverse();
        }
        self.budget.charge_bytes(keys.len() as u64 * KEY_BYTES)?;
        self.open_bytes += raw_bytes;
        let first = self.plan.limit.unwrap_or(BATCH_MIN).clamp(1, BATCH_MIN);
        self.open.push(Some(Open {
            place: next.place,
            keys,
            at: 0,
            batch: None,
            batch_end: 0,
            batch_len: first,
            block: kept,
            raw_bytes,
        }));
        self.push_next(self.turn(next.rank as i64), self.open.len() - 1);
        Ok(())
    }

    fn push_next(&mut self, rank: i64, index: usize) {
        let Some(source) = self.open.get(index).and_then(Option::as_ref) else { return };
        match source.keys.get(source.at) {
            Some((t_ns, row)) => {
                let key = (self.turn(*t_ns), rank, self.turn(i64::from(*row)), index);
                self.heap.push(Reverse(key));
            }
            None => {
                self.open_bytes -= source.raw_bytes;
                self.budget.release_bytes(source.keys.len() as u64 * KEY_BYTES);
                self.open[index] = None;
            }
        }
    }

    fn visit_next(&mut self, index: usize, visit: &mut Visit<'_>) -> Result<ControlFlow<()>> {
        let none = Labels::default();
        let Some(source) = self.open.get_mut(index).and_then(Option::as_mut) else {
            return Ok(ControlFlow::Continue(()));
        };
        let (t_ns, row) = source.keys[source.at];
        let (part, block) = match &source.place {
            Place::Chunk(chunk) => {
                source.at += 1;
                return Ok(ChunkRows::new(chunk, self.plan, self.known).visit(row as usize, visit));
            }
            Place::Block { part, block, .. } => (*part, *block),
        };
        if source.at >= source.batch_end {
            let loaded = source.load_batch(part, block, (self.plan, self.known), self.hot);
            if select::undamaged(part, block, loaded)?.is_none() {
                source.at = source.keys.len();
                return Ok(ControlFlow::Continue(()));
            }
        }
        source.at += 1;
        let Some(batch) = &source.batch else { return Ok(ControlFlow::Continue(())) };
        let Ok(i) = batch.rows.binary_search(&(row as usize)) else {
            return Ok(ControlFlow::Continue(()));
        };
        let Some(line) = select::undamaged(part, block, batch.line(i))? else {
            return Ok(ControlFlow::Continue(()));
        };
        let stream = &part.streams[select::stream_of(block, row as usize) as usize];
        Ok(visit(&LogRow { stream, t_ns, line, fields: batch.fields.get(i).unwrap_or(&none) }))
    }
}

impl Open<'_> {
    fn load_batch(
        &mut self,
        part: &Part,
        block: &BlockMeta,
        plan: (&LogPlan, &Known),
        hot: &HotBlocks,
    ) -> Result<()> {
        let end = (self.at + self.batch_len).min(self.keys.len());
        let mut rows: Vec<usize> = self.keys[self.at..end].iter().map(|k| k.1 as usize).collect();
        rows.sort_unstable();
        let batch = match &self.block {
            Some(open) => Batch::decode(part, block, open, &rows, plan),
            None => Batch::decode(part, block, &hot.open(part, block), &rows, plan),
        };
        self.batch = Some(batch?);
        self.batch_end = end;
        self.batch_len = (self.batch_len * 4).min(BATCH_MAX);
        Ok(())
    }
}
