//! Merging the parts of a day, so that their number stays small and closed days take their final form.
//!
//! Owns: what to merge when, and the merge. Does not own: the parts' bytes ([`part`](crate::part)).
//!
//! Only neighbours in sequence are merged: then the newest sequence number of the result still orders it among the
//! others, and of two samples at the same time the later one keeps counting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use model::{ErrorKind, Labels, Result};
use rustc_hash::FxHashMap;

use crate::column::Column;
use crate::cuts::{Cuts, Tombstone};
use crate::flush::{DayParts, add_histograms, add_loose};
use crate::histograms::{self, Samples, settle};
use crate::index::Target;
use crate::part::{DAY_MS, Part, day_of};
use crate::postings::matching;
use crate::scan::{Joiner, PartScan, Piece, Pieces};
use crate::shard::Shared;

/// Parts of one level that are merged to one of the next.
const FAN_IN: usize = 8;
/// Late parts a closed day collects before it is written anew.
const LATE_PARTS: usize = 4;
/// How long after its end a day is closed.
const CLOSE_AFTER_MS: i64 = 10 * 60_000;
/// Level of a closed day's part.
const COLD_LEVEL: u8 = 100;
/// How often the merger looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// After working, the merger rests this many times as long: at most a quarter of a core.
const REST_FACTOR: u32 = 3;

/// The next merge, if one is due.
struct Due {
    inputs: Vec<Arc<Part>>,
    level: u8,
    cold: bool,
}

fn due(parts: &[Arc<Part>], now_ms: i64) -> Option<Due> {
    let mut days: BTreeMap<i64, Vec<&Arc<Part>>> = BTreeMap::new();
    for part in parts {
        days.entry(day_of(part.meta().first_ms)).or_default().push(part);
    }
    for (day, parts) in days {
        let inputs = || parts.iter().map(|part| Arc::clone(part)).collect();
        if (day + 1) * DAY_MS + CLOSE_AFTER_MS <= now_ms {
            let cold = parts.iter().any(|part| part.meta().cold);
            if !cold || parts.len() > LATE_PARTS {
                return Some(Due { inputs: inputs(), level: COLD_LEVEL, cold: true });
            }
            continue;
        }
        for run in parts.chunk_by(|a, b| a.meta().level == b.meta().level) {
            if run.len() >= FAN_IN {
                let level = run[0].meta().level.saturating_add(1);
                let inputs = run.iter().map(|part| Arc::clone(part)).collect();
                return Some(Due { inputs, level, cold: false });
            }
        }
    }
    None
}

/// Does one merge if one is due; whether it did.
pub(crate) fn merge_once(shared: &Shared) -> Result<bool> {
    let _merging = shared.merging.lock();
    let parts = shared.head.read().parts.clone();
    let Some(due) = due(&parts, shared.clock.now_ms()) else {
        return enforce_rules(shared, &parts);
    };
    let seqs = due.inputs.iter().map(|part| part.meta());
    let first_seq = seqs.clone().map(|meta| meta.first_seq).min().unwrap_or(0);
    let last_seq = seqs.map(|meta| meta.last_seq).max().unwrap_or(0);
    // A closed day written anew must not get the name of one of its inputs.
    let taken = due.inputs.iter().map(|part| part.meta().level).max().unwrap_or(0);
    let level =
        if taken >= due.level { taken.checked_add(1).unwrap_or(COLD_LEVEL) } else { due.level };
    let output = DayParts::new(shared, (first_seq, last_seq), level, due.cold);
    replace(shared, &due.inputs, output)?;
    drop_done(shared)?;
    Ok(true)
}

/// Writes `inputs` as `output`, without what is hidden, and makes that live instead; false when one of them is gone.
fn replace(shared: &Shared, inputs: &[Arc<Part>], output: DayParts<'_>) -> Result<bool> {
    let tombstones = shared.head.read().tombstones.clone();
    let mut output = output.under(tombstones.last().map_or(0, |tombstone| tombstone.number));
    let merged = write(shared, inputs, &tombstones, &mut output).and_then(|()| output.finish());
    merged.and_then(|names| shared.replace_parts(inputs, &names))
}

/// Writes a part anew without what is hidden.
fn rewrite(shared: &Shared, part: &Arc<Part>) -> Result<bool> {
    let meta = part.meta();
    let seqs = (meta.first_seq, meta.last_seq);
    let output = DayParts::new(shared, seqs, meta.level, meta.cold).instead_of(part);
    replace(shared, std::slice::from_ref(part), output)
}

/// Writes one part of a closed day anew that has series of which nothing in it is inside retention; whether it did.
fn enforce_rules(shared: &Shared, parts: &[Arc<Part>]) -> Result<bool> {
    let retention = shared.retention();
    if retention.rules.is_empty() {
        return Ok(false);
    }
    for part in parts.iter().filter(|part| part.meta().cold) {
        let over = retention.expired(part.meta().last_ms);
        if over & !part.settled() == 0 {
            continue;
        }
        let index = part.index().inspect_err(|e| shared.note_damage(part, e))?;
        if retention.has_expired(&index, part.meta().last_ms) {
            return rewrite(shared, part);
        }
        part.settle(over);
    }
    Ok(false)
}

/// Writes all parts anew that have something under a tombstone, and forgets the tombstones; returns how many parts.
pub(crate) fn clean_tombstones(shared: &Shared) -> Result<usize> {
    let _merging = shared.merging.lock();
    let parts = shared.head.read().parts.clone();
    let mut rewritten = 0;
    for part in parts {
        if needs_tombstone(shared, &part)? {
            rewritten += usize::from(rewrite(shared, &part)?);
        }
    }
    drop_done(shared)?;
    Ok(rewritten)
}

fn needs_tombstone(shared: &Shared, part: &Arc<Part>) -> Result<bool> {
    let tombstones = shared.head.read().tombstones.clone();
    for tombstone in tombstones.iter().filter(|tombstone| tombstone.concerns(part)) {
        if has_series(shared, part, tombstone)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_series(shared: &Shared, part: &Arc<Part>, tombstone: &Tombstone) -> Result<bool> {
    let index = part.index().inspect_err(|e| shared.note_damage(part, e))?;
    Ok(!matching(&*index, &tombstone.matchers).is_empty())
}

/// Forgets tombstones that no part needs any more. The caller holds `merging`, so parts only come by flushes, which no
/// tombstone made before concerns.
fn drop_done(shared: &Shared) -> Result<()> {
    let (parts, tombstones) = {
        let head = shared.head.read();
        (head.parts.clone(), head.tombstones.clone())
    };
    let mut done = Vec::new();
    for tombstone in tombstones {
        let mut is_needed = false;
        for part in parts.iter().filter(|part| tombstone.concerns(part)) {
            is_needed = is_needed || has_series(shared, part, &tombstone)?;
        }
        if !is_needed {
            done.push(tombstone);
        }
    }
    if done.is_empty() { Ok(()) } else { shared.drop_tombstones(&done) }
}

/// One series in one of the inputs.
#[derive(Debug, Clone, Copy)]
struct Member {
    identity: u64,
    input: usize,
    id: usize,
}

/// Key of series without a target of their own.
const LOOSE: u32 = u32::MAX;

fn write(
    shared: &Shared,
    inputs: &[Arc<Part>],
    tombstones: &[Arc<Tombstone>],
    output: &mut DayParts<'_>,
) -> Result<()> {
    let mut scans = Vec::with_capacity(inputs.len());
    let mut cuts = Vec::with_capacity(inputs.len());
    let retention = shared.retention();
    for part in inputs {
        let scan = PartScan::new(part, i64::MIN, i64::MAX);
        let scan = scan.inspect_err(|e| shared.note_damage(part, e))?;
        cuts.push(Cuts::of(part, &scan.index, tombstones, &retention, (i64::MIN, i64::MAX)));
        scans.push(scan);
    }
    let keys: BTreeSet<String> = scans
        .iter()
        .flat_map(|scan| scan.index.targets().iter().map(|target| target.key.clone()))
        .filter(|key| !key.is_empty())
        .collect();
    let keys: Vec<String> = keys.into_iter().collect();
    let mut loose: Vec<(Labels, Piece)> = Vec::new();
    let places = Places::find(&scans, &keys);
    for number in (0u32..).take(keys.len()).chain([LOOSE]) {
        let key = keys.get(number as usize);
        let group = places.members(&scans, number);
        if group.is_empty() {
            continue;
        }
        let grid = match key {
            Some(key) => grid(inputs, &mut scans, key, shared)?,
            None => Vec::new(),
        };
        let mut started = BTreeSet::new();
        for (labels, places) in by_labels(&scans, &group) {
            let mut pieces = Pieces::new();
            for (input, id) in places {
                read(&mut scans[input], &cuts[input], id, &mut pieces)
                    .inspect_err(|e| shared.note_damage(&inputs[input], e))?;
            }
            let Some(piece) = Joiner::default().join(pieces) else { continue };
            let Some(first) = piece.times.first() else { continue };
            match (key, on_grid(&grid, &piece)) {
                (Some(key), Some(column)) => {
                    let day = day_of(*first);
                    let builder = output.day(day)?;
                    if started.insert(day) {
                        builder.target(key, &grid)?;
                    }
                    builder.series(&labels, column)?;
                }
                _ => loose.push((labels, piece)),
            }
        }
    }
    let loose =
        loose.into_iter().map(|(labels, piece)| (labels, piece.times.to_vec(), piece.values));
    add_loose(output, loose)?;
    write_histograms(shared, inputs, (&scans, &cuts), output)
}

/// Histograms of all inputs, series by series.
fn write_histograms(
    shared: &Shared,
    inputs: &[Arc<Part>],
    (scans, cuts): (&[PartScan<'_>], &[Cuts]),
    output: &mut DayParts<'_>,
) -> Result<()> {
    let mut found: BTreeMap<Labels, Vec<(usize, u32)>> = BTreeMap::new();
    for (input, (part, scan)) in inputs.iter().zip(scans).enumerate() {
        let ids = histograms::ids(part).inspect_err(|e| shared.note_damage(part, e))?;
        for id in ids {
            found.entry(scan.index.labels(id as usize)).or_default().push((input, id));
        }
    }
    for (labels, places) in found {
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

/// All timestamps that target `key` has in the inputs.
fn grid(
    inputs: &[Arc<Part>],
    scans: &mut [PartScan<'_>],
    key: &str,
    shared: &Shared,
) -> Result<Vec<i64>> {
    let mut all = Vec::new();
    for (part, scan) in inputs.iter().zip(scans) {
        let index = Arc::clone(&scan.index);
        for target in index.targets().iter().filter(|target| target.key == key) {
            for chunk in 0..target.chunks() {
                let window = scan.window(target, chunk);
                let window = window.inspect_err(|e| shared.note_damage(part, e))?;
                all.extend_from_slice(window.times());
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn read(scan: &mut PartScan<'_>, cuts: &Cuts, id: usize, pieces: &mut Pieces) -> Result<()> {
    let index = Arc::clone(&scan.index);
    let Some(target) = index.target_of(id) else { return Ok(()) };
    scan.stripe(target, &[id - target.first_series], &mut |_, piece| {
        pieces.extend(cuts.piece(id, piece));
        Ok(())
    })
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

/// Does one merge in whichever shard one is due; a shard that fails does not keep the others from theirs.
fn merge_any(shards: &[Arc<Shared>]) -> Result<bool> {
    let mut failed = Ok(false);
    for shared in shards {
        match merge_once(shared) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(e) => failed = Err(e),
        }
    }
    failed
}

/// The merger's thread: works when woken or by itself now and then, until `wake` is closed.
pub(crate) fn run(shards: &[Arc<Shared>], wake: &Receiver<()>) {
    let Some(clock) = shards.first().map(|shared| Arc::clone(&shared.clock)) else { return };
    loop {
        match wake.recv_timeout(LOOK_EVERY) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        loop {
            let started_ns = clock.monotonic_ns();
            match merge_any(shards) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) if e.kind() == ErrorKind::Corrupt => {}
                Err(e) => {
                    tracing::warn!(error = %e, "merge of metric parts failed; it will be tried again");
                    break;
                }
            }
            let worked_ns = clock.monotonic_ns().saturating_sub(started_ns);
            let rest = Duration::from_nanos(worked_ns.unsigned_abs()) * REST_FACTOR;
            match wake.recv_timeout(rest) {
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
