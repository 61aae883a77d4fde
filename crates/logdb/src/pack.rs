//! zstd frames with reused contexts: blocks are cut into many small frames, for which a new context each would cost more
//! than the compression.
//!
//! On disk a frame is its compressed length (varint; 0 when stored as is) and its bytes; the plain length is known from
//! outside.

use std::cell::RefCell;

use model::{Error, ErrorKind, Result};
use storage::codec::{Reader, put_count};
use zstd::bulk::{Compressor, Decompressor};

/// Below this many bytes a frame is stored as it is: the frame's own header would eat what it saves.
const PLAIN_MAX: usize = 32;

/// A compressor and its level.
pub(crate) struct Zstd {
    compressor: Compressor<'static>,
    /// Reused from frame to frame.
    packed: Vec<u8>,
}

impl Zstd {
    pub(crate) fn new(level: i32) -> Result<Self> {
        let compressor = Compressor::new(level).map_err(|e| {
            Error::new(ErrorKind::Bug, format!("cannot make a zstd context of level {level}"))
                .with_source(e)
        })?;
        Ok(Self { compressor, packed: Vec::new() })
    }

    /// Appends `plain`, compressed when that is smaller.
    pub(crate) fn put_frame(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let is_smaller = plain.len() > PLAIN_MAX && {
            self.packed.clear();
            self.packed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
            let packed = self.compressor.compress_to_buffer(plain, &mut self.packed);
            packed.is_ok_and(|len| len < plain.len())
        };
        let (len, bytes) =
            if is_smaller { (self.packed.len(), &self.packed[..]) } else { (0, plain) };
        put_count(out, len);
        out.extend_from_slice(bytes);
    }
}

thread_local! {
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Appends the frame of `plain_len` plain bytes that comes next.
pub(crate) fn take_frame(
    reader: &mut Reader<'_>,
    plain_len: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let len = reader.count(reader.remaining())?;
    if len == 0 {
        out.extend_from_slice(reader.take(plain_len)?);
        return Ok(());
    }
    let packed = reader.take(len)?;
    let plain = DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Decompressor::new().ok();
        }
        let decompressor = slot.as_mut().ok_or_else(|| {
            Error::new(ErrorKind::Bug, "cannot make a zstd context for decompression")
        })?;
        decompressor.decompress(packed, plain_len).map_err(|e| {
            Error::corrupt(format!("cannot decompress a frame of {len} bytes")).with_source(e)
        })
    })?;
    if plain.len() != plain_len {
        let got = plain.len();
        return Err(Error::corrupt(format!("frame holds {got} bytes; need {plain_len}")));
    }
    out.extend_from_slice(&plain);
    Ok(())
}
