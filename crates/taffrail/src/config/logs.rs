//! `logs:` of `taffrail.yml`: how long which log lines are kept, and which secrets are taken out of them,
//! and which metrics are made of them.

use ingest::pipeline::{Declared, MetricKind, Metrics};
use ingest::redact::{Kind, Pattern};
use model::{Matcher, RetentionRule};
use query::logql::LineMetric;
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
    /// Secrets that are replaced before lines are stored.
    pub redaction: Option<RawRedaction>,
    /// Metrics made of lines as they arrive.
    pub metrics: Option<Vec<RawMetric>>,
}

/// An entry of `logs.metrics`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMetric {
    /// Name of the metric.
    pub name: String,
    /// Which lines, a LogQL log query: `{job="nginx"} | logfmt | status >= 500`.
    pub query: String,
    /// What is added up: a label, or `duration(label)`, `bytes(label)`. Default: 1 for each line.
    pub value: Option<String>,
    /// Labels of the metric. Default: none.
    pub by: Option<Vec<String>>,
    /// Upper bounds of a histogram of the value; without them it is a counter.
    pub buckets: Option<Vec<f64>>,
    /// Help text.
    pub help: Option<String>,
}

/// `logs.redaction:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRedaction {
    /// Whether secrets are replaced. Default: true.
    pub enabled: Option<bool>,
    /// What is replaced: `password`, `authorization`, `url`, `private_key`, `jwt`, `token`, `card`. Default: all.
    pub kinds: Option<Vec<String>>,
    /// Selectors of streams that stay as they are.
    pub except: Option<Vec<String>>,
    /// Further patterns. At most 32.
    pub patterns: Option<Vec<RawPattern>>,
}

/// An entry of `logs.redaction.patterns`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPattern {
    /// What stands in place of a match: `[redacted:name]`.
    pub name: String,
    /// What is replaced: the first group of a regular expression, or all of its match.
    pub regex: String,
}

/// What happens to log lines.
#[derive(Debug, Clone)]
pub struct Logs {
    /// How long lines are kept.
    pub retention_ms: i64,
    /// Retentions of their own for some streams, and their selectors as written.
    pub retention_rules: Vec<(String, RetentionRule)>,
    /// Secrets to take out, unless that is off.
    pub redaction: Option<Redaction>,
    /// Metrics to make of lines.
    pub metrics: Vec<LogMetric>,
}

/// A metric made of lines.
#[derive(Debug, Clone)]
pub struct LogMetric {
    /// What it is.
    pub metric: Declared,
    /// What a line adds to it.
    pub rule: LineMetric,
}

/// Secrets to take out of lines.
#[derive(Debug, Clone)]
pub struct Redaction {
    /// Known ones.
    pub kinds: Vec<Kind>,
    /// Those of one's own.
    pub patterns: Vec<Pattern>,
    /// Streams that stay as they are: those that any of these selects.
    pub except: Vec<Vec<Matcher>>,
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
    let redaction = redaction(raw.redaction.unwrap_or_default(), mistakes)?;
    let metrics = metrics(raw.metrics.unwrap_or_default(), mistakes)?;
    Ok(Logs { retention_ms, retention_rules, redaction, metrics })
}

fn metrics(raw: Vec<RawMetric>, mistakes: &Mistakes<'_>) -> Result<Vec<LogMetric>, ConfigError> {
    // Only to see that names and kinds agree.
    let declared = Metrics::default();
    let mut metrics = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let error = |key: &str, message: &str| {
            let place = format!("logs.metrics.{index}.{key}");
            mistakes.error(&place, format!("logs.metrics: {:?}: {message}", raw.name))
        };
        if raw.buckets.is_some() && raw.value.is_none() {
            return Err(error("buckets", "buckets need a value"));
        }
        let kind = if raw.buckets.is_some() { MetricKind::Histogram } else { MetricKind::Counter };
        let metric = Declared {
            name: raw.name.clone(),
            kind,
            help: raw.help.clone().unwrap_or_else(|| format!("From logs: {}", raw.query)),
            buckets: raw.buckets.clone().unwrap_or_default(),
        };
        declared.declare(&metric).map_err(|e| error("name", e.message()))?;
        // The query by itself first: its mistakes are then not blamed on the value.
        let parse = |value: Option<&str>| {
            LineMetric::parse(&raw.query, value, raw.by.clone().unwrap_or_default())
        };
        parse(None).map_err(|e| error("query", e.message()))?;
        let rule = parse(raw.value.as_deref()).map_err(|e| error("value", e.message()))?;
        metrics.push(LogMetric { metric, rule });
    }
    Ok(metrics)
}

/// Patterns of one's own: each is tried on every line.
const PATTERNS_MAX: usize = 32;

fn redaction(raw: RawRedaction, mistakes: &Mistakes<'_>) -> Result<Option<Redaction>, ConfigError> {
    let kinds = match raw.kinds {
        None => Kind::ALL.to_vec(),
        Some(names) => {
            let kind = |(index, name): (usize, String)| {
                Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
                    let all = Kind::ALL.map(Kind::name).join(", ");
                    let message =
                        format!("logs.redaction.kinds: unknown kind {name:?}; it is one of {all}");
                    mistakes.error(&format!("logs.redaction.kinds.{index}"), message)
                })
            };
            names.into_iter().enumerate().map(kind).collect::<Result<_, _>>()?
        }
    };
    let except = raw.except.unwrap_or_default().into_iter().enumerate();
    let except = except
        .map(|(index, selector)| {
            query::logql::parse_selector(&selector).map_err(|e| {
                let message = format!("logs.redaction.except: {selector:?}: {}", e.message());
                mistakes.error(&format!("logs.redaction.except.{index}"), message)
            })
        })
        .collect::<Result<_, _>>()?;
    let raw_patterns = raw.patterns.unwrap_or_default();
    if raw_patterns.len() > PATTERNS_MAX {
        let message = format!(
            "logs.redaction.patterns: {} patterns; at most {PATTERNS_MAX}",
            raw_patterns.len()
        );
        return Err(mistakes.error("logs.redaction.patterns", message));
    }
    let mut patterns = Vec::new();
    for (index, pattern) in raw_patterns.into_iter().enumerate() {
        let error = |message: String| {
            let key = format!("logs.redaction.patterns.{index}.regex");
            mistakes.error(&key, format!("logs.redaction.patterns: {:?}: {message}", pattern.regex))
        };
        let regex = model::line_regex(&pattern.regex).map_err(|e| error(e.message().to_owned()))?;
        if regex.is_match("") {
            return Err(error("it matches the empty text, which is everywhere".to_owned()));
        }
        patterns.push(Pattern { name: pattern.name, regex });
    }
    let is_on = raw.enabled.unwrap_or(true) && !(kinds.is_empty() && patterns.is_empty());
    Ok(is_on.then_some(Redaction { kinds, patterns, except }))
}
