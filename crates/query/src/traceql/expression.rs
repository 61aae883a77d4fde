//! What an expression gives for one span.

use super::ast::Expr;
use super::value::{Value, compare};
use super::view::View;

impl Expr {
    /// Its value for a span.
    pub(super) fn value<'t>(&self, view: &View<'t>, span: u32) -> Value<'t> {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Field(field) => view.value(span, field),
            Self::Negative(inner) => match inner.value(view, span) {
                Value::Int(value) => {
                    value.checked_neg().map_or(Value::Float(-(value as f64)), Value::Int)
                }
                Value::Float(value) => Value::Float(-value),
                Value::Duration(ns) => Value::Duration(ns.saturating_neg()),
                _ => Value::Nil,
            },
            Self::Calculate(op, left, right) => {
                op.on_values(&left.value(view, span), &right.value(view, span))
            }
            Self::Not(inner) => match inner.value(view, span) {
                Value::Bool(value) => Value::Bool(!value),
                _ => Value::Nil,
            },
            Self::And(left, right) => {
                Value::Bool(left.holds(view, span) && right.holds(view, span))
            }
            Self::Or(left, right) => Value::Bool(left.holds(view, span) || right.holds(view, span)),
            Self::Compare(comparison, left, right) => {
                let (left, right) = (left.value(view, span), right.value(view, span));
                Value::Bool(holds(*comparison, &left, &right, self))
            }
            Self::Match(inner, regex, is_wanted) => {
                Value::Bool(matches(&inner.value(view, span), regex, *is_wanted))
            }
        }
    }

    /// Whether it is true for a span.
    pub(super) fn holds(&self, view: &View<'_>, span: u32) -> bool {
        self.value(view, span) == Value::Bool(true)
    }
}

/// Whether the values of a comparison satisfy it; `nil` is said only by a literal.
fn holds(
    comparison: super::value::Comparison,
    left: &Value<'_>,
    right: &Value<'_>,
    expr: &Expr,
) -> bool {
    use super::value::Comparison::{Equal, NotEqual};
    let is_nil = |side: &Expr| matches!(side, Expr::Literal(Value::Nil));
    match expr {
        Expr::Compare(_, l, r) if is_nil(l) || is_nil(r) => {
            let are_equal = *left == Value::Nil && *right == Value::Nil;
            (comparison == Equal && are_equal) || (comparison == NotEqual && !are_equal)
        }
        _ if *left == Value::Nil || *right == Value::Nil => false,
        _ => compare(comparison, left, right),
    }
}

/// Whether a value matches as wanted: of several, one has to match, or none may.
pub(super) fn matches(value: &Value<'_>, regex: &regex::Regex, is_wanted: bool) -> bool {
    match value {
        Value::Text(text) => regex.is_match(text) == is_wanted,
        Value::Many(all) => {
            let texts = || all.iter().filter(|value| matches!(value, Value::Text(_)));
            texts().next().is_some()
                && texts().any(|value| matches(value, regex, true)) == is_wanted
        }
        _ => false,
    }
}
