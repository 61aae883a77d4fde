//! Evaluating metric expressions: a tree of operations on series over the steps of a query.

use model::{Budget, Error, Grouping, Labels, LogSource, Result};

use super::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, BinaryOp, Expr, ExprKind, LabelReplaceExpr,
};
use super::range::{self, Steps};
use super::{Evaluated, LogQuery, Stats, Value};
use crate::promql::{self, Sample, Series};
use crate::vector::aggregate::{self, Reduce};
use crate::vector::binary::{self, Op};
use crate::vector::remarks::Remarks;
use crate::vector::{Row, is_present, labels, merge, sort};

/// Steps one query may have; Loki's bound.
const STEPS_MAX: i64 = 11_000;

/// What an expression evaluates to.
enum Rows {
    Number(f64),
    Series(Vec<Row>),
}

struct Evaluator<'q> {
    source: &'q dyn LogSource,
    budget: &'q Budget,
    steps: Steps,
    is_instant: bool,
    warnings: Vec<String>,
    stats: Stats,
}

/// Evaluates a metric query.
pub(super) fn evaluate(
    source: &dyn LogSource,
    expr: &Expr,
    query: &LogQuery,
    budget: &Budget,
) -> Result<Evaluated> {
    let is_instant = query.step_ns <= 0;
    let steps = if is_instant {
        Steps { start_ns: query.end_ns, step_ns: 1, count: 1 }
    } else {
        let span_ns = query.end_ns.saturating_sub(query.start_ns);
        let count = (span_ns / query.step_ns).saturating_add(1);
        if span_ns < 0 || count > STEPS_MAX + 1 {
            return Err(Error::invalid(format!(
                "query asks for {count} points per series; the limit is {STEPS_MAX}"
            )));
        }
        let count = usize::try_from(count).unwrap_or(1);
        Steps { start_ns: query.start_ns, step_ns: query.step_ns, count }
    };
    let mut evaluator = Evaluator {
        source,
        budget,
        steps,
        is_instant,
        warnings: Vec::new(),
        stats: Stats::default(),
    };
    let rows = evaluator.expr(expr)?;
    let value = evaluator.finish(rows);
    let Evaluator { warnings, stats, .. } = evaluator;
    Ok(Evaluated { value: Value::Metric(value), warnings, stats })
}

impl Evaluator<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Rows> {
        self.budget.check()?;
        match &expr.kind {
            ExprKind::Number(value) => Ok(Rows::Number(*value)),
            ExprKind::Vector(value) => Ok(Rows::Series(self.constant(*value))),
            ExprKind::Range(range) => {
                let result = range::evaluate(self.source, range, None, self.steps, self.budget)?;
                Ok(Rows::Series(self.taken(result)))
            }
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate).map(Rows::Series),
            ExprKind::Binary(binary) => self.binary(binary),
            ExprKind::LabelReplace(replace) => self.label_replace(replace).map(Rows::Series),
            ExprKind::Log(_) => Err(Error::invalid("log query inside of a metric query")),
        }
    }

    fn taken(&mut self, result: range::RangeResult) -> Vec<Row> {
        self.stats.rows += result.stats.rows;
        self.stats.bytes += result.stats.bytes;
        for warning in result.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        result.series
    }

    /// A number at every step.
    fn number(&self, value: f64) -> Vec<f64> {
        vec![value; self.steps.count]
    }

    fn constant(&self, value: f64) -> Vec<Row> {
        vec![Row::new(Labels::default(), self.number(value))]
    }

    fn series(&mut self, expr: &Expr) -> Result<Vec<Row>> {
        let rows = self.expr(expr)?;
        Ok(self.rows(rows))
    }

    fn aggregate(&mut self, expr: &AggregateExpr) -> Result<Vec<Row>> {
        if expr.op == AggregateOp::ApproxTopK && !self.is_instant {
            return Err(Error::invalid("approx_topk is only supported on instant queries"));
        }
        if let Some(series) = self.summed_range(expr)? {
            return Ok(series);
        }
        let mut rows = self.series(&expr.inner)?;
        let (steps, budget) = (self.steps.count, self.budget);
        let grouping = expr.grouping.clone().unwrap_or_else(ungrouped);
        let reduce = |op, rows: &[Row]| aggregate::reduce(op, rows, &grouping, &[], steps, budget);
        match expr.op {
            AggregateOp::Sum => reduce(Reduce::Sum, &rows),
            AggregateOp::Avg => reduce(Reduce::Avg, &rows),
            AggregateOp::Min => reduce(Reduce::Min, &rows),
            AggregateOp::Max => reduce(Reduce::Max, &rows),
            AggregateOp::Count => reduce(Reduce::Count, &rows),
            AggregateOp::StdDev => reduce(Reduce::StdDev, &rows),
            AggregateOp::StdVar => reduce(Reduce::StdVar, &rows),
            AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::ApproxTopK => {
                let largest = expr.op != AggregateOp::BottomK;
                let k = self.number(expr.param.unwrap_or(1.0));
                aggregate::top(rows, &grouping, &k, largest, steps, budget)
            }
            AggregateOp::Sort | AggregateOp::SortDesc => {
                sort::by_value(&mut rows, expr.op == AggregateOp::SortDesc);
                Ok(rows)
            }
        }
    }

    /// A sum of an additive range aggregation is that aggregation with the sum's grouping: it makes far fewer series,
    /// and lets a store count by itself.
    fn summed_range(&mut self, expr: &AggregateExpr) -> Result<Option<Vec<Row>>> {
        let (AggregateOp::Sum, ExprKind::Range(range)) = (expr.op, &expr.inner.kind) else {
            return Ok(None);
        };
        if !range.op.is_additive() || range.grouping.is_some() {
            return Ok(None);
        }
        let grouping = expr.grouping.clone().unwrap_or_else(ungrouped);
        let (steps, budget) = (self.steps, self.budget);
        let result = range::evaluate(self.source, range, Some(&grouping), steps, budget)?;
        Ok(Some(self.taken(result)))
    }

    fn binary(&mut self, expr: &BinaryExpr) -> Result<Rows> {
        let (left, right) = (self.expr(&expr.left)?, self.expr(&expr.right)?);
        let (steps, budget) = (self.steps.count, self.budget);
        let op = match expr.op {
            BinaryOp::Value(op) => op,
            BinaryOp::Set(op) => {
                let (left, right) = (self.rows(left), self.rows(right));
                // `or` may bring the same series from both sides, at different steps.
                return merge(binary::set(op, left, right, &expr.matching)).map(Rows::Series);
            }
        };
        let right = without_zero_divisors(op, right);
        // Only histograms give reasons for remarks, and logs have none.
        let mut remarks = Remarks::default();
        Ok(match (left, right) {
            (Rows::Number(a), Rows::Number(b)) => Rows::Number(op.apply(a, b)),
            (Rows::Series(left), Rows::Number(b)) => {
                let b = self.number(b);
                Rows::Series(binary::with_scalar(
                    op,
                    left,
                    &b,
                    false,
                    expr.returns_bool,
                    budget,
                    &mut remarks,
                )?)
            }
            (Rows::Number(a), Rows::Series(right)) => {
                let a = self.number(a);
                Rows::Series(binary::with_scalar(
                    op,
                    right,
                    &a,
                    true,
                    expr.returns_bool,
                    budget,
                    &mut remarks,
                )?)
            }
            (Rows::Series(left), Rows::Series(right)) => {
                let (matching, returns_bool) = (&expr.matching, expr.returns_bool);
                Rows::Series(binary::between(
                    op,
                    &left,
                    &right,
                    (matching, returns_bool),
                    steps,
                    budget,
                    &mut remarks,
                )?)
            }
        })
    }

    fn rows(&self, rows: Rows) -> Vec<Row> {
        match rows {
            Rows::Series(rows) => rows,
            Rows::Number(value) => self.constant(value),
        }
    }

    fn label_replace(&mut self, expr: &LabelReplaceExpr) -> Result<Vec<Row>> {
        let rows = self.series(&expr.inner)?;
        let LabelReplaceExpr { target, replacement, source, pattern, .. } = expr;
        labels::label_replace(rows, target, replacement, source, pattern, self.budget)
    }

    fn finish(&self, rows: Rows) -> promql::Value {
        let t_ms = |i: usize| self.steps.time_ns(i).div_euclid(1_000_000);
        let series = match rows {
            Rows::Number(value) if self.is_instant => return promql::Value::Scalar(t_ms(0), value),
            Rows::Number(value) => self.constant(value),
            Rows::Series(series) => series,
        };
        if self.is_instant {
            let points = series.into_iter().filter_map(|s| {
                let value = s.values.first().copied().filter(|v| is_present(*v))?;
                Some(Sample { labels: s.labels, t_ms: t_ms(0), value, histogram: None })
            });
            return promql::Value::Vector(points.collect());
        }
        let mut matrix: Vec<Series> = series
            .into_iter()
            .map(|s| {
                let points = s.values.iter().enumerate().map(|(i, v)| (t_ms(i), *v));
                Series {
                    points: points.filter(|(_, v)| is_present(*v)).collect(),
                    histograms: Vec::new(),
                    labels: s.labels,
                }
            })
            .filter(|s| !s.points.is_empty())
            .collect();
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        promql::Value::Matrix(matrix)
    }
}

/// What an aggregation without `by` and `without` groups by: nothing.
fn ungrouped() -> Grouping {
    Grouping { without: false, labels: Vec::new() }
}

/// In LogQL a division by zero gives NaN, never an infinity; so does one by NaN.
fn without_zero_divisors(op: Op, divisor: Rows) -> Rows {
    let replaced = |x: f64| if x == 0.0 { f64::NAN } else { x };
    match divisor {
        divisor if op != Op::Div => divisor,
        Rows::Number(value) => Rows::Number(replaced(value)),
        Rows::Series(mut rows) => {
            rows.iter_mut().for_each(|row| row.map(replaced));
            Rows::Series(rows)
        }
    }
}
