//! One thread's reading for a visit: pages, frames and tails into scratch memory, stripe by stripe.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Budget, MetricWorker, Result, SeriesView, Together};

use super::plan::{HeadPlace, Layout, Morsel, NOWHERE, Place, Source, Unit, note};
use super::rolled::RolledScratch;
use super::slot::{Aim, Slot};
use super::sums::{Sums, Times};
use crate::page::SERIES_MAX;
use crate::part::BlockCache;
use crate::scan::{Piece, Pieces, merge};

/// Rows up to which series are shown together: with more, what is collected of each outgrows the processor's caches.
const TOGETHER_ROWS_MAX: usize = 1 << 14;

/// Reads for one thread.
pub(super) struct Reader<'l, 'a> {
    pub(super) layout: &'l Layout<'a>,
    budget: &'l Budget,
    pub(super) caches: Vec<BlockCache>,
    pub(super) slots: Vec<Slot>,
    pub(super) rolled: RolledScratch,
    scratch: Vec<f64>,
    sums: Sums,
}

impl<'l, 'a> Reader<'l, 'a> {
    pub(super) fn new(layout: &'l Layout<'a>, budget: &'l Budget) -> Self {
        let caches = layout.parts.iter().map(|_| BlockCache::default()).collect();
        let slots = (0..SERIES_MAX).map(|_| Slot::default()).collect();
        let (rolled, scratch, sums) = (RolledScratch::default(), Vec::new(), Sums::default());
        Self { layout, budget, caches, slots, rolled, scratch, sums }
    }

    /// Shows the series of one morsel.
    pub(super) fn show(&mut self, morsel: &Morsel, worker: &mut dyn MetricWorker) -> Result<()> {
        match morsel {
            Morsel::Members(number, range) => {
                let unit = &self.layout.units[*number];
                let times = self.times(*number);
                let is_rolled = self.layout.needs.is_some() && unit.has_roll_ups();
                let together = match times.all.len() {
                    1..=TOGETHER_ROWS_MAX if !is_rolled => worker.together(times.id, times.all),
                    _ => Together::Apart,
                };
                let first = unit.scattered.partition_point(|m| (*m as usize) < range.start);
                let mut elsewhere = unit.scattered[first..].iter().peekable();
                let mut members: Vec<usize> = Vec::with_capacity(SERIES_MAX);
                for member in range.clone() {
                    if elsewhere.next_if(|m| **m as usize == member).is_some() {
                        continue;
                    }
                    if members.len() == SERIES_MAX {
                        self.show_some(*number, &members, together, worker)?;
                        members.clear();
                    }
                    members.push(member);
                }
                self.show_some(*number, &members, together, worker)?;
                self.sums.show(times, worker)?;
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

    /// The times of a unit, and what they are known by.
    fn times(&self, number: usize) -> Times<'l> {
        Times { id: number as u64 + 1, all: &self.layout.units[number].times }
    }

    fn free_tails(&self, unit: &Unit) {
        for place in &unit.places {
            if let Source::Head(head) = &place.source {
                self.budget.release_bytes(head.free());
            }
        }
    }

    /// Shows some members of a unit, by windows if the worker likes and there are any.
    fn show_some(
        &mut self,
        number: usize,
        members: &[usize],
        together: Together,
        worker: &mut dyn MetricWorker,
    ) -> Result<()> {
        match self.layout.needs.filter(|_| self.layout.units[number].has_roll_ups()) {
            Some(needs) => self.show_rolled(number, members, needs, worker),
            None => self.show_members(number, members, together, worker),
        }
    }

    /// Reads what `place`, which has the rows of `times`, has of `members` into their slots.
    pub(super) fn read_samples(
        &mut self,
        place: &Place,
        members: &[usize],
        times: &[i64],
    ) -> Result<()> {
        let slots = &mut self.slots[..members.len()];
        slots.iter_mut().for_each(|slot| slot.clear(Together::Apart, 0));
        self.read_place(place, members, times, 0)
    }

    pub(super) fn show_members(
        &mut self,
        number: usize,
        members: &[usize],
        together: Together,
        worker: &mut dyn MetricWorker,
    ) -> Result<()> {
        let (unit, times) = (&self.layout.units[number], self.times(number));
        let slots = &mut self.slots[..members.len()];
        slots.iter_mut().for_each(|slot| slot.clear(together, times.all.len()));
        let mut rows = 0;
        for place in &unit.places {
            self.read_place(place, members, times.all, rows)?;
            rows += place.rows();
        }
        for (slot, member) in self.slots.iter_mut().zip(members) {
            let group = unit.groups[*member];
            if slot.aim != Aim::Values {
                if self.sums.add(group, slot, together, times, worker)? {
                    continue;
                }
                slot.take_values();
            }
            let (times_id, timestamps) =
                if slot.has_gaps { (0, slot.own.as_slice()) } else { (times.id, times.all) };
            if !timestamps.is_empty() {
                let values = slot.values.as_slice();
                worker.series(SeriesView { group, times_id, timestamps, values, count: 1 })?;
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
                    slot.append_values(&values[low..high], window.times());
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
        let tail = head.tail(self.budget)?;
        let tail = tail.read();
        let (low, high) = window.rows();
        let (complete, before) = (tail.complete(low..high), &times[..rows_before]);
        for (slot, member) in slots.iter_mut().zip(members) {
            let column = place.members[*member];
            if column != NOWHERE {
                slot.append_tail(&tail, (column as usize, complete), window, before);
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
                self.slots[0].clear(Together::Apart, 0);
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
        worker.series(SeriesView { group, times_id: 0, timestamps, values: &values, count: 1 })
    }
}
