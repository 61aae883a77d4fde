//! Query languages: PromQL and LogQL on one lexer and Pratt core with positions, and one vector evaluator.
//!
//! Owns: parsing, type checking, evaluation, the limits of a query. Does not own: where samples and lines are (it
//! reaches them only through [`model::MetricSource`] and [`model::LogSource`] plans), HTTP, JSON. Synchronous, no tokio.

mod histogram;
pub mod logql;
pub mod promql;
mod syntax;
mod vector;
