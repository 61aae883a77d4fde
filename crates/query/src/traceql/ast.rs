//! The tree of a query.

use regex::Regex;

use super::field::Field;
use super::value::{Arithmetic, Comparison, Value};

/// A parsed query.
#[derive(Debug, Clone)]
pub struct Query {
    pub(super) root: Root,
    /// What stood in `with(…)`, in order.
    pub(super) hints: Vec<(String, Value<'static>)>,
}

impl Query {
    /// Whether it has series for a result, and no traces.
    pub fn is_metric(&self) -> bool {
        matches!(self.root, Root::Metrics(_))
    }

    /// The value of a hint.
    pub(super) fn hint(&self, name: &str) -> Option<&Value<'static>> {
        self.hints.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// What a query asks for.
#[derive(Debug, Clone)]
pub(super) enum Root {
    Spans(Vec<Stage>),
    Metrics(Metric),
}

/// One element of a pipeline.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    Spans(Spanset),
    By(Expr),
    Coalesce,
    Select(Vec<Field>),
    Scalar(Comparison, Scalar, Scalar),
}

/// Selects spans.
#[derive(Debug, Clone)]
pub(super) enum Spanset {
    /// `{ expression }`
    Filter(Expr),
    Operation(SpansetOp, Box<Spanset>, Box<Spanset>),
    /// In parentheses.
    Pipeline(Vec<Stage>),
}

/// What joins two selections of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpansetOp {
    And,
    Or,
    Structural(Relation, Form),
}

/// What a span on the right is to one on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Child,
    Parent,
    Descendant,
    Ancestor,
    Sibling,
}

impl Relation {
    /// What the one on the left is to the one on the right.
    pub(super) fn inverse(self) -> Self {
        match self {
            Self::Child => Self::Parent,
            Self::Parent => Self::Child,
            Self::Descendant => Self::Ancestor,
            Self::Ancestor => Self::Descendant,
            Self::Sibling => Self::Sibling,
        }
    }
}

/// Which spans a structural operator gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Those on the right that are related.
    Related,
    /// Those on the right that are not.
    Unrelated,
    /// Those on either side that are.
    Union,
}

/// An expression over the fields of one span.
#[derive(Debug, Clone)]
pub(super) enum Expr {
    Literal(Value<'static>),
    Field(Field),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// Whether the text matches, and whether that is wanted.
    Match(Box<Expr>, Regex, bool),
    Calculate(Arithmetic, Box<Expr>, Box<Expr>),
}

impl Expr {
    /// Calls `f` with every field in it.
    pub(super) fn each_field<'e>(&'e self, f: &mut dyn FnMut(&'e Field)) {
        match self {
            Self::Literal(_) => {}
            Self::Field(field) => f(field),
            Self::Not(inner) | Self::Negative(inner) | Self::Match(inner, ..) => {
                inner.each_field(f);
            }
            Self::And(left, right)
            | Self::Or(left, right)
            | Self::Compare(_, left, right)
            | Self::Calculate(_, left, right) => {
                left.each_field(f);
                right.each_field(f);
            }
        }
    }
}

/// A number said of a set of spans.
#[derive(Debug, Clone)]
pub(super) enum Scalar {
    Literal(Value<'static>),
    Count,
    Aggregate(Aggregate, Expr),
    Calculate(Arithmetic, Box<Scalar>, Box<Scalar>),
    /// Of the spans that a pipeline in parentheses selects.
    Pipeline(Vec<Stage>, Box<Scalar>),
}

/// Makes one number of those of many spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Avg,
    Min,
    Max,
    Sum,
}

/// Series over time.
#[derive(Debug, Clone)]
pub(super) enum Metric {
    Spans(SpanMetric),
    /// The largest or smallest at each step.
    Extreme {
        of: Box<Metric>,
        count: usize,
        is_top: bool,
    },
    /// Points that satisfy the comparison.
    Filter(Comparison, Box<Metric>, f64),
    Calculate(Arithmetic, Box<Metric>, Box<Metric>),
    Number(f64),
}

/// Series made of spans.
#[derive(Debug, Clone)]
pub(super) struct SpanMetric {
    pub(super) stages: Vec<Stage>,
    pub(super) function: Function,
    pub(super) by: Vec<Field>,
}

/// How spans become numbers.
#[derive(Debug, Clone)]
pub(super) enum Function {
    Rate,
    CountOverTime,
    OverTime(Aggregate, Field),
    Quantile(Field, Vec<f64>),
    Histogram(Field),
    Compare(Split),
}

/// What `compare` compares.
#[derive(Debug, Clone)]
pub(super) struct Split {
    /// Spans that satisfy it are the selection, the others the baseline.
    pub(super) selection: Expr,
    /// Values shown of each attribute.
    pub(super) top: usize,
    /// Where a span must start to be of the selection: `[start, end)` in Unix nanoseconds.
    pub(super) window: Option<(i64, i64)>,
}

/// Calls `f` with every field in `stages`.
pub(super) fn each_field<'e>(stages: &'e [Stage], f: &mut dyn FnMut(&'e Field)) {
    for stage in stages {
        match stage {
            Stage::Spans(spanset) => each_field_of_spanset(spanset, f),
            Stage::By(key) => key.each_field(f),
            Stage::Coalesce => {}
            Stage::Select(fields) => fields.iter().for_each(&mut *f),
            Stage::Scalar(_, left, right) => {
                each_field_of_scalar(left, f);
                each_field_of_scalar(right, f);
            }
        }
    }
}

fn each_field_of_spanset<'e>(spanset: &'e Spanset, f: &mut dyn FnMut(&'e Field)) {
    match spanset {
        Spanset::Filter(expr) => expr.each_field(f),
        Spanset::Pipeline(stages) => each_field(stages, f),
        Spanset::Operation(_, left, right) => {
            each_field_of_spanset(left, f);
            each_field_of_spanset(right, f);
        }
    }
}

fn each_field_of_scalar<'e>(scalar: &'e Scalar, f: &mut dyn FnMut(&'e Field)) {
    match scalar {
        Scalar::Literal(_) | Scalar::Count => {}
        Scalar::Aggregate(_, expr) => expr.each_field(f),
        Scalar::Calculate(_, left, right) => {
            each_field_of_scalar(left, f);
            each_field_of_scalar(right, f);
        }
        Scalar::Pipeline(stages, inner) => {
            each_field(stages, f);
            each_field_of_scalar(inner, f);
        }
    }
}
