//! Fluentd's forward protocol, version 1: messages in all of their modes, and the words of its handshake.
//!
//! Owns: single messages, batches as arrays, packed batches, and packed and compressed ones; their times; the `chunk`s that
//! are to be acknowledged. Does not own: connections, secrets, what the records' members mean
//! ([`document`](crate::document)).
//!
//! A record becomes an object as if it had come as JSON. What is no event inside a well-formed message is refused alone.
//!
//! Source: Fluentd, "Forward Protocol Specification v1"; Fluent Bit's events with metadata (`[[time, {}], record]`).

mod record;
#[cfg(test)]
mod tests;

use model::{Error, ErrorKind, Result, text_of_bytes};

use crate::compression::{self, Encoding};
use crate::document::{Documents, More, Roles};
use crate::messagepack::{Reader, Value, Writer};
use crate::pushed_lines::{Lines, Sent, Streams};

/// Bytes of a tag.
const TAG_BYTES_MAX: usize = 1_024;
/// Bytes of a chunk's name.
const CHUNK_BYTES_MAX: usize = 1_024;
/// The type of Fluentd's times with nanoseconds.
const EVENT_TIME: i8 = 0;

/// Names of the client's messages before it may send events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping<'a> {
    /// What the client calls itself.
    pub host: &'a [u8],
    /// What it adds to the shared key.
    pub salt: &'a [u8],
    /// Hexadecimal digest that shows that it knows the key.
    pub digest: &'a [u8],
}

/// What the members of records mean: `message`, `log` or `msg` is the line; names that programs and container engines give
/// are labels.
pub fn roles() -> Roles {
    let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    Roles {
        message: list(&["message", "log", "msg"]),
        time: Vec::new(),
        labels: list(&[
            "service",
            "app",
            "container_name",
            "host",
            "hostname",
            "kubernetes.namespace_name",
            "kubernetes.pod_name",
            "kubernetes.container_name",
        ]),
        ignored: Vec::new(),
    }
}

/// Reads messages of one connection.
#[derive(Debug)]
pub struct Decoder<'r> {
    roles: &'r Roles,
    streams: &'r Streams,
    unpacked_bytes_max: usize,
}

impl<'r> Decoder<'r> {
    /// Messages whose packed entries unpack to at most `unpacked_bytes_max`.
    pub fn new(roles: &'r Roles, streams: &'r Streams, unpacked_bytes_max: usize) -> Self {
        Self { roles, streams, unpacked_bytes_max }
    }

    /// Adds the events of one message, which `message` holds whole, to `lines`. Returns the chunk to acknowledge, if that
    /// is asked for.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when it is no message, [`Limit`](ErrorKind::Limit) when it holds too much.
    pub fn message<'m>(&self, message: &'m [u8], lines: &mut Lines) -> Result<Option<&'m [u8]>> {
        let mut reader = Reader::new(message);
        let count = match reader.value()? {
            // A sign of life.
            Value::Nil => return Ok(None),
            Value::Array(count) => count,
            other => return Err(unlike("an array as message", &other)),
        };
        let tag = match reader.value()? {
            Value::Text(tag) | Value::Bytes(tag) if tag.len() <= TAG_BYTES_MAX => tag,
            Value::Text(tag) | Value::Bytes(tag) => {
                let len = tag.len();
                return Err(too_large(format!("tag of {len} bytes; the limit is {TAG_BYTES_MAX}")));
            }
            other => return Err(unlike("a text as tag", &other)),
        };
        let tag = text_of_bytes(tag);
        let mut ahead = reader.clone();
        match ahead.value()? {
            Value::Array(entries) => {
                let is_timed = count > 2 && self.is_time_with_metadata(entries, ahead.clone());
                if is_timed {
                    self.event(&tag, &mut reader, lines)?;
                    return option(&mut reader, count.saturating_sub(3)).map(|o| o.chunk);
                }
                reader = ahead;
                for _ in 0..entries {
                    self.entry(&tag, &mut reader, lines)?;
                }
                option(&mut reader, count.saturating_sub(2)).map(|o| o.chunk)
            }
            Value::Bytes(entries) | Value::Text(entries) => {
                reader = ahead;
                let option = option(&mut reader, count.saturating_sub(2))?;
                let entries =
                    compression::unpack(option.packing, entries, self.unpacked_bytes_max)?;
                let mut packed = Reader::new(&entries);
                while !packed.is_at_end() {
                    self.entry(&tag, &mut packed, lines)?;
                }
                Ok(option.chunk)
            }
            _ => {
                self.event(&tag, &mut reader, lines)?;
                option(&mut reader, count.saturating_sub(3)).map(|o| o.chunk)
            }
        }
    }

    /// Whether the array at hand is `[time, {metadata}]`, with a record behind it, and not a list of entries.
    fn is_time_with_metadata(&self, count: usize, mut array: Reader<'_>) -> bool {
        count == 2 && !matches!(array.value(), Ok(Value::Array(_)) | Err(_))
    }

    /// `[time, record]`
    fn entry(&self, tag: &str, reader: &mut Reader<'_>, lines: &mut Lines) -> Result<()> {
        match reader.value()? {
            Value::Array(2) => self.event(tag, reader, lines),
            other => Err(unlike("[time, record] as entry", &other)),
        }
    }

    /// A time and a record.
    fn event(&self, tag: &str, reader: &mut Reader<'_>, lines: &mut Lines) -> Result<()> {
        let mut members = Vec::new();
        let t_ns = match reader.value()? {
            Value::Array(2) => {
                let t_ns = time(reader.value()?);
                record::members(reader, &mut members)?;
                t_ns
            }
            value => time(value),
        };
        let t_ns = t_ns.ok_or_else(|| {
            Error::invalid("an event's time is neither a number nor an EventTime")
        })?;
        let at = reader.clone();
        let Some(()) = record::members(reader, &mut members)? else {
            lines.refused.add(1, "an event's record is not a map");
            return Ok(());
        };
        let whole = || record::json(at).into();
        let more = More { labels: &[("job", "fluent"), ("tag", tag)], fields: &[] };
        let mut documents = Documents::new(self.roles, self.streams);
        documents.add_members(&members, Sent::At(t_ns), whole, &more, lines)?;
        Ok(())
    }
}

/// A time as Unix nanoseconds.
fn time(value: Value<'_>) -> Option<i64> {
    const SECOND_NS: i64 = 1_000_000_000;
    match value {
        Value::Int(s) => Some(s.saturating_mul(SECOND_NS)),
        Value::Float(s) if s.is_finite() => Some((s * 1e9) as i64),
        Value::Extension(EVENT_TIME, bytes) => {
            let (s, ns) = bytes.split_first_chunk::<4>()?;
            let ns: [u8; 4] = ns.try_into().ok()?;
            let (s, ns) = (u32::from_be_bytes(*s), u32::from_be_bytes(ns));
            Some(i64::from(s) * SECOND_NS + i64::from(ns))
        }
        _ => None,
    }
}

/// What a message says beside its events.
struct Asked<'m> {
    chunk: Option<&'m [u8]>,
    packing: Encoding,
}

/// The last value of a message, of which `left` are to come.
fn option<'m>(reader: &mut Reader<'m>, left: usize) -> Result<Asked<'m>> {
    let mut asked = Asked { chunk: None, packing: Encoding::Identity };
    if left == 0 {
        return Ok(asked);
    }
    let pairs = match reader.value()? {
        Value::Map(pairs) => pairs,
        Value::Nil => 0,
        other => return Err(unlike("a map as option", &other)),
    };
    for _ in 0..pairs {
        let key = reader.value()?;
        let mut ahead = reader.clone();
        match (key, ahead.value()?) {
            (Value::Text(b"chunk"), Value::Text(chunk) | Value::Bytes(chunk)) => {
                if chunk.len() > CHUNK_BYTES_MAX {
                    let len = chunk.len();
                    let why =
                        format!("chunk's name of {len} bytes; the limit is {CHUNK_BYTES_MAX}");
                    return Err(too_large(why));
                }
                asked.chunk = Some(chunk);
            }
            (Value::Text(b"compressed"), Value::Text(name)) => {
                let name = String::from_utf8_lossy(name);
                asked.packing = match &*name {
                    "text" => Encoding::Identity,
                    name => Encoding::from_header(name).ok_or_else(|| {
                        Error::invalid(format!(
                            "entries are compressed by {name:.32?}; gzip and zstd are supported"
                        ))
                    })?,
                };
            }
            _ => {}
        }
        reader.skip()?;
    }
    Ok(asked)
}

/// The client's answer to our greeting.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) when it is something else.
pub fn ping(message: &[u8]) -> Result<Ping<'_>> {
    let mut reader = Reader::new(message);
    let (head, name) = (reader.value()?, reader.value()?);
    if !matches!(head, Value::Array(4..)) || name != Value::Text(b"PING") {
        return Err(Error::invalid(
            "PING was expected before events, as a shared key is configured",
        ));
    }
    let mut next = || match reader.value()? {
        Value::Text(part) | Value::Bytes(part) => Ok(part),
        other => Err(unlike("a text in PING", &other)),
    };
    Ok(Ping { host: next()?, salt: next()?, digest: next()? })
}

/// Our greeting.
pub fn hello(nonce: &[u8]) -> Vec<u8> {
    Writer::default()
        .array(2)
        .text(b"HELO")
        .map(3)
        .text(b"nonce")
        .bytes(nonce)
        .text(b"auth")
        .text(b"")
        .text(b"keepalive")
        .bool(true)
        .finish()
}

/// Our answer to [`Ping`]: whether the client may go on, why not, and the digest that shows that we know the key.
pub fn pong(outcome: Result<&[u8], &str>, host: &[u8]) -> Vec<u8> {
    let (why, host, digest) = match outcome {
        Ok(digest) => ("", host, digest),
        Err(why) => (why, &[][..], &[][..]),
    };
    let pong = Writer::default().array(5).text(b"PONG").bool(outcome.is_ok());
    pong.text(why.as_bytes()).text(host).text(digest).finish()
}

/// The acknowledgement of a chunk.
pub fn acknowledgement(chunk: &[u8]) -> Vec<u8> {
    Writer::default().map(1).text(b"ack").text(chunk).finish()
}

fn unlike(expected: &str, value: &Value<'_>) -> Error {
    let what = match value {
        Value::Nil => "nil",
        Value::Bool(_) => "a bool",
        Value::Int(_) | Value::Large(_) | Value::Float(_) => "a number",
        Value::Text(_) => "a text",
        Value::Bytes(_) => "bytes",
        Value::Array(_) => "an array",
        Value::Map(_) => "a map",
        Value::Extension(..) => "an extension",
    };
    Error::invalid(format!(
        "not a message of the forward protocol: expected {expected}, found {what}"
    ))
}

fn too_large(why: String) -> Error {
    Error::new(ErrorKind::Limit, why)
}
