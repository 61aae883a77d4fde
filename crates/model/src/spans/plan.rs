//! What a query language asks of a source of traces: conditions on single spans, and which parts of them it wants to see.
//!
//! Conditions are what a source may use to leave traces out; who asks decides for itself what of the rest is wanted.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{AttributeScope, AttributeValue};
use crate::TimeRange;

/// Says whether a value satisfies a condition.
///
/// What it says of texts and integers may be known beforehand, so that a source need not ask value by value.
#[derive(Clone)]
pub struct ValueTest {
    holds: Arc<dyn Fn(&AttributeValue) -> bool + Send + Sync>,
    text: Option<Arc<str>>,
    ints: Option<RangeInclusive<i64>>,
}

impl ValueTest {
    /// `holds` decides.
    pub fn new(holds: impl Fn(&AttributeValue) -> bool + Send + Sync + 'static) -> Self {
        Self { holds: Arc::new(holds), text: None, ints: None }
    }

    /// Of all texts, `text` alone satisfies it.
    #[must_use]
    pub fn with_text(self, text: &str) -> Self {
        Self { text: Some(text.into()), ..self }
    }

    /// Of all integers, those in `ints` satisfy it and no others.
    #[must_use]
    pub fn with_ints(self, ints: RangeInclusive<i64>) -> Self {
        Self { ints: Some(ints), ..self }
    }

    /// No integer satisfies it.
    #[must_use]
    pub fn without_ints(self) -> Self {
        #[expect(clippy::reversed_empty_ranges, reason = "it is meant to be empty")]
        self.with_ints(1..=0)
    }

    /// Whether the value satisfies it.
    pub fn holds(&self, value: &AttributeValue) -> bool {
        (self.holds)(value)
    }

    /// The only text that satisfies it, if that is known.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The integers that satisfy it, if they are known.
    pub fn ints(&self) -> Option<&RangeInclusive<i64>> {
        self.ints.as_ref()
    }
}

impl fmt::Debug for ValueTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, ints, .. } = self;
        f.debug_struct("ValueTest").field("text", text).field("ints", ints).finish_non_exhaustive()
    }
}

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
#[derive(Debug, Clone)]
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
