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
use storage::codec::floats::to_decimal;

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
    /// Column after column: differences to the integer before, or bits of values.
    cells: Vec<u64>,
    rows: Vec<Row>,
    state: RowState,
    reserved: Option<Reserved>,
}

#[derive(Debug, Clone, Copy)]
struct ColumnState {
    /// Bits of the value of the last row.
    last: u64,
    /// Whether all values so far are integers.
    is_whole: bool,
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
        Self::bytes(self.columns.len(), self.room)
    }

    /// Bytes it takes with `columns` columns and `rows` rows.
    fn bytes(columns: usize, rows: usize) -> usize {
        columns * (rows.next_multiple_of(ROOM) * 8 + size_of::<ColumnState>() + 9)
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
            let columns = width.max(self.columns.len());
            if self.rows.len() == self.room || columns > self.columns.len() {
                if !self.reserve(columns, tail.len()) {
                    return Ok(Err(NoRoom));
                }
                self.make_room(columns, tail.len().next_multiple_of(ROOM));
            }
            self.push_row();
            let is_full = self.state.present().count() == width;
            let present = (!is_full).then(|| self.state.present().clone());
            self.rows.push(Row { columns: width, present });
        }
        Ok(Ok(()))
    }

    fn reserve(&mut self, columns: usize, rows: usize) -> bool {
        let bytes = Self::bytes(columns, rows);
        self.reserved.as_mut().is_none_or(|reserved| reserved.grow_to(bytes))
    }

    fn make_room(&mut self, columns: usize, room: usize) {
        if room > self.room && !self.cells.is_empty() {
            let mut cells = vec![0; self.columns.len() * room];
            let from = self.cells.chunks_exact(self.room);
            for (to, from) in cells.chunks_exact_mut(room).zip(from) {
                to[..from.len()].copy_from_slice(from);
            }
            self.cells = cells;
        }
        self.room = room.max(self.room);
        self.columns.resize(columns, ColumnState { last: 0, is_whole: true });
        self.cells.resize(columns * self.room, 0);
    }

    /// Adds the row that `state` is after.
    fn push_row(&mut self) {
        let row = self.rows.len();
        let columns = self.columns.iter_mut().zip(self.cells.chunks_exact_mut(self.room));
        for ((column, cells), bits) in columns.zip(self.state.values()) {
            if column.is_whole {
                if *bits == column.last {
                    continue;
                }
                if let Some(int) = to_decimal(*bits, 0) {
                    let last = to_decimal(column.last, 0).unwrap_or(0);
                    cells[row] = int.wrapping_sub(last).cast_unsigned();
                    column.last = *bits;
                    continue;
                }
                column.is_whole = false;
                let mut value = 0u64;
                for cell in &mut cells[..row] {
                    value = value.wrapping_add(*cell);
                    *cell = float(value).to_bits();
                }
            }
            cells[row] = *bits;
            column.last = *bits;
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

    fn cells(&self, column: usize) -> &[u64] {
        self.cells.get(column * self.room..(column + 1) * self.room).unwrap_or_default()
    }

    /// Differences of the integers of a column, the first to zero; `None` if some is no integer.
    pub(super) fn steps(&self, column: usize) -> Option<&[u64]> {
        self.columns.get(column)?.is_whole.then(|| self.cells(column))
    }

    /// Values of a column; anything where it has none.
    pub(super) fn values(
        &self,
        column: usize,
        rows: Range<usize>,
    ) -> impl Iterator<Item = f64> + '_ {
        let is_whole = self.columns.get(column).is_some_and(|column| column.is_whole);
        let mut value = 0u64;
        let of = move |cell: &u64| {
            value = value.wrapping_add(*cell);
            if is_whole { float(value) } else { f64::from_bits(*cell) }
        };
        let count = rows.len();
        let cells = self.cells(column).iter().map(of).chain(std::iter::repeat(0.0));
        cells.skip(rows.start).take(count)
    }
}

#[expect(clippy::cast_precision_loss, reason = "as what the integer was made of")]
fn float(int: u64) -> f64 {
    int.cast_signed() as f64
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
    fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let max = self.of.bytes_max;
        let add = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= max);
        let has_room =
            self.of.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        self.bytes += if has_room { more } else { 0 };
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
                let values: Vec<f64> = tail.values(column, 0..all.len()).collect();
                let mut found = Column::default();
                for row in (0..all.len()).filter(|row| tail.has(*row, column)) {
                    found.push(row, values[row]);
                }
                found.finish(all.len());
                let bits = |c: &Column| c.iter().map(|(r, v)| (r, v.to_bits())).collect::<Vec<_>>();
                prop_assert_eq!(bits(&found), bits(expected));
                if let Some(steps) = tail.steps(column) {
                    let sum = steps[..all.len()].iter().fold(0u64, |v, step| v.wrapping_add(*step));
                    prop_assert_eq!(float(sum).to_bits(), values[all.len() - 1].to_bits());
                }
            }
            prop_assert_eq!(tails.room.bytes.load(Ordering::Relaxed), tail.memory_bytes());
        }
    }

    #[test]
    fn what_was_sealed_makes_room() {
        let rows = || tail(&[vec![Some(1.0); 100]]);
        let tails = Tails::new(Tail::bytes(100, 1));
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
