//! `meta.json` of a block: its times and what it holds.

use model::{Error, Result};
use serde::Deserialize;

/// What a block says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockMeta {
    /// Unique name, also of its directory.
    pub ulid: String,
    /// First moment inside, Unix milliseconds.
    pub min_time: i64,
    /// First moment after, Unix milliseconds.
    pub max_time: i64,
    /// Counts.
    #[serde(default)]
    pub stats: BlockStats,
    /// Version of the file.
    pub version: u32,
}

/// What a block holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStats {
    /// Samples, floats and histograms.
    pub num_samples: u64,
    /// Series.
    pub num_series: u64,
    /// Chunks.
    pub num_chunks: u64,
}

impl BlockMeta {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when it is not one, or of an unknown version.
    pub fn decode(json: &[u8]) -> Result<Self> {
        let meta: Self =
            serde_json::from_slice(json).map_err(|e| Error::corrupt(format!("no block: {e}")))?;
        if meta.version != 1 {
            return Err(Error::corrupt(format!(
                "block version {} is unknown; known is 1",
                meta.version
            )));
        }
        Ok(meta)
    }
}
