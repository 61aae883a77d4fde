//! One scrape as a row of bytes: which columns changed since the row before, and by how much.
//!
//! Owns: the row codec, used alike by the WAL and by the tail of the head (the last scrapes before they are sealed).
//! Does not own: which series a column is.
//!
//! ```text
//! row    = columns varint, presence u8 (0: as before, 1: bitmap follows), changed bitmap over present columns, values
//! value  = zigzag varint of the decimal difference, never 0
//!        | 0, exponent u8, zigzag varint       the decimal itself, and its exponent from now on
//!        | 0, 254                              the staleness marker
//!        | 0, 255, bits u64                    anything else
//! ```
//! A chain of rows starts from the empty state: no columns, exponent 0, value 0.

use model::{Error, Result, STALE_NAN_BITS};
use storage::codec::floats::{EXPONENT_MAX, find_decimal, from_decimal, to_decimal};
use storage::codec::{Reader, put_count, put_zigzag};

use crate::bitmap::Bitmap;

const AS_BEFORE: u8 = 0;
const BITMAP: u8 = 1;

/// Begins a value that is no difference.
pub(crate) const ESCAPE: u64 = 0;
const STALE: u8 = 254;
const BITS: u8 = 255;

/// What both ends know after a row: the last value of each column, and who was in it.
#[derive(Debug, Clone, Default)]
pub struct RowState {
    values: Vec<u64>,
    exponents: Vec<u8>,
    present: Bitmap,
}

impl RowState {
    /// Bits of the last value of each column; zero where there was none since the chain began.
    pub fn values(&self) -> &[u64] {
        &self.values
    }

    /// Columns of the last row that had a value.
    pub fn present(&self) -> &Bitmap {
        &self.present
    }

    /// Bytes it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.values.capacity() * 9 + self.present.len() / 8
    }

    /// Back to the state before the first row.
    pub fn clear(&mut self) {
        self.values.clear();
        self.exponents.clear();
        self.present.reset(0);
    }

    /// Column `column` as if it had never had a value. Only right before [`clear`](Self::clear): the other end of the chain
    /// does not learn of it.
    pub(crate) fn forget(&mut self, column: usize) {
        self.present.unset(column);
        if let Some(value) = self.values.get_mut(column) {
            *value = 0;
        }
    }

    fn resize(&mut self, columns: usize) {
        self.values.resize(columns, 0);
        self.exponents.resize(columns, 0);
        self.present.resize(columns);
    }

    /// Appends the row with `values[i]` (bits) for each column `i` in `present`; its length is the number of columns,
    /// which never shrinks within a chain.
    pub fn encode(&mut self, values: &[u64], present: &Bitmap, out: &mut Vec<u8>) {
        let columns = present.len();
        self.resize(columns);
        put_count(out, columns);
        if *present == self.present {
            out.push(AS_BEFORE);
        } else {
            out.push(BITMAP);
            present.encode(out);
            self.present.clone_from(present);
        }
        let changed_at = out.len();
        let count = present.count();
        out.resize(changed_at + count.div_ceil(8), 0);
        if count < columns {
            for (k, column) in present.ones().enumerate() {
                let (bits, before) = (values[column], self.values[column]);
                if bits != before {
                    out[changed_at + k / 8] |= 1 << (k % 8);
                    put_value(before, bits, &mut self.exponents[column], out);
                    self.values[column] = bits;
                }
            }
            return;
        }
        // As usual: every column has a value, and what changed is found 64 columns at a time.
        let columns = values[..columns].chunks(64).zip(self.values.chunks_mut(64));
        for (k, ((now, before), exponents)) in
            columns.zip(self.exponents.chunks_mut(64)).enumerate()
        {
            let mut changed = 0u64;
            for (bit, (now, before)) in now.iter().zip(&*before).enumerate() {
                changed |= u64::from(now != before) << bit;
            }
            let bytes = now.len().div_ceil(8);
            out[changed_at + k * 8..][..bytes].copy_from_slice(&changed.to_le_bytes()[..bytes]);
            while changed != 0 {
                let c = changed.trailing_zeros() as usize;
                changed &= changed - 1;
                put_value(before[c], now[c], &mut exponents[c], out);
            }
            before.copy_from_slice(now);
        }
    }

    /// Reads one row written by [`encode`](Self::encode) and becomes the state after it.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input, or over `columns_max` columns; the state is
    /// then unusable.
    pub fn decode(&mut self, r: &mut Reader<'_>, columns_max: usize) -> Result<()> {
        let (columns, present) = take_head(r, columns_max)?;
        if columns < self.values.len() {
            let had = self.values.len();
            return Err(Error::corrupt(format!("row has {columns} columns, the one before {had}")));
        }
        self.resize(columns);
        if let Some(present) = present {
            self.present = present;
        }
        let changed = r.take(self.present.count().div_ceil(8))?;
        for (k, column) in self.present.ones().enumerate() {
            if changed[k / 8] >> (k % 8) & 1 == 1 {
                let value = &mut self.values[column];
                *value = take_value(r, *value, &mut self.exponents[column])?;
            }
        }
        Ok(())
    }
}

/// Reads how many columns a row has, and which of them have a value if it says so.
pub(crate) fn take_head(r: &mut Reader<'_>, columns_max: usize) -> Result<(usize, Option<Bitmap>)> {
    let columns = r.count(columns_max)?;
    match r.u8()? {
        AS_BEFORE => Ok((columns, None)),
        BITMAP => Ok((columns, Some(Bitmap::decode(r, columns)?))),
        presence => Err(Error::corrupt(format!("unknown row presence {presence}"))),
    }
}

#[inline]
fn put_value(before: u64, bits: u64, exponent: &mut u8, out: &mut Vec<u8>) {
    if let (Some(from), Some(to)) = (to_decimal(before, *exponent), to_decimal(bits, *exponent)) {
        return put_zigzag(out, to - from);
    }
    out.push(0);
    if bits == STALE_NAN_BITS {
        return out.push(STALE);
    }
    // Keeping the larger exponent avoids a new escape for every value with fewer digits.
    match find_decimal(bits, *exponent).or_else(|| find_decimal(bits, 0)) {
        Some((e, int)) => {
            *exponent = e;
            out.push(e);
            put_zigzag(out, int);
        }
        None => {
            out.push(BITS);
            out.extend_from_slice(&bits.to_le_bytes());
        }
    }
}

#[inline]
fn take_value(r: &mut Reader<'_>, before: u64, exponent: &mut u8) -> Result<u64> {
    let code = r.varint()?;
    take_coded(code, r, before, exponent)
}

/// The value that begins with `code`.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
#[inline]
pub(crate) fn take_coded(
    code: u64,
    r: &mut Reader<'_>,
    before: u64,
    exponent: &mut u8,
) -> Result<u64> {
    if code != ESCAPE {
        let Some(from) = to_decimal(before, *exponent) else {
            return Err(Error::corrupt("difference to a value that is not decimal"));
        };
        let int = from.wrapping_add(storage::codec::unzigzag(code));
        return Ok(from_decimal(int, *exponent).to_bits());
    }
    match r.u8()? {
        STALE => Ok(STALE_NAN_BITS),
        BITS => r.u64(),
        e if e <= EXPONENT_MAX => {
            *exponent = e;
            Ok(from_decimal(r.zigzag()?, e).to_bits())
        }
        code => Err(Error::corrupt(format!("unknown value escape {code}"))),
    }
}

/// Which columns of an encoded row have a value, without decoding it; `before` is the row before it in its chain.
///
/// # Errors
/// As [`RowState::decode`].
pub fn presence(row: &[u8], before: &mut Bitmap, columns_max: usize) -> Result<()> {
    let (columns, present) = take_head(&mut Reader::new(row), columns_max)?;
    match present {
        Some(present) => *before = present,
        None => before.resize(columns),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Option<u64>> {
        prop_oneof![
            1 => Just(None),
            4 => (0i64..40).prop_map(|i| Some(from_decimal(i, 0).to_bits())),
            4 => (-50_000i64..50_000, 0u8..5).prop_map(|(i, e)| Some(from_decimal(i, e).to_bits())),
            1 => Just(Some(STALE_NAN_BITS)),
            1 => any::<u64>().prop_map(Some),
        ]
    }

    proptest! {
        #[test]
        fn rows_survive(mut rows in proptest::collection::vec(proptest::collection::vec(value(), 0..40), 0..30)) {
            rows.sort_by_key(Vec::len);
            let (mut writer, mut reader) = (RowState::default(), RowState::default());
            let mut known = Bitmap::default();
            for row in rows {
                let mut present = Bitmap::zeros(row.len());
                row.iter().enumerate().filter(|(_, v)| v.is_some()).for_each(|(i, _)| present.set(i));
                let values: Vec<u64> = row.iter().map(|v| v.unwrap_or(7)).collect();
                let mut bytes = Vec::new();
                writer.encode(&values, &present, &mut bytes);
                let mut r = Reader::new(&bytes);
                reader.decode(&mut r, 40).unwrap();
                prop_assert!(r.is_empty());
                presence(&bytes, &mut known, 40).unwrap();
                prop_assert_eq!(&known, &present);
                let back: Vec<Option<u64>> = (0..row.len())
                    .map(|i| reader.present().get(i).then(|| reader.values()[i]))
                    .collect();
                prop_assert_eq!(back, row);
            }
        }

        #[test]
        fn noise_is_refused_or_bounded(rows in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..60), 0..6)) {
            let mut state = RowState::default();
            for row in rows {
                if state.decode(&mut Reader::new(&row), 100).is_err() {
                    break;
                }
                prop_assert!(state.values().len() <= 100);
            }
        }
    }
}
