//! Stages that drop lines: `drop` by what they are, `sampling` by chance.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;

use model::{Error, Result};
use regex::Regex;

use super::Entry;
use super::patterns::compile;
use super::stage::Context;

/// Settings of the `drop` stage. A line is dropped when all that is given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DropConfig {
    /// Values to look at instead of the line; alone, they must all be there.
    pub source: Vec<String>,
    /// Between the values when they are joined; `;` when absent.
    pub separator: Option<String>,
    /// The joined values must be this.
    pub value: Option<String>,
    /// RE2 that the joined values or the line must match somewhere.
    pub expression: Option<String>,
    /// The line's time must lie further back, in nanoseconds.
    pub older_than_ns: Option<i64>,
    /// The line must have more bytes.
    pub longer_than_bytes: Option<u64>,
    /// Under which reason dropped lines are counted; `drop_stage` when absent.
    pub drop_counter_reason: Option<String>,
}

/// Settings of the `sampling` stage.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SamplingConfig {
    /// The share of lines that stay, from 0 to 1.
    pub rate: f64,
    /// Under which reason the others are counted; `sampling_stage` when absent.
    pub drop_counter_reason: Option<String>,
}

/// The reason as configured, else `default`.
pub(super) fn reason(given: Option<&str>, default: &str) -> Arc<str> {
    Arc::from(given.filter(|given| !given.is_empty()).unwrap_or(default))
}

#[derive(Debug, Clone)]
pub(super) struct Drop {
    sources: Arc<[String]>,
    separator: String,
    wanted: Wanted,
    older_than_ns: Option<i64>,
    longer_than_bytes: Option<u64>,
    reason: Arc<str>,
}

#[derive(Debug, Clone)]
enum Wanted {
    Anything,
    Value(String),
    Match(Regex),
}

impl Drop {
    pub(super) fn new(config: &DropConfig) -> Result<Self> {
        let DropConfig { source, value, expression, older_than_ns, longer_than_bytes, .. } = config;
        if source.is_empty()
            && expression.is_none()
            && older_than_ns.is_none()
            && longer_than_bytes.is_none()
        {
            let keys = "needs at least one of source, expression, older_than and longer_than";
            return Err(Error::invalid(keys));
        }
        let wanted = match (value, expression) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("takes only one of value and expression"));
            }
            (Some(_), None) if source.is_empty() => {
                return Err(Error::invalid("value needs a source"));
            }
            (Some(value), None) => Wanted::Value(value.clone()),
            (None, Some(expression)) => Wanted::Match(compile(expression)?),
            (None, None) => Wanted::Anything,
        };
        Ok(Self {
            sources: source.as_slice().into(),
            separator: config.separator.clone().unwrap_or_else(|| ";".to_owned()),
            wanted,
            older_than_ns: *older_than_ns,
            longer_than_bytes: *longer_than_bytes,
            reason: reason(config.drop_counter_reason.as_deref(), "drop_stage"),
        })
    }

    /// The reason when the line is to be dropped.
    pub(super) fn drops(&self, entry: &Entry, context: &Context<'_>) -> Option<Arc<str>> {
        if self.longer_than_bytes.is_some_and(|bytes| entry.line.len() as u64 <= bytes) {
            return None;
        }
        if let Some(age_ns) = self.older_than_ns
            && entry.t_ns >= context.clock.now_ns().saturating_sub(age_ns)
        {
            return None;
        }
        let text = self.text(entry)?;
        let holds = match &self.wanted {
            Wanted::Anything => true,
            Wanted::Value(value) => text == *value,
            Wanted::Match(regex) => regex.is_match(&text),
        };
        holds.then(|| Arc::clone(&self.reason))
    }

    /// The text looked at: the line, or the values that are there. `None` when a value is missing.
    fn text<'e>(&self, entry: &'e Entry) -> Option<Cow<'e, str>> {
        match &*self.sources {
            [] => Some(Cow::Borrowed(entry.line.as_str())),
            [one] if entry.values.contains(one) => {
                Some(Cow::Borrowed(entry.values.get(one).unwrap_or("")))
            }
            [_] => None,
            many => {
                let all = many.iter().all(|source| entry.values.contains(source));
                let texts: Vec<&str> = many.iter().filter_map(|s| entry.values.get(s)).collect();
                let is_enough =
                    all || (!matches!(self.wanted, Wanted::Anything) && !texts.is_empty());
                is_enough.then(|| Cow::Owned(texts.join(&self.separator)))
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Sampling {
    /// Numbers up to it stay.
    boundary: u64,
    state: u64,
    reason: Arc<str>,
}

impl Sampling {
    pub(super) fn new(config: &SamplingConfig) -> Result<Self> {
        let rate = config.rate;
        if !(0.0..=1.0).contains(&rate) {
            return Err(Error::invalid(format!("rate must be from 0 to 1, not {rate}")));
        }
        // Which lines stay is nobody's secret; every start has its own.
        let seed = std::hash::RandomState::new().build_hasher().finish();
        Ok(Self {
            boundary: (rate * 2f64.powi(63)) as u64,
            state: seed,
            reason: reason(config.drop_counter_reason.as_deref(), "sampling_stage"),
        })
    }

    /// The reason when the line is to be dropped.
    pub(super) fn drops(&mut self) -> Option<Arc<str>> {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.state;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let number = (x ^ (x >> 31)) >> 1;
        (number >= self.boundary).then(|| Arc::clone(&self.reason))
    }
}
