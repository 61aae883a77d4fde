//! The `index` file of a block, versions 1 and 2: symbols, and series with their chunks. Postings are not needed to read
//! everything.

use model::{Error, Labels, Result};

use super::bytes::{Bytes, checked};
use super::chunk::ChunkRef;

const MAGIC: u32 = 0xBAAA_D700;
const HEADER_BYTES: usize = 5;
/// Offsets of six sections and a checksum.
const CONTENTS_BYTES: usize = 6 * 8 + 4;
/// Series begin at multiples of it.
const SERIES_ALIGNMENT: usize = 16;

/// A chunk of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkMeta {
    /// First sample, Unix milliseconds.
    pub min_ms: i64,
    /// Last sample, Unix milliseconds.
    pub max_ms: i64,
    /// Where it is.
    pub at: ChunkRef,
}

/// A series of a block.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesEntry {
    /// Number by which tombstones name it.
    pub reference: u64,
    /// Identity.
    pub labels: Labels,
    /// Its chunks, ascending by time.
    pub chunks: Vec<ChunkMeta>,
}

/// An index whose table of contents and symbols were read.
#[derive(Debug)]
pub struct Index<'a> {
    bytes: &'a [u8],
    version: u8,
    /// Where each symbol begins; version 1 names symbols by their place instead.
    symbols: Vec<u32>,
    series: std::ops::Range<usize>,
}

impl<'a> Index<'a> {
    /// Reads the table of contents and finds the symbols. Four bytes of memory per symbol.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when the file is not an index, of an unknown version or damaged.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let mut header = Bytes::new(bytes);
        let (magic, version) = (header.u32()?, header.u8()?);
        if magic != MAGIC {
            return Err(Error::corrupt(format!("no index: it begins with {magic:08x}")));
        }
        if !matches!(version, 1 | 2) {
            return Err(Error::corrupt(format!(
                "index version {version} is unknown; known are 1 and 2"
            )));
        }
        let contents_at = bytes
            .len()
            .checked_sub(CONTENTS_BYTES)
            .filter(|at| *at >= HEADER_BYTES)
            .ok_or_else(|| Error::corrupt(format!("index has {} bytes", bytes.len())))?;
        let mut contents = Bytes::new(checked(&bytes[contents_at..], "the table of contents")?);
        let mut sections = [0_u64; 6];
        for section in &mut sections {
            *section = contents.u64()?;
        }
        let [symbols_at, series_at, ..] = sections;
        // Sections follow each other: the series end where the next one begins.
        let series_end = sections.into_iter().filter(|at| *at > series_at).min();
        let place = |at: u64| {
            usize::try_from(at).ok().filter(|at| *at <= contents_at).ok_or_else(|| {
                Error::corrupt(format!("section at {at} is outside the index of {}", bytes.len()))
            })
        };
        let series = match series_at {
            0 => contents_at..contents_at,
            at => place(at)?..series_end.map_or(Ok(contents_at), place)?,
        };
        let symbols = match symbols_at {
            0 => Vec::new(),
            at => symbols(bytes, place(at)?, version)?,
        };
        Ok(Self { bytes, version, symbols, series })
    }

    /// Its series, sorted by labels.
    pub fn series(&self) -> SeriesIter<'_> {
        SeriesIter { index: self, at: self.series.start }
    }

    fn symbol(&self, reference: u64) -> Result<&'a str> {
        let unknown = || Error::corrupt(format!("symbol {reference} does not exist"));
        let number = usize::try_from(reference).map_err(|_| unknown())?;
        let at = match self.version {
            1 => number,
            _ => *self.symbols.get(number).ok_or_else(unknown)? as usize,
        };
        Bytes::new(self.bytes.get(at..).ok_or_else(unknown)?).text()
    }

    fn entry(&self, at: usize) -> Result<(SeriesEntry, usize)> {
        let mut bytes = Bytes::new(&self.bytes[at..self.series.end]);
        let len = bytes.length()?;
        let framed = bytes.take(len.saturating_add(4))?;
        let end = at + bytes.offset();
        let entry = self
            .series_entry(at, framed)
            .map_err(|e| e.context(format_args!("series at offset {at} of the index")))?;
        Ok((entry, end))
    }

    fn series_entry(&self, at: usize, framed: &[u8]) -> Result<SeriesEntry> {
        let mut bytes = Bytes::new(checked(framed, "the entry")?);
        let mut pairs = Vec::new();
        for _ in 0..bytes.count()? {
            pairs.push((self.symbol(bytes.uvarint()?)?, self.symbol(bytes.uvarint()?)?));
        }
        let count = bytes.count()?;
        let mut chunks = Vec::with_capacity(count);
        let (mut reference, mut after) = (0_i64, 0_i64);
        for number in 0..count {
            let min_ms = if number == 0 {
                bytes.varint()?
            } else {
                after.wrapping_add(bytes.uvarint()?.cast_signed())
            };
            let max_ms = min_ms.wrapping_add(bytes.uvarint()?.cast_signed());
            after = max_ms;
            reference = if number == 0 {
                bytes.uvarint()?.cast_signed()
            } else {
                reference.wrapping_add(bytes.varint()?)
            };
            chunks.push(ChunkMeta { min_ms, max_ms, at: ChunkRef(reference.cast_unsigned()) });
        }
        let reference = if self.version == 1 { at } else { at / SERIES_ALIGNMENT };
        Ok(SeriesEntry { reference: reference as u64, labels: Labels::from_pairs(pairs), chunks })
    }
}

/// Where each symbol begins, in bytes from the start of the index.
fn symbols(bytes: &[u8], at: usize, version: u8) -> Result<Vec<u32>> {
    let mut section = Bytes::new(bytes.get(at..).unwrap_or_default());
    let len = section.u32()? as usize;
    let body_at = at + section.offset();
    let framed = section.take(len.saturating_add(4))?;
    let mut body = Bytes::new(checked(framed, "the symbols")?);
    let count = body.u32()? as usize;
    if count > body.rest().len() {
        return Err(Error::corrupt(format!("{count} symbols are claimed in {len} bytes")));
    }
    if version == 1 {
        return Ok(Vec::new());
    }
    let mut starts = Vec::with_capacity(count);
    for _ in 0..count {
        let start = u32::try_from(body_at + body.offset())
            .map_err(|_| Error::corrupt("symbols lie beyond 4 GiB of the index"))?;
        starts.push(start);
        body.text()?;
    }
    Ok(starts)
}

/// Reads series one after the other.
#[derive(Debug, Clone)]
pub struct SeriesIter<'a> {
    index: &'a Index<'a>,
    at: usize,
}

impl SeriesIter<'_> {
    /// Bytes of the series read, of how many.
    pub fn progress(&self) -> (u64, u64) {
        let range = &self.index.series;
        ((self.at - range.start) as u64, range.len() as u64)
    }
}

impl Iterator for SeriesIter<'_> {
    type Item = Result<SeriesEntry>;

    /// The next series. Behind a damaged one it goes on with the next, if the length of the damaged one can be read;
    /// otherwise the error is the last item.
    fn next(&mut self) -> Option<Self::Item> {
        let range = &self.index.series;
        let at = self.at.next_multiple_of(SERIES_ALIGNMENT);
        if at >= range.end || self.index.bytes[at..range.end].iter().take(4).all(|b| *b == 0) {
            self.at = range.end;
            return None;
        }
        match self.index.entry(at) {
            Ok((entry, end)) => {
                self.at = end;
                Some(Ok(entry))
            }
            Err(error) => {
                self.at = self.end_of(at).unwrap_or(range.end);
                Some(Err(error))
            }
        }
    }
}

impl SeriesIter<'_> {
    /// Where the entry at `at` ends by its own length.
    fn end_of(&self, at: usize) -> Option<usize> {
        let range = &self.index.series;
        let mut bytes = Bytes::new(&self.index.bytes[at..range.end]);
        let len = bytes.length().ok()?;
        bytes.take(len.checked_add(4)?).ok()?;
        Some(at + bytes.offset())
    }
}
