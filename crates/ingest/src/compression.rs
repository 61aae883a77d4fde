//! Compressed bodies of requests, unpacked within a bound: snappy blocks, gzip, deflate, zstd.
//!
//! Owns: what `Content-Encoding` names mean, and the guarantee that no body costs more memory than its bound, whatever
//! its headers claim. Does not own: the formats inside.
//!
//! Bodies come one after the other and are of a size: the memory of one is used for the next on the same thread, for
//! fresh pages cost more than unpacking into them.

use std::cell::Cell;
use std::fmt;
use std::io::Read;
use std::ops::Deref;

use model::{Error, ErrorKind, Result};

/// Largest zstd window accepted, as a power of two: 8 MiB, what every level up to 19 stays within.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// What frames of snappy begin with.
const SNAPPY_FRAMES: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// Snappy: a block, or frames if it begins as they do.
    Snappy,
    /// Gzip, one or more members.
    Gzip,
    /// Deflate, in zlib's format as HTTP has it, or bare as some senders do.
    Deflate,
    /// Zstandard frames.
    Zstd,
}

impl Encoding {
    /// The one a `Content-Encoding` header names; an absent or empty one is [`Identity`](Self::Identity). `None` for
    /// unknown names and for several codings at once.
    pub fn from_header(value: &str) -> Option<Self> {
        let name = value.trim();
        Some(if name.is_empty() || name.eq_ignore_ascii_case("identity") {
            Self::Identity
        } else if ["snappy", "x-snappy-framed"].iter().any(|n| name.eq_ignore_ascii_case(n)) {
            Self::Snappy
        } else if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            Self::Gzip
        } else if name.eq_ignore_ascii_case("deflate") {
            Self::Deflate
        } else if name.eq_ignore_ascii_case("zstd") {
            Self::Zstd
        } else {
            return None;
        })
    }
}

/// Bytes that a thread keeps for the next body.
const KEPT_BYTES_MAX: usize = 2 << 20;

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An unpacked body; its memory goes to the next one of the thread.
pub struct Body<'a>(Bytes<'a>);

enum Bytes<'a> {
    /// As it was sent.
    Sent(&'a [u8]),
    /// The first bytes of a buffer.
    Unpacked(Vec<u8>, usize),
}

impl Deref for Body<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Sent(bytes) => bytes,
            Bytes::Unpacked(buffer, len) => buffer.get(..*len).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("len", &self.len()).finish()
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        if let Bytes::Unpacked(buffer, _) = &mut self.0
            && buffer.capacity() <= KEPT_BYTES_MAX
        {
            let mine = std::mem::take(buffer);
            let kept = KEPT.take();
            KEPT.set(if kept.capacity() > mine.capacity() { kept } else { mine });
        }
    }
}

/// The unpacked body. Never allocates more than `bytes_max` and a window of 8 MiB.
///
/// # Errors
/// [`Limit`](ErrorKind::Limit) naming the bound when the body unpacks to more, [`Invalid`](ErrorKind::Invalid) when it is
/// not in the encoding.
pub fn unpack(encoding: Encoding, body: &[u8], bytes_max: usize) -> Result<Body<'_>> {
    match encoding {
        Encoding::Identity if body.len() > bytes_max => {
            Err(too_large(format_args!("{} bytes", body.len()), bytes_max))
        }
        Encoding::Identity => Ok(Body(Bytes::Sent(body))),
        // Senders say the same name for both.
        Encoding::Snappy if body.starts_with(SNAPPY_FRAMES) => {
            drain(snap::read::FrameDecoder::new(body), "framed snappy", bytes_max)
        }
        Encoding::Snappy => snappy(body, bytes_max),
        Encoding::Gzip => drain(flate2::read::MultiGzDecoder::new(body), "gzip", bytes_max),
        // A zlib header names deflate in its lower four bits, and is a multiple of 31.
        Encoding::Deflate => match body.first_chunk::<2>() {
            Some(head) if head[0] & 15 == 8 && u16::from_be_bytes(*head) % 31 == 0 => {
                drain(flate2::read::ZlibDecoder::new(body), "deflate", bytes_max)
            }
            _ => drain(flate2::read::DeflateDecoder::new(body), "deflate", bytes_max),
        },
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body)
                .map_err(|e| Error::io("start zstd decoder", e))?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(|e| Error::io("bound zstd window", e))?;
            drain(decoder, "zstd", bytes_max)
        }
    }
}

/// A snappy block of `plain`, which must be far below the 4 GiB of the format.
pub fn pack_snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).expect("BUG: a request is far below 4 GiB")
}

fn snappy(body: &[u8], bytes_max: usize) -> Result<Body<'static>> {
    let invalid = |e: snap::Error| Error::invalid(format!("body is not a snappy block: {e}"));
    // The header claims the length; it is foreign, so it is checked before anything is allocated.
    let claimed = snap::raw::decompress_len(body).map_err(invalid)?;
    if claimed > bytes_max {
        return Err(too_large(format_args!("{claimed} bytes"), bytes_max));
    }
    // An element of three bytes yields at most 64: a longer claim is a lie, and must not cost memory either.
    if claimed / 32 > body.len() {
        return Err(Error::invalid(format!(
            "body is not a snappy block: {} bytes cannot hold the {claimed} its header claims",
            body.len()
        )));
    }
    let mut buffer = KEPT.take();
    // What is in it is written over; only what is new has to be cleared.
    if buffer.len() < claimed {
        buffer.resize(claimed, 0);
    }
    let mut unpacked = Body(Bytes::Unpacked(buffer, 0));
    if let Bytes::Unpacked(buffer, len) = &mut unpacked.0 {
        let room = buffer.get_mut(..claimed).unwrap_or_default();
        *len = snap::raw::Decoder::new().decompress(body, room).map_err(invalid)?;
    }
    Ok(unpacked)
}

fn drain(decoder: impl Read, name: &str, bytes_max: usize) -> Result<Body<'static>> {
    let mut unpacked = KEPT.take();
    unpacked.clear();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .take(bound)
        .read_to_end(&mut unpacked)
        .map_err(|e| Error::invalid(format!("body is not {name}: {e}")))?;
    if unpacked.len() > bytes_max {
        return Err(too_large(format_args!("more than {bytes_max} bytes"), bytes_max));
    }
    let len = unpacked.len();
    Ok(Body(Bytes::Unpacked(unpacked, len)))
}

fn too_large(cost: std::fmt::Arguments<'_>, bytes_max: usize) -> Error {
    Error::new(ErrorKind::Limit, format!("body unpacks to {cost}; the limit is {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn pack(encoding: Encoding, plain: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => plain.to_vec(),
            Encoding::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
            Encoding::Gzip => {
                let mut packer =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packer.write_all(plain).unwrap();
                packer.finish().unwrap()
            }
            Encoding::Deflate => {
                let level = flate2::Compression::fast();
                let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), level);
                packer.write_all(plain).unwrap();
                packer.finish().unwrap()
            }
            Encoding::Zstd => zstd::bulk::compress(plain, 1).unwrap(),
        }
    }

    const ALL: [Encoding; 5] =
        [Encoding::Identity, Encoding::Snappy, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd];

    #[test]
    fn deflate_needs_no_header() {
        let level = flate2::Compression::fast();
        let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), level);
        packer.write_all(b"bare bare bare").unwrap();
        let packed = packer.finish().unwrap();
        assert_eq!(&*unpack(Encoding::Deflate, &packed, 100).unwrap(), b"bare bare bare");
    }

    #[test]
    fn frames_of_snappy_are_told_from_blocks() {
        let plain = vec![7; 1 << 20];
        let mut packer = snap::write::FrameEncoder::new(Vec::new());
        packer.write_all(&plain).unwrap();
        let packed = packer.into_inner().unwrap();
        let encoding = Encoding::from_header("x-snappy-framed").unwrap();
        assert_eq!(*unpack(encoding, &packed, plain.len()).unwrap(), plain);
        assert_eq!(*unpack(Encoding::Snappy, &packed, plain.len()).unwrap(), plain);
        let error = unpack(encoding, &packed, plain.len() - 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
    }

    #[test]
    fn bodies_come_back_and_bombs_do_not() {
        let plain = vec![7; 1 << 20];
        for encoding in ALL {
            let packed = pack(encoding, &plain);
            assert_eq!(*unpack(encoding, &packed, plain.len()).unwrap(), plain, "{encoding:?}");
            let error = unpack(encoding, &packed, plain.len() - 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit, "{encoding:?}: {error}");
            assert!(error.message().contains("the limit is 1048575 bytes"), "{error}");
        }
    }

    #[test]
    fn bodies_do_not_see_each_other() {
        let (long, short) = (vec![1; 5_000], vec![2; 70]);
        for encoding in ALL {
            for plain in [&long, &short, &long] {
                let outer = pack(Encoding::Gzip, &pack(encoding, plain));
                let packed = unpack(Encoding::Gzip, &outer, 10_000).unwrap();
                assert_eq!(*unpack(encoding, &packed, 10_000).unwrap(), *plain, "{encoding:?}");
            }
        }
    }

    #[test]
    fn a_lying_snappy_header_costs_nothing() {
        // Claims 4 GiB - 1, holds nothing.
        let error =
            unpack(Encoding::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f], usize::MAX).unwrap_err();
        assert!(error.message().contains("cannot hold"), "{error}");
        assert!(unpack(Encoding::Snappy, b"", 10).is_err());
    }

    #[test]
    fn names_of_encodings() {
        assert_eq!(Encoding::from_header(""), Some(Encoding::Identity));
        assert_eq!(Encoding::from_header("GZip"), Some(Encoding::Gzip));
        assert_eq!(Encoding::from_header("deflate"), Some(Encoding::Deflate));
        assert_eq!(Encoding::from_header("snappy, gzip"), None);
        assert_eq!(Encoding::from_header("br"), None);
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            for encoding in ALL {
                if let Ok(plain) = unpack(encoding, &noise, 1000) {
                    prop_assert!(plain.len() <= 1000);
                }
            }
        }
    }
}
