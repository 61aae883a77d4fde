//! Aggregations over a selector, or over a function of a range selector, in one walk: no row per series is made.
//!
//! Owns: which expressions go this way, and putting groups together. Does not own: windows of a series
//! ([`windows`]), accumulators ([`cells`]), finding series ([`MetricSource::visit`](model::MetricSource::visit)). Results
//! are those of the ordinary path; sums may differ from it in the order of their terms, never in the number of threads.

mod cells;
pub(super) mod rolled;
pub(super) mod windows;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use model::{
    Budget, Grouping, Labels, METRIC_NAME, MetricPlan, MetricVisitor, MetricWorker, Result,
    RollUpNeeds, RollUpView, SeriesView, Together,
};
use rustc_hash::FxHashMap;

use self::cells::Cells;
use self::rolled::{RolledFunction, RolledWalker};
use self::windows::{Kernel, Walker};
use super::Evaluator;
use crate::promql::ast::{Aggregate, AggregateOp, Edges, Expr, Kind, Selector, Type};
use crate::vector::aggregate::Reduce;
use crate::vector::projection::{Numbering, Projection};
use crate::vector::{Grid, Row, is_metadata_label};

/// Labels that say what a metric is.
const KIND_LABELS: [&str; 2] = [METRIC_NAME, "__type__"];

/// What is aggregated: a selector, and what is done to each of its series.
struct Inner<'e> {
    selector: &'e Selector,
    kernel: Kernel,
    range_ms: i64,
    /// The function's name, or `""`.
    function: &'static str,
    /// Where a doubt about it is reported.
    at: usize,
}

impl Evaluator<'_> {
    /// The value of `aggregate`, if it has the shape for it and the source can be visited.
    pub(super) fn fused(&mut self, aggregate: &Aggregate, grid: Grid) -> Result<Option<Vec<Row>>> {
        let AggregateOp::Reduce(op) = aggregate.op else { return Ok(None) };
        if !Cells::can(op) || grid.count == 0 {
            return Ok(None);
        }
        let Some(inner) = self.fusible(&aggregate.inner)? else { return Ok(None) };
        let selector = inner.selector;
        let ends = self.shifted(grid, self.at_ms(selector.at), selector.offset.as_ref())?;
        let doubts = matches!(inner.function, "rate" | "increase");
        let plan = MetricPlan {
            matchers: selector.matchers.clone(),
            start_ms: ends.start_ms.saturating_sub(inner.range_ms).saturating_add(1),
            end_ms: ends.last_ms(),
            step_ms: self.step_ms,
            range_ms: if inner.function.is_empty() { 0 } else { inner.range_ms },
            function: inner.function,
            grouping: Some(source_grouping(&aggregate.grouping, doubts)),
        };
        let visitor = Visitor {
            op,
            kernel: &inner.kernel,
            ends,
            eval: grid,
            range_ms: inner.range_ms,
            rolled: RolledFunction::of(inner.function, ends, inner.range_ms),
            budget: self.budget,
            names: Mutex::new(Names::new(&aggregate.grouping)),
            group_of: RwLock::default(),
            merge: Mutex::default(),
        };
        // What a worker notes down per step; it has no say in whether it may.
        self.budget.charge_bytes(grid.count as u64 * Walker::STEP_BYTES)?;
        let visited = self.source.visit(&plan, &visitor, self.budget)?;
        let names = visitor.names.into_inner().unwrap_or_else(PoisonError::into_inner);
        let merge = visitor.merge.into_inner().unwrap_or_else(PoisonError::into_inner);
        let bytes = merge.total.cells.len() as u64 * Cells::bytes(grid.count);
        if !visited.complete || merge.total.overflow {
            self.budget.release_bytes(bytes);
            return Ok(None);
        }
        for warning in visited.warnings {
            self.notes.source_warning(warning);
        }
        if doubts {
            self.doubt_names(&names, &merge.total.seen, inner.at);
        }
        let keeps_metadata = keeps_metadata(&aggregate.grouping);
        let drops_name = !matches!(inner.function, "" | "first_over_time" | "last_over_time");
        let row = |(labels, cells): (Labels, Option<Cells>)| {
            let values = cells?.finish(op);
            let drop_name = keeps_metadata && drops_name;
            let row = Row { labels, drop_name, values, histograms: None };
            row.any().then_some(row)
        };
        let mut cells = merge.total.cells;
        let cells = (0u32..).map(|group| cells.remove(&group));
        let mut rows: Vec<Row> = names.groups.keys().zip(cells).filter_map(row).collect();
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Some(rows))
    }

    /// What `expr` does to each series of a selector.
    fn fusible<'e>(&mut self, expr: &'e Expr) -> Result<Option<Inner<'e>>> {
        let expr = expr.unparenthesised();
        match &expr.kind {
            Kind::Selector(selector) if selector.edges == Edges::Plain => Ok(Some(Inner {
                selector,
                kernel: Kernel::Instant,
                range_ms: self.query.lookback_ms,
                function: "",
                at: expr.start,
            })),
            Kind::Call { function, args } => {
                let is_range = |arg: &&Expr| arg.type_of() == Type::Matrix;
                let Some(matrix) = args.iter().find(is_range) else { return Ok(None) };
                let Kind::Range { selector, range } = &matrix.unparenthesised().kind else {
                    return Ok(None);
                };
                if selector.edges != Edges::Plain || args.len() != 1 {
                    return Ok(None);
                }
                let Some(kernel) = Kernel::find(function.name) else { return Ok(None) };
                let range_ms = self.positive_ms(range)?;
                let (function, at) = (function.name, matrix.start);
                Ok(Some(Inner { selector, kernel, range_ms, function, at }))
            }
            _ => Ok(None),
        }
    }

    /// Doubts about the metrics that had a sample.
    fn doubt_names(&mut self, names: &Names<'_>, seen: &[bool], at: usize) {
        let seen = names.fine.iter().zip(seen).filter(|(_, seen)| **seen);
        let mut kinds: Vec<&Labels> = seen.map(|(labels, _)| labels).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for labels in kinds {
            self.doubt_counter(labels, at);
        }
    }
}

/// Whether labels that describe the metric are in the result.
fn keeps_metadata(grouping: &Grouping) -> bool {
    !grouping.without && grouping.labels.iter().any(|l| is_metadata_label(l))
}

/// The grouping to ask the source for: by the language's rule for `without`, and fine enough to see what metrics there are.
fn source_grouping(grouping: &Grouping, kinds: bool) -> Grouping {
    let mut labels = grouping.labels.clone();
    let mut add = |name: &str| {
        if !labels.iter().any(|l| l == name) {
            labels.push(name.to_owned());
        }
    };
    if grouping.without {
        [METRIC_NAME, "__type__", "__unit__"]
            .iter()
            .filter(|n| !kinds || !KIND_LABELS.contains(n))
            .for_each(|n| add(n));
        if kinds {
            labels.retain(|l| !KIND_LABELS.contains(&l.as_str()));
        }
    } else if kinds {
        KIND_LABELS.iter().for_each(|n| add(n));
    }
    Grouping { labels, without: grouping.without }
}

/// The groups of the result, and the finer ones of the source.
struct Names<'a> {
    groups: Numbering<'a>,
    /// By number of the source's group: the labels that say what metric it is.
    fine: Vec<Labels>,
    numbers: FxHashMap<Labels, u32>,
}

impl<'a> Names<'a> {
    fn new(grouping: &'a Grouping) -> Self {
        let projection = Projection::new(&grouping.labels, grouping.without);
        let (fine, numbers) = (Vec::new(), FxHashMap::default());
        Self { groups: Numbering::new(projection), fine, numbers }
    }
}

/// What some morsels gave.
#[derive(Default)]
struct Partial {
    cells: FxHashMap<u32, Cells>,
    /// Whether a source's group had a sample.
    seen: Vec<bool>,
    /// A sum left the range of numbers, which depends on the order of its terms.
    overflow: bool,
}

impl Partial {
    /// Takes in the values of one or of the sum of some series of a group, and of a finer group of the source.
    fn take(
        &mut self,
        visitor: &Visitor<'_>,
        (group, fine): (u32, usize),
        (values, is_dense, series): (&[f64], bool, u32),
    ) -> Result<()> {
        if self.seen.len() <= fine {
            self.seen.resize(fine + 1, false);
        }
        self.seen[fine] = true;
        let steps = visitor.eval.count;
        let cells = match self.cells.entry(group) {
            std::collections::hash_map::Entry::Occupied(slot) => slot.into_mut(),
            std::collections::hash_map::Entry::Vacant(slot) => {
                visitor.budget.charge_bytes(Cells::bytes(steps))?;
                slot.insert(Cells::new(visitor.op, steps))
            }
        };
        cells.add(values, is_dense, series);
        Ok(())
    }

    fn merge(&mut self, next: Self) {
        self.overflow |= next.overflow;
        if self.seen.len() < next.seen.len() {
            self.seen.resize(next.seen.len(), false);
        }
        self.seen.iter_mut().zip(next.seen).for_each(|(a, b)| *a |= b);
        #[expect(clippy::iter_over_hash_type, reason = "groups do not touch each other")]
        for (group, cells) in next.cells {
            match self.cells.entry(group) {
                std::collections::hash_map::Entry::Vacant(slot) => {
                    slot.insert(cells);
                }
                std::collections::hash_map::Entry::Occupied(mut slot) => {
                    slot.get_mut().merge(&cells);
                    self.overflow |= slot.get().has_overflow();
                }
            }
        }
    }
}

/// Morsels in their order.
#[derive(Default)]
struct Merge {
    next: usize,
    waiting: BTreeMap<usize, Partial>,
    total: Partial,
}

struct Visitor<'a> {
    op: Reduce,
    kernel: &'a Kernel,
    ends: Grid,
    /// The steps themselves, which `@` and `offset` do not shift.
    eval: Grid,
    range_ms: i64,
    /// If roll-ups will do.
    rolled: Option<RolledFunction>,
    budget: &'a Budget,
    names: Mutex<Names<'a>>,
    /// By number of the source's group, that of the result.
    group_of: RwLock<Vec<u32>>,
    merge: Mutex<Merge>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MetricVisitor for Visitor<'_> {
    fn group(&self, labels: &Labels) -> Result<u32> {
        let mut names = lock(&self.names);
        let Names { groups, fine, numbers } = &mut *names;
        if let Some(number) = numbers.get(labels) {
            return Ok(*number);
        }
        self.budget.charge_bytes(2 * labels.packed_len() as u64 + 128)?;
        let number = number(fine.len())?;
        let mut group_of = self.group_of.write().unwrap_or_else(PoisonError::into_inner);
        group_of.push(self::number(groups.number(labels))?);
        fine.push(labels.iter().filter(|(n, _)| KIND_LABELS.contains(n)).collect());
        numbers.insert(labels.clone(), number);
        Ok(number)
    }

    fn worker(&self) -> Box<dyn MetricWorker + '_> {
        let walker = Walker::new(self.kernel, self.ends, self.eval, self.range_ms);
        let rolled = |function| RolledWalker::new(function, self.ends, self.range_ms);
        Box::new(Worker {
            visitor: self,
            walker,
            rolled: self.rolled.map(rolled),
            group_of: Vec::new(),
            partial: Partial::default(),
            samples: 0,
        })
    }

    fn roll_ups(&self) -> Option<RollUpNeeds> {
        self.rolled.map(RolledFunction::needs)
    }
}

fn number(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_| model::Error::invalid("query has over 2^32 groups"))
}

struct Worker<'v, 'a> {
    visitor: &'v Visitor<'a>,
    walker: Walker<'a>,
    rolled: Option<RolledWalker>,
    /// What is known of [`Visitor::group_of`].
    group_of: Vec<u32>,
    partial: Partial,
    samples: u64,
}

/// Samples between two looks at the budget.
const SAMPLES_PER_CHECK: u64 = 1 << 16;

impl Worker<'_, '_> {
    fn group_of(&mut self, fine: usize) -> u32 {
        if let Some(group) = self.group_of.get(fine) {
            return *group;
        }
        let known = self.visitor.group_of.read().unwrap_or_else(PoisonError::into_inner);
        self.group_of.clone_from(&known);
        self.group_of.get(fine).copied().expect("BUG: sources show groups that have a number")
    }
}

impl MetricWorker for Worker<'_, '_> {
    fn together(&mut self, times_id: u64, timestamps: &[i64]) -> Together {
        self.walker.together(self.visitor.op, times_id, timestamps)
    }

    fn series(&mut self, series: SeriesView<'_>) -> Result<()> {
        let visitor = self.visitor;
        self.samples += series.values.len() as u64 * u64::from(series.count);
        if self.samples >= SAMPLES_PER_CHECK {
            visitor.budget.charge_samples(std::mem::take(&mut self.samples))?;
        }
        let fine = series.group as usize;
        let group = self.group_of(fine);
        let row = self.walker.row(&series, visitor.budget)?;
        if !row.had_samples {
            return Ok(());
        }
        self.partial.take(visitor, (group, fine), (row.values, row.is_dense, series.count))
    }

    fn rolled(&mut self, series: RollUpView<'_>) -> Result<bool> {
        self.samples += series.windows.len() as u64;
        let fine = series.group as usize;
        let group = self.group_of(fine);
        let Some((values, is_dense)) = self.rolled.as_mut().and_then(|rolled| rolled.row(&series))
        else {
            return Ok(false);
        };
        self.partial.take(self.visitor, (group, fine), (values, is_dense, 1))?;
        Ok(true)
    }

    fn end_morsel(&mut self, morsel: usize) -> Result<()> {
        self.visitor.budget.charge_samples(std::mem::take(&mut self.samples))?;
        let mut partial = std::mem::take(&mut self.partial);
        partial.overflow = partial.cells.values().any(Cells::has_overflow);
        let mut merge = lock(&self.visitor.merge);
        merge.waiting.insert(morsel, partial);
        let Merge { next, waiting, total } = &mut *merge;
        while let Some(partial) = waiting.remove(next) {
            let before = total.cells.len() + partial.cells.len();
            total.merge(partial);
            let freed = (before - total.cells.len()) as u64;
            let steps = self.visitor.eval.count;
            self.visitor.budget.release_bytes(freed * Cells::bytes(steps));
            *next += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
