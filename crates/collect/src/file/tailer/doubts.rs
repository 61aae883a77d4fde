//! Compressed files that came unseen and may be a log's own by their names (`app-20260131.log.gz`), or another's.
//!
//! Owns: which log is nearest to such a file, and what other logs read of it. Does not own: names
//! ([`family`](crate::file::family)), what the log itself knows of it ([`slot`](crate::file::slot)).

use super::{Tailer, source_of};
use crate::file::family::{Kin, origins_of};
use crate::file::generation::Now;
use crate::file::open;
use crate::file::slot::Verdict;

impl Tailer {
    /// Decides about the files of which a log cannot tell by itself whether they are its own.
    pub(super) fn settle_doubts(&mut self, id: u64, now: Now) {
        let Some(tailed) = self.logs.get_mut(&id) else { return };
        for (seen, kin) in tailed.slot.take_doubts() {
            let verdict = self.judge(id, &kin, now).unwrap_or(Verdict::Unknown);
            let is_read = matches!(verdict, Verdict::Own | Verdict::Begun(_));
            self.with_slot(id, |slot| slot.decide(&seen, &kin, verdict));
            if let Some(tailed) = self.logs.get_mut(&id).filter(|_| is_read) {
                tailed.is_dirty = true;
            }
        }
    }

    /// What others say of a file that may belong to the log `id`.
    ///
    /// # Errors
    /// While that cannot be told.
    fn judge(&mut self, id: u64, kin: &Kin, now: Now) -> std::io::Result<Verdict> {
        let Some(log) = self.logs.get(&id).map(|tailed| &tailed.slot) else {
            return Ok(Verdict::Unknown);
        };
        let (group, plain) = (log.spec.group, kin.path.with_extension(""));
        let is_log = self.specs.iter().any(|spec| {
            let has_it = spec.paths.iter().any(|pattern| pattern.matches(&kin.path));
            let is_excluded = spec.exclude.iter().any(|pattern| pattern.matches(&kin.path));
            spec.group == group && spec.unpacks && has_it && !is_excluded
        });
        if is_log {
            return Ok(Verdict::Foreign);
        }
        // It is being compressed, or there is a log of that name whose content was compressed.
        if open::look(&plain)?.is_some() {
            return Ok(Verdict::Unknown);
        }
        // Of the logs whose rotated files have such names, the one with the longest name has it.
        for owner in origins_of(&kin.path).into_iter().rev().take_while(|owner| !log.is_own(owner))
        {
            if self.by_path.contains_key(&(group, owner.clone())) || open::look(&owner)?.is_some() {
                return Ok(Verdict::Foreign);
            }
        }
        // Files with a name of that kind, which were logs of their own as long as they were not compressed.
        let is_sibling = |path: &std::path::Path| {
            path.parent() == kin.path.parent()
                && origins_of(path).iter().any(|origin| log.is_own(origin))
        };
        let keys = self.by_path.iter().filter(|((of, path), _)| *of == group && is_sibling(path));
        let siblings: Vec<u64> = keys.map(|(_, sibling)| *sibling).collect();
        let name = log.spec.name.clone();
        for sibling in siblings {
            let found =
                self.with_slot(sibling, |slot| slot.has_content_of(&kin.path, kin.packing, now));
            self.due(sibling);
            if found.transpose()?.flatten().is_some() {
                return Ok(Verdict::Read);
            }
        }
        let stored = self.stored_marks(&source_of(&name, &plain));
        let marks = stored.map_err(std::io::Error::other)?.map(|(marks, _)| marks);
        let Some(log) = self.logs.get(&id).map(|tailed| &tailed.slot) else {
            return Ok(Verdict::Unknown);
        };
        for mark in marks.into_iter().flatten().filter(|mark| mark.offset > 0) {
            match log.goes_on_after(kin, &mark)? {
                Some(true) if !mark.is_done && !mark.is_copy => return Ok(Verdict::Begun(mark)),
                Some(false) => return Ok(Verdict::Read),
                _ => {}
            }
        }
        Ok(Verdict::Own)
    }
}
