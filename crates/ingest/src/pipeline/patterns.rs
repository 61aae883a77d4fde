//! The `regex` and `replace` stages, and how patterns of all stages are compiled.

use std::sync::Arc;

use model::{Error, Result, re2};
use regex::RegexBuilder;

use super::json::check_source;
use super::values::Seen;
use super::{Entry, Template};

/// Longest accepted expression.
const PATTERN_BYTES_MAX: usize = 16 << 10;
/// Compiled size one expression may reach.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Settings of the `regex` stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegexConfig {
    /// RE2; each named group becomes a value.
    pub expression: String,
    /// The value to read instead of the line.
    pub source: Option<String>,
}

/// Settings of the `replace` stage.
#[derive(Debug, Clone)]
pub struct ReplaceConfig {
    /// RE2; what its groups match is replaced.
    pub expression: String,
    /// The value to rewrite instead of the line.
    pub source: Option<String>,
    /// What stands in place of a group; it sees that group's text as `Value`.
    pub replace: Arc<dyn Template>,
}

/// Compiles an expression that is not anchored.
pub(super) fn compile(pattern: &str) -> Result<regex::Regex> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(Error::invalid(format!(
            "regular expression has {} bytes; the limit is {PATTERN_BYTES_MAX}",
            pattern.len()
        )));
    }
    let pattern_of_engine = re2::translate(pattern);
    RegexBuilder::new(&pattern_of_engine).size_limit(COMPILED_BYTES_MAX).build().map_err(|e| {
        let reason = e.to_string();
        let reason = reason.lines().last().unwrap_or("").trim_start_matches("error: ");
        Error::invalid(format!("regular expression {pattern:?}: {reason}"))
    })
}

fn compile_needed(pattern: &str) -> Result<regex::Regex> {
    if pattern.is_empty() {
        return Err(Error::invalid("needs an expression"));
    }
    compile(pattern)
}

/// Numbers and names of the named groups.
fn groups(regex: &regex::Regex) -> Arc<[(usize, Arc<str>)]> {
    let named = regex.capture_names().enumerate();
    named.filter_map(|(at, name)| Some((at, Arc::from(name?)))).collect()
}

#[derive(Debug, Clone)]
pub(super) struct Regex {
    regex: regex::Regex,
    groups: Arc<[(usize, Arc<str>)]>,
    source: Option<String>,
}

impl Regex {
    pub(super) fn new(config: &RegexConfig) -> Result<Self> {
        check_source(config.source.as_deref())?;
        let regex = compile_needed(&config.expression)?;
        Ok(Self { groups: groups(&regex), regex, source: config.source.clone() })
    }

    pub(super) fn process(&self, entry: &mut Entry) {
        let text = match &self.source {
            None => Some(entry.line.as_str()),
            Some(source) => entry.values.get(source),
        };
        let Some(captures) = text.and_then(|text| self.regex.captures(text)) else { return };
        let found: Vec<(&Arc<str>, String)> = self
            .groups
            .iter()
            .map(|(at, name)| (name, captures.get(*at).map_or("", |m| m.as_str()).to_owned()))
            .collect();
        for (name, text) in found {
            entry.values.set(name, text);
        }
    }
}

/// Texts of named groups.
type Groups<'s> = Vec<(&'s Arc<str>, String)>;

#[derive(Debug, Clone)]
pub(super) struct Replace {
    regex: regex::Regex,
    groups: Arc<[(usize, Arc<str>)]>,
    source: Option<Arc<str>>,
    replace: Arc<dyn Template>,
}

impl Replace {
    pub(super) fn new(config: &ReplaceConfig) -> Result<Self> {
        check_source(config.source.as_deref())?;
        let regex = compile_needed(&config.expression)?;
        Ok(Self {
            groups: groups(&regex),
            regex,
            source: config.source.as_deref().map(Arc::from),
            replace: Arc::clone(&config.replace),
        })
    }

    pub(super) fn process(&self, entry: &mut Entry) {
        let text = match &self.source {
            None => entry.line.as_str(),
            Some(source) => match entry.values.get(source) {
                Some(text) => text,
                None => return,
            },
        };
        // A template that fails leaves everything as it was.
        let Some((text, found)) = self.replaced(entry, text) else { return };
        match &self.source {
            Some(source) => entry.values.set(source, text),
            None => entry.line = text,
        }
        for (name, text) in found {
            entry.values.set(name, text);
        }
    }

    /// `text` with its groups replaced, and the named groups of the first match, replaced as well. `None` when nothing
    /// matches.
    fn replaced(&self, entry: &Entry, text: &str) -> Option<(String, Groups<'_>)> {
        let render = |value: &str| {
            let seen = Seen { values: &entry.values, line: &entry.line, value: Some(value) };
            self.replace.render(entry.t_ns, &entry.line, &seen).ok()
        };
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        let mut found = Vec::new();
        for (number, captures) in self.regex.captures_iter(text).enumerate() {
            for group in captures.iter().skip(1).flatten() {
                // A group inside one that was replaced is gone.
                if group.start() >= copied {
                    out.push_str(text.get(copied..group.start())?);
                    out.push_str(&render(group.as_str())?);
                    copied = group.end();
                }
            }
            if number == 0 {
                for (at, name) in self.groups.iter() {
                    found.push((name, render(captures.get(*at).map_or("", |m| m.as_str()))?));
                }
            }
        }
        if copied == 0 && found.is_empty() {
            return None;
        }
        out.push_str(text.get(copied..)?);
        Some((out, found))
    }
}
