//! Native histograms with `anchored` and `smoothed` edges.

use std::sync::Arc;

use model::{Histogram, ResetHint, is_stale};

use super::{
    Given, Grid, MixedSchemas, RangeSeries, Ranges, Remark, Remarks, Row, SeriesData, Total,
};
use crate::histogram;
use crate::promql::ast::Edges;
use crate::promql::evaluate::windows::{Difference, seconds};

type Points = [(i64, Arc<Histogram>)];

/// The histogram between two others at `at_ms`. A counter that started anew between them came from zero.
fn between(
    before: &(i64, Arc<Histogram>),
    after: &(i64, Arc<Histogram>),
    at_ms: i64,
    counter: bool,
    remarks: &mut Remarks,
) -> Result<Total, MixedSchemas> {
    if before.1.has_custom_bounds() != after.1.has_custom_bounds() {
        return Err(MixedSchemas);
    }
    let share = (at_ms - before.0) as f64 / (after.0 - before.0) as f64;
    let mut total = Total::new(&after.1);
    if counter && histogram::is_reset(&after.1, &before.1) {
        total.multiply(share);
        return Ok(total);
    }
    if total.subtract(&before.1)?.reconciled {
        remarks.add(Remark::ReconciledInSubtraction);
    }
    total.multiply(share);
    if total.add(&before.1)?.reconciled {
        remarks.add(Remark::ReconciledInAddition);
    }
    Ok(total)
}

/// `rate`, `increase` or `delta` over a window that takes in samples around it.
pub(super) fn difference(
    series: &RangeSeries,
    ranges: &Ranges,
    step: usize,
    difference: Difference,
    lookback_ms: i64,
    remarks: &mut Remarks,
) -> Given {
    let smoothed = ranges.edges == Edges::Smoothed;
    let (from, to) = ranges.window_ms(step);
    let reach_to = if smoothed { to.saturating_add(lookback_ms) } else { to };
    let reach_from = from.saturating_sub(lookback_ms);
    let all = &series.histograms;
    let low = all.partition_point(|(t, _)| *t <= reach_from);
    let high = all.partition_point(|(t, _)| *t <= reach_to);
    let near = all.get(low..high).unwrap_or_default();
    let first_number = series.times.partition_point(|t| *t <= reach_from);
    let numbers = series.times.get(first_number).is_some_and(|t| *t <= reach_to);
    if near.is_empty() {
        return if numbers {
            of_numbers(series, ranges, step, difference, lookback_ms)
        } else {
            Given::Nothing
        };
    }
    if numbers {
        remarks.add(Remark::MixedKinds);
        return Given::Nothing;
    }
    match over(near, (from, to), smoothed, difference, remarks) {
        Ok(Some(mut total)) => {
            if difference == Difference::Rate {
                total.divide(seconds(ranges.range_ms));
            }
            total.set_hint(ResetHint::Gauge);
            Given::Histogram(total.into_histogram())
        }
        Ok(None) => Given::Nothing,
        Err(MixedSchemas) => {
            remarks.add(Remark::MixedSchemas);
            Given::Nothing
        }
    }
}

/// A window of numbers in a series that has histograms elsewhere.
fn of_numbers(
    series: &RangeSeries,
    ranges: &Ranges,
    step: usize,
    difference: Difference,
    lookback_ms: i64,
) -> Given {
    let value =
        crate::promql::evaluate::extended::value(difference, series, ranges, lookback_ms, step);
    if crate::vector::is_present(value) { Given::Number(value) } else { Given::Nothing }
}

fn over(
    near: &Points,
    (from, to): (i64, i64),
    smoothed: bool,
    difference: Difference,
    remarks: &mut Remarks,
) -> Result<Option<Total>, MixedSchemas> {
    let counter = difference.is_counter();
    let end = near.len() - 1;
    let first = near.partition_point(|(t, _)| *t <= from).saturating_sub(1).min(end);
    let last = if smoothed { near.partition_point(|(t, _)| *t < to).min(end) } else { end };
    if near[last].0 <= from || (smoothed && near[first].0 > to) {
        return Ok(None);
    }
    let inside = near.get(first..=last).unwrap_or_default();
    let custom = near[first].1.has_custom_bounds();
    if inside.iter().any(|(_, h)| h.has_custom_bounds() != custom) {
        return Err(MixedSchemas);
    }
    if counter && inside.iter().any(|(_, h)| h.hint == ResetHint::Gauge) {
        remarks.add(Remark::NotCounter);
    }
    let cuts_left = smoothed && near[first].0 < from;
    let left = if cuts_left {
        between(&near[first], &near[first + 1], from, counter, remarks)?
    } else {
        Total::new(&near[first].1)
    };
    let right = if smoothed && last > 0 && near[last].0 > to {
        between(&near[last - 1], &near[last], to, counter, remarks)?
    } else {
        Total::new(&near[last].1)
    };
    if !counter && [&left, &right].iter().any(|side| side.hint() != ResetHint::Gauge) {
        remarks.add(Remark::NotGauge);
    }
    let mut total = right.clone();
    if total.merge(left.clone(), -1.0)?.reconciled {
        remarks.add(Remark::ReconciledInSubtraction);
    }
    if counter {
        let ends = (left.into_histogram(), right.into_histogram());
        add_lost(&mut total, near, (first, last), &ends, cuts_left, remarks)?;
    }
    Ok(Some(total))
}

/// Adds what resets between the edges took away. A reset that an edge was interpolated across is in that edge already.
fn add_lost(
    total: &mut Total,
    near: &Points,
    (first, last): (usize, usize),
    (left, right): &(Histogram, Histogram),
    cuts_left: bool,
    remarks: &mut Remarks,
) -> Result<(), MixedSchemas> {
    let mut next = first + 1;
    let mut previous = left;
    if cuts_left && histogram::is_reset(&near[next].1, &near[first].1) {
        previous = &near[next].1;
        next += 1;
    }
    // The right edge stands for the last sample.
    if next > last {
        return Ok(());
    }
    let between = near.get(next..last).unwrap_or_default().iter().map(|(_, h)| h.as_ref());
    for h in between.chain([right]) {
        if histogram::is_reset(h, previous) && total.add(previous)?.reconciled {
            remarks.add(Remark::ReconciledInAddition);
        }
        previous = h;
    }
    Ok(())
}

/// A smoothed instant selector over a series with histograms: values interpolated between the samples around each
/// step; after the last sample its value, before the first none. Both kinds around a step have no value between them.
pub(crate) fn smoothed_cells(series: &SeriesData, times: Grid, lookback_ms: i64) -> (Row, Remarks) {
    let mut row = Row::empty(series.labels.clone(), false, times.count);
    let mut remarks = Remarks::default();
    let all = &series.histograms;
    for (step, t_ms) in times.times_ms().enumerate() {
        let from = t_ms.saturating_sub(lookback_ms);
        let to = t_ms.saturating_add(lookback_ms);
        let low = series.timestamps.partition_point(|t| *t <= from);
        let high = series.timestamps.partition_point(|t| *t <= to);
        let near_numbers = series.values.get(low..high).unwrap_or_default();
        let numbers = near_numbers.iter().any(|v| !is_stale(*v));
        let near = all.iter().any(|(t, h)| *t > from && *t <= to && !histogram::is_marker(h));
        if numbers && near {
            remarks.add(Remark::MixedKinds);
            continue;
        }
        if !near {
            let here = Grid { start_ms: t_ms, step_ms: 1, count: 1 };
            row.values[step] =
                crate::promql::evaluate::select::smoothed_values(series, here, lookback_ms)[0];
            continue;
        }
        // A marker among the numbers ends the series of histograms, too.
        let before = all.partition_point(|(t, _)| *t <= t_ms).checked_sub(1);
        let Some(before) = before.filter(|i| all[*i].0 > from) else { continue };
        let passed = series.timestamps.partition_point(|t| *t <= t_ms).checked_sub(1);
        let ended = passed.is_some_and(|i| series.timestamps[i] > all[before].0);
        if ended || histogram::is_marker(&all[before].1) {
            continue;
        }
        let after = all.get(before + 1).filter(|(t, h)| *t <= to && !histogram::is_marker(h));
        match after {
            Some(after) if all[before].0 < t_ms => {
                let counter = after.1.hint != ResetHint::Gauge;
                match between(&all[before], after, t_ms, counter, &mut remarks) {
                    Ok(total) => row.put_histogram(step, Arc::new(total.into_histogram())),
                    Err(MixedSchemas) => remarks.add(Remark::MixedSchemas),
                }
            }
            _ => row.put_histogram(step, all[before].1.clone()),
        }
    }
    (row, remarks)
}
