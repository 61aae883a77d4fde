//! The search for files of a log that are not open: renamed, copied, compressed, or come and gone unseen.
//!
//! Owns: which file is taken for which. By inode and content, a file that was read is found again; by content alone, a
//! copy or a compressed file of it; by name and time, one of which nothing was read. In doubt the answer is put off, for a
//! file may be about to be emptied or be written still.

use std::io;
use std::path::Path;

use super::{COPIES_MAX, GENERATIONS_MAX, SEARCH_EVERY_NS, SEARCH_NS, SEARCH_NS_MIN, Slot};
use crate::file::content::Packing;
use crate::file::family::Kin;
use crate::file::generation::{Generation, Now, Reading};
use crate::file::mark::Mark;
use crate::file::open::{self, Seen};

/// What others say of a file that may be a log's own.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is the log's.
    Own,
    /// It is the log's; what stands before the mark was read under another name.
    Begun(Mark),
    /// What it holds was read under another name.
    Read,
    /// It is another log's.
    Foreign,
    /// That cannot be told yet.
    Unknown,
}

impl Slot {
    /// Looks for generations that are not open, and for files that came and went.
    pub(super) fn find_missing(&mut self, now: Now) {
        if self.search.is_none() && !self.generations.iter().any(Generation::is_missing) {
            return;
        }
        let is_recent = |looked_ns: i64| now.monotonic_ns - looked_ns < SEARCH_EVERY_NS;
        if self.looked_ns.is_some_and(is_recent) {
            return;
        }
        self.doubts.clear();
        // What is closed cannot be compared.
        self.looked_ns = Some(now.monotonic_ns);
        self.wake(now, true);
        self.notice_replaced(now);
        self.looked_ns = Some(now.monotonic_ns);
        let kin = self.family.kin();
        self.find_by_inode(&kin);
        // The names as they are after the inodes were looked for.
        self.family.has_changed(&self.listings, now.monotonic_ns);
        let mut candidates = self.candidates(kin);
        self.find_by_content(&mut candidates, now);
        let is_decided = self.find_unseen(&candidates, now);
        self.give_up(is_decided, now);
    }

    /// Files under another name, which may be any.
    fn find_by_inode(&mut self, kin: &[Kin]) {
        for at in 0..self.generations.len() {
            let known = &self.generations[at];
            if !known.is_missing() || known.mark.ino == 0 {
                continue;
            }
            let mark = known.mark.clone();
            let is_it = |path: &Path| {
                open::look(path).is_ok_and(|seen| seen.is_some_and(|s| s.id() == mark.id()))
            };
            let kin = kin.iter().map(|kin| kin.path.clone());
            let others = self.family.with_inode(mark.ino);
            let paths: Vec<_> = kin.chain(others).filter(|path| is_it(path)).collect();
            for path in paths {
                let found = self.reopen(&path, Packing::of(&path), &mark);
                if let Ok(Some((reading, seen))) = found
                    && seen.id() == mark.id()
                {
                    self.generations[at].resume(reading, seen);
                    self.is_unsaved = true;
                    break;
                }
            }
        }
    }

    /// What may be a copy, or came and went: kin that is none of the files known; the oldest first.
    fn candidates(&mut self, kin: Vec<Kin>) -> Vec<(Seen, Kin)> {
        let own = open::look(&self.path).ok().flatten().map(|seen| seen.id());
        let mut candidates = Vec::new();
        for kin in kin {
            let Ok(Some(seen)) = open::look(&kin.path) else { continue };
            if Some(seen.id()) != own && !self.is_known_file(&kin, &seen) {
                candidates.push((seen, kin));
            }
        }
        candidates.sort_by(|(a, kin_a), (b, kin_b)| {
            let key = |seen: &Seen, kin: &Kin| (seen.mtime_ns, kin.packing.is_some());
            // Of the same time, the higher number is the older one.
            key(a, kin_a).cmp(&key(b, kin_b)).then_with(|| kin_b.path.cmp(&kin_a.path))
        });
        candidates
    }

    /// Whether a generation is this very file. One that was done and has grown is read on.
    fn is_known_file(&mut self, kin: &Kin, seen: &Seen) -> bool {
        for at in 0..self.generations.len() {
            let known = &self.generations[at];
            if known.mark.id() != seen.id() {
                continue;
            }
            if known.reading.is_some() {
                return true;
            }
            let mark = known.mark.clone();
            // The inode may have been given to another file.
            if mark.is_done
                && mark.offset > 0
                && let Ok(Some((reading, found))) = self.reopen(&kin.path, kin.packing, &mark)
                && found.id() == seen.id()
            {
                // Other kin that grows is a log of its own.
                if kin.is_succession && kin.packing.is_none() && found.size > mark.offset {
                    self.generations[at].resume(reading, found);
                }
                return true;
            }
        }
        false
    }

    /// Copies and compressed files that hold what a missing generation held.
    ///
    /// While names change, a copy is taken only of a file whose inode has another content now: others may be there still,
    /// under a name that was given between two looks. A compressed file is taken when several looks did not show its
    /// original: in a directory of many logs names may never settle for as long as it is kept.
    fn find_by_content(&mut self, candidates: &mut Vec<(Seen, Kin)>, now: Now) {
        for at in 0..self.generations.len() {
            let known = &self.generations[at];
            if !known.is_missing() || known.mark.offset == 0 {
                continue;
            }
            let mark = known.mark.clone();
            let was_sought = known
                .missing_since_ns
                .is_some_and(|since_ns| now.monotonic_ns.saturating_sub(since_ns) >= SEARCH_NS_MIN);
            let is_gone = mark.ino == 0 || self.family.is_settled();
            let mut holders = Vec::new();
            for (index, (seen, kin)) in candidates.iter().enumerate() {
                let may_be_taken = is_gone || (was_sought && kin.packing.is_some());
                if !may_be_taken || seen.mtime_ns < mark.mtime_ns {
                    continue;
                }
                if let Ok(Some((mut reading, seen))) = self.reopen(&kin.path, kin.packing, &mark)
                    && let Ok(len) = reading.len()
                {
                    holders.push((len, index, reading, seen));
                }
            }
            // One that holds less is a copy of an earlier moment.
            let longest = holders.into_iter().max_by_key(|(len, index, ..)| (*len, *index));
            if let Some((_, index, reading, seen)) = longest {
                self.generations[at].resume(reading, seen);
                self.is_unsaved = true;
                candidates.remove(index);
            }
        }
    }

    /// Files that came and went unseen are read from their beginning. `false` when one cannot be judged yet.
    fn find_unseen(&mut self, candidates: &[(Seen, Kin)], now: Now) -> bool {
        let Some(search) = self.search else { return true };
        let mut is_decided = true;
        for (seen, kin) in candidates {
            let may_be_unseen = kin.is_succession || kin.is_doubtful;
            if !may_be_unseen
                || seen.mtime_ns < search.since_ns
                || self.foreign.contains(&seen.id())
            {
                continue;
            }
            if seen.size == 0 {
                // Its writer may not know of the rotation yet; or it is about to be filled with a copy.
                is_decided = false;
                continue;
            }
            let is_known = self.is_known_content(kin, seen, now);
            let has_room = self.generations.len() < GENERATIONS_MAX - 1;
            match is_known {
                Ok(Some(_)) => continue,
                Ok(None) if has_room => {}
                _ => {
                    is_decided = false;
                    continue;
                }
            }
            if kin.is_doubtful {
                // Others know what they read of it.
                self.doubts.push((*seen, kin.clone()));
                is_decided = false;
            } else {
                is_decided &= self.take_unseen(seen, kin);
            }
        }
        is_decided
    }

    /// Reads a file that came and went from its beginning. `false` when it cannot be read, or its name changed hands.
    fn take_unseen(&mut self, seen: &Seen, kin: &Kin) -> bool {
        match self.open(&kin.path, kin.packing, 0, false) {
            Ok(Some((reading, mark))) if mark.id() == seen.id() => {
                self.insert_older(Generation::new(mark, Some(reading)));
                true
            }
            _ => false,
        }
    }

    fn insert_older(&mut self, generation: Generation) {
        let at = self.generations.len() - usize::from(self.has_current);
        self.generations.insert(at, generation);
        self.is_unsaved = true;
    }

    /// Files that came unseen and are the log's own unless others say something else.
    pub(crate) fn take_doubts(&mut self) -> Vec<(Seen, Kin)> {
        std::mem::take(&mut self.doubts)
    }

    /// What others say of a file that was in doubt.
    pub(crate) fn decide(&mut self, seen: &Seen, kin: &Kin, verdict: Verdict) {
        match verdict {
            Verdict::Own => drop(self.take_unseen(seen, kin)),
            Verdict::Begun(mark) => {
                let found = self.reopen(&kin.path, kin.packing, &mark);
                if let Ok(Some((reading, found))) = found
                    && found.id() == seen.id()
                {
                    let mut generation = Generation::new(mark, None);
                    generation.resume(reading, found);
                    self.insert_older(generation);
                }
            }
            Verdict::Read => {
                let end = self.open(&kin.path, kin.packing, 0, true);
                if let Ok(Some((_, end))) = end
                    && end.id() == seen.id()
                {
                    self.note_copy(end);
                }
            }
            Verdict::Foreign => self.foreign.push(seen.id()),
            Verdict::Unknown => {}
        }
    }

    /// Remembers a file of which nothing is read.
    fn note_copy(&mut self, end: Mark) {
        self.copies.retain(|copy| copy.id() != end.id());
        self.copies.push(end);
        let excess = self.copies.len().saturating_sub(COPIES_MAX);
        self.copies.drain(..excess);
        self.is_unsaved = true;
    }

    /// How long a file is that holds what was read already, or will be, from another file; `None` when it holds something
    /// else.
    ///
    /// # Errors
    /// While that cannot be told: it is still written, or it is a copy of the newest file, which may be about to be
    /// emptied.
    pub(super) fn is_known_content(
        &mut self,
        kin: &Kin,
        seen: &Seen,
        now: Now,
    ) -> io::Result<Option<u64>> {
        let is_young = self
            .search
            .is_some_and(|search| now.monotonic_ns.saturating_sub(search.begun_ns) < SEARCH_NS_MIN);
        let is_it = |copy: &Mark| {
            // A copy may grow within a tick of the system's clock.
            let has_grown = kin.packing.is_none() && copy.offset != seen.size;
            (copy.id(), copy.mtime_ns) == (seen.id(), seen.mtime_ns) && !has_grown
        };
        let noted = self.copies.iter().find(|copy| is_it(copy)).map(|copy| copy.offset);
        let is_noted = noted.is_some();
        if is_noted && !is_young && !self.generations.iter().any(Generation::is_missing) {
            return Ok(noted);
        }
        if kin.packing.is_some() && open::look(&kin.path.with_extension(""))?.is_some() {
            return Err(io::Error::other("it is being compressed"));
        }
        let Some((mut found, end)) = self.open(&kin.path, kin.packing, 0, true)? else {
            return Ok(None);
        };
        if end.id() != seen.id() {
            return Err(io::Error::other("its name changed hands"));
        }
        let (mut is_known, mut may_be_emptied) = (is_noted || end.offset == 0, false);
        let mut is_read = end.offset == 0;
        let len_known = end.offset;
        for at in 0..self.generations.len() {
            let is_current = self.has_current && at + 1 == self.generations.len();
            let known = &mut self.generations[at];
            let len = known.mark.offset;
            // The beginning of a line is read with its end, of the original, unless that is about to be emptied.
            let rest = known.reading.as_ref().filter(|_| is_current && !is_young);
            let coming_len = len + rest.map_or(0, Reading::rest_len);
            let is_copy_of_it = match &mut known.reading {
                Some(reading) => reading.holds(&end)?,
                None if len == 0 => false,
                None if end.offset == len => found.holds(&known.mark)?,
                // Files of one program begin the same; so one that is done must end the same, too.
                None if end.offset > len => !known.mark.is_done && found.holds(&known.mark)?,
                // More was read of the original than the copy holds.
                None => is_noted && known.is_missing() && found.has_head(&known.mark)?,
            };
            let was_sought = self.family.is_settled() && !is_young;
            if is_copy_of_it && end.offset < len && known.is_missing() && was_sought {
                known.close();
                self.is_unsaved = true;
            }
            may_be_emptied |= is_copy_of_it && is_current && is_young;
            is_known |= is_copy_of_it;
            is_read |= is_copy_of_it && end.offset <= coming_len;
        }
        // Not before: if the original is gone at the next start, the copy is read instead.
        if is_read && !is_noted && end.mtime_ns == seen.mtime_ns {
            self.note_copy(end);
        }
        if may_be_emptied {
            return Err(io::Error::other("its original may be about to be emptied"));
        }
        // What was emptied while it was compared holds nothing of its copy any more.
        if !is_known && self.is_any_replaced() {
            return Err(io::Error::other("a file was emptied meanwhile"));
        }
        Ok(is_known.then_some(len_known))
    }

    /// The same of a file at `path` that is no succession by its name.
    ///
    /// # Errors
    /// While that cannot be told.
    pub(crate) fn has_content_of(
        &mut self,
        path: &Path,
        packing: Option<Packing>,
        now: Now,
    ) -> io::Result<Option<u64>> {
        self.refresh(now);
        self.looked_ns = None;
        self.find_missing(now);
        let seen = open::look(path)?.ok_or(io::ErrorKind::NotFound)?;
        if self.files().any(|(mark, is_open)| is_open && mark.id() == seen.id()) {
            return Err(io::Error::other("it is one of the log's files"));
        }
        let path = path.to_owned();
        let kin = Kin { path, packing, is_succession: false, is_doubtful: false };
        self.is_known_content(&kin, &seen, now)
    }

    /// Ends searches that took long enough.
    fn give_up(&mut self, is_decided: bool, now: Now) {
        let before = self.search;
        self.search = self.search.filter(|search| {
            let age_ns = now.monotonic_ns.saturating_sub(search.begun_ns);
            age_ns < SEARCH_NS_MIN || (!is_decided && age_ns < SEARCH_NS)
        });
        self.is_unsaved |= self.has_saved_search && self.search.is_none();
        if self.search.is_none() {
            self.foreign.clear();
        }
        let mut lost = Vec::new();
        for generation in &mut self.generations {
            let Some(since_ns) = generation.missing_since_ns else { continue };
            let is_empty = generation.mark.offset == 0;
            if is_empty || now.monotonic_ns.saturating_sub(since_ns) > SEARCH_NS {
                if !is_empty {
                    lost.push(generation.mark.mtime_ns);
                }
                generation.close();
                self.is_unsaved = true;
            }
        }
        self.tell_lost(&lost);
        if let Some(search) = before.filter(|_| self.search.is_none()) {
            self.tell_unread(search.since_ns);
        }
        self.forget_old();
    }
}
