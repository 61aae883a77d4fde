//! Accumulators of one group, one per step, that take whole rows and can be merged.
//!
//! Sums keep their low bits like [`Sum`](crate::vector::numeric::Sum) does: the error term of an addition is exact either
//! way, and this way has no branches. What is not finite has no error term, and counts without it.

use crate::vector::aggregate::Reduce;
use crate::vector::{ABSENT, is_absent};

/// Steps of one group.
#[derive(Debug)]
pub(super) enum Cells {
    Sum {
        total: Vec<f64>,
        error: Vec<f64>,
        counts: Counts,
    },
    Count(Counts),
    /// [`ABSENT`] where there was no value.
    Min(Vec<f64>),
    Max(Vec<f64>),
}

/// How many values each step had.
#[derive(Debug)]
pub(super) struct Counts {
    steps: usize,
    /// Rows that had a value at every step.
    full: u32,
    /// The others, by step; empty as long as there are none.
    some: Vec<u32>,
}

impl Counts {
    fn new(steps: usize) -> Self {
        Self { steps, full: 0, some: Vec::new() }
    }

    #[inline]
    fn add(&mut self, values: &[f64], is_dense: bool, series: u32) {
        if is_dense {
            self.full += series;
            return;
        }
        self.some.resize(self.steps, 0);
        for (count, value) in self.some.iter_mut().zip(values) {
            *count += series * u32::from(!is_absent(*value));
        }
    }

    fn merge(&mut self, next: &Self) {
        self.full += next.full;
        self.some.resize(self.some.len().max(next.some.len()), 0);
        self.some.iter_mut().zip(&next.some).for_each(|(a, b)| *a += b);
    }

    fn at(&self, step: usize) -> u32 {
        self.full + self.some.get(step).copied().unwrap_or(0)
    }
}

/// `total + x` and what that lost, exactly.
#[inline]
pub(super) fn add(total: &mut f64, error: &mut f64, x: f64) {
    let sum = *total + x;
    let taken = sum - *total;
    *error += (*total - (sum - taken)) + (x - taken);
    *total = sum;
}

#[inline]
fn lesser(m: f64, x: f64) -> f64 {
    if !is_absent(x) && (m.is_nan() || m > x) { x } else { m }
}

#[inline]
fn greater(m: f64, x: f64) -> f64 {
    if !is_absent(x) && (m.is_nan() || m < x) { x } else { m }
}

impl Cells {
    /// Whether `op` can be done this way.
    pub(super) fn can(op: Reduce) -> bool {
        match op {
            Reduce::Sum | Reduce::Avg | Reduce::Min | Reduce::Max => true,
            Reduce::Count | Reduce::Group => true,
            Reduce::StdDev | Reduce::StdVar | Reduce::Quantile => false,
        }
    }

    /// Bytes of a group.
    pub(super) fn bytes(steps: usize) -> u64 {
        steps as u64 * 24 + 128
    }

    pub(super) fn new(op: Reduce, steps: usize) -> Self {
        let zeros = || vec![0.0; steps];
        match op {
            Reduce::Min => Self::Min(vec![ABSENT; steps]),
            Reduce::Max => Self::Max(vec![ABSENT; steps]),
            Reduce::Sum | Reduce::Avg => {
                Self::Sum { total: zeros(), error: zeros(), counts: Counts::new(steps) }
            }
            _ => Self::Count(Counts::new(steps)),
        }
    }

    /// Takes the values of one series in, or of the sum of some; `is_dense` when no step is without one.
    pub(super) fn add(&mut self, values: &[f64], is_dense: bool, series: u32) {
        match self {
            Self::Sum { total, error, counts } => {
                counts.add(values, is_dense, series);
                let cells = total.iter_mut().zip(error.iter_mut()).zip(values);
                if is_dense {
                    cells.for_each(|((total, error), x)| add(total, error, *x));
                } else {
                    // A total is never -0, so that adding 0 changes nothing.
                    let or_zero = |x: f64| if is_absent(x) { 0.0 } else { x };
                    cells.for_each(|((total, error), x)| add(total, error, or_zero(*x)));
                }
            }
            Self::Count(counts) => counts.add(values, is_dense, series),
            Self::Min(least) => {
                least.iter_mut().zip(values).for_each(|(m, x)| *m = lesser(*m, *x));
            }
            Self::Max(most) => {
                most.iter_mut().zip(values).for_each(|(m, x)| *m = greater(*m, *x));
            }
        }
    }

    /// Takes in what another morsel found.
    pub(super) fn merge(&mut self, next: &Self) {
        match (self, next) {
            (
                Self::Sum { total, error, counts },
                Self::Sum { total: more, error: more_error, counts: more_counts },
            ) => {
                counts.merge(more_counts);
                let cells = total.iter_mut().zip(error.iter_mut());
                for ((total, error), (x, low)) in cells.zip(more.iter().zip(more_error)) {
                    add(total, error, *x);
                    *error += low;
                }
            }
            (Self::Count(counts), Self::Count(more)) => counts.merge(more),
            (Self::Min(least), Self::Min(more)) => {
                least.iter_mut().zip(more).for_each(|(m, x)| *m = lesser(*m, *x));
            }
            (Self::Max(most), Self::Max(more)) => {
                most.iter_mut().zip(more).for_each(|(m, x)| *m = greater(*m, *x));
            }
            _ => debug_assert!(false, "cells of one query are of one kind"),
        }
    }

    /// Whether some sum is infinite.
    pub(super) fn has_overflow(&self) -> bool {
        matches!(self, Self::Sum { total, .. } if total.iter().any(|t| t.is_infinite()))
    }

    /// The values of the group.
    pub(super) fn finish(self, op: Reduce) -> Vec<f64> {
        match self {
            Self::Sum { total, error, counts } => {
                let value = |(step, (total, error)): (usize, (f64, f64))| {
                    let count = counts.at(step);
                    let error = if total.is_finite() { error } else { 0.0 };
                    match op {
                        _ if count == 0 => ABSENT,
                        Reduce::Avg => total / f64::from(count) + error / f64::from(count),
                        _ => total + error,
                    }
                };
                total.into_iter().zip(error).enumerate().map(value).collect()
            }
            Self::Count(counts) => {
                let value = |step| match counts.at(step) {
                    0 => ABSENT,
                    _ if op == Reduce::Group => 1.0,
                    count => f64::from(count),
                };
                (0..counts.steps).map(value).collect()
            }
            Self::Min(values) | Self::Max(values) => values,
        }
    }
}
