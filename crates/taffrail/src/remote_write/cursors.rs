//! Cursors of remotes: one small file each, replaced in one step.
//!
//! Format: `docs/format/remote-write.md`. A cursor that is missing or damaged means the oldest record there is (then
//! samples are sent twice) for a known remote, and the end for a new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use collect::forward::Cursor;
use model::{Error, Result};
use storage::fs::{self, Fs};

const SUFFIX: &str = ".cursor";

/// The files.
#[derive(Debug)]
pub(super) struct Cursors {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
}

impl Cursors {
    pub(super) fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        Self { fs, dir: dir.to_owned() }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}{SUFFIX}"))
    }

    /// `None` when there is no file; the error says that it is not readable.
    pub(super) fn read(&self, id: &str) -> Result<Option<Cursor>> {
        let path = self.path(id);
        match self.fs.read(&path) {
            Ok(bytes) => decode(&bytes)
                .map(Some)
                .ok_or_else(|| Error::corrupt(format!("{} is no cursor", path.display()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fs::error(format!("read {}", path.display()), e)),
        }
    }

    /// Not synced: it must survive the process, and only costs sending twice after a power loss.
    pub(super) fn write(&self, id: &str, cursor: Cursor) -> Result<()> {
        let path = self.path(id);
        let new = path.with_extension("tmp");
        let write = || {
            self.fs.create(&new)?.write_all(&encode(cursor))?;
            self.fs.rename(&new, &path)
        };
        write().map_err(|e| fs::error(format!("write {}", path.display()), e))
    }

    /// Removes the cursors of all others.
    pub(super) fn keep_only(&self, ids: &[String]) -> Result<()> {
        let list = self.fs.list(&self.dir);
        let entries = list.map_err(|e| fs::error(format!("list {}", self.dir.display()), e))?;
        for entry in entries {
            let Some(id) = entry.name.strip_suffix(SUFFIX) else { continue };
            if !ids.iter().any(|known| known == id) {
                let path = self.dir.join(&entry.name);
                self.fs
                    .remove(&path)
                    .map_err(|e| fs::error(format!("remove {}", path.display()), e))?;
            }
        }
        Ok(())
    }
}

fn encode(cursor: Cursor) -> Vec<u8> {
    let mut bytes = cursor.acked.to_le_bytes().to_vec();
    bytes.extend(cursor.sending.to_le_bytes());
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Cursor> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let (acked, sending) = body.split_first_chunk::<8>()?;
    let whole = crc32c::crc32c(body) == u32::from_le_bytes(*crc);
    let cursor = Cursor {
        acked: u64::from_le_bytes(*acked),
        sending: u64::from_le_bytes(sending.try_into().ok()?),
    };
    (whole && cursor.acked <= cursor.sending).then_some(cursor)
}

#[cfg(test)]
mod tests {
    use storage::fs::FaultyFs;

    use super::*;

    #[test]
    fn a_cursor_comes_back_or_is_known_to_be_damaged() {
        let fs = FaultyFs::new();
        let dir = Path::new("/rw");
        fs.create_dir_all(dir).unwrap();
        let cursors = Cursors::new(Arc::new(fs.clone()), dir);
        assert_eq!(cursors.read("a").unwrap(), None);
        let cursor = Cursor { acked: 7, sending: 9 };
        cursors.write("a", cursor).unwrap();
        cursors.write("b", Cursor::default()).unwrap();
        assert_eq!(cursors.read("a").unwrap(), Some(cursor));
        cursors.keep_only(&["a".to_owned()]).unwrap();
        assert_eq!((cursors.read("a").unwrap(), cursors.read("b").unwrap()), (Some(cursor), None));
        let good = encode(cursor);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), None, "bit {bit}");
            assert_eq!(decode(&good[..bit / 8]), None);
        }
    }
}
