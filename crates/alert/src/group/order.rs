//! Which rules of a group may be evaluated together, so that the outcome is as if they came one after the other.

use std::collections::BTreeMap;

use model::{METRIC_NAME, MatchOp, Matcher};
use query::promql;

use crate::evaluate::{ALERTS, ALERTS_FOR_STATE};
use crate::rule::{Expression, Kind, Rule};

/// What a rule may read of what other rules store.
enum Reads<'a> {
    /// Series of these names.
    Named(Vec<&'a str>),
    /// What matches one of these.
    Selected(Vec<&'a [Matcher]>),
    Anything,
}

impl Reads<'_> {
    fn may_read(&self, name: &str) -> bool {
        match self {
            Self::Named(names) => names.contains(&name),
            Self::Selected(selectors) => selectors.iter().any(|matchers| {
                matchers.iter().all(|m| m.name() != METRIC_NAME || m.matches(name))
            }),
            Self::Anything => true,
        }
    }
}

/// Indexes of `rules` in levels. A level is evaluated when the samples of those before it are stored. Inside of one no
/// rule reads what another stores, unless it comes before it: then it must not see it yet.
pub(super) fn levels(rules: &[Rule]) -> Vec<Vec<usize>> {
    let mut levels: Vec<Vec<usize>> = Vec::new();
    // The last level in which a name is stored, and in which it is read.
    let (mut stored, mut read): (BTreeMap<&str, usize>, BTreeMap<&str, usize>) = Default::default();
    let mut others: Vec<(Reads<'_>, usize)> = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let reads = reads(rule);
        let names = stores(rule);
        let behind = match &reads {
            Reads::Named(names) => names.iter().filter_map(|name| stored.get(name)).max().copied(),
            others => {
                let found = stored.iter().filter(|(name, _)| others.may_read(name));
                found.map(|(_, level)| *level).max()
            }
        };
        let named = names.iter().flat_map(|name| [stored.get(name), read.get(name)]).flatten();
        let selected = others.iter().filter(|(reads, _)| names.iter().any(|n| reads.may_read(n)));
        let beside = named.copied().chain(selected.map(|(_, level)| *level)).max();
        let level = behind.map_or(0, |level| level + 1).max(beside.unwrap_or(0));
        let note = |levels: &mut BTreeMap<_, usize>, name| {
            let known = levels.entry(name).or_insert(level);
            *known = level.max(*known);
        };
        names.iter().for_each(|name| note(&mut stored, *name));
        match reads {
            Reads::Named(names) => names.into_iter().for_each(|name| note(&mut read, name)),
            reads => others.push((reads, level)),
        }
        if levels.len() <= level {
            levels.resize_with(level + 1, Vec::new);
        }
        if let Some(members) = levels.get_mut(level) {
            members.push(i);
        }
    }
    levels
}

/// Names of the series that a rule stores.
fn stores(rule: &Rule) -> Vec<&str> {
    match &rule.kind {
        Kind::Recording => vec![&rule.name],
        Kind::Alerting(_) => vec![ALERTS, ALERTS_FOR_STATE],
    }
}

fn reads(rule: &Rule) -> Reads<'_> {
    let asks = |text: &String| text.contains("{{") && text.contains("query");
    let templates = match &rule.kind {
        Kind::Alerting(alerting) => {
            rule.labels.values().chain(alerting.annotations.values()).any(asks)
        }
        Kind::Recording => false,
    };
    let selectors = match &rule.expr {
        Expression::Promql(_) if templates => return Reads::Anything,
        Expression::Promql(expr) => promql::selectors(expr),
        // They and their templates read lines and spans.
        Expression::Logql(_) | Expression::Traceql(_) => Vec::new(),
    };
    match selectors.iter().map(|matchers| metric_name(matchers)).collect() {
        Some(names) => Reads::Named(names),
        None => Reads::Selected(selectors),
    }
}

/// The one name that all series have that match.
fn metric_name(matchers: &[Matcher]) -> Option<&str> {
    let name = |m: &&Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal;
    matchers.iter().find(name).map(Matcher::value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Alerting;

    /// Rules as `name: expression`; those whose names begin with a capital alert.
    fn check(rules: &[&str], expected: &[&[usize]]) {
        let rule = |text: &&str| {
            let (name, text) = text.split_once(": ").unwrap();
            Rule {
                name: name.to_owned(),
                text: text.to_owned(),
                expr: Expression::Promql(promql::parse(text).unwrap()),
                labels: BTreeMap::default(),
                kind: if name.starts_with(char::is_uppercase) {
                    Kind::Alerting(Alerting::default())
                } else {
                    Kind::Recording
                },
                line: 1,
            }
        };
        let rules: Vec<Rule> = rules.iter().map(rule).collect();
        assert_eq!(levels(&rules), expected);
    }

    #[test]
    fn what_is_read_is_stored_before_and_what_is_not_read_yet_is_not() {
        check(&["a: x", "b: y", "C: z > 0"], &[&[0, 1, 2]]);
        check(&["a: x", "b: a + y", "c: x", "D: b > 0", "e: a"], &[&[0, 2], &[1, 4], &[3]]);
        // The first one reads what the second stores, of the evaluation before.
        check(&["a: b", "b: x"], &[&[0, 1]]);
        check(&["a: x", "c: a + b", "b: x"], &[&[0], &[1, 2]]);
        check(&["a: x", "c: a + {__name__=~\"b|z\"}", "b: x"], &[&[0], &[1, 2]]);
        // Two of one name keep their order.
        check(&["a: x", "b: a", "b: x"], &[&[0], &[1, 2]]);
        let selectors = ["A: x", "b: ALERTS", "c: {__name__=~\"a|b\"}", "d: {job=\"x\"}"];
        check(&selectors, &[&[0], &[1], &[2], &[3]]);
        check(&[], &[]);
    }
}
