//! Reads rule files of Prometheus as they are, and PrometheusRule objects, into groups of rules.
//!
//! Owns: keys, their types, and what Prometheus demands of names and labels. Does not own: evaluation (`alert`). Unlike
//! in other files environment variables are not expanded: `$labels` is a template's. Source: Prometheus documentation,
//! "Recording rules"; what it refuses, `promtool check rules` refuses.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use alert::evaluate::template_name;
use alert::expand::prometheus::check_alert;
use alert::rule::{Alerting, Expression, Group, Kind, Rule};
use collect::scrape::parse_duration;
use model::{Error, METRIC_NAME};
use query::{logql, promql, traceql};

use crate::prometheus_yml::mistake;
use crate::prometheus_yml::node::{Node, Placed, Value};
use crate::prometheus_yml::schema::{Table, Walk};
use crate::yaml::ConfigError;

pub(crate) const OBJECTS: Table = &[
    ("rule_file", "groups:[{group}]"),
    (
        "group",
        "name:str interval:dur query_offset:dur limit:str labels:<str> rules:[{rule}] type:str \
        -concurrency:int",
    ),
    (
        "rule",
        "record:str alert:str expr:str for:dur keep_firing_for:dur labels:<str> annotations:<str>",
    ),
    ("prometheus_rule", "apiVersion:str kind:str metadata:any spec:{rule_file} status:any"),
];

/// Reads the rule file `text` that lies at `path`. With `ignore_unknown`, keys that rules do not have mean nothing.
///
/// # Errors
/// What is wrong in it, each with its place: one mistake of form, or all mistakes in rules.
pub fn load(path: &Path, text: &str, ignore_unknown: bool) -> Result<Vec<Group>, Vec<ConfigError>> {
    let place = |placed| mistake(path, text, placed);
    let root = read(path, text, ignore_unknown).map_err(|e| vec![place(e)])?;
    let file = path.display().to_string();
    let mut mistakes = Vec::new();
    let mut names = BTreeSet::new();
    let mut groups = Vec::new();
    for node in root.get("groups").map(Node::items).unwrap_or_default() {
        let name = node.text_of("name").unwrap_or("");
        if name.is_empty() {
            mistakes.push((node.line, "a group needs a name".to_owned()));
        }
        if !names.insert(name.to_owned()) {
            mistakes.push((node.line, format!("group name {name:?} is repeated in this file")));
        }
        match group(node, name, &file) {
            Ok(group) => groups.push(group),
            Err(more) => mistakes.extend(more),
        }
    }
    if mistakes.is_empty() { Ok(groups) } else { Err(mistakes.into_iter().map(place).collect()) }
}

fn read(path: &Path, text: &str, ignore_unknown: bool) -> Result<Node, Placed> {
    let says_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(says_nothing) {
        return Ok(Node { line: 1, value: Value::Null });
    }
    let mut root = Node::parse(text)?;
    let is_object = root.text_of("kind") == Some("PrometheusRule");
    if ignore_unknown {
        prune(if is_object { "prometheus_rule" } else { "rule_file" }, &mut root);
    }
    let (file, mut notes) = (path.display().to_string(), Vec::new());
    let mut walk =
        Walk { tables: &[OBJECTS], file: &file, notes: &mut notes, check: &|_, _| Ok(()) };
    if !is_object {
        walk.object("rule_file", &root, false)?;
        return Ok(root);
    }
    walk.object("prometheus_rule", &root, false)?;
    Ok(root.get("spec").cloned().unwrap_or(Node { line: root.line, value: Value::Null }))
}

/// Takes out the keys that `object` does not have.
fn prune(object: &str, node: &mut Node) {
    let spec = OBJECTS.iter().find(|(name, _)| *name == object).map_or("", |(_, spec)| *spec);
    let Value::Map(entries) = &mut node.value else { return };
    let shape_of = |key: &str| {
        spec.split_whitespace().filter_map(|w| w.split_once(':')).find(|(name, _)| *name == key)
    };
    entries.retain(|(key, _)| shape_of(&key.name).is_some());
    for (key, value) in entries {
        let shape = shape_of(&key.name).map_or("", |(_, shape)| shape);
        let inner = shape.trim_matches(['[', ']', '{', '}']);
        match &mut value.value {
            Value::List(items) => items.iter_mut().for_each(|item| prune(inner, item)),
            Value::Map(_) if shape.starts_with('{') => prune(inner, value),
            _ => {}
        }
    }
}

fn group(node: &Node, name: &str, file: &str) -> Result<Group, Vec<Placed>> {
    let mut mistakes = Vec::new();
    let language = match node.text_of("type").unwrap_or("promql") {
        "" | "promql" | "prometheus" => Language::Promql,
        "logql" | "loki" => Language::Logql,
        "traceql" | "tempo" => Language::Traceql,
        other => {
            let line = node.get("type").map_or(node.line, |value| value.line);
            let why = format!("type must be one of promql, logql, traceql; not {other:?}");
            return Err(vec![(line, why)]);
        }
    };
    let limit = node.text_of("limit").filter(|text| !text.is_empty()).map(str::parse::<i64>);
    if let Some(Err(_)) = limit {
        mistakes.push((node.line, format!("limit must be a whole number, in group {name:?}")));
    }
    let labels = texts(node.get("labels"));
    label_names(&labels, node, &mut mistakes);
    let mut rules = Vec::new();
    for node in node.get("rules").map(Node::items).unwrap_or_default() {
        rules.extend(rule(node, language, &labels, &mut mistakes));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let duration = |key: &str| node.text_of(key).and_then(parse_duration);
    Ok(Group {
        name: name.to_owned(),
        file: file.to_owned(),
        interval_ms: duration("interval").filter(|ms| *ms > 0),
        query_offset_ms: duration("query_offset"),
        // As in Prometheus, what is below 0 is no limit.
        limit: limit.and_then(Result::ok).and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
        rules,
    })
}

/// What expressions of a group are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Promql,
    Logql,
    Traceql,
}

impl Language {
    fn as_str(self) -> &'static str {
        match self {
            Self::Promql => "promql",
            Self::Logql => "logql",
            Self::Traceql => "traceql",
        }
    }

    /// Reads an expression of a rule.
    ///
    /// # Errors
    /// What its grammar refuses, and queries that give no numbers.
    fn parse(self, text: &str) -> Result<Expression, Error> {
        match self {
            Self::Promql => promql::parse(text).map(Expression::Promql),
            Self::Logql => match logql::parse(text)? {
                expr if expr.is_log_query() => Err(Error::invalid(
                    "it gives lines; a rule needs numbers, as in count_over_time(… [5m])",
                )),
                expr => Ok(Expression::Logql(Box::new(expr))),
            },
            Self::Traceql => match traceql::parse(text)? {
                query if query.is_metric() => Ok(Expression::Traceql(Box::new(query))),
                _ => {
                    Err(Error::invalid("it gives traces; a rule needs numbers, as in {…} | rate()"))
                }
            },
        }
    }

    /// Another language in which `text` is an expression of a rule.
    fn instead(self, text: &str) -> Option<Self> {
        let others = [Self::Promql, Self::Logql, Self::Traceql].into_iter();
        others.filter(|other| *other != self).find(|other| other.parse(text).is_ok())
    }
}

fn rule(
    node: &Node,
    language: Language,
    group_labels: &BTreeMap<String, String>,
    mistakes: &mut Vec<Placed>,
) -> Option<Rule> {
    let before = mistakes.len();
    let text_of = |key: &str| node.text_of(key).unwrap_or("");
    let line_of = |key: &str| node.get(key).map_or(node.line, |value| value.line);
    let (record, alert, expr) = (text_of("record"), text_of("alert"), text_of("expr"));
    let name = if record.is_empty() { alert } else { record };
    let mut wrong = |key: &str, why: String| mistakes.push((line_of(key), why));
    match (record.is_empty(), alert.is_empty()) {
        (false, false) => wrong("alert", "only one of record and alert may be set".to_owned()),
        (true, true) => wrong("", "a rule needs record or alert".to_owned()),
        _ => {}
    }
    let parsed = if expr.is_empty() {
        wrong("", format!("rule {name:?} needs expr"));
        None
    } else {
        let parsed = language.parse(expr);
        if let Err(e) = &parsed {
            let (line, column) = promql::position(expr, e.span().map_or(0, |(start, _)| start));
            let mut why =
                format!("cannot parse expr of {name:?}: {line}:{column}: {}", e.message());
            if let Some(other) = language.instead(expr) {
                let (written, other) = (language.as_str(), other.as_str());
                why.push_str(&format!("; the group is of type {written}, and this is {other}"));
            }
            wrong("expr", why);
        }
        parsed.ok()
    };
    let annotations = texts(node.get("annotations"));
    let duration = |key: &str| node.text_of(key).and_then(parse_duration).unwrap_or(0);
    let (for_ms, keep_firing_for_ms) = (duration("for"), duration("keep_firing_for"));
    if !record.is_empty() {
        for (key, is_set) in [
            ("annotations", !annotations.is_empty()),
            ("for", for_ms > 0),
            ("keep_firing_for", keep_firing_for_ms > 0),
        ] {
            if is_set {
                wrong(key, format!("{key} means nothing in recording rule {name:?}"));
            }
        }
        if record.contains(['{', '}']) {
            let why = format!("braces in recording rule name {record:?}; do they belong in expr?");
            wrong("record", why);
        }
    }
    if annotations.contains_key("") {
        wrong("annotations", "an annotation's name must not be empty".to_owned());
    }
    let own = texts(node.get("labels"));
    label_names(&own, node, mistakes);
    if record.is_empty() {
        for (key, texts) in [("labels", &own), ("annotations", &annotations)] {
            let entries = node.get(key).map(Node::entries).unwrap_or_default();
            let line_of = |name: &str| entries.iter().find(|(k, _)| k.name == name);
            for (name, text) in texts {
                if let Err(e) = check_alert(&template_name(alert), text) {
                    let line = line_of(name).map_or(node.line, |(key, _)| key.line);
                    mistakes.push((line, format!("{key}.{name}: {e}")));
                }
            }
        }
    }
    let mut labels = group_labels.clone();
    labels.extend(own);
    let expr = parsed.filter(|_| mistakes.len() == before)?;
    Some(Rule {
        name: name.to_owned(),
        text: text_of("expr").to_owned(),
        expr,
        labels,
        kind: if record.is_empty() {
            Kind::Alerting(Alerting { for_ms, keep_firing_for_ms, annotations })
        } else {
            Kind::Recording
        },
        line: node.line,
    })
}

fn label_names(labels: &BTreeMap<String, String>, node: &Node, mistakes: &mut Vec<Placed>) {
    let line = node.get("labels").map_or(node.line, |labels| labels.line);
    for name in labels.keys().filter(|name| name.is_empty() || *name == METRIC_NAME) {
        mistakes.push((line, format!("{name:?} is not a label name that can be set")));
    }
}

/// A mapping of texts; null is the empty text.
pub(crate) fn texts(node: Option<&Node>) -> BTreeMap<String, String> {
    let entries = node.map(Node::entries).unwrap_or_default();
    let text = |value: &Node| value.text().unwrap_or("").to_owned();
    entries.iter().map(|(key, value)| (key.name.clone(), text(value))).collect()
}
