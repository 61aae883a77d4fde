//! `relabel_config`: from the file to a checked rule.

use ingest::relabel::{Action, Rule, RuleConfig};

use super::node::{Node, Placed};

/// Rules of the list at `key`.
pub(crate) fn rules(node: &Node, key: &str) -> Result<Vec<Rule>, Placed> {
    node.get(key)
        .map(|list| list.items().iter().map(rule).collect())
        .unwrap_or_else(|| Ok(Vec::new()))
}

/// One rule.
pub(crate) fn rule(node: &Node) -> Result<Rule, Placed> {
    // A key without a value is an empty text for Prometheus, not an absent key.
    let text = |key: &str| node.get_or_null(key).map(|value| value.text().unwrap_or("").to_owned());
    let action = match text("action") {
        None => None,
        Some(name) => {
            let line = node.get_or_null("action").map_or(node.line, |n| n.line.max(node.line));
            let known = Action::parse(&name);
            Some(known.ok_or_else(|| (line, format!("unknown relabel action {name:?}")))?)
        }
    };
    let source_labels = node.get("source_labels").map(|_| node.texts_of("source_labels"));
    if source_labels.iter().flatten().any(|name| name.is_empty()) {
        return Err((node.line, "source_labels has an empty name".to_owned()));
    }
    let config = RuleConfig {
        source_labels: source_labels.map(|names| names.into_iter().map(str::to_owned).collect()),
        separator: text("separator"),
        regex: text("regex"),
        modulus: node.number_of("modulus"),
        target_label: text("target_label"),
        replacement: text("replacement"),
        action,
    };
    Rule::new(config).map_err(|e| {
        let line = node
            .get("regex")
            .filter(|_| e.message().starts_with("regex"))
            .map_or(node.line, |n| n.line);
        (line, e.message().to_owned())
    })
}
