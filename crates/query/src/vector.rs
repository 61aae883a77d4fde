//! Step vectors: for each series one row of values, one value per evaluation step. Operators work on whole rows.
//!
//! Owns: rows, aggregation, vector matching, label and sort functions. Does not own: where rows come from, any language.
//! A step without a value holds [`ABSENT`], the staleness marker's bits, which no computation produces.

pub(crate) mod aggregate;
pub(crate) mod binary;
pub(crate) mod labels;
pub(crate) mod numeric;
pub(crate) mod projection;
pub(crate) mod sort;

use model::{Labels, METRIC_NAME, STALE_NAN_BITS};

/// Marks a step without a value; test with [`is_absent`], never with `==`.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether `value` marks a step without a value.
#[inline]
pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Whether `value` is one.
#[inline]
pub(crate) fn is_present(value: f64) -> bool {
    value.to_bits() != STALE_NAN_BITS
}

/// The times of a vector's steps: `start_ms + i * step_ms` for `i` in `[0, count)`; Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start_ms: i64,
    /// At least 1, also when there is only one step.
    pub(crate) step_ms: i64,
    pub(crate) count: usize,
}

impl Grid {
    /// One step at `at_ms`.
    pub(crate) fn instant(at_ms: i64) -> Self {
        Self { start_ms: at_ms, step_ms: 1, count: 1 }
    }

    /// Time of step `index`.
    pub(crate) fn time_ms(&self, index: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(index as i64))
    }

    /// Times of all steps.
    pub(crate) fn times_ms(&self) -> impl Iterator<Item = i64> + use<> {
        let grid = *self;
        (0..grid.count).map(move |i| grid.time_ms(i))
    }

    /// Time of the last step; the start when there is none.
    pub(crate) fn last_ms(&self) -> i64 {
        self.time_ms(self.count.saturating_sub(1))
    }
}

/// One series over the steps of a [`Grid`].
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// The metric name is to be removed from the result, but may still be read by label functions and grouping.
    pub(crate) drop_name: bool,
    /// One value per step, [`ABSENT`] where there is none.
    pub(crate) values: Vec<f64>,
}

impl Row {
    /// A row that keeps its name.
    pub(crate) fn new(labels: Labels, values: Vec<f64>) -> Self {
        Self { labels, drop_name: false, values }
    }

    /// Whether some step has a value.
    pub(crate) fn any(&self) -> bool {
        self.values.iter().copied().any(is_present)
    }

    /// The labels as they will be shown: without the name when it is to be dropped.
    pub(crate) fn shown_labels(&self) -> Labels {
        if self.drop_name { without_metadata(&self.labels) } else { self.labels.clone() }
    }

    /// Applies `f` to every present value.
    pub(crate) fn map(&mut self, f: impl Fn(f64) -> f64) {
        for value in &mut self.values {
            if is_present(*value) {
                *value = f(*value);
            }
        }
    }
}

/// Labels that describe a metric rather than a series; operations that change the meaning of a value drop them.
pub(crate) fn is_metadata_label(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// `labels` without name, type and unit.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    if labels.iter().any(|(n, _)| is_metadata_label(n)) {
        labels.iter().filter(|(n, _)| !is_metadata_label(n)).collect()
    } else {
        labels.clone()
    }
}

/// What [`merge`] and label functions report when two series would have the same labels at the same time.
pub(crate) fn duplicate_error() -> model::Error {
    model::Error::invalid("vector cannot contain metrics with the same labelset")
}

/// Joins rows of equal labels whose values do not overlap.
///
/// # Errors
/// `Invalid` when two of them have a value at the same step.
pub(crate) fn merge(rows: Vec<Row>) -> model::Result<Vec<Row>> {
    let mut seen: rustc_hash::FxHashMap<(Labels, bool), usize> = rustc_hash::FxHashMap::default();
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match seen.entry((row.labels.clone(), row.drop_name)) {
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(merged.len());
                merged.push(row);
            }
            std::collections::hash_map::Entry::Occupied(slot) => {
                let target = &mut merged[*slot.get()];
                for (into, value) in target.values.iter_mut().zip(row.values) {
                    if is_absent(value) {
                        continue;
                    }
                    if is_present(*into) {
                        return Err(duplicate_error());
                    }
                    *into = value;
                }
            }
        }
    }
    Ok(merged)
}
