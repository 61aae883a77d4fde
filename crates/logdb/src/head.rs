//! The newest rows, as they arrived: immutable chunks that readers share, sealed into blocks when they grow.
//!
//! Does not own: durability (the WAL holds every row here), nor when to seal (`engine`).

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use model::{Labels, LogRows, Result};

use crate::column::Encoder;
use crate::part::{Builder, DAY_NS, Part, Summary};
use crate::patterns::coded::RowPatterns;
use crate::patterns::known::Known;
use crate::retention::Retention;

/// How many chunks of similar size there are before they are put together.
const FAN_IN: usize = 8;
/// Chunks with so many bytes stay as they are: there cannot be many before the head is sealed.
const CHUNK_BYTES_ENOUGH: usize = 256 << 10;

/// Rows in order of arrival, at least one.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) rows: LogRows,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    bytes: usize,
    /// Which pattern each row has, once somebody asked.
    patterns: OnceLock<RowPatterns>,
}

impl Chunk {
    /// The rows of one batch; `None` when it has none.
    pub(crate) fn new(rows: LogRows) -> Option<Self> {
        let times = || (0..rows.len()).map(|i| rows.t_ns(i));
        let (min_ns, max_ns) = (times().min()?, times().max()?);
        let bytes = rows.memory_bytes();
        Some(Self { rows, min_ns, max_ns, bytes, patterns: OnceLock::new() })
    }

    /// Several chunks as one, in order.
    fn concat(chunks: &[Arc<Self>]) -> Self {
        let count = chunks.iter().map(|c| c.rows.len()).sum();
        let bytes = chunks.iter().map(|c| c.rows.line_bytes()).sum();
        let mut rows = LogRows::with_capacity(count, bytes);
        chunks.iter().for_each(|chunk| rows.append(&chunk.rows));
        let min_ns = chunks.iter().map(|c| c.min_ns).min().unwrap_or(i64::MAX);
        let max_ns = chunks.iter().map(|c| c.max_ns).max().unwrap_or(i64::MIN);
        let bytes = rows.memory_bytes();
        Self { rows, min_ns, max_ns, bytes, patterns: OnceLock::new() }
    }

    /// Which pattern each row has.
    pub(crate) fn patterns(&self) -> &RowPatterns {
        let lines = || (0..self.len()).map(|row| self.rows.row(row).line.as_bytes());
        self.patterns.get_or_init(|| RowPatterns::of_lines(lines()))
    }

    /// Finds the patterns, unless they are found, and compares them with those before.
    pub(crate) fn teach(&self, known: &Known) {
        if self.patterns.get().is_none() {
            self.patterns().teach(known);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes
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

/// A row on its way into a block.
///
/// Its line stays where it is until its turn comes: rows of a stream mostly stand beside each other in a chunk.
struct Queued {
    t_ns: i64,
    /// Its chunk, and the number of its fields there.
    chunk: u32,
    fields: u32,
    /// Where its line begins in the chunk's text, and its bytes.
    start: usize,
    len: usize,
}

/// Encodes `chunks` into a part in memory per day and class of retention, ascending; `next` gives each an id.
///
/// Cost: 32 bytes per row while it works.
pub(crate) fn seal(
    chunks: &[Arc<Chunk>],
    retention: &Retention,
    known: &Arc<Known>,
    encoder: &mut Encoder,
    mut next: impl FnMut() -> u64,
) -> Result<Vec<Part>> {
    let mut streams: Vec<&Labels> = chunks.iter().flat_map(|c| c.rows.streams()).collect();
    streams.sort_unstable();
    streams.dedup();
    let classes: Vec<usize> = streams.iter().map(|s| retention.class(s)).collect();
    let ranks_of = |chunk: &Chunk| -> Vec<usize> {
        let own = chunk.rows.streams().iter();
        own.map(|s| streams.binary_search(&s).unwrap_or_default()).collect()
    };
    let ranks: Vec<Vec<usize>> = chunks.iter().map(|chunk| ranks_of(chunk)).collect();
    // By rank of the stream.
    let mut queues = queues(chunks, &ranks, streams.len());
    let mut days = BTreeSet::new();
    for (c, (chunk, ranks)) in chunks.iter().zip(&ranks).enumerate() {
        let mut start = 0;
        for i in 0..chunk.len() {
            let (t_ns, len) = (chunk.rows.t_ns(i), chunk.rows.line_len(i));
            let fields = chunk.rows.fields_number(i);
            let queue = &mut queues[ranks[chunk.rows.stream_number(i) as usize]];
            queue.push(Queued { t_ns, chunk: c as u32, fields, start, len });
            start += len;
        }
        days.extend([chunk.min_ns, chunk.max_ns].map(day_of));
    }
    // Stable: rows of equal time keep the order in which they arrived.
    queues.iter_mut().for_each(|queue| queue.sort_by_key(|row| row.t_ns));
    if days.len() > 1 {
        days.extend(queues.iter().flatten().map(|row| day_of(row.t_ns)));
    }
    let mut parts = Vec::new();
    for day in days {
        let of_day = |queue: &Vec<Queued>| {
            let start = queue.partition_point(|row| day_of(row.t_ns) < day);
            start..queue.partition_point(|row| day_of(row.t_ns) <= day)
        };
        let ranges: Vec<Range<usize>> = queues.iter().map(of_day).collect();
        let present: BTreeSet<usize> =
            classes.iter().zip(&ranges).filter(|(_, r)| !r.is_empty()).map(|(c, _)| *c).collect();
        for class in present {
            let id = next();
            let mut builder = Builder::memory(Arc::clone(known), Summary::new(id, id, day));
            for (rank, queue) in queues.iter().enumerate() {
                if classes[rank] != class || ranges[rank].is_empty() {
                    continue;
                }
                let number = builder.stream(streams[rank]);
                for row in &queue[ranges[rank].clone()] {
                    let rows = &chunks[row.chunk as usize].rows;
                    let line = &rows.text().as_bytes()[row.start..row.start + row.len];
                    let fields = &rows.field_sets()[row.fields as usize];
                    builder.push(encoder, number, row.t_ns, line, fields)?;
                }
            }
            parts.push(builder.finish_memory(encoder)?);
        }
    }
    Ok(parts)
}

/// Empty queues with room for what comes: those that grow are copied over and over.
fn queues(chunks: &[Arc<Chunk>], ranks: &[Vec<usize>], streams: usize) -> Vec<Vec<Queued>> {
    let mut counts = vec![0; streams];
    for (chunk, ranks) in chunks.iter().zip(ranks) {
        for i in 0..chunk.len() {
            counts[ranks[chunk.rows.stream_number(i) as usize]] += 1;
        }
    }
    counts.into_iter().map(Vec::with_capacity).collect()
}

fn day_of(t_ns: i64) -> i64 {
    t_ns.div_euclid(DAY_NS)
}
