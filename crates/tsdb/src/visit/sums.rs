//! Series of one group as one: sums of integers, exact in any order, so that what a query does to a series is done once.

use model::{MetricWorker, Result, SeriesView, Together};
use rustc_hash::FxHashMap;
use storage::codec::lanes::vectorized;

use super::slot::Slot;

/// Integers up to here are exact as `f64`.
const EXACT_MAX: u64 = 1 << 53;
/// Differences kept at once; with more, the sums begin anew.
const STEPS_MAX: usize = 1 << 17;

/// Sums by group, of series with the same times.
#[derive(Debug, Default)]
pub(super) struct Sums {
    places: FxHashMap<u32, usize>,
    /// Those of `places`, and then some that only have memory.
    sums: Vec<Sum>,
    values: Vec<f64>,
}

#[derive(Debug, Default)]
struct Sum {
    group: u32,
    count: u32,
    /// No value can be beyond.
    most: u64,
    /// Between neighbouring values; none if only `count` counts.
    steps: Vec<u64>,
}

/// Times that have a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times<'t> {
    pub(super) id: u64,
    pub(super) all: &'t [i64],
}

impl Sums {
    /// Takes a series in that was collected for `together`, if it is of the kind.
    pub(super) fn add(
        &mut self,
        group: u32,
        slot: &Slot,
        together: Together,
        times: Times<'_>,
        worker: &mut dyn MetricWorker,
    ) -> Result<bool> {
        let Some(most) = most(slot, together) else { return Ok(false) };
        let place = match self.places.get(&group) {
            Some(place) => *place,
            None => {
                if (self.places.len() + 1) * slot.steps().len() > STEPS_MAX {
                    self.show(times, worker)?;
                }
                let place = self.places.len();
                self.places.insert(group, place);
                if self.sums.len() == place {
                    self.sums.push(Sum::default());
                }
                self.sums[place].begin(group);
                place
            }
        };
        let sum = &mut self.sums[place];
        if sum.most + most > EXACT_MAX {
            sum.show(&mut self.values, times, worker)?;
            sum.begin(group);
        }
        sum.most += most;
        sum.count += 1;
        if sum.steps.is_empty() {
            sum.steps.extend_from_slice(slot.steps());
        } else {
            let steps = slot.steps();
            // Of a constant only the first is not zero.
            let steps = if slot.is_constant() { &steps[..steps.len().min(1)] } else { steps };
            let sums = sum.steps.as_mut_slice();
            vectorized(
                #[inline(always)]
                move || {
                    for (sum, step) in sums.iter_mut().zip(steps) {
                        *sum = sum.wrapping_add(*step);
                    }
                },
            );
        }
        Ok(true)
    }

    /// Shows all sums, in the order in which their groups came, and begins anew.
    pub(super) fn show(&mut self, times: Times<'_>, worker: &mut dyn MetricWorker) -> Result<()> {
        let count = self.places.len();
        self.places.clear();
        self.sums[..count].iter().try_for_each(|sum| sum.show(&mut self.values, times, worker))
    }
}

/// A bound on the values of a series that can be shown with others; `None` if it has to be shown by itself.
fn most(slot: &Slot, together: Together) -> Option<u64> {
    let (first, last) = slot.ends();
    let rises = !slot.falls() && first >= 0 && last >= first;
    let most = match together {
        Together::Apart => return None,
        Together::Count => 0,
        Together::Sum | Together::RisingSum { .. } if rises => last.unsigned_abs(),
        Together::Sum => slot.integers().map(i64::unsigned_abs).max().unwrap_or(0),
        Together::RisingSum { .. } => return None,
    };
    let has_room = match together {
        Together::RisingSum { headroom, rows } => {
            // As none falls, what all windows hold bounds what each of them does.
            let has_room = |value: i64, later: i64| float(value) >= headroom * float(later - value);
            let later = slot.integers().skip(rows).chain(std::iter::repeat(last));
            has_room(first, last) || slot.integers().zip(later).all(|(v, later)| has_room(v, later))
        }
        _ => true,
    };
    (has_room && most <= EXACT_MAX).then_some(most)
}

#[expect(clippy::cast_precision_loss, reason = "integers are up to 2^53 where it counts")]
fn float(int: i64) -> f64 {
    int as f64
}

impl Sum {
    fn begin(&mut self, group: u32) {
        self.steps.clear();
        (self.group, self.count, self.most) = (group, 0, 0);
    }

    fn show(
        &self,
        values: &mut Vec<f64>,
        times: Times<'_>,
        worker: &mut dyn MetricWorker,
    ) -> Result<()> {
        values.clear();
        let mut value = 0u64;
        values.extend(self.steps.iter().map(|step| {
            value = value.wrapping_add(*step);
            float(value.cast_signed())
        }));
        values.resize(times.all.len(), 0.0);
        let (timestamps, values) = (times.all, values.as_slice());
        let view = SeriesView {
            group: self.group,
            times_id: times.id,
            timestamps,
            values,
            count: self.count,
        };
        worker.series(view)
    }
}
