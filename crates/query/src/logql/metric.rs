//! Evaluating metric expressions: a tree of operations on series over the steps of a query.

use model::{Budget, Error, Labels, LogSource, Result};

use super::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, Expr, ExprKind, Grouping, LabelReplaceExpr,
};
use super::range::{self, RangeSeries, Steps};
use super::series;
use super::{Evaluated, LogQuery, MetricValue, Point, Series, Stats, Value};

/// Steps one query may have; Loki's bound.
const STEPS_MAX: i64 = 11_000;

/// What an expression evaluates to.
enum Rows {
    Number(f64),
    Series(Vec<RangeSeries>),
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
        let count = span_ns / query.step_ns + 1;
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

    fn taken(&mut self, result: range::RangeResult) -> Vec<RangeSeries> {
        self.stats.rows += result.stats.rows;
        self.stats.bytes += result.stats.bytes;
        for warning in result.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        result.series
    }

    fn constant(&self, value: f64) -> Vec<RangeSeries> {
        let values = vec![Some(value); self.steps.count];
        vec![RangeSeries { labels: Labels::default(), values }]
    }

    fn series(&mut self, expr: &Expr) -> Result<Vec<RangeSeries>> {
        Ok(match self.expr(expr)? {
            Rows::Series(series) => series,
            Rows::Number(value) => self.constant(value),
        })
    }

    fn aggregate(&mut self, expr: &AggregateExpr) -> Result<Vec<RangeSeries>> {
        if expr.op == AggregateOp::ApproxTopK && !self.is_instant {
            return Err(Error::invalid("approx_topk is only supported on instant queries"));
        }
        if let Some(series) = self.summed_range(expr)? {
            return Ok(series);
        }
        let series = self.series(&expr.inner)?;
        series::aggregate(expr.op, expr.param, expr.grouping.as_ref(), series, self.steps.count)
    }

    /// A sum of an additive range aggregation is that aggregation with the sum's grouping: it makes far fewer series,
    /// and lets a store count by itself.
    fn summed_range(&mut self, expr: &AggregateExpr) -> Result<Option<Vec<RangeSeries>>> {
        let (AggregateOp::Sum, ExprKind::Range(range)) = (expr.op, &expr.inner.kind) else {
            return Ok(None);
        };
        if !range.op.is_additive() || range.grouping.is_some() {
            return Ok(None);
        }
        let all = Grouping { without: false, names: Vec::new() };
        let grouping = Some(expr.grouping.as_ref().unwrap_or(&all));
        let result = range::evaluate(self.source, range, grouping, self.steps, self.budget)?;
        Ok(Some(self.taken(result)))
    }

    fn binary(&mut self, expr: &BinaryExpr) -> Result<Rows> {
        let (left, right) = (self.expr(&expr.left)?, self.expr(&expr.right)?);
        Ok(match (left, right) {
            (Rows::Number(a), Rows::Number(b)) => Rows::Number(series::on_numbers(expr.op, a, b)),
            (Rows::Series(left), Rows::Number(b)) => {
                Rows::Series(series::with_number(expr, left, b, false))
            }
            (Rows::Number(a), Rows::Series(right)) => {
                Rows::Series(series::with_number(expr, right, a, true))
            }
            (Rows::Series(left), Rows::Series(right)) => {
                Rows::Series(series::binary(expr, left, right, self.steps.count)?)
            }
        })
    }

    fn label_replace(&mut self, expr: &LabelReplaceExpr) -> Result<Vec<RangeSeries>> {
        let series = self.series(&expr.inner)?;
        series::label_replace(expr, series)
    }

    fn finish(&self, rows: Rows) -> MetricValue {
        let t_ms = |i: usize| self.steps.time_ns(i).div_euclid(1_000_000);
        let series = match rows {
            Rows::Number(value) if self.is_instant => return MetricValue::Scalar(t_ms(0), value),
            Rows::Number(value) => self.constant(value),
            Rows::Series(series) => series,
        };
        if self.is_instant {
            let points = series.into_iter().filter_map(|s| {
                let value = s.values.first().copied().flatten()?;
                Some(Point { labels: s.labels, t_ms: t_ms(0), value })
            });
            return MetricValue::Vector(points.collect());
        }
        let mut matrix: Vec<Series> = series
            .into_iter()
            .map(|s| {
                let present =
                    s.values.iter().enumerate().filter_map(|(i, v)| Some((t_ms(i), (*v)?)));
                Series { points: present.collect(), labels: s.labels }
            })
            .filter(|s| !s.points.is_empty())
            .collect();
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        MetricValue::Matrix(matrix)
    }
}
