//! Segments of the write-ahead log: pages of 32 KiB with fragments of records, each checked, some compressed.
//!
//! Does not own: what is in a record (`record.rs`).

use std::borrow::Cow;
use std::io::Read as _;

use model::{Error, Result};

/// Bytes of a page; fragments do not cross pages.
pub const PAGE_BYTES: usize = 32 << 10;
/// Bytes of a record at most, unpacked.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

const FRAGMENT_HEADER_BYTES: usize = 7;
const SNAPPY: u8 = 0x08;
const ZSTD: u8 = 0x10;

/// Joins the fragments of one segment file into records.
///
/// Feed it the pages of the file in order; the last may be shorter.
#[derive(Debug, Default)]
pub struct WalPages {
    record: Vec<u8>,
    /// The compression of the record under way; `None` between records.
    under_way: Option<u8>,
}

impl WalPages {
    /// Reads one page and hands out the records that end in it.
    ///
    /// # Errors
    /// What `visit` returns; [`Corrupt`](model::ErrorKind::Corrupt) at the first damaged fragment. A crashed Prometheus
    /// leaves a torn one at the end of its last segment.
    pub fn page(&mut self, page: &[u8], visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut rest = page;
        while let Some(&first) = rest.first() {
            // The rest of the page is empty.
            if first == 0 {
                if rest.iter().all(|byte| *byte == 0) {
                    return Ok(());
                }
                return Err(Error::corrupt("wal page goes on behind its end"));
            }
            let Some((header, behind)) = rest.split_first_chunk::<FRAGMENT_HEADER_BYTES>() else {
                return Err(Error::corrupt(format!(
                    "wal fragment of {} bytes; need {FRAGMENT_HEADER_BYTES}",
                    rest.len()
                )));
            };
            let [flags, len_high, len_low, crc @ ..] = *header;
            let len = usize::from(u16::from_be_bytes([len_high, len_low]));
            let Some((data, behind)) = behind.split_at_checked(len) else {
                return Err(Error::corrupt(format!(
                    "wal fragment of {len} bytes; {} are there",
                    behind.len()
                )));
            };
            if crc32c::crc32c(data) != u32::from_be_bytes(crc) {
                return Err(Error::corrupt("checksum of a wal fragment does not match"));
            }
            self.fragment(flags, data, visit)?;
            rest = behind;
        }
        Ok(())
    }

    /// Whether a record is waiting for its end.
    pub fn is_mid_record(&self) -> bool {
        self.under_way.is_some()
    }

    fn fragment(
        &mut self,
        flags: u8,
        data: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (kind, compression) = (flags & 0x07, flags & (SNAPPY | ZSTD));
        // 1 a whole record, 2 its first part, 3 one between, 4 its last.
        let fits = match kind {
            1 | 2 => self.under_way.is_none(),
            3 | 4 => self.under_way.is_some(),
            _ => false,
        };
        if !fits || flags & !(0x07 | SNAPPY | ZSTD) != 0 {
            return Err(Error::corrupt(format!("wal fragment of kind {flags:#04x} out of place")));
        }
        if self.record.len() + data.len() > RECORD_BYTES_MAX {
            return Err(Error::corrupt(format!("wal record is over {RECORD_BYTES_MAX} bytes")));
        }
        let compression = *self.under_way.get_or_insert(compression);
        if kind == 1 {
            self.under_way = None;
            return visit(&unpack(compression, data)?);
        }
        self.record.extend_from_slice(data);
        if kind == 4 {
            self.under_way = None;
            let record = std::mem::take(&mut self.record);
            return visit(&unpack(compression, &record)?);
        }
        Ok(())
    }
}

fn unpack(compression: u8, data: &[u8]) -> Result<Cow<'_, [u8]>> {
    let too_large =
        || Error::corrupt(format!("wal record unpacks to over {RECORD_BYTES_MAX} bytes"));
    match compression {
        0 => Ok(Cow::Borrowed(data)),
        SNAPPY => {
            let invalid = |e: snap::Error| Error::corrupt(format!("wal record is not snappy: {e}"));
            let claimed = snap::raw::decompress_len(data).map_err(invalid)?;
            // An element of three bytes yields at most 64: a longer claim is a lie, and must not cost memory.
            if claimed > RECORD_BYTES_MAX || claimed / 32 > data.len() {
                return Err(too_large());
            }
            snap::raw::Decoder::new().decompress_vec(data).map_err(invalid).map(Cow::Owned)
        }
        _ => {
            let invalid = |e| Error::corrupt(format!("wal record is not zstd: {e}"));
            let mut unpacked = Vec::new();
            zstd::stream::read::Decoder::with_buffer(data)
                .map_err(invalid)?
                .take(RECORD_BYTES_MAX as u64 + 1)
                .read_to_end(&mut unpacked)
                .map_err(invalid)?;
            if unpacked.len() > RECORD_BYTES_MAX {
                return Err(too_large());
            }
            Ok(Cow::Owned(unpacked))
        }
    }
}
