//! Regular expressions of a query: the `regexp` stage. What patterns mean is [`model::re2`]'s.

pub(crate) use model::line_regex as compile;
use model::{Error, Result};
use regex::Regex;

use super::row::RowLabels;

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

    fn check(pattern: &str, hits: &[&str], misses: &[&str]) {
        let regex = compile(pattern).unwrap();
        for text in hits {
            assert!(regex.is_match(text), "{pattern} misses {text:?}");
        }
        for text in misses {
            assert!(!regex.is_match(text), "{pattern} hits {text:?}");
        }
    }

    #[test]
    fn patterns_are_those_of_re2_and_bounded() {
        check(r#"{"a": \d{2}"#, &[r#"{"a": 42}"#], &[r#"{"a": 4}"#, "{\"a\": \u{664}\u{664}"]);
        assert!(compile("(").is_err() && compile("[").is_err() && compile("a\\").is_err());
        assert!(compile(&"a".repeat(20_000)).is_err());
        assert!(compile("(a{1000}){1000}").is_err());
    }
}
