//! The newest rows, as they arrived: immutable chunks that readers share, sealed into blocks when they grow.
//!
//! Does not own: durability (the WAL holds every row here), nor when to seal (`engine`).

use std::sync::Arc;

use model::{Labels, LogRows, Result};

use crate::column::Encoder;
use crate::part::{Builder, DAY_NS, Part, Summary};
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
}

impl Chunk {
    /// The rows of one batch; `None` when it has none.
    pub(crate) fn new(rows: LogRows) -> Option<Self> {
        let times = || (0..rows.len()).map(|i| rows.t_ns(i));
        let (min_ns, max_ns) = (times().min()?, times().max()?);
        Some(Self { rows, min_ns, max_ns })
    }

    /// Several chunks as one, in order.
    fn concat(chunks: &[Arc<Self>]) -> Self {
        let count = chunks.iter().map(|c| c.rows.len()).sum();
        let bytes = chunks.iter().map(|c| c.rows.line_bytes()).sum();
        let mut rows = LogRows::with_capacity(count, bytes);
        chunks.iter().for_each(|chunk| rows.append(&chunk.rows));
        let min_ns = chunks.iter().map(|c| c.min_ns).min().unwrap_or(i64::MAX);
        let max_ns = chunks.iter().map(|c| c.max_ns).max().unwrap_or(i64::MIN);
        Self { rows, min_ns, max_ns }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
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

/// Encodes `chunks` into a part in memory per day and class of retention, ascending; `next` gives each an id.
pub(crate) fn seal(
    chunks: &[Arc<Chunk>],
    retention: &Retention,
    encoder: &mut Encoder,
    mut next: impl FnMut() -> u64,
) -> Result<Vec<Part>> {
    let mut rows: Vec<(i64, u32, i64, u32, u32)> = Vec::new();
    let mut streams: Vec<&Labels> = chunks.iter().flat_map(|c| c.rows.streams()).collect();
    streams.sort_unstable();
    streams.dedup();
    let classes: Vec<usize> = streams.iter().map(|s| retention.class(s)).collect();
    for (c, chunk) in chunks.iter().enumerate() {
        let own = chunk.rows.streams().iter();
        let ranks: Vec<u32> =
            own.map(|s| streams.binary_search(&s).unwrap_or_default() as u32).collect();
        rows.extend((0..chunk.len()).map(|i| {
            let (t_ns, stream) = (chunk.rows.t_ns(i), chunk.rows.stream_number(i));
            (t_ns.div_euclid(DAY_NS), ranks[stream as usize], t_ns, c as u32, i as u32)
        }));
    }
    // Chunk and row number come last: rows of equal time keep the order in which they arrived.
    rows.sort_unstable();
    let mut parts = Vec::new();
    for day in rows.chunk_by(|a, b| a.0 == b.0) {
        let of_day = day.chunk_by(|a, b| a.1 == b.1);
        let mut present: Vec<usize> = of_day.clone().map(|s| classes[s[0].1 as usize]).collect();
        present.sort_unstable();
        present.dedup();
        for class in present {
            let id = next();
            let mut builder = Builder::memory(Summary::new(id, id, day[0].0));
            for stream in of_day.clone().filter(|s| classes[s[0].1 as usize] == class) {
                let number = builder.stream(streams[stream[0].1 as usize]);
                for (_, _, t_ns, c, i) in stream {
                    let row = chunks[*c as usize].rows.row(*i as usize);
                    builder.push(encoder, number, *t_ns, row.line.as_bytes(), row.fields)?;
                }
            }
            parts.push(builder.finish_memory(encoder)?);
        }
    }
    Ok(parts)
}
