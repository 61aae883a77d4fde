//! Attribute values, resources and scopes as bytes that can be compared and stored as one text.
//!
//! Does not own: the columns of plain values (`attributes`). Drawn in `docs/format/traces.md`.

use std::sync::Arc;

use model::{AttributeValue, Attributes, Error, Resource, Result, Scope};
use storage::codec::{Reader, put_bytes, put_count, put_varint, put_zigzag};

/// Arrays and maps within each other at most.
pub(crate) const DEPTH_MAX: usize = 64;

/// Types of values, as stored.
pub(crate) mod kind {
    pub(crate) const EMPTY: u8 = 0;
    pub(crate) const STRING: u8 = 1;
    pub(crate) const BOOL: u8 = 2;
    pub(crate) const INT: u8 = 3;
    pub(crate) const DOUBLE: u8 = 4;
    pub(crate) const BYTES: u8 = 5;
    /// An array or a map, encoded.
    pub(crate) const NESTED: u8 = 6;
    pub(super) const MAP: u8 = 7;
}

/// Appends `value`.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when it is nested over [`DEPTH_MAX`] deep; so for all that encode here.
pub(crate) fn encode(value: &AttributeValue, out: &mut Vec<u8>) -> Result<()> {
    put(value, DEPTH_MAX, out)
}

fn put(value: &AttributeValue, depth: usize, out: &mut Vec<u8>) -> Result<()> {
    let inner = || {
        depth.checked_sub(1).ok_or_else(|| {
            Error::invalid(format!("attribute is nested over {DEPTH_MAX} values deep"))
        })
    };
    match value {
        AttributeValue::Empty => out.push(kind::EMPTY),
        AttributeValue::String(text) => {
            out.push(kind::STRING);
            put_bytes(out, text.as_bytes());
        }
        AttributeValue::Bool(value) => out.extend_from_slice(&[kind::BOOL, u8::from(*value)]),
        AttributeValue::Int(value) => {
            out.push(kind::INT);
            put_zigzag(out, *value);
        }
        AttributeValue::Double(value) => {
            out.push(kind::DOUBLE);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        AttributeValue::Bytes(bytes) => {
            out.push(kind::BYTES);
            put_bytes(out, bytes);
        }
        AttributeValue::Array(values) => {
            let depth = inner()?;
            out.push(kind::NESTED);
            put_count(out, values.len());
            values.iter().try_for_each(|value| put(value, depth, out))?;
        }
        AttributeValue::Map(values) => {
            let depth = inner()?;
            out.push(kind::MAP);
            put_count(out, values.len());
            for (name, value) in values {
                put_bytes(out, name.as_bytes());
                put(value, depth, out)?;
            }
        }
    }
    Ok(())
}

/// Takes a value written by [`encode`].
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt); so for all that decode here.
pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<AttributeValue> {
    take(reader, DEPTH_MAX)
}

fn take(reader: &mut Reader<'_>, depth: usize) -> Result<AttributeValue> {
    let inner =
        || depth.checked_sub(1).ok_or_else(|| Error::corrupt("attribute is nested too deep"));
    Ok(match reader.u8()? {
        kind::EMPTY => AttributeValue::Empty,
        kind::STRING => AttributeValue::String(reader.str()?.to_owned()),
        kind::BOOL => AttributeValue::Bool(reader.u8()? != 0),
        kind::INT => AttributeValue::Int(reader.zigzag()?),
        kind::DOUBLE => AttributeValue::Double(f64::from_bits(reader.u64()?)),
        kind::BYTES => AttributeValue::Bytes(reader.bytes()?.to_vec()),
        kind::NESTED => {
            let depth = inner()?;
            let count = reader.count(reader.remaining())?;
            AttributeValue::Array((0..count).map(|_| take(reader, depth)).collect::<Result<_>>()?)
        }
        kind::MAP => {
            let depth = inner()?;
            let count = reader.count(reader.remaining())?;
            let pair = |_| Ok((reader.str()?.to_owned(), take(reader, depth)?));
            AttributeValue::Map((0..count).map(pair).collect::<Result<_>>()?)
        }
        other => return Err(Error::corrupt(format!("unknown type {other} of an attribute"))),
    })
}

fn put_attributes(attributes: &Attributes, out: &mut Vec<u8>) -> Result<()> {
    put_count(out, attributes.len());
    attributes.iter().try_for_each(|(name, value)| {
        put_bytes(out, name.as_bytes());
        encode(value, out)
    })
}

fn take_attributes(reader: &mut Reader<'_>) -> Result<Attributes> {
    let count = reader.count(reader.remaining() / 2)?;
    (0..count).map(|_| Ok((Arc::from(reader.str()?), decode(reader)?))).collect()
}

fn take_u32(reader: &mut Reader<'_>) -> Result<u32> {
    Ok(reader.count(u32::MAX as usize)? as u32)
}

/// Appends a resource.
pub(crate) fn encode_resource(resource: &Resource, out: &mut Vec<u8>) -> Result<()> {
    put_bytes(out, resource.schema_url.as_bytes());
    put_varint(out, u64::from(resource.dropped_attributes));
    put_attributes(&resource.attributes, out)
}

/// A resource written by [`encode_resource`].
pub(crate) fn decode_resource(bytes: &[u8]) -> Result<Resource> {
    let mut reader = Reader::new(bytes);
    let schema_url = reader.str()?.to_owned();
    let dropped_attributes = take_u32(&mut reader)?;
    Ok(Resource { attributes: take_attributes(&mut reader)?, dropped_attributes, schema_url })
}

/// Appends a scope.
pub(crate) fn encode_scope(scope: &Scope, out: &mut Vec<u8>) -> Result<()> {
    put_bytes(out, scope.name.as_bytes());
    put_bytes(out, scope.version.as_bytes());
    put_bytes(out, scope.schema_url.as_bytes());
    put_varint(out, u64::from(scope.dropped_attributes));
    put_attributes(&scope.attributes, out)
}

/// A scope written by [`encode_scope`].
pub(crate) fn decode_scope(bytes: &[u8]) -> Result<Scope> {
    let mut reader = Reader::new(bytes);
    let name = reader.str()?.to_owned();
    let version = reader.str()?.to_owned();
    let schema_url = reader.str()?.to_owned();
    let dropped_attributes = take_u32(&mut reader)?;
    let attributes = take_attributes(&mut reader)?;
    Ok(Scope { name, version, attributes, dropped_attributes, schema_url })
}
