//! What of a log is lost, as far as that is known: counted, and told with what may hold it still.
//!
//! Owns: files that are gone, and rotated files of a kind that is not read. Does not own: when a search is given up
//! ([`search`](super::search)).

use std::path::PathBuf;

use super::Slot;
use crate::counters::Counters;
use crate::file::generation::Generation;
use crate::file::open;

impl Slot {
    /// Counts files of which the rest, if any, was not found; by the times of the last change that is known of them.
    pub(super) fn tell_lost(&mut self, changed_ns: &[i64]) {
        let Some(since_ns) = changed_ns.iter().min() else { return };
        self.is_unsaved = true;
        let unread = self.unread_since(*since_ns);
        let lost = changed_ns.len().max(unread.len()) as u64;
        Counters::add(&self.counters.log_gaps, lost);
        if unread.is_empty() {
            tracing::warn!(
                path = %self.path.display(),
                files = lost,
                "an earlier file of this log is gone; what it held beyond what was read, if anything, is lost"
            );
        } else {
            self.tell_kinds(&unread);
        }
    }

    /// Counts rotated files that came unseen, changed at `since_ns` or later, and are of a kind that is not read.
    pub(super) fn tell_unread(&mut self, since_ns: i64) {
        // What is missing may be one of them; that is told when it is given up.
        if self.generations.iter().any(Generation::is_missing) {
            return;
        }
        let unread = self.unread_since(since_ns);
        if !unread.is_empty() {
            Counters::add_len(&self.counters.log_gaps, unread.len());
            self.tell_kinds(&unread);
        }
    }

    fn tell_kinds(&self, unread: &[PathBuf]) {
        for file in unread {
            tracing::warn!(
                path = %self.path.display(),
                rotated = %file.display(),
                "a rotated file of this log is compressed in a way that is not read (gzip and zstd are); what it held \
                 beyond what was read, if anything, is lost"
            );
        }
    }

    /// Rotated files of a kind that is not read, of which nobody was told yet. One that has the time of a file that was
    /// read to its end is that file.
    fn unread_since(&mut self, since_ns: i64) -> Vec<PathBuf> {
        let mut unread = Vec::new();
        for path in self.family.unread() {
            let Ok(Some(seen)) = open::look(&path) else { continue };
            let is_read = |known: &Generation| {
                (known.mark.is_done || known.reading.is_some())
                    && known.mark.mtime_ns == seen.mtime_ns
            };
            let is_news = seen.mtime_ns >= since_ns && !self.told.contains(&seen.id());
            if is_news && !self.generations.iter().any(is_read) {
                self.told.push(seen.id());
                unread.push(path);
            }
        }
        let excess = self.told.len().saturating_sub(super::GENERATIONS_MAX);
        self.told.drain(..excess);
        unread
    }
}
