//! Files of pushed groups: one each, below `pushgateway` in the data directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Error, Result};
use server::receive::pushgateway::GroupFiles;
use storage::fs::Fs;

/// The files in one directory.
pub struct PushedFiles {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
}

impl PushedFiles {
    /// Files below `data_dir`; the directory appears with the first of them.
    pub fn new(fs: Arc<dyn Fs>, data_dir: &Path) -> Self {
        Self { fs, dir: data_dir.join("pushgateway") }
    }

    fn path(&self, number: u64, extension: &str) -> PathBuf {
        self.dir.join(format!("{number:08}.{extension}"))
    }
}

impl GroupFiles for PushedFiles {
    fn load(&self) -> Result<BTreeMap<u64, Vec<u8>>> {
        let mut files = BTreeMap::new();
        let failed = |e| Error::io(format!("open {}", self.dir.display()), e);
        if !self.fs.exists(&self.dir).map_err(failed)? {
            return Ok(files);
        }
        let listed = self
            .fs
            .list(&self.dir)
            .map_err(|e| Error::io(format!("list {}", self.dir.display()), e))?;
        for entry in listed {
            let path = self.dir.join(&entry.name);
            let number = entry.name.strip_suffix(".group").and_then(|n| n.parse::<u64>().ok());
            if let Some(number) = number {
                let content = self
                    .fs
                    .read(&path)
                    .map_err(|e| Error::io(format!("read {}", path.display()), e))?;
                files.insert(number, content);
            } else if entry.name.ends_with(".tmp") {
                // A crash came before the rename; the group's file is whole.
                self.fs
                    .remove(&path)
                    .map_err(|e| Error::io(format!("remove {}", path.display()), e))?;
            }
        }
        Ok(files)
    }

    fn put(&self, number: u64, content: &[u8]) -> Result<()> {
        let (path, fresh) = (self.path(number, "group"), self.path(number, "tmp"));
        let written = (|| {
            if !self.fs.exists(&self.dir)? {
                self.fs.create_dir_all(&self.dir)?;
                self.fs.sync_dir(self.dir.parent().unwrap_or(&self.dir))?;
            }
            let mut file = self.fs.create(&fresh)?;
            file.write_all(content)?;
            // The content must be on disk before the name points to it, the name before the push is answered.
            file.sync_data()?;
            self.fs.rename(&fresh, &path)?;
            self.fs.sync_dir(&self.dir)
        })();
        written.map_err(|e| Error::io(format!("write {}", path.display()), e))
    }

    fn remove(&self, number: u64) -> Result<()> {
        let path = self.path(number, "group");
        let removed = self.fs.remove(&path).and_then(|()| self.fs.sync_dir(&self.dir));
        removed.map_err(|e| Error::io(format!("remove {}", path.display()), e))
    }
}

#[cfg(test)]
mod tests {
    use storage::fs::FaultyFs;

    use super::*;

    #[test]
    fn what_was_put_survives_a_crash_and_nothing_is_half() {
        for seed in 0..200 {
            let fs = FaultyFs::new();
            let shared: Arc<dyn Fs> = Arc::new(fs.clone());
            shared.create_dir_all(Path::new("/data")).unwrap();
            shared.sync_dir(Path::new("/")).unwrap();
            let files = PushedFiles::new(shared.clone(), Path::new("/data"));
            files.put(1, b"first").unwrap();
            files.put(2, b"second").unwrap();
            files.put(1, b"first again").unwrap();
            files.remove(2).unwrap();
            // A write that the crash interrupts leaves the old content.
            let mut torn = shared.create(&files.path(1, "tmp")).unwrap();
            torn.write_all(b"fir").unwrap();
            drop(torn);
            fs.crash(seed);
            let kept = PushedFiles::new(shared, Path::new("/data")).load().unwrap();
            assert_eq!(kept, BTreeMap::from([(1, b"first again".to_vec())]), "seed {seed}");
        }
    }
}
