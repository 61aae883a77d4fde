//! Fields of a block's rows: read by row as label sets, or by column as distinct values and which of them each row has.
//!
//! Columns that nobody wants are not opened. Does not own: writing (`block`).

use std::cell::OnceCell;
use std::sync::Arc;

use model::{Error, Labels, Result};
use rustc_hash::FxHashMap;
use storage::codec::{Reader, ints};

use crate::bits::Bits;
use crate::block::ROWS_MAX;
use crate::column::Column;

/// Distinct sets of field names, and names, one block may have.
const FIELD_NAMES_MAX: usize = ROWS_MAX;
/// Distinct rows of fields remembered while reading.
const FIELDS_MEMO: usize = 1024;

/// Fields of a block's rows, built on demand.
#[derive(Debug)]
pub(crate) struct Fields {
    names: Vec<String>,
    /// Names of each set, as columns.
    sets: Vec<Vec<usize>>,
    codes: Vec<i64>,
    /// `None` for those not wanted.
    columns: Vec<Option<Column>>,
    /// Values of each column, once somebody asks.
    values: OnceCell<Vec<Vec<String>>>,
}

/// The values of one field in a block.
#[derive(Debug)]
pub(crate) struct Coded {
    /// Distinct values.
    pub(crate) values: Vec<String>,
    /// For each row the index of its value; `values.len()` for rows without the field.
    pub(crate) codes: Vec<u32>,
}

impl Fields {
    /// Opens the fields of `rows` rows; only those among `wanted`, if that is given.
    pub(crate) fn open(bytes: &[u8], rows: usize, wanted: Option<&[String]>) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let count = reader.count(FIELD_NAMES_MAX)?;
        let names =
            (0..count).map(|_| reader.str().map(str::to_owned)).collect::<Result<Vec<_>>>()?;
        let set_count = reader.count(FIELD_NAMES_MAX)?;
        let mut sets = Vec::new();
        for _ in 0..set_count {
            let len = reader.count(count)?;
            sets.push((0..len).map(|_| reader.count(count)).collect::<Result<Vec<_>>>()?);
        }
        let mut codes = Vec::new();
        ints::decode(&mut reader, rows, &mut codes)?;
        let mut rows_of_set = vec![0_usize; sets.len()];
        for code in &codes {
            *usize::try_from(*code)
                .ok()
                .and_then(|c| rows_of_set.get_mut(c))
                .ok_or_else(|| Error::corrupt(format!("no field set {code}")))? += 1;
        }
        let mut lens = vec![0; count];
        for (set, rows) in sets.iter().zip(rows_of_set) {
            for column in set {
                *lens
                    .get_mut(*column)
                    .ok_or_else(|| Error::corrupt(format!("no field column {column}")))? += rows;
            }
        }
        let mut columns = Vec::new();
        for (name, len) in names.iter().zip(lens) {
            let data = reader.bytes()?;
            let is_wanted = wanted.is_none_or(|wanted| wanted.contains(name));
            let column = is_wanted.then(|| Column::open(Arc::from(data), len)).transpose()?;
            columns.push(column);
        }
        Ok(Self { names, sets, codes, columns, values: OnceCell::new() })
    }

    /// Their names.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    fn set(&self, code: i64) -> &[usize] {
        usize::try_from(code).ok().and_then(|c| self.sets.get(c)).map_or(&[], Vec::as_slice)
    }

    /// Calls `visit` with the wanted fields of the selected rows, ascending.
    pub(crate) fn for_each(
        &self,
        select: &Bits,
        mut visit: impl FnMut(usize, Labels),
    ) -> Result<()> {
        if self.values.get().is_none() {
            let values = self
                .columns
                .iter()
                .map(|c| c.as_ref().map_or_else(|| Ok(Vec::new()), decode_strings))
                .collect::<Result<Vec<_>>>()?;
            // Filled once: a second caller would have found it above.
            drop(self.values.set(values));
        }
        let Some(values) = self.values.get() else { return Ok(()) };
        let mut cursors = vec![0_usize; values.len()];
        let mut memo: FxHashMap<Vec<(usize, &str)>, Labels> = FxHashMap::default();
        for (row, code) in self.codes.iter().enumerate() {
            let set = self.set(*code);
            if select.get(row) {
                let pairs: Vec<(usize, &str)> = set
                    .iter()
                    .filter(|c| self.columns[**c].is_some())
                    .map(|c| (*c, values[*c].get(cursors[*c]).map_or("", String::as_str)))
                    .collect();
                if memo.len() > FIELDS_MEMO {
                    memo.clear();
                }
                let labels = memo.entry(pairs).or_insert_with_key(|pairs| {
                    pairs.iter().map(|(c, value)| (self.names[*c].as_str(), *value)).collect()
                });
                visit(row, labels.clone());
            }
            set.iter().for_each(|c| cursors[*c] += 1);
        }
        Ok(())
    }

    /// The values of field `name`, which must be wanted; `None` when no row has it.
    pub(crate) fn coded(&self, name: &str) -> Result<Option<Coded>> {
        let Some(at) = self.names.iter().position(|n| n == name) else { return Ok(None) };
        let Some(column) = &self.columns[at] else { return Ok(None) };
        let (values, dense) = column.coded()?;
        let absent = values.len() as u32;
        let has: Vec<bool> = self.sets.iter().map(|set| set.contains(&at)).collect();
        let codes = if has.iter().all(|has| *has) && dense.len() == self.codes.len() {
            dense
        } else {
            let mut next = dense.into_iter();
            let has = |code: &i64| usize::try_from(*code).is_ok_and(|c| has.get(c) == Some(&true));
            let value = |code| if has(code) { next.next().unwrap_or(absent) } else { absent };
            self.codes.iter().map(value).collect()
        };
        let text = |value: Vec<u8>| {
            String::from_utf8(value).map_err(|e| crate::select::not_utf8(e.utf8_error()))
        };
        let values = values.into_iter().map(text).collect::<Result<_>>()?;
        Ok(Some(Coded { values, codes }))
    }
}

fn decode_strings(column: &Column) -> Result<Vec<String>> {
    let mut all = Bits::new(column.len());
    all.set_range(0, column.len());
    let mut values = Vec::with_capacity(column.len());
    column
        .for_each(&all, &mut |_, value| values.push(String::from_utf8_lossy(value).into_owned()))?;
    Ok(values)
}
