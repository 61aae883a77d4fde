//! Reading samples of parts, and joining what several places know about one series.
//!
//! Owns: pieces of series and how they are merged. Does not own: which series are wanted ([`select`](crate::select)).

use std::sync::Arc;

use model::{Labels, Result};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::column::Column;
use crate::index::{Index, Target};
use crate::page::{Packed, SERIES_MAX};
use crate::part::{BlockCache, Part};

/// Some samples of one series; never empty, times strictly ascending.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Unix milliseconds; shared by the series of a target.
    pub(crate) times: Arc<[i64]>,
    /// Values at these times.
    pub(crate) values: Vec<f64>,
}

/// Pieces of one series, those that count less first.
pub(crate) type Pieces = SmallVec<[Piece; 2]>;

/// Rows `[low, high)` of shared timestamps that lie in the wanted range, and their times.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    low: usize,
    high: usize,
    rows: usize,
    times: Arc<[i64]>,
}

impl Window {
    /// Cuts `times` to `[start_ms, end_ms]`.
    pub(crate) fn new(times: &[i64], start_ms: i64, end_ms: i64) -> Self {
        let low = times.partition_point(|t| *t < start_ms);
        let high = times.partition_point(|t| *t <= end_ms).max(low);
        Self { low, high, rows: times.len(), times: times[low..high].into() }
    }

    /// Whether no row is inside.
    pub(crate) fn is_empty(&self) -> bool {
        self.low == self.high
    }

    /// The rows inside: `[low, high)`.
    pub(crate) fn rows(&self) -> (usize, usize) {
        (self.low, self.high)
    }

    /// The times inside.
    pub(crate) fn times(&self) -> &[i64] {
        &self.times
    }

    /// The same, shared.
    pub(crate) fn shared_times(&self) -> Arc<[i64]> {
        Arc::clone(&self.times)
    }

    /// The part of `column` that is inside; `None` when it has no value there.
    pub(crate) fn cut(&self, column: Column) -> Option<Piece> {
        let column = if self.high - self.low == self.rows {
            column
        } else {
            column.slice(self.low, self.high)
        };
        if column.values.is_empty() {
            return None;
        }
        let times = match &column.valid {
            Some(valid) if column.values.len() < self.times.len() => {
                valid.ones().map(|row| self.times[row]).collect()
            }
            _ => Arc::clone(&self.times),
        };
        Some(Piece { times, values: column.values })
    }
}

/// Reads one part for one query.
#[derive(Debug)]
pub(crate) struct PartScan<'a> {
    part: &'a Part,
    /// Its index.
    pub(crate) index: Arc<Index>,
    start_ms: i64,
    end_ms: i64,
    cache: BlockCache,
    windows: FxHashMap<usize, Window>,
}

impl<'a> PartScan<'a> {
    /// A scan for samples in `[start_ms, end_ms]`.
    ///
    /// # Errors
    /// As [`Part::index`].
    pub(crate) fn new(part: &'a Part, start_ms: i64, end_ms: i64) -> Result<Self> {
        let index = part.index()?;
        let (cache, windows) = (BlockCache::default(), FxHashMap::default());
        Ok(Self { part, index, start_ms, end_ms, cache, windows })
    }

    /// The rows of chunk `chunk` of `target` that are wanted.
    ///
    /// # Errors
    /// As [`Part::times`].
    pub(crate) fn window(&mut self, target: &Target, chunk: usize) -> Result<Window> {
        let number = target.times_page(chunk);
        if let Some(window) = self.windows.get(&number) {
            return Ok(window.clone());
        }
        let times = self.part.times(&self.index, target, chunk, &mut self.cache)?;
        let window = Window::new(&times, self.start_ms, self.end_ms);
        self.windows.insert(number, window.clone());
        Ok(window)
    }

    /// Calls `found(position in offsets, piece)` for the series at `offsets` behind the target's first, all of one
    /// stripe; pieces of one series come in order of time.
    ///
    /// # Errors
    /// As [`Part::with_page`], or what `found` returns.
    pub(crate) fn stripe(
        &mut self,
        target: &Target,
        offsets: &[usize],
        found: &mut dyn FnMut(usize, Piece) -> Result<()>,
    ) -> Result<()> {
        let Some(&first) = offsets.first() else { return Ok(()) };
        for chunk in 0..target.chunks() {
            let window = self.window(target, chunk)?;
            if window.is_empty() {
                continue;
            }
            let index = Arc::clone(&self.index);
            self.part.with_page(&index, target, (first, chunk), &mut self.cache, |page| {
                for (k, offset) in offsets.iter().enumerate() {
                    if let Some(piece) = window.cut(page.column(offset % SERIES_MAX)?) {
                        found(k, piece)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The columns of the stripe with the series `offset` behind the target's first, in chunk `chunk`, as they are encoded.
    ///
    /// # Errors
    /// As [`Part::with_page`].
    pub(crate) fn packed(
        &mut self,
        target: &Target,
        (offset, chunk): (usize, usize),
    ) -> Result<Vec<Packed>> {
        let index = Arc::clone(&self.index);
        self.part.with_page(&index, target, (offset, chunk), &mut self.cache, |page| {
            (0..page.len()).map(|slot| page.packed(slot)).collect()
        })
    }

    /// Of the series at `offsets` of one stripe, calls `found(position)` for those with a sample in range.
    ///
    /// # Errors
    /// As [`stripe`](Self::stripe).
    pub(crate) fn presence(
        &mut self,
        target: &Target,
        offsets: &[usize],
        found: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let Some(&first) = offsets.first() else { return Ok(()) };
        let mut open: Vec<(usize, usize)> = offsets.iter().copied().enumerate().collect();
        for chunk in 0..target.chunks() {
            let window = self.window(target, chunk)?;
            if window.is_empty() || open.is_empty() {
                continue;
            }
            let index = Arc::clone(&self.index);
            self.part.with_page(&index, target, (first, chunk), &mut self.cache, |page| {
                let mut still = Vec::new();
                for &(k, offset) in &open {
                    if page.has_value(offset % SERIES_MAX, window.low, window.high)? {
                        found(k);
                    } else {
                        still.push((k, offset));
                    }
                }
                open = still;
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Groups ascending series numbers by target and stripe: `f(target, offsets)`.
///
/// # Errors
/// What `f` returns.
pub(crate) fn by_stripe(
    index: &Index,
    ids: impl Iterator<Item = u32>,
    mut f: impl FnMut(&Target, &[usize]) -> Result<()>,
) -> Result<()> {
    let mut offsets: Vec<usize> = Vec::with_capacity(SERIES_MAX);
    let mut current: Option<&Target> = None;
    for id in ids {
        let id = id as usize;
        let inside = current.is_some_and(|t| id < t.first_series + t.series);
        let same_stripe = |target: &Target, first: usize| {
            (id - target.first_series) / SERIES_MAX == first / SERIES_MAX
        };
        match (current, offsets.first()) {
            (Some(target), Some(&first)) if inside && same_stripe(target, first) => {}
            (Some(target), Some(_)) => {
                f(target, &offsets)?;
                offsets.clear();
            }
            _ => {}
        }
        if !inside {
            current = index.target_of(id);
        }
        if let Some(target) = current {
            offsets.push(id - target.first_series);
        }
    }
    match current {
        Some(target) if !offsets.is_empty() => f(target, &offsets),
        _ => Ok(()),
    }
}

/// Where the times of some pieces are in memory.
type Addresses = SmallVec<[usize; 4]>;

/// Joins pieces, and lets series with the same pieces share the joined times, too.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    /// By the addresses of the joined allocations, which it keeps alive so that they stay unique.
    joined: FxHashMap<Addresses, (Arc<[i64]>, Pieces)>,
}

impl Joiner {
    /// One piece with the samples of all; where two have the same time, that of the later piece counts.
    pub(crate) fn join(&mut self, mut pieces: Pieces) -> Option<Piece> {
        if pieces.len() <= 1 {
            return pieces.pop();
        }
        let first_of = |piece: &Piece| piece.times.first().copied().unwrap_or(i64::MAX);
        let in_order = |a: &Piece, b: &Piece| a.times.last() < b.times.first();
        let is_sorted = pieces.windows(2).all(|w| in_order(&w[0], &w[1]));
        if !is_sorted {
            // Only for the test whether they overlap; the order in which they count is kept.
            let mut by_time: Vec<&Piece> = pieces.iter().collect();
            by_time.sort_by_key(|piece| first_of(piece));
            if !by_time.windows(2).all(|w| in_order(w[0], w[1])) {
                return Some(merge(&pieces));
            }
            pieces.sort_by_key(first_of);
        }
        let values = pieces.iter().flat_map(|piece| piece.values.iter().copied()).collect();
        let key: Addresses = pieces.iter().map(|piece| piece.times.as_ptr().addr()).collect();
        let times = match self.joined.get(&key) {
            Some((times, _)) => Arc::clone(times),
            None => {
                let times: Arc<[i64]> =
                    pieces.iter().flat_map(|piece| piece.times.iter().copied()).collect();
                pieces.iter_mut().for_each(|piece| piece.values = Vec::new());
                self.joined.insert(key, (Arc::clone(&times), pieces));
                times
            }
        };
        Some(Piece { times, values })
    }
}

/// One piece with the samples of all; where several have the same time, that of the last counts.
pub(crate) fn merge(pieces: &Pieces) -> Piece {
    let samples = pieces.iter().flat_map(|p| p.times.iter().copied().zip(p.values.iter().copied()));
    let mut all: Vec<(i64, f64)> = samples.collect();
    all.sort_by_key(|(t, _)| *t);
    let last_of_time = all.chunk_by(|a, b| a.0 == b.0).filter_map(|same| same.last().copied());
    let (times, values): (Vec<i64>, Vec<f64>) = last_of_time.unzip();
    Piece { times: times.into(), values }
}

/// Series found so far, each once, with their pieces.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    by_labels: FxHashMap<Labels, usize>,
    /// Identity and pieces.
    pub(crate) series: Vec<(Labels, Pieces)>,
}

impl Gathered {
    /// Number of the series with these labels, added if it is new.
    pub(crate) fn series(&mut self, labels: &Labels) -> usize {
        if let Some(found) = self.by_labels.get(labels) {
            return *found;
        }
        let number = self.series.len();
        self.by_labels.insert(labels.clone(), number);
        self.series.push((labels.clone(), Pieces::new()));
        number
    }
}
