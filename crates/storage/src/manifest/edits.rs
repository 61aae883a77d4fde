//! The payload of a manifest record: a list of edits. Pure; does not own framing or files.
//!
//! ```text
//! edit = tag u8, name: len u32 + UTF-8, value: len u32 + bytes (tags 1 and 3 only)     little-endian
//! tag: 1 AddPart, 2 RemovePart, 3 Set, 4 Unset
//! ```

use model::{Error, Result};

use super::{Edit, KIND_EDITS};
use crate::wal::PAYLOAD_BYTES_MAX;

const ADD_PART: u8 = 1;
const REMOVE_PART: u8 = 2;
const SET: u8 = 3;
const UNSET: u8 = 4;

/// Appends `edits` to `out`.
pub(super) fn encode(edits: &[Edit], out: &mut Vec<u8>) -> Result<()> {
    for edit in edits {
        let (tag, name, value) = match edit {
            Edit::AddPart { name, meta } => (ADD_PART, name, Some(meta)),
            Edit::RemovePart { name } => (REMOVE_PART, name, None),
            Edit::Set { key, value } => (SET, key, Some(value)),
            Edit::Unset { key } => (UNSET, key, None),
        };
        out.push(tag);
        push(name.as_bytes(), out);
        if let Some(value) = value {
            push(value, out);
        }
        if out.len() > PAYLOAD_BYTES_MAX {
            let message = format!("manifest record is over {PAYLOAD_BYTES_MAX} bytes");
            return Err(Error::invalid(message));
        }
    }
    Ok(())
}

fn push(bytes: &[u8], out: &mut Vec<u8>) {
    // Longer ones do not fit a record either: the caller sees the record's length right after.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// All edits of a payload that passed its checksum, or an error if it does not make sense all the same.
pub(super) fn decode(kind: u8, payload: &[u8]) -> Result<Vec<Edit>> {
    if kind != KIND_EDITS {
        return Err(Error::corrupt(format!("record kind {kind} is unknown")));
    }
    let mut rest = payload;
    let mut edits = Vec::new();
    while let Some((&tag, tail)) = rest.split_first() {
        rest = tail;
        let name = take(&mut rest)?;
        let name =
            std::str::from_utf8(name).map_err(|_| Error::corrupt("name is not UTF-8"))?.to_owned();
        edits.push(match tag {
            ADD_PART => Edit::AddPart { name, meta: take(&mut rest)?.to_vec() },
            REMOVE_PART => Edit::RemovePart { name },
            SET => Edit::Set { key: name, value: take(&mut rest)?.to_vec() },
            UNSET => Edit::Unset { key: name },
            _ => return Err(Error::corrupt(format!("edit tag {tag} is unknown"))),
        });
    }
    Ok(edits)
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let cut_off = || Error::corrupt("edit is cut off");
    let (len, tail) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| cut_off())?;
    let (bytes, tail) = tail.split_at_checked(len).ok_or_else(cut_off)?;
    *rest = tail;
    Ok(bytes)
}
