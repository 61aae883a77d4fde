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
    let mut sent = Sent::Absent;
    let mut line = std::borrow::Cow::Borrowed("");
    fields.clear();
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
