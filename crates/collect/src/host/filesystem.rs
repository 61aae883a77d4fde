//! Mounted filesystems: sizes from the kernel for what `mountinfo` lists, without node_exporter's default exclusions.

use std::path::{Path, PathBuf};

use rustix::fs::StatVfs;

use super::Round;
use crate::container::cgroup::read_file;
use crate::metadata::{Described, GAUGE};

pub(super) const METRICS: &[Described] = &[
    ("node_filesystem_size_bytes", GAUGE, "Filesystem size in bytes."),
    ("node_filesystem_free_bytes", GAUGE, "Filesystem free space in bytes."),
    (
        "node_filesystem_avail_bytes",
        GAUGE,
        "Filesystem space available to non-root users in bytes.",
    ),
    ("node_filesystem_files", GAUGE, "Filesystem total file nodes."),
    ("node_filesystem_files_free", GAUGE, "Filesystem total free file nodes."),
    ("node_filesystem_readonly", GAUGE, "Filesystem read-only status."),
    (
        "node_filesystem_device_error",
        GAUGE,
        "Whether an error occurred while getting statistics for the given device.",
    ),
];

/// Most filesystems of one host.
const FILESYSTEMS_MAX: usize = 512;

/// One mounted filesystem.
#[derive(Debug, Clone)]
pub struct Filesystem {
    /// Device as mounted.
    pub device: String,
    /// Type, e.g. `ext4`.
    pub fstype: String,
    /// Where it is mounted on the host.
    pub mountpoint: String,
    /// Whether it is mounted read-only.
    pub readonly: bool,
    /// Sizes; `None` when the kernel refused them.
    pub sizes: Option<Sizes>,
}

/// Sizes of a filesystem.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Bytes in all.
    pub size_bytes: f64,
    /// Free bytes.
    pub free_bytes: f64,
    /// Free bytes that anybody may use.
    pub avail_bytes: f64,
    /// File nodes in all.
    pub files: f64,
    /// Free file nodes.
    pub files_free: f64,
}

/// Lists and measures; may block on a network filesystem.
pub(super) fn read(proc_root: &Path, root: &Path) -> Vec<Filesystem> {
    let mut found = Vec::new();
    for process in ["1", "self"] {
        let path = proc_root.join(process).join("mountinfo");
        let read = read_file(&path, &mut Vec::new(), |text| found = decode_mounts(text));
        if read.is_ok() {
            break;
        }
    }
    for filesystem in &mut found {
        let path: PathBuf = root.join(filesystem.mountpoint.trim_start_matches('/'));
        filesystem.sizes = rustix::fs::statvfs(&path).ok().map(|stat| sizes(&stat));
    }
    found
}

fn sizes(stat: &StatVfs) -> Sizes {
    let block = stat.f_frsize as f64;
    Sizes {
        size_bytes: stat.f_blocks as f64 * block,
        free_bytes: stat.f_bfree as f64 * block,
        avail_bytes: stat.f_bavail as f64 * block,
        files: stat.f_files as f64,
        files_free: stat.f_ffree as f64,
    }
}

/// The filesystems in the text of a `mountinfo` file, each mount point once (the last mount covers the others).
///
/// Shape: `id parent major:minor root mountpoint options [tags] - fstype device super-options`.
fn decode_mounts(text: &str) -> Vec<Filesystem> {
    let mut found: Vec<Filesystem> = Vec::new();
    for line in text.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let mut head = head.split(' ').skip(4);
        let (Some(mountpoint), Some(options)) = (head.next(), head.next()) else { continue };
        let mut tail = tail.split(' ');
        let (Some(fstype), Some(device)) = (tail.next(), tail.next()) else { continue };
        let super_options = tail.next().unwrap_or("");
        let mountpoint = unescape(mountpoint);
        if is_excluded(&mountpoint, fstype) || found.len() >= FILESYSTEMS_MAX {
            continue;
        }
        found.retain(|known| known.mountpoint != mountpoint);
        let readonly = |options: &str| options.split(',').any(|option| option == "ro");
        found.push(Filesystem {
            device: unescape(device),
            fstype: fstype.to_owned(),
            mountpoint,
            readonly: readonly(options) || readonly(super_options),
            sizes: None,
        });
    }
    found
}

/// Spaces, tabs, newlines and backslashes are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, after.get(3..)) {
            (Some(code @ 0..=0x7f), Some(tail)) => {
                plain.push(char::from(code));
                rest = tail;
            }
            _ => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// node_exporter's default exclusions of mount points and types.
fn is_excluded(mountpoint: &str, fstype: &str) -> bool {
    const TYPES: [&str; 26] = [
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "erofs",
        "fusectl",
        "hugetlbfs",
        "iso9660",
        "mqueue",
        "nsfs",
        "overlay",
        "proc",
        "procfs",
        "pstore",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "squashfs",
        "sysfs",
        "tracefs",
        "fuse.lxcfs",
    ];
    let below = |dir: &str| {
        mountpoint.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let inside = |dir: &str| mountpoint.strip_prefix(dir).is_some_and(|rest| rest.len() > 1);
    TYPES.contains(&fstype)
        || ["/dev", "/proc", "/sys"].into_iter().any(below)
        || ["/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"]
            .into_iter()
            .any(|dir| below(dir) && inside(dir))
}

pub(super) fn put(round: &mut Round<'_>, filesystems: &[Filesystem]) {
    for filesystem in filesystems {
        let labels = [
            ("device", filesystem.device.as_str()),
            ("fstype", filesystem.fstype.as_str()),
            ("mountpoint", filesystem.mountpoint.as_str()),
        ];
        if let Some(sizes) = filesystem.sizes {
            round.put_with("node_filesystem_size_bytes", &labels, sizes.size_bytes);
            round.put_with("node_filesystem_free_bytes", &labels, sizes.free_bytes);
            round.put_with("node_filesystem_avail_bytes", &labels, sizes.avail_bytes);
            round.put_with("node_filesystem_files", &labels, sizes.files);
            round.put_with("node_filesystem_files_free", &labels, sizes.files_free);
        }
        let flag = |set: bool| f64::from(u8::from(set));
        round.put_with("node_filesystem_readonly", &labels, flag(filesystem.readonly));
        let error = flag(filesystem.sizes.is_none());
        round.put_with("node_filesystem_device_error", &labels, error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_decoded_excluded_and_unescaped() {
        let text = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                    23 22 0:21 / /proc rw - proc proc rw\n\
                    24 22 8:2 / /mnt/with\\040space ro - xfs /dev/sdb rw\n\
                    25 22 0:30 / /var/lib/docker/overlay2/x/merged rw - ext4 /dev/sdc rw\n\
                    26 22 0:31 / /var/lib/docker rw - ext4 /dev/sdc rw\nnonsense\n";
        let found = decode_mounts(text);
        let points: Vec<_> = found.iter().map(|f| (f.mountpoint.as_str(), f.readonly)).collect();
        assert_eq!(points, [("/", false), ("/mnt/with space", true), ("/var/lib/docker", false)]);
    }
}
