//! Finding the distinct values of a column: the part of encoding that looks at every value of most columns.
//!
//! Does not own: when a dictionary is better than another encoding (`column`).

use super::DICT_MAX;

/// Slots of the table at first; it grows while it is half full.
const SLOTS_MIN: usize = 256;
const EMPTY: u16 = u16::MAX;

/// Distinct values in order of first appearance, and which one each row has.
pub(super) struct Dict<'a> {
    pub(super) values: Vec<&'a [u8]>,
    pub(super) codes: Vec<u16>,
}

impl<'a> Dict<'a> {
    /// `None` when there are too many distinct values for a dictionary to pay.
    pub(super) fn build(values: &[&'a [u8]]) -> Option<Self> {
        let mut dict = Self { values: Vec::new(), codes: Vec::with_capacity(values.len()) };
        let mut table = Table { slots: vec![EMPTY; SLOTS_MIN], hashes: Vec::new() };
        for (i, value) in values.iter().enumerate() {
            // Give up early on columns where almost every value is new.
            if i & 127 == 127 && dict.values.len() * 4 > i * 3 {
                return None;
            }
            let code = table.code(value, &mut dict.values)?;
            dict.codes.push(code);
        }
        (dict.values.len() * 3 <= values.len()).then_some(dict)
    }
}

/// Codes by value: open addressing, half full at most.
struct Table {
    slots: Vec<u16>,
    /// Of each value.
    hashes: Vec<u64>,
}

impl Table {
    /// The code of `value`, which becomes a new one if it is not known; `None` when there are too many.
    fn code<'a>(&mut self, value: &'a [u8], known: &mut Vec<&'a [u8]>) -> Option<u16> {
        let hash = hash(value);
        let mask = self.slots.len() - 1;
        let mut at = place(hash, mask);
        loop {
            let code = self.slots[at];
            if code == EMPTY {
                break;
            }
            let number = usize::from(code);
            if self.hashes[number] == hash && known[number] == value {
                return Some(code);
            }
            at = (at + 1) & mask;
        }
        if known.len() >= DICT_MAX {
            return None;
        }
        let code = known.len() as u16;
        known.push(value);
        self.hashes.push(hash);
        self.slots[at] = code;
        if known.len() * 2 > self.slots.len() {
            self.grow();
        }
        Some(code)
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 4 - 1;
        self.slots = vec![EMPTY; mask + 1];
        for (code, hash) in self.hashes.iter().enumerate() {
            let mut at = place(*hash, mask);
            while self.slots[at] != EMPTY {
                at = (at + 1) & mask;
            }
            // Fewer than `DICT_MAX`.
            self.slots[at] = code as u16;
        }
    }
}

fn place(hash: u64, mask: usize) -> usize {
    (hash >> 40) as usize & mask
}

fn hash(value: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(K).rotate_left(29);
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    let half = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
    let len = value.len();
    let mut hash = (len as u64).wrapping_mul(K);
    if len >= 8 {
        for chunk in value.chunks_exact(8) {
            hash = mix(hash, word(chunk));
        }
        // The last eight bytes, some of them for the second time.
        hash = mix(hash, word(&value[len - 8..]));
    } else if len >= 4 {
        let (first, last) = (half(&value[..4]), half(&value[len - 4..]));
        hash = mix(hash, u64::from(first) << 32 | u64::from(last));
    } else {
        let tail = value.iter().fold(0, |w, b| w << 8 | u64::from(*b));
        hash = mix(hash, tail);
    }
    hash.wrapping_mul(K)
}
