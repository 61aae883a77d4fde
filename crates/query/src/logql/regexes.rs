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
    RegexBuilder::new(&translate(pattern)).size_limit(COMPILED_BYTES_MAX).build().map_err(|e| {
        let reason = e.to_string();
        let reason = reason.lines().last().unwrap_or("").trim_start_matches("error: ");
        Error::invalid(format!("error parsing regexp: {reason}: `{pattern}`"))
    })
}

/// `pattern`, written for RE2, as this crate's engine wants it: `\d`, `\w`, `\s` and `\b` know ASCII only, a brace that
/// opens no repetition is a character, and so are `[`, `&` and `~` in a class; `\Q…\E` quotes.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut in_class = false;
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let tail = rest.split_at(c.len_utf8()).1;
        rest = match c {
            '\\' => translate_escape(tail, in_class, &mut out),
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                let inside = tail.strip_prefix('^').unwrap_or(tail);
                out.push_str(if inside.len() < tail.len() { "^" } else { "" });
                // A bracket that would close an empty class is one of its characters.
                match inside.strip_prefix(']') {
                    Some(after) => {
                        out.push_str("\\]");
                        after
                    }
                    None => inside,
                }
            }
            '[' => match tail.strip_prefix(':').and_then(|t| t.split_once(":]")) {
                Some((name, after)) => {
                    out.push_str(&format!("[:{name}:]"));
                    after
                }
                None => {
                    out.push_str("\\[");
                    tail
                }
            },
            ']' => {
                in_class = false;
                out.push(']');
                tail
            }
            '{' if !in_class && !opens_repetition(tail) => {
                out.push_str("\\{");
                tail
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
                tail
            }
            _ => {
                out.push(c);
                tail
            }
        };
    }
    out
}

/// Writes the escape whose backslash stood in front of `rest`; what is left behind it.
fn translate_escape<'t>(rest: &'t str, in_class: bool, out: &mut String) -> &'t str {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let tail = rest.split_at(c.len_utf8()).1;
    match c {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'Q' => {
            let (quoted, after) = tail.split_once("\\E").unwrap_or((tail, ""));
            out.push_str(&regex::escape(quoted));
            return after;
        }
        'p' | 'P' | 'x' if tail.starts_with('{') => {
            let len = tail.find('}').map_or(tail.len(), |end| end + 1);
            let (braced, after) = tail.split_at(len);
            out.push('\\');
            out.push(c);
            out.push_str(braced);
            return after;
        }
        _ => {
            out.push('\\');
            out.push(c);
        }
    }
    tail
}

/// Whether `2}`, `2,}` or `2,3}` stands behind a brace.
fn opens_repetition(rest: &str) -> bool {
    let bounds = rest.split_once('}').map_or("", |(bounds, _)| bounds);
    bounds.starts_with(|c: char| c.is_ascii_digit())
        && bounds.bytes().all(|b| b.is_ascii_digit() || b == b',')
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
    fn patterns_mean_what_they_mean_in_re2() {
        check(r#"{"a": \d{2}"#, &[r#"{"a": 42}"#], &[r#"{"a": 4}"#, "{\"a\": \u{664}\u{664}"]);
        check(r"^\p{Greek}+\{{$", &["αβ{{"], &["ab{{"]);
        check(r"^[^[\]]+[]&&~\w]$", &["x]", "x~", "xa", "x&"], &["[]", "xé"]);
        check(r"^[[:alpha:]\D]$", &["a", "-"], &["1"]);
        check(r"^[\w-.]+[\d.-]$", &["a-b.c-", "a1"], &["a b1"]);
        check(r"^\Qa.b[\E\b", &["a.b[c"], &["axb[c"]);
        check(r"\S\s\W\x{e9}", &["a\t-é"], &["a-\té"]);
        assert!(compile("(").is_err() && compile("[").is_err() && compile("a\\").is_err());
        assert!(compile(&"a".repeat(20_000)).is_err());
        assert!(compile("(a{1000}){1000}").is_err());
    }
}
