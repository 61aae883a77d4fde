//! Stages that rewrite the line or make texts: `output`, `template`, `pack`, `decolorize`.

use std::sync::Arc;

use model::{Error, Result};
use serde_json::{Map, Value};

use super::stage::Context;
use super::values::Seen;
use super::{Entry, Template, TemplateValues};

/// Settings of the `template` stage.
#[derive(Debug, Clone)]
pub struct TemplateConfig {
    /// The value that is made, and that the template sees as `Value`.
    pub source: String,
    /// What makes it.
    pub template: Arc<dyn Template>,
}

/// Settings of the `pack` stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackConfig {
    /// Labels and values that move into the line.
    pub labels: Vec<String>,
    /// Whether the line gets the time of now.
    pub ingest_timestamp: bool,
}

/// A template without actions: always the same text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verbatim(pub String);

impl Template for Verbatim {
    fn render(
        &self,
        _: i64,
        _: &str,
        _: &dyn TemplateValues,
    ) -> std::result::Result<String, String> {
        Ok(self.0.clone())
    }
}

#[derive(Debug, Clone)]
pub(super) struct Output {
    source: String,
}

impl Output {
    pub(super) fn new(source: &str) -> Result<Self> {
        if source.is_empty() {
            return Err(Error::invalid("needs a source"));
        }
        Ok(Self { source: source.to_owned() })
    }

    pub(super) fn process(&self, entry: &mut Entry) {
        if let Some(text) = entry.values.get(&self.source) {
            text.clone_into(&mut entry.line);
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct TemplateStage {
    source: Arc<str>,
    template: Arc<dyn Template>,
}

impl TemplateStage {
    pub(super) fn new(config: &TemplateConfig) -> Result<Self> {
        if config.source.is_empty() {
            return Err(Error::invalid("needs a source"));
        }
        let source = Arc::from(config.source.as_str());
        Ok(Self { source, template: Arc::clone(&config.template) })
    }

    pub(super) fn process(&self, entry: &mut Entry) {
        let value = entry.values.get(&self.source);
        let seen = Seen { values: &entry.values, line: &entry.line, value };
        match self.template.render(entry.t_ns, &entry.line, &seen) {
            Ok(text) if text.is_empty() => entry.values.remove(&self.source),
            Ok(text) => entry.values.set(&self.source, text),
            // The value stays as it was.
            Err(_) => {}
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Pack {
    config: PackConfig,
}

/// The key of the line inside a packed one; LogQL's `unpack` knows it.
const PACKED_LINE: &str = "_entry";

impl Pack {
    pub(super) fn new(config: &PackConfig) -> Self {
        Self { config: config.clone() }
    }

    pub(super) fn process(&self, entry: &mut Entry, context: &Context<'_>) {
        let mut names: Vec<&String> = self.config.labels.iter().collect();
        names.sort();
        let mut packed = Map::new();
        let mut labels = entry.labels.to_builder();
        for name in names {
            if let Some(text) = entry.values.get(name) {
                packed.insert(name.clone(), Value::from(text));
                labels.remove(name);
            }
        }
        packed.insert(PACKED_LINE.to_owned(), Value::from(std::mem::take(&mut entry.line)));
        entry.line = Value::Object(packed).to_string();
        entry.labels = labels.build();
        if self.config.ingest_timestamp {
            entry.t_ns = context.clock.now_ns();
        }
    }
}

/// Removes the escape sequences with which terminals are told colours and the like.
pub(super) fn decolorize(line: &mut String) {
    if !line.contains(['\u{1b}', '\u{9b}']) {
        return;
    }
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let introducer = match c {
            '\u{9b}' => Some('['),
            '\u{1b}' => chars.next_if(|c| matches!(c, '[' | ']' | '(' | ')' | '#' | '@'..='Z' | '\\' | '^' | '_' | '`'..='~')),
            _ => {
                out.push(c);
                continue;
            }
        };
        match introducer {
            // Parameters and the letter that ends them.
            Some('[') => {
                while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                chars.next_if(|c| matches!(c, '@'..='~'));
            }
            // A text up to a bell, or to an escape and a backslash.
            Some(']') => {
                while let Some(c) = chars.next() {
                    if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            Some('(' | ')' | '#') => {
                chars.next();
            }
            _ => {}
        }
    }
    *line = out;
}
