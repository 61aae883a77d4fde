//! The decoders of stored bytes by themselves: for fuzzing, and for looking at damaged files.
//!
//! Does not own: any format; each function reads what its module writes, and throws the result away but for its size.

use std::sync::Arc;

use model::Result;

use crate::bits::Bits;
use crate::fields::Fields;
use crate::{column, deletions, part, record};

/// Decodes the payload of a WAL record; returns its rows.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt), or [`Invalid`](model::ErrorKind::Invalid) for a newer version.
pub fn wal_record(payload: &[u8]) -> Result<usize> {
    record::decode(payload).map(|stored| stored.rows.len())
}

/// Decodes a column of `values` values; returns the bytes of all values.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt).
pub fn column(bytes: &[u8], values: usize) -> Result<usize> {
    let column = column::Column::open(Arc::from(bytes), values)?;
    let mut all = Bits::new(values);
    all.set_range(0, values);
    let mut total = 0;
    column.for_each(&all, &mut |_, value| total += value.len())?;
    Ok(total)
}

/// Decodes the fields of `rows` rows; returns how many rows have any.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt).
pub fn fields(bytes: &[u8], rows: usize) -> Result<usize> {
    let mut all = Bits::new(rows);
    all.set_range(0, rows);
    let mut count = 0;
    Fields::open(&Arc::from(bytes), rows)?
        .for_each(&all, None, |_, labels| count += usize::from(!labels.is_empty()))?;
    Ok(count)
}

/// Decodes a part's index, already decompressed; returns its blocks.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt).
pub fn part_index(bytes: &[u8]) -> Result<usize> {
    part::decode_index(bytes, part::VERSION).map(|(_, blocks)| blocks.len())
}

/// Decodes a deletion from the manifest; returns its conditions.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt), or [`Invalid`](model::ErrorKind::Invalid) for a newer version and expressions
/// that do not compile.
pub fn deletion(bytes: &[u8]) -> Result<usize> {
    deletions::decode("", bytes).map(|found| found.matchers.len() + found.line_filters.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0..500_usize) {
            // Errors are expected; what counts is that all come back.
            drop((super::wal_record(&bytes), super::column(&bytes, count)));
            drop((super::fields(&bytes, count), super::part_index(&bytes)));
            drop(super::deletion(&bytes));
        }
    }
}
