//! Counting rows or bytes per step and group inside the store, without giving out rows.
//!
//! Each row falls into the windows of a contiguous range of steps, so a row costs two additions: one where the range
//! begins and one behind its end. Where no filter has a say, neighbours that fall into the same range are counted together:
//! from the index, if that is a whole run, and by the codes of the fields' columns, where groups depend on fields.

use std::ops::Range;
use std::sync::Arc;

use model::{
    Budget, Error, ErrorKind, Labels, LogAggregation, LogPlan, PATTERN_LABEL, Result, StepCounts,
    label_of,
};
use rustc_hash::FxHashMap;

use crate::bits::Bits;
use crate::block::Run;
use crate::column::count_narrow;
use crate::fields::{Coded, RowCodes};
use crate::hot::{HotBlocks, OpenBlock};
use crate::part::{BlockMeta, Part};
use crate::patterns::known::Known;
use crate::select::{self, Filters};
use crate::view::View;

/// Steps one aggregation may have.
const STEPS_MAX: i64 = 1 << 20;
/// So many rows are counted one by one: looking through a table of counts would take longer.
const FEW_ROWS: usize = 64;

/// Computes `aggregation` over the rows of `plan`.
pub(crate) fn run(
    view: &View,
    plan: &LogPlan,
    aggregation: &LogAggregation,
    budget: &Budget,
) -> Result<Option<Vec<StepCounts>>> {
    let Some(steps) = Steps::new(aggregation)? else { return Ok(Some(Vec::new())) };
    view.learn_patterns(plan, aggregation.by.as_deref().unwrap_or_default());
    let filters = Filters::new(plan, view);
    let (by, bytes) = (aggregation.by.as_deref(), aggregation.bytes);
    let mut tables = Tables {
        steps,
        by,
        bytes,
        index: FxHashMap::default(),
        all: Vec::new(),
        extents: aggregation.extents,
        hot: &view.hot,
        known: &view.known,
        budget,
    };
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
            if !tables.block(part, block, &wanted, plan, &filters)? {
                return Ok(None);
            }
        }
    }
    for chunk in &view.chunks {
        let rows = select::select_chunk(chunk, plan, &filters, budget)?;
        let names_pattern = by.is_some_and(|names| names.iter().any(|n| n == PATTERN_LABEL));
        let patterns =
            (names_pattern && !rows.is_empty()).then(|| chunk.patterns().coded(&view.known));
        for (t_ns, number) in rows {
            let row = chunk.rows.row(number as usize);
            let amount = if bytes { row.line.len() as u64 } else { 1 };
            let pattern = patterns.as_ref().map(|p| p.value(number as usize));
            let table = tables.table_of(row.stream, row.fields, pattern)?;
            tables.all[table].add(steps.of(t_ns), amount, (t_ns, t_ns));
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

    /// As [`of`](Self::of), and the last time up to which it stays so.
    fn of_until(&self, t_ns: i64) -> ((usize, usize), i64) {
        let (first, end) = self.of(t_ns);
        let time =
            |step: usize| self.start_ns.saturating_add(self.step_ns.saturating_mul(step as i64));
        // Behind the last step nothing changes any more.
        let until = |step: usize, t: i64| if step < self.count { t } else { i64::MAX };
        let until_ns =
            until(first, time(first)).min(until(end, time(end).saturating_sub(self.window_ns)));
        ((first, end), until_ns)
    }
}

/// Rows of one group.
struct Table {
    group: Labels,
    /// Differences of the counts from one step to the next; one more than steps.
    changes: Vec<i64>,
    /// Times of the first and the last row.
    extent: (i64, i64),
}

impl Table {
    fn add(&mut self, (first, end): (usize, usize), amount: u64, extent: (i64, i64)) {
        if first < end {
            self.changes[first] = self.changes[first].wrapping_add(amount.cast_signed());
            self.changes[end] = self.changes[end].wrapping_sub(amount.cast_signed());
            self.extent = (self.extent.0.min(extent.0), self.extent.1.max(extent.1));
        }
    }
}

struct Tables<'b> {
    steps: Steps,
    by: Option<&'b [String]>,
    bytes: bool,
    /// Number of each group's table.
    index: FxHashMap<Labels, usize>,
    all: Vec<Table>,
    /// Whether it is wanted when the first and the last row of a group was.
    extents: bool,
    hot: &'b HotBlocks,
    known: &'b Known,
    budget: &'b Budget,
}

/// The columns that tell the rows of a block apart, with the names they stand for; none when streams alone do.
type Columns<'b, 'f> = Vec<(&'b str, Coded<'f>)>;

impl<'b> Tables<'b> {
    /// `false` when the block is damaged.
    fn block(
        &mut self,
        part: &Arc<Part>,
        block: &BlockMeta,
        wanted: &[bool],
        plan: &LogPlan,
        filters: &Filters<'_>,
    ) -> Result<bool> {
        let Some((min_ns, max_ns)) = select::bounds(block, wanted, plan.range) else {
            return Ok(true);
        };
        if self.steps.of(min_ns).0 >= self.steps.count || self.steps.of(max_ns).1 == 0 {
            return Ok(true);
        }
        if part.is_damaged(block) {
            return Ok(false);
        }
        let open = self.hot.open(part, block);
        let columns = self.columns(part, block, &open, wanted);
        let Some(columns) = select::undamaged(part, block, columns)? else { return Ok(false) };
        if !self.bytes && filters.are_idle(part, block) {
            let counted = self.all_rows(part, block, &open, wanted, plan, &columns);
            return Ok(select::undamaged(part, block, counted)?.is_some());
        }
        let (place, hot) = ((part, block), self.hot);
        let Some(selected) = select::select(place, wanted, plan, filters, hot, self.budget)? else {
            return Ok(!part.is_damaged(block));
        };
        let counted = self.selected_rows(part, block, &open, &selected.rows, &columns);
        Ok(select::undamaged(part, block, counted)?.is_some())
    }

    /// Counts the selected rows of a block.
    fn selected_rows(
        &mut self,
        part: &Part,
        block: &BlockMeta,
        open: &OpenBlock,
        selected: &Bits,
        columns: &Columns<'_, '_>,
    ) -> Result<()> {
        let lens = if self.bytes { open.lines(part, block)?.lens()? } else { Vec::new() };
        let times = open.times(part, block)?;
        let steps = self.steps;
        let mut rows = selected.ones().peekable();
        let mut end = 0;
        for run in &block.runs {
            end += run.rows as usize;
            if rows.peek().is_none_or(|row| *row >= end) {
                continue;
            }
            let mut groups = Groups::new(&part.streams[run.stream as usize], columns);
            let (mut range, mut until_ns) = ((0, 0), i64::MIN);
            while let Some(row) = rows.next_if(|row| *row < end) {
                // Times ascend within a run.
                let t_ns = times[row];
                if t_ns > until_ns {
                    (range, until_ns) = steps.of_until(t_ns);
                }
                let amount =
                    if self.bytes { lens.get(row).map_or(0, |len| u64::from(*len)) } else { 1 };
                let table = groups.table(row, self)?;
                self.all[table].add(range, amount, (t_ns, t_ns));
            }
        }
        Ok(())
    }

    /// The columns of the labels that some wanted stream of the block does not have itself.
    fn columns<'f>(
        &self,
        part: &Part,
        block: &BlockMeta,
        open: &'f OpenBlock,
        wanted: &[bool],
    ) -> Result<Columns<'b, 'f>> {
        let Some(by) = self.by else { return Ok(Vec::new()) };
        let is_wanted = |run: &&Run| wanted.get(run.stream as usize) == Some(&true);
        let lacks = |name: &str| {
            if name == PATTERN_LABEL {
                return false;
            }
            let mut runs = block.runs.iter().filter(is_wanted);
            runs.any(|run| part.streams[run.stream as usize].get(name).is_none())
        };
        let mut columns: Columns<'b, 'f> = Vec::new();
        if by.iter().any(|name| name == PATTERN_LABEL) {
            columns.push((PATTERN_LABEL, open.patterns(part, block)?.coded(self.known)));
        }
        if !by.iter().any(|name| lacks(name)) {
            return Ok(columns);
        }
        let Some(fields) = open.fields(part, block)? else { return Ok(columns) };
        for name in by.iter().filter(|name| lacks(name)) {
            if let Some(coded) = fields.coded(name)? {
                columns.push((name.as_str(), coded));
            }
        }
        Ok(columns)
    }

    /// Counts all rows of a block in the plan's time, where no filter has a say: by runs and by what lies between two
    /// changes of steps, not by rows. Times are read only where a run falls into several ranges of steps.
    fn all_rows(
        &mut self,
        part: &Part,
        block: &BlockMeta,
        open: &OpenBlock,
        wanted: &[bool],
        plan: &LogPlan,
        columns: &Columns<'_, '_>,
    ) -> Result<()> {
        let steps = self.steps;
        let mut start = 0;
        for run in &block.runs {
            let (mut from, mut end) = (start, start + run.rows as usize);
            start = end;
            if wanted.get(run.stream as usize) != Some(&true)
                || !plan.range.overlaps(run.min_ns, run.max_ns)
            {
                continue;
            }
            let mut groups = Groups::new(&part.streams[run.stream as usize], columns);
            let is_inside = plan.range.contains(run.min_ns) && plan.range.contains(run.max_ns);
            let is_one_range = is_inside && steps.of_until(run.min_ns).1 >= run.max_ns;
            if is_one_range && !self.extents {
                self.budget.charge_samples(u64::from(run.rows))?;
                self.rows_in(from..end, steps.of(run.min_ns), &mut groups, &[])?;
                continue;
            }
            let times = open.times(part, block)?;
            let run_times = times.get(from..end).unwrap_or_default();
            end = from + run_times.partition_point(|t| *t < plan.range.end_ns);
            from += run_times.partition_point(|t| *t < plan.range.start_ns);
            self.budget.charge_samples(end.saturating_sub(from) as u64)?;
            while from < end {
                let (range, until_ns) = steps.of_until(times[from]);
                let rest = &times[from..end];
                // Near the beginning when steps are short: gallop, then halve.
                let mut reach = 16;
                while rest.get(reach).is_some_and(|t| *t <= until_ns) {
                    reach *= 2;
                }
                let low = if reach == 16 { 0 } else { reach / 2 };
                let high = reach.min(rest.len());
                let count = low + rest[low..high].partition_point(|t| *t <= until_ns);
                self.rows_in(from..from + count, range, &mut groups, times)?;
                // The first one is before the change: this ends.
                from += count.max(1);
            }
        }
        Ok(())
    }

    /// Adds neighbouring rows, which all fall into the same steps; `times` are those of the block, if they are wanted.
    fn rows_in(
        &mut self,
        rows: Range<usize>,
        range: (usize, usize),
        groups: &mut Groups<'_, '_>,
        times: &[i64],
    ) -> Result<()> {
        if range.0 >= range.1 {
            return Ok(());
        }
        let time = |row: usize| times.get(row).copied().unwrap_or(0);
        if rows.len() < FEW_ROWS && !groups.columns.is_empty() {
            for row in rows {
                let table = groups.table(row, self)?;
                self.all[table].add(range, 1, (time(row), time(row)));
            }
            return Ok(());
        }
        for (first, last, count) in groups.counts(rows, self)? {
            let table = groups.table(first, self)?;
            self.all[table].add(range, count, (time(first), time(last)));
        }
        Ok(())
    }

    /// Number of the table for rows of `stream` with `fields` and, where it is asked for, `pattern`.
    fn table_of(
        &mut self,
        stream: &Labels,
        fields: &Labels,
        pattern: Option<&str>,
    ) -> Result<usize> {
        let group = match self.by {
            None => stream.clone(),
            Some(names) => {
                let pairs = names.iter().map(|name| match pattern {
                    Some(pattern) if name == PATTERN_LABEL => (name.as_str(), pattern),
                    _ => (name.as_str(), label_of(stream, fields, name)),
                });
                Labels::from_pairs(pairs)
            }
        };
        if let Some(table) = self.index.get(&group) {
            return Ok(*table);
        }
        let len = self.steps.count + 1;
        self.budget.charge_bytes(len as u64 * 8 + group.packed_len() as u64 + 64)?;
        self.index.insert(group.clone(), self.all.len());
        self.all.push(Table { group, changes: vec![0; len], extent: (i64::MAX, i64::MIN) });
        Ok(self.all.len() - 1)
    }

    fn finish(mut self) -> Vec<StepCounts> {
        let (count, extents) = (self.steps.count, self.extents);
        let sum = |table: Table| {
            let mut total = 0_i64;
            let counts: Vec<u64> = table
                .changes
                .iter()
                .take(count)
                .map(|change| {
                    total = total.wrapping_add(*change);
                    total.cast_unsigned()
                })
                .collect();
            let extent = extents.then_some(table.extent);
            let labels = table.group;
            counts.iter().any(|c| *c > 0).then_some(StepCounts { labels, counts, extent })
        };
        self.all.sort_unstable_by(|a, b| a.group.cmp(&b.group));
        self.all.into_iter().filter_map(sum).collect()
    }
}

/// Combinations of codes for which tables are looked up by number.
const DENSE_MAX: usize = 1 << 16;

/// The groups of the rows of one run, by the codes of the columns that its stream does not decide.
struct Groups<'c, 'f> {
    stream: &'c Labels,
    columns: Vec<(&'c str, &'c Coded<'f>)>,
    /// Tables by codes, where there are few combinations; `usize::MAX` while unknown.
    dense: Vec<usize>,
    /// Tables by codes, where there are many.
    sparse: FxHashMap<Vec<u32>, usize>,
}

impl<'c, 'f> Groups<'c, 'f> {
    fn new(stream: &'c Labels, columns: &'c Columns<'_, 'f>) -> Self {
        let own =
            columns.iter().filter(|(name, _)| *name == PATTERN_LABEL || stream.get(name).is_none());
        let columns: Vec<(&str, &Coded<'f>)> = own.map(|(name, coded)| (*name, coded)).collect();
        let sizes = columns.iter().map(|(_, coded)| coded.values.len() + 1);
        let combinations = sizes.fold(1_usize, usize::saturating_mul);
        let is_dense = combinations <= DENSE_MAX;
        let dense = if is_dense { vec![usize::MAX; combinations] } else { Vec::new() };
        Self { stream, columns, dense, sparse: FxHashMap::default() }
    }

    /// The combination of codes that row `row` has, where tables are looked up by it.
    fn combination(&self, row: usize) -> usize {
        self.columns
            .iter()
            .fold(0, |at, (_, coded)| at * (coded.values.len() + 1) + coded.codes.get(row) as usize)
    }

    /// The table of row `row` of the block.
    fn table(&mut self, row: usize, tables: &mut Tables<'_>) -> Result<usize> {
        if !self.dense.is_empty() {
            let at = self.combination(row);
            if let Some(table) = self.dense.get(at).filter(|table| **table != usize::MAX) {
                return Ok(*table);
            }
            let table = self.new_table(row, tables)?;
            if let Some(known) = self.dense.get_mut(at) {
                *known = table;
            }
            return Ok(table);
        }
        let codes: Vec<u32> = self.columns.iter().map(|(_, c)| c.codes.get(row)).collect();
        if let Some(table) = self.sparse.get(&codes) {
            return Ok(*table);
        }
        let table = self.new_table(row, tables)?;
        self.sparse.insert(codes, table);
        Ok(table)
    }

    fn new_table(&self, row: usize, tables: &mut Tables<'_>) -> Result<usize> {
        let fields = Labels::from_pairs(self.columns.iter().map(|(name, c)| (*name, c.value(row))));
        let of_pattern = self.columns.iter().find(|(name, _)| *name == PATTERN_LABEL);
        tables.table_of(self.stream, &fields, of_pattern.map(|(_, coded)| coded.value(row)))
    }

    /// The first and the last of `rows` that is in each group, and how many are.
    fn counts(
        &mut self,
        rows: Range<usize>,
        tables: &mut Tables<'_>,
    ) -> Result<Vec<(usize, usize, u64)>> {
        match self.columns.as_slice() {
            _ if rows.is_empty() => Ok(Vec::new()),
            columns if columns.iter().all(|(_, c)| matches!(c.codes, RowCodes::Same(_))) => {
                Ok(vec![(rows.start, rows.end - 1, rows.len() as u64)])
            }
            [(_, Coded { codes: RowCodes::Narrow(codes), .. })] => {
                let codes = codes.get(rows.clone()).unwrap_or_default();
                let mut left = codes.len();
                let mut counts = Vec::new();
                for (code, count) in count_narrow(codes).into_iter().enumerate() {
                    if count > 0 {
                        let first = memchr::memchr(code as u8, codes).unwrap_or(0);
                        let last = match tables.extents {
                            true => memchr::memrchr(code as u8, codes).unwrap_or(first),
                            false => first,
                        };
                        counts.push((rows.start + first, rows.start + last, count as u64));
                        left -= count;
                        if left == 0 {
                            break;
                        }
                    }
                }
                Ok(counts)
            }
            _ => {
                let mut counts: FxHashMap<usize, (usize, usize, u64)> = FxHashMap::default();
                for row in rows {
                    let table = self.table(row, tables)?;
                    let found = counts.entry(table).or_insert((row, row, 0));
                    (found.1, found.2) = (row, found.2 + 1);
                }
                // Sums do not depend on their order.
                let mut counts: Vec<(usize, usize, u64)> = counts.into_values().collect();
                counts.sort_unstable();
                Ok(counts)
            }
        }
    }
}
