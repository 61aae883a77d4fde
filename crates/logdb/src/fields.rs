//! Fields of a block's rows: read by row as label sets, by column as distinct values and which of them each row has, or
//! searched.
//!
//! Columns that nobody wants are not opened. Does not own: writing (`block`).

use std::borrow::Cow;
use std::sync::Arc;

use model::{Error, Labels, MatchOp, Matcher, Result};
use rustc_hash::FxHashMap;
use storage::codec::{Reader, ints};

use crate::bits::Bits;
use crate::block::ROWS_MAX;
use crate::column::{Codes, Hits, Lazy};
use crate::needle::Needle;
use crate::texts::Texts;

/// Distinct sets of field names, and names, one block may have.
const FIELD_NAMES_MAX: usize = ROWS_MAX;
/// Distinct rows of fields remembered while reading.
const FIELDS_MEMO: usize = 1024;

/// Fields of a block's rows.
#[derive(Debug)]
pub(crate) struct Fields {
    names: Vec<String>,
    /// Names of each set, as columns.
    sets: Vec<Vec<usize>>,
    /// Set of each row.
    codes: Vec<u16>,
    columns: Vec<Lazy>,
}

/// The values of one field in a block.
#[derive(Debug)]
pub(crate) struct Coded<'f> {
    /// Distinct values.
    pub(crate) values: Vec<Cow<'f, str>>,
    /// Which one each row has; `values.len()` for rows without the field.
    pub(crate) codes: RowCodes<'f>,
}

/// A number per row.
#[derive(Debug)]
pub(crate) enum RowCodes<'f> {
    /// All rows have this one.
    Same(u32),
    Narrow(Cow<'f, [u8]>),
    Wide(Cow<'f, [u32]>),
}

impl Coded<'_> {
    /// The value of row `row`, empty when it has none.
    pub(crate) fn value(&self, row: usize) -> &str {
        self.values.get(self.codes.get(row) as usize).map_or("", |value| &**value)
    }
}

impl RowCodes<'_> {
    /// The number of row `i`.
    pub(crate) fn get(&self, i: usize) -> u32 {
        match self {
            Self::Same(code) => *code,
            Self::Narrow(codes) => codes.get(i).copied().map_or(0, u32::from),
            Self::Wide(codes) => codes.get(i).copied().unwrap_or(0),
        }
    }

    /// The same, borrowed.
    pub(crate) fn borrowed(&self) -> RowCodes<'_> {
        match self {
            Self::Same(code) => RowCodes::Same(*code),
            Self::Narrow(codes) => RowCodes::Narrow(Cow::Borrowed(codes)),
            Self::Wide(codes) => RowCodes::Wide(Cow::Borrowed(codes)),
        }
    }

    /// Bytes of memory it owns.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Narrow(Cow::Owned(codes)) => codes.capacity(),
            Self::Wide(Cow::Owned(codes)) => codes.capacity() * size_of::<u32>(),
            Self::Same(_) | Self::Narrow(_) | Self::Wide(_) => 0,
        }
    }
}

impl Fields {
    /// Opens the fields of `rows` rows.
    pub(crate) fn open(data: &Arc<[u8]>, rows: usize) -> Result<Self> {
        let mut reader = Reader::new(data);
        let count = reader.count(FIELD_NAMES_MAX)?;
        let names =
            (0..count).map(|_| reader.str().map(str::to_owned)).collect::<Result<Vec<_>>>()?;
        let set_count = reader.count(FIELD_NAMES_MAX)?;
        let mut sets = Vec::new();
        for _ in 0..set_count {
            let len = reader.count(count)?;
            sets.push((0..len).map(|_| reader.count(count)).collect::<Result<Vec<_>>>()?);
        }
        let mut codes: Vec<u16> = Vec::new();
        let mut rows_of_set = vec![0_usize; sets.len()];
        let mut unknown = None;
        ints::decode_blocks(&mut reader, rows, rows, |block| {
            for code in block {
                let set = usize::try_from(*code).ok();
                match set.and_then(|set| Some((set, rows_of_set.get_mut(set)?))) {
                    Some((set, rows)) => {
                        *rows += 1;
                        // Sets are fewer than 65,536.
                        codes.push(set as u16);
                    }
                    None => unknown = Some(*code),
                }
            }
        })?;
        if let Some(code) = unknown {
            return Err(Error::corrupt(format!("no field set {code}")));
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
        for len in lens {
            let bytes = reader.bytes()?.len();
            let end = reader.position();
            columns.push(Lazy::new(data, end - bytes..end, len));
        }
        Ok(Self { names, sets, codes, columns })
    }

    /// Their names.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Bytes of memory that what is decoded takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let columns = self.columns.iter().map(Lazy::memory_bytes).sum::<usize>();
        let names = self.names.iter().map(|n| n.capacity() + size_of::<String>()).sum::<usize>();
        columns + names + self.codes.capacity() * 2
    }

    fn set(&self, row: usize) -> &[usize] {
        self.codes.get(row).and_then(|c| self.sets.get(usize::from(*c))).map_or(&[], Vec::as_slice)
    }

    /// Calls `visit` with the fields of the selected rows, ascending; only those among `wanted`, if that is given.
    pub(crate) fn for_each(
        &self,
        select: &Bits,
        wanted: Option<&[String]>,
        mut visit: impl FnMut(usize, Labels),
    ) -> Result<()> {
        if select.is_clear() {
            return Ok(());
        }
        let is_wanted = |name: &String| wanted.is_none_or(|wanted| wanted.contains(name));
        let wanted: Vec<bool> = self.names.iter().map(is_wanted).collect();
        let needed = self.needed(select, &wanted);
        let mut values: Vec<Texts> = Vec::with_capacity(self.columns.len());
        // Rows with equal fields share them, where there is a chance that there are any.
        let mut are_few = true;
        for (column, needed) in self.columns.iter().zip(&needed) {
            let mut texts = Texts::default();
            if let Some(needed) = needed {
                let column = column.get()?;
                are_few &= column.dictionary()?.is_some();
                column.for_each(needed, &mut |_, value| texts.push(value))?;
            }
            values.push(texts);
        }
        let mut taken = vec![0_usize; values.len()];
        let mut memo: FxHashMap<Vec<(usize, &[u8])>, Labels> = FxHashMap::default();
        let mut pairs: Vec<(usize, &[u8])> = Vec::new();
        let labels_of = |pairs: &[(usize, &[u8])]| -> Labels {
            let texts: Vec<(&str, Cow<'_, str>)> = pairs
                .iter()
                .map(|(c, value)| (self.names[*c].as_str(), String::from_utf8_lossy(value)))
                .collect();
            texts.iter().map(|(name, value)| (*name, &**value)).collect()
        };
        for row in select.ones() {
            pairs.clear();
            for column in self.set(row).iter().filter(|c| wanted[**c]) {
                pairs.push((*column, values[*column].get(taken[*column])));
                taken[*column] += 1;
            }
            if !are_few {
                visit(row, labels_of(&pairs));
                continue;
            }
            let labels = match memo.get(&pairs) {
                Some(known) => known.clone(),
                None => {
                    if memo.len() > FIELDS_MEMO {
                        memo.clear();
                    }
                    let labels = labels_of(&pairs);
                    memo.insert(pairs.clone(), labels.clone());
                    labels
                }
            };
            visit(row, labels);
        }
        Ok(())
    }

    /// Which values of each wanted column the selected rows have.
    fn needed(&self, select: &Bits, wanted: &[bool]) -> Vec<Option<Bits>> {
        let all = self.names.iter().zip(&self.columns).enumerate();
        if let [set] = self.sets.as_slice() {
            // Rows and values have the same numbers.
            let has = |c: usize| wanted[c] && set.contains(&c);
            return all.map(|(c, _)| has(c).then(|| select.clone())).collect();
        }
        let mut needed: Vec<Option<Bits>> =
            all.map(|(c, (_, column))| wanted[c].then(|| Bits::new(column.len()))).collect();
        self.each_value(|row, column, value| {
            if let (Some(bits), true) = (&mut needed[column], select.get(row)) {
                bits.set(value);
            }
        });
        needed
    }

    /// Calls `visit(row, column, value)` for each field of each row: which value of which column it is.
    fn each_value(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let mut cursors = vec![0_usize; self.columns.len()];
        for row in 0..self.codes.len() {
            for column in self.set(row) {
                visit(row, *column, cursors[*column]);
                cursors[*column] += 1;
            }
        }
    }

    /// The column of field `name`, and which sets have it.
    fn column(&self, name: &str) -> Option<(&Lazy, Vec<bool>)> {
        let at = self.names.iter().position(|n| n == name)?;
        let has = self.sets.iter().map(|set| set.contains(&at)).collect();
        Some((self.columns.get(at)?, has))
    }

    /// Rows whose field `matcher.name()` satisfies `matcher`; absent is as empty.
    pub(crate) fn matching(&self, matcher: &Matcher) -> Result<Bits> {
        let rows = self.codes.len();
        let absent = matcher.matches_empty();
        let Some((column, has)) = self.column(matcher.name()) else {
            return Ok(if absent { Bits::all(rows) } else { Bits::new(rows) });
        };
        let column = column.get()?;
        let found = match matcher.op() {
            MatchOp::Equal | MatchOp::NotEqual => {
                let needle = Needle::equals(matcher.value().as_bytes());
                match (column.find(&needle)?, matcher.op()) {
                    (hits, MatchOp::Equal) => hits,
                    (Hits::None, _) => Hits::All,
                    (Hits::All, _) => Hits::None,
                    (Hits::Some(equal), _) => {
                        let mut others = Bits::all(column.len());
                        others.and_not(&equal);
                        Hits::Some(others)
                    }
                }
            }
            MatchOp::Regex | MatchOp::NotRegex => {
                let mut select = Bits::all(column.len());
                let mut test =
                    |v: &[u8]| std::str::from_utf8(v).is_ok_and(|text| matcher.matches(text));
                column.retain(&mut select, &mut test)?;
                Hits::from(select)
            }
        };
        let in_all = has.iter().all(|has| *has) && column.len() == rows;
        if in_all {
            return Ok(found.into_bits(rows));
        }
        let mut next = 0;
        Ok(Bits::from_fn(rows, |row| {
            if !has.get(usize::from(self.codes[row])).copied().unwrap_or(false) {
                return absent;
            }
            next += 1;
            found.get(next - 1)
        }))
    }

    /// The values of field `name`; `None` when no row has it.
    pub(crate) fn coded(&self, name: &str) -> Result<Option<Coded<'_>>> {
        let Some((column, has)) = self.column(name) else { return Ok(None) };
        let column = column.get()?;
        let in_all = has.iter().all(|has| *has) && column.len() == self.codes.len();
        let has = |row: usize| has.get(usize::from(self.codes[row])).copied().unwrap_or(false);
        if let Some((values, codes)) = column.dictionary()? {
            let absent = values.len();
            let values = values.into_iter().map(text_of).collect::<Result<Vec<_>>>()?;
            let codes = match codes {
                Codes::Zeros(_) if in_all => RowCodes::Same(0),
                Codes::Narrow(codes) if in_all => RowCodes::Narrow(Cow::Borrowed(codes)),
                codes => {
                    let mut next = 0;
                    let code = |row: usize| {
                        let code = if has(row) { codes.get(next) } else { absent };
                        next += usize::from(has(row));
                        code
                    };
                    let rows = 0..self.codes.len();
                    match u8::try_from(absent) {
                        Ok(_) => RowCodes::Narrow(rows.map(code).map(|c| c as u8).collect()),
                        Err(_) => RowCodes::Wide(rows.map(code).map(|c| c as u32).collect()),
                    }
                }
            };
            return Ok(Some(Coded { values, codes }));
        }
        let (values, dense) = column.coded()?;
        let absent = values.len() as u32;
        let mut dense = dense.into_iter();
        let code = |row| if has(row) { dense.next().unwrap_or(absent) } else { absent };
        let codes = RowCodes::Wide((0..self.codes.len()).map(code).collect());
        let text = |v: Vec<u8>| match String::from_utf8(v) {
            Ok(text) => Ok(Cow::Owned(text)),
            Err(e) => Err(crate::select::not_utf8(e.utf8_error())),
        };
        let values = values.into_iter().map(text).collect::<Result<_>>()?;
        Ok(Some(Coded { values, codes }))
    }
}

fn text_of(value: &[u8]) -> Result<Cow<'_, str>> {
    std::str::from_utf8(value).map(Cow::Borrowed).map_err(crate::select::not_utf8)
}
