//! Functions of single values, and `absent`.

use model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp};

use crate::promql::ast::{Expr, Kind};
use crate::vector::{ABSENT, Grid, Row, is_present};

/// The function of one number called `name`.
pub(super) fn find(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "sgn" => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        _ => return None,
    })
}

/// Replaces each number by `f(step, value)` and drops the name; histograms are left out.
pub(super) fn map_steps(rows: &mut Vec<Row>, f: impl Fn(usize, f64) -> f64) {
    for row in rows.iter_mut() {
        for (step, value) in row.values.iter_mut().enumerate() {
            if is_present(*value) {
                *value = f(step, *value);
            }
        }
        row.drop_name = true;
        row.histograms = None;
    }
    rows.retain(Row::any);
}

/// The smaller; negative infinity before NaN, NaN before numbers.
pub(super) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

/// The larger; infinity before NaN, NaN before numbers.
pub(super) fn max(a: f64, b: f64) -> f64 {
    match a.is_nan() || b.is_nan() {
        true if a == f64::INFINITY || b == f64::INFINITY => f64::INFINITY,
        true => f64::NAN,
        false => a.max(b),
    }
}

/// `value` to the nearest multiple of `to`, halves up.
pub(super) fn round(value: f64, to: f64) -> f64 {
    // Dividing by the inverse keeps decimal multiples exact.
    let inverse = 1.0 / to;
    (value * inverse + 0.5).floor() / inverse
}

/// 1 at the steps where no row has a value.
pub(super) fn absent(rows: &[Row], arg: &Expr, grid: Grid) -> Vec<Row> {
    let any = |step: usize| rows.iter().any(|row| row.is_present(step));
    let values: Vec<f64> = (0..grid.count).map(|s| if any(s) { ABSENT } else { 1.0 }).collect();
    let row = Row::new(absent_labels(arg), values);
    if row.any() { vec![row] } else { Vec::new() }
}

/// The labels that what is absent would surely have: those its selector fixes exactly once.
pub(super) fn absent_labels(arg: &Expr) -> Labels {
    let (Kind::Selector(selector) | Kind::Range { selector, .. }) = &arg.unparenthesised().kind
    else {
        return Labels::default();
    };
    let mut builder = LabelsBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in selector.matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
        } else {
            builder.remove(matcher.name());
        }
        seen.push(matcher.name());
    }
    builder.build()
}
