//! Operations on finished series: extremes, thresholds, arithmetic.

use std::collections::BTreeMap;

use super::Series;
use crate::traceql::value::Comparison;

/// At each point in time, the `count` largest or smallest values; of equal ones, those of the first series.
pub(super) fn extremes(mut all: Vec<Series>, count: usize, is_top: bool) -> Vec<Series> {
    let mut by_time: BTreeMap<i64, Vec<(f64, usize)>> = BTreeMap::new();
    for (index, series) in all.iter().enumerate() {
        for (t_ns, value) in &series.points {
            by_time.entry(*t_ns).or_default().push((*value, index));
        }
    }
    for values in by_time.values_mut() {
        values.sort_by(|l, r| {
            let order = l.0.total_cmp(&r.0);
            (if is_top { order.reverse() } else { order }).then(l.1.cmp(&r.1))
        });
        values.truncate(count);
        values.sort_unstable_by_key(|(_, index)| *index);
    }
    for (index, series) in all.iter_mut().enumerate() {
        series.points.retain(|(t_ns, _)| {
            by_time[t_ns].binary_search_by_key(&index, |(_, index)| *index).is_ok()
        });
    }
    without_empty(all)
}

/// Points whose values satisfy the comparison.
pub(super) fn filter(mut all: Vec<Series>, comparison: Comparison, number: f64) -> Vec<Series> {
    for series in &mut all {
        series.points.retain(|(_, value)| comparison.holds_for(*value, number));
    }
    without_empty(all)
}

/// Points with other values.
pub(super) fn map(mut all: Vec<Series>, f: impl Fn(f64) -> f64) -> Vec<Series> {
    for (_, value) in all.iter_mut().flat_map(|series| &mut series.points) {
        *value = f(*value);
    }
    all.iter_mut().for_each(forget_name);
    all
}

/// Points of series with equal labels on both sides, at equal times.
pub(super) fn join(
    left: Vec<Series>,
    right: Vec<Series>,
    f: impl Fn(f64, f64) -> f64,
) -> Vec<Series> {
    let key = |series: &mut Series| {
        forget_name(series);
        format!("{:?}", series.labels)
    };
    let mut by_labels: BTreeMap<String, Series> =
        right.into_iter().map(|mut series| (key(&mut series), series)).collect();
    let mut all = Vec::new();
    for mut series in left {
        let Some(other) = by_labels.remove(&key(&mut series)) else { continue };
        let others: BTreeMap<i64, f64> = other.points.into_iter().collect();
        series.points.retain_mut(|(t_ns, value)| match others.get(t_ns) {
            Some(other) => {
                *value = f(*value, *other);
                true
            }
            None => false,
        });
        all.push(series);
    }
    without_empty(all)
}

/// What was calculated is no longer what the function's name says.
fn forget_name(series: &mut Series) {
    series.labels.retain(|(name, _)| name != "__name__");
}

fn without_empty(mut all: Vec<Series>) -> Vec<Series> {
    all.retain(|series| !series.points.is_empty());
    all
}
