//! Functions of range selectors, and instant selectors, series by series where roll-ups will do: no samples are collected.
//!
//! Owns: which calls go this way and the rows they give, which are those of the ordinary way. Does not own: what is made of
//! roll-ups ([`fused`](super::fused)), aggregations of them (the same).

use std::sync::{Mutex, PoisonError};

use model::{
    Budget, Grouping, Labels, MetricPlan, MetricVisitor, MetricWorker, Result, RollUpNeeds,
    RollUpView, SeriesView,
};
use rustc_hash::FxHashMap;

use super::Evaluator;
use super::fused::rolled::{RolledFunction, RolledWalker};
use super::fused::windows::{Kernel, Walker};
use crate::promql::ast::{Edges, Selector};
use crate::vector::{Grid, Row};

impl Evaluator<'_> {
    /// The rows of `function` (`""`: an instant selector) over `(end - range, end]` of `selector`'s series at each of `ends`;
    /// `None` when samples are needed, or the source cannot be visited.
    pub(super) fn rolled(
        &mut self,
        (function, selector): (&'static str, &Selector),
        (ends, eval): (Grid, Grid),
        (range_ms, doubted_at): (i64, Option<usize>),
    ) -> Result<Option<Vec<Row>>> {
        let kernel =
            if function.is_empty() { Some(Kernel::Instant) } else { Kernel::find(function) };
        let rolled = RolledFunction::of(function, ends, range_ms);
        let (Some(rolled), Some(kernel)) = (rolled, kernel) else { return Ok(None) };
        if selector.edges != Edges::Plain || ends.count == 0 {
            return Ok(None);
        }
        let plan = MetricPlan {
            matchers: selector.matchers.clone(),
            start_ms: ends.start_ms.saturating_sub(range_ms).saturating_add(1),
            end_ms: ends.last_ms(),
            step_ms: self.step_ms,
            range_ms: if function.is_empty() { 0 } else { range_ms },
            function,
            grouping: Some(Grouping { labels: Vec::new(), without: true }),
        };
        let visitor = Apart {
            kernel,
            rolled,
            grids: (ends, eval),
            range_ms,
            budget: self.budget,
            found: Mutex::default(),
        };
        self.budget.charge_bytes(eval.count as u64 * Walker::STEP_BYTES)?;
        let visited = self.source.visit(&plan, &visitor, self.budget)?;
        let Found { labels, values, .. } =
            visitor.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !visited.complete {
            let bytes = values.len() as u64 * row_bytes(eval.count);
            self.budget.release_bytes(bytes);
            return Ok(None);
        }
        self.grouping_hint = None;
        for warning in visited.warnings {
            self.notes.source_warning(warning);
        }
        let mut series: Vec<(Labels, Vec<f64>)> =
            values.into_iter().map(|(group, row)| (labels[group as usize].clone(), row)).collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        if let (Some(at), "rate" | "increase") = (doubted_at, function) {
            let mut previous = None;
            for (labels, _) in &series {
                let metric = (labels.metric_name(), labels.get("__type__"));
                if previous.replace(metric) != Some(metric) {
                    self.doubt_counter(labels, at);
                }
            }
        }
        let drop_name = !matches!(function, "" | "first_over_time" | "last_over_time");
        let row = |(labels, values)| Row { labels, drop_name, values, histograms: None };
        Ok(Some(series.into_iter().map(row).filter(Row::any).collect()))
    }
}

fn row_bytes(steps: usize) -> u64 {
    steps as u64 * 8 + 256
}

/// Series found so far.
#[derive(Default)]
struct Found {
    labels: Vec<Labels>,
    numbers: FxHashMap<Labels, u32>,
    values: Vec<(u32, Vec<f64>)>,
}

/// Makes a row of each series.
struct Apart<'a> {
    kernel: Kernel,
    rolled: RolledFunction,
    /// The ends of windows, and the steps.
    grids: (Grid, Grid),
    range_ms: i64,
    budget: &'a Budget,
    found: Mutex<Found>,
}

impl MetricVisitor for Apart<'_> {
    fn group(&self, labels: &Labels) -> Result<u32> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = found.numbers.get(labels) {
            return Ok(*number);
        }
        self.budget.charge_bytes(2 * labels.packed_len() as u64 + 128)?;
        let number = u32::try_from(found.labels.len())
            .map_err(|_| model::Error::invalid("query has over 2^32 series"))?;
        found.labels.push(labels.clone());
        found.numbers.insert(labels.clone(), number);
        Ok(number)
    }

    fn worker(&self) -> Box<dyn MetricWorker + '_> {
        let (ends, eval) = self.grids;
        Box::new(Worker {
            visitor: self,
            walker: Walker::new(&self.kernel, ends, eval, self.range_ms),
            rolled: RolledWalker::new(self.rolled, ends, self.range_ms),
            rows: Vec::new(),
        })
    }

    fn roll_ups(&self) -> Option<RollUpNeeds> {
        Some(self.rolled.needs())
    }
}

struct Worker<'v, 'a> {
    visitor: &'v Apart<'a>,
    walker: Walker<'v>,
    rolled: RolledWalker,
    rows: Vec<(u32, Vec<f64>)>,
}

impl Worker<'_, '_> {
    fn charge(&self, read: usize) -> Result<()> {
        let budget = self.visitor.budget;
        budget.charge_samples(read as u64)?;
        budget.charge_bytes(row_bytes(self.visitor.grids.1.count))
    }
}

impl MetricWorker for Worker<'_, '_> {
    fn series(&mut self, series: SeriesView<'_>) -> Result<()> {
        self.charge(series.values.len())?;
        let row = self.walker.row(&series, self.visitor.budget)?;
        if row.had_samples {
            self.rows.push((series.group, row.values.to_vec()));
        }
        Ok(())
    }

    fn rolled(&mut self, series: RollUpView<'_>) -> Result<bool> {
        let Some((values, _)) = self.rolled.row(&series) else { return Ok(false) };
        let row = (series.group, values.to_vec());
        self.rows.push(row);
        self.charge(series.windows.len())?;
        Ok(true)
    }

    fn end_morsel(&mut self, _: usize) -> Result<()> {
        let mut found = self.visitor.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.values.append(&mut self.rows);
        Ok(())
    }
}
