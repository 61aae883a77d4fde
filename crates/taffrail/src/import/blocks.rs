//! Blocks of a Prometheus data directory, oldest first, series by series.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ingest::prometheus_tsdb::{
    BlockMeta, ChunkMeta, Index, SEGMENT_HEADER_BYTES, Samples, SeriesEntry, Tombstones,
    check_segment_header, decode_chunk, frame_bytes, open_frame,
};
use storage::fs::{Fs as _, ReadFile, RealFs};

use super::{Outlet, Position};

/// Read of a chunk file at a time: a series' chunks follow each other.
const WINDOW_BYTES: usize = 1 << 20;
/// Enough to see how long a chunk is.
const FRAME_START_BYTES: usize = 10;

/// Blocks of a directory.
pub(super) struct Blocks {
    blocks: Vec<Block>,
    cutoff_ms: i64,
}

struct Block {
    dir: PathBuf,
    meta: BlockMeta,
    /// Bytes of its chunk files.
    bytes: u64,
}

impl Blocks {
    /// Finds the blocks in `dir`; directories that are no blocks are passed over.
    pub(super) fn find(dir: &Path, cutoff_ms: i64) -> Result<Self> {
        let mut blocks = Vec::new();
        let entries =
            RealFs.list(dir).with_context(|| format!("read directory {}", dir.display()))?;
        for entry in entries.iter().filter(|e| e.is_dir) {
            let dir = dir.join(&entry.name);
            let json = match RealFs.read(&dir.join("meta.json")) {
                Ok(json) => json,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => {
                    return Err(e).with_context(|| format!("read meta.json of {}", dir.display()));
                }
            };
            let meta =
                BlockMeta::decode(&json).with_context(|| format!("block {}", dir.display()))?;
            let files = RealFs
                .list(&dir.join("chunks"))
                .with_context(|| format!("read the chunks of block {}", dir.display()))?;
            blocks.push(Block { dir, meta, bytes: files.iter().map(|f| f.len).sum() });
        }
        blocks
            .sort_by(|a, b| (a.meta.min_time, &a.meta.ulid).cmp(&(b.meta.min_time, &b.meta.ulid)));
        Ok(Self { blocks, cutoff_ms })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.blocks.iter().map(|b| b.bytes).sum()
    }

    /// Says what is there and what of it is too old to be stored.
    pub(super) fn say(&self, out: &mut impl Write, retention: &str) -> Result<()> {
        let sum = |of: &dyn Fn(&Block) -> u64| self.blocks.iter().map(of).sum::<u64>();
        writeln!(
            out,
            "{} blocks: {} samples in {} bytes of chunks",
            self.blocks.len(),
            sum(&|b| b.meta.stats.num_samples),
            self.bytes()
        )?;
        for block in &self.blocks {
            let meta = &block.meta;
            let note = if meta.max_time <= self.cutoff_ms {
                "  all too old"
            } else if meta.min_time < self.cutoff_ms {
                "  partly too old"
            } else {
                ""
            };
            writeln!(
                out,
                "  {}  {} to {}  {} series, {} samples{note}",
                meta.ulid,
                super::utc(meta.min_time),
                super::utc(meta.max_time),
                meta.stats.num_series,
                meta.stats.num_samples
            )?;
        }
        let old = |b: &Block| {
            if b.meta.max_time <= self.cutoff_ms { b.meta.stats.num_samples } else { 0 }
        };
        let partly = self.blocks.iter().filter(|b| b.meta.min_time < self.cutoff_ms).count();
        if partly > 0 {
            writeln!(
                out,
                "the target keeps {retention}: {} samples are in blocks before that, and some of the {partly} blocks \
                 that begin before it; they will be left out (a longer retention at the target keeps them)",
                sum(&old)
            )?;
        }
        Ok(())
    }

    /// Latest time in any block, Unix milliseconds (first moment after).
    pub(super) fn end_ms(&self) -> Option<i64> {
        self.blocks.iter().map(|b| b.meta.max_time).max()
    }

    /// Reads what is not done yet.
    pub(super) fn read(&self, outlet: &mut Outlet, done: &[Position]) -> Result<()> {
        for block in &self.blocks {
            let done = done.iter().find(|p| p.piece == block.meta.ulid).map_or(0, |p| p.done);
            if block.meta.max_time <= self.cutoff_ms {
                outlet.skipped.too_old += block.meta.stats.num_samples;
                outlet.bytes += block.bytes;
                continue;
            }
            block.read(outlet, done).with_context(|| format!("block {}", block.dir.display()))?;
        }
        Ok(())
    }
}

impl Block {
    fn read(&self, outlet: &mut Outlet, done: u64) -> Result<()> {
        if done == u64::MAX {
            outlet.bytes += self.bytes;
            return Ok(());
        }
        let index = RealFs.read(&self.dir.join("index")).context("read its index")?;
        let index = Index::open(&index)?;
        let tombstones = match RealFs.read(&self.dir.join("tombstones")) {
            Ok(bytes) => Tombstones::decode(&bytes)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Tombstones::default(),
            Err(e) => return Err(e).context("read its tombstones"),
        };
        let mut segments = Segments::open(&self.dir.join("chunks"))?;
        let position = |done: u64| Some(Position { piece: self.meta.ulid.clone(), done });
        let mut samples = Samples::default();
        let mut bytes_seen = 0;
        for (number, entry) in (1_u64..).zip(index.series()) {
            match entry {
                Ok(entry) => {
                    let skip = number <= done;
                    let bytes = self.series(&entry, skip, &mut segments, &mut samples, outlet);
                    (outlet.bytes, bytes_seen) = (outlet.bytes + bytes, bytes_seen + bytes);
                    if !skip {
                        self.hand_over(&entry, &tombstones, &mut samples, outlet);
                    }
                }
                Err(e) => outlet.skipped.damaged(format!("block {}: {e}", self.meta.ulid)),
            }
            if outlet.is_full() {
                outlet.flush(position(number))?;
            }
        }
        outlet.bytes += self.bytes.saturating_sub(bytes_seen);
        outlet.flush(position(u64::MAX))
    }

    /// Reads the chunks of a series; returns how many bytes they take.
    fn series(
        &self,
        entry: &SeriesEntry,
        skip: bool,
        segments: &mut Segments,
        samples: &mut Samples,
        outlet: &mut Outlet,
    ) -> u64 {
        samples.clear();
        let mut bytes = 0;
        for chunk in &entry.chunks {
            // Skipped ones count as read, roughly, so that progress goes on where it was.
            if skip {
                bytes += self.bytes / self.meta.stats.num_chunks.max(1);
                continue;
            }
            match segments.chunk(chunk).and_then(|(encoding, data, len)| {
                decode_chunk(encoding, data, samples)?;
                Ok(len)
            }) {
                Ok(len) => bytes += len as u64,
                Err(e) => outlet
                    .skipped
                    .damaged(format!("block {}: {}: {e}", self.meta.ulid, entry.labels)),
            }
        }
        bytes
    }

    fn hand_over(
        &self,
        entry: &SeriesEntry,
        tombstones: &Tombstones,
        samples: &mut Samples,
        outlet: &mut Outlet,
    ) {
        let deleted = tombstones.of(entry.reference);
        let is_deleted = |t_ms: i64| deleted.iter().any(|interval| interval.contains(t_ms));
        for (t_ms, value) in samples.floats.drain(..) {
            if is_deleted(t_ms) {
                outlet.skipped.deleted += 1;
            } else {
                outlet.sample(&entry.labels, t_ms, value);
            }
        }
        for (t_ms, value) in samples.histograms.drain(..) {
            if is_deleted(t_ms) {
                outlet.skipped.deleted += 1;
            } else {
                outlet.histogram(&entry.labels, t_ms, value);
            }
        }
    }
}

/// The files in `chunks/`, read through a window.
struct Segments {
    files: Vec<Box<dyn ReadFile>>,
    window: Vec<u8>,
    /// File and offset the window begins at.
    at: (usize, u64),
}

impl Segments {
    fn open(dir: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for entry in RealFs.list(dir).context("read its chunks")? {
            if entry.name.len() != 6 || entry.name.bytes().any(|b| !b.is_ascii_digit()) {
                continue;
            }
            let file = RealFs.open_read(&dir.join(&entry.name)).context("read its chunks")?;
            let mut header = [0; SEGMENT_HEADER_BYTES];
            file.read_exact_at(&mut header, 0)
                .with_context(|| format!("read chunk segment {}", entry.name))?;
            check_segment_header(&header)
                .with_context(|| format!("chunk segment {}", entry.name))?;
            files.push(file);
        }
        Ok(Self { files, window: Vec::new(), at: (usize::MAX, 0) })
    }

    /// Encoding and data of a chunk, and the bytes it takes in its file.
    fn chunk(&mut self, chunk: &ChunkMeta) -> model::Result<(u8, &[u8], usize)> {
        let (segment, offset) = (chunk.at.segment_index() as usize, chunk.at.offset());
        let start = self.bytes(segment, offset, FRAME_START_BYTES)?;
        let len = frame_bytes(start)?;
        let frame = self.bytes(segment, offset, len)?;
        let (encoding, data) = open_frame(frame)?;
        Ok((encoding, data, len))
    }

    /// At least `len` bytes at `offset`, fewer only at the end of the file.
    fn bytes(&mut self, segment: usize, offset: u64, len: usize) -> model::Result<&[u8]> {
        let file = self.files.get(segment).ok_or_else(|| {
            model::Error::corrupt(format!("chunk segment {:06} does not exist", segment + 1))
        })?;
        let inside = |(at_segment, at): (usize, u64), window: usize| {
            let skip = usize::try_from(offset.checked_sub(at)?).ok()?;
            (at_segment == segment && skip + len <= window).then_some(skip)
        };
        if let Some(skip) = inside(self.at, self.window.len()) {
            return Ok(&self.window[skip..]);
        }
        let left = file.len().saturating_sub(offset);
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(WINDOW_BYTES.max(len));
        self.window.resize(want, 0);
        self.at = (segment, offset);
        file.read_exact_at(&mut self.window, offset)
            .map_err(|e| model::Error::io(format!("read chunk segment {:06}", segment + 1), e))?;
        Ok(&self.window)
    }
}
