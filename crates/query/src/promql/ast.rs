//! The tree of a PromQL expression, with byte positions and checked types.

use model::{Grouping, Matcher};

use super::functions::Function;
use crate::vector::aggregate::Reduce;
use crate::vector::binary::{Matching, Op, SetOp};

/// A parsed and type-checked expression.
#[derive(Debug, Clone)]
pub struct Expr {
    pub(crate) kind: Kind,
    /// First byte in the text.
    pub(crate) start: usize,
    /// Byte after the last.
    pub(crate) end: usize,
    /// Levels of nesting, this one included.
    pub(crate) depth: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Number(f64),
    /// A string; `lossy` when its escapes are not UTF-8.
    Text {
        value: String,
        lossy: bool,
    },
    Paren(Box<Expr>),
    /// `-x` or `+x`.
    Unary {
        negate: bool,
        inner: Box<Expr>,
    },
    Binary(Box<Binary>),
    Selector(Box<Selector>),
    /// `selector[range]`; the selector carries offset and `@`.
    Range {
        selector: Box<Selector>,
        range: Duration,
    },
    Subquery(Box<Subquery>),
    Call {
        function: &'static Function,
        args: Vec<Expr>,
    },
    Aggregate(Box<Aggregate>),
}

/// Types of expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Scalar,
    Text,
    Vector,
    Matrix,
}

impl Type {
    /// As errors name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

impl Expr {
    /// Its type.
    pub(crate) fn type_of(&self) -> Type {
        match &self.kind {
            Kind::Number(_) => Type::Scalar,
            Kind::Text { .. } => Type::Text,
            Kind::Paren(inner) | Kind::Unary { inner, .. } => inner.type_of(),
            Kind::Binary(b) => match (b.left.type_of(), b.right.type_of()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
            Kind::Selector(_) | Kind::Aggregate(_) => Type::Vector,
            Kind::Range { .. } | Kind::Subquery(_) => Type::Matrix,
            Kind::Call { function, .. } => function.returns,
        }
    }

    /// The expression inside any parentheses.
    pub(crate) fn unparenthesised(&self) -> &Self {
        match &self.kind {
            Kind::Paren(inner) => inner.unparenthesised(),
            _ => self,
        }
    }
}

/// How a range reaches for samples at its edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Edges {
    /// Only samples inside.
    #[default]
    Plain,
    /// The last sample before the range counts as its first.
    Anchored,
    /// Values at the edges are interpolated.
    Smoothed,
}

/// The time an expression is pinned to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum At {
    /// Unix milliseconds.
    Time(i64),
    Start,
    End,
}

/// `name{matchers} offset 5m @ 10`.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    /// The name in front of the braces.
    pub(crate) name: Option<String>,
    /// All conditions, that of the name included.
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) offset: Option<Duration>,
    pub(crate) at: Option<At>,
    pub(crate) edges: Edges,
}

/// `expr[range:step] offset 5m @ 10`.
#[derive(Debug, Clone)]
pub(crate) struct Subquery {
    pub(crate) inner: Expr,
    pub(crate) range: Duration,
    pub(crate) step: Option<Duration>,
    pub(crate) offset: Option<Duration>,
    pub(crate) at: Option<At>,
}

/// An operator between two expressions.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    pub(crate) op: Operator,
    pub(crate) returns_bool: bool,
    /// Between vectors only.
    pub(crate) matching: Matching,
    pub(crate) left: Expr,
    pub(crate) right: Expr,
}

/// Any infix operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Number(Op),
    Set(SetOp),
}

const OPERATORS: [(&str, Operator, u8); 18] = [
    ("or", Operator::Set(SetOp::Or), 1),
    ("and", Operator::Set(SetOp::And), 2),
    ("unless", Operator::Set(SetOp::Unless), 2),
    ("==", Operator::Number(Op::Equal), 3),
    ("!=", Operator::Number(Op::NotEqual), 3),
    (">", Operator::Number(Op::Greater), 3),
    (">=", Operator::Number(Op::GreaterEqual), 3),
    ("<", Operator::Number(Op::Less), 3),
    ("<=", Operator::Number(Op::LessEqual), 3),
    ("</", Operator::Number(Op::TrimUpper), 3),
    (">/", Operator::Number(Op::TrimLower), 3),
    ("+", Operator::Number(Op::Add), 4),
    ("-", Operator::Number(Op::Sub), 4),
    ("*", Operator::Number(Op::Mul), 5),
    ("/", Operator::Number(Op::Div), 5),
    ("%", Operator::Number(Op::Mod), 5),
    ("atan2", Operator::Number(Op::Atan2), 5),
    ("^", Operator::Number(Op::Pow), 6),
];

/// Precedence of `*`, at which unary operators bind.
pub(crate) const UNARY_LEVEL: u8 = 5;

impl Operator {
    /// The operator written as `text`, in any case.
    pub(crate) fn find(text: &str) -> Option<Self> {
        OPERATORS.iter().find(|(s, ..)| s.eq_ignore_ascii_case(text)).map(|(_, op, _)| *op)
    }

    /// How it is written.
    pub(crate) fn as_str(self) -> &'static str {
        OPERATORS.iter().find(|(_, op, _)| *op == self).map_or("", |(s, ..)| s)
    }

    /// How tightly it binds.
    pub(crate) fn level(self) -> u8 {
        OPERATORS.iter().find(|(_, op, _)| *op == self).map_or(0, |(.., level)| *level)
    }

    /// Whether it compares.
    pub(crate) fn is_comparison(self) -> bool {
        matches!(self, Self::Number(op) if op.is_comparison())
    }

    /// Whether it looks at which series there are.
    pub(crate) fn is_set(self) -> bool {
        matches!(self, Self::Set(_))
    }
}

/// `sum by (a) (param, inner)`.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) grouping: Grouping,
    /// Whether `by` or `without` was written.
    pub(crate) grouped: bool,
    pub(crate) param: Option<Expr>,
    pub(crate) inner: Expr,
}

/// Aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateOp {
    Reduce(Reduce),
    TopK,
    BottomK,
    CountValues,
    LimitK,
    LimitRatio,
}

const AGGREGATES: [(&str, AggregateOp); 14] = [
    ("sum", AggregateOp::Reduce(Reduce::Sum)),
    ("avg", AggregateOp::Reduce(Reduce::Avg)),
    ("min", AggregateOp::Reduce(Reduce::Min)),
    ("max", AggregateOp::Reduce(Reduce::Max)),
    ("count", AggregateOp::Reduce(Reduce::Count)),
    ("group", AggregateOp::Reduce(Reduce::Group)),
    ("stddev", AggregateOp::Reduce(Reduce::StdDev)),
    ("stdvar", AggregateOp::Reduce(Reduce::StdVar)),
    ("quantile", AggregateOp::Reduce(Reduce::Quantile)),
    ("topk", AggregateOp::TopK),
    ("bottomk", AggregateOp::BottomK),
    ("count_values", AggregateOp::CountValues),
    ("limitk", AggregateOp::LimitK),
    ("limit_ratio", AggregateOp::LimitRatio),
];

impl AggregateOp {
    /// The operator called `name`, in any case.
    pub(crate) fn find(name: &str) -> Option<Self> {
        AGGREGATES.iter().find(|(s, _)| s.eq_ignore_ascii_case(name)).map(|(_, op)| *op)
    }

    /// All names.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        AGGREGATES.iter().map(|(name, _)| *name)
    }

    /// Its name.
    pub(crate) fn as_str(self) -> &'static str {
        AGGREGATES.iter().find(|(_, op)| *op == self).map_or("", |(s, _)| s)
    }

    /// Type of its parameter, if it has one.
    pub(crate) fn param(self) -> Option<Type> {
        match self {
            Self::Reduce(Reduce::Quantile)
            | Self::TopK
            | Self::BottomK
            | Self::LimitK
            | Self::LimitRatio => Some(Type::Scalar),
            Self::CountValues => Some(Type::Text),
            Self::Reduce(_) => None,
        }
    }

    /// Whether it needs the experimental option.
    pub(crate) fn is_experimental(self) -> bool {
        matches!(self, Self::LimitK | Self::LimitRatio)
    }
}

/// A length of time, in seconds, that may depend on the query's step and range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Duration {
    /// A literal, in milliseconds.
    Literal(i64),
    /// A plain number inside a larger expression; seconds or factor.
    Number(f64),
    /// `step()`
    Step,
    /// `range()`
    Range,
    Negative(Box<Self>),
    Paren(Box<Self>),
    Binary(Box<(Self, Op, Self)>),
    /// `min_of(a, b)` or `max_of(a, b)`.
    Extreme {
        max: bool,
        pair: Box<(Self, Self)>,
    },
}
