//! The side file of a shard: what is not samples. Written anew by flushes that have something to say, and live together
//! with the parts of that flush.
//!
//! Owns: the file. Does not own: what is in its blocks ([`exemplars`], [`metadata`]).
//!
//! ```text
//! file = blocks of exemplars (kind 1) and of metadata (kind 2), zstd blobs, meta
//! meta = version u8, references of the two blocks
//! ```

use std::path::Path;
use std::sync::Arc;

use model::{Error, MetricMetadata, Result};
use storage::codec::{Reader, blob};
use storage::fs::Fs;
use storage::part::{BlockRef, PartReader, PartWriter};

use crate::exemplars::{self, Stored};
use crate::metadata;

/// What its name ends in.
pub(crate) const SUFFIX: &str = ".side";

const VERSION: u8 = 1;
const EXEMPLARS: u8 = 1;
const METADATA: u8 = 2;
const ZSTD_LEVEL: i32 = 3;
/// Plain bytes of one block at most.
const BLOCK_BYTES_MAX: usize = 1 << 28;

/// File name of the side file written by the flush with sequence number `seq`.
pub(crate) fn file_name(seq: u64) -> String {
    format!("{seq:010}{SUFFIX}")
}

/// The sequence number in the name of a side file.
pub(crate) fn seq_of(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// Writes the file at `path`, durably.
///
/// # Errors
/// As [`PartWriter::create`] and [`PartWriter::finish`].
pub(crate) fn write(
    fs: Arc<dyn Fs>,
    path: &Path,
    exemplars: &[Stored],
    metadata: &[MetricMetadata],
) -> Result<()> {
    let mut writer = PartWriter::create(fs, path)?;
    let mut meta = vec![VERSION];
    let mut plain = [Vec::new(), Vec::new()];
    exemplars::encode(exemplars, &mut plain[0]);
    metadata::encode(metadata.iter(), &mut plain[1]);
    for (kind, plain) in [EXEMPLARS, METADATA].into_iter().zip(plain) {
        let mut packed = Vec::new();
        blob::compress_zstd(&plain, ZSTD_LEVEL, &mut packed)?;
        writer.block(kind, &packed)?.encode(&mut meta);
    }
    writer.finish(&meta)?;
    Ok(())
}

/// Reads the file at `path`.
///
/// # Errors
/// As [`PartReader::open`]; [`Corrupt`](model::ErrorKind::Corrupt) on impossible contents, and
/// [`Invalid`](model::ErrorKind::Invalid) for a newer version.
pub(crate) fn read(fs: &dyn Fs, path: &Path) -> Result<(Vec<Stored>, Vec<MetricMetadata>)> {
    let reader = PartReader::open(fs, path)?;
    let mut r = Reader::new(reader.meta());
    let version = r.u8()?;
    if version != VERSION {
        return Err(Error::invalid(format!(
            "side file has version {version}; this program reads version {VERSION}"
        )));
    }
    let mut rest = r.take(r.remaining())?;
    let mut block = |kind| {
        let place = BlockRef::decode(&mut rest)
            .ok_or_else(|| Error::corrupt("side file has no block reference"))?;
        blob::decompress_zstd(&reader.block(place, kind)?, BLOCK_BYTES_MAX)
    };
    Ok((exemplars::decode(&block(EXEMPLARS)?)?, metadata::decode(&block(METADATA)?)?))
}
