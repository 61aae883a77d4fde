//! The life of an alert: pending until `for` has passed, firing, resolved and kept for a while so that everybody hears
//! of it.

use std::collections::{BTreeMap, BTreeSet};

use model::Labels;

use crate::rule::Alerting;

/// How long a resolved alert is kept: 15 minutes, as in Prometheus.
const RESOLVED_KEPT_MS: i64 = 15 * 60_000;

/// Where an alert is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Resolved.
    Inactive,
    /// The expression holds, not yet for as long as it must.
    Pending,
    /// It held long enough.
    Firing,
}

impl State {
    /// As `ALERTS` and the API have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert of a rule. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Identity; with the rule's labels, without a metric name.
    pub labels: Labels,
    /// As of the last evaluation in which the expression held. Empty texts are kept.
    pub annotations: BTreeMap<String, String>,
    /// Likewise; NaN of a native histogram.
    pub value: f64,
    /// Where it is.
    pub state: State,
    /// Since when the expression holds.
    pub active_ms: i64,
    /// When it began to fire.
    pub fired_ms: Option<i64>,
    /// When it was resolved.
    pub resolved_ms: Option<i64>,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since_ms: Option<i64>,
    /// When it was last sent to whom alerts go.
    pub sent_ms: Option<i64>,
}

/// Moves `active` on to `at_ms`, when the expression gave `found`, but alerts that are `awaited` and not found; says whether
/// an alert came, went or changed its state.
pub(super) fn advance(
    active: &mut BTreeMap<Labels, Alert>,
    awaited: &mut BTreeSet<Labels>,
    rule: &Alerting,
    mut found: BTreeMap<Labels, Alert>,
    at_ms: i64,
) -> bool {
    let mut is_changed = false;
    awaited.retain(|labels| !found.contains_key(labels));
    let lasts = |since_ms: i64, ms: u64| {
        u64::try_from(at_ms.saturating_sub(since_ms)).is_ok_and(|passed| passed >= ms)
    };
    active.retain(|labels, alert| match found.remove(labels) {
        Some(fresh) if alert.state == State::Inactive => {
            is_changed = true;
            *alert = fresh;
            true
        }
        Some(fresh) => {
            alert.value = fresh.value;
            alert.annotations = fresh.annotations;
            is_changed |= alert.keep_firing_since_ms.take().is_some();
            true
        }
        None if awaited.contains(labels) => true,
        None => {
            let before = (alert.state, alert.keep_firing_since_ms);
            let is_kept = ended(alert, rule.keep_firing_for_ms, at_ms);
            is_changed |= !is_kept || before != (alert.state, alert.keep_firing_since_ms);
            is_kept
        }
    });
    is_changed |= !found.is_empty();
    active.append(&mut found);
    for alert in active.values_mut().filter(|alert| alert.state == State::Pending) {
        if lasts(alert.active_ms, rule.for_ms) && !awaited.contains(&alert.labels) {
            alert.state = State::Firing;
            alert.fired_ms = Some(at_ms);
            is_changed = true;
        }
    }
    is_changed
}

/// Moves an alert on whose expression does not hold; whether it is kept.
fn ended(alert: &mut Alert, keep_firing_for_ms: u64, at_ms: i64) -> bool {
    match alert.state {
        State::Pending => false,
        State::Inactive => alert.resolved_ms.is_none_or(|t| at_ms - t <= RESOLVED_KEPT_MS),
        State::Firing => {
            if keep_firing_for_ms > 0 {
                let since_ms = *alert.keep_firing_since_ms.get_or_insert(at_ms);
                if u64::try_from(at_ms.saturating_sub(since_ms)).unwrap_or(0) < keep_firing_for_ms {
                    return true;
                }
            }
            alert.state = State::Inactive;
            alert.resolved_ms = Some(at_ms);
            true
        }
    }
}
