//! Opening the files of a log, by its path and by other names.
//!
//! Owns: from where on a file is read, and whether it is the one that a mark was made of. Does not own: which file is looked
//! for where (`search`).

use std::io;
use std::path::Path;

use super::Slot;
use crate::file::content::Packing;
use crate::file::generation::{Generation, Reading};
use crate::file::mark::Mark;
use crate::file::open::{self, Seen};

impl Slot {
    /// Reads the newest file on from `offset`: what is before is known from another.
    pub(crate) fn pass_over(&mut self, offset: u64) {
        let found = self.open(&self.path, self.own_packing(), offset, false);
        let Some(current) = self.generations.last_mut().filter(|_| self.has_current) else {
            return;
        };
        if let Ok(Some((reading, mark))) = found
            && mark.id() == current.mark.id()
        {
            *current = Generation::new(mark, Some(reading));
            self.is_unsaved = true;
        }
    }

    /// Opens what the path names as the newest file.
    pub(super) fn open_current(&mut self) {
        let packing = self.own_packing();
        match self.open(&self.path, packing, 0, false) {
            Ok(Some((reading, mark))) => {
                // It may be one that was rotated away and came back.
                let known = self.generations.iter().position(|g| g.mark.id() == mark.id());
                if let Some(at) = known {
                    let mark = self.generations[at].mark.clone();
                    let is_open = self.generations[at].reading.is_some();
                    let resumed = match is_open {
                        true => None,
                        false => self.reopen(&self.path, packing, &mark).ok().flatten(),
                    };
                    if is_open || resumed.is_some() {
                        let mut current = self.generations.remove(at);
                        if let Some((reading, seen)) = resumed {
                            current.resume(reading, seen);
                        }
                        self.generations.push(current);
                        self.has_current = true;
                        return;
                    }
                    // The inode was given to another file.
                    let known = &mut self.generations[at].mark;
                    (known.dev, known.ino) = (0, 0);
                }
                self.set_current(reading, mark);
            }
            Ok(None) => {}
            Err(error) => self.complain(&error),
        }
    }

    pub(super) fn own_packing(&self) -> Option<Packing> {
        self.spec.unpacks.then(|| Packing::of(&self.path)).flatten()
    }

    /// A file from `offset` on, or from its end.
    pub(super) fn open(
        &self,
        path: &Path,
        packing: Option<Packing>,
        offset: u64,
        at_end: bool,
    ) -> io::Result<Option<(Reading, Mark)>> {
        let (file, seen) = open::open(&self.spec.roots, path)?;
        if at_end {
            return Reading::at_end(file, seen, packing);
        }
        Reading::at(file, seen, packing, offset)
    }

    /// A file from where `mark` stands, if it has that content.
    pub(super) fn reopen(
        &self,
        path: &Path,
        packing: Option<Packing>,
        mark: &Mark,
    ) -> io::Result<Option<(Reading, Seen)>> {
        let (file, seen) = open::open(&self.spec.roots, path)?;
        Ok(Reading::resume(file, seen, packing, mark)?.map(|reading| (reading, seen)))
    }
}
