//! JSON push requests, read stream by stream: `{"streams":[{"stream":{…},"values":[["ns","line",{…}]]}]}`, and
//! `{"streams":[{"labels":"{…}","entries":[{"ts":"…","line":"…"}]}]}` as `/api/prom/push` had it.
//!
//! A stream's labels may stand behind its lines, so both are found first and then read; nothing is kept per line but
//! its row.

use std::borrow::Cow;
use std::fmt;

use model::{Error, Result};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{PAIRS_MAX, checked, cut, labels};
use crate::pushed_lines::{Fields, Lines, Sent, Stream, Streams, rfc3339_ns};

/// Reads a request into `lines`; returns the number of its streams.
pub(super) fn decode(body: &[u8], lines: &mut Lines, streams: &Streams) -> Result<u64> {
    let mut reader = Reader { lines, streams, count: 0, failed: None };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = json.deserialize_map(Body(&mut reader)).and_then(|()| json.end());
    if let Some(failed) = reader.failed {
        return Err(failed);
    }
    read.map_err(|e| Error::invalid(format!("body is not a JSON push request: {e}")))?;
    Ok(reader.count)
}

struct Reader<'r> {
    lines: &'r mut Lines,
    streams: &'r Streams,
    count: u64,
    /// A bound that was reached, while serde only knows that it has to stop.
    failed: Option<Error>,
}

/// One stream, its parts not read yet.
#[derive(Deserialize)]
struct RawStream<'a> {
    #[serde(borrow, default)]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default)]
    values: Option<&'a RawValue>,
    #[serde(borrow, default)]
    labels: Option<Text<'a>>,
    #[serde(borrow, default)]
    entries: Option<&'a RawValue>,
}

impl Reader<'_> {
    fn stream<E: de::Error>(&mut self, raw: &RawStream<'_>) -> Result<(), E> {
        self.count += 1;
        let stream = match self.labels(raw)? {
            Ok(stream) => Some(stream),
            Err(refusal) => {
                self.lines.refused.add(0, refusal);
                None
            }
        };
        for (raw, is_old) in [(raw.values, false), (raw.entries, true)] {
            let Some(raw) = raw.filter(|raw| raw.get() != "null") else { continue };
            let entries = Entries { reader: self, stream: stream.as_ref(), is_old };
            let mut json = serde_json::Deserializer::from_str(raw.get());
            json.deserialize_seq(entries).map_err(|e| {
                let what = if is_old { "entries" } else { "values" };
                E::custom(format_args!("{what} of a stream: {e}"))
            })?;
        }
        Ok(())
    }

    /// The stream, or why it is refused.
    fn labels<E: de::Error>(&self, raw: &RawStream<'_>) -> Result<Result<Stream, String>, E> {
        let limits = *self.lines.limits();
        let mut malformed = None;
        // An object has `:` where a label set has `=`: no text is a spelling in both syntaxes.
        let outcome = match (raw.stream, &raw.labels) {
            (Some(object), _) => self.streams.of(object.get(), self.lines.now_ms(), || {
                let pairs: LabelPairs<'_> = serde_json::from_str(object.get()).map_err(|e| {
                    malformed = Some(e.to_string());
                    Error::invalid("")
                })?;
                let pairs = &pairs.0;
                if let Some((name, _)) = pairs.iter().find(|(name, _)| !labels::is_name(name)) {
                    return Err(Error::invalid(format!(
                        "Error parsing labels '{}' with error: {name:.64?} is not a valid label name",
                        cut(object.get(), super::SHOWN_BYTES_MAX)
                    )));
                }
                checked(pairs.iter().map(|(name, value)| (&**name, &**value)), &limits)
                    .map_err(Error::invalid)
            }),
            (None, Some(text)) => self.streams.of(&text.0, self.lines.now_ms(), || {
                let pairs = labels::parse(&text.0, PAIRS_MAX).map_err(|why| {
                    let text = cut(&text.0, super::SHOWN_BYTES_MAX);
                    Error::invalid(format!("Error parsing labels '{text}' with error: {why}"))
                })?;
                checked(pairs.iter().map(|(name, value)| (&**name, &**value)), &limits)
                    .map_err(Error::invalid)
            }),
            (None, None) => Err(Error::invalid(super::NO_LABELS)),
        };
        match malformed {
            Some(why) => Err(E::custom(format_args!("labels of a stream: {why}"))),
            None => Ok(outcome.map_err(|refusal| refusal.message().to_owned())),
        }
    }
}

struct Body<'r, 's>(&'r mut Reader<'s>);

impl<'de> Visitor<'de> for Body<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with streams")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if key.0 == "streams" {
                map.next_value_seed(StreamList(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct StreamList<'r, 's>(&'r mut Reader<'s>);

impl<'de> DeserializeSeed<'de> for StreamList<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for StreamList<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of streams")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(stream) = list.next_element::<RawStream<'de>>()? {
            self.0.stream(&stream)?;
        }
        Ok(())
    }
}

struct Entries<'r, 's, 't> {
    reader: &'r mut Reader<'s>,
    /// `None` when it is refused.
    stream: Option<&'t Stream>,
    is_old: bool,
}

impl<'de> Visitor<'de> for Entries<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of lines")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let is_old = self.is_old;
        while let Some(entry) = list.next_element_seed(Entry { is_old })? {
            let Some(mut entry) = entry else { continue };
            let Some(stream) = self.stream else {
                self.reader.lines.refused.rows += 1;
                continue;
            };
            let lines = &mut self.reader.lines;
            if let Err(e) = lines.push(stream, entry.sent, &entry.line, &mut entry.fields) {
                self.reader.failed = Some(e);
                return Err(de::Error::custom("over a limit"));
            }
        }
        Ok(())
    }
}

struct Line<'a> {
    sent: Sent<'static>,
    line: Cow<'a, str>,
    fields: Fields<'a>,
}

/// One line; `null` is none.
struct Entry {
    is_old: bool,
}

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = Option<Line<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entry {
    type Value = Option<Line<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_old {
            "{\"ts\": …, \"line\": …}"
        } else {
            "[time, line, fields]"
        })
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        if self.is_old {
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
        }
        let missing = |what| move || de::Error::custom(format_args!("a line without {what}"));
        let Nanoseconds(t_ns) = list.next_element()?.ok_or_else(missing("time"))?;
        let Text(line) = list.next_element()?.ok_or_else(missing("text"))?;
        let fields: Option<Option<Fields<'de>>> =
            list.next_element::<Option<Pairs<'de>>>()?.map(|pairs| pairs.map(Pairs::into_fields));
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Some(Line { sent: Sent::At(t_ns), line, fields: fields.flatten().unwrap_or_default() }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        if !self.is_old {
            return Err(de::Error::invalid_type(de::Unexpected::Map, &self));
        }
        let mut found =
            Line { sent: Sent::Absent, line: Cow::Borrowed(""), fields: Fields::default() };
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "ts" => {
                    let Text(text) = map.next_value()?;
                    let t_ns = rfc3339_ns(&text).ok_or_else(|| {
                        de::Error::custom(format_args!(
                            "ts {text:.64?} is not a time as RFC 3339 has it"
                        ))
                    })?;
                    found.sent = Sent::At(t_ns);
                }
                "line" => found.line = map.next_value::<Text<'de>>()?.0,
                "structuredMetadata" => {
                    found.fields = map
                        .next_value::<Option<Pairs<'de>>>()?
                        .map(Pairs::into_fields)
                        .unwrap_or_default();
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(found))
    }
}

/// A text, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Unix nanoseconds, as a text or a whole number.
struct Nanoseconds(i64);

struct NanosecondsVisitor;

impl Visitor<'_> for NanosecondsVisitor {
    type Value = Nanoseconds;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time in nanoseconds as a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Nanoseconds, E> {
        text.parse().map(Nanoseconds).map_err(|_| {
            E::custom(format_args!("time {text:.64?} is not a whole number of nanoseconds"))
        })
    }

    fn visit_i64<E: de::Error>(self, t_ns: i64) -> Result<Nanoseconds, E> {
        Ok(Nanoseconds(t_ns))
    }

    fn visit_u64<E: de::Error>(self, t_ns: u64) -> Result<Nanoseconds, E> {
        Ok(Nanoseconds(i64::try_from(t_ns).unwrap_or(i64::MAX)))
    }
}

impl<'de> Deserialize<'de> for Nanoseconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NanosecondsVisitor)
    }
}

/// Names and texts in the order of an object.
struct Pairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Pairs<'a> {
    fn into_fields(self) -> Fields<'a> {
        let mut fields = Fields::default();
        for (name, value) in self.0 {
            fields.add(name, value);
        }
        fields
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Text(name), Text(value))) = map.next_entry()? {
            if pairs.len() >= PAIRS_MAX {
                return Err(de::Error::custom(format_args!(
                    "more than {PAIRS_MAX} fields of a line"
                )));
            }
            pairs.push((name, value));
        }
        Ok(Pairs(pairs))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

/// Labels in the order of an object; as in Loki, a value that is no string is its JSON.
struct LabelPairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

struct LabelPairsVisitor;

impl<'de> Visitor<'de> for LabelPairsVisitor {
    type Value = LabelPairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LabelPairs<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Text(name), raw)) = map.next_entry::<_, &'de RawValue>()? {
            if pairs.len() >= PAIRS_MAX {
                return Err(de::Error::custom(format_args!("more than {PAIRS_MAX} labels")));
            }
            let value = if raw.get().starts_with('"') {
                serde_json::from_str::<Text<'de>>(raw.get()).map_err(de::Error::custom)?.0
            } else {
                Cow::Borrowed(raw.get())
            };
            pairs.push((name, value));
        }
        Ok(LabelPairs(pairs))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for LabelPairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LabelPairsVisitor)
    }
}
