//! `logproto.PushRequest`, straight into rows.

use model::{ErrorKind, Result, text_of_bytes};

use super::{checked, cut, labels};
use crate::protobuf::{Field, Reader};
use crate::pushed_lines::{Fields, Lines, Sent, Stream, Streams};

/// Reads a request into `lines`; returns the number of its streams.
pub(super) fn decode(body: &[u8], lines: &mut Lines, streams: &Streams) -> Result<u64> {
    let mut count = 0;
    let mut read = || {
        let mut fields = Fields::default();
        let mut request = Reader::new(body);
        while let Some(field) = request.next_field()? {
            if field.number == 1 {
                count += 1;
                stream(field.message()?, lines, streams, &mut fields)?;
            }
        }
        Ok(())
    };
    read().map_err(|e: model::Error| match e.kind() {
        ErrorKind::Limit => e,
        _ => e.context("body is not a protobuf push request"),
    })?;
    Ok(count)
}

fn stream<'a>(
    mut message: Reader<'a>,
    lines: &mut Lines,
    streams: &Streams,
    fields: &mut Fields<'a>,
) -> Result<()> {
    let spelling = spelling(message.clone())?;
    let limits = *lines.limits();
    let stream = streams.of(spelling, lines.now_ms(), || {
        let pairs = labels::parse(spelling, super::PAIRS_MAX).map_err(|why| {
            let spelling = cut(spelling, super::SHOWN_BYTES_MAX);
            model::Error::invalid(format!("Error parsing labels '{spelling}' with error: {why}"))
        })?;
        checked(pairs.iter().map(|(name, value)| (&**name, &**value)), &limits)
            .map_err(model::Error::invalid)
    });
    let stream = stream.map_err(|refusal| lines.refused.add(0, refusal.message()));
    while let Some(field) = message.next_field()? {
        if field.number == 2 {
            match &stream {
                Ok(stream) => entry(&field, stream, lines, fields)?,
                Err(()) => lines.refused.rows += 1,
            }
        }
    }
    Ok(())
}

/// The labels, wherever they stand.
fn spelling(mut message: Reader<'_>) -> Result<&str> {
    while let Some(field) = message.next_field()? {
        if field.number == 1 {
            return field.text();
        }
    }
    Ok("{}")
}

fn entry<'a>(
    entry: &Field<'a>,
    stream: &Stream,
    lines: &mut Lines,
    fields: &mut Fields<'a>,
) -> Result<()> {
    fields.clear();
    if let Some((t_ns, line)) = entry.bytes().ok().and_then(usual) {
        lines.push(stream, Sent::At(t_ns), &text_of_bytes(line), fields)?;
        return Ok(());
    }
    let mut sent = Sent::Absent;
    let mut line = std::borrow::Cow::Borrowed("");
    let mut message = entry.message()?;
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => sent = Sent::At(timestamp(field.message()?)?),
            2 => line = text_of_bytes(field.bytes()?),
            3 => pair(field.message()?, fields)?,
            _ => {}
        }
    }
    lines.push(stream, sent, &line, fields)?;
    Ok(())
}

/// Time and line of an entry as nearly all senders write it: seconds and nanoseconds, the line, nothing else. Whatever
/// looks otherwise is `None`, and read field by field.
fn usual(entry: &[u8]) -> Option<(i64, &[u8])> {
    let [0x0a, len, rest @ ..] = entry else { return None };
    let (time, rest) = rest.split_at_checked(usize::from(*len)).filter(|_| *len < 0x80)?;
    let (seconds, time) = varint(time.strip_prefix(&[0x08])?)?;
    let (nanoseconds, time) = match time {
        [] => (0, time),
        _ => varint(time.strip_prefix(&[0x10])?)?,
    };
    let (len, line) = varint(rest.strip_prefix(&[0x12])?)?;
    let is_whole = time.is_empty() && usize::try_from(len) == Ok(line.len());
    let t_ns =
        seconds.cast_signed().checked_mul(1_000_000_000)?.checked_add(nanoseconds.cast_signed())?;
    is_whole.then_some((t_ns, line))
}

/// A number of up to five bytes, and what is behind it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            return Some((value, bytes.get(i + 1..).unwrap_or_default()));
        }
    }
    None
}

fn timestamp(mut message: Reader<'_>) -> Result<i64> {
    let (mut seconds, mut nanoseconds) = (0_i64, 0_i64);
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => seconds = field.int64()?,
            2 => nanoseconds = i64::from(field.int32()?),
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}

fn pair<'a>(mut message: Reader<'a>, fields: &mut Fields<'a>) -> Result<()> {
    let (mut name, mut value) = (&[][..], &[][..]);
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => name = field.bytes()?,
            2 => value = field.bytes()?,
            _ => {}
        }
    }
    fields.add(text_of_bytes(name), text_of_bytes(value));
    Ok(())
}
