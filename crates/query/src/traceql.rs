//! TraceQL: searches and metrics over traces, as Tempo 2 has them.
//!
//! Owns: the grammar, evaluation over a [`model::TraceSource`], what of a query a source can decide by itself. Does not own:
//! where spans are, HTTP, JSON.

mod ast;
mod field;
mod parse;
mod tokens;
mod value;

pub use self::ast::Query;
pub use self::field::intrinsics;
pub use self::parse::parse;
pub use self::value::Value;

#[cfg(test)]
mod tests;
