//! Routes and inhibition rules: matchers old and new, names that must exist, what the root must not have.

use std::collections::{BTreeMap, BTreeSet};

use alert::inhibit::InhibitRule;
use alert::matcher::{Matcher, Matchers, Op};
use alert::route::{GroupBy, Written};
use alert::time_interval::TimeInterval;
use collect::scrape::parse_duration;

use super::{Reading, key_line, line_of};
use crate::prometheus_yml::node::{Node, Value};

/// The label of `group_by` that stands for all.
const ALL: &str = "...";

impl Reading<'_> {
    /// The root with all routes in it.
    pub(super) fn root_route(
        &mut self,
        root: &Node,
        receivers: &BTreeSet<String>,
        intervals: &BTreeMap<String, Vec<TimeInterval>>,
    ) -> Option<Written> {
        let Some(node) = root.get("route") else {
            self.mistakes.push((key_line(root, "route"), "no routes provided".to_owned()));
            return None;
        };
        let route = self.route(node, receivers, intervals);
        let mut wrong = |key: &str, why: &str| {
            self.mistakes.push((key_line(node, key), why.to_owned()));
        };
        if route.receiver.is_none() {
            wrong("receiver", "root route must specify a default receiver");
        }
        if let Some(key) =
            ["match", "match_re", "matchers"].into_iter().find(|key| has_items(node, key))
        {
            wrong(key, "root route must not have any matchers");
        }
        if !route.mute_time_intervals.is_empty() {
            wrong("mute_time_intervals", "root route must not have any mute time intervals");
        }
        if !route.active_time_intervals.is_empty() {
            wrong("active_time_intervals", "root route must not have any active time intervals");
        }
        if route.continues {
            wrong("continue", "cannot have continue in root route");
        }
        Some(route)
    }

    fn route(
        &mut self,
        node: &Node,
        receivers: &BTreeSet<String>,
        intervals: &BTreeMap<String, Vec<TimeInterval>>,
    ) -> Written {
        let receiver = node.text_of("receiver").filter(|name| !name.is_empty());
        if let Some(name) = receiver.filter(|name| !receivers.contains(*name)) {
            let why = format!("undefined receiver {name:?} used in route");
            self.mistakes.push((line_of(node, "receiver"), why));
        }
        let times = |reading: &mut Self, key: &str| -> Vec<String> {
            for item in node.get(key).map(Node::items).unwrap_or_default() {
                let name = item.text().unwrap_or("");
                if !intervals.contains_key(name) {
                    let why = format!("undefined time interval {name:?} used in route");
                    reading.mistakes.push((item.line, why));
                }
            }
            node.texts_of(key).into_iter().map(str::to_owned).collect()
        };
        let mute_time_intervals = times(self, "mute_time_intervals");
        let active_time_intervals = times(self, "active_time_intervals");
        let matchers = self.all_matchers(node, "match", "match_re", "matchers");
        let labels = node.get("labels").map(Node::entries).unwrap_or_default();
        for (key, value) in labels {
            if !self.options.strict {
                self.check_templates(value);
            }
            if !self.options.syntax.is_label_name(&key.name) {
                let why = format!("invalid label name {:?} in route labels", key.name);
                self.mistakes.push((key.line, why));
            }
        }
        let ms = |key: &str| node.text_of(key).and_then(parse_duration);
        let written = Written {
            receiver: receiver.map(str::to_owned),
            group_by: self.group_by(node),
            group_wait_ms: ms("group_wait"),
            group_interval_ms: ms("group_interval"),
            repeat_interval_ms: ms("repeat_interval"),
            mute_time_intervals,
            active_time_intervals,
            matchers,
            continues: node.bool_of("continue").unwrap_or(false),
            labels: labels
                .iter()
                .map(|(key, value)| (key.name.clone(), value.text().unwrap_or("").to_owned()))
                .collect(),
            routes: Vec::new(),
        };
        for key in ["group_interval", "repeat_interval"] {
            if ms(key) == Some(0) {
                self.mistakes.push((line_of(node, key), format!("{key} cannot be zero")));
            }
        }
        let routes = node.get("routes").map(Node::items).unwrap_or_default();
        let routes = routes.iter().map(|node| self.route(node, receivers, intervals)).collect();
        Written { routes, ..written }
    }

    fn group_by(&mut self, node: &Node) -> Option<GroupBy> {
        let items = node.get("group_by").map(Node::items).unwrap_or_default();
        let (mut names, mut all) = (Vec::new(), None);
        for item in items {
            let name = item.text().unwrap_or("");
            if name == ALL {
                all = Some(item.line);
            } else if !self.options.syntax.is_label_name(name) {
                let why = format!("invalid label name {name:?} in group_by list");
                self.mistakes.push((item.line, why));
            } else if names.iter().any(|other| other == name) {
                self.mistakes.push((item.line, format!("duplicated label {name:?} in group_by")));
            } else {
                names.push(name.to_owned());
            }
        }
        match all {
            Some(line) if !names.is_empty() => {
                let why = "cannot have wildcard group_by (`...`) and other labels at the same time";
                self.mistakes.push((line, why.to_owned()));
                None
            }
            Some(_) => Some(GroupBy::All),
            // As in Alertmanager an empty list says nothing.
            None if names.is_empty() => None,
            None => Some(GroupBy::Names(names)),
        }
    }

    /// Inhibition rules in the order of the file.
    pub(super) fn inhibit_rules(&mut self, root: &Node) -> Vec<InhibitRule> {
        let rules = root.get("inhibit_rules").map(Node::items).unwrap_or_default();
        rules.iter().map(|node| self.inhibit_rule(node)).collect()
    }

    fn inhibit_rule(&mut self, node: &Node) -> InhibitRule {
        for item in node.get("equal").map(Node::items).unwrap_or_default() {
            let name = item.text().unwrap_or("");
            if !self.options.syntax.is_label_name(name) {
                let why = format!("invalid label name {name:?} in equal list");
                self.mistakes.push((item.line, why));
            }
        }
        let sides = [
            ("source", "source_match", "source_match_re", "source_matchers"),
            ("target", "target_match", "target_match_re", "target_matchers"),
        ];
        let [source, target] =
            sides.map(|(_, equal, like, list)| self.all_matchers(node, equal, like, list));
        for ((side, ..), matchers) in sides.iter().zip([&source, &target]) {
            if matchers.0.is_empty() {
                let why = format!(
                    "this inhibition rule has no {side} matchers, so that every alert is one"
                );
                self.warnings.push((node.line, why));
            }
        }
        InhibitRule {
            name: node.text_of("name").unwrap_or("").to_owned(),
            source,
            target,
            equal: node.texts_of("equal").into_iter().map(str::to_owned).collect(),
        }
    }

    /// The matchers of three keys: of names with texts, of names with patterns, and of whole matchers.
    fn all_matchers(&mut self, node: &Node, equal: &str, like: &str, list: &str) -> Matchers {
        let mut found = Vec::new();
        for (key, op) in [(equal, Op::Equal), (like, Op::Regex)] {
            for (name, value) in node.get(key).map(Node::entries).unwrap_or_default() {
                let is_null = value.value == Value::Null;
                if !self.options.syntax.is_label_name(&name.name) {
                    let why = format!("invalid label name {:?}", name.name);
                    self.mistakes.push((name.line, why));
                } else if op == Op::Regex && is_null {
                    let why = format!("invalid regexp value for {:?}", name.name);
                    self.mistakes.push((name.line, why));
                } else {
                    let text = value.text().unwrap_or("");
                    let pattern = match op {
                        Op::Regex => format!("^(?:{text})$"),
                        _ => text.to_owned(),
                    };
                    let line = value.line;
                    match Matcher::new(name.name.as_str(), op, pattern) {
                        Ok(matcher) => found.push(matcher),
                        Err(e) => self.mistakes.push((line, e.message().to_owned())),
                    }
                }
            }
        }
        for item in node.get(list).map(Node::items).unwrap_or_default() {
            match self.options.syntax.parse(item.text().unwrap_or("")) {
                Ok(parsed) => {
                    self.warnings.extend(parsed.caution.map(|caution| (item.line, caution)));
                    found.extend(parsed.matchers.0);
                }
                Err(e) => self.mistakes.push((item.line, e.message().to_owned())),
            }
        }
        Matchers(found)
    }
}

fn has_items(node: &Node, key: &str) -> bool {
    node.get(key).is_some_and(|value| !value.entries().is_empty() || !value.items().is_empty())
}
