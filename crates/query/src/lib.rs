//! Query languages: PromQL, LogQL and TraceQL on one Pratt core, with positions in errors; one vector evaluator for the
//! first two.
//!
//! Owns: parsing, type checking, evaluation, the limits of a query; what one trace and sets of traces tell ([`trace`]);
//! Go's [`template`]s.
//! Does not own: where samples, lines and spans are (it reaches them only through plans of the sources in `model`), HTTP,
//! JSON. Synchronous, no tokio.

mod histogram;
pub mod logql;
pub mod promql;
mod syntax;
pub mod template;
pub mod trace;
pub mod traceql;
mod vector;
