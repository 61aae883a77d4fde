//! Differences of native histograms over a window: `rate`, `increase`, `delta`, `irate`, `idelta`.

use model::{Budget, Histogram, ResetHint, Result};

use super::{Cell, Given, MixedSchemas, RangeSeries, Ranges, Remark, Remarks, Sample, Total};
use crate::histogram;
use crate::promql::evaluate::starts;
use crate::promql::evaluate::windows::{Difference, Extent, seconds};

/// Between which histograms of a series its counter started anew.
#[derive(Default)]
pub(super) struct Resets {
    /// Whether it did just before each.
    anew: Vec<bool>,
    /// Whether each says it counts since before the one before it.
    overlaps: Vec<bool>,
}

/// Histograms between two looks at the budget.
const HISTOGRAMS_PER_CHECK: usize = 64;

/// Looks for resets once, however many windows overlap.
///
/// # Errors
/// Those of `budget`.
pub(super) fn resets(series: &RangeSeries, budget: &Budget) -> Result<Resets> {
    let all = &series.histograms;
    let stamps = |i: usize| {
        let starts = series.starts.as_ref()?;
        Some((*starts.histograms.get(i)?, all[i].0))
    };
    let mut resets = Resets { anew: vec![false; all.len()], overlaps: vec![false; all.len()] };
    for i in 1..all.len() {
        if i % HISTOGRAMS_PER_CHECK == 0 {
            budget.check()?;
        }
        let neighbours = stamps(i - 1).zip(stamps(i));
        resets.anew[i] = neighbours.is_some_and(|(a, b)| starts::is_reset(a, b))
            || histogram::is_reset(&all[i].1, &all[i - 1].1);
        resets.overlaps[i] = neighbours.is_some_and(|(a, b)| starts::overlaps(a, b.0));
    }
    Ok(resets)
}

/// `rate`, `increase` or `delta` over a window with histograms.
pub(super) fn extrapolated(
    series: &RangeSeries,
    resets: &Resets,
    ranges: &Ranges,
    step: usize,
    difference: Difference,
    remarks: &mut Remarks,
) -> Given {
    let (from_ms, to_ms) = ranges.window_ms(step);
    let numbers = series.times.partition_point(|t| *t <= from_ms);
    if series.times.get(numbers).is_some_and(|t| *t <= to_ms) {
        remarks.add(Remark::MixedKinds);
        return Given::Nothing;
    }
    let all = &series.histograms;
    let low = all.partition_point(|(t, _)| *t <= from_ms);
    let high = all.partition_point(|(t, _)| *t <= to_ms);
    if low == high {
        return Given::Nothing;
    }
    let (last, counter) = (high - 1, difference.is_counter());
    let (first_ms, last_ms) = (all[low].0, all[last].0);
    let start = series.starts.as_ref().and_then(|starts| starts.histograms.get(low).copied());
    let start_ms = starts::usable(start.filter(|_| counter), from_ms, first_ms);
    let mut total = match (last - low, start_ms) {
        (0, None) => return Given::Nothing,
        (0, Some(_)) => Total::empty_like(&all[low].1),
        _ => match over(series, resets, (low, last), counter, remarks) {
            Ok(total) => total,
            Err(MixedSchemas) => {
                remarks.add(Remark::MixedSchemas);
                return Given::Nothing;
            }
        },
    };
    let first = &all[low].1;
    let zero_share =
        (counter && total.count() > 0.0 && first.count >= 0.0).then(|| first.count / total.count());
    if start_ms.is_some() {
        match total.add(first) {
            Ok(merged) if merged.reconciled => remarks.add(Remark::ReconciledInAddition),
            Ok(_) => {}
            Err(MixedSchemas) => {
                remarks.add(Remark::MixedSchemas);
                return Given::Nothing;
            }
        }
    }
    let extent = Extent { from_ms, to_ms, first_ms, last_ms, gaps: last - low };
    total.multiply(extent.factor(difference, ranges.range_ms, start_ms, zero_share));
    total.set_hint(ResetHint::Gauge);
    Given::Histogram(total.into_histogram())
}

/// The difference between the histograms at `low` and `last`, what was lost in resets added.
fn over(
    series: &RangeSeries,
    resets: &Resets,
    (low, last): (usize, usize),
    counter: bool,
    remarks: &mut Remarks,
) -> Result<Total, MixedSchemas> {
    let at = |i: usize| -> &Histogram { &series.histograms[i].1 };
    let anew = |i: usize| resets.anew.get(i).copied().unwrap_or(false);
    let mut own = Remarks::default();
    let is_gauge = |i: usize| at(i).hint == ResetHint::Gauge;
    // Before a reset at once there is nothing that would have to fit the rest.
    let from_zero = counter && anew(low + 1);
    let base = at(if from_zero { low + 1 } else { low });
    let custom = base.has_custom_bounds();
    if at(last).has_custom_bounds() != custom {
        return Err(MixedSchemas);
    }
    let mut schema = base.schema.min(at(last).schema);
    if counter {
        if (low..=last).any(is_gauge) {
            own.add(Remark::NotCounter);
        }
        for i in low + 1..last {
            schema = schema.min(at(i).schema);
            if at(i).has_custom_bounds() != custom {
                return Err(MixedSchemas);
            }
        }
        if (low + 1..=last).any(|i| resets.overlaps.get(i).copied().unwrap_or(false)) {
            own.add(Remark::StartOverlap);
        }
    } else if !is_gauge(low) || !is_gauge(last) {
        own.add(Remark::NotGauge);
    }
    let mut total = Total::new(at(last));
    total.reduce(schema);
    let taken = if from_zero { Total::empty_like(base) } else { Total::new(base) };
    if total.merge(taken, -1.0)?.reconciled {
        own.add(Remark::ReconciledInSubtraction);
    }
    let first_lost = if from_zero { low + 2 } else { low + 1 };
    for i in (first_lost..=last).filter(|i| counter && anew(*i)) {
        if total.add(at(i - 1))?.reconciled {
            own.add(Remark::ReconciledInAddition);
        }
    }
    remarks.merge(own);
    Ok(total)
}

/// `irate` or `idelta` of a window that has at least two samples.
pub(super) fn of_last_two(samples: &[Sample<'_>], rate: bool, remarks: &mut Remarks) -> Given {
    let [.., before, now] = samples else { return Given::Nothing };
    let passed = seconds(now.t_ms - before.t_ms);
    match (before.value, now.value) {
        (Cell::Number(a), Cell::Number(b)) => {
            let change = if rate && super::is_reset(before, now) { b } else { b - a };
            Given::Number(if rate { change / passed } else { change })
        }
        (Cell::Histogram(a), Cell::Histogram(b)) => {
            let gauges = [a, b].map(|h| h.hint == ResetHint::Gauge);
            if rate && gauges.contains(&true) {
                remarks.add(Remark::NotCounter);
            }
            if !rate && gauges.contains(&false) {
                remarks.add(Remark::NotGauge);
            }
            let mut total = Total::new(b);
            if !rate || !super::is_reset(before, now) {
                match total.subtract(a) {
                    Ok(merged) if merged.reconciled => remarks.add(Remark::ReconciledInSubtraction),
                    Ok(_) => {}
                    Err(MixedSchemas) => {
                        remarks.add(Remark::MixedSchemas);
                        return Given::Nothing;
                    }
                }
            }
            total.set_hint(ResetHint::Gauge);
            if rate {
                total.divide(passed);
            }
            Given::Histogram(total.into_histogram())
        }
        _ => {
            remarks.add(Remark::MixedKinds);
            Given::Nothing
        }
    }
}
