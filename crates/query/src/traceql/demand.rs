//! What a query asks of a source of traces: conditions that traces must satisfy to be of interest, and what of their spans
//! is looked at.
//!
//! Conditions leave out less than the query: what a source cannot decide by one value of one span holds for all.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use model::{
    AttributeScope, AttributeValue, SpanCondition, SpanField, SpanKind, SpanStatus, TimeRange,
    TracePlan, ValueTest,
};

use super::ast::{Expr, Form, Scalar, Spanset, SpansetOp, Stage};
use super::expression::matches;
use super::field::{Field, FieldKind, Intrinsic};
use super::value::{Comparison, Value, compare};

/// Collects what a query needs.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// Whether the trace is looked at as a whole.
    pub(super) is_whole: bool,
    /// Whether all attributes are looked at.
    pub(super) all_attributes: bool,
    names: BTreeSet<String>,
    details: bool,
}

impl Demand {
    /// What running `stages` takes.
    pub(super) fn stages(&mut self, stages: &[Stage]) {
        for stage in stages {
            match stage {
                Stage::Spans(spanset) => self.spanset(spanset),
                Stage::By(key) => {
                    // Sets of spans are those of whole traces.
                    self.is_whole = true;
                    self.expr(key);
                }
                Stage::Coalesce => {}
                Stage::Select(fields) => fields.iter().for_each(|field| self.field(field)),
                Stage::Scalar(_, left, right) => {
                    self.is_whole = true;
                    self.scalar(left);
                    self.scalar(right);
                }
            }
        }
    }

    fn spanset(&mut self, spanset: &Spanset) {
        match spanset {
            Spanset::Filter(expr) => self.expr(expr),
            Spanset::Pipeline(stages) => self.stages(stages),
            Spanset::Operation(op, left, right) => {
                // Which of two sets a span is in can be said of it alone.
                self.is_whole |= *op != SpansetOp::Or;
                self.spanset(left);
                self.spanset(right);
            }
        }
    }

    fn scalar(&mut self, scalar: &Scalar) {
        match scalar {
            Scalar::Literal(_) | Scalar::Count => {}
            Scalar::Aggregate(_, expr) => self.expr(expr),
            Scalar::Calculate(_, left, right) => {
                self.scalar(left);
                self.scalar(right);
            }
            Scalar::Pipeline(stages, inner) => {
                self.stages(stages);
                self.scalar(inner);
            }
        }
    }

    pub(super) fn expr(&mut self, expr: &Expr) {
        expr.each_field(&mut |field| self.field(field));
    }

    pub(super) fn field(&mut self, field: &Field) {
        self.is_whole |= field.is_of_parent;
        match &field.kind {
            FieldKind::Intrinsic(intrinsic) => {
                self.is_whole |= intrinsic.is_of_trace();
                self.details |= intrinsic.is_detail();
            }
            FieldKind::Attribute(scope, name) => {
                let scope = scope.unwrap_or(AttributeScope::Span);
                self.details |= matches!(scope, AttributeScope::Event | AttributeScope::Link);
                if !matches!(scope, AttributeScope::Resource | AttributeScope::Instrumentation) {
                    self.names.insert(name.clone());
                }
            }
        }
    }

    /// The plan for traces of which `stages` leave something.
    pub(super) fn plan(self, stages: &[Stage], range: TimeRange) -> TracePlan {
        TracePlan {
            range,
            conditions: of_stages(stages),
            is_whole: self.is_whole,
            attributes: if self.all_attributes { None } else { Some(self.names) },
            details: self.details || self.all_attributes,
        }
    }
}

/// What spans of a trace must satisfy for `stages` to leave something: each condition some span of it.
fn of_stages(stages: &[Stage]) -> Vec<SpanCondition> {
    // What comes later chooses among the spans of what comes first, but says as much of them only where it is a filter.
    let mut conditions: Vec<SpanCondition> = stages
        .iter()
        .flat_map(|stage| match stage {
            Stage::Spans(spanset) => of_spanset(spanset),
            _ => Vec::new(),
        })
        .collect();
    conditions.retain(|condition| !matches!(condition, SpanCondition::Always));
    if conditions.is_empty() { vec![SpanCondition::Always] } else { conditions }
}

fn of_spanset(spanset: &Spanset) -> Vec<SpanCondition> {
    match spanset {
        Spanset::Filter(expr) => vec![condition(expr)],
        Spanset::Pipeline(stages) => of_stages(stages),
        Spanset::Operation(op, left, right) => match op {
            SpansetOp::And | SpansetOp::Structural(_, Form::Related | Form::Union) => {
                let mut both = of_spanset(left);
                both.extend(of_spanset(right));
                both
            }
            // Nothing on the left is as good as nothing related.
            SpansetOp::Structural(_, Form::Unrelated) => of_spanset(right),
            SpansetOp::Or => {
                let either =
                    |spanset| SpanCondition::All(Vec::from_iter(of_spanset(spanset).pop()));
                vec![SpanCondition::Any(vec![either(left), either(right)])]
            }
        },
    }
}

/// What a span must satisfy for `expr` to be true.
pub(super) fn condition(expr: &Expr) -> SpanCondition {
    match expr {
        Expr::Literal(Value::Bool(false)) => SpanCondition::Any(Vec::new()),
        Expr::And(left, right) => SpanCondition::All(vec![condition(left), condition(right)]),
        Expr::Or(left, right) => SpanCondition::Any(vec![condition(left), condition(right)]),
        Expr::Field(field) => test(field, 0, &|t| t, |value| *value == Value::Bool(true)),
        Expr::Compare(comparison, left, right) => match (&**left, &**right) {
            (Expr::Field(field), Expr::Literal(value)) => comparison_of(field, *comparison, value),
            (Expr::Literal(value), Expr::Field(field)) => {
                comparison_of(field, comparison.swapped(), value)
            }
            _ => SpanCondition::Always,
        },
        Expr::Match(inner, regex, is_wanted) => match &**inner {
            Expr::Field(field) => {
                let (regex, is_wanted) = (regex.clone(), *is_wanted);
                test(field, 0, &|t| t, move |value| matches(value, &regex, is_wanted))
            }
            _ => SpanCondition::Always,
        },
        Expr::Literal(_) | Expr::Not(_) | Expr::Negative(_) | Expr::Calculate(..) => {
            SpanCondition::Always
        }
    }
}

fn comparison_of(field: &Field, comparison: Comparison, wanted: &Value<'static>) -> SpanCondition {
    if *wanted == Value::Nil {
        return match comparison {
            Comparison::NotEqual => test(field, 0, &|t| t, |value| *value != Value::Nil),
            _ => SpanCondition::Always,
        };
    }
    let ns_min = match (comparison, wanted.number()) {
        (Comparison::Equal | Comparison::Greater | Comparison::GreaterOrEqual, Some(least)) => {
            least.max(0.0) as u64
        }
        _ => 0,
    };
    let known = |test: ValueTest| match (comparison, wanted) {
        (Comparison::Equal, Value::Text(text)) => test.with_text(text),
        (_, Value::Int(number) | Value::Duration(number)) => match ints(comparison, *number) {
            Some(ints) => test.with_ints(ints),
            None => test,
        },
        _ => test,
    };
    let wanted = wanted.clone();
    test(field, ns_min, &known, move |value| compare(comparison, value, &wanted))
}

/// The integers that satisfy a comparison with `number`, if they are neighbours.
fn ints(comparison: Comparison, number: i64) -> Option<RangeInclusive<i64>> {
    Some(match comparison {
        Comparison::Equal => number..=number,
        Comparison::NotEqual => return None,
        Comparison::Less => i64::MIN..=number.checked_sub(1)?,
        Comparison::LessOrEqual => i64::MIN..=number,
        Comparison::Greater => number.checked_add(1)?..=i64::MAX,
        Comparison::GreaterOrEqual => number..=i64::MAX,
    })
}

/// The test of a field, where a source has it; `ns_min` bounds durations. `known` adds what is known beforehand of texts
/// and integers.
fn test(
    field: &Field,
    ns_min: u64,
    known: &dyn Fn(ValueTest) -> ValueTest,
    holds: impl Fn(&Value<'_>) -> bool + Send + Sync + 'static,
) -> SpanCondition {
    if field.is_of_parent {
        return SpanCondition::Always;
    }
    let holds = Arc::new(holds);
    let int = |value: &AttributeValue| match value {
        AttributeValue::Int(value) => *value,
        _ => 0,
    };
    let attribute = |scope, name: &str| {
        let holds = Arc::clone(&holds);
        let of = match (scope, name) {
            (AttributeScope::Resource, "service.name") => SpanField::Service,
            _ => SpanField::Attribute(scope, name.to_owned()),
        };
        SpanCondition::Test(of, known(ValueTest::new(move |value| holds(&Value::from(value)))))
    };
    match &field.kind {
        FieldKind::Attribute(None, name) => SpanCondition::Any(vec![
            attribute(AttributeScope::Span, name),
            attribute(AttributeScope::Resource, name),
        ]),
        // Of several events or links, one alone satisfies what all together do.
        FieldKind::Attribute(Some(scope), name) => attribute(*scope, name),
        FieldKind::Intrinsic(intrinsic) => {
            if *intrinsic == Intrinsic::IsRoot {
                let is = ValueTest::new(move |value| holds(&Value::from(value)));
                return SpanCondition::Test(SpanField::Root, is);
            }
            let (of, value): (SpanField, fn(i64) -> Value<'static>) = match intrinsic {
                Intrinsic::Name => {
                    let is = ValueTest::new(move |value| holds(&Value::from(value)));
                    return SpanCondition::Test(SpanField::Name, known(is));
                }
                Intrinsic::Kind => (SpanField::Kind, |n| {
                    Value::Kind(SpanKind::ALL.get(n as usize).copied().unwrap_or_default())
                }),
                Intrinsic::Status => (SpanField::Status, |n| {
                    Value::Status(SpanStatus::ALL.get(n as usize).copied().unwrap_or_default())
                }),
                Intrinsic::Duration => (SpanField::Duration { ns_min }, Value::Duration),
                _ => return SpanCondition::Always,
            };
            let is = ValueTest::new(move |number| holds(&value(int(number))));
            // Kinds and statuses are no integers to the language.
            let is = if *intrinsic == Intrinsic::Duration { known(is) } else { is };
            SpanCondition::Test(of, is)
        }
    }
}
