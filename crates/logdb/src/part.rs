//! Parts: immutable sets of blocks of one UTC day, in memory (sealed from the head) or in a file.
//!
//! Owns: writing parts, the index of streams and blocks that stays in memory, and reading single pieces. Does not own:
//! which parts are live (`engine`), nor what queries do with blocks (`scan`).

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use model::{Error, ErrorKind, Labels, Result};
use rustc_hash::FxHashMap;
use storage::codec::{Reader, blob, put_bytes, put_count, put_varint, put_zigzag};
use storage::fs::Fs;
use storage::part::{BlockRef, PartReader, PartWriter};

use crate::block::{Buffer, Pieces, ROWS_MAX, Run};
use crate::column::Encoder;
use crate::fields::Fields;
use crate::patterns::known::Known;
use crate::retention::Classes;

/// Version of parts that are written; those of the first one know no patterns.
pub(crate) const VERSION: u8 = 3;
/// Bytes of runs were not kept: they are reckoned from those of their block.
const VERSION_WITHOUT_RUN_BYTES: u8 = 2;
const VERSION_WITHOUT_PATTERNS: u8 = 1;
/// Nanoseconds of a UTC day.
pub(crate) const DAY_NS: i64 = 86_400_000_000_000;
/// Plain bytes an index may have.
const INDEX_BYTES_MAX: usize = 512 << 20;

const TIMES: u8 = 1;
const LINES: u8 = 2;
const FIELDS: u8 = 3;
const FILTER: u8 = 4;
const INDEX: u8 = 5;
const PATTERNS: u8 = 6;

/// Bytes that a thread keeps for reading pieces.
const READ_BUFFER_BYTES: usize = 1 << 20;

thread_local! {
    /// Pieces are read here and then copied: cheaper than fresh memory each time.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is known about a part without its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Of the part's format.
    version: u8,
    /// Never used twice in a store; part of the file name.
    pub(crate) id: u64,
    /// Parts ascend by arrival of their rows: rows of equal time keep this order.
    pub(crate) order: u64,
    /// Days since 1970-01-01.
    pub(crate) day: i64,
    pub(crate) rows: u64,
    /// Bytes of the lines.
    pub(crate) raw_bytes: u64,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
}

impl Summary {
    pub(crate) fn new(id: u64, order: u64, day: i64) -> Self {
        let version = VERSION;
        Self { version, id, order, day, rows: 0, raw_bytes: 0, min_ns: i64::MAX, max_ns: i64::MIN }
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{:06}-{:010}.part", self.day, self.id)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.version);
        put_varint(out, self.id);
        put_varint(out, self.order);
        put_zigzag(out, self.day);
        put_varint(out, self.rows);
        put_varint(out, self.raw_bytes);
        put_zigzag(out, self.min_ns);
        put_zigzag(out, self.max_ns);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let version = reader.u8()?;
        if !(VERSION_WITHOUT_PATTERNS..=VERSION).contains(&version) {
            let message =
                format!("log part has format version {version}; this program reads {VERSION}");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(Self {
            version,
            id: reader.varint()?,
            order: reader.varint()?,
            day: reader.zigzag()?,
            rows: reader.varint()?,
            raw_bytes: reader.varint()?,
            min_ns: reader.zigzag()?,
            max_ns: reader.zigzag()?,
        })
    }
}

/// One block as the index knows it.
#[derive(Debug)]
pub(crate) struct BlockMeta {
    pub(crate) rows: u32,
    pub(crate) raw_bytes: u64,
    pub(crate) runs: Vec<Run>,
    times: BlockRef,
    lines: BlockRef,
    fields: BlockRef,
    filter: BlockRef,
    patterns: BlockRef,
    /// Found damaged by an earlier read; not read again.
    damaged: AtomicBool,
}

impl BlockMeta {
    /// Tells it from the other blocks of its part.
    pub(crate) fn key(&self) -> u64 {
        self.lines.offset
    }

    /// Stored bytes of the lines.
    pub(crate) fn lines_len(&self) -> usize {
        self.lines.len as usize
    }

    /// Stored bytes of the fields.
    pub(crate) fn fields_len(&self) -> usize {
        self.fields.len as usize
    }
}

/// Where pieces go.
enum Target {
    File(PartWriter),
    Memory(Vec<Arc<[u8]>>),
}

impl Target {
    fn put(&mut self, kind: u8, bytes: &[u8]) -> Result<BlockRef> {
        if bytes.is_empty() {
            return Ok(BlockRef { offset: 0, len: 0 });
        }
        match self {
            Self::File(writer) => writer.block(kind, bytes),
            Self::Memory(pieces) => {
                pieces.push(Arc::from(bytes));
                // Pieces of a block in memory are far below 4 GiB.
                Ok(BlockRef { offset: pieces.len() as u64 - 1, len: bytes.len() as u32 })
            }
        }
    }
}

/// Writes one part; rows come by stream, ascending by time within a stream.
pub(crate) struct Builder {
    target: Target,
    summary: Summary,
    streams: Vec<Labels>,
    stream_of: FxHashMap<Labels, u32>,
    blocks: Vec<BlockMeta>,
    buffer: Buffer,
    known: Arc<Known>,
}

impl Builder {
    /// A part in memory.
    pub(crate) fn memory(known: Arc<Known>, summary: Summary) -> Self {
        Self::new(Target::Memory(Vec::new()), known, summary)
    }

    /// A part in a file of `dir`.
    pub(crate) fn file(
        fs: Arc<dyn Fs>,
        dir: &Path,
        known: Arc<Known>,
        summary: Summary,
    ) -> Result<Self> {
        let writer = PartWriter::create(fs, &dir.join(summary.file_name()))?;
        Ok(Self::new(Target::File(writer), known, summary))
    }

    fn new(target: Target, known: Arc<Known>, summary: Summary) -> Self {
        Self {
            target,
            summary,
            streams: Vec::new(),
            stream_of: FxHashMap::default(),
            blocks: Vec::new(),
            buffer: Buffer::default(),
            known,
        }
    }

    /// The number of stream `labels` in this part.
    pub(crate) fn stream(&mut self, labels: &Labels) -> u32 {
        if let Some(stream) = self.stream_of.get(labels) {
            return *stream;
        }
        let stream = self.streams.len() as u32;
        self.streams.push(labels.clone());
        self.stream_of.insert(labels.clone(), stream);
        stream
    }

    /// Whether no row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.summary.rows == 0 && self.buffer.is_empty()
    }

    /// Adds a row.
    pub(crate) fn push(
        &mut self,
        encoder: &mut Encoder,
        stream: u32,
        t_ns: i64,
        line: &[u8],
        fields: &Labels,
    ) -> Result<()> {
        if self.buffer.is_full_for(stream, line.len()) {
            self.close_block(encoder)?;
        }
        self.buffer.push(stream, t_ns, line, fields);
        Ok(())
    }

    fn close_block(&mut self, encoder: &mut Encoder) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let pieces = self.buffer.encode(encoder, &self.known);
        let (rows, raw_bytes) = (self.buffer.rows(), self.buffer.raw_bytes());
        let runs = self.buffer.take_runs();
        self.put(&pieces, rows, raw_bytes, runs)
    }

    fn put(&mut self, pieces: &Pieces, rows: u32, raw_bytes: u64, runs: Vec<Run>) -> Result<()> {
        for run in &runs {
            self.summary.min_ns = self.summary.min_ns.min(run.min_ns);
            self.summary.max_ns = self.summary.max_ns.max(run.max_ns);
        }
        self.summary.rows += u64::from(rows);
        self.summary.raw_bytes += raw_bytes;
        self.blocks.push(BlockMeta {
            rows,
            raw_bytes,
            runs,
            times: self.target.put(TIMES, &pieces.times)?,
            lines: self.target.put(LINES, &pieces.lines)?,
            fields: self.target.put(FIELDS, &pieces.fields)?,
            filter: self.target.put(FILTER, &pieces.filter)?,
            patterns: self.target.put(PATTERNS, &pieces.patterns)?,
            damaged: AtomicBool::new(false),
        });
        Ok(())
    }

    /// Copies all blocks of `part` as they are.
    pub(crate) fn copy(&mut self, part: &Part) -> Result<()> {
        let numbers: Vec<u32> = part.streams.iter().map(|s| self.stream(s)).collect();
        for block in &part.blocks {
            self.put_copy(part, block, |stream| numbers[stream as usize])?;
        }
        Ok(())
    }

    /// Copies `block` of `part`, whose rows are all of the stream that is `stream` here and come behind all added so far.
    pub(crate) fn copy_block(
        &mut self,
        encoder: &mut Encoder,
        part: &Part,
        block: &BlockMeta,
        stream: u32,
    ) -> Result<()> {
        self.close_block(encoder)?;
        self.put_copy(part, block, |_| stream)
    }

    fn put_copy(
        &mut self,
        part: &Part,
        block: &BlockMeta,
        number: impl Fn(u32) -> u32,
    ) -> Result<()> {
        let pieces = Pieces {
            times: part.piece(block.times, TIMES)?.to_vec(),
            lines: part.piece(block.lines, LINES)?.to_vec(),
            fields: part.piece(block.fields, FIELDS)?.to_vec(),
            filter: part.piece(block.filter, FILTER)?.to_vec(),
            patterns: part.piece(block.patterns, PATTERNS)?.to_vec(),
        };
        let runs = block.runs.iter().map(|run| Run { stream: number(run.stream), ..*run });
        self.put(&pieces, block.rows, block.raw_bytes, runs.collect())
    }

    /// Finishes a part in memory.
    pub(crate) fn finish_memory(mut self, encoder: &mut Encoder) -> Result<Part> {
        self.close_block(encoder)?;
        let Target::Memory(pieces) = self.target else {
            return Err(Error::new(ErrorKind::Bug, "BUG: a part in a file is finished in memory"));
        };
        let bytes = pieces.iter().map(|p| p.len() as u64).sum();
        Ok(Part {
            summary: self.summary,
            streams: self.streams,
            blocks: self.blocks,
            bytes,
            source: Source::Memory(pieces),
            classes: OnceLock::new(),
            damaged_count: AtomicU64::new(0),
        })
    }

    /// Finishes a part in a file: afterwards it is durable, but live only once the manifest says so.
    pub(crate) fn finish_file(
        mut self,
        encoder: &mut Encoder,
        fs: &dyn Fs,
        dir: &Path,
    ) -> Result<Part> {
        self.close_block(encoder)?;
        let mut index = Vec::new();
        encode_index(&self.streams, &self.blocks, &mut index);
        let mut packed = Vec::new();
        blob::compress_zstd(&index, 3, &mut packed)?;
        let index = self.target.put(INDEX, &packed)?;
        let mut meta = Vec::new();
        self.summary.encode(&mut meta);
        index.encode(&mut meta);
        let Target::File(writer) = self.target else {
            return Err(Error::new(ErrorKind::Bug, "BUG: a part in memory is finished as a file"));
        };
        writer.finish(&meta)?;
        Part::open(fs, &dir.join(self.summary.file_name()))
    }
}

fn encode_index(streams: &[Labels], blocks: &[BlockMeta], out: &mut Vec<u8>) {
    put_count(out, streams.len());
    for stream in streams {
        put_labels(stream, out);
    }
    put_count(out, blocks.len());
    for block in blocks {
        put_varint(out, u64::from(block.rows));
        put_varint(out, block.raw_bytes);
        for piece in [block.times, block.lines, block.fields, block.filter, block.patterns] {
            put_varint(out, piece.offset);
            put_varint(out, u64::from(piece.len));
        }
        put_count(out, block.runs.len());
        for run in &block.runs {
            put_varint(out, u64::from(run.stream));
            put_varint(out, u64::from(run.rows));
            put_varint(out, run.raw_bytes);
            put_zigzag(out, run.min_ns);
            put_varint(out, run.max_ns.wrapping_sub(run.min_ns).cast_unsigned());
        }
    }
}

/// Reads what [`encode_index`] wrote in parts of `version`.
pub(crate) fn decode_index(bytes: &[u8], version: u8) -> Result<(Vec<Labels>, Vec<BlockMeta>)> {
    let has_patterns = version > VERSION_WITHOUT_PATTERNS;
    let has_run_bytes = version > VERSION_WITHOUT_RUN_BYTES;
    let mut reader = Reader::new(bytes);
    let count = reader.count(reader.remaining())?;
    let streams = (0..count).map(|_| take_labels(&mut reader)).collect::<Result<Vec<_>>>()?;
    let count = reader.count(reader.remaining())?;
    let mut blocks = Vec::new();
    for _ in 0..count {
        let rows = reader.count(ROWS_MAX)?;
        let raw_bytes = reader.varint()?;
        let mut piece = || -> Result<BlockRef> {
            let offset = reader.varint()?;
            Ok(BlockRef { offset, len: reader.count(u32::MAX as usize)? as u32 })
        };
        let (times, lines, fields, filter) = (piece()?, piece()?, piece()?, piece()?);
        let patterns = if has_patterns { piece()? } else { BlockRef { offset: 0, len: 0 } };
        let mut runs = Vec::new();
        let (mut total, mut total_bytes) = (0, 0_u64);
        for _ in 0..reader.count(rows)? {
            let stream = reader.count(streams.len())?;
            if stream == streams.len() {
                let message = format!("run is of stream {stream}; there are {stream}");
                return Err(Error::corrupt(message));
            }
            let stream = stream as u32;
            let run_rows = reader.count(rows)?;
            let share = run_rows as f64 / rows.max(1) as f64;
            let run_bytes = if has_run_bytes {
                reader.varint()?
            } else {
                (raw_bytes as f64 * share).round() as u64
            };
            let min_ns = reader.zigzag()?;
            let max_ns = min_ns.wrapping_add(reader.varint()?.cast_signed());
            let (rows, raw_bytes) = (run_rows as u32, run_bytes);
            runs.push(Run { stream, rows, raw_bytes, min_ns, max_ns });
            total += run_rows;
            total_bytes = total_bytes.saturating_add(run_bytes);
        }
        if total != rows {
            return Err(Error::corrupt(format!("runs have {total} rows; their block has {rows}")));
        }
        if has_run_bytes && total_bytes != raw_bytes {
            let message = format!("runs have {total_bytes} bytes; their block has {raw_bytes}");
            return Err(Error::corrupt(message));
        }
        let damaged = AtomicBool::new(false);
        // Checked against `ROWS_MAX` above.
        let rows = rows as u32;
        blocks.push(BlockMeta {
            rows,
            raw_bytes,
            runs,
            times,
            lines,
            fields,
            filter,
            patterns,
            damaged,
        });
    }
    Ok((streams, blocks))
}

/// Appends labels as a count and pairs.
pub(crate) fn put_labels(labels: &Labels, out: &mut Vec<u8>) {
    put_count(out, labels.len());
    for (name, value) in labels.iter() {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

/// Takes labels written by [`put_labels`].
pub(crate) fn take_labels(reader: &mut Reader<'_>) -> Result<Labels> {
    let count = reader.count(reader.remaining())?;
    let pairs =
        (0..count).map(|_| Ok((reader.str()?, reader.str()?))).collect::<Result<Vec<_>>>()?;
    Ok(pairs.into_iter().collect())
}

/// An immutable set of blocks, open for reading.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) summary: Summary,
    pub(crate) streams: Vec<Labels>,
    pub(crate) blocks: Vec<BlockMeta>,
    /// Bytes of the file, or of the pieces in memory.
    pub(crate) bytes: u64,
    /// Classes of retention that its streams belong to, once somebody asked: the rules of an open store do not change.
    pub(crate) classes: OnceLock<Classes>,
    source: Source,
    damaged_count: AtomicU64,
}

#[derive(Debug)]
enum Source {
    File(PartReader),
    Memory(Vec<Arc<[u8]>>),
}

impl Part {
    /// Opens a part's file; reads its index, no blocks.
    pub(crate) fn open(fs: &dyn Fs, path: &Path) -> Result<Self> {
        let file = PartReader::open(fs, path)?;
        let mut meta = Reader::new(file.meta());
        let summary = Summary::decode(&mut meta)?;
        let mut rest = meta.take(meta.remaining())?;
        let index = BlockRef::decode(&mut rest)
            .ok_or_else(|| Error::corrupt(format!("part {} has no index", path.display())))?;
        let packed = file.block(index, INDEX)?;
        let plain = blob::decompress_zstd(&packed, INDEX_BYTES_MAX)?;
        let (streams, blocks) = decode_index(&plain, summary.version)
            .map_err(|e| e.context(format!("index of part {}", path.display())))?;
        let bytes = file.bytes();
        let source = Source::File(file);
        let (classes, damaged_count) = (OnceLock::new(), AtomicU64::new(0));
        Ok(Self { summary, streams, blocks, bytes, classes, source, damaged_count })
    }

    /// Whether it is a file, not in memory.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// Blocks found damaged so far.
    pub(crate) fn damaged_blocks(&self) -> u64 {
        self.damaged_count.load(Ordering::Relaxed)
    }

    /// What to tell readers, if blocks are damaged.
    pub(crate) fn warning(&self) -> Option<String> {
        let count = self.damaged_blocks();
        (count > 0).then(|| {
            let name = self.summary.file_name();
            format!("{count} damaged blocks of log part {name} were left out")
        })
    }

    /// Whether `block` was found damaged.
    pub(crate) fn is_damaged(&self, block: &BlockMeta) -> bool {
        block.damaged.load(Ordering::Relaxed)
    }

    /// Remembers that `block` is damaged, and logs it once.
    pub(crate) fn set_damaged(&self, block: &BlockMeta, e: &Error) {
        if !block.damaged.swap(true, Ordering::Relaxed) {
            self.damaged_count.fetch_add(1, Ordering::Relaxed);
            tracing::error!(part = self.summary.file_name(), error = %e, "log block is damaged and left out");
        }
    }

    pub(crate) fn times(&self, block: &BlockMeta) -> Result<Vec<i64>> {
        crate::block::decode_times(&self.piece(block.times, TIMES)?, block.rows as usize)
    }

    pub(crate) fn lines(&self, block: &BlockMeta) -> Result<crate::column::Column> {
        crate::column::Column::open(self.piece(block.lines, LINES)?, block.rows as usize)
    }

    /// The fields; `None` when no row of the block has any.
    pub(crate) fn fields(&self, block: &BlockMeta) -> Result<Option<Fields>> {
        let bytes = self.piece(block.fields, FIELDS)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        Fields::open(&bytes, block.rows as usize).map(Some)
    }

    /// Which pattern each row has, as it is stored; empty when it is not.
    pub(crate) fn patterns(&self, block: &BlockMeta) -> Result<Arc<[u8]>> {
        self.piece(block.patterns, PATTERNS)
    }

    /// The token filter; empty when there is none.
    pub(crate) fn filter(&self, block: &BlockMeta) -> Result<Arc<[u8]>> {
        self.piece(block.filter, FILTER)
    }

    fn piece(&self, piece: BlockRef, kind: u8) -> Result<Arc<[u8]>> {
        if piece.len == 0 {
            return Ok(Arc::from(&[][..]));
        }
        match &self.source {
            Source::File(file) => READ_BUFFER.with_borrow_mut(|buffer| {
                let piece = file.block_in(piece, kind, buffer).map(Arc::from);
                buffer.shrink_to(READ_BUFFER_BYTES);
                piece
            }),
            Source::Memory(pieces) => {
                usize::try_from(piece.offset).ok().and_then(|i| pieces.get(i)).cloned().ok_or_else(
                    || Error::new(ErrorKind::Bug, "BUG: piece of a block in memory is missing"),
                )
            }
        }
    }
}
