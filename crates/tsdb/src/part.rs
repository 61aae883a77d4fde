//! Metric parts: immutable files with the samples of one UTC day, and their reader.
//!
//! Owns: how pages, times and the index are laid out in blocks, and the part's meta. Does not own: block framing and
//! checksums (`storage::part`), which parts are live (`storage::manifest`).
//!
//! ```text
//! part  = blocks of times (kind 1) and of pages (kind 2 plain, 3 zstd), of histogram pages (5 plain, 6 zstd),
//!         index (kind 4, zstd), directory of histogram pages (7, zstd), of roll-ups (8, zstd), directory of these (9),
//!         chunks (10, zstd), meta
//! meta  = version u8, flags u8 (bit 0: pages are zstd, bit 1: histograms, bit 2: roll-ups, bit 3: chunks), level u8,
//!         first seq, last seq, first ms, last ms zigzag, samples, series, clean varints, index block reference
//!         [ directory block reference ] [ directory of roll-ups block reference ] [ chunks block reference ]
//! ```

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use model::{Error, Labels, Result};
use parking_lot::Mutex;
use storage::codec::{Reader, blob, put_count, put_varint, put_zigzag, times};
use storage::fs::Fs;
use storage::part::{BlockRef, PartReader, PartWriter};

use crate::column::Column;
use crate::histograms::{HistogramPages, PagesBuilder, Samples};
use crate::index::{Directory, Index, IndexBuilder, Target};
use crate::page::{self, BlockBuilder, Packed, PageBuilder, ROWS_MAX, SERIES_MAX};
use crate::rollup;

/// Milliseconds of one part's day.
pub const DAY_MS: i64 = 86_400_000;

const TIMES: u8 = 1;
const PAGES: u8 = 2;
const PAGES_ZSTD: u8 = 3;
const INDEX: u8 = 4;
const HISTOGRAMS: u8 = 5;
const HISTOGRAMS_ZSTD: u8 = 6;
const HISTOGRAM_PAGES: u8 = 7;
const ROLL_UPS: u8 = 8;
const ROLL_UP_PAGES: u8 = 9;
const CHUNKS: u8 = 10;
/// Version 1 had no histograms, version 2 no chunks of other lengths than the usual.
const VERSION: u8 = 3;
const VERSION_MIN: u8 = 1;
const COLD: u8 = 1;
const HAS_HISTOGRAMS: u8 = 2;
const HAS_ROLL_UPS: u8 = 4;
const HAS_CHUNKS: u8 = 8;
const ZSTD_LEVEL: i32 = 3;
/// Plain bytes an index can have.
const INDEX_BYTES_MAX: usize = 1 << 30;

/// What a part says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Whether pages are compressed: the final form of a closed day.
    pub cold: bool,
    /// How often its samples were merged.
    pub level: u8,
    /// Number of the oldest flush whose samples are in it.
    pub first_seq: u64,
    /// Number of the newest; among parts with the same sample, the highest counts.
    pub last_seq: u64,
    /// Earliest sample, Unix milliseconds.
    pub first_ms: i64,
    /// Latest sample, Unix milliseconds.
    pub last_ms: i64,
    /// Number of samples.
    pub samples: u64,
    /// Number of series.
    pub series: u64,
    /// Number of the newest tombstone under which it was written: it and those before are done with.
    pub clean: u64,
    index: BlockRef,
    histograms: Option<BlockRef>,
    roll_ups: Option<BlockRef>,
    chunks: Option<BlockRef>,
}

impl Meta {
    fn encode(&self) -> Vec<u8> {
        let flags = (u8::from(self.cold) * COLD)
            | (u8::from(self.histograms.is_some()) * HAS_HISTOGRAMS)
            | (u8::from(self.roll_ups.is_some()) * HAS_ROLL_UPS)
            | (u8::from(self.chunks.is_some()) * HAS_CHUNKS);
        let mut out = vec![VERSION, flags, self.level];
        put_varint(&mut out, self.first_seq);
        put_varint(&mut out, self.last_seq);
        put_zigzag(&mut out, self.first_ms);
        put_zigzag(&mut out, self.last_ms);
        put_varint(&mut out, self.samples);
        put_varint(&mut out, self.series);
        put_varint(&mut out, self.clean);
        self.index.encode(&mut out);
        self.histograms.iter().for_each(|block| block.encode(&mut out));
        self.roll_ups.iter().for_each(|block| block.encode(&mut out));
        self.chunks.iter().for_each(|block| block.encode(&mut out));
        out
    }

    /// Bytes of the index on disk.
    pub(crate) fn index_bytes(&self) -> u64 {
        u64::from(self.index.len)
    }

    /// Reads a part's meta.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input, [`Invalid`](model::ErrorKind::Invalid) for
    /// a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes);
        let version = r.u8()?;
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(Error::invalid(format!(
                "metric part has version {version}; this program reads {VERSION_MIN} to {VERSION}"
            )));
        }
        let (flags, level) = (r.u8()?, r.u8()?);
        let (first_seq, last_seq) = (r.varint()?, r.varint()?);
        let (first_ms, last_ms) = (r.zigzag()?, r.zigzag()?);
        let (samples, series) = (r.varint()?, r.varint()?);
        let clean = if version == 1 { 0 } else { r.varint()? };
        let mut rest = r.take(r.remaining())?;
        let index = BlockRef::decode(&mut rest)
            .ok_or_else(|| Error::corrupt("metric part has no index reference"))?;
        let mut reference = |flag: u8, what: &str| {
            if flags & flag == 0 {
                return Ok(None);
            }
            let block = BlockRef::decode(&mut rest);
            let missing = || Error::corrupt(format!("metric part has no reference of {what}"));
            block.map(Some).ok_or_else(missing)
        };
        let histograms = reference(HAS_HISTOGRAMS, "histograms")?;
        let roll_ups = reference(HAS_ROLL_UPS, "roll-ups")?;
        let chunks = reference(HAS_CHUNKS, "chunks")?;
        let cold = flags & COLD != 0;
        Ok(Self {
            cold,
            level,
            first_seq,
            last_seq,
            first_ms,
            last_ms,
            samples,
            series,
            clean,
            index,
            histograms,
            roll_ups,
            chunks,
        })
    }
}

/// Rows of the chunks of so many rows, where nothing else is said.
pub(crate) fn usual_chunks(rows: usize) -> impl Iterator<Item = usize> {
    (0..rows).step_by(ROWS_MAX).map(move |start| (rows - start).min(ROWS_MAX))
}

/// What a series has in one chunk.
#[derive(Debug)]
pub enum Cell {
    /// As another part has it; for parts of closed days also decoded, as roll-ups are made of it.
    Packed(Packed, Option<Column>),
    /// To be encoded.
    Plain(Column),
}

impl Cell {
    /// Rows with a value.
    pub fn values(&self) -> usize {
        match self {
            Self::Packed(packed, _) => packed.values(),
            Self::Plain(column) => column.values.len(),
        }
    }
}

/// Number of the UTC day of a time.
pub fn day_of(t_ms: i64) -> i64 {
    t_ms.div_euclid(DAY_MS)
}

/// Writes one part: targets one after another, each with its series in order of labels, then series of histograms.
#[derive(Debug)]
pub struct PartBuilder {
    writer: PartWriter,
    index: IndexBuilder,
    times: BlockBuilder,
    pages: BlockBuilder,
    histograms: PagesBuilder,
    has_histograms: bool,
    /// Where the chunks of the target's rows begin, and where the last one ends.
    bounds: Vec<usize>,
    /// The stripe so far: its page of each chunk, and its number of series.
    stripe: Vec<PageBuilder>,
    stripe_series: usize,
    /// Its columns and the bytes of each, for the roll-ups of a closed day.
    columns: Vec<Column>,
    sizes: Vec<usize>,
    roll_ups: RollUpsBuilder,
    cold: bool,
    first_ms: i64,
    last_ms: i64,
    samples: u64,
}

impl PartBuilder {
    /// Starts the part that will be at `path`.
    ///
    /// # Errors
    /// As [`PartWriter::create`].
    pub fn create(fs: Arc<dyn Fs>, path: &Path, cold: bool) -> Result<Self> {
        Ok(Self {
            writer: PartWriter::create(fs, path)?,
            index: IndexBuilder::default(),
            times: BlockBuilder::default(),
            pages: BlockBuilder::default(),
            histograms: PagesBuilder::default(),
            has_histograms: false,
            bounds: vec![0],
            stripe: Vec::new(),
            stripe_series: 0,
            columns: Vec::new(),
            sizes: Vec::new(),
            roll_ups: RollUpsBuilder::default(),
            cold,
            first_ms: i64::MAX,
            last_ms: i64::MIN,
            samples: 0,
        })
    }

    /// Starts the next target with its ascending timestamps (Unix milliseconds).
    ///
    /// # Errors
    /// As [`PartWriter::block`].
    pub fn target(&mut self, key: &str, target_times: &[i64]) -> Result<()> {
        let chunks: Vec<usize> = usual_chunks(target_times.len()).collect();
        self.target_in_chunks(key, target_times, &chunks)
    }

    /// The same, its rows in chunks of the lengths `chunks`, of at most [`ROWS_MAX`] rows each.
    ///
    /// # Errors
    /// As [`target`](Self::target).
    pub fn target_in_chunks(
        &mut self,
        key: &str,
        target_times: &[i64],
        chunks: &[usize],
    ) -> Result<()> {
        self.end_stripe()?;
        self.index.target(key, target_times.len());
        self.index.chunks(chunks);
        self.bounds = vec![0];
        for rows in chunks {
            self.bounds.push(self.bounds[self.bounds.len() - 1] + rows);
        }
        debug_assert_eq!(self.bounds.last(), Some(&target_times.len()), "chunks have all rows");
        self.stripe.resize_with(chunks.len(), PageBuilder::default);
        if let (Some(first), Some(last)) = (target_times.first(), target_times.last()) {
            self.first_ms = self.first_ms.min(*first);
            self.last_ms = self.last_ms.max(*last);
        }
        if self.cold && self.roll_ups.target(target_times) {
            self.write_roll_ups()?;
        }
        for bounds in 1..self.bounds.len() {
            let mut page = Vec::new();
            times::encode(&target_times[self.bounds[bounds - 1]..self.bounds[bounds]], &mut page);
            if self.times.push(page) {
                self.write_times()?;
            }
        }
        Ok(())
    }

    /// Adds the next series of the target; `column` has a row for each of its timestamps.
    ///
    /// # Errors
    /// As [`PartWriter::block`].
    pub fn series(&mut self, labels: &Labels, column: Column) -> Result<()> {
        self.samples += column.values.len() as u64;
        self.index.series(labels);
        let mut size = 0;
        match &mut self.stripe[..] {
            [only] => size = only.push(&column),
            pages => {
                for (page, bounds) in pages.iter_mut().zip(self.bounds.windows(2)) {
                    size += page.push(&column.slice(bounds[0], bounds[1]));
                }
            }
        }
        if self.cold {
            self.columns.push(column);
            self.sizes.push(size);
        }
        self.end_series()
    }

    /// Adds the next series of the target, chunk by chunk. The roll-ups of a closed day are made anew.
    ///
    /// # Errors
    /// As [`PartWriter::block`].
    pub fn series_in_chunks(&mut self, labels: &Labels, cells: &[Cell]) -> Result<()> {
        debug_assert_eq!(cells.len(), self.stripe.len(), "a cell for each chunk");
        self.index.series(labels);
        let (mut whole, mut size) = (Column::default(), 0);
        for ((page, cell), bounds) in self.stripe.iter_mut().zip(cells).zip(self.bounds.windows(2))
        {
            self.samples += cell.values() as u64;
            let column = match cell {
                Cell::Packed(packed, column) => {
                    size += page.copy(packed);
                    column.as_ref()
                }
                Cell::Plain(column) => {
                    size += page.push(column);
                    Some(column)
                }
            };
            if self.cold {
                let column = column.expect("BUG: cells for closed days are decoded");
                whole.append(bounds[0], column, bounds[1] - bounds[0]);
            }
        }
        if self.cold {
            self.columns.push(whole);
            self.sizes.push(size);
        }
        self.end_series()
    }

    fn end_series(&mut self) -> Result<()> {
        self.stripe_series += 1;
        if self.stripe_series == SERIES_MAX { self.end_stripe() } else { Ok(()) }
    }

    /// Adds the next series of histograms (ascending by time, of one day), in order of labels; after all targets.
    ///
    /// # Errors
    /// As [`PartWriter::block`].
    pub fn histograms(&mut self, labels: &Labels, samples: &Samples) -> Result<()> {
        if !self.has_histograms {
            self.target("", &[])?;
            self.has_histograms = true;
        }
        if let (Some((first, _)), Some((last, _))) = (samples.first(), samples.last()) {
            self.first_ms = self.first_ms.min(*first);
            self.last_ms = self.last_ms.max(*last);
        }
        let (id, cold) = (self.index.series_count(), self.cold);
        self.index.series(labels);
        self.samples += samples.len() as u64;
        let writer = &mut self.writer;
        self.histograms.series(id, samples, &mut |block| write_histograms(writer, cold, block))
    }

    /// Series added so far.
    pub fn series_count(&self) -> usize {
        self.index.series_count()
    }

    fn end_stripe(&mut self) -> Result<()> {
        if std::mem::take(&mut self.stripe_series) == 0 {
            return Ok(());
        }
        for chunk in 0..self.stripe.len() {
            let page = self.stripe[chunk].take();
            if self.pages.push(page) {
                self.write_pages()?;
            }
        }
        let (columns, sizes) = (std::mem::take(&mut self.columns), std::mem::take(&mut self.sizes));
        if self.cold && self.roll_ups.stripe(&columns, &sizes) {
            self.write_roll_ups()?;
        }
        Ok(())
    }

    fn write_roll_ups(&mut self) -> Result<()> {
        let Some((block, pages)) = self.roll_ups.pages.take() else { return Ok(()) };
        let mut packed = Vec::new();
        blob::compress_zstd(&block, ZSTD_LEVEL, &mut packed)?;
        self.roll_ups.found.push(self.writer.block(ROLL_UPS, &packed)?, pages);
        Ok(())
    }

    fn write_times(&mut self) -> Result<()> {
        if let Some((block, pages)) = self.times.take() {
            self.index.times.push(self.writer.block(TIMES, &block)?, pages);
        }
        Ok(())
    }

    fn write_pages(&mut self) -> Result<()> {
        let Some((block, pages)) = self.pages.take() else { return Ok(()) };
        let place = if self.cold {
            let mut packed = Vec::new();
            blob::compress_zstd(&block, ZSTD_LEVEL, &mut packed)?;
            self.writer.block(PAGES_ZSTD, &packed)?
        } else {
            self.writer.block(PAGES, &block)?
        };
        self.index.data.push(place, pages);
        Ok(())
    }

    /// Writes what is left and makes the part durable under its name.
    ///
    /// # Errors
    /// As [`PartWriter::finish`].
    pub fn finish(
        mut self,
        level: u8,
        (first_seq, last_seq): (u64, u64),
        clean: u64,
    ) -> Result<()> {
        self.end_stripe()?;
        self.write_times()?;
        self.write_pages()?;
        self.write_roll_ups()?;
        let roll_ups = match self.roll_ups.directory() {
            Some(directory) => Some(self.writer.block(ROLL_UP_PAGES, &directory)?),
            None => None,
        };
        let (writer, cold) = (&mut self.writer, self.cold);
        let pages = self.histograms.finish(&mut |block| write_histograms(writer, cold, block))?;
        let histograms = match pages {
            Some(pages) => {
                let mut packed = Vec::new();
                blob::compress_zstd(&pages, ZSTD_LEVEL, &mut packed)?;
                Some(self.writer.block(HISTOGRAM_PAGES, &packed)?)
            }
            None => None,
        };
        let chunks = match self.index.encode_chunks() {
            Some(chunks) => {
                let mut packed = Vec::new();
                blob::compress_zstd(&chunks, ZSTD_LEVEL, &mut packed)?;
                Some(self.writer.block(CHUNKS, &packed)?)
            }
            None => None,
        };
        let mut packed = Vec::new();
        blob::compress_zstd(&self.index.encode(), ZSTD_LEVEL, &mut packed)?;
        let meta = Meta {
            cold: self.cold,
            level,
            first_seq,
            last_seq,
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            samples: self.samples,
            series: self.index.series_count() as u64,
            clean,
            index: self.writer.block(INDEX, &packed)?,
            histograms,
            roll_ups,
            chunks,
        };
        self.writer.finish(&meta.encode())?;
        Ok(())
    }
}

/// Collects the roll-ups of a part: for each target, whether it has any, then its windows, then stripe by stripe.
#[derive(Debug, Default)]
struct RollUpsBuilder {
    pages: BlockBuilder,
    found: Directory,
    /// Whether each target has roll-ups.
    has: Vec<bool>,
    /// Times of the current one, if it has.
    times: Vec<i64>,
}

impl RollUpsBuilder {
    /// Starts the next target; true when the block is full.
    fn target(&mut self, times: &[i64]) -> bool {
        let mut page = Vec::new();
        let has = rollup::encode_target(times, &mut page);
        self.has.push(has);
        self.times = if has { times.to_vec() } else { Vec::new() };
        has && self.pages.push(page)
    }

    /// Adds a stripe of the target; true when the block is full.
    fn stripe(&mut self, columns: &[Column], sizes: &[usize]) -> bool {
        if self.times.is_empty() {
            return false;
        }
        let mut page = Vec::new();
        rollup::encode(columns, &self.times, sizes, &mut page);
        self.pages.push(page)
    }

    /// Where the pages are; `None` when there are none.
    fn directory(&self) -> Option<Vec<u8>> {
        if !self.has.contains(&true) {
            return None;
        }
        let mut out = Vec::new();
        put_count(&mut out, self.has.len());
        out.extend(self.has.iter().map(|has| u8::from(*has)));
        self.found.encode(&mut out);
        Some(out)
    }
}

/// Where the roll-ups of a part are.
#[derive(Debug, Default)]
pub struct RollUpPages {
    /// By target: the page of its windows, which pages of its stripes follow.
    first_pages: Vec<Option<usize>>,
    blocks: Directory,
}

impl RollUpPages {
    /// Reads the directory of a part with these targets.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
    pub fn decode(bytes: &[u8], targets: &[Target]) -> Result<Self> {
        let mut r = Reader::new(bytes);
        let count = r.count(targets.len())?;
        let (mut first_pages, mut pages) = (Vec::with_capacity(count), 0);
        for target in targets.iter().take(count) {
            let has = r.u8()? != 0;
            first_pages.push(has.then_some(pages));
            pages += if has { 1 + target.series.div_ceil(SERIES_MAX) } else { 0 };
        }
        Ok(Self { first_pages, blocks: Directory::decode(&mut r)? })
    }

    /// Page of the windows of target number `target`; `None` when it has no roll-ups.
    pub fn windows(&self, target: usize) -> Option<usize> {
        self.first_pages.get(target).copied().flatten()
    }
}

fn write_histograms(writer: &mut PartWriter, cold: bool, block: &[u8]) -> Result<BlockRef> {
    if !cold {
        return writer.block(HISTOGRAMS, block);
    }
    let mut packed = Vec::new();
    blob::compress_zstd(block, ZSTD_LEVEL, &mut packed)?;
    writer.block(HISTOGRAMS_ZSTD, &packed)
}

/// Decodes an index block, for the fuzzer and for checks.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on impossible input.
pub fn decode_index(block: &[u8]) -> Result<Index> {
    Index::decode(&blob::decompress_zstd(block, INDEX_BYTES_MAX)?)
}

/// Decodes a block of times: timestamps of page `page`, of which there are `rows`.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on impossible input.
pub fn decode_times(block: &[u8], page: usize, rows: usize) -> Result<Vec<i64>> {
    if rows > ROWS_MAX {
        return Err(Error::corrupt(format!("{rows} timestamps in a page")));
    }
    let mut out = Vec::with_capacity(rows);
    times::decode(&mut Reader::new(page::block_page(block, page)?), rows, &mut out)?;
    if !out.is_sorted() {
        return Err(Error::corrupt("timestamps do not ascend"));
    }
    Ok(out)
}

/// The block read last, plain: neighbours are often wanted next.
#[derive(Debug, Default)]
pub struct BlockCache {
    times: Option<(BlockRef, Vec<u8>)>,
    pages: Pages,
    histograms: Option<(BlockRef, Vec<u8>)>,
    roll_ups: Option<(BlockRef, Vec<u8>)>,
}

/// A block of pages.
#[derive(Debug, Default)]
struct Pages {
    block: Option<BlockRef>,
    /// As it is stored, or what was decompressed.
    buffer: Vec<u8>,
    /// Where its pages are in there.
    plain: Range<usize>,
}

impl Pages {
    /// The pages of `block`, which `read` makes be in the buffer and tells where, unless it is the last one.
    fn of(
        &mut self,
        block: BlockRef,
        read: impl FnOnce(&mut Vec<u8>) -> Result<Range<usize>>,
    ) -> Result<&[u8]> {
        if self.block != Some(block) {
            self.block = None;
            self.plain = read(&mut self.buffer)?;
            self.block = Some(block);
        }
        Ok(self.buffer.get(self.plain.clone()).unwrap_or_default())
    }
}

/// How often indexes of parts were asked for.
static USES: AtomicU64 = AtomicU64::new(1);

/// A part open for reading; its index is read when first wanted and kept while it is used.
#[derive(Debug)]
pub struct Part {
    name: String,
    reader: PartReader,
    meta: Meta,
    index: Mutex<Option<Arc<Index>>>,
    histogram_pages: Mutex<Option<Arc<HistogramPages>>>,
    /// When its index was asked for last: how many were asked for before in this process. 0 for never since the last
    /// sweep.
    used: AtomicU64,
    roll_up_pages: Mutex<Option<Arc<RollUpPages>>>,
    settled: AtomicU16,
}

impl Part {
    /// Opens the part `name` in `dir`.
    ///
    /// # Errors
    /// As [`PartReader::open`] and [`Meta::decode`].
    pub fn open(fs: &dyn Fs, dir: &Path, name: &str) -> Result<Self> {
        let reader = PartReader::open(fs, &dir.join(name))?;
        let meta = Meta::decode(reader.meta()).map_err(|e| e.context(format!("part {name}")))?;
        let (index, histogram_pages) = (Mutex::new(None), Mutex::new(None));
        let (used, settled) = (AtomicU64::new(0), AtomicU16::new(0));
        let roll_up_pages = Mutex::new(None);
        let name = name.to_owned();
        Ok(Self { name, reader, meta, index, histogram_pages, roll_up_pages, used, settled })
    }

    /// Classes of retention (a bit for each) of which it is known to have no series.
    pub(crate) fn settled(&self) -> u16 {
        self.settled.load(Ordering::Relaxed)
    }

    /// Notes that it has no series of the classes `classes`.
    pub(crate) fn settle(&self, classes: u16) {
        self.settled.fetch_or(classes, Ordering::Relaxed);
    }

    /// File name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says about itself.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.reader.bytes()
    }

    /// Whether any sample can be in `[start_ms, end_ms]`.
    pub fn overlaps(&self, start_ms: i64, end_ms: i64) -> bool {
        self.meta.first_ms <= end_ms && self.meta.last_ms >= start_ms
    }

    /// Its index.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) naming the part, or a failure to read.
    pub fn index(&self) -> Result<Arc<Index>> {
        self.used.store(USES.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut slot = self.index.lock();
        if let Some(index) = &*slot {
            return Ok(Arc::clone(index));
        }
        let block = self.reader.block(self.meta.index, INDEX)?;
        let mut index = decode_index(&block).map_err(|e| self.place(e))?;
        if let Some(block) = self.meta.chunks {
            let packed = self.reader.block(block, CHUNKS)?;
            let chunks = blob::decompress_zstd(&packed, INDEX_BYTES_MAX);
            chunks.and_then(|chunks| index.cut(&chunks)).map_err(|e| self.place(e))?;
        }
        let index = Arc::new(index);
        *slot = Some(Arc::clone(&index));
        Ok(index)
    }

    /// Forgets the index if nobody asked for it since the last call.
    pub fn forget_idle_index(&self) {
        if self.used.swap(0, Ordering::Relaxed) == 0 {
            self.forget_index();
        }
    }

    fn forget_index(&self) {
        *self.index.lock() = None;
        *self.histogram_pages.lock() = None;
        *self.roll_up_pages.lock() = None;
    }

    /// Bytes its index takes in memory now.
    pub fn index_memory_bytes(&self) -> usize {
        self.index.lock().as_ref().map_or(0, |index| index.memory_bytes())
    }

    /// Timestamps of chunk `chunk` of `target`.
    ///
    /// # Errors
    /// As [`index`](Self::index).
    pub fn times(
        &self,
        index: &Index,
        target: &Target,
        chunk: usize,
        cache: &mut BlockCache,
    ) -> Result<Vec<i64>> {
        let number = target.times_page(chunk);
        let (block, page) = index.times_block(number).ok_or_else(|| self.missing(number))?;
        let bytes = match &cache.times {
            Some((cached, bytes)) if *cached == block => bytes,
            _ => &cache.times.insert((block, self.reader.block(block, TIMES)?)).1,
        };
        decode_times(bytes, page, target.chunk_rows(chunk)).map_err(|e| self.place(e))
    }

    /// Calls `f` with the page of chunk `chunk` that holds the series `offset` behind the target's first.
    ///
    /// # Errors
    /// As [`index`](Self::index), or what `f` returns.
    pub fn with_page<R>(
        &self,
        index: &Index,
        target: &Target,
        (offset, chunk): (usize, usize),
        cache: &mut BlockCache,
        f: impl FnOnce(&page::Page<'_>) -> Result<R>,
    ) -> Result<R> {
        let (number, _) = target.data_page(offset, chunk);
        let (block, inner) = index.data_block(number).ok_or_else(|| self.missing(number))?;
        let bytes = cache.pages.of(block, |buffer| self.read_pages(block, buffer))?;
        page::block_page(bytes, inner)
            .and_then(|bytes| page::Page::decode(bytes, target.chunk_rows(chunk)))
            .and_then(|page| f(&page))
            .map_err(|e| self.place(e))
    }

    /// Where its histograms are; `None` when it has none.
    ///
    /// # Errors
    /// As [`index`](Self::index).
    pub fn histogram_pages(&self) -> Result<Option<Arc<HistogramPages>>> {
        let Some(block) = self.meta.histograms else { return Ok(None) };
        let mut slot = self.histogram_pages.lock();
        if slot.is_none() {
            let packed = self.reader.block(block, HISTOGRAM_PAGES)?;
            let pages = blob::decompress_zstd(&packed, INDEX_BYTES_MAX)
                .and_then(|pages| HistogramPages::decode(&pages))
                .map_err(|e| self.place(e))?;
            *slot = Some(Arc::new(pages));
        }
        Ok(slot.clone())
    }

    /// Calls `f` with histogram page `page`.
    ///
    /// # Errors
    /// As [`index`](Self::index), or what `f` returns.
    pub fn histogram_page<R>(
        &self,
        pages: &HistogramPages,
        page: usize,
        cache: &mut BlockCache,
        f: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let (block, inner) = pages.block(page).ok_or_else(|| self.missing(page))?;
        let bytes = match &cache.histograms {
            Some((cached, bytes)) if *cached == block => bytes,
            _ => &cache.histograms.insert((block, self.read_histograms(block)?)).1,
        };
        page::block_page(bytes, inner).and_then(f).map_err(|e| self.place(e))
    }

    /// Where its roll-ups are; `None` when it has none, as parts of days that are not closed.
    ///
    /// # Errors
    /// As [`index`](Self::index).
    pub fn roll_up_pages(&self, index: &Index) -> Result<Option<Arc<RollUpPages>>> {
        let Some(block) = self.meta.roll_ups else { return Ok(None) };
        let mut slot = self.roll_up_pages.lock();
        if slot.is_none() {
            let bytes = self.reader.block(block, ROLL_UP_PAGES)?;
            let pages = RollUpPages::decode(&bytes, index.targets()).map_err(|e| self.place(e))?;
            *slot = Some(Arc::new(pages));
        }
        Ok(slot.clone())
    }

    /// Calls `f` with page `page` of its roll-ups.
    ///
    /// # Errors
    /// As [`index`](Self::index), or what `f` returns.
    pub fn roll_up_page<R>(
        &self,
        pages: &RollUpPages,
        page: usize,
        cache: &mut BlockCache,
        f: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let (block, inner) = pages.blocks.find(page).ok_or_else(|| self.missing(page))?;
        let bytes = match &cache.roll_ups {
            Some((cached, bytes)) if *cached == block => bytes,
            _ => {
                let packed = self.reader.block(block, ROLL_UPS)?;
                let plain = blob::decompress_zstd(&packed, page::BLOCK_BYTES_MAX);
                &cache.roll_ups.insert((block, plain.map_err(|e| self.place(e))?)).1
            }
        };
        page::block_page(bytes, inner).and_then(f).map_err(|e| self.place(e))
    }

    fn read_histograms(&self, block: BlockRef) -> Result<Vec<u8>> {
        if !self.meta.cold {
            return self.reader.block(block, HISTOGRAMS);
        }
        let packed = self.reader.block(block, HISTOGRAMS_ZSTD)?;
        blob::decompress_zstd(&packed, page::BLOCK_BYTES_MAX).map_err(|e| self.place(e))
    }

    /// Makes the pages of a block be in `buffer`; where.
    fn read_pages(&self, block: BlockRef, buffer: &mut Vec<u8>) -> Result<Range<usize>> {
        if !self.meta.cold {
            let len = self.reader.block_in(block, PAGES, buffer)?.len();
            return Ok(buffer.len() - len..buffer.len());
        }
        let packed = self.reader.block_in(block, PAGES_ZSTD, buffer)?;
        *buffer =
            blob::decompress_zstd(packed, page::BLOCK_BYTES_MAX).map_err(|e| self.place(e))?;
        Ok(0..buffer.len())
    }

    fn missing(&self, page: usize) -> Error {
        Error::corrupt(format!("part {} has no page {page}", self.name))
    }

    fn place(&self, e: Error) -> Error {
        e.context(format!("part {}", self.name))
    }
}

/// Forgets indexes of `parts`, those not asked for the longest first, until what is left takes at most `bytes_max`. Who
/// works with one keeps it that long.
pub(crate) fn hold_index_bytes(parts: &[Arc<Part>], bytes_max: u64) {
    let kept = parts.iter().map(|part| (part, part.index_memory_bytes() as u64));
    let mut kept: Vec<(&Arc<Part>, u64)> = kept.filter(|(_, bytes)| *bytes > 0).collect();
    let mut bytes: u64 = kept.iter().map(|(_, bytes)| bytes).sum();
    kept.sort_by_key(|(part, _)| part.used.load(Ordering::Relaxed));
    for (part, freed) in kept {
        if bytes <= bytes_max {
            return;
        }
        part.forget_index();
        bytes -= freed;
    }
}

/// Splits ascending times into `(day, start, end)`, rows `[start, end)` being of that day.
pub fn days(all: &[i64]) -> Vec<(i64, usize, usize)> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < all.len() {
        let day = day_of(all[start]);
        let end = start + all[start..].partition_point(|t| day_of(*t) == day);
        found.push((day, start, end));
        start = end;
    }
    found
}

/// Name of the file of a part that takes the place of the part `name`, with the same day, flush and level.
pub fn rewritten_name(name: &str) -> String {
    let stem = name.strip_suffix(".part").unwrap_or(name);
    let (stem, number) = match stem.rsplit_once('.') {
        Some((stem, number)) => (stem, number.parse().unwrap_or(0u64)),
        None => (stem, 0),
    };
    format!("{stem}.{}.part", number + 1)
}

/// Name of the file of a part: its day, its newest flush, its level.
pub fn file_name(day: i64, last_seq: u64, level: u8) -> String {
    format!("{day}-{last_seq:010}-{level}.part")
}
