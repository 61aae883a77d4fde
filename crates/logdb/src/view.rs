//! What readers see: live parts, sealed parts in memory and the head's chunks, always as one consistent set.
//!
//! The writer thread changes it under a short lock; a reader clones the lists of references and goes on without one. So
//! a flush moves rows from memory to a file without a moment in which they are in neither or in both.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use model::{Labels, LogDeletion, LogPlan, PATTERN_LABEL};
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::head::Chunk;
use crate::hot::HotBlocks;
use crate::part::Part;
use crate::patterns::known::Known;

/// Rows of the store at one moment, oldest arrivals first.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Parts in files, ascending by order.
    pub(crate) parts: Vec<Arc<Part>>,
    /// Parts sealed in memory, in the order sealed.
    pub(crate) sealed: Vec<Arc<Part>>,
    /// Rows not sealed yet.
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// Rows that are not to be seen any more, oldest first.
    pub(crate) deletions: Arc<[LogDeletion]>,
    /// Blocks read lately.
    pub(crate) hot: Arc<HotBlocks>,
    /// What patterns are called.
    pub(crate) known: Arc<Known>,
}

impl View {
    /// All parts, files first: rows of equal time keep this order.
    pub(crate) fn all_parts(&self) -> impl Iterator<Item = &Arc<Part>> {
        self.parts.iter().chain(&self.sealed)
    }

    /// Lets what patterns are called be known of rows not sealed yet, too, before a plan that names patterns is followed:
    /// within it each has one name.
    pub(crate) fn learn_patterns(&self, plan: &LogPlan, by: &[String]) {
        let is_pattern = |name: &str| name == PATTERN_LABEL;
        let names = plan.patterns
            || plan.label_filters.iter().any(|m| is_pattern(m.name()))
            || by.iter().any(|name| is_pattern(name));
        if names {
            let chunks = self.chunks.iter().filter(|c| plan.range.overlaps(c.min_ns, c.max_ns));
            chunks.for_each(|chunk| chunk.teach(&self.known));
        }
    }

    /// Bytes of memory the rows not sealed yet take.
    pub(crate) fn chunk_bytes(&self) -> usize {
        self.chunks.iter().map(|c| c.memory_bytes()).sum()
    }

    /// Bytes of memory the rows outside of files take.
    pub(crate) fn head_bytes(&self) -> u64 {
        self.chunk_bytes() as u64 + self.sealed.iter().map(|p| p.bytes).sum::<u64>()
    }

    /// All streams with rows.
    pub(crate) fn streams(&self) -> FxHashSet<Labels> {
        let in_parts = self.all_parts().flat_map(|p| &p.streams);
        in_parts.chain(self.chunks.iter().flat_map(|c| c.rows.streams())).cloned().collect()
    }
}

/// How far a source has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) bytes: Vec<u8>,
    /// Unix milliseconds of the last batch that set it.
    pub(crate) updated_ms: i64,
}

/// State shared between the writer thread and everybody else.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) view: RwLock<View>,
    pub(crate) cursors: Mutex<FxHashMap<String, Cursor>>,
    /// Parts set aside when opening.
    pub(crate) quarantined_parts: AtomicU64,
    pub(crate) truncated_lines: AtomicU64,
    pub(crate) repeated_rows: AtomicU64,
    pub(crate) wal_bytes: AtomicU64,
    pub(crate) stream_count: AtomicU64,
}

impl Shared {
    pub(crate) fn snapshot(&self) -> View {
        self.view.read().clone()
    }
}
