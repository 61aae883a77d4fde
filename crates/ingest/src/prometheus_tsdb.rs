//! Prometheus' own files: blocks (`meta.json`, `index`, `chunks/`, `tombstones`) and the write-ahead log, for importing.
//!
//! Owns: pure, bounded decoders over byte slices, with the checksums of the formats checked. Does not own: finding and
//! reading the files, and what becomes of the samples. Nothing here writes these formats.
//!
//! Source: Prometheus, `tsdb/docs/format`. All numbers are big-endian, all checksums CRC-32C.

mod bits;
mod bytes;
mod chunk;
mod histogram;
mod index;
mod meta;
mod record;
#[cfg(test)]
mod tests;
mod tombstones;
mod wal;

pub use chunk::{
    CHUNK_BYTES_MAX, ChunkRef, SEGMENT_HEADER_BYTES, Samples, check_segment_header, decode_chunk,
    frame_bytes, open_frame,
};
pub use index::{ChunkMeta, Index, SeriesEntry, SeriesIter};
pub use meta::BlockMeta;
pub use record::{Record, decode_record};
pub use tombstones::{Interval, Tombstones};
pub use wal::{PAGE_BYTES, RECORD_BYTES_MAX, WalPages};
