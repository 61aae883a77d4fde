//! A set of row numbers, one bit per row.

/// Fixed-size bit set; bits past the length stay clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    pub(crate) fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// All of `len` set.
    pub(crate) fn all(len: usize) -> Self {
        let mut bits = Self::new(len);
        bits.set_range(0, len);
        bits
    }

    /// Those of `len` set for which `is_set` holds.
    #[inline]
    pub(crate) fn from_fn(len: usize, mut is_set: impl FnMut(usize) -> bool) -> Self {
        let word = |start: usize| {
            (start..(start + 64).min(len))
                .fold(0, |word, i| word | u64::from(is_set(i)) << (i - start))
        };
        Self { words: (0..len).step_by(64).map(word).collect(), len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn set(&mut self, i: usize) {
        if i < self.len {
            self.words[i / 64] |= 1 << (i % 64);
        }
    }

    pub(crate) fn clear(&mut self, i: usize) {
        if i < self.len {
            self.words[i / 64] &= !(1 << (i % 64));
        }
    }

    pub(crate) fn get(&self, i: usize) -> bool {
        i < self.len && self.words[i / 64] >> (i % 64) & 1 == 1
    }

    /// Sets `[start, end)`.
    pub(crate) fn set_range(&mut self, start: usize, end: usize) {
        let end = end.min(self.len);
        let mut i = start;
        while i < end {
            let take = (64 - i % 64).min(end - i);
            let ones = if take == 64 { u64::MAX } else { (1 << take) - 1 };
            self.words[i / 64] |= ones << (i % 64);
            i += take;
        }
    }

    /// Keeps the first `n` set bits.
    pub(crate) fn keep_first(&mut self, n: usize) {
        let mut left = n;
        for word in &mut self.words {
            while word.count_ones() as usize > left {
                *word &= !(1 << (63 - word.leading_zeros()));
            }
            left -= word.count_ones() as usize;
        }
    }

    /// Keeps the last `n` set bits.
    pub(crate) fn keep_last(&mut self, n: usize) {
        let mut left = n;
        for word in self.words.iter_mut().rev() {
            while word.count_ones() as usize > left {
                *word &= *word - 1;
            }
            left -= word.count_ones() as usize;
        }
    }

    pub(crate) fn and(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    pub(crate) fn or(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    pub(crate) fn and_not(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    pub(crate) fn is_clear(&self) -> bool {
        self.words.iter().all(|w| *w == 0)
    }

    /// Set bits in ascending order.
    pub(crate) fn ones(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(i, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                if word == 0 {
                    return None;
                }
                let bit = word.trailing_zeros() as usize;
                word &= word - 1;
                Some(i * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_iteration() {
        let mut bits = Bits::new(200);
        bits.set_range(3, 131);
        bits.set(199);
        bits.set(200);
        bits.clear(64);
        assert_eq!(bits.count(), 128);
        assert_eq!(bits.ones().filter(|i| *i == 64 || *i == 199).collect::<Vec<_>>(), [199]);
        let mut other = Bits::new(200);
        other.set_range(0, 10);
        other.and(&bits);
        assert_eq!(other.ones().collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8, 9]);
        bits.and_not(&other);
        let mut some = bits.clone();
        some.keep_last(70);
        assert_eq!((some.count(), some.ones().next()), (70, Some(61)));
        some.keep_first(3);
        assert_eq!(some.ones().collect::<Vec<_>>(), [61, 62, 63]);
        assert!(!bits.get(9) && bits.get(10) && !bits.is_clear() && bits.len() == 200);
    }
}
