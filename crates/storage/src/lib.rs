//! Bytes on disk, shared by the three stores: encodings, WAL, immutable parts, manifest, and the file system itself.
//!
//! Owns: [`fs`] (the only way to the stores' files, real and faulty), [`wal`] (durability), [`part`] (immutable
//! checksummed files), [`manifest`] (which parts are live), [`writer`] (the single-writer thread with group commit) and
//! [`codec`] (integers, decimals, times, strings). Does not own: what a series, stream or span is.

pub mod codec;
pub mod fs;
pub mod manifest;
pub mod part;
pub mod wal;
pub mod writer;
