//! Series over time: the functions behind a pipeline, and what can be done with their results.

use model::Result;

use super::{Arithmetic, Comparison, Node, Parser, comparison, level};
use crate::syntax::{climb, nearest};
use crate::traceql::ast::{Aggregate, Function, Metric, SpanMetric, Spanset, Split, Stage};
use crate::traceql::field::{Field, Type};
use crate::traceql::tokens::Kind;
use crate::traceql::value::Value;

/// Fields that series may be split by.
const BY_MAX: usize = 5;
/// Quantiles of one query.
const QUANTILES_MAX: usize = 20;
/// Values that `compare` shows of an attribute unless it is told, and at most.
const TOP: usize = 10;
const TOP_MAX: usize = 1_000;

const FUNCTIONS: [&str; 9] = [
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "sum_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "compare",
];

impl Parser<'_> {
    /// A function of the spans of `stages`, `by (…)` and a comparison.
    pub(super) fn metric(&mut self, stages: Vec<Stage>) -> Result<Metric> {
        let token = self.peek();
        if token.kind != Kind::Word {
            return Err(self.unexpected("a stage"));
        }
        if matches!(token.text, "topk" | "bottomk") {
            return Err(self.fail(&format!("{} takes series, as of rate()", token.text)));
        }
        if !FUNCTIONS.contains(&token.text) {
            let all = FUNCTIONS
                .into_iter()
                .chain(["by", "select", "coalesce", "count", "avg", "min", "max", "sum"]);
            let hint = match nearest(token.text, all) {
                Some(near) => format!("; did you mean {near}?"),
                None => String::new(),
            };
            return Err(self.fail(&format!("unknown function {:?}{hint}", token.text)));
        }
        self.next();
        self.expect("(")?;
        let function = match token.text {
            "rate" => Function::Rate,
            "count_over_time" => Function::CountOverTime,
            "min_over_time" => Function::OverTime(Aggregate::Min, self.number_field()?),
            "max_over_time" => Function::OverTime(Aggregate::Max, self.number_field()?),
            "avg_over_time" => Function::OverTime(Aggregate::Avg, self.number_field()?),
            "sum_over_time" => Function::OverTime(Aggregate::Sum, self.number_field()?),
            "histogram_over_time" => Function::Histogram(self.number_field()?),
            "quantile_over_time" => self.quantiles()?,
            _ => Function::Compare(self.split()?),
        };
        self.expect(")")?;
        let mut by = Vec::new();
        if self.peek().kind == Kind::Word && self.peek().text == "by" {
            if matches!(function, Function::Compare(_)) {
                return Err(self.fail("compare has series by attribute already"));
            }
            self.next();
            by = self.field_list()?;
            if by.len() > BY_MAX {
                return Err(self.fail(&format!(
                    "series are split by {} fields; the limit is {BY_MAX}",
                    by.len()
                )));
            }
        }
        self.comparisons(Metric::Spans(SpanMetric { stages, function, by }))
    }

    /// A field with numbers.
    fn number_field(&mut self) -> Result<Field> {
        let token = self.peek();
        let field = self.field()?;
        match field.value_type() {
            Type::Number | Type::Any => Ok(field),
            other => {
                let what = format!("{} is {}, not a number or duration", field.text, other.name());
                Err(model::Error::invalid(what).with_span(token.start, token.end))
            }
        }
    }

    fn quantiles(&mut self) -> Result<Function> {
        let field = self.number_field()?;
        let mut quantiles = Vec::new();
        while self.take(",") {
            let token = self.peek();
            let fail =
                |what: String| Err(model::Error::invalid(what).with_span(token.start, token.end));
            match self.literal()? {
                Value::Int(value @ 0..=1) => quantiles.push(value as f64),
                Value::Float(value) if (0.0..=1.0).contains(&value) => quantiles.push(value),
                other => return fail(format!("quantile {other} is not between 0 and 1")),
            }
            if quantiles.len() > QUANTILES_MAX {
                return fail(format!("over {QUANTILES_MAX} quantiles in one query"));
            }
        }
        if quantiles.is_empty() {
            return Err(self.unexpected("a quantile, as in quantile_over_time(duration, 0.9)"));
        }
        Ok(Function::Quantile(field, quantiles))
    }

    fn split(&mut self) -> Result<Split> {
        let Spanset::Filter(selection) = self.filter()? else {
            return Err(self.fail("compare takes one selection of spans"));
        };
        let mut numbers = Vec::new();
        while self.take(",") {
            let Value::Int(number) = self.literal()? else {
                return Err(self.fail("compare takes integers behind its selection"));
            };
            numbers.push(number);
        }
        let (top, window) = match numbers.as_slice() {
            [] => (None, None),
            [top] => (Some(*top), None),
            [top, start, end] if start < end => (Some(*top), Some((*start, *end))),
            [_, _, _] => return Err(self.fail("the selection of compare ends before it starts")),
            _ => {
                return Err(
                    self.unexpected("compare({…}, top, start, end) with both times or none")
                );
            }
        };
        let top = match top.map(usize::try_from) {
            None => TOP,
            Some(Ok(top @ 1..=TOP_MAX)) => top,
            Some(_) => {
                return Err(
                    self.fail(&format!("compare shows 1 to {TOP_MAX} values of an attribute"))
                );
            }
        };
        Ok(Split { selection, top, window })
    }

    /// `topk(n)` or `bottomk(n)`, and a comparison.
    pub(super) fn second_stage(&mut self, metric: Metric) -> Result<Metric> {
        let token = self.peek();
        let is_top = token.text == "topk";
        if token.kind != Kind::Word || !(is_top || token.text == "bottomk") {
            return Err(self.unexpected("topk or bottomk"));
        }
        refuse_comparisons(&metric).map_err(|what| self.fail(what))?;
        self.next();
        self.expect("(")?;
        let count = match self.literal()? {
            Value::Int(count) => usize::try_from(count).ok().filter(|count| *count > 0),
            _ => None,
        };
        let Some(count) = count else {
            return Err(self.fail(&format!("{} takes an integer above 0", token.text)));
        };
        self.expect(")")?;
        self.comparisons(Metric::Extreme { of: Box::new(metric), count, is_top })
    }

    /// Comparisons directly behind a metric.
    fn comparisons(&mut self, mut metric: Metric) -> Result<Metric> {
        while self.peek().kind == Kind::Sign
            && let Some(comparison) = comparison(self.peek().text)
        {
            let sign = self.next();
            let right = climb(&mut super::Sets(self), level::SUM)?;
            metric = filter(Node::Metric(metric), comparison, right).map_err(|what| {
                model::Error::invalid(format!("{:?}: {what}", sign.text))
                    .with_span(sign.start, sign.end)
            })?;
        }
        Ok(metric)
    }
}

/// Results of `compare` are not series of one thing.
fn refuse_comparisons(metric: &Metric) -> Result<(), &'static str> {
    match metric {
        Metric::Spans(SpanMetric { function: Function::Compare(_), .. }) => {
            Err("the result of compare cannot be filtered or calculated with")
        }
        _ => Ok(()),
    }
}

/// Whether the series are durations, in seconds.
fn is_duration(metric: &Metric) -> bool {
    match metric {
        Metric::Spans(SpanMetric { function, .. }) => match function {
            Function::OverTime(_, field) | Function::Quantile(field, _) => {
                field.value_type() != Type::Number || field.is_duration()
            }
            _ => false,
        },
        Metric::Extreme { of, .. } | Metric::Filter(_, of, _) => is_duration(of),
        Metric::Calculate(..) | Metric::Number(_) => false,
    }
}

/// Points of the metric on one side that compare with the number on the other.
pub(super) fn filter(
    left: Node,
    comparison: Comparison,
    right: Node,
) -> Result<Metric, &'static str> {
    let (metric, comparison, number) = match (left, right) {
        (Node::Metric(metric), number) => (metric, comparison, number),
        (number, Node::Metric(metric)) => (metric, comparison.swapped(), number),
        _ => return Err(""),
    };
    refuse_comparisons(&metric)?;
    let Node::Number { value, is_plain } = number else {
        return Err("points are compared with a number");
    };
    let number = match value {
        Value::Duration(ns) if is_plain && is_duration(&metric) => ns as f64 / 1e9,
        Value::Duration(_) => return Err("the points are no durations"),
        other => other.number().ok_or("points are compared with a number")?,
    };
    Ok(Metric::Filter(comparison, Box::new(metric), number))
}

/// Arithmetic on series and numbers.
pub(super) fn calculate(op: Arithmetic, left: Node, right: Node) -> Result<Metric, &'static str> {
    if matches!(op, Arithmetic::Modulo | Arithmetic::Power) {
        return Err("series know +, -, * and /");
    }
    let operand = |node: Node| match node {
        Node::Metric(metric) => refuse_comparisons(&metric).map(|()| metric),
        Node::Number { value: Value::Duration(_), .. } => {
            Err("durations cannot be calculated with here")
        }
        Node::Number { value, .. } => value.number().map(Metric::Number).ok_or(""),
        _ => Err(""),
    };
    Ok(Metric::Calculate(op, Box::new(operand(left)?), Box::new(operand(right)?)))
}
