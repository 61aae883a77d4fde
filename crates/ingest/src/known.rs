//! Series that were pushed before: their finished labels, and which one came after which.
//!
//! Owns: the memory that decoders of pushed requests predict from. A sender names the same series in the same order, request
//! after request, however it cuts them into requests: so after a series the one that followed it last time is expected, and
//! if the bytes agree its labels are handed on as they are, without being read, sorted, checked or allocated. Only where
//! a sender departs from its order is a series looked up, and only one never seen is learnt.
//!
//! Nothing depends on the memory but speed: what is expected is compared with what is there. It is bounded in bytes,
//! forgets what was not named for a while, and is emptied when it is full. Requests only read it (the notes about order
//! are atomics), so they do so at the same time; what they found new is [learnt](Known::learn) afterwards.
//!
//! Does not own: how a format writes labels (`K` is what it needs to recognise them), locks.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashTable;
use model::Labels;
use rustc_hash::FxBuildHasher;

/// No series.
const NONE: u32 = u32::MAX;
/// Series not named for so long (up to twice as long) are forgotten, in milliseconds.
pub(crate) const FORGET_MS: i64 = 15 * 60_000;
/// What a series takes beside its labels and key, in bytes.
const ENTRY_BYTES: usize = 48;

/// What a format keeps of a series to recognise it.
pub trait Key {
    /// By what it is looked up.
    fn hash(&self, labels: &Labels) -> u64;

    /// Bytes it takes on the heap.
    fn heap_bytes(&self) -> usize;
}

/// Recognised by the labels themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByLabels;

impl Key for ByLabels {
    fn hash(&self, labels: &Labels) -> u64 {
        FxBuildHasher.hash_one(labels)
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

/// One series.
#[derive(Debug)]
pub struct Entry<K> {
    /// How it is recognised.
    pub key: K,
    /// Its labels, accepted.
    pub labels: Labels,
    /// [`Labels::target`] of them.
    pub target: u64,
    /// The series that came after it last time.
    next: AtomicU32,
    /// Round in which it was named last.
    seen: AtomicU32,
}

impl<K: Key> Entry<K> {
    fn bytes(&self) -> usize {
        self.labels.packed_len() + self.key.heap_bytes() + ENTRY_BYTES
    }

    fn hash(&self) -> u64 {
        self.key.hash(&self.labels)
    }
}

/// The memory; see the module.
#[derive(Debug)]
pub struct Known<K> {
    entries: Vec<Entry<K>>,
    by_key: HashTable<u32>,
    bytes: usize,
    bytes_max: usize,
    /// Of entries' numbers: those of another generation mean nothing.
    generation: u64,
    round: u32,
    round_began_ms: i64,
}

/// Series a request named that were not known, in its order.
#[derive(Debug)]
pub struct News<K> {
    series: Vec<New<K>>,
    generation: u64,
}

#[derive(Debug)]
struct New<K> {
    key: K,
    labels: Labels,
    target: u64,
    after: Place,
    /// Known series that came after it.
    then: u32,
}

/// What came before.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Nothing: the request began.
    Start,
    Known(u32),
    /// The last one that is new.
    New,
}

impl<K> News<K> {
    /// Whether all series were known.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

impl<K: Key> Known<K> {
    /// An empty memory that never takes more than `bytes_max`, the labels included.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            entries: Vec::new(),
            by_key: HashTable::new(),
            bytes: 0,
            bytes_max,
            generation: 0,
            round: 0,
            round_began_ms: i64::MIN,
        }
    }

    /// Series in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it can learn anything.
    pub fn has_room(&self) -> bool {
        self.bytes_max > ENTRY_BYTES
    }

    /// The way of one request through it.
    pub fn walk(&self) -> Walk<'_, K> {
        let news = News { series: Vec::new(), generation: self.generation };
        Walk { known: self, expected: NONE, before: Place::Start, news }
    }

    /// Takes in what a request found new; `now_ms` is the present, Unix milliseconds.
    pub fn learn(&mut self, news: News<K>, now_ms: i64)
    where
        K: PartialEq,
    {
        if now_ms.saturating_sub(self.round_began_ms) >= FORGET_MS {
            self.forget_unseen();
            self.round_began_ms = now_ms;
        }
        let mut latest = NONE;
        for New { key, labels, target, after, then } in news.series {
            let hash = key.hash(&labels);
            let same = |id: &u32| {
                let entry = &self.entries[*id as usize];
                entry.key == key && entry.labels == labels
            };
            // Another request may have brought it at the same time.
            let id = match self.by_key.find(hash, same) {
                Some(id) => *id,
                None => {
                    let (next, seen) = (AtomicU32::new(NONE), AtomicU32::new(self.round));
                    let entry = Entry { key, labels, target, next, seen };
                    match self.insert(hash, entry) {
                        Some(id) => id,
                        None => return,
                    }
                }
            };
            // Numbers are those of now only if nothing was forgotten since the request looked.
            let is_current = news.generation == self.generation;
            let before = match after {
                Place::New => latest,
                Place::Known(before) if is_current => before,
                _ => NONE,
            };
            if let Some(before) = self.entries.get(before as usize) {
                before.next.store(id, Ordering::Relaxed);
            }
            if is_current && then != NONE {
                self.entries[id as usize].next.store(then, Ordering::Relaxed);
            }
            latest = id;
        }
    }

    /// Adds an entry; `None` when it alone is too large. A full memory is emptied first.
    fn insert(&mut self, hash: u64, entry: Entry<K>) -> Option<u32> {
        let bytes = entry.bytes();
        if bytes > self.bytes_max {
            return None;
        }
        if self.bytes + bytes > self.bytes_max {
            *self = Self {
                generation: self.generation + 1,
                round: self.round,
                round_began_ms: self.round_began_ms,
                ..Self::new(self.bytes_max)
            };
        }
        let id = u32::try_from(self.entries.len()).ok().filter(|id| *id != NONE)?;
        self.bytes += bytes;
        self.entries.push(entry);
        let entries = &self.entries;
        self.by_key.insert_unique(hash, id, |id| entries[*id as usize].hash());
        Some(id)
    }

    /// Ends a round: keeps what was named in it.
    fn forget_unseen(&mut self) {
        let round = self.round;
        self.round += 1;
        let is_old = |entry: &Entry<K>| entry.seen.load(Ordering::Relaxed) < round;
        if !self.entries.iter().any(is_old) {
            return;
        }
        self.generation += 1;
        let mut numbers = vec![NONE; self.entries.len()];
        let mut kept = Vec::new();
        for (number, entry) in numbers.iter_mut().zip(std::mem::take(&mut self.entries)) {
            if !is_old(&entry) {
                *number = u32::try_from(kept.len()).unwrap_or(NONE);
                kept.push(entry);
            }
        }
        for entry in &kept {
            let next = numbers.get(entry.next.load(Ordering::Relaxed) as usize);
            entry.next.store(next.copied().unwrap_or(NONE), Ordering::Relaxed);
        }
        self.bytes = kept.iter().map(Entry::bytes).sum();
        self.by_key = HashTable::with_capacity(kept.len());
        for (id, entry) in (0..).zip(&kept) {
            self.by_key.insert_unique(entry.hash(), id, |id| kept[*id as usize].hash());
        }
        self.entries = kept;
    }
}

/// One request on its way through what is known: after each series the next one is expected.
#[derive(Debug)]
pub struct Walk<'k, K> {
    known: &'k Known<K>,
    expected: u32,
    before: Place,
    news: News<K>,
}

impl<'k, K: Key> Walk<'k, K> {
    /// The series that should come now, if the order is known.
    #[inline]
    pub fn expected(&self) -> Option<&'k Entry<K>> {
        self.known.entries.get(self.expected as usize)
    }

    /// The expected series came.
    #[inline]
    pub fn advance(&mut self) {
        if let Some(entry) = self.expected() {
            let round = self.known.round;
            if entry.seen.load(Ordering::Relaxed) != round {
                entry.seen.store(round, Ordering::Relaxed);
            }
            self.before = Place::Known(self.expected);
            self.expected = entry.next.load(Ordering::Relaxed);
        }
    }

    /// Another series came: the one with this hash of its key for which `same` holds.
    pub fn find(&mut self, hash: u64, same: impl Fn(&Entry<K>) -> bool) -> Option<&'k Entry<K>> {
        let known = self.known;
        let id = *known.by_key.find(hash, |id| same(&known.entries[*id as usize]))?;
        match self.before {
            Place::Start => {}
            Place::Known(before) => {
                known.entries[before as usize].next.store(id, Ordering::Relaxed);
            }
            Place::New => {
                if let Some(new) = self.news.series.last_mut() {
                    new.then = id;
                }
            }
        }
        self.expected = id;
        let entry = self.expected();
        self.advance();
        entry
    }

    /// A series came that is not known; returns its [target](Labels::target).
    pub fn add(&mut self, key: K, labels: &Labels) -> u64 {
        let target = labels.target();
        let after = std::mem::replace(&mut self.before, Place::New);
        self.expected = NONE;
        self.news.series.push(New { key, labels: labels.clone(), target, after, then: NONE });
        target
    }

    /// What is to be [learnt](Known::learn).
    pub fn finish(self) -> News<K> {
        self.news
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(number: u8) -> Labels {
        Labels::from_pairs([("__name__", "m"), ("n", number.to_string().as_str())])
    }

    /// Sends series in this order; how many were predicted, found, new.
    fn send(known: &mut Known<ByLabels>, numbers: &[u8], now_ms: i64) -> [usize; 3] {
        let mut counts = [0; 3];
        let mut walk = known.walk();
        for number in numbers {
            let labels = labels(*number);
            if walk.expected().is_some_and(|entry| entry.labels == labels) {
                walk.advance();
                counts[0] += 1;
            } else if let Some(entry) =
                walk.find(ByLabels.hash(&labels), |entry| entry.labels == labels)
            {
                assert_eq!((&entry.labels, entry.target), (&labels, labels.target()));
                counts[1] += 1;
            } else {
                walk.add(ByLabels, &labels);
                counts[2] += 1;
            }
        }
        let news = walk.finish();
        known.learn(news, now_ms);
        assert_eq!(known.bytes, known.entries.iter().map(Entry::bytes).sum::<usize>());
        assert!(known.bytes <= known.bytes_max);
        counts
    }

    #[test]
    fn order_is_learnt_across_the_cuts_of_requests() {
        let mut known = Known::new(1 << 20);
        assert_eq!(send(&mut known, &[1, 2, 3, 4], 0), [0, 0, 4]);
        assert_eq!(send(&mut known, &[1, 2, 3, 4], 0), [3, 1, 0]);
        assert_eq!(send(&mut known, &[3, 4], 0), [1, 1, 0]);
        // One between, and one left out.
        assert_eq!(send(&mut known, &[1, 9, 2, 4], 0), [0, 3, 1]);
        assert_eq!(send(&mut known, &[1, 9, 2, 4], 0), [3, 1, 0]);
    }

    #[test]
    fn what_is_not_named_is_forgotten() {
        let mut known = Known::new(1 << 20);
        send(&mut known, &[1, 2, 3], 0);
        send(&mut known, &[4], FORGET_MS);
        send(&mut known, &[1, 3], FORGET_MS + 1);
        send(&mut known, &[5], FORGET_MS * 2);
        assert_eq!(known.len(), 4);
        assert_eq!(send(&mut known, &[2], FORGET_MS * 2), [0, 0, 1]);
        assert_eq!(send(&mut known, &[1, 3], FORGET_MS * 2), [1, 1, 0]);
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_never_wrong(
            requests in proptest::collection::vec(
                (proptest::collection::vec(0u8..30, 0..20), 0i64..1_000_000), 1..30),
            series in 1usize..40,
        ) {
            let mut known = Known::new(series * (labels(10).packed_len() + ENTRY_BYTES));
            let mut now_ms = 0;
            for (numbers, passed_ms) in requests {
                now_ms += passed_ms;
                let counts = send(&mut known, &numbers, now_ms);
                prop_assert_eq!(counts.iter().sum::<usize>(), numbers.len());
                for entry in &known.entries {
                    let hash = entry.hash();
                    let found = known.by_key.find(hash, |id| known.entries[*id as usize].labels == entry.labels);
                    prop_assert!(found.is_some());
                }
            }
        }
    }
}
