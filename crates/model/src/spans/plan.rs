//! What a query language asks of a source of traces: conditions on single spans, and which parts of them it wants to see.
//!
//! Conditions are what a source may use to leave traces out; who asks decides for itself what of the rest is wanted.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::{AttributeScope, AttributeValue};
use crate::TimeRange;

/// Says whether a value satisfies a condition.
pub type ValueTest = Arc<dyn Fn(&AttributeValue) -> bool + Send + Sync>;

/// Which of a span's values a condition is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanField {
    /// Its name, a text.
    Name,
    /// Its kind: the number in [`SpanKind::ALL`](super::SpanKind::ALL).
    Kind,
    /// Its status: the number in [`SpanStatus::ALL`](super::SpanStatus::ALL).
    Status,
    /// Its duration in nanoseconds, as an integer; values under `ns_min` never satisfy the condition.
    Duration {
        /// Nanoseconds.
        ns_min: u64,
    },
    /// Whether it never had a parent, a truth value.
    Root,
    /// The name of its service, a text: [`Resource::service`](super::Resource::service).
    Service,
    /// An attribute of the name; each of them where it repeats.
    Attribute(AttributeScope, String),
}

/// A condition on one span.
#[derive(Clone)]
pub enum SpanCondition {
    /// Holds for all.
    Always,
    /// The span has the value, and it satisfies the test.
    Test(SpanField, ValueTest),
    /// All of them hold.
    All(Vec<SpanCondition>),
    /// One of them holds.
    Any(Vec<SpanCondition>),
}

impl fmt::Debug for SpanCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("Always"),
            Self::Test(field, _) => f.debug_tuple("Test").field(field).finish_non_exhaustive(),
            Self::All(all) => f.debug_tuple("All").field(all).finish(),
            Self::Any(any) => f.debug_tuple("Any").field(any).finish(),
        }
    }
}

/// One request for traces with their spans.
///
/// A trace is wanted when for each of `conditions` there is a span of it that satisfies it, and one of these spans starts
/// within `range`. A source gives all traces that are wanted, and may give others.
#[derive(Debug, Clone)]
pub struct TracePlan {
    /// Starts of spans.
    pub range: TimeRange,
    /// At least one.
    pub conditions: Vec<SpanCondition>,
    /// Whether all spans of a trace are wanted, or only those that satisfy one of the conditions and start within `range`.
    /// In the second case a trace may come in several pieces, in any order.
    pub is_whole: bool,
    /// Names of the attributes wanted of spans, events and links, `None` for all: others may be left out. Resources and
    /// scopes are always whole.
    pub attributes: Option<BTreeSet<String>>,
    /// Whether what most spans do not have is wanted, or may be left out: events, links, messages of a status, trace states, flags, counts of
    /// what was dropped.
    pub details: bool,
}
