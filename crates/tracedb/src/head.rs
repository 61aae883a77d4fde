//! The newest spans, as they arrived: immutable chunks that readers share, and what of them is known by key.
//!
//! Does not own: durability (the WAL holds every span here), nor when to flush (`engine`).

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};
use model::{Result, SpanKind};
use rustc_hash::FxHashSet;

use crate::block::Core;
use crate::part::{Builder, Part};
use crate::record::kind_of;
use crate::rows::{Renumbering, Row, Rows};

/// How many chunks of similar size there are before they are put together.
const FAN_IN: usize = 8;
/// Chunks with so many rows stay as they are.
const CHUNK_ROWS_ENOUGH: usize = 1 << 10;

/// Spans in order of arrival, at least one.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) rows: Rows,
    /// Rows by trace, in order of arrival within each.
    by_trace: Vec<u32>,
    /// When rows arrived, Unix milliseconds: the row behind the last of each time.
    arrivals: Vec<(u32, i64)>,
    /// First and last start.
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    bytes: u64,
}

impl Chunk {
    /// `None` when there are no rows.
    pub(crate) fn new(rows: Rows, arrived_ms: i64) -> Option<Self> {
        let arrivals = vec![(rows.len() as u32, arrived_ms)];
        Self::with_arrivals(rows, arrivals)
    }

    /// Likewise; the last of `arrivals` ends with the rows.
    pub(crate) fn with_arrivals(rows: Rows, arrivals: Vec<(u32, i64)>) -> Option<Self> {
        let starts = || rows.rows.iter().map(|row| row.start_ns);
        let (min_ns, max_ns) = (starts().min()?, starts().max()?);
        let mut by_trace: Vec<u32> = (0..rows.len() as u32).collect();
        by_trace.sort_unstable_by_key(|i| (rows.rows[*i as usize].trace_id, *i));
        let bytes = (rows.memory_bytes() + rows.len() * (size_of::<u32>() + SEEN_BYTES)) as u64;
        Some(Self { rows, by_trace, arrivals, min_ns, max_ns, bytes })
    }

    fn concat(chunks: &[Arc<Self>]) -> Option<Self> {
        let (mut rows, mut arrivals) = (Rows::default(), Vec::new());
        for chunk in chunks {
            let mut map = Renumbering::new(&chunk.rows);
            let before = rows.len() as u32;
            (0..chunk.rows.len()).for_each(|row| rows.push_from(&chunk.rows, row, &mut map));
            arrivals.extend(chunk.arrivals.iter().map(|(end, ms)| (before + end, *ms)));
        }
        Self::with_arrivals(rows, arrivals)
    }

    /// When `row` arrived, Unix milliseconds.
    pub(crate) fn arrived_ms(&self, row: usize) -> i64 {
        let at = self.arrivals.partition_point(|(end, _)| *end as usize <= row);
        self.arrivals.get(at).map_or(0, |(_, ms)| *ms)
    }

    /// Rows of the trace.
    pub(crate) fn rows_of(&self, trace_id: u128) -> &[u32] {
        let id = |row: &u32| self.rows.rows[*row as usize].trace_id;
        let start = self.by_trace.partition_point(|row| id(row) < trace_id);
        let len = self.by_trace[start..].partition_point(|row| id(row) == trace_id);
        &self.by_trace[start..start + len]
    }

    /// Bytes of memory it takes, about, with what is known of its spans by key.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.bytes
    }
}

/// Adds `chunk`; puts chunks of similar size together, so that there are few however small batches are.
pub(crate) fn push(chunks: &mut Vec<Arc<Chunk>>, chunk: Chunk) {
    chunks.push(Arc::new(chunk));
    while let Some(start) = chunks.len().checked_sub(FAN_IN) {
        let tier = |c: &Chunk| c.rows.len().checked_ilog2().unwrap_or(0) / 3;
        let last = chunks.last().map_or(0, |c| tier(c));
        let is_done = |c: &Arc<Chunk>| tier(c) > last || c.rows.len() >= CHUNK_ROWS_ENOUGH;
        if chunks[start..].iter().any(is_done) {
            return;
        }
        let Some(merged) = Chunk::concat(&chunks[start..]) else { return };
        chunks.truncate(start);
        chunks.push(Arc::new(merged));
    }
}

/// Writes the rows of `chunks` whose traces are wanted, in the order of parts.
pub(crate) fn write(
    chunks: &[Arc<Chunk>],
    is_wanted: &dyn Fn(u128) -> bool,
    builder: &mut Builder,
) -> Result<()> {
    let count = chunks.iter().map(|c| c.rows.len()).sum();
    let mut starts: HashMap<u128, i64, RandomState> = HashMap::default();
    for row in chunks.iter().flat_map(|c| &c.rows.rows) {
        let start = starts.entry(row.trace_id).or_insert(row.start_ns);
        *start = row.start_ns.min(*start);
    }
    let mut order = Vec::with_capacity(count);
    for (number, chunk) in chunks.iter().enumerate() {
        let wanted = chunk.rows.rows.iter().enumerate().filter(|(_, row)| is_wanted(row.trace_id));
        for (index, row) in wanted {
            let trace_start_ns = starts[&row.trace_id];
            order.push((trace_start_ns, row.trace_id, row.start_ns, number as u32, index as u32));
        }
    }
    order.sort_unstable();
    for (trace_start_ns, _, _, chunk, row) in order {
        let rows = &chunks[chunk as usize].rows;
        builder.push(chunk as usize, rows, row as usize, trace_start_ns)?;
    }
    Ok(())
}

/// Blocks of parts that are kept while spans sent again are looked for; about a megabyte each.
const BLOCKS_OPEN: usize = 8;

/// Bytes of memory by which a row is known.
const SEEN_BYTES: usize = size_of::<Key>() + 8;

/// What a span is known by: one with an equal key is the same span, sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    trace_id: u128,
    span_id: u64,
    start_ns: i64,
    kind: SpanKind,
}

impl Key {
    fn of(row: &Row) -> Self {
        let Row { trace_id, span_id, start_ns, kind, .. } = *row;
        Self { trace_id, span_id, start_ns, kind }
    }
}

/// What says which spans a block has.
type CoreAndIds = (Core, Vec<u64>);

/// Keys of the spans in the head, and of those in parts whose traces go on in the head.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    keys: Vec<Key>,
    table: HashTable<u32>,
    hasher: RandomState,
    /// Traces of parts whose keys are here.
    loaded: FxHashSet<(u64, u128)>,
    /// Blocks read lately, by part and number.
    blocks: VecDeque<((u64, usize), Arc<CoreAndIds>)>,
}

impl Seen {
    /// Removes rows whose spans are in the head or in one of `parts`; returns their numbers, ascending.
    ///
    /// Cost: a lookup per span and part that has spans of its time; a read per block with traces that go on.
    pub(crate) fn remove_repeated(&mut self, rows: &mut Rows, parts: &[Arc<Part>]) -> Vec<u32> {
        for row in &rows.rows {
            for part in parts {
                let summary = &part.summary;
                if (summary.min_ns..=summary.max_ns).contains(&row.start_ns)
                    && let Err(e) = self.load(part, row.trace_id)
                {
                    // Better stored twice than not at all.
                    let part = summary.file_name();
                    tracing::warn!(part, error = %e, "spans sent again could not be looked for");
                }
            }
        }
        let (mut repeated, mut number) = (Vec::new(), 0);
        rows.rows.retain(|row| {
            let is_new = self.insert(Key::of(row));
            if !is_new {
                repeated.push(number);
            }
            number += 1;
            is_new
        });
        repeated
    }

    /// `false` when it is known.
    fn insert(&mut self, key: Key) -> bool {
        let Self { keys, table, hasher, .. } = self;
        let hash = hasher.hash_one(key);
        if table.find(hash, |i| keys[*i as usize] == key).is_some() {
            return false;
        }
        table.insert_unique(hash, keys.len() as u32, |i| hasher.hash_one(keys[*i as usize]));
        keys.push(key);
        true
    }

    fn load(&mut self, part: &Part, trace_id: u128) -> Result<()> {
        if !part.may_have(trace_id) || !self.loaded.insert((part.summary.id, trace_id)) {
            return Ok(());
        }
        for block in part.blocks_of(trace_id)? {
            let Some(open) = self.open(part, block)? else { continue };
            let (core, ids) = &*open;
            let runs = core.runs.iter().enumerate();
            for (number, _) in runs.filter(|(_, run)| run.trace_id == trace_id) {
                for row in core.rows_of(number) {
                    let (kind, _) = kind_of(core.kinds[row])?;
                    let (span_id, start_ns) = (ids[row], core.starts_ns[row]);
                    self.insert(Key { trace_id, span_id, start_ns, kind });
                }
            }
        }
        Ok(())
    }

    /// Core and span ids of a block. Traces that go on after a flush are mostly in the same ones.
    fn open(&mut self, part: &Part, block: usize) -> Result<Option<Arc<CoreAndIds>>> {
        let key = (part.summary.id, block);
        if let Some((_, open)) = self.blocks.iter().find(|(known, _)| *known == key) {
            return Ok(Some(Arc::clone(open)));
        }
        let read = || Ok((part.core(block)?, part.ids(block)?));
        let Some(read) = part.guard(block, read)? else { return Ok(None) };
        let open = Arc::new(read);
        if self.blocks.len() == BLOCKS_OPEN {
            self.blocks.pop_front();
        }
        self.blocks.push_back((key, Arc::clone(&open)));
        Ok(Some(open))
    }

    /// Knows spans that stay in the head.
    pub(crate) fn insert_all(&mut self, rows: &Rows) {
        for row in &rows.rows {
            self.insert(Key::of(row));
        }
    }

    /// Forgets everything, the spans being in parts now; keeps the room, for the next ones are about as many.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.table.clear();
        self.loaded.clear();
        self.blocks.clear();
    }
}
