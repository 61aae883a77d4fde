//! Evaluating range aggregations: from rows to one value per series and step.

use std::borrow::Cow;
use std::ops::ControlFlow;

use hashbrown::HashMap;
use model::{
    Budget, Error, Grouping, Labels, LogAggregation, LogPlan, LogRow, LogSource, MatchOp, Matcher,
    Order, PATTERN_LABEL, Result, StepCounts, TimeRange,
};
use rustc_hash::FxBuildHasher;

use super::Stats;
use super::ast::{Conversion, RangeExpr, RangeOp, Unwrap};
use super::pipeline::Split;
use super::row::{Change, ERROR_LABEL, RowLabels, fields_behind, is_stored};
use super::scan::scan;
use super::units;
use super::window::{self, Sample, Window};
use crate::vector::{ABSENT, Row, is_absent};

/// `__error__` of a label value that is no number.
const ERROR_KIND: &str = "SampleExtractionErr";

/// The times a query is evaluated at: `start_ns`, `start_ns + step_ns`, …, `count` of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) start_ns: i64,
    /// > 0.
    pub(super) step_ns: i64,
    /// > 0.
    pub(super) count: usize,
}

impl Steps {
    /// Time of step `index`.
    pub(super) fn time_ns(&self, index: usize) -> i64 {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        self.start_ns.saturating_add(self.step_ns.saturating_mul(index))
    }

    fn end_ns(&self) -> i64 {
        self.time_ns(self.count - 1)
    }

    /// Index of the first step at or after `t_ns`, possibly `count`.
    fn first_from(&self, t_ns: i64) -> usize {
        let distance = i128::from(t_ns) - i128::from(self.start_ns);
        let step = i128::from(self.step_ns);
        let index = (distance + step - 1).div_euclid(step).max(0);
        usize::try_from(index).unwrap_or(usize::MAX).min(self.count)
    }
}

/// Series of a range aggregation, in order of their labels.
#[derive(Debug, Default)]
pub(super) struct RangeResult {
    pub(super) series: Vec<Row>,
    pub(super) warnings: Vec<String>,
    pub(super) stats: Stats,
}

/// Evaluates `range` at `steps`. `grouping` takes the place of the expression's own: an additive aggregation that is
/// summed anyway need not tell apart what the sum will not.
pub(super) fn evaluate(
    source: &dyn LogSource,
    range: &RangeExpr,
    grouping: Option<&Grouping>,
    steps: Steps,
    budget: &Budget,
) -> Result<RangeResult> {
    let grouping = grouping.or(range.grouping.as_ref());
    let mut split = Split::new(&range.log);
    let wanted = wanted_labels(range, &split, grouping);
    let needs_line = split.reads_line()
        || (range.unwrap.is_none() && matches!(range.op, RangeOp::Bytes | RangeOp::BytesRate));
    let first_ns = steps.start_ns.saturating_sub(range.offset_ns).saturating_sub(range.range_ns);
    let last_ns = steps.end_ns().saturating_sub(range.offset_ns);
    let plan = LogPlan {
        matchers: range.log.matchers.clone(),
        range: TimeRange::new(first_ns.saturating_add(1), last_ns.saturating_add(1)),
        line_filters: std::mem::take(&mut split.line_filters),
        label_filters: std::mem::take(&mut split.label_filters),
        demands: std::mem::take(&mut split.demands),
        order: Order::Any,
        limit: None,
        needs_line,
        needed_fields: wanted.as_deref().map(fields_behind),
        patterns: names_pattern(range, grouping),
    };
    if split.stages.is_empty()
        && range.unwrap.is_none()
        && let Some(result) = from_store(source, &plan, range, grouping, steps, budget)?
    {
        return Ok(result);
    }
    let mut collector = Collector {
        range,
        grouping,
        steps,
        wanted,
        split,
        counts_only: is_counted(range),
        changes: Vec::new(),
        series: Vec::new(),
        by_labels: HashMap::default(),
        stats: Stats::default(),
    };
    let warnings = scan(source, &plan, budget, |row| {
        collector.row(row, budget)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(collector.finish(warnings))
}

/// The labels that can have an influence on the result, when that is known: those grouped by, and those that filters,
/// templates and `unwrap` look at.
fn wanted_labels(
    range: &RangeExpr,
    split: &Split<'_>,
    grouping: Option<&Grouping>,
) -> Option<Vec<String>> {
    let mut wanted = split.labels_read()?;
    match grouping {
        _ if range.op == RangeOp::Absent => {}
        Some(Grouping { without: false, labels }) => wanted.extend_from_slice(labels),
        _ => return None,
    }
    let mut visit = |name: &str| wanted.push(name.to_owned());
    if let Some(unwrap) = &range.unwrap {
        visit(&unwrap.label);
        unwrap.filters.iter().for_each(|f| f.for_each_name(&mut visit));
    }
    Some(wanted)
}

/// Whether anything names the pattern of rows.
fn names_pattern(range: &RangeExpr, grouping: Option<&Grouping>) -> bool {
    let mut names = range.log.names(PATTERN_LABEL);
    names |= grouping.is_some_and(|g| g.labels.iter().any(|name| name == PATTERN_LABEL));
    if let Some(unwrap) = &range.unwrap {
        names |= unwrap.label == PATTERN_LABEL;
        let mut visit = |name: &str| names |= name == PATTERN_LABEL;
        unwrap.filters.iter().for_each(|f| f.for_each_name(&mut visit));
    }
    names
}

/// Whether the aggregation adds up whole numbers, which needs no samples kept.
fn is_counted(range: &RangeExpr) -> bool {
    range.unwrap.is_none() || range.op == RangeOp::Absent
}

/// Lets the store count, when that cannot change the result: rows are told apart by labels they are stored with.
fn from_store(
    source: &dyn LogSource,
    plan: &LogPlan,
    range: &RangeExpr,
    grouping: Option<&Grouping>,
    steps: Steps,
    budget: &Budget,
) -> Result<Option<RangeResult>> {
    let names: &[String] = match (range.op, grouping) {
        (RangeOp::Absent, _) => &[],
        (_, Some(Grouping { without: false, labels: names }))
            if names.iter().all(|n| is_stored(n)) =>
        {
            names
        }
        _ => return Ok(None),
    };
    let is_bytes = matches!(range.op, RangeOp::Bytes | RangeOp::BytesRate);
    let request = |bytes: bool| LogAggregation {
        start_ns: steps.start_ns.saturating_sub(range.offset_ns),
        end_ns: steps.end_ns().saturating_sub(range.offset_ns),
        step_ns: steps.step_ns,
        window_ns: range.range_ns,
        bytes,
        extents: false,
        by: Some(names.to_vec()),
    };
    let Some(counts) = source.aggregate(plan, &request(false), budget)? else { return Ok(None) };
    let sizes = match is_bytes {
        true => source.aggregate(plan, &request(true), budget)?,
        false => None,
    };
    if is_bytes && sizes.is_none() {
        return Ok(None);
    }
    budget.charge_bytes((counts.len() * steps.count * 3 * size_of::<u64>()) as u64)?;
    let sizes: HashMap<Labels, Vec<u64>, FxBuildHasher> =
        sizes.into_iter().flatten().map(|sized| (sized.labels, sized.counts)).collect();
    let mut result = RangeResult::default();
    for StepCounts { labels, counts, .. } in counts {
        let sizes = sizes.get(&labels);
        let value = |i: usize| {
            let count = counts.get(i).copied().unwrap_or(0);
            let size = || sizes.and_then(|s| s.get(i)).copied().unwrap_or(0);
            let total = if is_bytes { size() } else { count };
            if count == 0 { ABSENT } else { scaled(range, total as f64) }
        };
        let row = Row::new(labels, (0..steps.count).map(value).collect());
        if row.any() {
            result.series.push(row);
        }
    }
    result.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    if range.op == RangeOp::Absent {
        result.series = absent(range, result.series, steps);
    }
    Ok(Some(result))
}

/// The value for a sum over a window.
fn scaled(range: &RangeExpr, total: f64) -> f64 {
    match range.op {
        RangeOp::Rate | RangeOp::BytesRate => total / (range.range_ns as f64 / 1e9),
        _ => total,
    }
}

struct Collector<'e> {
    range: &'e RangeExpr,
    grouping: Option<&'e Grouping>,
    steps: Steps,
    split: Split<'e>,
    /// Labels that parsers need to extract; `None` for all.
    wanted: Option<Vec<String>>,
    counts_only: bool,
    /// Scratch space for the labels of a row.
    changes: Vec<Change>,
    series: Vec<(Labels, Collected)>,
    by_labels: HashMap<Labels, usize, FxBuildHasher>,
    stats: Stats,
}

/// What is kept of a series until all rows are in.
enum Collected {
    /// Changes of row count and sum from step to step; adding them up gives the window's.
    Deltas(Vec<(i64, i64)>),
    Samples(Vec<Sample>),
}

impl Collector<'_> {
    fn row(&mut self, row: &LogRow<'_>, budget: &Budget) -> Result<()> {
        self.stats.rows += 1;
        self.stats.bytes += row.line.len() as u64;
        let seen_ns = row.t_ns.saturating_add(self.range.offset_ns);
        let first = self.steps.first_from(seen_ns);
        let behind = self.steps.first_from(seen_ns.saturating_add(self.range.range_ns));
        if first >= behind {
            // Between two windows.
            return Ok(());
        }
        let mut changes = std::mem::take(&mut self.changes);
        let mut labels = RowLabels::new(row.stream, row.fields, &mut changes);
        labels.extract_only(self.wanted.as_deref());
        let extracted = self.extract(row, &mut labels)?;
        if let Some((series, value)) = extracted {
            let sample = Sample { t_ns: seen_ns, value };
            self.add(series, sample, (first, behind), budget)?;
        }
        self.changes = changes;
        Ok(())
    }

    /// The series and value a row counts for; `None` when it is filtered.
    fn extract(
        &self,
        row: &LogRow<'_>,
        labels: &mut RowLabels<'_>,
    ) -> Result<Option<(Labels, f64)>> {
        let mut line = Cow::Borrowed(row.line);
        if !self.split.apply(row, &mut line, labels) {
            return Ok(None);
        }
        let value = match &self.range.unwrap {
            Some(unwrap) => match unwrap_value(unwrap, labels) {
                Some(value) => value,
                None => return Ok(None),
            },
            None if matches!(self.range.op, RangeOp::Bytes | RangeOp::BytesRate) => {
                line.len() as f64
            }
            None => 1.0,
        };
        if labels.has_error() {
            return Err(pipeline_error(labels));
        }
        let unwrapped = self.range.unwrap.as_ref().map(|u| u.label.as_str());
        let series = match self.grouping {
            _ if self.range.op == RangeOp::Absent => Labels::default(),
            Some(Grouping { without: false, labels: names }) => labels.build_only(names),
            Some(Grouping { labels: names, .. }) => {
                labels.build_filtered(|n| Some(n) != unwrapped && !names.iter().any(|x| x == n))
            }
            None if unwrapped.is_some() => labels.build_filtered(|n| Some(n) != unwrapped),
            None => labels.build(),
        };
        Ok(Some((series, value)))
    }

    fn add(
        &mut self,
        labels: Labels,
        sample: Sample,
        (first, behind): (usize, usize),
        budget: &Budget,
    ) -> Result<()> {
        let index = match self.by_labels.get(&labels) {
            Some(index) => *index,
            None => {
                let steps = self.steps.count;
                let collected = if self.counts_only {
                    Collected::Deltas(vec![(0, 0); steps + 1])
                } else {
                    Collected::Samples(Vec::new())
                };
                // What is kept of the series, and the row it will become.
                let kept = if self.counts_only { size_of::<(i64, i64)>() } else { 0 };
                let bytes = (steps + 1) * (kept + size_of::<f64>()) + labels.packed_len() + 64;
                budget.charge_bytes(bytes as u64)?;
                self.series.push((labels.clone(), collected));
                self.by_labels.insert(labels, self.series.len() - 1);
                self.series.len() - 1
            }
        };
        match &mut self.series[index].1 {
            Collected::Deltas(deltas) => {
                let whole = sample.value as i64;
                deltas[first].0 += 1;
                deltas[first].1 += whole;
                deltas[behind].0 -= 1;
                deltas[behind].1 -= whole;
            }
            Collected::Samples(samples) => {
                budget.charge_bytes(size_of::<Sample>() as u64)?;
                samples.push(sample);
            }
        }
        Ok(())
    }

    fn finish(self, warnings: Vec<String>) -> RangeResult {
        let (range, steps) = (self.range, self.steps);
        let compute = |(labels, collected)| {
            let values = match collected {
                Collected::Deltas(deltas) => sums(range, &deltas, steps.count),
                Collected::Samples(samples) => windows(range, samples, steps),
            };
            Row::new(labels, values)
        };
        let mut series: Vec<Row> = self.series.into_iter().map(compute).collect();
        series.retain(Row::any);
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        if range.op == RangeOp::Absent {
            series = absent(range, series, steps);
        }
        RangeResult { series, warnings, stats: self.stats }
    }
}

fn sums(range: &RangeExpr, deltas: &[(i64, i64)], count: usize) -> Vec<f64> {
    let (mut rows, mut total) = (0, 0);
    deltas
        .iter()
        .take(count)
        .map(|(row_delta, delta)| {
            rows += row_delta;
            total += delta;
            if rows > 0 { scaled(range, total as f64) } else { ABSENT }
        })
        .collect()
}

fn windows(range: &RangeExpr, mut samples: Vec<Sample>, steps: Steps) -> Vec<f64> {
    // Stable, so that of rows with one time the one visited last stays last.
    samples.sort_by_key(|s| s.t_ns);
    let (mut from, mut to) = (0, 0);
    (0..steps.count)
        .map(|i| {
            let end_ns = steps.time_ns(i);
            while samples.get(to).is_some_and(|s| s.t_ns <= end_ns) {
                to += 1;
            }
            while samples.get(from).is_some_and(|s| s.t_ns <= end_ns.saturating_sub(range.range_ns))
            {
                from += 1;
            }
            let window = Window { end_ns, range_ns: range.range_ns };
            let inside = samples.get(from..to).unwrap_or(&[]);
            window::compute(range.op, range.param, inside, window).unwrap_or(ABSENT)
        })
        .collect()
}

/// 1 at each step where no row was found, with the labels the selector demands to be equal to something.
fn absent(range: &RangeExpr, present: Vec<Row>, steps: Steps) -> Vec<Row> {
    let value = |i: usize| {
        let any = present.iter().any(|s| s.values.get(i).is_some_and(|v| !is_absent(*v)));
        if any { ABSENT } else { 1.0 }
    };
    let values: Vec<f64> = (0..steps.count).map(value).collect();
    let matchers = &range.log.matchers;
    let is_only = |m: &&Matcher| matchers.iter().filter(|o| o.name() == m.name()).count() == 1;
    let labels = Labels::from_pairs(
        matchers
            .iter()
            .filter(|m| m.op() == MatchOp::Equal)
            .filter(is_only)
            .map(|m| (m.name(), m.value())),
    );
    let row = Row::new(labels, values);
    if row.any() { vec![row] } else { Vec::new() }
}

/// The number in the unwrapped label; `None` when there is none or a filter behind `unwrap` drops the row. A value that
/// is no number marks the row with an error.
pub(super) fn unwrap_value(unwrap: &Unwrap, labels: &mut RowLabels<'_>) -> Option<f64> {
    let text = labels.get(&unwrap.label)?;
    let read = match unwrap.conversion {
        Conversion::Number => units::parse_number(text),
        Conversion::Duration => units::parse_duration(text),
        Conversion::Bytes => units::parse_bytes(text),
    };
    let value = read.unwrap_or_else(|details| {
        labels.set_error(ERROR_KIND, details);
        0.0
    });
    unwrap.filters.iter().all(|f| f.matches(labels)).then_some(value)
}

fn pipeline_error(labels: &RowLabels<'_>) -> Error {
    let kind = labels.get(ERROR_LABEL).unwrap_or("").to_owned();
    Error::invalid(format!(
        "pipeline error: '{kind}' for series: '{}'; skip such rows with a label filter such as | {ERROR_LABEL}!=\"{kind}\", or \
         any failure with | {ERROR_LABEL}=\"\", also behind unwrap",
        labels.build()
    ))
}
