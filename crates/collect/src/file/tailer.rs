//! All logs: finds them, reads them in turn, and hands over their lines with their cursors.
//!
//! Each log has at most one batch on its way; while the store has not answered, the disk keeps the rest. Nothing here
//! waits: [`super::watch`] says when to look, and the store's answers are collected when they have come.

mod doubts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use model::{Clock, Done, ErrorKind, LogBatch, LogRows, Receipt, Result, Sink};

use super::Spec;
use super::content::{Packing, is_unread};
use super::family::{origin_of, successor_of};
use super::generation::Now;
use super::glob::Found;
use super::listing::Listings;
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
    /// When something was read of it last.
    read_ns: i64,
    open_count: usize,
    /// Whether it may be a copy of another log that is still being made: what comes to it is read only if it is not what
    /// that one holds.
    may_be_copied: bool,
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
    /// Logs of which something is to be read or stored, and nothing is on its way.
    due: BTreeSet<u64>,
    /// Logs that wait for a moment: a batch was refused, or lines are held back.
    waiting: BTreeSet<u64>,
    flying_bytes: usize,
    /// Files open, and how many may be.
    open_count: usize,
    open_max: usize,
    listings: Arc<Listings>,
    /// Whether a file waits to be judged.
    pub(crate) is_undecided: bool,
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
        open_max: usize,
    ) -> Self {
        Self {
            specs,
            logs: BTreeMap::new(),
            by_path: HashMap::new(),
            next_id: 0,
            due: BTreeSet::new(),
            waiting: BTreeSet::new(),
            flying_bytes: 0,
            open_count: 0,
            open_max,
            listings: Arc::default(),
            is_undecided: false,
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
        let ids: Vec<u64> = self.logs.keys().copied().collect();
        for id in ids {
            self.with_slot(id, |slot| slot.refresh(now));
            self.due(id);
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
                    let mut slot = self.slot(path, source, spec);
                    slot.resume(marks, held, now);
                    let may_be_copied = origin_of(&slot.path).is_some();
                    self.add(group, slot, may_be_copied, now);
                }
                Ok(None) => fresh.push((group, path, source, spec)),
                // The store will be asked again.
                Err(error) => tracing::warn!(%source, %error, "cannot read cursor, trying again"),
            }
        }
        self.is_undecided = false;
        // What another program had read first: it may have another name now, and match by that, too.
        fresh.sort_by_key(|(_, path, _, spec)| !spec.positions.offsets.contains_key(path));
        let mut known = if fresh.is_empty() { HashMap::new() } else { self.known_files() };
        for (group, path, source, spec) in fresh {
            let Ok(Some(seen)) = open::look(&path) else { continue };
            let mut slot = self.slot(path.clone(), source, Arc::clone(&spec));
            let mut may_be_copied = false;
            match known.get(&(group, seen.id())) {
                // Another log reads it to its end.
                Some((_, true)) => continue,
                // Unless its inode was given to another file.
                Some((mark, _)) if slot.is_file_of(mark) => {
                    if !mark.is_done {
                        continue;
                    }
                    slot.resume(vec![mark.clone()], Vec::new(), now);
                    slot.is_unsaved = true;
                }
                _ => {
                    // What another log has read of it, or reads, is not read again.
                    let Ok(is_copy) = self.is_copy(group, &path, now) else {
                        self.is_undecided = true;
                        continue;
                    };
                    may_be_copied = is_copy.is_some();
                    let history = histories.get(&(group, path.clone())).cloned();
                    let beginning = Beginning {
                        offset: spec.positions.offsets.get(&path).copied(),
                        saved_ns: spec.positions.saved_ns,
                        at_end: (spec.start_at_end && self.is_first_scan) || may_be_copied,
                        history: history.unwrap_or_default(),
                    };
                    slot.begin(beginning, now);
                }
            }
            known.extend(files_of(group, &slot));
            self.add(group, slot, may_be_copied, now);
        }
        let over = |tailed: &Tailed| {
            let is_idle = tailed.flying.is_none() && !tailed.slot.flow.is_holding();
            tailed.slot.is_over() && !tailed.slot.is_unsaved && is_idle
        };
        self.logs.retain(|id, tailed| {
            let goes = over(tailed);
            if goes {
                self.by_path.remove(&(tailed.slot.spec.group, tailed.slot.path.clone()));
                self.due.remove(id);
                self.waiting.remove(id);
                self.open_count -= tailed.open_count;
            }
            !goes
        });
        self.is_first_scan = false;
    }

    fn slot(&self, path: PathBuf, source: Arc<str>, spec: Arc<Spec>) -> Slot {
        Slot::new(path, source, spec, Arc::clone(&self.listings), Arc::clone(&self.counters))
    }

    /// Does something with a log, and keeps to the number of files that may be open.
    fn with_slot<T>(&mut self, id: u64, act: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let tailed = self.logs.get_mut(&id)?;
        let done = act(&mut tailed.slot);
        let open_count = tailed.slot.open_count();
        self.open_count = self.open_count + open_count - tailed.open_count;
        tailed.open_count = open_count;
        if self.open_count > self.open_max {
            self.rest();
        }
        Some(done)
    }

    /// Closes files that were quiet longest, until half as many are open as may be.
    fn rest(&mut self) {
        let open = self.logs.iter().filter(|(_, tailed)| tailed.open_count > 0);
        let mut quiet: Vec<(i64, u64)> = open.map(|(id, tailed)| (tailed.read_ns, *id)).collect();
        quiet.sort_unstable();
        for (_, id) in quiet {
            if self.open_count <= self.open_max / 2 {
                return;
            }
            if let Some(tailed) = self.logs.get_mut(&id) {
                tailed.slot.rest();
                let open_count = tailed.slot.open_count();
                self.open_count -= tailed.open_count - open_count;
                tailed.open_count = open_count;
            }
        }
    }

    /// How long the file is that holds what is, or was, read by the log of which it may be a copy by its name; `None` when
    /// it holds something else.
    ///
    /// # Errors
    /// While that cannot be told.
    fn is_copy(&mut self, group: usize, path: &Path, now: Now) -> std::io::Result<Option<u64>> {
        let origin = origin_of(path).and_then(|origin| self.by_path.get(&(group, origin)).copied());
        let judged = origin.and_then(|id| {
            self.with_slot(id, |slot| {
                let packing = slot.spec.unpacks.then(|| Packing::of(path)).flatten();
                slot.has_content_of(path, packing, now)
            })
        });
        judged.unwrap_or(Ok(None))
    }

    /// Whether what came to a log that may be a copy in the making is to be read. What its original holds is passed over.
    fn is_its_own(&mut self, id: u64, now: Now) -> bool {
        let Some(tailed) = self.logs.get_mut(&id) else { return false };
        if !tailed.may_be_copied {
            return true;
        }
        let (group, path) = (tailed.slot.spec.group, tailed.slot.path.clone());
        let seen = open::look(&path).ok().flatten();
        match seen.and_then(|seen| tailed.slot.has_grown(&seen)) {
            Some(false) => return false,
            Some(true) => match self.is_copy(group, &path, now) {
                Ok(Some(len)) => {
                    self.with_slot(id, |slot| slot.pass_over(len));
                    return false;
                }
                Ok(None) => {}
                Err(_) => {
                    self.is_undecided = true;
                    return false;
                }
            },
            // Another file has its name.
            None => {}
        }
        if let Some(tailed) = self.logs.get_mut(&id) {
            tailed.may_be_copied = false;
        }
        true
    }

    /// The files of all logs, by group and inode; and whether they are open.
    fn known_files(&self) -> HashMap<(usize, (u64, u64)), (Mark, bool)> {
        let slots = self.logs.values().map(|tailed| &tailed.slot);
        slots.flat_map(|slot| files_of(slot.spec.group, slot)).collect()
    }

    /// Marks the log at `path` as changed.
    pub(crate) fn touch(&mut self, path: &Path) {
        let links = self.links.get(path).into_iter().flatten();
        let paths: Vec<&Path> = links.map(PathBuf::as_path).chain([path]).collect();
        let mut ids = Vec::new();
        for path in paths {
            let keys = (0..self.specs.len()).map(|group| (group, path.to_owned()));
            ids.extend(keys.filter_map(|key| self.by_path.get(&key)));
        }
        for id in ids {
            self.due(id);
        }
    }

    /// Marks all logs as changed; `waiting_only` those that wait for something that nobody tells of.
    pub(crate) fn touch_all(&mut self, waiting_only: bool) {
        let now_ns = self.clock.monotonic_ns();
        let mut ids = Vec::new();
        for (id, tailed) in &mut self.logs {
            let must_save = now_ns.saturating_sub(tailed.saved_ns) > CURSOR_EVERY_NS;
            tailed.slot.is_unsaved |= must_save;
            if must_save || !waiting_only || tailed.slot.is_waiting() {
                ids.push(*id);
            }
        }
        for id in ids {
            self.due(id);
        }
    }

    /// There may be something new in a log.
    fn due(&mut self, id: u64) {
        if let Some(tailed) = self.logs.get_mut(&id) {
            tailed.is_dirty = true;
            // Otherwise it is read when the answer has come.
            if tailed.flying.is_none() {
                self.due.insert(id);
            }
        }
    }

    /// Takes the store's answers, and reads a piece of every changed log. `true` when more can be read at once.
    pub(crate) fn pump(&mut self) -> bool {
        self.settle();
        let now = self.now();
        let mut ids = std::mem::take(&mut self.due);
        ids.extend(&self.waiting);
        let mut has_more = false;
        for id in ids {
            has_more |= self.visit(id, now);
        }
        has_more
    }

    /// Reads a piece of a log and hands it over. `true` when more of it can be read at once.
    fn visit(&mut self, id: u64, now: Now) -> bool {
        let has_room = self.flying_bytes < FLYING_BYTES_MAX;
        let Some(tailed) = self.logs.get_mut(&id) else { return false };
        if let Some(flying) = &mut tailed.flying {
            if flying.again_ns.is_some_and(|again_ns| again_ns <= now.monotonic_ns) {
                flying.again_ns = None;
                let batch = flying.batch.clone();
                self.waiting.remove(&id);
                self.hand_over(id, batch);
            }
            // It is due again when the answer has come.
            return false;
        }
        let mut rows = std::mem::take(&mut tailed.rows);
        tailed.slot.flush(rows.line_bytes() > WAITING_BYTES_MAX, now, &mut rows);
        let is_read = tailed.is_dirty && has_room && !tailed.slot.flow.is_paused(now.monotonic_ns);
        if is_read && self.is_its_own(id, now) {
            let mut scratch = std::mem::take(&mut self.scratch);
            let has_more = self.with_slot(id, |slot| slot.read(now, &mut scratch, &mut rows));
            self.scratch = scratch;
            let tailed = self.logs.get_mut(&id).expect("BUG: a log that was read just now");
            tailed.is_dirty = has_more == Some(true);
            self.settle_doubts(id, now);
        } else if is_read {
            let tailed = self.logs.get_mut(&id).expect("BUG: a log that was judged just now");
            tailed.is_dirty = false;
        }
        let tailed = self.logs.get_mut(&id).expect("BUG: a log that was read just now");
        if tailed.slot.flow.is_waiting() {
            self.waiting.insert(id);
        } else {
            self.waiting.remove(&id);
        }
        let has_news = !rows.is_empty() || tailed.slot.is_unsaved;
        let Some(cursor) = has_news.then(|| tailed.slot.cursor()).flatten() else {
            tailed.rows = rows;
            if tailed.is_dirty {
                // Where there is no room, an answer of the store will come.
                self.due.insert(id);
            }
            return tailed.is_dirty && is_read;
        };
        (tailed.saved_ns, tailed.read_ns) = (now.monotonic_ns, now.monotonic_ns);
        let bytes = rows.line_bytes();
        let batch =
            LogBatch { source: Arc::clone(&tailed.slot.source), rows, cursor: Some(cursor) };
        let (again_ns, pause_ns, complained) = (None, BACKOFF_NS.0, false);
        self.flying_bytes += bytes;
        tailed.flying =
            Some(Flying { batch: batch.clone(), bytes, again_ns, pause_ns, complained });
        self.hand_over(id, batch);
        false
    }

    /// Whether a log waits for a moment to come.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the store has answered for everything handed over; what it refused may wait to be handed over again.
    pub(crate) fn is_settled(&mut self) -> bool {
        self.settle();
        let is_away = |flying: &Flying| flying.again_ns.is_none();
        !self.logs.values().any(|tailed| tailed.flying.as_ref().is_some_and(is_away))
    }

    /// Whether, besides, nothing is to be read.
    #[cfg(test)]
    pub(crate) fn is_idle(&mut self) -> bool {
        self.is_settled() && self.due.is_empty()
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
                    if tailed.is_dirty || tailed.slot.is_unsaved || tailed.slot.flow.is_waiting() {
                        self.due.insert(id);
                    }
                }
                Err(error) => {
                    if !flying.complained && error.kind() != ErrorKind::Busy {
                        let source = &flying.batch.source;
                        tracing::warn!(%source, %error, "cannot store log lines, trying again");
                        flying.complained = true;
                    }
                    let now_ns = self.clock.monotonic_ns();
                    flying.again_ns = Some(now_ns.saturating_add(flying.pause_ns));
                    self.waiting.insert(id);
                    flying.pause_ns = (flying.pause_ns * 2).min(BACKOFF_NS.1);
                }
            }
        }
    }

    fn add(&mut self, group: usize, slot: Slot, may_be_copied: bool, now: Now) {
        let id = self.next_id;
        self.next_id += 1;
        self.by_path.insert((group, slot.path.clone()), id);
        let (saved_ns, read_ns) = (now.monotonic_ns, now.monotonic_ns);
        let (rows, flying, is_dirty, open_count) = (LogRows::default(), None, true, 0);
        let tailed =
            Tailed { slot, rows, flying, is_dirty, saved_ns, read_ns, open_count, may_be_copied };
        self.logs.insert(id, tailed);
        self.due.insert(id);
        self.with_slot(id, |_| ());
    }

    fn stored_marks(&self, source: &str) -> Result<Option<(Vec<Mark>, Vec<HeldLine>)>> {
        let cursor = self.sink.cursor(source)?.unwrap_or_default();
        let Some((marks, held)) = held::decode(&cursor) else { return Ok(None) };
        Ok(mark::decode(marks).map(|marks| (marks, held)))
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
                if (is_packed && !spec.unpacks) || is_unread(&path) {
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
        // The same for what a dated name was rotated from: its cursor tells what was read of it.
        for ((group, path), spec) in found.clone() {
            let Some(origin) = origin_of(&path).map(|path| (group, path)) else { continue };
            let is_absent = !found.contains_key(&origin) && !self.by_path.contains_key(&origin);
            let source = source_of(&spec.name, &origin.1);
            if is_absent && self.stored_marks(&source).is_ok_and(|marks| marks.is_some()) {
                found.insert(origin, spec);
            }
        }
        (found, histories)
    }
}

fn files_of(
    group: usize,
    slot: &Slot,
) -> impl Iterator<Item = ((usize, (u64, u64)), (Mark, bool))> {
    slot.files().map(move |(mark, is_open)| ((group, mark.id()), (mark.clone(), is_open)))
}

/// The key under which the store knows how far a log was read.
fn source_of(name: &str, path: &Path) -> Arc<str> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = model::text_of_bytes(path.as_os_str().as_bytes());
    Arc::from(format!("file/{name}{path}"))
}
