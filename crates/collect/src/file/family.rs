//! Which names in a directory a rotated log file may have.
//!
//! `app.log.1`, `app.log-20260131.gz`, `app.log.old` are *successions* of `app.log`: no program writes to a log of such a
//! name, so they may be taken for its history by their name. `app-2026-01-31.log` may be one, or an instance's own log:
//! it is only *kin*, and taken for the same log when its content says so.

use std::fs;
use std::path::{Path, PathBuf};

use super::content::Packing;

/// Longest addition to a name.
const ADDITION_BYTES_MAX: usize = 48;

/// A name in the directory of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kin {
    pub(crate) path: PathBuf,
    pub(crate) packing: Option<Packing>,
    /// See the head of this file.
    pub(crate) is_succession: bool,
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

/// The names beside `path` that may be its history; `path` itself is not among them.
pub(crate) fn kin_of(path: &Path) -> Vec<Kin> {
    let (Some(dir), Some(own)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| kin(dir, own, &name)).collect()
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
    (is_succession || is_packed_self || is_infix() == Some(true)).then(|| Kin {
        packing: Packing::of(&path),
        path,
        is_succession,
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
    }
}
