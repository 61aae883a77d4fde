//! Step vectors: for each series one row of values, one value per evaluation step. Operators work on whole rows.
//!
//! Owns: rows, aggregation, vector matching, label and sort functions. Does not own: where rows come from, any language.
//! A step without a value holds [`ABSENT`], the staleness marker's bits, which no computation produces. Native histograms
//! stand beside the numbers, at steps whose number is absent; rows without any, which are nearly all, pay nothing.

pub(crate) mod aggregate;
pub(crate) mod binary;
pub(crate) mod labels;
pub(crate) mod mixed;
pub(crate) mod numeric;
pub(crate) mod projection;
pub(crate) mod remarks;
pub(crate) mod sort;

use std::sync::Arc;

use model::{Histogram, Labels, METRIC_NAME, STALE_NAN_BITS};

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
    /// One number per step, [`ABSENT`] where there is none.
    pub(crate) values: Vec<f64>,
    /// One histogram per step where there is one; `None` when there is none at all.
    pub(crate) histograms: Option<Column>,
}

/// The native histograms of a row, by step.
pub(crate) type Column = Box<[Option<Arc<Histogram>>]>;

/// The value of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Number(f64),
    Histogram(&'a Arc<Histogram>),
}

impl Row {
    /// A row of numbers that keeps its name.
    pub(crate) fn new(labels: Labels, values: Vec<f64>) -> Self {
        Self { labels, drop_name: false, values, histograms: None }
    }

    /// A row of `steps` steps without any value.
    pub(crate) fn empty(labels: Labels, drop_name: bool, steps: usize) -> Self {
        Self { labels, drop_name, values: vec![ABSENT; steps], histograms: None }
    }

    /// Whether some step has a value.
    pub(crate) fn any(&self) -> bool {
        self.values.iter().copied().any(is_present)
            || self.histograms.iter().flatten().any(Option::is_some)
    }

    /// The histogram at `step`.
    #[inline]
    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.as_ref()?.get(step)?.as_ref()
    }

    /// The value at `step`.
    #[inline]
    pub(crate) fn cell(&self, step: usize) -> Option<Cell<'_>> {
        let value = self.values[step];
        if is_present(value) {
            return Some(Cell::Number(value));
        }
        self.histogram(step).map(Cell::Histogram)
    }

    /// Whether there is a value at `step`.
    #[inline]
    pub(crate) fn is_present(&self, step: usize) -> bool {
        is_present(self.values[step]) || self.histogram(step).is_some()
    }

    /// Puts a histogram at `step`, which has no number.
    pub(crate) fn put_histogram(&mut self, step: usize, histogram: Arc<Histogram>) {
        let steps = self.values.len();
        let column = self.histograms.get_or_insert_with(|| vec![None; steps].into_boxed_slice());
        column[step] = Some(histogram);
    }

    /// Copies the value that `from` has at `step`, if any.
    pub(crate) fn copy_step(&mut self, from: &Self, step: usize) {
        match from.cell(step) {
            Some(Cell::Number(value)) => self.values[step] = value,
            Some(Cell::Histogram(histogram)) => self.put_histogram(step, histogram.clone()),
            None => {}
        }
    }

    /// Takes the value away at `step`.
    pub(crate) fn clear_step(&mut self, step: usize) {
        self.values[step] = ABSENT;
        if let Some(column) = &mut self.histograms {
            column[step] = None;
        }
    }

    /// Steps and histograms.
    pub(crate) fn histogram_steps(&self) -> impl Iterator<Item = (usize, &Arc<Histogram>)> {
        let column = self.histograms.as_deref().unwrap_or_default();
        column.iter().enumerate().filter_map(|(step, h)| Some((step, h.as_ref()?)))
    }

    /// The labels as they will be shown: without the name when it is to be dropped.
    pub(crate) fn shown_labels(&self) -> Labels {
        if self.drop_name { without_metadata(&self.labels) } else { self.labels.clone() }
    }

    /// Applies `f` to every number.
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
                if target.histograms.is_some() || row.histograms.is_some() {
                    merge_cells(target, &row)?;
                    continue;
                }
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

fn merge_cells(target: &mut Row, row: &Row) -> model::Result<()> {
    for step in (0..row.values.len()).filter(|step| row.is_present(*step)) {
        if target.is_present(step) {
            return Err(duplicate_error());
        }
        target.copy_step(row, step);
    }
    Ok(())
}
