//! Calls between services, out of the columns: of most blocks only the core is read.
//!
//! The core knows which row is whose parent within a trace. Parents that are elsewhere are looked up afterwards, a batch at
//! a time, by trace in the other blocks and the head. Span ids are read only of blocks in which a client's and a server's
//! span have the same parent, for these may be halves of one span; attributes only where names of peers are wanted.
//!
//! Halves of a shared span that lie in different blocks are not brought together: merges do that. Does not own: what counts
//! as a call ([`model::EdgeTable`]).

use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use model::{
    AttributeScope, Budget, CallSide, DATABASES, EDGE_BYTES, Edge, EdgePlan, EdgeTable, Family,
    Member, PEERS, Peer, Result, SpanKind, SpanStatus,
};

use crate::attributes::Values;
use crate::block::{Core, Parent};
use crate::head::Chunk;
use crate::part::{Part, service_of};
use crate::record::kind_of;
use crate::rows::{Row, Rows, Value, duration_ns};
use crate::screen::may_have;
use crate::store::Store;
use crate::value::kind;
use crate::view::View;

/// Spans whose parents are looked up together.
const PENDING_MAX: usize = 64 << 10;
const PENDING_BYTES: u64 = (PENDING_MAX * size_of::<Pending>()) as u64;
/// What is kept of a caller with an answer elsewhere.
const ANSWERED_BYTES: u64 = (size_of::<(u128, u64)>() + 8 + size_of::<(CallSide, Peer)>()) as u64;

impl Store {
    pub(crate) fn sum_edges(&self, plan: &EdgePlan, budget: &Budget) -> Result<Vec<Edge>> {
        let view = self.shared.snapshot();
        let mut scan = Scan {
            view: &view,
            plan,
            budget,
            table: EdgeTable::default(),
            edges_paid: 0,
            held_bytes: 0,
            pending: Vec::new(),
            answered: HashSet::default(),
            taken_back: Vec::new(),
        };
        let outcome = scan.run();
        budget.release_bytes(scan.held_bytes);
        outcome?;
        for (caller, peer) in &scan.taken_back {
            scan.table.take_back(caller, peer);
        }
        Ok(scan.table.finish())
    }
}

/// Where a span was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    /// Part by its place in the view, block, and whether its trace may go on in the neighbouring blocks.
    Block(usize, usize, bool),
}

/// A span whose parent is elsewhere.
#[derive(Debug)]
struct Pending {
    trace_id: u128,
    parent_id: u64,
    side: CallSide,
    place: Place,
    is_counted: bool,
    is_found: bool,
}

struct Scan<'v> {
    view: &'v View,
    plan: &'v EdgePlan,
    budget: &'v Budget,
    table: EdgeTable,
    /// Edges whose memory is paid for.
    edges_paid: u64,
    held_bytes: u64,
    pending: Vec<Pending>,
    /// Callers with an answer elsewhere, each once.
    answered: HashSet<(u128, u64), RandomState>,
    /// Those of them that their own block took for unanswered.
    taken_back: Vec<(CallSide, Peer)>,
}

/// Rows of one trace in one place, as far as calls go.
struct Kin<'k> {
    sides: &'k [CallSide],
    parents: &'k [Parent],
    starts_ns: &'k [i64],
}

impl Kin<'_> {
    /// Whether a row of `rows` is one that `caller` called.
    fn is_answered(&self, caller: usize, rows: Range<usize>) -> bool {
        rows.into_iter().any(|row| {
            self.parents[row] == Parent::Near(caller) && self.sides[caller].calls(&self.sides[row])
        })
    }
}

impl Scan<'_> {
    fn run(&mut self) -> Result<()> {
        self.hold(PENDING_BYTES)?;
        for (number, part) in self.view.parts.iter().enumerate() {
            for block in 0..part.index.blocks.len() {
                self.budget.check()?;
                let meta = &part.index.blocks[block];
                if !self.plan.range.overlaps(meta.min_ns, meta.max_ns) {
                    continue;
                }
                self.budget.charge_samples(u64::from(meta.rows))?;
                // All of a block is read before any of it is counted: what is damaged counts for nothing.
                let opened = part.guard(block, || Opened::read(part, block, self.plan.outside))?;
                if let Some(opened) = opened {
                    self.count_block(&opened, number, block)?;
                    self.pay()?;
                }
            }
        }
        self.count_head()?;
        self.resolve()?;
        self.pay()
    }

    /// Pays for the edges there are by now.
    fn pay(&mut self) -> Result<()> {
        let edges = self.table.len() as u64;
        let more = edges.saturating_sub(self.edges_paid);
        self.edges_paid += more;
        self.hold(more * EDGE_BYTES)
    }

    fn hold(&mut self, bytes: u64) -> Result<()> {
        self.held_bytes += bytes;
        self.budget.charge_bytes(bytes)
    }

    fn count_block(&mut self, opened: &Opened, part: usize, block: usize) -> Result<()> {
        let Opened { core, parents, .. } = opened;
        let sides = opened.sides(&mut self.table);
        let kin = Kin { sides: &sides, parents, starts_ns: &core.starts_ns };
        let runs = core.runs.len();
        for (number, run) in core.runs.iter().enumerate() {
            let rows = core.rows_of(number);
            let place = Place::Block(part, block, number == 0 || number + 1 == runs);
            let answered = self.count_rows(&kin, rows.clone(), run.trace_id, place)?;
            for (row, is_answered) in rows.zip(answered) {
                if !is_answered && let Some((name, is_database)) = opened.peers.get(&row) {
                    self.count_unanswered(&sides[row], core.starts_ns[row], name, *is_database);
                }
            }
        }
        Ok(())
    }

    fn count_unanswered(&mut self, side: &CallSide, start_ns: i64, name: &str, is_database: bool) {
        if side.kind.is_caller() && self.plan.range.contains(start_ns) {
            let peer = Peer { name: self.table.name(name), is_database };
            self.table.add_unanswered(side, &peer);
        }
    }

    /// Counts the calls of some rows of one trace; says of each whether it called another of them.
    fn count_rows(
        &mut self,
        kin: &Kin<'_>,
        rows: Range<usize>,
        trace_id: u128,
        place: Place,
    ) -> Result<Vec<bool>> {
        let mut answered = vec![false; rows.len()];
        for row in rows.clone() {
            let side = &kin.sides[row];
            let is_counted = self.plan.range.contains(kin.starts_ns[row]);
            match kin.parents[row] {
                Parent::Near(parent) => {
                    let caller = &kin.sides[parent];
                    answered[parent - rows.start] |= caller.calls(side);
                    if is_counted {
                        self.table.add_call(caller, side);
                    }
                }
                Parent::None => {
                    if is_counted && self.plan.outside && side.kind.is_called() {
                        self.table.add_entry(side);
                    }
                }
                Parent::Foreign(parent_id) => {
                    if !is_counted && !self.plan.outside {
                        continue;
                    }
                    let side = *side;
                    self.pending.push(Pending {
                        trace_id,
                        parent_id,
                        side,
                        place,
                        is_counted,
                        is_found: false,
                    });
                    if self.pending.len() >= PENDING_MAX {
                        self.resolve()?;
                    }
                }
            }
        }
        Ok(answered)
    }

    /// Spans of the head, trace by trace.
    fn count_head(&mut self) -> Result<()> {
        let range = self.plan.range;
        let chunks = &self.view.chunks;
        let mut traces: Vec<u128> = Vec::new();
        for chunk in chunks.iter().filter(|c| range.overlaps(c.min_ns, c.max_ns)) {
            self.budget.charge_samples(chunk.rows.len() as u64)?;
            traces.extend(chunk.rows.rows.iter().map(|row| row.trace_id));
        }
        traces.sort_unstable();
        traces.dedup();
        for trace_id in traces {
            let rows = rows_of(chunks, trace_id);
            let mut sides = Vec::with_capacity(rows.len());
            for (rows, row) in &rows {
                sides.push(side_of(&mut self.table, rows, row)?);
            }
            let family = Family::new(rows.iter().map(|(_, row)| member_of(row)));
            let parents: Vec<Parent> = rows
                .iter()
                .enumerate()
                .map(|(at, (_, row))| match family.parent(at) {
                    Some(parent) => Parent::Near(parent),
                    None if row.parent_id == 0 => Parent::None,
                    None => Parent::Foreign(row.parent_id),
                })
                .collect();
            let starts_ns: Vec<i64> = rows.iter().map(|(_, row)| row.start_ns).collect();
            let kin = Kin { sides: &sides, parents: &parents, starts_ns: &starts_ns };
            let answered = self.count_rows(&kin, 0..rows.len(), trace_id, Place::Head)?;
            if !self.plan.outside {
                continue;
            }
            for (at, (of, row)) in rows.iter().enumerate() {
                if !answered[at]
                    && sides[at].kind.is_caller()
                    && let Some((name, is_database)) = peer_in_memory(of, row)?
                {
                    self.count_unanswered(&sides[at], row.start_ns, name, is_database);
                }
            }
        }
        Ok(())
    }

    /// Finds the parents of what is pending, and counts their calls.
    fn resolve(&mut self) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable_by_key(|p| (p.trace_id, p.parent_id));
        for of_trace in pending.chunk_by_mut(|a, b| a.trace_id == b.trace_id) {
            self.find_in_head(of_trace)?;
        }
        let wanted = self.blocks_for(&pending)?;
        for of_block in wanted.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            self.budget.check()?;
            let (number, block, _) = of_block[0];
            let part = &self.view.parts[number];
            let read = || {
                let opened = Opened::read(part, block, self.plan.outside)?;
                Ok((opened, part.ids(block)?))
            };
            let Some((opened, ids)) = part.guard(block, read)? else { continue };
            self.find_in_block(&opened, &ids, &mut pending, of_block.iter().map(|(_, _, at)| *at))?;
        }
        pending.clear();
        self.pending = pending;
        Ok(())
    }

    /// Finds parents of spans of one trace, which lie in blocks, in the head.
    fn find_in_head(&mut self, pending: &mut [Pending]) -> Result<()> {
        let Some(trace_id) = pending.first().map(|p| p.trace_id) else { return Ok(()) };
        let rows = rows_of(&self.view.chunks, trace_id);
        // The head has looked for its own parents in all of the head.
        for pending in pending.iter_mut().filter(|p| p.place != Place::Head) {
            let of_id = rows.iter().filter(|(_, row)| row.span_id == pending.parent_id);
            let Some((of, row)) = of_id.min_by_key(|(_, row)| preference(row.kind)) else {
                continue;
            };
            let caller = side_of(&mut self.table, of, row)?;
            self.count_answer(pending, &caller);
            if self.is_to_take_back(pending, &caller, row.start_ns)?
                && let Some((name, is_database)) = peer_in_memory(of, row)?
                && !self.is_answered_in_head(&rows, row)?
            {
                self.take_back(caller, name, is_database);
            }
        }
        Ok(())
    }

    /// Part, block and place in `pending` of what may be found there, by block.
    fn blocks_for(&self, pending: &[Pending]) -> Result<Vec<(usize, usize, usize)>> {
        let mut wanted = Vec::new();
        let mut end = 0;
        for of_trace in pending.chunk_by(|a, b| a.trace_id == b.trace_id) {
            self.budget.check()?;
            let start = end;
            end += of_trace.len();
            for (number, part) in self.view.parts.iter().enumerate() {
                let may_be_there = |p: &Pending| match p.place {
                    // Most traces lie in one block of their part.
                    Place::Block(own, _, is_at_edge) => own != number || is_at_edge,
                    Place::Head => true,
                };
                if !of_trace.iter().any(|p| !p.is_found && may_be_there(p)) {
                    continue;
                }
                for block in part.blocks_of(of_trace[0].trace_id)? {
                    let is_wanted = |p: &Pending| match p.place {
                        Place::Block(own, own_block, _) => (own, own_block) != (number, block),
                        Place::Head => true,
                    };
                    let here = (start..end).zip(of_trace);
                    let here = here.filter(|(_, p)| !p.is_found && is_wanted(p));
                    wanted.extend(here.map(|(at, _)| (number, block, at)));
                }
            }
        }
        wanted.sort_unstable();
        Ok(wanted)
    }

    /// Counts those of the `wanted` whose parents are in a block.
    fn find_in_block(
        &mut self,
        opened: &Opened,
        ids: &[u64],
        pending: &mut [Pending],
        wanted: impl Iterator<Item = usize>,
    ) -> Result<()> {
        let core = &opened.core;
        let sides = opened.sides(&mut self.table);
        let kin = Kin { sides: &sides, parents: &opened.parents, starts_ns: &core.starts_ns };
        let run_of: HashMap<u128, usize, RandomState> =
            core.runs.iter().enumerate().map(|(number, run)| (run.trace_id, number)).collect();
        for at in wanted {
            let pending = &mut pending[at];
            let Some(run) = run_of.get(&pending.trace_id).filter(|_| !pending.is_found) else {
                continue;
            };
            let rows = core.rows_of(*run);
            let of_id = rows.clone().filter(|row| ids[*row] == pending.parent_id);
            let Some(row) = of_id.min_by_key(|row| preference(sides[*row].kind)) else { continue };
            self.count_answer(pending, &sides[row]);
            if self.is_to_take_back(pending, &sides[row], core.starts_ns[row])?
                && let Some((name, is_database)) = opened.peers.get(&row)
                && !kin.is_answered(row, rows)
            {
                self.take_back(sides[row], name, *is_database);
            }
        }
        Ok(())
    }

    fn count_answer(&mut self, pending: &mut Pending, caller: &CallSide) {
        pending.is_found = true;
        if pending.is_counted {
            self.table.add_call(caller, &pending.side);
        }
    }

    /// Whether this is the first answer from elsewhere to a caller that may have been taken for unanswered.
    fn is_to_take_back(
        &mut self,
        pending: &Pending,
        caller: &CallSide,
        start_ns: i64,
    ) -> Result<bool> {
        let is_first = self.plan.outside
            && caller.kind.is_caller()
            && caller.calls(&pending.side)
            && self.plan.range.contains(start_ns)
            && self.answered.insert((pending.trace_id, pending.parent_id));
        if is_first {
            self.hold(ANSWERED_BYTES)?;
        }
        Ok(is_first)
    }

    fn take_back(&mut self, caller: CallSide, name: &str, is_database: bool) {
        let peer = Peer { name: self.table.name(name), is_database };
        self.taken_back.push((caller, peer));
    }

    /// Whether a span of the head was answered by another one there.
    fn is_answered_in_head(&mut self, rows: &[(&Rows, &Row)], caller: &Row) -> Result<bool> {
        let family = Family::new(rows.iter().map(|(_, row)| member_of(row)));
        for (at, (of, row)) in rows.iter().enumerate() {
            let parent = family.parent(at).map(|parent| rows[parent]);
            let Some((of_parent, parent)) = parent.filter(|(_, p)| std::ptr::eq(*p, caller)) else {
                continue;
            };
            let side = side_of(&mut self.table, of, row)?;
            if side_of(&mut self.table, of_parent, parent)?.calls(&side) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Of spans with one id, the one that called: the server's half of a shared span, then any.
fn preference(kind: SpanKind) -> u8 {
    match kind {
        kind if kind.is_called() => 0,
        kind if kind.is_caller() => 2,
        _ => 1,
    }
}

/// The rows of a trace in the head, with their tables.
fn rows_of(chunks: &[Arc<Chunk>], trace_id: u128) -> Vec<(&Rows, &Row)> {
    let of = |chunk: &'_ Arc<Chunk>| chunk.rows_of(trace_id).len();
    let mut all = Vec::with_capacity(chunks.iter().map(of).sum());
    for chunk in chunks {
        let rows = chunk.rows_of(trace_id).iter();
        all.extend(rows.map(|row| (&chunk.rows, &chunk.rows.rows[*row as usize])));
    }
    all
}

fn member_of(row: &Row) -> Member {
    let Row { span_id, parent_id, kind, start_ns, .. } = *row;
    Member { id: span_id, parent_id, kind, start_ns }
}

fn side_of(table: &mut EdgeTable, rows: &Rows, row: &Row) -> Result<CallSide> {
    let resource = rows.resource(row.origin)?;
    let service = table.name(resource.service().unwrap_or(""));
    let duration_ns = duration_ns(row.start_ns, row.end_ns);
    Ok(CallSide { service, kind: row.kind, status: row.status, duration_ns })
}

/// Whom a row of the head names, and whether that is a database.
fn peer_in_memory<'r>(rows: &'r Rows, row: &Row) -> Result<Option<(&'r str, bool)>> {
    let mut best: Option<(usize, &str)> = None;
    let mut is_database = false;
    for attribute in &rows.attributes[row.attributes.range()] {
        let Value::String(text) = attribute.value else { continue };
        let (key, text) = (rows.str(attribute.key)?, rows.str(text)?);
        let Some(rank) = PEERS.iter().position(|name| *name == key).filter(|_| !text.is_empty())
        else {
            continue;
        };
        is_database |= DATABASES.contains(&key);
        if best.is_none_or(|(known, _)| rank < known) {
            best = Some((rank, text));
        }
    }
    Ok(best.map(|(_, name)| (name, is_database)))
}

/// What calls take of a block.
struct Opened {
    core: Core,
    parents: Vec<Parent>,
    kinds: Vec<(SpanKind, SpanStatus)>,
    services: Vec<Option<String>>,
    /// By row: whom a caller names, and whether that is a database.
    peers: HashMap<usize, (String, bool), RandomState>,
}

impl Opened {
    fn read(part: &Part, block: usize, outside: bool) -> Result<Self> {
        let core = part.core(block)?;
        let mut parents = core.parents()?;
        let kinds: Vec<_> = core.kinds.iter().map(|code| kind_of(*code)).collect::<Result<_>>()?;
        let services =
            core.origins.iter().map(|(resource, _)| service_of(resource)).collect::<Result<_>>()?;
        if may_share(&core, &parents, &kinds) {
            bring_halves_together(&core, &part.ids(block)?, &kinds, &mut parents);
        }
        let mut peers = HashMap::default();
        if outside {
            read_peers(part, block, &kinds, &mut peers)?;
        }
        Ok(Self { core, parents, kinds, services, peers })
    }

    fn sides(&self, table: &mut EdgeTable) -> Vec<CallSide> {
        let names: Vec<u32> =
            self.services.iter().map(|name| table.name(name.as_deref().unwrap_or(""))).collect();
        let core = &self.core;
        let side = |(row, (kind, status)): (usize, &(SpanKind, SpanStatus))| CallSide {
            service: names[core.origin_codes[row] as usize],
            kind: *kind,
            status: *status,
            duration_ns: duration_ns(core.starts_ns[row], core.ends_ns[row]),
        };
        self.kinds.iter().enumerate().map(side).collect()
    }
}

/// Whether a client's and a server's span of one trace have the same parent: without their ids they look like halves of a
/// shared span.
fn may_share(core: &Core, parents: &[Parent], kinds: &[(SpanKind, SpanStatus)]) -> bool {
    // Of each row: whether it has children of the one kind, and of the other.
    let mut seen = vec![0_u8; parents.len()];
    for number in 0..core.runs.len() {
        let (mut of_none, mut of_foreign) = (0_u8, 0_u8);
        for row in core.rows_of(number) {
            let kind = kinds[row].0;
            let bit = u8::from(kind.is_caller()) | u8::from(kind.is_called()) << 1;
            let seen = match parents[row] {
                Parent::None => &mut of_none,
                Parent::Foreign(_) => &mut of_foreign,
                Parent::Near(parent) => &mut seen[parent],
            };
            *seen |= bit;
            if *seen == 3 {
                return true;
            }
        }
    }
    false
}

fn bring_halves_together(
    core: &Core,
    ids: &[u64],
    kinds: &[(SpanKind, SpanStatus)],
    parents: &mut [Parent],
) {
    for number in 0..core.runs.len() {
        let rows = core.rows_of(number);
        let start = rows.start;
        let family = Family::new(rows.clone().map(|row| Member {
            id: ids[row],
            parent_id: match parents[row] {
                Parent::None => 0,
                Parent::Foreign(id) => id,
                Parent::Near(parent) => ids[parent],
            },
            kind: kinds[row].0,
            start_ns: core.starts_ns[row],
        }));
        for row in rows {
            if let Some(parent) = family.parent(row - start) {
                parents[row] = Parent::Near(start + parent);
            }
        }
    }
}

/// Whom the callers of a block name.
fn read_peers(
    part: &Part,
    block: usize,
    kinds: &[(SpanKind, SpanStatus)],
    peers: &mut HashMap<usize, (String, bool), RandomState>,
) -> Result<()> {
    let meta = &part.index.blocks[block];
    let scope = [AttributeScope::Span];
    if !PEERS.iter().any(|name| may_have(part, meta, &scope, name))
        || !kinds.iter().any(|(kind, _)| kind.is_caller())
    {
        return Ok(());
    }
    let columns = part.attributes(block)?;
    // The best names come first and stay.
    for name in PEERS {
        for (number, column) in columns.columns.iter().enumerate() {
            if column.key != name.as_bytes() || column.kind != kind::STRING {
                continue;
            }
            let Values::Texts(texts) = columns.values(number)? else { continue };
            columns.for_each(number, |row, i| {
                let text = texts.text(texts.code(i));
                if !text.is_empty() && kinds[row].0.is_caller() {
                    let new = || (String::from_utf8_lossy(text).into_owned(), false);
                    let peer = peers.entry(row).or_insert_with(new);
                    peer.1 |= DATABASES.contains(&name);
                }
            });
        }
    }
    Ok(())
}
