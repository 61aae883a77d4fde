//! Token filters: a small split-block Bloom filter per block that says which words occur in none of its lines.
//!
//! A *token* is a maximal run of ASCII letters, digits, `_` and bytes from `0x80`. Tokens that begin with a digit and
//! are shorter than 16 bytes, or that are digits alone, are left out: numbers, times and addresses would fill the
//! filter and are tested in packed columns instead. The layout and the hash are part of the on-disk format
//! (`docs/format/logs.md`). Substring search may use a filter only for tokens that lie wholly inside the needle
//! ([`needle_tokens`]), since a token at its edge may continue in the line.

use rustc_hash::FxHashSet;

use crate::split::is_token_byte;

/// Bits per distinct token.
const BITS_PER_TOKEN: usize = 10;
/// Bytes of one block of a filter.
const BLOCK_BYTES: usize = 32;
/// Largest filter kept; a block with more distinct tokens has none.
const FILTER_BYTES_MAX: usize = 512 << 10;
/// Shortest digit-led token that is an id rather than a number.
const ID_BYTES_MIN: usize = 16;
/// Odd multipliers that spread one hash over the eight words of a block.
const SALT: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// Distinct tokens of a block, as hashes.
#[derive(Debug, Default)]
pub(crate) struct TokenSet {
    hashes: FxHashSet<u64>,
}

impl TokenSet {
    /// Adds the tokens of `text`; its edges count as token boundaries.
    pub(crate) fn add_text(&mut self, text: &[u8]) {
        for token in tokens(text) {
            if is_filtered(token) {
                self.hashes.insert(token_hash(token));
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.hashes.clear();
    }

    /// The filter's bytes; empty when there would be too many.
    pub(crate) fn build(&self) -> Vec<u8> {
        let blocks = (self.hashes.len() * BITS_PER_TOKEN).div_ceil(BLOCK_BYTES * 8).max(1);
        if blocks * BLOCK_BYTES > FILTER_BYTES_MAX {
            return Vec::new();
        }
        let mut words = vec![0_u32; blocks * 8];
        #[expect(clippy::iter_over_hash_type, reason = "setting bits commutes")]
        for hash in &self.hashes {
            let base = block_index(*hash, blocks) * 8;
            for (i, salt) in SALT.iter().enumerate() {
                words[base + i] |= bit(*hash, *salt);
            }
        }
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }
}

/// Whether the filter `bytes` may contain the token with `hash`; an empty or odd filter excludes nothing.
pub(crate) fn may_contain(bytes: &[u8], hash: u64) -> bool {
    let blocks = bytes.len() / BLOCK_BYTES;
    if blocks == 0 {
        return true;
    }
    let base = block_index(hash, blocks) * BLOCK_BYTES;
    let Some(block) = bytes.get(base..base + BLOCK_BYTES) else { return true };
    block.chunks_exact(4).zip(SALT).all(|(word, salt)| {
        let word = word.iter().rev().fold(0_u32, |w, b| w << 8 | u32::from(*b));
        word & bit(hash, salt) != 0
    })
}

/// Hashes of the tokens wholly inside `needle` that a filter would know.
pub(crate) fn needle_tokens(needle: &[u8]) -> Vec<u64> {
    let mut hashes = Vec::new();
    let mut at = 0;
    for token in tokens(needle) {
        // `tokens` yields slices of `needle` in order; find where this one starts.
        let start = at + needle[at..].windows(token.len()).position(|w| w == token).unwrap_or(0);
        at = start + token.len();
        if start > 0 && at < needle.len() && is_filtered(token) {
            hashes.push(token_hash(token));
        }
    }
    hashes
}

fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| !is_token_byte(*b)).filter(|t| !t.is_empty())
}

fn is_filtered(token: &[u8]) -> bool {
    match token.first() {
        Some(b) if b.is_ascii_digit() => {
            token.len() >= ID_BYTES_MIN && !token.iter().all(u8::is_ascii_digit)
        }
        _ => true,
    }
}

fn block_index(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

fn bit(hash: u64, salt: u32) -> u32 {
    1 << ((hash as u32).wrapping_mul(salt) >> 27)
}

/// Part of the format: eight bytes at a time, little-endian, the last one zero-padded, each folded in by xor, multiply
/// and rotate; the length first; MurmurHash3's finaliser last.
fn token_hash(token: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = (token.len() as u64).wrapping_mul(K);
    let mut chunks = token.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        hash = (hash ^ word).wrapping_mul(K).rotate_left(29);
    }
    let word = chunks.remainder().iter().rev().fold(0_u64, |w, b| w << 8 | u64::from(*b));
    hash = (hash ^ word).wrapping_mul(K).rotate_left(29);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_tokens_only_and_no_false_negatives() {
        assert!(needle_tokens(b"error").is_empty());
        assert!(needle_tokens(b"an error").is_empty());
        assert_eq!(needle_tokens(b"\"level\":\"error\"").len(), 2);
        assert_eq!(needle_tokens(b" a 12 0123456789abcdef 12345678901234567890 x").len(), 2);

        let mut set = TokenSet::default();
        for i in 0..5_000 {
            set.add_text(format!("user{i} did x{} in 12ms", i * 7).as_bytes());
        }
        let filter = set.build();
        for i in 0..5_000 {
            for hash in needle_tokens(format!(" user{i} x{} ", i * 7).as_bytes()) {
                assert!(may_contain(&filter, hash));
            }
        }
        let misses =
            (0..10_000).filter(|i| may_contain(&filter, token_hash(format!("no{i}").as_bytes())));
        let rate = misses.count();
        assert!(rate < 400, "{rate} of 10000 false positives");
    }
}
