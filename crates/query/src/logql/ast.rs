//! What a LogQL text means: compiled pipelines and the metric expressions over them.

use model::{Grouping, Matcher};
use regex::Regex;

use super::label_filter::LabelFilter;
use super::stage::Stage;
use crate::vector::binary::{Matching, Op, SetOp};

/// A parsed query.
#[derive(Debug, Clone)]
pub struct Expr {
    pub(crate) kind: ExprKind,
}

impl Expr {
    /// Whether it gives log lines, not numbers.
    pub fn is_log_query(&self) -> bool {
        matches!(self.kind, ExprKind::Log(_))
    }
}

#[derive(Debug, Clone)]
pub(crate) enum ExprKind {
    /// A log query.
    Log(LogExpr),
    /// A function of the rows in a window.
    Range(RangeExpr),
    /// `sum by (a) (…)`, `topk(3, …)`, `sort(…)`.
    Aggregate(AggregateExpr),
    /// `a + b`.
    Binary(BinaryExpr),
    /// `label_replace(…)`.
    LabelReplace(LabelReplaceExpr),
    /// `vector(1)`.
    Vector(f64),
    Number(f64),
}

/// A selector and its pipeline.
#[derive(Debug, Clone)]
pub(crate) struct LogExpr {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) stages: Vec<Stage>,
}

impl LogExpr {
    /// Whether rows depend on those before them.
    pub(crate) fn is_distinct(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage, Stage::Distinct(_)))
    }

    /// Whether a stage names label `label`.
    pub(crate) fn names(&self, label: &str) -> bool {
        let mut names = false;
        for stage in &self.stages {
            stage.for_each_label(&mut |name| names |= name == label);
            if let Stage::Drop(selection) | Stage::Keep(selection) = stage {
                names |= selection.names.iter().any(|name| name == label)
                    || selection.matchers.iter().any(|m| m.name() == label);
            }
        }
        names
    }
}

#[derive(Debug, Clone)]
pub(crate) struct RangeExpr {
    pub(crate) op: RangeOp,
    /// Of `quantile_over_time`.
    pub(crate) param: Option<f64>,
    pub(crate) log: LogExpr,
    pub(crate) unwrap: Option<Unwrap>,
    pub(crate) range_ns: i64,
    pub(crate) offset_ns: i64,
    pub(crate) grouping: Option<Grouping>,
}

/// A function of the rows in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeOp {
    Count,
    Rate,
    RateCounter,
    Bytes,
    BytesRate,
    Avg,
    Sum,
    Min,
    Max,
    StdDev,
    StdVar,
    Quantile,
    First,
    Last,
    Absent,
}

impl RangeOp {
    /// The operation called `name`.
    pub(crate) fn find(name: &str) -> Option<Self> {
        Some(match name {
            "count_over_time" => Self::Count,
            "rate" => Self::Rate,
            "rate_counter" => Self::RateCounter,
            "bytes_over_time" => Self::Bytes,
            "bytes_rate" => Self::BytesRate,
            "avg_over_time" => Self::Avg,
            "sum_over_time" => Self::Sum,
            "min_over_time" => Self::Min,
            "max_over_time" => Self::Max,
            "stddev_over_time" => Self::StdDev,
            "stdvar_over_time" => Self::StdVar,
            "quantile_over_time" => Self::Quantile,
            "first_over_time" => Self::First,
            "last_over_time" => Self::Last,
            "absent_over_time" => Self::Absent,
            _ => return None,
        })
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Count => "count_over_time",
            Self::Rate => "rate",
            Self::RateCounter => "rate_counter",
            Self::Bytes => "bytes_over_time",
            Self::BytesRate => "bytes_rate",
            Self::Avg => "avg_over_time",
            Self::Sum => "sum_over_time",
            Self::Min => "min_over_time",
            Self::Max => "max_over_time",
            Self::StdDev => "stddev_over_time",
            Self::StdVar => "stdvar_over_time",
            Self::Quantile => "quantile_over_time",
            Self::First => "first_over_time",
            Self::Last => "last_over_time",
            Self::Absent => "absent_over_time",
        }
    }

    /// Whether `unwrap` must, may or must not be there: `Some(true)`, `None`, `Some(false)`.
    pub(crate) fn needs_unwrap(self) -> Option<bool> {
        match self {
            Self::Rate | Self::Absent => None,
            Self::Count | Self::Bytes | Self::BytesRate => Some(false),
            _ => Some(true),
        }
    }

    /// Whether it takes `by` and `without` of its own.
    pub(crate) fn takes_grouping(self) -> bool {
        matches!(
            self,
            Self::Avg
                | Self::Min
                | Self::Max
                | Self::StdDev
                | Self::StdVar
                | Self::Quantile
                | Self::First
                | Self::Last
        )
    }

    /// Whether summing its results per series is the same as computing it over all their rows.
    pub(crate) fn is_additive(self) -> bool {
        matches!(self, Self::Count | Self::Rate | Self::Bytes | Self::BytesRate | Self::Sum)
    }
}

/// `| unwrap duration(x) | filters`.
#[derive(Debug, Clone)]
pub(crate) struct Unwrap {
    pub(crate) label: String,
    pub(crate) conversion: Conversion,
    /// Filters behind it.
    pub(crate) filters: Vec<LabelFilter>,
}

/// How an unwrapped label value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conversion {
    Number,
    /// To seconds.
    Duration,
    Bytes,
}

/// An aggregation over series.
#[derive(Debug, Clone)]
pub(crate) struct AggregateExpr {
    pub(crate) op: AggregateOp,
    /// How many of `topk`, `bottomk`, `approx_topk`.
    pub(crate) param: Option<f64>,
    pub(crate) grouping: Option<Grouping>,
    pub(crate) inner: Box<Expr>,
}

/// An aggregation over series, or a sorting of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    StdDev,
    StdVar,
    TopK,
    BottomK,
    ApproxTopK,
    Sort,
    SortDesc,
}

impl AggregateOp {
    /// The operation called `name`.
    pub(crate) fn find(name: &str) -> Option<Self> {
        Some(match name {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "stddev" => Self::StdDev,
            "stdvar" => Self::StdVar,
            "topk" => Self::TopK,
            "bottomk" => Self::BottomK,
            "approx_topk" => Self::ApproxTopK,
            "sort" => Self::Sort,
            "sort_desc" => Self::SortDesc,
            _ => return None,
        })
    }

    /// Whether it takes a number of series.
    pub(crate) fn takes_param(self) -> bool {
        matches!(self, Self::TopK | Self::BottomK | Self::ApproxTopK)
    }

    /// Whether it takes `by` and `without`.
    pub(crate) fn takes_grouping(self) -> bool {
        self != Self::ApproxTopK
    }
}

/// An operation on two values.
#[derive(Debug, Clone)]
pub(crate) struct BinaryExpr {
    pub(crate) op: BinaryOp,
    /// `bool`: comparisons give 0 and 1 instead of filtering.
    pub(crate) returns_bool: bool,
    pub(crate) matching: Matching,
    pub(crate) left: Box<Expr>,
    pub(crate) right: Box<Expr>,
}

/// An infix operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    /// On values.
    Value(Op),
    /// On which series there are.
    Set(SetOp),
}

/// The operators, how they are written and how tightly they bind.
const OPERATORS: &[(&str, BinaryOp, u8)] = &[
    ("or", BinaryOp::Set(SetOp::Or), 1),
    ("and", BinaryOp::Set(SetOp::And), 2),
    ("unless", BinaryOp::Set(SetOp::Unless), 2),
    ("==", BinaryOp::Value(Op::Equal), 3),
    ("!=", BinaryOp::Value(Op::NotEqual), 3),
    (">", BinaryOp::Value(Op::Greater), 3),
    (">=", BinaryOp::Value(Op::GreaterEqual), 3),
    ("<", BinaryOp::Value(Op::Less), 3),
    ("<=", BinaryOp::Value(Op::LessEqual), 3),
    ("+", BinaryOp::Value(Op::Add), 4),
    ("-", BinaryOp::Value(Op::Sub), 4),
    ("*", BinaryOp::Value(Op::Mul), 5),
    ("/", BinaryOp::Value(Op::Div), 5),
    ("%", BinaryOp::Value(Op::Mod), 5),
    ("^", BinaryOp::Value(Op::Pow), 6),
];

impl BinaryOp {
    /// The operator written as `text`, and how tightly it binds (higher is tighter).
    pub(crate) fn find(text: &str) -> Option<(Self, u8)> {
        OPERATORS.iter().find(|(t, ..)| *t == text).map(|(_, op, level)| (*op, *level))
    }

    /// How it is written.
    pub(crate) fn as_str(self) -> &'static str {
        OPERATORS.iter().find(|(_, op, _)| *op == self).map_or("", |(text, ..)| text)
    }

    /// Whether it compares.
    pub(crate) fn is_comparison(self) -> bool {
        matches!(self, Self::Value(op) if op.is_comparison())
    }

    /// Whether it looks at which series there are, not at values.
    pub(crate) fn is_set(self) -> bool {
        matches!(self, Self::Set(_))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct LabelReplaceExpr {
    pub(crate) inner: Box<Expr>,
    pub(crate) target: String,
    pub(crate) replacement: String,
    pub(crate) source: String,
    /// Matches whole values.
    pub(crate) pattern: Regex,
}
