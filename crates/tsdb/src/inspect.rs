//! The store's parts as the operator sees them.

use crate::store::Store;

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
    /// How often its samples were merged.
    pub level: u8,
}

impl Store {
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
                    level: meta.level,
                }
            }));
        }
        all.sort_by(|a, b| (a.first_ms, &a.name).cmp(&(b.first_ms, &b.name)));
        all
    }
}
