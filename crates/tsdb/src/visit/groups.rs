//! Group numbers of series, found by the numbers of their label values; labels are made once per group.

use std::ops::Range;

use model::{Grouping, MetricVisitor, Result, group_labels};
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::index::Index;
use crate::registry::Registry;

/// Values that decide about the group, by number.
type Key = SmallVec<[u32; 8]>;

/// Numbers of groups by what decides about them.
#[derive(Default)]
struct Numbers {
    all: FxHashMap<Key, u32>,
    /// The group before, which is often the next one, too.
    last: Option<(Key, u32)>,
}

impl Numbers {
    fn of(&mut self, key: &Key, number: impl FnOnce() -> Result<u32>) -> Result<u32> {
        if let Some((last, number)) = &self.last
            && last == key
        {
            return Ok(*number);
        }
        let number = match self.all.get(key) {
            Some(number) => *number,
            None => {
                let number = number()?;
                self.all.insert(key.clone(), number);
                number
            }
        };
        self.last = Some((key.clone(), number));
        Ok(number)
    }
}

/// No series has a value with this number.
const NO_VALUE: u32 = u32::MAX;
/// With fewer series than this share of an index, or fewer than [`COLUMN_SERIES_MIN`], each is looked up by itself.
const COLUMN_SHARE: usize = 8;
const COLUMN_SERIES_MIN: usize = 1 << 10;

/// Groups of the series of one index.
pub(super) struct IndexGroups<'p> {
    index: &'p Index,
    grouping: Option<&'p Grouping>,
    /// Values of the labels that the grouping names, ascending.
    named: Vec<Range<u32>>,
    /// Values of these labels, by series behind the first; only for most of the series of an index.
    columns: Option<(usize, Vec<Vec<u32>>)>,
    numbers: Numbers,
}

impl<'p> IndexGroups<'p> {
    /// Groups of the series `ids`.
    pub(super) fn new(
        index: &'p Index,
        grouping: Option<&'p Grouping>,
        ids: &RoaringBitmap,
    ) -> Self {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let names = grouping.map(|g| g.labels.as_slice()).unwrap_or_default();
        let ranges = names.iter().map(|name| index.value_range(name));
        let mut named: Vec<Range<u32>> =
            ranges.map(|r| number(r.start)..number(r.end)).filter(|r| !r.is_empty()).collect();
        named.sort_by_key(|range| range.start);
        named.dedup();
        let count = usize::try_from(ids.len()).unwrap_or(usize::MAX);
        let is_most = count >= COLUMN_SERIES_MIN && count >= index.series_count() / COLUMN_SHARE;
        let columns = match (ids.min(), ids.max()) {
            (Some(first), Some(last)) if is_most && grouping.is_some_and(|g| !g.without) => {
                let column = |values: &Range<u32>| {
                    let mut column = vec![NO_VALUE; (last - first) as usize + 1];
                    index.fill_values(values.clone(), first, &mut column);
                    column
                };
                Some((first as usize, named.iter().map(column).collect()))
            }
            _ => None,
        };
        Self { index, grouping, named, columns, numbers: Numbers::default() }
    }

    /// Bytes of memory that it takes for series.
    pub(super) fn memory_bytes(&self) -> u64 {
        let columns = self.columns.iter().flat_map(|(_, columns)| columns);
        columns.map(|column| column.len() as u64 * 4).sum()
    }

    /// Number of the group of series `id`.
    pub(super) fn number(&mut self, id: usize, visitor: &dyn MetricVisitor) -> Result<u32> {
        let key = self.key(id);
        self.numbers
            .of(&key, || visitor.group(&group_labels(self.grouping, &self.index.labels(id))))
    }

    fn key(&self, id: usize) -> Key {
        let mut key = Key::new();
        let Some(grouping) = self.grouping else { return key };
        if let Some((first, columns)) = &self.columns {
            let values = columns.iter().map(|column| column[id - first]);
            key.extend(values.filter(|value| *value != NO_VALUE));
            return key;
        }
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
        key
    }
}

/// Groups of the series of one head.
pub(super) struct HeadGroups<'p> {
    grouping: Option<&'p Grouping>,
    /// Whether it decides about the group, by number of the pair; none where that was not asked.
    decides: Vec<Option<bool>>,
    numbers: Numbers,
    /// [`Registry::pairs_freed`] when these were found.
    pairs_freed: u64,
}

impl<'p> HeadGroups<'p> {
    pub(super) fn new(grouping: Option<&'p Grouping>) -> Self {
        let (decides, numbers) = (Vec::new(), Numbers::default());
        Self { grouping, decides, numbers, pairs_freed: 0 }
    }

    /// Number of the group of series `id`; of the same registry each time, which may have changed.
    pub(super) fn number(
        &mut self,
        registry: &Registry,
        id: u32,
        visitor: &dyn MetricVisitor,
    ) -> Result<u32> {
        if self.pairs_freed != registry.pairs_freed() {
            // Some number may be another pair's now.
            *self = Self { pairs_freed: registry.pairs_freed(), ..Self::new(self.grouping) };
        }
        let mut key = Key::new();
        if let Some(grouping) = self.grouping {
            for pair in registry.pair_numbers(id) {
                if decides(grouping, &mut self.decides, registry, *pair) {
                    key.push(*pair);
                }
            }
        }
        self.numbers.of(&key, || {
            let labels = registry.labels(id).unwrap_or_default();
            visitor.group(&group_labels(self.grouping, &labels))
        })
    }
}

/// Whether pair `pair` decides about the group; `known` is what was found before.
#[inline]
fn decides(
    grouping: &Grouping,
    known: &mut Vec<Option<bool>>,
    registry: &Registry,
    pair: u32,
) -> bool {
    let at = pair as usize;
    if let Some(Some(known)) = known.get(at) {
        return *known;
    }
    let name = registry.pair(pair).map_or("", |pair| pair.name());
    let decides = grouping.labels.iter().any(|named| named == name) != grouping.without;
    if known.len() <= at {
        known.resize((at + 1).next_power_of_two(), None);
    }
    known[at] = Some(decides);
    decides
}
