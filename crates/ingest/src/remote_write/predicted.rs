//! Series that come where they came last time: their label bytes are compared with labels that were accepted before.
//!
//! Owns: what the bytes of those labels look like on the wire, written as every sender writes them. A series spelled in
//! another way (lengths with needless bytes, unsorted, several pieces of one list) is not wrong, only not recognised.
//! Of a recognised series only samples and metadata are read here; whatever else it has is left to the path that checks.

use model::{Labels, MetricKind, Result, StampedRow};
use smallvec::SmallVec;

use super::{Decoder, metric_kind};
use crate::protobuf::{Field, Reader};

impl Decoder<'_> {
    /// Reads a 1.0 series if it is the expected one and has samples only; false: nothing was read.
    pub(super) fn predicted_v1(&mut self, field: &Field<'_>) -> Result<bool> {
        let Some(entry) = self.walk.expected() else { return Ok(false) };
        let mut series = field.message()?;
        let Some((length, text_bytes)) = labels_v1(series.rest(), &entry.labels) else {
            return Ok(false);
        };
        series.skip(length);
        let (rows, stored) = (self.rows, self.request.samples.len());
        let mut rest = series.rest();
        while !rest.is_empty() {
            let Some((t_ms, value, length)) = sample(rest) else {
                self.rows = rows;
                self.request.samples.truncate(stored);
                return Ok(false);
            };
            self.row()?;
            let (labels, target) = (entry.labels.clone(), entry.target);
            self.request.samples.push(StampedRow { labels, t_ms, value, target });
            rest = &rest[length..];
        }
        self.charge(text_bytes)?;
        self.walk.advance();
        Ok(true)
    }

    /// Reads a 2.0 series likewise.
    pub(super) fn predicted_v2(&mut self, field: &Field<'_>, symbols: &[&[u8]]) -> Result<bool> {
        let Some(entry) = self.walk.expected() else { return Ok(false) };
        let mut series = field.message()?;
        let Some((length, text_bytes)) = labels_v2(series.rest(), &entry.labels, symbols) else {
            return Ok(false);
        };
        series.skip(length);
        let (mut samples, mut metadata, mut rows) = (SmallVec::<[(i64, f64); 4]>::new(), None, 0);
        let mut rest = series.rest();
        while let Some(&tag) = rest.first() {
            let length = if tag == 0x12
                && let Some((t_ms, value, length)) = sample(rest)
            {
                samples.push((t_ms, value));
                rows += 1;
                length
            } else if tag == 0x2a
                && let Some((found, length)) = described(rest)
            {
                metadata = Some(found);
                rows += 1;
                length
            } else {
                return Ok(false);
            };
            rest = &rest[length..];
        }
        for _ in 0..rows {
            self.row()?;
        }
        self.charge(text_bytes)?;
        if let Some(metadata) = metadata {
            self.metadata_v2(&entry.labels, metadata, symbols)?;
        }
        let (labels, target) = (&entry.labels, entry.target);
        self.request.samples.extend(samples.into_iter().map(|(t_ms, value)| StampedRow {
            labels: labels.clone(),
            t_ms,
            value,
            target,
        }));
        self.walk.advance();
        Ok(true)
    }

    /// A request pays for labels also when they are known, so that what is accepted does not depend on it.
    fn charge(&mut self, text_bytes: usize) -> Result<()> {
        self.label_bytes += text_bytes;
        if self.label_bytes > self.limits.label_bytes_max {
            return Err(self.limit("bytes of labels", self.limits.label_bytes_max));
        }
        Ok(())
    }
}

/// Goes past `length`, if it is what comes next, as a varint.
#[inline]
fn eat_length(rest: &mut &[u8], length: usize) -> Option<()> {
    if length < 0x80 {
        let (&first, tail) = rest.split_first()?;
        *rest = tail;
        return (usize::from(first) == length).then_some(());
    }
    let ([first, second], tail) = rest.split_first_chunk::<2>()?;
    *rest = tail;
    let is_same = *first & 0x80 != 0
        && *second < 0x80
        && usize::from(*first & 0x7f) | usize::from(*second) << 7 == length;
    is_same.then_some(())
}

#[inline]
fn eat(rest: &mut &[u8], bytes: &[u8]) -> Option<()> {
    *rest = rest.strip_prefix(bytes)?;
    Some(())
}

/// Bytes that one length takes on the wire; only those [`eat_length`] knows.
#[inline]
fn length_bytes(length: usize) -> usize {
    if length < 0x80 { 1 } else { 2 }
}

/// How many bytes at the start of a 1.0 series are `labels`, all of them, and how many of these are text.
fn labels_v1(wire: &[u8], labels: &Labels) -> Option<(usize, usize)> {
    let (mut rest, mut text_bytes) = (wire, 0);
    for (name, value) in labels.iter() {
        let inner =
            2 + length_bytes(name.len()) + name.len() + length_bytes(value.len()) + value.len();
        eat(&mut rest, &[0x0a])?;
        eat_length(&mut rest, inner)?;
        eat(&mut rest, &[0x0a])?;
        eat_length(&mut rest, name.len())?;
        eat(&mut rest, name.as_bytes())?;
        eat(&mut rest, &[0x12])?;
        eat_length(&mut rest, value.len())?;
        eat(&mut rest, value.as_bytes())?;
        text_bytes += name.len() + value.len();
    }
    // One more label makes another series.
    (rest.first() != Some(&0x0a)).then_some((wire.len() - rest.len(), text_bytes))
}

/// How many bytes at the start of a 2.0 series refer to `labels`, all of them, and how much text that is.
fn labels_v2(wire: &[u8], labels: &Labels, symbols: &[&[u8]]) -> Option<(usize, usize)> {
    let (mut rest, mut text_bytes) = (wire, 0);
    eat(&mut rest, &[0x0a])?;
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let (mut list, rest) = rest.split_at_checked(length)?;
    for (name, value) in labels.iter() {
        for text in [name, value] {
            let symbol = symbols.get(usize::try_from(varint(&mut list)?).ok()?)?;
            if *symbol != text.as_bytes() {
                return None;
            }
            text_bytes += text.len();
        }
    }
    list.is_empty().then_some((wire.len() - rest.len(), text_bytes))
}

/// Reads a varint of at most ten bytes.
#[inline]
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (i, &byte) in rest.iter().take(10).enumerate() {
        if i == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *rest = &rest[i + 1..];
            return Some(value);
        }
    }
    None
}

/// The sample at the start of a series' fields (field 2 in both versions), and its bytes. `None` for other fields and for
/// samples with anything but value and times, each at most once in this order.
#[inline]
fn sample(wire: &[u8]) -> Option<(i64, f64, usize)> {
    let ([0x12, length], body) = wire.split_first_chunk::<2>()? else { return None };
    let (length, mut body) = (usize::from(*length), body);
    if length >= 0x80 || length > body.len() {
        return None;
    }
    body = &body[..length];
    let (mut t_ms, mut value) = (0, 0.0);
    if let [0x09, rest @ ..] = body {
        let (bits, rest) = rest.split_first_chunk::<8>()?;
        value = f64::from_le_bytes(*bits);
        body = rest;
    }
    if let [0x10, rest @ ..] = body {
        body = rest;
        t_ms = varint(&mut body)?.cast_signed();
    }
    if let [0x18, rest @ ..] = body {
        // Start timestamp, 2.0.
        body = rest;
        varint(&mut body)?;
    }
    body.is_empty().then_some((t_ms, value, length + 2))
}

/// The metadata at the start of a 2.0 series' fields (field 5), and its bytes.
fn described(wire: &[u8]) -> Option<((MetricKind, u32, u32), usize)> {
    let mut reader = Reader::new(wire);
    let field = reader.next_field().ok()??;
    let (mut kind, mut help, mut unit) = (MetricKind::Unknown, 0, 0);
    let mut inner = field.message().ok()?;
    while let Some(field) = inner.next_field().ok()? {
        match field.number {
            1 => kind = metric_kind(field.int32().ok()?),
            3 => help = field.uint32().ok()?,
            4 => unit = field.uint32().ok()?,
            _ => {}
        }
    }
    Some(((kind, help, unit), reader.offset()))
}
