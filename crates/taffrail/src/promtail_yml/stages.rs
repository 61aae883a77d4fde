//! `pipeline_stages`: from the file to [`StageConfig`]s, each of which can be compiled; their LogQL is compiled here.

use std::sync::Arc;

use ingest::pipeline::{
    CriConfig, DropConfig, EventLogConfig, JsonConfig, LimitConfig, LogfmtConfig, MatchConfig,
    MetricConfig, MetricKind, Metrics, MultilineConfig, OnFailure, PackConfig, Pipeline,
    RegexConfig, ReplaceConfig, SamplingConfig, SelectedAction, Selector, StageConfig, StaticLabel,
    Template, TemplateConfig, TemplateValues, TenantConfig, TimestampConfig, Verbatim,
};
use model::{Labels, LogRow};
use query::logql;

use super::{bytes, duration_ns, jobs};
use crate::prometheus_yml::node::{Node, Placed, Value};

/// The stages of a list.
pub(super) fn stages(list: &Node) -> Result<Vec<StageConfig>, Placed> {
    let mut found = Vec::new();
    for item in list.items() {
        let Some((key, node)) = item.entries().first() else { continue };
        let config = stage(&key.name, node)?;
        // Compiled again with its neighbours when it is needed; here for the place of a mistake.
        if let Err(e) = Pipeline::new(std::slice::from_ref(&config), &Metrics::default()) {
            return Err((key.line, e.message().to_owned()));
        }
        found.push(config);
    }
    Ok(found)
}

fn stage(name: &str, node: &Node) -> Result<StageConfig, Placed> {
    let text = |key: &str| node.text_of(key).unwrap_or("").to_owned();
    let given = |key: &str| node.text_of(key).map(str::to_owned);
    let flag = |key: &str| node.bool_of(key).unwrap_or(false);
    let count = |key: &str| node.number_of(key).unwrap_or(0);
    Ok(match name {
        "docker" => StageConfig::Docker,
        "cri" => StageConfig::Cri(CriConfig {
            max_partial_lines: node.number_of("max_partial_lines").unwrap_or(100),
            max_partial_line_size: bytes(node, "max_partial_line_size")?.unwrap_or(0),
            max_partial_line_size_truncate: flag("max_partial_line_size_truncate"),
        }),
        "json" => StageConfig::Json(JsonConfig {
            expressions: pairs(node.get("expressions")),
            source: given("source"),
            drop_malformed: flag("drop_malformed"),
        }),
        "logfmt" => StageConfig::Logfmt(LogfmtConfig {
            mapping: pairs(node.get("mapping")),
            source: given("source"),
        }),
        "regex" => StageConfig::Regex(RegexConfig {
            expression: text("expression"),
            source: given("source"),
        }),
        "replace" => StageConfig::Replace(ReplaceConfig {
            expression: text("expression"),
            source: given("source"),
            replace: template(node, "replace")?,
        }),
        "template" => StageConfig::Template(TemplateConfig {
            source: text("source"),
            template: template(node, "template")?,
        }),
        "timestamp" => StageConfig::Timestamp(TimestampConfig {
            fallback_formats: owned(node.texts_of("fallback_formats")),
            location: given("location"),
            action_on_failure: match node.text_of("action_on_failure") {
                None | Some("fudge") => OnFailure::Fudge,
                Some("skip") => OnFailure::Skip,
                Some(other) => {
                    let line = jobs::line_of(node, "action_on_failure");
                    let wrong = format!("action_on_failure must be fudge or skip, not {other:?}");
                    return Err((line, wrong));
                }
            },
            ..TimestampConfig::new(&text("source"), &text("format"))
        }),
        "output" => StageConfig::Output(text("source")),
        "labels" => StageConfig::Labels(pairs(Some(node))),
        "labeldrop" => StageConfig::LabelDrop(items(node)),
        "labelallow" => StageConfig::LabelAllow(items(node)),
        "static_labels" => {
            let labels = pairs(Some(node)).into_iter();
            StageConfig::StaticLabels(
                labels.map(|(name, value)| StaticLabel { name, value }).collect(),
            )
        }
        // The second is the name it had before.
        "structured_metadata" | "non_indexed_labels" => {
            StageConfig::StructuredMetadata(pairs(Some(node)))
        }
        "metrics" => {
            let metrics = node.entries().iter().map(|(key, node)| metric(&key.name, node));
            StageConfig::Metrics(metrics.collect::<Result<_, _>>()?)
        }
        "match" => matching(node)?,
        "drop" => StageConfig::Drop(DropConfig {
            source: node.get("source").map(items).unwrap_or_default(),
            separator: given("separator"),
            value: given("value"),
            expression: given("expression"),
            older_than_ns: duration_ns(node, "older_than")?,
            longer_than_bytes: bytes(node, "longer_than")?,
            drop_counter_reason: given("drop_counter_reason"),
        }),
        "limit" => StageConfig::Limit(LimitConfig {
            rate: node.number_of("rate").unwrap_or(0.0),
            burst: count("burst"),
            drop: flag("drop"),
            by_label_name: given("by_label_name"),
            max_distinct_labels: count("max_distinct_labels"),
        }),
        "multiline" => StageConfig::Multiline(MultilineConfig {
            firstline: text("firstline"),
            max_wait_ns: duration_ns(node, "max_wait_time")?.unwrap_or(3_000_000_000),
            max_lines: node.number_of("max_lines").unwrap_or(128),
        }),
        "pack" => StageConfig::Pack(PackConfig {
            labels: owned(node.texts_of("labels")),
            ingest_timestamp: node.bool_of("ingest_timestamp").unwrap_or(true),
        }),
        "sampling" => StageConfig::Sampling(SamplingConfig {
            rate: node.number_of("rate").unwrap_or(0.0),
            drop_counter_reason: given("drop_counter_reason"),
        }),
        "tenant" => StageConfig::Tenant(TenantConfig {
            label: given("label"),
            source: given("source"),
            value: given("value"),
        }),
        "decolorize" => StageConfig::Decolorize,
        "eventlogmessage" => StageConfig::EventLogMessage(EventLogConfig {
            source: given("source"),
            drop_invalid_labels: flag("drop_invalid_labels"),
            overwrite_existing: flag("overwrite_existing"),
        }),
        // The table of keys knows no other.
        _ => return Err((node.line, format!("unknown stage {name:?}"))),
    })
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

/// Texts of a list, or the one text that stands there.
fn items(node: &Node) -> Vec<String> {
    match &node.value {
        Value::List(items) => items.iter().filter_map(Node::text).map(str::to_owned).collect(),
        _ => node.text().map(str::to_owned).into_iter().collect(),
    }
}

/// Names and texts of a mapping; without a text it is empty.
fn pairs(node: Option<&Node>) -> Vec<(String, String)> {
    let entries = node.map(Node::entries).unwrap_or_default().iter();
    entries.map(|(key, value)| (key.name.clone(), value.text().unwrap_or("").to_owned())).collect()
}

fn metric(name: &str, node: &Node) -> Result<MetricConfig, Placed> {
    let kind = node.text_of("type").unwrap_or("");
    let kind = match kind.to_ascii_lowercase().as_str() {
        "counter" => MetricKind::Counter,
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        _ => {
            let wrong = format!("type must be counter, gauge or histogram, not {kind:?}");
            return Err((jobs::line_of(node, "type"), wrong));
        }
    };
    let config = node.get("config");
    let flag = |key: &str| config.and_then(|c| c.bool_of(key)).unwrap_or(false);
    let text = |key: &str| config.and_then(|c| c.text_of(key)).map(str::to_owned);
    let buckets = config.map(|c| c.texts_of("buckets")).unwrap_or_default();
    Ok(MetricConfig {
        name: name.to_owned(),
        kind,
        description: node.text_of("description").unwrap_or("").to_owned(),
        source: node.text_of("source").map(str::to_owned),
        prefix: node.text_of("prefix").map(str::to_owned),
        max_idle_ns: duration_ns(node, "max_idle_duration")?,
        value: text("value"),
        match_all: flag("match_all"),
        count_entry_bytes: flag("count_entry_bytes"),
        action: text("action").unwrap_or_default(),
        buckets: buckets.into_iter().filter_map(|bound| bound.parse().ok()).collect(),
    })
}

fn matching(node: &Node) -> Result<StageConfig, Placed> {
    let text = node.text_of("selector").unwrap_or("");
    if node.get_or_null("pipeline_name").is_some_and(|name| name.text() == Some("")) {
        let line = jobs::line_of(node, "pipeline_name");
        return Err((line, "pipeline_name can be left out, but not be empty".to_owned()));
    }
    let selector = logql::Pipeline::parse(text).map_err(|e| {
        (jobs::line_of(node, "selector"), format!("selector {text:?}: {}", e.message()))
    })?;
    let stages = node.get("stages").map_or(Ok(Vec::new()), stages)?;
    let action = match node.text_of("action") {
        None | Some("" | "keep") => SelectedAction::Keep(stages),
        Some("drop") if !stages.is_empty() => {
            return Err((node.line, "match with action: drop takes no stages".to_owned()));
        }
        Some("drop") => {
            SelectedAction::Drop(node.text_of("drop_counter_reason").map(str::to_owned))
        }
        Some(other) => {
            let line = jobs::line_of(node, "action");
            return Err((line, format!("action must be keep or drop, not {other:?}")));
        }
    };
    Ok(StageConfig::Match(MatchConfig { selector: Arc::new(LogqlSelector(selector)), action }))
}

/// The template at `key`.
fn template(node: &Node, key: &str) -> Result<Arc<dyn Template>, Placed> {
    let text = node.text_of(key).unwrap_or("");
    if !text.contains("{{") {
        return Ok(Arc::new(Verbatim(text.to_owned())));
    }
    let parsed = logql::Template::parse("pipeline_template", text)
        .map_err(|e| (jobs::line_of(node, key), format!("{key}: {}", e.message())))?;
    Ok(Arc::new(GoTemplate(parsed)))
}

#[derive(Debug)]
struct LogqlSelector(logql::Pipeline);

impl Selector for LogqlSelector {
    fn selects(&self, labels: &Labels, fields: &Labels, t_ns: i64, line: &str) -> bool {
        let row = LogRow { stream: labels, t_ns, line, fields };
        self.0.matchers().iter().all(|m| m.matches_labels(labels)) && self.0.process(&row).is_some()
    }
}

#[derive(Debug)]
struct GoTemplate(logql::Template);

impl Template for GoTemplate {
    fn render(&self, t_ns: i64, line: &str, values: &dyn TemplateValues) -> Result<String, String> {
        self.0.render(&logql::Context { t_ns, line, labels: &Named(values) })
    }
}

/// The values of a pipeline as a template's names.
struct Named<'a>(&'a dyn TemplateValues);

impl logql::Names for Named<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&str, &str)) {
        self.0.for_each(visit);
    }

    fn missing_is_empty(&self) -> bool {
        false
    }
}
