//! Opening a file that others control: regular files only, and never one outside of the directories that were named.
//!
//! Symbolic links are resolved first; what they lead to is opened without following any further link, so that a link
//! swapped in between leads nowhere.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A file as the system knows it, and how far it has grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) size: u64,
    /// Time of the last change of its content, Unix nanoseconds.
    pub(crate) mtime_ns: i64,
    /// When it was made, if the file system says; and the time of the last change of what is known of it, its name among
    /// that. Unix nanoseconds.
    pub(crate) born_ns: Option<i64>,
    pub(crate) changed_ns: i64,
    /// Names it has; 0 once it is deleted.
    pub(crate) names: u64,
}

impl Seen {
    pub(crate) fn of(found: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        let born = found.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Self {
            dev: found.dev(),
            ino: found.ino(),
            size: found.size(),
            mtime_ns: ns(found.mtime(), found.mtime_nsec()),
            born_ns: born.and_then(|since| i64::try_from(since.as_nanos()).ok()),
            changed_ns: ns(found.ctime(), found.ctime_nsec()),
            names: found.nlink(),
        }
    }

    /// Device and inode.
    pub(crate) fn id(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
}

/// What `path` names now, following links; `None` when there is nothing.
///
/// # Errors
/// What the system says, but for a missing file.
pub(crate) fn look(path: &Path) -> io::Result<Option<Seen>> {
    super::others_act();
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(Seen::of(&found))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the regular file at `path` for reading if it lies in one of `roots` once all links are resolved.
///
/// # Errors
/// `PermissionDenied` when it lies outside, `InvalidInput` when it is no regular file, or what the system says.
pub(crate) fn open(roots: &[PathBuf], path: &Path) -> io::Result<(File, Seen)> {
    super::others_act();
    let real = fs::canonicalize(path)?;
    let is_inside = roots.iter().filter_map(|root| fs::canonicalize(root).ok()).any(|root| {
        // A root that is `/` holds everything, and was named.
        real.starts_with(root)
    });
    if !is_inside {
        let message = format!("it leads to {}, which lies outside", real.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    super::others_act();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = match rustix::fs::openat2(CWD, &real, flags, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_checked(&real, flags),
        other => other,
    };
    let file = File::from(opened?);
    super::others_act();
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let seen = Seen::of(&found);
    Ok((file, seen))
}

/// As `openat2` without links, by asking afterwards what was opened.
fn open_checked(real: &Path, flags: OFlags) -> rustix::io::Result<rustix::fd::OwnedFd> {
    use rustix::fd::AsRawFd as _;
    let opened = rustix::fs::open(real, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let link = format!("/proc/self/fd/{}", opened.as_raw_fd());
    if fs::read_link(link).is_ok_and(|led_to| led_to == real) {
        Ok(opened)
    } else {
        Err(Errno::LOOP)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_regular_files_inside_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        for path in [&inside, &outside] {
            fs::create_dir(path).unwrap();
            fs::copy("/proc/self/comm", path.join("file")).unwrap();
        }
        symlink(inside.join("file"), inside.join("absolute")).unwrap();
        symlink("file", inside.join("relative")).unwrap();
        symlink(outside.join("file"), inside.join("leaving")).unwrap();
        symlink("../out/file", inside.join("leaving_too")).unwrap();
        symlink(&outside, inside.join("dir")).unwrap();
        symlink("/dev/zero", inside.join("device")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        rustix::fs::mknodat(
            CWD,
            inside.join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let roots = [inside.clone()];
        let opened = |name: &str| open(&roots, &inside.join(name)).map(|(_, seen)| seen.ino);
        let file = opened("file").unwrap();
        assert_eq!(opened("absolute").unwrap(), file);
        assert_eq!(opened("relative").unwrap(), file);
        for name in ["leaving", "leaving_too", "dir/file", "device"] {
            let error = opened(name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}: {error}");
        }
        assert_eq!(opened("pipe").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        opened("loop").unwrap_err();
        opened("absent").unwrap_err();
        assert!(open(&[inside.clone(), outside.clone()], &inside.join("leaving")).is_ok());
        assert!(open_checked(&inside.join("file"), OFlags::RDONLY).is_ok());
        assert!(open_checked(&inside.join("relative"), OFlags::RDONLY).is_err());
        assert!(open_checked(&inside.join("dir/file"), OFlags::RDONLY).is_err());
    }
}
