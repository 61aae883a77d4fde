//! Relabelling: rules as a configuration may write them, applied to labels as a target may send them.

#![no_main]

use ingest::relabel::{Action, Rule, RuleConfig, apply_to};
use libfuzzer_sys::fuzz_target;
use model::LabelsBuilder;

// Rules and labels, one text per line.
fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let mut rules = Vec::new();
    let rule_count = lines.next().map_or(0, str::len) % 4 + 1;
    for _ in 0..rule_count {
        let mut text = || lines.next().filter(|l| !l.is_empty()).map(str::to_owned);
        let action = text().and_then(|name| Action::parse(&name));
        let config = RuleConfig {
            action,
            source_labels: text().map(|l| l.split(',').map(str::to_owned).collect()),
            separator: text(),
            regex: text(),
            modulus: text().and_then(|m| m.parse().ok()),
            target_label: text(),
            replacement: text(),
        };
        rules.extend(Rule::new(config));
    }
    let mut labels = LabelsBuilder::default();
    for (name, value) in lines.filter_map(|l| l.split_once('=')).filter(|(n, _)| !n.is_empty()) {
        labels.set(name, value);
    }
    let labels = labels.build();
    let relabelled = apply_to(&rules, &labels);
    assert_eq!(relabelled, apply_to(&rules, &labels));
    if let Some(relabelled) = relabelled {
        assert!(relabelled.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
        assert_eq!(relabelled.to_builder().build(), relabelled);
    }
});
