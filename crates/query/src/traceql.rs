//! TraceQL: searches and metrics over traces, as Tempo has them.
//!
//! Owns: the grammar, evaluation over a [`model::TraceSource`], what of a query a source can decide by itself. Does not own:
//! where spans are, HTTP, JSON. Differences to Tempo: nothing is sampled, searches always give the newest traces, fields of
//! the parent (`parent.name`) and comparisons of aggregates with each other work.

mod ast;
mod demand;
mod expression;
mod field;
mod metrics;
mod parse;
mod search;
mod selector;
mod spansets;
mod tokens;
pub(crate) mod tree;
mod value;
mod values;
mod view;

#[cfg(test)]
mod tests;

pub use self::ast::Query;
pub use self::field::intrinsics;
pub use self::metrics::{Exemplar, Series, Times, metrics};
pub use self::parse::parse;
pub use self::search::{FoundSet, FoundSpan, FoundTrace, Search, search, visit_traces};
pub use self::selector::Selector;
pub use self::value::Value;
pub use self::values::values;
