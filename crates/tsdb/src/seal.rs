//! From scrapes to columns: the rows of a tail turned by 64 columns at a time.
//!
//! Owns: reading the rows side by side, so that what one step works on stays in the processor's nearest cache. A column
//! whose rows are differences of decimals of one exponent becomes integers without a number ever being a float. Does not
//! own: the row codec ([`row`](crate::row)) nor what a frame is ([`head`](crate::head)).

use model::Result;
use storage::codec::floats::{EXPONENT_MAX, from_decimal};
use storage::codec::{Reader, unzigzag};

use crate::bitmap::Bitmap;
use crate::column::{self, Column};
use crate::row;

/// Columns that are turned at a time.
const LANES: usize = 64;

/// Columns of the rows, encoded one behind the other in `data`, which end at `ends`.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) when a row does not decode, or has over `columns_max` columns.
pub(crate) fn turn<'a>(
    rows: impl ExactSizeIterator<Item = (bool, &'a [u8])>,
    columns_max: usize,
) -> Result<(Vec<u32>, Vec<u8>)> {
    let mut cursors: Vec<Cursor<'_>> = Vec::with_capacity(rows.len());
    let mut bytes = 0;
    for (keyframe, row) in rows {
        bytes += row.len();
        let mut values = Reader::new(row);
        let (columns, present) = row::take_head(&mut values, columns_max)?;
        let present = present.unwrap_or_else(|| {
            let before = cursors.last().filter(|_| !keyframe);
            let mut present = before.map(|before| before.present.clone()).unwrap_or_default();
            present.resize(columns);
            present
        });
        let changed = Bits { bytes: values.take(present.count().div_ceil(8))?, at: 0 };
        cursors.push(Cursor { keyframe, columns, present, changed, values });
    }
    let columns = cursors.iter().map(|cursor| cursor.columns).max().unwrap_or(0);
    let (mut ends, mut data) = (Vec::with_capacity(columns), Vec::with_capacity(bytes));
    let mut lanes = Lanes::new(cursors.len());
    for start in (0..columns).step_by(LANES) {
        lanes.clear();
        for (number, cursor) in cursors.iter_mut().enumerate() {
            lanes.take(number, start / LANES, cursor)?;
        }
        for lane in 0..(columns - start).min(LANES) {
            lanes.encode(lane, &mut data);
            ends.push(u32::try_from(data.len()).unwrap_or(u32::MAX));
        }
    }
    data.shrink_to_fit();
    Ok((ends, data))
}

/// How far a row is read.
struct Cursor<'a> {
    keyframe: bool,
    columns: usize,
    present: Bitmap,
    changed: Bits<'a>,
    values: Reader<'a>,
}

/// Bits that are taken some at a time.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The next `count` bits, at most 64; the caller has checked that they are there.
    fn take(&mut self, count: usize) -> u64 {
        let mut word = [0; 16];
        let wanted = self.bytes.get(self.at / 8..(self.at + count).div_ceil(8)).unwrap_or_default();
        word[..wanted.len()].copy_from_slice(wanted);
        let bits = (u128::from_le_bytes(word) >> (self.at % 8)) & ((1 << count) - 1);
        self.at += count;
        u64::try_from(bits).unwrap_or(u64::MAX)
    }
}

/// Up to 64 columns of all rows.
struct Lanes {
    rows: usize,
    /// Lane after lane, row after row: integers, or bits of values for the lanes that are `binary`.
    cells: Vec<u64>,
    /// Which lanes have a value, by row.
    present: Vec<u64>,
    /// What the row before left in each lane.
    last: [u64; LANES],
    exponents: [u8; LANES],
    /// Lanes whose values are not decimals of one exponent.
    binary: u64,
    /// Lanes that have had a value.
    started: u64,
    /// Lanes that have one in every row.
    whole: u64,
    ints: Vec<i64>,
}

impl Lanes {
    fn new(rows: usize) -> Self {
        Self {
            rows,
            cells: vec![0; LANES * rows],
            present: vec![0; rows],
            last: [0; LANES],
            exponents: [0; LANES],
            binary: 0,
            started: 0,
            whole: u64::MAX,
            ints: Vec::with_capacity(rows),
        }
    }

    fn clear(&mut self) {
        (self.last, self.exponents) = ([0; LANES], [0; LANES]);
        (self.binary, self.started, self.whole) = (0, 0, u64::MAX);
    }

    /// Takes the part of a row in.
    fn take(&mut self, row: usize, word: usize, cursor: &mut Cursor<'_>) -> Result<()> {
        if cursor.keyframe && row > 0 {
            // A new chain inside the tail is rare: its exponents begin anew.
            (0..LANES).for_each(|lane| self.make_binary(lane, row));
            (self.last, self.exponents) = ([0; LANES], [0; LANES]);
        }
        let present = cursor.present.word(word);
        let flags = cursor.changed.take(present.count_ones() as usize);
        let mut changed = if present == u64::MAX { flags } else { spread(flags, present) };
        while changed != 0 {
            let lane = changed.trailing_zeros() as usize;
            changed &= changed - 1;
            let code = cursor.values.varint()?;
            if code != row::ESCAPE && self.binary >> lane & 1 == 0 {
                let step = unzigzag(code).cast_unsigned();
                self.last[lane] = self.last[lane].wrapping_add(step);
            } else {
                self.take_special(lane, row, code, &mut cursor.values)?;
            }
        }
        for (cells, last) in self.cells.chunks_exact_mut(self.rows).zip(&self.last) {
            cells[row] = *last;
        }
        self.present[row] = present;
        self.started |= present;
        self.whole &= present;
        Ok(())
    }

    /// Takes a value in that is no difference of integers.
    fn take_special(
        &mut self,
        lane: usize,
        row: usize,
        code: u64,
        values: &mut Reader<'_>,
    ) -> Result<()> {
        let is = |lanes: u64| lanes >> lane & 1 == 1;
        let exponent = &mut self.exponents[lane];
        if !is(self.binary) {
            let next = values.clone().u8()?;
            if next <= EXPONENT_MAX && (!is(self.started) || next == *exponent) {
                values.u8()?;
                *exponent = next;
                self.last[lane] = values.zigzag()?.cast_unsigned();
                return Ok(());
            }
            self.make_binary(lane, row);
        }
        let exponent = &mut self.exponents[lane];
        self.last[lane] = row::take_coded(code, values, self.last[lane], exponent)?;
        Ok(())
    }

    /// From now on, and in the `rows` so far, a lane has bits of values.
    fn make_binary(&mut self, lane: usize, rows: usize) {
        if self.binary >> lane & 1 == 1 {
            return;
        }
        self.binary |= 1 << lane;
        let exponent = self.exponents[lane];
        let bits = |int: u64| from_decimal(int.cast_signed(), exponent).to_bits();
        self.last[lane] = bits(self.last[lane]);
        for cell in &mut self.cells[lane * self.rows..][..rows] {
            *cell = bits(*cell);
        }
    }

    /// Appends a lane as a column.
    fn encode(&mut self, lane: usize, out: &mut Vec<u8>) {
        let is = |lanes: u64| lanes >> lane & 1 == 1;
        let (is_binary, is_whole) = (is(self.binary), is(self.whole));
        let exponent = self.exponents[lane];
        let cells = &self.cells[lane * self.rows..][..self.rows];
        if is_whole && !is_binary {
            self.ints.clear();
            self.ints.extend(cells.iter().map(|cell| cell.cast_signed()));
            return column::encode_decimals(&self.ints, exponent, out);
        }
        let value = |cell: u64| match is_binary {
            true => f64::from_bits(cell),
            false => from_decimal(cell.cast_signed(), exponent),
        };
        let mut column = Column { valid: None, values: Vec::with_capacity(self.rows) };
        for (row, cell) in cells.iter().enumerate() {
            if is_whole || is(self.present[row]) {
                column.push(row, value(*cell));
            }
        }
        column.finish(self.rows);
        column::encode_brief(&column, out);
    }
}

/// Moves the bits of `flags` to the places that are set in `places`, in order.
fn spread(flags: u64, places: u64) -> u64 {
    let (mut flags, mut places, mut all) = (flags, places, 0);
    while flags != 0 {
        let place = places & places.wrapping_neg();
        all |= if flags & 1 == 1 { place } else { 0 };
        places ^= place;
        flags >>= 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use model::STALE_NAN_BITS;
    use proptest::prelude::*;

    use super::*;
    use crate::row::RowState;

    fn value() -> impl Strategy<Value = Option<u64>> {
        prop_oneof![
            1 => Just(None),
            6 => (0i64..40).prop_map(|i| Some(from_decimal(i, 0).to_bits())),
            4 => (-50_000i64..50_000, 0u8..3).prop_map(|(i, e)| Some(from_decimal(i, e).to_bits())),
            1 => prop_oneof![Just(STALE_NAN_BITS), any::<u64>()].prop_map(Some),
        ]
    }

    /// A column's values: mostly of one kind, and there in every row.
    fn lane() -> impl Strategy<Value = Vec<Option<u64>>> {
        let whole = (-50_000i64..50_000, 0u8..4).prop_flat_map(|(first, e)| {
            proptest::collection::vec(
                (0i64..30).prop_map(move |i| Some(from_decimal(first + i, e).to_bits())),
                70,
            )
        });
        prop_oneof![3 => whole, 1 => proptest::collection::vec(value(), 70)]
    }

    proptest! {
        #[test]
        fn columns_are_those_of_the_rows(
            lanes in proptest::collection::vec((lane(), 0usize..90), 0..140),
            keyframes in proptest::collection::vec(proptest::bool::weighted(0.05), 1..70),
        ) {
            let (mut writer, mut rows) = (RowState::default(), Vec::new());
            let mut expected = vec![Column::default(); lanes.len()];
            for (row, keyframe) in keyframes.iter().enumerate() {
                // Columns come one by one, some after the first row.
                let columns = lanes.iter().take_while(|(_, from)| *from < 70 + row).count();
                let values: Vec<_> = lanes[..columns].iter().map(|(lane, _)| lane[row]).collect();
                let mut present = Bitmap::zeros(columns);
                for (c, bits) in values.iter().enumerate() {
                    if let Some(bits) = bits {
                        present.set(c);
                        expected[c].push(row, f64::from_bits(*bits));
                    }
                }
                let values: Vec<u64> = values.iter().map(|bits| bits.unwrap_or(7)).collect();
                let keyframe = *keyframe || row == 0;
                if keyframe {
                    writer.clear();
                }
                let mut bytes = Vec::new();
                writer.encode(&values, &present, &mut bytes);
                rows.push((keyframe, bytes));
            }
            let bytes = rows.iter().map(|(keyframe, bytes)| (*keyframe, &bytes[..]));
            let (ends, data) = turn(bytes, 1000).unwrap();
            let mut start = 0;
            for (c, end) in ends.iter().enumerate() {
                expected[c].finish(rows.len());
                let mut r = Reader::new(&data[start..*end as usize]);
                let column = column::decode(&mut r, rows.len()).unwrap();
                prop_assert!(r.is_empty());
                let bits = |column: &Column| -> Vec<(usize, u64)> {
                    column.iter().map(|(row, value)| (row, value.to_bits())).collect()
                };
                prop_assert_eq!(bits(&column), bits(&expected[c]));
                start = *end as usize;
            }
            prop_assert_eq!(start, data.len());
        }

        #[test]
        fn noise_is_refused_or_bounded(rows in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..6)) {
            let rows: Vec<_> = rows.iter().map(|(keyframe, bytes)| (*keyframe, &bytes[..])).collect();
            if let Ok((ends, _)) = turn(rows.into_iter(), 100) {
                prop_assert!(ends.len() <= 100);
            }
        }
    }
}
