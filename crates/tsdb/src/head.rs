//! The head: active series ([`registry`](crate::registry)) and the samples that are not in a part yet.
//!
//! Owns: what readers see, behind one lock that is held for a batch's insertion or a snapshot's reference counts, never
//! for decoding. Does not own: what the writer notes down for the next batch ([`engine`](crate::engine)).
//!
//! Samples of a target are rows of bytes ([`row`](crate::row)) for the last scrapes, and before them frames: up to 64
//! scrapes turned into packed columns that share their timestamps. Samples that fit no row (out of order, with times of
//! their own) are `loose`: kept per series in order of arrival, of which the last one counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Result;
use storage::codec::Reader;

use crate::column::{self, Column};
use crate::cuts::Tombstone;
use crate::histograms::HeadHistograms;
use crate::part::Part;
use crate::registry::Registry;
use crate::row::{self, RowState};
use crate::seal;

/// Columns a target may have; more arrive as further samples of the same source would: refused by the series limit.
pub(crate) const COLUMNS_MAX: usize = 1 << 24;

/// What a loose sample takes in memory.
pub(crate) const LOOSE_BYTES: usize = 16;

/// One scrape that is not sealed yet.
#[derive(Debug, Clone)]
pub(crate) struct TailRow {
    /// Unix milliseconds.
    pub(crate) t_ms: i64,
    /// Whether it starts a row chain, as the first of a tail always does.
    pub(crate) keyframe: bool,
    /// The encoded row.
    pub(crate) bytes: Arc<[u8]>,
}

impl TailRow {
    /// Makes `state`, the one after the row before, the one after this row.
    pub(crate) fn decode(&self, state: &mut RowState) -> Result<()> {
        if self.keyframe {
            state.clear();
        }
        state.decode(&mut Reader::new(&self.bytes), COLUMNS_MAX)
    }

    /// Bytes it takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.len() + size_of::<Self>() + 16
    }
}

/// Some consecutive scrapes of a target as packed columns.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Their times.
    pub(crate) times: Arc<[i64]>,
    ends: Vec<u32>,
    data: Vec<u8>,
}

impl Frame {
    /// Packs the rows of a tail.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when a row does not decode.
    pub(crate) fn seal(tail: &[TailRow]) -> Result<Self> {
        let rows = tail.iter().map(|row| (row.keyframe, &*row.bytes));
        let (ends, data) = seal::turn(rows, COLUMNS_MAX)?;
        Ok(Self { times: tail.iter().map(|row| row.t_ms).collect(), ends, data })
    }

    /// Values of column `c`; empty for columns that came later.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when it does not decode.
    pub(crate) fn column(&self, c: usize) -> Result<Column> {
        let rows = self.times.len();
        let Some(bytes) = self.bytes(c) else {
            let mut none = Column::default();
            none.finish(rows);
            return Ok(none);
        };
        column::decode(&mut Reader::new(bytes), rows)
    }

    /// The columns `kept`, numbered anew in their order.
    pub(crate) fn pick(&self, kept: &[u32]) -> Self {
        let (mut data, mut ends) = (Vec::new(), Vec::with_capacity(kept.len()));
        for c in kept.iter().map(|c| *c as usize) {
            let end = self.ends.get(c).map_or(0, |end| *end as usize);
            let start = if c == 0 { 0 } else { self.ends.get(c - 1).map_or(end, |s| *s as usize) };
            match self.data.get(start..end) {
                Some(column) if !column.is_empty() => data.extend_from_slice(column),
                // The column came after this frame.
                _ => column::encode(&Column::default(), &mut data),
            }
            ends.push(u32::try_from(data.len()).unwrap_or(u32::MAX));
        }
        Self { times: Arc::clone(&self.times), ends, data }
    }

    /// The encoded column `c`; none for columns that came later.
    pub(crate) fn bytes(&self, c: usize) -> Option<&[u8]> {
        let end = self.ends.get(c)?;
        let start = if c == 0 { 0 } else { self.ends[c - 1] };
        self.data.get(start as usize..*end as usize)
    }

    /// Bytes it takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.data.capacity() + self.ends.capacity() * 4 + self.times.len() * 8
    }
}

/// Values of the columns `wanted` (ascending) in the rows of a tail.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) when a row does not decode.
pub(crate) fn tail_columns(tail: &[TailRow], wanted: &[u32]) -> Result<Vec<Column>> {
    let mut columns = vec![Column::default(); wanted.len()];
    let mut state = RowState::default();
    for (row, scrape) in tail.iter().enumerate() {
        scrape.decode(&mut state)?;
        for (column, c) in columns.iter_mut().zip(wanted) {
            if state.present().get(*c as usize) {
                column.push(row, f64::from_bits(state.values()[*c as usize]));
            }
        }
    }
    columns.iter_mut().for_each(|column| column.finish(tail.len()));
    Ok(columns)
}

/// For each of the columns `wanted`, whether it has a value in a row of the tail inside `[start_ms, end_ms]`.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) when a row does not decode.
pub(crate) fn tail_presence(
    tail: &[TailRow],
    wanted: &[u32],
    (start_ms, end_ms): (i64, i64),
) -> Result<Vec<bool>> {
    let mut found = vec![false; wanted.len()];
    let mut present = crate::bitmap::Bitmap::default();
    for scrape in tail {
        row::presence(&scrape.bytes, &mut present, COLUMNS_MAX)?;
        if (start_ms..=end_ms).contains(&scrape.t_ms) {
            for (found, c) in found.iter_mut().zip(wanted) {
                *found |= present.get(*c as usize);
            }
        }
    }
    Ok(found)
}

/// Unflushed samples of one source.
#[derive(Debug, Clone, Default)]
pub(crate) struct TargetSamples {
    /// The source's.
    pub(crate) key: Arc<str>,
    /// Sealed scrapes, in order of time.
    pub(crate) frames: Vec<Arc<Frame>>,
    /// The scrapes after them.
    pub(crate) tail: Vec<TailRow>,
    /// How many of each, from the front, a flush is writing.
    pub(crate) frozen: (usize, usize),
}

impl TargetSamples {
    /// Bytes they take in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let frames: usize = self.frames.iter().map(|frame| frame.memory_bytes()).sum();
        frames + self.tail.iter().map(TailRow::memory_bytes).sum::<usize>()
    }
}

/// Everything readers see.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Active series.
    pub(crate) registry: Registry,
    /// Samples by number of target.
    pub(crate) targets: Vec<TargetSamples>,
    /// Loose samples `(Unix milliseconds, bits)` by number of series, in order of arrival.
    pub(crate) loose: BTreeMap<u32, Vec<(i64, u64)>>,
    /// Native histograms by number of series.
    pub(crate) histograms: BTreeMap<u32, HeadHistograms>,
    /// Deletions that some part may still need, ascending by number.
    pub(crate) tombstones: Vec<Arc<Tombstone>>,
    /// Live parts, by ascending last sequence number.
    pub(crate) parts: Vec<Arc<Part>>,
    /// Samples not flushed.
    pub(crate) samples: u64,
    /// Bytes they take in memory.
    pub(crate) sample_bytes: u64,
}

/// Loose samples in order of time, of each time the one that came last.
pub(crate) fn settle(samples: &[(i64, u64)]) -> (Vec<i64>, Vec<f64>) {
    let mut sorted = samples.to_vec();
    sorted.sort_by_key(|(t, _)| *t);
    let last_of_time = sorted.chunk_by(|a, b| a.0 == b.0).filter_map(|same| same.last());
    last_of_time.map(|(t, bits)| (*t, f64::from_bits(*bits))).unzip()
}
