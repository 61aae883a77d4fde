//! Pushed log lines, whatever their format: bounds, known streams, handing them to the store, and what was corrected.
//!
//! Owns: counts of times that were replaced, by receiver and reason; labels that became fields, for figures and the
//! status page. Does not own: formats (`ingest`), what the store accepts.

use std::collections::BTreeMap;
use std::sync::Arc;

use ingest::pushed_lines::{self, Pushed, Streams};
use model::{Done, LogBatch, Result, Sink};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Answer, Limits};
use crate::{App, Figure};

/// Bytes of one line's fields: what the store takes.
const LINE_FIELDS_BYTES_MAX: usize = 64 << 10;

/// What receivers of log lines share.
#[derive(Debug)]
pub(crate) struct LineBook {
    pub(super) streams: Streams,
    /// Times replaced, by receiver and reason.
    corrected: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

/// Bounds of a request's lines.
pub(super) fn limits(limits: &Limits) -> pushed_lines::Limits {
    pushed_lines::Limits {
        rows_max: limits.rows_max,
        labels_max: limits.labels_max,
        name_bytes_max: limits.name_bytes_max,
        value_bytes_max: limits.value_bytes_max,
        line_fields_bytes_max: LINE_FIELDS_BYTES_MAX,
        field_bytes_max: limits.label_bytes_max(),
        future_ms_max: limits.future_ms_max,
    }
}

impl LineBook {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            streams: Streams::new(limits.known_bytes_max / 8, limits.label_values_max),
            corrected: Mutex::default(),
        }
    }

    /// Figures for `/metrics`.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for ((receiver, reason), count) in &*self.corrected.lock() {
            figures.push(Figure {
                name: "taffrail_receive_corrected_times_total",
                kind: "counter",
                help: "Pushed log lines stored under the time they arrived at, by what was wrong with their own.",
                labels: vec![("receiver", (*receiver).to_owned()), ("reason", (*reason).to_owned())],
                value: *count as f64,
            });
        }
        for demoted in self.streams.demoted() {
            figures.push(Figure {
                name: "taffrail_receive_demoted_labels_total",
                kind: "counter",
                help: "Streams of pushed log lines of which a label became a field because it has too many values.",
                labels: vec![("label", demoted.name)],
                value: demoted.streams as f64,
            });
        }
        figures
    }

    /// The same for the status page.
    pub(crate) fn status(&self) -> serde_json::Value {
        let corrected = self.corrected.lock();
        let corrected = corrected.iter().map(|((receiver, reason), lines)| {
            serde_json::json!({"receiver": receiver, "reason": reason, "lines": lines})
        });
        let demoted = self.streams.demoted();
        let demoted = demoted
            .iter()
            .map(|demoted| serde_json::json!({"label": demoted.name, "streams": demoted.streams}));
        serde_json::json!({
            "correctedTimes": corrected.collect::<Vec<_>>(),
            "demotedLabels": demoted.collect::<Vec<_>>(),
        })
    }
}

/// Books what `pushed` holds beside its lines, and hands those to the store; off the runtime's workers.
pub(super) fn hand_over(app: &App, source: &'static str, pushed: Pushed) -> Answer {
    let book = &app.receivers.lines;
    if pushed.refused.rows > 0 {
        app.host.refused_lines(source, pushed.refused.rows);
    }
    for (reason, count) in pushed.corrected.by_reason() {
        if count > 0 {
            *book.corrected.lock().entry((source, reason)).or_default() += count;
        }
    }
    for label in book.streams.news() {
        tracing::warn!(
            label,
            max = app.receivers.limits.label_values_max,
            "label of pushed logs has too many values; further ones become a field of their lines"
        );
    }
    send(&app.receivers.sink, source, pushed)
}

fn send(sink: &Arc<dyn Sink>, source: &'static str, pushed: Pushed) -> Answer {
    if pushed.rows.is_empty() {
        return Answer(None);
    }
    let (sender, receiver) = oneshot::channel();
    let done = Done::new(move |outcome: Result<_>| {
        // The client went away; the lines are stored all the same.
        drop(sender.send(outcome));
    });
    sink.append_logs(LogBatch { source: Arc::from(source), rows: pushed.rows, cursor: None }, done);
    Answer(Some(receiver))
}
