//! Records: MessagePack maps as members by their paths, as JSON objects have them, and as JSON.

use std::borrow::Cow;

use model::{Error, Result, text_of_bytes};
use serde_json::{Map, Number, Value as Json};

use crate::document::DEPTH_MAX;
use crate::messagepack::{Reader, Value};
use crate::pushed_lines::FIELDS_MAX;

/// Values inside each other that become JSON.
const JSON_DEPTH_MAX: usize = 64;

type Members<'a> = Vec<(String, Cow<'a, str>)>;

/// Adds the members of the map that is next; `None` if what is next is no map, which is passed over.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when it cannot be read or holds too much.
pub(super) fn members<'a>(
    reader: &mut Reader<'a>,
    members: &mut Members<'a>,
) -> Result<Option<()>> {
    let mut ahead = reader.clone();
    let Value::Map(pairs) = ahead.value()? else {
        reader.skip()?;
        return Ok(None);
    };
    *reader = ahead;
    map("", 0, pairs, reader, members)?;
    Ok(Some(()))
}

fn map<'a>(
    path: &str,
    depth: usize,
    pairs: usize,
    reader: &mut Reader<'a>,
    members: &mut Members<'a>,
) -> Result<()> {
    for _ in 0..pairs {
        let key = key(reader)?;
        let path = if path.is_empty() { key.into_owned() } else { format!("{path}.{key}") };
        let at = reader.clone();
        let value = match reader.value()? {
            Value::Map(pairs) if depth < DEPTH_MAX => {
                map(&path, depth + 1, pairs, reader, members)?;
                continue;
            }
            Value::Nil => continue,
            Value::Text(bytes) | Value::Bytes(bytes) => text_of_bytes(bytes),
            _ => {
                *reader = at;
                Cow::Owned(value(reader, 0)?.to_string())
            }
        };
        if members.len() >= FIELDS_MAX {
            return Err(Error::invalid(format!("a record has more than {FIELDS_MAX} members")));
        }
        members.push((path, value));
    }
    Ok(())
}

/// The record that is next, which was read before, as JSON.
pub(super) fn json(mut reader: Reader<'_>) -> String {
    value(&mut reader, 0).map_or_else(|_| String::new(), |json| json.to_string())
}

fn key<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>> {
    let at = reader.clone();
    Ok(match reader.value()? {
        Value::Text(bytes) | Value::Bytes(bytes) => text_of_bytes(bytes),
        _ => {
            *reader = at;
            Cow::Owned(value(reader, 0)?.to_string())
        }
    })
}

fn value(reader: &mut Reader<'_>, depth: usize) -> Result<Json> {
    if depth > JSON_DEPTH_MAX {
        let why = format!("a record has values more than {JSON_DEPTH_MAX} deep");
        return Err(Error::invalid(why));
    }
    Ok(match reader.value()? {
        Value::Nil => Json::Null,
        Value::Bool(truth) => Json::Bool(truth),
        Value::Int(n) => n.into(),
        Value::Large(n) => n.into(),
        Value::Float(n) => Number::from_f64(n).map_or(Json::Null, Json::Number),
        Value::Text(bytes) | Value::Bytes(bytes) | Value::Extension(_, bytes) => {
            text_of_bytes(bytes).into()
        }
        Value::Array(count) => {
            let items = (0..count).map(|_| value(reader, depth + 1)).collect::<Result<_>>()?;
            Json::Array(items)
        }
        Value::Map(pairs) => {
            let mut object = Map::new();
            for _ in 0..pairs {
                let key = key(reader)?.into_owned();
                object.insert(key, value(reader, depth + 1)?);
            }
            Json::Object(object)
        }
    })
}
