//! `files:` of `taffrail.yml`: which log files are read, and how.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use collect::file::{Encoding, Pattern, Target};
use collect::lines::Treatment;
use model::Labels;
use serde::Deserialize;

use super::Mistakes;
use crate::yaml::ConfigError;

/// Part of the cursors' keys.
const NAME: &str = "files";

/// An entry of `files:`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFiles {
    /// Which files: paths with `*`, `**`, `?`, `[a-z]` and `{a,b}`. Relative to this file.
    pub paths: Vec<String>,
    /// Which of them not.
    pub exclude: Option<Vec<String>>,
    /// Labels of all lines; `filename` is added.
    pub labels: Option<BTreeMap<String, String>>,
    /// How the text is written: `utf-16`, `latin1`, `shift_jis`, … Default: utf-8; bytes that are none are kept.
    pub encoding: Option<String>,
    /// Where files that are there at the very first start are begun: `beginning` or `end`. Default: beginning.
    pub start: Option<String>,
    /// Whether files that end in `.gz` or `.zst` are unpacked and read. Default: false.
    pub decompress: Option<bool>,
    /// Whether stack traces become one record. Default: true.
    pub multiline: Option<bool>,
    /// Directories, beside those of the patterns, into which symbolic links may lead. Default: none.
    pub follow: Option<Vec<PathBuf>>,
    /// A positions file of Promtail: files that were never read here are begun where it stopped. Default: none.
    pub positions: Option<PathBuf>,
}

/// Log files that are read.
#[derive(Debug, Clone)]
pub struct Files {
    /// Which, and how; without positions.
    pub target: Target,
    /// Where Promtail noted how far it had read.
    pub positions: Option<PathBuf>,
}

pub(super) fn check(
    raw: Vec<RawFiles>,
    base: &Path,
    mistakes: &Mistakes<'_>,
) -> Result<Vec<Files>, ConfigError> {
    raw.into_iter().enumerate().map(|(index, raw)| entry(index, raw, base, mistakes)).collect()
}

fn entry(
    index: usize,
    raw: RawFiles,
    base: &Path,
    mistakes: &Mistakes<'_>,
) -> Result<Files, ConfigError> {
    let key = |name: &str| format!("files.{index}.{name}");
    let wrong = |name: &str, what: String| mistakes.error(&key(name), format!("files: {what}"));
    let base = std::path::absolute(base.join("x"))
        .map_err(|error| wrong("paths", format!("cannot tell the directory: {error}")))?;
    let patterns = |name: &str, texts: Vec<String>| -> Result<Vec<Pattern>, ConfigError> {
        let one = |(at, text): (usize, String)| {
            let path = base.with_file_name("").join(&text);
            Pattern::parse(&path.to_string_lossy())
                .map_err(|error| wrong(&format!("{name}.{at}"), error.message().to_owned()))
        };
        texts.into_iter().enumerate().map(one).collect()
    };
    if raw.paths.is_empty() {
        return Err(wrong("paths", "paths names no file".to_owned()));
    }
    let labels = raw.labels.unwrap_or_default();
    for (name, value) in &labels {
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            let what = format!("{name:?} is no label name; letters, digits and _ are allowed");
            return Err(wrong("labels", what));
        }
        if name == "filename" {
            return Err(wrong(
                "labels",
                "the label filename is that of the file's path".to_owned(),
            ));
        }
        if value.is_empty() {
            return Err(wrong("labels", format!("label {name} has no value")));
        }
    }
    let encoding = match raw.encoding {
        None => Encoding::Utf8,
        Some(name) => Encoding::by_name(&name).ok_or_else(|| {
            let what = format!("unknown encoding {name:?}; known are utf-8, utf-16le, latin1 and the others of the WHATWG's table");
            wrong("encoding", what)
        })?,
    };
    let start_at_end = match raw.start.as_deref() {
        None | Some("beginning") => false,
        Some("end") => true,
        Some(other) => {
            return Err(wrong("start", format!("{other:?} is neither beginning nor end")));
        }
    };
    let target = Target {
        name: NAME.to_owned(),
        paths: patterns("paths", raw.paths)?,
        exclude: patterns("exclude", raw.exclude.unwrap_or_default())?,
        labels: Labels::from_pairs(
            labels.iter().map(|(name, value)| (name.as_str(), value.as_str())),
        ),
        treatment: Arc::new(Treatment::plain(raw.multiline.unwrap_or(true))),
        encoding,
        start_at_end,
        unpacks: raw.decompress.unwrap_or(false),
        follow: raw
            .follow
            .unwrap_or_default()
            .iter()
            .map(|dir| base.with_file_name("").join(dir))
            .collect(),
        positions: Default::default(),
    };
    Ok(Files { target, positions: raw.positions.map(|file| base.with_file_name("").join(file)) })
}
