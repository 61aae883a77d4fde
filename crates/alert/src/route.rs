//! The tree of routes: which receivers an alert goes to, and how alerts are grouped on the way.
//!
//! Owns: inheritance and defaults, matching, the keys and ids of routes. Does not own: YAML, and whether the receivers and
//! time intervals that are named exist. Source: Alertmanager documentation, "Configuration", "Route".

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use model::Labels;

use crate::matcher::Matchers;

/// How long a new group waits for more alerts, milliseconds.
pub const GROUP_WAIT_MS: u64 = 30_000;
/// How long a group waits before it tells of what is new, milliseconds.
pub const GROUP_INTERVAL_MS: u64 = 5 * 60_000;
/// After how long a group repeats what it told, milliseconds.
pub const REPEAT_INTERVAL_MS: u64 = 4 * 3_600_000;

/// Which labels make groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBy {
    /// All of them: `...`.
    All,
    /// These; none puts all alerts of a route into one group.
    Names(Vec<String>),
}

/// A route as it is written: what it does not say comes from the route around it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Written {
    /// Name of the receiver.
    pub receiver: Option<String>,
    /// Labels that make groups.
    pub group_by: Option<GroupBy>,
    /// Milliseconds.
    pub group_wait_ms: Option<u64>,
    /// Milliseconds.
    pub group_interval_ms: Option<u64>,
    /// Milliseconds.
    pub repeat_interval_ms: Option<u64>,
    /// Names of time intervals in which nothing is sent. Not inherited.
    pub mute_time_intervals: Vec<String>,
    /// Names of the only time intervals in which anything is sent; all times when empty. Not inherited.
    pub active_time_intervals: Vec<String>,
    /// What alerts must satisfy.
    pub matchers: Matchers,
    /// Whether an alert that matches goes on to the next route beside it.
    pub continues: bool,
    /// Labels for templates, templates themselves; added to those of the route around it.
    pub labels: BTreeMap<String, String>,
    /// Routes inside of it.
    pub routes: Vec<Self>,
}

/// A route with all it inherits.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Name of the receiver.
    pub receiver: String,
    /// Labels that make groups.
    pub group_by: GroupBy,
    /// How long a new group waits for more alerts, milliseconds.
    pub group_wait_ms: u64,
    /// How long a group waits before it tells of what is new, milliseconds.
    pub group_interval_ms: u64,
    /// After how long a group repeats what it told, milliseconds.
    pub repeat_interval_ms: u64,
    /// Names of time intervals in which nothing is sent.
    pub mute_time_intervals: Vec<String>,
    /// Names of the only time intervals in which anything is sent; all times when empty.
    pub active_time_intervals: Vec<String>,
    /// What alerts must satisfy, sorted.
    pub matchers: Matchers,
    /// Whether an alert that matches goes on to the next route beside it.
    pub continues: bool,
    /// Labels for templates, templates themselves.
    pub labels: BTreeMap<String, String>,
    /// Routes inside of it.
    pub routes: Vec<Self>,
    /// `{}/{a="b"}`: the matchers from the root to it, which other routes may have too. As in Alertmanager's group keys.
    pub key: String,
    /// `{}/{a="b"}/0`: its key with places, which no other route has.
    pub id: String,
}

impl Route {
    /// The tree whose root is written as `root`.
    pub fn new(root: Written) -> Self {
        let around = Self {
            receiver: String::new(),
            group_by: GroupBy::Names(Vec::new()),
            group_wait_ms: GROUP_WAIT_MS,
            group_interval_ms: GROUP_INTERVAL_MS,
            repeat_interval_ms: REPEAT_INTERVAL_MS,
            mute_time_intervals: Vec::new(),
            active_time_intervals: Vec::new(),
            matchers: Matchers::default(),
            continues: false,
            labels: BTreeMap::new(),
            routes: Vec::new(),
            key: String::new(),
            id: String::new(),
        };
        around.with(root, None)
    }

    /// The route that is written inside of this one as number `place`; the root has none.
    fn with(&self, written: Written, place: Option<usize>) -> Self {
        let mut matchers = written.matchers;
        matchers.sort();
        let (key, id) = match place {
            None => (matchers.to_string(), matchers.to_string()),
            Some(place) => {
                (format!("{}/{matchers}", self.key), format!("{}/{matchers}/{place}", self.id))
            }
        };
        let mut labels = self.labels.clone();
        labels.extend(written.labels);
        let mut route = Self {
            receiver: written.receiver.unwrap_or_else(|| self.receiver.clone()),
            group_by: written.group_by.unwrap_or_else(|| self.group_by.clone()),
            group_wait_ms: written.group_wait_ms.unwrap_or(self.group_wait_ms),
            group_interval_ms: written.group_interval_ms.unwrap_or(self.group_interval_ms),
            repeat_interval_ms: written.repeat_interval_ms.unwrap_or(self.repeat_interval_ms),
            mute_time_intervals: written.mute_time_intervals,
            active_time_intervals: written.active_time_intervals,
            matchers,
            continues: written.continues,
            labels,
            routes: Vec::new(),
            key,
            id,
        };
        let inner = written.routes.into_iter().enumerate();
        route.routes = inner.map(|(place, written)| route.with(written, Some(place))).collect();
        route
    }

    /// The routes that an alert with `labels` goes to, from top to bottom: the innermost ones that match, and after one that
    /// does no further one beside it, unless it says so.
    pub fn matching(&self, labels: &Labels) -> Vec<&Self> {
        let mut found = Vec::new();
        self.add_matching(labels, &mut found);
        found
    }

    fn add_matching<'r>(&'r self, labels: &Labels, found: &mut Vec<&'r Self>) -> bool {
        if !self.matchers.matches(labels) {
            return false;
        }
        let before = found.len();
        for route in &self.routes {
            if route.add_matching(labels, found) && !route.continues {
                break;
            }
        }
        if found.len() == before {
            found.push(self);
        }
        true
    }

    /// This route and all inside of it, from top to bottom.
    pub fn walk(&self) -> Vec<&Self> {
        let mut found = vec![self];
        found.extend(self.routes.iter().flat_map(Self::walk));
        found
    }

    /// The labels by which an alert with `labels` is grouped here.
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        match &self.group_by {
            GroupBy::All => labels.clone(),
            GroupBy::Names(names) => Labels::from_pairs(
                labels.iter().filter(|(name, _)| names.iter().any(|n| n == name)),
            ),
        }
    }
}
