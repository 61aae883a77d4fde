//! What a decoded index knows of each series: the numbers of its label values, and its identity.
//!
//! Owns: their compact form. They are the inverse of the postings, found once when an index is decoded. Values that all
//! series of a target have (its `job`, its `instance`) are kept once for the target; a series has the others as
//! differences of varints, some ten bytes of them.
//!
//! ```text
//! row = bytes varint, numbers of values as varints: the first, then differences to the one before
//! ```

use model::{Error, Result};
use smallvec::SmallVec;
use storage::codec::{Reader, put_varint};

use super::runs::RunCursor;
use super::{Index, Target};
use crate::identity;

/// Series with one start in `starts`.
const ROWS_PER_START: usize = 16;
/// Targets of fewer series do not keep values of their own.
const SHARED_SERIES_MIN: usize = 8;
/// Series inverted at a time: what lies around unpacked meanwhile is bounded.
const CHUNK: usize = 1 << 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Values of all series of each target, by target; `shared_starts` has the start of each, and the end.
    shared: Vec<u32>,
    shared_starts: Vec<u32>,
    rows: Vec<u8>,
    /// Where the rows of every [`ROWS_PER_START`]th series start.
    starts: Vec<u32>,
    identities: Vec<u64>,
}

impl Members {
    /// Inverts the postings of `index`, all of which were checked.
    pub(super) fn find(index: &Index, pairs_max: usize) -> Result<Self> {
        let mut found = Self::default();
        found.find_shared(index, pairs_max)?;
        found.find_rows(index)?;
        Ok(found)
    }

    /// Finds the values that targets share.
    fn find_shared(&mut self, index: &Index, pairs_max: usize) -> Result<()> {
        let mut shared: Vec<(u32, u32)> = Vec::new();
        let mut pairs = 0usize;
        for (value, start) in (0u32..).zip(&index.posting_starts) {
            let mut runs = RunCursor::new(&index.postings, *start as usize, index.series)?;
            while let Some(run) = runs.next(&index.postings, index.series)? {
                pairs += (run.1 - run.0) as usize;
                if pairs > pairs_max {
                    return Err(Error::corrupt(format!("index has over {pairs_max} label pairs")));
                }
                shared.extend(sharing(index, run).map(|target| (number(target), value)));
            }
        }
        // Stable: values keep ascending.
        shared.sort_by_key(|(target, _)| *target);
        self.shared_starts.reserve_exact(index.targets.len() + 1);
        let mut at = 0;
        for target in 0..index.targets.len() {
            self.shared_starts.push(number(at));
            at += shared[at..].iter().take_while(|(t, _)| *t as usize == target).count();
        }
        self.shared_starts.push(number(at));
        self.shared = shared.into_iter().map(|(_, value)| value).collect();
        Ok(())
    }

    fn find_rows(&mut self, index: &Index) -> Result<()> {
        let of_value = index.value_identities();
        self.identities.reserve_exact(index.series);
        self.starts.reserve_exact(index.series.div_ceil(ROWS_PER_START));
        let place = |start: &u32| {
            let behind = RunCursor::new(&index.postings, *start as usize, index.series)?;
            Ok(Place { run: (0, 0), next: 0, behind })
        };
        let places: Result<Vec<Place>> = index.posting_starts.iter().map(place).collect();
        let mut places = places?;
        let (mut pairs, mut sorted) = (Vec::<(u32, u32)>::new(), Vec::<u32>::new());
        let mut ends: Vec<u32> = Vec::new();
        let mut target = 0;
        for start in (0..index.series).step_by(CHUNK) {
            let end = (start + CHUNK).min(index.series);
            pairs.clear();
            for (value, place) in (0u32..).zip(&mut places) {
                place.collect(index, number(end), &mut |id| {
                    pairs.push((id - number(start), value));
                })?;
            }
            // Counting sort by series; values of each keep ascending.
            ends.clear();
            ends.resize(end - start + 1, 0);
            pairs.iter().for_each(|(offset, _)| ends[*offset as usize + 1] += 1);
            for k in 1..ends.len() {
                ends[k] += ends[k - 1];
            }
            sorted.clear();
            sorted.resize(pairs.len(), 0);
            for (offset, value) in &pairs {
                let at = &mut ends[*offset as usize];
                sorted[*at as usize] = *value;
                *at += 1;
            }
            let mut row_start = 0;
            for (offset, row_end) in ends[..end - start].iter().enumerate() {
                let id = start + offset;
                while index.targets.get(target).is_some_and(|t| t.first_series + t.series <= id) {
                    target += 1;
                }
                let row = &sorted[row_start..*row_end as usize];
                row_start = *row_end as usize;
                self.push_row(row, self.shared_of(target), &of_value)?;
            }
        }
        self.rows.shrink_to_fit();
        Ok(())
    }

    fn push_row(&mut self, row: &[u32], shared: Shared, of_value: &[u64]) -> Result<()> {
        if self.identities.len().is_multiple_of(ROWS_PER_START) {
            let start = u32::try_from(self.rows.len());
            self.starts.push(start.map_err(|_| Error::corrupt("labels of an index over 4 GiB"))?);
        }
        let mut identity = identity::NONE;
        for value in row.iter().chain(&self.shared[shared.0..shared.1]) {
            identity::add(&mut identity, of_value[*value as usize]);
        }
        self.identities.push(identity);
        let (mut bytes, mut before) = (SmallVec::<[u8; 64]>::new(), 0);
        for value in row {
            let mut difference = value - before;
            while difference >= 0x80 {
                bytes.push(difference.to_le_bytes()[0] | 0x80);
                difference >>= 7;
            }
            bytes.push(difference.to_le_bytes()[0]);
            before = *value;
        }
        put_varint(&mut self.rows, bytes.len() as u64);
        self.rows.extend_from_slice(&bytes);
        Ok(())
    }

    fn shared_of(&self, target: usize) -> Shared {
        match (self.shared_starts.get(target), self.shared_starts.get(target + 1)) {
            (Some(start), Some(end)) => (*start as usize, *end as usize),
            _ => (0, 0),
        }
    }

    /// Identity of the labels of series `id`.
    pub(super) fn identity(&self, id: usize) -> u64 {
        self.identities.get(id).copied().unwrap_or(identity::NONE)
    }

    /// Appends the numbers of the values that series `id` of target number `target` has, ascending.
    pub(super) fn pairs(&self, id: usize, target: usize, pairs: &mut SmallVec<[u32; 16]>) {
        let Some(start) = self.starts.get(id / ROWS_PER_START) else { return };
        if id >= self.identities.len() {
            return;
        }
        let (start, end) = (*start as usize, self.rows.len());
        let mut r = Reader::new(self.rows.get(start..end).unwrap_or_default());
        for _ in 0..id % ROWS_PER_START {
            // What was written by `push_row` reads well.
            let _row = r.bytes();
        }
        let mut row = Reader::new(r.bytes().unwrap_or_default());
        let (from, to) = self.shared_of(target);
        let mut shared = self.shared[from..to].iter().copied().peekable();
        let mut value = 0;
        while let Ok(difference) = row.varint() {
            value += u32::try_from(difference).unwrap_or(0);
            while let Some(before) = shared.next_if(|shared| *shared < value) {
                pairs.push(before);
            }
            pairs.push(value);
        }
        pairs.extend(shared);
    }

    /// Bytes they take in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        (self.shared.capacity() + self.shared_starts.capacity() + self.starts.capacity()) * 4
            + self.rows.capacity()
            + self.identities.capacity() * 8
    }
}

/// Start and end in `shared`.
type Shared = (usize, usize);

fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Whether the value of a run `[first, end)` is kept for the whole target.
fn is_shared(target: &Target, (first, end): (u32, u32)) -> bool {
    target.series >= SHARED_SERIES_MIN
        && target.first_series >= first as usize
        && target.first_series + target.series <= end as usize
}

/// Numbers of the targets that keep the value of a run for themselves.
fn sharing(index: &Index, run: (u32, u32)) -> impl Iterator<Item = usize> {
    let (first, end) = (run.0 as usize, run.1 as usize);
    let targets = &index.targets;
    let start = if end - first < SHARED_SERIES_MIN {
        targets.len()
    } else {
        targets.partition_point(|target| target.first_series < first)
    };
    let inside = move |k: &usize| targets[*k].first_series + targets[*k].series <= end;
    (start..targets.len()).take_while(inside).filter(move |k| is_shared(&targets[*k], run))
}

/// A place in a posting list: the run it is in, the next series there, and the runs behind.
#[derive(Debug, Clone, Copy)]
struct Place {
    run: (u32, u32),
    next: u32,
    behind: RunCursor,
}

impl Place {
    /// Calls `found` with the series before `end`, from the place on, that keep the value by themselves.
    fn collect(&mut self, index: &Index, end: u32, found: &mut impl FnMut(u32)) -> Result<()> {
        loop {
            let stop = self.run.1.min(end);
            let is_short = ((self.run.1 - self.run.0) as usize) < SHARED_SERIES_MIN;
            let mut target = index.target_number(self.next as usize);
            while self.next < stop {
                let mut until = stop;
                let mut is_shared_here = false;
                if !is_short && let Some(target) = index.targets.get(target) {
                    until = stop.min(number(target.first_series + target.series));
                    is_shared_here = is_shared(target, self.run);
                }
                if !is_shared_here {
                    (self.next..until).for_each(&mut *found);
                }
                self.next = until;
                target += 1;
            }
            if self.run.1 > end {
                return Ok(());
            }
            match self.behind.next(&index.postings, index.series)? {
                Some(run) => (self.run, self.next) = (run, run.0),
                None => {
                    // Behind all series: nothing is found from now on.
                    (self.run, self.next) = ((u32::MAX, u32::MAX), u32::MAX);
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::IndexBuilder;
    use super::*;
    use model::Labels;

    fn check(targets: &[(usize, Vec<u8>)]) {
        let mut builder = IndexBuilder::default();
        let mut all = Vec::new();
        for (number, (series, shapes)) in targets.iter().enumerate() {
            builder.target(&format!("t{number:05}"), 1);
            let instance = number.to_string();
            for k in 0..*series {
                let shape = shapes[k % shapes.len()];
                let (own, few) = (format!("{number}-{k}"), (shape % 5).to_string());
                let mut labels = vec![("instance", instance.as_str()), ("job", "j")];
                if shape & 1 == 1 {
                    labels.push(("own", &own));
                }
                if shape & 2 == 2 {
                    labels.push(("few", &few));
                }
                let labels = Labels::from_pairs(labels);
                builder.series(&labels);
                all.push(labels);
            }
        }
        let index = Index::decode(&builder.encode()).unwrap();
        assert_eq!(index.series_count(), all.len());
        for (id, labels) in all.iter().enumerate() {
            assert_eq!(index.labels(id), *labels);
            assert_eq!(index.identity(id), identity::of(labels));
            assert!(index.pairs(id).is_sorted());
        }
        assert!(index.pairs(all.len()).is_empty());
    }

    proptest! {
        #[test]
        fn labels_and_identities_survive(targets in proptest::collection::vec(
            (0usize..40, proptest::collection::vec(0u8..8, 1..6)), 0..12)) {
            check(&targets);
        }
    }

    #[test]
    fn runs_cross_chunks() {
        // The last target has `few` in a run that is not its whole, and longer than a chunk.
        let mut long = vec![3; CHUNK + 5];
        long.extend([1, 1]);
        check(&[(CHUNK - 3, vec![3, 2, 0]), (20, vec![0]), (5, vec![2]), (CHUNK + 7, long)]);
    }
}
