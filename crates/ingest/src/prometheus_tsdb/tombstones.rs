//! The `tombstones` file of a block: which times of which series were deleted.

use std::collections::HashMap;

use model::{Error, Result};
use rustc_hash::FxBuildHasher;

use super::bytes::{Bytes, checked};

const MAGIC: u32 = 0x0130_BA30;
const VERSION: u8 = 1;

/// Deleted times `[min_ms, max_ms]`, both inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// First, Unix milliseconds.
    pub min_ms: i64,
    /// Last, Unix milliseconds.
    pub max_ms: i64,
}

impl Interval {
    /// Whether `t_ms` is deleted.
    pub fn contains(&self, t_ms: i64) -> bool {
        self.min_ms <= t_ms && t_ms <= self.max_ms
    }
}

/// All deletions of a block.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tombstones {
    by_series: HashMap<u64, Vec<Interval>, FxBuildHasher>,
}

impl Tombstones {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when it is not one, of an unknown version or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut header = Bytes::new(bytes);
        let (magic, version) = (header.u32()?, header.u8()?);
        if magic != MAGIC {
            return Err(Error::corrupt(format!("no tombstones: the file begins with {magic:08x}")));
        }
        if version != VERSION {
            return Err(Error::corrupt(format!(
                "tombstones version {version} is unknown; known is {VERSION}"
            )));
        }
        let mut entries = Bytes::new(checked(header.rest(), "the tombstones")?);
        let mut tombstones = Self::default();
        while !entries.is_empty() {
            let reference = entries.uvarint()?;
            let interval = Interval { min_ms: entries.varint()?, max_ms: entries.varint()? };
            tombstones.add(reference, interval);
        }
        Ok(tombstones)
    }

    /// Notes that `interval` of series `reference` is deleted.
    pub fn add(&mut self, reference: u64, interval: Interval) {
        self.by_series.entry(reference).or_default().push(interval);
    }

    /// Deleted times of series `reference`, in no order.
    pub fn of(&self, reference: u64) -> &[Interval] {
        self.by_series.get(&reference).map(Vec::as_slice).unwrap_or_default()
    }
}
