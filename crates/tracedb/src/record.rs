//! The WAL record of a batch: its spans row by row, texts once, compressed with lz4.
//!
//! Does not own: the log itself (`storage::wal`). The record is drawn in `docs/format/traces.md`.

use model::{Error, ErrorKind, Result, SpanKind, SpanStatus};
use storage::codec::{Reader, blob, put_bytes, put_count, put_varint, put_zigzag};

use crate::rows::{Attribute, Event, Link, Origin, Row, Rows, SPAN_ITEMS_MAX, Stretch, Value};
use crate::texts::{EMPTY, Text};
use crate::value::kind;

/// Kind of these records in the WAL.
pub(crate) const KIND: u8 = 1;
const VERSION: u8 = 1;
/// Plain bytes a record may have.
pub(crate) const RECORD_BYTES_MAX: usize = 256 << 20;

/// Flags of a span: what follows its usual fields.
const HAS_PARENT: u8 = 1;
const HAS_EVENTS: u8 = 2;
const HAS_LINKS: u8 = 4;
/// Flags, state, message or counts of what the sender left out.
const HAS_MORE: u8 = 8;

/// Appends the record.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) when it would have over [`RECORD_BYTES_MAX`] plain bytes.
pub(crate) fn encode(rows: &Rows, out: &mut Vec<u8>) -> Result<()> {
    let mut plain = Vec::with_capacity(rows.texts.bytes_len() + rows.len() * 64 + rows.items() * 6);
    // Number 0, the empty one, is known.
    put_count(&mut plain, rows.texts.len() - 1);
    rows.texts.iter().skip(1).for_each(|text| put_bytes(&mut plain, text));
    put_count(&mut plain, rows.origins.len());
    for origin in &rows.origins {
        put_varint(&mut plain, u64::from(origin.resource));
        put_varint(&mut plain, u64::from(origin.scope));
    }
    put_count(&mut plain, rows.len());
    let mut previous = 0;
    for row in &rows.rows {
        put_row(rows, row, previous, &mut plain);
        previous = row.start_ns;
    }
    if plain.len() > RECORD_BYTES_MAX {
        return Err(Error::invalid(format!(
            "batch of {} spans has {} bytes; the limit is {RECORD_BYTES_MAX}",
            rows.len(),
            plain.len()
        )));
    }
    put_blob(&plain, out);
    Ok(())
}

/// Appends the version and the compressed record.
pub(crate) fn put_blob(plain: &[u8], out: &mut Vec<u8>) {
    out.push(VERSION);
    blob::compress_lz4(plain, out);
}

fn put_row(rows: &Rows, row: &Row, previous_ns: i64, out: &mut Vec<u8>) {
    let more = [
        row.flags,
        row.trace_state,
        row.status_message,
        row.dropped_attributes,
        row.dropped_events,
        row.dropped_links,
    ];
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let flags = flag(row.parent_id != 0, HAS_PARENT)
        | flag(row.events.len() > 0, HAS_EVENTS)
        | flag(row.links.len() > 0, HAS_LINKS)
        | flag(more.iter().any(|n| *n != 0), HAS_MORE);
    out.extend_from_slice(&[flags, kind_code(row)]);
    out.extend_from_slice(&row.trace_id.to_be_bytes());
    out.extend_from_slice(&row.span_id.to_be_bytes());
    put_zigzag(out, row.start_ns.wrapping_sub(previous_ns));
    put_zigzag(out, row.end_ns.wrapping_sub(row.start_ns));
    put_varint(out, u64::from(row.origin));
    put_varint(out, u64::from(row.name));
    if row.parent_id != 0 {
        out.extend_from_slice(&row.parent_id.to_be_bytes());
    }
    if flags & HAS_MORE != 0 {
        more.iter().for_each(|n| put_varint(out, u64::from(*n)));
    }
    put_attributes(&rows.attributes[row.attributes.range()], out);
    if flags & HAS_EVENTS != 0 {
        put_count(out, row.events.len());
        for event in &rows.events[row.events.range()] {
            put_zigzag(out, event.t_ns.wrapping_sub(row.start_ns));
            put_varint(out, u64::from(event.name));
            put_varint(out, u64::from(event.dropped_attributes));
            put_attributes(&rows.attributes[event.attributes.range()], out);
        }
    }
    if flags & HAS_LINKS != 0 {
        put_count(out, row.links.len());
        for link in &rows.links[row.links.range()] {
            out.extend_from_slice(&link.trace_id.to_be_bytes());
            out.extend_from_slice(&link.span_id.to_be_bytes());
            put_varint(out, u64::from(link.trace_state));
            put_varint(out, u64::from(link.flags));
            put_varint(out, u64::from(link.dropped_attributes));
            put_attributes(&rows.attributes[link.attributes.range()], out);
        }
    }
}

/// Kind and status as one number.
pub(crate) fn kind_code(row: &Row) -> u8 {
    row.kind as u8 * SpanStatus::ALL.len() as u8 + row.status as u8
}

/// The inverse of [`kind_code`].
pub(crate) fn kind_of(code: u8) -> Result<(SpanKind, SpanStatus)> {
    let (kind, status) = (code / SpanStatus::ALL.len() as u8, code % SpanStatus::ALL.len() as u8);
    let kind = SpanKind::ALL.get(kind as usize);
    let kind = kind.ok_or_else(|| Error::corrupt(format!("unknown kind {code} of a span")))?;
    Ok((*kind, SpanStatus::ALL[status as usize]))
}

fn put_attributes(attributes: &[Attribute], out: &mut Vec<u8>) {
    put_count(out, attributes.len());
    for attribute in attributes {
        put_varint(out, u64::from(attribute.key));
        out.push(attribute.value.kind());
        match attribute.value {
            Value::Empty => {}
            Value::String(text) | Value::Bytes(text) | Value::Nested(text) => {
                put_varint(out, u64::from(text));
            }
            Value::Bool(value) => out.push(u8::from(value)),
            Value::Int(value) => put_zigzag(out, value),
            Value::Double(bits) => out.extend_from_slice(&bits.to_le_bytes()),
        }
    }
}

/// Reads a record back.
pub(crate) fn decode(payload: &[u8]) -> Result<Rows> {
    let (version, packed) =
        payload.split_first().ok_or_else(|| Error::corrupt("trace record is empty"))?;
    if *version != VERSION {
        let message =
            format!("trace record has format version {version}; this program reads {VERSION}");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let plain = blob::decompress_lz4(packed, RECORD_BYTES_MAX)?;
    let mut reader = Reader::new(&plain);
    let mut decoder = Decoder { rows: Rows::default(), texts: vec![EMPTY] };
    for _ in 0..reader.count(reader.remaining())? {
        let text = decoder.rows.texts.intern(reader.bytes()?);
        decoder.texts.push(text);
    }
    for _ in 0..reader.count(reader.remaining() / 2)? {
        let origin =
            Origin { resource: decoder.text(&mut reader)?, scope: decoder.text(&mut reader)? };
        // One that stands there twice would get one number.
        decoder.rows.origins.push(origin);
    }
    let mut previous = 0;
    for _ in 0..reader.count(reader.remaining() / 26)? {
        previous = decoder.row(&mut reader, previous)?;
    }
    Ok(decoder.rows)
}

struct Decoder {
    rows: Rows,
    /// Numbers of the texts in the record's order.
    texts: Vec<Text>,
}

impl Decoder {
    fn text(&self, reader: &mut Reader<'_>) -> Result<Text> {
        let index = reader.count(self.texts.len() - 1)?;
        Ok(self.texts[index])
    }

    fn row(&mut self, reader: &mut Reader<'_>, previous_ns: i64) -> Result<i64> {
        let flags = reader.u8()?;
        let (kind, status) = kind_of(reader.u8()?)?;
        let (trace_id, span_id) = (take_u128(reader)?, take_id(reader)?);
        let start_ns = previous_ns.wrapping_add(reader.zigzag()?);
        let end_ns = start_ns.wrapping_add(reader.zigzag()?);
        let origin = reader.count(self.rows.origins.len())?;
        if origin == self.rows.origins.len() {
            return Err(Error::corrupt(format!("span is of origin {origin}, which is not there")));
        }
        let name = self.text(reader)?;
        let parent_id = if flags & HAS_PARENT != 0 { take_id(reader)? } else { 0 };
        let mut more = [0; 6];
        if flags & HAS_MORE != 0 {
            more[0] = take_u32(reader)?;
            more[1] = self.text(reader)?;
            more[2] = self.text(reader)?;
            for n in &mut more[3..] {
                *n = take_u32(reader)?;
            }
        }
        let attributes = self.attributes(reader)?;
        let first = self.rows.events.len();
        let count = if flags & HAS_EVENTS != 0 { reader.count(SPAN_ITEMS_MAX)? } else { 0 };
        for _ in 0..count {
            let t_ns = start_ns.wrapping_add(reader.zigzag()?);
            let name = self.text(reader)?;
            let dropped_attributes = take_u32(reader)?;
            let attributes = self.attributes(reader)?;
            self.rows.events.push(Event { t_ns, name, attributes, dropped_attributes });
        }
        let events = Stretch { start: first as u32, end: self.rows.events.len() as u32 };
        let first = self.rows.links.len();
        let count = if flags & HAS_LINKS != 0 { reader.count(SPAN_ITEMS_MAX)? } else { 0 };
        for _ in 0..count {
            let (trace_id, span_id) = (take_u128(reader)?, take_id(reader)?);
            let trace_state = self.text(reader)?;
            let (flags, dropped_attributes) = (take_u32(reader)?, take_u32(reader)?);
            let attributes = self.attributes(reader)?;
            let link =
                Link { trace_id, span_id, trace_state, flags, attributes, dropped_attributes };
            self.rows.links.push(link);
        }
        let links = Stretch { start: first as u32, end: self.rows.links.len() as u32 };
        self.rows.rows.push(Row {
            trace_id,
            span_id,
            parent_id,
            start_ns,
            end_ns,
            // Below the number of origins, which are bounded by the record's bytes.
            origin: origin as u32,
            name,
            flags: more[0],
            trace_state: more[1],
            status_message: more[2],
            dropped_attributes: more[3],
            dropped_events: more[4],
            dropped_links: more[5],
            attributes,
            events,
            links,
            kind,
            status,
        });
        Ok(start_ns)
    }

    fn attributes(&mut self, reader: &mut Reader<'_>) -> Result<Stretch> {
        let start = self.rows.attributes.len() as u32;
        for _ in 0..reader.count(SPAN_ITEMS_MAX)? {
            let key = self.text(reader)?;
            let value = match reader.u8()? {
                kind::EMPTY => Value::Empty,
                kind::STRING => Value::String(self.text(reader)?),
                kind::BOOL => Value::Bool(reader.u8()? != 0),
                kind::INT => Value::Int(reader.zigzag()?),
                kind::DOUBLE => Value::Double(reader.u64()?),
                kind::BYTES => Value::Bytes(self.text(reader)?),
                kind::NESTED => Value::Nested(self.text(reader)?),
                other => {
                    return Err(Error::corrupt(format!("unknown type {other} of an attribute")));
                }
            };
            self.rows.attributes.push(Attribute { key, value });
        }
        Ok(Stretch { start, end: self.rows.attributes.len() as u32 })
    }
}

/// A big-endian trace id.
pub(crate) fn take_u128(reader: &mut Reader<'_>) -> Result<u128> {
    let mut id = [0; 16];
    id.copy_from_slice(reader.take(16)?);
    Ok(u128::from_be_bytes(id))
}

/// A big-endian span id.
pub(crate) fn take_id(reader: &mut Reader<'_>) -> Result<u64> {
    let mut id = [0; 8];
    id.copy_from_slice(reader.take(8)?);
    Ok(u64::from_be_bytes(id))
}

fn take_u32(reader: &mut Reader<'_>) -> Result<u32> {
    Ok(reader.count(u32::MAX as usize)? as u32)
}
