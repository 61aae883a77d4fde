//! A fixed-length row of bits: which columns of a scrape, or which rows of a column, have a value.

use model::Result;
use storage::codec::Reader;

/// Bits `0..len`, all past the end zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// Number of bits.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bits at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bit `i`; false past the end.
    #[inline]
    pub fn get(&self, i: usize) -> bool {
        self.words.get(i / 64).is_some_and(|w| w >> (i % 64) & 1 == 1)
    }

    /// Sets bit `i`, which must be inside.
    #[inline]
    pub fn set(&mut self, i: usize) {
        debug_assert!(i < self.len, "bit {i} of {}", self.len);
        self.words[i / 64] |= 1 << (i % 64);
    }

    /// Clears bit `i`, if there is one.
    pub fn unset(&mut self, i: usize) {
        if let Some(word) = self.words.get_mut(i / 64) {
            *word &= !(1 << (i % 64));
        }
    }

    /// Bits `[64 × number, 64 × number + 64)`, the first one lowest; zeros past the end.
    #[inline]
    pub fn word(&self, number: usize) -> u64 {
        self.words.get(number).copied().unwrap_or(0)
    }

    /// Sets all bits and changes the length.
    pub fn fill(&mut self, len: usize) {
        self.words.clear();
        self.words.resize(len.div_ceil(64), u64::MAX);
        self.len = len;
        if !len.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last = (1 << (len % 64)) - 1;
        }
    }

    /// Clears all bits and changes the length.
    pub fn reset(&mut self, len: usize) {
        self.words.clear();
        self.words.resize(len.div_ceil(64), 0);
        self.len = len;
    }

    /// Appends zeros up to `len`, or drops bits behind it.
    pub fn resize(&mut self, len: usize) {
        self.words.resize(len.div_ceil(64), 0);
        if len < self.len && !len.is_multiple_of(64) {
            let last = self.words.len() - 1;
            self.words[last] &= (1 << (len % 64)) - 1;
        }
        self.len = len;
    }

    /// Sets every bit that is set in `other`.
    pub fn merge(&mut self, other: &Self) {
        self.resize(self.len.max(other.len));
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// Number of set bits.
    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Number of set bits in `[0, end)`.
    pub fn rank(&self, end: usize) -> usize {
        let full = end.min(self.len) / 64;
        let mut rank: usize = self.words.iter().take(full).map(|w| w.count_ones() as usize).sum();
        if let Some(word) = self.words.get(full) {
            let rest = end.min(self.len) % 64;
            rank += (word & ((1u64 << rest) - 1)).count_ones() as usize;
        }
        rank
    }

    /// Positions of the set bits, ascending.
    pub fn ones(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(k, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    k * 64 + bit
                })
            })
        })
    }

    /// Appends `len / 8` bytes, rounded up.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let bytes = self.words.iter().flat_map(|w| w.to_le_bytes());
        out.extend(bytes.take(self.len.div_ceil(8)));
    }

    /// Reads `len` bits written by [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) on short input.
    pub fn decode(r: &mut Reader<'_>, len: usize) -> Result<Self> {
        let bytes = r.take(len.div_ceil(8))?;
        let mut bitmap = Self::zeros(len);
        for (i, byte) in bytes.iter().enumerate() {
            bitmap.words[i / 8] |= u64::from(*byte) << (i % 8 * 8);
        }
        // Stray bits behind the end would be counted.
        bitmap.resize(bitmap.words.len() * 64);
        bitmap.len = bitmap.words.len() * 64;
        bitmap.resize(len);
        Ok(bitmap)
    }
}
