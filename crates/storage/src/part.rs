//! Immutable files of checksummed blocks.
//!
//! Owns: how blocks are framed and checked, and that a part appears whole or not at all. Does not own: what blocks and
//! the meta block say, or which parts are live ([`manifest`](crate::manifest)). Bytes on disk: `docs/format/part.md`.
//!
//! ```text
//! +----------+-------+- - -+-------+------------+-----------------+
//! | magic 8  | block |     | block | meta block | trailer 40      |
//! +----------+-------+- - -+-------+------------+-----------------+
//! block = len u32, crc32c u32 (over kind, offset u64, bytes), kind u8, bytes
//! ```

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Error, Result};

use crate::fs::{self, Fs, ReadFile, WriteFile};
use crate::wal::free_name;

const MAGIC: [u8; 8] = *b"TFRLPRT\n";
const VERSION: u32 = 1;
const BLOCK_HEADER_BYTES: usize = 9;
const META_KIND: u8 = 0xFF;

/// Bytes at the end of a part that [`decode_footer`] wants.
pub const TRAILER_BYTES: usize = 40;

/// Longest block in bytes.
pub const BLOCK_BYTES_MAX: usize = 1 << 30;

/// Largest kind a block can have.
pub const KIND_MAX: u8 = META_KIND - 1;

/// Collected before a write.
const BUFFER_BYTES: usize = 256 << 10;

/// Where a block is in its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockRef {
    /// Bytes from the start of the file to the block's header.
    pub offset: u64,
    /// Bytes given to [`PartWriter::block`].
    pub len: u32,
}

impl BlockRef {
    /// Bytes of the encoded form.
    pub const ENCODED_BYTES: usize = 12;

    /// Appends the encoded form: offset u64, len u32, little-endian.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
    }

    /// Takes one encoded form off the start of `bytes`; `None` if they are too few.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        *bytes = rest;
        Some(Self { offset: u64::from_le_bytes(*offset), len: u32::from_le_bytes(*len) })
    }
}

/// What the trailer of a part says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// The meta block.
    pub meta: BlockRef,
    /// Blocks without the meta block.
    pub block_count: u32,
    /// Bytes of the whole file.
    pub file_bytes: u64,
}

/// Keeps the damaged part `name` of `dir` as `NAME.corrupt`, or `NAME.2.corrupt` and so on: nothing opens it there, and
/// nothing removes it. To be called before a manifest that does not name the part is written, for files that no manifest
/// names are tidied up.
///
/// # Errors
/// As [`fs::error`].
pub fn set_aside(fs: &dyn Fs, dir: &Path, name: &str) -> Result<()> {
    let aside = free_name(fs, dir, name, "corrupt")?;
    fs.rename(&dir.join(name), &dir.join(&aside))
        .and_then(|()| fs.sync_dir(dir))
        .map_err(|e| fs::error(format!("set damaged part {name} aside as {aside}"), e))
}

/// Reads the trailer: the last [`TRAILER_BYTES`] of `tail`, which ends where the file ends. Never panics.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) if it is not one; [`Invalid`](model::ErrorKind::Invalid) for a newer version.
pub fn decode_footer(tail: &[u8]) -> Result<Footer> {
    let Some(trailer) = tail.last_chunk::<TRAILER_BYTES>() else {
        let len = tail.len();
        return Err(Error::corrupt(format!(
            "part of {len} bytes has no trailer of {TRAILER_BYTES}"
        )));
    };
    if trailer[32..] != MAGIC {
        return Err(Error::corrupt("part does not end with its magic"));
    }
    if crc32c::crc32c(&trailer[..28]) != le_u32(trailer, 28) {
        return Err(Error::corrupt("checksum of the part's trailer does not match"));
    }
    let version = le_u32(trailer, 24);
    if version != VERSION {
        return Err(Error::invalid(format!(
            "part has format version {version}; this program reads version {VERSION}"
        )));
    }
    let meta = BlockRef { offset: le_u64(trailer, 0), len: le_u32(trailer, 8) };
    let file_bytes = le_u64(trailer, 16);
    let meta_end = meta.offset.checked_add(BLOCK_HEADER_BYTES as u64 + u64::from(meta.len));
    if meta_end.and_then(|end| end.checked_add(TRAILER_BYTES as u64)) != Some(file_bytes) {
        return Err(Error::corrupt("part's meta block does not end at its trailer"));
    }
    Ok(Footer { meta, block_count: le_u32(trailer, 12), file_bytes })
}

fn le_u32(bytes: &[u8; TRAILER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn le_u64(bytes: &[u8; TRAILER_BYTES], at: usize) -> u64 {
    u64::from(le_u32(bytes, at)) | u64::from(le_u32(bytes, at + 4)) << 32
}

/// Checks a block as stored at `offset` (header and bytes) and returns its bytes. Never panics.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) if length, kind or checksum are not what they should be.
pub fn decode_block(stored: &[u8], offset: u64, kind: u8) -> Result<&[u8]> {
    let Some((header, bytes)) = stored.split_first_chunk::<BLOCK_HEADER_BYTES>() else {
        let len = stored.len();
        return Err(Error::corrupt(format!("block of {len} bytes has no header")));
    };
    let [l0, l1, l2, l3, c0, c1, c2, c3, stored_kind] = *header;
    let (len, have) = (u32::from_le_bytes([l0, l1, l2, l3]), bytes.len());
    if len as usize != have {
        return Err(Error::corrupt(format!("block says {len} bytes; its reference says {have}")));
    }
    if stored_kind != kind {
        return Err(Error::corrupt(format!("block has kind {stored_kind} instead of {kind}")));
    }
    if block_crc(kind, offset, bytes) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(Error::corrupt("block checksum does not match"));
    }
    Ok(bytes)
}

/// The offset is part of it, so that a good block in the wrong place is found out.
fn block_crc(kind: u8, offset: u64, bytes: &[u8]) -> u32 {
    let mut head = [0; 9];
    head[0] = kind;
    head[1..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&head), bytes)
}

/// Writes one part under `NAME.tmp`; it gets its name in [`finish`](Self::finish). Dropped before, it leaves nothing.
pub struct PartWriter {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    tmp: PathBuf,
    file: Box<dyn WriteFile>,
    buffer: Vec<u8>,
    /// Bytes written and buffered.
    bytes: u64,
    block_count: u32,
    finished: bool,
}

impl std::fmt::Debug for PartWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl PartWriter {
    /// Starts the part that will be at `path`, in an existing directory.
    ///
    /// # Errors
    /// [`Busy`](model::ErrorKind::Busy) when the disk is full, [`Io`](model::ErrorKind::Io) otherwise.
    pub fn create(fs: Arc<dyn Fs>, path: &Path) -> Result<Self> {
        let mut tmp = path.as_os_str().to_owned();
        tmp.push(".tmp");
        let tmp = PathBuf::from(tmp);
        let file =
            fs.create(&tmp).map_err(|e| fs::error(format!("create part {}", tmp.display()), e))?;
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        buffer.extend_from_slice(&MAGIC);
        let bytes = buffer.len() as u64;
        let path = path.to_owned();
        Ok(Self { fs, path, tmp, file, buffer, bytes, block_count: 0, finished: false })
    }

    /// Appends a block and returns where it will be.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) over [`KIND_MAX`] or [`BLOCK_BYTES_MAX`]; otherwise as
    /// [`create`](Self::create).
    pub fn block(&mut self, kind: u8, bytes: &[u8]) -> Result<BlockRef> {
        if kind > KIND_MAX {
            return Err(Error::invalid(format!("block kind {kind} is over {KIND_MAX}")));
        }
        let block = self.push(kind, bytes)?;
        self.block_count += 1;
        Ok(block)
    }

    /// Bytes of the part so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes `meta` and the trailer, makes all durable and gives the part its name, replacing what had it. Returns the
    /// bytes of the file.
    ///
    /// # Errors
    /// As [`block`](Self::block).
    pub fn finish(mut self, meta: &[u8]) -> Result<u64> {
        let block = self.push(META_KIND, meta)?;
        let mut trailer = Vec::with_capacity(TRAILER_BYTES);
        block.encode(&mut trailer);
        self.bytes += TRAILER_BYTES as u64;
        trailer.extend_from_slice(&self.block_count.to_le_bytes());
        trailer.extend_from_slice(&self.bytes.to_le_bytes());
        trailer.extend_from_slice(&VERSION.to_le_bytes());
        let crc = crc32c::crc32c(&trailer);
        trailer.extend_from_slice(&crc.to_le_bytes());
        trailer.extend_from_slice(&MAGIC);
        self.buffer.extend_from_slice(&trailer);
        self.write_buffer()?;
        let shown = self.path.display();
        // This order: bytes, then the name, then the durability of the name.
        self.file.sync_data().map_err(|e| fs::error(format!("sync part {shown}"), e))?;
        self.fs
            .rename(&self.tmp, &self.path)
            .map_err(|e| fs::error(format!("rename part to {shown}"), e))?;
        self.finished = true;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        self.fs
            .sync_dir(dir)
            .map_err(|e| fs::error(format!("sync directory of part {shown}"), e))?;
        Ok(self.bytes)
    }

    fn push(&mut self, kind: u8, bytes: &[u8]) -> Result<BlockRef> {
        let len = u32::try_from(bytes.len()).ok().filter(|len| *len as usize <= BLOCK_BYTES_MAX);
        let Some(len) = len else {
            let len = bytes.len();
            return Err(Error::invalid(format!("block of {len} bytes is over {BLOCK_BYTES_MAX}")));
        };
        let block = BlockRef { offset: self.bytes, len };
        self.buffer.extend_from_slice(&len.to_le_bytes());
        let crc = block_crc(kind, block.offset, bytes);
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        self.buffer.push(kind);
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.write_buffer()?;
        }
        if bytes.len() > BUFFER_BYTES {
            self.write(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self.bytes += BLOCK_HEADER_BYTES as u64 + u64::from(len);
        Ok(block)
    }

    fn write_buffer(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|e| fs::error(format!("write part {}", self.tmp.display()), e))
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        if !self.finished
            && let Err(e) = self.fs.remove(&self.tmp)
        {
            // The manifest removes it at the next open.
            tracing::debug!(part = %self.tmp.display(), error = %e, "unfinished part left behind");
        }
    }
}

/// A part open for reading, from any thread.
#[derive(Debug)]
pub struct PartReader {
    path: PathBuf,
    file: Box<dyn ReadFile>,
    footer: Footer,
    meta: Vec<u8>,
}

impl PartReader {
    /// Opens a part and checks its footer; blocks are checked when they are read.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) naming the file; [`Invalid`](model::ErrorKind::Invalid) for a newer
    /// version; [`NotFound`](model::ErrorKind::NotFound) or [`Io`](model::ErrorKind::Io).
    pub fn open(fs: &dyn Fs, path: &Path) -> Result<Self> {
        let shown = path.display();
        let read_error = |e: std::io::Error| {
            if e.kind() == std::io::ErrorKind::NotFound {
                return Error::new(model::ErrorKind::NotFound, format!("part {shown} is missing"));
            }
            fs::error(format!("read part {shown}"), e)
        };
        let file = fs.open_read(path).map_err(read_error)?;
        let len = file.len();
        let mut tail = [0; TRAILER_BYTES];
        let Some(start) = len.checked_sub(TRAILER_BYTES as u64) else {
            return Err(Error::corrupt(format!("part {shown} of {len} bytes is cut off")));
        };
        file.read_exact_at(&mut tail, start).map_err(read_error)?;
        let footer = decode_footer(&tail).map_err(|e| e.context(&shown))?;
        if footer.file_bytes != len {
            let expected = footer.file_bytes;
            let message = format!("part {shown} has {len} bytes instead of {expected}");
            return Err(Error::corrupt(message));
        }
        let mut reader = Self { path: path.to_owned(), file, footer, meta: Vec::new() };
        reader.meta = reader.block(footer.meta, META_KIND)?;
        Ok(reader)
    }

    /// What was given to [`PartWriter::finish`].
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// Reads and checks one block.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) naming file and offset, or [`Io`](model::ErrorKind::Io).
    pub fn block(&self, block: BlockRef, kind: u8) -> Result<Vec<u8>> {
        let mut stored = Vec::new();
        self.read(block, kind, &mut stored)?;
        stored.drain(..BLOCK_HEADER_BYTES);
        Ok(stored)
    }

    /// As [`block`](Self::block), into a buffer that can be used again; for scans.
    ///
    /// # Errors
    /// As [`block`](Self::block).
    pub fn block_in<'a>(
        &self,
        block: BlockRef,
        kind: u8,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        self.read(block, kind, buffer)
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.footer.file_bytes
    }

    /// Blocks without the meta block.
    pub fn block_count(&self) -> u32 {
        self.footer.block_count
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<'a>(&self, block: BlockRef, kind: u8, stored: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let (shown, offset, len) = (self.path.display(), block.offset, block.len);
        let data_end = self.footer.file_bytes - TRAILER_BYTES as u64;
        let stored_len = BLOCK_HEADER_BYTES as u64 + u64::from(len);
        let end = offset.checked_add(stored_len);
        // Bounded by the file: a foreign length cannot make us allocate more than there is to read.
        if end.is_none_or(|end| end > data_end) {
            let message = format!("part {shown}: block of {len} bytes at {offset} is outside");
            return Err(Error::corrupt(message));
        }
        stored.resize(usize::try_from(stored_len).unwrap_or(usize::MAX), 0);
        self.file
            .read_exact_at(stored, offset)
            .map_err(|e| fs::error(format!("read part {shown} at {offset}"), e))?;
        decode_block(stored, offset, kind)
            .map_err(|e| e.context(format!("part {shown} at {offset}")))
    }
}
