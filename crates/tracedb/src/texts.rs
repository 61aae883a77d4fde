//! Byte strings, each once and known by a number: names, keys and values of many spans.
//!
//! Does not own: how they are stored (`text_column`, `record`), nor what they mean.

use std::fmt;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Number of a text among its [`Texts`].
pub(crate) type Text = u32;

/// Number of the empty text.
pub(crate) const EMPTY: Text = 0;

/// Texts by number; below 4 GiB together, which its users see to.
#[derive(Clone)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    table: HashTable<u32>,
    hasher: RandomState,
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Default for Texts {
    fn default() -> Self {
        let hasher = RandomState::default();
        let mut texts =
            Self { bytes: Vec::new(), ends: Vec::new(), table: HashTable::new(), hasher };
        texts.intern(b"");
        texts
    }
}

impl Texts {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of `text`, which is one of these.
    pub(crate) fn get(&self, text: Text) -> &[u8] {
        get(&self.bytes, &self.ends, text)
    }

    /// The number of `bytes`, a new one if need be.
    pub(crate) fn intern(&mut self, bytes: &[u8]) -> Text {
        let hash = self.hasher.hash_one(bytes);
        let Self { bytes: all, ends, table, hasher } = self;
        if let Some(text) = table.find(hash, |text| get(all, ends, *text) == bytes) {
            return *text;
        }
        let text = ends.len() as u32;
        all.extend_from_slice(bytes);
        ends.push(all.len() as u32);
        table.insert_unique(hash, text, |text| hasher.hash_one(get(all, ends, *text)));
        text
    }

    /// The number of `bytes`, if they are among these.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<Text> {
        self.table.find(self.hasher.hash_one(bytes), |text| self.get(*text) == bytes).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len() as u32).map(|text| self.get(text))
    }

    /// Bytes of all texts.
    pub(crate) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 4 + self.table.capacity() * 6
    }
}

fn get<'t>(bytes: &'t [u8], ends: &[u32], text: Text) -> &'t [u8] {
    let index = text as usize;
    let start = if index == 0 { 0 } else { ends[index - 1] as usize };
    &bytes[start..ends[index] as usize]
}
