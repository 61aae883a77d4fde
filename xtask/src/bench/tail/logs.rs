//! Logs that are written at a pace and rotated in one way or another. Every line carries its number.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

/// Rotated files that are kept.
const KEPT: usize = 24;
/// Rotations until the writer waits for its lines to be stored: of what a reader has not read, so much comes together while
/// it is down, and nothing of it is removed.
const ROTATIONS_AHEAD: usize = KEPT / 3;
/// Lines are written together so often.
const BURST_EVERY: Duration = Duration::from_millis(10);
/// Shortest time between two rotations.
const ROTATE_EVERY: Duration = Duration::from_millis(150);
/// How long what is deleted next may take to be stored.
const STORED_WITHIN: Duration = Duration::from_secs(120);

/// How a log is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// `app.log` becomes `app.log.1`, and that `app.log.2`.
    Rename,
    /// The same, and `app.log.1` is compressed at once.
    Gzip,
    /// As logrotate's `copytruncate`.
    CopyTruncate,
    /// Emptied without a copy, once it is stored.
    Truncate,
    /// Deleted, once it is stored, and created again.
    Delete,
    /// A symbolic link is switched to another file.
    Symlink,
}

impl Way {
    pub(super) const ALL: [Self; 6] =
        [Self::Rename, Self::Gzip, Self::CopyTruncate, Self::Truncate, Self::Delete, Self::Symlink];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rename => "rename",
            Self::Gzip => "gzip",
            Self::CopyTruncate => "copytruncate",
            Self::Truncate => "truncate",
            Self::Delete => "delete+create",
            Self::Symlink => "symlink swap",
        }
    }
}

/// A log and its writer.
pub(super) struct Log {
    pub(super) dir: PathBuf,
    pub(super) name: String,
    pub(super) way: Way,
    pub(super) written: usize,
    pub(super) bytes: usize,
    pub(super) rotations: usize,
    file: File,
    text: Vec<u8>,
}

impl Log {
    pub(super) fn create(dir: &Path, name: &str, way: Way) -> Result<Self> {
        let name = name.replace(['+', ' '], "_");
        let path = dir.join(format!("{name}.log"));
        let file = if way == Way::Symlink { swap(&path, 0)? } else { appending(&path)? };
        let dir = dir.to_owned();
        Ok(Self { dir, name, way, written: 0, bytes: 0, rotations: 0, file, text: Vec::new() })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// The next lines, in one piece.
    pub(super) fn write(&mut self, lines: usize) -> Result<()> {
        self.text.clear();
        let now_ns = unix_ns();
        for n in self.written..self.written + lines {
            writeln!(
                self.text,
                "n={n} written={now_ns} level=info msg=\"request served\" method=GET path=/api/cart/{} status=200 duration=0.0{}s user=u{:08x}",
                n % 977,
                n % 89,
                n.wrapping_mul(2_654_435_761) & 0xffff_ffff
            )?;
        }
        self.file.write_all(&self.text)?;
        self.written += lines;
        self.bytes += self.text.len();
        Ok(())
    }

    /// Writes at a pace, and calls `also` between the pieces.
    pub(super) fn write_for(
        &mut self,
        time: Duration,
        lines_per_second: usize,
        mut also: impl FnMut(Duration) -> Result<()>,
    ) -> Result<()> {
        let (begun, before) = (Instant::now(), self.written);
        loop {
            let age = begun.elapsed().min(time);
            let due = (age.as_secs_f64() * lines_per_second as f64) as usize;
            self.write(due - (self.written - before))?;
            also(age)?;
            if age == time {
                return Ok(());
            }
            std::thread::sleep(BURST_EVERY);
        }
    }

    /// Writes and rotates until it was rotated so often, or `failed`. `is_stored` tells whether the last line is stored.
    pub(super) fn live(
        &mut self,
        rotations: usize,
        lines_per_second: usize,
        failed: &AtomicBool,
        is_stored: impl Fn(&Self) -> Result<bool>,
    ) -> Result<()> {
        while self.rotations < rotations && !failed.load(Ordering::Relaxed) {
            self.write_for(ROTATE_EVERY, lines_per_second, |_| Ok(()))?;
            let is_gone_next = matches!(self.way, Way::Truncate | Way::Delete);
            if is_gone_next || self.rotations.is_multiple_of(ROTATIONS_AHEAD) {
                let deadline = Instant::now() + STORED_WITHIN;
                while !is_stored(self)? {
                    ensure!(Instant::now() < deadline, "{} is not stored in time", self.name);
                    std::thread::sleep(BURST_EVERY);
                }
            }
            self.rotate()?;
            self.rotations += 1;
        }
        self.write(1)
    }

    fn rotate(&mut self) -> Result<()> {
        let path = self.path();
        match self.way {
            Way::Rename | Way::Gzip | Way::CopyTruncate => self.rotate_numbered(&path)?,
            Way::Truncate => self.file.set_len(0)?,
            Way::Delete => {
                fs::remove_file(&path)?;
                self.file = appending(&path)?;
            }
            Way::Symlink => {
                let number = self.rotations + 1;
                self.file = swap(&path, number)?;
                if let Some(old) = number.checked_sub(KEPT) {
                    fs::remove_file(numbered(&path, old, ""))?;
                }
            }
        }
        Ok(())
    }

    fn rotate_numbered(&mut self, path: &Path) -> Result<()> {
        for number in (1..=KEPT).rev() {
            for ending in ["", ".gz"] {
                let from = numbered(path, number, ending);
                if !from.exists() {
                } else if number == KEPT {
                    fs::remove_file(from)?;
                } else {
                    fs::rename(&from, numbered(path, number + 1, ending))?;
                }
            }
        }
        let first = numbered(path, 1, "");
        if self.way == Way::CopyTruncate {
            fs::copy(path, &first)?;
            return Ok(self.file.set_len(0)?);
        }
        fs::rename(path, &first)?;
        self.file = appending(path)?;
        if self.way == Way::Gzip {
            let status =
                Command::new("gzip").arg("-1").arg(&first).status().context("start gzip")?;
            ensure!(status.success(), "gzip failed on {}", first.display());
        }
        Ok(())
    }
}

fn numbered(path: &Path, number: usize, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}.{number}{ending}", path.display()))
}

/// Lets the link `path` lead to a new file.
fn swap(path: &Path, number: usize) -> Result<File> {
    let (file, link) = (numbered(path, number, ""), path.with_extension("new"));
    let opened = appending(&file)?;
    std::os::unix::fs::symlink(file.file_name().context("it has a name")?, &link)?;
    fs::rename(link, path)?;
    Ok(opened)
}

fn appending(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("create {}", path.display()))
}

/// The number of a line.
pub(super) fn number_of(line: &str) -> Option<usize> {
    line.strip_prefix("n=")?.split(' ').next()?.parse().ok()
}

/// When a line was written, wherever in `text` it stands.
pub(super) fn written_ns(text: &str) -> Option<i64> {
    text.split("written=").nth(1)?.split(' ').next()?.parse().ok()
}

/// Nanoseconds since 1970.
pub(super) fn unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
