//! Syslog messages: RFC 5424, RFC 3164 as it is written in the wild, and the frames around them on a connection.
//!
//! Owns: the parts of a message, its time (RFC 3164 has neither year nor zone: [`Reader`] supplies them), the names of
//! facilities and severities, and RFC 6587's framing ([`Frames`]). Does not own: which parts are labels, sockets.
//!
//! Nothing is refused: what is not in either format is the text of a message that has no other parts. Text is what
//! [`model::text_of_bytes`] makes of the bytes.
//!
//! Source: RFC 3164, 5424, 6587; RSYSLOG_ForwardFormat (an RFC 3339 time in RFC 3164's place).

mod frames;
mod lines;
mod rfc3164;
mod rfc5424;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use jiff::tz::TimeZone;

pub use frames::{Frame, Frames, Missing};
pub use lines::add;

use crate::pushed_lines::Sent;

/// Facility and severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priority(u8);

const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];
const SEVERITIES: [&str; 8] =
    ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];
/// The same as the levels that lines have elsewhere.
const LEVELS: [&str; 8] = ["fatal", "fatal", "fatal", "error", "warn", "info", "info", "debug"];

impl Priority {
    /// Of the number in a message's angle brackets; `None` above 191.
    pub fn new(number: u8) -> Option<Self> {
        (usize::from(number) < FACILITIES.len() * SEVERITIES.len()).then_some(Self(number))
    }

    /// 0 to 23.
    pub fn facility(self) -> u8 {
        self.0 / 8
    }

    /// 0 (emergency) to 7 (debug).
    pub fn severity(self) -> u8 {
        self.0 % 8
    }

    /// `kern`, `daemon`, `local0`, …
    pub fn facility_name(self) -> &'static str {
        FACILITIES[usize::from(self.facility())]
    }

    /// `emergency`, `warning`, `informational`, …
    pub fn severity_name(self) -> &'static str {
        SEVERITIES[usize::from(self.severity())]
    }

    /// `fatal`, `error`, `warn`, `info` or `debug`.
    pub fn level(self) -> &'static str {
        LEVELS[usize::from(self.severity())]
    }
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// With structured data.
    Rfc5424,
    /// The older one.
    Rfc3164,
    /// Neither; all of it is text, but for a priority.
    Bare,
}

/// An element of structured data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element<'a> {
    /// `exampleSDID@32473`
    pub id: &'a str,
    /// Names and values, these without escapes.
    pub params: Vec<(&'a str, Cow<'a, str>)>,
}

/// One message, borrowed from its text. Parts that are not there (`-` in RFC 5424) are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// How it was written.
    pub format: Format,
    /// Facility and severity.
    pub priority: Option<Priority>,
    /// Its time.
    pub sent: Sent<'a>,
    /// Host name.
    pub host: &'a str,
    /// Program; the tag of RFC 3164.
    pub app_name: &'a str,
    /// Process id or what stands in its place.
    pub proc_id: &'a str,
    /// Kind of message.
    pub msg_id: &'a str,
    /// Structured data.
    pub data: Vec<Element<'a>>,
    /// What it says.
    pub text: &'a str,
}

/// Reads messages; knows what RFC 3164's times leave out.
#[derive(Debug)]
pub struct Reader {
    zone: TimeZone,
    now_ns: i64,
}

impl Reader {
    /// A reader of messages that arrive at `now_ms`; times without a zone are in `zone`, those without a year in the
    /// last one in which they are not more than a day ahead.
    pub fn new(zone: TimeZone, now_ms: i64) -> Self {
        Self { zone, now_ns: now_ms.saturating_mul(1_000_000) }
    }

    /// Takes a message apart. Never fails: what is not understood is text.
    pub fn read<'a>(&self, text: &'a str) -> Message<'a> {
        let text = text.trim_end_matches(['\n', '\r', '\0']);
        let (priority, rest) = match priority(text) {
            Some((priority, rest)) => (Some(priority), rest),
            None => (None, text),
        };
        let message = if priority.is_some() { rfc5424::read(rest) } else { None };
        let mut message = message
            .or_else(|| rfc3164::read(rest, &self.zone, self.now_ns))
            .unwrap_or_else(|| Message::bare(rest));
        message.priority = priority;
        message
    }
}

impl<'a> Message<'a> {
    fn bare(text: &'a str) -> Self {
        Self {
            format: Format::Bare,
            priority: None,
            sent: Sent::Absent,
            host: "",
            app_name: "",
            proc_id: "",
            msg_id: "",
            data: Vec::new(),
            text,
        }
    }
}

/// The number in angle brackets at the beginning, and what follows.
fn priority(text: &str) -> Option<(Priority, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    if number.is_empty() || number.len() > 3 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((Priority::new(number.parse().ok()?)?, rest))
}
