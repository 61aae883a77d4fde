//! `logs:` of `taffrail.yml`: how long which log lines are kept.

use model::RetentionRule;
use serde::Deserialize;

use super::{DAY_MS, Mistakes, RawRetentionRule};
use crate::yaml::ConfigError;

/// `logs:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLogs {
    /// How long log lines are kept, if not as long as everything: `7d`.
    pub retention: Option<String>,
    /// Streams that are kept longer or shorter: a list of selectors with their retention; the first that matches a stream
    /// counts. At most 8.
    pub retention_rules: Option<Vec<RawRetentionRule>>,
}

/// What happens to log lines.
#[derive(Debug, Clone)]
pub struct Logs {
    /// How long lines are kept.
    pub retention_ms: i64,
    /// Retentions of their own for some streams, and their selectors as written.
    pub retention_rules: Vec<(String, RetentionRule)>,
}

/// `retention_ms` is that of everything.
pub(super) fn check(
    raw: RawLogs,
    retention_ms: i64,
    mistakes: &Mistakes<'_>,
) -> Result<Logs, ConfigError> {
    let retention_ms = match raw.retention {
        Some(text) => mistakes.duration("logs.retention", &text, 60_000, 100 * 365 * DAY_MS)?,
        None => retention_ms,
    };
    let rules = raw.retention_rules.unwrap_or_default();
    if rules.len() > logdb::RULES_MAX {
        let message =
            format!("logs.retention_rules: {} rules; at most {}", rules.len(), logdb::RULES_MAX);
        return Err(mistakes.error("logs.retention_rules", message));
    }
    let mut retention_rules = Vec::new();
    for (index, rule) in rules.into_iter().enumerate() {
        let key = format!("logs.retention_rules.{index}.selector");
        let matchers = query::logql::parse_selector(&rule.selector).map_err(|e| {
            let message = format!("logs.retention_rules: {:?}: {}", rule.selector, e.message());
            mistakes.error(&key, message)
        })?;
        let key = format!("logs.retention_rules.{index}.keep");
        let retention_ms = mistakes.duration(&key, &rule.keep, 60_000, 100 * 365 * DAY_MS)?;
        retention_rules.push((rule.selector, RetentionRule { matchers, retention_ms }));
    }
    Ok(Logs { retention_ms, retention_rules })
}
