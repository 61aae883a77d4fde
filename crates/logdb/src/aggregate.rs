//! Counting rows or bytes per step and stream inside the store, without giving out rows.
//!
//! Each row falls into the windows of a contiguous range of steps, so a row costs two additions: one where the range
//! begins and one behind its end. Without line filters, whole runs are counted from the index where they fall into the
//! same range.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Budget, Error, ErrorKind, Labels, LogAggregation, LogPlan, Result, StepCounts};

use crate::part::{BlockMeta, Part};
use crate::select::{self, Filters};
use crate::view::View;

/// Steps one aggregation may have.
const STEPS_MAX: i64 = 1 << 20;

/// Computes `aggregation` over the rows of `plan`.
pub(crate) fn run(
    view: &View,
    plan: &LogPlan,
    aggregation: &LogAggregation,
    budget: &Budget,
) -> Result<Option<Vec<StepCounts>>> {
    let Some(steps) = Steps::new(aggregation)? else { return Ok(Some(Vec::new())) };
    let filters = Filters::new(&plan.line_filters);
    let mut tables = Tables { steps, by_stream: BTreeMap::new(), budget };
    for part in view.all_parts() {
        // A damaged part needs a warning, which only a scan can give.
        if part.damaged_blocks() > 0 {
            return Ok(None);
        }
        if !plan.range.overlaps(part.summary.min_ns, part.summary.max_ns) {
            continue;
        }
        let wanted = select::matching(&part.streams, &plan.matchers);
        for block in &part.blocks {
            if !tables.block(part, block, &wanted, plan, &filters, aggregation.bytes)? {
                return Ok(None);
            }
        }
    }
    for chunk in &view.chunks {
        for (t_ns, row) in select::select_chunk(chunk, plan, &filters, budget)? {
            let row = chunk.rows.row(row as usize);
            let amount = if aggregation.bytes { row.line.len() as u64 } else { 1 };
            tables.add(row.stream, t_ns, amount)?;
        }
    }
    Ok(Some(tables.finish()))
}

/// The step times.
#[derive(Clone, Copy)]
struct Steps {
    start_ns: i64,
    step_ns: i64,
    window_ns: i64,
    count: usize,
}

impl Steps {
    /// `None` when there are no steps.
    fn new(aggregation: &LogAggregation) -> Result<Option<Self>> {
        let LogAggregation { start_ns, end_ns, step_ns, window_ns, .. } = *aggregation;
        if step_ns <= 0 || window_ns <= 0 {
            return Err(Error::invalid("step and window of a log aggregation must be above 0"));
        }
        if end_ns < start_ns {
            return Ok(None);
        }
        let count = end_ns.saturating_sub(start_ns) / step_ns + 1;
        if count > STEPS_MAX {
            let message = format!("log aggregation has {count} steps; the limit is {STEPS_MAX}");
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(Some(Self { start_ns, step_ns, window_ns, count: count as usize }))
    }

    /// Steps `[first, end)` whose window `(t - window, t]` has `t_ns`.
    fn of(&self, t_ns: i64) -> (usize, usize) {
        let at_least = |t: i64| {
            // Number of steps before `t`.
            let before = i128::from(t) - i128::from(self.start_ns);
            let steps =
                (before + i128::from(self.step_ns) - 1).div_euclid(i128::from(self.step_ns));
            usize::try_from(steps.clamp(0, self.count as i128)).unwrap_or(0)
        };
        (at_least(t_ns), at_least(t_ns.saturating_add(self.window_ns)))
    }
}

struct Tables<'b> {
    steps: Steps,
    /// Differences from one step to the next; one more than steps.
    by_stream: BTreeMap<Labels, Vec<i64>>,
    budget: &'b Budget,
}

impl Tables<'_> {
    /// `false` when the block is damaged.
    fn block(
        &mut self,
        part: &Arc<Part>,
        block: &BlockMeta,
        wanted: &[bool],
        plan: &LogPlan,
        filters: &Filters<'_>,
        bytes: bool,
    ) -> Result<bool> {
        let Some((min_ns, max_ns)) = select::bounds(block, wanted, plan.range) else {
            return Ok(true);
        };
        if self.steps.of(min_ns).0 >= self.steps.count || self.steps.of(max_ns).1 == 0 {
            return Ok(true);
        }
        if filters.is_empty() && !bytes && self.whole_runs(part, block, wanted, plan)? {
            return Ok(true);
        }
        let Some(selected) = select::select(part, block, wanted, plan, filters, self.budget)?
        else {
            return Ok(!part.is_damaged(block));
        };
        let mut lens = Vec::new();
        if bytes {
            let mut take = |len: usize| lens.push(len as u64);
            let read = match &selected.lines {
                Some(lines) => lines.lens(&selected.rows, &mut take),
                None => part.lines(block).and_then(|l| l.lens(&selected.rows, &mut take)),
            };
            if select::undamaged(part, block, read)?.is_none() {
                return Ok(false);
            }
        }
        let mut rows = selected.rows.ones().enumerate().peekable();
        let mut end = 0;
        for run in &block.runs {
            end += run.rows as usize;
            if rows.peek().is_none_or(|(_, row)| *row >= end) {
                continue;
            }
            let steps = self.steps;
            let table = self.table(&part.streams[run.stream as usize])?;
            while let Some((i, row)) = rows.next_if(|(_, row)| *row < end) {
                let amount = if bytes { lens.get(i).copied().unwrap_or(0) } else { 1 };
                add(table, steps.of(selected.times[row]), amount);
            }
        }
        Ok(true)
    }

    /// Counts the runs of a block from the index alone; `false` (and nothing counted) when that is not exact.
    fn whole_runs(
        &mut self,
        part: &Part,
        block: &BlockMeta,
        wanted: &[bool],
        plan: &LogPlan,
    ) -> Result<bool> {
        if part.is_damaged(block) {
            return Ok(false);
        }
        let steps = self.steps;
        let runs = || {
            block.runs.iter().filter(|r| {
                wanted.get(r.stream as usize).copied().unwrap_or(false)
                    && plan.range.overlaps(r.min_ns, r.max_ns)
            })
        };
        let exact = runs().all(|r| {
            plan.range.contains(r.min_ns)
                && plan.range.contains(r.max_ns)
                && steps.of(r.min_ns) == steps.of(r.max_ns)
        });
        if !exact {
            return Ok(false);
        }
        self.budget.charge_samples(runs().map(|r| u64::from(r.rows)).sum())?;
        for run in runs() {
            let table = self.table(&part.streams[run.stream as usize])?;
            add(table, steps.of(run.min_ns), u64::from(run.rows));
        }
        Ok(true)
    }

    fn table(&mut self, stream: &Labels) -> Result<&mut Vec<i64>> {
        let len = self.steps.count + 1;
        if !self.by_stream.contains_key(stream) {
            self.budget.charge_bytes(len as u64 * 8)?;
        }
        Ok(self.by_stream.entry(stream.clone()).or_insert_with(|| vec![0; len]))
    }

    fn add(&mut self, stream: &Labels, t_ns: i64, amount: u64) -> Result<()> {
        let range = self.steps.of(t_ns);
        add(self.table(stream)?, range, amount);
        Ok(())
    }

    fn finish(self) -> Vec<StepCounts> {
        let count = self.steps.count;
        let sum = |(stream, table): (Labels, Vec<i64>)| {
            let mut total = 0_i64;
            let counts: Vec<u64> = table
                .iter()
                .take(count)
                .map(|change| {
                    total = total.wrapping_add(*change);
                    total.cast_unsigned()
                })
                .collect();
            counts.iter().any(|c| *c > 0).then_some(StepCounts { stream, counts })
        };
        self.by_stream.into_iter().filter_map(sum).collect()
    }
}

fn add(table: &mut [i64], (first, end): (usize, usize), amount: u64) {
    if first < end {
        table[first] = table[first].wrapping_add(amount.cast_signed());
        table[end] = table[end].wrapping_sub(amount.cast_signed());
    }
}
