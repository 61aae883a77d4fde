//! Paths of groups: `job/<job>{/<label>/<value>}`, with values in base64 and names escaped for UTF-8.

use std::borrow::Cow;

use model::{Error, Labels, LabelsBuilder, Result};

use crate::otlp::unbase64;

const BASE64: &str = "@base64";
/// Labels of a group at most.
const LABELS_MAX: usize = 64;

/// Labels of the group at `path`, which starts at `job` and is still percent-encoded: `job/a%2Fb/instance/c`,
/// `job@base64/YS9i`. A slash at the end is an empty value where one is missing, else nothing.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) for an odd number of parts, names that cannot be labels, an empty job, and
/// values that are not what they should be.
pub fn group_labels(path: &str) -> Result<Labels> {
    let mut parts: Vec<&str> = path.split('/').collect();
    if !parts.len().is_multiple_of(2) && parts.len() > 1 {
        parts.pop_if(|part| part.is_empty());
    }
    if !parts.len().is_multiple_of(2) {
        return Err(Error::invalid(format!(
            "group {path:?} has {} parts; labels and values must come in pairs",
            parts.len()
        )));
    }
    if parts.len() / 2 > LABELS_MAX {
        return Err(Error::invalid(format!(
            "group has {} labels; the limit is {LABELS_MAX}",
            parts.len() / 2
        )));
    }
    let mut labels = LabelsBuilder::default();
    let mut seen = Vec::new();
    for pair in parts.chunks_exact(2) {
        let name = percent_decoded(pair[0])?;
        let (name, value) = match name.strip_suffix(BASE64) {
            Some(name) => (name.to_owned(), value_of_base64(pair[1])?),
            None => (name.into_owned(), percent_decoded(pair[1])?.into_owned()),
        };
        let name = unescaped(&name)?;
        if name.is_empty() || name.starts_with("__") {
            return Err(Error::invalid(format!("group has the improper label name {name:?}")));
        }
        if seen.contains(&name) {
            return Err(Error::invalid(format!("group has the label {name:?} twice")));
        }
        if name == "job" && value.is_empty() {
            return Err(Error::invalid("job name is required"));
        }
        labels.set(&name, &value);
        seen.push(name);
    }
    Ok(labels.build())
}

fn value_of_base64(text: &str) -> Result<String> {
    let text = percent_decoded(text)?;
    unbase64(&text)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Error::invalid(format!("label value {text:.200?} is not base64 of UTF-8")))
}

fn percent_decoded(text: &str) -> Result<Cow<'_, str>> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let invalid = || Error::invalid(format!("{text:.200?} is not percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16)).ok_or_else(invalid);
        let value = digit()? << 4 | digit()?;
        bytes.push(u8::try_from(value).map_err(|_| invalid())?);
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| invalid())
}

/// A name written as `U__http_2e_status`: `_hex_` is a character, `__` an underscore. Others stay as they are.
fn unescaped(name: &str) -> Result<String> {
    let Some(mut rest) = name.strip_prefix("U__") else { return Ok(name.to_owned()) };
    let invalid = || Error::invalid(format!("label name {name:.200?} is not escaped properly"));
    let mut text = String::new();
    while let Some((plain, escape)) = rest.split_once('_') {
        text.push_str(plain);
        if let Some(tail) = escape.strip_prefix('_') {
            text.push('_');
            rest = tail;
            continue;
        }
        let (digits, tail) = escape.split_once('_').ok_or_else(invalid)?;
        let scalar = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 6);
        text.push(scalar.and_then(char::from_u32).ok_or_else(invalid)?);
        rest = tail;
    }
    text.push_str(rest);
    Ok(text)
}
