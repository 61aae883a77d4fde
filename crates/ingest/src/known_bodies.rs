//! Whole pushed texts that came before: their [`Shape`]s with the finished labels of their series.
//!
//! Owns: the memory that makes a push which differs from an earlier one in its numbers only cost the reading of those. Its
//! place is found by what stands before the first number, the rest is compared. It is bounded in bytes, forgets what did
//! not come for a while, and is emptied when it is full; a shape is kept from the second time on that it comes, so that
//! senders who cut their series elsewhere each time fill nothing.
//!
//! Does not own: recognising single series ([`known`](crate::known)), which texts are worth keeping
//! ([`pushed_text`](crate::pushed_text)), locks.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use memchr::{memchr, memrchr};
use model::{Labels, MetricMetadata};
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::exposition::{Format, Shape};
use crate::known::FORGET_MS;

/// What a text takes beside its lists, in bytes.
const BODY_BYTES: usize = 256;
/// Texts that came once and are remembered by a hash alone.
const CANDIDATES_MAX: usize = 1 << 14;

/// One text.
#[derive(Debug)]
pub(crate) struct Body {
    shape: Shape,
    /// Labels of its series, in its order.
    pub(crate) series: Arc<[Labels]>,
    /// Type, help and unit of its metrics.
    pub(crate) metadata: Arc<[MetricMetadata]>,
    format: Format,
    added: Labels,
    /// Round in which it came last.
    seen: AtomicU32,
}

impl Body {
    /// A text of this shape, read in `format` with `added` to the labels of its series.
    pub(crate) fn new(
        shape: Shape,
        series: Arc<[Labels]>,
        metadata: Arc<[MetricMetadata]>,
        (format, added): (Format, &Labels),
    ) -> Self {
        let (added, seen) = (added.clone(), AtomicU32::new(0));
        Self { shape, series, metadata, format, added, seen }
    }

    fn bytes(&self) -> usize {
        let labels: usize = self.series.iter().map(Labels::packed_len).sum();
        let texts = |m: &MetricMetadata| m.name.len() + m.help.len() + m.unit.len();
        let metadata: usize = self.metadata.iter().map(texts).sum();
        let lists = size_of_val(&*self.series) + size_of_val(&*self.metadata);
        BODY_BYTES + self.shape.heap_bytes() + lists + labels + metadata + self.added.packed_len()
    }
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Bodies {
    by_start: FxHashMap<u64, Body>,
    /// Hashes of the shapes that came once, by start.
    candidates: FxHashMap<u64, u64>,
    bytes: usize,
    bytes_max: usize,
    round: u32,
    round_began_ms: i64,
}

impl Bodies {
    /// Never takes more than `bytes_max`, labels included.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            by_start: FxHashMap::default(),
            candidates: FxHashMap::default(),
            bytes: 0,
            bytes_max,
            round: 0,
            round_began_ms: i64::MIN,
        }
    }

    /// Bytes it takes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        assert_eq!(self.bytes, self.by_start.values().map(Body::bytes).sum::<usize>());
        self.bytes
    }

    /// Whether it can keep anything.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes_max > BODY_BYTES
    }

    /// The text's values and what is known of it, if one of its shape is.
    pub(crate) fn read(
        &self,
        text: &[u8],
        format: Format,
        added: &Labels,
    ) -> Option<(&Body, Vec<f64>)> {
        let body = self.by_start.get(&start(text, format, added))?;
        if body.format != format || body.added != *added {
            return None;
        }
        let values = body.shape.read(text)?;
        if body.seen.load(Ordering::Relaxed) != self.round {
            body.seen.store(self.round, Ordering::Relaxed);
        }
        Some((body, values))
    }

    /// Takes in a text that was not known; `now_ms` is the present, Unix milliseconds.
    pub(crate) fn learn(&mut self, text_start: u64, body: Body, now_ms: i64) {
        if now_ms.saturating_sub(self.round_began_ms) >= FORGET_MS {
            self.forget_unseen();
            self.round_began_ms = now_ms;
        }
        let hash = body.shape.hash();
        if self.candidates.remove(&text_start) != Some(hash) {
            if self.candidates.len() >= CANDIDATES_MAX {
                self.candidates.clear();
            }
            self.candidates.insert(text_start, hash);
            return;
        }
        let bytes = body.bytes();
        if bytes > self.bytes_max {
            return;
        }
        if let Some(old) = self.by_start.remove(&text_start) {
            self.bytes -= old.bytes();
        }
        if self.bytes + bytes > self.bytes_max {
            self.by_start.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        body.seen.store(self.round, Ordering::Relaxed);
        self.by_start.insert(text_start, body);
    }

    /// Ends a round: keeps what came in it.
    fn forget_unseen(&mut self) {
        let round = self.round;
        self.round += 1;
        self.candidates.clear();
        self.by_start.retain(|_, body| body.seen.load(Ordering::Relaxed) >= round);
        self.bytes = self.by_start.values().map(Body::bytes).sum();
    }
}

/// A hash of what two texts of one shape have in common at once: their first line up to its last word, and how they are
/// read.
pub(crate) fn start(text: &[u8], format: Format, added: &Labels) -> u64 {
    let line = &text[..memchr(b'\n', text).unwrap_or(text.len())];
    let words = &line[..memrchr(b' ', line).unwrap_or(line.len())];
    FxBuildHasher.hash_one((words, format == Format::OpenMetrics, added))
}
