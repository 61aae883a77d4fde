//! The last scrapes of targets by column instead of by row, kept from query to query.
//!
//! Owns: turning rows into columns, the next rows only when more have come, and the memory that all of them together may
//! take. Does not own: the rows ([`head`](crate::head)). A tail is known by the bytes of its first row, which stay where
//! they are until it is sealed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::Result;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};
use storage::codec::floats::to_decimal;
use storage::codec::lanes::vectorized;

use crate::bitmap::Bitmap;
use crate::head::TailRow;
use crate::row::RowState;

/// Rows for which there is room at first, and by how much that grows.
const ROOM: usize = 64;
/// Visits between two looks for tails that nobody will ask for again while there is room, and after which an idle one is
/// forgotten.
const VISITS_PER_LOOK: u64 = 32;

/// The rows of one tail, by column.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Rows for which each column has room.
    room: usize,
    columns: Vec<ColumnState>,
    cells: Cells,
    rows: Vec<Row>,
    state: RowState,
    reserved: Option<Reserved>,
}

#[derive(Debug, Clone, Copy)]
struct ColumnState {
    /// Bits of the value of the last row.
    last: u64,
    /// The first integer, from which steps lead on; unused for [`Form::Bits`].
    first: i64,
    form: Form,
    /// Its number among the columns of this form.
    place: u32,
}

/// How a column is kept: most steps of most columns fit a byte, and many columns have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// All values are the first.
    Same,
    /// Integers, as differences to the one before.
    Steps1,
    Steps2,
    Steps4,
    Steps8,
    /// Anything, as bits of values.
    Bits,
}

impl Form {
    /// The least for an integer that is `step` over the one before.
    fn of(step: i64) -> Self {
        match step {
            0 => Self::Same,
            _ if i8::try_from(step).is_ok() => Self::Steps1,
            _ if i16::try_from(step).is_ok() => Self::Steps2,
            _ if i32::try_from(step).is_ok() => Self::Steps4,
            _ => Self::Steps8,
        }
    }
}

/// Cells of the columns of one form, column after column.
#[derive(Debug, Default)]
struct Lanes<T> {
    cells: Vec<T>,
    /// Places that columns left for a wider form; all zeros.
    free: Vec<u32>,
}

impl<T: Copy + Default> Lanes<T> {
    /// A place of zeros.
    fn take(&mut self, room: usize) -> u32 {
        if let Some(place) = self.free.pop() {
            return place;
        }
        let place = self.cells.len() / room;
        if self.cells.len() + room > self.cells.capacity() {
            self.cells.reserve_exact((place / 8 + 8) * room);
        }
        self.cells.resize(self.cells.len() + room, T::default());
        u32::try_from(place).expect("BUG: a target has under 2^32 columns")
    }

    fn give(&mut self, place: u32, room: usize) {
        self.get_mut(place, room).fill(T::default());
        self.free.push(place);
    }

    fn get(&self, place: u32, room: usize) -> &[T] {
        let start = place as usize * room;
        self.cells.get(start..start + room).unwrap_or_default()
    }

    fn get_mut(&mut self, place: u32, room: usize) -> &mut [T] {
        let start = place as usize * room;
        self.cells.get_mut(start..start + room).unwrap_or_default()
    }

    fn make_room(&mut self, before: usize, room: usize) {
        if before == 0 {
            return;
        }
        let mut cells = vec![T::default(); self.cells.len() / before * room];
        for (to, from) in cells.chunks_exact_mut(room).zip(self.cells.chunks_exact(before)) {
            to[..before].copy_from_slice(from);
        }
        self.cells = cells;
    }

    fn memory_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<T>() + self.free.capacity() * 4
    }
}

/// Cells of all columns.
#[derive(Debug, Default)]
struct Cells {
    steps1: Lanes<i8>,
    steps2: Lanes<i16>,
    steps4: Lanes<i32>,
    steps8: Lanes<i64>,
    bits: Lanes<u64>,
}

impl Cells {
    /// Turns `column`, of which `row` rows are there, to a wider form.
    fn widen(&mut self, column: &mut ColumnState, form: Form, row: usize, room: usize) {
        let steps: SmallVec<[i64; ROOM]> = match column.form {
            Form::Same | Form::Bits => smallvec![0; row],
            Form::Steps1 => wide(self.steps1.get(column.place, room), row),
            Form::Steps2 => wide(self.steps2.get(column.place, room), row),
            Form::Steps4 => wide(self.steps4.get(column.place, room), row),
            Form::Steps8 => wide(self.steps8.get(column.place, room), row),
        };
        match column.form {
            Form::Same | Form::Bits => {}
            Form::Steps1 => self.steps1.give(column.place, room),
            Form::Steps2 => self.steps2.give(column.place, room),
            Form::Steps4 => self.steps4.give(column.place, room),
            Form::Steps8 => self.steps8.give(column.place, room),
        }
        column.form = form;
        column.place = match form {
            Form::Same => 0,
            Form::Steps1 => self.steps1.take(room),
            Form::Steps2 => self.steps2.take(room),
            Form::Steps4 => self.steps4.take(room),
            Form::Steps8 => self.steps8.take(room),
            Form::Bits => self.bits.take(room),
        };
        if form == Form::Bits {
            let mut value = column.first;
            for (cell, step) in self.bits.get_mut(column.place, room).iter_mut().zip(steps) {
                value = value.wrapping_add(step);
                *cell = float(value).to_bits();
            }
            return;
        }
        for (row, step) in steps.into_iter().enumerate() {
            self.set(*column, row, step, room);
        }
    }

    /// Notes a step, which fits the column's form.
    #[expect(clippy::cast_possible_truncation, reason = "the form was chosen to fit")]
    fn set(&mut self, column: ColumnState, row: usize, step: i64, room: usize) {
        match column.form {
            Form::Same | Form::Bits => {}
            Form::Steps1 => self.steps1.get_mut(column.place, room)[row] = step as i8,
            Form::Steps2 => self.steps2.get_mut(column.place, room)[row] = step as i16,
            Form::Steps4 => self.steps4.get_mut(column.place, room)[row] = step as i32,
            Form::Steps8 => self.steps8.get_mut(column.place, room)[row] = step,
        }
    }

    fn make_room(&mut self, before: usize, room: usize) {
        self.steps1.make_room(before, room);
        self.steps2.make_room(before, room);
        self.steps4.make_room(before, room);
        self.steps8.make_room(before, room);
        self.bits.make_room(before, room);
    }

    fn memory_bytes(&self) -> usize {
        self.steps1.memory_bytes()
            + self.steps2.memory_bytes()
            + self.steps4.memory_bytes()
            + self.steps8.memory_bytes()
            + self.bits.memory_bytes()
    }
}

fn wide<T: Copy + Into<i64>>(cells: &[T], rows: usize) -> SmallVec<[i64; ROOM]> {
    cells[..rows].iter().map(|cell| (*cell).into()).collect()
}

#[derive(Debug)]
struct Row {
    /// Columns that there were.
    columns: usize,
    /// Those that have a value, if not all have.
    present: Option<Bitmap>,
}

/// There is no room for a tail among those that are kept.
#[derive(Debug)]
pub(super) struct NoRoom;

impl Tail {
    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let rows = self.rows.capacity() * size_of::<Row>();
        let present: usize =
            self.rows.iter().flat_map(|row| &row.present).map(|p| p.len() / 8 + 8).sum();
        self.columns.capacity() * size_of::<ColumnState>()
            + self.cells.memory_bytes()
            + self.state.memory_bytes()
            + rows
            + present
    }

    /// Makes it all the rows of `tail`, which begins with those it has.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when a row does not decode.
    pub(super) fn extend(&mut self, tail: &[TailRow]) -> Result<Result<(), NoRoom>> {
        let outcome = self.try_extend(tail);
        if !matches!(outcome, Ok(Ok(()))) {
            // Of what may be half a row nothing is kept.
            *self =
                Self { reserved: self.reserved.take().map(Reserved::emptied), ..Self::default() };
        }
        outcome
    }

    fn try_extend(&mut self, tail: &[TailRow]) -> Result<Result<(), NoRoom>> {
        for scrape in &tail[self.rows.len().min(tail.len())..] {
            scrape.decode(&mut self.state)?;
            let width = self.state.values().len();
            if self.rows.len() == self.room {
                let room = tail.len().next_multiple_of(ROOM);
                self.cells.make_room(self.room, room);
                self.room = room;
            }
            self.push_row();
            let is_full = self.state.present().count() == width;
            let present = (!is_full).then(|| self.state.present().clone());
            self.rows.push(Row { columns: width, present });
            let bytes = self.memory_bytes();
            // Row by row, so that it is over its share by one row at most before that is noticed.
            if self.reserved.as_mut().is_some_and(|reserved| !reserved.set(bytes)) {
                return Ok(Err(NoRoom));
            }
        }
        Ok(Ok(()))
    }

    /// Adds the row that `state` is after.
    fn push_row(&mut self) {
        let Self { room, columns, cells, rows, state, .. } = self;
        let (row, room) = (rows.len(), *room);
        let known = columns.len();
        for (column, bits) in columns.iter_mut().zip(state.values()) {
            if column.form == Form::Bits {
                cells.bits.get_mut(column.place, room)[row] = *bits;
                column.last = *bits;
                continue;
            }
            if *bits == column.last {
                continue;
            }
            let last = to_decimal(column.last, 0).unwrap_or(0);
            column.last = *bits;
            let Some(int) = to_decimal(*bits, 0) else {
                cells.widen(column, Form::Bits, row, room);
                cells.bits.get_mut(column.place, room)[row] = *bits;
                continue;
            };
            let step = int.wrapping_sub(last);
            let form = Form::of(step);
            if form > column.form {
                cells.widen(column, form, row, room);
            }
            cells.set(*column, row, step, room);
        }
        for bits in state.values().iter().skip(known) {
            // In the rows before it has no value, so any will do.
            let first = to_decimal(*bits, 0);
            let mut column =
                ColumnState { last: *bits, first: first.unwrap_or(0), form: Form::Same, place: 0 };
            if first.is_none() {
                cells.widen(&mut column, Form::Bits, row, room);
                cells.bits.get_mut(column.place, room)[row] = *bits;
            }
            columns.push(column);
        }
    }

    /// Below which number all columns have a value in all of these rows.
    pub(super) fn complete(&self, rows: Range<usize>) -> usize {
        let width = |row: &Row| if row.present.is_none() { row.columns } else { 0 };
        self.rows[rows].iter().map(width).min().unwrap_or(0)
    }

    /// Whether a column has a value in a row.
    pub(super) fn has(&self, row: usize, column: usize) -> bool {
        let row = &self.rows[row];
        column < row.columns && row.present.as_ref().is_none_or(|present| present.get(column))
    }

    /// Whether all values of a column are integers.
    pub(super) fn is_whole(&self, column: usize) -> bool {
        self.columns.get(column).is_some_and(|column| column.form != Form::Bits)
    }

    /// The differences between neighbours in `rows` of a column of integers, the first one to `before`, which becomes the
    /// last integer; arithmetic wraps. Returns all bits that any but the first of them has; `None`, with nothing changed,
    /// if some value is no integer.
    pub(super) fn steps(
        &self,
        column: usize,
        rows: Range<usize>,
        before: &mut i64,
        out: &mut [u64],
    ) -> Option<u64> {
        let ColumnState { first, form, place, .. } = *self.columns.get(column)?;
        let (cells, room) = (&self.cells, self.room);
        match form {
            Form::Same => {
                out.fill(0);
                if let Some(to) = out.first_mut() {
                    *to = first.wrapping_sub(*before).cast_unsigned();
                    *before = first;
                }
                Some(0)
            }
            Form::Steps1 => Some(steps(cells.steps1.get(place, room), first, rows, before, out)),
            Form::Steps2 => Some(steps(cells.steps2.get(place, room), first, rows, before, out)),
            Form::Steps4 => Some(steps(cells.steps4.get(place, room), first, rows, before, out)),
            Form::Steps8 => Some(steps(cells.steps8.get(place, room), first, rows, before, out)),
            Form::Bits => None,
        }
    }

    /// Appends the values of a column in `rows`; anything where it has none.
    pub(super) fn append_values(&self, column: usize, rows: Range<usize>, out: &mut Vec<f64>) {
        let Some(ColumnState { first, form, place, .. }) = self.columns.get(column).copied() else {
            return out.resize(out.len() + rows.len(), 0.0);
        };
        let (cells, room) = (&self.cells, self.room);
        match form {
            Form::Same => out.resize(out.len() + rows.len(), float(first)),
            Form::Steps1 => values(cells.steps1.get(place, room), first, rows, out),
            Form::Steps2 => values(cells.steps2.get(place, room), first, rows, out),
            Form::Steps4 => values(cells.steps4.get(place, room), first, rows, out),
            Form::Steps8 => values(cells.steps8.get(place, room), first, rows, out),
            Form::Bits => {
                let bits = &cells.bits.get(place, room)[rows];
                out.extend(bits.iter().map(|bits| f64::from_bits(*bits)));
            }
        }
    }
}

/// [`Tail::steps`] of cells that lead on from `first`.
#[inline]
fn steps<T: Copy + Into<i64>>(
    cells: &[T],
    first: i64,
    rows: Range<usize>,
    before: &mut i64,
    out: &mut [u64],
) -> u64 {
    let add = |value: i64, cell: &T| value.wrapping_add((*cell).into());
    let Some((head, rest)) = out.split_first_mut() else { return 0 };
    let start = cells[..=rows.start].iter().fold(first, add);
    let cells = &cells[rows.start + 1..rows.end];
    let (any, value) = vectorized(
        #[inline(always)]
        move || {
            let (mut any, mut value) = (0u64, start);
            for (to, cell) in rest.iter_mut().zip(cells) {
                let step: i64 = (*cell).into();
                *to = step.cast_unsigned();
                any |= step.cast_unsigned();
                value = value.wrapping_add(step);
            }
            (any, value)
        },
    );
    *head = start.wrapping_sub(*before).cast_unsigned();
    *before = value;
    any
}

/// [`Tail::append_values`] of cells that lead on from `first`.
#[inline]
fn values<T: Copy + Into<i64>>(cells: &[T], first: i64, rows: Range<usize>, out: &mut Vec<f64>) {
    let add = |value: i64, cell: &T| value.wrapping_add((*cell).into());
    let mut value = cells[..rows.start].iter().fold(first, add);
    out.extend(cells[rows].iter().map(|cell| {
        value = add(value, cell);
        float(value)
    }));
}

#[expect(clippy::cast_precision_loss, reason = "as what the integer was made of")]
fn float(int: i64) -> f64 {
    int as f64
}

/// Bytes that a tail has of those all may have; given back with it.
#[derive(Debug)]
struct Reserved {
    of: Arc<Room>,
    bytes: usize,
}

#[derive(Debug)]
struct Room {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Reserved {
    /// Makes it as much; false, with nothing changed, when all would have too much.
    fn set(&mut self, bytes: usize) -> bool {
        let max = self.of.bytes_max;
        let before = self.bytes;
        let change = |taken: usize| {
            let taken = (taken - before).checked_add(bytes)?;
            (taken <= max || bytes <= before).then_some(taken)
        };
        let has_room =
            self.of.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok();
        if has_room {
            self.bytes = bytes;
        }
        has_room
    }

    /// With nothing reserved.
    fn emptied(mut self) -> Self {
        self.of.bytes.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
        self
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The tails of a shard that queries asked for.
#[derive(Debug)]
pub(crate) struct Tails {
    room: Arc<Room>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    visits: u64,
    /// By the address of the first row's bytes, which the entry keeps from being used for others.
    tails: FxHashMap<usize, Entry>,
}

#[derive(Debug)]
struct Entry {
    first: Arc<[u8]>,
    tail: Arc<RwLock<Tail>>,
    /// Number of the visit.
    used: u64,
}

impl Tails {
    /// Tails that take at most `bytes_max` bytes together.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let room = Arc::new(Room { bytes: AtomicUsize::new(0), bytes_max });
        Self { room, kept: Mutex::default() }
    }

    /// Counts a visit; now and then, forgets what is of no more use.
    pub(super) fn begin_visit(&self) {
        let mut kept = self.kept.lock();
        kept.visits += 1;
        let visits = kept.visits;
        // Tails that were sealed would keep the new ones out.
        let is_tight = self.room.bytes.load(Ordering::Relaxed) > self.room.bytes_max / 2;
        if is_tight || visits.is_multiple_of(VISITS_PER_LOOK) {
            let is_live = |entry: &mut Entry| Arc::strong_count(&entry.first) > 1;
            kept.tails.retain(|_, e| is_live(e) && e.used + VISITS_PER_LOOK >= visits);
        }
    }

    /// The tail with these rows, of which it may have some already.
    pub(super) fn of(&self, rows: &[TailRow]) -> Arc<RwLock<Tail>> {
        let Some(first) = rows.first() else { return Arc::default() };
        let mut kept = self.kept.lock();
        let used = kept.visits;
        let entry = kept.tails.entry(first.bytes.as_ptr().addr()).or_insert_with(|| {
            let reserved = Some(Reserved { of: Arc::clone(&self.room), bytes: 0 });
            let tail = Arc::new(RwLock::new(Tail { reserved, ..Tail::default() }));
            Entry { first: Arc::clone(&first.bytes), tail, used }
        });
        entry.used = used;
        Arc::clone(&entry.tail)
    }
}

#[cfg(test)]
mod tests {
    use model::stale_nan;
    use proptest::prelude::*;

    use super::*;
    use crate::column::Column;
    use crate::head::tail_columns;

    fn value() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            6 => (0i32..5).prop_map(|i| Some(f64::from(i))),
            2 => (0u32..53, -3i64..4).prop_map(|(shift, i)| Some(float(i << shift))),
            1 => Just(None),
            1 => prop_oneof![Just(-0.0), Just(0.5), Just(1e300), Just(stale_nan())].prop_map(Some),
        ]
    }

    /// Rows as the writer makes them; each has at least the columns of the one before.
    fn tail(rows: &[Vec<Option<f64>>]) -> Vec<TailRow> {
        let mut state = RowState::default();
        let one = |(row, values): (usize, &Vec<Option<f64>>)| {
            let mut present = Bitmap::zeros(values.len());
            let has = values.iter().enumerate().filter(|(_, value)| value.is_some());
            has.for_each(|(column, _)| present.set(column));
            let bits: Vec<u64> = values.iter().map(|v| v.unwrap_or(0.0).to_bits()).collect();
            let mut bytes = Vec::new();
            state.encode(&bits, &present, &mut bytes);
            TailRow { t_ms: row as i64, keyframe: row == 0, bytes: bytes.into() }
        };
        rows.iter().enumerate().map(one).collect()
    }

    proptest! {
        #[test]
        fn tails_grow_as_rows_come(
            mut rows in prop::collection::vec(prop::collection::vec(value(), 1..9), 1..90),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            start in any::<prop::sample::Index>(),
        ) {
            rows.sort_by_key(Vec::len);
            let all = tail(&rows);
            let tails = Tails::new(1 << 20);
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(all.len()) + 1).collect();
            ends.sort_unstable();
            for end in ends.into_iter().chain([all.len()]) {
                let tail = tails.of(&all);
                prop_assert!(tail.write().extend(&all[..end]).unwrap().is_ok());
            }
            let tail = tails.of(&all);
            let tail = tail.read();
            let width = rows[rows.len() - 1].len();
            let wanted: Vec<u32> = (0u32..).take(width).collect();
            let expected = tail_columns(&all, &wanted).unwrap();
            for (column, expected) in expected.iter().enumerate() {
                let mut values = Vec::new();
                tail.append_values(column, 0..all.len(), &mut values);
                let mut found = Column::default();
                for row in (0..all.len()).filter(|row| tail.has(*row, column)) {
                    found.push(row, values[row]);
                }
                found.finish(all.len());
                let bits = |c: &Column| c.iter().map(|(r, v)| (r, v.to_bits())).collect::<Vec<_>>();
                prop_assert_eq!(bits(&found), bits(expected));
                let low = start.index(all.len());
                let mut part = Vec::new();
                tail.append_values(column, low..all.len(), &mut part);
                prop_assert!(part.iter().map(|v| v.to_bits()).eq(values[low..].iter().map(|v| v.to_bits())));
                let (mut last, mut steps) = (7, vec![0; all.len() - low]);
                let any = tail.steps(column, low..all.len(), &mut last, &mut steps);
                prop_assert_eq!(any.is_some(), tail.is_whole(column));
                if let Some(any) = any {
                    let sums = steps.iter().scan(7u64, |v, step| {
                        *v = v.wrapping_add(*step);
                        Some(float(v.cast_signed()).to_bits())
                    });
                    prop_assert!(sums.eq(part.iter().map(|v| v.to_bits())));
                    prop_assert_eq!(float(last).to_bits(), part[part.len() - 1].to_bits());
                    prop_assert_eq!(any, steps[1..].iter().fold(0, |any, step| any | step));
                }
            }
            prop_assert_eq!(tails.room.bytes.load(Ordering::Relaxed), tail.memory_bytes());
        }
    }

    #[test]
    fn what_was_sealed_makes_room() {
        let rows = || tail(&[vec![Some(1.0); 100]]);
        let mut one = Tail::default();
        assert!(one.extend(&rows()).unwrap().is_ok());
        let tails = Tails::new(one.memory_bytes());
        let (sealed, live) = (rows(), rows());
        tails.begin_visit();
        assert!(tails.of(&sealed).write().extend(&sealed).unwrap().is_ok());
        assert!(tails.of(&live).write().extend(&live).unwrap().is_err());
        drop(sealed);
        tails.begin_visit();
        assert!(tails.of(&live).write().extend(&live).unwrap().is_ok());
        assert_eq!(tails.of(&live).read().len(), 1);
    }
}
