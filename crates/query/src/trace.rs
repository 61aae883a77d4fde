//! What traces tell beside their spans: the waterfall of one with its critical path, its error path and warnings, and the
//! comparison of two sets of traces, the log lines of one.
//!
//! Owns: these, as pure functions. Does not own: where traces are, how they are found (`traceql`), JSON. Whatever was sent
//! is accepted: parents that are missing or in a circle, ids that repeat, clocks that disagree, a million spans. Time is
//! linear in the number of spans but for sorting, and nothing recurses.

mod compare;
mod critical;
mod lines;
#[cfg(test)]
mod tests;
mod warning;
mod waterfall;

pub use self::compare::{
    AttributeShare, Comparison, OperationTime, ServiceTime, Side, SideTime, Sides,
};
pub use self::lines::{Lines, lines};
pub use self::warning::Warning;
pub use self::waterfall::{Row, WaitedFor, Waterfall};
