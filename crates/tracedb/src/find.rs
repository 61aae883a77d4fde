//! Traces by id, and the newest ones with a span that satisfies a plan.
//!
//! A trace may be spread over the head and several parts: what is said of it is of all its spans, and its first start
//! decides how new it is. Blocks are looked at from the newest on, until no older one can add to the answer. Does not own:
//! the conditions themselves (`conditions`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::{Budget, Result, SpanPlan, Trace, TraceSummary};
use rustc_hash::FxHashMap;

use crate::block::Core;
use crate::conditions;
use crate::part::{Part, service_of};
use crate::rows::{Renumbering, Rows, duration_ns};
use crate::store::Store;
use crate::view::View;

/// Cores that one search keeps.
const CORES_MAX: usize = 32;

impl Store {
    pub(crate) fn read_trace(&self, trace_id: u128, budget: &Budget) -> Result<Option<Trace>> {
        let view = self.shared.snapshot();
        let mut rows = Rows::default();
        for part in &view.parts {
            budget.check()?;
            part.read_trace(trace_id, &mut rows)?;
        }
        for chunk in &view.chunks {
            let found = chunk.rows_of(trace_id);
            if !found.is_empty() {
                let mut map = Renumbering::new(&chunk.rows);
                found.iter().for_each(|row| rows.push_from(&chunk.rows, *row as usize, &mut map));
            }
        }
        budget.charge_samples(rows.len() as u64)?;
        budget.charge_bytes(rows.memory_bytes() as u64)?;
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some(Trace { trace_id, groups: rows.groups()? }))
    }

    pub(crate) fn find_traces(
        &self,
        plan: &SpanPlan,
        budget: &Budget,
    ) -> Result<Vec<TraceSummary>> {
        if plan.limit == 0 {
            return Ok(Vec::new());
        }
        let view = self.shared.snapshot();
        let mut search = Search {
            view: &view,
            budget,
            limit: plan.limit,
            newest: BTreeSet::new(),
            known: HashMap::new(),
            cores: FxHashMap::default(),
        };
        for chunk in &view.chunks {
            if !plan.range.overlaps(chunk.min_ns, chunk.max_ns) {
                continue;
            }
            budget.charge_samples(chunk.rows.len() as u64)?;
            for row in conditions::rows_in_memory(plan, &chunk.rows)? {
                let row = &chunk.rows.rows[row];
                search.offer(row.trace_id, row.start_ns)?;
            }
        }
        let mut blocks: Vec<(i64, &Arc<Part>, usize)> = Vec::new();
        for part in &view.parts {
            let all = part.index.blocks.iter().enumerate();
            let wanted = all.filter(|(_, block)| conditions::may_match(plan, part, block));
            blocks.extend(wanted.map(|(i, block)| (block.trace_start_max_ns, part, i)));
        }
        blocks.sort_by_key(|(start_ns, ..)| std::cmp::Reverse(*start_ns));
        for (start_ns, part, number) in blocks {
            if search.is_too_old(start_ns) {
                break;
            }
            budget.charge_samples(u64::from(part.index.blocks[number].rows))?;
            let Some(core) = search.core(part, number)? else { continue };
            let found =
                part.guard(number, || conditions::rows_in_block(plan, part, number, &core))?;
            let found = found.unwrap_or_default();
            // From the newest trace of the block to the oldest.
            let mut found = found.into_iter().rev().peekable();
            for (i, run) in core.runs.iter().enumerate().rev() {
                let first = core.rows_of(i).start;
                let mut is_found = false;
                while found.next_if(|row| *row >= first).is_some() {
                    is_found = true;
                }
                if is_found {
                    search.offer(run.trace_id, run.trace_start_ns)?;
                }
            }
        }
        Ok(search.finish())
    }
}

struct Search<'s> {
    view: &'s View,
    budget: &'s Budget,
    limit: usize,
    /// The best so far: start and trace.
    newest: BTreeSet<(i64, u128)>,
    /// All traces that were looked at; `None` for those that turned out too old.
    known: HashMap<u128, Option<TraceSummary>>,
    cores: FxHashMap<(u64, usize), Arc<Core>>,
}

impl Search<'_> {
    /// Whether a trace that starts at `start_ns` or earlier cannot be among the newest any more.
    fn is_too_old(&self, start_ns: i64) -> bool {
        self.newest.len() >= self.limit
            && self.newest.first().is_some_and(|(oldest_ns, _)| start_ns < *oldest_ns)
    }

    /// Looks at a trace that has a span wanted and starts at `start_ns` or earlier.
    fn offer(&mut self, trace_id: u128, start_ns: i64) -> Result<()> {
        if self.known.contains_key(&trace_id) || self.is_too_old(start_ns) {
            return Ok(());
        }
        let summary = self.summary(trace_id)?;
        self.newest.insert((summary.start_ns, trace_id));
        self.known.insert(trace_id, Some(summary));
        if self.newest.len() > self.limit
            && let Some((_, dropped)) = self.newest.pop_first()
        {
            self.known.insert(dropped, None);
        }
        Ok(())
    }

    fn core(&mut self, part: &Part, block: usize) -> Result<Option<Arc<Core>>> {
        let key = (part.summary.id, block);
        if let Some(core) = self.cores.get(&key) {
            return Ok(Some(Arc::clone(core)));
        }
        let Some(core) = part.guard(block, || part.core(block))? else { return Ok(None) };
        if self.cores.len() >= CORES_MAX {
            self.cores.clear();
        }
        let core = Arc::new(core);
        self.cores.insert(key, Arc::clone(&core));
        Ok(Some(core))
    }

    fn summary(&mut self, trace_id: u128) -> Result<TraceSummary> {
        self.budget.check()?;
        let mut all = Extent::default();
        let view = self.view;
        for part in &view.parts {
            for block in part.blocks_of(trace_id)? {
                let Some(core) = self.core(part, block)? else { continue };
                part.guard(block, || all.add_block(&core, trace_id))?;
            }
        }
        for chunk in &view.chunks {
            for row in chunk.rows_of(trace_id) {
                let row = &chunk.rows.rows[*row as usize];
                if all.add(row.start_ns, row.end_ns, row.parent_id == 0) {
                    let service = chunk.rows.resource(row.origin)?.service().map(str::to_owned);
                    all.root = (service.unwrap_or_default(), chunk.rows.str(row.name)?.to_owned());
                }
            }
        }
        let (service, name) = all.root;
        Ok(TraceSummary {
            trace_id,
            root_service: Arc::from(service),
            root_name: Arc::from(name),
            start_ns: all.start_ns,
            duration_ns: duration_ns(all.start_ns, all.end_ns),
        })
    }

    /// The newest traces, newest first.
    fn finish(mut self) -> Vec<TraceSummary> {
        let newest = self.newest.iter().rev();
        newest.filter_map(|(_, trace_id)| self.known.remove(trace_id).flatten()).collect()
    }
}

/// What is said of a trace.
struct Extent {
    start_ns: i64,
    end_ns: i64,
    root_start_ns: Option<i64>,
    /// Service and name of the first root.
    root: (String, String),
}

impl Default for Extent {
    fn default() -> Self {
        let root = (String::new(), String::new());
        Self { start_ns: i64::MAX, end_ns: i64::MIN, root_start_ns: None, root }
    }
}

impl Extent {
    /// Whether the span is the first root so far.
    fn add(&mut self, start_ns: i64, end_ns: i64, is_root: bool) -> bool {
        self.start_ns = self.start_ns.min(start_ns);
        self.end_ns = self.end_ns.max(end_ns);
        let is_first = is_root && self.root_start_ns.is_none_or(|known| start_ns < known);
        if is_first {
            self.root_start_ns = Some(start_ns);
        }
        is_first
    }

    fn add_block(&mut self, core: &Core, trace_id: u128) -> Result<()> {
        for (number, run) in core.runs.iter().enumerate() {
            if run.trace_id != trace_id {
                continue;
            }
            for row in core.rows_of(number) {
                if self.add(core.starts_ns[row], core.ends_ns[row], core.is_root(row)) {
                    let (resource, _) = &core.origins[core.origin_codes[row] as usize];
                    let name = String::from_utf8_lossy(core.names.get(row)).into_owned();
                    self.root = (service_of(resource)?.unwrap_or_default(), name);
                }
            }
        }
        Ok(())
    }
}
