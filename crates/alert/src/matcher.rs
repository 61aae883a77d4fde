//! Matchers of Alertmanager: conditions on an alert's labels, in routes, inhibition rules, silences and filters.
//!
//! Owns: what a matcher is, its two grammars ([`Syntax`]) and how it is written back. Does not own: where matchers stand.
//! They differ from those of PromQL (`model::Matcher`): a dot does not match a newline, names may be any UTF-8, and values
//! need no quotes. Source: Alertmanager documentation, "Configuration", "Label matchers".

mod classic;
#[cfg(test)]
mod tests;
mod utf8;

use std::fmt;

use model::{Error, Labels, Result};
use query::template::go_quote;
use regex::Regex;

pub use model::MatchOp as Op;

/// One condition on one label; an absent label counts as `""`.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: Op,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// A matcher; compiles `value`, anchored on both sides, when `op` is a regular expression.
    ///
    /// # Errors
    /// `Invalid` when the pattern does not compile or is too large.
    pub fn new(name: impl Into<String>, op: Op, value: impl Into<String>) -> Result<Self> {
        let (name, value) = (name.into(), value.into());
        let regex = match op {
            Op::Regex | Op::NotRegex => Some(model::line_regex(&format!("^(?:{value})$"))?),
            Op::Equal | Op::NotEqual => None,
        };
        Ok(Self { name, op, value, regex })
    }

    /// Name of the label, any UTF-8.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> Op {
        self.op
    }

    /// The value or the pattern as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label of this `value`, `""` for an absent one, satisfies it.
    pub fn matches_value(&self, value: &str) -> bool {
        let is_like = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.op {
            Op::Equal => self.value == value,
            Op::NotEqual => self.value != value,
            Op::Regex => is_like(),
            Op::NotRegex => !is_like(),
        }
    }

    /// Whether `labels` satisfy it.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_value(labels.get(&self.name).unwrap_or(""))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

/// `name="value"`; the name in quotes when it needs them.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.op.as_str();
        if self.name.is_empty() || self.name.contains(is_reserved) {
            return write!(f, "{}{op}{}", go_quote(&self.name), go_quote(&self.value));
        }
        let value = self.value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
        write!(f, "{}{op}\"{value}\"", self.name)
    }
}

/// Whether a character can stand in no name and no value without quotes.
fn is_reserved(c: char) -> bool {
    c.is_whitespace() || "{}!=~,\\\"'`".contains(c)
}

/// Conditions all of which must hold; none at all always hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matchers(pub Vec<Matcher>);

impl Matchers {
    /// Whether `labels` satisfy all of them.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels))
    }

    /// Orders them by name, value and operator, as keys of routes have them.
    pub fn sort(&mut self) {
        fn key(m: &Matcher) -> (&str, &str, u8) {
            (&m.name, &m.value, m.op as u8)
        }
        self.0.sort_by(|a, b| key(a).cmp(&key(b)));
    }
}

/// `{a="b",c!="d"}`
impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, matcher) in self.0.iter().enumerate() {
            write!(f, "{}{matcher}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("}")
    }
}

/// How matchers and names of labels are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Syntax {
    /// Alertmanager's default: the UTF-8 grammar; what only the classic one reads, or reads differently, is read by that.
    #[default]
    Fallback,
    /// The grammar of Alertmanager before 0.27 (`--enable-feature=classic-mode`).
    Classic,
    /// The UTF-8 grammar alone (`--enable-feature=utf8-strict-mode`).
    Utf8,
}

/// What a text was read as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The matchers, in the order of the text.
    pub matchers: Matchers,
    /// Why another grammar would read the text differently, and how to write it instead.
    pub caution: Option<String>,
}

impl Syntax {
    /// Reads `{a="b", c=~"d|e"}`, with or without braces; an empty text is no matcher.
    ///
    /// # Errors
    /// `Invalid`, in Alertmanager's words.
    pub fn parse(self, text: &str) -> Result<Parsed> {
        let plain = |matchers| Parsed { matchers, caution: None };
        match self {
            Self::Classic => classic::parse(text).map(plain),
            Self::Utf8 => utf8::parse(text).map(plain),
            Self::Fallback => match (utf8::parse(text), classic::parse(text)) {
                (Err(_), Err(error)) => Err(error),
                (Err(why), Ok(matchers)) => {
                    let caution = Some(format!(
                        "matchers {text:?} are read by the classic grammar, since they are invalid in the UTF-8 one: {}; \
                         write {matchers}",
                        why.message()
                    ));
                    Ok(Parsed { matchers, caution })
                }
                (Ok(other), Ok(matchers)) if other != matchers => {
                    let caution = Some(format!(
                        "matchers {text:?} are read by the classic grammar, and mean {other} in the UTF-8 one; write \
                         {matchers}"
                    ));
                    Ok(Parsed { matchers, caution })
                }
                (Ok(matchers), _) => Ok(plain(matchers)),
            },
        }
    }

    /// Reads one matcher without braces, as filters of the API are.
    ///
    /// # Errors
    /// `Invalid`, in Alertmanager's words; also when there is none or more than one.
    pub fn parse_one(self, text: &str) -> Result<Matcher> {
        if self == Self::Classic {
            return classic::parse_one(text);
        }
        if text.starts_with('{') || text.ends_with('}') {
            return Err(Error::invalid(format!("unexpected open or close brace: {text}")));
        }
        match (utf8::parse_one(text), self) {
            (found, Self::Utf8) => found,
            (Err(_), _) => classic::parse_one(text),
            (Ok(found), _) => Ok(classic::parse_one(text).unwrap_or(found)),
        }
    }

    /// Whether labels can be called `name`.
    pub fn is_label_name(self, name: &str) -> bool {
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
        match self {
            Self::Fallback | Self::Utf8 => !name.is_empty(),
            Self::Classic => {
                name.starts_with(is_first)
                    && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
            }
        }
    }
}
