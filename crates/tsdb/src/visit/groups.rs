//! Group numbers of series, found by the numbers of their label values; labels are made once per group.

use hashbrown::HashTable;
use model::{Grouping, Labels, MetricVisitor, Result, group_labels};
use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::ops::Range;

use crate::index::Index;

/// Values that decide about the group, by number.
type Key = SmallVec<[u32; 8]>;

/// Groups of the series of one index.
pub(super) struct IndexGroups<'p> {
    index: &'p Index,
    grouping: Option<&'p Grouping>,
    /// Values of the labels that the grouping names, ascending.
    named: Vec<Range<u32>>,
    numbers: FxHashMap<Key, u32>,
    /// The group before, which is often the next one, too.
    last: Option<(Key, u32)>,
}

impl<'p> IndexGroups<'p> {
    pub(super) fn new(index: &'p Index, grouping: Option<&'p Grouping>) -> Self {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let names = grouping.map(|g| g.labels.as_slice()).unwrap_or_default();
        let ranges = names.iter().map(|name| index.value_range(name));
        let mut named: Vec<Range<u32>> =
            ranges.map(|r| number(r.start)..number(r.end)).filter(|r| !r.is_empty()).collect();
        named.sort_by_key(|range| range.start);
        named.dedup();
        Self { index, grouping, named, numbers: FxHashMap::default(), last: None }
    }

    /// Number of the group of series `id`.
    pub(super) fn number(&mut self, id: usize, visitor: &dyn MetricVisitor) -> Result<u32> {
        let mut key = Key::new();
        if let Some(grouping) = self.grouping {
            // Both ascend.
            let mut named = self.named.iter().peekable();
            for value in &self.index.pairs(id) {
                while named.next_if(|range| range.end <= *value).is_some() {}
                let is_named = named.peek().is_some_and(|range| range.contains(value));
                if is_named != grouping.without {
                    key.push(*value);
                } else if named.peek().is_none() && !grouping.without {
                    break;
                }
            }
        }
        if let Some((last, number)) = &self.last
            && *last == key
        {
            return Ok(*number);
        }
        let number = match self.numbers.get(&key) {
            Some(number) => *number,
            None => {
                let number = visitor.group(&group_labels(self.grouping, &self.index.labels(id)))?;
                self.numbers.insert(key.clone(), number);
                number
            }
        };
        self.last = Some((key, number));
        Ok(number)
    }
}

/// Groups of series by their labels.
pub(super) struct LabelGroups<'p> {
    grouping: Option<&'p Grouping>,
    /// Some labels with each group, and its number.
    numbers: HashTable<(Labels, u32)>,
}

impl<'p> LabelGroups<'p> {
    pub(super) fn new(grouping: Option<&'p Grouping>) -> Self {
        Self { grouping, numbers: HashTable::new() }
    }

    /// Number of the group of the series with these labels.
    pub(super) fn number(&mut self, labels: &Labels, visitor: &dyn MetricVisitor) -> Result<u32> {
        let Self { grouping, numbers } = self;
        let pairs = |labels: &'_ Labels| -> u64 {
            let mut hash = 0u64;
            for pair in kept(*grouping, labels) {
                hash = hash.rotate_left(7) ^ FxBuildHasher.hash_one(pair);
            }
            hash
        };
        let hash = pairs(labels);
        let same = |known: &(Labels, u32)| kept(*grouping, &known.0).eq(kept(*grouping, labels));
        if let Some((_, number)) = numbers.find(hash, same) {
            return Ok(*number);
        }
        let number = visitor.group(&group_labels(*grouping, labels))?;
        numbers.insert_unique(hash, (labels.clone(), number), |(labels, _)| pairs(labels));
        Ok(number)
    }
}

/// The labels that decide about the group.
fn kept<'l>(
    grouping: Option<&'l Grouping>,
    labels: &'l Labels,
) -> impl Iterator<Item = (&'l str, &'l str)> {
    labels.iter().filter(move |(name, _)| {
        grouping.is_some_and(|g| g.labels.iter().any(|n| n == name) != g.without)
    })
}
