//! One series being put together: its samples as the worker needs them, at best as nothing but differences of integers.

use model::{Result, Together};
use storage::codec::{Reader as Bytes, floats};

use super::tail::Tail;
use crate::column;
use crate::scan::Window;

/// What of the samples is collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Aim {
    /// The values.
    #[default]
    Values,
    /// Differences between neighbours, as long as all are integers and no row is without one.
    Steps,
    /// How many there are, as long as none is a staleness marker and no row is without one.
    Count,
}

/// A series, of which place after place is appended.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) aim: Aim,
    /// If they are wanted.
    pub(super) values: Vec<f64>,
    /// Its own times, when some of the unit's rows have no value.
    pub(super) own: Vec<i64>,
    pub(super) has_gaps: bool,
    /// Differences so far, the first to zero.
    steps: Vec<u64>,
    /// How many samples, while the aim is not values.
    filled: usize,
    /// The last integer, 0 before the first.
    last: i64,
    /// Bits that any difference but the first has.
    any: u64,
}

impl Slot {
    /// Begins a series of at most `rows` samples.
    pub(super) fn clear(&mut self, together: Together, rows: usize) {
        self.aim = match together {
            Together::Apart => Aim::Values,
            Together::Sum | Together::RisingSum { .. } => Aim::Steps,
            Together::Count => Aim::Count,
        };
        if self.aim == Aim::Steps && self.steps.len() < rows {
            self.steps.resize(rows, 0);
        }
        self.values.clear();
        self.own.clear();
        self.has_gaps = false;
        (self.filled, self.last, self.any) = (0, 0, 0);
    }

    /// The differences between neighbours, the first to zero.
    pub(super) fn steps(&self) -> &[u64] {
        if self.aim == Aim::Steps { &self.steps[..self.filled] } else { &[] }
    }

    /// First and last integer.
    pub(super) fn ends(&self) -> (i64, i64) {
        (self.steps().first().map_or(0, |step| step.cast_signed()), self.last)
    }

    /// Whether some integer is below the one before.
    pub(super) fn falls(&self) -> bool {
        self.any.cast_signed() < 0
    }

    /// Whether all integers are the first, so that all differences but the first are zero.
    pub(super) fn is_constant(&self) -> bool {
        self.any == 0
    }

    /// The integers.
    pub(super) fn integers(&self) -> impl Iterator<Item = i64> + '_ {
        self.steps().iter().scan(0u64, |value, step| {
            *value = value.wrapping_add(*step);
            Some(value.cast_signed())
        })
    }

    /// From now on, values are collected; those that were only counted are zeros.
    pub(super) fn take_values(&mut self) {
        let mut values = std::mem::take(&mut self.values);
        match self.aim {
            Aim::Values => {}
            #[expect(clippy::cast_precision_loss, reason = "as what these are encoded from")]
            Aim::Steps => values.extend(self.integers().map(|v| v as f64)),
            Aim::Count => values.resize(self.filled, 0.0),
        }
        self.values = values;
        self.aim = Aim::Values;
    }

    /// Says that not all rows have a value, after `before`, which have.
    pub(super) fn begin_gaps(&mut self, before: &[i64]) {
        self.take_values();
        if !self.has_gaps {
            self.has_gaps = true;
            self.own.extend_from_slice(before);
        }
    }

    /// Appends the wanted rows of an encoded column; `before` are the times of what came before them.
    pub(super) fn append(
        &mut self,
        bytes: &[u8],
        rows: usize,
        window: &Window,
        before: &[i64],
        scratch: &mut Vec<f64>,
    ) -> Result<()> {
        if self.aim != Aim::Values {
            if self.append_steps(bytes, rows, window)? {
                return Ok(());
            }
            self.take_values();
        }
        let mut r = Bytes::new(bytes);
        let (low, high) = window.rows();
        match column::validity(&mut r, rows)? {
            None => {
                if self.has_gaps {
                    self.own.extend_from_slice(window.times());
                }
                column::values(&mut r, rows, low..high, scratch, &mut self.values)
            }
            Some(valid) => {
                self.begin_gaps(before);
                let (from, to) = (valid.rank(low), valid.rank(high));
                let wanted = valid.ones().skip(from).take(to - from);
                self.own.extend(wanted.map(|row| window.times()[row - low]));
                let count = valid.count();
                column::values(&mut r, count, from..to, scratch, &mut self.values)
            }
        }
    }

    /// Whether the column could be taken without its values.
    fn append_steps(&mut self, bytes: &[u8], rows: usize, window: &Window) -> Result<bool> {
        let mut r = Bytes::new(bytes);
        if !column::is_whole(&mut r)? {
            return Ok(false);
        }
        let (low, high) = window.rows();
        if self.aim == Aim::Count {
            let are_plain = floats::are_plain(&mut r)?;
            self.filled += if are_plain { high - low } else { 0 };
            return Ok(are_plain);
        }
        let out = &mut self.steps[self.filled..][..high - low];
        let Some(any) = floats::decode_steps(&mut r, rows, low..high, &mut self.last, out)? else {
            return Ok(false);
        };
        let first = if self.filled == 0 { 0 } else { out[0] };
        self.any |= any | first;
        self.filled += high - low;
        Ok(true)
    }

    /// Appends the wanted rows of column `column` of a tail, in which the columns below `complete` have all of them.
    pub(super) fn append_tail(
        &mut self,
        tail: &Tail,
        (column, complete): (usize, usize),
        window: &Window,
        before: &[i64],
    ) {
        let (low, high) = window.rows();
        if column >= complete {
            self.begin_gaps(before);
            let start = self.values.len();
            tail.append_values(column, low..high, &mut self.values);
            let mut kept = start;
            for (row, t_ms) in (low..high).zip(window.times()) {
                if tail.has(row, column) {
                    self.values[kept] = self.values[start + row - low];
                    self.own.push(*t_ms);
                    kept += 1;
                }
            }
            return self.values.truncate(kept);
        }
        match self.aim {
            Aim::Count if tail.is_whole(column) => return self.filled += high - low,
            Aim::Steps => {
                let out = &mut self.steps[self.filled..][..high - low];
                if let Some(any) = tail.steps(column, low..high, &mut self.last, out) {
                    let first = if self.filled == 0 { 0 } else { out[0] };
                    self.any |= any | first;
                    return self.filled += high - low;
                }
            }
            Aim::Count | Aim::Values => {}
        }
        self.take_values();
        tail.append_values(column, low..high, &mut self.values);
        if self.has_gaps {
            self.own.extend_from_slice(window.times());
        }
    }

    /// Appends values as they are.
    pub(super) fn append_values(&mut self, values: &[f64], times: &[i64]) {
        self.take_values();
        self.values.extend_from_slice(values);
        if self.has_gaps {
            self.own.extend_from_slice(times);
        }
    }
}
