//! What a rule remembers of the time before a restart, and of the rule it was before a change of its file.

use std::collections::HashMap;

use model::Labels;

use super::state::{Alert, State};
use super::{RuleState, told};
use crate::rule::Kind;

/// Pending alerts of before an outage this long begin anew: an hour, as in Prometheus.
pub const OUTAGE_MS_MAX: i64 = 3_600_000;

/// An alert whose time is over soon after a restart waits at least so long when only its series tell of it: 10 minutes,
/// as in Prometheus.
const GRACE_MS: i64 = 600_000;

/// What the series `ALERTS_FOR_STATE` last said of an alert. Times are Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When it said so.
    pub t_ms: i64,
    /// Since when the alert was active.
    pub active_ms: i64,
}

impl RuleState {
    /// Takes in alerts that were written down before a restart. `seen` tells of alerts by their labels, as far as they
    /// were active within [`OUTAGE_MS_MAX`]. Until [`settle`](Self::settle) those not found are neither resolved nor
    /// forgotten: what feeds the expression may have stopped as well.
    ///
    /// The time that nobody looked counts for a pending alert if it is at most two evaluations of `interval_ms`;
    /// otherwise its time goes on from where it was, as in Prometheus.
    pub fn restore(
        &mut self,
        alerts: Vec<Alert>,
        seen: &HashMap<Labels, Seen>,
        interval_ms: u64,
        now_ms: i64,
    ) {
        let interval_ms = i64::try_from(interval_ms).unwrap_or(i64::MAX);
        for mut alert in alerts {
            if alert.state == State::Pending {
                let Some(seen) = seen.get(&alert.labels) else { continue };
                let outage_ms = now_ms.saturating_sub(seen.t_ms).max(0);
                if outage_ms > interval_ms.saturating_mul(2) {
                    alert.active_ms = alert.active_ms.saturating_add(outage_ms).min(now_ms);
                }
            }
            if alert.state != State::Inactive {
                self.awaited.insert(alert.labels.clone());
                let series = told(&self.rule.name, &alert, now_ms).map(|sample| sample.labels);
                self.returned.extend(series);
            }
            self.active.insert(alert.labels.clone(), alert);
        }
    }

    /// From now on what is not found is over. Alerts nothing was written down of get the times that their series tell, by
    /// the rules of Prometheus: only of rules that wait for 10 minutes or longer.
    pub fn settle(&mut self, seen: &HashMap<Labels, Seen>, now_ms: i64) {
        self.awaited.clear();
        let Kind::Alerting(alerting) = &self.rule.kind else { return };
        let for_ms = i64::try_from(alerting.for_ms).unwrap_or(i64::MAX);
        if for_ms < GRACE_MS {
            return;
        }
        for alert in self.active.values_mut().filter(|alert| alert.state == State::Pending) {
            let Some(seen) = seen.get(&alert.labels).filter(|s| s.active_ms < alert.active_ms)
            else {
                continue;
            };
            let remaining_ms = for_ms - seen.t_ms.saturating_sub(seen.active_ms).max(0);
            alert.active_ms = if remaining_ms <= 0 {
                // It fired; if it still holds, so it does with the next evaluation.
                seen.active_ms
            } else if remaining_ms < GRACE_MS {
                now_ms.saturating_add(GRACE_MS).saturating_sub(for_ms)
            } else {
                seen.active_ms.saturating_add(now_ms.saturating_sub(seen.t_ms).max(0))
            };
            self.is_changed = true;
        }
    }

    /// Goes on with what `other`, the same rule before a change of its file, remembers.
    pub fn take_over(&mut self, other: &Self) {
        self.active.clone_from(&other.active);
        self.returned.clone_from(&other.returned);
        self.awaited.clone_from(&other.awaited);
        self.is_changed = true;
    }

    /// Whether alerts came, went or moved on since it was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }
}
