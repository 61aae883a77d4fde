//! General compression of byte strings, with the plain length in front and a bound on what comes out.
//!
//! ```text
//! blob = plain length varint, compressed bytes to the end of the slice
//! ```

use std::cell::RefCell;

use model::{Error, Result};
use zstd::bulk::Decompressor;

use super::{Reader, put_count};

thread_local! {
    /// What a thread decodes frames with: making it anew costs as much as a small frame.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Plain bytes that one byte of a zstd frame can stand for.
const ZSTD_RATIO_MAX: usize = (128 << 10) / 4;

/// Appends `plain` as an lz4 block.
pub fn compress_lz4(plain: &[u8], out: &mut Vec<u8>) {
    put_count(out, plain.len());
    let start = out.len();
    out.resize(start + lz4_flex::block::get_maximum_output_size(plain.len()), 0);
    match lz4_flex::block::compress_into(plain, &mut out[start..]) {
        Ok(len) => out.truncate(start + len),
        Err(e) => unreachable!("BUG: lz4 needs more room than it says: {e}"),
    }
}

/// Plain bytes of a blob written by [`compress_lz4`].
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) when it does not decode or would have over `plain_bytes_max` bytes.
pub fn decompress_lz4(blob: &[u8], plain_bytes_max: usize) -> Result<Vec<u8>> {
    let (plain_len, packed) = split(blob, plain_bytes_max)?;
    // An lz4 sequence of n bytes yields at most 255 n bytes.
    if plain_len > packed.len().saturating_mul(255) {
        return Err(Error::corrupt(format!("lz4 block cannot have {plain_len} plain bytes")));
    }
    let plain = lz4_flex::block::decompress(packed, plain_len)
        .map_err(|e| Error::corrupt("cannot decode lz4 block").with_source(e))?;
    check_len(plain, plain_len)
}

/// Appends `plain` as a zstd frame of `level` (1 to 19).
///
/// # Errors
/// [`Bug`](model::ErrorKind::Bug) when the library refuses.
pub fn compress_zstd(plain: &[u8], level: i32, out: &mut Vec<u8>) -> Result<()> {
    let packed = zstd::bulk::compress(plain, level).map_err(|e| {
        Error::new(model::ErrorKind::Bug, "cannot compress with zstd").with_source(e)
    })?;
    put_count(out, plain.len());
    out.extend_from_slice(&packed);
    Ok(())
}

/// Plain bytes of a blob written by [`compress_zstd`].
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) when it does not decode or would have over `plain_bytes_max` bytes.
pub fn decompress_zstd(blob: &[u8], plain_bytes_max: usize) -> Result<Vec<u8>> {
    let (plain_len, packed) = split(blob, plain_bytes_max)?;
    // A zstd block of at least 4 bytes yields at most 128 KiB; the buffer is allocated before anything is decoded.
    if plain_len > packed.len().saturating_mul(ZSTD_RATIO_MAX) {
        return Err(Error::corrupt(format!("zstd frame cannot have {plain_len} plain bytes")));
    }
    let plain = DECOMPRESSOR
        .with_borrow_mut(|known| match known {
            Some(decompressor) => decompressor.decompress(packed, plain_len),
            None => known.insert(Decompressor::new()?).decompress(packed, plain_len),
        })
        .map_err(|e| Error::corrupt("cannot decode zstd frame").with_source(e))?;
    check_len(plain, plain_len)
}

fn split(blob: &[u8], plain_bytes_max: usize) -> Result<(usize, &[u8])> {
    let mut r = Reader::new(blob);
    let plain_len = r.count(plain_bytes_max)?;
    Ok((plain_len, r.take(r.remaining())?))
}

fn check_len(plain: Vec<u8>, expected: usize) -> Result<Vec<u8>> {
    if plain.len() != expected {
        return Err(Error::corrupt(format!(
            "decompressed {} bytes, {expected} were declared",
            plain.len()
        )));
    }
    Ok(plain)
}
