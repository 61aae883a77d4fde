//! Which pattern each row of a block has, as it is stored.
//!
//! The lines' column says most of it already: rows with one skeleton, and one entry or skeleton of the message, have one
//! pattern. So a block stores patterns by these keys, and numbers only for rows of which the column says nothing. The
//! piece is drawn in `docs/format/logs.md`.

use std::borrow::Cow;
use std::sync::Arc;

use model::{Error, Matcher, Result};
use rustc_hash::FxHashMap;
use storage::codec::{Reader, put_count};

use super::Miner;
use super::known::Known;
use super::text::{self, VALUE};
use crate::bits::Bits;
use crate::column::{Column, Encoder, read_codes};
use crate::fields::{Coded, RowCodes};
use crate::texts;

/// Patterns one block may have; the rarest ones beyond are one that says nothing.
const PATTERNS_MAX: usize = 1024;
/// Keys, and skeletons, one block may have.
const KEYS_MAX: usize = 1 << 16;
/// Every row has its number.
const BY_ROW: u8 = 0;
/// Every key has its number, and so do rows of keys without.
const BY_KEY: u8 = 1;

/// Which pattern each row has.
#[derive(Debug)]
pub(crate) struct RowPatterns {
    /// As they were called when the block was written.
    texts: Vec<String>,
    codes: RowCodes<'static>,
}

impl RowPatterns {
    /// The patterns of rows that are in no block.
    pub(crate) fn of_lines<'l>(lines: impl Iterator<Item = &'l [u8]>) -> Self {
        let mut miner = Miner::default();
        let codes = lines.map(|line| miner.add(line)).collect();
        Self::new(miner.into_texts(), codes)
    }

    /// Compares its patterns with those before.
    pub(crate) fn teach(&self, known: &Known) {
        known.learn(&self.texts);
    }

    /// The patterns of a block whose lines are `lines`, written without.
    pub(crate) fn of_column(lines: &Column) -> Result<Self> {
        let mut miner = Miner::default();
        let mut codes = Vec::with_capacity(lines.len());
        lines.for_each(&Bits::all(lines.len()), &mut |_, line| codes.push(miner.add(line)))?;
        Ok(Self::new(miner.into_texts(), codes))
    }

    fn new(texts: Vec<String>, codes: Vec<u32>) -> Self {
        let codes = match texts.len() {
            0 | 1 => RowCodes::Same(0),
            2..=256 => RowCodes::Narrow(codes.into_iter().map(|code| code as u8).collect()),
            _ => RowCodes::Wide(codes.into()),
        };
        Self { texts, codes }
    }

    /// The patterns by what they are called now, and which of them each row has.
    pub(crate) fn coded<'p>(&'p self, known: &Known) -> Coded<'p> {
        let values = self.texts.iter().map(|text| known.resolve(text)).collect();
        Coded { values, codes: self.codes.borrowed() }
    }

    /// The rows, of `rows`, whose pattern satisfies `matcher`.
    pub(crate) fn matching(&self, known: &Known, matcher: &Matcher, rows: usize) -> Bits {
        let keep: Vec<bool> =
            self.texts.iter().map(|text| matcher.matches(&known.resolve(text))).collect();
        let keeps = |row| keep.get(self.codes.get(row) as usize) == Some(&true);
        match &self.codes {
            RowCodes::Same(_) if keeps(0) => Bits::all(rows),
            RowCodes::Same(_) => Bits::new(rows),
            _ => Bits::from_fn(rows, keeps),
        }
    }

    /// Bytes of memory it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let texts = self.texts.iter().map(|t| t.capacity() + size_of::<String>()).sum::<usize>();
        texts + self.codes.memory_bytes()
    }
}

/// Appends which pattern each of `lines` has, which were encoded as `column`; learns from them.
pub(crate) fn encode(
    lines: &[&[u8]],
    column: &[u8],
    known: &Known,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    let mut miner = Miner::default();
    // What was written a moment ago can be read; if not, rows have numbers of their own.
    let column = Column::open(Arc::from(column), lines.len()).ok();
    let asked: Vec<Option<usize>> = match &column {
        Some(column) => column.skeletons().map(|s| text::message_slot(&s)).collect(),
        None => Vec::new(),
    };
    let keys = column.as_ref().and_then(|column| column.keys(&asked).ok().flatten());
    let mut mined = Mined::default();
    if let Some(keys) = &keys {
        mined.of_keys = vec![None; keys.are_open.len()];
    }
    for (row, line) in lines.iter().enumerate() {
        let Some(keys) = &keys else {
            mined.count_row(miner.add(line));
            continue;
        };
        let key = keys.of_rows[row] as usize;
        if keys.are_open[key] {
            mined.count_row(miner.add(line));
            continue;
        }
        let number = *mined.of_keys[key].get_or_insert_with(|| miner.add(line));
        mined.count(number);
    }
    let (names, renamed) = mined.named(&miner.into_texts(), known);
    let texts: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    put_count(out, texts.len());
    encoder.texts(&texts, out);
    if texts.len() <= 1 {
        return;
    }
    if let Some(keys) = &keys {
        out.push(BY_KEY);
        put_count(out, asked.len());
        asked.iter().for_each(|slot| put_count(out, slot.map_or(0, |slot| slot + 1)));
        put_count(out, keys.are_open.len());
        let of_key = |number: &Option<u32>| number.map_or(0, |n| renamed[n as usize]);
        let of_keys: Vec<u16> = mined.of_keys.iter().map(of_key).collect();
        encoder.codes(&of_keys, texts.len(), out);
    } else {
        out.push(BY_ROW);
    }
    let of_rows: Vec<u16> = mined.of_rows.iter().map(|n| renamed[*n as usize]).collect();
    if !of_rows.is_empty() {
        encoder.codes(&of_rows, texts.len(), out);
    }
}

/// Patterns of a block's rows, by the miner's numbers.
#[derive(Default)]
struct Mined {
    /// Of each key that has one.
    of_keys: Vec<Option<u32>>,
    /// Of each row whose key has none.
    of_rows: Vec<u32>,
    /// Rows of each pattern.
    counts: Vec<u32>,
}

impl Mined {
    fn count_row(&mut self, number: u32) {
        self.of_rows.push(number);
        self.count(number);
    }

    fn count(&mut self, number: u32) {
        let at = number as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
    }

    /// What patterns are called, the most frequent first and at most [`PATTERNS_MAX`]; and for each of the miner's which
    /// one it is.
    fn named(&self, texts: &[String], known: &Known) -> (Vec<String>, Vec<u16>) {
        known.learn(texts);
        let resolved: Vec<Cow<'_, str>> = texts.iter().map(|text| known.resolve(text)).collect();
        let mut names: FxHashMap<&str, u32> = FxHashMap::default();
        for (name, count) in resolved.iter().zip(&self.counts) {
            *names.entry(name).or_default() += count;
        }
        let mut order: Vec<(&str, u32)> = names.into_iter().collect();
        order.sort_unstable_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
        let mut names: Vec<String> = order.iter().map(|(name, _)| (*name).to_owned()).collect();
        if names.len() > PATTERNS_MAX {
            names.truncate(PATTERNS_MAX - 1);
            if !names.iter().any(|name| name == VALUE) {
                names.push(VALUE.to_owned());
            }
        }
        let by_name: FxHashMap<&str, u16> =
            names.iter().enumerate().map(|(i, name)| (name.as_str(), i as u16)).collect();
        let other = by_name.get(VALUE).copied().unwrap_or(0);
        let renamed =
            resolved.iter().map(|name| by_name.get(&**name).copied().unwrap_or(other)).collect();
        (names, renamed)
    }
}

/// Reads what [`encode`] wrote for `rows` rows; `lines` gives their column, if it is needed.
pub(crate) fn decode<'c>(
    bytes: &[u8],
    rows: usize,
    lines: impl FnOnce() -> Result<&'c Column>,
) -> Result<RowPatterns> {
    let mut reader = Reader::new(bytes);
    let count = reader.count(PATTERNS_MAX)?;
    let stored = texts::decode(&mut reader, count)?;
    let text = |i| std::str::from_utf8(stored.get(i)).map(str::to_owned);
    let texts = (0..count)
        .map(|i| text(i).map_err(|e| Error::corrupt(format!("stored pattern is not UTF-8: {e}"))))
        .collect::<Result<Vec<String>>>()?;
    if count == 0 && rows > 0 {
        return Err(Error::corrupt(format!("no patterns for {rows} rows")));
    }
    if count <= 1 {
        return Ok(RowPatterns { texts, codes: RowCodes::Same(0) });
    }
    match reader.u8()? {
        BY_ROW => {
            let codes = read_codes(&mut reader, rows, count)?;
            Ok(RowPatterns::new(texts, (0..rows).map(|row| codes.get(row) as u32).collect()))
        }
        BY_KEY => {
            let column = lines()?;
            let asked = (0..reader.count(KEYS_MAX)?)
                .map(|_| reader.count(KEYS_MAX).map(|slot| slot.checked_sub(1)))
                .collect::<Result<Vec<Option<usize>>>>()?;
            let skeletons = column.skeletons().count();
            if asked.len() != skeletons {
                let message = format!("patterns ask {} of {skeletons} skeletons", asked.len());
                return Err(Error::corrupt(message));
            }
            let keys = column.keys(&asked)?;
            let keys =
                keys.ok_or_else(|| Error::corrupt("patterns are of keys that lines lack"))?;
            let (key_count, known) = (reader.count(KEYS_MAX)?, keys.are_open.len());
            if key_count != known {
                let message = format!("patterns are of {key_count} keys; lines have {known}");
                return Err(Error::corrupt(message));
            }
            let of_keys = read_codes(&mut reader, key_count, count)?;
            let is_open = |key: &u32| keys.are_open.get(*key as usize) == Some(&true);
            let open_rows = keys.of_rows.iter().filter(|key| is_open(key)).count();
            let of_rows = match open_rows {
                0 => None,
                open_rows => Some(read_codes(&mut reader, open_rows, count)?),
            };
            let mut taken = 0;
            let code = |key: &u32| match &of_rows {
                Some(codes) if is_open(key) => {
                    taken += 1;
                    codes.get(taken - 1) as u32
                }
                _ => of_keys.get(*key as usize) as u32,
            };
            let codes = keys.of_rows.iter().map(code).collect();
            Ok(RowPatterns::new(texts, codes))
        }
        mode => Err(Error::corrupt(format!("patterns are stored in the unknown way {mode}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::fuzzing;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn rows_come_back_and_noise_is_refused_or_bounded(
            lines in prop::collection::vec(
                prop_oneof![
                    "(\\PC|[ =0-9a\"<>]){0,60}",
                    "user [a-e]{1,2} [0-9]{1,3}",
                    "\\{\"msg\":\"[ab ]{0,4}[0-9]{0,2}\",\"n\":[0-9]\\}",
                    "level=info msg=\"(x|y) [0-9]\" n=[0-9]",
                ],
                1..400,
            ),
            damage in prop::collection::vec((any::<u16>(), any::<u8>()), 0..4),
        ) {
            let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
            fuzzing::patterns(&lines, &damage);
        }
    }
}
