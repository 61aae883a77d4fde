//! Reading values that were taken apart: skeletons, which one each value has, and columns for what varies.
//!
//! Columns are decoded when first needed. Searching asks the skeletons first (`placements`), then only those columns that
//! can have what is left of the needle; values are not put together for it.

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{Error, Result};
use storage::codec::Reader;

use super::codes::{Codes, read_codes};
use super::decode::{Column, Kind, Lazy};
use super::find::Hits;
use super::placements::{self, Placed};
use crate::bits::Bits;
use crate::needle::Needle;
use crate::texts::{self, Texts};

/// Values all columns of one `SHAPES` may have together; far above what a block's bytes allow.
const VALUES_MAX: usize = 1 << 24;
/// Shapes one column may have.
const SHAPES_MAX: usize = 256;
/// How a skeleton's slots are written on disk.
const SLOT_ON_DISK: u8 = 0xFE;

/// Values taken apart.
#[derive(Debug)]
pub(super) struct Shapes {
    pub(super) skeletons: Vec<Skeleton>,
    pub(super) codes: Codes,
    pub(super) columns: Vec<Lazy>,
}

#[derive(Debug)]
pub(super) struct Skeleton {
    /// One more than slots.
    pub(super) literals: Vec<Vec<u8>>,
    /// Column of each slot.
    pub(super) columns: Vec<usize>,
    /// Values that have it.
    rows: usize,
}

/// One column of a pass over rows: its values in order.
struct Feed<'c> {
    column: &'c Column,
    /// For a column of columns: the values the pass needs, put together.
    built: Option<Texts>,
    /// How many of those were taken.
    taken: usize,
    /// Next value of the column.
    next: usize,
}

impl Feed<'_> {
    fn append(&mut self, out: &mut Vec<u8>) {
        match &self.built {
            Some(texts) => out.extend_from_slice(texts.get(self.taken)),
            None => self.column.append(self.next, out),
        }
        self.taken += 1;
        self.next += 1;
    }
}

/// Rows that a pass has left out since the last one it wanted, by skeleton.
struct Skipped {
    rows: Vec<usize>,
    /// Skeletons with any.
    some: Vec<usize>,
}

impl Skipped {
    fn new(skeletons: usize) -> Self {
        Self { rows: vec![0; skeletons], some: Vec::new() }
    }

    fn add(&mut self, code: usize) {
        if let Some(rows) = self.rows.get_mut(code) {
            if *rows == 0 {
                self.some.push(code);
            }
            *rows += 1;
        }
    }

    /// Gives out skeletons and how many rows of each were left out.
    fn take(&mut self, mut visit: impl FnMut(usize, usize)) {
        for code in self.some.drain(..) {
            visit(code, std::mem::take(&mut self.rows[code]));
        }
    }
}

/// A needle's ways in one skeleton, with what was found in the columns.
enum Plan {
    Never,
    Always,
    /// Any of the lists; of each all: column among those watched, which of its values in the row, what was found.
    Ways(Vec<Vec<(usize, usize, usize)>>),
    Unknown,
}

impl Shapes {
    pub(super) fn read(
        reader: &mut Reader<'_>,
        data: &Arc<[u8]>,
        base: usize,
        len: usize,
        depth: u8,
    ) -> Result<Self> {
        let count = reader.count(SHAPES_MAX)?;
        let texts = texts::decode(reader, count)?;
        let mut skeletons = Vec::with_capacity(count);
        for i in 0..count {
            let literals: Vec<Vec<u8>> =
                texts.get(i).split(|b| *b == SLOT_ON_DISK).map(<[u8]>::to_vec).collect();
            let columns = (1..literals.len()).map(|_| reader.count(VALUES_MAX));
            let columns = columns.collect::<Result<Vec<usize>>>()?;
            skeletons.push(Skeleton { literals, columns, rows: 0 });
        }
        let codes = read_codes(reader, len, count)?;
        for (skeleton, rows) in skeletons.iter_mut().zip(codes.histogram(count)) {
            skeleton.rows = rows;
        }
        let column_count = reader.count(reader.remaining())?;
        let lens = value_counts(&skeletons, column_count)?;
        let mut columns = Vec::with_capacity(column_count);
        for len in lens {
            let bytes = reader.count(reader.remaining())?;
            let start = base + reader.position();
            reader.take(bytes)?;
            columns.push(Lazy::nested(data, start..start + bytes, len, depth + 1));
        }
        Ok(Self { skeletons, codes, columns })
    }

    /// Bytes of memory that what is decoded takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let literals = self.skeletons.iter().flat_map(|s| &s.literals);
        self.columns.iter().map(Lazy::memory_bytes).sum::<usize>()
            + literals.map(|l| l.capacity() + size_of::<Vec<u8>>()).sum::<usize>()
            + self.codes.memory_bytes()
    }

    fn for_each(&self, select: &Bits, visit: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        self.try_for_each(select, &mut |row, value| {
            visit(row, value);
            ControlFlow::Continue(())
        })
        .map(drop)
    }

    pub(super) fn try_for_each(
        &self,
        select: &Bits,
        visit: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        if select.is_clear() {
            return Ok(ControlFlow::Continue(()));
        }
        let mut feeds = self.feeds(select)?;
        let mut line = Vec::new();
        let flow = self.each_selected(select, &mut feeds, |row, skeleton, feeds| {
            line.clear();
            for (literal, column) in skeleton.literals.iter().zip(&skeleton.columns) {
                line.extend_from_slice(literal);
                feeds[*column].append(&mut line);
            }
            line.extend_from_slice(skeleton.literals.last().map_or(&[], Vec::as_slice));
            visit(row, &line)
        });
        Ok(flow)
    }

    /// Adds the length of each value to `lens`, in order; column by column, so that nothing is put together.
    pub(super) fn add_lens(&self, lens: &mut [u32]) -> Result<()> {
        let fixed: Vec<u32> = self
            .skeletons
            .iter()
            .map(|s| s.literals.iter().map(|l| l.len() as u32).sum())
            .collect();
        self.codes.for_each(|row, code| lens[row] += fixed[code]);
        for (c, lazy) in self.columns.iter().enumerate() {
            let column = lazy.get()?;
            let count = |s: &Skeleton| s.columns.iter().filter(|own| **own == c).count();
            let uses: Vec<usize> = self.skeletons.iter().map(count).collect();
            if uses.iter().all(|n| *n == 1) {
                column.add_lens(lens)?;
                continue;
            }
            let mut own = vec![0; column.len];
            column.add_lens(&mut own)?;
            let mut own = own.into_iter();
            self.codes.for_each(|row, code| {
                let values = own.by_ref().take(uses[code]);
                lens[row] += values.sum::<u32>();
            });
        }
        Ok(())
    }

    /// Calls `visit` with the selected rows; the feeds then stand at their values.
    fn each_selected<'c>(
        &self,
        select: &Bits,
        feeds: &mut [Feed<'c>],
        mut visit: impl FnMut(usize, &Skeleton, &mut [Feed<'c>]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if let (Codes::Zeros(_), Some(skeleton)) = (&self.codes, self.skeletons.first()) {
            let count = |c: usize| skeleton.columns.iter().filter(|own| **own == c).count();
            let counts: Vec<usize> = (0..feeds.len()).map(count).collect();
            return select.ones().try_for_each(|row| {
                feeds.iter_mut().zip(&counts).for_each(|(feed, count)| feed.next = row * count);
                visit(row, skeleton, feeds)
            });
        }
        let mut skipped = Skipped::new(self.skeletons.len());
        let (mut left, mut flow) = (select.count(), ControlFlow::Continue(()));
        // Ends when nothing is left, too, so what it says is not what the visit said.
        let _ended = self.codes.try_for_each(|row, code| {
            if !select.get(row) {
                skipped.add(code);
                return if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            }
            left -= 1;
            let Some(skeleton) = self.skeletons.get(code) else {
                return ControlFlow::Continue(());
            };
            skipped.take(|code, rows| {
                self.skeletons[code].columns.iter().for_each(|c| feeds[*c].next += rows);
            });
            flow = visit(row, skeleton, feeds);
            flow
        });
        flow
    }

    /// Opens all columns for one pass over the selected rows.
    fn feeds(&self, select: &Bits) -> Result<Vec<Feed<'_>>> {
        let columns = self.columns.iter().map(Lazy::get).collect::<Result<Vec<_>>>()?;
        columns.iter().try_for_each(|c| c.prepare())?;
        let is_nested = |c: usize| matches!(columns[c].kind, Kind::Shapes(_));
        let mut needed: Vec<Option<Bits>> =
            (0..columns.len()).map(|c| is_nested(c).then(|| Bits::new(columns[c].len))).collect();
        if let (Codes::Zeros(_), true) =
            (&self.codes, columns.iter().all(|c| c.len == self.codes.len()))
        {
            // Rows and values have the same numbers.
            needed.iter_mut().flatten().for_each(|bits| bits.clone_from(select));
        } else if needed.iter().any(Option::is_some) {
            let nested: Vec<Vec<usize>> = self
                .skeletons
                .iter()
                .map(|s| s.columns.iter().copied().filter(|c| is_nested(*c)).collect())
                .collect();
            let mut cursors = vec![0_usize; columns.len()];
            self.codes.for_each(|row, code| {
                for column in nested.get(code).into_iter().flatten() {
                    if let (true, Some(bits)) = (select.get(row), &mut needed[*column]) {
                        bits.set(cursors[*column]);
                    }
                    cursors[*column] += 1;
                }
            });
        }
        let mut feeds = Vec::with_capacity(columns.len());
        for (column, needed) in columns.into_iter().zip(needed) {
            let mut built = None;
            if let Some(needed) = needed {
                let mut texts = Texts::default();
                column.for_each(&needed, &mut |_, value| texts.push(value))?;
                built = Some(texts);
            }
            feeds.push(Feed { column, built, taken: 0, next: 0 });
        }
        Ok(feeds)
    }

    /// The values that have `needle`.
    pub(super) fn find(&self, needle: &Needle) -> Result<Hits> {
        let mut found = Found { shapes: self, watched: Vec::new(), hits: Vec::new() };
        let plans = self.skeletons.iter().map(|s| found.plan(s, needle));
        let plans = plans.collect::<Result<Vec<Plan>>>()?;
        if plans.iter().all(|p| matches!(p, Plan::Never)) {
            return Ok(Hits::None);
        }
        if plans.iter().all(|p| matches!(p, Plan::Always)) {
            return Ok(Hits::All);
        }
        let (watched, hits) = (&found.watched, &found.hits);
        if let ([Plan::Ways(ways)], Codes::Zeros(_)) = (plans.as_slice(), &self.codes)
            && let Some(rows) = self.find_in_only_skeleton(ways, watched, hits)
        {
            return Ok(Hits::from(rows));
        }
        let mut rows = Bits::new(self.codes.len());
        let mut unknown = Bits::new(self.codes.len());
        // How many values of each watched column a row of each skeleton has.
        let uses: Vec<Vec<(usize, usize)>> = self
            .skeletons
            .iter()
            .map(|s| {
                let count = |c: &usize| s.columns.iter().filter(|own| *own == c).count();
                let counts = watched.iter().map(count).enumerate();
                counts.filter(|(_, count)| *count > 0).collect()
            })
            .collect();
        let mut cursors = vec![0_usize; watched.len()];
        self.codes.for_each(|row, code| {
            let (Some(plan), Some(uses)) = (plans.get(code), uses.get(code)) else { return };
            match plan {
                Plan::Never => {}
                Plan::Always => rows.set(row),
                Plan::Unknown => unknown.set(row),
                Plan::Ways(ways) => {
                    let holds = |(column, nth, hit): &(usize, usize, usize)| {
                        hits[*hit].2.get(cursors[*column] + nth)
                    };
                    if ways.iter().any(|way| way.iter().all(holds)) {
                        rows.set(row);
                    }
                }
            }
            uses.iter().for_each(|(column, count)| cursors[*column] += count);
        });
        self.for_each(&unknown, &mut |row, value| {
            if needle.matches(value) {
                rows.set(row);
            }
        })?;
        Ok(Hits::from(rows))
    }

    /// With one skeleton, each of whose columns has one slot, rows and values have the same numbers.
    fn find_in_only_skeleton(
        &self,
        ways: &[Vec<(usize, usize, usize)>],
        watched: &[usize],
        hits: &[(usize, Needle, Hits)],
    ) -> Option<Bits> {
        let is_single =
            |c: &usize| self.columns.get(*c).is_some_and(|lazy| lazy.len() == self.codes.len());
        if !watched.iter().all(is_single) {
            return None;
        }
        let mut rows: Option<Bits> = None;
        for way in ways {
            let mut here: Option<Bits> = None;
            for (_, _, hit) in way {
                // Ways with nothing found, and conditions that all satisfy, were left out.
                let Hits::Some(bits) = &hits[*hit].2 else { return None };
                match &mut here {
                    Some(here) => here.and(bits),
                    None => here = Some(bits.clone()),
                }
            }
            match (&mut rows, here) {
                (Some(rows), Some(here)) => rows.or(&here),
                (rows @ None, here) => *rows = here,
                (Some(_), None) => {}
            }
        }
        rows
    }
}

/// What was found so far in the columns of shapes.
struct Found<'s> {
    shapes: &'s Shapes,
    /// Columns in which something was found.
    watched: Vec<usize>,
    /// Column, what it was searched for, and which of its values have it.
    hits: Vec<(usize, Needle, Hits)>,
}

impl Found<'_> {
    fn plan(&mut self, skeleton: &Skeleton, needle: &Needle) -> Result<Plan> {
        if skeleton.rows == 0 {
            return Ok(Plan::Never);
        }
        let columns = &self.shapes.columns;
        let mut can = |slot: usize, needle: &Needle| {
            skeleton.columns.get(slot).is_some_and(|c| columns[*c].may_have(needle))
        };
        let ways = match placements::place(&skeleton.literals, needle, &mut can) {
            Placed::Never => return Ok(Plan::Never),
            Placed::Always => return Ok(Plan::Always),
            Placed::Unknown => return Ok(Plan::Unknown),
            Placed::Ways(ways) => ways,
        };
        let mut planned = Vec::new();
        'ways: for way in ways {
            let mut conditions = Vec::new();
            for (slot, condition) in way {
                let column = skeleton.columns[slot];
                let hit = self.hit(column, condition)?;
                match self.hits[hit].2 {
                    Hits::None => continue 'ways,
                    Hits::All => {}
                    Hits::Some(_) => {
                        let nth = skeleton.columns[..slot].iter().filter(|c| **c == column).count();
                        conditions.push((self.watch(column), nth, hit));
                    }
                }
            }
            if conditions.is_empty() {
                return Ok(Plan::Always);
            }
            planned.push(conditions);
        }
        Ok(if planned.is_empty() { Plan::Never } else { Plan::Ways(planned) })
    }

    fn watch(&mut self, column: usize) -> usize {
        self.watched.iter().position(|c| *c == column).unwrap_or_else(|| {
            self.watched.push(column);
            self.watched.len() - 1
        })
    }

    fn hit(&mut self, column: usize, needle: Needle) -> Result<usize> {
        if let Some(known) = self.hits.iter().position(|(c, n, _)| *c == column && *n == needle) {
            return Ok(known);
        }
        let hits = self.shapes.columns[column].get()?.find(&needle)?;
        self.hits.push((column, needle, hits));
        Ok(self.hits.len() - 1)
    }
}

/// How many values each column must have, given how many rows each skeleton has.
fn value_counts(skeletons: &[Skeleton], columns: usize) -> Result<Vec<usize>> {
    let mut counts = vec![0_usize; columns];
    let mut total = 0_usize;
    for skeleton in skeletons {
        for column in &skeleton.columns {
            let Some(count) = counts.get_mut(*column) else {
                return Err(Error::corrupt(format!("slot goes to column {column} of {columns}")));
            };
            *count += skeleton.rows;
            total += skeleton.rows;
        }
    }
    if total > VALUES_MAX {
        return Err(Error::corrupt(format!(
            "columns hold {total} values; the limit is {VALUES_MAX}"
        )));
    }
    Ok(counts)
}
