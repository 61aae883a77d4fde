//! Chunks: where they are in a segment file, their checksum, and float samples (Gorilla's XOR encoding).

use model::{Error, Histogram, Result};

use super::bits::{Bits, XorFloat};
use super::bytes::{Bytes, checked};
use super::histogram;

/// Bytes of a chunk's data at most; Prometheus cuts at about 1 KiB unless a single histogram is larger.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Bytes before the first chunk of a segment file.
pub const SEGMENT_HEADER_BYTES: usize = 8;

const SEGMENT_MAGIC: u32 = 0x85BD_40DD;
const SEGMENT_VERSION: u8 = 1;
/// Longest length in front of a chunk, and encoding and checksum behind it.
const FRAME_BYTES: usize = 5 + 1 + 4;

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkRef(pub u64);

impl ChunkRef {
    /// Which of the files in `chunks/`, from 0 (which is named `000001`).
    pub fn segment_index(self) -> u32 {
        u32::try_from(self.0 >> 32).expect("BUG: 32 bits are left")
    }

    /// Where in that file.
    pub fn offset(self) -> u64 {
        self.0 & 0xffff_ffff
    }
}

/// What a chunk holds, ascending by time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// Unix milliseconds and values; values may be the staleness marker.
    pub floats: Vec<(i64, f64)>,
    /// Unix milliseconds and native histograms. Whether they make sense is for
    /// [`Histogram::validate`]; one whose sum is the staleness marker ends the series.
    pub histograms: Vec<(i64, Histogram)>,
}

impl Samples {
    /// Empties both lists, keeping their memory.
    pub fn clear(&mut self) {
        self.floats.clear();
        self.histograms.clear();
    }
}

/// Checks the first bytes of a segment file.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) when they are not those of one, or of an unknown version.
pub fn check_segment_header(bytes: &[u8]) -> Result<()> {
    let mut bytes = Bytes::new(bytes);
    let (magic, version) = (bytes.u32()?, bytes.u8()?);
    if magic != SEGMENT_MAGIC {
        return Err(Error::corrupt(format!("no chunk segment: it begins with {magic:08x}")));
    }
    if version != SEGMENT_VERSION {
        return Err(Error::corrupt(format!(
            "chunk segment version {version} is unknown; known is {SEGMENT_VERSION}"
        )));
    }
    Ok(())
}

/// Bytes that the chunk which begins with `start` (10 bytes are enough) takes in its file.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) when it claims more than [`CHUNK_BYTES_MAX`].
pub fn frame_bytes(start: &[u8]) -> Result<usize> {
    let mut bytes = Bytes::new(start.get(..FRAME_BYTES.min(start.len())).unwrap_or_default());
    let len = bytes.length()?;
    if len > CHUNK_BYTES_MAX {
        return Err(Error::corrupt(format!(
            "chunk of {len} bytes; at most {CHUNK_BYTES_MAX} are read"
        )));
    }
    Ok(bytes.offset() + 1 + len + 4)
}

/// The encoding and data of the chunk that `bytes` begins with, its checksum checked.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) when it is cut off or damaged.
pub fn open_frame(bytes: &[u8]) -> Result<(u8, &[u8])> {
    let whole = frame_bytes(bytes)?;
    let mut bytes = Bytes::new(bytes);
    let len = bytes.length()?;
    let framed = bytes.take(whole - bytes.offset())?;
    let body = checked(framed, "chunk")?;
    let (&encoding, data) = body.split_first().expect("BUG: the length counts the encoding");
    debug_assert_eq!(data.len(), len);
    Ok((encoding, data))
}

/// Appends the samples of a chunk to `out`.
///
/// Cost: a sample takes two bits or more, a histogram bucket one, so memory is at most 64 times the data.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) for unknown encodings and data that does not fit; what was appended before
/// stays.
pub fn decode_chunk(encoding: u8, data: &[u8], out: &mut Samples) -> Result<()> {
    let Some((count, rest)) = data.split_first_chunk::<2>() else {
        return Err(Error::corrupt(format!("chunk has {} bytes; need 2", data.len())));
    };
    let count = u16::from_be_bytes(*count);
    match encoding {
        1 => floats(count, rest, &mut out.floats),
        2 => histogram::integers(count, rest, &mut out.histograms),
        3 => histogram::floats(count, rest, &mut out.histograms),
        other => Err(Error::corrupt(format!(
            "chunk encoding {other} is unknown; known are 1 (XOR), 2 (histogram) and 3 (float histogram)"
        ))),
    }
}

fn floats(count: u16, data: &[u8], out: &mut Vec<(i64, f64)>) -> Result<()> {
    let mut bits = Bits::new(data);
    let (mut t, mut distance, mut value) = (0_i64, 0_i64, XorFloat::default());
    for number in 0..count {
        match number {
            0 => {
                t = bits.varint()?;
                value = XorFloat::new(bits.f64()?);
            }
            1 => {
                distance = bits.uvarint()?.cast_signed();
                t = t.wrapping_add(distance);
                value.advance(&mut bits)?;
            }
            _ => {
                distance = distance.wrapping_add(bits.time_difference()?);
                t = t.wrapping_add(distance);
                value.advance(&mut bits)?;
            }
        }
        out.push((t, value.value));
    }
    Ok(())
}
