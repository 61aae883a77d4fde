//! Values of fields and literals, and how they compare.
//!
//! Numbers and durations compare with each other, everything else only with its like. A field with several values (an
//! array, the events of a span) satisfies `=` when one of them does, and `!=` when none of them is equal.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use model::{AttributeValue, SpanKind, SpanStatus};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'t> {
    /// None.
    Nil,
    /// Truth value.
    Bool(bool),
    /// Integer.
    Int(i64),
    /// Floating point.
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    /// Text.
    Text(Cow<'t, str>),
    /// Status of a span.
    Status(SpanStatus),
    /// Kind of a span.
    Kind(SpanKind),
    /// Several values, none of them several.
    Many(Vec<Value<'t>>),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Duration(ns) => write_duration(*ns, f),
            Self::Text(text) => f.write_str(text),
            Self::Status(status) => f.write_str(status_name(*status)),
            Self::Kind(kind) => f.write_str(kind_name(*kind)),
            Self::Many(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// As Go prints durations: `1h0m0s`, `1.5s`, `250ms`.
fn write_duration(ns: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let sign = if ns < 0 { "-" } else { "" };
    let all = ns.unsigned_abs();
    match all {
        0 => f.write_str("0s"),
        1..1_000 => write!(f, "{sign}{all}ns"),
        1_000..1_000_000 => write!(f, "{sign}{}µs", all as f64 / 1e3),
        1_000_000..1_000_000_000 => write!(f, "{sign}{}ms", all as f64 / 1e6),
        _ => {
            let (minutes, rest_ns) = (all / 60_000_000_000, all % 60_000_000_000);
            f.write_str(sign)?;
            if minutes >= 60 {
                write!(f, "{}h", minutes / 60)?;
            }
            if minutes > 0 {
                write!(f, "{}m", minutes % 60)?;
            }
            write!(f, "{}s", rest_ns as f64 / 1e9)
        }
    }
}

/// The word for a status.
pub(super) fn status_name(status: SpanStatus) -> &'static str {
    match status {
        SpanStatus::Unset => "unset",
        SpanStatus::Ok => "ok",
        SpanStatus::Error => "error",
    }
}

/// The word for a kind.
pub(super) fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

/// A comparison of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// Whether two things in this order satisfy it.
    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }

    /// Whether two numbers satisfy it; nothing but `!=` holds for NaN.
    pub(super) fn holds_for(self, left: f64, right: f64) -> bool {
        left.partial_cmp(&right).map_or(self == Self::NotEqual, |order| self.holds(order))
    }

    /// The one that says the same with its sides swapped.
    pub(super) fn swapped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

/// Whether `left` and `right` satisfy `comparison`. What is not there satisfies nothing but a comparison with `nil`.
pub(super) fn compare(comparison: Comparison, left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Nil, Value::Nil) => comparison == Comparison::Equal,
        (Value::Many(all), other) => several(comparison, all, |value, c| compare(c, value, other)),
        (other, Value::Many(all)) => several(comparison, all, |value, c| compare(c, other, value)),
        (Value::Nil, _) | (_, Value::Nil) => false,
        (left, right) => order(left, right).is_some_and(|order| comparison.holds(order)),
    }
}

fn several(
    comparison: Comparison,
    all: &[Value<'_>],
    holds: impl Fn(&Value<'_>, Comparison) -> bool,
) -> bool {
    match comparison {
        // Values of other types than the one asked for say nothing, as they do alone.
        Comparison::NotEqual => {
            all.iter().any(|value| holds(value, comparison))
                && !all.iter().any(|value| holds(value, Comparison::Equal))
        }
        _ => all.iter().any(|value| holds(value, comparison)),
    }
}

/// The order of two values of a kind.
fn order(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    use Value::{Bool, Duration, Int, Kind, Status, Text};
    Some(match (left, right) {
        (Int(l) | Duration(l), Int(r) | Duration(r)) => l.cmp(r),
        (Bool(l), Bool(r)) => l.cmp(r),
        (Text(l), Text(r)) => l.cmp(r),
        (Status(l), Status(r)) => (*l as u8).cmp(&(*r as u8)),
        (Kind(l), Kind(r)) => (*l as u8).cmp(&(*r as u8)),
        _ => left.number()?.partial_cmp(&right.number()?)?,
    })
}

impl Value<'_> {
    /// As a number, if it is one; durations in nanoseconds.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) | Self::Duration(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// Memory that its texts and values take beside itself, about.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Many(all) => all.iter().map(|v| size_of::<Self>() + v.heap_bytes()).sum(),
            _ => 0,
        }
    }

    /// The same with a text of its own.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Float(value) => Value::Float(value),
            Self::Duration(ns) => Value::Duration(ns),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Status(status) => Value::Status(status),
            Self::Kind(kind) => Value::Kind(kind),
            Self::Many(all) => Value::Many(all.into_iter().map(Value::into_owned).collect()),
        }
    }
}

impl<'t> From<&'t AttributeValue> for Value<'t> {
    /// Bytes and maps are their texts, arrays within arrays too.
    fn from(value: &'t AttributeValue) -> Self {
        match value {
            AttributeValue::Empty => Self::Nil,
            AttributeValue::String(text) => Self::Text(Cow::Borrowed(text)),
            AttributeValue::Bool(value) => Self::Bool(*value),
            AttributeValue::Int(value) => Self::Int(*value),
            AttributeValue::Double(value) => Self::Float(*value),
            AttributeValue::Bytes(_) | AttributeValue::Map(_) => {
                Self::Text(Cow::Owned(value.to_string()))
            }
            AttributeValue::Array(values) => {
                let single = |value: &'t AttributeValue| match value {
                    AttributeValue::Array(_) => Self::Text(Cow::Owned(value.to_string())),
                    other => Self::from(other),
                };
                Self::Many(values.iter().map(single).collect())
            }
        }
    }
}

/// Arithmetic on two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

impl Arithmetic {
    /// On floats.
    pub(super) fn on_floats(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Modulo => left % right,
            Self::Power => left.powf(right),
        }
    }

    /// On values: integers stay integers where the result is one, and nothing comes of what is no number.
    pub(super) fn on_values(self, left: &Value<'_>, right: &Value<'_>) -> Value<'static> {
        if let (Value::Int(l), Value::Int(r)) = (left, right) {
            let exact = match self {
                Self::Add => l.checked_add(*r),
                Self::Subtract => l.checked_sub(*r),
                Self::Multiply => l.checked_mul(*r),
                Self::Divide if *r != 0 && l.checked_rem(*r) == Some(0) => l.checked_div(*r),
                Self::Modulo => l.checked_rem(*r),
                Self::Power => u32::try_from(*r).ok().and_then(|r| l.checked_pow(r)),
                Self::Divide => None,
            };
            if let Some(exact) = exact {
                return Value::Int(exact);
            }
        }
        match (left.number(), right.number()) {
            (Some(l), Some(r)) => {
                let result = self.on_floats(l, r);
                let is_duration = |v: &Value<'_>| matches!(v, Value::Duration(_));
                if (is_duration(left) || is_duration(right)) && !result.is_nan() {
                    Value::Duration(result as i64)
                } else {
                    Value::Float(result)
                }
            }
            _ => Value::Nil,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_compare_with_their_like_and_lists_by_their_items() {
        use Comparison::{Equal, Greater, NotEqual};
        let text = |t: &'static str| Value::Text(Cow::Borrowed(t));
        let many = || Value::Many(vec![text("a"), text("b")]);
        let check = |c, l: Value<'_>, r: Value<'_>, expect: bool| {
            assert_eq!(compare(c, &l, &r), expect, "{l:?} {c:?} {r:?}");
        };
        check(Equal, Value::Int(1), Value::Float(1.0), true);
        check(Greater, Value::Duration(2), Value::Int(1), true);
        check(Equal, Value::Int(i64::MAX), Value::Int(i64::MAX - 1), false);
        check(Equal, Value::Int(1), text("1"), false);
        check(NotEqual, Value::Int(1), text("1"), false);
        check(Greater, text("300"), text("200"), true);
        check(Equal, many(), text("b"), true);
        check(NotEqual, many(), text("b"), false);
        check(NotEqual, many(), text("c"), true);
        check(NotEqual, many(), Value::Int(1), false);
        check(NotEqual, Value::Nil, text("c"), false);
        check(Equal, Value::Nil, Value::Nil, true);
        check(Equal, Value::Float(f64::NAN), Value::Float(f64::NAN), false);
    }

    #[test]
    fn durations_print_as_in_go() {
        let check = |ns, expect: &str| assert_eq!(Value::Duration(ns).to_string(), expect);
        check(0, "0s");
        check(1_500, "1.5µs");
        check(-250_000_000, "-250ms");
        check(5_400_000_000_000, "1h30m0s");
        check(61_500_000_000, "1m1.5s");
    }

    #[test]
    fn arithmetic_stays_exact_where_it_can() {
        let check = |op: Arithmetic, l: Value<'_>, r: Value<'_>, expect: Value<'_>| {
            assert_eq!(op.on_values(&l, &r), expect);
        };
        check(Arithmetic::Divide, Value::Int(6), Value::Int(3), Value::Int(2));
        check(Arithmetic::Divide, Value::Int(1), Value::Int(2), Value::Float(0.5));
        check(Arithmetic::Divide, Value::Int(1), Value::Int(0), Value::Float(f64::INFINITY));
        check(Arithmetic::Multiply, Value::Int(2), Value::Duration(3), Value::Duration(6));
        check(Arithmetic::Power, Value::Int(2), Value::Int(62), Value::Int(1 << 62));
        check(Arithmetic::Add, Value::Int(1), Value::Bool(true), Value::Nil);
    }
}
