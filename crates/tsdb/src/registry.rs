//! Which series are active: by number, by labels, and by label value.
//!
//! Owns: the numbers of series and what is known of each. Does not own: their samples ([`head`](crate::head)), matching
//! ([`postings`](crate::postings)).
//!
//! The text of a label is kept once for all series that have it, as a pair with a number; a series is the numbers of its
//! pairs ([`runs`](crate::runs)). Labels are put together again when somebody wants to read them. That it is the same
//! series when it comes again, [`Labels::fingerprint`] tells without any text. Figures: `docs/decisions/0012-*`.

use std::hash::BuildHasher;
use std::num::NonZeroU32;

use hashbrown::HashTable;
use model::{Labels, Pair};
use roaring::RoaringBitmap;
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::identity;
use crate::postings::Lookup;
use crate::runs::Runs;

/// Where a series' rows are: number of the target, and its column there.
pub(crate) type Home = (u32, u32);

const NO_HOME: Home = (u32::MAX, u32::MAX);

/// One active series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Series {
    /// The [`identity`] of its labels.
    pub(crate) identity: u64,
    /// [`Labels::fingerprint`].
    pub(crate) fingerprint: u64,
    home: Home,
    pairs_at: u32,
    pairs: NonZeroU32,
}

impl Series {
    /// Its target and column; none for series that only have loose samples.
    #[inline]
    pub(crate) fn home(&self) -> Option<Home> {
        (self.home != NO_HOME).then_some(self.home)
    }
}

/// Numbers of series from which on a set is looked at for runs the next time.
const OPTIMIZE_FROM: u32 = 32;

/// Which series have a label value. Most values have one series, or some in a row, since a target's series are numbered
/// one after the other.
#[derive(Debug)]
enum Ids {
    /// The first, and how many.
    Run(u32, u32),
    Many(Box<Set>),
}

#[derive(Debug)]
struct Set {
    ids: RoaringBitmap,
    count: u32,
    /// Count at which it is looked at for runs.
    optimize_at: u32,
}

impl Ids {
    fn insert(&mut self, id: u32) {
        match self {
            Self::Run(first, count) if *first + *count == id => *count += 1,
            Self::Run(first, count) => {
                let mut ids = RoaringBitmap::new();
                ids.insert_range(*first..*first + *count);
                ids.insert(id);
                let count = *count + 1;
                *self = Self::Many(Box::new(Set { ids, count, optimize_at: OPTIMIZE_FROM }));
            }
            Self::Many(set) => {
                set.count += u32::from(set.ids.insert(id));
                if set.count >= set.optimize_at {
                    set.ids.optimize();
                    set.optimize_at = set.count.saturating_mul(2);
                }
            }
        }
    }

    /// Removes a number; whether none is left.
    fn remove(&mut self, id: u32) -> bool {
        match self {
            Self::Run(first, count) if *first == id => (*first, *count) = (*first + 1, *count - 1),
            Self::Run(first, count) if *first + *count == id + 1 => *count -= 1,
            Self::Run(first, count) => {
                let mut ids = RoaringBitmap::new();
                ids.insert_range(*first..*first + *count);
                ids.remove(id);
                let count = *count - 1;
                *self = Self::Many(Box::new(Set { ids, count, optimize_at: OPTIMIZE_FROM }));
            }
            Self::Many(set) => set.count -= u32::from(set.ids.remove(id)),
        }
        self.count() == 0
    }

    fn count(&self) -> u32 {
        match self {
            Self::Run(_, count) => *count,
            Self::Many(set) => set.count,
        }
    }

    fn add_to(&self, all: &mut RoaringBitmap) {
        match self {
            Self::Run(first, count) => {
                all.insert_range(*first..*first + *count);
            }
            Self::Many(set) => *all |= &set.ids,
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Run(..) => 0,
            Self::Many(set) => size_of::<Set>() + bitmap_bytes(&set.ids),
        }
    }
}

/// Bytes a bitmap takes in memory.
fn bitmap_bytes(ids: &RoaringBitmap) -> usize {
    const CONTAINER_BYTES: usize = 40;
    const BITSET_BYTES: usize = 8192;
    let figures = ids.statistics();
    // The crate counts numbers of two bytes with four, and a bitset by its bits.
    let listed = figures.n_bytes_array_containers / 2 + figures.n_bytes_run_containers;
    usize::try_from(listed).unwrap_or(usize::MAX)
        + figures.n_bitset_containers as usize * BITSET_BYTES
        + figures.n_containers as usize * CONTAINER_BYTES
}

/// A label that some series have.
#[derive(Debug)]
struct Entry {
    pair: Pair,
    /// What it adds to the identity of its series.
    identity: u64,
    ids: Ids,
    /// Its place among the pairs of its name.
    place: u32,
}

/// Bytes of memory by what they are for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegistryBytes {
    /// Series by number and by labels.
    pub(crate) series: usize,
    /// Numbers of each series' pairs.
    pub(crate) labels: usize,
    /// Texts of the pairs, and finding them.
    pub(crate) pairs: usize,
    /// Which series have them.
    pub(crate) postings: usize,
}

/// Active series by number, by labels, and by label.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    slots: Vec<Option<Series>>,
    free: Vec<u32>,
    /// By fingerprint.
    table: HashTable<u32>,
    runs: Runs,
    pairs: Vec<Option<Entry>>,
    free_pairs: Vec<u32>,
    pairs_freed: u64,
    /// By packed form.
    by_text: HashTable<u32>,
    /// Numbers of the pairs of each name.
    names: FxHashMap<Box<str>, Vec<u32>>,
}

fn hash(packed: &str) -> u64 {
    FxBuildHasher.hash_one(packed)
}

fn number(len: usize) -> u32 {
    u32::try_from(len).expect("BUG: series limit is below 2^32")
}

impl Registry {
    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Series number `id`.
    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&Series> {
        self.slots.get(id as usize)?.as_ref()
    }

    /// Labels of series number `id`, put together.
    pub(crate) fn labels(&self, id: u32) -> Option<Labels> {
        Some(Labels::of_pairs(self.pairs_of(self.get(id)?)))
    }

    /// Numbers of the pairs of series number `id`, in order of their names.
    #[inline]
    pub(crate) fn pair_numbers(&self, id: u32) -> &[u32] {
        self.get(id).map_or(&[], |series| self.runs.get(series.pairs_at, series.pairs.get()))
    }

    /// The pair with this number.
    pub(crate) fn pair(&self, number: u32) -> Option<&Pair> {
        self.pairs.get(number as usize)?.as_ref().map(|entry| &entry.pair)
    }

    /// How often a number of a pair became free, to stand for another one later.
    pub(crate) fn pairs_freed(&self) -> u64 {
        self.pairs_freed
    }

    fn pairs_of(&self, series: &Series) -> impl Iterator<Item = &Pair> + Clone {
        let numbers = self.runs.get(series.pairs_at, series.pairs.get());
        numbers.iter().filter_map(|pair| Some(&self.pairs[*pair as usize].as_ref()?.pair))
    }

    /// Number of the series with these labels.
    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        let same = |id: &u32| {
            let series = self.get(*id).filter(|s| s.fingerprint == labels.fingerprint());
            series.is_some_and(|s| self.pairs_of(s).map(Pair::packed).eq(labels.packed_pairs()))
        };
        self.table.find(labels.fingerprint(), same).copied()
    }

    /// Adds a series that is not there yet and has labels; returns its number.
    pub(crate) fn insert(&mut self, labels: &Labels) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            number(self.slots.len() - 1)
        });
        let mut identity = identity::NONE;
        let mut numbers = smallvec::SmallVec::<[u32; 32]>::new();
        for packed in labels.packed_pairs() {
            let (pair, adds) = self.take_pair(packed, id);
            identity::add(&mut identity, adds);
            numbers.push(pair);
        }
        let pairs = NonZeroU32::new(number(numbers.len())).expect("BUG: series without labels");
        let pairs_at = self.runs.insert(&numbers);
        let fingerprint = labels.fingerprint();
        self.slots[id as usize] =
            Some(Series { identity, fingerprint, home: NO_HOME, pairs_at, pairs });
        let slots = &self.slots;
        let rehash = |id: &u32| slots[*id as usize].as_ref().map_or(0, |series| series.fingerprint);
        self.table.insert_unique(fingerprint, id, rehash);
        id
    }

    /// Notes that series `id` has the label `packed`; returns the number of the pair and what it adds to the identity.
    fn take_pair(&mut self, packed: &str, id: u32) -> (u32, u64) {
        let Self { pairs, free_pairs, by_text, names, .. } = self;
        let same = |pair: &u32| {
            pairs[*pair as usize].as_ref().is_some_and(|entry| entry.pair.packed() == packed)
        };
        if let Some(pair) = by_text.find(hash(packed), same).copied()
            && let Some(entry) = &mut pairs[pair as usize]
        {
            entry.ids.insert(id);
            return (pair, entry.identity);
        }
        let pair = Pair::of_packed(packed);
        let identity = identity::of_pair(pair.name(), pair.value());
        let at = free_pairs.pop().unwrap_or_else(|| {
            pairs.push(None);
            number(pairs.len() - 1)
        });
        let of_name = match names.get_mut(pair.name()) {
            Some(of_name) => of_name,
            None => names.entry(pair.name().into()).or_default(),
        };
        let place = number(of_name.len());
        of_name.push(at);
        pairs[at as usize] = Some(Entry { pair, identity, ids: Ids::Run(id, 1), place });
        let rehash = |pair: &u32| {
            pairs[*pair as usize].as_ref().map_or(0, |entry| hash(entry.pair.packed()))
        };
        by_text.insert_unique(hash(packed), at, rehash);
        (at, identity)
    }

    /// Changes where a series' rows are.
    pub(crate) fn set_home(&mut self, id: u32, home: Option<Home>) {
        if let Some(Some(series)) = self.slots.get_mut(id as usize) {
            series.home = home.unwrap_or(NO_HOME);
        }
    }

    /// Forgets a series.
    pub(crate) fn remove(&mut self, id: u32) {
        let Some(series) = self.slots.get_mut(id as usize).and_then(Option::take) else { return };
        if let Ok(entry) = self.table.find_entry(series.fingerprint, |other| *other == id) {
            entry.remove();
        }
        let (at, count) = (series.pairs_at, series.pairs.get());
        for k in 0..count as usize {
            let pair = self.runs.get(at, count)[k];
            self.give_pair(pair, id);
        }
        self.runs.remove(at, count);
        self.free.push(id);
    }

    /// Notes that series `id` no longer has a pair, and forgets the pair if no series has it.
    fn give_pair(&mut self, pair: u32, id: u32) {
        let slot = &mut self.pairs[pair as usize];
        if !slot.as_mut().is_some_and(|entry| entry.ids.remove(id)) {
            return;
        }
        let Some(Entry { pair: text, place, .. }) = slot.take() else { return };
        if let Ok(entry) = self.by_text.find_entry(hash(text.packed()), |other| *other == pair) {
            entry.remove();
        }
        self.free_pairs.push(pair);
        self.pairs_freed += 1;
        let Some(of_name) = self.names.get_mut(text.name()) else { return };
        of_name.swap_remove(place as usize);
        if let Some(moved) = of_name.get(place as usize).copied()
            && let Some(moved) = &mut self.pairs[moved as usize]
        {
            moved.place = place;
        }
        if of_name.is_empty() {
            self.names.remove(text.name());
        }
    }

    /// Gives back memory that series which left had, if it is much; for after many have.
    pub(crate) fn compact(&mut self) {
        if !self.runs.is_sparse() {
            return;
        }
        let before = std::mem::take(&mut self.runs);
        for series in self.slots.iter_mut().flatten() {
            series.pairs_at = self.runs.insert(before.get(series.pairs_at, series.pairs.get()));
        }
        let slots = &self.slots;
        self.table.shrink_to_fit(|id| {
            slots[*id as usize].as_ref().map_or(0, |series| series.fingerprint)
        });
        let pairs = &self.pairs;
        self.by_text.shrink_to_fit(|pair| {
            pairs[*pair as usize].as_ref().map_or(0, |entry| hash(entry.pair.packed()))
        });
        self.names.values_mut().for_each(Vec::shrink_to_fit);
    }

    /// Numbers and series, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Series)> {
        (0u32..).zip(&self.slots).filter_map(|(id, slot)| Some((id, slot.as_ref()?)))
    }

    /// Bytes it takes in memory.
    pub(crate) fn memory_bytes(&self) -> RegistryBytes {
        let entries = || self.pairs.iter().flatten();
        let texts: usize = entries().map(|entry| entry.pair.packed().len()).sum();
        let of_names: usize = self.names.values().map(|of_name| of_name.capacity() * 4 + 64).sum();
        RegistryBytes {
            series: self.slots.capacity() * size_of::<Option<Series>>()
                + self.free.capacity() * 4
                + self.table.allocation_size(),
            labels: self.runs.memory_bytes(),
            pairs: self.pairs.capacity() * size_of::<Option<Entry>>()
                + texts
                + self.free_pairs.capacity() * 4
                + self.by_text.allocation_size()
                + of_names,
            postings: entries().map(|entry| entry.ids.memory_bytes()).sum(),
        }
    }
}

impl Lookup for Registry {
    fn all(&self) -> RoaringBitmap {
        self.iter().map(|(id, _)| id).collect()
    }

    fn equal(&self, name: &str, value: &str) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        let Some(wanted) = Pair::new(name, value) else { return set };
        let entry = |pair: &u32| self.pairs[*pair as usize].as_ref();
        let same = |pair: &u32| entry(pair).is_some_and(|entry| entry.pair == wanted);
        if let Some(entry) = self.by_text.find(hash(wanted.packed()), same).and_then(entry) {
            match &entry.ids {
                Ids::Many(ids) => return ids.ids.clone(),
                ids @ Ids::Run(..) => ids.add_to(&mut set),
            }
        }
        set
    }

    fn union(&self, name: &str, keep: &mut dyn FnMut(&str) -> bool) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        for pair in self.names.get(name).into_iter().flatten() {
            if let Some(entry) = &self.pairs[*pair as usize]
                && keep(entry.pair.value())
            {
                entry.ids.add_to(&mut set);
            }
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{MatchOp, Matcher};
    use proptest::prelude::*;

    use super::*;
    use crate::postings::matching;

    /// What happens to a registry: series come and go.
    #[derive(Debug, Clone)]
    enum Step {
        /// Some series of one shape, in a row.
        Add {
            shape: u8,
            from: u16,
            count: u16,
        },
        /// The series whose turn it is, and some after it.
        Remove {
            at: u16,
            count: u16,
        },
        Compact,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u8..4, 0u16..300, 1u16..120)
                .prop_map(|(shape, from, count)| Step::Add { shape, from, count }),
            3 => (any::<u16>(), 1u16..150).prop_map(|(at, count)| Step::Remove { at, count }),
            1 => Just(Step::Compact),
        ]
    }

    fn labels(shape: u8, k: u16) -> Labels {
        let (all, few, some) = (k.to_string(), (k % 7).to_string(), (k / 50).to_string());
        match shape {
            0 => Labels::from_pairs([("__name__", "a"), ("few", &few), ("id", &all)]),
            1 => Labels::from_pairs([("__name__", "b"), ("some", &some), ("id", &all), ("x", "y")]),
            2 => Labels::from_pairs([("id", all.as_str())]),
            _ => Labels::from_pairs([("few", few.as_str()), ("some", &some), ("é", &all)]),
        }
    }

    fn agree(registry: &Registry, model: &BTreeMap<u32, Labels>) {
        assert_eq!(registry.len(), model.len());
        assert!(registry.iter().map(|(id, _)| id).eq(model.keys().copied()));
        for (id, labels) in model {
            assert_eq!(registry.find(labels), Some(*id));
            assert_eq!(registry.labels(*id).as_ref(), Some(labels));
            let series = registry.get(*id).unwrap();
            assert_eq!(series.identity, identity::of(labels));
            assert_eq!(series.home(), Some((*id, 7)));
        }
        let one = |op, name, value| Matcher::new(op, name, value).unwrap();
        let cases = [
            vec![],
            vec![Matcher::equal("__name__", "a")],
            vec![Matcher::equal("few", "3"), one(MatchOp::NotEqual, "__name__", "a")],
            vec![Matcher::equal("id", "17")],
            vec![Matcher::equal("id", "")],
            vec![one(MatchOp::Regex, "id", "1.*"), one(MatchOp::NotRegex, "some", "0|1")],
            vec![one(MatchOp::Regex, "few", "1|5|none")],
        ];
        for matchers in cases {
            let all = model.iter().filter(|(_, l)| matchers.iter().all(|m| m.matches_labels(l)));
            let expected: Vec<u32> = all.map(|(id, _)| *id).collect();
            let found: Vec<u32> = matching(registry, &matchers).iter().collect();
            assert_eq!(found, expected, "{matchers:?}");
        }
        let used: std::collections::BTreeSet<&str> =
            model.values().flat_map(Labels::packed_pairs).collect();
        assert_eq!(registry.by_text.len(), used.len(), "pairs no series has are forgotten");
        assert_eq!(registry.names.values().map(Vec::len).sum::<usize>(), used.len());
    }

    proptest! {
        #[test]
        fn series_come_and_go_as_in_a_map(steps in proptest::collection::vec(step(), 1..25)) {
            let (mut registry, mut model) = (Registry::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Add { shape, from, count } => {
                        for k in from..from + count {
                            let labels = labels(shape, k);
                            if registry.find(&labels).is_none() {
                                let id = registry.insert(&labels);
                                registry.set_home(id, Some((id, 7)));
                                prop_assert!(model.insert(id, labels).is_none(), "number is free");
                            }
                        }
                    }
                    Step::Remove { at, count } => {
                        let first = at as usize % model.len().max(1);
                        let ids: Vec<u32> =
                            model.keys().copied().skip(first).take(count as usize).collect();
                        for id in ids {
                            registry.remove(id);
                            prop_assert!(registry.get(id).is_none());
                            let gone = model.remove(&id).unwrap();
                            prop_assert_eq!(registry.find(&gone), None);
                        }
                    }
                    Step::Compact => registry.compact(),
                }
                agree(&registry, &model);
            }
        }
    }

    #[test]
    fn a_series_takes_few_bytes_besides_its_numbers() {
        let mut registry = Registry::default();
        for target in 0..20 {
            for metric in 0..500 {
                let (pod, metric) =
                    (format!("pod-{target:05}-6f7d8b9c5"), format!("metric_{metric}"));
                registry.insert(&Labels::from_pairs([
                    ("__name__", metric.as_str()),
                    ("job", "kubernetes-pods"),
                    ("pod", &pod),
                ]));
            }
        }
        let bytes = registry.memory_bytes();
        let sum = bytes.series + bytes.labels + bytes.pairs + bytes.postings;
        assert!(sum < 10_000 * 120, "{bytes:?}");
    }
}
