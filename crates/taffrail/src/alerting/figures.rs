//! Figures of alerting, by the names of Alertmanager's where it has them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use alert::notify::Outcome;
use alert::silence::SilenceState;
use parking_lot::Mutex;
use server::Figure;

use super::Alerting;

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    firing: AtomicU64,
    resolved: AtomicU64,
    invalid: AtomicU64,
    record_failures: AtomicU64,
    /// By integration and receiver.
    sent: Mutex<BTreeMap<(String, String), Sent>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sent {
    tries: u64,
    delivered: u64,
    retried: u64,
    refused: u64,
    dropped: u64,
    seconds: f64,
}

impl Counts {
    pub(super) fn told(&self, firing: u64, resolved: u64, invalid: u64) {
        self.firing.fetch_add(firing, Ordering::Relaxed);
        self.resolved.fetch_add(resolved, Ordering::Relaxed);
        self.invalid.fetch_add(invalid, Ordering::Relaxed);
    }

    pub(super) fn record_failed(&self) {
        self.record_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, integration: &str, receiver: &str) {
        self.with(integration, receiver, |sent| sent.dropped += 1);
    }

    pub(super) fn sent(&self, integration: &str, receiver: &str, outcome: &Outcome, took_ns: i64) {
        self.with(integration, receiver, |sent| {
            sent.tries += 1;
            sent.seconds += took_ns as f64 / 1e9;
            match outcome {
                Outcome::Delivered { .. } => sent.delivered += 1,
                Outcome::Retry { .. } => sent.retried += 1,
                Outcome::Refused { .. } => sent.refused += 1,
            }
        });
    }

    fn with(&self, integration: &str, receiver: &str, change: impl FnOnce(&mut Sent)) {
        let mut all = self.sent.lock();
        change(all.entry((integration.to_owned(), receiver.to_owned())).or_default());
    }
}

impl Alerting {
    /// Everything there is to say.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let mut out = Vec::new();
        let mut add = |name, kind, help, labels: Vec<(&'static str, String)>, value: f64| {
            out.push(Figure { name, kind, help, labels, value });
        };
        let state = self.state.lock();
        let now_ms = self.clock.now_ms();
        let (mut active, mut suppressed) = (0_u64, 0_u64);
        for (_, alert) in state.alerts().filter(|(_, alert)| !alert.resolved(now_ms)) {
            match state.muted(&alert.labels, now_ms).is_empty() {
                true => active += 1,
                false => suppressed += 1,
            }
        }
        let count_silences = |wanted: SilenceState| {
            state.silences().iter().filter(|silence| silence.state(now_ms) == wanted).count() as f64
        };
        let silences = [SilenceState::Active, SilenceState::Pending, SilenceState::Expired]
            .map(|state| (state.as_str(), count_silences(state)));
        let (groups, waiting) = (state.groups(now_ms).count(), state.outbox().len());
        drop(state);
        for (name, value) in [("active", active), ("suppressed", suppressed)] {
            let labels = vec![("state", name.to_owned())];
            add("alertmanager_alerts", "gauge", "Alerts that fire.", labels, value as f64);
        }
        for (name, value) in silences {
            let labels = vec![("state", name.to_owned())];
            add("alertmanager_silences", "gauge", "Silences.", labels, value);
        }
        let groups_name = "alertmanager_dispatcher_aggregation_groups";
        add(groups_name, "gauge", "Groups of alerts.", vec![], groups as f64);
        let help = "Notifications that have not arrived yet.";
        add("taffrail_alerting_outbox_notifications", "gauge", help, vec![], waiting as f64);
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        for (status, value) in
            [("firing", &self.counts.firing), ("resolved", &self.counts.resolved)]
        {
            let labels = vec![("status", status.to_owned()), ("version", "v2".to_owned())];
            let help = "Alerts that were told, by rules or over the API.";
            add("alertmanager_alerts_received_total", "counter", help, labels, of(value));
        }
        let labels = vec![("version", "v2".to_owned())];
        let invalid = of(&self.counts.invalid);
        add("alertmanager_alerts_invalid_total", "counter", "Alerts refused.", labels, invalid);
        add(
            "taffrail_alerting_record_failures_total",
            "counter",
            "Times the record of alerting could not be written.",
            vec![],
            of(&self.counts.record_failures),
        );
        for ((integration, receiver), sent) in self.counts.sent.lock().iter() {
            let labels =
                || vec![("integration", integration.clone()), ("receiver_name", receiver.clone())];
            for (name, help, value) in [
                ("alertmanager_notifications_total", "Notifications that arrived.", sent.delivered),
                (
                    "alertmanager_notification_requests_total",
                    "Attempts to send a notification.",
                    sent.tries,
                ),
                (
                    "alertmanager_notification_requests_failed_total",
                    "Attempts that failed and are repeated.",
                    sent.retried,
                ),
                (
                    "taffrail_alerting_notifications_dropped_total",
                    "Notifications given up: too many waited, or too long.",
                    sent.dropped,
                ),
            ] {
                add(name, "counter", help, labels(), value as f64);
            }
            let reason = ("reason", "refused".to_owned());
            let failed = labels().into_iter().chain([reason]).collect();
            add(
                "alertmanager_notifications_failed_total",
                "counter",
                "Notifications that were refused for good.",
                failed,
                sent.refused as f64,
            );
            add(
                "taffrail_alerting_notification_seconds_total",
                "counter",
                "Time that attempts took.",
                labels(),
                sent.seconds,
            );
        }
        out
    }
}
