//! What is known of a group of spans at each step, and the points that come of it.
//!
//! Quantiles come from counts by size, 32 sizes to each doubling: they are off by at most 2.2 %, and exact at 0 and 1.

use std::collections::BTreeMap;

use super::Steps;
use crate::traceql::ast::{Aggregate, Function};
use crate::traceql::value::Value;

/// Sizes of values between a number and its double.
const SIZES_PER_DOUBLING: f64 = 32.0;
/// Added to the number of a size, so that sizes of all positive numbers are positive.
const SIZE_OFFSET: i32 = 1 << 20;
/// Bytes of a counted size, about.
const SIZE_BYTES: usize = 24;

/// Cells of one group, one per step.
#[derive(Debug)]
pub(super) enum Cells {
    Counts(Vec<u64>),
    /// Sum and count.
    Sums(Vec<(f64, u64)>),
    /// Least or greatest; NaN where nothing is.
    Extremes {
        is_min: bool,
        values: Vec<f64>,
    },
    /// Counts by size.
    Sizes {
        scale: Scale,
        cells: Vec<Sizes>,
        entries: usize,
    },
}

/// How values become sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    per_doubling: f64,
    /// Sizes are powers of two of so many parts of one: of nanoseconds for durations.
    parts: f64,
}

impl Scale {
    fn of(function: &Function) -> Self {
        match function {
            Function::Histogram(field) if field.is_duration() => {
                Self { per_doubling: 1.0, parts: 1e9 }
            }
            Function::Histogram(_) => Self { per_doubling: 1.0, parts: 1.0 },
            _ => Self { per_doubling: SIZES_PER_DOUBLING, parts: 1.0 },
        }
    }

    /// The size of a value: ordered as values are, 0 for 0.
    fn size(self, value: f64) -> i32 {
        let exact = value.abs() * self.parts;
        // Parts are whole: what was a power of two shall still be one.
        let magnitude = if self.parts > 1.0 { exact.round() } else { exact };
        if magnitude == 0.0 {
            return 0;
        }
        let size = (magnitude.log2() * self.per_doubling).ceil() as i32 + SIZE_OFFSET;
        if value < 0.0 { -size } else { size }
    }

    /// The number of largest magnitude that has a size.
    fn bound(self, size: i32) -> f64 {
        let magnitude =
            |size: i32| (f64::from(size - SIZE_OFFSET) / self.per_doubling).exp2() / self.parts;
        match size {
            0 => 0.0,
            1.. => magnitude(size),
            _ => -magnitude(-size),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Sizes {
    counts: BTreeMap<i32, u64>,
    min: f64,
    max: f64,
}

/// The extra labels of a series, and its points.
type Points = (Vec<(String, Value<'static>)>, Vec<(i64, f64)>);

impl Cells {
    pub(super) fn new(function: &Function, steps: usize) -> Self {
        match function {
            Function::Rate | Function::CountOverTime | Function::Compare(_) => {
                Self::Counts(vec![0; steps])
            }
            Function::OverTime(Aggregate::Sum | Aggregate::Avg, _) => {
                Self::Sums(vec![(0.0, 0); steps])
            }
            Function::OverTime(aggregate, _) => Self::Extremes {
                is_min: *aggregate == Aggregate::Min,
                values: vec![f64::NAN; steps],
            },
            Function::Quantile(..) | Function::Histogram(_) => Self::Sizes {
                scale: Scale::of(function),
                cells: vec![Sizes::default(); steps],
                entries: 0,
            },
        }
    }

    /// Bytes of memory, about.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Counts(cells) => cells.len() * size_of::<u64>(),
            Self::Sums(cells) => cells.len() * size_of::<(f64, u64)>(),
            Self::Extremes { values, .. } => values.len() * size_of::<f64>(),
            Self::Sizes { cells, entries, .. } => {
                cells.len() * size_of::<Sizes>() + entries * SIZE_BYTES
            }
        }
    }

    /// Adds a value to a step; for counts, any.
    pub(super) fn add(&mut self, step: usize, value: f64) {
        match self {
            Self::Counts(cells) => cells[step] += 1,
            Self::Sums(cells) => {
                cells[step].0 += value;
                cells[step].1 += 1;
            }
            Self::Extremes { is_min, values } => {
                // Both leave out NaN where they can.
                let of = if *is_min { f64::min } else { f64::max };
                values[step] = of(values[step], value);
            }
            Self::Sizes { scale, cells, entries } => {
                let cell = &mut cells[step];
                if cell.counts.is_empty() {
                    (cell.min, cell.max) = (value, value);
                }
                cell.min = cell.min.min(value);
                cell.max = cell.max.max(value);
                let before = cell.counts.len();
                *cell.counts.entry(scale.size(value)).or_default() += 1;
                *entries += cell.counts.len() - before;
            }
        }
    }

    /// The series of the group.
    pub(super) fn series(&self, function: &Function, steps: &Steps) -> Vec<Points> {
        let seconds = steps.step_ns as f64 / 1e9;
        let at = |points: Vec<(usize, f64)>| -> Vec<(i64, f64)> {
            points.into_iter().map(|(step, value)| (steps.t_ns(step), value)).collect()
        };
        match self {
            Self::Counts(cells) => {
                let divisor = if matches!(function, Function::Rate) { seconds } else { 1.0 };
                let point = |(step, count): (usize, &u64)| (step, *count as f64 / divisor);
                vec![(Vec::new(), at(cells.iter().enumerate().map(point).collect()))]
            }
            Self::Sums(cells) => {
                let is_avg = matches!(function, Function::OverTime(Aggregate::Avg, _));
                let filled = cells.iter().enumerate().filter(|(_, (_, count))| *count > 0);
                let point = |(step, (sum, count)): (usize, &(f64, u64))| {
                    (step, if is_avg { sum / *count as f64 } else { *sum })
                };
                vec![(Vec::new(), at(filled.map(point).collect()))]
            }
            Self::Extremes { values, .. } => {
                let filled = values.iter().enumerate().filter(|(_, value)| !value.is_nan());
                vec![(Vec::new(), at(filled.map(|(step, value)| (step, *value)).collect()))]
            }
            Self::Sizes { cells, scale, .. } => match function {
                Function::Quantile(_, quantiles) => {
                    let of = |q: &f64| {
                        let filled = cells.iter().enumerate().filter(|(_, c)| !c.counts.is_empty());
                        let points = filled.map(|(step, c)| (step, c.quantile(*scale, *q)));
                        (vec![("p".to_owned(), Value::Float(*q))], at(points.collect()))
                    };
                    quantiles.iter().map(of).collect()
                }
                _ => {
                    let mut sizes: Vec<i32> =
                        cells.iter().flat_map(|c| c.counts.keys().copied()).collect();
                    sizes.sort_unstable();
                    sizes.dedup();
                    let of = |size: i32| {
                        let count = |cell: &Sizes| cell.counts.get(&size).copied().unwrap_or(0);
                        let points =
                            cells.iter().enumerate().map(|(step, c)| (step, count(c) as f64));
                        let bound = Value::Float(scale.bound(size));
                        (vec![("__bucket".to_owned(), bound)], at(points.collect()))
                    };
                    sizes.into_iter().map(of).collect()
                }
            },
        }
    }
}

impl Sizes {
    fn quantile(&self, scale: Scale, q: f64) -> f64 {
        let count: u64 = self.counts.values().sum();
        let rank = q * count as f64;
        let mut below = 0.0;
        for (size, count) in &self.counts {
            let here = *count as f64;
            if below + here >= rank {
                let part = if here > 0.0 { ((rank - below) / here).clamp(0.0, 1.0) } else { 1.0 };
                let bound = scale.bound(*size);
                // Within a size, values are taken to be spread evenly on the logarithmic scale.
                let power = if bound < 0.0 { -part } else { part - 1.0 };
                let value = bound * (power / scale.per_doubling).exp2();
                return value.clamp(self.min, self.max);
            }
            below += here;
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FINE: Scale = Scale { per_doubling: SIZES_PER_DOUBLING, parts: 1.0 };

    fn sizes(values: &[f64]) -> Sizes {
        let mut cells = Cells::Sizes { scale: FINE, cells: vec![Sizes::default()], entries: 0 };
        values.iter().for_each(|value| cells.add(0, *value));
        match cells {
            Cells::Sizes { mut cells, .. } => cells.remove(0),
            _ => unreachable!(),
        }
    }

    proptest! {
        #[test]
        fn quantiles_are_near_a_value_of_their_rank(
            mut values in proptest::collection::vec(
                prop_oneof![Just(0.0), -1e6..1e6, 1e-9..1e-3], 1..200),
            q in 0.0..=1.0,
        ) {
            let got = sizes(&values).quantile(FINE, q);
            values.sort_by(f64::total_cmp);
            let rank = q * values.len() as f64;
            let at = |rank: f64| values[(rank.max(1.0) as usize - 1).min(values.len() - 1)];
            let (low, high) = (at(rank.floor()), at(rank.ceil()));
            let slack = |v: f64| v.abs() * 0.022;
            prop_assert!(low - slack(low) <= got && got <= high + slack(high),
                "{got} is not between {low} and {high}");
        }
    }

    #[test]
    fn the_ends_are_exact() {
        let all = sizes(&[3.0, -7.5, 1.1, 0.0, 2.9]);
        assert_eq!((all.quantile(FINE, 0.0), all.quantile(FINE, 1.0)), (-7.5, 3.0));
        let plain = Scale { per_doubling: 1.0, parts: 1.0 };
        let bound = |value: f64| plain.bound(plain.size(value));
        assert_eq!(
            (bound(1500.0), bound(2048.0), bound(-0.3), bound(0.0)),
            (2048.0, 2048.0, -0.5, 0.0)
        );
        let seconds = Scale { per_doubling: 1.0, parts: 1e9 };
        let bound = |value: f64| seconds.bound(seconds.size(value));
        assert_eq!((bound(0.001_048_576), bound(0.001_048_577)), (0.001_048_576, 0.002_097_152));
    }
}
