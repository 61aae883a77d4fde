//! Parts: immutable files of blocks, sorted by start of trace, trace and start of span, with an index in memory.
//!
//! Owns: writing parts, the index of blocks, operations and attribute names, and reading pieces. Does not own: which parts
//! are live (`engine`), what is in a block (`block`), what queries look for (`find`).

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use model::{AttributeScope, Error, ErrorKind, Result};
use rustc_hash::{FxHashMap, FxHashSet};
use storage::codec::{Reader, blob, put_bytes, put_count, put_varint, put_zigzag};
use storage::fs::Fs;
use storage::part::{BlockRef, PartReader, PartWriter};

use crate::attributes::AttributeColumns;
use crate::block::{self, Buffer, Core, OpenBlock, Projection, ROWS_MAX, Rest};
use crate::column::Encoder;
use crate::filter::{self, Filter, PAGE_ENTRIES};
use crate::record::kind_of;
use crate::retention::Classes;
use crate::rows::{Renumbering, Rows};
use crate::texts::{Text, Texts};
use crate::value;

const VERSION: u8 = 1;
/// Plain bytes an index may have.
const INDEX_BYTES_MAX: usize = 512 << 20;
/// A block with more operations, or names of attributes, is not listed in the index.
const LISTED_MAX: usize = 1024;

const CORE: u8 = 1;
const IDS: u8 = 2;
const ATTRIBUTES: u8 = 3;
const REST: u8 = 4;
const LOOKUP: u8 = 5;
const FILTER: u8 = 6;
const INDEX: u8 = 7;
const VALUES: u8 = 8;
const PIECES: usize = 4;

/// The level of parts that were merged for good.
pub(crate) const LEVEL_DAY: u8 = 2;
/// The level of parts merged of an hour.
pub(crate) const LEVEL_HOUR: u8 = 1;

/// What is known about a part without its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Never used twice in a store; the file's name.
    pub(crate) id: u64,
    /// 0 as flushed, then [`LEVEL_HOUR`], [`LEVEL_DAY`].
    pub(crate) level: u8,
    /// Unix milliseconds at which its first spans arrived.
    pub(crate) arrived_ms: i64,
    pub(crate) rows: u64,
    /// First and last start of a span.
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
}

impl Summary {
    pub(crate) fn new(id: u64, level: u8, arrived_ms: i64) -> Self {
        Self { id, level, arrived_ms, rows: 0, min_ns: i64::MAX, max_ns: i64::MIN }
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{:010}.part", self.id)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_varint(out, self.id);
        out.push(self.level);
        put_zigzag(out, self.arrived_ms);
        put_varint(out, self.rows);
        put_zigzag(out, self.min_ns);
        put_zigzag(out, self.max_ns);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let version = reader.u8()?;
        if version != VERSION {
            let message =
                format!("trace part has format version {version}; this program reads {VERSION}");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(Self {
            id: reader.varint()?,
            level: reader.u8()?,
            arrived_ms: reader.zigzag()?,
            rows: reader.varint()?,
            min_ns: reader.zigzag()?,
            max_ns: reader.zigzag()?,
        })
    }
}

/// A service (`None`: without a name), a name of its spans, and their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct OperationOf {
    pub(crate) service: Option<u32>,
    pub(crate) name: u32,
    pub(crate) kind: u8,
}

/// One block as the index knows it.
#[derive(Debug)]
pub(crate) struct BlockMeta {
    pub(crate) rows: u32,
    /// First and last start of a span.
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    /// Latest start of a trace, as far as this part knows.
    pub(crate) trace_start_max_ns: i64,
    pub(crate) duration_max_ns: u64,
    pieces: [BlockRef; PIECES],
    /// Filter of the values of its spans' attributes; parts of earlier programs have none.
    values: Option<BlockRef>,
    /// Numbers of its operations; `None` when they are too many.
    pub(crate) operations: Option<Vec<u32>>,
    /// Numbers of its names of attributes; `None` when they are too many.
    pub(crate) keys: Option<Vec<u32>>,
    /// Found damaged by an earlier read; not read again.
    damaged: AtomicBool,
}

/// What the blocks of a part are about.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) texts: Vec<Box<str>>,
    pub(crate) operations: Vec<OperationOf>,
    pub(crate) keys: Vec<(AttributeScope, u32)>,
    pub(crate) blocks: Vec<BlockMeta>,
    pages: Vec<Page>,
    filter: Option<BlockRef>,
}

/// A page of fingerprints.
#[derive(Debug)]
struct Page {
    first: u64,
    count: usize,
    at: BlockRef,
}

/// Writes one part; rows come in its order.
pub(crate) struct Builder {
    writer: PartWriter,
    encoder: Encoder,
    summary: Summary,
    buffer: Buffer,
    /// By source of rows, what their numbers are in the buffer.
    maps: Vec<Option<Renumbering>>,
    texts: Texts,
    index: Index,
    operation_of: FxHashMap<OperationOf, u32>,
    key_of: FxHashMap<(AttributeScope, u32), u32>,
    /// Hash of a trace's id, and a block that has spans of it.
    traces: Vec<(u64, u32)>,
}

impl Builder {
    /// A part in a file of `dir`.
    pub(crate) fn create(
        fs: Arc<dyn Fs>,
        dir: &Path,
        level: i32,
        summary: Summary,
    ) -> Result<Self> {
        Ok(Self {
            writer: PartWriter::create(fs, &dir.join(summary.file_name()))?,
            encoder: Encoder::new(level)?,
            summary,
            buffer: Buffer::default(),
            maps: Vec::new(),
            texts: Texts::default(),
            index: Index::default(),
            operation_of: FxHashMap::default(),
            key_of: FxHashMap::default(),
            traces: Vec::new(),
        })
    }

    /// Adds row `row` of `from`, the tables that `source` stands for; its trace starts at `trace_start_ns`.
    pub(crate) fn push(
        &mut self,
        source: usize,
        from: &Rows,
        row: usize,
        trace_start_ns: i64,
    ) -> Result<()> {
        let trace_id = from.rows[row].trace_id;
        if self.buffer.must_end_before(trace_id) {
            self.close_block()?;
        }
        if self.maps.len() <= source {
            self.maps.resize_with(source + 1, || None);
        }
        let map = self.maps[source].get_or_insert_with(|| Renumbering::new(from));
        self.buffer.rows.push_from(from, row, map);
        self.buffer.note(trace_start_ns);
        Ok(())
    }

    /// The tables of `source` are others from now on.
    pub(crate) fn forget_source(&mut self, source: usize) {
        if let Some(map) = self.maps.get_mut(source) {
            *map = None;
        }
    }

    fn close_block(&mut self) -> Result<()> {
        if self.buffer.rows.is_empty() {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        self.maps.iter_mut().for_each(|map| *map = None);
        let pieces = block::encode(&buffer, &mut self.encoder)?;
        let number = self.index.blocks.len() as u32;
        self.traces.extend(buffer.runs.iter().map(|run| (filter::hash(run.trace_id), number)));
        let rows = &buffer.rows;
        let starts = || rows.rows.iter().map(|row| row.start_ns);
        let (min_ns, max_ns) = (starts().min().unwrap_or(0), starts().max().unwrap_or(0));
        self.summary.rows += rows.len() as u64;
        self.summary.min_ns = self.summary.min_ns.min(min_ns);
        self.summary.max_ns = self.summary.max_ns.max(max_ns);
        let meta = BlockMeta {
            rows: rows.len() as u32,
            min_ns,
            max_ns,
            trace_start_max_ns: buffer.runs.last().map_or(0, |run| run.trace_start_ns),
            duration_max_ns: rows.rows.iter().map(|row| row.duration_ns()).max().unwrap_or(0),
            pieces: [
                self.writer.block(CORE, &pieces.core)?,
                self.writer.block(IDS, &pieces.ids)?,
                self.writer.block(ATTRIBUTES, &pieces.attributes)?,
                self.writer.block(REST, &pieces.rest)?,
            ],
            values: Some(self.writer.block(VALUES, &pieces.values)?),
            operations: self.list_operations(rows)?,
            keys: self.list_keys(rows, &pieces.keys)?,
            damaged: AtomicBool::new(false),
        };
        self.index.blocks.push(meta);
        Ok(())
    }

    fn list_operations(&mut self, rows: &Rows) -> Result<Option<Vec<u32>>> {
        let mut seen: FxHashSet<(u32, Text, u8)> = FxHashSet::default();
        for row in &rows.rows {
            seen.insert((row.origin, row.name, row.kind as u8));
            if seen.len() > LISTED_MAX {
                return Ok(None);
            }
        }
        let mut services = Vec::with_capacity(rows.origins.len());
        for origin in 0..rows.origins.len() as u32 {
            let resource = rows.resource(origin)?;
            services.push(resource.service().map(|s| self.texts.intern(s.as_bytes())));
        }
        let mut listed = Vec::new();
        let mut seen: Vec<(u32, Text, u8)> = seen.into_iter().collect();
        seen.sort_unstable();
        for (origin, name, kind) in seen {
            let name = self.texts.intern(rows.texts.get(name));
            let operation = OperationOf { service: services[origin as usize], name, kind };
            let all = &mut self.index.operations;
            listed.push(*self.operation_of.entry(operation).or_insert_with(|| {
                all.push(operation);
                all.len() as u32 - 1
            }));
        }
        listed.sort_unstable();
        listed.dedup();
        Ok(Some(listed))
    }

    fn list_keys(&mut self, rows: &Rows, of_items: &[Vec<Text>; 3]) -> Result<Option<Vec<u32>>> {
        let mut keys: FxHashSet<(AttributeScope, Text)> = FxHashSet::default();
        let scopes = [AttributeScope::Span, AttributeScope::Event, AttributeScope::Link];
        for (scope, of_scope) in scopes.into_iter().zip(of_items) {
            for key in of_scope {
                keys.insert((scope, self.texts.intern(rows.texts.get(*key))));
            }
        }
        for origin in 0..rows.origins.len() as u32 {
            for (name, _) in rows.resource(origin)?.attributes {
                keys.insert((AttributeScope::Resource, self.texts.intern(name.as_bytes())));
            }
            for (name, _) in rows.scope(origin)?.attributes {
                keys.insert((AttributeScope::Instrumentation, self.texts.intern(name.as_bytes())));
            }
        }
        if keys.len() > LISTED_MAX {
            return Ok(None);
        }
        let mut keys: Vec<(AttributeScope, u32)> = keys.into_iter().collect();
        keys.sort_unstable();
        let mut listed: Vec<u32> = Vec::new();
        for key in keys {
            let all = &mut self.index.keys;
            listed.push(*self.key_of.entry(key).or_insert_with(|| {
                all.push(key);
                all.len() as u32 - 1
            }));
        }
        listed.sort_unstable();
        Ok(Some(listed))
    }

    /// Whether no row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.index.blocks.is_empty() && self.buffer.rows.is_empty()
    }

    /// Finishes the file: afterwards it is durable, but live only once the manifest says so.
    pub(crate) fn finish(mut self, fs: &dyn Fs, dir: &Path) -> Result<Part> {
        self.close_block()?;
        let filter = Filter::of(self.traces.iter().map(|(hash, _)| *hash));
        let mut bytes = Vec::new();
        filter.encode(&mut bytes);
        self.index.filter = Some(self.writer.block(FILTER, &bytes)?);
        let mut entries: Vec<(u64, u32)> =
            self.traces.iter().map(|(hash, block)| (filter::fingerprint(*hash), *block)).collect();
        entries.sort_unstable();
        for page in entries.chunks(PAGE_ENTRIES) {
            bytes.clear();
            filter::encode_page(page, &mut bytes);
            let (first, count) = (page[0].0, page.len());
            let at = self.writer.block(LOOKUP, &bytes)?;
            self.index.pages.push(Page { first, count, at });
        }
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned().into_boxed_str();
        self.index.texts = self.texts.iter().map(text).collect();
        let mut plain = Vec::new();
        encode_index(&self.index, &mut plain);
        let mut packed = Vec::new();
        blob::compress_zstd(&plain, 3, &mut packed)?;
        let index = self.writer.block(INDEX, &packed)?;
        let mut meta = Vec::new();
        self.summary.encode(&mut meta);
        index.encode(&mut meta);
        self.writer.finish(&meta)?;
        Part::open(fs, &dir.join(self.summary.file_name()))
    }
}

fn put_listed(listed: Option<&Vec<u32>>, out: &mut Vec<u8>) {
    put_count(out, listed.map_or(0, |listed| listed.len() + 1));
    let mut previous = 0;
    for number in listed.into_iter().flatten() {
        put_varint(out, u64::from(number - previous));
        previous = *number;
    }
}

fn take_listed(reader: &mut Reader<'_>, end: usize) -> Result<Option<Vec<u32>>> {
    let Some(count) = reader.count(LISTED_MAX + 1)?.checked_sub(1) else { return Ok(None) };
    let mut listed = Vec::with_capacity(count);
    let mut previous = 0;
    for _ in 0..count {
        previous += reader.count(end)?;
        if previous >= end {
            return Err(Error::corrupt(format!("block lists number {previous} of {end}")));
        }
        listed.push(previous as u32);
    }
    Ok(Some(listed))
}

fn put_ref(at: BlockRef, out: &mut Vec<u8>) {
    put_varint(out, at.offset);
    put_varint(out, u64::from(at.len));
}

fn take_ref(reader: &mut Reader<'_>) -> Result<BlockRef> {
    Ok(BlockRef { offset: reader.varint()?, len: reader.count(u32::MAX as usize)? as u32 })
}

fn encode_index(index: &Index, out: &mut Vec<u8>) {
    put_count(out, index.texts.len());
    index.texts.iter().for_each(|text| put_bytes(out, text.as_bytes()));
    put_count(out, index.operations.len());
    for operation in &index.operations {
        put_varint(out, operation.service.map_or(0, |service| u64::from(service) + 1));
        put_varint(out, u64::from(operation.name));
        out.push(operation.kind);
    }
    put_count(out, index.keys.len());
    for (scope, key) in &index.keys {
        out.push(*scope as u8);
        put_varint(out, u64::from(*key));
    }
    put_count(out, index.blocks.len());
    for block in &index.blocks {
        put_varint(out, u64::from(block.rows));
        put_zigzag(out, block.min_ns);
        put_varint(out, block.max_ns.wrapping_sub(block.min_ns).cast_unsigned());
        put_zigzag(out, block.trace_start_max_ns);
        put_varint(out, block.duration_max_ns);
        block.pieces.iter().for_each(|at| put_ref(*at, out));
        put_listed(block.operations.as_ref(), out);
        put_listed(block.keys.as_ref(), out);
    }
    put_count(out, index.pages.len());
    for page in &index.pages {
        put_varint(out, page.first);
        put_count(out, page.count);
        put_ref(page.at, out);
    }
    if let Some(filter) = index.filter {
        put_ref(filter, out);
    }
    index.blocks.iter().filter_map(|block| block.values).for_each(|at| put_ref(at, out));
}

/// Reads what [`encode_index`] wrote.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt).
pub(crate) fn decode_index(bytes: &[u8]) -> Result<Index> {
    let mut reader = Reader::new(bytes);
    let r = &mut reader;
    let below = |r: &mut Reader<'_>, end: usize| {
        let number = r.count(end)?;
        let message = || Error::corrupt(format!("index names number {number} of {end}"));
        if number < end { Ok(number as u32) } else { Err(message()) }
    };
    let mut index = Index::default();
    for _ in 0..r.count(r.remaining())? {
        index.texts.push(r.str()?.into());
    }
    let texts = index.texts.len();
    for _ in 0..r.count(r.remaining() / 3)? {
        let service = match r.count(texts)? {
            0 => None,
            number => Some(number as u32 - 1),
        };
        let (name, kind) = (below(r, texts)?, r.u8()?);
        kind_of(kind.saturating_mul(3))?;
        index.operations.push(OperationOf { service, name, kind });
    }
    for _ in 0..r.count(r.remaining() / 2)? {
        let scope = *AttributeScope::ALL
            .get(r.u8()? as usize)
            .ok_or_else(|| Error::corrupt("unknown scope of an attribute"))?;
        index.keys.push((scope, below(r, texts)?));
    }
    for _ in 0..r.count(r.remaining() / 15)? {
        let rows = r.count(ROWS_MAX)? as u32;
        let min_ns = r.zigzag()?;
        let max_ns = min_ns.wrapping_add(r.varint()?.cast_signed());
        let (trace_start_max_ns, duration_max_ns) = (r.zigzag()?, r.varint()?);
        let pieces = [take_ref(r)?, take_ref(r)?, take_ref(r)?, take_ref(r)?];
        let operations = take_listed(r, index.operations.len())?;
        let keys = take_listed(r, index.keys.len())?;
        index.blocks.push(BlockMeta {
            rows,
            min_ns,
            max_ns,
            trace_start_max_ns,
            duration_max_ns,
            pieces,
            values: None,
            operations,
            keys,
            damaged: AtomicBool::new(false),
        });
    }
    for _ in 0..r.count(r.remaining() / 4)? {
        let (first, count) = (r.varint()?, r.count(PAGE_ENTRIES)?);
        index.pages.push(Page { first, count, at: take_ref(r)? });
    }
    index.filter = Some(take_ref(r)?);
    if r.remaining() > 0 {
        for block in &mut index.blocks {
            block.values = Some(take_ref(r)?);
        }
    }
    Ok(index)
}

/// A file of blocks, open for reading.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) summary: Summary,
    pub(crate) index: Index,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    filter: Filter,
    file: PartReader,
    damaged_count: AtomicU64,
    /// Classes of retention of its services, once somebody asked.
    pub(crate) classes: OnceLock<Classes>,
    /// Classes past their time of which no trace is left that is of them alone.
    pub(crate) looked_through: AtomicU16,
}

impl Part {
    /// Opens a part's file; reads its index and filter, no blocks.
    pub(crate) fn open(fs: &dyn Fs, path: &Path) -> Result<Self> {
        let file = PartReader::open(fs, path)?;
        let mut meta = Reader::new(file.meta());
        let summary = Summary::decode(&mut meta)?;
        let mut rest = meta.take(meta.remaining())?;
        let no_index = || Error::corrupt(format!("part {} has no index", path.display()));
        let at = BlockRef::decode(&mut rest).ok_or_else(no_index)?;
        let plain = blob::decompress_zstd(&file.block(at, INDEX)?, INDEX_BYTES_MAX)?;
        let index = decode_index(&plain)
            .map_err(|e| e.context(format!("index of part {}", path.display())))?;
        let filter = file.block(index.filter.ok_or_else(no_index)?, FILTER)?;
        let (bytes, filter) = (file.bytes(), Filter::decode(&filter));
        Ok(Self {
            summary,
            index,
            bytes,
            filter,
            file,
            damaged_count: AtomicU64::new(0),
            classes: OnceLock::new(),
            looked_through: AtomicU16::new(0),
        })
    }

    /// Bytes of memory that its filter takes.
    pub(crate) fn filter_bytes(&self) -> u64 {
        self.filter.memory_bytes() as u64
    }

    /// Blocks found damaged so far.
    pub(crate) fn damaged_blocks(&self) -> u64 {
        self.damaged_count.load(Ordering::Relaxed)
    }

    pub(crate) fn text(&self, text: u32) -> &str {
        &self.index.texts[text as usize]
    }

    fn piece(&self, block: usize, kind: u8) -> Result<Vec<u8>> {
        self.file.block(self.index.blocks[block].pieces[kind as usize - 1], kind)
    }

    /// Runs `read` on block `number`, or not at all if it is known to be damaged. Damage that `read` finds is noted, logged
    /// once, and no error: the rest is served.
    pub(crate) fn guard<R>(
        &self,
        number: usize,
        read: impl FnOnce() -> Result<R>,
    ) -> Result<Option<R>> {
        let meta = &self.index.blocks[number];
        if meta.damaged.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match read() {
            Ok(read) => Ok(Some(read)),
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                if !meta.damaged.swap(true, Ordering::Relaxed) {
                    self.damaged_count.fetch_add(1, Ordering::Relaxed);
                    let part = self.summary.file_name();
                    tracing::error!(part, error = %e, "trace block is damaged and left out");
                }
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// The core of a block.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) or [`Io`](ErrorKind::Io); so for all that read blocks.
    pub(crate) fn core(&self, block: usize) -> Result<Core> {
        Core::decode(&self.piece(block, CORE)?, self.index.blocks[block].rows as usize)
    }

    /// The filter of the values of a block's attributes, where it has one.
    pub(crate) fn values(&self, block: usize) -> Result<Option<Vec<u8>>> {
        let at = self.index.blocks[block].values;
        at.map(|at| self.file.block(at, VALUES)).transpose()
    }

    pub(crate) fn ids(&self, block: usize) -> Result<Vec<u64>> {
        block::decode_ids(&self.piece(block, IDS)?, self.index.blocks[block].rows as usize)
    }

    pub(crate) fn attributes(&self, block: usize) -> Result<AttributeColumns> {
        let bytes = self.piece(block, ATTRIBUTES)?;
        let rows = self.index.blocks[block].rows as usize;
        AttributeColumns::decode(&mut Reader::new(&bytes), rows)
    }

    pub(crate) fn rest(&self, block: usize) -> Result<Rest> {
        Rest::decode(&self.piece(block, REST)?, self.index.blocks[block].rows as usize)
    }

    /// Opens a block whose core is read already.
    pub(crate) fn open_block(
        &self,
        block: usize,
        core: Core,
        projection: Projection<'_>,
    ) -> Result<OpenBlock> {
        let (ids, attributes) = (self.ids(block)?, self.attributes(block)?);
        let rest = if projection.details { Some(self.rest(block)?) } else { None };
        Ok(OpenBlock { core, ids, attributes, rest })
    }

    /// Whether it may have spans of the trace: hardly ever when it has none.
    pub(crate) fn may_have(&self, trace_id: u128) -> bool {
        self.filter.may_have(filter::hash(trace_id))
    }

    /// Blocks that may have spans of the trace, ascending; hardly ever more than have some.
    pub(crate) fn blocks_of(&self, trace_id: u128) -> Result<Vec<usize>> {
        let hash = filter::hash(trace_id);
        if !self.filter.may_have(hash) {
            return Ok(Vec::new());
        }
        let wanted = filter::fingerprint(hash);
        let pages = &self.index.pages;
        // Equal fingerprints may go on from one page to the next.
        let end = pages.partition_point(|page| page.first <= wanted);
        let start = pages.partition_point(|page| page.first < wanted).saturating_sub(1);
        let mut found = Vec::new();
        for page in &pages[start..end] {
            let bytes = self.file.block(page.at, LOOKUP)?;
            let blocks = self.index.blocks.len();
            filter::find_in_page(&bytes, page.count, blocks, wanted, |b| found.push(b))?;
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Appends all spans of the trace to `out`; `after_block` says whether there may be more.
    pub(crate) fn read_trace(
        &self,
        trace_id: u128,
        out: &mut Rows,
        after_block: &mut dyn FnMut(&Rows) -> Result<()>,
    ) -> Result<()> {
        for block in self.blocks_of(trace_id)? {
            self.guard(block, || {
                let core = self.core(block)?;
                let of_trace = core.rows_of_trace(trace_id);
                if !of_trace.is_empty() {
                    let open = self.open_block(block, core, Projection::ALL)?;
                    open.read(of_trace, Projection::ALL, out)?;
                }
                Ok(())
            })?;
            after_block(out)?;
        }
        Ok(())
    }

    /// Reads a whole block.
    pub(crate) fn read_block(&self, block: usize) -> Result<(Core, Rows)> {
        let open = self.open_block(block, self.core(block)?, Projection::ALL)?;
        let mut rows = Rows::default();
        open.read(0..open.ids.len(), Projection::ALL, &mut rows)?;
        Ok((open.core, rows))
    }
}

/// The service of a resource as stored.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt).
pub(crate) fn service_of(resource: &[u8]) -> Result<Option<String>> {
    Ok(value::decode_resource(resource)?.service().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_without_filters_of_values_is_read() {
        let at = |offset| BlockRef { offset, len: 7 };
        for values in [None, Some(at(90))] {
            let block = BlockMeta {
                rows: 3,
                min_ns: 1,
                max_ns: 2,
                trace_start_max_ns: 2,
                duration_max_ns: 5,
                pieces: [at(10), at(20), at(30), at(40)],
                values,
                operations: None,
                keys: Some(Vec::new()),
                damaged: AtomicBool::new(false),
            };
            let index = Index { blocks: vec![block], filter: Some(at(50)), ..Index::default() };
            let mut bytes = Vec::new();
            encode_index(&index, &mut bytes);
            let read = decode_index(&bytes).unwrap();
            assert_eq!(read.blocks[0].values.map(|v| (v.offset, v.len)), values.map(|_| (90, 7)));
            assert_eq!(read.filter.map(|f| f.offset), Some(50));
        }
    }
}
