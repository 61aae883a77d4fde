//! The head: active series, their labels and index, and the samples that are not in a part yet.
//!
//! Owns: what readers see, behind one lock that is held for a batch's insertion or a snapshot's reference counts, never
//! for decoding. Does not own: what the writer notes down for the next batch ([`engine`](crate::engine)).
//!
//! Samples of a target are rows of bytes ([`row`](crate::row)) for the last scrapes, and before them frames: up to 64
//! scrapes turned into packed columns that share their timestamps. Samples that fit no row (out of order, with times of
//! their own) are `loose`: kept per series in order of arrival, of which the last one counts.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::Arc;

use hashbrown::HashTable;
use model::{Labels, Result};
use roaring::RoaringBitmap;
use rustc_hash::FxHasher;
use storage::codec::Reader;

use crate::column::{self, Column};
use crate::cuts::Tombstone;
use crate::histograms::HeadHistograms;
use crate::identity;
use crate::part::Part;
use crate::postings::Lookup;
use crate::row::{self, RowState};

/// Columns a target may have; more arrive as further samples of the same source would: refused by the series limit.
pub(crate) const COLUMNS_MAX: usize = 1 << 24;

/// Where a series' rows are: number of the target, and its column there.
pub(crate) type Home = (u32, u32);

/// One active series.
#[derive(Debug)]
pub(crate) struct Series {
    /// Identity; usually the allocation that the collector holds, too.
    pub(crate) labels: Labels,
    /// Its target and column; none for series that only have loose samples.
    pub(crate) home: Option<Home>,
    /// The [`identity`] of its labels.
    pub(crate) identity: u64,
}

/// Which series have a label value; most values of most labels have one.
#[derive(Debug)]
enum Ids {
    One(u32),
    Many(Box<RoaringBitmap>),
}

/// Active series by number, by identity, and by label.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    slots: Vec<Option<Series>>,
    free: Vec<u32>,
    table: HashTable<u32>,
    labels: BTreeMap<Box<str>, BTreeMap<Box<str>, Ids>>,
}

fn hash(labels: &Labels) -> u64 {
    BuildHasherDefault::<FxHasher>::default().hash_one(labels)
}

impl Registry {
    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Series number `id`.
    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&Series> {
        self.slots.get(id as usize)?.as_ref()
    }

    /// Number of the series with these labels.
    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        let same = |id: &u32| self.get(*id).is_some_and(|s| s.labels == *labels);
        self.table.find(hash(labels), same).copied()
    }

    /// Adds a series that is not there yet and returns its number.
    pub(crate) fn insert(&mut self, labels: &Labels) -> u32 {
        let series = Series { labels: labels.clone(), home: None, identity: identity::of(labels) };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = Some(series);
                id
            }
            None => {
                self.slots.push(Some(series));
                u32::try_from(self.slots.len() - 1).expect("BUG: series limit is below 2^32")
            }
        };
        let slots = &self.slots;
        let rehash =
            |id: &u32| slots[*id as usize].as_ref().map_or(0, |series| hash(&series.labels));
        self.table.insert_unique(hash(labels), id, rehash);
        for (name, value) in labels.iter() {
            if !self.labels.contains_key(name) {
                self.labels.insert(name.into(), BTreeMap::new());
            }
            let Some(values) = self.labels.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(Ids::Many(ids)) => {
                    ids.insert(id);
                }
                Some(ids @ Ids::One(_)) => {
                    let Ids::One(first) = *ids else { continue };
                    *ids = Ids::Many(Box::new([first, id].into_iter().collect()));
                }
                None => {
                    values.insert(value.into(), Ids::One(id));
                }
            }
        }
        id
    }

    /// Changes where a series' rows are.
    pub(crate) fn set_home(&mut self, id: u32, home: Option<Home>) {
        if let Some(Some(series)) = self.slots.get_mut(id as usize) {
            series.home = home;
        }
    }

    /// Forgets a series.
    pub(crate) fn remove(&mut self, id: u32) {
        let Some(series) = self.slots.get_mut(id as usize).and_then(Option::take) else { return };
        if let Ok(entry) = self.table.find_entry(hash(&series.labels), |other| *other == id) {
            entry.remove();
        }
        for (name, value) in series.labels.iter() {
            let Some(values) = self.labels.get_mut(name) else { continue };
            let gone = match values.get_mut(value) {
                Some(Ids::One(_)) => true,
                Some(Ids::Many(ids)) => {
                    ids.remove(id);
                    ids.is_empty()
                }
                None => false,
            };
            if gone {
                values.remove(value);
            }
            if values.is_empty() {
                self.labels.remove(name);
            }
        }
        self.free.push(id);
    }

    /// Numbers and series, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Series)> {
        (0u32..).zip(&self.slots).filter_map(|(id, slot)| Some((id, slot.as_ref()?)))
    }
}

impl Lookup for Registry {
    fn all(&self) -> RoaringBitmap {
        self.iter().map(|(id, _)| id).collect()
    }

    fn equal(&self, name: &str, value: &str) -> RoaringBitmap {
        match self.labels.get(name).and_then(|values| values.get(value)) {
            Some(Ids::One(id)) => [*id].into_iter().collect(),
            Some(Ids::Many(ids)) => RoaringBitmap::clone(ids),
            None => RoaringBitmap::new(),
        }
    }

    fn union(&self, name: &str, keep: &mut dyn FnMut(&str) -> bool) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        for (value, ids) in self.labels.get(name).into_iter().flatten() {
            match ids {
                _ if !keep(value) => {}
                Ids::One(id) => {
                    set.insert(*id);
                }
                Ids::Many(ids) => set |= &**ids,
            }
        }
        set
    }
}

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
        let mut columns: Vec<Column> = Vec::new();
        let mut state = RowState::default();
        for (row, scrape) in tail.iter().enumerate() {
            scrape.decode(&mut state)?;
            columns.resize_with(columns.len().max(state.values().len()), Column::default);
            for c in state.present().ones() {
                columns[c].push(row, f64::from_bits(state.values()[c]));
            }
        }
        let (mut data, mut ends) = (Vec::new(), Vec::with_capacity(columns.len()));
        for mut column in columns {
            column.finish(tail.len());
            column::encode(&column, &mut data);
            ends.push(u32::try_from(data.len()).unwrap_or(u32::MAX));
        }
        data.shrink_to_fit();
        Ok(Self { times: tail.iter().map(|r| r.t_ms).collect(), ends, data })
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
