//! Many strings behind each other: in memory, and zstd-compressed in frames on disk.
//!
//! On disk: `mode u8` (0: all of one length, which follows as a varint; 1: each followed by the byte `0xFF`, which UTF-8
//! never uses), total bytes (varint), then frames of up to 256 KiB of the concatenation: compressed length (varint, 0
//! when stored as is) and bytes. The number of strings is known from outside.

use std::sync::OnceLock;

use model::{Error, Result};
use storage::codec::{Reader, put_count};

use crate::bits::Bits;
use crate::needle::{Needle, Search};
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
    layout: Layout,
}

/// Where strings end.
#[derive(Debug)]
enum Layout {
    /// Behind each other, at these ends.
    Listed(Vec<u32>),
    /// Behind each other, all of one length.
    Even { width: usize, count: usize },
    /// Each followed by a terminator; the ends are looked for when somebody asks.
    Terminated { count: usize, ends: OnceLock<Vec<u32>> },
}

impl Default for Layout {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Texts {
    pub(crate) fn len(&self) -> usize {
        match &self.layout {
            Layout::Listed(ends) => ends.len(),
            Layout::Even { count, .. } | Layout::Terminated { count, .. } => *count,
        }
    }

    /// String `i`, or nothing past the end.
    pub(crate) fn get(&self, i: usize) -> &[u8] {
        let (start, end) = self.range(i);
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn range(&self, i: usize) -> (usize, usize) {
        let (ends, gap) = match &self.layout {
            Layout::Even { width, count } if i < *count => return (i * width, (i + 1) * width),
            Layout::Even { .. } => return (0, 0),
            Layout::Listed(ends) => (ends.as_slice(), 0),
            Layout::Terminated { .. } => (self.ends(), 1),
        };
        let start = match i.checked_sub(1) {
            None => 0,
            Some(before) => ends.get(before).map_or(0, |e| *e as usize + gap),
        };
        (start, ends.get(i).map_or(start, |e| *e as usize))
    }

    /// End of each string, unless all are of one length.
    fn ends(&self) -> &[u32] {
        match &self.layout {
            Layout::Listed(ends) => ends,
            Layout::Even { .. } => &[],
            Layout::Terminated { count, ends } => ends.get_or_init(|| {
                let mut ends = Vec::with_capacity(*count);
                ends.extend(memchr::memchr_iter(TERMINATOR, &self.bytes).map(|end| end as u32));
                ends
            }),
        }
    }

    /// The string with byte `at`, which is `from` or behind it.
    fn row_at(&self, at: usize, from: usize) -> usize {
        match &self.layout {
            Layout::Even { width, .. } => at.checked_div(*width).unwrap_or(0),
            _ => {
                let ends = self.ends().get(from..).unwrap_or_default();
                // Hits are near each other or far apart: gallop, then halve.
                let mut step = 1;
                while ends.get(step).is_some_and(|end| *end as usize <= at) {
                    step *= 2;
                }
                let (low, high) = (step / 2, (step + 1).min(ends.len()));
                from + low + ends[low.min(high)..high].partition_point(|e| *e as usize <= at)
            }
        }
    }

    pub(crate) fn push(&mut self, text: &[u8]) {
        self.push_with(|bytes| bytes.extend_from_slice(text));
    }

    /// Lets `write` append the bytes of the next string.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        if let Layout::Listed(ends) = &mut self.layout {
            // Bounded far below 4 GiB by the limits of blocks.
            ends.push(self.bytes.len() as u32);
        }
    }

    pub(crate) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let ends = match &self.layout {
            Layout::Listed(ends) => ends.capacity(),
            Layout::Even { .. } => 0,
            Layout::Terminated { ends, .. } => ends.get().map_or(0, Vec::capacity),
        };
        self.bytes.capacity() + ends * size_of::<u32>()
    }

    /// Sets the bit of every string that has `needle`.
    pub(crate) fn find(&self, needle: &Needle, hits: &mut Bits) {
        if needle.is_trivial() {
            return hits.set_range(0, self.len());
        }
        if needle.text().is_empty() {
            (0..self.len()).filter(|i| self.get(*i).is_empty()).for_each(|i| hits.set(i));
            return;
        }
        let is_terminated = matches!(self.layout, Layout::Terminated { .. });
        let has_edge = (needle.start || needle.end) && !needle.is_folded();
        if is_terminated && has_edge && !needle.text().contains(&TERMINATOR) {
            return self.find_between_terminators(needle, hits);
        }
        let search = needle.finder();
        let len = needle.text().len();
        let (mut from, mut row) = (0, 0);
        while let Some(at) = self.bytes.get(from..).and_then(|rest| search.find(rest)) {
            let at = from + at;
            row = self.row_at(at, row);
            if row >= self.len() {
                return;
            }
            let (start, end) = self.range(row);
            let fits = at >= start
                && at + len <= end
                && (!needle.start || at == start)
                && (!needle.end || at + len == end);
            if fits {
                hits.set(row);
                // One hit is enough; an empty string behind it has none.
                (from, row) = (end, row + 1);
            } else {
                from = at + 1;
            }
        }
    }

    /// Strings that begin or end with the needle: it is searched together with the terminators beside it.
    fn find_between_terminators(&self, needle: &Needle, hits: &mut Bits) {
        let before = usize::from(needle.start);
        let mut text = Vec::with_capacity(needle.text().len() + 2);
        text.extend(needle.start.then_some(TERMINATOR));
        text.extend_from_slice(needle.text());
        text.extend(needle.end.then_some(TERMINATOR));
        // No terminator is before the first string.
        if needle.start && self.bytes.starts_with(&text[1..]) {
            hits.set(0);
        }
        let search = Search::exact(&text);
        let (mut from, mut row) = (0, 0);
        while let Some(at) = self.bytes.get(from..).and_then(|rest| search.find(rest)) {
            row = self.row_at(from + at + before, row);
            hits.set(row);
            // At the terminator of this string, which may be the one before the next hit.
            from = self.range(row).1;
            row += 1;
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
    let layout = match mode {
        0 if width.checked_mul(count) == Some(total) => Layout::Even { width, count },
        1 => {
            let found = memchr::memchr_iter(TERMINATOR, &bytes).count();
            if found != count {
                return Err(Error::corrupt(format!("texts hold {found} strings; need {count}")));
            }
            if bytes.last().is_some_and(|b| *b != TERMINATOR) {
                return Err(Error::corrupt("texts go on behind their last string"));
            }
            Layout::Terminated { count, ends: OnceLock::new() }
        }
        _ => {
            return Err(Error::corrupt(format!(
                "texts of mode {mode} have {total} bytes; need {count} of {width}"
            )));
        }
    };
    Ok(Texts { bytes, layout })
}
