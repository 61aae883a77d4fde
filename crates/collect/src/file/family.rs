//! Which names a rotated log file may have, and whether any of them changed.
//!
//! `app.log.1`, `app.log-20260131.gz`, `app.log.old` are *successions* of `app.log`: no program writes to a log of such a
//! name, so they may be taken for its history by their name. `app-2026-01-31.log` may be one, or an instance's own log:
//! it is only *kin*, and taken for the same log when its content says so. `app-2026-01-31.log.gz` is no log any more, but
//! may be what an instance's own log became: it is *doubtful*, and taken unless another log is nearer to it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::content::{Packing, is_unread};
use super::listing::{Listing, Listings};

/// Longest addition to a name.
const ADDITION_BYTES_MAX: usize = 48;

/// A name in the directory of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kin {
    pub(crate) path: PathBuf,
    pub(crate) packing: Option<Packing>,
    /// See the head of this file.
    pub(crate) is_succession: bool,
    /// See the head of this file.
    pub(crate) is_doubtful: bool,
}

/// The log whose history `path` is by its name.
pub(crate) fn successor_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let name = unpacked(name);
    name.match_indices(['.', '-', '_'])
        .filter(|(at, _)| *at > 0)
        .find(|(at, _)| is_addition(name.get(at + 1..).unwrap_or_default()))
        .and_then(|(at, _)| Some(path.with_file_name(name.get(..at)?)))
}

/// The log of which `path` may be a rotated file, by a name such as `app-20260131.log`.
pub(crate) fn origin_of(path: &Path) -> Option<PathBuf> {
    origins_of(path).into_iter().next()
}

/// All logs of which `path` may be a rotated file, by a name such as `app-2-20260131.log`; the shortest name first.
pub(crate) fn origins_of(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(OsStr::to_str).map(unpacked);
    let Some((stem, ending)) = name.and_then(|name| name.rsplit_once('.')) else {
        return Vec::new();
    };
    stem.match_indices(['.', '-', '_'])
        .filter(|(at, _)| *at > 0 && is_addition(stem.get(at + 1..).unwrap_or_default()))
        .filter_map(|(at, _)| Some(path.with_file_name(format!("{}.{ending}", stem.get(..at)?))))
        .collect()
}

/// What a log and its rotated files may be called: beside its path, and, where that is a link, beside what it leads to.
#[derive(Debug, Default)]
pub(crate) struct Family {
    bases: Vec<Base>,
    /// Of the names found and their inodes.
    print: u64,
    /// Names that came then or later may be missing, Unix nanoseconds.
    pub(crate) missing_ns: i64,
    /// Whether names changed since `print` was made.
    has_changed: bool,
}

#[derive(Debug)]
struct Base {
    dir: PathBuf,
    own: String,
    listing: Arc<Listing>,
}

impl Family {
    /// Looks where `path` leads, and at the names there. `true` when they are others than before.
    pub(crate) fn renew(&mut self, path: &Path, listings: &Listings, monotonic_ns: i64) -> bool {
        let mut paths = vec![path.to_owned()];
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
            && let Ok(real) = fs::canonicalize(path)
        {
            paths.extend(successor_of(&real));
            paths.push(real);
        }
        let mut missing_ns = i64::MAX;
        let base = |path: PathBuf| {
            let (dir, own) = (path.parent()?.to_owned(), path.file_name()?.to_str()?.to_owned());
            let (listing, of_dir_ns) = listings.of(&dir, monotonic_ns);
            missing_ns = missing_ns.min(of_dir_ns);
            Some(Base { listing, dir, own })
        };
        self.bases = paths.into_iter().filter_map(base).collect();
        self.missing_ns = missing_ns;
        let print = self.names_print();
        self.has_changed = false;
        std::mem::replace(&mut self.print, print) != print
    }

    /// Whether names came, went or changed hands since they were [renewed](Self::renew).
    pub(crate) fn has_changed(&mut self, listings: &Listings, monotonic_ns: i64) -> bool {
        let mut is_same = true;
        self.missing_ns = i64::MAX;
        for base in &mut self.bases {
            let (listing, missing_ns) = listings.of(&base.dir, monotonic_ns);
            self.missing_ns = self.missing_ns.min(missing_ns);
            is_same &= Arc::ptr_eq(&listing, &base.listing);
            base.listing = listing;
        }
        // Other logs of the directory may have changed.
        self.has_changed |= !is_same && self.names_print() != self.print;
        self.has_changed
    }

    /// Whether the names that were last listed are all that there were then, and the same as when they were renewed.
    pub(crate) fn is_settled(&self) -> bool {
        !self.has_changed && self.missing_ns == i64::MAX
    }

    fn names_print(&self) -> u64 {
        let mut names = Vec::new();
        for base in &self.bases {
            let of_base = base
                .names()
                .filter(|(name, _)| *name == base.own || kin(&base.dir, &base.own, name).is_some());
            for (name, ino) in of_base {
                names.extend_from_slice(name.as_bytes());
                names.push(0);
                names.extend_from_slice(&ino.to_ne_bytes());
            }
        }
        XxHash3_64::oneshot(&names)
    }

    /// The names that may be the log's history; its path is not among them.
    pub(crate) fn kin(&self) -> Vec<Kin> {
        let of_base = |base: &Base| -> Vec<Kin> {
            base.names().filter_map(|(name, _)| kin(&base.dir, &base.own, name)).collect()
        };
        let mut all: Vec<Kin> = self.bases.iter().flat_map(of_base).collect();
        // A name that says more wins.
        all.sort_by(|a, b| (&a.path, b.is_succession).cmp(&(&b.path, a.is_succession)));
        all.dedup_by(|a, b| a.path == b.path);
        all
    }

    /// Rotated files that are compressed in a way that is not read.
    pub(crate) fn unread(&self) -> Vec<PathBuf> {
        let of_base = |base: &Base| -> Vec<PathBuf> {
            let is_rotated = |path: &PathBuf| {
                let plain = path.file_stem().and_then(OsStr::to_str);
                is_unread(path)
                    && plain.is_some_and(|plain| {
                        plain == base.own || kin(&base.dir, &base.own, plain).is_some()
                    })
            };
            base.names().map(|(name, _)| base.dir.join(name)).filter(is_rotated).collect()
        };
        let mut all: Vec<PathBuf> = self.bases.iter().flat_map(of_base).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether `path` is the log's own, or what that leads to.
    pub(crate) fn is_own(&self, path: &Path) -> bool {
        self.bases.iter().any(|base| base.dir.join(&base.own) == path)
    }

    /// The names, kin or not, of the file `ino`.
    pub(crate) fn with_inode(&self, ino: u64) -> impl Iterator<Item = PathBuf> {
        let of_base = move |base: &Base| -> Vec<PathBuf> {
            base.listing.with_inode(ino).map(|name| base.dir.join(name)).collect()
        };
        self.bases.iter().flat_map(of_base)
    }
}

impl Base {
    /// The names that begin as the log's does.
    fn names(&self) -> impl Iterator<Item = (&str, u64)> {
        let stem = self.own.rsplit_once('.').map_or(self.own.as_str(), |(stem, _)| stem);
        let names = self.listing.beginning_with(OsStr::new(stem));
        names.filter_map(|(name, ino)| Some((name.to_str()?, ino)))
    }
}

fn kin(dir: &Path, own: &str, name: &str) -> Option<Kin> {
    let path = dir.join(name);
    let plain = unpacked(name);
    let addition = plain.strip_prefix(own).and_then(|rest| rest.strip_prefix(['.', '-', '_']));
    let is_succession = addition.is_some_and(is_addition);
    let is_packed_self = plain == own && plain != name;
    let (stem, ending) = own.rsplit_once('.').unwrap_or((own, ""));
    let is_infix = || {
        let middle = plain.strip_prefix(stem)?.strip_suffix(ending)?.strip_suffix('.')?;
        Some(is_addition(middle.strip_prefix(['.', '-', '_'])?))
    };
    let is_infix = is_infix() == Some(true);
    let packing = Packing::of(&path);
    let is_doubtful = is_infix && !is_succession && packing.is_some();
    (is_succession || is_packed_self || is_infix).then_some(Kin {
        path,
        packing,
        is_succession,
        is_doubtful,
    })
}

/// The name without the ending of a compression that is read.
fn unpacked(name: &str) -> &str {
    name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name)
}

/// Numbers and dates, and what is common beside them.
fn is_addition(text: &str) -> bool {
    if matches!(text, "old" | "bak" | "prev" | "save") {
        return true;
    }
    let is_date_or_number = |c: char| c.is_ascii_digit() || "-_.:+TZ".contains(c);
    text.len() <= ADDITION_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(is_date_or_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rotations() {
        let found = |name: &str| {
            kin(Path::new("/l"), "app.log", name).map(|k| (k.is_succession, k.packing.is_some()))
        };
        for (name, expected) in [
            ("app.log.1", Some((true, false))),
            ("app.log.12.gz", Some((true, true))),
            ("app.log-20260131", Some((true, false))),
            ("app.log-2026-01-31T10:00:00Z.zst", Some((true, true))),
            ("app.log_2026.01.31", Some((true, false))),
            ("app.log.old", Some((true, false))),
            ("app.log.gz", Some((false, true))),
            ("app-2026-01-31.log", Some((false, false))),
            ("app.1.log.gz", Some((false, true))),
            ("app.log", None),
            ("app.log.d", None),
            ("app.log.1.tmp", None),
            ("app-web.log", None),
            ("application.log", None),
            ("app.log.", None),
            ("app.log.1x", None),
        ] {
            assert_eq!(found(name), expected, "{name}");
        }
        for (name, expected) in [
            ("app-2026-01-31.log.gz", true),
            ("app.1.log.zst", true),
            ("app.1.log", false),
            ("app.log.1.gz", false),
            ("app.log.gz", false),
        ] {
            let found = kin(Path::new("/l"), "app.log", name).unwrap();
            assert_eq!(found.is_doubtful, expected, "{name}");
        }
        assert_eq!(kin(Path::new("/l"), "syslog", "syslog.1").map(|k| k.is_succession), Some(true));
    }

    #[test]
    fn the_log_behind_a_rotated_name() {
        let of = |name: &str| successor_of(Path::new(name));
        assert_eq!(of("/l/app.log.1"), Some("/l/app.log".into()));
        assert_eq!(of("/l/app.log.2.gz"), Some("/l/app.log".into()));
        assert_eq!(of("/l/app.log-2026-01-31"), Some("/l/app.log".into()));
        assert_eq!(of("/l/app.log.2026-01-31.1"), Some("/l/app.log".into()));
        for name in ["/l/app.log", "/l/app-1.log", "/l/app.log.gz", "/l/1", "/l/.1"] {
            assert_eq!(of(name), None, "{name}");
        }
        let of = |name: &str| origin_of(Path::new(name));
        assert_eq!(of("/l/app-2026-01-31.log"), Some("/l/app.log".into()));
        assert_eq!(of("/l/app.1.log.gz"), Some("/l/app.log".into()));
        for name in ["/l/app.log", "/l/app.log.1", "/l/app", "/l/-1.log", "/l/app-web.log"] {
            assert_eq!(of(name), None, "{name}");
        }
        let of = |name: &str| origins_of(Path::new(name));
        let paths = |names: &[&str]| -> Vec<PathBuf> { names.iter().map(PathBuf::from).collect() };
        assert_eq!(of("/l/app-2-31.log.gz"), paths(&["/l/app.log", "/l/app-2.log"]));
        assert_eq!(of("/l/app.d-2.log"), paths(&["/l/app.d.log"]));
        assert_eq!(of("/l/app.log.1"), paths(&[]));
    }
}
