//! Aggregation of rows with native histograms among them.

use std::sync::Arc;

use model::{Budget, Grouping, Result};

use super::aggregate::{Reduce, group, reduced};
use super::remarks::{Remark, Remarks};
use super::{ABSENT, Row, is_present};
use crate::histogram;

/// Whether some row has a histogram.
pub(crate) fn any_histogram(rows: &[Row]) -> bool {
    rows.iter().any(|row| row.histograms.is_some())
}

/// Leaves histograms out; whether there were any.
pub(crate) fn leave_out(rows: &mut Vec<Row>) -> bool {
    let mut any = false;
    for row in rows.iter_mut() {
        any |= row.histogram_steps().next().is_some();
        row.histograms = None;
    }
    rows.retain(Row::any);
    any
}

/// What [`reduce`] has to tell: with the metric of the group it is about.
pub(crate) type Told = Vec<(String, Remarks)>;

/// As [`super::aggregate::reduce`], of rows with histograms.
///
/// A sum or mean over both kinds, or over exponential and custom buckets, has no result.
///
/// # Errors
/// Those of `budget`.
pub(crate) fn reduce(
    op: Reduce,
    mut rows: Vec<Row>,
    grouping: &Grouping,
    param: &[f64],
    steps: usize,
    budget: &Budget,
) -> Result<(Vec<Row>, Told)> {
    let mut told = Told::new();
    let adds = matches!(op, Reduce::Sum | Reduce::Avg);
    if !adds && !matches!(op, Reduce::Count | Reduce::Group) && leave_out(&mut rows) {
        told.push((String::new(), Remarks::only(Remark::Ignored)));
    }
    let mut result = Vec::new();
    for group in group(&rows, grouping) {
        budget.check()?;
        budget.charge_bytes(steps as u64 * 8 + 64)?;
        let values = reduced(op, &group, &rows, param, steps);
        let mut row =
            Row { labels: group.labels, drop_name: group.drop_name, values, histograms: None };
        let members = || group.members.iter().map(|m| &rows[*m]);
        let name = || members().next().map_or("", |row| row.labels.metric_name()).to_owned();
        for step in 0..steps {
            let mut all = members().filter_map(|row| row.histogram(step)).peekable();
            if all.peek().is_none() {
                continue;
            }
            let (value, mut remarks) = match op {
                Reduce::Sum => histogram::sum(all.map(Arc::as_ref), budget)?,
                Reduce::Avg => histogram::mean(all.map(Arc::as_ref), budget)?,
                Reduce::Count => {
                    let count = all.count() as f64;
                    let number = &mut row.values[step];
                    *number = if is_present(*number) { *number + count } else { count };
                    continue;
                }
                _ => {
                    row.values[step] = 1.0;
                    continue;
                }
            };
            if is_present(row.values[step]) {
                row.values[step] = ABSENT;
                remarks = Remarks::only(Remark::MixedKinds);
            } else if let Some(value) = value {
                budget.charge_bytes(histogram::bytes(&value))?;
                row.put_histogram(step, Arc::new(value));
            }
            if !remarks.is_empty() {
                tell(&mut told, name(), remarks);
            }
        }
        result.push(row);
    }
    result.retain(Row::any);
    Ok((result, told))
}

fn tell(told: &mut Told, metric: String, remarks: Remarks) {
    match told.iter_mut().find(|(name, _)| *name == metric) {
        Some((_, all)) => all.merge(remarks),
        None => told.push((metric, remarks)),
    }
}
