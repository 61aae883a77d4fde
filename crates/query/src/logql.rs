//! LogQL: log pipelines and metrics over logs, as Loki 3 has them.
//!
//! Owns: the grammar, the stages, evaluation over a [`LogSource`]. Does not own: where rows are, operations on series
//! that PromQL has as well, JSON. Differences to Loki: labels without value are as good as absent in results.

mod ast;
mod detect;
mod format;
mod ip;
mod json;
mod label_filter;
mod line_filter;
mod line_metric;
mod logfmt;
mod logs;
mod metric;
mod parse;
mod pattern;
mod patterns;
mod pipeline;
mod prettify;
mod range;
mod regexes;
mod row;
mod scan;
mod stage;
mod template;
mod tokens;
mod units;
mod window;

#[cfg(test)]
pub(crate) mod tests;

use model::{Budget, Labels, LogSource, Order, Result};

pub use self::ast::Expr;
use self::ast::ExprKind;
pub use self::detect::{DetectedField, FieldKind, Surroundings, detect_fields, surroundings};
pub use self::line_metric::{LineMetric, Observed};
pub use self::parse::{parse, parse_selector};
pub use self::patterns::{PatternCounts, PatternHistory, count_patterns, pattern_history};
pub use self::pipeline::{Pipeline, Selection, parse_selection};
pub use self::prettify::prettify;
pub use self::template::{Context, Names, Template};
use crate::promql;

/// A query and the times it is asked for.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// LogQL.
    pub text: String,
    /// Unix nanoseconds; rows of a log query lie in `[start, end)`. The first step of a metric query.
    pub start_ns: i64,
    /// Unix nanoseconds. The last step of a metric query, the only one when `step_ns` is 0.
    pub end_ns: i64,
    /// Distance of steps; 0 for an instant query.
    pub step_ns: i64,
    /// Most entries a log query returns.
    pub limit: usize,
    /// Order of a log query's entries, which also decides which ones the limit keeps.
    pub order: Order,
    /// Entries of a log query are at least so many nanoseconds apart; 0 for all.
    pub interval_ns: i64,
    /// Whether entries say which labels are metadata and which were parsed, and streams have only the labels of their own.
    pub categorize: bool,
}

/// The result of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// What came out.
    pub value: Value,
    /// For the reader: parts of the data that could not be read.
    pub warnings: Vec<String>,
    /// What it took.
    pub stats: Stats,
}

/// What a query reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows looked at after the store's filters.
    pub rows: u64,
    /// Bytes of their lines.
    pub bytes: u64,
}

/// A result.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a log query: streams in order of their labels.
    Streams(Vec<Stream>),
    /// Of a metric query; never a text.
    Metric(promql::Value),
}

/// Entries that have the same labels after the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Stream labels, structured metadata and what the pipeline extracted; stream labels alone when categorized.
    pub labels: Labels,
    /// In the order asked for.
    pub entries: Vec<Entry>,
}

/// One row of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Unix nanoseconds.
    pub t_ns: i64,
    /// The line after the pipeline.
    pub line: String,
    /// Where its labels come from, when that was asked for.
    pub categories: Option<Categories>,
}

/// Labels of an entry beside those of its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Categories {
    /// Structured metadata.
    pub metadata: Labels,
    /// What the pipeline extracted, changed or noted as an error.
    pub parsed: Labels,
}

/// Evaluates `query` over the rows of `source`.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) for a malformed query or a row a metric query cannot make a number of;
/// [`Limit`](model::ErrorKind::Limit) or [`Cancelled`](model::ErrorKind::Cancelled) from `budget`; failures of `source`.
pub fn evaluate(source: &dyn LogSource, query: &LogQuery, budget: &Budget) -> Result<Evaluated> {
    evaluate_expr(source, &parse(&query.text)?, query, budget)
}

/// As [`evaluate`], of what [`parse`] made of `query.text` before: rules are parsed once and evaluated for ever.
///
/// # Errors
/// As [`evaluate`], but for a malformed query.
pub fn evaluate_expr(
    source: &dyn LogSource,
    expr: &Expr,
    query: &LogQuery,
    budget: &Budget,
) -> Result<Evaluated> {
    match &expr.kind {
        ExprKind::Log(log) => logs::evaluate(source, log, query, budget),
        _ => metric::evaluate(source, expr, query, budget),
    }
}
