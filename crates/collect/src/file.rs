//! Log files: found by patterns, read as they grow, every line once.
//!
//! Owns: patterns, safe opening, recognition of files across rotation, reading, and the thread that does it. Does not own:
//! configuration files (`taffrail`), what a line means (`ingest::logline`), storage.
//!
//! ```text
//!  glob ── paths ──► tailer ── one per log ──► slot ── one per file ──► generation ──► content, split
//!                      ▲                         │
//!  watch (inotify) ────┘                         └── lines and cursor "file/<name><path>" ──► Sink
//! ```
//!
//! A log survives being renamed, copied and emptied, compressed, deleted, or replaced by another file with the same inode,
//! also while nothing reads it; see [`slot`]. Cursors are stored with the lines, so that a crash repeats and loses none.

mod content;
mod family;
pub(crate) mod fuzzing;
mod generation;
mod glob;
mod listing;
mod mark;
mod open;
mod positions;
mod slot;
mod split;
mod tailer;
#[cfg(test)]
mod tests;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{Clock, Error, Labels, Result, Sink};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use glob::Pattern;
pub use positions::{FilePositions, Positions};
pub use split::Encoding;

use crate::counters::Counters;
use crate::lines::Treatment;

/// How long [`Handle::stopped`] waits for the thread.
const STOP_WAIT: Duration = Duration::from_secs(2);
/// Files held open, even where the system allows the process hardly any.
const OPEN_FILES_MIN: usize = 64;

/// Log files that are read in the same way.
#[derive(Debug, Clone)]
pub struct Target {
    /// Part of the cursors' keys. Targets of the same name share files: the first that matches a path reads it.
    pub name: String,
    /// Which files.
    pub paths: Vec<Pattern>,
    /// Which of them not.
    pub exclude: Vec<Pattern>,
    /// Labels of all lines; `filename` is added.
    pub labels: Labels,
    /// What becomes of the lines.
    pub treatment: Arc<Treatment>,
    /// How the text is written.
    pub encoding: Encoding,
    /// Whether files that are there when they are looked for first are read from their end.
    pub start_at_end: bool,
    /// Whether files that end in `.gz` or `.zst` are unpacked and read; otherwise they are left alone.
    pub unpacks: bool,
    /// Directories, beside those of the patterns, into which symbolic links may lead.
    pub follow: Vec<PathBuf>,
    /// Where another program stopped reading, for files without a cursor.
    pub positions: Arc<FilePositions>,
}

/// A [`Target`] as the reader has it.
#[derive(Debug)]
struct Spec {
    /// Number of the name.
    group: usize,
    name: String,
    paths: Vec<Pattern>,
    exclude: Vec<Pattern>,
    labels: Labels,
    treatment: Arc<Treatment>,
    encoding: Encoding,
    start_at_end: bool,
    unpacks: bool,
    /// Directories in which files may lie.
    roots: Vec<PathBuf>,
    positions: Arc<FilePositions>,
}

/// A running file collector.
#[derive(Debug)]
pub struct Handle {
    /// What was read, cut, lost.
    pub counters: Arc<Counters>,
    ended: oneshot::Receiver<()>,
}

impl Handle {
    /// Waits, after the cancellation, for the end; at most 2 s. `true` when it came.
    pub async fn stopped(self) -> bool {
        tokio::time::timeout(STOP_WAIT, self.ended).await.is_ok()
    }

    /// Waits, after the cancellation, until the store has answered for everything handed over, however long that takes: a
    /// reader started then goes on where this one stopped.
    pub async fn settled(self) {
        // The sender is gone when the thread is.
        self.ended.await.ok();
    }
}

/// Starts reading; must be called inside a tokio runtime. It goes on until `cancel`. What happens is counted in `counters`.
///
/// # Errors
/// [`Io`](model::ErrorKind::Io) when the thread cannot be started.
pub fn spawn(
    targets: Vec<Target>,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    cancel: CancellationToken,
) -> Result<Handle> {
    let (end, ended) = oneshot::channel();
    if targets.is_empty() {
        return Ok(Handle { counters, ended });
    }
    let failed = |error: std::io::Error| Error::io("start reading log files", error);
    let wake = Arc::new(watch::Wake::new().map_err(|errno| failed(errno.into()))?);
    let (answered, cancelled) = (Arc::clone(&wake), Arc::clone(&wake));
    let tailer = tailer::Tailer::new(
        specs(targets),
        sink,
        Arc::clone(&clock),
        Arc::clone(&counters),
        Arc::new(move || answered.wake()),
        open_files_max(),
    );
    let stop = cancel.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        cancelled.wake();
    });
    std::thread::Builder::new()
        .name("files".to_owned())
        .spawn(move || {
            watch::run(tailer, &clock, &wake, &cancel);
            // Nobody may wait for it.
            end.send(()).ok();
        })
        .map_err(failed)?;
    Ok(Handle { counters, ended })
}

/// Between two calls of the system others may change what was asked about; tests do so here.
#[inline]
fn others_act() {
    #[cfg(test)]
    tests::writer::others_act();
}

/// Files that may be held open: half of what the process may.
fn open_files_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    (limit / 2).max(OPEN_FILES_MIN)
}

fn specs(targets: Vec<Target>) -> Vec<Arc<Spec>> {
    let mut names: Vec<String> = Vec::new();
    let mut group = |name: &String| {
        names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.clone());
            names.len() - 1
        })
    };
    let spec = |target: Target| {
        let mut roots: Vec<PathBuf> = target.paths.iter().flat_map(Pattern::bases).collect();
        roots.extend(target.follow);
        roots.sort();
        roots.dedup();
        Arc::new(Spec {
            group: group(&target.name),
            name: target.name,
            paths: target.paths,
            exclude: target.exclude,
            labels: target.labels,
            treatment: target.treatment,
            encoding: target.encoding,
            start_at_end: target.start_at_end,
            unpacks: target.unpacks,
            roots,
            positions: target.positions,
        })
    };
    targets.into_iter().map(spec).collect()
}
