//! Query languages: PromQL, LogQL and TraceQL on one Pratt core, with positions in errors; one vector evaluator for the
//! first two.
//!
//! Owns: parsing, type checking, evaluation, the limits of a query. Does not own: where samples and lines are (it
//! reaches them only through plans of the sources in `model`), HTTP, JSON. Synchronous, no tokio.

mod histogram;
pub mod logql;
pub mod promql;
mod syntax;
pub mod traceql;
mod vector;
