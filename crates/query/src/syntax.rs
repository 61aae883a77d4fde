//! What the query languages share at the level of text: tokens with byte positions, literals, and operator precedence.
//!
//! Owns: the lexer, Go-style quoted strings, numbers, durations, the precedence-climbing core. Does not own: any
//! grammar, any name of a function or keyword.

mod lexer;
mod literal;
mod nearest;
mod pratt;

pub(crate) use lexer::{Kind, Token, tokenize};
pub use literal::duration_ms;
pub(crate) use literal::{
    Quoted, format_duration_ms, format_float, parse_float, parse_number, quote, unquote,
};
pub(crate) use nearest::nearest;
pub(crate) use pratt::{Grammar, Power, climb};

/// Longest query text in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 10;

/// Deepest nesting of an expression as written.
pub(crate) const DEPTH_MAX: usize = 100;

/// Height of an expression's tree, to which a chain such as `a or b or c` adds one per operator; evaluation recurses this
/// deep.
pub(crate) const TREE_DEPTH_MAX: usize = 300;

/// Line and column (both 1-based, columns in bytes) of byte `at` in `text`, as Prometheus counts them.
pub fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.as_bytes().get(..at.min(text.len())).unwrap_or_default();
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    (line, before.len() - line_start + 1)
}
