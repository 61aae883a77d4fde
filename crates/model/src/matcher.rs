//! Label matchers, with the meaning they have in Prometheus 3: anchored, dot matches newline, absent equals empty.

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::{Error, Labels, Result, re2};

/// Compiled size a single pattern may reach.
const REGEX_BYTES_MAX: usize = 4 << 20;
/// Longest accepted pattern; compiling is not free.
const PATTERN_BYTES_MAX: usize = 16 << 10;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One condition on one label; an absent label counts as `""`.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Regex>,
    /// The exact strings a regex like `a|b|c` stands for; lets indexes look them up.
    alternatives: Option<Vec<String>>,
}

impl Matcher {
    /// A matcher; compiles `value` when `op` is a regular expression.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the pattern does not compile or is too large.
    pub fn new(op: MatchOp, name: impl Into<String>, value: impl Into<String>) -> Result<Self> {
        let (name, value) = (name.into(), value.into());
        let is_regex = matches!(op, MatchOp::Regex | MatchOp::NotRegex);
        let regex = if is_regex { Some(anchored_regex(&value)?) } else { None };
        let alternatives = if is_regex { literal_alternatives(&value) } else { None };
        Ok(Self { name, op, value, regex, alternatives })
    }

    /// Shorthand for `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            op: MatchOp::Equal,
            value: value.into(),
            regex: None,
            alternatives: None,
        }
    }

    /// Label name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Operator.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or pattern as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// For `=~`/`!~`: the exact strings it stands for, when it is a plain alternation such as `a|b`.
    pub fn alternatives(&self) -> Option<&[String]> {
        self.alternatives.as_deref()
    }

    /// Whether `value` (with `""` for an absent label) satisfies it.
    pub fn matches(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex => self.regex_matches(value),
            MatchOp::NotRegex => !self.regex_matches(value),
        }
    }

    /// Whether a series without this label satisfies it.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether `labels` satisfy it.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }

    fn regex_matches(&self, value: &str) -> bool {
        match (&self.alternatives, &self.regex) {
            (Some(alternatives), _) => alternatives.iter().any(|a| a == value),
            (None, Some(regex)) => regex.is_match(value),
            (None, None) => false,
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (self.op, &self.name, &self.value) == (other.op, &other.name, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

/// Compiles `pattern`, which is RE2's (see [`re2`]), as Prometheus 3 does: anchored on both sides, `.` also matches a
/// newline.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) when it does not compile, is longer than 16 KiB, or compiles to over 4 MiB.
pub fn anchored_regex(pattern: &str) -> Result<Regex> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(Error::invalid(format!(
            "regular expression has {} bytes; the limit is {PATTERN_BYTES_MAX}",
            pattern.len()
        )));
    }
    let anchored = format!("^(?s:{})$", re2::translate(pattern));
    RegexBuilder::new(&anchored).size_limit(REGEX_BYTES_MAX).build().map_err(|e| {
        Error::invalid(format!(
            "invalid regular expression {pattern:?}: {}",
            last_line(&e.to_string())
        ))
    })
}

/// Compiles `pattern`, which is RE2's (see [`re2`]), as filters of lines want it: not anchored.
///
/// # Errors
/// As [`anchored_regex`].
pub fn line_regex(pattern: &str) -> Result<Regex> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(Error::invalid(format!(
            "regular expression has {} bytes; the limit is {PATTERN_BYTES_MAX}",
            pattern.len()
        )));
    }
    RegexBuilder::new(&re2::translate(pattern)).size_limit(REGEX_BYTES_MAX).build().map_err(|e| {
        let reason = last_line(&e.to_string());
        Error::invalid(format!("error parsing regexp: {reason}: `{pattern}`"))
    })
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned()
}

fn literal_alternatives(pattern: &str) -> Option<Vec<String>> {
    const META: &[char] = &['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$'];
    (!pattern.contains(META)).then(|| pattern.split('|').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regexes_are_anchored_and_absent_is_empty() {
        let m = Matcher::new(MatchOp::Regex, "a", "x.*").unwrap();
        assert!(m.matches("x\ny") && !m.matches("ax"));
        let m = Matcher::new(MatchOp::NotRegex, "a", "x|y").unwrap();
        assert!(m.matches_empty() && !m.matches("y"));
        assert!(Matcher::new(MatchOp::Regex, "a", "(").is_err());
        assert!(Matcher::new(MatchOp::Regex, "a", "a{b}").unwrap().matches("a{b}"));
        assert_eq!(
            Matcher::new(MatchOp::Regex, "a", "b|").unwrap().alternatives(),
            Some(&["b".to_owned(), String::new()][..])
        );
    }
}
