//! The spans of a trace in the order of its tree, with what each of them is to the whole.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Budget, Result, Span, SpanGroup, SpanKind, SpanStatus, Trace};
use rustc_hash::FxHashMap;

use super::Warning;
use super::critical::{Interval, critical_path};
use crate::traceql::tree::Tree;

/// Spans between two looks at the budget.
const CHECK_EVERY: usize = 4_096;

/// Memory that a row takes beside itself, about: parts of the critical path, the tree, what was waited for.
const BESIDE_BYTES: usize = 192;

/// A trace, taken apart.
#[derive(Debug)]
pub struct Waterfall<'t> {
    /// Start of its first span, Unix nanoseconds, UTC.
    pub start_ns: i64,
    /// Nanoseconds from its first start to its last end.
    pub duration_ns: u64,
    /// All spans, each behind its parent, children in order of start: depth first.
    pub rows: Vec<Row<'t>>,
    /// Row of the span that the trace begins with: the first one that never had a parent; where none is stored, the
    /// longest of those without their parent.
    pub root: Option<usize>,
    /// Rows from the root of a tree down to the deepest span that failed, the first one of several; of the root's tree if
    /// one failed there. Empty when none failed.
    pub error_path: Vec<usize>,
}

/// One span of it.
#[derive(Debug)]
pub struct Row<'t> {
    /// Whose it is.
    pub group: &'t SpanGroup,
    /// The span as it was sent.
    pub span: &'t Span,
    /// Row of its parent.
    pub parent: Option<u32>,
    /// Spans above it.
    pub depth: u32,
    /// Spans directly below it.
    pub child_count: u32,
    /// Nanoseconds of it in which none of its children ran.
    pub self_ns: u64,
    /// Its parts of the critical path, ascending: `[start, end)` in Unix nanoseconds, UTC.
    pub critical: Vec<(i64, i64)>,
    /// What is to be known of it.
    pub warnings: Vec<Warning>,
}

impl Row<'_> {
    /// Its service, if it is known.
    pub fn service(&self) -> Option<&str> {
        self.group.resource.service()
    }

    /// Nanoseconds of it on the critical path.
    pub fn critical_ns(&self) -> u64 {
        self.critical.iter().map(|(start, end)| start.abs_diff(*end)).sum()
    }

    /// Where it lies; without length when it ends before it starts.
    pub(super) fn interval(&self) -> Interval {
        Interval { start_ns: self.span.start_ns, end_ns: self.span.end_ns.max(self.span.start_ns) }
    }
}

impl<'t> Waterfall<'t> {
    /// Takes `trace` apart.
    ///
    /// # Errors
    /// [`Limit`](model::ErrorKind::Limit) or [`Cancelled`](model::ErrorKind::Cancelled) from `budget`, which pays about
    /// 300 bytes for a span.
    pub fn new(trace: &'t Trace, budget: &Budget) -> Result<Self> {
        let mut spans: Vec<(&SpanGroup, &Span)> =
            trace.groups.iter().flat_map(|g| g.spans.iter().map(move |s| (g, s))).collect();
        budget.charge_bytes(Self::cost_bytes(spans.len()))?;
        spans.sort_by_key(|(_, span)| span.start_ns);
        let mut rows = rows(&spans, budget)?;
        let children = Children::new(&rows);
        for at in 0..rows.len() {
            rows[at].child_count = children.of(at).len() as u32;
            rows[at].self_ns = self_ns(&rows, at, &children);
            if at % CHECK_EVERY == 0 {
                budget.check()?;
            }
        }
        let root = root(&rows);
        if let Some(root) = root {
            critical_path(&mut rows, root, &children, budget)?;
        }
        let error_path = error_path(&rows, root);
        let start_ns = spans.first().map_or(0, |(_, span)| span.start_ns);
        let end_ns = rows.iter().map(|row| row.interval().end_ns).max().unwrap_or(start_ns);
        Ok(Self { start_ns, duration_ns: start_ns.abs_diff(end_ns), rows, root, error_path })
    }

    /// Memory that a trace of `spans` takes, about.
    pub(super) fn cost_bytes(spans: usize) -> u64 {
        (spans * (size_of::<Row<'_>>() + BESIDE_BYTES)) as u64
    }

    /// Rows on the critical path, in the order in which the path enters them.
    pub fn critical_path(&self) -> Vec<usize> {
        let on_it = |at: &usize| !self.rows[*at].critical.is_empty();
        let mut path: Vec<usize> = (0..self.rows.len()).filter(on_it).collect();
        path.sort_by_key(|at| self.rows[*at].critical.first().map(|(start, _)| *start));
        path
    }

    /// What the trace waited for: the critical path by service and name of its spans, the longest first.
    pub fn waited_for(&self) -> Vec<WaitedFor<'_>> {
        let mut by_name: BTreeMap<(Option<&str>, &str), u64> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| !row.critical.is_empty()) {
            *by_name.entry((row.service(), &*row.span.name)).or_default() += row.critical_ns();
        }
        let of = |((service, name), critical_ns)| WaitedFor { service, name, critical_ns };
        let mut all: Vec<WaitedFor<'_>> = by_name.into_iter().map(of).collect();
        all.sort_by_key(|of| Reverse(of.critical_ns));
        all
    }
}

/// Time on the critical path of all spans of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitedFor<'w> {
    /// Their service, if it is known.
    pub service: Option<&'w str>,
    /// Their name.
    pub name: &'w str,
    /// Nanoseconds.
    pub critical_ns: u64,
}

/// Rows in order, without what only the whole tells.
fn rows<'t>(spans: &[(&'t SpanGroup, &'t Span)], budget: &Budget) -> Result<Vec<Row<'t>>> {
    let tree = Tree::new(spans);
    budget.check()?;
    let repeated = repeated(spans);
    let mut row_of = vec![0_u32; spans.len()];
    for (row, span) in tree.order().iter().enumerate() {
        row_of[*span as usize] = row as u32;
    }
    let mut rows: Vec<Row<'_>> = Vec::with_capacity(spans.len());
    for index in tree.order().iter().copied() {
        let (group, span) = spans[index as usize];
        let parent = tree.parent(index).map(|parent| row_of[parent as usize]);
        let above = parent.map(|parent| &rows[parent as usize]);
        let mut warnings = Vec::new();
        if span.end_ns < span.start_ns {
            warnings.push(Warning::EndsBeforeStart(span.start_ns.abs_diff(span.end_ns)));
        }
        match above {
            None if span.parent_id == 0 => {}
            None if repeated.contains_key(&span.parent_id) => {
                warnings.push(Warning::ParentsInCircle);
            }
            None => warnings.push(Warning::ParentMissing(span.parent_id)),
            Some(above) if span.start_ns < above.span.start_ns => {
                let early_ns = span.start_ns.abs_diff(above.span.start_ns);
                warnings.push(Warning::StartsBeforeParent(early_ns));
            }
            Some(_) => {}
        }
        if repeated.get(&span.span_id).copied().unwrap_or(false) {
            warnings.push(Warning::IdRepeated);
        }
        let left_out = [span.dropped_attributes, span.dropped_events, span.dropped_links];
        let left_out: u64 = left_out.into_iter().map(u64::from).sum();
        if left_out > 0 {
            warnings.push(Warning::LeftOut(left_out));
        }
        let depth = above.map_or(0, |above| above.depth + 1);
        let (child_count, self_ns) = (0, 0);
        let critical = Vec::new();
        rows.push(Row { group, span, parent, depth, child_count, self_ns, critical, warnings });
    }
    Ok(rows)
}

/// All ids, with whether several spans have it that are not the two sides of a call: those share one id in Zipkin.
fn repeated(spans: &[(&SpanGroup, &Span)]) -> FxHashMap<u64, bool> {
    let mut kinds: FxHashMap<u64, (Option<SpanKind>, bool)> = FxHashMap::default();
    for (_, span) in spans {
        let (first, is_repeated) = kinds.entry(span.span_id).or_default();
        match *first {
            None => *first = Some(span.kind),
            Some(SpanKind::Client) if span.kind == SpanKind::Server => {}
            Some(SpanKind::Server) if span.kind == SpanKind::Client => {}
            Some(_) => *is_repeated = true,
        }
    }
    kinds.into_iter().map(|(id, (_, is_repeated))| (id, is_repeated)).collect()
}

/// Children of each row, in order of start.
pub(super) struct Children {
    ends: Vec<u32>,
    all: Vec<u32>,
}

impl Children {
    fn new(rows: &[Row<'_>]) -> Self {
        let mut ends = vec![0_u32; rows.len() + 1];
        for parent in rows.iter().filter_map(|row| row.parent) {
            ends[parent as usize + 1] += 1;
        }
        for at in 1..ends.len() {
            ends[at] += ends[at - 1];
        }
        let mut all = vec![0; ends.last().copied().unwrap_or(0) as usize];
        let mut next = ends.clone();
        for (row, parent) in rows.iter().enumerate().filter_map(|(i, row)| Some((i, row.parent?))) {
            let slot = &mut next[parent as usize];
            all[*slot as usize] = row as u32;
            *slot += 1;
        }
        Self { ends, all }
    }

    pub(super) fn of(&self, row: usize) -> &[u32] {
        &self.all[self.ends[row] as usize..self.ends[row + 1] as usize]
    }
}

/// What of a row no child covers.
fn self_ns(rows: &[Row<'_>], at: usize, children: &Children) -> u64 {
    let own = rows[at].interval();
    let mut own_ns = own.start_ns.abs_diff(own.end_ns);
    let mut covered_until_ns = own.start_ns;
    for child in children.of(at) {
        let Some(part) = rows[*child as usize].interval().within(own) else { continue };
        if part.end_ns > covered_until_ns {
            own_ns -= part.start_ns.max(covered_until_ns).abs_diff(part.end_ns);
            covered_until_ns = part.end_ns;
        }
    }
    own_ns
}

fn root(rows: &[Row<'_>]) -> Option<usize> {
    let roots = || (0..rows.len()).filter(|at| rows[*at].parent.is_none());
    let first = roots().find(|at| rows[*at].span.parent_id == 0);
    // Of equally long ones the first.
    first.or_else(|| roots().rev().max_by_key(|at| rows[*at].span.duration_ns()))
}

fn error_path(rows: &[Row<'_>], root: Option<usize>) -> Vec<usize> {
    let mut tree = 0;
    let mut best: Option<(bool, u32, usize)> = None;
    for (at, row) in rows.iter().enumerate() {
        if row.parent.is_none() {
            tree = at;
        }
        let here = (root == Some(tree), row.depth, at);
        let is_better = best.is_none_or(|(in_root, depth, _)| (here.0, here.1) > (in_root, depth));
        if row.span.status == SpanStatus::Error && is_better {
            best = Some(here);
        }
    }
    let mut path = Vec::new();
    let mut next = best.map(|(.., at)| at);
    while let Some(at) = next {
        path.push(at);
        next = rows[at].parent.map(|parent| parent as usize);
    }
    path.reverse();
    path
}

/// Whether two groups are of one process.
pub(super) fn is_same_service(one: &SpanGroup, other: &SpanGroup) -> bool {
    Arc::ptr_eq(&one.resource, &other.resource)
        || one.resource.service() == other.resource.service()
}
