//! The merge itself: some parts of a day as one.
//!
//! Owns: which series go to which target, which columns are copied and which are joined and encoded anew. Does not own:
//! what of a target's rows lies where ([`layout`]), the parts' bytes ([`part`](crate::part)).
//!
//! Target by target, of which only one stripe per input is in memory; series with timestamps of their own are all
//! collected.

mod layout;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Labels, Result};
use rustc_hash::FxHashMap;

use self::layout::Layout;
use super::Pace;
use crate::column::Column;
use crate::cuts::{Cuts, Tombstone};
use crate::flush::{DayParts, add_histograms, add_loose};
use crate::histograms::{self, Samples, settle};
use crate::index::Target;
use crate::part::{Part, PartBuilder, day_of};
use crate::scan::{Joiner, PartScan, Piece, Pieces};
use crate::shard::Shared;

/// One series in one of the inputs.
#[derive(Debug, Clone, Copy)]
struct Member {
    identity: u64,
    input: usize,
    id: usize,
}

/// Key of series without a target of their own.
const LOOSE: u32 = u32::MAX;

/// What is merged.
struct Inputs<'a> {
    shared: &'a Shared,
    parts: &'a [Arc<Part>],
    scans: Vec<PartScan<'a>>,
    cuts: Vec<Cuts>,
}

impl<'a> Inputs<'a> {
    fn open(
        shared: &'a Shared,
        parts: &'a [Arc<Part>],
        tombstones: &[Arc<Tombstone>],
    ) -> Result<Self> {
        let mut scans = Vec::with_capacity(parts.len());
        let mut cuts = Vec::with_capacity(parts.len());
        let retention = shared.retention();
        for part in parts {
            let scan = PartScan::new(part, i64::MIN, i64::MAX);
            let scan = scan.inspect_err(|e| shared.note_damage(part, e))?;
            cuts.push(Cuts::of(part, &scan.index, tombstones, &retention, (i64::MIN, i64::MAX)));
            scans.push(scan);
        }
        Ok(Self { shared, parts, scans, cuts })
    }

    /// All samples that series `id` of input `input` keeps.
    fn read(&mut self, input: usize, id: usize, pieces: &mut Pieces) -> Result<()> {
        let (scan, cuts) = (&mut self.scans[input], &self.cuts[input]);
        let index = Arc::clone(&scan.index);
        let Some(target) = index.target_of(id) else { return Ok(()) };
        let found = scan.stripe(target, &[id - target.first_series], &mut |_, piece| {
            pieces.extend(cuts.piece(id, piece));
            Ok(())
        });
        self.check(input, found)
    }

    /// Sets input `input` aside if `outcome` says that it is damaged.
    fn check<T>(&self, input: usize, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|e| self.shared.note_damage(&self.parts[input], e))
    }
}

/// Writes `parts` to `output`, without what is hidden.
pub(super) fn write(
    shared: &Shared,
    parts: &[Arc<Part>],
    tombstones: &[Arc<Tombstone>],
    output: &mut DayParts<'_>,
    pace: &mut Pace,
) -> Result<()> {
    let mut inputs = Inputs::open(shared, parts, tombstones)?;
    let keys: BTreeSet<String> = inputs
        .scans
        .iter()
        .flat_map(|scan| scan.index.targets().iter().map(|target| target.key.clone()))
        .filter(|key| !key.is_empty())
        .collect();
    let keys: Vec<String> = keys.into_iter().collect();
    let mut loose: Vec<(Labels, Piece)> = Vec::new();
    let places = Places::find(&inputs.scans, &keys);
    for number in (0u32..).take(keys.len()).chain([LOOSE]) {
        let group = by_labels(&inputs.scans, &places.members(&inputs.scans, number));
        let mut target = match keys.get(number as usize) {
            Some(key) if !group.is_empty() => TargetMerge::new(&mut inputs, key, output.cold())?,
            _ => None,
        };
        for (labels, places) in group {
            pace.step(shared)?;
            if let Some(target) = &mut target
                && target.copy(&mut inputs, &labels, &places, output)?
            {
                continue;
            }
            let mut pieces = Pieces::new();
            for (input, id) in places {
                inputs.read(input, id, &mut pieces)?;
            }
            let Some(piece) = Joiner::default().join(pieces) else { continue };
            let is_added = match &mut target {
                Some(target) => target.add(&labels, &piece, output)?,
                None => false,
            };
            if !is_added {
                loose.push((labels, piece));
            }
        }
    }
    let loose =
        loose.into_iter().map(|(labels, piece)| (labels, piece.times.to_vec(), piece.values));
    add_loose(output, loose)?;
    write_histograms(shared, parts, (&inputs.scans, &inputs.cuts), output, pace)
}

/// One target of the output.
struct TargetMerge<'k> {
    key: &'k str,
    layout: Layout,
    day: i64,
    is_started: bool,
}

impl<'k> TargetMerge<'k> {
    /// `None` when the inputs have no rows of it.
    fn new(inputs: &mut Inputs<'_>, key: &'k str, cold: bool) -> Result<Option<Self>> {
        let layout = Layout::find(inputs, key, cold)?;
        let day = layout.grid.first().map(|first| day_of(*first));
        Ok(day.map(|day| Self { key, layout, day, is_started: false }))
    }

    /// Starts the target before its first series.
    fn start<'o, 'a>(&mut self, output: &'o mut DayParts<'a>) -> Result<&'o mut PartBuilder> {
        let builder = output.day(self.day)?;
        if !self.is_started {
            self.is_started = true;
            builder.target_in_chunks(self.key, &self.layout.grid, &self.layout.lengths)?;
        }
        Ok(builder)
    }

    /// Adds a series by its samples; false if it has one at a time that the target has not.
    fn add(&mut self, labels: &Labels, piece: &Piece, output: &mut DayParts<'_>) -> Result<bool> {
        let Some(column) = on_grid(&self.layout.grid, piece) else { return Ok(false) };
        self.start(output)?.series(labels, column)?;
        Ok(true)
    }

    /// Adds a series chunk by chunk, copied where that can be; false if some place (input, number) of it is in another
    /// target.
    fn copy(
        &mut self,
        inputs: &mut Inputs<'_>,
        labels: &Labels,
        places: &[(usize, usize)],
        output: &mut DayParts<'_>,
    ) -> Result<bool> {
        let is_here = |(input, id): &(usize, usize)| {
            inputs.scans[*input].index.target_of(*id).is_some_and(|target| target.key == self.key)
        };
        if !places.iter().all(is_here) {
            return Ok(false);
        }
        if !self.layout.is_copied {
            let column = self.layout.column(inputs, places)?;
            if !column.is_empty() {
                self.start(output)?.series(labels, column)?;
            }
            return Ok(true);
        }
        let cells = self.layout.cells(inputs, places)?;
        if cells.iter().any(|cell| cell.values() > 0) {
            self.start(output)?.series_in_chunks(labels, &cells)?;
        }
        Ok(true)
    }
}

/// The piece as a column over `grid`; `None` if it has a time that the grid has not.
fn on_grid(grid: &[i64], piece: &Piece) -> Option<Column> {
    if piece.times.len() == grid.len() && piece.times[..] == *grid {
        return Some(Column { valid: None, values: piece.values.clone() });
    }
    let mut column = Column::default();
    let mut row = 0;
    for (t, value) in piece.times.iter().zip(&piece.values) {
        row += grid.get(row..)?.iter().take_while(|g| *g < t).count();
        if grid.get(row) != Some(t) {
            return None;
        }
        column.push(row, *value);
    }
    column.finish(grid.len());
    Some(column)
}

/// Histograms of all inputs, series by series.
fn write_histograms(
    shared: &Shared,
    inputs: &[Arc<Part>],
    (scans, cuts): (&[PartScan<'_>], &[Cuts]),
    output: &mut DayParts<'_>,
    pace: &mut Pace,
) -> Result<()> {
    let mut found: BTreeMap<Labels, Vec<(usize, u32)>> = BTreeMap::new();
    for (input, (part, scan)) in inputs.iter().zip(scans).enumerate() {
        let ids = histograms::ids(part).inspect_err(|e| shared.note_damage(part, e))?;
        for id in ids {
            found.entry(scan.index.labels(id as usize)).or_default().push((input, id));
        }
    }
    for (labels, places) in found {
        pace.step(shared)?;
        let mut samples = Samples::new();
        for (input, id) in places {
            let ids = std::iter::once(id).collect();
            let part = &inputs[input];
            histograms::scan(part, &ids, (i64::MIN, i64::MAX), &mut |_, more| {
                samples.extend(cuts[input].samples(id as usize, more));
                Ok(())
            })
            .inspect_err(|e| shared.note_damage(part, e))?;
        }
        if !samples.is_empty() {
            add_histograms(output, &labels, &settle(samples))?;
        }
    }
    Ok(())
}

/// Which target each series will have: the first by key of those it has in the inputs. Only this is kept of each series
/// until it is its target's turn, as there are very many.
struct Places {
    /// Number of the key by identity.
    keys: FxHashMap<u64, u32>,
    /// Input and place there of the targets of each key.
    targets: BTreeMap<u32, Vec<(usize, usize)>>,
    /// Series that will have another target than in their input, by its number.
    moved: BTreeMap<u32, Vec<Member>>,
}

/// Number of a target's key.
fn number_of(keys: &[String], target: &Target) -> u32 {
    let number = keys.binary_search(&target.key).ok().and_then(|k| u32::try_from(k).ok());
    number.unwrap_or(LOOSE)
}

/// The series of a target of an input.
fn members_of(scan: &PartScan<'_>, input: usize, target: &Target) -> impl Iterator<Item = Member> {
    let ids = target.first_series..target.first_series + target.series;
    let index = Arc::clone(&scan.index);
    ids.map(move |id| Member { identity: index.identity(id), input, id })
}

impl Places {
    fn find(scans: &[PartScan<'_>], keys: &[String]) -> Self {
        let mut targets: BTreeMap<u32, Vec<(usize, usize)>> = BTreeMap::new();
        for (input, scan) in scans.iter().enumerate() {
            for (place, target) in scan.index.targets().iter().enumerate() {
                targets.entry(number_of(keys, target)).or_default().push((input, place));
            }
        }
        let each = |f: &mut dyn FnMut(u32, Member)| {
            for (number, places) in &targets {
                for (input, place) in places {
                    let target = &scans[*input].index.targets()[*place];
                    members_of(&scans[*input], *input, target).for_each(|m| f(*number, m));
                }
            }
        };
        let largest = scans.iter().map(|scan| scan.index.series_count()).max().unwrap_or(0);
        let mut found: FxHashMap<u64, u32> = FxHashMap::default();
        found.reserve(largest);
        each(&mut |number, member| {
            let first = found.entry(member.identity).or_insert(number);
            *first = number.min(*first);
        });
        let mut moved: BTreeMap<u32, Vec<Member>> = BTreeMap::new();
        each(&mut |number, member| match found.get(&member.identity) {
            Some(first) if *first != number => moved.entry(*first).or_default().push(member),
            _ => {}
        });
        Self { keys: found, targets, moved }
    }

    /// The series that will have target number `number`, in order of sequence.
    fn members(&self, scans: &[PartScan<'_>], number: u32) -> Vec<Member> {
        let mut members = self.moved.get(&number).cloned().unwrap_or_default();
        for (input, place) in self.targets.get(&number).into_iter().flatten() {
            let target = &scans[*input].index.targets()[*place];
            let stay = |m: &Member| self.keys.get(&m.identity) == Some(&number);
            members.extend(members_of(&scans[*input], *input, target).filter(stay));
        }
        members.sort_by_key(|member| member.input);
        members
    }
}

/// Series of a group by labels, with their places in order of sequence.
fn by_labels(scans: &[PartScan<'_>], group: &[Member]) -> BTreeMap<Labels, Vec<(usize, usize)>> {
    let mut found: BTreeMap<Labels, Vec<(usize, usize)>> = BTreeMap::new();
    for member in group {
        let labels = scans[member.input].index.labels(member.id);
        found.entry(labels).or_default().push((member.input, member.id));
    }
    found
}
