//! The newest rows, as they arrived: immutable chunks that readers share, sealed into blocks when they grow.
//!
//! Does not own: durability (the WAL holds every row here), nor when to seal (`engine`).

use std::sync::Arc;

use model::{Labels, LogRecord, Result};
use rustc_hash::FxHashMap;

use crate::column::Encoder;
use crate::part::{Builder, DAY_NS, Part, Summary};

/// How many chunks of similar size there are before they are put together.
const FAN_IN: usize = 8;
/// Chunks with so many bytes stay as they are: there cannot be many before the head is sealed.
const CHUNK_BYTES_ENOUGH: usize = 256 << 10;

/// Rows in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    text: String,
    rows: Vec<Row>,
    fields: Vec<Labels>,
    pub(crate) streams: Vec<Labels>,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
}

/// One row; its line begins where the previous one ends.
#[derive(Debug, Clone, Copy)]
struct Row {
    t_ns: i64,
    end: usize,
    stream: u32,
    /// Index into the chunk's fields; `u32::MAX` for none.
    fields: u32,
}

const NO_FIELDS: u32 = u32::MAX;

/// One row of a chunk, borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkRow<'a> {
    pub(crate) stream: u32,
    pub(crate) t_ns: i64,
    pub(crate) line: &'a str,
    pub(crate) fields: Option<&'a Labels>,
}

impl Chunk {
    /// The rows of one batch; `None` when it has none.
    pub(crate) fn new(records: &[LogRecord]) -> Option<Self> {
        let mut chunk =
            Self::with_capacity(records.len(), records.iter().map(|r| r.line.len()).sum());
        let mut stream_of = FxHashMap::default();
        for record in records {
            let same = chunk.rows.last().map(|r| r.stream).filter(|s| {
                chunk.streams.get(*s as usize).is_some_and(|l| l.same_allocation(&record.stream))
            });
            let stream = same.unwrap_or_else(|| chunk.stream(&record.stream, &mut stream_of));
            chunk.push(stream, record.t_ns, &record.line, Some(&record.fields));
        }
        (!chunk.rows.is_empty()).then_some(chunk)
    }

    fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
            rows: Vec::with_capacity(rows),
            fields: Vec::new(),
            streams: Vec::new(),
            min_ns: i64::MAX,
            max_ns: i64::MIN,
        }
    }

    fn stream(&mut self, labels: &Labels, stream_of: &mut FxHashMap<Labels, u32>) -> u32 {
        *stream_of.entry(labels.clone()).or_insert_with(|| {
            self.streams.push(labels.clone());
            self.streams.len() as u32 - 1
        })
    }

    fn push(&mut self, stream: u32, t_ns: i64, line: &str, fields: Option<&Labels>) {
        self.text.push_str(line);
        let fields = match fields.filter(|f| !f.is_empty()) {
            None => NO_FIELDS,
            Some(fields) => {
                if self.fields.last().is_none_or(|last| last != fields) {
                    self.fields.push(fields.clone());
                }
                self.fields.len() as u32 - 1
            }
        };
        self.rows.push(Row { t_ns, end: self.text.len(), stream, fields });
        self.min_ns = self.min_ns.min(t_ns);
        self.max_ns = self.max_ns.max(t_ns);
    }

    /// Several chunks as one, in order.
    fn concat(chunks: &[Arc<Self>]) -> Self {
        let rows = chunks.iter().map(|c| c.rows.len()).sum();
        let mut all = Self::with_capacity(rows, chunks.iter().map(|c| c.text.len()).sum());
        let mut stream_of = FxHashMap::default();
        for chunk in chunks {
            let numbers: Vec<u32> =
                chunk.streams.iter().map(|s| all.stream(s, &mut stream_of)).collect();
            for row in chunk.rows() {
                all.push(numbers[row.stream as usize], row.t_ns, row.line, row.fields);
            }
        }
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let fields: usize = self.fields.iter().map(|f| f.packed_len() + 32).sum();
        self.text.len() + self.rows.len() * size_of::<Row>() + fields
    }

    /// Row `i`.
    pub(crate) fn row(&self, i: usize) -> ChunkRow<'_> {
        let start = i.checked_sub(1).map_or(0, |before| self.rows[before].end);
        let row = &self.rows[i];
        ChunkRow {
            stream: row.stream,
            t_ns: row.t_ns,
            line: self.text.get(start..row.end).unwrap_or_default(),
            fields: self.fields.get(row.fields as usize),
        }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = ChunkRow<'_>> {
        (0..self.rows.len()).map(|i| self.row(i))
    }
}

/// Adds `chunk`; puts chunks of similar size together, so that there are few however small batches are.
pub(crate) fn push(chunks: &mut Vec<Arc<Chunk>>, chunk: Chunk) {
    chunks.push(Arc::new(chunk));
    while let Some(start) = chunks.len().checked_sub(FAN_IN) {
        let tier = |c: &Chunk| c.memory_bytes().checked_ilog2().unwrap_or(0) / 3;
        let last = chunks.last().map_or(0, |c| tier(c));
        let is_done = |c: &Arc<Chunk>| tier(c) > last || c.memory_bytes() >= CHUNK_BYTES_ENOUGH;
        if chunks[start..].iter().any(is_done) {
            return;
        }
        let merged = Chunk::concat(&chunks[start..]);
        chunks.truncate(start);
        chunks.push(Arc::new(merged));
    }
}

/// Encodes `chunks` into a part in memory per day, ascending; `next` gives each an id.
pub(crate) fn seal(
    chunks: &[Arc<Chunk>],
    encoder: &mut Encoder,
    mut next: impl FnMut() -> u64,
) -> Result<Vec<Part>> {
    let mut rows: Vec<(i64, u32, i64, u32, u32)> = Vec::new();
    let mut streams: Vec<&Labels> = chunks.iter().flat_map(|c| &c.streams).collect();
    streams.sort_unstable();
    streams.dedup();
    for (c, chunk) in chunks.iter().enumerate() {
        let ranks: Vec<u32> = chunk
            .streams
            .iter()
            .map(|s| streams.binary_search(&s).unwrap_or_default() as u32)
            .collect();
        rows.extend(chunk.rows.iter().enumerate().map(|(i, row)| {
            (row.t_ns.div_euclid(DAY_NS), ranks[row.stream as usize], row.t_ns, c as u32, i as u32)
        }));
    }
    // Chunk and row number come last: rows of equal time keep the order in which they arrived.
    rows.sort_unstable();
    let mut parts = Vec::new();
    for day in rows.chunk_by(|a, b| a.0 == b.0) {
        let id = next();
        let mut builder = Builder::memory(Summary::new(id, id, day[0].0));
        let none = Labels::default();
        for stream in day.chunk_by(|a, b| a.1 == b.1) {
            let number = builder.stream(streams[stream[0].1 as usize]);
            for (_, _, t_ns, c, i) in stream {
                let row = chunks[*c as usize].row(*i as usize);
                let fields = row.fields.unwrap_or(&none);
                builder.push(encoder, number, *t_ns, row.line.as_bytes(), fields)?;
            }
        }
        parts.push(builder.finish_memory(encoder)?);
    }
    Ok(parts)
}
