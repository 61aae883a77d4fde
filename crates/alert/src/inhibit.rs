//! Inhibition: alerts that keep silent while others fire.
//!
//! Owns: rules, and which firing alerts are their sources. Does not own: the alerts themselves.

use std::collections::{BTreeMap, BTreeSet};

use model::Labels;

use crate::active::{ActiveAlert, Fingerprint, only};
use crate::matcher::Matchers;

/// While an alert fires that `source` matches, alerts that `target` matches keep silent, if both have the same values
/// of the labels `equal` (a label that is absent has the empty value).
#[derive(Debug, Clone, PartialEq)]
pub struct InhibitRule {
    /// Its name; may be empty.
    pub name: String,
    /// Alerts that inhibit.
    pub source: Matchers,
    /// Alerts that are inhibited.
    pub target: Matchers,
    /// Names of labels, in any order.
    pub equal: Vec<String>,
}

/// The rules and the alerts that are sources of them.
#[derive(Debug, Default)]
pub struct Inhibitor {
    rules: Vec<RuleSources>,
}

#[derive(Debug)]
struct RuleSources {
    rule: InhibitRule,
    /// By the labels that must be equal: the sources and when each ends.
    sources: BTreeMap<Labels, BTreeMap<Fingerprint, Source>>,
}

#[derive(Debug)]
struct Source {
    ends_ms: i64,
    /// Whether it is a target of its rule as well; it does not inhibit alerts of which the same is true.
    is_target: bool,
}

impl Inhibitor {
    /// Without alerts.
    pub fn new(rules: Vec<InhibitRule>) -> Self {
        let rules = rules.into_iter().map(|rule| RuleSources { rule, sources: BTreeMap::new() });
        Self { rules: rules.collect() }
    }

    /// Takes note of an alert as it is now.
    pub fn told(&mut self, alert: &ActiveAlert) {
        for rule in self.rules.iter_mut().filter(|r| r.rule.source.matches(&alert.labels)) {
            let source = Source {
                ends_ms: alert.ends_ms,
                is_target: rule.rule.target.matches(&alert.labels),
            };
            let equal = rule.rule.equal_of(&alert.labels);
            rule.sources.entry(equal).or_default().insert(alert.fingerprint(), source);
        }
    }

    /// Forgets sources that are over.
    pub fn forget_resolved(&mut self, now_ms: i64) {
        for rule in &mut self.rules {
            rule.sources.retain(|_, sources| {
                sources.retain(|_, source| source.ends_ms > now_ms);
                !sources.is_empty()
            });
        }
    }

    /// One alert for each rule that keeps alerts with `labels` silent.
    pub fn inhibitors(&self, labels: &Labels, now_ms: i64) -> BTreeSet<Fingerprint> {
        let inhibiting = |rule: &RuleSources| {
            if !rule.rule.target.matches(labels) {
                return None;
            }
            let sources = rule.sources.get(&rule.rule.equal_of(labels))?;
            let is_source = rule.rule.source.matches(labels);
            let firing = sources
                .iter()
                .find(|(_, source)| source.ends_ms > now_ms && !(is_source && source.is_target));
            firing.map(|(fingerprint, _)| *fingerprint)
        };
        self.rules.iter().filter_map(inhibiting).collect()
    }
}

impl InhibitRule {
    fn equal_of(&self, labels: &Labels) -> Labels {
        only(labels, |name| self.equal.iter().any(|equal| equal == name))
    }
}
