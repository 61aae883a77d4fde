//! Which values the attributes of a block's spans have: a filter that says of most texts that are not there that they are
//! not, so that the block need not be read.
//!
//! It has a hash for each distinct text of an attribute, and lists the attributes that have values of other types. Its layout
//! and the hash are part of the format: `docs/format/traces.md`. Does not own: where the bytes lie (`part`).

use model::{Result, ValueTest};
use storage::codec::{Reader, put_count};
use twox_hash::XxHash3_64;

use crate::value::kind;

/// Words of a filter's block: all bits of a value are in one.
const WORDS: usize = 4;
/// Bits per value: one in ten that are not there seems to be.
const BITS_PER_VALUE: usize = 5;
/// Odd numbers, one per word.
const SALTS: [u32; WORDS] = [0xe58e_1b1d, 0x6032_35a1, 0x4e26_ea8f, 0x6762_b34f];
/// All types that values have besides strings.
const OTHER_KINDS: [u8; 6] =
    [kind::EMPTY, kind::BOOL, kind::INT, kind::DOUBLE, kind::BYTES, kind::NESTED];

/// Hashes of the values of attributes called alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hasher {
    seed: u64,
}

impl Hasher {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self { seed: XxHash3_64::oneshot(key) }
    }

    /// Of a text.
    pub(crate) fn text(self, text: &[u8]) -> u64 {
        XxHash3_64::oneshot_with_seed(self.seed, text)
    }

    /// Of all values of a type that is not string.
    pub(crate) fn kind(self, kind: u8) -> u64 {
        XxHash3_64::oneshot_with_seed(!self.seed, &[kind])
    }
}

/// Hashes of a block's values.
#[derive(Debug, Default)]
pub(crate) struct Hashes {
    /// Of texts.
    pub(crate) texts: Vec<u64>,
    /// Of types that are not string.
    pub(crate) kinds: Vec<u64>,
}

/// Appends the filter of `hashes`.
pub(crate) fn encode(hashes: &Hashes, out: &mut Vec<u8>) {
    put_count(out, hashes.kinds.len());
    hashes.kinds.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
    let hashes = &hashes.texts;
    let blocks = (hashes.len() * BITS_PER_VALUE).div_ceil(32 * WORDS).max(1);
    let mut words = vec![0_u32; blocks * WORDS];
    for hash in hashes {
        let start = block_of(*hash, blocks) * WORDS;
        words[start..start + WORDS]
            .iter_mut()
            .zip(bits(*hash))
            .for_each(|(word, bit)| *word |= bit);
    }
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn block_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

fn bits(hash: u64) -> impl Iterator<Item = u32> {
    SALTS.iter().map(move |salt| 1 << ((hash as u32).wrapping_mul(*salt) >> 27))
}

/// A filter as it lies in a part.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    kinds: &'a [[u8; 8]],
    /// Without any, nothing is left out.
    words: &'a [[u8; 4]],
}

impl<'a> Values<'a> {
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt).
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let count = reader.count(reader.remaining() / 8)?;
        let (kinds, _) = reader.take(count * 8)?.as_chunks::<8>();
        let (words, _) = reader.take(reader.remaining())?.as_chunks::<4>();
        Ok(Self { kinds, words: &words[..words.len() / WORDS * WORDS] })
    }

    /// Whether an attribute `key` may have a value that satisfies `test`.
    pub(crate) fn may_hold(&self, key: &str, test: &ValueTest) -> bool {
        let Some(text) = test.text() else { return true };
        let hasher = Hasher::new(key.as_bytes());
        let may_be = |kind: &u8| {
            let is_ruled_out = *kind == kind::INT && test.ints().is_some_and(|i| i.is_empty());
            !is_ruled_out && self.kinds.contains(&hasher.kind(*kind).to_le_bytes())
        };
        self.has(hasher.text(text.as_bytes())) || OTHER_KINDS.iter().any(may_be)
    }

    fn has(&self, hash: u64) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let start = block_of(hash, self.words.len() / WORDS) * WORDS;
        let words = self.words[start..start + WORDS].iter().map(|word| u32::from_le_bytes(*word));
        words.zip(bits(hash)).all(|(word, bit)| word & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_most_else_is_not() {
        let hasher = Hasher::new(b"user");
        let texts = (0..20_000).map(|n| hasher.text(n.to_string().as_bytes())).collect();
        let kinds = vec![Hasher::new(b"size").kind(kind::INT)];
        let mut bytes = Vec::new();
        encode(&Hashes { texts, kinds }, &mut bytes);
        assert!(bytes.len() < 20_000 * BITS_PER_VALUE / 8 + 32);
        let test = |text: &str| ValueTest::new(|_| false).with_text(text);
        let values = Values::decode(&bytes).unwrap();
        let holds = |key: &str, text: &str| values.may_hold(key, &test(text));
        assert!((0..20_000).all(|n| holds("user", &n.to_string())));
        for key in ["user", "other"] {
            let wrong = (0..10_000).filter(|n| holds(key, &format!("absent {n}"))).count();
            assert!((300..1_500).contains(&wrong), "{wrong}");
        }
        // Integers may satisfy any test, but one that says that they do not.
        let absent = (0..).map(|n| format!("absent {n}")).find(|t| !holds("user", t)).unwrap();
        assert!(holds("size", &absent));
        let is_left = (0..100)
            .filter(|n| values.may_hold("size", &test(&format!("absent {n}")).without_ints()));
        assert!(is_left.count() < 50);
    }

    #[test]
    fn what_cannot_be_a_filter_leaves_nothing_out_or_is_refused() {
        let test = ValueTest::new(|_| false).with_text("t");
        let may_hold = |bytes: &[u8]| Values::decode(bytes).map(|v| v.may_hold("k", &test));
        assert!(may_hold(&[]).is_err());
        assert!(may_hold(&[1, 2, 3]).is_err());
        assert!(may_hold(&[0]).unwrap());
        assert!(may_hold(&[0; 16]).unwrap());
        assert!(!may_hold(&[0; 17]).unwrap());
    }
}
