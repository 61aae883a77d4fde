//! What a GELF message becomes in a job of a `promtail.yml`: the message itself, as JSON, with what it says about its origin
//! as labels for relabelling.
//!
//! ```text
//!  __gelf_message_level        emergency, …, debug
//!  __gelf_message_host, __gelf_message_version, __gelf_message_facility
//! ```

use std::sync::Arc;

use collect::lines::{Dropped, Intake, PushedLine};
use ingest::gelf::Message;
use ingest::relabel::{self, Rule};
use model::{Clock, Error, Labels, LabelsBuilder};
use server::receive::gelf::{Batch, Delivered, Destination};
use tokio_util::sync::CancellationToken;

use super::listeners::insist;
use crate::promtail_yml::Gelf;

/// Bytes of lines handed over together. Datagrams that wait have 8 MiB; no sender packs its messages so much better.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// A job that GELF messages go to.
pub(super) struct GelfJob {
    pub(super) intake: Arc<Intake>,
    pub(super) config: Gelf,
    pub(super) relabel: Vec<Rule>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dropped: Arc<Dropped>,
    pub(super) cancel: CancellationToken,
}

impl Destination for GelfJob {
    fn begin(&self) -> Box<dyn Batch + '_> {
        Box::new(Lines { job: self, now_ns: self.clock.now_ns(), lines: Vec::new(), bytes: 0 })
    }
}

struct Lines<'a> {
    job: &'a GelfJob,
    /// Time of the next line.
    now_ns: i64,
    lines: Vec<PushedLine>,
    bytes: usize,
}

impl Batch for Lines<'_> {
    fn add(&mut self, message: &[u8]) {
        let message = match Message::read(message) {
            Ok(message) => message,
            Err(error) => return self.refuse(&error),
        };
        let Some(line) = line(&self.job.config, &self.job.relabel, message, self.now_ns) else {
            return;
        };
        self.now_ns = self.now_ns.saturating_add(1);
        if self.bytes + line.line.len() > BATCH_BYTES_MAX {
            return self.job.dropped.add("gelf_batch_too_large", 1);
        }
        self.bytes += line.line.len();
        self.lines.push(line);
    }

    fn refuse(&mut self, error: &Error) {
        tracing::debug!(%error, "a GELF message is refused");
        self.job.dropped.add("gelf_malformed", 1);
    }

    fn deliver(self: Box<Self>) -> Delivered {
        let GelfJob { intake, dropped, cancel, .. } = self.job;
        insist(intake, self.lines, dropped, cancel)
    }
}

/// The line of a message that came at `now_ns`; `None` when relabelling drops it.
fn line(config: &Gelf, rules: &[Rule], message: Message, now_ns: i64) -> Option<PushedLine> {
    let mut builder = LabelsBuilder::default();
    for (name, value) in &config.labels {
        builder.set(name, value);
    }
    for (name, value) in [
        ("__gelf_message_level", message.severity),
        ("__gelf_message_host", &message.host),
        ("__gelf_message_version", &message.version),
        ("__gelf_message_facility", &message.facility),
    ] {
        builder.set(name, value);
    }
    if !relabel::apply(rules, &mut builder) {
        return None;
    }
    builder.retain(|name| !name.starts_with("__"));
    let t_ns = message.sent_ns.filter(|_| config.use_incoming_timestamp).unwrap_or(now_ns);
    let (stream, fields) = (builder.build(), Labels::default());
    Some(PushedLine { stream, t_ns, line: message.line, fields })
}

#[cfg(test)]
mod tests {
    use ingest::relabel::{Action, RuleConfig};

    use super::*;

    #[test]
    fn messages_become_lines_with_the_labels_that_promtail_gives() {
        let map = RuleConfig {
            action: Action::parse("labelmap"),
            regex: Some("__gelf_message_(.*)".to_owned()),
            ..RuleConfig::default()
        };
        let drop = RuleConfig {
            action: Action::parse("drop"),
            source_labels: Some(vec!["__gelf_message_level".to_owned()]),
            regex: Some("debug".to_owned()),
            ..RuleConfig::default()
        };
        let rules = [map, drop].map(|config| Rule::new(config).unwrap());
        let mut config = Gelf {
            listen_address: String::new(),
            use_incoming_timestamp: true,
            labels: [("job".to_owned(), "gelf".to_owned())].into(),
        };
        let text = r#"{"version":"1.1","host":"h1","short_message":"it broke","timestamp":1795402223.25,"level":3,"facility":"shop"}"#;
        let read = |text: &str| Message::read(text.as_bytes()).unwrap();
        let first = line(&config, &rules, read(text), 7).unwrap();
        assert_eq!((first.line.as_str(), first.t_ns), (text, 1_795_402_223_250_000_000));
        assert_eq!(
            first.stream.to_string(),
            r#"{facility="shop", host="h1", job="gelf", level="error", version="1.1"}"#
        );
        config.use_incoming_timestamp = false;
        let second = line(&config, &rules, read(text), 7).unwrap();
        assert_eq!(second.t_ns, 7);
        let bare = line(&config, &rules, read("{}"), 7).unwrap();
        assert_eq!(bare.stream.to_string(), r#"{job="gelf"}"#);
        assert_eq!(line(&config, &rules, read(r#"{"level":7}"#), 7).map(|l| l.line), None);
    }
}
