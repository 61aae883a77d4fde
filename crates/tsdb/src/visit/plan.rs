//! What a visit will read: units of series with the places of their samples, cut into morsels.
//!
//! Owns: matching in head and parts, and finding the same series in several places by its [`identity`](crate::identity).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use model::{
    Budget, ErrorKind, Grouping, MetricPlan, MetricVisitor, Result, RollUpNeeds, RollUpWindow,
};
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};

use super::groups::{HeadGroups, IndexGroups};
use super::rolled::RolledPlace;
use super::tail::{NoRoom, Tail};
use crate::cuts::{Cuts, Tombstone};
use crate::head::{Head, TargetSamples, settle};
use crate::index::Index;
use crate::page::SERIES_MAX;
use crate::part::{BlockCache, Part};
use crate::postings::matching;
use crate::scan::Window;
use crate::shard::Shared;

/// Series of a morsel, at most.
const MORSEL_SERIES: usize = 16 * SERIES_MAX;
/// Bits per series in which it is noted that there was one.
const SEEN_BITS: usize = 32;
/// Bytes that a series costs while a visit lasts, per place.
const PLACE_BYTES: u64 = 48;

/// Not in this place.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Everything a visit reads.
pub(super) struct Layout<'a> {
    pub(super) parts: Vec<(&'a Shared, Arc<Part>, Arc<Index>)>,
    pub(super) units: Vec<Unit>,
    /// Series that are in several units or have samples that overlap: where, those that count less first.
    pub(super) scattered: Vec<Scattered>,
    pub(super) morsels: Vec<Morsel>,
    /// What of windows is wanted; none if samples are.
    pub(super) needs: Option<RollUpNeeds>,
}

/// A piece of work.
#[derive(Debug, Clone)]
pub(super) enum Morsel {
    /// Members of a unit.
    Members(usize, Range<usize>),
    /// Scattered series.
    Scattered(Range<usize>),
}

/// Series that share their times.
pub(super) struct Unit {
    /// Where their samples are, in order of time unless `overlap`.
    pub(super) places: Vec<Place>,
    /// Times of all places, one after the other.
    pub(super) times: Vec<i64>,
    /// Places have times in common; every member is scattered.
    overlap: bool,
    /// Group of each member.
    pub(super) groups: Vec<u32>,
    pub(super) identities: Vec<u64>,
    /// Members that are shown elsewhere, ascending.
    pub(super) scattered: Vec<u32>,
    /// Windows of `times`, when first wanted.
    windows: OnceLock<Vec<RollUpWindow>>,
    /// Morsels that are not done; then the tails of the head can go.
    pub(super) morsels_left: AtomicUsize,
}

/// Samples of a unit in one place.
pub(super) struct Place {
    /// Of two places with the same sample, the one with the higher rank counts.
    pub(super) rank: usize,
    pub(super) source: Source,
    /// For each member its series behind the target's first, or its column; [`NOWHERE`].
    pub(super) members: Vec<u32>,
    /// The wanted rows of each chunk of a part, or of each frame and then of the tail.
    pub(super) windows: Vec<Window>,
    /// Its roll-ups, if they are wanted and there.
    pub(super) rolled: Option<RolledPlace>,
    /// Whether it has all members.
    pub(super) is_complete: bool,
}

pub(super) enum Source {
    /// Number of the part, and of the target in it.
    Part(usize, usize),
    Head(Box<HeadPlace>),
    /// The only member's samples, which came out of order or with times of their own.
    Loose(Vec<f64>),
}

/// A target in the head.
pub(super) struct HeadPlace {
    pub(super) samples: TargetSamples,
    /// Its columns; may have fewer rows, and more.
    tail: Mutex<Arc<RwLock<Tail>>>,
    /// Bytes charged for columns that are not kept.
    charged: AtomicU64,
}

impl HeadPlace {
    /// The last rows by column: at least those of `samples`.
    pub(super) fn tail(&self, budget: &Budget) -> Result<Arc<RwLock<Tail>>> {
        let rows = &self.samples.tail;
        let mut known = self.tail.lock();
        if known.read().len() >= rows.len() {
            return Ok(Arc::clone(&known));
        }
        let extended = {
            let mut tail = known.write();
            // Another query may have come first.
            if tail.len() < rows.len() { tail.extend(rows)? } else { Ok(()) }
        };
        if let Err(NoRoom) = extended {
            let mut tail = Tail::default();
            // Without a bound of its own it has room.
            tail.extend(rows)?.ok();
            let bytes = tail.memory_bytes() as u64;
            budget.charge_bytes(bytes)?;
            self.charged.store(bytes, Ordering::Relaxed);
            *known = Arc::new(RwLock::new(tail));
        }
        Ok(Arc::clone(&known))
    }

    /// Forgets the columns; bytes to give back to the budget.
    pub(super) fn free(&self) -> u64 {
        *self.tail.lock() = Arc::default();
        self.charged.swap(0, Ordering::Relaxed)
    }
}

/// A series with pieces that must be merged.
pub(super) struct Scattered {
    pub(super) group: u32,
    /// Unit and member, those that count less first.
    pub(super) places: Vec<(usize, u32)>,
}

/// A series found in the head.
struct Found {
    id: u32,
    column: u32,
    identity: u64,
}

/// What one look at a shard's head gives.
struct HeadView {
    parts: Vec<Arc<Part>>,
    targets: Vec<(TargetSamples, Arc<str>, Vec<Found>)>,
    loose: Vec<LooseSeries>,
    tombstones: Vec<Arc<Tombstone>>,
    is_beyond: bool,
}

/// A series' samples that are in no row, in order of arrival.
struct LooseSeries {
    id: u32,
    identity: u64,
    samples: Vec<(i64, u64)>,
}

impl HeadView {
    /// Takes references under the lock; nothing is decoded.
    fn take(shared: &Shared, plan: &MetricPlan, (start_ms, end_ms): (i64, i64)) -> Self {
        let head = shared.head.read();
        let mut targets: BTreeMap<u32, Vec<Found>> = BTreeMap::new();
        let (mut loose, mut is_beyond) = (Vec::new(), false);
        let mut current: (u32, Vec<Found>) = (u32::MAX, Vec::new());
        for id in matching(&head.registry, &plan.matchers) {
            let Some(series) = head.registry.get(id) else { continue };
            let identity = series.identity;
            if let Some((target, column)) = series.home() {
                if current.0 != target {
                    let before = std::mem::take(&mut current.1);
                    targets.entry(current.0).or_default().extend(before);
                    current.0 = target;
                }
                current.1.push(Found { id, column, identity });
            }
            is_beyond |= !head.histograms.is_empty() && head.histograms.contains_key(&id);
            if head.loose.is_empty() {
                continue;
            }
            if let Some(samples) = head.loose.get(&id) {
                let inside = samples.iter().filter(|(t, _)| (start_ms..=end_ms).contains(t));
                let samples: Vec<(i64, u64)> = inside.copied().collect();
                if !samples.is_empty() {
                    loose.push(LooseSeries { id, identity, samples });
                }
            }
        }
        targets.entry(current.0).or_default().extend(current.1);
        let samples = |(target, found): (u32, Vec<Found>)| {
            let samples = head.targets.get(target as usize)?.clone();
            let key = Arc::clone(&samples.key);
            (!found.is_empty()).then_some((samples, key, found))
        };
        let targets = targets.into_iter().filter_map(samples).collect();
        let parts = head.parts.iter().filter(|p| p.overlaps(start_ms, end_ms)).cloned().collect();
        let tombstones = head.tombstones.clone();
        Self { parts, targets, loose, tombstones, is_beyond }
    }
}

/// Collects units.
struct Builder<'a, 'p> {
    shards: &'p [&'a Shared],
    parts: Vec<(&'a Shared, Arc<Part>, Arc<Index>)>,
    units: Vec<Unit>,
    by_key: FxHashMap<String, usize>,
    grouping: Option<&'p Grouping>,
    range: (i64, i64),
    visitor: &'p dyn MetricVisitor,
    budget: &'p Budget,
    ranks: usize,
    is_beyond: bool,
}

impl<'a> Layout<'a> {
    /// `None` for what only the ordinary way can show: native histograms, series of which something is hidden.
    pub(super) fn new(
        shards: &[&'a Shared],
        plan: &MetricPlan,
        range: (i64, i64),
        visitor: &dyn MetricVisitor,
        budget: &Budget,
    ) -> Result<Option<Self>> {
        let mut builder = Builder {
            shards,
            parts: Vec::new(),
            units: Vec::new(),
            by_key: FxHashMap::default(),
            grouping: plan.grouping.as_ref(),
            range,
            visitor,
            budget,
            ranks: 0,
            is_beyond: false,
        };
        for (number, shard) in shards.iter().enumerate() {
            shard.tails.begin_visit();
            let view = HeadView::take(shard, plan, range);
            for part in &view.parts {
                budget.check()?;
                builder
                    .add_part(shard, part, plan, &view.tombstones)
                    .inspect_err(|e| note(shard, part, e))?;
            }
            // Of the head's series nobody tells which retention they have.
            let rules = shard.retention();
            let shortest = rules.rules.iter().map(|rule| rule.retention_ms).min();
            let ends_inside = shortest
                .is_some_and(|ms| rules.now_ms.saturating_sub(ms.min(rules.default_ms)) > range.0);
            builder.is_beyond |= view.is_beyond || ends_inside;
            if builder.is_beyond {
                return Ok(None);
            }
            builder.add_head(number, view)?;
        }
        let Builder { parts, mut units, .. } = builder;
        units.iter_mut().for_each(Unit::put_in_order);
        let scattered = find_scattered(&mut units);
        let morsels = cut(&mut units, scattered.len());
        let needs = visitor.roll_ups();
        Ok(Some(Self { parts, units, scattered, morsels, needs }))
    }

    /// Samples that will be shown, at most.
    pub(super) fn samples_max(&self) -> usize {
        self.units.iter().map(|unit| unit.times.len() * unit.groups.len()).sum()
    }
}

/// A damaged part is set aside where the damage is met.
pub(super) fn note(shared: &Shared, part: &Arc<Part>, e: &model::Error) {
    if e.kind() == ErrorKind::Corrupt {
        shared.quarantine(part, e);
    }
}

impl Builder<'_, '_> {
    fn rank(&mut self) -> usize {
        self.ranks += 1;
        self.ranks
    }

    /// The unit of a target's series; those without a target have one for each of their times.
    fn unit(&mut self, key: &str) -> usize {
        if let Some(unit) = self.by_key.get(key).filter(|_| !key.is_empty()) {
            return *unit;
        }
        self.units.push(Unit::default());
        let unit = self.units.len() - 1;
        if !key.is_empty() {
            self.by_key.insert(key.to_owned(), unit);
        }
        unit
    }
}

impl<'a> Builder<'a, '_> {
    fn add_part(
        &mut self,
        shard: &'a Shared,
        part: &Arc<Part>,
        plan: &MetricPlan,
        tombstones: &[Arc<Tombstone>],
    ) -> Result<()> {
        let index = part.index()?;
        let rank = self.rank();
        let number = self.parts.len();
        let mut cache = BlockCache::default();
        let ids = matching(&*index, &plan.matchers);
        let mut groups = IndexGroups::new(&index, self.grouping, &ids);
        let cuts = Cuts::of(part, &index, tombstones, &shard.retention(), self.range);
        self.is_beyond |= !cuts.series().is_disjoint(&ids);
        if let Some(pages) = part.histogram_pages()? {
            self.is_beyond |= pages.of(&ids).next().is_some();
        }
        let group_bytes = groups.memory_bytes();
        self.budget.charge_bytes(ids.len() * PLACE_BYTES + group_bytes)?;
        let mut ids = ids.iter().map(|id| id as usize).peekable();
        while let Some(first) = ids.peek().copied() {
            let place = index.targets().partition_point(|t| t.first_series <= first) - 1;
            let target = &index.targets()[place];
            let end = target.first_series + target.series;
            let ids: Vec<usize> = std::iter::from_fn(|| ids.next_if(|id| *id < end)).collect();
            let mut windows = Vec::with_capacity(target.chunks());
            for chunk in 0..target.chunks() {
                let times = part.times(&index, target, chunk, &mut cache)?;
                windows.push(Window::new(&times, self.range.0, self.range.1));
            }
            if windows.iter().all(Window::is_empty) {
                continue;
            }
            let unit = self.unit(&target.key);
            let series = ids.iter().map(|id| {
                let offset = u32::try_from(id - target.first_series).unwrap_or(NOWHERE);
                (index.identity(*id), offset)
            });
            let visitor = self.visitor;
            let group = |k: usize| groups.number(ids[k], visitor);
            let source = Source::Part(number, place);
            self.units[unit].add(rank, source, windows, series, group)?;
            if visitor.roll_ups().is_some() {
                let rolled = RolledPlace::find((part, &index), place, self.range, &mut cache)?;
                if let Some(place) = self.units[unit].places.last_mut() {
                    place.rolled = rolled;
                }
            }
        }
        drop(groups);
        self.budget.release_bytes(group_bytes);
        self.parts.push((shard, Arc::clone(part), index));
        Ok(())
    }

    fn add_head(&mut self, shard: usize, view: HeadView) -> Result<()> {
        let shared = self.shards[shard];
        let mut groups = HeadGroups::new(self.grouping);
        let visitor = self.visitor;
        // Groups are only wanted of series that no part has.
        let mut group = |head: &Head, id: u32, identity: u64| {
            if head.registry.get(id).is_none_or(|series| series.identity != identity) {
                // Gone with a flush since the look at the head: the ordinary way looks again.
                return Err(model::Error::corrupt("series has left the head"));
            }
            groups.number(&head.registry, id, visitor)
        };
        let rank = self.rank();
        for (samples, key, found) in view.targets {
            self.budget.charge_bytes(found.len() as u64 * PLACE_BYTES)?;
            let of = |times: &[i64]| Window::new(times, self.range.0, self.range.1);
            let mut windows: Vec<Window> = samples.frames.iter().map(|f| of(&f.times)).collect();
            let tail: Vec<i64> = samples.tail.iter().map(|row| row.t_ms).collect();
            windows.push(of(&tail));
            if windows.iter().all(Window::is_empty) {
                continue;
            }
            let unit = self.unit(&key);
            let series = found.iter().map(|found| (found.identity, found.column));
            let tail = match windows.last() {
                Some(window) if !window.is_empty() => shared.tails.of(&samples.tail),
                _ => Arc::default(),
            };
            let (tail, charged) = (Mutex::new(tail), AtomicU64::new(0));
            let source = Source::Head(Box::new(HeadPlace { samples, tail, charged }));
            // For as long as one target takes, and only if it is not known.
            let mut head = None;
            let group = |k: usize| {
                let head = head.get_or_insert_with(|| shared.head.read());
                group(head, found[k].id, found[k].identity)
            };
            self.units[unit].add(rank, source, windows, series, group)?;
        }
        let rank = self.rank();
        for LooseSeries { id, identity, samples } in view.loose {
            self.budget.charge_bytes(PLACE_BYTES + samples.len() as u64 * 16)?;
            let (times, values) = settle(&samples);
            let windows = vec![Window::new(&times, self.range.0, self.range.1)];
            let unit = self.unit("");
            let source = Source::Loose(values);
            let series = std::iter::once((identity, 0));
            self.units[unit]
                .add(rank, source, windows, series, |_| group(&shared.head.read(), id, identity))?;
        }
        Ok(())
    }
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            times: Vec::new(),
            overlap: false,
            groups: Vec::new(),
            identities: Vec::new(),
            scattered: Vec::new(),
            windows: OnceLock::new(),
            morsels_left: AtomicUsize::new(0),
        }
    }
}

impl Unit {
    /// Adds a place with `series` (identity, and where in the place); `group` tells the group of the series `k`.
    fn add(
        &mut self,
        rank: usize,
        source: Source,
        windows: Vec<Window>,
        series: impl ExactSizeIterator<Item = (u64, u32)> + Clone,
        mut group: impl FnMut(usize) -> Result<u32>,
    ) -> Result<()> {
        let mut members = Vec::with_capacity(series.len());
        let known = series.len() == self.identities.len()
            && series
                .clone()
                .zip(&self.identities)
                .all(|((identity, _), known)| identity == *known);
        if known {
            members.extend(series.map(|(_, offset)| offset));
        } else if self.identities.is_empty() {
            for (k, (identity, offset)) in series.enumerate() {
                self.identities.push(identity);
                self.groups.push(group(k)?);
                members.push(offset);
            }
        } else {
            let known = self.identities.iter().zip(0u32..).map(|(i, member)| (*i, member));
            let places: FxHashMap<u64, u32> = known.collect();
            members.resize(self.identities.len(), NOWHERE);
            for (k, (identity, offset)) in series.enumerate() {
                match places.get(&identity) {
                    Some(member) => members[*member as usize] = offset,
                    None => {
                        self.identities.push(identity);
                        self.groups.push(group(k)?);
                        members.push(offset);
                    }
                }
            }
        }
        let is_complete = false;
        let rolled = None;
        self.places.push(Place { rank, source, members, windows, rolled, is_complete });
        Ok(())
    }

    /// Now that all places are there.
    fn put_in_order(&mut self) {
        for place in &mut self.places {
            place.members.resize(self.identities.len(), NOWHERE);
            place.is_complete = place.members.iter().all(|offset| *offset != NOWHERE);
        }
        let first = |place: &Place| place.times().next().copied();
        self.places.sort_by_key(first);
        self.overlap =
            self.places.windows(2).any(|pair| pair[0].times().last() >= pair[1].times().next());
        self.times = self.places.iter().flat_map(Place::times).copied().collect();
    }
}

impl Unit {
    /// Whether some place has roll-ups that are wanted.
    pub(super) fn has_roll_ups(&self) -> bool {
        self.places.iter().any(|place| place.rolled.is_some())
    }

    /// The windows of its times.
    pub(super) fn windows(&self) -> &[RollUpWindow] {
        self.windows
            .get_or_init(|| RollUpWindow::of(&self.times).into_iter().map(|w| w.0).collect())
    }
}

impl Place {
    /// Times of the wanted rows.
    pub(super) fn times(&self) -> impl Iterator<Item = &i64> {
        self.windows.iter().flat_map(|window| window.times())
    }

    /// How many these are.
    pub(super) fn rows(&self) -> usize {
        self.windows.iter().map(|window| window.times().len()).sum()
    }
}

/// Takes the series out of their units that are in several, or whose samples overlap.
fn find_scattered(units: &mut [Unit]) -> Vec<Scattered> {
    let mut first: FxHashMap<u64, (u32, u32)> = FxHashMap::default();
    let mut found: FxHashMap<u64, usize> = FxHashMap::default();
    let mut scattered: Vec<Scattered> = Vec::new();
    let doubtful = doubtful(units);
    let mut taken: Vec<(usize, u32)> = Vec::new();
    for (u, unit) in (0u32..).zip(units.iter()) {
        for (m, identity) in (0u32..).zip(&unit.identities) {
            let here = (u as usize, m);
            let is_doubtful = !doubtful.is_empty() && doubtful.contains(identity);
            let before = if is_doubtful { first.insert(*identity, (u, m)) } else { None };
            if before.is_none() && !unit.overlap {
                continue;
            }
            let number = *found.entry(*identity).or_insert_with(|| {
                let group = unit.groups[m as usize];
                scattered.push(Scattered { group, places: Vec::new() });
                scattered.len() - 1
            });
            let places = &mut scattered[number].places;
            // The one before was the first of its kind, and is taken only now.
            if let Some((u, m)) = before.map(|(u, m)| (u as usize, m))
                && !places.contains(&(u, m))
            {
                places.push((u, m));
                taken.push((u, m));
            }
            places.push(here);
            taken.push(here);
        }
    }
    for (unit, member) in taken {
        units[unit].scattered.push(member);
    }
    units.iter_mut().for_each(|unit| unit.scattered.sort_unstable());
    scattered
}

/// Identities of which some unit may have one that another has, too; a few of them are in one place only.
fn doubtful(units: &[Unit]) -> FxHashSet<u64> {
    let mut doubtful = FxHashSet::default();
    if units.len() < 2 {
        return doubtful;
    }
    let total: usize = units.iter().map(|unit| unit.identities.len()).sum();
    // A bit by the low bits of each identity: small enough for the processor's caches, where a table of all is not.
    let bits = (total * SEEN_BITS).next_power_of_two().max(64);
    let mut seen = vec![0u64; bits / 64];
    for identity in units.iter().flat_map(|unit| &unit.identities) {
        let bit = usize::try_from(*identity & (bits as u64 - 1)).unwrap_or(0);
        let (word, mask) = (&mut seen[bit / 64], 1u64 << (bit % 64));
        if *word & mask != 0 {
            doubtful.insert(*identity);
        }
        *word |= mask;
    }
    doubtful
}

fn cut(units: &mut [Unit], scattered: usize) -> Vec<Morsel> {
    let mut morsels = Vec::new();
    for (u, unit) in units.iter_mut().enumerate() {
        let members = unit.identities.len();
        if unit.scattered.len() == members {
            continue;
        }
        let before = morsels.len();
        // Stripes of a part stay whole, so that their pages are read once.
        let by_part = unit.places.iter().find(|p| matches!(p.source, Source::Part(..)));
        let mut start = 0;
        while start < members {
            let mut end = (start + MORSEL_SERIES).min(members);
            if let Some(place) = by_part.filter(|_| end < members) {
                let stripe = |member: usize| place.members[member] as usize / SERIES_MAX;
                while end > start + 1 && stripe(end) == stripe(end - 1) {
                    end -= 1;
                }
                if end <= start + 1 {
                    end = (start + MORSEL_SERIES).min(members);
                }
            }
            morsels.push(Morsel::Members(u, start..end));
            start = end;
        }
        *unit.morsels_left.get_mut() = morsels.len() - before;
    }
    let starts = (0..scattered).step_by(MORSEL_SERIES);
    morsels.extend(starts.map(|s| Morsel::Scattered(s..(s + MORSEL_SERIES).min(scattered))));
    morsels
}
