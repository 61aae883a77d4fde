//! Blocks as far as they were read, and those kept in memory because they may be read again soon.
//!
//! What is kept stays within a bound. Once that is reached, only every eighth newcomer is admitted, so that a scan of
//! everything does not drive out what others look at again and again; of a few entries drawn, the one longest unused goes.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use model::Result;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::column::Column;
use crate::fields::Fields;
use crate::part::{BlockMeta, Part};
use crate::patterns::coded::{self, RowPatterns};

/// Of so many newcomers one is admitted when there is no room.
const ADMITTED_OF: u64 = 8;
/// Entries drawn when one must go.
const DRAWN: usize = 4;
/// What an entry costs beside what was decoded.
const ENTRY_BYTES: u64 = 512;

/// The pieces of a block, each read when first needed.
#[derive(Debug, Default)]
pub(crate) struct OpenBlock {
    times: OnceLock<Vec<i64>>,
    lines: OnceLock<(Column, usize)>,
    fields: OnceLock<(Option<Fields>, usize)>,
    filter: OnceLock<Arc<[u8]>>,
    patterns: OnceLock<RowPatterns>,
}

impl OpenBlock {
    /// One time per row.
    pub(crate) fn times(&self, part: &Part, block: &BlockMeta) -> Result<&[i64]> {
        known_or(&self.times, || part.times(block)).map(Vec::as_slice)
    }

    /// The lines.
    pub(crate) fn lines(&self, part: &Part, block: &BlockMeta) -> Result<&Column> {
        let read = || Ok((part.lines(block)?, block.lines_len()));
        known_or(&self.lines, read).map(|(lines, _)| lines)
    }

    /// The fields; `None` when no row has any.
    pub(crate) fn fields(&self, part: &Part, block: &BlockMeta) -> Result<Option<&Fields>> {
        let read = || Ok((part.fields(block)?, block.fields_len()));
        known_or(&self.fields, read).map(|(fields, _)| fields.as_ref())
    }

    /// The token filter; empty when there is none.
    pub(crate) fn filter(&self, part: &Part, block: &BlockMeta) -> Result<&[u8]> {
        known_or(&self.filter, || part.filter(block)).map(|filter| &**filter)
    }

    /// Which pattern each row has.
    pub(crate) fn patterns(&self, part: &Part, block: &BlockMeta) -> Result<&RowPatterns> {
        known_or(&self.patterns, || {
            // Lines that nobody else asked for are not kept for it.
            let opened = OnceLock::new();
            let lines = || match self.lines.get() {
                Some((lines, _)) => Ok(lines),
                None => known_or(&opened, || part.lines(block)),
            };
            let stored = part.patterns(block)?;
            if stored.is_empty() {
                return RowPatterns::of_column(lines()?);
            }
            coded::decode(&stored, block.rows as usize, lines)
        })
    }

    fn memory_bytes(&self) -> u64 {
        let times = self.times.get().map_or(0, |t| t.capacity() * size_of::<i64>());
        let lines = self.lines.get().map_or(0, |(l, stored)| l.memory_bytes() + stored);
        let fields = self
            .fields
            .get()
            .map_or(0, |(fields, stored)| stored + fields.as_ref().map_or(0, Fields::memory_bytes));
        let filter = self.filter.get().map_or(0, |f| f.len());
        let patterns = self.patterns.get().map_or(0, RowPatterns::memory_bytes);
        (times + lines + fields + filter + patterns) as u64 + ENTRY_BYTES
    }
}

fn known_or<T>(cell: &OnceLock<T>, read: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(known) = cell.get() {
        return Ok(known);
    }
    let value = read()?;
    Ok(cell.get_or_init(|| value))
}

/// Part and, within it, block.
type Key = (u64, u64);

/// Blocks kept in memory.
#[derive(Debug, Default)]
pub(crate) struct HotBlocks {
    bytes_max: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: FxHashMap<Key, Entry>,
    /// The keys, for drawing.
    keys: Vec<Key>,
    bytes: u64,
    /// Uses so far: the clock by which the least recent one is told.
    uses: u64,
    newcomers: u64,
}

#[derive(Debug)]
struct Entry {
    block: Arc<OpenBlock>,
    bytes: u64,
    used: u64,
    /// Position in the list of keys.
    at: usize,
}

impl HotBlocks {
    /// A cache of at most `bytes_max`.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, kept: Mutex::default() }
    }

    /// `block` of `part`, with what is kept of it.
    pub(crate) fn open(&self, part: &Part, block: &BlockMeta) -> Hot<'_> {
        let key = (part.summary.id, block.key());
        let mut kept = self.kept.lock();
        kept.uses += 1;
        let uses = kept.uses;
        let (block, bytes) = match kept.entries.get_mut(&key) {
            Some(entry) => {
                entry.used = uses;
                (Arc::clone(&entry.block), entry.bytes)
            }
            None => (Arc::default(), 0),
        };
        Hot { cache: self, key, block, bytes }
    }

    /// Bytes of what is kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.kept.lock().bytes
    }

    /// Forgets the blocks of parts that `is_gone`.
    pub(crate) fn forget(&self, is_gone: impl Fn(u64) -> bool) {
        let mut kept = self.kept.lock();
        let gone: Vec<Key> = kept.keys.iter().filter(|k| is_gone(k.0)).copied().collect();
        gone.iter().for_each(|key| kept.remove(key));
    }

    fn settle(&self, key: Key, block: &Arc<OpenBlock>, bytes: u64) {
        let mut kept = self.kept.lock();
        if let Some(entry) = kept.entries.get_mut(&key) {
            let before = std::mem::replace(&mut entry.bytes, bytes);
            kept.bytes = kept.bytes - before + bytes;
        } else {
            let is_full = kept.bytes + bytes > self.bytes_max;
            kept.newcomers += 1;
            // One block must not take the place of all others.
            if bytes > self.bytes_max / 4
                || (is_full && !kept.newcomers.is_multiple_of(ADMITTED_OF))
            {
                return;
            }
            let (at, used) = (kept.keys.len(), kept.uses);
            kept.keys.push(key);
            kept.bytes += bytes;
            kept.entries.insert(key, Entry { block: Arc::clone(block), bytes, used, at });
        }
        while kept.bytes > self.bytes_max && !kept.keys.is_empty() {
            kept.evict();
        }
    }
}

impl Kept {
    fn evict(&mut self) {
        // Consecutive numbers, spread by a multiplication: which ones are drawn need not be unpredictable.
        let draw = |i: usize| {
            let spread = (self.uses + i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            self.keys[(spread % self.keys.len() as u64) as usize]
        };
        let drawn = (0..DRAWN).map(draw);
        let oldest = drawn.min_by_key(|key| self.entries.get(key).map_or(0, |e| e.used));
        self.uses += DRAWN as u64;
        if let Some(key) = oldest {
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.bytes -= entry.bytes;
        self.keys.swap_remove(entry.at);
        if let Some(moved) = self.keys.get(entry.at).copied()
            && let Some(other) = self.entries.get_mut(&moved)
        {
            other.at = entry.at;
        }
    }
}

/// A block in use. What was read of it is kept, if there is room, when it is dropped.
#[derive(Debug)]
pub(crate) struct Hot<'c> {
    cache: &'c HotBlocks,
    key: Key,
    block: Arc<OpenBlock>,
    /// Of the entry when it was opened.
    bytes: u64,
}

impl Deref for Hot<'_> {
    type Target = OpenBlock;

    fn deref(&self) -> &OpenBlock {
        &self.block
    }
}

impl Drop for Hot<'_> {
    fn drop(&mut self) {
        let bytes = self.block.memory_bytes();
        if bytes != self.bytes && self.cache.bytes_max > 0 {
            self.cache.settle(self.key, &self.block, bytes);
        }
    }
}
