//! The lock that keeps two processes out of one data directory. Does not own the directory's layout.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::{Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, flock};

/// Name of the lock file in a data directory.
pub const LOCK_FILE: &str = "lock";

/// Holds the lock on a data directory until dropped (or until the process ends in any way).
#[derive(Debug)]
pub struct DirLock {
    _file: File,
    dir: PathBuf,
}

impl DirLock {
    /// The directory it locks.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Locks data directory `dir` for this process, making the directory (mode 0700) if it is missing.
///
/// # Errors
/// [`Busy`](ErrorKind::Busy) naming the directory when another process holds it; [`Io`](ErrorKind::Io) otherwise.
#[expect(clippy::disallowed_methods, reason = "a lock needs the descriptor, which `Fs` hides")]
pub fn lock_dir(dir: &Path) -> Result<DirLock> {
    let shown = dir.display();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| super::error(format!("create data directory {shown}"), e))?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join(LOCK_FILE))
        .map_err(|e| super::error(format!("open lock file in data directory {shown}"), e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DirLock { _file: file, dir: dir.to_owned() }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::new(
            ErrorKind::Busy,
            format!("data directory {shown} is in use by another running process"),
        )),
        Err(e) => Err(super::error(format!("lock data directory {shown}"), io::Error::from(e))),
    }
}
