//! One group: alerts of a route with the same values of the labels it groups by.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::Labels;

use crate::active::{Fingerprint, display_labels};
use crate::route::Route;

/// Which group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupId {
    /// The id of its route.
    pub(super) route: Arc<str>,
    /// What its alerts have in common.
    pub(super) labels: Labels,
}

impl GroupId {
    /// As messages name it, for instance `{}/{team="a"}:{alertname="b"}`.
    pub(super) fn key(&self, route_key: &str) -> String {
        format!("{route_key}:{}", display_labels(&self.labels))
    }
}

/// Its alerts, and when they are told.
#[derive(Debug)]
pub(super) struct Group {
    /// Its route, without those inside of it.
    pub(super) route: Arc<Route>,
    pub(super) alerts: BTreeSet<Fingerprint>,
    /// When it is told next, Unix milliseconds.
    pub(super) next_ms: i64,
    /// Whether it ever was.
    pub(super) told: bool,
}

impl Group {
    pub(super) fn new(route: Arc<Route>, next_ms: i64) -> Self {
        Self { route, alerts: BTreeSet::new(), next_ms, told: false }
    }
}
