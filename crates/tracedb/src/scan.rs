//! Traces with their spans: one by its id, and those of a [`TracePlan`], newest first.
//!
//! Blocks and the head are sources of traces; a block is opened when no trace that waits is newer than its newest one, and
//! while little is found, several at once, by all cores. A trace that may have spans in other places, too, is put together
//! from all of them. Does not own: the conditions (`screen`).

use std::cmp;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZero;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use model::{Budget, Error, ErrorKind, Result, Trace, TracePlan};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::assembly::{Assembly, span_bytes};
use crate::block::{Core, OpenBlock, Projection};
use crate::part::Part;
use crate::rows::{Renumbering, Rows};
use crate::screen::{self, HeadScreen, Screen};
use crate::store::Store;
use crate::view::View;

/// Blocks kept for the other spans of traces; neighbours in one block are neighbours in the other, mostly.
const OTHERS_MAX: usize = 4;
/// Blocks opened at once.
const OPENED_AT_ONCE_MAX: usize = 32;
/// Threads of one scan.
const THREADS_MAX: usize = 8;
/// Bytes of memory by which a trace that was given is known.
const GIVEN_BYTES: u64 = 32;

/// Rows of the head that are taken before they are paid for.
const ROWS_PER_CHARGE: usize = 10_000;

/// What a query has paid for the rows of a trace that grows.
#[derive(Debug, Default)]
struct Paid {
    rows: u64,
    bytes: u64,
}

impl Paid {
    fn pay(&mut self, rows: &Rows, budget: &Budget) -> Result<()> {
        let (count, bytes) = (rows.len() as u64, rows.memory_bytes() as u64);
        budget.charge_samples(count - self.rows)?;
        budget.charge_bytes(bytes.saturating_sub(self.bytes))?;
        *self = Self { rows: count, bytes: bytes.max(self.bytes) };
        Ok(())
    }
}

impl Store {
    pub(crate) fn read_trace(&self, trace_id: u128, budget: &Budget) -> Result<Option<Trace>> {
        let view = self.shared.snapshot();
        let mut rows = Rows::default();
        let mut paid = Paid::default();
        for part in &view.parts {
            budget.check()?;
            part.read_trace(trace_id, &mut rows, &mut |rows| paid.pay(rows, budget))?;
        }
        for chunk in &view.chunks {
            let found = chunk.rows_of(trace_id);
            if found.is_empty() {
                continue;
            }
            let mut map = Renumbering::new(&chunk.rows);
            for some in found.chunks(ROWS_PER_CHARGE) {
                some.iter().for_each(|row| rows.push_from(&chunk.rows, *row as usize, &mut map));
                paid.pay(&rows, budget)?;
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        budget.charge_bytes(span_bytes(&rows, 0..rows.len()))?;
        let groups = rows.groups()?;
        budget.release_bytes(paid.bytes);
        Ok(Some(Trace { trace_id, groups }))
    }

    pub(crate) fn scan_traces(
        &self,
        plan: &TracePlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&Trace) -> ControlFlow<()>,
    ) -> Result<()> {
        let view = self.shared.snapshot();
        let mut scan = Scan {
            view: &view,
            plan,
            budget,
            queue: BinaryHeap::new(),
            given: FxHashSet::default(),
            others: VecDeque::new(),
            held_bytes: 0,
            opened_at_once: 1,
        };
        let outcome = scan.run(visit);
        budget.release_bytes(scan.held_bytes);
        outcome
    }
}

/// Something that waits for its turn: no trace in it starts later than `start_ns`.
struct Waiting<'v> {
    start_ns: i64,
    what: What<'v>,
}

enum What<'v> {
    Block(&'v Part, usize),
    Opened(Box<Opened<'v>>),
    Ready(Box<Made>),
}

/// A trace to give.
struct Made {
    /// Of its first span.
    start_ns: i64,
    trace: Trace,
    /// What is paid for it.
    bytes: u64,
}

impl PartialEq for Waiting<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.start_ns == other.start_ns
    }
}

impl Eq for Waiting<'_> {}

impl PartialOrd for Waiting<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting<'_> {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        self.start_ns.cmp(&other.start_ns)
    }
}

/// Traces found in one source.
struct Opened<'v> {
    /// The block they are of; `None` for the head.
    of: Option<(&'v Part, usize)>,
    rows: Rows,
    assembly: Assembly,
    bytes: u64,
    /// Ascending by start.
    found: Vec<Found>,
}

/// A trace with spans wanted.
struct Found {
    trace_id: u128,
    /// Of its first span in this source.
    start_ns: i64,
    /// Its rows; empty for the head, whose rows are many chunks'.
    rows: Range<usize>,
    /// Whether its spans here satisfy all conditions.
    is_complete: bool,
    /// Whether the neighbouring blocks may have more of it.
    is_at_edge: bool,
}

/// A block by part and number, with all its rows.
struct Other {
    part: u64,
    number: usize,
    block: Arc<(Core, Rows)>,
}

struct Scan<'v> {
    view: &'v View,
    plan: &'v TracePlan,
    budget: &'v Budget,
    queue: BinaryHeap<Waiting<'v>>,
    /// Traces that were put together from several places.
    given: FxHashSet<u128>,
    others: VecDeque<Other>,
    held_bytes: u64,
    /// Blocks to open next.
    opened_at_once: usize,
}

impl<'v> Scan<'v> {
    fn run(&mut self, visit: &mut dyn FnMut(&Trace) -> ControlFlow<()>) -> Result<()> {
        let view = self.view;
        for part in &view.parts {
            for (number, block) in part.index.blocks.iter().enumerate() {
                let mut conditions = self.plan.conditions.iter();
                if self.plan.range.overlaps(block.min_ns, block.max_ns)
                    && conditions.any(|c| screen::may_match(c, part, block))
                {
                    let what = What::Block(part, number);
                    self.queue.push(Waiting { start_ns: block.trace_start_max_ns, what });
                }
            }
        }
        let head = self.search_head()?;
        self.wait_for(head);
        while let Some(Waiting { what, .. }) = self.queue.pop() {
            self.budget.check()?;
            match what {
                What::Block(part, number) => {
                    let mut blocks = vec![(part, number)];
                    while blocks.len() < self.opened_at_once
                        && let Some(&Waiting { what: What::Block(part, number), .. }) =
                            self.queue.peek()
                    {
                        self.queue.pop();
                        blocks.push((part, number));
                    }
                    self.open(&blocks)?;
                }
                What::Opened(mut opened) => {
                    let Some(found) = opened.found.pop() else { continue };
                    let made = self.trace(&mut opened, &found)?;
                    self.wait_for(Some(opened));
                    let Some(made) = made else { continue };
                    let start_ns = made.start_ns;
                    if self.queue.peek().is_some_and(|next| next.start_ns > start_ns) {
                        self.queue.push(Waiting { start_ns, what: What::Ready(Box::new(made)) });
                    } else if self.give(made, visit).is_break() {
                        return Ok(());
                    }
                }
                What::Ready(made) => {
                    if self.give(*made, visit).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts what is left of a source back in the queue.
    fn wait_for(&mut self, opened: Option<Box<Opened<'v>>>) {
        let Some(opened) = opened else { return };
        match opened.found.last() {
            Some(next) => {
                self.queue.push(Waiting { start_ns: next.start_ns, what: What::Opened(opened) });
            }
            None => self.release(opened.bytes),
        }
    }

    fn give(
        &mut self,
        made: Made,
        visit: &mut dyn FnMut(&Trace) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let flow = visit(&made.trace);
        let bytes = made.bytes;
        drop(made);
        self.release(bytes);
        flow
    }

    fn release(&mut self, bytes: u64) {
        self.budget.release_bytes(bytes);
        self.held_bytes -= bytes;
    }

    fn hold(&mut self, bytes: u64) -> Result<()> {
        self.held_bytes += bytes;
        self.budget.charge_bytes(bytes)
    }

    /// Traces of the head.
    fn search_head(&mut self) -> Result<Option<Box<Opened<'v>>>> {
        let plan = self.plan;
        let mut rows = Rows::default();
        let mut starts: FxHashMap<u128, i64> = FxHashMap::default();
        for chunk in &self.view.chunks {
            if !plan.range.overlaps(chunk.min_ns, chunk.max_ns) {
                continue;
            }
            self.budget.charge_samples(chunk.rows.len() as u64)?;
            let screen = HeadScreen::new(&chunk.rows)?;
            let mut map = Renumbering::new(&chunk.rows);
            for (index, row) in chunk.rows.rows.iter().enumerate() {
                if !plan.range.contains(row.start_ns) {
                    continue;
                }
                for condition in &plan.conditions {
                    if screen.holds(condition, row)? {
                        if plan.is_whole {
                            starts.entry(row.trace_id).or_insert(row.start_ns);
                        } else {
                            rows.push_from(&chunk.rows, index, &mut map);
                        }
                        break;
                    }
                }
            }
        }
        let mut found = Vec::new();
        if plan.is_whole {
            #[expect(clippy::iter_over_hash_type, reason = "sorted below")]
            for (trace_id, some_start_ns) in starts {
                let chunks = self.view.chunks.iter();
                let all = chunks.flat_map(|chunk| {
                    let of_trace = chunk.rows_of(trace_id).iter();
                    of_trace.map(|row| chunk.rows.rows[*row as usize].start_ns)
                });
                let start_ns = all.min().unwrap_or(some_start_ns);
                let (rows, is_complete, is_at_edge) = (0..0, false, false);
                found.push(Found { trace_id, start_ns, rows, is_complete, is_at_edge });
            }
            found.sort_unstable_by_key(|found| (found.start_ns, found.trace_id));
        } else {
            rows.rows.sort_by_key(|row| row.trace_id);
            for (index, row) in rows.rows.iter().enumerate() {
                match found.last_mut() {
                    Some(Found { trace_id, rows, .. }) if *trace_id == row.trace_id => {
                        rows.end = index + 1;
                    }
                    _ => found.push(Found {
                        trace_id: row.trace_id,
                        start_ns: row.start_ns,
                        rows: index..index + 1,
                        is_complete: true,
                        is_at_edge: false,
                    }),
                }
            }
        }
        let bytes = (rows.memory_bytes() + found.capacity() * size_of::<Found>()) as u64;
        self.hold(bytes)?;
        let assembly = Assembly::default();
        Ok(Some(Box::new(Opened { of: None, rows, assembly, bytes, found })))
    }

    /// Searches blocks, each other one besides the first perhaps in vain.
    fn open(&mut self, blocks: &[(&'v Part, usize)]) -> Result<()> {
        for (part, number) in blocks {
            self.budget.charge_samples(u64::from(part.index.blocks[*number].rows))?;
        }
        let mut found = 0;
        for opened in search_blocks(self.plan, self.budget, blocks)? {
            found += opened.found.len();
            self.hold(opened.bytes)?;
            self.wait_for(Some(opened));
        }
        // Who wants the newest few has soon enough of them where each block has some.
        self.opened_at_once = match found <= blocks.len() {
            true => (2 * self.opened_at_once).min(OPENED_AT_ONCE_MAX),
            false => 1,
        };
        Ok(())
    }

    /// The trace with all its spans, unless it was given before or does not satisfy the conditions.
    fn trace(&mut self, opened: &mut Opened<'v>, found: &Found) -> Result<Option<Made>> {
        let trace_id = found.trace_id;
        let mut others = Rows::default();
        let mut others_bytes = 0;
        if self.plan.is_whole {
            if self.given.contains(&trace_id) {
                return Ok(None);
            }
            let read = self.read_others(opened, found, &mut others, &mut others_bytes);
            if let Err(e) = read {
                return self.leave_out(trace_id, others_bytes, e);
            }
            if others.is_empty() && !found.is_complete {
                return Ok(None);
            }
        }
        if others.is_empty() {
            let bytes = span_bytes(&opened.rows, found.rows.clone());
            if let Err(e) = self.hold(bytes) {
                return self.leave_out(trace_id, bytes, e);
            }
            let groups = opened.assembly.groups(&opened.rows, found.rows.clone())?;
            let start_ns = found.start_ns;
            return Ok(Some(Made { start_ns, trace: Trace { trace_id, groups }, bytes }));
        }
        let mut map = Renumbering::new(&opened.rows);
        found.rows.clone().for_each(|row| others.push_from(&opened.rows, row, &mut map));
        let start_ns = others.rows.iter().map(|row| row.start_ns).min().unwrap_or(found.start_ns);
        let bytes = span_bytes(&others, 0..others.len());
        if let Err(e) = self.hold(bytes) {
            return self.leave_out(trace_id, others_bytes + bytes, e);
        }
        self.given.insert(trace_id);
        self.hold(GIVEN_BYTES)?;
        let trace = Trace { trace_id, groups: others.groups()? };
        self.release(others_bytes);
        Ok(Some(Made { start_ns, trace, bytes }))
    }

    /// Appends the spans of a trace in other places than the one where it was found, and holds their `bytes`.
    fn read_others(
        &mut self,
        opened: &Opened<'v>,
        found: &Found,
        out: &mut Rows,
        bytes: &mut u64,
    ) -> Result<()> {
        let view = self.view;
        let trace_id = found.trace_id;
        for part in &view.parts {
            let own = opened.of.filter(|(of, _)| std::ptr::eq(*of, &raw const **part));
            if own.is_some() && !found.is_at_edge {
                continue;
            }
            for block in part.blocks_of(trace_id)? {
                if own.is_some_and(|(_, number)| number == block) {
                    continue;
                }
                let Some(other) = self.other(part, block)? else { continue };
                let (core, rows) = &*other;
                let mut map = None;
                for row in core.rows_of_trace(trace_id) {
                    let map = map.get_or_insert_with(|| Renumbering::new(rows));
                    out.push_from(rows, row, map);
                }
                self.grow(bytes, out)?;
            }
        }
        for chunk in &view.chunks {
            let of_trace = chunk.rows_of(trace_id);
            if !of_trace.is_empty() {
                let mut map = Renumbering::new(&chunk.rows);
                of_trace.iter().for_each(|r| out.push_from(&chunk.rows, *r as usize, &mut map));
                self.grow(bytes, out)?;
            }
        }
        Ok(())
    }

    /// Holds what `rows` takes more than the `bytes` held for it.
    fn grow(&mut self, bytes: &mut u64, rows: &Rows) -> Result<()> {
        let now = if rows.is_empty() { 0 } else { rows.memory_bytes() as u64 };
        let more = now.saturating_sub(*bytes);
        *bytes += more;
        self.hold(more)
    }

    /// Gives up a trace for which `bytes` are held where that is allowed and it is too large.
    fn leave_out(&mut self, trace_id: u128, bytes: u64, why: Error) -> Result<Option<Made>> {
        if why.kind() != ErrorKind::Limit {
            return Err(why);
        }
        self.release(bytes);
        // It is found in each of its blocks.
        self.given.insert(trace_id);
        self.hold(GIVEN_BYTES)?;
        self.budget.leave_out(trace_id, why)?;
        Ok(None)
    }

    /// A block with all its rows; `None` when it is damaged.
    fn other(&mut self, part: &Part, number: usize) -> Result<Option<Arc<(Core, Rows)>>> {
        let id = part.summary.id;
        if let Some(known) = self.others.iter().find(|o| (o.part, o.number) == (id, number)) {
            return Ok(Some(Arc::clone(&known.block)));
        }
        let projection = projection(self.plan);
        let read = part.guard(number, || {
            let open = part.open_block(number, part.core(number)?, projection)?;
            let mut rows = Rows::default();
            open.read(0..open.ids.len(), projection, &mut rows)?;
            Ok((open.core, rows))
        })?;
        let Some(block) = read.map(Arc::new) else { return Ok(None) };
        self.hold(block.1.memory_bytes() as u64)?;
        if self.others.len() >= OTHERS_MAX
            && let Some(old) = self.others.pop_front()
        {
            self.release(old.block.1.memory_bytes() as u64);
        }
        self.others.push_back(Other { part: id, number, block: Arc::clone(&block) });
        Ok(Some(block))
    }
}

fn projection(plan: &TracePlan) -> Projection<'_> {
    Projection { attributes: plan.attributes.as_ref(), details: plan.details }
}

/// What is found in blocks, in their order; those that are damaged are left out.
fn search_blocks<'v>(
    plan: &TracePlan,
    budget: &Budget,
    blocks: &[(&'v Part, usize)],
) -> Result<Vec<Box<Opened<'v>>>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Box<Opened<'v>>)>> {
        let mut all = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some((part, number)) = blocks.get(place) else { return Ok(all) };
            budget.check()?;
            let opened = part.guard(*number, || search_block(plan, part, *number))?;
            all.extend(opened.flatten().map(|opened| (place, opened)));
        }
    };
    let threads = match blocks.len() {
        1 => 1,
        count => available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX).min(count),
    };
    let mut all = std::thread::scope(|scope| {
        let spawn = |_| {
            let builder = std::thread::Builder::new().name("tracedb-scan".into());
            // Without another thread the work is done by this one.
            builder.spawn_scoped(scope, work).ok()
        };
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut all = work();
        for other in others {
            let theirs = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all = all.and_then(|mut all| {
                all.extend(theirs?);
                Ok(all)
            });
        }
        all
    })?;
    all.sort_unstable_by_key(|(place, _)| *place);
    Ok(all.into_iter().map(|(_, opened)| opened).collect())
}

/// Traces of a block.
fn search_block<'v>(
    plan: &TracePlan,
    part: &'v Part,
    number: usize,
) -> Result<Option<Box<Opened<'v>>>> {
    if !screen::may_hold(&plan.conditions, part, number)? {
        return Ok(None);
    }
    let core = part.core(number)?;
    let mut screen = Screen::new(part, number, &core);
    let mut holds = Vec::with_capacity(plan.conditions.len());
    for condition in &plan.conditions {
        holds.push(screen.rows(condition)?);
    }
    let is_wanted = |row: usize| {
        holds.iter().any(|holds| holds[row]) && plan.range.contains(core.starts_ns[row])
    };
    let mut found = Vec::new();
    let mut wanted = Vec::new();
    for (run, of_run) in core.runs.iter().enumerate() {
        let rows = core.rows_of(run);
        let start = wanted.len();
        if plan.is_whole {
            if rows.clone().any(is_wanted) {
                wanted.extend(rows.clone());
            }
        } else {
            wanted.extend(rows.clone().filter(|row| is_wanted(*row)));
        }
        if wanted.len() > start {
            found.push(Found {
                trace_id: of_run.trace_id,
                start_ns: of_run.trace_start_ns,
                rows: start..wanted.len(),
                is_complete: holds.iter().all(|holds| holds[rows.clone()].contains(&true)),
                is_at_edge: run == 0 || run + 1 == core.runs.len(),
            });
        }
    }
    if found.is_empty() {
        return Ok(None);
    }
    let projection = projection(plan);
    let (attributes, rest) = screen.into_pieces();
    let ids = part.ids(number)?;
    let attributes = attributes.map_or_else(|| part.attributes(number), Ok)?;
    let rest = match rest {
        _ if !projection.details => None,
        Some(rest) => Some(rest),
        None => Some(part.rest(number)?),
    };
    let mut rows = Rows::default();
    OpenBlock { core, ids, attributes, rest }.read(wanted, projection, &mut rows)?;
    let bytes = (rows.memory_bytes() + found.capacity() * size_of::<Found>()) as u64;
    let (of, assembly) = (Some((part, number)), Assembly::default());
    Ok(Some(Box::new(Opened { of, rows, assembly, bytes, found })))
}
