//! The rule files that a `prometheus.yml` names, as far as the question "who reads these series" needs them. Here rules
//! are not evaluated.

use std::path::PathBuf;

use server::operations::{Readers, RuleReader};

use super::node::Node;

/// Rules of all `files`. What cannot be read is named, not skipped in silence.
pub fn readers(files: &[PathBuf]) -> Readers {
    let mut readers = Readers::default();
    for file in files {
        let name = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => match Node::parse(&text) {
                Ok(root) => rules(&name, &root, &mut readers),
                Err((line, why)) => readers.problems.push(format!("{name}:{line}: {why}")),
            },
            Err(e) => readers.problems.push(format!("{name}: cannot read: {e}")),
        }
    }
    readers
}

fn rules(file: &str, root: &Node, readers: &mut Readers) {
    for group in root.get("groups").map(Node::items).unwrap_or_default() {
        // These read lines and spans.
        if matches!(group.text_of("type"), Some("logql" | "loki" | "traceql" | "tempo")) {
            continue;
        }
        for rule in group.get("rules").map(Node::items).unwrap_or_default() {
            let named = [("alert", "alerting"), ("record", "recording")];
            let found = named.iter().find_map(|(key, kind)| Some((rule.text_of(key)?, *kind)));
            let (Some((name, kind)), Some(expression)) = (found, rule.text_of("expr")) else {
                readers
                    .problems
                    .push(format!("{file}:{}: a rule needs alert or record, and expr", rule.line));
                continue;
            };
            readers.rules.push(RuleReader {
                file: file.to_owned(),
                group: group.text_of("name").unwrap_or("").to_owned(),
                name: name.to_owned(),
                kind,
                expression: expression.to_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use collect::scrape::matching_files;

    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a rule file of somebody's, not one of the stores"
    )]
    fn rules_are_read_and_what_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "a.yml",
            "groups:\n- {name: l, type: logql, rules: [{record: l, expr: 'rate({a=\"b\"}[1m])'}]}\n- name: g\n  rules:\n  - alert: Down\n    expr: up == 0\n  - record: a:b\n    expr: sum(b)\n  - expr: x\n",
        );
        write("b.yml", "groups: [\n");
        let readers = readers(&matching_files(&dir.path().join("*.yml")));
        let names: Vec<_> = readers.rules.iter().map(|r| (r.name.as_str(), r.kind)).collect();
        assert_eq!(names, [("Down", "alerting"), ("a:b", "recording")]);
        assert_eq!(readers.problems.len(), 2, "{:?}", readers.problems);
        assert!(readers.problems[0].contains("a.yml:9:"), "{:?}", readers.problems);
    }
}
