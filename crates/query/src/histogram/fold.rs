//! Sum and mean of many histograms.

use std::cell::Cell;

use model::{Budget, Histogram, ResetHint, Result};

use super::{Merged, MixedSchemas, Total};
use crate::vector::remarks::{Remark, Remarks};

/// Histograms between two looks at the budget.
const HISTOGRAMS_PER_CHECK: usize = 64;

/// Their sum; `None` with [`Remark::MixedSchemas`] when they have nothing in common. There is at least one.
///
/// # Errors
/// Those of `budget`.
pub(crate) fn sum<'h>(
    all: impl Iterator<Item = &'h Histogram>,
    budget: &Budget,
) -> Result<(Option<Histogram>, Remarks)> {
    fold(all, budget, |total, h, _| total.add(h), |total, _| total)
}

/// Their mean: by sum and count as long as no sum overflows, incremental from then on. Otherwise as [`sum`].
///
/// # Errors
/// As [`sum`].
pub(crate) fn mean<'h>(
    all: impl Iterator<Item = &'h Histogram>,
    budget: &Budget,
) -> Result<(Option<Histogram>, Remarks)> {
    let incremental = Cell::new(false);
    let add = |total: &mut Total, h: &Histogram, count: f64| {
        if !incremental.get() {
            let mut next = total.clone();
            let merged = next.add(h)?;
            if !next.overflows() {
                *total = next;
                return Ok(merged);
            }
            incremental.set(true);
            total.divide(count - 1.0);
        }
        total.multiply((count - 1.0) / count);
        let mut part = Total::new(h);
        part.divide(count);
        total.merge(part, 1.0)
    };
    fold(all, budget, add, |mut total, count| {
        if !incremental.get() {
            total.divide(count);
        }
        total
    })
}

fn fold<'h>(
    all: impl Iterator<Item = &'h Histogram>,
    budget: &Budget,
    mut add: impl FnMut(&mut Total, &Histogram, f64) -> Result<Merged, MixedSchemas>,
    finish: impl FnOnce(Total, f64) -> Total,
) -> Result<(Option<Histogram>, Remarks)> {
    let mut remarks = Remarks::default();
    let (mut total, mut count) = (None, 0.0);
    let (mut resets, mut goes_on) = (false, false);
    for (i, h) in all.enumerate() {
        if i % HISTOGRAMS_PER_CHECK == HISTOGRAMS_PER_CHECK - 1 {
            budget.check()?;
        }
        count += 1.0;
        resets |= h.hint == ResetHint::Reset;
        goes_on |= h.hint == ResetHint::NotReset;
        let Some(total) = &mut total else {
            total = Some(Total::new(h));
            continue;
        };
        match add(total, h, count) {
            Ok(merged) if merged.reconciled => remarks.add(Remark::ReconciledInAggregation),
            Ok(_) => {}
            Err(MixedSchemas) => return Ok((None, Remarks::only(Remark::MixedSchemas))),
        }
    }
    if resets && goes_on {
        remarks.add(Remark::CollisionInAggregation);
    }
    Ok((total.map(|total| finish(total, count).into_histogram()), remarks))
}
