//! An expression in its language, evaluated at one moment, as a vector.

use model::{Error, Labels, Order, Result};
use query::logql::{self, LogQuery};
use query::promql::{self, PromQuery, Sample, Value};
use query::traceql;

use super::{Context, number};
use crate::rule::Expression;

const NS_PER_MS: i64 = 1_000_000;

/// What `expr`, which `text` was parsed to, gives at `t_ms`.
pub(super) fn ask(
    cx: &Context<'_>,
    expr: &Expression,
    text: &str,
    t_ms: i64,
) -> Result<Vec<Sample>> {
    match expr {
        Expression::Promql(expr) => {
            let query = instant(text, t_ms, cx.lookback_ms);
            let found = promql::evaluate_expr(cx.source, expr, &query, &cx.options, cx.budget)?;
            vector(found.value)
        }
        Expression::Logql(expr) => logs(cx, expr, text, t_ms),
        Expression::Traceql(query) => traces(cx, query, t_ms),
    }
}

/// As [`ask`], of a text in the language of `like`: what a template asks.
pub(super) fn ask_text(
    cx: &Context<'_>,
    like: &Expression,
    text: &str,
    t_ms: i64,
) -> Result<Vec<Sample>> {
    let expr = match like {
        Expression::Promql(_) => Expression::Promql(promql::parse(text)?),
        Expression::Logql(_) => Expression::Logql(Box::new(logql::parse(text)?)),
        Expression::Traceql(_) => Expression::Traceql(Box::new(traceql::parse(text)?)),
    };
    ask(cx, &expr, text, t_ms)
}

fn instant(text: &str, t_ms: i64, lookback_ms: i64) -> PromQuery {
    PromQuery { text: text.to_owned(), start_ms: t_ms, end_ms: t_ms, step_ms: 0, lookback_ms }
}

fn logs(cx: &Context<'_>, expr: &logql::Expr, text: &str, t_ms: i64) -> Result<Vec<Sample>> {
    let source = cx.logs.ok_or_else(|| Error::invalid("log lines cannot be asked for here"))?;
    let t_ns = t_ms.saturating_mul(NS_PER_MS);
    let query = LogQuery {
        text: text.to_owned(),
        start_ns: t_ns,
        end_ns: t_ns,
        step_ns: 0,
        limit: 0,
        order: Order::Backward,
        interval_ns: 0,
        categorize: false,
    };
    match logql::evaluate_expr(source, expr, &query, cx.budget)?.value {
        logql::Value::Metric(value) => vector(value),
        logql::Value::Streams(_) => Err(Error::invalid("the expression gives lines, not numbers")),
    }
}

/// A metrics query has no range of its own; it is about as much time as an instant selector of PromQL looks back.
fn traces(cx: &Context<'_>, query: &traceql::Query, t_ms: i64) -> Result<Vec<Sample>> {
    let source = cx.traces.ok_or_else(|| Error::invalid("spans cannot be asked for here"))?;
    let times = traceql::Times {
        start_ns: t_ms.saturating_sub(cx.lookback_ms).saturating_mul(NS_PER_MS),
        end_ns: t_ms.saturating_mul(NS_PER_MS),
        step_ns: 0,
        exemplars: 0,
    };
    let found = traceql::metrics(source, query, &times, cx.budget)?;
    let samples = found.into_iter().filter_map(|series| {
        let (_, value) = *series.points.last()?;
        let mut labels = Labels::default().to_builder();
        for (name, value) in &series.labels {
            labels.set(name, &value.to_string());
        }
        Some(number(labels.build(), t_ms, value))
    });
    Ok(samples.collect())
}

/// A result as the elements of a vector; a scalar is one without labels.
///
/// # Errors
/// For texts and range vectors.
pub fn vector(value: Value) -> Result<Vec<Sample>> {
    match value {
        Value::Vector(samples) => Ok(samples),
        Value::Scalar(t_ms, value) => Ok(vec![number(Labels::default(), t_ms, value)]),
        Value::String(..) | Value::Matrix(_) => {
            Err(Error::invalid("rule result is not a vector or scalar"))
        }
    }
}
