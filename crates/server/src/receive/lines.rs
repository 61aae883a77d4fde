//! Pushed log lines, whatever their format: bounds, known streams, handing them to the store, and what was corrected.
//!
//! Owns: counts of times that were replaced, by receiver and reason; labels that became fields, for figures and the
//! status page. Does not own: formats (`ingest`), what the store accepts.

use std::collections::BTreeMap;
use std::sync::Arc;

use ingest::logline::detected::detect_levels;
use ingest::pushed_lines::{self, Pushed, Streams};
use model::{Done, LogBatch, LogRows, Result, Sink};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::datagrams::kernel_drops;
use super::{Answer, Limits};
use crate::tenants::Owner;
use crate::{App, Figure};

/// Bytes of one line's fields: what the store takes.
const LINE_FIELDS_BYTES_MAX: usize = 64 << 10;

/// What receivers of log lines share.
#[derive(Debug)]
pub(crate) struct LineBook {
    pub(super) streams: Streams,
    /// Times replaced, by receiver and reason.
    corrected: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    /// What happened on sockets: event, receiver, reason.
    events: Mutex<BTreeMap<(&'static str, &'static str, &'static str), u64>>,
    /// Ports on which datagrams come, by receiver.
    ports: Mutex<Vec<(&'static str, u16)>>,
}

/// What is counted on sockets: event, figure, help.
const EVENTS: [(&str, &str, &str); 4] = [
    (
        "accepted",
        "taffrail_receive_connections_total",
        "Connections accepted by receivers that are not HTTP.",
    ),
    (
        "cut",
        "taffrail_receive_cut_messages_total",
        "Pushed messages that were cut as they are longer than a message may be.",
    ),
    (
        "ended",
        "taffrail_receive_ended_connections_total",
        "Connections that receivers closed before their senders did, by reason.",
    ),
    (
        "lost",
        "taffrail_receive_lost_datagrams_total",
        "Datagrams that came and could not be kept, by reason.",
    ),
];

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
            events: Mutex::default(),
            ports: Mutex::default(),
        }
    }

    /// Counts something that happened on a socket; returns how often it has now.
    pub(super) fn count(
        &self,
        event: &'static str,
        receiver: &'static str,
        reason: &'static str,
        count: u64,
    ) -> u64 {
        let mut events = self.events.lock();
        let counted = events.entry((event, receiver, reason)).or_default();
        *counted += count;
        *counted
    }

    /// Notes that datagrams come on `port`.
    pub(super) fn listens(&self, receiver: &'static str, port: u16) {
        self.ports.lock().push((receiver, port));
    }

    /// What happened on sockets.
    fn socket_figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let events = self.events.lock().clone();
        for (event, name, help) in EVENTS {
            let counted = events.iter().filter(|((of, _, _), _)| *of == event);
            for ((_, receiver, reason), count) in counted {
                let mut labels = vec![("receiver", (*receiver).to_owned())];
                if !reason.is_empty() {
                    labels.push(("reason", (*reason).to_owned()));
                }
                let value = *count as f64;
                figures.push(Figure { name, kind: "counter", help, labels, value });
            }
        }
        let ports = self.ports.lock().clone();
        if !ports.is_empty() {
            let tables = ["/proc/net/udp", "/proc/net/udp6"]
                .map(|path| std::fs::read_to_string(path).unwrap_or_default());
            for (receiver, port) in ports {
                let dropped: u64 = tables.iter().map(|table| kernel_drops(table, port)).sum();
                figures.push(Figure {
                    name: "taffrail_receive_kernel_dropped_datagrams_total",
                    kind: "counter",
                    help: "Datagrams that the kernel dropped as they came faster than they were taken.",
                    labels: vec![("receiver", receiver.to_owned())],
                    value: dropped as f64,
                });
            }
        }
        figures
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
        figures.extend(self.socket_figures());
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
        let events = self.events.lock();
        let sockets = events.iter().map(|((event, receiver, reason), count)| {
            serde_json::json!({"event": event, "receiver": receiver, "reason": reason, "count": count})
        });
        serde_json::json!({
            "sockets": sockets.collect::<Vec<_>>(),
            "correctedTimes": corrected.collect::<Vec<_>>(),
            "demotedLabels": demoted.collect::<Vec<_>>(),
        })
    }
}

/// [`hand_over`] of lines that are pushed as to Loki: they get their level as Loki finds it, and equal ones are stored
/// once, also within a request.
pub(super) fn hand_over_levelled(
    app: &App,
    owner: &Owner,
    source: &'static str,
    mut pushed: Pushed,
) -> Answer {
    detect_levels(&mut pushed.rows);
    owner.mark(&mut pushed);
    pushed.rows.set_may_repeat();
    hand_over(app, source, pushed)
}

/// [`hand_over`] of lines whose client pushes them once more when it gets no answer: they are stored once, those that are
/// equal within a request as often as it has them.
pub(super) fn hand_over_once(
    app: &App,
    owner: &Owner,
    source: &'static str,
    mut pushed: Pushed,
) -> Answer {
    owner.mark(&mut pushed);
    pushed.rows.set_equal_apart();
    pushed.rows.set_may_repeat();
    hand_over(app, source, pushed)
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
    send(&app.receivers.sink, source, pushed.rows)
}

pub(super) fn send(sink: &Arc<dyn Sink>, source: &'static str, rows: LogRows) -> Answer {
    if rows.is_empty() {
        return Answer(None);
    }
    let (sender, receiver) = oneshot::channel();
    let done = Done::new(move |outcome: Result<_>| {
        // The client went away; the lines are stored all the same.
        drop(sender.send(outcome));
    });
    sink.append_logs(LogBatch { source: Arc::from(source), rows, cursor: None }, done);
    Answer(Some(receiver))
}
