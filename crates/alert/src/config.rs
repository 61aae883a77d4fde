//! What `alertmanager.yml` says, as plain data with everything inherited and checked.
//!
//! Owns: the shape. Does not own: YAML, what of a file is refused or warned of (the binary).

use std::collections::BTreeMap;

use crate::inhibit::InhibitRule;
use crate::receiver::Receiver;
use crate::route::Route;
use crate::time_interval::{TimeInterval, any_contains};

/// A configuration of routing and notifications.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How long an alert without an end fires on when it is not told again, milliseconds.
    pub resolve_timeout_ms: u64,
    /// Globs of template files, as written, resolved against the directory of the file.
    pub templates: Vec<String>,
    /// The tree of routes.
    pub route: Route,
    /// Receivers that are switched on, by the order of the file.
    pub receivers: Vec<Receiver>,
    /// Which alerts keep others silent.
    pub inhibit_rules: Vec<InhibitRule>,
    /// Named times, for routes.
    pub time_intervals: BTreeMap<String, Vec<TimeInterval>>,
}

impl Config {
    /// The receiver with this name.
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| receiver.name == name)
    }

    /// Names of the time intervals that keep `route` silent at `now_ms` (Unix milliseconds): those it is muted in, or,
    /// outside of those it is active in, these.
    pub fn muting(&self, route: &Route, now_ms: i64) -> Vec<String> {
        let contains = |name: &&String| {
            self.time_intervals.get(*name).is_some_and(|times| any_contains(times, now_ms))
        };
        let muting: Vec<_> = route.mute_time_intervals.iter().filter(contains).cloned().collect();
        let active = &route.active_time_intervals;
        match active.is_empty() || active.iter().any(|name| contains(&name)) {
            true => muting,
            false => active.iter().cloned().chain(muting).collect(),
        }
    }
}
