//! Lifecycle events as log records, each stored exactly once, also across restarts of this process.
//!
//! The daemon keeps its last few hundred events and repeats them from a time on. The cursor of source `docker/events`
//! holds the newest time stored and the fingerprints of what was stored shortly before it:
//!
//! ```text
//!  cursor   version u8 = 1 | newest_ns i64 LE | { t_ns i64 LE, fingerprint u64 LE } …
//! ```
//!
//! Does not own: the connection and the inspection (`watch`).

use std::collections::VecDeque;

use ingest::docker::api::{self, Event, Inspected};
use model::{Labels, LogRecord};
use serde::Serialize;

/// Source key of the events' batches.
pub(crate) const EVENTS_SOURCE: &str = "docker/events";

/// Events of this span before the newest are asked for again; they may have been delivered out of order.
pub(crate) const OVERLAP_NS: i64 = 10_000_000_000;
/// Most fingerprints kept; the daemon itself keeps 256 events.
const FINGERPRINTS_MAX: usize = 512;
/// An exit and the daemon's event about it lie at most so far apart.
const DIE_SLACK_NS: i64 = 5_000_000_000;
const CURSOR_VERSION: u8 = 1;

/// How far the events have been stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EventCursor {
    newest_ns: i64,
    seen: VecDeque<(i64, u64)>,
}

impl EventCursor {
    /// Reads a stored cursor; damaged or unknown bytes count as none (the fingerprints only save repetition).
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (newest, rest) = rest.split_first_chunk::<8>()?;
        let mut seen = VecDeque::new();
        let mut rest = rest;
        while let Some((t, tail)) = rest.split_first_chunk::<8>() {
            let (fingerprint, tail) = tail.split_first_chunk::<8>()?;
            seen.push_back((i64::from_le_bytes(*t), u64::from_le_bytes(*fingerprint)));
            rest = tail;
        }
        (version == CURSOR_VERSION).then_some(Self { newest_ns: i64::from_le_bytes(*newest), seen })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![CURSOR_VERSION];
        bytes.extend(self.newest_ns.to_le_bytes());
        for (t_ns, fingerprint) in &self.seen {
            bytes.extend(t_ns.to_le_bytes());
            bytes.extend(fingerprint.to_le_bytes());
        }
        bytes
    }

    /// Time from which the daemon must be asked.
    pub(crate) fn since_ns(&self) -> i64 {
        let overlap = self.newest_ns.saturating_sub(OVERLAP_NS);
        match self.seen.front() {
            Some((oldest, _)) if self.seen.len() >= FINGERPRINTS_MAX => overlap.max(*oldest),
            _ => overlap.max(0),
        }
    }

    /// Notes an event; `false` when it is known.
    pub(crate) fn insert(&mut self, event: &Event) -> bool {
        let fingerprint = fingerprint(&[&event.id, &event.action, &event.t_ns.to_string()]);
        if self.seen.iter().any(|(_, f)| *f == fingerprint) {
            return false;
        }
        self.push(event.t_ns, fingerprint);
        if is_die(&event.action) {
            self.push(event.t_ns, fingerprint_of_death(&event.id));
        }
        self.advance(event.t_ns);
        true
    }

    /// Moves the newest time without an event: everything up to `t_ns` has been seen.
    pub(crate) fn advance(&mut self, t_ns: i64) {
        self.newest_ns = self.newest_ns.max(t_ns);
        let keep_ns = self.newest_ns.saturating_sub(OVERLAP_NS);
        while self
            .seen
            .front()
            .is_some_and(|(t, _)| *t < keep_ns || self.seen.len() > FINGERPRINTS_MAX)
        {
            self.seen.pop_front();
        }
    }

    /// Whether the end of container `id` at `finished_ns` happened unseen: after the newest stored time, or shortly
    /// before it without an event about it. An older end had its event stored with the events before the newest.
    pub(crate) fn missed_death(&self, id: &str, finished_ns: i64) -> bool {
        finished_ns > self.newest_ns.saturating_sub(DIE_SLACK_NS)
            && !self.knows_death(id, finished_ns)
    }

    /// Whether an event about that end is among those remembered.
    pub(crate) fn knows_death(&self, id: &str, finished_ns: i64) -> bool {
        let death = fingerprint_of_death(id);
        let from_ns = finished_ns.saturating_sub(DIE_SLACK_NS);
        self.seen.iter().any(|(t, f)| *f == death && *t >= from_ns)
    }

    /// Remembers that end without a record of it.
    pub(crate) fn note_death(&mut self, id: &str, finished_ns: i64) {
        self.push(finished_ns, fingerprint_of_death(id));
    }

    fn push(&mut self, t_ns: i64, fingerprint: u64) {
        let at = self.seen.partition_point(|(t, _)| *t <= t_ns);
        self.seen.insert(at, (t_ns, fingerprint));
    }
}

fn is_die(action: &str) -> bool {
    matches!(action, "die" | "died")
}

fn fingerprint_of_death(id: &str) -> u64 {
    fingerprint(&[id, "die"])
}

/// FNV-1a with separators; stays the same for ever, since it is stored.
fn fingerprint(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// What a record of an event says beyond the event itself.
#[derive(Debug, Default)]
pub(crate) struct Context<'a> {
    /// The container as inspected right after, where that succeeded.
    pub(crate) inspected: Option<&'a Inspected>,
    /// Whether an `oom` event came before this end.
    pub(crate) oom_seen: bool,
    /// Whether the event is reconstructed from the container's state.
    pub(crate) late: bool,
}

#[derive(Debug, Default, Serialize)]
struct EventLine<'a> {
    event: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_killed: Option<bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    health: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    signal: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    old_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    observed: &'static str,
}

/// The record of `event`.
pub(crate) fn record(event: &Event, context: &Context<'_>) -> LogRecord {
    let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
    let (action, detail) = event.action.split_once(':').unwrap_or((&event.action, ""));
    let action = match action {
        "died" => "die",
        "remove" => "destroy",
        other => other,
    };
    let mut line = EventLine {
        event: action,
        id: &event.id,
        name: attribute("name"),
        signal: attribute("signal"),
        old_name: attribute("oldName").trim_start_matches('/'),
        observed: if context.late { "late" } else { "" },
        ..EventLine::default()
    };
    if action == "die" {
        line.exit_code = exit_code(event).or_else(|| context.inspected.map(|i| i.state.exit_code));
        let killed = context.inspected.filter(|i| describes(i, event)).map(|i| i.state.oom_killed);
        line.oom_killed = Some(context.oom_seen || killed.unwrap_or(false));
    }
    if action == "health_status" {
        line.health = if detail.is_empty() { attribute("health_status") } else { detail.trim() };
    }
    let level = level(&line);
    LogRecord {
        stream: Labels::from_pairs([
            ("container", attribute("name")),
            ("image", attribute("image")),
            ("compose_project", attribute(api::COMPOSE_PROJECT)),
            ("compose_service", attribute(api::COMPOSE_SERVICE)),
            ("stream", "events"),
        ]),
        t_ns: event.t_ns,
        line: serde_json::to_string(&line).unwrap_or_else(|_| format!("{{\"event\":{action:?}}}")),
        fields: Labels::from_pairs([("level", level)]),
    }
}

/// The exit code an event carries.
pub(crate) fn exit_code(event: &Event) -> Option<i64> {
    ["exitCode", "containerExitCode"]
        .into_iter()
        .find_map(|name| event.attributes.get(name)?.parse().ok())
}

/// Whether the inspected state is the end that the event tells of, and not a later one.
fn describes(inspected: &Inspected, event: &Event) -> bool {
    !inspected.state.running
        && api::decode_time_ns(&inspected.state.finished_at)
            .is_some_and(|finished_ns| (finished_ns - event.t_ns).abs() <= DIE_SLACK_NS)
}

fn level(line: &EventLine<'_>) -> &'static str {
    match line.event {
        "oom" => "error",
        "die" if line.oom_killed == Some(true) => "error",
        "die" if line.exit_code != Some(0) => "warn",
        "health_status" if line.health == "unhealthy" => "warn",
        _ => "info",
    }
}

/// The `die` event of an end that no event told of.
pub(crate) fn late_death(inspected: &Inspected, finished_ns: i64) -> Event {
    let mut attributes = inspected.config.labels.clone();
    attributes.insert("name".to_owned(), inspected.name.trim_start_matches('/').to_owned());
    attributes.insert("image".to_owned(), inspected.config.image.clone());
    attributes.insert("exitCode".to_owned(), inspected.state.exit_code.to_string());
    Event {
        kind: "container".to_owned(),
        action: "die".to_owned(),
        id: inspected.id.clone(),
        attributes,
        t_ns: finished_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str, id: &str, t_ns: i64) -> Event {
        let attributes = [("name", "web"), ("image", "img"), ("exitCode", "137")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()));
        Event {
            kind: "container".into(),
            action: action.into(),
            id: id.into(),
            attributes: attributes.into(),
            t_ns,
        }
    }

    #[test]
    fn records_say_code_reason_and_level() {
        let context = Context { oom_seen: true, ..Context::default() };
        let got = record(&event("die", "c1", 5), &context);
        assert_eq!(
            got.line,
            r#"{"event":"die","id":"c1","name":"web","exit_code":137,"oom_killed":true}"#
        );
        assert_eq!(got.fields.get("level"), Some("error"));
        assert_eq!(got.stream.get("stream"), Some("events"));
        let got = record(&event("die", "c1", 5), &Context::default());
        assert_eq!(got.fields.get("level"), Some("warn"));
        let got = record(&event("health_status: unhealthy", "c1", 5), &Context::default());
        assert!(got.line.contains(r#""health":"unhealthy""#));
        assert_eq!(got.fields.get("level"), Some("warn"));
        let got = record(&event("start", "c1", 5), &Context { late: true, ..Context::default() });
        assert!(got.line.contains(r#""observed":"late""#));
        assert_eq!(got.fields.get("level"), Some("info"));
    }

    #[test]
    fn repeated_events_are_known_also_after_a_restart() {
        let mut cursor = EventCursor::default();
        let s = 1_000_000_000;
        assert!(cursor.insert(&event("start", "a", 100 * s)));
        assert!(cursor.insert(&event("die", "a", 101 * s)));
        assert!(cursor.insert(&event("die", "b", 101 * s)));
        let mut again = EventCursor::decode(&cursor.encode()).unwrap();
        assert_eq!(again, cursor);
        assert_eq!(again.since_ns(), 91 * s);
        assert!(!again.insert(&event("die", "a", 101 * s)));
        assert!(again.insert(&event("start", "a", 102 * s)));
        assert!(EventCursor::decode(&[9, 0]).is_none());
    }

    #[test]
    fn only_unseen_deaths_are_missed() {
        let s = 1_000_000_000;
        let mut cursor = EventCursor::default();
        cursor.insert(&event("die", "a", 100 * s));
        assert!(!cursor.missed_death("a", 100 * s - 5), "its event was stored");
        assert!(!cursor.missed_death("b", 50 * s), "long ago");
        assert!(cursor.missed_death("b", 130 * s));
        assert!(cursor.missed_death("b", 100 * s - 5), "between the last event and a crash");
    }

    #[test]
    fn fingerprints_are_bounded() {
        let mut cursor = EventCursor::default();
        for n in 0..5000 {
            assert!(cursor.insert(&event("start", &format!("c{n}"), 1_000_000_000_000 + n)));
        }
        assert!(cursor.encode().len() <= 9 + 16 * FINGERPRINTS_MAX);
        assert!(cursor.since_ns() >= 1_000_000_000_000 + 4000);
    }
}
