//! What alerting did, as log lines that can be asked for like all others: `{source="taffrail", stream="alerts"}`, one JSON
//! object a line.
//!
//! Owns: their shape. Lines are handed to the store as they come; where it refuses them, that is counted there.

use std::collections::BTreeMap;
use std::sync::Arc;

use alert::active::{ActiveAlert, pairs};
use alert::notify::Outcome;
use alert::outbox::Job;
use alert::silence::Silence;
use model::{Done, Labels, LogBatch, LogRecord, Sink};
use serde::Serialize;

const SOURCE: &str = "alerting";
/// Alerts of a notification that are named in its line.
const NAMED_MAX: usize = 20;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    /// An alert began to fire, or is over.
    Alert {
        state: &'static str,
        fingerprint: String,
        labels: BTreeMap<String, String>,
        annotations: &'a BTreeMap<String, String>,
        starts_ms: i64,
    },
    /// An attempt to tell somebody.
    Notification {
        outcome: &'static str,
        receiver: &'a str,
        integration: &'a str,
        index: usize,
        group: &'a str,
        why: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        reason: &'a str,
        alerts: usize,
        fingerprints: Vec<String>,
        took_ms: i64,
    },
    /// A silence was made, changed or ended.
    Silence {
        state: &'static str,
        id: &'a str,
        matchers: String,
        created_by: &'a str,
        comment: &'a str,
        starts_ms: i64,
        ends_ms: i64,
    },
}

/// Writes lines into the log store.
pub(super) struct History(Arc<dyn Sink>);

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

impl History {
    pub(super) fn new(sink: Arc<dyn Sink>) -> Self {
        Self(sink)
    }

    /// Alerts that began to fire or are over, and silences that were set.
    pub(super) fn moved(&self, alerts: &[Arc<ActiveAlert>], silences: &[Arc<Silence>], t_ns: i64) {
        let now_ms = t_ns.div_euclid(1_000_000);
        let of_alert = |alert: &Arc<ActiveAlert>| {
            let is_over = alert.resolved(now_ms);
            let line = Line::Alert {
                state: if is_over { "resolved" } else { "firing" },
                fingerprint: alert.fingerprint().to_string(),
                labels: pairs(&alert.labels),
                annotations: &alert.annotations,
                starts_ms: alert.starts_ms,
            };
            record(&line, if is_over { "info" } else { "warn" }, t_ns)
        };
        let of_silence = |silence: &Arc<Silence>| {
            let line = Line::Silence {
                state: silence.state(now_ms).as_str(),
                id: &silence.id,
                matchers: silence.matchers.to_string(),
                created_by: &silence.created_by,
                comment: &silence.comment,
                starts_ms: silence.starts_ms,
                ends_ms: silence.ends_ms,
            };
            record(&line, "info", t_ns)
        };
        let records = alerts.iter().map(of_alert).chain(silences.iter().map(of_silence));
        self.append(records.collect());
    }

    /// An attempt to send a message.
    pub(super) fn sent(&self, job: &Job, outcome: &Outcome, took_ns: i64, t_ns: i64) {
        let (outcome, reason, level) = match outcome {
            Outcome::Delivered { .. } => ("delivered", "", "info"),
            Outcome::Retry { reason, .. } => ("retried", reason.as_str(), "warn"),
            Outcome::Refused { reason } => ("refused", reason.as_str(), "error"),
        };
        let fingerprints = job.alerts.iter().take(NAMED_MAX);
        let line = Line::Notification {
            outcome,
            receiver: &job.key.receiver,
            integration: &job.key.integration,
            index: job.key.index,
            group: &job.key.group_key,
            why: job.reason.as_str(),
            reason,
            alerts: job.alerts.len(),
            fingerprints: fingerprints.map(|alert| alert.for_templates().fingerprint).collect(),
            took_ms: took_ns.div_euclid(1_000_000),
        };
        self.append(vec![record(&line, level, t_ns)]);
    }

    fn append(&self, records: Vec<LogRecord>) {
        if records.is_empty() {
            return;
        }
        let rows = records.into_iter().collect();
        self.0.append_logs(
            LogBatch { source: Arc::from(SOURCE), rows, cursor: None },
            Done::ignore(),
        );
    }
}

fn record(line: &Line<'_>, level: &str, t_ns: i64) -> LogRecord {
    LogRecord {
        stream: Labels::from_pairs([("source", "taffrail"), ("stream", "alerts")]),
        t_ns,
        // Maps have texts as keys, so this cannot fail.
        line: serde_json::to_string(line).unwrap_or_default(),
        fields: Labels::from_pairs([("level", level)]),
    }
}
