//! Many short lists of numbers in few allocations.
//!
//! Owns: where each list is. A list that is removed leaves a place for the next one of its length.

use std::collections::BTreeMap;

/// Numbers of one allocation; a longer list has one of its own.
const CHUNK: usize = 1 << 14;
/// Below this many unused numbers nothing is sparse.
const UNUSED_MIN: usize = 1 << 16;

/// The lists; see the module. The place of a list is the number of its chunk times [`CHUNK`] and its start in there.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    chunks: Vec<Box<[u32]>>,
    /// Numbers of the last chunk that were ever used.
    used: usize,
    /// Places that are free, by length.
    free: BTreeMap<u32, Vec<u32>>,
    /// Numbers in them.
    unused: usize,
}

impl Runs {
    /// Keeps a list; returns its place.
    pub(crate) fn insert(&mut self, list: &[u32]) -> u32 {
        let len = list.len();
        let key = u32::try_from(len).unwrap_or(u32::MAX);
        if let Some(place) = self.free.get_mut(&key).and_then(Vec::pop) {
            self.unused -= len;
            self.slice_mut(place, len).copy_from_slice(list);
            return place;
        }
        let left = self.chunks.last().map_or(0, |chunk| chunk.len().saturating_sub(self.used));
        if left < len {
            if left > 0 {
                let rest = self.place(self.chunks.len() - 1, self.used);
                self.unused += left;
                self.free.entry(u32::try_from(left).unwrap_or(u32::MAX)).or_default().push(rest);
            }
            self.chunks.push(vec![0; len.max(CHUNK)].into_boxed_slice());
            self.used = 0;
        }
        let place = self.place(self.chunks.len() - 1, self.used);
        self.used += len;
        self.slice_mut(place, len).copy_from_slice(list);
        place
    }

    fn place(&self, chunk: usize, start: usize) -> u32 {
        u32::try_from(chunk * CHUNK + start).expect("BUG: series limit is below 2^32 labels")
    }

    fn slice_mut(&mut self, place: u32, len: usize) -> &mut [u32] {
        let (chunk, start) = (place as usize / CHUNK, place as usize % CHUNK);
        &mut self.chunks[chunk][start..start + len]
    }

    /// The list of length `len` that is at `place`.
    #[inline]
    pub(crate) fn get(&self, place: u32, len: u32) -> &[u32] {
        let (chunk, start) = (place as usize / CHUNK, place as usize % CHUNK);
        &self.chunks[chunk][start..start + len as usize]
    }

    /// Forgets the list of length `len` that is at `place`.
    pub(crate) fn remove(&mut self, place: u32, len: u32) {
        self.unused += len as usize;
        self.free.entry(len).or_default().push(place);
    }

    /// Whether most of the memory is for lists that are gone.
    pub(crate) fn is_sparse(&self) -> bool {
        let all: usize = self.chunks.iter().map(|chunk| chunk.len()).sum();
        self.unused > UNUSED_MIN.max(all / 2)
    }

    /// Bytes they take in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let numbers: usize = self.chunks.iter().map(|chunk| chunk.len()).sum();
        let free: usize = self.free.values().map(Vec::capacity).sum();
        (numbers + free) * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_survive_and_places_are_used_again() {
        let mut runs = Runs::default();
        let list = |k: u32| -> Vec<u32> { (0..k % 40 + 1).map(|i| k * 100 + i).collect() };
        let mut kept: Vec<(u32, Vec<u32>)> = Vec::new();
        for k in 0..5000 {
            let list = list(k);
            kept.push((runs.insert(&list), list));
        }
        let long: Vec<u32> = (0..200_000).collect();
        let long_at = runs.insert(&long);
        kept.push((runs.insert(&[7]), vec![7]));
        let bytes = runs.memory_bytes();
        for round in 0..10 {
            for (k, (place, before)) in (0u32..).zip(&mut kept).filter(|(k, _)| k % 3 == round % 3)
            {
                runs.remove(*place, u32::try_from(before.len()).unwrap());
                *before = before.iter().map(|x| x.wrapping_add(k)).collect();
                *place = runs.insert(before);
            }
        }
        for (place, list) in &kept {
            assert_eq!(runs.get(*place, u32::try_from(list.len()).unwrap()), list);
        }
        assert_eq!(runs.get(long_at, 200_000), long);
        assert!(runs.memory_bytes() < bytes + 1024, "churn needs no more memory");
        assert!(!runs.is_sparse());
        runs.remove(long_at, 200_000);
        assert!(runs.is_sparse());
    }
}
