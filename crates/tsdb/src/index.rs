//! The index of a part: which series it has, in which pages, and which series have which label value.
//!
//! Owns: building, encoding, decoding and matching. Does not own: reading pages, and what a decoded index keeps of each
//! series ([`members`]). Series are numbered by (target, labels); their labels are not stored, they are the inverse of the
//! postings.
//!
//! ```text
//! index    = targets varint, keys strings, targets × ( series, rows ), times directory, data directory,
//!            names strings, names × value count, values strings (by name), values × postings
//! directory = blocks varint, blocks × ( pages in it, offset delta zigzag, len )
//! postings = runs varint, runs × ( gap << 1 | longer varint [ length - 2 ] )      gap: from the end of the run before
//! ```

mod members;
mod runs;

use std::collections::BTreeMap;
use std::ops::Range;

use model::{Error, Labels, Result};
use roaring::RoaringBitmap;
use smallvec::SmallVec;
use storage::codec::{Reader, put_count, put_varint, put_zigzag, strings};
use storage::part::BlockRef;

use self::members::Members;
use self::runs::{RunCursor, Runs};

use crate::identity;
use crate::page::{ROWS_MAX, SERIES_MAX};
use crate::postings::Lookup;

/// Series one part may have.
const PART_SERIES_MAX: usize = 1 << 24;
/// Rows one target may have in one part: a day at one sample per millisecond.
const TARGET_ROWS_MAX: usize = 86_400_000;
/// Label pairs per byte of index beyond which it cannot be honest.
const PAIRS_PER_BYTE_MAX: usize = 1 << 12;

/// Series of one source that share their timestamps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The source they came from; empty for series with timestamps of their own.
    pub key: String,
    /// First series number.
    pub first_series: usize,
    /// Number of series.
    pub series: usize,
    /// Number of shared timestamps.
    pub rows: usize,
    /// Rows of each chunk; empty when all but the last have [`ROWS_MAX`].
    lengths: Box<[u16]>,
    first_times: usize,
    first_page: usize,
}

impl Target {
    fn memory_bytes(&self) -> usize {
        self.key.len() + self.lengths.len() * 2 + size_of::<Self>()
    }

    /// Number of runs of at most [`ROWS_MAX`] rows.
    pub fn chunks(&self) -> usize {
        if self.lengths.is_empty() { self.rows.div_ceil(ROWS_MAX) } else { self.lengths.len() }
    }

    /// Number of data pages.
    fn pages(&self) -> usize {
        self.series.div_ceil(SERIES_MAX) * self.chunks()
    }

    /// Rows of chunk `chunk`.
    pub fn chunk_rows(&self, chunk: usize) -> usize {
        if self.lengths.is_empty() {
            return self.rows.saturating_sub(chunk * ROWS_MAX).min(ROWS_MAX);
        }
        self.lengths.get(chunk).map_or(0, |rows| usize::from(*rows))
    }

    /// Number of the times page of chunk `chunk`.
    pub fn times_page(&self, chunk: usize) -> usize {
        self.first_times + chunk
    }

    /// Number of the data page with chunk `chunk` of the series `offset` behind the target's first, and its slot there.
    pub fn data_page(&self, offset: usize, chunk: usize) -> (usize, usize) {
        (self.first_page + offset / SERIES_MAX * self.chunks() + chunk, offset % SERIES_MAX)
    }
}

/// Where pages are: blocks with the number of their first page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    first_pages: Vec<usize>,
    blocks: Vec<BlockRef>,
    pages: usize,
}

impl Directory {
    /// Adds the next block, of `pages` pages.
    pub fn push(&mut self, block: BlockRef, pages: usize) {
        self.first_pages.push(self.pages);
        self.blocks.push(block);
        self.pages += pages;
    }

    /// The block with page `page`, and the page's number inside.
    pub fn find(&self, page: usize) -> Option<(BlockRef, usize)> {
        let k = self.first_pages.partition_point(|first| *first <= page).checked_sub(1)?;
        (page < self.pages).then(|| (self.blocks[k], page - self.first_pages[k]))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.blocks.len());
        let mut offset = 0;
        for (k, block) in self.blocks.iter().enumerate() {
            let end = self.first_pages.get(k + 1).copied().unwrap_or(self.pages);
            put_count(out, end - self.first_pages[k]);
            put_zigzag(out, block.offset.wrapping_sub(offset).cast_signed());
            put_varint(out, u64::from(block.len));
            offset = block.offset + u64::from(block.len);
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let blocks = r.count(r.remaining())?;
        let (mut directory, mut offset) = (Self::default(), 0u64);
        for _ in 0..blocks {
            let pages = r.count(PART_SERIES_MAX)?;
            offset = offset.wrapping_add(r.zigzag()?.cast_unsigned());
            let len = u32::try_from(r.varint()?).map_err(|_| Error::corrupt("block over 4 GiB"))?;
            directory.push(BlockRef { offset, len }, pages);
            offset = offset.wrapping_add(u64::from(len));
        }
        Ok(directory)
    }
}

/// Collects targets and series in their final order.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    targets: Vec<(String, usize, usize)>,
    /// Rows of the chunks of each target, where they are not the usual ones.
    lengths: Vec<Vec<usize>>,
    series: u32,
    /// name → value → series, ascending.
    postings: BTreeMap<String, BTreeMap<String, Runs>>,
    /// Where the times pages are.
    pub times: Directory,
    /// Where the data pages are.
    pub data: Directory,
}

impl IndexBuilder {
    /// Starts the next target.
    pub fn target(&mut self, key: &str, rows: usize) {
        self.targets.push((key.to_owned(), 0, rows));
        self.lengths.push(Vec::new());
    }

    /// Says how many rows (at most [`ROWS_MAX`]) each chunk of the target just started has.
    pub fn chunks(&mut self, lengths: &[usize]) {
        let is_usual =
            lengths.iter().rev().skip(1).all(|rows| *rows == ROWS_MAX) && !lengths.contains(&0);
        if let Some(last) = self.lengths.last_mut().filter(|_| !is_usual) {
            *last = lengths.to_vec();
        }
    }

    /// What [`Index::cut`] reads; `None` when all chunks are the usual ones.
    pub fn encode_chunks(&self) -> Option<Vec<u8>> {
        if self.lengths.iter().all(Vec::is_empty) {
            return None;
        }
        let mut out = Vec::new();
        for lengths in &self.lengths {
            put_count(&mut out, lengths.len());
            lengths.iter().for_each(|rows| put_count(&mut out, *rows));
        }
        Some(out)
    }

    /// Adds the next series of the current target.
    pub fn series(&mut self, labels: &Labels) {
        if let Some((_, series, _)) = self.targets.last_mut() {
            *series += 1;
        }
        for (name, value) in labels.iter() {
            if !self.postings.contains_key(name) {
                self.postings.insert(name.to_owned(), BTreeMap::new());
            }
            let Some(values) = self.postings.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(ids) => ids.push(self.series),
                None => drop(values.insert(value.to_owned(), Runs::new(self.series))),
            }
        }
        self.series += 1;
    }

    /// Series added so far.
    pub fn series_count(&self) -> usize {
        self.series as usize
    }

    /// The encoded index.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        strings::encode(self.targets.iter().map(|(key, ..)| key.as_str()), &mut out);
        for (_, series, rows) in &self.targets {
            put_count(&mut out, *series);
            put_count(&mut out, *rows);
        }
        self.times.encode(&mut out);
        self.data.encode(&mut out);
        strings::encode(self.postings.keys().map(String::as_str), &mut out);
        self.postings.values().for_each(|values| put_count(&mut out, values.len()));
        let values: Vec<&str> =
            self.postings.values().flat_map(|values| values.keys().map(String::as_str)).collect();
        strings::encode(values.iter().copied(), &mut out);
        self.postings.values().flat_map(BTreeMap::values).for_each(|ids| ids.encode(&mut out));
        out
    }
}

/// A decoded index.
#[derive(Debug, Default)]
pub struct Index {
    targets: Vec<Target>,
    series: usize,
    times: Directory,
    data: Directory,
    names: strings::Table,
    /// Number of the first value of each name, and behind the last one.
    name_starts: Vec<u32>,
    values: strings::Table,
    postings: Vec<u8>,
    posting_starts: Vec<u32>,
    members: Members,
}

impl Index {
    /// Reads an index written by [`IndexBuilder::encode`].
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes);
        let (targets, series) = decode_targets(&mut r)?;
        let (times, data) = (Directory::decode(&mut r)?, Directory::decode(&mut r)?);
        let names = strings::Table::decode(&mut r)?;
        let mut name_starts = vec![0u32];
        for _ in 0..names.len() {
            let count = r.count(r.remaining())?;
            let end = name_starts[name_starts.len() - 1] as usize + count;
            name_starts.push(u32::try_from(end).map_err(|_| Error::corrupt("over 4 G values"))?);
        }
        let values = strings::Table::decode(&mut r)?;
        if name_starts.last().copied().unwrap_or(0) as usize != values.len() {
            return Err(Error::corrupt(format!("{} values do not fit their names", values.len())));
        }
        let postings = r.take(r.remaining())?.to_vec();
        let posting_starts = posting_starts(&postings, values.len(), series)?;
        let mut index = Self {
            targets,
            series,
            times,
            data,
            names,
            name_starts,
            values,
            postings,
            posting_starts,
            members: Members::default(),
        };
        let pairs_max = bytes.len().saturating_mul(PAIRS_PER_BYTE_MAX);
        index.members = Members::find(&index, pairs_max)?;
        Ok(index)
    }

    /// Takes over how many rows the chunks of each target have.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) on short input, or when they are not the rows of the target; the index is
    /// then unusable.
    pub fn cut(&mut self, bytes: &[u8]) -> Result<()> {
        let mut r = Reader::new(bytes);
        let (mut times, mut pages) = (0, 0);
        for target in &mut self.targets {
            let count = r.count(r.remaining())?;
            let mut lengths = Vec::with_capacity(count);
            for _ in 0..count {
                let rows = r.count(ROWS_MAX)?;
                lengths.push(u16::try_from(rows).unwrap_or(u16::MAX));
            }
            let rows: usize = lengths.iter().map(|rows| usize::from(*rows)).sum();
            if count > 0 && (rows != target.rows || lengths.contains(&0)) {
                let expected = target.rows;
                return Err(Error::corrupt(format!("chunks have {rows} rows, not {expected}")));
            }
            target.lengths = lengths.into();
            (target.first_times, target.first_page) = (times, pages);
            times += target.chunks();
            pages += target.pages();
        }
        Ok(())
    }

    /// What each value adds to the identity of its series.
    fn value_identities(&self) -> Vec<u64> {
        let mut all = Vec::with_capacity(self.values.len());
        for (k, name) in self.names.iter().enumerate() {
            let values = self.name_starts[k] as usize..self.name_starts[k + 1] as usize;
            let of = |value| identity::of_pair(name, self.values.get(value).unwrap_or(""));
            all.extend(values.map(of));
        }
        all
    }

    /// Identity of the labels of series `id`.
    pub(crate) fn identity(&self, id: usize) -> u64 {
        self.members.identity(id)
    }

    /// Numbers of the values that series `id` has, ascending.
    pub(crate) fn pairs(&self, id: usize) -> SmallVec<[u32; 16]> {
        let mut pairs = SmallVec::new();
        self.members.pairs(id, self.target_number(id), &mut pairs);
        pairs
    }

    /// Targets in order of their series.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The target that series `id` belongs to.
    pub fn target_of(&self, id: usize) -> Option<&Target> {
        self.targets.get(self.target_number(id))
    }

    /// The number of that target, if there is one.
    fn target_number(&self, id: usize) -> usize {
        self.targets.partition_point(|t| t.first_series <= id).wrapping_sub(1)
    }

    /// Number of series.
    pub fn series_count(&self) -> usize {
        self.series
    }

    /// Block and page inside it of times page `page`.
    pub fn times_block(&self, page: usize) -> Option<(BlockRef, usize)> {
        self.times.find(page)
    }

    /// Block and page inside it of data page `page`.
    pub fn data_block(&self, page: usize) -> Option<(BlockRef, usize)> {
        self.data.find(page)
    }

    /// Labels of series `id`; empty past the end.
    pub fn labels(&self, id: usize) -> Labels {
        // Values are numbered by name, so the names only move forward.
        let mut name = 0;
        let pairs = self.pairs(id);
        let pairs = pairs.iter().map(|value| {
            let ahead = self.name_starts.get(name + 1..).unwrap_or_default();
            name += if ahead.len() < 16 {
                ahead.iter().take_while(|end| *end <= value).count()
            } else {
                ahead.partition_point(|end| end <= value)
            };
            let value = self.values.get(*value as usize).unwrap_or("");
            (self.names.get(name).unwrap_or(""), value)
        });
        pairs.collect()
    }

    /// Label names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter()
    }

    /// Values of label `name`, sorted.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.value_range(name).map(|value| self.values.get(value).unwrap_or(""))
    }

    /// Bytes it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.names.memory_bytes()
            + self.values.memory_bytes()
            + self.postings.capacity()
            + self.posting_starts.capacity() * 4
            + self.members.memory_bytes()
            + self.targets.iter().map(Target::memory_bytes).sum::<usize>()
    }

    /// Numbers of the values of label `name`.
    pub(crate) fn value_range(&self, name: &str) -> Range<usize> {
        match self.names.find(name) {
            Some(k) => self.name_starts[k] as usize..self.name_starts[k + 1] as usize,
            None => 0..0,
        }
    }

    fn add_postings(&self, value: usize, set: &mut RoaringBitmap) {
        self.posting_runs(value).for_each(|(first, end)| {
            set.insert_range(first..end);
        });
    }

    /// Series `[first, end)` that have value number `value`, run by run.
    fn posting_runs(&self, value: usize) -> impl Iterator<Item = (u32, u32)> + '_ {
        let start = self.posting_starts.get(value).copied();
        let mut runs = start.and_then(|start| {
            let runs = RunCursor::new(&self.postings, start as usize, self.series);
            debug_assert!(runs.is_ok(), "postings were checked when the index was decoded");
            runs.ok()
        });
        std::iter::from_fn(move || runs.as_mut()?.next(&self.postings, self.series).ok()?)
    }

    /// For each series `first + k` whose label has one of the values `values`, makes `column[k]` the number of that value.
    ///
    /// Cost: all postings of the values.
    pub(crate) fn fill_values(&self, values: Range<u32>, first: u32, column: &mut [u32]) {
        let end = first.saturating_add(u32::try_from(column.len()).unwrap_or(u32::MAX));
        for value in values {
            for (low, high) in self.posting_runs(value as usize) {
                let (low, high) = (low.max(first), high.min(end));
                if low < high {
                    column[(low - first) as usize..(high - first) as usize].fill(value);
                }
            }
        }
    }
}

/// Finds where each posting list starts, and checks them all.
fn posting_starts(postings: &[u8], values: usize, series: usize) -> Result<Vec<u32>> {
    let mut starts = Vec::with_capacity(values);
    let mut position = 0;
    for _ in 0..values {
        starts.push(u32::try_from(position).map_err(|_| Error::corrupt("index over 4 GiB"))?);
        let mut runs = RunCursor::new(postings, position, series)?;
        while runs.next(postings, series)?.is_some() {}
        position = runs.position();
    }
    Ok(starts)
}

fn decode_targets(r: &mut Reader<'_>) -> Result<(Vec<Target>, usize)> {
    let keys = strings::Table::decode(r)?;
    let mut targets = Vec::with_capacity(keys.len());
    let (mut first_series, mut first_times, mut first_page) = (0, 0, 0);
    for key in keys.iter() {
        let (series, rows) = (r.count(PART_SERIES_MAX)?, r.count(TARGET_ROWS_MAX)?);
        let key = key.to_owned();
        let lengths = Box::default();
        let target = Target { key, first_series, series, rows, lengths, first_times, first_page };
        first_series += series;
        first_times += target.chunks();
        first_page += target.pages();
        if first_series > PART_SERIES_MAX {
            return Err(Error::corrupt(format!("part has over {PART_SERIES_MAX} series")));
        }
        targets.push(target);
    }
    Ok((targets, first_series))
}

impl Lookup for Index {
    fn all(&self) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        set.insert_range(0..u32::try_from(self.series).unwrap_or(u32::MAX));
        set
    }

    fn equal(&self, name: &str, value: &str) -> RoaringBitmap {
        let mut range = self.value_range(name);
        let mut set = RoaringBitmap::new();
        while !range.is_empty() {
            let middle = usize::midpoint(range.start, range.end);
            match self.values.get(middle).unwrap_or("").cmp(value) {
                std::cmp::Ordering::Less => range.start = middle + 1,
                std::cmp::Ordering::Greater => range.end = middle,
                std::cmp::Ordering::Equal => {
                    self.add_postings(middle, &mut set);
                    break;
                }
            }
        }
        set
    }

    fn union(&self, name: &str, keep: &mut dyn FnMut(&str) -> bool) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        for value in self.value_range(name) {
            if keep(self.values.get(value).unwrap_or("")) {
                self.add_postings(value, &mut set);
            }
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use model::{MatchOp, Matcher};
    use proptest::prelude::*;

    use super::*;
    use crate::postings::matching;

    fn sample() -> (IndexBuilder, Vec<Labels>) {
        let mut builder = IndexBuilder::default();
        let mut all = Vec::new();
        for target in 0..3 {
            builder.target(&format!("scrape/{target}"), 120);
            for metric in ["a", "b"] {
                for le in 0..40 {
                    let le = le.to_string();
                    let instance = target.to_string();
                    let mut labels = vec![("__name__", metric), ("instance", &instance)];
                    if metric == "b" {
                        labels.push(("le", &le));
                    } else {
                        labels.push(("only", &le));
                    }
                    let labels = Labels::from_pairs(labels);
                    builder.series(&labels);
                    all.push(labels);
                }
            }
        }
        builder.data.push(BlockRef { offset: 8, len: 100 }, 3);
        builder.data.push(BlockRef { offset: 117, len: 50 }, 1);
        (builder, all)
    }

    #[test]
    fn indexes_survive_and_match() {
        let (builder, all) = sample();
        let bytes = builder.encode();
        let index = Index::decode(&bytes).unwrap();
        assert_eq!(index.series_count(), all.len());
        assert_eq!((0..all.len()).map(|id| index.labels(id)).collect::<Vec<_>>(), all);
        assert_eq!(index.data_block(2), Some((BlockRef { offset: 8, len: 100 }, 2)));
        assert_eq!(index.data_block(3), Some((BlockRef { offset: 117, len: 50 }, 0)));
        assert_eq!(index.data_block(4), None);
        assert_eq!(index.target_of(80).map(|t| t.key.as_str()), Some("scrape/1"));
        let cases = [
            vec![Matcher::equal("le", "7")],
            vec![Matcher::equal("le", "")],
            vec![Matcher::new(MatchOp::NotEqual, "le", "7").unwrap()],
            vec![Matcher::new(MatchOp::NotEqual, "le", "").unwrap()],
            vec![
                Matcher::new(MatchOp::Regex, "le", "1.*").unwrap(),
                Matcher::equal("instance", "2"),
            ],
            vec![Matcher::new(MatchOp::Regex, "le", "1|2|").unwrap()],
            vec![
                Matcher::new(MatchOp::NotRegex, "le", "1|2").unwrap(),
                Matcher::equal("__name__", "b"),
            ],
            vec![Matcher::new(MatchOp::NotRegex, "le", ".+").unwrap()],
            vec![Matcher::equal("none", "x")],
            vec![],
        ];
        for matchers in cases {
            let expected: Vec<u32> = (0u32..)
                .zip(&all)
                .filter(|(_, labels)| matchers.iter().all(|m| m.matches_labels(labels)))
                .map(|(id, _)| id)
                .collect();
            assert_eq!(
                matching(&index, &matchers).iter().collect::<Vec<_>>(),
                expected,
                "{matchers:?}"
            );
        }
        let per_series = bytes.len() as f64 / all.len() as f64;
        assert!(per_series < 8.0, "index takes {per_series} B per series");
    }

    #[test]
    fn chunks_may_have_any_length() {
        let (mut builder, _) = sample();
        assert_eq!(builder.encode_chunks(), None);
        builder.target("scrape/3", 4000);
        builder.chunks(&[ROWS_MAX, ROWS_MAX, 160]);
        assert_eq!(builder.encode_chunks(), None, "these are the usual ones");
        builder.target("scrape/4", 500);
        builder.chunks(&[100, 400]);
        builder.series(&Labels::from_pairs([("a", "b")]));
        let mut index = Index::decode(&builder.encode()).unwrap();
        let chunks = builder.encode_chunks().unwrap();
        index.cut(&chunks).unwrap();
        let rows = |t: &Target| (0..t.chunks()).map(|c| t.chunk_rows(c)).collect::<Vec<_>>();
        assert_eq!(rows(&index.targets()[3]), [ROWS_MAX, ROWS_MAX, 160]);
        let last = &index.targets()[4];
        assert_eq!(rows(last), [100, 400]);
        // Three targets of one chunk and 80 series, one of three chunks and none.
        assert_eq!((last.times_page(1), last.data_page(0, 1)), (7, (7, 0)));
        assert!(index.cut(&chunks[..chunks.len() - 1]).is_err());
        let short: Vec<u8> = [&chunks[..chunks.len() - 1], &[5]].concat();
        assert!(index.cut(&short).is_err());
    }

    proptest! {
        #[test]
        fn noise_is_no_chunks(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut index = Index::decode(&sample().0.encode()).unwrap();
            if index.cut(&bytes).is_ok() {
                for target in index.targets() {
                    let rows: usize = (0..target.chunks()).map(|c| target.chunk_rows(c)).sum();
                    prop_assert_eq!(rows, target.rows);
                }
            }
        }

        #[test]
        fn noise_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(index) = Index::decode(&bytes) {
                prop_assert!(index.memory_bytes() <= 4096 + bytes.len() * PAIRS_PER_BYTE_MAX * 16);
            }
        }

        #[test]
        fn damage_is_refused_or_harmless(at in any::<usize>(), flip in 1u8..=255) {
            let mut bytes = sample().0.encode();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(index) = Index::decode(&bytes) {
                for id in 0..index.series_count().min(1000) {
                    prop_assert!(index.labels(id).len() <= 4096);
                }
            }
        }
    }
}
