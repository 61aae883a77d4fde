//! One thread's reading for a visit: pages, frames and tails into scratch memory, stripe by stripe.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Budget, MetricWorker, Result, SeriesView};
use storage::codec::Reader as Bytes;

use super::plan::{HeadPlace, Layout, Morsel, NOWHERE, Place, Source, Unit, note};
use super::rolled::RolledScratch;
use crate::bitmap::Bitmap;
use crate::column;
use crate::head::TailRow;
use crate::page::SERIES_MAX;
use crate::part::BlockCache;
use crate::row::RowState;
use crate::scan::{Piece, Pieces, Window, merge};

/// One series being put together.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) values: Vec<f64>,
    /// Its own times, when some of the unit's rows have no value.
    pub(super) own: Vec<i64>,
    pub(super) has_gaps: bool,
}

impl Slot {
    fn clear(&mut self) {
        self.values.clear();
        self.own.clear();
        self.has_gaps = false;
    }

    /// Says that not all rows have a value, after `before`, which have.
    fn begin_gaps(&mut self, before: &[i64]) {
        if !self.has_gaps {
            self.has_gaps = true;
            self.own.extend_from_slice(before);
        }
    }

    /// Appends the wanted rows of an encoded column; `before` are the times of what came before them.
    fn append(
        &mut self,
        bytes: &[u8],
        rows: usize,
        window: &Window,
        before: &[i64],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let mut r = Bytes::new(bytes);
        let (low, high) = window.rows();
        match column::validity(&mut r, rows)? {
            None => {
                if self.has_gaps {
                    self.own.extend_from_slice(window.times());
                }
                column::values(&mut r, rows, low..high, &mut scratch.column, &mut self.values)
            }
            Some(valid) => {
                self.begin_gaps(before);
                let (from, to) = (valid.rank(low), valid.rank(high));
                let wanted = valid.ones().skip(from).take(to - from);
                self.own.extend(wanted.map(|row| window.times()[row - low]));
                let count = valid.count();
                column::values(&mut r, count, from..to, &mut scratch.column, &mut self.values)
            }
        }
    }
}

#[derive(Debug, Default)]
struct Scratch {
    column: Vec<f64>,
}

/// The rows of a tail, by column.
#[derive(Debug)]
pub(super) struct Tail {
    rows: usize,
    values: Vec<f64>,
    /// Rows in which a member may be missing.
    present: Vec<Option<Bitmap>>,
    bytes: u64,
}

impl Tail {
    /// Decodes the rows; member `m` is column `columns[m]`.
    fn decode(tail: &[TailRow], columns: &[u32], budget: &Budget) -> Result<Self> {
        let rows = tail.len();
        let bytes = (rows * columns.len() * 8) as u64;
        budget.charge_bytes(bytes)?;
        let mut values = vec![0.0; rows * columns.len()];
        let mut present = Vec::with_capacity(rows);
        let mut state = RowState::default();
        for (row, scrape) in tail.iter().enumerate() {
            scrape.decode(&mut state)?;
            let bits = state.values();
            let cells = values.iter_mut().skip(row).step_by(rows);
            for (cell, column) in cells.zip(columns) {
                *cell = f64::from_bits(bits.get(*column as usize).copied().unwrap_or(0));
            }
            let all = state.present().count() == bits.len();
            let has_all = all && columns.iter().all(|c| (*c as usize) < bits.len());
            present.push((!has_all).then(|| state.present().clone()));
        }
        Ok(Self { rows, values, present, bytes })
    }

    fn append(&self, member: usize, column: u32, window: &Window, before: &[i64], slot: &mut Slot) {
        let (low, high) = window.rows();
        let values = &self.values[member * self.rows..(member + 1) * self.rows];
        let has = |row: usize| {
            self.present[row].as_ref().is_none_or(|present| present.get(column as usize))
        };
        if (low..high).all(has) {
            slot.values.extend_from_slice(&values[low..high]);
            if slot.has_gaps {
                slot.own.extend_from_slice(window.times());
            }
            return;
        }
        slot.begin_gaps(before);
        for row in (low..high).filter(|row| has(*row)) {
            slot.values.push(values[row]);
            slot.own.push(window.times()[row - low]);
        }
    }
}

/// Reads for one thread.
pub(super) struct Reader<'l, 'a> {
    pub(super) layout: &'l Layout<'a>,
    budget: &'l Budget,
    pub(super) caches: Vec<BlockCache>,
    pub(super) slots: Vec<Slot>,
    pub(super) rolled: RolledScratch,
    scratch: Scratch,
}

impl<'l, 'a> Reader<'l, 'a> {
    pub(super) fn new(layout: &'l Layout<'a>, budget: &'l Budget) -> Self {
        let caches = layout.parts.iter().map(|_| BlockCache::default()).collect();
        let slots = (0..SERIES_MAX).map(|_| Slot::default()).collect();
        let rolled = RolledScratch::default();
        Self { layout, budget, caches, slots, rolled, scratch: Scratch::default() }
    }

    /// Shows the series of one morsel.
    pub(super) fn show(&mut self, morsel: &Morsel, worker: &mut dyn MetricWorker) -> Result<()> {
        match morsel {
            Morsel::Members(number, range) => {
                let unit = &self.layout.units[*number];
                let first = unit.scattered.partition_point(|m| (*m as usize) < range.start);
                let mut elsewhere = unit.scattered[first..].iter().peekable();
                let mut members: Vec<usize> = Vec::with_capacity(SERIES_MAX);
                for member in range.clone() {
                    if elsewhere.next_if(|m| **m as usize == member).is_some() {
                        continue;
                    }
                    if members.len() == SERIES_MAX {
                        self.show_some(*number, &members, worker)?;
                        members.clear();
                    }
                    members.push(member);
                }
                self.show_some(*number, &members, worker)?;
                if unit.morsels_left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.free_tails(unit);
                }
                Ok(())
            }
            Morsel::Scattered(range) => {
                range.clone().try_for_each(|number| self.show_scattered(number, worker))
            }
        }
    }

    fn free_tails(&self, unit: &Unit) {
        for place in &unit.places {
            if let Source::Head(head) = &place.source
                && let Some(tail) = head.tail.lock().take()
            {
                self.budget.release_bytes(tail.bytes);
            }
        }
    }

    /// Shows some members of a unit, by windows if the worker likes and there are any.
    fn show_some(
        &mut self,
        number: usize,
        members: &[usize],
        worker: &mut dyn MetricWorker,
    ) -> Result<()> {
        match self.layout.needs.filter(|_| self.layout.units[number].has_roll_ups()) {
            Some(needs) => self.show_rolled(number, members, needs, worker),
            None => self.show_members(number, members, worker),
        }
    }

    /// Reads what `place`, which has the rows of `times`, has of `members` into their slots.
    pub(super) fn read_samples(
        &mut self,
        place: &Place,
        members: &[usize],
        times: &[i64],
    ) -> Result<()> {
        self.slots[..members.len()].iter_mut().for_each(Slot::clear);
        self.read_place(place, members, times, 0)
    }

    pub(super) fn show_members(
        &mut self,
        number: usize,
        members: &[usize],
        worker: &mut dyn MetricWorker,
    ) -> Result<()> {
        let unit = &self.layout.units[number];
        self.slots[..members.len()].iter_mut().for_each(Slot::clear);
        let mut rows = 0;
        for place in &unit.places {
            self.read_place(place, members, &unit.times, rows)?;
            rows += place.times().count();
        }
        for (slot, member) in self.slots.iter().zip(members) {
            let (times_id, timestamps) = if slot.has_gaps {
                (0, slot.own.as_slice())
            } else {
                (number as u64 + 1, unit.times.as_slice())
            };
            if !timestamps.is_empty() {
                let (group, values) = (unit.groups[*member], slot.values.as_slice());
                worker.series(SeriesView { group, times_id, timestamps, values })?;
            }
        }
        Ok(())
    }

    /// Appends what `place` has of `members` to their slots: rows of `times` from `start` on.
    fn read_place(
        &mut self,
        place: &Place,
        members: &[usize],
        times: &[i64],
        start: usize,
    ) -> Result<()> {
        if !place.is_complete {
            let missing = |member: &usize| place.members[*member] == NOWHERE;
            let slots = self.slots.iter_mut().zip(members);
            slots
                .filter(|(_, m)| missing(m))
                .for_each(|(slot, _)| slot.begin_gaps(&times[..start]));
        }
        match &place.source {
            Source::Part(part, target) => {
                self.read_part(place, (*part, *target), members, times, start)
            }
            Source::Head(head) => self.read_head(place, head, members, times, start),
            Source::Loose(values) => {
                let Some(window) = place.windows.first() else { return Ok(()) };
                let (low, high) = window.rows();
                for (slot, _) in self.slots.iter_mut().zip(members) {
                    slot.values.extend_from_slice(&values[low..high]);
                    if slot.has_gaps {
                        slot.own.extend_from_slice(window.times());
                    }
                }
                Ok(())
            }
        }
    }

    fn read_part(
        &mut self,
        place: &Place,
        (number, target): (usize, usize),
        members: &[usize],
        times: &[i64],
        start: usize,
    ) -> Result<()> {
        let (shard, part, index) = &self.layout.parts[number];
        let target = &index.targets()[target];
        let offset = |k: usize| place.members[members[k]] as usize;
        let mut rows_before = start;
        for (chunk, window) in place.windows.iter().enumerate() {
            if window.is_empty() {
                continue;
            }
            let before = &times[..rows_before];
            rows_before += window.times().len();
            let mut k = 0;
            while k < members.len() {
                if place.members[members[k]] == NOWHERE {
                    k += 1;
                    continue;
                }
                let (cache, slots, scratch) =
                    (&mut self.caches[number], &mut self.slots, &mut self.scratch);
                let stripe = offset(k) / SERIES_MAX;
                let rows = target.chunk_rows(chunk);
                part.with_page(index, target, (offset(k), chunk), cache, |page| {
                    while k < members.len() {
                        let here = place.members[members[k]];
                        if here != NOWHERE {
                            if here as usize / SERIES_MAX != stripe {
                                break;
                            }
                            let bytes = page.bytes(here as usize % SERIES_MAX)?;
                            slots[k].append(bytes, rows, window, before, scratch)?;
                        }
                        k += 1;
                    }
                    Ok(())
                })
                .inspect_err(|e| note(shard, part, e))?;
            }
        }
        Ok(())
    }

    fn read_head(
        &mut self,
        place: &Place,
        head: &HeadPlace,
        members: &[usize],
        times: &[i64],
        start: usize,
    ) -> Result<()> {
        let mut rows_before = start;
        let slots = &mut self.slots;
        for (frame, window) in head.samples.frames.iter().zip(&place.windows) {
            if window.is_empty() {
                continue;
            }
            let before = &times[..rows_before];
            rows_before += window.times().len();
            for (slot, member) in slots.iter_mut().zip(members) {
                let column = place.members[*member];
                if column == NOWHERE {
                    continue;
                }
                match frame.bytes(column as usize) {
                    Some(bytes) => {
                        slot.append(bytes, frame.times.len(), window, before, &mut self.scratch)?;
                    }
                    None => slot.begin_gaps(before),
                }
            }
        }
        let Some(window) = place.windows.last().filter(|window| !window.is_empty()) else {
            return Ok(());
        };
        let tail = {
            let mut tail = head.tail.lock();
            match &*tail {
                Some(tail) => Arc::clone(tail),
                None => {
                    let decoded = Tail::decode(&head.samples.tail, &place.members, self.budget)?;
                    Arc::clone(tail.insert(Arc::new(decoded)))
                }
            }
        };
        let before = &times[..rows_before];
        for (slot, member) in slots.iter_mut().zip(members) {
            let column = place.members[*member];
            if column != NOWHERE {
                tail.append(*member, column, window, before, slot);
            }
        }
        Ok(())
    }

    /// A series whose samples are in several units, or overlap.
    fn show_scattered(&mut self, number: usize, worker: &mut dyn MetricWorker) -> Result<()> {
        let scattered = &self.layout.scattered[number];
        let mut ranked: Vec<(usize, Piece)> = Vec::new();
        for (unit, member) in &scattered.places {
            let unit = &self.layout.units[*unit];
            for place in &unit.places {
                self.slots[0].clear();
                let mut times: Arc<[i64]> = place.times().copied().collect();
                self.read_place(place, &[*member as usize], &times, 0)?;
                let slot = &self.slots[0];
                if slot.has_gaps {
                    times = slot.own.as_slice().into();
                }
                if !times.is_empty() {
                    ranked.push((place.rank, Piece { times, values: slot.values.clone() }));
                }
            }
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        let pieces: Pieces = ranked.into_iter().map(|(_, piece)| piece).collect();
        if pieces.is_empty() {
            return Ok(());
        }
        let Piece { times, values } = merge(&pieces);
        let (group, timestamps) = (scattered.group, &*times);
        worker.series(SeriesView { group, times_id: 0, timestamps, values: &values })
    }
}
