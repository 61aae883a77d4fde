//! PromQL: Prometheus 3's query language over [`MetricSource`], native histograms and start timestamps included.
//!
//! Owns: the grammar, type checks, every function, staleness and look-back, annotations, canonical printing, and the
//! runner of `promqltest` scripts ([`testing`]). Does not own: HTTP, JSON, rules, where samples are. Source:
//! Prometheus documentation, "Querying"; its test scripts are the oracle.
//!
//! Expressions are evaluated over all steps at once: a selector asks its source once and walks each series once, and
//! operators work on rows of step values. Native histograms stand beside the numbers of a row, so that queries over
//! numbers, which are nearly all, pay nothing for them.

mod ast;
mod evaluate;
mod format;
mod functions;
mod notes;
mod parse;
pub mod testing;
mod tree;

use std::sync::Arc;

use model::{Budget, Histogram, Labels, MetricSource, Result};

pub use crate::histogram::describe as histogram_text;
pub use crate::syntax::{duration_ms, position};
pub use ast::Expr;
pub use format::{format, one_line};
pub use parse::{parse, parse_selector};
pub use tree::{selectors, tree};

/// One query.
#[derive(Debug, Clone)]
pub struct PromQuery {
    /// The expression.
    pub text: String,
    /// First step, Unix milliseconds; of an instant query the same as `end_ms`.
    pub start_ms: i64,
    /// Last moment a step may fall on; an instant query is evaluated here.
    pub end_ms: i64,
    /// Milliseconds between steps; 0 makes it an instant query at `end_ms`.
    pub step_ms: i64,
    /// How far back an instant selector looks for a sample (Prometheus: 300,000).
    pub lookback_ms: i64,
}

/// What the language may contain.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Experimental functions, aggregations and modifiers of Prometheus.
    pub experimental: bool,
    /// Milliseconds between the steps of subqueries that name none: the global evaluation interval.
    pub subquery_step_ms: i64,
}

impl Default for Options {
    /// As Prometheus without configuration: nothing experimental, subqueries step by a minute.
    fn default() -> Self {
        Self { experimental: false, subquery_step_ms: 60_000 }
    }
}

/// A query's value and what the reader should know about it.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The value.
    pub value: Value,
    /// `PromQL warning: … (1:5)`, and what the source said.
    pub warnings: Vec<String>,
    /// `PromQL info: … (1:5)`.
    pub infos: Vec<String>,
}

/// Results as the HTTP API has them. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of an instant query.
    Scalar(i64, f64),
    /// Of an instant query.
    String(i64, String),
    /// Of an instant query; in the order of `sort` and `topk` where they are outermost.
    Vector(Vec<Sample>),
    /// Of a range query, sorted by labels; of an instant query for a range selector.
    Matrix(Vec<Series>),
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Identity.
    pub labels: Labels,
    /// Time of evaluation, Unix milliseconds.
    pub t_ms: i64,
    /// Value; NaN beside a histogram.
    pub value: f64,
    /// The value where it is a native histogram.
    pub histogram: Option<Arc<Histogram>>,
}

/// One series of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Identity.
    pub labels: Labels,
    /// `(Unix milliseconds, value)`, ascending.
    pub points: Vec<(i64, f64)>,
    /// Native histograms with their times, ascending; no time is in both.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

/// Evaluates `query` over `source`.
///
/// Cost: one `select` per selector, charged to `budget` by samples and by bytes of rows.
///
/// # Errors
/// `Invalid` with a span for what [`parse`] refuses; `Invalid` without one for failures of evaluation (duplicate
/// matches, bad parameters); the errors of `source` and `budget`.
pub fn evaluate(
    source: &dyn MetricSource,
    query: &PromQuery,
    options: &Options,
    budget: &Budget,
) -> Result<Evaluated> {
    let expr = parse(&query.text)?;
    evaluate_expr(source, &expr, query, options, budget)
}

/// As [`evaluate`], of what [`parse`] made of `query.text` before: rules are parsed once and evaluated for ever.
///
/// # Errors
/// As [`evaluate`], but those of [`parse`].
pub fn evaluate_expr(
    source: &dyn MetricSource,
    expr: &Expr,
    query: &PromQuery,
    options: &Options,
    budget: &Budget,
) -> Result<Evaluated> {
    evaluate::run(source, expr, query, *options, budget)
}

/// How operators, matchers and aggregations are written.
pub const OPERATORS: [&str; 32] = [
    "!=",
    "!~",
    "%",
    "*",
    "+",
    "-",
    "/",
    "<",
    "<=",
    "=",
    "==",
    "=~",
    ">",
    ">=",
    "^",
    "and",
    "atan2",
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "max",
    "min",
    "or",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
    "unless",
    "@",
];

/// Every function's name, and whether it is experimental; in the order of the table.
pub fn functions() -> impl Iterator<Item = (&'static str, bool)> {
    functions::all().map(|function| (function.name, function.experimental))
}

/// The label name that `U__…` escapes (Prometheus' "values" escaping of UTF-8 names in paths); anything else as it is.
pub fn unescape_label_name(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or("");
        if c != '_' {
            out.push(c);
        } else if let Some(tail) = rest.strip_prefix('_') {
            out.push('_');
            rest = tail;
        } else {
            let code = rest.split_once('_').and_then(|(hex, tail)| {
                Some((char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, tail))
            });
            match code {
                Some((decoded, tail)) => {
                    out.push(decoded);
                    rest = tail;
                }
                // Prometheus' documentation leaves single underscores as they are.
                None => out.push('_'),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
