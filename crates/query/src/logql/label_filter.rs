//! Label filters: `level="error" and (duration > 1s or size >= 20MB)`.
//!
//! A comparison with a number, duration or size drops rows without the label, and lets rows pass whose value it cannot
//! read, marked with an error; whether those are wanted is for a later `__error__=""` to say.

use model::{LogDemand, MatchOp, Matcher, PATTERN_LABEL};

use super::ip::IpMatcher;
use super::row::{RowLabels, is_stored};
use super::units;

/// `__error__` of this stage.
const ERROR_KIND: &str = "LabelFilterErr";

/// A condition on the labels of a row.
#[derive(Debug, Clone)]
pub(crate) enum LabelFilter {
    /// `name="text"`; an absent label is empty.
    Text(Matcher),
    /// `name > 5`, `name <= 1h`, `name == 20MB`.
    Quantity { name: String, op: CompareOp, value: Quantity },
    /// `name = ip("…")`.
    Ip { name: String, negated: bool, matcher: IpMatcher },
    /// Both must hold; the second is not looked at when the first does not.
    And(Box<LabelFilter>, Box<LabelFilter>),
    /// One must hold; the second is not looked at when the first does.
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

/// How a quantity compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompareOp {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

/// The right side of a comparison, which also says how the label's value is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Quantity {
    Number(f64),
    /// In nanoseconds.
    Duration(f64),
    Bytes(f64),
}

impl LabelFilter {
    /// Whether the row passes.
    pub(crate) fn matches(&self, labels: &mut RowLabels<'_>) -> bool {
        match self {
            Self::Text(matcher) => matcher.matches(labels.get(matcher.name()).unwrap_or("")),
            Self::Quantity { name, op, value } => {
                let Some(text) = labels.get(name) else { return false };
                match value.compare(*op, text) {
                    Ok(holds) => holds,
                    Err(details) => {
                        labels.set_error(ERROR_KIND, details);
                        true
                    }
                }
            }
            Self::Ip { name, negated, matcher } => {
                labels.get(name).is_some_and(|v| matcher.matches_any_in(v) != *negated)
            }
            Self::And(a, b) => a.matches(labels) && b.matches(labels),
            Self::Or(a, b) => a.matches(labels) || b.matches(labels),
        }
    }

    /// The same as conditions that a store can apply to stream labels and metadata, if it can be said so.
    pub(crate) fn for_store(&self) -> Option<Vec<Matcher>> {
        match self {
            Self::Text(matcher) if is_stored(matcher.name()) => Some(vec![matcher.clone()]),
            Self::And(a, b) => {
                let mut all = a.for_store()?;
                all.extend(b.for_store()?);
                Some(all)
            }
            _ => None,
        }
    }

    /// What rows need to pass, if their labels are as stored or extracted from the line: a parser finds a value only where it is
    /// written, or something is escaped.
    pub(crate) fn demands(&self) -> Vec<LogDemand> {
        let is_plain = |text: &String| {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.:/ @+".contains(&b);
            !text.is_empty() && text.bytes().all(is_plain)
        };
        match self {
            Self::Text(matcher) if is_stored(matcher.name()) && matcher.name() != PATTERN_LABEL => {
                let mut texts = match matcher.op() {
                    MatchOp::Equal => vec![matcher.value().to_owned()],
                    MatchOp::Regex => matcher.alternatives().unwrap_or_default().to_vec(),
                    MatchOp::NotEqual | MatchOp::NotRegex => Vec::new(),
                };
                if texts.is_empty() || !texts.iter().all(is_plain) {
                    return Vec::new();
                }
                texts.push("\\".to_owned());
                vec![LogDemand { label: matcher.clone(), texts }]
            }
            Self::And(a, b) => {
                let mut all = a.demands();
                all.extend(b.demands());
                all
            }
            _ => Vec::new(),
        }
    }

    /// Calls `visit` with each label name it looks at.
    pub(crate) fn for_each_name(&self, visit: &mut impl FnMut(&str)) {
        match self {
            Self::Text(matcher) => visit(matcher.name()),
            Self::Quantity { name, .. } | Self::Ip { name, .. } => visit(name),
            Self::And(a, b) | Self::Or(a, b) => {
                a.for_each_name(visit);
                b.for_each_name(visit);
            }
        }
    }
}

impl Quantity {
    fn compare(self, op: CompareOp, text: &str) -> Result<bool, String> {
        let (left, right) = match self {
            Self::Number(right) => (units::parse_number(text)?, right),
            Self::Duration(right) => (units::parse_duration_ns(text)?, right),
            Self::Bytes(right) => (units::parse_bytes(text)?, right),
        };
        Ok(match op {
            CompareOp::Equal => left == right,
            CompareOp::NotEqual => left != right,
            CompareOp::Greater => left > right,
            CompareOp::GreaterEqual => left >= right,
            CompareOp::Less => left < right,
            CompareOp::LessEqual => left <= right,
        })
    }
}
