//! All logs: finds them, reads them in turn, and hands over their lines with their cursors.
//!
//! Each log has at most one batch on its way; while the store has not answered, the disk keeps the rest. Nothing here
//! waits: [`super::watch`] says when to look, and the store's answers are collected when they have come.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use model::{Clock, Done, ErrorKind, LogBatch, LogRows, Receipt, Result, Sink};

use super::Spec;
use super::family::successor_of;
use super::generation::Now;
use super::glob::Found;
use super::mark::{self, Mark};
use super::open;
use super::slot::{Beginning, Slot};
use super::watch::link_target;
use crate::counters::Counters;
use crate::lines::HeldLine;
use crate::lines::held;

/// Bytes of lines on their way to the store.
const FLYING_BYTES_MAX: usize = 16 << 20;
/// Bytes of a log's lines that wait because more is held back than a cursor takes; then nothing is held back any longer.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Logs at once.
pub(crate) const LOGS_MAX: usize = 20_000;
/// First and longest pause before a batch is handed over again.
const BACKOFF_NS: (i64, i64) = (50_000_000, 5_000_000_000);
/// Cursors of sources that are quiet for longer than the retention are forgotten by the store; so they are stored again.
const CURSOR_EVERY_NS: i64 = 3_600_000_000_000;
/// Files that are compressed in a way that is not read.
const UNREAD_ENDINGS: [&str; 9] = ["bz2", "xz", "Z", "lz4", "lzma", "br", "zip", "tar", "tgz"];

type Answer = (u64, Result<Receipt>);

/// A log and what of it is on its way.
struct Tailed {
    slot: Slot,
    /// Lines that were read and cannot be handed over yet.
    rows: LogRows,
    flying: Option<Flying>,
    /// Whether there may be something new.
    is_dirty: bool,
    saved_ns: i64,
}

struct Flying {
    batch: LogBatch,
    bytes: usize,
    /// When to hand it over again, on the monotonic clock; `None` while the store has it.
    again_ns: Option<i64>,
    pause_ns: i64,
    complained: bool,
}

/// The reader of all logs of all targets.
pub(crate) struct Tailer {
    specs: Vec<Arc<Spec>>,
    logs: BTreeMap<u64, Tailed>,
    /// By group of targets and path.
    by_path: HashMap<(usize, PathBuf), u64>,
    next_id: u64,
    flying_bytes: usize,
    /// Directories in which something may appear.
    pub(crate) dirs: BTreeSet<PathBuf>,
    /// What is written to for paths that are symbolic links.
    links: HashMap<PathBuf, Vec<PathBuf>>,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    answers: (Sender<Answer>, Receiver<Answer>),
    /// Called from the store's threads when an answer came.
    wake: Arc<dyn Fn() + Send + Sync>,
    scratch: Vec<u8>,
    is_first_scan: bool,
    skipped: BTreeSet<PathBuf>,
    refused_count: u64,
}

impl Tailer {
    pub(crate) fn new(
        specs: Vec<Arc<Spec>>,
        sink: Arc<dyn Sink>,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            specs,
            logs: BTreeMap::new(),
            by_path: HashMap::new(),
            next_id: 0,
            flying_bytes: 0,
            dirs: BTreeSet::new(),
            links: HashMap::new(),
            sink,
            clock,
            counters,
            answers: channel(),
            wake,
            scratch: Vec::new(),
            is_first_scan: true,
            skipped: BTreeSet::new(),
            refused_count: 0,
        }
    }

    fn now(&self) -> Now {
        Now { ns: self.clock.now_ns(), monotonic_ns: self.clock.monotonic_ns() }
    }

    /// Looks for new logs, and at what the paths of the known ones name now. Blocks.
    pub(crate) fn scan(&mut self) {
        let now = self.now();
        let (found, histories) = self.find();
        for tailed in self.logs.values_mut() {
            tailed.slot.refresh(now);
            tailed.is_dirty = true;
        }
        let mut fresh = Vec::new();
        for ((group, path), spec) in found {
            if self.by_path.contains_key(&(group, path.clone())) {
                continue;
            }
            let source = source_of(&spec.name, &path);
            match self.stored_marks(&source) {
                // All cursors first: a file may be known under another name.
                Ok(Some((marks, held))) => {
                    let mut slot = Slot::new(path, source, spec, Arc::clone(&self.counters));
                    slot.resume(marks, held, now);
                    self.add(group, slot, now);
                }
                Ok(None) => fresh.push((group, path, source, spec)),
                // The store will be asked again.
                Err(error) => tracing::warn!(%source, %error, "cannot read cursor, trying again"),
            }
        }
        for (group, path, source, spec) in fresh {
            let Ok(Some(seen)) = open::look(&path) else { continue };
            let known = self.known(group, seen.id());
            let mut slot =
                Slot::new(path.clone(), source, Arc::clone(&spec), Arc::clone(&self.counters));
            match known {
                // Another log reads it to its end.
                Some(mark) if !mark.is_done => continue,
                Some(mark) => {
                    slot.resume(vec![mark], Vec::new(), now);
                    slot.is_unsaved = true;
                }
                None => {
                    let beginning = Beginning {
                        offset: spec.positions.get(&path).copied(),
                        at_end: spec.start_at_end && self.is_first_scan,
                        history: histories.get(&(group, path)).cloned().unwrap_or_default(),
                    };
                    slot.begin(beginning, now);
                }
            }
            self.add(group, slot, now);
        }
        let over = |tailed: &Tailed| {
            let is_idle = tailed.flying.is_none() && !tailed.slot.flow.is_holding();
            tailed.slot.is_over() && !tailed.slot.is_unsaved && is_idle
        };
        let gone: Vec<u64> =
            self.logs.iter().filter(|(_, tailed)| over(tailed)).map(|(id, _)| *id).collect();
        for id in gone {
            self.logs.remove(&id);
            self.by_path.retain(|_, known| *known != id);
        }
        self.is_first_scan = false;
    }

    /// Marks the log at `path` as changed.
    pub(crate) fn touch(&mut self, path: &Path) {
        let links = self.links.get(path).into_iter().flatten();
        for path in links.map(PathBuf::as_path).chain([path]) {
            for group in 0..self.specs.len() {
                if let Some(id) = self.by_path.get(&(group, path.to_owned()))
                    && let Some(tailed) = self.logs.get_mut(id)
                {
                    tailed.is_dirty = true;
                }
            }
        }
    }

    /// Marks all logs as changed; `waiting_only` those that wait for something that nobody tells of.
    pub(crate) fn touch_all(&mut self, waiting_only: bool) {
        for tailed in self.logs.values_mut() {
            tailed.is_dirty |= !waiting_only || tailed.slot.is_waiting();
        }
    }

    /// Takes the store's answers, and reads a piece of every changed log. `true` when more can be read at once.
    pub(crate) fn pump(&mut self) -> bool {
        self.settle();
        let now = self.now();
        let ids: Vec<u64> = self.logs.keys().copied().collect();
        let mut has_more = false;
        for id in ids {
            let Some(tailed) = self.logs.get_mut(&id) else { continue };
            if let Some(flying) = &mut tailed.flying {
                if flying.again_ns.is_some_and(|again_ns| again_ns <= now.monotonic_ns) {
                    flying.again_ns = None;
                    let batch = flying.batch.clone();
                    self.hand_over(id, batch);
                }
                continue;
            }
            if now.monotonic_ns.saturating_sub(tailed.saved_ns) > CURSOR_EVERY_NS {
                tailed.slot.is_unsaved = true;
            }
            let mut rows = std::mem::take(&mut tailed.rows);
            tailed.slot.flush(rows.line_bytes() > WAITING_BYTES_MAX, now, &mut rows);
            let is_paused = tailed.slot.flow.is_paused(now.monotonic_ns);
            if tailed.is_dirty && !is_paused && self.flying_bytes < FLYING_BYTES_MAX {
                tailed.is_dirty = tailed.slot.read(now, &mut self.scratch, &mut rows);
                // What stays is read when the answer has come.
                has_more |= tailed.is_dirty && rows.is_empty();
            }
            if rows.is_empty() && !tailed.slot.is_unsaved {
                continue;
            }
            let Some(cursor) = tailed.slot.cursor() else {
                has_more |= tailed.is_dirty && !is_paused;
                tailed.rows = rows;
                continue;
            };
            tailed.saved_ns = now.monotonic_ns;
            let bytes = rows.line_bytes();
            let batch =
                LogBatch { source: Arc::clone(&tailed.slot.source), rows, cursor: Some(cursor) };
            let (again_ns, pause_ns, complained) = (None, BACKOFF_NS.0, false);
            self.flying_bytes += bytes;
            tailed.flying =
                Some(Flying { batch: batch.clone(), bytes, again_ns, pause_ns, complained });
            self.hand_over(id, batch);
        }
        has_more
    }

    /// Whether a log waits for a moment to come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.logs.values().any(|tailed| {
            tailed.slot.flow.is_waiting()
                || tailed.flying.as_ref().is_some_and(|flying| flying.again_ns.is_some())
        })
    }

    /// Whether the store has answered for everything handed over; what it refused may wait to be handed over again.
    pub(crate) fn is_settled(&mut self) -> bool {
        self.settle();
        let is_away = |flying: &Flying| flying.again_ns.is_none();
        !self.logs.values().any(|tailed| tailed.flying.as_ref().is_some_and(is_away))
    }

    fn hand_over(&self, id: u64, batch: LogBatch) {
        let (answers, wake) = (self.answers.0.clone(), Arc::clone(&self.wake));
        self.sink.append_logs(
            batch,
            Done::new(move |outcome| {
                // Nobody listens any more after the end.
                drop(answers.send((id, outcome)));
                wake();
            }),
        );
    }

    fn settle(&mut self) {
        while let Ok((id, outcome)) = self.answers.1.try_recv() {
            let Some(tailed) = self.logs.get_mut(&id) else { continue };
            let Some(flying) = &mut tailed.flying else { continue };
            match outcome {
                Ok(receipt) => {
                    let rejected = receipt.rejected.iter().map(|(_, n)| n).sum();
                    Counters::add(&self.counters.log_lines_stored, receipt.stored);
                    Counters::add_len(&self.counters.log_bytes_stored, flying.bytes);
                    Counters::add(&self.counters.log_lines_rejected, rejected);
                    self.flying_bytes -= flying.bytes;
                    tailed.flying = None;
                }
                Err(error) => {
                    if !flying.complained && error.kind() != ErrorKind::Busy {
                        let source = &flying.batch.source;
                        tracing::warn!(%source, %error, "cannot store log lines, trying again");
                        flying.complained = true;
                    }
                    let now_ns = self.clock.monotonic_ns();
                    flying.again_ns = Some(now_ns.saturating_add(flying.pause_ns));
                    flying.pause_ns = (flying.pause_ns * 2).min(BACKOFF_NS.1);
                }
            }
        }
    }

    fn add(&mut self, group: usize, slot: Slot, now: Now) {
        let id = self.next_id;
        self.next_id += 1;
        self.by_path.insert((group, slot.path.clone()), id);
        let saved_ns = now.monotonic_ns;
        let rows = LogRows::default();
        self.logs.insert(id, Tailed { slot, rows, flying: None, is_dirty: true, saved_ns });
    }

    fn stored_marks(&self, source: &str) -> Result<Option<(Vec<Mark>, Vec<HeldLine>)>> {
        let cursor = self.sink.cursor(source)?.unwrap_or_default();
        let Some((marks, held)) = held::decode(&cursor) else { return Ok(None) };
        Ok(mark::decode(marks).map(|marks| (marks, held)))
    }

    /// The file by its inode, if a log of the group reads or read it.
    fn known(&self, group: usize, id: (u64, u64)) -> Option<Mark> {
        let of_group = self.logs.values().filter(|tailed| tailed.slot.spec.group == group);
        of_group.filter_map(|tailed| tailed.slot.mark_of(id)).next().cloned()
    }

    /// The paths of all logs with their targets, and of the rotated files that match, too.
    #[expect(clippy::type_complexity, reason = "two tables with the same keys")]
    fn find(
        &mut self,
    ) -> (BTreeMap<(usize, PathBuf), Arc<Spec>>, BTreeMap<(usize, PathBuf), Vec<PathBuf>>) {
        let mut found: BTreeMap<(usize, PathBuf), Arc<Spec>> = BTreeMap::new();
        let (mut dirs, mut refused_count) = (BTreeSet::new(), 0);
        for spec in &self.specs {
            let mut of_spec = Found::default();
            for pattern in &spec.paths {
                pattern.find(&spec.exclude, LOGS_MAX, &mut of_spec);
            }
            dirs.append(&mut of_spec.dirs);
            refused_count += of_spec.refused_count;
            for path in of_spec.files {
                let ending =
                    path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
                let is_packed = matches!(ending, "gz" | "zst");
                if (is_packed && !spec.unpacks) || UNREAD_ENDINGS.contains(&ending) {
                    if self.skipped.insert(path.clone()) {
                        Counters::add(&self.counters.log_files_skipped, 1);
                        tracing::info!(path = %path.display(), "compressed file is not read");
                    }
                    continue;
                }
                // The first target that names a file reads it.
                found.entry((spec.group, path)).or_insert_with(|| Arc::clone(spec));
            }
        }
        if refused_count > self.refused_count {
            tracing::warn!(refused_count, "more than {LOGS_MAX} files match; the rest is not read");
            Counters::add(&self.counters.log_files_skipped, refused_count - self.refused_count);
        }
        self.links.clear();
        for (_, path) in found.keys() {
            if let Some(target) = link_target(path) {
                dirs.extend(target.parent().map(Path::to_owned));
                self.links.entry(target).or_default().push(path.clone());
            }
        }
        (self.refused_count, self.dirs) = (refused_count, dirs);
        let mut histories: BTreeMap<(usize, PathBuf), Vec<PathBuf>> = BTreeMap::new();
        for key in found.keys().cloned().collect::<Vec<_>>() {
            let (group, path) = key.clone();
            let Some(successor) = successor_of(&path).map(|path| (group, path)) else { continue };
            let is_read = found.contains_key(&successor) || self.by_path.contains_key(&successor);
            let spec = &found[&key];
            // Between two names the log may be absent for a moment.
            let is_known = is_read
                || self
                    .stored_marks(&source_of(&spec.name, &successor.1))
                    .is_ok_and(|m| m.is_some());
            if is_known {
                let spec = found.remove(&key).expect("BUG: a key of the table");
                found.entry(successor.clone()).or_insert(spec);
                histories.entry(successor).or_default().push(path);
            }
        }
        (found, histories)
    }
}

/// The key under which the store knows how far a log was read.
fn source_of(name: &str, path: &Path) -> Arc<str> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = model::text_of_bytes(path.as_os_str().as_bytes());
    Arc::from(format!("file/{name}{path}"))
}
