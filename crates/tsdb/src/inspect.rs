//! The store as the operator sees it: its parts, and what its memory is used for.

use crate::head::{LOOSE_BYTES, TailRow};
use crate::shard::Shared;
use crate::store::Store;

/// Bytes of memory by what they are for. They are what the allocator was asked for: it rounds up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Active series by number and by labels.
    pub series: u64,
    /// Which label pairs each has.
    pub labels: u64,
    /// Texts of the pairs, each once.
    pub pairs: u64,
    /// Which active series have a pair.
    pub postings: u64,
    /// What the writers expect next of each source, and its last values.
    pub writers: u64,
    /// The last scrapes, as rows.
    pub rows: u64,
    /// Scrapes before them, packed.
    pub frames: u64,
    /// Samples that came out of order, and histograms.
    pub others: u64,
    /// Decoded indexes of parts.
    pub indexes: u64,
}

impl Memory {
    /// All of them with their names.
    pub fn by_use(&self) -> [(&'static str, u64); 9] {
        [
            ("series", self.series),
            ("labels", self.labels),
            ("pairs", self.pairs),
            ("postings", self.postings),
            ("writers", self.writers),
            ("rows", self.rows),
            ("frames", self.frames),
            ("others", self.others),
            ("indexes", self.indexes),
        ]
    }

    fn add(&mut self, shared: &Shared) {
        let head = shared.head.read();
        let registry = head.registry.memory_bytes();
        self.series += registry.series as u64;
        self.labels += registry.labels as u64;
        self.pairs += registry.pairs as u64;
        self.postings += registry.postings as u64;
        self.writers += shared.writer_bytes();
        for samples in &head.targets {
            self.rows += samples.tail.iter().map(TailRow::memory_bytes).sum::<usize>() as u64;
            let frames = samples.frames.iter().map(|frame| frame.memory_bytes());
            self.frames += frames.sum::<usize>() as u64;
        }
        let loose = head.loose.values().map(|samples| samples.capacity() * LOOSE_BYTES + 64);
        let histograms = head.histograms.values().map(|h| h.memory_bytes());
        self.others += loose.chain(histograms).sum::<usize>() as u64;
        let parts = head.parts.clone();
        drop(head);
        self.indexes += parts.iter().map(|part| part.index_memory_bytes() as u64).sum::<u64>();
    }
}

/// One immutable part.
#[derive(Debug, Clone)]
pub struct PartFigures {
    /// File name, unique in its shard; with the shard's number in front when there are several.
    pub name: String,
    /// Earliest sample, Unix milliseconds.
    pub first_ms: i64,
    /// Latest sample, Unix milliseconds.
    pub last_ms: i64,
    /// Samples in it.
    pub samples: u64,
    /// Series in it, each with one column.
    pub series: u64,
    /// Bytes of its index on disk.
    pub index_bytes: u64,
    /// How often its samples were merged.
    pub level: u8,
}

impl Store {
    /// What its memory is used for at this moment. Cost: a look at every label pair, some milliseconds for a million.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        self.shards().for_each(|shared| memory.add(shared));
        memory
    }

    /// All parts, oldest first.
    pub fn part_list(&self) -> Vec<PartFigures> {
        let several = self.shards().len() > 1;
        let mut all: Vec<PartFigures> = Vec::new();
        for (number, shared) in self.shards().enumerate() {
            let parts = shared.head.read().parts.clone();
            all.extend(parts.iter().map(|part| {
                let meta = part.meta();
                let name = part.name();
                PartFigures {
                    name: if several { format!("{number}-{name}") } else { name.to_owned() },
                    first_ms: meta.first_ms,
                    last_ms: meta.last_ms,
                    samples: meta.samples,
                    series: meta.series,
                    index_bytes: meta.index_bytes(),
                    level: meta.level,
                }
            }));
        }
        all.sort_by(|a, b| (a.first_ms, &a.name).cmp(&(b.first_ms, &b.name)));
        all
    }
}
