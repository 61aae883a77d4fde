//! GELF, Graylog's format: messages as JSON, packed or not, in one datagram or in chunks, or framed by NUL.
//!
//! Owns: what members mean, unpacking, putting chunks together ([`Chunks`]), messages as they are ([`Message`]). Does not
//! own: sockets.
//!
//! The full message is the line, else the short one. Names lose the underscore that marks members of the sender's own.
//!
//! Source: Graylog, "GELF Payload Specification".

mod chunks;
mod message;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::str;

use model::{Result, text_of_bytes};

use crate::compression::{self, Body, Encoding};
use crate::document::{self, Documents, More, Roles};
use crate::pushed_lines::{Lines, Sent, Streams};
use crate::syslog::Priority;

pub use chunks::{Chunks, Given, Lost};
pub use message::Message;

/// What members of messages mean; those that programs and Docker's driver give are labels.
pub fn roles() -> Roles {
    let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    Roles {
        message: list(&["full_message", "short_message"]),
        time: list(&["timestamp"]),
        labels: list(&["host", "facility", "app", "service", "container_name", "image_name"]),
        ignored: list(&["version"]),
    }
}

/// A whole message, unpacked: by its first bytes it is gzip, zlib or plain.
///
/// # Errors
/// [`Limit`](model::ErrorKind::Limit) when it unpacks to more than `bytes_max`, [`Invalid`](model::ErrorKind::Invalid) when
/// it does not unpack.
pub fn unpack(message: &[u8], bytes_max: usize) -> Result<Body<'_>> {
    let packing = match message {
        [0x1f, 0x8b, ..] => Encoding::Gzip,
        [a, b, ..] if a & 15 == 8 && u16::from_be_bytes([*a, *b]).is_multiple_of(31) => {
            Encoding::Deflate
        }
        _ => Encoding::Identity,
    };
    compression::unpack(packing, message, bytes_max)
}

/// Adds the line that `message` is, a JSON object. Says whether it was added: one with too large fields is refused alone.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when it is no object, [`Limit`](model::ErrorKind::Limit) when `lines` hold too
/// much.
pub fn add(message: &[u8], roles: &Roles, streams: &Streams, lines: &mut Lines) -> Result<bool> {
    let text = text(message);
    let mut members = document::members(&text)?;
    let mut severity = None;
    for (path, value) in &mut members {
        match &**path {
            "level" => {
                let number = value.trim().parse::<u8>().ok().filter(|number| *number < 8);
                if let Some(priority) = number.and_then(Priority::new) {
                    *value = Cow::Borrowed(priority.level());
                    severity = Some(priority.severity_name());
                }
            }
            "timestamp" => {
                if let Some(plain) = without_exponent(value) {
                    *value = Cow::Owned(plain);
                }
            }
            _ => {
                if let Some(own) = path.strip_prefix('_') {
                    *path = own.to_owned();
                }
            }
        }
    }
    let short = members.iter().position(|(path, _)| path == "short_message");
    let full = members.iter().position(|(path, _)| path == "full_message");
    match (short, full) {
        // Nothing that the short one does not say.
        (Some(_), Some(full)) if members[full].1.is_empty() => drop(members.remove(full)),
        // The full one usually begins with the short one.
        (Some(short), Some(full)) if members[full].1.starts_with(&*members[short].1) => {
            members.remove(short);
        }
        _ => {}
    }
    let severity = severity.map(|name| [("severity", name)]);
    let fields = severity.as_ref().map_or(&[][..], |fields| fields);
    let more = More { labels: &[("job", "gelf")], fields };
    let mut documents = Documents::new(roles, streams);
    documents.add_members(&members, Sent::Absent, || Cow::Borrowed(text.trim()), &more, lines)
}

/// Some senders end their datagrams as if they were on a connection.
fn text(message: &[u8]) -> Cow<'_, str> {
    let end = message.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    text_of_bytes(message.get(..end).unwrap_or_default())
}

/// A `timestamp` of any spelling.
fn seconds_ns(text: &str) -> Option<i64> {
    document::time_ns(without_exponent(text).as_deref().unwrap_or(text))
}

/// A number that is spelled with an exponent, spelled without one.
fn without_exponent(text: &str) -> Option<String> {
    let seconds = text.contains(['e', 'E']).then(|| text.trim().parse::<f64>().ok())??;
    Some(format!("{seconds:.9}"))
}
