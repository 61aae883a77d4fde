//! Which traces a part has: a filter in memory that is hardly ever wrong, and sorted fingerprints in pages, of which
//! memory has the first ones.
//!
//! Does not own: where the bytes lie (`part`). Drawn in `docs/format/traces.md`.

use model::Result;
use storage::codec::{Reader, ints};

use crate::column::{take_codes, take_ints};

/// Bits of a fingerprint.
const FINGERPRINT_BITS: u32 = 40;
/// Entries of a page.
pub(crate) const PAGE_ENTRIES: usize = 4096;
/// Bits of the filter per trace.
const BITS_PER_TRACE: usize = 10;
/// Words of a filter's block: all bits of a trace are in one.
const WORDS: usize = 8;
/// Odd numbers, one per word.
const SALTS: [u32; WORDS] = [
    0xe58e_1b1d,
    0x6032_35a1,
    0x4e26_ea8f,
    0x6762_b34f,
    0x5b1b_90b5,
    0x8661_abe1,
    0x1e75_3a93,
    0x6861_072d,
];

/// 64 bits that are spread evenly however trace ids are made.
pub(crate) fn hash(trace_id: u128) -> u64 {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    mix((trace_id >> 64) as u64 ^ mix((trace_id as u64).wrapping_add(0x9E37_79B9_7F4A_7C15)))
}

/// What pages are sorted by.
pub(crate) fn fingerprint(hash: u64) -> u64 {
    hash >> (u64::BITS - FINGERPRINT_BITS)
}

/// Says of most traces that are not there that they are not.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    words: Vec<u32>,
}

impl Filter {
    /// A filter of these traces.
    pub(crate) fn of(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        let blocks = (hashes.len() * BITS_PER_TRACE).div_ceil(32 * WORDS).max(1);
        let mut filter = Self { words: vec![0; blocks * WORDS] };
        for hash in hashes {
            let start = filter.block_of(hash);
            let words = &mut filter.words[start..start + WORDS];
            words.iter_mut().zip(bits(hash)).for_each(|(word, bit)| *word |= bit);
        }
        filter
    }

    fn block_of(&self, hash: u64) -> usize {
        let blocks = (self.words.len() / WORDS) as u64;
        (((hash >> 32) * blocks) >> 32) as usize * WORDS
    }

    /// Whether it may be there.
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        let start = self.block_of(hash);
        // A filter without words is of a part without traces.
        let Some(words) = self.words.get(start..start + WORDS) else { return false };
        words.iter().zip(bits(hash)).all(|(word, bit)| word & bit != 0)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    /// Reads a filter; bytes that do not fill a block are left out.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let whole = bytes.len() / (4 * WORDS) * (4 * WORDS);
        let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        Self { words: bytes[..whole].chunks_exact(4).map(word).collect() }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.words.len() * 4
    }
}

fn bits(hash: u64) -> impl Iterator<Item = u32> {
    SALTS.iter().map(move |salt| 1 << ((hash as u32).wrapping_mul(*salt) >> 27))
}

/// Appends entries, ascending by fingerprint: fingerprints, then blocks.
pub(crate) fn encode_page(entries: &[(u64, u32)], out: &mut Vec<u8>) {
    ints::encode(&entries.iter().map(|(f, _)| f.cast_signed()).collect::<Vec<_>>(), out);
    ints::encode(&entries.iter().map(|(_, block)| i64::from(*block)).collect::<Vec<_>>(), out);
}

/// Calls `found` with the blocks of `fingerprint` in a page of `count` entries.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt), also when a block is not below `blocks`.
pub(crate) fn find_in_page(
    bytes: &[u8],
    count: usize,
    blocks: usize,
    fingerprint: u64,
    mut found: impl FnMut(usize),
) -> Result<()> {
    let mut reader = Reader::new(bytes);
    let fingerprints = take_ints(&mut reader, count)?;
    let wanted = fingerprint.cast_signed();
    // Ascending, so that pages of a trace that is not there are not read further.
    let start = fingerprints.partition_point(|known| *known < wanted);
    let end = fingerprints.partition_point(|known| *known <= wanted);
    if start < end {
        let numbers = take_codes(&mut reader, count, blocks)?;
        numbers[start..end].iter().for_each(|block| found(*block as usize));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_know_their_traces_and_few_others() {
        let own: Vec<u64> = (0..10_000_u128).map(|i| hash(i << 64 | 7)).collect();
        let filter = Filter::of(own.iter().copied());
        let mut bytes = Vec::new();
        filter.encode(&mut bytes);
        let filter = Filter::decode(&bytes);
        assert!(own.iter().all(|h| filter.may_have(*h)));
        let wrong = (0..10_000_u128).filter(|i| filter.may_have(hash(i << 64 | 8))).count();
        assert!((1..300).contains(&wrong), "{wrong} of 10000");
    }
}
