//! Pages: up to 64 series of one target over at most 1,920 shared timestamps; and blocks, which hold whole pages.
//!
//! ```text
//! page   = series u8, series × ( flags u8, len varint [ stats: floats of first, last, min, max ] ), series × column
//! flags  = bit 0: all values equal, bit 1: some value is below the one before (a counter reset), bit 2: stats
//! block  = pages varint, pages × len varint, pages         a block of times holds encoded timestamps instead of pages
//! ```

use model::{Error, Result};
use smallvec::SmallVec;
use storage::codec::{Reader, floats, put_count};

use crate::column::{self, Column};

/// Series in a full page.
pub const SERIES_MAX: usize = 64;
/// Rows in a full page: 8 hours of one sample every 15 seconds.
pub const ROWS_MAX: usize = 1920;
/// Plain bytes at which a block is closed.
pub const BLOCK_BYTES: usize = 32 << 10;
/// Plain bytes a block can have: 64 full-mantissa columns and change.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;

const CONSTANT: u8 = 1;
const RESET: u8 = 2;
const STATS: u8 = 4;
/// Below this many values the four numbers cost more than decoding them would.
const STATS_VALUES_MIN: usize = 960;
/// First, last, least and greatest.
const STATS_VALUES: usize = 4;

/// What a page's header says about one series without decoding it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// All values have the same bits.
    pub constant: bool,
    /// Some value is below the one before it.
    pub reset: bool,
    /// First, last, least and greatest value; only for long columns, NaN left out of the last two.
    pub stats: Option<[f64; 4]>,
}

/// Appends one page of at most [`SERIES_MAX`] columns of the same rows.
pub fn encode(columns: &[Column], out: &mut Vec<u8>) {
    let mut page = PageBuilder::default();
    for column in columns {
        page.push(column);
    }
    out.extend_from_slice(&page.take());
}

/// An encoded column with what the page's header says about it, to be copied from page to page.
#[derive(Debug, Clone)]
pub struct Packed {
    flags: u8,
    stats: Option<[f64; 4]>,
    bytes: Vec<u8>,
    rows: usize,
    values: usize,
}

impl Packed {
    /// Rows with a value.
    pub fn values(&self) -> usize {
        self.values
    }

    /// Decodes it.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when its bytes are impossible.
    pub fn column(&self) -> Result<Column> {
        column::decode(&mut Reader::new(&self.bytes), self.rows)
    }
}

/// Collects one page, series by series.
#[derive(Debug, Default)]
pub struct PageBuilder {
    series: u8,
    heads: Vec<u8>,
    bodies: Vec<u8>,
}

impl PageBuilder {
    /// Adds the next series; returns the bytes of its column.
    pub fn push(&mut self, column: &Column) -> usize {
        let start = self.bodies.len();
        column::encode(column, &mut self.bodies);
        let len = self.bodies.len() - start;
        let (flags, stats) = summarise(&column.values);
        self.head(flags, len, stats);
        len
    }

    /// Adds the next series as it was encoded before; returns the bytes of its column.
    pub fn copy(&mut self, packed: &Packed) -> usize {
        self.bodies.extend_from_slice(&packed.bytes);
        self.head(packed.flags, packed.bytes.len(), packed.stats);
        packed.bytes.len()
    }

    fn head(&mut self, flags: u8, len: usize, stats: Option<[f64; 4]>) {
        debug_assert!(usize::from(self.series) < SERIES_MAX, "a page has {SERIES_MAX} columns");
        self.series += 1;
        self.heads.push(flags);
        put_count(&mut self.heads, len);
        if let Some(stats) = stats {
            floats::encode(&stats, &mut self.heads);
        }
    }

    /// The page; starts the next one.
    pub fn take(&mut self) -> Vec<u8> {
        let mut page = Vec::with_capacity(1 + self.heads.len() + self.bodies.len());
        page.push(self.series);
        page.append(&mut self.heads);
        page.append(&mut self.bodies);
        self.series = 0;
        page
    }
}

fn summarise(values: &[f64]) -> (u8, Option<[f64; 4]>) {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return (0, None) };
    if values.iter().all(|v| v.to_bits() == first.to_bits()) {
        return (CONSTANT, None);
    }
    let reset = if values.windows(2).any(|w| w[1] < w[0]) { RESET } else { 0 };
    if values.len() < STATS_VALUES_MIN {
        return (reset, None);
    }
    let least = values.iter().copied().fold(f64::NAN, f64::min);
    let greatest = values.iter().copied().fold(f64::NAN, f64::max);
    (reset | STATS, Some([*first, *last, least, greatest]))
}

/// A page's header: where each series' column is.
#[derive(Debug)]
pub struct Page<'a> {
    flags: SmallVec<[u8; SERIES_MAX]>,
    /// Where each column ends in `body`.
    ends: SmallVec<[usize; SERIES_MAX]>,
    /// Of the series whose flags say that there are some.
    stats: Vec<f64>,
    body: &'a [u8],
    rows: usize,
}

impl<'a> Page<'a> {
    /// Reads the header of a page of `rows` rows.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
    pub fn decode(bytes: &'a [u8], rows: usize) -> Result<Self> {
        let mut r = Reader::new(bytes);
        let series = usize::from(r.u8()?);
        if series > SERIES_MAX || rows > ROWS_MAX {
            return Err(Error::corrupt(format!("page of {series} series and {rows} rows")));
        }
        let (mut flags, mut ends, mut stats) = (SmallVec::new(), SmallVec::new(), Vec::new());
        let mut end = 0;
        for _ in 0..series {
            let of_series = r.u8()?;
            end += r.count(bytes.len())?;
            if of_series & STATS != 0 {
                floats::decode(&mut r, STATS_VALUES, &mut stats)?;
            }
            flags.push(of_series);
            ends.push(end);
        }
        Ok(Self { flags, ends, stats, body: r.take(end)?, rows })
    }

    /// Series in it.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has no series.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What the header says about series `slot`.
    pub fn summary(&self, slot: usize) -> Option<Summary> {
        let flags = *self.flags.get(slot)?;
        let stats = || {
            let before = self.flags[..slot].iter().filter(|flags| **flags & STATS != 0).count();
            self.stats.get(before * STATS_VALUES..)?.first_chunk().copied()
        };
        Some(Summary {
            constant: flags & CONSTANT != 0,
            reset: flags & RESET != 0,
            stats: if flags & STATS == 0 { None } else { stats() },
        })
    }

    /// The values of series `slot`.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when there is no such slot or its bytes are impossible.
    pub fn column(&self, slot: usize) -> Result<Column> {
        column::decode(&mut Reader::new(self.bytes(slot)?), self.rows)
    }

    /// The column of series `slot` as it is.
    ///
    /// # Errors
    /// As [`column`](Self::column).
    pub fn packed(&self, slot: usize) -> Result<Packed> {
        let bytes = self.bytes(slot)?;
        let summary = self.summary(slot).ok_or_else(|| self.missing(slot))?;
        let Summary { constant, reset, stats } = summary;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(constant, CONSTANT) | flag(reset, RESET) | flag(stats.is_some(), STATS);
        let valid = column::validity(&mut Reader::new(bytes), self.rows)?;
        let values = valid.map_or(self.rows, |valid| valid.count());
        Ok(Packed { flags, stats, bytes: bytes.to_vec(), rows: self.rows, values })
    }

    /// The encoded column of series `slot`.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when there is no such slot.
    #[inline]
    pub(crate) fn bytes(&self, slot: usize) -> Result<&'a [u8]> {
        let start = if slot == 0 { Some(0) } else { self.ends.get(slot - 1).copied() };
        match (start, self.ends.get(slot)) {
            (Some(start), Some(end)) => Ok(&self.body[start..*end]),
            _ => Err(self.missing(slot)),
        }
    }

    #[cold]
    fn missing(&self, slot: usize) -> Error {
        Error::corrupt(format!("no series {slot} in page of {}", self.len()))
    }
}

impl Page<'_> {
    /// Whether series `slot` has a value in rows `[low, high)`, without decoding values.
    ///
    /// # Errors
    /// As [`column`](Self::column).
    pub fn has_value(&self, slot: usize, low: usize, high: usize) -> Result<bool> {
        Ok(match column::validity(&mut Reader::new(self.bytes(slot)?), self.rows)? {
            None => low < high,
            Some(valid) => valid.rank(high) > valid.rank(low),
        })
    }
}

/// Decodes a whole page, for the fuzzer and for checks.
///
/// # Errors
/// As [`Page::decode`] and [`Page::column`].
pub fn decode(bytes: &[u8], rows: usize) -> Result<Vec<Column>> {
    let page = Page::decode(bytes, rows)?;
    (0..page.len()).map(|slot| page.column(slot)).collect()
}

/// Collects encoded pages until they make a block.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    pages: Vec<Vec<u8>>,
    bytes: usize,
}

impl BlockBuilder {
    /// Adds a page; true when the block is full.
    pub fn push(&mut self, page: Vec<u8>) -> bool {
        self.bytes += page.len();
        self.pages.push(page);
        self.bytes >= BLOCK_BYTES
    }

    /// The block and how many pages it has, `None` when there are none; starts the next block.
    pub fn take(&mut self) -> Option<(Vec<u8>, usize)> {
        if self.pages.is_empty() {
            return None;
        }
        self.bytes = 0;
        let pages = std::mem::take(&mut self.pages);
        let mut out = Vec::new();
        put_count(&mut out, pages.len());
        pages.iter().for_each(|page| put_count(&mut out, page.len()));
        pages.iter().for_each(|page| out.extend_from_slice(page));
        Some((out, pages.len()))
    }
}

/// Page number `wanted` of a block.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) when there is none or the block is impossible.
pub fn block_page(block: &[u8], wanted: usize) -> Result<&[u8]> {
    let mut r = Reader::new(block);
    let pages = r.count(r.remaining())?;
    let (mut before, mut len) = (0usize, None);
    for page in 0..pages {
        let page_len = r.count(block.len())?;
        match page.cmp(&wanted) {
            std::cmp::Ordering::Less => before = before.saturating_add(page_len),
            std::cmp::Ordering::Equal => len = Some(page_len),
            std::cmp::Ordering::Greater => {}
        }
    }
    let Some(len) = len else {
        return Err(Error::corrupt(format!("no page {wanted} in block of {pages}")));
    };
    r.take(before)?;
    r.take(len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn columns(rows: &[Vec<Option<f64>>]) -> Vec<Column> {
        rows.iter()
            .map(|values| {
                let mut column = Column::default();
                for (row, value) in values.iter().enumerate() {
                    value.iter().for_each(|v| column.push(row, *v));
                }
                column.finish(values.len());
                column
            })
            .collect()
    }

    fn same(a: &Column, b: &Column) -> bool {
        a.iter().map(|(r, v)| (r, v.to_bits())).eq(b.iter().map(|(r, v)| (r, v.to_bits())))
    }

    proptest! {
        #[test]
        fn pages_survive(series in proptest::collection::vec(proptest::collection::vec(
            proptest::option::weighted(0.8, prop_oneof![(0i64..9).prop_map(|i| f64::from(i as i32)), any::<f64>()]),
            40), 0..64), cut in 0usize..40) {
            let columns = columns(&series);
            let mut bytes = Vec::new();
            encode(&columns, &mut bytes);
            let back = decode(&bytes, 40).unwrap();
            prop_assert_eq!(back.len(), columns.len());
            for (a, b) in back.iter().zip(&columns) {
                prop_assert!(same(a, b));
                let mut joined = b.slice(0, cut);
                joined.append(cut, &b.slice(cut, 40), 40 - cut);
                prop_assert!(same(&joined, b));
            }
            let page = Page::decode(&bytes, 40).unwrap();
            let mut copy = PageBuilder::default();
            for (slot, column) in columns.iter().enumerate() {
                let packed = page.packed(slot).unwrap();
                prop_assert_eq!(packed.values(), column.values.len());
                prop_assert!(same(&packed.column().unwrap(), column));
                copy.copy(&packed);
            }
            prop_assert_eq!(&copy.take(), &bytes);
            let mut builder = BlockBuilder::default();
            builder.push(vec![1, 2]);
            builder.push(bytes.clone());
            let (block, pages) = builder.take().unwrap();
            prop_assert_eq!(pages, 2);
            prop_assert_eq!(block_page(&block, 1).unwrap(), &bytes);
            prop_assert!(block_page(&block, 2).is_err());
        }

        #[test]
        fn noise_is_refused_or_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..300), rows in 0usize..2500) {
            if let Ok(columns) = decode(&bytes, rows) {
                prop_assert!(columns.iter().all(|c| c.values.len() <= ROWS_MAX));
            }
            if let Ok(page) = block_page(&bytes, rows % 4) {
                prop_assert!(page.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn headers_summarise_long_columns() {
        let mut column = Column::default();
        (0..1000).for_each(|i| column.push(i, ((i * 7) % 500) as f64));
        column.finish(1000);
        let mut bytes = Vec::new();
        encode(&[column], &mut bytes);
        let summary = Page::decode(&bytes, 1000).unwrap().summary(0).unwrap();
        assert_eq!(summary.stats, Some([0.0, 493.0, 0.0, 499.0]));
        assert!(summary.reset && !summary.constant);
    }
}
