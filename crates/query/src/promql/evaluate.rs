//! The evaluator: walks the tree once, over all steps at a time.

mod arithmetic;
mod calls;
mod dates;
mod elements;
mod extended;
mod fused;
mod histogram;
mod info;
mod invariant;
mod native;
mod rolled;
mod select;
mod starts;
mod windows;

use std::sync::Arc;

use model::{Budget, Error, Grouping, Histogram, Labels, MetricSource, Result};

use super::ast::{At, Expr, Kind, Type};
use super::notes::{About, Notes};
use super::{Evaluated, Options, PromQuery, Sample, Series, Value};
use crate::vector::remarks::Remarks;
use crate::vector::{Grid, Row, duplicate_error, is_present, merge};

/// What an expression evaluates to, over the steps of a grid.
pub(crate) enum Evaluation {
    /// One number per step.
    Scalar(Vec<f64>),
    Text(String),
    Vector(Vec<Row>),
}

pub(crate) struct Evaluator<'a> {
    source: &'a dyn MetricSource,
    query: &'a PromQuery,
    budget: &'a Budget,
    notes: Notes,
    /// Grouping of the aggregation whose selector is evaluated next, for the plan.
    grouping_hint: Option<Grouping>,
    options: Options,
    /// What is needed of the histograms that are selected next.
    detail: Detail,
    /// The query's own grid, whatever subquery is being evaluated.
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
}

/// How much of selected histograms the functions around their selector read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything.
    Full,
    /// Count and sum only. Buckets are dropped at once, but before that they tell where a counter started anew.
    Statistics,
    /// Everything, whatever function comes further inside.
    Always,
}

/// Evaluates `expr`, which `query.text` was parsed to.
pub(crate) fn run(
    source: &dyn MetricSource,
    expr: &Expr,
    query: &PromQuery,
    options: Options,
    budget: &Budget,
) -> Result<Evaluated> {
    if !options.experimental {
        invariant::refuse_experimental(expr)?;
    }
    let instant = query.step_ms <= 0;
    let start_ms = if instant { query.end_ms } else { query.start_ms };
    let grid = if instant {
        Grid::instant(query.end_ms)
    } else {
        let span = query.end_ms.checked_sub(start_ms).filter(|span| *span >= 0);
        let span = span.ok_or_else(|| Error::invalid("end of the query is before its start"))?;
        let count = usize::try_from(span / query.step_ms).unwrap_or(usize::MAX).saturating_add(1);
        Grid { start_ms, step_ms: query.step_ms, count }
    };
    let mut evaluator = Evaluator {
        source,
        query,
        budget,
        notes: Notes::default(),
        grouping_hint: None,
        options,
        detail: Detail::Full,
        start_ms,
        end_ms: query.end_ms,
        step_ms: query.step_ms.max(0),
    };
    let value = evaluator.value(expr, grid, instant)?;
    let Notes { warnings, infos } = evaluator.notes;
    Ok(Evaluated { value, warnings, infos })
}

impl Evaluator<'_> {
    fn value(&mut self, expr: &Expr, grid: Grid, instant: bool) -> Result<Value> {
        let kind = expr.type_of();
        if !instant && !matches!(kind, Type::Scalar | Type::Vector) {
            return Err(Error::invalid(format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                kind.as_str()
            )));
        }
        if kind == Type::Matrix {
            return self.matrix_value(expr, grid);
        }
        self.budget.charge_bytes((grid.count as u64).saturating_mul(8))?;
        let t_ms = grid.start_ms;
        let points = |values: &[f64]| -> Vec<(i64, f64)> {
            grid.times_ms().zip(values.iter().copied()).filter(|(_, v)| is_present(*v)).collect()
        };
        Ok(match self.eval(expr, grid)? {
            Evaluation::Text(text) => Value::String(t_ms, text),
            Evaluation::Scalar(values) if instant => {
                Value::Scalar(t_ms, values.first().copied().unwrap_or(f64::NAN))
            }
            Evaluation::Scalar(values) => {
                let (labels, histograms) = (Labels::default(), Vec::new());
                Value::Matrix(vec![Series { labels, points: points(&values), histograms }])
            }
            Evaluation::Vector(rows) => {
                let mut rows = shown(rows)?;
                if instant {
                    let sample = |row: Row| {
                        let histogram = row.histogram(0).cloned();
                        let value = if histogram.is_some() { f64::NAN } else { row.values[0] };
                        Sample { labels: row.labels, t_ms, value, histogram }
                    };
                    return Ok(Value::Vector(rows.into_iter().map(sample).collect()));
                }
                rows.sort_by(|a, b| a.labels.cmp(&b.labels));
                let series = |row: Row| {
                    let histograms =
                        row.histogram_steps().map(|(step, h)| (grid.time_ms(step), h.clone()));
                    Series {
                        points: points(&row.values),
                        histograms: histograms.collect(),
                        labels: row.labels,
                    }
                };
                Value::Matrix(rows.into_iter().map(series).collect())
            }
        })
    }

    /// A range selector as it is, at one moment.
    fn matrix_value(&mut self, expr: &Expr, grid: Grid) -> Result<Value> {
        let ranges = self.ranges(expr.unparenthesised(), grid, "")?;
        let (from, to) = ranges.window_ms(0);
        let mut series = Vec::new();
        for one in ranges.series {
            let inside = one.times.iter().zip(&one.values).filter(|(t, _)| **t > from && **t <= to);
            let points: Vec<_> = inside.map(|(t, v)| (*t, *v)).collect();
            let histograms: Vec<(i64, Arc<Histogram>)> =
                one.histograms.into_iter().filter(|(t, _)| *t > from && *t <= to).collect();
            let row = Row::empty(one.labels, one.drop_name, 0);
            if !points.is_empty() || !histograms.is_empty() {
                series.push(Series { labels: row.shown_labels(), points, histograms });
            }
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        if series.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
            return Err(duplicate_error());
        }
        Ok(Value::Matrix(series))
    }

    /// Evaluates anything but range selectors.
    pub(crate) fn eval(&mut self, expr: &Expr, grid: Grid) -> Result<Evaluation> {
        self.budget.check()?;
        if grid.count > 1 && !matches!(expr.kind, Kind::Number(_)) && invariant::is_invariant(expr)
        {
            let once = self.eval_node(expr, Grid::instant(grid.start_ms))?;
            return self.repeat(once, grid.count);
        }
        self.eval_node(expr, grid)
    }

    fn eval_node(&mut self, expr: &Expr, grid: Grid) -> Result<Evaluation> {
        match &expr.kind {
            Kind::Number(n) => Ok(Evaluation::Scalar(vec![*n; grid.count])),
            Kind::Text { value, .. } => Ok(Evaluation::Text(value.clone())),
            Kind::Paren(inner) => self.eval(inner, grid),
            Kind::Unary { negate, inner } => self.unary(*negate, inner, grid),
            Kind::Binary(binary) => self.binary(expr.start, binary, grid),
            Kind::Selector(selector) => {
                self.selector(expr.start, selector, grid).map(Evaluation::Vector)
            }
            Kind::Range { .. } | Kind::Subquery(_) => {
                Err(Error::invalid("a range vector cannot stand here"))
            }
            Kind::Call { function, args } => self.call(expr, function, args, grid),
            Kind::Aggregate(aggregate) => {
                self.aggregate(expr.start, aggregate, grid).map(Evaluation::Vector)
            }
        }
    }

    /// Spreads the value at one step over `count` steps.
    fn repeat(&self, once: Evaluation, count: usize) -> Result<Evaluation> {
        Ok(match once {
            Evaluation::Scalar(values) => {
                Evaluation::Scalar(vec![values.first().copied().unwrap_or(f64::NAN); count])
            }
            Evaluation::Vector(mut rows) => {
                self.charge_rows(rows.len(), count)?;
                for row in &mut rows {
                    let histogram = row.histogram(0).cloned();
                    row.values = vec![row.values[0]; count];
                    row.histograms = histogram.map(|h| vec![Some(h); count].into_boxed_slice());
                }
                Evaluation::Vector(rows)
            }
            text @ Evaluation::Text(_) => text,
        })
    }

    pub(crate) fn eval_vector(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<Row>> {
        match self.eval(expr, grid)? {
            Evaluation::Vector(rows) => Ok(rows),
            _ => Err(Error::invalid("expected an instant vector")),
        }
    }

    pub(crate) fn eval_scalar(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<f64>> {
        match self.eval(expr, grid)? {
            Evaluation::Scalar(values) => Ok(values),
            _ => Err(Error::invalid("expected a scalar")),
        }
    }

    /// Pays for `rows` rows of `steps` values.
    pub(crate) fn charge_rows(&self, rows: usize, steps: usize) -> Result<()> {
        self.budget.charge_bytes((rows as u64).saturating_mul(steps as u64 * 8 + 64))
    }

    pub(crate) fn warn(&mut self, at: usize, message: &str) {
        self.notes.warn(&self.query.text, at, message);
    }

    pub(crate) fn info(&mut self, at: usize, message: &str) {
        self.notes.info(&self.query.text, at, message);
    }

    pub(crate) fn tell(&mut self, at: usize, remarks: Remarks, about: About<'_>) {
        self.notes.tell(&self.query.text, at, remarks, about);
    }

    /// Evaluates with `f` what is inside something that reads this much of histograms.
    pub(crate) fn with_detail<T>(
        &mut self,
        detail: Detail,
        f: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let before = std::mem::replace(&mut self.detail, detail);
        let result = f(self);
        self.detail = before;
        result
    }

    /// Where a selector looks instead of the steps: its `@`.
    pub(crate) fn at_ms(&self, at: Option<At>) -> Option<i64> {
        at.map(|at| match at {
            At::Time(t_ms) => t_ms,
            At::Start => self.start_ms,
            At::End => self.end_ms,
        })
    }

    /// Length in milliseconds of the query's range.
    pub(crate) fn range_ms(&self) -> i64 {
        self.end_ms - self.start_ms
    }
}

/// Rows with the labels readers see.
fn shown(mut rows: Vec<Row>) -> Result<Vec<Row>> {
    for row in &mut rows {
        row.labels = row.shown_labels();
        row.drop_name = false;
    }
    let mut rows = merge(rows)?;
    rows.retain(Row::any);
    Ok(rows)
}
