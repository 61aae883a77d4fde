//! Queries: one moment's view of head and parts, and what a plan wants of it.
//!
//! Owns: finding series and samples. Does not own: decoding ([`scan`](crate::scan), [`head`](crate::head)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    Budget, ErrorKind, Labels, Matcher, MetricPlan, Result, RetentionRule, Selected, SeriesData,
    TimeRange,
};
use roaring::RoaringBitmap;

use crate::column::Column;
use crate::cuts::{Cuts, Retention, Tombstone, without};
use crate::head::{TargetSamples, settle, tail_columns, tail_presence};
use crate::histograms::{self, Found, HeadHistograms};
use crate::part::Part;
use crate::postings::matching;
use crate::scan::{Gathered, Joiner, PartScan, Piece, Window, by_stripe};
use crate::shard::Shared;
use crate::store::Removal;

/// Milliseconds `[start, end]`, both inside.
type Range = (i64, i64);

/// Series of one index that match all matchers.
type MatchFn<'a> = dyn Fn(&[Matcher]) -> RoaringBitmap + 'a;

/// What a series costs a query besides its samples.
const SERIES_BYTES: u64 = 256;

/// Matching series of the head at one moment, with what is needed to decode them later.
struct View {
    parts: Vec<Arc<Part>>,
    /// By target: its samples, and the wanted columns with their labels.
    targets: Vec<(TargetSamples, Vec<(u32, Labels)>)>,
    loose: Vec<(Labels, Vec<(i64, u64)>)>,
    histograms: Vec<(Labels, HeadHistograms)>,
    tombstones: Vec<Arc<Tombstone>>,
}

impl View {
    /// Takes references under the lock; nothing is decoded.
    fn take(
        shared: &Shared,
        find: &dyn Fn(&MatchFn<'_>) -> RoaringBitmap,
        (start_ms, end_ms): (i64, i64),
    ) -> Self {
        let head = shared.head.read();
        let ids = find(&|matchers| matching(&head.registry, matchers));
        let mut columns: BTreeMap<u32, Vec<(u32, Labels)>> = BTreeMap::new();
        let (mut loose, mut histograms) = (Vec::new(), Vec::new());
        for id in ids {
            let Some(series) = head.registry.get(id) else { continue };
            let Some(labels) = head.registry.labels(id) else { continue };
            if let Some((target, column)) = series.home() {
                columns.entry(target).or_default().push((column, labels.clone()));
            }
            if let Some(samples) = head.loose.get(&id) {
                let inside = samples.iter().filter(|(t, _)| (start_ms..=end_ms).contains(t));
                let inside: Vec<(i64, u64)> = inside.copied().collect();
                if !inside.is_empty() {
                    loose.push((labels.clone(), inside));
                }
            }
            if let Some(samples) = head.histograms.get(&id) {
                histograms.push((labels, samples.clone()));
            }
        }
        let mut targets = Vec::with_capacity(columns.len());
        for (target, mut columns) in columns {
            let Some(samples) = head.targets.get(target as usize) else { continue };
            columns.sort_unstable_by_key(|(column, _)| *column);
            targets.push((samples.clone(), columns));
        }
        let parts = head.parts.iter().filter(|p| p.overlaps(start_ms, end_ms)).cloned().collect();
        let tombstones = head.tombstones.clone();
        Self { parts, targets, loose, histograms, tombstones }
    }
}

/// `plan`'s samples.
pub(crate) fn select(shared: &Shared, plan: &MetricPlan, budget: &Budget) -> Result<Selected> {
    let mut selected = Selected::default();
    let start_ms = plan.start_ms.max(shared.oldest_ms());
    let range = (start_ms, plan.end_ms);
    if start_ms > plan.end_ms {
        return Ok(selected);
    }
    budget.check()?;
    let retention = shared.retention();
    let view = View::take(shared, &|matching| matching(&plan.matchers), range);
    shared.quarantine_warnings(range, &mut selected.warnings);
    let (mut gathered, mut found) = (Gathered::default(), Found::default());
    for part in &view.parts {
        // What a damaged part gave before its damage was met is true, and stays.
        let hiding = (&view.tombstones[..], &retention);
        let outcome = select_part(part, plan, (range, hiding), budget, &mut gathered, &mut found);
        tolerate(shared, part, outcome, &mut selected.warnings)?;
    }
    select_head(&view, (range, &retention), budget, &mut gathered, &mut found)?;
    let mut joiner = Joiner::default();
    let join = |(number, (labels, pieces))| {
        let histograms = found.take(number);
        let piece = match joiner.join(pieces) {
            Some(piece) => histograms::beside(piece, &histograms),
            None if histograms.is_empty() => return None,
            None => Piece { times: Arc::from([]), values: Vec::new() },
        };
        Some(SeriesData {
            labels,
            timestamps: piece.times,
            values: piece.values,
            histograms,
            starts: None,
        })
    };
    selected.series = gathered.series.into_iter().enumerate().filter_map(join).collect();
    // Stable: it makes use of the order that parts already have.
    selected.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(selected)
}

/// Sets a corrupt part aside and says so; other errors end the query.
fn tolerate(
    shared: &Shared,
    part: &Arc<Part>,
    outcome: Result<()>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    match outcome {
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            warnings.push(shared.quarantine(part, &e));
            Ok(())
        }
        other => other,
    }
}

fn charge(budget: &Budget, samples: usize) -> Result<()> {
    budget.charge_samples(samples as u64)?;
    budget.charge_bytes(samples as u64 * 8)
}

fn select_part(
    part: &Part,
    plan: &MetricPlan,
    ((start_ms, end_ms), (tombstones, retention)): (Range, (&[Arc<Tombstone>], &Retention<'_>)),
    budget: &Budget,
    gathered: &mut Gathered,
    found: &mut Found,
) -> Result<()> {
    let mut scan = PartScan::new(part, start_ms, end_ms)?;
    let index = Arc::clone(&scan.index);
    let ids = matching(&*index, &plan.matchers);
    let cuts = Cuts::of(part, &index, tombstones, retention, (start_ms, end_ms));
    by_stripe(&index, ids.iter(), |target, offsets| {
        let mut numbers: Vec<Option<usize>> = vec![None; offsets.len()];
        scan.stripe(target, offsets, &mut |k, piece| {
            let Some(piece) = cuts.piece(target.first_series + offsets[k], piece) else {
                return Ok(());
            };
            charge(budget, piece.values.len())?;
            let number = match numbers[k] {
                Some(number) => number,
                None => {
                    budget.charge_bytes(SERIES_BYTES)?;
                    gathered.series(&index.labels(target.first_series + offsets[k]))
                }
            };
            numbers[k] = Some(number);
            gathered.series[number].1.push(piece);
            Ok(())
        })
    })?;
    histograms::scan(part, &ids, (start_ms, end_ms), &mut |id, samples| {
        let samples = cuts.samples(id as usize, samples);
        if samples.is_empty() {
            return Ok(());
        }
        budget.charge_bytes(SERIES_BYTES)?;
        found.add(gathered.series(&index.labels(id as usize)), samples, budget)
    })
}

fn select_head(
    view: &View,
    ((start_ms, end_ms), retention): (Range, &Retention<'_>),
    budget: &Budget,
    gathered: &mut Gathered,
    found: &mut Found,
) -> Result<()> {
    for (samples, columns) in &view.targets {
        let frames: Vec<_> = samples
            .frames
            .iter()
            .filter(|f| {
                f.times.first().is_some_and(|t| *t <= end_ms)
                    && f.times.last().is_some_and(|t| *t >= start_ms)
            })
            .collect();
        let mut times: Vec<i64> = frames.iter().flat_map(|f| f.times.iter().copied()).collect();
        times.extend(samples.tail.iter().map(|row| row.t_ms));
        let window = Window::new(&times, start_ms, end_ms);
        if window.is_empty() {
            continue;
        }
        let wanted: Vec<u32> = columns.iter().map(|(column, _)| *column).collect();
        let tails = tail_columns(&samples.tail, &wanted)?;
        for ((c, labels), tail) in columns.iter().zip(tails) {
            let mut column = Column::default();
            let mut rows = 0;
            for frame in &frames {
                column.append(rows, &frame.column(*c as usize)?, frame.times.len());
                rows += frame.times.len();
            }
            if rows == 0 {
                column = tail;
            } else {
                column.append(rows, &tail, samples.tail.len());
            }
            if let Some(piece) = window.cut(column).and_then(|p| young(retention, labels, p)) {
                charge(budget, piece.values.len())?;
                budget.charge_bytes(SERIES_BYTES)?;
                let number = gathered.series(labels);
                gathered.series[number].1.push(piece);
            }
        }
    }
    for (labels, samples) in &view.loose {
        let (times, values) = settle(samples);
        let piece = Piece { times: times.into(), values };
        let Some(piece) = young(retention, labels, piece) else { continue };
        charge(budget, piece.values.len())?;
        let number = gathered.series(labels);
        gathered.series[number].1.push(piece);
    }
    for (labels, samples) in &view.histograms {
        let start_ms = start_ms.max(retention.oldest_of(labels));
        let samples = samples.read(start_ms, end_ms)?;
        if !samples.is_empty() {
            budget.charge_bytes(SERIES_BYTES)?;
            found.add(gathered.series(labels), samples, budget)?;
        }
    }
    Ok(())
}

/// What is left of a piece of the head inside the retention of its series.
fn young(retention: &Retention<'_>, labels: &Labels, piece: Piece) -> Option<Piece> {
    if retention.rules.is_empty() {
        return Some(piece);
    }
    without(piece, &[(i64::MIN, retention.oldest_of(labels).saturating_sub(1))])
}

/// Milliseconds `[start, end]`, both inside, of a range in nanoseconds.
pub(crate) fn ms_range(shared: &Shared, range: TimeRange) -> (i64, i64) {
    let ceil = |ns: i64| ns.div_euclid(1_000_000) + i64::from(ns.rem_euclid(1_000_000) > 0);
    (ceil(range.start_ns).max(shared.oldest_ms()), ceil(range.end_ns).saturating_sub(1))
}

fn any_of(selectors: &[Vec<Matcher>], matching: &MatchFn<'_>) -> RoaringBitmap {
    if selectors.is_empty() {
        return matching(&[]);
    }
    let mut set = RoaringBitmap::new();
    for matchers in selectors {
        set |= matching(matchers);
    }
    set
}

/// Which parts of a listing can be answered from indexes alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// Visit their series like others.
    Visit,
    /// Leave them to the caller: every series of theirs counts.
    Skip,
}

/// Calls `f` with the labels of each series that matches and has a sample in range; more than once if it is in several
/// places. Returns the parts left out by `whole`.
fn for_each_series(
    shared: &Shared,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    budget: &Budget,
    whole: Whole,
    f: &mut dyn FnMut(&Labels) -> Result<()>,
) -> Result<Vec<Arc<Part>>> {
    let (start_ms, end_ms) = ms_range(shared, range);
    let mut left_out = Vec::new();
    if start_ms > end_ms {
        return Ok(left_out);
    }
    let retention = shared.retention();
    let view = View::take(shared, &|matching| any_of(selectors, matching), (start_ms, end_ms));
    let mut warnings = Vec::new();
    for part in &view.parts {
        budget.check()?;
        let is_inside = part.meta().first_ms >= start_ms && part.meta().last_ms <= end_ms;
        let is_whole =
            retention.rules.is_empty() && !view.tombstones.iter().any(|t| t.concerns(part));
        if is_inside && is_whole && whole == Whole::Skip {
            left_out.push(Arc::clone(part));
            continue;
        }
        let outcome = PartScan::new(part, start_ms, end_ms).and_then(|mut scan| {
            let index = Arc::clone(&scan.index);
            let ids = any_of(selectors, &|matchers| matching(&*index, matchers));
            let cuts = Cuts::of(part, &index, &view.tombstones, &retention, (start_ms, end_ms));
            let cut = cuts.series() & &ids;
            list_cut(part, &mut scan, (&cut, &cuts), (start_ms, end_ms), f)?;
            let ids = ids - cut;
            if is_inside {
                return ids.into_iter().try_for_each(|id| f(&index.labels(id as usize)));
            }
            by_stripe(&index, ids.iter(), |target, offsets| {
                let mut found = Vec::new();
                scan.presence(target, offsets, &mut |k| found.push(offsets[k]))?;
                found.into_iter().try_for_each(|o| f(&index.labels(target.first_series + o)))
            })?;
            histograms::presence(part, &index, &ids, (start_ms, end_ms), f)
        });
        tolerate(shared, part, outcome, &mut warnings)?;
    }
    if !retention.rules.is_empty() {
        let (mut gathered, mut found) = (Gathered::default(), Found::default());
        let range = ((start_ms, end_ms), &retention);
        select_head(&view, range, budget, &mut gathered, &mut found)?;
        gathered.series.iter().try_for_each(|(labels, _)| f(labels))?;
        return Ok(left_out);
    }
    for (samples, columns) in &view.targets {
        budget.check()?;
        let wanted: Vec<u32> = columns.iter().map(|(column, _)| *column).collect();
        let mut found = tail_presence(&samples.tail, &wanted, (start_ms, end_ms))?;
        for frame in &samples.frames {
            let window = Window::new(&frame.times, start_ms, end_ms);
            for (found, c) in found.iter_mut().zip(&wanted).filter(|_| !window.is_empty()) {
                *found = *found || window.cut(frame.column(*c as usize)?).is_some();
            }
        }
        for ((_, labels), _) in columns.iter().zip(found).filter(|(_, found)| *found) {
            f(labels)?;
        }
    }
    for (labels, _) in &view.loose {
        f(labels)?;
    }
    for (labels, samples) in &view.histograms {
        if !samples.read(start_ms, end_ms)?.is_empty() {
            f(labels)?;
        }
    }
    Ok(left_out)
}

/// Samples in parts that `rule` would remove, and their series.
pub(crate) fn preview(
    shared: &Shared,
    rule: &RetentionRule,
    budget: &Budget,
    series: &mut BTreeSet<Labels>,
) -> Result<Removal> {
    let end_ms = shared.clock.now_ms().saturating_sub(rule.retention_ms).saturating_sub(1);
    let range = (shared.oldest_ms(), end_ms);
    let mut removal = Removal::default();
    if range.0 > range.1 {
        return Ok(removal);
    }
    let retention = shared.retention();
    let view = View::take(shared, &|_| RoaringBitmap::new(), range);
    for part in &view.parts {
        let mut samples = 0u64;
        let outcome = PartScan::new(part, range.0, range.1).and_then(|mut scan| {
            let index = Arc::clone(&scan.index);
            let ids = matching(&*index, &rule.matchers);
            let cuts = Cuts::of(part, &index, &view.tombstones, &retention, range);
            let mut count = |id: usize, found: usize| {
                if found > 0 && series.insert(index.labels(id)) {
                    budget.charge_bytes(SERIES_BYTES)?;
                }
                samples += found as u64;
                budget.check()
            };
            by_stripe(&index, ids.iter(), |target, offsets| {
                scan.stripe(target, offsets, &mut |k, piece| {
                    let id = target.first_series + offsets[k];
                    count(id, cuts.piece(id, piece).map_or(0, |piece| piece.values.len()))
                })
            })?;
            histograms::scan(part, &ids, range, &mut |id, found| {
                count(id as usize, cuts.samples(id as usize, found).len())
            })
        });
        tolerate(shared, part, outcome, &mut Vec::new())?;
        let share = u128::from(part.file_bytes()) * u128::from(samples);
        let bytes = share / u128::from(part.meta().samples.max(1));
        removal.samples += samples;
        removal.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }
    Ok(removal)
}

/// Calls `f` for those of the series `cut` of which something is left.
fn list_cut(
    part: &Part,
    scan: &mut PartScan<'_>,
    (cut, cuts): (&RoaringBitmap, &Cuts),
    range: Range,
    f: &mut dyn FnMut(&Labels) -> Result<()>,
) -> Result<()> {
    let index = Arc::clone(&scan.index);
    by_stripe(&index, cut.iter(), |target, offsets| {
        let mut left = BTreeSet::new();
        scan.stripe(target, offsets, &mut |k, piece| {
            let id = target.first_series + offsets[k];
            if cuts.piece(id, piece).is_some() {
                left.insert(id);
            }
            Ok(())
        })?;
        left.into_iter().try_for_each(|id| f(&index.labels(id)))
    })?;
    histograms::scan(part, cut, range, &mut |id, samples| {
        if cuts.samples(id as usize, samples).is_empty() {
            return Ok(());
        }
        f(&index.labels(id as usize))
    })
}

pub(crate) fn series(
    shared: &Shared,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<Labels>> {
    let mut found = BTreeSet::new();
    for_each_series(shared, selectors, range, budget, Whole::Visit, &mut |labels| {
        if found.insert(labels.clone()) {
            budget.charge_bytes(SERIES_BYTES)?;
        }
        Ok(())
    })?;
    Ok(found.into_iter().collect())
}

/// Strings that `of_labels` takes from series, or `of_part` from the whole index of a part.
fn strings(
    shared: &Shared,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    budget: &Budget,
    of_labels: &dyn Fn(&Labels, &mut BTreeSet<String>),
    of_part: &dyn Fn(&crate::index::Index, &mut BTreeSet<String>),
) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    let whole = if selectors.is_empty() { Whole::Skip } else { Whole::Visit };
    let parts = for_each_series(shared, selectors, range, budget, whole, &mut |labels| {
        of_labels(labels, &mut found);
        Ok(())
    })?;
    for part in parts {
        let outcome = part.index().map(|index| of_part(&index, &mut found));
        tolerate(shared, &part, outcome, &mut Vec::new())?;
    }
    Ok(found.into_iter().collect())
}

pub(crate) fn label_names(
    shared: &Shared,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<String>> {
    let add = |name: &str, found: &mut BTreeSet<String>| {
        if !found.contains(name) {
            found.insert(name.to_owned());
        }
    };
    let of_labels = |labels: &Labels, found: &mut BTreeSet<String>| {
        labels.iter().for_each(|(name, _)| add(name, found));
    };
    let of_part = |index: &crate::index::Index, found: &mut BTreeSet<String>| {
        index.names().for_each(|name| add(name, found));
    };
    strings(shared, selectors, range, budget, &of_labels, &of_part)
}

pub(crate) fn label_values(
    shared: &Shared,
    name: &str,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<String>> {
    let of_labels = |labels: &Labels, found: &mut BTreeSet<String>| {
        if let Some(value) = labels.get(name)
            && !found.contains(value)
        {
            found.insert(value.to_owned());
        }
    };
    let of_part = |index: &crate::index::Index, found: &mut BTreeSet<String>| {
        found.extend(index.values(name).map(str::to_owned));
    };
    strings(shared, selectors, range, budget, &of_labels, &of_part)
}
