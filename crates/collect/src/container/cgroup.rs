//! Finds a container's cgroup and reads its files into a [`Usage`], with reused buffers.
//!
//! The files of `/proc/<pid>/cgroup` name the path below each hierarchy; from inside another cgroup namespace they start
//! with `/..`, and then the places where runtimes put containers are tried. Does not own: what the texts mean
//! (`ingest::docker::cgroup`).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ingest::docker::cgroup::{self, path_of};
use ingest::docker::{Usage, netdev};

/// Longest file read; cgroup files are far shorter, only `cgroup.procs` grows.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the kernel's files are.
#[derive(Debug, Clone)]
pub struct Roots {
    /// Usually `/proc`.
    pub proc: PathBuf,
    /// Usually `/sys`.
    pub sys: PathBuf,
}

/// The files of one container's run.
#[derive(Debug)]
pub struct Location {
    /// The cgroup path, e.g. `/docker/<id>`: cAdvisor's `id` label.
    pub path: String,
    files: Vec<(PathBuf, &'static cgroup::File)>,
    netdev: PathBuf,
}

impl Location {
    /// Finds the files of container `id` whose main process is `pid`.
    ///
    /// # Errors
    /// When the process is gone or none of the places exists; the daemon's own figures are the way then.
    pub fn find(roots: &Roots, pid: u32, id: &str) -> io::Result<Self> {
        let process = roots.proc.join(pid.to_string());
        let mut text = String::new();
        read_file(&process.join("cgroup"), &mut Vec::new(), |t| t.clone_into(&mut text))?;
        let mount = roots.sys.join("fs/cgroup");
        let unified = mount.join("cgroup.controllers").exists();
        let table = if unified { cgroup::V2 } else { cgroup::V1 };
        let key = if unified { "" } else { "memory" };
        let listed = path_of(&text, key).or_else(|| path_of(&text, "cpuacct")).unwrap_or("");
        let path = candidates(listed, id)
            .into_iter()
            .find(|p| controller_dir(&mount, key, p).is_dir())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no cgroup directory"))?;
        let namespaced = path != listed;
        let files = table
            .iter()
            .map(|file| {
                // v1 may put a container at a different path per controller.
                let own = path_of(&text, file.controller).filter(|_| !namespaced && !unified);
                let dir = controller_dir(&mount, file.controller, own.unwrap_or(&path));
                (dir.join(file.name), file)
            })
            .filter(|(path, _)| path.exists())
            .collect();
        Ok(Self { path, files, netdev: process.join("net/dev") })
    }

    /// Reads all files; the container may vanish in between, then what was read so far does not count.
    ///
    /// # Errors
    /// When the cgroup is gone or may not be read.
    pub fn read(&self, usage: &mut Usage, buffer: &mut Vec<u8>) -> io::Result<()> {
        usage.clear();
        let mut first_error = None;
        for (path, file) in &self.files {
            if let Err(error) = read_file(path, buffer, |text| file.apply(text, usage)) {
                first_error.get_or_insert(error);
            }
        }
        if usage.cpu_usage_ns.is_none() && usage.memory_usage.is_none() {
            return Err(first_error.unwrap_or_else(|| io::ErrorKind::NotFound.into()));
        }
        // The process may end a moment before its cgroup does; its last CPU and memory figures are still good.
        let network = read_file(&self.netdev, buffer, |t| netdev::decode(t, &mut usage.interfaces));
        if network.is_err() {
            usage.interfaces.clear();
        }
        Ok(())
    }
}

/// The listed path, or, when it lies outside of our namespace, where runtimes put containers.
fn candidates(listed: &str, id: &str) -> Vec<String> {
    if !listed.is_empty() && listed != "/" && !listed.contains("/..") {
        return vec![listed.to_owned()];
    }
    vec![
        format!("/docker/{id}"),
        format!("/system.slice/docker-{id}.scope"),
        format!("/machine.slice/libpod-{id}.scope"),
        format!("/libpod_parent/libpod-{id}"),
    ]
}

fn controller_dir(mount: &Path, controller: &str, path: &str) -> PathBuf {
    let mut dir = mount.to_path_buf();
    if !controller.is_empty() {
        dir.push(controller);
        if !dir.is_dir() {
            // Distributions without the symlinks mount these two together.
            for joint in ["cpu,cpuacct", "cpuacct,cpu"] {
                if joint.split(',').any(|c| c == controller) && mount.join(joint).is_dir() {
                    dir = mount.join(joint);
                }
            }
        }
    }
    dir.push(path.trim_start_matches('/'));
    dir
}

/// Reads a kernel file through `buffer` and hands its text on (invalid UTF-8 replaced).
///
/// # Errors
/// As the operating system says.
pub(crate) fn read_file(
    path: &Path,
    buffer: &mut Vec<u8>,
    mut take: impl FnMut(&str),
) -> io::Result<()> {
    buffer.clear();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(buffer)?;
    take(&String::from_utf8_lossy(buffer));
    Ok(())
}
