//! The notification log: what each receiver was told last of each group, so that nothing is told twice or forgotten.
//!
//! Owns: when a group must be told (again). Does not own: durability, and how messages reach receivers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::active::Fingerprint;

/// One integration of one receiver, and one group of alerts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogKey {
    /// The group's key, with that of its route.
    pub group_key: String,
    /// The receiver's name.
    pub receiver: String,
    /// Such as `webhook`.
    pub integration: String,
    /// Which of the receiver's integrations, from 0.
    pub index: usize,
}

/// What was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Alerts that were told to fire.
    pub firing: BTreeSet<Fingerprint>,
    /// Alerts that were told to be over.
    pub resolved: BTreeSet<Fingerprint>,
    /// When, Unix milliseconds.
    pub told_ms: i64,
    /// When this may be forgotten, Unix milliseconds.
    pub expires_ms: i64,
    /// What the integration asked to remember when it was told, such as the number of a message.
    pub remembered: BTreeMap<String, String>,
}

/// Why a group is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing was told of it.
    First,
    /// Alerts fire that were not told.
    NewAlerts,
    /// Some alerts are over.
    SomeResolved,
    /// All are.
    AllResolved,
    /// They fire on, and the repeat interval has passed.
    Repeat,
}

impl Reason {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first notification",
            Self::NewAlerts => "new alerts fire",
            Self::SomeResolved => "alerts resolved",
            Self::AllResolved => "all alerts resolved",
            Self::Repeat => "repeat interval elapsed",
        }
    }
}

/// What was told to all.
#[derive(Debug, Default)]
pub struct NotificationLog(BTreeMap<LogKey, LogEntry>);

impl NotificationLog {
    /// What was told last.
    pub fn get(&self, key: &LogKey) -> Option<&LogEntry> {
        self.0.get(key)
    }

    /// All of it, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&LogKey, &LogEntry)> {
        self.0.iter()
    }

    /// Puts an entry unless a later one is there; whether it was taken.
    pub fn merge(&mut self, key: LogKey, entry: LogEntry) -> bool {
        if self.0.get(&key).is_some_and(|known| known.told_ms > entry.told_ms) {
            return false;
        }
        self.0.insert(key, entry);
        true
    }

    /// Puts an entry, or takes it away.
    pub fn set(&mut self, key: LogKey, entry: Option<LogEntry>) {
        match entry {
            Some(entry) => self.0.insert(key, entry),
            None => self.0.remove(&key),
        };
    }

    /// Forgets what is old enough; gives its keys.
    pub fn forget_expired(&mut self, now_ms: i64) -> Vec<LogKey> {
        self.0.extract_if(.., |_, entry| entry.expires_ms <= now_ms).map(|(key, _)| key).collect()
    }
}

/// Why the alerts of a group must be told now; `None` if they need not.
///
/// Source: Alertmanager, "deduplication": a notice is due when an alert fires that was not told, when none fires any
/// more, when more are over (of those who want to know), and when the repeat interval has passed.
pub fn due(
    last: Option<&LogEntry>,
    firing: &BTreeSet<Fingerprint>,
    resolved: &BTreeSet<Fingerprint>,
    send_resolved: bool,
    repeat_interval_ms: u64,
    now_ms: i64,
) -> Option<Reason> {
    let Some(last) = last else {
        // Nobody was told that they fired.
        return (!firing.is_empty()).then_some(Reason::First);
    };
    if !firing.is_subset(&last.firing) {
        return Some(Reason::NewAlerts);
    }
    if firing.is_empty() {
        return (!last.firing.is_empty()).then_some(Reason::AllResolved);
    }
    if send_resolved && !resolved.is_subset(&last.resolved) {
        return Some(Reason::SomeResolved);
    }
    (last.told_ms < now_ms.saturating_sub_unsigned(repeat_interval_ms)).then_some(Reason::Repeat)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[u64]) -> BTreeSet<Fingerprint> {
        numbers.iter().map(|n| Fingerprint(*n)).collect()
    }

    /// `last`: what was told at 100, repeated every 50.
    fn check(last: Option<(&[u64], &[u64])>, firing: &[u64], over: &[u64], now_ms: i64) -> String {
        let last = last.map(|(firing, over)| LogEntry {
            firing: set(firing),
            resolved: set(over),
            told_ms: 100,
            expires_ms: 1000,
            remembered: BTreeMap::new(),
        });
        let reason = |send_resolved| {
            let due = due(last.as_ref(), &set(firing), &set(over), send_resolved, 50, now_ms);
            due.map_or("no".to_owned(), |reason| format!("{reason:?}"))
        };
        format!("{} {}", reason(true), reason(false))
    }

    #[test]
    fn groups_are_told_when_something_is_new() {
        assert_eq!(check(None, &[1], &[], 100), "First First");
        assert_eq!(check(None, &[], &[1], 100), "no no");
        assert_eq!(check(Some((&[1], &[])), &[1], &[], 150), "no no");
        assert_eq!(check(Some((&[1], &[])), &[1], &[], 151), "Repeat Repeat");
        assert_eq!(check(Some((&[1], &[])), &[1, 2], &[], 101), "NewAlerts NewAlerts");
        assert_eq!(check(Some((&[1, 2], &[])), &[1], &[2], 101), "SomeResolved no");
        assert_eq!(check(Some((&[1], &[2])), &[1], &[2], 101), "no no");
        assert_eq!(check(Some((&[1], &[])), &[], &[1], 101), "AllResolved AllResolved");
        assert_eq!(check(Some((&[], &[1])), &[], &[1], 900), "no no");
    }
}
