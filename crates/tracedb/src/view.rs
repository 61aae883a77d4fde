//! What readers see: live parts and the head's chunks, always as one consistent set.
//!
//! The writer thread changes it under a short lock; a reader clones the lists of references and goes on without one. So
//! a flush moves spans from memory to a file without a moment in which they are in neither or in both.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::RwLock;

use crate::head::Chunk;
use crate::part::Part;

/// Spans of the store at one moment, oldest arrivals first.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Ascending by id.
    pub(crate) parts: Vec<Arc<Part>>,
    /// Spans not in files yet.
    pub(crate) chunks: Vec<Arc<Chunk>>,
}

impl View {
    /// Bytes of memory the spans outside of files take.
    pub(crate) fn head_bytes(&self) -> u64 {
        self.chunks.iter().map(|c| c.memory_bytes()).sum()
    }
}

/// State shared between the writer thread and everybody else.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) view: RwLock<View>,
    /// Parts set aside when opening.
    pub(crate) quarantined_parts: AtomicU64,
    pub(crate) repeated_spans: AtomicU64,
    pub(crate) wal_bytes: AtomicU64,
}

impl Shared {
    pub(crate) fn snapshot(&self) -> View {
        self.view.read().clone()
    }
}
