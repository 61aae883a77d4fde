//! What a group remembers, as it survives a restart and a change of its file.

use std::collections::{BTreeMap, HashMap};

use model::Labels;

use super::{GroupState, Run};
use crate::evaluate::{Alert, Seen};
use crate::rule::Rule;

/// What one rule remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct Remembered {
    /// Name of the rule.
    pub name: String,
    /// Its labels as written; with its name they tell it from the others.
    pub labels: BTreeMap<String, String>,
    /// Its alerts, also resolved ones.
    pub alerts: Vec<Alert>,
}

/// What makes a rule the same rule in another version of a file.
type Key = (String, BTreeMap<String, String>);

fn key(rule: &Rule) -> Key {
    (rule.name.clone(), rule.labels.clone())
}

impl GroupState {
    /// What must survive a restart, if it changed since this was called last: rules without alerts are left out.
    pub fn take_changed(&self) -> Option<Vec<Remembered>> {
        let mut is_changed = false;
        for run in &self.rules {
            is_changed |= run.state.lock().take_changed();
        }
        let of = |run: &Run| {
            let state = run.state.lock();
            let (name, labels) = key(state.rule());
            Remembered { name, labels, alerts: state.alerts().cloned().collect() }
        };
        let kept = || self.rules.iter().map(of).filter(|one| !one.alerts.is_empty()).collect();
        is_changed.then(kept)
    }

    /// Takes in what was remembered before a restart: [`RuleState::restore`](crate::evaluate::RuleState::restore).
    pub fn restore(&self, rules: Vec<Remembered>, seen: &HashMap<Labels, Seen>, now_ms: i64) {
        let mut by_key: HashMap<Key, Vec<Vec<Alert>>> = HashMap::new();
        // Of rules that are alike the first takes the first.
        for one in rules.into_iter().rev() {
            by_key.entry((one.name, one.labels)).or_default().push(one.alerts);
        }
        for run in &self.rules {
            let mut state = run.state.lock();
            let alerts = by_key.get_mut(&key(state.rule())).and_then(Vec::pop);
            if let Some(alerts) = alerts {
                state.restore(alerts, seen, self.interval_ms, now_ms);
            }
        }
    }

    /// From now on what is not found is over: [`RuleState::settle`](crate::evaluate::RuleState::settle).
    pub fn settle(&self, seen: &HashMap<Labels, Seen>, now_ms: i64) {
        self.rules.iter().for_each(|run| run.state.lock().settle(seen, now_ms));
    }

    /// Goes on with what `other` remembers, the same group before a change of its file. The series of rules that are not
    /// here any more end with the next evaluation.
    pub fn take_over(&self, other: &Self) {
        let mut by_key: HashMap<Key, Vec<&Run>> = HashMap::new();
        for run in other.rules.iter().rev() {
            by_key.entry(key(run.state.lock().rule())).or_default().push(run);
        }
        for run in &self.rules {
            let mut state = run.state.lock();
            let from = by_key.get_mut(&key(state.rule())).and_then(Vec::pop);
            if let Some(from) = from {
                state.take_over(&from.state.lock());
                run.last.lock().clone_from(&from.last.lock());
            }
        }
        let mut departed = other.departed.lock().clone();
        let mut unmatched: Vec<&Run> = by_key.into_values().flatten().collect();
        unmatched.sort_by_key(|run| run.state.lock().rule().line);
        departed.extend(unmatched.into_iter().flat_map(|run| run.state.lock().series()));
        *self.departed.lock() = departed;
        self.figures.continue_from(&other.figures);
    }

    /// All series that end when the group goes.
    pub fn series(&self) -> Vec<Labels> {
        let departed = self.departed.lock().clone();
        let of_rules = self.rules.iter().flat_map(|run| run.state.lock().series());
        departed.into_iter().chain(of_rules).collect()
    }
}
