//! The search for files of a log that are not open: renamed, copied, compressed, or come and gone unseen.
//!
//! Owns: which file is taken for which. By inode and content, a file that was read is found again; by content alone, a
//! copy or a compressed file of it; by name and time, one of which nothing was read. In doubt the answer is put off, for a
//! file may be about to be emptied or be written still.

use std::fs;
use std::io;
use std::os::unix::fs::DirEntryExt as _;
use std::path::Path;

use super::{SEARCH_EVERY_NS, SEARCH_NS, SEARCH_NS_MIN, Search, Slot};
use crate::counters::Counters;
use crate::file::content::Packing;
use crate::file::family::{Kin, kin_of};
use crate::file::generation::{Generation, Now};
use crate::file::mark::{MARKS_MAX, Mark};
use crate::file::open::{self, Seen};

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
        self.notice_replaced(now);
        self.looked_ns = Some(now.monotonic_ns);
        let kin = kin_of(&self.path);
        self.find_by_inode(&kin);
        let mut candidates = self.candidates(kin);
        self.find_by_content(&mut candidates);
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
            let kin = kin.iter().map(|kin| kin.path.clone()).filter(|path| is_it(path));
            let others = fs::read_dir(self.path.parent().unwrap_or(Path::new("/")));
            let others = others.into_iter().flatten().flatten();
            let others = others.filter(|e| e.ino() == mark.ino).map(|e| e.path());
            for path in kin.chain(others) {
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
            if seen.size > 0 && Some(seen.id()) != own && !self.is_known_file(&kin, &seen) {
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
    fn find_by_content(&mut self, candidates: &mut Vec<(Seen, Kin)>) {
        for at in 0..self.generations.len() {
            if !self.generations[at].is_missing() {
                continue;
            }
            let mark = self.generations[at].mark.clone();
            if mark.offset == 0 {
                continue;
            }
            for index in 0..candidates.len() {
                let (seen, kin) = &candidates[index];
                if seen.mtime_ns < mark.mtime_ns {
                    continue;
                }
                if let Ok(Some((reading, seen))) = self.reopen(&kin.path, kin.packing, &mark) {
                    self.generations[at].resume(reading, seen);
                    self.is_unsaved = true;
                    candidates.remove(index);
                    break;
                }
            }
        }
    }

    /// Files that came and went unseen are read from their beginning. `false` when one cannot be judged yet.
    fn find_unseen(&mut self, candidates: &[(Seen, Kin)], now: Now) -> bool {
        let Some(search) = self.search else { return true };
        let mut is_decided = true;
        for (seen, kin) in candidates {
            if !kin.is_succession || seen.mtime_ns < search.since_ns {
                continue;
            }
            let is_known = match kin.packing {
                Some(_) => self.is_known_packed(kin),
                None => self.is_known_copy(kin, seen, search, now),
            };
            let has_room = self.generations.len() < MARKS_MAX - 1;
            match is_known {
                Ok(true) => continue,
                Ok(false) if has_room => {}
                _ => {
                    is_decided = false;
                    continue;
                }
            }
            match self.open(&kin.path, kin.packing, 0, false) {
                // Not when the name changed hands meanwhile.
                Ok(Some((reading, mark))) if mark.id() == seen.id() => {
                    let at = self.generations.len() - usize::from(self.has_current);
                    self.generations.insert(at, Generation::new(mark, Some(reading)));
                    self.is_unsaved = true;
                }
                _ => is_decided = false,
            }
        }
        is_decided
    }

    /// Whether what a compressed file holds was read, or is being read, from the plain file.
    ///
    /// # Errors
    /// While that cannot be told: it is still written, or nothing was read of a file that it may be.
    fn is_known_packed(&mut self, kin: &Kin) -> io::Result<bool> {
        let older = self.generations.len() - usize::from(self.has_current);
        let may_hold_it = |known: &Generation| {
            let plain = known.reading.as_ref().filter(|reading| !reading.is_packed);
            known.mark.offset == 0
                && plain.is_some_and(|reading| reading.seen().is_ok_and(|seen| seen.size > 0))
        };
        if open::look(&kin.path.with_extension(""))?.is_some()
            || self.generations[..older].iter().any(may_hold_it)
        {
            return Err(io::Error::other("it is being compressed"));
        }
        if let Some((mut found, _)) = self.open(&kin.path, kin.packing, 0, false)?
            && found.ends_at(0)?
        {
            return Ok(true);
        }
        for at in 0..older {
            let known = &self.generations[at];
            if known.mark.offset == 0 {
                continue;
            }
            let mark = known.mark.clone();
            let size = match &known.reading {
                Some(reading) if !reading.is_packed => Some(reading.seen()?.size),
                Some(_) => None,
                None => mark.is_done.then_some(mark.offset),
            };
            if let Some((mut found, _)) = self.reopen(&kin.path, kin.packing, &mark)? {
                // Files of one program often begin the same; so it must end the same, too.
                let ends_there = match size {
                    Some(size) => found.ends_at(size)?,
                    None => true,
                };
                if ends_there {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether a plain file is a copy of one that was emptied and is read, or was read further than the copy goes.
    ///
    /// # Errors
    /// While that cannot be told: an open file has this content, and may be about to be emptied.
    fn is_known_copy(
        &mut self,
        kin: &Kin,
        seen: &Seen,
        search: Search,
        now: Now,
    ) -> io::Result<bool> {
        let is_young = now.monotonic_ns.saturating_sub(search.begun_ns) < SEARCH_NS_MIN;
        for at in 0..self.generations.len() {
            let known = &mut self.generations[at];
            let mark = known.mark.clone();
            if let Some(reading) = &mut known.reading {
                let (file, _) = open::open(&self.spec.roots, &kin.path)?;
                match reading.begins_with(file, seen.size)? {
                    // The file is about to be emptied, or it is a copy that somebody keeps.
                    true if is_young => return Err(io::Error::other("it may be a copy")),
                    true => return Ok(true),
                    false => {}
                }
            } else if mark.offset == 0 {
                // Nothing is known of it.
            } else if mark.is_done && seen.size == mark.offset {
                if self.reopen(&kin.path, None, &mark)?.is_some() {
                    return Ok(true);
                }
            } else if !mark.is_done && self.is_shorter_copy(kin, &mark)? {
                self.generations[at].close();
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether `kin` begins as a missing file did and ends before the place up to which that was read.
    fn is_shorter_copy(&self, kin: &Kin, mark: &Mark) -> io::Result<bool> {
        let Some((mut found, head)) =
            self.open(&kin.path, kin.packing, mark.head_len as u64, false)?
        else {
            return Ok(false);
        };
        Ok((head.head_len, head.head) == (mark.head_len, mark.head)
            && found.ends_at(mark.offset)?)
    }

    /// Ends searches that took long enough.
    fn give_up(&mut self, is_decided: bool, now: Now) {
        self.search = self.search.filter(|search| {
            let age_ns = now.monotonic_ns.saturating_sub(search.begun_ns);
            age_ns < SEARCH_NS_MIN || (!is_decided && age_ns < SEARCH_NS)
        });
        let mut lost = 0;
        for generation in &mut self.generations {
            let Some(since_ns) = generation.missing_since_ns else { continue };
            let is_empty = generation.mark.offset == 0;
            if is_empty || now.monotonic_ns.saturating_sub(since_ns) > SEARCH_NS {
                lost += u64::from(!is_empty);
                generation.close();
                self.is_unsaved = true;
            }
        }
        if lost > 0 {
            Counters::add(&self.counters.log_gaps, lost);
            tracing::info!(
                path = %self.path.display(),
                "an earlier file of this log is gone; what it held beyond what was read, if anything, is lost"
            );
        }
        self.forget_old();
    }
}
