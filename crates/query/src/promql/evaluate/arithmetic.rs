//! Operators and aggregations: glue between the tree and the operations of `vector`.

use std::sync::Arc;

use model::{Error, Result};

use super::{Detail, Evaluation, Evaluator};
use crate::histogram;
use crate::promql::ast::{Aggregate, AggregateOp, Binary, Expr, Kind, Operator, Type};
use crate::promql::notes::About;
use crate::syntax::format_float;
use crate::vector::aggregate::{self, Reduce};
use crate::vector::binary::{self, SetOp};
use crate::vector::remarks::{Remark, Remarks};
use crate::vector::{Grid, Row, merge, mixed};

impl Evaluator<'_> {
    pub(super) fn unary(&mut self, negate: bool, inner: &Expr, grid: Grid) -> Result<Evaluation> {
        let mut value = self.eval(inner, grid)?;
        if negate {
            match &mut value {
                Evaluation::Scalar(values) => values.iter_mut().for_each(|v| *v = -*v),
                Evaluation::Vector(rows) => {
                    for row in rows {
                        row.map(|v| -v);
                        for h in row.histograms.iter_mut().flat_map(|column| column.iter_mut()) {
                            *h = h.as_deref().map(|h| Arc::new(histogram::negated(h)));
                        }
                        row.drop_name = true;
                    }
                }
                Evaluation::Text(_) => {}
            }
        }
        Ok(value)
    }

    pub(super) fn binary(&mut self, at: usize, binary: &Binary, grid: Grid) -> Result<Evaluation> {
        let (left, right) = self.with_detail(Detail::Full, |this| {
            Ok((this.eval(&binary.left, grid)?, this.eval(&binary.right, grid)?))
        })?;
        let returns_bool = binary.returns_bool;
        let op = match binary.op {
            Operator::Number(op) => op,
            Operator::Set(op) => {
                let (Evaluation::Vector(left), Evaluation::Vector(right)) = (left, right) else {
                    return Err(Error::invalid("set operators need instant vectors"));
                };
                let rows = binary::set(op, left, right, &binary.matching);
                return Ok(Evaluation::Vector(if op == SetOp::Or { merge(rows)? } else { rows }));
            }
        };
        let mut remarks = Remarks::default();
        let rows = match (left, right) {
            (Evaluation::Scalar(_), Evaluation::Scalar(_)) if op.is_trim() => {
                return Err(Error::invalid(format!(
                    "operator {:?} not allowed for Scalar operations",
                    binary.op.as_str()
                )));
            }
            (Evaluation::Scalar(a), Evaluation::Scalar(b)) => {
                return Ok(Evaluation::Scalar(binary::scalars(op, &a, &b)));
            }
            (Evaluation::Vector(rows), Evaluation::Scalar(s)) => {
                binary::with_scalar(op, rows, &s, false, returns_bool, self.budget, &mut remarks)?
            }
            (Evaluation::Scalar(s), Evaluation::Vector(rows)) => {
                binary::with_scalar(op, rows, &s, true, returns_bool, self.budget, &mut remarks)?
            }
            (Evaluation::Vector(a), Evaluation::Vector(b)) => {
                let matching = (&binary.matching, returns_bool);
                binary::between(op, &a, &b, matching, grid.count, self.budget, &mut remarks)?
            }
            _ => return Err(Error::invalid("strings have no operators")),
        };
        self.tell(at, remarks, About::Operator(binary.op.as_str()));
        Ok(Evaluation::Vector(rows))
    }

    pub(super) fn aggregate(
        &mut self,
        at: usize,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<Row>> {
        let Aggregate { op, grouping, param, inner, .. } = aggregate;
        let steps = grid.count;
        let numbers = match param {
            Some(param) if param.type_of() == Type::Scalar => self.eval_scalar(param, grid)?,
            _ => Vec::new(),
        };
        let param_start = param.as_ref().map_or(inner.start, |p| p.start);
        let numbers = self.checked_param(*op, numbers, param_start)?;
        if let AggregateOp::CountValues = op {
            refuse_label(param.as_ref(), &self.query.text)?;
        }
        if let Some(rows) = self.fused(aggregate, grid)? {
            return Ok(rows);
        }
        if is_direct(inner) {
            self.grouping_hint = Some(grouping.clone());
        }
        let mut rows = self.eval_vector(inner, grid)?;
        self.grouping_hint = None;
        match op {
            AggregateOp::Reduce(op) if !mixed::any_histogram(&rows) => {
                let mut rows =
                    aggregate::reduce(*op, &rows, grouping, &numbers, steps, self.budget)?;
                // The order of the groups must not tell how they were found.
                rows.sort_by(|a, b| a.labels.cmp(&b.labels));
                Ok(rows)
            }
            AggregateOp::Reduce(reduce) => {
                let (mut rows, told) =
                    mixed::reduce(*reduce, rows, grouping, &numbers, steps, self.budget)?;
                for (metric, remarks) in told {
                    self.tell(inner.start, remarks, About::Aggregation(op.as_str(), &metric));
                }
                rows.sort_by(|a, b| a.labels.cmp(&b.labels));
                Ok(rows)
            }
            AggregateOp::TopK | AggregateOp::BottomK => {
                let largest = *op == AggregateOp::TopK;
                let chooses = numbers.iter().any(|k| *k >= 1.0);
                if mixed::leave_out(&mut rows) && chooses {
                    let remarks = Remarks::only(Remark::Ignored);
                    self.tell(at, remarks, About::Aggregation(op.as_str(), ""));
                }
                aggregate::top(rows, grouping, &numbers, largest, steps, self.budget)
            }
            AggregateOp::LimitK => {
                aggregate::limit_count(rows, grouping, &numbers, steps, self.budget)
            }
            AggregateOp::LimitRatio => {
                aggregate::limit_ratio(rows, grouping, &numbers, steps, self.budget)
            }
            AggregateOp::CountValues => {
                let label = match param.as_ref().map(|p| &p.unparenthesised().kind) {
                    Some(Kind::Text { value, .. }) => value.as_str(),
                    _ => "",
                };
                aggregate::count_values(&rows, grouping, label, steps, self.budget)
            }
        }
    }

    /// Refuses, corrects and comments on the numbers before the vector.
    fn checked_param(
        &mut self,
        op: AggregateOp,
        mut numbers: Vec<f64>,
        at: usize,
    ) -> Result<Vec<f64>> {
        match op {
            AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK => {
                aggregate::refuse_nan(&numbers, "Parameter value is NaN")?;
                if let Some(k) = numbers.iter().find(|k| **k >= i64::MAX as f64) {
                    return Err(Error::invalid(format!(
                        "Scalar value {} overflows int64",
                        format_float(*k)
                    )));
                }
            }
            AggregateOp::LimitRatio => {
                aggregate::refuse_nan(&numbers, "Ratio value is NaN")?;
                for ratio in &mut numbers {
                    let capped = ratio.clamp(-1.0, 1.0);
                    if capped != *ratio {
                        let message = format!(
                            "ratio value should be between -1 and 1, got {}, capping to {}",
                            format_float(*ratio),
                            format_float(capped)
                        );
                        self.warn(at, &message);
                        *ratio = capped;
                    }
                }
            }
            AggregateOp::Reduce(Reduce::Quantile) => self.check_quantiles(&numbers, at),
            AggregateOp::Reduce(_) | AggregateOp::CountValues => {}
        }
        Ok(numbers)
    }

    /// Warns about quantiles outside `[0, 1]`.
    pub(super) fn check_quantiles(&mut self, quantiles: &[f64], at: usize) {
        for q in quantiles {
            if !(0.0..=1.0).contains(q) {
                let shown = format_float(*q);
                self.warn(at, &format!("quantile value should be between 0 and 1, got {shown}"));
            }
        }
    }
}

fn refuse_label(param: Option<&Expr>, text: &str) -> Result<()> {
    let Some(param) = param.map(Expr::unparenthesised) else { return Ok(()) };
    match &param.kind {
        Kind::Text { value, lossy } if value.is_empty() || *lossy => {
            let written = text.get(param.start..param.end).unwrap_or("");
            Err(Error::invalid(format!("invalid label name {written}")))
        }
        _ => Ok(()),
    }
}

/// Whether the series of `expr`'s only selector are what the aggregation around it groups.
fn is_direct(expr: &Expr) -> bool {
    match &expr.unparenthesised().kind {
        Kind::Selector(_) => true,
        Kind::Call { args, .. } => {
            args.iter().filter(|a| !matches!(a.kind, Kind::Number(_))).count() == 1
                && args.iter().any(|a| matches!(a.kind, Kind::Range { .. }))
        }
        _ => false,
    }
}
