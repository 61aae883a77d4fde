//! Questions about trees: does the value depend on the step, does it need the experimental option.

use model::{Error, Result};

use crate::promql::ast::{Edges, Expr, Kind};

/// Functions whose value depends on the time of evaluation whatever their arguments.
const TIME_DEPENDENT: &[&str] = &[
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];

/// Whether `expr` has the same value at every step of the query.
pub(crate) fn is_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Number(_) | Kind::Text { .. } => true,
        Kind::Paren(inner) | Kind::Unary { inner, .. } => is_invariant(inner),
        Kind::Binary(b) => is_invariant(&b.left) && is_invariant(&b.right),
        Kind::Selector(selector) | Kind::Range { selector, .. } => selector.at.is_some(),
        Kind::Subquery(subquery) => subquery.at.is_some(),
        Kind::Call { function, args } => {
            // The second argument of info() is not evaluated by itself.
            let args = if function.name == "info" { args.split_at(1).0 } else { args };
            !TIME_DEPENDENT.contains(&function.name) && args.iter().all(is_invariant)
        }
        Kind::Aggregate(a) => is_invariant(&a.inner) && a.param.as_ref().is_none_or(is_invariant),
    }
}

/// Refuses what needs the experimental option.
///
/// # Errors
/// `Invalid` naming the function or modifier.
pub(crate) fn refuse_experimental(expr: &Expr) -> Result<()> {
    let refuse = |what: String| {
        Err(Error::invalid(format!("{what} is experimental and not enabled (query.experimental)"))
            .with_span(expr.start, expr.end))
    };
    match &expr.kind {
        Kind::Number(_) | Kind::Text { .. } => Ok(()),
        Kind::Paren(inner) | Kind::Unary { inner, .. } => refuse_experimental(inner),
        Kind::Binary(b) => {
            if b.matching.fill_left.or(b.matching.fill_right).is_some() {
                return refuse("modifier fill()".into());
            }
            refuse_experimental(&b.left)?;
            refuse_experimental(&b.right)
        }
        Kind::Selector(selector) | Kind::Range { selector, .. } => match selector.edges {
            Edges::Plain => Ok(()),
            Edges::Anchored => refuse("modifier anchored".into()),
            Edges::Smoothed => refuse("modifier smoothed".into()),
        },
        Kind::Subquery(subquery) => refuse_experimental(&subquery.inner),
        Kind::Call { function, .. } if function.experimental => {
            refuse(format!("function {}()", function.name))
        }
        Kind::Call { args, .. } => args.iter().try_for_each(refuse_experimental),
        Kind::Aggregate(a) => {
            if a.op.is_experimental() {
                return refuse(format!("aggregation {}()", a.op.as_str()));
            }
            a.param.iter().try_for_each(refuse_experimental)?;
            refuse_experimental(&a.inner)
        }
    }
}
