//! The only way to the stores' files: the [`Fs`] trait, the real one and a faulty one for tests.
//!
//! Owns: what a store may do to files, the meaning of "durable" (`sync_data` for a file's bytes, `sync_dir` for names),
//! the lock on a data directory, and the mapping of operating system errors to [`model::Error`]. Does not own: any
//! format. All calls block.

mod faulty;
mod lock;
mod real;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io;
use std::path::Path;

use model::{Error, ErrorKind};

pub use faulty::{FaultyFs, FsCall};
pub use lock::{DirLock, LOCK_FILE, lock_dir};
pub use real::RealFs;

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// File name without the directory; names that are not UTF-8 are not listed (the stores never make any).
    pub name: String,
    /// Bytes of a file; 0 for a directory.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Files as the stores see them.
///
/// Durability: bytes survive power loss once [`WriteFile::sync_data`] returned; a name (created, renamed, removed)
/// survives once [`sync_dir`](Fs::sync_dir) of its directory returned. A file needs both.
pub trait Fs: Send + Sync + Debug {
    /// A new or emptied file, for writing.
    ///
    /// # Errors
    /// What the operating system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// An existing file, for writing behind its last byte.
    ///
    /// # Errors
    /// What the operating system says.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// An existing file, for reading. It stays readable after its name is gone.
    ///
    /// # Errors
    /// What the operating system says.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>>;

    /// All bytes of a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Gives a file another name in one step, replacing what had that name.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must not exist yet, on the same file system.
    ///
    /// # Errors
    /// What the operating system says.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory and those above it; fine if it exists. Names in new directories above are made durable too.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with everything in it.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Entries of a directory, ascending by name.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Whether something has this name.
    ///
    /// # Errors
    /// What the operating system says.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Cuts a file to `len` bytes and makes that durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;

    /// Bytes an unprivileged process can still write on the file system of `path`.
    ///
    /// # Errors
    /// What the operating system says.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Size in bytes of the file system of `path`.
    ///
    /// # Errors
    /// What the operating system says.
    fn total_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// A file open for writing at its end.
pub trait WriteFile: Send {
    /// Appends all of `bytes`. On failure an unknown part of them may be in the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes all bytes written so far survive power loss. After a failure nothing is known about them, and trying again
    /// proves nothing.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Cuts the file to `len` bytes, at most its present length; later writes go there. Durable after
    /// [`sync_data`](Self::sync_data).
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Bytes successfully written, including what was there when it was opened.
    fn len(&self) -> u64;

    /// Whether there is no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A file open for reading at any place, from any thread.
pub trait ReadFile: Send + Sync + Debug {
    /// Fills `buf` from the bytes at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before; otherwise what the operating system says.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Bytes in the file when it was opened.
    fn len(&self) -> u64;

    /// Whether there is no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The error for a failed call while doing `what`: [`Busy`](ErrorKind::Busy) when the disk (or quota) is full, because
/// that can pass, otherwise [`Io`](ErrorKind::Io).
pub fn error(what: impl Into<String>, source: io::Error) -> Error {
    if is_full(&source) {
        let what = what.into();
        return Error::new(ErrorKind::Busy, format!("{what}: disk is full")).with_source(source);
    }
    Error::io(what, source)
}

/// Whether `error` says that there is no space left.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
