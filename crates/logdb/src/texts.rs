//! Many strings behind each other: in memory, and zstd-compressed in frames on disk.
//!
//! On disk: `mode u8` (0: all of one length, which follows as a varint; 1: each followed by the byte `0xFF`, which UTF-8
//! never uses), total bytes (varint), then frames of up to 256 KiB of the concatenation: compressed length (varint, 0
//! when stored as is) and bytes. The number of strings is known from outside.

use model::{Error, Result};
use storage::codec::{Reader, put_count};

use crate::bits::Bits;
use crate::pack;

/// Ends every string in the second mode.
pub(crate) const TERMINATOR: u8 = 0xFF;
/// Raw bytes of one frame.
const FRAME_BYTES: usize = 256 << 10;
/// Concatenated bytes one column may have.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// Strings in one allocation.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    /// End of each string in `bytes`.
    ends: Vec<u32>,
    /// Bytes between one string's end and the next one's start.
    gap: u32,
}

impl Texts {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// String `i`, or nothing past the end.
    pub(crate) fn get(&self, i: usize) -> &[u8] {
        let start = match i.checked_sub(1) {
            None => 0,
            Some(before) => self.ends.get(before).map_or(0, |e| (e + self.gap) as usize),
        };
        let end = self.ends.get(i).map_or(start, |e| *e as usize);
        self.bytes.get(start..end).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        // Bounded far below 4 GiB by the limits of blocks.
        self.ends.push(self.bytes.len() as u32);
    }

    /// Lets `write` append the bytes of the next string.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len() as u32);
    }

    pub(crate) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Sets the bit of every string that contains `needle`.
    pub(crate) fn find(&self, needle: &memchr::memmem::Finder<'_>, hits: &mut Bits) {
        let needle_len = needle.needle().len();
        if needle_len == 0 {
            hits.set_range(0, self.len());
            return;
        }
        let (mut from, mut row) = (0, 0);
        while let Some(at) = self.bytes.get(from..).and_then(|rest| needle.find(rest)) {
            let at = from + at;
            // Hits ascend, and are usually far apart compared with the strings.
            row += self.ends[row..].partition_point(|end| (*end as usize) <= at);
            let Some(end) = self.ends.get(row).map(|e| *e as usize) else { return };
            if at + needle_len <= end {
                hits.set(row);
                from = end;
                row += 1;
            } else {
                from = at + 1;
            }
        }
    }
}

/// Writes `values` behind each other; none may contain `0xFF`.
pub(crate) fn encode(values: &[&[u8]], zstd: &mut pack::Zstd, out: &mut Vec<u8>) {
    let mut raw = Vec::with_capacity(values.iter().map(|v| v.len() + 1).sum());
    match values.split_first() {
        Some((first, rest)) if rest.iter().all(|v| v.len() == first.len()) => {
            out.push(0);
            put_count(out, first.len());
            values.iter().for_each(|v| raw.extend_from_slice(v));
        }
        _ => {
            out.push(1);
            for value in values {
                raw.extend_from_slice(value);
                raw.push(TERMINATOR);
            }
        }
    }
    put_count(out, raw.len());
    for frame in raw.chunks(FRAME_BYTES) {
        zstd.put_frame(frame, out);
    }
}

/// Reads `count` strings.
pub(crate) fn decode(reader: &mut Reader<'_>, count: usize) -> Result<Texts> {
    let mode = reader.u8()?;
    let width = if mode == 0 { reader.count(TEXT_BYTES_MAX)? } else { 0 };
    let total = reader.count(TEXT_BYTES_MAX)?;
    let mut bytes = Vec::new();
    while bytes.len() < total {
        let len = (total - bytes.len()).min(FRAME_BYTES);
        pack::take_frame(reader, len, &mut bytes)?;
    }
    let mut ends = Vec::new();
    let gap = match mode {
        0 if width.checked_mul(count) == Some(total) => {
            ends.extend((1..=count).map(|i| (i * width) as u32));
            0
        }
        1 => {
            ends.extend(memchr::memchr_iter(TERMINATOR, &bytes).map(|end| end as u32));
            1
        }
        _ => {
            return Err(Error::corrupt(format!(
                "texts of mode {mode} have {total} bytes; need {count} of {width}"
            )));
        }
    };
    if ends.len() != count {
        let found = ends.len();
        return Err(Error::corrupt(format!("texts hold {found} strings; need {count}")));
    }
    Ok(Texts { bytes, ends, gap })
}
