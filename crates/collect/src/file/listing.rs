//! The names in the directories of logs: listed once for all logs of a directory, and only when names changed.
//!
//! Owns: when a listing still holds, and finding names in it by their beginning or their inode. Does not own: which names
//! mean what ([`super::family`]).

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::open::Seen;

/// A directory's time of change is that of the system's last tick, so that names may change twice at one time: what was
/// listed sooner after a change than this is not relied upon.
const SETTLED_NS: i64 = 50_000_000;
/// Directories that are remembered.
const DIRS_MAX: usize = 1024;

/// The directories' listings.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    dirs: Mutex<HashMap<PathBuf, Known>>,
}

#[derive(Debug)]
struct Known {
    listing: Arc<Listing>,
    /// When the directory was last changed, Unix nanoseconds.
    changed_ns: i64,
    /// When this was seen first, and when it was listed, on the monotonic clock.
    seen_ns: i64,
    listed_ns: i64,
}

/// The names of one directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// With their inodes; sorted.
    names: Vec<(OsString, u64)>,
}

impl Listings {
    /// The names in `dir`; none when it cannot be read. The same `Arc` as before as long as nothing changed.
    ///
    /// Also a time of the file system, Unix nanoseconds: of the names that came before the call, those may be missing that
    /// came at this time or later.
    pub(crate) fn of(&self, dir: &Path, monotonic_ns: i64) -> (Arc<Listing>, i64) {
        super::others_act();
        let Some(changed_ns) = fs::metadata(dir).ok().map(|found| Seen::of(&found).mtime_ns) else {
            self.dirs.lock().remove(dir);
            return (Arc::default(), i64::MAX);
        };
        let mut dirs = self.dirs.lock();
        let known = dirs.get(dir).filter(|known| known.changed_ns == changed_ns);
        let seen_ns = known.map_or(monotonic_ns, |known| known.seen_ns);
        let missing_from = |listed_ns: i64| {
            if listed_ns - seen_ns >= SETTLED_NS { i64::MAX } else { changed_ns }
        };
        if let Some(known) = known {
            let missing_ns = missing_from(known.listed_ns);
            if missing_ns == i64::MAX || known.listed_ns == monotonic_ns {
                return (Arc::clone(&known.listing), missing_ns);
            }
        }
        let mut listing = Arc::new(Listing::read(dir));
        if let Some(before) = dirs.get(dir).filter(|before| before.listing == listing) {
            listing = Arc::clone(&before.listing);
        } else if dirs.len() >= DIRS_MAX {
            dirs.clear();
        }
        let known =
            Known { listing: Arc::clone(&listing), changed_ns, seen_ns, listed_ns: monotonic_ns };
        dirs.insert(dir.to_owned(), known);
        (listing, missing_from(monotonic_ns))
    }
}

impl Listing {
    fn read(dir: &Path) -> Self {
        super::others_act();
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| (entry.file_name(), entry.ino())).collect();
        names.sort_unstable();
        Self { names }
    }

    /// The names that begin with `beginning`, and their inodes.
    pub(crate) fn beginning_with<'a>(
        &'a self,
        beginning: &'a OsStr,
    ) -> impl Iterator<Item = (&'a OsStr, u64)> {
        let from = self.names.partition_point(|(name, _)| name.as_os_str() < beginning);
        let names = self.names.iter().skip(from).map(|(name, ino)| (name.as_os_str(), *ino));
        names.take_while(|(name, _)| name.as_bytes().starts_with(beginning.as_bytes()))
    }

    /// The names that the directory says lead to `ino`.
    pub(crate) fn with_inode(&self, ino: u64) -> impl Iterator<Item = &OsStr> {
        self.names.iter().filter(move |(_, known)| *known == ino).map(|(name, _)| name.as_os_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_directory_is_listed_once() {
        let dir = tempfile::tempdir().unwrap();
        let listings = Listings::default();
        let create = |name: &str| {
            let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            rustix::fs::open(dir.path().join(name), flags, mode).unwrap();
        };
        let names = |listing: &Listing, beginning: &str| -> Vec<String> {
            let found = listing.beginning_with(OsStr::new(beginning));
            found.map(|(name, _)| name.to_str().unwrap().to_owned()).collect()
        };
        for name in ["b.log", "a.log", "a.log.1", "ab"] {
            create(name);
        }
        let (first, missing_ns) = listings.of(dir.path(), 0);
        assert_eq!(missing_ns, Seen::of(&fs::metadata(dir.path()).unwrap()).mtime_ns);
        assert_eq!(names(&first, "a.log"), ["a.log", "a.log.1"]);
        assert_eq!(names(&first, ""), ["a.log", "a.log.1", "ab", "b.log"]);
        assert!(names(&first, "c").is_empty());
        let (name, ino) = first.beginning_with(OsStr::new("b")).next().unwrap();
        assert!(first.with_inode(ino).eq([name]));
        assert!(Arc::ptr_eq(&first, &listings.of(dir.path(), 0).0));
        // Listed again, for the directory may have changed within the same tick; but nothing did.
        for monotonic_ns in [SETTLED_NS, i64::MAX] {
            let (settled, missing_ns) = listings.of(dir.path(), monotonic_ns);
            assert!(Arc::ptr_eq(&first, &settled));
            assert_eq!(missing_ns, i64::MAX);
        }
        create("c.log");
        let (second, _) = listings.of(dir.path(), i64::MAX);
        assert_eq!(names(&second, "c"), ["c.log"]);
        let gone = dir.path().join("gone");
        assert!(names(&listings.of(&gone, 0).0, "").is_empty());
    }
}
