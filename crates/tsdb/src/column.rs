//! One series' values over a run of shared timestamps: which rows have one, and the values.
//!
//! ```text
//! column = validity u8, body
//! all    = floats of every row          none = nothing
//! run    = start, len, floats           bits = bitmap of the rows, floats
//! ```

use model::{Error, Result};
use storage::codec::{Reader, floats, put_count};

use crate::bitmap::Bitmap;

const ALL: u8 = 0;
const NONE: u8 = 1;
const RUN: u8 = 2;
const BITS: u8 = 3;

/// Values of one series at the rows where it has one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// Rows with a value; `None` when all have.
    pub valid: Option<Bitmap>,
    /// Their values, in row order.
    pub values: Vec<f64>,
}

impl Column {
    /// Whether no row has a value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Appends the value of row `row`; rows come in ascending order, those left out have none.
    #[inline]
    pub fn push(&mut self, row: usize, value: f64) {
        if self.valid.is_some() || self.values.len() != row {
            let valid = self.valid.get_or_insert_with(|| ones(self.values.len()));
            valid.resize(row + 1);
            valid.set(row);
        }
        self.values.push(value);
    }

    /// Says that there are `rows` rows, now that all values were pushed.
    pub fn finish(&mut self, rows: usize) {
        match &mut self.valid {
            Some(valid) => valid.resize(rows),
            None if self.values.len() != rows => {
                let mut valid = ones(self.values.len());
                valid.resize(rows);
                self.valid = Some(valid);
            }
            None => {}
        }
    }

    /// Values of rows `[start, end)` as a column of its own.
    pub fn slice(&self, start: usize, end: usize) -> Self {
        let Some(valid) = &self.valid else {
            let values = self.values.get(start..end).unwrap_or_default().to_vec();
            return Self { valid: None, values };
        };
        let (from, to) = (valid.rank(start), valid.rank(end));
        let values = self.values.get(from..to).unwrap_or_default().to_vec();
        if values.len() == end - start {
            return Self { valid: None, values };
        }
        let mut part = Bitmap::zeros(end - start);
        valid.ones().skip(from).take(to - from).for_each(|row| part.set(row - start));
        Self { valid: Some(part), values }
    }

    /// Appends all of `next`, which has `next_rows` rows, behind the `rows` this has.
    pub fn append(&mut self, rows: usize, next: &Self, next_rows: usize) {
        if self.valid.is_none() && next.valid.is_none() {
            return self.values.extend_from_slice(&next.values);
        }
        let mut valid = self.valid.take().unwrap_or_else(|| ones(rows));
        valid.resize(rows + next_rows);
        match &next.valid {
            None => (rows..rows + next_rows).for_each(|row| valid.set(row)),
            Some(more) => more.ones().for_each(|row| valid.set(rows + row)),
        }
        self.valid = Some(valid);
        self.values.extend_from_slice(&next.values);
    }

    /// `(row, value)` of the rows with a value.
    pub fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let mut rows = self.valid.as_ref().map(Bitmap::ones);
        self.values.iter().enumerate().map(move |(k, value)| {
            let row = rows.as_mut().map_or(Some(k), Iterator::next).unwrap_or(k);
            (row, *value)
        })
    }
}

fn ones(len: usize) -> Bitmap {
    let mut bitmap = Bitmap::zeros(len);
    (0..len).for_each(|i| bitmap.set(i));
    bitmap
}

/// Appends `column`.
pub(crate) fn encode(column: &Column, out: &mut Vec<u8>) {
    if encode_validity(column, out) {
        floats::encode(&column.values, out);
    }
}

/// As [`encode`], faster and somewhat larger: for what is soon encoded again.
pub(crate) fn encode_brief(column: &Column, out: &mut Vec<u8>) {
    if encode_validity(column, out) {
        floats::encode_brief(&column.values, out);
    }
}

/// Appends the decimals `int / 10^exponent` of every row, as [`encode_brief`] does.
pub(crate) fn encode_decimals(ints: &[i64], exponent: u8, out: &mut Vec<u8>) {
    out.push(ALL);
    floats::encode_decimals(ints, exponent, out);
}

/// Appends which rows have a value; whether any has.
fn encode_validity(column: &Column, out: &mut Vec<u8>) -> bool {
    match &column.valid {
        _ if column.values.is_empty() => out.push(NONE),
        None => out.push(ALL),
        Some(valid) if valid.len() == column.values.len() => out.push(ALL),
        Some(valid) => {
            let first = valid.ones().next().unwrap_or(0);
            let len = column.values.len();
            let is_run = valid.ones().last() == Some(first + len - 1);
            if is_run {
                out.push(RUN);
                put_count(out, first);
                put_count(out, len);
            } else {
                out.push(BITS);
                valid.encode(out);
            }
        }
    }
    !column.values.is_empty()
}

/// Reads which rows have a value; `None` when all have.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
pub(crate) fn validity(r: &mut Reader<'_>, rows: usize) -> Result<Option<Bitmap>> {
    Ok(match r.u8()? {
        ALL => None,
        NONE => Some(Bitmap::zeros(rows)),
        RUN => {
            let (start, len) = (r.count(rows)?, r.count(rows)?);
            if start + len > rows {
                return Err(Error::corrupt(format!("run {start}+{len} is outside {rows} rows")));
            }
            let mut valid = Bitmap::zeros(rows);
            (start..start + len).for_each(|row| valid.set(row));
            Some(valid)
        }
        BITS => Some(Bitmap::decode(r, rows)?),
        validity => return Err(Error::corrupt(format!("unknown column validity {validity}"))),
    })
}

/// Reads whether all rows have a value; if not, the reader is of no more use.
///
/// # Errors
/// As [`validity`].
pub(crate) fn is_whole(r: &mut Reader<'_>) -> Result<bool> {
    Ok(r.u8()? == ALL)
}

/// Reads a column of `rows` rows.
///
/// # Errors
/// As [`validity`].
pub(crate) fn decode(r: &mut Reader<'_>, rows: usize) -> Result<Column> {
    let valid = validity(r, rows)?;
    let count = valid.as_ref().map_or(rows, Bitmap::count);
    let mut values = Vec::with_capacity(count.min(1 << 16));
    floats::decode(r, count, &mut values)?;
    Ok(Column { valid, values })
}

/// Appends values `[wanted.start, wanted.end)` of the `count` behind a validity to `out`.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
pub(crate) fn values(
    r: &mut Reader<'_>,
    count: usize,
    wanted: std::ops::Range<usize>,
    scratch: &mut Vec<f64>,
    out: &mut Vec<f64>,
) -> Result<()> {
    if wanted.start == 0 {
        return floats::decode_first(r, count, wanted.end, out);
    }
    scratch.clear();
    floats::decode_first(r, count, wanted.end, scratch)?;
    out.extend_from_slice(scratch.get(wanted).unwrap_or_default());
    Ok(())
}
