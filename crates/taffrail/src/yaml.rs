//! Reading YAML so that a mistake is easy to mend: file, line, column, the key, and the nearest key that exists.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A mistake in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// Line number, from 1; 0 when the mistake has no one place.
    pub line: u64,
    /// Column number, from 1.
    pub column: u64,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ConfigError {
    /// A mistake whose message already begins with its place.
    pub fn placed(message: &str) -> Self {
        Self { path: PathBuf::new(), line: 0, column: 0, message: message.to_owned() }
    }

    /// A mistake without one place.
    pub fn whole_file(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, column: 0, message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 if self.path.as_os_str().is_empty() => f.write_str(&self.message),
            0 => write!(f, "{}: {}", self.path.display(), self.message),
            line => write!(f, "{}:{line}:{}: {}", self.path.display(), self.column, self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reads `text`, the content of the file `path`, into `T`.
///
/// # Errors
/// The first mistake, with its place.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    serde_saphyr::from_str(text).map_err(|error| {
        // Keys are looked at while the file is read: what is no YAML further down comes first.
        let error = match serde_saphyr::from_str::<Spanned<Tree>>(text) {
            Err(syntax) => syntax,
            Ok(_) => error,
        };
        let (line, column) =
            error.location().map_or((0, 0), |place| (place.line(), place.column()));
        let message = match error.without_snippet() {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
                unknown_key(field, expected)
            }
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                format!("key {key:?} is given twice")
            }
            serde_saphyr::Error::MultipleDocuments { .. } => {
                "a second document begins here; the file must be one".to_owned()
            }
            other => {
                let message = other.to_string();
                // The place stands in front already.
                let message =
                    message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
                match key_before(text, line, column) {
                    Some(key) => format!("{key}: {}", in_words(message)),
                    None => in_words(message).to_owned(),
                }
            }
        };
        ConfigError { path: path.to_owned(), line, column, message }
    })
}

/// The key whose value begins at a place.
fn key_before(text: &str, line: u64, column: u64) -> Option<&str> {
    let line = text.lines().nth(usize::try_from(line.checked_sub(1)?).ok()?)?;
    let column = usize::try_from(column.checked_sub(1)?).ok()?;
    let end = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let before = line.get(..end)?.trim_end().strip_suffix(':')?;
    before.rsplit([' ', '{', ',', '-']).next().filter(|key| !key.is_empty())
}

/// What the YAML reader expected, in the words of somebody who writes the file.
fn in_words(message: &str) -> &str {
    match message {
        "expected string scalar" => "expected a text",
        "expected mapping start" => "expected keys with values, as in `key: value`",
        "expected sequence start" => "expected a list",
        "invalid u64" | "invalid usize" => "expected a whole number, 0 or more",
        m if m.starts_with("invalid boolean") => "expected true or false",
        other => other,
    }
}

/// Line and column, from 1, of the value of `key` in `text`; `key` is dotted, numbers pick entries of lists.
pub fn place_of(text: &str, key: &str) -> Option<(u64, u64)> {
    let mut at = serde_saphyr::from_str::<Spanned<Tree>>(text).ok()?;
    for name in key.split('.') {
        at = match at.value {
            Tree::Map(entries) => entries.into_iter().find(|(key, _)| key == name)?.1,
            Tree::List(items) => items.into_iter().nth(name.parse().ok()?)?,
            Tree::Scalar => return None,
        };
    }
    Some((at.defined.line(), at.defined.column()))
}

/// The shape of a file, to find places in it.
enum Tree {
    Scalar,
    List(Vec<Spanned<Self>>),
    Map(Vec<(String, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}

/// Words the mistake so that the right key is in it.
pub fn unknown_key(key: &str, known: &[&str]) -> String {
    match nearest(key, known.iter().copied()) {
        Some(name) => format!("unknown key {key:?}; did you mean {name:?}?"),
        None => format!("unknown key {key:?}; known here: {}", known.join(", ")),
    }
}

/// The known name most like `name`, if one is near enough to have been meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its name matters")]
        retention: Option<u32>,
        #[expect(dead_code, reason = "only its name matters")]
        listen: Option<String>,
    }

    #[test]
    fn mistakes_name_file_line_key_and_the_nearest_key() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                parse::<Sample>(Path::new("t.yml"), text).unwrap_err().to_string(),
                expected
            );
        };
        check(
            "listen: x\nretenton: 3\n",
            "t.yml:2:1: unknown key \"retenton\"; did you mean \"retention\"?",
        );
        check("zzz: 3\n", "t.yml:1:1: unknown key \"zzz\"; known here: retention, listen");
        check("retention: abc\n", "t.yml:1:12: retention: invalid u32");
        check("{listen: [x]}\n", "t.yml:1:10: listen: expected a text");
        check("listen: x\nlisten: y\n", "t.yml:2:1: key \"listen\" is given twice");
        check("zzz: [\n", "t.yml:1:6: zzz: unclosed bracket '['");
        check(
            "zzz:\n\tlisten: x\n",
            "t.yml:2:2: tabs disallowed within this context (block indentation)",
        );
    }
}
