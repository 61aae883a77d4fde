//! Token filters: a small split-block Bloom filter per block that says which words occur in none of its lines.
//!
//! A *token* is a maximal run of ASCII letters, digits, `_` and bytes from `0x80`. Tokens that begin with a digit and
//! are shorter than 16 bytes, or that are digits alone, are left out: numbers, times and addresses would fill the
//! filter and are tested in packed columns instead. The layout and the hash are part of the on-disk format
//! (`docs/format/logs.md`). Substring search may use a filter only for tokens that lie wholly inside the needle
//! ([`needle_tokens`]), since a token at its edge may continue in the line. An id by itself (`4bf92f3577b34da6`) is all
//! edge; so a filter also says how long tokens are, and an id as long as the longest must be one of them ([`needle_id`]).

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

/// Bytes behind the blocks of a filter: the [`Lengths`].
const LENGTHS_BYTES: usize = 3;

/// Distinct tokens of a block, as hashes.
#[derive(Debug, Default)]
pub(crate) struct TokenSet {
    hashes: FxHashSet<u64>,
    lengths: Lengths,
}

/// How long tokens are, those left out included; 255 stands for that and more.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Lengths {
    /// The longest token.
    longest: u8,
    /// The longest of hexadecimal digits alone, among those that could be ids.
    hex: u8,
    /// The most hexadecimal digits behind each other in another token that is as long as an id.
    inner_hex: u8,
}

impl Lengths {
    fn add(&mut self, token: &[u8]) {
        let length = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        self.longest = self.longest.max(length(token.len()));
        if token.len() < ID_BYTES_MIN {
            return;
        }
        let runs = token.split(|b| !b.is_ascii_hexdigit()).map(<[u8]>::len);
        let run = length(runs.max().unwrap_or(0));
        if usize::from(run) == token.len() || run == u8::MAX {
            self.hex = self.hex.max(run);
        } else {
            self.inner_hex = self.inner_hex.max(run);
        }
    }

    /// Whether a token with `id` in it can only be `id` itself.
    fn is_whole(self, id: Id) -> bool {
        let known = |length: u8| (length < u8::MAX).then_some(usize::from(length));
        let reaches = |length: u8| known(length).is_some_and(|n| id.len >= n);
        let is_longest_hex =
            id.is_hex && reaches(self.hex) && known(self.inner_hex).is_some_and(|n| id.len > n);
        reaches(self.longest) || is_longest_hex
    }
}

/// A needle that is one long token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id {
    hash: u64,
    len: usize,
    is_hex: bool,
}

impl TokenSet {
    /// Adds the tokens of `text`; its edges count as token boundaries.
    pub(crate) fn add_text(&mut self, text: &[u8]) {
        for token in tokens(text) {
            self.lengths.add(token);
            if is_filtered(token) {
                self.hashes.insert(token_hash(token));
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.hashes.clear();
        self.lengths = Lengths::default();
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
        let Lengths { longest, hex, inner_hex } = self.lengths;
        words.iter().flat_map(|w| w.to_le_bytes()).chain([longest, hex, inner_hex]).collect()
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

/// The lengths behind the filter `bytes`; `None` for an empty one, or one without.
fn lengths(bytes: &[u8]) -> Option<Lengths> {
    let (_, tail) = bytes.split_at(bytes.len() / BLOCK_BYTES * BLOCK_BYTES);
    match (bytes.len() > LENGTHS_BYTES, tail) {
        (true, &[longest, hex, inner_hex]) => Some(Lengths { longest, hex, inner_hex }),
        _ => None,
    }
}

/// Whether `id` may be in a line of the block with the filter `bytes`.
pub(crate) fn may_contain_id(bytes: &[u8], id: Id) -> bool {
    !lengths(bytes).is_some_and(|l| l.is_whole(id)) || may_contain(bytes, id.hash)
}

/// Whether a field of the block with the filter `bytes` may have the value with these [`value_tokens`].
pub(crate) fn may_have_value(bytes: &[u8], tokens: &[u64]) -> bool {
    // Filters without lengths do not know the fields.
    lengths(bytes).is_none() || tokens.iter().all(|token| may_contain(bytes, *token))
}

/// Hashes of the tokens of a whole value.
pub(crate) fn value_tokens(value: &[u8]) -> Vec<u64> {
    tokens(value).filter(|token| is_filtered(token)).map(token_hash).collect()
}

/// `needle` as an id, if it is one token long enough.
pub(crate) fn needle_id(needle: &[u8]) -> Option<Id> {
    let is_token = needle.len() >= ID_BYTES_MIN && needle.iter().all(|b| is_token_byte(*b));
    (is_token && is_filtered(needle)).then(|| Id {
        hash: token_hash(needle),
        len: needle.len(),
        is_hex: needle.iter().all(u8::is_ascii_hexdigit),
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
pub(crate) fn token_hash(token: &[u8]) -> u64 {
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
        let id = |text: &str| needle_id(text.as_bytes()).unwrap();
        // No token is longer than these, which are not there.
        assert!(!may_contain_id(&filter, id("0123456789abcdef")));
        assert!(!may_contain_id(&filter, id("user_of_something")));
        set.add_text(b"trace_id=0af7651916cd43dd8448eb211c80319c a_0af7651916cd43dd9");
        let filter = set.build();
        assert!(may_contain_id(&filter, id("0af7651916cd43dd8448eb211c80319c")));
        assert!(!may_contain_id(&filter, id("0af7651916cd43dd8448eb211c80319d")));
        // These are inside of longer tokens.
        assert!(may_contain_id(&filter, id("0af7651916cd43dd8448eb211c80319")));
        assert!(may_contain_id(&filter, id("0af7651916cd43dd9")));
        assert!(may_contain_id(&filter, id("a_0af7651916cd43d")));
        assert!(
            needle_id(b"0af7651916cd43d").is_none() && needle_id(b"0123456789012345").is_none()
        );
        let value = |text: &str| may_have_value(&filter, &value_tokens(text.as_bytes()));
        assert!(value("0af7651916cd43dd8448eb211c80319c") && value("17"));
        assert!(!value("nothing-of-the-kind-1af7651916cd43dd8448eb211c80319c"));

        let misses =
            (0..10_000).filter(|i| may_contain(&filter, token_hash(format!("no{i}").as_bytes())));
        let rate = misses.count();
        assert!(rate < 400, "{rate} of 10000 false positives");
    }
}
