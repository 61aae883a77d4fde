//! Taking over a log from another program, whose positions file says how many bytes it had read of a path.
//!
//! Owns: which file that was. The path may name another one now, or the same one, emptied and written to again; both may
//! be longer than what was read. What tells is when files were made and changed last, beside the time of the positions
//! file. Does not own: what came and went since ([`search`](super::search)).

use std::io;

use super::Slot;
use crate::file::family::Kin;
use crate::file::generation::{Generation, Now, Reading};
use crate::file::mark::Mark;
use crate::file::open::{self, Seen};

/// A file that may be the one that was read; times are Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    len: u64,
    /// When it was made, if that is known. A compressed file is made when it is compressed.
    born_ns: Option<i64>,
    is_packed: bool,
}

/// Which file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// The last one that was changed last before the positions were saved.
    Before,
    /// The first one that was changed since.
    First,
}

/// Which of two files is the one of which `offset` bytes were read at `saved_ns`, and whether that is sure. `was_emptied`
/// says that the path's file was copied and emptied since; otherwise it was renamed.
fn choose(
    offset: u64,
    saved_ns: i64,
    was_emptied: bool,
    before: Option<Candidate>,
    first: Option<Candidate>,
) -> (Option<Choice>, bool) {
    let fitting = |file: Option<Candidate>| file.filter(|file| file.len >= offset);
    let (before, first) = (fitting(before), fitting(first));
    let is_young = |file: Candidate| file.born_ns.is_some_and(|born_ns| born_ns > saved_ns);
    if was_emptied {
        // The copy was made since, perhaps with the times of the original.
        return match (first, before) {
            (Some(_), _) => (Some(Choice::First), true),
            (None, Some(file)) if is_young(file) => (Some(Choice::Before), true),
            _ => (None, true),
        };
    }
    let is_plain_of = |file: Candidate, young: bool| {
        !file.is_packed && file.born_ns.is_some() && is_young(file) == young
    };
    match (before, first) {
        (_, Some(file)) if is_plain_of(file, false) => (Some(Choice::First), true),
        // Everything was read of it.
        (Some(file), _) if file.len == offset => (Some(Choice::Before), true),
        (Some(_), Some(file)) if is_plain_of(file, true) => (Some(Choice::Before), true),
        (None, Some(file)) if is_plain_of(file, true) => (None, true),
        // Compressed before the positions were saved, it was rotated before, too.
        (Some(file), Some(_)) if file.is_packed && !is_young(file) && file.born_ns.is_some() => {
            (Some(Choice::First), true)
        }
        // What is older is compressed first.
        (before, Some(file)) => {
            let is_sure = before.is_none_or(|before| file.is_packed && !before.is_packed);
            (Some(Choice::First), is_sure)
        }
        (Some(_), None) => (Some(Choice::Before), true),
        (None, None) => (None, true),
    }
}

impl Slot {
    /// Begins where another program had read `offset` bytes of what the path named at `saved_ns`. `true` when the path still
    /// names that file, `false` when what it names is to be read from its beginning.
    ///
    /// # Errors
    /// When the file that the path names cannot be read.
    pub(super) fn take_over(
        &mut self,
        offset: u64,
        saved_ns: Option<i64>,
        now: Now,
    ) -> io::Result<bool> {
        let Some(seen) = open::look(&self.path)? else { return Ok(false) };
        let rotated = self.rotated(&seen, saved_ns);
        let was_renamed = saved_ns.is_some_and(|saved_ns| match seen.born_ns {
            Some(born_ns) => born_ns > saved_ns,
            // Giving it another name changes what is known of a file.
            None => rotated.iter().any(|(seen, kin)| {
                kin.is_succession && kin.packing.is_none() && seen.changed_ns > saved_ns
            }),
        });
        if !was_renamed {
            let found = self.open(&self.path, self.own_packing(), offset, false)?;
            if let Some((reading, mark)) = found
                && !self.was_emptied(&mark, saved_ns, &rotated)
            {
                self.set_current(reading, mark);
                return Ok(true);
            }
        }
        let since_ns = saved_ns.unwrap_or(i64::MAX);
        let split = rotated.partition_point(|(seen, _)| seen.mtime_ns <= since_ns);
        let before = split.checked_sub(1).and_then(|at| rotated.get(at));
        let first = rotated.get(split);
        let (choice, is_sure) = match saved_ns {
            Some(saved_ns) => {
                let [before, first] = [before, first]
                    .map(|file| file.and_then(|(seen, kin)| self.candidate(seen, kin)));
                choose(offset, saved_ns, !was_renamed, before, first)
            }
            None => (before.map(|_| Choice::Before), true),
        };
        let chosen = match choice {
            Some(Choice::Before) => before,
            Some(Choice::First) => first,
            None => None,
        };
        let found = chosen.and_then(|(_, kin)| self.resume_rotated(kin, offset));
        match (found, chosen) {
            (Some(()), Some((_, kin))) if !is_sure => tracing::warn!(
                path = %self.path.display(),
                rotated = %kin.path.display(),
                bytes = offset,
                "the positions file may mean this rotated file of the log, or an older one; it is read on behind these bytes"
            ),
            (Some(()), _) => {}
            (None, _) => {
                if offset > 0 {
                    self.tell_lost(&[since_ns]);
                }
                if let Some(saved_ns) = saved_ns {
                    self.search_from(saved_ns, now);
                }
            }
        }
        Ok(false)
    }

    /// Files that the path may have named, by the time of their last change.
    fn rotated(&self, own: &Seen, saved_ns: Option<i64>) -> Vec<(Seen, Kin)> {
        let offsets = &self.spec.positions.offsets;
        let is_rotated = |seen: &Seen, kin: &Kin| {
            let plain =
                kin.packing.map_or_else(|| kin.path.clone(), |_| kin.path.with_extension(""));
            let was_there = saved_ns.zip(seen.born_ns).is_some_and(|(saved, born)| born <= saved);
            // One that was there would be among the positions, were it a log of its own.
            let is_no_log = !offsets.contains_key(&plain) && (kin.is_doubtful || was_there);
            let is_packed_self = kin.packing.is_some() && !kin.is_doubtful;
            // What was rotated before it was saved, and has its name still, is another.
            let was_touched = saved_ns.is_none_or(|saved_ns| seen.changed_ns > saved_ns);
            was_touched && (kin.is_succession || (is_no_log && !is_packed_self))
        };
        let kin = self.family.kin().into_iter();
        let seen = kin.filter_map(|kin| Some((open::look(&kin.path).ok().flatten()?, kin)));
        let mut rotated: Vec<_> =
            seen.filter(|(seen, kin)| seen.id() != own.id() && is_rotated(seen, kin)).collect();
        rotated.sort_by_key(|(seen, _)| (seen.mtime_ns, seen.born_ns));
        rotated
    }

    /// Whether the path's file was copied and emptied since the positions were saved: `mark` is where it would be read on,
    /// and something else stands there in the first copy that was made since.
    fn was_emptied(&self, mark: &Mark, saved_ns: Option<i64>, rotated: &[(Seen, Kin)]) -> bool {
        let Some(saved_ns) = saved_ns else { return false };
        let is_young = |seen: &Seen| seen.born_ns.is_some_and(|born_ns| born_ns > saved_ns);
        let copy = rotated.iter().find(|(seen, _)| is_young(seen) && seen.mtime_ns > saved_ns);
        let found = copy.and_then(|(_, kin)| {
            self.open(&kin.path, kin.packing, mark.offset, false).ok().flatten()
        });
        found.is_some_and(|(_, of_copy)| (of_copy.head, of_copy.tail) != (mark.head, mark.tail))
    }

    fn candidate(&self, seen: &Seen, kin: &Kin) -> Option<Candidate> {
        let (_, end) = self.open(&kin.path, kin.packing, 0, true).ok().flatten()?;
        let is_packed = kin.packing.is_some();
        Some(Candidate { len: end.offset, born_ns: seen.born_ns, is_packed })
    }

    fn resume_rotated(&mut self, kin: &Kin, offset: u64) -> Option<()> {
        let found: Option<(Reading, Mark)> =
            self.open(&kin.path, kin.packing, offset, false).ok().flatten();
        let (reading, mark) = found?;
        self.generations.retain(|known| known.mark.id() != mark.id());
        self.generations.push(Generation::new(mark, Some(reading)));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_was_read_is_told_by_times_and_lengths() {
        let plain =
            |len, born_ns: i64| Some(Candidate { len, born_ns: Some(born_ns), is_packed: false });
        let packed =
            |len, born_ns: i64| Some(Candidate { len, born_ns: Some(born_ns), is_packed: true });
        let unborn = |len| Some(Candidate { len, born_ns: None, is_packed: false });
        let check = |before, first, expected| {
            assert_eq!(choose(10, 100, false, before, first), expected, "{before:?} {first:?}");
        };
        let (is_before, is_first) = (Some(Choice::Before), Some(Choice::First));
        // It was renamed since, and written to since or not.
        check(plain(20, 50), plain(20, 90), (is_first, true));
        check(plain(20, 50), None, (is_before, true));
        // Others follow that were made since.
        check(plain(20, 50), plain(20, 110), (is_before, true));
        check(plain(10, 50), packed(20, 110), (is_before, true));
        // It is gone.
        check(plain(5, 50), plain(20, 110), (None, true));
        check(plain(5, 50), None, (None, true));
        check(None, None, (None, true));
        // A compressed file was made later than what it holds.
        check(packed(20, 90), packed(20, 110), (is_first, true));
        check(packed(20, 105), packed(20, 110), (is_first, false));
        check(packed(5, 105), packed(20, 110), (is_first, true));
        check(plain(20, 50), packed(20, 110), (is_first, true));
        // Where nobody knows when files were made.
        check(unborn(20), unborn(20), (is_first, false));
        check(unborn(10), unborn(20), (is_before, true));
        check(None, unborn(20), (is_first, true));
        let check = |before, first, expected| {
            let found = choose(10, 100, true, before, first);
            assert_eq!(found, (expected, true), "{before:?} {first:?}");
        };
        check(plain(20, 50), plain(20, 110), is_first);
        check(packed(20, 110), None, is_before);
        check(plain(20, 50), None, None);
    }
}
