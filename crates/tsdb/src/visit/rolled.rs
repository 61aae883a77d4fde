//! Series shown by windows: roll-ups of closed days where they are, the same of the samples everywhere else.
//!
//! Owns: putting the windows of a series together over the places of its unit. Does not own: what roll-ups say
//! ([`rollup`](crate::rollup)), reading samples ([`read`](super::read)).

use std::ops::Range;
use std::sync::Arc;

use model::{
    Fall, MetricWorker, ROLL_UP_MS, Result, RollUpNeeds, RollUpView, RollUpWindow, Together,
    is_stale, window_of,
};
use storage::codec::Reader as Bytes;

use super::plan::{NOWHERE, Place, Source, note};
use super::read::Reader;
use crate::index::Index;
use crate::page::SERIES_MAX;
use crate::part::{BlockCache, Part, RollUpPages};
use crate::rollup::{RolledPage, RolledSeries, decode_windows, fold};

/// The roll-ups of a place.
#[derive(Debug)]
pub(super) struct RolledPlace {
    pages: Arc<RollUpPages>,
    /// Page of the first stripe.
    first_page: usize,
    /// Windows of the target, of all its day.
    windows: Vec<RollUpWindow>,
    /// Which of them are wanted.
    cut: Range<usize>,
}

impl RolledPlace {
    /// Those of target number `target` in `[start_ms, end_ms]`; `None` when there are none, or the range cuts a window.
    pub(super) fn find(
        (part, index): (&Part, &Index),
        target: usize,
        (start_ms, end_ms): (i64, i64),
        cache: &mut BlockCache,
    ) -> Result<Option<Self>> {
        let Some(pages) = part.roll_up_pages(index)? else { return Ok(None) };
        let Some(page) = pages.windows(target) else { return Ok(None) };
        let windows =
            part.roll_up_page(&pages, page, cache, |bytes| decode_windows(&mut Bytes::new(bytes)))?;
        let (Some(first), Some(last)) = (windows.first(), windows.last()) else { return Ok(None) };
        let is_whole = (first.first_ms >= start_ms || (start_ms - 1) % ROLL_UP_MS == 0)
            && (last.last_ms <= end_ms || end_ms % ROLL_UP_MS == 0);
        let low = windows.partition_point(|w| w.number < window_of(start_ms));
        let high = windows.partition_point(|w| w.number <= window_of(end_ms)).max(low);
        let cut = low..high;
        Ok(is_whole.then_some(Self { pages, first_page: page + 1, windows, cut }))
    }
}

/// The windows of one series, of which place after place is appended.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    /// Its windows, when they are not those of its unit.
    own: Vec<RollUpWindow>,
    has_gaps: bool,
    /// Number of the last window.
    number: Option<i64>,
    all: RolledSeries,
}

impl Rolling {
    fn clear(&mut self) {
        self.own.clear();
        self.has_gaps = false;
        self.number = None;
        let RolledSeries { own: _, first, last, falls, least, greatest, sums } = &mut self.all;
        [first, last, least, greatest, sums].into_iter().for_each(Vec::clear);
        falls.clear();
    }

    /// Says that not all rows have a value, after those at the times `before`, which have.
    fn begin_gaps(&mut self, before: &[i64]) {
        if !self.has_gaps {
            self.has_gaps = true;
            self.own.extend(RollUpWindow::of(before).into_iter().map(|w| w.0));
        }
    }

    /// Appends the windows `cut` of `next`, which are later, or begin with the rest of the last one.
    fn append(&mut self, next: &RolledSeries, windows: &[RollUpWindow], cut: Range<usize>) {
        let (Some(head), Some(end)) =
            (windows.get(cut.start), windows[..cut.end].last().filter(|_| !cut.is_empty()))
        else {
            return;
        };
        let all = &mut self.all;
        let joins = self.number == Some(head.number);
        let place = |window: usize| {
            u32::try_from(all.last.len() - usize::from(joins) + window - cut.start).unwrap_or(0)
        };
        if let Some(before) = all.last.last().copied()
            && next.first[cut.start] < before
        {
            all.falls.push(Fall { window: place(cut.start), at_start: !joins, before });
        }
        for fall in &next.falls {
            let window = fall.window as usize;
            if cut.contains(&window) && !(fall.at_start && window == cut.start) {
                all.falls.push(Fall { window: place(window), ..*fall });
            }
        }
        let mut rest = cut.clone();
        if joins {
            rest.start += 1;
            let put = |to: &mut Vec<f64>, from: &[f64], f: &dyn Fn(f64, f64) -> f64| {
                if let (Some(to), Some(from)) = (to.last_mut(), from.get(cut.start)) {
                    *to = f(*to, *from);
                }
            };
            put(&mut all.last, &next.last, &|_, x| x);
            put(&mut all.least, &next.least, &|m, x| if x < m || m.is_nan() { x } else { m });
            put(&mut all.greatest, &next.greatest, &|m, x| if x > m || m.is_nan() { x } else { m });
            put(&mut all.sums, &next.sums, &|sum, x| sum + x);
            if let Some(last) = self.own.last_mut().filter(|_| self.has_gaps) {
                last.join(head);
            }
        }
        for (to, from) in [
            (&mut all.first, &next.first),
            (&mut all.last, &next.last),
            (&mut all.least, &next.least),
            (&mut all.greatest, &next.greatest),
            (&mut all.sums, &next.sums),
        ] {
            to.extend_from_slice(from.get(rest.clone()).unwrap_or_default());
        }
        if self.has_gaps {
            self.own.extend_from_slice(&windows[rest]);
        }
        self.number = Some(end.number);
    }
}

/// What a reader keeps for windows.
#[derive(Debug, Default)]
pub(super) struct RolledScratch {
    rolling: Vec<Rolling>,
    series: RolledSeries,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Reader<'_, '_> {
    /// Shows the members of a unit by windows, or by samples where the worker wants these.
    pub(super) fn show_rolled(
        &mut self,
        number: usize,
        members: &[usize],
        needs: RollUpNeeds,
        worker: &mut dyn MetricWorker,
    ) -> Result<()> {
        let unit = &self.layout.units[number];
        let mut scratch = std::mem::take(&mut self.rolled);
        scratch.rolling.resize_with(members.len().max(scratch.rolling.len()), Rolling::default);
        scratch.rolling.iter_mut().for_each(Rolling::clear);
        let mut rows = 0;
        for place in &unit.places {
            let end = rows + place.times().count();
            let raw = match &place.rolled {
                Some(rolled) => self.read_rolled(
                    place,
                    rolled,
                    members,
                    needs,
                    &unit.times[..rows],
                    &mut scratch,
                )?,
                None => (0..members.len()).collect(),
            };
            self.fold_place(place, (members, &raw), needs, &unit.times, rows..end, &mut scratch)?;
            rows = end;
        }
        let mut declined = Vec::new();
        for (rolling, member) in scratch.rolling.iter().zip(members) {
            let all = &rolling.all;
            let (times_id, windows) = if rolling.has_gaps {
                (0, rolling.own.as_slice())
            } else {
                (number as u64 + 1, unit.windows())
            };
            if all.last.is_empty() {
                continue;
            }
            debug_assert_eq!(windows.len(), all.last.len(), "BUG: as many windows as values");
            let view = RollUpView {
                group: unit.groups[*member],
                times_id,
                windows,
                first: &all.first,
                last: &all.last,
                falls: &all.falls,
                least: &all.least,
                greatest: &all.greatest,
                sums: &all.sums,
            };
            if !worker.rolled(view)? {
                declined.push(*member);
            }
        }
        self.rolled = scratch;
        if declined.is_empty() {
            Ok(())
        } else {
            self.show_members(number, &declined, Together::Apart, worker)
        }
    }

    /// Appends what the roll-ups of `place` say; returns which of `members` it must be read of from samples.
    fn read_rolled(
        &mut self,
        place: &Place,
        rolled: &RolledPlace,
        members: &[usize],
        needs: RollUpNeeds,
        before: &[i64],
        scratch: &mut RolledScratch,
    ) -> Result<Vec<usize>> {
        let Source::Part(number, _) = place.source else { return Ok(Vec::new()) };
        let (shard, part, _) = &self.layout.parts[number];
        let RolledScratch { rolling, series, .. } = scratch;
        let mut raw = Vec::new();
        let mut k = 0;
        while k < members.len() {
            let first = place.members[members[k]];
            if first == NOWHERE {
                rolling[k].begin_gaps(before);
                k += 1;
                continue;
            }
            let stripe = first as usize / SERIES_MAX;
            let page = rolled.first_page + stripe;
            let cache = &mut self.caches[number];
            part.roll_up_page(&rolled.pages, page, cache, |bytes| {
                let page = RolledPage::decode(bytes)?;
                while let Some(member) = members.get(k) {
                    let here = place.members[*member];
                    if here == NOWHERE {
                        rolling[k].begin_gaps(before);
                    } else if here as usize / SERIES_MAX != stripe {
                        break;
                    } else if page.has(here as usize % SERIES_MAX, needs) {
                        page.series(here as usize % SERIES_MAX, &rolled.windows, needs, series)?;
                        append_cut(&mut rolling[k], rolled, series, before);
                    } else {
                        raw.push(k);
                    }
                    k += 1;
                }
                Ok(())
            })
            .inspect_err(|e| note(shard, part, e))?;
        }
        Ok(raw)
    }

    /// Appends what the samples of `place` say, of those of `members` that `raw` has the places of.
    fn fold_place(
        &mut self,
        place: &Place,
        (members, raw): (&[usize], &[usize]),
        needs: RollUpNeeds,
        times: &[i64],
        rows: Range<usize>,
        scratch: &mut RolledScratch,
    ) -> Result<()> {
        if raw.is_empty() || rows.is_empty() {
            return Ok(());
        }
        let wanted: Vec<usize> = raw.iter().map(|k| members[*k]).collect();
        let here = &times[rows.clone()];
        self.read_samples(place, &wanted, here)?;
        let RolledScratch { rolling, series, times: kept_times, values: kept_values } = scratch;
        for (slot, k) in self.slots.iter().zip(raw) {
            let (mut at, mut values) =
                (if slot.has_gaps { slot.own.as_slice() } else { here }, slot.values.as_slice());
            let has_markers = !needs.markers && values.iter().any(|v| is_stale(*v));
            if has_markers {
                kept_times.clear();
                kept_values.clear();
                for (t, v) in at.iter().zip(values).filter(|(_, v)| !is_stale(**v)) {
                    kept_times.push(*t);
                    kept_values.push(*v);
                }
                (at, values) = (kept_times.as_slice(), kept_values.as_slice());
            }
            if slot.has_gaps || has_markers {
                rolling[*k].begin_gaps(&times[..rows.start]);
            }
            fold(at, values, needs, series);
            let windows = series.own.take().unwrap_or_default();
            rolling[*k].append(series, &windows, 0..windows.len());
        }
        Ok(())
    }
}

/// Appends what of `series` is in the wanted windows of its place.
fn append_cut(rolling: &mut Rolling, place: &RolledPlace, series: &RolledSeries, before: &[i64]) {
    let Some(own) = &series.own else {
        return rolling.append(series, &place.windows, place.cut.clone());
    };
    rolling.begin_gaps(before);
    let wanted = &place.windows[place.cut.clone()];
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return };
    let low = own.partition_point(|w| w.number < first.number);
    let high = own.partition_point(|w| w.number <= last.number);
    rolling.append(series, own, low..high);
}

#[cfg(test)]
mod tests;
