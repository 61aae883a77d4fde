//! JSON push requests, read stream by stream: `{"streams":[{"stream":{…},"values":[["ns","line",{…}]]}]}`, and
//! `{"streams":[{"labels":"{…}","entries":[{"ts":"…","line":"…"}]}]}` as `/api/prom/push` had it.
//!
//! Lines are read where they stand, one after the other, and nothing is kept per line but its row. Where a stream's
//! labels stand behind its lines, these are gone past and read afterwards.

use std::borrow::Cow;

use model::{Error, ErrorKind, Result, text_of_bytes};

use super::{PAIRS_MAX, checked, cut, labels};
use crate::json::Reader;
use crate::pushed_lines::{Fields, Lines, Sent, Stream, Streams, rfc3339_ns};

/// Reads a request into `lines`; returns the number of its streams.
pub(super) fn decode(body: &[u8], lines: &mut Lines, streams: &Streams) -> Result<u64> {
    let mut request =
        Request { lines, streams, count: 0, text: Vec::new(), fields: Fields::default() };
    request.read(&mut Reader::new(body)).map_err(|e| match e.kind() {
        ErrorKind::Limit => e,
        _ => e.context("body is not a JSON push request"),
    })?;
    Ok(request.count)
}

struct Request<'a, 'r> {
    lines: &'r mut Lines,
    streams: &'r Streams,
    count: u64,
    /// A line that had escapes.
    text: Vec<u8>,
    /// Those of a line.
    fields: Fields<'a>,
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `["ns", "line", {fields}]`
    Value,
    /// `{"ts": …, "line": …, "structuredMetadata": {fields}}`
    Entry,
}

/// The members of one stream: where they begin; absent ones and `null` are none.
#[derive(Debug, Default)]
struct Places {
    stream: Option<usize>,
    values: Option<usize>,
    labels: Option<usize>,
    entries: Option<usize>,
}

impl<'a> Request<'a, '_> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<()> {
        let mut members = reader.object("an object with streams")?;
        while let Some(name) = members.next(reader)? {
            if name != "streams" {
                reader.skip()?;
                continue;
            }
            let mut streams = reader.list("a list of streams")?;
            while streams.next(reader)? {
                self.stream(reader)?;
            }
        }
        reader.end()
    }

    fn stream(&mut self, reader: &mut Reader<'a>) -> Result<()> {
        self.count += 1;
        let mut places = Places::default();
        let mut found = None;
        let mut members = reader.object("an object with the labels and lines of a stream")?;
        while let Some(name) = members.next(reader)? {
            // The usual order: labels, then lines, which are read at once.
            if let (Some(at), "values") = (places.stream, &*name)
                && found.is_none()
            {
                let stream = self.labels(&reader.at(at), &places)?;
                self.rows(reader, stream.as_ref(), Form::Value)?;
                found = Some(stream);
                continue;
            }
            let place = match &*name {
                "stream" => &mut places.stream,
                "values" => &mut places.values,
                "labels" => &mut places.labels,
                "entries" => &mut places.entries,
                _ => {
                    reader.skip()?;
                    continue;
                }
            };
            if place.is_some() || (found.is_some() && matches!(&*name, "stream" | "values")) {
                return Err(reader.error(&format!("second member {name:?} of a stream")));
            }
            let at = reader.place();
            if !reader.null() {
                *place = Some(at);
                reader.skip()?;
            }
        }
        let stream = match found {
            Some(stream) => stream,
            None => self.labels(reader, &places)?,
        };
        for (place, form) in [(places.values, Form::Value), (places.entries, Form::Entry)] {
            if let Some(at) = place {
                self.rows(&mut reader.at(at), stream.as_ref(), form)?;
            }
        }
        Ok(())
    }

    /// The stream; `None` when it is refused, which is noted.
    fn labels(&mut self, reader: &Reader<'a>, places: &Places) -> Result<Option<Stream>> {
        let limits = *self.lines.limits();
        let mut malformed = None;
        // An object has `:` where a label set has `=`: no text is a spelling in both syntaxes.
        let outcome = if let Some(at) = places.stream {
            let spelling = utf8(reader.at(at).skip()?, reader)?;
            self.streams.of(spelling, self.lines.now_ms(), || {
                let pairs = label_pairs(&mut reader.at(at)).map_err(|e| {
                    malformed = Some(e);
                    Error::invalid("")
                })?;
                if let Some((name, _)) = pairs.iter().find(|(name, _)| !labels::is_name(name)) {
                    return Err(Error::invalid(format!(
                        "Error parsing labels '{}' with error: {name:.64?} is not a valid label name",
                        cut(spelling, super::SHOWN_BYTES_MAX)
                    )));
                }
                checked(pairs.iter().map(|(name, value)| (&**name, &**value)), &limits)
                    .map_err(Error::invalid)
            })
        } else if let Some(at) = places.labels {
            let spelling = reader.at(at).utf8().map_err(of_labels)?;
            self.streams.of(&spelling, self.lines.now_ms(), || {
                let pairs = labels::parse(&spelling, PAIRS_MAX).map_err(|why| {
                    let spelling = cut(&spelling, super::SHOWN_BYTES_MAX);
                    Error::invalid(format!("Error parsing labels '{spelling}' with error: {why}"))
                })?;
                checked(pairs.iter().map(|(name, value)| (&**name, &**value)), &limits)
                    .map_err(Error::invalid)
            })
        } else {
            Err(Error::invalid(super::NO_LABELS))
        };
        if let Some(why) = malformed {
            return Err(of_labels(why));
        }
        Ok(outcome.map_err(|refusal| self.lines.refused.add(0, refusal.message())).ok())
    }

    /// The lines of a stream.
    fn rows(&mut self, reader: &mut Reader<'a>, stream: Option<&Stream>, form: Form) -> Result<()> {
        let what = match form {
            Form::Value => "values of a stream",
            Form::Entry => "entries of a stream",
        };
        self.each_row(reader, stream, form).map_err(|e| match e.kind() {
            ErrorKind::Limit => e,
            _ => e.context(what),
        })
    }

    fn each_row(
        &mut self,
        reader: &mut Reader<'a>,
        stream: Option<&Stream>,
        form: Form,
    ) -> Result<()> {
        if reader.null() {
            return Ok(());
        }
        let mut items = reader.list("a list of lines")?;
        while items.next(reader)? {
            if reader.null() {
                continue;
            }
            let Self { lines, text, fields, .. } = self;
            fields.clear();
            let (sent, line) = match form {
                Form::Value => value(reader, text, fields)?,
                Form::Entry => entry(reader, text, fields)?,
            };
            match stream {
                Some(stream) => drop(lines.push(stream, sent, &text_of_bytes(line), fields)?),
                None => lines.refused.rows += 1,
            }
        }
        Ok(())
    }
}

fn of_labels(e: Error) -> Error {
    e.context("labels of a stream")
}

/// `["ns", "line", {fields}, …]`
fn value<'a: 't, 't>(
    reader: &mut Reader<'a>,
    text: &'t mut Vec<u8>,
    fields: &mut Fields<'a>,
) -> Result<(Sent<'static>, &'t [u8])> {
    let mut items = reader.list("[time, line, fields]")?;
    if !items.next(reader)? {
        return Err(reader.error("a line without time"));
    }
    let t_ns = nanoseconds(reader)?;
    if !items.next(reader)? {
        return Err(reader.error("a line without text"));
    }
    let line = reader.text_in(text)?;
    if items.next(reader)? {
        pairs(reader, fields)?;
        while items.next(reader)? {
            reader.skip()?;
        }
    }
    Ok((Sent::At(t_ns), line))
}

/// `{"ts": …, "line": …, "structuredMetadata": {fields}}`
fn entry<'a: 't, 't>(
    reader: &mut Reader<'a>,
    text: &'t mut Vec<u8>,
    fields: &mut Fields<'a>,
) -> Result<(Sent<'static>, &'t [u8])> {
    let mut sent = Sent::Absent;
    let mut line = None;
    let mut members = reader.object("{\"ts\": …, \"line\": …}")?;
    while let Some(name) = members.next(reader)? {
        match &*name {
            "ts" => {
                let ts = reader.utf8()?;
                let t_ns = rfc3339_ns(&ts).ok_or_else(|| {
                    reader.error(&format!("ts {ts:.64?} is not a time as RFC 3339 has it"))
                })?;
                sent = Sent::At(t_ns);
            }
            "line" => {
                line = Some(reader.place());
                reader.text_in(text)?;
            }
            "structuredMetadata" => {
                fields.clear();
                pairs(reader, fields)?;
            }
            _ => drop(reader.skip()?),
        }
    }
    let line = match line {
        Some(at) => reader.at(at).text_in(text)?,
        None => b"",
    };
    Ok((sent, line))
}

/// Unix nanoseconds, as a text or a whole number.
fn nanoseconds(reader: &mut Reader<'_>) -> Result<i64> {
    let start = reader.place();
    let refused = |reader: &Reader<'_>, text: &str| {
        let why = format!("time {text:.64?} is not a whole number of nanoseconds");
        reader.at(start).error(&why)
    };
    if reader.peek() == Some(b'"') {
        let text = reader.utf8()?;
        return text.parse().map_err(|_| refused(reader, &text));
    }
    if !matches!(reader.peek(), Some(b'-' | b'0'..=b'9')) {
        return Err(reader.error("expected a time in nanoseconds as a string"));
    }
    let number = reader.bare()?;
    // A number beyond 64 bits with a sign is one too far in the future.
    let bounded = || number.parse::<u64>().map(|_| i64::MAX);
    number.parse().or_else(|_| bounded()).map_err(|_| refused(reader, number))
}

/// Fields of a line: an object of strings, or `null`.
fn pairs<'a>(reader: &mut Reader<'a>, fields: &mut Fields<'a>) -> Result<()> {
    if reader.null() {
        return Ok(());
    }
    let mut members = reader.object("an object of strings")?;
    let mut count = 0;
    while let Some(name) = members.next(reader)? {
        if count >= PAIRS_MAX {
            return Err(reader.error(&format!("more than {PAIRS_MAX} fields of a line")));
        }
        count += 1;
        fields.add(name, reader.utf8()?);
    }
    Ok(())
}

/// Labels in the order of an object; as in Loki, a value that is no string is its JSON.
fn label_pairs<'a>(reader: &mut Reader<'a>) -> Result<Vec<(Cow<'a, str>, Cow<'a, str>)>> {
    let mut pairs = Vec::new();
    let mut members = reader.object("an object of labels")?;
    while let Some(name) = members.next(reader)? {
        if pairs.len() >= PAIRS_MAX {
            return Err(reader.error(&format!("more than {PAIRS_MAX} labels")));
        }
        let value = if reader.peek() == Some(b'"') {
            reader.utf8()?
        } else {
            Cow::Borrowed(utf8(reader.skip()?, reader)?)
        };
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn utf8<'a>(bytes: &'a [u8], reader: &Reader<'_>) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| of_labels(reader.error("a text is not UTF-8")))
}
