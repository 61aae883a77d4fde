//! What a syslog message becomes in a job of a `promtail.yml`.
//!
//! ```text
//!  __syslog_connection_ip_address, __syslog_connection_hostname        who sent it; the address stands for the name, too
//!  __syslog_message_severity, _facility, _hostname, _app_name, _proc_id, _msg_id
//!  __syslog_message_sd_<id>_<name>                                     with label_structured_data
//! ```

use std::sync::Arc;

use collect::lines::{Dropped, Intake, PushedLine};
use ingest::pushed_lines::Sent;
use ingest::relabel::{self, Rule};
use model::{Clock, Labels, LabelsBuilder};
use server::receive::syslog::{Delivered, Destination, Received};
use tokio_util::sync::CancellationToken;

use super::listeners::insist;
use crate::promtail_yml::Syslog;

/// A job that syslog messages go to.
pub(super) struct SyslogJob {
    pub(super) intake: Arc<Intake>,
    pub(super) config: Syslog,
    pub(super) relabel: Vec<Rule>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dropped: Arc<Dropped>,
    pub(super) cancel: CancellationToken,
}

impl Destination for SyslogJob {
    fn take(&self, received: &[Received<'_>]) -> Delivered {
        let now_ns = self.clock.now_ns();
        let lines = received.iter().zip(0_i64..).filter_map(|(received, number)| {
            line(&self.config, &self.relabel, received, now_ns.saturating_add(number))
        });
        let lines: Vec<PushedLine> = lines.collect();
        insist(&self.intake, lines, &self.dropped, &self.cancel)
    }
}

/// The line of a message that came at `now_ns`; `None` when relabelling drops it.
fn line(
    config: &Syslog,
    rules: &[Rule],
    received: &Received<'_>,
    now_ns: i64,
) -> Option<PushedLine> {
    let message = &received.message;
    let mut builder = LabelsBuilder::default();
    let peer = received.peer.ip().to_canonical().to_string();
    for name in ["ip_address", "hostname"] {
        builder.set(&format!("__syslog_connection_{name}"), &peer);
    }
    let priority = message.priority;
    for (name, value) in [
        ("severity", priority.map_or("", |priority| priority.severity_name())),
        ("facility", priority.map_or("", |priority| priority.facility_name())),
        ("hostname", message.host),
        ("app_name", message.app_name),
        ("proc_id", message.proc_id),
        ("msg_id", message.msg_id),
    ] {
        builder.set(&format!("__syslog_message_{name}"), value);
    }
    if config.label_structured_data {
        for element in &message.data {
            for (name, value) in &element.params {
                let name = format!("__syslog_message_sd_{}_{name}", element.id);
                let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
                builder.set(&name.chars().map(fits).collect::<String>(), value);
            }
        }
    }
    for (name, value) in &config.labels {
        builder.set(name, value);
    }
    if !relabel::apply(rules, &mut builder) {
        return None;
    }
    builder.retain(|name| !name.starts_with("__"));
    let is_whole = config.use_rfc5424_message || config.format == "raw";
    let t_ns = match message.sent {
        Sent::At(t_ns) if config.use_incoming_timestamp => t_ns,
        _ => now_ns,
    };
    let line = if is_whole { received.raw } else { message.text };
    let (stream, line) = (builder.build(), line.trim_end_matches(['\r', '\n']).to_owned());
    Some(PushedLine { stream, t_ns, line, fields: Labels::default() })
}

#[cfg(test)]
mod tests {
    use ingest::relabel::RuleConfig;
    use ingest::syslog::Reader;
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn messages_become_lines_with_the_labels_that_promtail_gives() {
        let map = RuleConfig {
            action: relabel::Action::parse("labelmap"),
            regex: Some("__syslog_(.*)".to_owned()),
            ..RuleConfig::default()
        };
        let rules = [Rule::new(map).unwrap()];
        let raw = "<165>1 2026-11-23T02:50:23Z h1 shop 42 ID47 [ex@1 k=\"v\"] it broke";
        let received = Received {
            peer: "[::ffff:10.0.0.7]:5000".parse().unwrap(),
            message: Reader::new(TimeZone::UTC, 0).read(raw),
            raw,
        };
        let mut config = Syslog {
            listen_address: String::new(),
            listen_protocol: "tcp".to_owned(),
            format: "rfc5424".to_owned(),
            idle_timeout_ns: 0,
            label_structured_data: true,
            use_incoming_timestamp: true,
            use_rfc5424_message: false,
            max_message_bytes: 8192,
            tls: None,
            tls_ca: None,
            labels: [("job".to_owned(), "syslog".to_owned())].into(),
        };
        let first = line(&config, &rules, &received, 7).unwrap();
        assert_eq!((first.line.as_str(), first.t_ns), ("it broke", 1_795_402_223_000_000_000));
        assert_eq!(
            first.stream.to_string(),
            "{connection_hostname=\"10.0.0.7\", connection_ip_address=\"10.0.0.7\", job=\"syslog\", \
             message_app_name=\"shop\", message_facility=\"local4\", message_hostname=\"h1\", \
             message_msg_id=\"ID47\", message_proc_id=\"42\", message_sd_ex_1_k=\"v\", \
             message_severity=\"notice\"}"
        );
        (config.use_incoming_timestamp, config.use_rfc5424_message) = (false, true);
        config.label_structured_data = false;
        let second = line(&config, &rules, &received, 7).unwrap();
        assert_eq!((second.line.as_str(), second.t_ns), (raw, 7));
        assert_eq!(second.stream.get("message_sd_ex_1_k"), None);
    }
}
