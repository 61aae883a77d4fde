//! JSON objects as log lines: which of their members are the line, its time and its labels; the rest are fields.
//!
//! Members of objects inside are named by their path, `host.name`, which is also how senders may spell them at the top.
//! Lists stay JSON, and so do objects more than [`DEPTH_MAX`] deep. An object without a message is itself the line: its
//! members are in it already and become no fields.
//!
//! Does not own: what comes around the objects (`elastic.rs`, `jsonline.rs`).

use std::borrow::Cow;
use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use model::{Error, LabelsBuilder, Result};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::pushed_lines::{FIELDS_MAX, Fields, Lines, Sent, Streams, field_name, rfc3339_ns};

/// Objects inside each other that are taken apart.
pub const DEPTH_MAX: usize = 16;

/// What members mean, by their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// The line: the first that is there.
    pub message: Vec<String>,
    /// Its time, likewise.
    pub time: Vec<String>,
    /// Labels of its stream.
    pub labels: Vec<String>,
    /// Members that are left out; a path ending in `*` stands for all that begin so.
    pub ignored: Vec<String>,
}

impl Roles {
    fn is_ignored(&self, path: &str) -> bool {
        self.ignored.iter().any(|ignored| match ignored.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => ignored == path,
        })
    }
}

/// Adds objects to the lines of one request.
#[derive(Debug)]
pub struct Documents<'r> {
    roles: &'r Roles,
    streams: &'r Streams,
    spelling: String,
}

impl<'r> Documents<'r> {
    /// Objects whose members mean what `roles` says.
    pub fn new(roles: &'r Roles, streams: &'r Streams) -> Self {
        Self { roles, streams, spelling: String::new() }
    }

    /// Adds the line that `document` is; `more` are labels and fields that it does not name itself. Says whether it was
    /// added: one with too large fields is refused alone, in the words of `lines.refused`.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) when it is no JSON object; [`Limit`](model::ErrorKind::Limit) when the
    /// request holds too much.
    pub fn add(&mut self, document: &str, more: &More<'_>, lines: &mut Lines) -> Result<bool> {
        let members = members(document)?;
        self.add_members(&members, Sent::Absent, || Cow::Borrowed(document.trim()), more, lines)
    }

    /// As [`add`](Self::add), for an object that is taken apart already; `sent` is its time if no member is, `whole` spells
    /// all of it.
    ///
    /// # Errors
    /// [`Limit`](model::ErrorKind::Limit) when the request holds too much.
    pub(crate) fn add_members<'a>(
        &mut self,
        members: &'a [(String, Cow<'a, str>)],
        sent: Sent<'_>,
        whole: impl FnOnce() -> Cow<'a, str>,
        more: &More<'_>,
        lines: &mut Lines,
    ) -> Result<bool> {
        let place = |paths: &[String]| {
            paths.iter().find_map(|path| members.iter().position(|(known, _)| known == path))
        };
        let (message, time) = (place(&self.roles.message), place(&self.roles.time));
        let sent = match time.map(|at| &*members[at].1) {
            None => sent,
            Some(text) => time_ns(text).map_or(Sent::Unreadable(text), Sent::At),
        };
        let limits = *lines.limits();
        let mut labels = LabelsBuilder::default();
        let mut fields = Fields::default();
        for (name, value) in more.labels {
            labels.set(name, value);
        }
        for (name, value) in more.fields {
            fields.add(Cow::Borrowed(name), Cow::Borrowed(value));
        }
        for (at, (path, value)) in members.iter().enumerate() {
            if self.roles.labels.contains(path) && value.len() <= limits.value_bytes_max {
                labels.set(&field_name(Cow::Borrowed(path)), value);
            } else if message.is_some_and(|message| message != at)
                && time != Some(at)
                && !self.roles.is_ignored(path)
            {
                fields.add(Cow::Borrowed(path), Cow::Borrowed(value));
            }
        }
        let line = message.map_or_else(whole, |at| Cow::Borrowed(&*members[at].1));
        // No other syntax of spellings begins like this, and no name or value holds what stands between them here.
        self.spelling.clear();
        self.spelling.push_str("document");
        for (name, value) in labels.pairs() {
            for text in ["\n", name, "\n", &value.len().to_string(), "\n", value] {
                self.spelling.push_str(text);
            }
        }
        let stream = self.streams.of(&self.spelling, lines.now_ms(), || Ok(labels.build()))?;
        lines.push(&stream, sent, &line, &mut fields)
    }
}

/// Takes a JSON object apart: paths of its members and their texts.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when it is none.
pub(crate) fn members(document: &str) -> Result<Vec<(String, Cow<'_, str>)>> {
    let mut members = Vec::new();
    let mut json = serde_json::Deserializer::from_str(document);
    Object { path: "", depth: 0, members: &mut members }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|e| Error::invalid(format!("not a JSON object: {e}")))?;
    Ok(members)
}

/// What a document has beside its members.
#[derive(Debug, Clone, Copy, Default)]
pub struct More<'a> {
    /// Labels; a member of the same name wins.
    pub labels: &'a [(&'a str, &'a str)],
    /// Fields, likewise.
    pub fields: &'a [(&'a str, &'a str)],
}

/// A time as RFC 3339 has it, without an offset in UTC, or as a number since 1970 in seconds, milli-, micro- or
/// nanoseconds, which its size tells apart.
pub fn time_ns(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        let unit = match number.unsigned_abs() {
            0..100_000_000_000 => 1_000_000_000,
            100_000_000_000..100_000_000_000_000 => 1_000_000,
            100_000_000_000_000..100_000_000_000_000_000 => 1_000,
            _ => 1,
        };
        return Some(number.saturating_mul(unit));
    }
    if let Some((seconds, fraction)) = text.split_once('.')
        && let Ok(seconds) = seconds.parse::<u32>()
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        return Some(i64::from(seconds) * 1_000_000_000 + digits.parse::<i64>().ok()?);
    }
    rfc3339_ns(text).or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        let t = civil.to_zoned(TimeZone::UTC).ok()?.timestamp();
        i64::try_from(t.as_nanosecond()).ok()
    })
}

/// Takes an object apart into `members`: paths and texts.
struct Object<'m, 'a> {
    path: &'m str,
    depth: usize,
    members: &'m mut Vec<(String, Cow<'a, str>)>,
}

impl<'de> DeserializeSeed<'de> for Object<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, raw)) = map.next_entry::<Cow<'_, str>, &'de RawValue>()? {
            let path = if self.path.is_empty() {
                key.into_owned()
            } else {
                format!("{}.{key}", self.path)
            };
            let raw = raw.get();
            let value = match raw.as_bytes().first() {
                Some(b'{') if self.depth < DEPTH_MAX => {
                    let inner =
                        Object { path: &path, depth: self.depth + 1, members: &mut *self.members };
                    inner
                        .deserialize(&mut serde_json::Deserializer::from_str(raw))
                        .map_err(de::Error::custom)?;
                    continue;
                }
                Some(b'"') => text(raw).map_err(de::Error::custom)?,
                Some(b'n') => continue,
                _ => Cow::Borrowed(raw),
            };
            if self.members.len() >= FIELDS_MAX {
                return Err(de::Error::custom(format_args!("more than {FIELDS_MAX} members")));
            }
            self.members.push((path, value));
        }
        Ok(())
    }
}

/// A JSON string, borrowed if it has no escapes.
fn text(raw: &str) -> serde_json::Result<Cow<'_, str>> {
    match raw.get(1..raw.len().saturating_sub(1)) {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        _ => serde_json::from_str::<String>(raw).map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pushed_lines::SMALL;

    fn roles() -> Roles {
        let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        Roles {
            message: list(&["message", "log"]),
            time: list(&["@timestamp"]),
            labels: list(&["host.name"]),
            ignored: list(&["agent.*", "noise"]),
        }
    }

    fn read(document: &str) -> Result<String> {
        let (roles, streams) = (roles(), Streams::new(10_000, 100));
        let mut lines = Lines::new(&SMALL, 1_700_000_000_000);
        let more = More { labels: &[("index", "i")], fields: &[] };
        Documents::new(&roles, &streams).add(document, &more, &mut lines)?;
        let row = lines.rows.row(0);
        Ok(format!(
            "{} {} {} {}",
            row.stream.without("service_name"),
            row.t_ns,
            row.line,
            row.fields
        ))
    }

    #[test]
    fn members_find_their_roles() {
        let check = |document: &str, expected: &str| assert_eq!(read(document).unwrap(), expected);
        check(
            r#"{"@timestamp":"2023-11-14T22:13:20.5Z","message":"a\nb","host":{"name":"h","os":{"v":1.50}},
                "tags":["x", "y"],"none":null,"agent":{"id":"1"},"noise":true}"#,
            "{host_name=\"h\", index=\"i\"} 1700000000500000000 a\nb {host_os_v=\"1.50\", tags=\"[\\\"x\\\", \\\"y\\\"]\"}",
        );
        check(
            r#"{"log":"x","host.name":"h","@timestamp":1700000000123}"#,
            "{host_name=\"h\", index=\"i\"} 1700000000123000000 x {}",
        );
        check(r#" {"a":1} "#, "{index=\"i\"} 1700000000000000000 {\"a\":1} {}");
        check(
            r#"{"message":{"a":"b"},"@timestamp":"soon"}"#,
            "{index=\"i\"} 1700000000000000000 {\"message\":{\"a\":\"b\"},\"@timestamp\":\"soon\"} {original_timestamp=\"soon\"}",
        );
        for (document, words) in
            [("7", "expected an object"), ("{} x", "trailing"), ("{\"a\":", "EOF")]
        {
            let error = read(document).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
    }

    #[test]
    fn deep_objects_stay_json() {
        let deep =
            format!("{{\"message\":\"x\",{}1{}", "\"a\":{".repeat(20) + "\"a\":", "}".repeat(21));
        let read = read(&deep).unwrap();
        let name = vec!["a"; DEPTH_MAX + 1].join("_");
        assert!(read.contains(&format!("{{{name}=\"{{")), "{read}");
    }

    #[test]
    fn times_are_recognised_by_their_size() {
        let second = 1_700_000_000_000_000_000;
        for text in ["1700000000", "1700000000000", "1700000000000000", "1700000000000000000"] {
            assert_eq!(time_ns(text), Some(second), "{text}");
        }
        assert_eq!(time_ns("1700000000.25"), Some(second + 250_000_000));
        assert_eq!(time_ns("2023-11-14T22:13:20"), Some(second));
        assert_eq!(time_ns("2023-11-14 22:13:20"), Some(second));
        assert_eq!(time_ns("2023-11-14T23:13:20+01:00"), Some(second));
        for text in ["", "soon", "1.", "1.x", "-"] {
            assert_eq!(time_ns(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_bounded(noise in "[\\[\\]{}\",:a1nul. ]{0,80}") {
            for document in [noise.clone(), format!("{{\"a\":{noise}}}")] {
                let _refused = read(&document).is_ok();
            }
        }
    }
}
