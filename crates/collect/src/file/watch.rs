//! When to look: the thread that reads all logs, told of changes by inotify.
//!
//! Directories are watched, not files, so that the number of watches is that of directories. Changes are collected for a
//! moment before the files are read, so that a log that is written line by line costs a few reads a second. What inotify
//! cannot tell (its queue overflowed, watches ran out, another machine writes to a network file system) is found by
//! looking: at logs in some waiting state every second, at all paths every ten.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Clock;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::tailer::Tailer;

const MS: i64 = 1_000_000;
/// Changes are collected for so long.
const GATHER_NS: i64 = 100 * MS;
/// All paths are looked at so often.
const SCAN_EVERY_NS: i64 = 10_000 * MS;
/// After a change in a directory the next look waits so long, and longer where looking takes long.
const SCAN_PAUSE_NS: i64 = 100 * MS;
const SCAN_PAUSE_FACTOR: i64 = 20;
/// Logs that wait for something are looked at so often …
const POLL_EVERY_NS: i64 = 1_000 * MS;
/// … and all logs, where inotify does not work.
const POLL_ALL_EVERY_NS: i64 = 250 * MS;
/// Batches that the store refused are handed over again at such distances or larger ones.
const AGAIN_NS: i64 = 50 * MS;

/// Wakes the thread from any other.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn wake(&self) {
        // It fails only when it is awake for 2^64 reasons already.
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).ok();
    }

    fn settle(&self) {
        rustix::io::read(&self.0, &mut [0_u8; 8]).ok();
    }
}

/// What inotify told.
#[derive(Debug, Default)]
struct Changes {
    written: BTreeSet<PathBuf>,
    /// Names came or went.
    names: bool,
    /// Something may have been left out.
    overflow: bool,
}

struct Watches {
    inotify: Option<OwnedFd>,
    dirs: HashMap<i32, PathBuf>,
    /// Whether every directory is watched.
    are_complete: bool,
    complained: bool,
}

impl Watches {
    fn new() -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .inspect_err(|error| {
                tracing::warn!(%error, "inotify does not work here; logs are looked at four times a second");
            })
            .ok();
        Self { inotify, dirs: HashMap::new(), are_complete: false, complained: false }
    }

    /// Watches exactly these directories.
    fn set(&mut self, dirs: &BTreeSet<PathBuf>) {
        let Some(inotify) = &self.inotify else { return };
        let flags = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        let mut watched = HashMap::new();
        let mut missing = None;
        for dir in dirs {
            // The same directory keeps its number; another one of that name gets a new one.
            match inotify::add_watch(inotify, dir, flags) {
                Ok(number) => drop(watched.insert(number, dir.clone())),
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => missing = Some((dir, error)),
            }
        }
        for number in self.dirs.keys().filter(|number| !watched.contains_key(number)) {
            // It may be gone with its directory.
            inotify::remove_watch(inotify, *number).ok();
        }
        self.dirs = watched;
        self.are_complete = missing.is_none();
        if let Some((dir, error)) = missing
            && !std::mem::replace(&mut self.complained, true)
        {
            tracing::warn!(
                dir = %dir.display(),
                %error,
                "cannot watch a directory (fs.inotify.max_user_watches?); logs are looked at four times a second"
            );
        }
    }

    fn read(&self) -> Changes {
        let mut changes = Changes::default();
        let Some(inotify) = &self.inotify else { return changes };
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return changes,
                Err(_) => {
                    changes.overflow = true;
                    return changes;
                }
            };
            let flags = event.events();
            changes.overflow |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
            if flags.contains(ReadFlags::MODIFY) {
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                if let (Some(dir), Some(name)) = (self.dirs.get(&event.wd()), name) {
                    changes.written.insert(dir.join(name));
                }
            } else {
                changes.names = true;
            }
        }
    }
}

/// Reads logs until `cancel`.
pub(crate) fn run(
    mut tailer: Tailer,
    clock: &Arc<dyn Clock>,
    wake: &Wake,
    cancel: &CancellationToken,
) {
    let mut watches = Watches::new();
    let (mut scan_ns, mut scan_allowed_ns, mut poll_ns, mut events_ns) = (i64::MIN, 0, 0, i64::MIN);
    while !cancel.is_cancelled() {
        let now_ns = clock.monotonic_ns();
        if now_ns >= scan_ns {
            tailer.scan();
            watches.set(&tailer.dirs);
            if scan_ns == i64::MIN {
                // What changed before the directories were watched.
                tailer.scan();
            }
            let done_ns = clock.monotonic_ns();
            let pause_ns = (done_ns - now_ns).saturating_mul(SCAN_PAUSE_FACTOR);
            scan_allowed_ns = done_ns + pause_ns.max(SCAN_PAUSE_NS);
            scan_ns = done_ns + SCAN_EVERY_NS;
            if tailer.is_undecided {
                scan_ns = scan_ns.min(scan_allowed_ns + POLL_ALL_EVERY_NS);
            }
        }
        if now_ns >= poll_ns {
            tailer.touch_all(watches.are_complete);
            poll_ns = now_ns + if watches.are_complete { POLL_EVERY_NS } else { POLL_ALL_EVERY_NS };
        }
        while tailer.pump() && !cancel.is_cancelled() {}

        let now_ns = clock.monotonic_ns();
        let mut until_ns = scan_ns.min(poll_ns);
        if tailer.is_waiting() {
            until_ns = until_ns.min(now_ns + AGAIN_NS);
        }
        let is_listening = now_ns >= events_ns;
        if !is_listening {
            until_ns = until_ns.min(events_ns);
        }
        if wait(wake, watches.inotify.as_ref().filter(|_| is_listening), until_ns - now_ns) {
            let changes = watches.read();
            events_ns = clock.monotonic_ns() + GATHER_NS;
            for path in &changes.written {
                tailer.touch(path);
            }
            if changes.overflow {
                tailer.touch_all(false);
            }
            if changes.names || changes.overflow {
                scan_ns = scan_ns.min(scan_allowed_ns);
            }
        }
    }
    // Whoever reads these logs next must find the cursors of all that was handed over.
    while !tailer.is_settled() {
        wait(wake, None, AGAIN_NS);
    }
}

/// Waits until `wake` or, if given, `events` has something, or the time is over. `true` when events are there.
fn wait(wake: &Wake, events: Option<&OwnedFd>, timeout_ns: i64) -> bool {
    let mut fds = vec![PollFd::new(&wake.0, PollFlags::IN)];
    fds.extend(events.map(|events| PollFd::new(events, PollFlags::IN)));
    let timeout_ns = timeout_ns.max(0);
    let timeout =
        Timespec { tv_sec: timeout_ns / 1_000_000_000, tv_nsec: (timeout_ns % 1_000_000_000) as _ };
    // Interrupted or not: the caller looks at everything again.
    poll(&mut fds, Some(&timeout)).ok();
    if fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
        wake.settle();
    }
    fds.get(1).is_some_and(|fd| !fd.revents().is_empty())
}

/// Whether `path` is a symbolic link, and what it leads to.
pub(crate) fn link_target(path: &Path) -> Option<PathBuf> {
    let is_link = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    is_link.then(|| std::fs::canonicalize(path).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::sync::mpsc;
    use std::time::Duration;

    use model::{Done, Labels, LogBatch, MetricBatch, Receipt, Sink, SystemClock};
    use rustix::fs::{Mode, OFlags};

    use super::*;
    use crate::file::{Encoding, Pattern, Target, spawn};
    use crate::lines::Treatment;

    fn appending(path: &Path) -> File {
        let flags = OFlags::CREATE | OFlags::APPEND | OFlags::WRONLY;
        rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)).unwrap().into()
    }

    fn watching(dirs: &[&Path]) -> Watches {
        let mut watches = Watches::new();
        watches.set(&dirs.iter().map(|dir| dir.to_path_buf()).collect());
        assert!(watches.are_complete);
        watches
    }

    #[test]
    fn the_kernel_tells_of_writing_and_of_names() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, other) = (one.path().join("a.log"), two.path().join("b.log"));
        let mut watches = watching(&[one.path(), two.path()]);
        let told = |watches: &Watches| {
            let Changes { written, names, overflow } = watches.read();
            assert!(!overflow);
            (written.into_iter().collect::<Vec<_>>(), names)
        };
        assert_eq!(told(&watches), (vec![], false));
        let mut file = appending(&path);
        assert_eq!(told(&watches), (vec![], true));
        file.write_all(b"one\n").unwrap();
        appending(&other).write_all(b"two\n").unwrap();
        let mut both = [path.clone(), other.clone()];
        both.sort();
        assert_eq!(told(&watches), (both.to_vec(), true));
        file.set_len(0).unwrap();
        assert_eq!(told(&watches), (vec![path.clone()], false));
        rustix::fs::rename(&path, one.path().join("a.log.1")).unwrap();
        assert_eq!(told(&watches), (vec![], true));
        file.write_all(b"late\n").unwrap();
        assert_eq!(told(&watches), (vec![one.path().join("a.log.1")], false));
        rustix::fs::unlink(&other).unwrap();
        assert_eq!(told(&watches), (vec![], true));
        // A directory that is no longer watched is silent, also when another one has its name.
        watches.set(&BTreeSet::from([one.path().to_owned(), one.path().join("absent")]));
        told(&watches);
        appending(&other).write_all(b"three\n").unwrap();
        assert_eq!(told(&watches), (vec![], false));
        assert!(watches.are_complete);
    }

    #[test]
    fn an_overflow_of_the_queue_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| {
            let mut text = String::new();
            let path = format!("/proc/sys/fs/inotify/{name}");
            let flags = OFlags::RDONLY;
            let file = rustix::fs::open(path, flags, Mode::empty()).unwrap();
            std::io::Read::read_to_string(&mut File::from(file), &mut text).unwrap();
            text.trim().parse::<usize>().unwrap()
        };
        let watches = watching(&[dir.path()]);
        let mut files = [appending(&dir.path().join("a")), appending(&dir.path().join("b"))];
        // Events that are the same as the one before are merged.
        for at in 0..read("max_queued_events") + 2 {
            files[at % 2].write_all(b"\n").unwrap();
        }
        assert!(watches.read().overflow);
        assert!(!watches.read().overflow);
    }

    struct Lines(mpsc::Sender<String>);

    impl Sink for Lines {
        fn append_metrics(&self, _: MetricBatch, done: Done) {
            drop(done);
        }

        fn append_logs(&self, batch: LogBatch, done: Done) {
            for row in batch.rows.iter() {
                self.0.send(row.line.to_owned()).ok();
            }
            done.call(Ok(Receipt { stored: batch.rows.len() as u64, rejected: Vec::new() }));
        }

        fn cursor(&self, _: &str) -> model::Result<Option<Vec<u8>>> {
            Ok(None)
        }
    }

    #[tokio::test]
    async fn a_running_reader_sees_files_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let pattern = Pattern::parse(&format!("{}/**/*.log", dir.path().display())).unwrap();
        let target = Target {
            name: "t".to_owned(),
            paths: vec![pattern],
            exclude: Vec::new(),
            labels: Labels::default(),
            treatment: Arc::new(Treatment::plain(true)),
            encoding: Encoding::Utf8,
            start_at_end: false,
            unpacks: false,
            follow: Vec::new(),
            positions: Arc::default(),
        };
        let (sent, lines) = mpsc::channel();
        let cancel = CancellationToken::new();
        let clock = Arc::new(SystemClock);
        let (sink, counters) = (Arc::new(Lines(sent)), Arc::default());
        let handle = spawn(vec![target], sink, clock, counters, cancel.clone()).unwrap();
        // The patience is for a machine that is busy with something else.
        let next = || lines.recv_timeout(Duration::from_secs(60)).unwrap();
        let mut file = appending(&path("a.log"));
        for number in 0..3 {
            writeln!(file, "{number}").unwrap();
            assert_eq!(next(), number.to_string());
        }
        rustix::fs::rename(path("a.log"), path("a.log.1")).unwrap();
        appending(&path("a.log")).write_all(b"new\n").unwrap();
        assert_eq!(next(), "new");
        file.write_all(b"late\n").unwrap();
        assert_eq!(next(), "late");
        rustix::fs::mkdir(path("sub"), Mode::from_raw_mode(0o755)).unwrap();
        appending(&path("sub/b.log")).write_all(b"below\n").unwrap();
        assert_eq!(next(), "below");
        rustix::fs::symlink("a.log.1", path("c.log")).unwrap();
        rustix::fs::unlink(path("a.log")).unwrap();
        appending(&path("a.log")).write_all(b"again\n").unwrap();
        assert_eq!(next(), "again");
        cancel.cancel();
        assert!(handle.stopped().await);
        assert_eq!(lines.try_iter().count(), 0);
    }
}
