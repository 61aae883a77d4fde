//! Where the alerts of rules go: the seam between evaluation and notification.
//!
//! Does not own: which alerts are due (`evaluate`), external labels and relabelling (who evaluates rules applies them
//! before), what becomes of an alert behind the seam.

use std::collections::BTreeMap;

use model::Labels;

/// An alert as Alertmanagers take it. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostableAlert {
    /// Identity; with external labels, after relabelling.
    pub labels: Labels,
    /// Already expanded. Empty texts are kept.
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire.
    pub starts_ms: i64,
    /// When it was resolved; of one that fires, when it is to be taken for resolved unless it is sent again: a time
    /// after now.
    pub ends_ms: i64,
    /// Where its expression is shown.
    pub generator_url: String,
}

/// Takes alerts: an Alertmanager of this process, or a queue to others.
pub trait AlertSink: Send + Sync {
    /// Takes alerts that fire or were resolved. One that lasts comes again every minute or every interval of its group,
    /// whatever is longer; a resolved one for a quarter of an hour. Called from threads that evaluate rules, several at
    /// a time, so it returns soon. What cannot be taken is counted by the sink; nothing depends on it, because it comes
    /// again.
    fn send(&self, alerts: &[PostableAlert]);
}
