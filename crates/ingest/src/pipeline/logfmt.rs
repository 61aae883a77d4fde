//! The `logfmt` stage: values of `key=value key="quoted value"`.

use std::borrow::Cow;
use std::sync::Arc;

use model::{Error, Result};

use super::Entry;
use super::json::check_source;

/// Settings of the `logfmt` stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogfmtConfig {
    /// Name of a value and the key it has in the line; an empty key is the name.
    pub mapping: Vec<(String, String)>,
    /// The value to read instead of the line.
    pub source: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Logfmt {
    /// Key and name of the value.
    wanted: Arc<[(String, Arc<str>)]>,
    source: Option<String>,
}

impl Logfmt {
    pub(super) fn new(config: &LogfmtConfig) -> Result<Self> {
        if config.mapping.is_empty() {
            return Err(Error::invalid("needs a mapping"));
        }
        check_source(config.source.as_deref())?;
        let wanted = config.mapping.iter().map(|(name, key)| {
            let key = if key.is_empty() { name } else { key };
            (key.clone(), Arc::from(name.as_str()))
        });
        Ok(Self { wanted: wanted.collect(), source: config.source.clone() })
    }

    pub(super) fn process(&self, entry: &mut Entry) {
        let Entry { line, values, .. } = entry;
        let text = match &self.source {
            None => Cow::Borrowed(line.as_str()),
            Some(source) => match values.get(source) {
                Some(text) => Cow::Owned(text.to_owned()),
                None => return,
            },
        };
        let mut rest = text.as_ref();
        // Behind a mistake nothing is read.
        while let Some((key, value, behind)) = pair(rest) {
            for (_, name) in self.wanted.iter().filter(|(wanted, _)| wanted == key) {
                values.set(name, value.clone().into_owned());
            }
            rest = behind;
        }
    }
}

/// The first pair of `text` and what stands behind it; `None` at the end and before a mistake.
fn pair(text: &str) -> Option<(&str, Cow<'_, str>, &str)> {
    let is_blank = |c: char| c <= ' ';
    let text = text.trim_start_matches(is_blank);
    let key_len = text.find(|c: char| is_blank(c) || c == '=' || c == '"').unwrap_or(text.len());
    let (key, rest) = text.split_at(key_len);
    if key.is_empty() || rest.starts_with('"') {
        return None;
    }
    let Some(rest) = rest.strip_prefix('=') else { return Some((key, Cow::Borrowed(""), rest)) };
    if rest.starts_with('"') {
        let len = quoted_len(rest)?;
        let (quoted, behind) = rest.split_at(len);
        let inside = quoted.get(1..len - 1)?;
        if !inside.contains(|c: char| c == '\\' || c < ' ') {
            return Some((key, Cow::Borrowed(inside), behind));
        }
        // Escapes are those of JSON.
        let value: String = serde_json::from_str(quoted).ok()?;
        return Some((key, Cow::Owned(value), behind));
    }
    let len = rest.find(|c: char| is_blank(c) || c == '=' || c == '"').unwrap_or(rest.len());
    let (value, behind) = rest.split_at(len);
    let is_whole = behind.is_empty() || behind.starts_with(is_blank);
    is_whole.then_some((key, Cow::Borrowed(value), behind))
}

/// Bytes of the quoted text at the start, both quotes included.
fn quoted_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}
