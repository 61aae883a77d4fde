//! Aggregation over series: groups of rows become one row, or the rows of a group are thinned out.

use model::{Budget, Error, Grouping, Labels, LabelsBuilder, Result};
use rustc_hash::FxHashMap;

use super::numeric::{Mean, Sum, Variance, nan_first, quantile};
use super::projection::{Numbering, Projection};
use super::{ABSENT, Cell, Row, is_absent, is_metadata_label, is_present};
use crate::histogram;
use crate::syntax::format_float;

/// An aggregation that makes one value of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduce {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    /// 1 wherever there is a value.
    Group,
    StdDev,
    StdVar,
    Quantile,
}

/// Rows that belong together.
pub(crate) struct Group {
    /// What they have in common, by the grouping.
    pub(crate) labels: Labels,
    /// Whether a name among `labels` is to be dropped.
    pub(crate) drop_name: bool,
    /// Their places among the rows.
    pub(crate) members: Vec<usize>,
}

/// Splits `rows` by `grouping`, in order of first appearance.
pub(crate) fn group(rows: &[Row], grouping: &Grouping) -> Vec<Group> {
    let mut numbering = Numbering::new(Projection::new(&grouping.labels, grouping.without));
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let number = numbering.number(&row.labels);
        if number == members.len() {
            members.push(Vec::new());
        }
        members[number].push(place);
    }
    let keeps_metadata = !grouping.without && grouping.labels.iter().any(|l| is_metadata_label(l));
    let with_labels = |(labels, members): (Labels, Vec<usize>)| Group {
        labels,
        drop_name: keeps_metadata && members.iter().any(|m| rows[*m].drop_name),
        members,
    };
    numbering.keys().zip(members).map(with_labels).collect()
}

/// One row per group of `rows`, which are all numbers (see [`super::mixed`]), each of `steps` values. `param` is the
/// quantile at each step, of [`Reduce::Quantile`].
///
/// # Errors
/// Those of `budget`.
pub(crate) fn reduce(
    op: Reduce,
    rows: &[Row],
    grouping: &Grouping,
    param: &[f64],
    steps: usize,
    budget: &Budget,
) -> Result<Vec<Row>> {
    let mut result = Vec::new();
    for group in group(rows, grouping) {
        budget.check()?;
        budget.charge_bytes(steps as u64 * 8 + 64)?;
        let values = reduced(op, &group, rows, param, steps);
        let Group { labels, drop_name, .. } = group;
        result.push(Row { labels, drop_name, values, histograms: None });
    }
    result.retain(Row::any);
    Ok(result)
}

/// The value of `group` at each step, of its numbers.
pub(super) fn reduced(
    op: Reduce,
    group: &Group,
    rows: &[Row],
    param: &[f64],
    steps: usize,
) -> Vec<f64> {
    let members = || group.members.iter().map(|m| rows[*m].values.as_slice());
    match op {
        Reduce::Sum => fold(steps, members(), Sum::default(), Sum::add, |s, _| s.value()),
        Reduce::Avg => fold(steps, members(), Mean::default(), Mean::add, |m, _| m.value()),
        Reduce::Min => fold(steps, members(), f64::NAN, |m, x| *m = lesser(*m, x), |m, _| m),
        Reduce::Max => fold(steps, members(), f64::NAN, |m, x| *m = greater(*m, x), |m, _| m),
        Reduce::Count => fold(steps, members(), (), |(), _| {}, |(), n| f64::from(n)),
        Reduce::Group => fold(steps, members(), (), |(), _| {}, |(), _| 1.0),
        Reduce::StdVar => {
            fold(steps, members(), Variance::default(), Variance::add, |v, _| v.value())
        }
        Reduce::StdDev => {
            fold(steps, members(), Variance::default(), Variance::add, |v, _| v.value().sqrt())
        }
        Reduce::Quantile => quantiles(steps, group, rows, param),
    }
}

/// Runs an accumulator per step over the members' rows, one row after the other.
fn fold<'r, A: Copy>(
    steps: usize,
    members: impl Iterator<Item = &'r [f64]>,
    start: A,
    add: impl Fn(&mut A, f64),
    finish: impl Fn(A, u32) -> f64,
) -> Vec<f64> {
    let mut cells = vec![(start, 0_u32); steps];
    for values in members {
        for (cell, value) in cells.iter_mut().zip(values) {
            if is_present(*value) {
                add(&mut cell.0, *value);
                cell.1 += 1;
            }
        }
    }
    cells.into_iter().map(|(a, n)| if n == 0 { ABSENT } else { finish(a, n) }).collect()
}

fn lesser(m: f64, x: f64) -> f64 {
    if m.is_nan() || m > x { x } else { m }
}

fn greater(m: f64, x: f64) -> f64 {
    if m.is_nan() || m < x { x } else { m }
}

fn quantiles(steps: usize, group: &Group, rows: &[Row], param: &[f64]) -> Vec<f64> {
    let mut column = Vec::with_capacity(group.members.len());
    (0..steps)
        .map(|step| {
            column.clear();
            let numbers = group.members.iter().map(|m| rows[*m].values[step]);
            column.extend(numbers.filter(|value| is_present(*value)));
            let q = param.get(step).copied().unwrap_or(f64::NAN);
            if column.is_empty() { ABSENT } else { quantile(q, &mut column) }
        })
        .collect()
}

/// Members of `group` that have a value at `step`, with that value; NaN for a histogram.
fn present_at<'a>(
    group: &'a Group,
    rows: &'a [Row],
    step: usize,
) -> impl Iterator<Item = (usize, f64)> + 'a {
    group.members.iter().filter_map(move |m| match rows[*m].cell(step)? {
        Cell::Number(value) => Some((*m, value)),
        Cell::Histogram(_) => Some((*m, f64::NAN)),
    })
}

/// Keeps, at each step, the members of each group that `choose` puts in front.
///
/// `choose` gets the step and the members present, and leaves those to keep, best first. With one step the rows come
/// out in that order, group after group.
fn thin_out(
    rows: Vec<Row>,
    grouping: &Grouping,
    steps: usize,
    budget: &Budget,
    mut choose: impl FnMut(usize, &mut Vec<(usize, f64)>),
) -> Result<Vec<Row>> {
    let groups = group(&rows, grouping);
    let mut kept: Vec<Option<Row>> = rows.iter().map(|_| None).collect();
    let mut order = Vec::new();
    let mut candidates = Vec::new();
    for group in &groups {
        budget.check()?;
        for step in 0..steps {
            candidates.clear();
            candidates.extend(present_at(group, &rows, step));
            choose(step, &mut candidates);
            for (member, _) in &candidates {
                let row = &rows[*member];
                let into = kept[*member].get_or_insert_with(|| {
                    order.push(*member);
                    Row::empty(row.labels.clone(), row.drop_name, steps)
                });
                into.copy_step(row, step);
            }
        }
    }
    if steps > 1 {
        order.sort_unstable();
    }
    Ok(order.into_iter().filter_map(|member| kept[member].take()).collect())
}

/// `param` at `step` as a count; values under 1 mean none.
fn count_at(param: &[f64], step: usize) -> usize {
    // Float to integer casts saturate; NaN was refused before.
    param.get(step).map_or(0, |k| if *k < 1.0 { 0 } else { *k as usize })
}

/// The `k` (per step) largest or smallest of each group of `rows`, which are all numbers; NaN comes last.
///
/// # Errors
/// Those of `budget`.
pub(crate) fn top(
    rows: Vec<Row>,
    grouping: &Grouping,
    k: &[f64],
    largest: bool,
    steps: usize,
    budget: &Budget,
) -> Result<Vec<Row>> {
    thin_out(rows, grouping, steps, budget, |step, candidates| {
        let better = |a: &(usize, f64), b: &(usize, f64)| match (a.1.is_nan(), b.1.is_nan()) {
            (false, false) if largest => b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)),
            (false, false) => a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)),
            (x, y) => x.cmp(&y).then(a.0.cmp(&b.0)),
        };
        let count = count_at(k, step);
        if count < candidates.len() {
            if count > 0 {
                candidates.select_nth_unstable_by(count - 1, better);
            }
            candidates.truncate(count);
        }
        candidates.sort_unstable_by(better);
    })
}

/// The first `k` (per step) of each group.
///
/// # Errors
/// Those of `budget`.
pub(crate) fn limit_count(
    rows: Vec<Row>,
    grouping: &Grouping,
    k: &[f64],
    steps: usize,
    budget: &Budget,
) -> Result<Vec<Row>> {
    thin_out(rows, grouping, steps, budget, |step, candidates| {
        candidates.truncate(count_at(k, step));
    })
}

/// About the share `ratio` (per step, in `[-1, 1]`) of the rows, chosen by a hash of their labels; `-x` is the
/// complement of `1 - x`.
///
/// # Errors
/// Those of `budget`.
pub(crate) fn limit_ratio(
    rows: Vec<Row>,
    grouping: &Grouping,
    ratio: &[f64],
    steps: usize,
    budget: &Budget,
) -> Result<Vec<Row>> {
    let shares: Vec<f64> = rows.iter().map(|row| hash_share(&row.labels)).collect();
    thin_out(rows, grouping, steps, budget, |step, candidates| {
        let ratio = ratio.get(step).copied().unwrap_or(0.0);
        candidates.retain(|(member, _)| {
            let share = shares[*member];
            if ratio >= 0.0 { share < ratio } else { share >= 1.0 + ratio }
        });
    })
}

/// A number in `[0, 1)` that depends on the labels alone.
fn hash_share(labels: &Labels) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (name, value) in labels.iter() {
        for byte in name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    // FNV leaves the high bits of short inputs alike; mix before using them.
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    ((hash ^ (hash >> 32)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// For each group and distinct value, how many members have it; the value goes into `label`.
///
/// # Errors
/// Those of `budget`.
pub(crate) fn count_values(
    rows: &[Row],
    grouping: &Grouping,
    label: &str,
    steps: usize,
    budget: &Budget,
) -> Result<Vec<Row>> {
    let mut counts =
        Counts { label, steps, budget, rows: Vec::new(), places: FxHashMap::default() };
    for group in group(rows, grouping) {
        budget.check()?;
        let mut by_bits: FxHashMap<u64, usize> = FxHashMap::default();
        for member in &group.members {
            let row = &rows[*member];
            for (step, value) in row.values.iter().enumerate() {
                if is_absent(*value) {
                    continue;
                }
                let place = match by_bits.get(&value.to_bits()) {
                    Some(place) => *place,
                    None => counts.place(&group.labels, &format_float(*value))?,
                };
                by_bits.insert(value.to_bits(), place);
                counts.add(place, step);
            }
            for (step, h) in row.histogram_steps() {
                let place = counts.place(&group.labels, &histogram::describe(h))?;
                counts.add(place, step);
            }
        }
    }
    Ok(counts.rows)
}

/// The rows that `count_values` makes.
struct Counts<'a> {
    label: &'a str,
    steps: usize,
    budget: &'a Budget,
    rows: Vec<Row>,
    places: FxHashMap<Labels, usize>,
}

impl Counts<'_> {
    /// The row of a group's value.
    fn place(&mut self, group: &Labels, value: &str) -> Result<usize> {
        let mut builder: LabelsBuilder = group.to_builder();
        builder.set(self.label, value);
        let labels = builder.build();
        let place = *self.places.entry(labels.clone()).or_insert(self.rows.len());
        if place == self.rows.len() {
            self.budget.charge_bytes(self.steps as u64 * 8 + 64)?;
            self.rows.push(Row::empty(labels, false, self.steps));
        }
        Ok(place)
    }

    fn add(&mut self, place: usize, step: usize) {
        let cell = &mut self.rows[place].values[step];
        *cell = if is_absent(*cell) { 1.0 } else { *cell + 1.0 };
    }
}

/// Refuses NaN among the parameters of `topk` and its like.
///
/// # Errors
/// `Invalid` saying `message`.
pub(crate) fn refuse_nan(param: &[f64], message: &str) -> Result<()> {
    if param.iter().any(|k| k.is_nan()) { Err(Error::invalid(message)) } else { Ok(()) }
}

/// Sorts `values` ascending with NaN last; shared by sorting functions.
pub(crate) fn nan_last(a: f64, b: f64) -> std::cmp::Ordering {
    if a.is_nan() || b.is_nan() { nan_first(b, a) } else { nan_first(a, b) }
}
