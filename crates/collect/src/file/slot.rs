//! One log: the path that names it, and the files that the path named one after the other.
//!
//! The newest file is read to its end and further on as it grows. When the path names another file, or the content is
//! another, what was read so far becomes an older *generation*: it is read to its end wherever it is found, by its open
//! descriptor, by its inode under another name, or by its content in a copy or a compressed file. Files that came and
//! went in between are recognised by their names and times and read as well. All generations share one cursor.

mod handover;
mod losses;
mod opening;
mod search;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Labels, LogRows};

use super::Spec;
use super::content::Packing;
use super::family::{Family, Kin};
use super::generation::{Generation, Now, Progress, Reading};
use super::listing::Listings;
use super::mark::{self, MARKS_MAX, Mark};
use super::open::{self, Seen};
use crate::counters::Counters;
use crate::lines::{Flow, HeldLine};

pub(crate) use search::Verdict;

const SECOND_NS: i64 = 1_000_000_000;
/// A last line without newline is taken when nothing came for so long.
const REST_QUIET_NS: i64 = 10 * SECOND_NS;
/// A rotated file is closed when nothing came for so long: its writer may not know of the rotation yet.
const ROTATED_QUIET_NS: i64 = 60 * SECOND_NS;
/// The same for a file that is deleted, and whose disk space waits for us.
const DELETED_QUIET_NS: i64 = 5 * SECOND_NS;
/// The same when so many rotations followed that it cannot matter.
const OVERTAKEN_QUIET_NS: i64 = 2 * SECOND_NS;
const OVERTAKEN_BY: usize = 4;
/// How long the rest of a file is looked for, and files that came and went.
const SEARCH_NS: i64 = 60 * SECOND_NS;
/// So long at least: a directory that is read while names are changed may leave some out.
const SEARCH_NS_MIN: i64 = SECOND_NS;
/// Distance of looks into the directory.
const SEARCH_EVERY_NS: i64 = SECOND_NS / 4;
/// Copies that are remembered.
const COPIES_MAX: usize = 16;
/// Files of a log that are remembered once they are done.
const DONE_MAX: usize = 16;
/// Files of a log that are remembered; more only while they are read.
const GENERATIONS_MAX: usize = MARKS_MAX - COPIES_MAX;

/// One log.
pub(crate) struct Slot {
    pub(crate) path: PathBuf,
    pub(crate) source: Arc<str>,
    pub(crate) spec: Arc<Spec>,
    stream: [Labels; 1],
    pub(crate) flow: Flow,
    /// Oldest first.
    generations: Vec<Generation>,
    /// The last generation is what the path names.
    has_current: bool,
    search: Option<Search>,
    /// Whether the last cursor says since when files are searched.
    has_saved_search: bool,
    /// Whether the cursor changed since [`cursor`](Self::cursor) was called.
    pub(crate) is_unsaved: bool,
    family: Family,
    listings: Arc<Listings>,
    /// When files were last searched, on the monotonic clock.
    looked_ns: Option<i64>,
    /// Files of which nothing is read, for what they held was read from another.
    copies: Vec<Mark>,
    /// Files that came unseen and about which others are to be asked.
    doubts: Vec<(Seen, Kin)>,
    /// Files of other logs, by device and inode, as long as files are searched.
    foreign: Vec<(u64, u64)>,
    /// Files of a kind that is not read, by device and inode, of which somebody was told.
    told: Vec<(u64, u64)>,
    complaint: Option<String>,
    last_ns: i64,
    counters: Arc<Counters>,
}

/// A search for files that came and went unseen.
#[derive(Debug, Clone, Copy)]
struct Search {
    /// They were changed then or later, Unix nanoseconds.
    since_ns: i64,
    /// On the monotonic clock.
    begun_ns: i64,
}

/// How a log that has no cursor begins.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    /// Where another program stopped reading.
    pub(crate) offset: Option<u64>,
    /// When it said so, Unix nanoseconds; `None` where that is not known.
    pub(crate) saved_ns: Option<i64>,
    /// Only what is written from now on.
    pub(crate) at_end: bool,
    /// Rotated files that are to be read, too.
    pub(crate) history: Vec<PathBuf>,
}

impl Slot {
    pub(crate) fn new(
        path: PathBuf,
        source: Arc<str>,
        spec: Arc<Spec>,
        listings: Arc<Listings>,
        counters: Arc<Counters>,
    ) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        let name = model::text_of_bytes(path.as_os_str().as_bytes());
        let stream = [spec.labels.with("filename", &name)];
        let flow = Flow::new(Arc::clone(&spec.treatment));
        Self {
            path,
            source,
            spec,
            stream,
            flow,
            generations: Vec::new(),
            has_current: false,
            search: None,
            has_saved_search: false,
            is_unsaved: false,
            family: Family::default(),
            listings,
            looked_ns: None,
            copies: Vec::new(),
            doubts: Vec::new(),
            foreign: Vec::new(),
            told: Vec::new(),
            complaint: None,
            last_ns: 0,
            counters,
        }
    }

    /// Goes on where a cursor stands.
    pub(crate) fn resume(&mut self, marks: Vec<Mark>, held: Vec<HeldLine>, now: Now) {
        self.flow.restore(held);
        let (copies, marks): (Vec<_>, Vec<_>) = marks.into_iter().partition(|mark| mark.is_copy);
        self.copies = copies;
        let newest_ns = marks.last().map_or(i64::MAX, |mark| mark.mtime_ns);
        let is_read = |mark: &&Mark| !mark.is_done;
        let oldest_ns = marks.iter().filter(is_read).map(|mark| mark.mtime_ns).min();
        // A file of which nothing was read cannot be told from another with its inode; it is found as one unseen.
        let marks = marks.into_iter().filter(|mark| mark.is_done || mark.offset > 0);
        self.generations = marks.map(|mark| Generation::of_cursor(mark, now)).collect();
        let seen = open::look(&self.path).ok().flatten();
        let known = seen.and_then(|seen| {
            self.generations.iter().rposition(|known| known.mark.id() == seen.id())
        });
        if let Some(at) = known {
            let mark = self.generations[at].mark.clone();
            match self.reopen(&self.path, self.own_packing(), &mark) {
                Ok(Some((reading, seen))) => {
                    let mut current = self.generations.remove(at);
                    current.resume(reading, seen);
                    self.generations.push(current);
                    self.has_current = true;
                }
                // Emptied, or another file that was given the same inode.
                Ok(None) => {}
                Err(error) => self.complain(&error),
            }
        }
        self.family.renew(&self.path, &self.listings, now.monotonic_ns);
        self.search_from(oldest_ns.unwrap_or(newest_ns).min(newest_ns), now);
        self.refresh(now);
    }

    /// Whether the path names the file of which `mark` was read.
    pub(crate) fn is_file_of(&self, mark: &Mark) -> bool {
        let found = self.reopen(&self.path, self.own_packing(), mark);
        mark.offset > 0 && found.is_ok_and(|found| found.is_some())
    }

    /// Begins a log that was never read.
    pub(crate) fn begin(&mut self, beginning: Beginning, now: Now) {
        self.is_unsaved = true;
        self.family.renew(&self.path, &self.listings, now.monotonic_ns);
        for path in &beginning.history {
            let found = self.open(path, Packing::of(path), 0, beginning.at_end);
            if let Ok(Some((reading, mark))) = found {
                let mut generation = Generation::new(mark, Some(reading));
                if beginning.at_end {
                    generation.close();
                }
                self.generations.push(generation);
            }
        }
        self.generations.sort_by_key(|generation| generation.mark.mtime_ns);
        let mut ids = BTreeSet::new();
        self.generations.retain(|generation| ids.insert(generation.mark.id()));
        if let Some(offset) = beginning.offset {
            match self.take_over(offset, beginning.saved_ns, now) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => self.complain(&error),
            }
        } else if beginning.at_end {
            match self.open(&self.path, self.own_packing(), 0, true) {
                Ok(Some((reading, mark))) => return self.set_current(reading, mark),
                Ok(None) => {}
                Err(error) => self.complain(&error),
            }
        }
        self.refresh(now);
    }

    /// Looks what the path names now.
    pub(crate) fn refresh(&mut self, now: Now) {
        // Asked first: what changes after it is noticed by the next look.
        let before = open::look(&self.path).ok().flatten();
        let names_changed = self.family.renew(&self.path, &self.listings, now.monotonic_ns);
        let seen = match open::look(&self.path) {
            Ok(seen) => seen,
            Err(error) => return self.complain(&error),
        };
        let current = self.has_current.then(|| self.generations.last().map(|g| g.mark.id()));
        let is_same = seen.is_some() && current.flatten() == seen.map(|seen| seen.id());
        if !is_same && (self.has_current || seen.is_some()) {
            if std::mem::take(&mut self.has_current) {
                Counters::add(&self.counters.log_file_rotations, 1);
                self.miss_resting(now);
            }
            let since_ns = self.generations.last().map(|last| last.mark.mtime_ns);
            if seen.is_some() {
                self.open_current();
                if let Some(current) = self.generations.last_mut().filter(|_| self.has_current) {
                    // Its copies are of later times than that which it had before the names were asked for.
                    let known_ns = before.filter(|before| before.id() == current.mark.id());
                    let known_ns = known_ns.map(|before| before.mtime_ns).or(since_ns);
                    let mtime_ns_max = known_ns.unwrap_or(i64::MAX).min(self.family.missing_ns);
                    current.mark.mtime_ns = current.mark.mtime_ns.min(mtime_ns_max);
                }
            }
            // Only now: what is rotated away after this look is open already.
            if let Some(since_ns) = since_ns {
                self.search_from(since_ns, now);
            }
        } else if is_same && names_changed {
            // It may have been copied and emptied while it held nothing by which it could be recognised.
            let since_ns = self.generations.last().map_or(i64::MAX, |last| last.mark.mtime_ns);
            self.search_from(since_ns, now);
        }
        self.find_missing(now);
    }

    /// Whether something came to the only file since it was read, which is as `seen` now; `None` when it is another, holds
    /// less, or others are to be read as well.
    pub(crate) fn has_grown(&self, seen: &Seen) -> Option<bool> {
        let (current, older) = self.generations.split_last().filter(|_| self.has_current)?;
        let mark = &current.mark;
        let is_it = mark.id() == seen.id()
            && seen.size >= mark.offset
            && older.iter().all(|known| known.mark.is_done);
        is_it.then_some(seen.size > mark.offset)
    }

    /// Whether the path names nothing any more and everything is read.
    pub(crate) fn is_over(&self) -> bool {
        !self.has_current
            && self.search.is_none()
            && self.generations.iter().all(|generation| generation.mark.is_done)
    }

    /// Whether it must be looked at again even if nobody tells of a change.
    pub(crate) fn is_waiting(&self) -> bool {
        self.search.is_some()
            || self.generations.iter().enumerate().any(|(at, generation)| {
                let is_current = self.has_current && at + 1 == self.generations.len();
                let is_waiting = match &generation.reading {
                    None => !generation.is_resting,
                    Some(reading) => !is_current || reading.has_rest() || reading.is_damaged(),
                };
                !generation.mark.is_done && is_waiting
            })
    }

    /// Number of open files.
    pub(crate) fn open_count(&self) -> usize {
        self.generations.iter().filter(|generation| generation.reading.is_some()).count()
    }

    /// Closes the newest file until something is written to it, if all of it was read.
    pub(crate) fn rest(&mut self) {
        if let Some(current) = self.generations.last_mut().filter(|_| self.has_current) {
            current.rest();
        }
    }

    /// Opens the newest file again if it was closed for want of descriptors and is not as it was.
    fn wake(&mut self, now: Now, is_needed: bool) {
        let Some(current) = self.generations.last().filter(|current| current.is_resting) else {
            return;
        };
        let mark = current.mark.clone();
        let is_as_it_was = |seen: &Seen| {
            (seen.id(), seen.size, seen.mtime_ns) == (mark.id(), mark.offset, mark.mtime_ns)
        };
        match open::look(&self.path) {
            Ok(Some(seen)) if !is_needed && is_as_it_was(&seen) => return,
            Ok(_) => {}
            Err(error) => return self.complain(&error),
        }
        match self.open(&self.path, None, 0, false) {
            Ok(Some((mut reading, found))) if found.id() == mark.id() => {
                let at = self.generations.len() - 1;
                match reading.holds(&mark) {
                    Ok(true) => {
                        let reopened = self.reopen(&self.path, None, &mark);
                        if let Ok(Some((reading, seen))) = reopened {
                            self.generations[at].resume(reading, seen);
                        }
                    }
                    Ok(false) => {
                        self.generations[at].reading = Some(reading);
                        self.replaced(at, now);
                    }
                    Err(error) => self.complain(&error),
                }
            }
            // The path names another file, or none.
            Ok(_) => self.refresh(now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.refresh(now),
            Err(error) => self.complain(&error),
        }
    }

    /// The path names another file than the one that rests: it is looked for.
    fn miss_resting(&mut self, now: Now) {
        for known in self.generations.iter_mut().filter(|known| known.is_resting) {
            (known.is_resting, known.missing_since_ns) = (false, Some(now.monotonic_ns));
        }
    }

    /// Whether `path` is the log's own, or what that leads to.
    pub(crate) fn is_own(&self, path: &Path) -> bool {
        self.family.is_own(path)
    }

    /// Whether a file at `path` holds what `mark` was read of; `Some(true)` when it holds more.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn goes_on_after(&self, kin: &Kin, mark: &Mark) -> io::Result<Option<bool>> {
        let Some((mut reading, _)) = self.reopen(&kin.path, kin.packing, mark)? else {
            return Ok(None);
        };
        Ok(Some(reading.len()? > mark.offset))
    }

    /// The files of the log, and whether they are open.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Mark, bool)> {
        self.generations.iter().map(|known| (&known.mark, known.reading.is_some()))
    }

    /// The marks of everything read, and the lines that are held back; `None` when these are too many.
    pub(crate) fn cursor(&mut self) -> Option<Vec<u8>> {
        let copies = self.copies.iter().map(|copy| Mark { is_copy: true, ..copy.clone() });
        let mut marks: Vec<Mark> = self.files().map(|(mark, _)| mark.clone()).collect();
        let is_read = |mark: &&Mark| !mark.is_done;
        let oldest_ns = marks.iter().filter(is_read).map(|mark| mark.mtime_ns).min();
        let since_ns = self.search.map(|search| search.since_ns);
        // As if a file of that time were read: the next start begins its search there.
        let older_ns =
            since_ns.filter(|since_ns| oldest_ns.is_none_or(|oldest| *since_ns < oldest));
        self.has_saved_search = older_ns.is_some();
        if let Some(mtime_ns) = older_ns {
            marks.insert(0, Mark { mtime_ns, ..Mark::default() });
        }
        if marks.len() > GENERATIONS_MAX {
            // Of those of which nothing was read, the next start asks only since when there are any.
            let newest = marks.pop();
            let mut is_first = true;
            marks.retain(|mark| mark.offset > 0 || std::mem::take(&mut is_first));
            marks.extend(newest);
            marks.drain(..marks.len().saturating_sub(GENERATIONS_MAX));
        }
        let marks = mark::encode(copies.chain(marks));
        let cursor = self.flow.cursor(marks)?;
        self.is_unsaved = false;
        Some(cursor)
    }

    /// Adds lines to `rows` that were held back long enough, or `all` of them.
    pub(crate) fn flush(&mut self, all: bool, now: Now, rows: &mut LogRows) {
        let is_due = self.flow.next_due_ns().is_some_and(|due_ns| due_ns <= now.monotonic_ns);
        if all {
            self.flow.flush(&self.stream, &now, rows);
        } else if is_due {
            self.flow.flush_due(&self.stream, &now, rows);
        }
        self.is_unsaved |= all || is_due;
    }

    /// Adds the next lines to `rows`; `true` when there may be more.
    pub(crate) fn read(&mut self, now: Now, scratch: &mut Vec<u8>, rows: &mut LogRows) -> bool {
        // Before the names are: its copies that are not among them are of later times.
        let current = self.generations.last().filter(|_| self.has_current);
        let before = current.and_then(|current| match &current.reading {
            Some(reading) => reading.seen().ok(),
            None => open::look(&self.path).ok()?.filter(|seen| seen.id() == current.mark.id()),
        });
        // Before anything is read: a search begins at what was read last, and must know what the path names.
        if self.family.has_changed(&self.listings, now.monotonic_ns) {
            self.refresh(now);
        } else {
            self.find_missing(now);
        }
        self.wake(now, false);
        let count = self.generations.len();
        let opened_ns = self.generations.last().map_or(i64::MAX, |last| last.mark.mtime_ns);
        let mtime_ns_max = before.map_or(opened_ns, |before| before.mtime_ns);
        let mtime_ns_max = mtime_ns_max.min(self.family.missing_ns);
        for at in 0..count {
            let is_current = self.has_current && at + 1 == count;
            let finish = !is_current && self.is_finished(at, now);
            let generation = &mut self.generations[at];
            let Some(reading) = &generation.reading else { continue };
            let rest_is_due = reading.has_rest()
                && reading.quiet_ns(now).is_some_and(|quiet| quiet >= REST_QUIET_NS);
            let (last_ns, stream, flow) = (&mut self.last_ns, &self.stream, &mut self.flow);
            let take = |line: &str| {
                let t_ns = next_time(last_ns, now.ns);
                flow.push(stream, 0, t_ns, line, &now, rows);
            };
            let to_the_end = finish || rest_is_due;
            let mtime_ns_max = if is_current { mtime_ns_max } else { i64::MAX };
            let encoding = self.spec.encoding;
            let got = generation.read(encoding, to_the_end, mtime_ns_max, now, scratch, take);
            match got {
                Ok(Progress::Some(done)) => {
                    Counters::add(&self.counters.log_lines_truncated, done.cut_lines);
                    Counters::add(&self.counters.log_bytes_truncated, done.cut_bytes);
                    self.is_unsaved = true;
                    return true;
                }
                Ok(Progress::None) => {
                    if !is_current && self.is_finished(at, now) {
                        // Its last line may be one without newline, and is taken first.
                        if self.generations[at].reading.as_ref().is_some_and(Reading::has_rest) {
                            return true;
                        }
                        self.generations[at].close();
                        self.is_unsaved = true;
                    }
                }
                Ok(Progress::Replaced) => {
                    self.replaced(at, now);
                    return true;
                }
                Ok(Progress::Damaged) => {
                    Counters::add(&self.counters.log_gaps, 1);
                    tracing::warn!(
                        path = %self.path.display(),
                        bytes = self.generations[at].mark.offset,
                        "a compressed log file is damaged; it was read up to the damage, what follows is lost"
                    );
                }
                Err(error) => self.complain(&error),
            }
        }
        self.forget_old();
        false
    }

    /// Whether no more is expected of an older generation.
    fn is_finished(&self, at: usize, now: Now) -> bool {
        let Some(reading) = &self.generations[at].reading else { return false };
        let Some(quiet_ns) = reading.quiet_ns(now) else { return false };
        let newer = self.generations.len() - at - 1;
        reading.is_packed
            || self.generations.len() * 2 > GENERATIONS_MAX
            || quiet_ns >= ROTATED_QUIET_NS
            || (quiet_ns >= OVERTAKEN_QUIET_NS && newer >= OVERTAKEN_BY)
            || (quiet_ns >= DELETED_QUIET_NS && reading.seen().is_ok_and(|seen| seen.names == 0))
    }

    /// Keeps to the number of files that are remembered.
    fn forget_old(&mut self) {
        // Of what was empty there is nothing to remember.
        self.generations.retain(|known| !known.mark.is_done || known.mark.offset > 0);
        let done = self.generations.iter().filter(|known| known.mark.is_done).count();
        // Not one that is younger than one still read: a search begins at that one's time, and would find it again.
        let oldest = self.generations.iter().take_while(|known| known.mark.is_done).count();
        let forgotten = oldest.min(done.saturating_sub(DONE_MAX));
        let newest_ns = self.generations.drain(..forgotten).map(|known| known.mark.mtime_ns).max();
        if let (Some(search), Some(newest_ns)) = (&mut self.search, newest_ns) {
            // What is not known any more must not be found.
            search.since_ns = search.since_ns.max(newest_ns.saturating_add(1));
        }
        let mut excess = self.generations.len().saturating_sub(GENERATIONS_MAX);
        let mut lost = Vec::new();
        self.generations.retain(|known| {
            let goes = excess > 0 && (known.mark.is_done || known.is_missing());
            excess -= usize::from(goes);
            if goes && !known.mark.is_done {
                lost.push(known.mark.mtime_ns);
            }
            !goes
        });
        self.tell_lost(&lost);
    }

    /// The content of an open file is another than the one that was read.
    fn replaced(&mut self, at: usize, now: Now) {
        self.is_unsaved = true;
        let generation = &mut self.generations[at];
        let Some(reading) = generation.reading.take() else { return };
        Counters::add(&self.counters.log_file_truncations, 1);
        if reading.is_packed {
            self.has_current &= at + 1 < self.generations.len();
            self.generations[at].close();
            return;
        }
        (generation.missing_since_ns, generation.is_resting) = (Some(now.monotonic_ns), false);
        let Mark { dev, ino, mtime_ns, .. } = generation.mark;
        // The inode belongs to the new content.
        (generation.mark.dev, generation.mark.ino) = (0, 0);
        let mark = Mark { dev, ino, mtime_ns, ..Mark::default() };
        self.generations.insert(at + 1, Generation::new(mark, Some(reading.again())));
        self.search_from(mtime_ns, now);
    }

    /// Whether a file was emptied since it was read.
    fn is_any_replaced(&mut self) -> bool {
        self.generations.iter_mut().any(Generation::is_replaced)
    }

    /// Files that were emptied since they were read: before anything is taken for new, copies of them must be known.
    fn notice_replaced(&mut self, now: Now) {
        for at in (0..self.generations.len()).rev() {
            if self.generations[at].is_replaced() {
                self.replaced(at, now);
            }
        }
    }

    fn search_from(&mut self, since_ns: i64, now: Now) {
        let before = self.search;
        self.search = Some(Search {
            since_ns: before.map_or(since_ns, |before| before.since_ns.min(since_ns)),
            begun_ns: now.monotonic_ns,
        });
        self.looked_ns = None;
    }

    fn set_current(&mut self, reading: Reading, mark: Mark) {
        if let Some(last) = self.generations.last().filter(|last| last.mark.offset == 0) {
            // Nothing was read of it, and nothing will be found.
            if last.is_missing() {
                self.generations.pop();
            }
        }
        self.generations.push(Generation::new(mark, Some(reading)));
        self.has_current = true;
        self.is_unsaved = true;
        self.complaint = None;
        self.forget_old();
    }

    /// Says once what is wrong with a file.
    fn complain(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound {
            return;
        }
        let text = error.to_string();
        if self.complaint.as_ref() != Some(&text) {
            tracing::warn!(path = %self.path.display(), "cannot read log file, trying again: {text}");
            Counters::add(&self.counters.log_file_errors, 1);
            self.complaint = Some(text);
        }
    }
}

/// A time for the next line: that of now, later than the line before, unless the clock was set back.
fn next_time(last_ns: &mut i64, now_ns: i64) -> i64 {
    let behind_ns = last_ns.saturating_sub(now_ns);
    *last_ns = if behind_ns > SECOND_NS { now_ns } else { now_ns.max(*last_ns + 1) };
    *last_ns
}
