//! Reading YAML so that a mistake is easy to mend: file, line, column, the key, and the nearest key that exists.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

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
        let (line, column) =
            error.location().map_or((0, 0), |place| (place.line(), place.column()));
        let message = match error.without_snippet() {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
                unknown_key(field, expected)
            }
            other => {
                let message = other.to_string();
                // The place stands in front already.
                message
                    .rsplit_once(" at line ")
                    .map_or(message.as_str(), |(text, _)| text)
                    .to_owned()
            }
        };
        ConfigError { path: path.to_owned(), line, column, message }
    })
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
        check("retention: abc\n", "t.yml:1:12: invalid u32");
    }
}
