//! The `json` stage: values by JMESPath.

use std::sync::Arc;

use model::{Error, Result};
use serde_json::Value;

use super::Entry;
use super::jmespath::Expression;

/// Settings of the `json` stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JsonConfig {
    /// Name of a value and the expression that finds it; an empty expression is the name.
    pub expressions: Vec<(String, String)>,
    /// The value to read instead of the line.
    pub source: Option<String>,
    /// Whether lines that are no JSON object are dropped.
    pub drop_malformed: bool,
}

/// Reason for which malformed lines are dropped.
const MALFORMED: &str = "malformed_json";

#[derive(Debug, Clone)]
pub(super) struct Json {
    expressions: Arc<[(Arc<str>, Expression)]>,
    source: Option<String>,
    drop_malformed: Option<Arc<str>>,
}

impl Json {
    pub(super) fn new(config: &JsonConfig) -> Result<Self> {
        if config.expressions.is_empty() {
            return Err(Error::invalid("needs expressions"));
        }
        check_source(config.source.as_deref())?;
        let mut expressions = Vec::with_capacity(config.expressions.len());
        for (name, text) in &config.expressions {
            let text = if text.is_empty() { name } else { text };
            let compiled = Expression::compile(text)
                .map_err(|e| e.context(format!("JMESPath expression {text:?}")))?;
            expressions.push((Arc::from(name.as_str()), compiled));
        }
        Ok(Self {
            expressions: expressions.into(),
            source: config.source.clone(),
            drop_malformed: config.drop_malformed.then(|| Arc::from(MALFORMED)),
        })
    }

    /// Takes the values out; the reason when the line is to be dropped.
    pub(super) fn process(&self, entry: &mut Entry) -> std::result::Result<(), Arc<str>> {
        let text = match &self.source {
            None => entry.line.as_str(),
            Some(source) => match entry.values.get(source) {
                Some(text) => text,
                None => return Ok(()),
            },
        };
        let Ok(document @ Value::Object(_)) = serde_json::from_str::<Value>(text) else {
            return self.drop_malformed.clone().map_or(Ok(()), Err);
        };
        for (name, expression) in self.expressions.iter() {
            // A function that cannot take what it got finds nothing.
            let Ok(found) = expression.search(&document) else { continue };
            match &*found {
                Value::Null => entry.values.set_null(name),
                Value::String(text) => entry.values.set(name, text.clone()),
                Value::Number(number) => {
                    // Never with an exponent.
                    let text = match number.as_f64().filter(|_| number.is_f64()) {
                        Some(x) => x.to_string(),
                        None => number.to_string(),
                    };
                    entry.values.set(name, text);
                }
                other => entry.values.set(name, other.to_string()),
            }
        }
        Ok(())
    }
}

/// A `source` is not empty.
pub(super) fn check_source(source: Option<&str>) -> Result<()> {
    if source == Some("") {
        return Err(Error::invalid("source must not be empty"));
    }
    Ok(())
}
