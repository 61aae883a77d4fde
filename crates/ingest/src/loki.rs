//! Loki's push requests: protobuf and JSON, the present one and that of `/api/prom/push`.
//!
//! Owns: the messages, the syntax of label sets (`labels.rs`), and what Loki says of streams it refuses, in its words.
//! Does not own: times, fields and streams that come again ([`pushed_lines`](crate::pushed_lines)), compression, HTTP.
//!
//! A stream that is not acceptable is refused alone; bytes that are no push request refuse the whole.
//!
//! Source: Loki HTTP API, "Ingest logs"; `push.proto`.

mod json;
pub mod labels;
mod protobuf;
#[cfg(test)]
mod tests;

use model::{Labels, Result};

use crate::pushed_lines::{Limits, Lines, Pushed, Streams};

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `logproto.PushRequest`
    Protobuf,
    /// JSON, in either form.
    Json,
}

impl Encoding {
    /// The one a `Content-Type` header names: JSON, or protobuf whatever else it says, as in Loki.
    pub fn from_content_type(content_type: &str) -> Self {
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        if media_type.eq_ignore_ascii_case("application/json") {
            Self::Json
        } else {
            Self::Protobuf
        }
    }
}

/// What Loki says, with status 422, of a request without streams.
pub const NO_STREAMS: &str = "error at least one valid stream is required for ingestion";

/// What Loki says of a stream without labels.
const NO_LABELS: &str = "error at least one label pair is required per stream";

/// Labels of one stream, or fields of one line, that are read at all.
const PAIRS_MAX: usize = 4_096;

/// Bytes of a stream's spelling that an error shows.
const SHOWN_BYTES_MAX: usize = 1_024;

/// Reads an unpacked request that came at `now_ms`. `None` when it names no stream.
///
/// Cost: one pass; lines are copied once, into the rows. Labels of a known stream are looked up by their spelling.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when the body is no push request, naming the place;
/// [`Limit`](model::ErrorKind::Limit) beyond a bound.
pub fn decode(
    encoding: Encoding,
    body: &[u8],
    limits: &Limits,
    streams: &Streams,
    now_ms: i64,
) -> Result<Option<Pushed>> {
    // The lines of a request take less than the request.
    let mut lines = Lines::with_room(limits, now_ms, body.len());
    let count = match encoding {
        Encoding::Protobuf => protobuf::decode(body, &mut lines, streams)?,
        Encoding::Json => json::decode(body, &mut lines, streams)?,
    };
    Ok((count > 0).then(|| lines.finish()))
}

/// The labels of `pairs` if they are acceptable.
fn checked<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    limits: &Limits,
) -> Result<Labels, String> {
    let shown = || {
        let labels = Labels::from_pairs(pairs.clone());
        cut(&labels.to_string(), SHOWN_BYTES_MAX).to_owned()
    };
    let mut names: Vec<&str> = Vec::new();
    for (name, value) in pairs.clone() {
        if names.len() >= limits.labels_max {
            let count = pairs.clone().count();
            return Err(format!(
                "entry for stream '{}' has {count} label names; limit {}",
                shown(),
                limits.labels_max
            ));
        }
        if name.len() > limits.name_bytes_max {
            let name = cut(name, SHOWN_BYTES_MAX);
            return Err(format!("stream '{}' has label name too long: '{name}'", shown()));
        }
        if value.len() > limits.value_bytes_max {
            let value = cut(value, SHOWN_BYTES_MAX);
            return Err(format!("stream '{}' has label value too long: '{value}'", shown()));
        }
        names.push(name);
    }
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows().find(|[a, b]| a == b) {
        return Err(format!("stream '{}' has duplicate label name: '{name}'", shown()));
    }
    let labels = Labels::from_pairs(pairs);
    if labels.is_empty() { Err(NO_LABELS.to_owned()) } else { Ok(labels) }
}

/// At most `bytes_max` of `text`.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}
