//! Where native histograms are: unflushed ones by series in the head, flushed ones in pages of parts; and joining them.
//!
//! Owns: the head's samples, a part's directory of histogram pages, what counts where several places know one series.
//! Does not own: histograms as bytes ([`buckets`](crate::buckets)), block framing ([`part`](crate::part)).
//!
//! Of two histograms of a series at one time the later one counts, as with floats; of a float and a histogram at one
//! time the histogram counts.
//!
//! ```text
//! directory = first series, series, series × pages, pages × ( first ms zigzag (to the page before's), last - first ),
//!             directory of blocks (as in the index)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Budget, Error, Histogram, Labels, Result};
use roaring::RoaringBitmap;
use storage::codec::{Reader, put_count, put_varint, put_zigzag};
use storage::part::BlockRef;

use crate::buckets;
use crate::index::{Directory, Index};
use crate::page::BlockBuilder;
use crate::part::{BlockCache, Part};
use crate::scan::Piece;

/// Histograms with their times (Unix milliseconds).
pub type Samples = Vec<(i64, Arc<Histogram>)>;

/// Histograms of a tail; then they become a page.
pub(crate) const TAIL_MAX: usize = 32;

/// Pages one part may have.
const PAGES_MAX: usize = 1 << 24;

/// A histogram in the head that is not in a page yet: Unix milliseconds, and the bytes of [`buckets::encode_one`].
pub(crate) type One = (i64, Arc<[u8]>);

/// Some histograms of a series as one page.
#[derive(Debug)]
pub(crate) struct HeadPage {
    first_ms: i64,
    last_ms: i64,
    bytes: Box<[u8]>,
}

impl HeadPage {
    /// Packs a tail.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when one of them does not decode.
    pub(crate) fn seal(tail: &[One]) -> Result<Vec<Self>> {
        let samples = settle(decode(tail, i64::MIN, i64::MAX)?);
        let pages = buckets::pages(&samples).map(|page| {
            let mut bytes = Vec::new();
            buckets::encode_page(page, &mut bytes);
            let (first_ms, last_ms) = (page[0].0, page[page.len() - 1].0);
            Self { first_ms, last_ms, bytes: bytes.into_boxed_slice() }
        });
        Ok(pages.collect())
    }

    fn memory_bytes(&self) -> usize {
        self.bytes.len() + size_of::<Self>() + 24
    }
}

/// Unflushed histograms of one series, in order of arrival.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeadHistograms {
    pages: Vec<Arc<HeadPage>>,
    tail: Vec<One>,
    /// How many of each, from the front, a flush is writing.
    frozen: (usize, usize),
}

/// Bytes a tail takes in memory.
pub(crate) fn tail_bytes(tail: &[One]) -> usize {
    tail.iter().map(|(_, bytes)| bytes.len() + size_of::<One>() + 16).sum()
}

impl HeadHistograms {
    /// Those that are not in a page and can be sealed: none while a flush is writing some of them.
    pub(crate) fn open_tail(&self) -> &[One] {
        if self.frozen.1 > 0 { &[] } else { &self.tail }
    }

    /// Marks all there are as those that a flush is writing.
    pub(crate) fn freeze(&mut self) {
        self.frozen = (self.pages.len(), self.tail.len());
    }

    /// The flush failed.
    pub(crate) fn thaw(&mut self) {
        self.frozen = (0, 0);
    }

    /// The frozen ones.
    pub(crate) fn frozen(&self) -> Self {
        let (pages, rows) = self.frozen;
        Self {
            pages: self.pages[..pages].to_vec(),
            tail: self.tail[..rows].to_vec(),
            frozen: (0, 0),
        }
    }

    /// Removes the frozen ones.
    pub(crate) fn take_frozen(&mut self) -> Self {
        let (pages, rows) = std::mem::take(&mut self.frozen);
        Self {
            pages: self.pages.drain(..pages).collect(),
            tail: self.tail.drain(..rows).collect(),
            frozen: (0, 0),
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.tail.is_empty()
    }

    /// Bytes they take in memory, counted as they were when they came.
    pub(crate) fn memory_bytes(&self) -> usize {
        let pages: usize = self.pages.iter().map(|page| page.memory_bytes()).sum();
        pages + tail_bytes(&self.tail)
    }

    /// Adds one.
    pub(crate) fn push(&mut self, one: One) {
        self.tail.push(one);
    }

    /// Puts `pages` in the place of the tail they were made of; returns their bytes.
    pub(crate) fn sealed(&mut self, pages: Vec<HeadPage>) -> usize {
        self.tail = Vec::new();
        let bytes = pages.iter().map(HeadPage::memory_bytes).sum();
        self.pages.extend(pages.into_iter().map(Arc::new));
        bytes
    }

    /// Those in `[start_ms, end_ms]`, ascending.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when bytes do not decode.
    pub(crate) fn read(&self, start_ms: i64, end_ms: i64) -> Result<Samples> {
        let mut samples = Vec::new();
        for page in self.pages.iter().filter(|p| p.first_ms <= end_ms && p.last_ms >= start_ms) {
            add_inside(&page.bytes, start_ms, end_ms, &mut samples)?;
        }
        samples.extend(decode(&self.tail, start_ms, end_ms)?);
        Ok(settle(samples))
    }
}

fn decode(tail: &[One], start_ms: i64, end_ms: i64) -> Result<Samples> {
    let inside = tail.iter().filter(|(t, _)| (start_ms..=end_ms).contains(t));
    inside
        .map(|(t, bytes)| Ok((*t, Arc::new(buckets::decode_one(&mut Reader::new(bytes))?))))
        .collect()
}

fn add_inside(page: &[u8], start_ms: i64, end_ms: i64, samples: &mut Samples) -> Result<()> {
    let all = buckets::decode_page(page)?.into_iter();
    let inside = all.filter(|(t, _)| (start_ms..=end_ms).contains(t));
    samples.extend(inside.map(|(t, h)| (t, Arc::new(h))));
    Ok(())
}

/// In order of time, of each time the one that came last.
pub(crate) fn settle(mut samples: Samples) -> Samples {
    if samples.is_sorted_by(|a, b| a.0 < b.0) {
        return samples;
    }
    // Stable: of those at one time the last stays the last. Kept is the first, so turn around.
    samples.reverse();
    samples.sort_by_key(|(t, _)| *t);
    samples.dedup_by_key(|(t, _)| *t);
    samples
}

/// The floats of a series without those at times where it has a histogram.
pub(crate) fn beside(piece: Piece, histograms: &Samples) -> Piece {
    let is_taken = |t: &i64| histograms.binary_search_by_key(t, |(t, _)| *t).is_ok();
    if histograms.is_empty() || !piece.times.iter().any(is_taken) {
        return piece;
    }
    let rest = piece.times.iter().copied().zip(piece.values).filter(|(t, _)| !is_taken(t));
    let (times, values): (Vec<i64>, Vec<f64>) = rest.unzip();
    Piece { times: times.into(), values }
}

/// Histograms found so far, by number of series.
#[derive(Debug, Default)]
pub(crate) struct Found(BTreeMap<usize, Samples>);

impl Found {
    /// Adds what one place knows, later places counting more; pays for it.
    ///
    /// # Errors
    /// What `budget` says.
    pub(crate) fn add(&mut self, number: usize, samples: Samples, budget: &Budget) -> Result<()> {
        let numbers: usize = samples.iter().map(|(_, h)| buckets::weight(h)).sum();
        budget.charge_samples(samples.len() as u64)?;
        budget.charge_bytes((numbers * 8 + samples.len() * size_of::<Histogram>()) as u64)?;
        self.0.entry(number).or_default().extend(samples);
        Ok(())
    }

    /// What series `number` has.
    pub(crate) fn take(&mut self, number: usize) -> Samples {
        self.0.remove(&number).map(settle).unwrap_or_default()
    }
}

/// Where the histogram pages of a part are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HistogramPages {
    /// Number of the first series with histograms; they are the last ones of the part.
    first_series: usize,
    /// First page of each, and behind the last one.
    first_pages: Vec<usize>,
    /// First and last time of each page.
    spans: Vec<(i64, i64)>,
    blocks: Directory,
}

impl HistogramPages {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_count(&mut out, self.first_series);
        put_count(&mut out, self.first_pages.len().saturating_sub(1));
        self.first_pages.windows(2).for_each(|w| put_count(&mut out, w[1] - w[0]));
        let mut before = 0;
        for (first_ms, last_ms) in &self.spans {
            put_zigzag(&mut out, first_ms.wrapping_sub(before));
            put_varint(&mut out, last_ms.wrapping_sub(*first_ms).cast_unsigned());
            before = *first_ms;
        }
        self.blocks.encode(&mut out);
        out
    }

    /// Reads a directory.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes);
        let first_series = r.count(PAGES_MAX)?;
        let series = r.count(r.remaining())?;
        let mut first_pages = vec![0usize];
        let mut pages = 0usize;
        for _ in 0..series {
            pages += r.count(PAGES_MAX)?;
            first_pages.push(pages);
        }
        // Two numbers for each.
        if pages > r.remaining() / 2 {
            return Err(Error::corrupt(format!("no room for {pages} histogram pages")));
        }
        let mut spans = Vec::with_capacity(pages);
        let mut first_ms = 0i64;
        for _ in 0..pages {
            first_ms = first_ms.wrapping_add(r.zigzag()?);
            spans.push((first_ms, first_ms.wrapping_add(r.varint()?.cast_signed())));
        }
        Ok(Self { first_series, first_pages, spans, blocks: Directory::decode(&mut r)? })
    }

    /// The series that have any, of `ids`.
    pub(crate) fn of<'a>(&'a self, ids: &'a RoaringBitmap) -> impl Iterator<Item = u32> + 'a {
        ids.range(self.series())
    }

    /// The series that have any.
    fn series(&self) -> std::ops::Range<u32> {
        let end = self.first_series + self.first_pages.len().saturating_sub(1);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        number(self.first_series)..number(end)
    }

    /// Pages of series `id`, with their first and last time.
    fn pages(&self, id: u32) -> impl Iterator<Item = (usize, (i64, i64))> + '_ {
        let k = (id as usize).checked_sub(self.first_series);
        let range = k.and_then(|k| Some(*self.first_pages.get(k)?..*self.first_pages.get(k + 1)?));
        range.unwrap_or(0..0).filter_map(|page| Some((page, *self.spans.get(page)?)))
    }

    /// Block and page inside it of page `page`.
    pub(crate) fn block(&self, page: usize) -> Option<(BlockRef, usize)> {
        self.blocks.find(page)
    }
}

/// Collects the histograms of a part, its last series.
#[derive(Debug, Default)]
pub(crate) struct PagesBuilder {
    found: HistogramPages,
    block: BlockBuilder,
}

impl PagesBuilder {
    /// Adds the next series, number `id` of the part; `write` takes full blocks.
    ///
    /// # Errors
    /// What `write` says.
    pub(crate) fn series(
        &mut self,
        id: usize,
        samples: &Samples,
        write: &mut dyn FnMut(&[u8]) -> Result<BlockRef>,
    ) -> Result<()> {
        if self.found.first_pages.is_empty() {
            self.found.first_series = id;
            self.found.first_pages.push(0);
        }
        for page in buckets::pages(samples) {
            let mut bytes = Vec::new();
            buckets::encode_page(page, &mut bytes);
            self.found.spans.push((page[0].0, page[page.len() - 1].0));
            if self.block.push(bytes) {
                self.write_block(write)?;
            }
        }
        self.found.first_pages.push(self.found.spans.len());
        Ok(())
    }

    fn write_block(&mut self, write: &mut dyn FnMut(&[u8]) -> Result<BlockRef>) -> Result<()> {
        if let Some((block, pages)) = self.block.take() {
            self.found.blocks.push(write(&block)?, pages);
        }
        Ok(())
    }

    /// The directory; `None` when there was no series.
    ///
    /// # Errors
    /// What `write` says.
    pub(crate) fn finish(
        mut self,
        write: &mut dyn FnMut(&[u8]) -> Result<BlockRef>,
    ) -> Result<Option<Vec<u8>>> {
        self.write_block(write)?;
        Ok((!self.found.first_pages.is_empty()).then(|| self.found.encode()))
    }
}

/// Series of a part that have histograms.
///
/// # Errors
/// As [`Part::histogram_pages`].
pub(crate) fn ids(part: &Part) -> Result<std::ops::Range<u32>> {
    Ok(part.histogram_pages()?.map_or(0..0, |pages| pages.series()))
}

/// Calls `found` with the histograms in `[start_ms, end_ms]` of each of the series `ids` of a part that has any.
///
/// # Errors
/// As [`Part::histogram_page`], or what `found` returns.
pub(crate) fn scan(
    part: &Part,
    ids: &RoaringBitmap,
    (start_ms, end_ms): (i64, i64),
    found: &mut dyn FnMut(u32, Samples) -> Result<()>,
) -> Result<()> {
    let Some(pages) = part.histogram_pages()? else { return Ok(()) };
    let mut cache = BlockCache::default();
    for id in pages.of(ids) {
        let mut samples = Vec::new();
        for (page, (first_ms, last_ms)) in pages.pages(id) {
            if first_ms <= end_ms && last_ms >= start_ms {
                part.histogram_page(&pages, page, &mut cache, |bytes| {
                    add_inside(bytes, start_ms, end_ms, &mut samples)
                })?;
            }
        }
        if !samples.is_empty() {
            found(id, samples)?;
        }
    }
    Ok(())
}

/// Calls `found` for each of the series `ids` of a part that has a histogram in `[start_ms, end_ms]`.
///
/// # Errors
/// As [`scan`].
pub(crate) fn presence(
    part: &Part,
    index: &Index,
    ids: &RoaringBitmap,
    (start_ms, end_ms): (i64, i64),
    found: &mut dyn FnMut(&Labels) -> Result<()>,
) -> Result<()> {
    let Some(pages) = part.histogram_pages()? else { return Ok(()) };
    let mut cache = BlockCache::default();
    for id in pages.of(ids) {
        let mut is_there = false;
        for (page, (first_ms, last_ms)) in pages.pages(id) {
            if is_there || first_ms > end_ms || last_ms < start_ms {
                continue;
            }
            let ends = [first_ms, last_ms];
            is_there = ends.iter().any(|t| (start_ms..=end_ms).contains(t));
            if !is_there {
                // The range is inside the page: only its times can tell.
                part.histogram_page(&pages, page, &mut cache, |bytes| {
                    let times = buckets::page_times(bytes)?;
                    is_there = times.iter().any(|t| (start_ms..=end_ms).contains(t));
                    Ok(())
                })?;
            }
        }
        if is_there {
            found(&index.labels(id as usize))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_of_a_time_counts() {
        let of = |sum: f64| Arc::new(Histogram { sum, ..Histogram::default() });
        let samples = [(5, 1.0), (3, 2.0), (5, 3.0), (4, 4.0), (3, 5.0)];
        let settled = settle(samples.iter().map(|(t, sum)| (*t, of(*sum))).collect());
        let sums: Vec<_> = settled.iter().map(|(t, h)| (*t, h.sum)).collect();
        assert_eq!(sums, [(3, 5.0), (4, 4.0), (5, 3.0)]);
        let piece = Piece { times: [2, 3, 6].into(), values: vec![2.0, 3.0, 6.0] };
        let rest = beside(piece, &settled);
        assert_eq!((&*rest.times, rest.values), (&[2, 6][..], vec![2.0, 6.0]));
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(pages) = HistogramPages::decode(&bytes) {
                prop_assert!(pages.spans.len() <= bytes.len() && pages.first_pages.len() <= bytes.len() + 1);
            }
        }
    }
}
