//! Compiling the regular expressions of a query, bounded in size, and the `regexp` stage.

use model::{Error, Result};
use regex::{Regex, RegexBuilder};

use super::row::RowLabels;

/// Longest accepted expression.
const PATTERN_BYTES_MAX: usize = 16 << 10;
/// Compiled size one expression may reach.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Compiles an expression that is not anchored.
///
/// # Errors
/// Invalid when it does not compile, or is longer than 16 KiB or larger than 4 MiB compiled.
pub(crate) fn compile(pattern: &str) -> Result<Regex> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(Error::invalid(format!(
            "regular expression has {} bytes; the limit is {PATTERN_BYTES_MAX}",
            pattern.len()
        )));
    }
    let build = |text: &str| RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
    // A brace that opens no repetition is a plain character in RE2 and an error here, so it gets a second try.
    build(pattern).or_else(|e| build(&escape_lone_braces(pattern)).map_err(|_| e)).map_err(|e| {
        let reason = e.to_string();
        let reason = reason.lines().last().unwrap_or("").trim_start_matches("error: ");
        Error::invalid(format!("error parsing regexp: {reason}: `{pattern}`"))
    })
}

/// Puts a backslash before each `{` that does not open `{2}`, `{2,}` or `{2,3}` and is not part of an escape.
fn escape_lone_braces(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(at) = rest.find(['\\', '{']) {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        // An escape takes the next character along, and its braces, as in \p{Greek} or \x{10FFFF}.
        let len = if tail.starts_with('\\') {
            let escaped = tail.chars().nth(1).map_or(0, char::len_utf8);
            let has_braces = tail.starts_with(r"\p{") || tail.starts_with(r"\x{");
            if has_braces { tail.find('}').map_or(2, |end| end + 1) } else { 1 + escaped }
        } else {
            let bounds = tail.strip_prefix('{').and_then(|t| t.split_once('}')).map(|(b, _)| b);
            let is_repetition = bounds.is_some_and(|b| {
                b.starts_with(|c: char| c.is_ascii_digit())
                    && b.bytes().all(|b| b.is_ascii_digit() || b == b',')
            });
            if !is_repetition {
                out.push('\\');
            }
            1
        };
        let (taken, tail) = tail.split_at(len);
        out.push_str(taken);
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// The `regexp` stage: named groups become labels.
#[derive(Debug, Clone)]
pub(crate) struct RegexpParser {
    regex: Regex,
    /// Number and name of the named groups.
    groups: Vec<(usize, String)>,
}

impl RegexpParser {
    /// Compiles the stage.
    ///
    /// # Errors
    /// Invalid when the expression is malformed, has no named group, or one name twice.
    pub(crate) fn compile(pattern: &str) -> Result<Self> {
        let mut names: Vec<&str> = Vec::new();
        for (at, _) in pattern.match_indices("(?") {
            let tail = pattern.split_at(at + 2).1;
            let tail = tail.strip_prefix('P').unwrap_or(tail);
            let Some((name, _)) = tail.strip_prefix('<').and_then(|t| t.split_once('>')) else {
                continue;
            };
            if names.contains(&name) {
                return Err(Error::invalid(format!("duplicate extracted label name '{name}'")));
            }
            names.push(name);
        }
        let regex = compile(pattern)?;
        let groups: Vec<(usize, String)> = regex
            .capture_names()
            .enumerate()
            .filter_map(|(i, name)| name.map(|n| (i, n.to_owned())))
            .collect();
        if groups.is_empty() {
            return Err(Error::invalid(format!(
                "at least one named capture must be supplied in regexp `{pattern}`"
            )));
        }
        Ok(Self { regex, groups })
    }

    /// Extracts the groups of the first match.
    pub(crate) fn extract(&self, line: &str, labels: &mut RowLabels<'_>) {
        let Some(captures) = self.regex.captures(line) else { return };
        for (index, name) in &self.groups {
            labels.extract(name, captures.get(*index).map_or("", |m| m.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_that_repeat_nothing_are_characters() {
        let regex = compile(r#"{"a": \d{2}"#).unwrap();
        assert!(regex.is_match(r#"{"a": 42}"#) && !regex.is_match(r#"{"a": 4}"#));
        assert!(compile(r"^\p{Greek}+\{{").unwrap().is_match("αβ{{"));
        assert!(compile("(").is_err());
        assert!(compile(&"a".repeat(20_000)).is_err());
    }
}
