//! One file that a log's path names, or named: its mark, and, while it is open, reading on from there.

use std::fs::File;
use std::io;
use std::sync::Arc;

use model::Clock;

use super::content::{Content, Packing};
use super::mark::{HEAD_BYTES, Mark, TAIL_BYTES};
use super::open::Seen;
use super::split::{Encoding, Split, split};

/// Bytes read at a time; more than the longest line.
pub(crate) const CHUNK_BYTES: usize = 512 << 10;
/// A damaged file that did not change for so long is not being written.
const DAMAGED_QUIET_NS: i64 = 60_000_000_000;
const _: () = assert!(CHUNK_BYTES > super::split::LINE_BYTES_MAX + 8);

/// A file and how far it was read.
pub(crate) struct Generation {
    pub(crate) mark: Mark,
    /// `None` when it is done, or was not found yet.
    pub(crate) reading: Option<Reading>,
    /// Since when it is looked for, on the monotonic clock.
    pub(crate) missing_since_ns: Option<i64>,
    /// It is closed for want of descriptors, and opened again when something is written to it.
    pub(crate) is_resting: bool,
}

/// An open file.
pub(crate) struct Reading {
    file: Arc<File>,
    content: Content,
    pub(crate) is_packed: bool,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// What is wrong behind the bytes that can be read, and since when the file did not change, on the monotonic clock.
    damage: Option<Damage>,
    /// Bytes behind the mark when the end was last seen.
    rest_len: usize,
    /// Since when there was nothing new, on the monotonic clock.
    quiet_since_ns: Option<i64>,
    /// The file was truncated under a writer that goes on at its old place: NUL bytes at the beginning are no text.
    may_begin_with_hole: bool,
}

/// A compressed file that cannot be unpacked to its end. It may still be written.
#[derive(Debug, Clone, Copy)]
struct Damage {
    seen: Seen,
    since_ns: i64,
    /// Nothing more is expected, and somebody was told.
    is_final: bool,
}

/// What reading brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Bytes were taken; perhaps there are more.
    Some(Split),
    /// Nothing new.
    None,
    /// The content is another than the one that was read.
    Replaced,
    /// It is damaged behind what was read, and did not change for so long that this is all.
    Damaged,
}

/// Moments at which something is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Unix nanoseconds.
    pub(crate) ns: i64,
    /// On the monotonic clock.
    pub(crate) monotonic_ns: i64,
}

/// A clock that stands still.
impl Clock for Now {
    fn now_ns(&self) -> i64 {
        self.ns
    }

    fn monotonic_ns(&self) -> i64 {
        self.monotonic_ns
    }
}

impl Reading {
    /// The file from `offset` on, and its mark; `None` when it is shorter.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn at(
        file: File,
        seen: Seen,
        packing: Option<Packing>,
        offset: u64,
    ) -> io::Result<Option<(Self, Mark)>> {
        let file = Arc::new(file);
        let mut content = Content::new(Arc::clone(&file), packing);
        let len = |max: usize| usize::try_from(offset).unwrap_or(usize::MAX).min(max);
        let (head_len, tail_len) = (len(HEAD_BYTES), len(TAIL_BYTES));
        let Some(head) = content.exactly(0, head_len)? else { return Ok(None) };
        let Some(tail) = content.exactly(offset - tail_len as u64, tail_len)? else {
            return Ok(None);
        };
        let mut mark = Mark {
            dev: seen.dev,
            ino: seen.ino,
            offset,
            mtime_ns: seen.mtime_ns,
            ..Mark::default()
        };
        mark.set_content(&head, &tail);
        let reading = Self {
            file,
            content,
            is_packed: packing.is_some(),
            head,
            tail,
            damage: None,
            rest_len: 0,
            quiet_since_ns: None,
            may_begin_with_hole: false,
        };
        Ok(Some((reading, mark)))
    }

    /// The file from its end on, and its mark.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn at_end(
        file: File,
        seen: Seen,
        packing: Option<Packing>,
    ) -> io::Result<Option<(Self, Mark)>> {
        let len = Content::new(Arc::new(file.try_clone()?), packing).len()?;
        Self::at(file, seen, packing, len)
    }

    /// The file from where `mark` stands, if it has the content that was read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn resume(
        file: File,
        seen: Seen,
        packing: Option<Packing>,
        mark: &Mark,
    ) -> io::Result<Option<Self>> {
        let found = Self::at(file, seen, packing, mark.offset)?;
        Ok(found.filter(|(found, _)| mark.has_content(&found.head, &found.tail)).map(|(r, _)| r))
    }

    /// The same file from its beginning, after it was truncated.
    pub(crate) fn again(&self) -> Self {
        Self {
            content: Content::new(Arc::clone(&self.file), None),
            file: Arc::clone(&self.file),
            is_packed: false,
            head: Vec::new(),
            tail: Vec::new(),
            damage: None,
            rest_len: 0,
            quiet_since_ns: None,
            may_begin_with_hole: true,
        }
    }

    /// What the system says of the open file.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn seen(&self) -> io::Result<Seen> {
        super::others_act();
        Ok(Seen::of(&self.file.metadata()?))
    }

    /// Whether the content in front of `offset` is another than the one that was read.
    fn is_replaced(&mut self, offset: u64) -> bool {
        if self.is_packed {
            return false;
        }
        let found = self.content.exactly(offset - self.tail.len() as u64, self.tail.len());
        // What cannot be read is complained about when it is.
        found.is_ok_and(|found| found.as_deref() != Some(self.tail.as_slice()))
    }

    /// Whether a damaged file is as it was for so long that nobody writes it any more.
    fn is_damage_final(&mut self, seen: &Seen, now: Now) -> bool {
        let is_same = |damage: &Damage| {
            (damage.seen.size, damage.seen.mtime_ns) == (seen.size, seen.mtime_ns)
        };
        let damage = self.damage.filter(is_same).unwrap_or(Damage {
            seen: *seen,
            since_ns: now.monotonic_ns,
            is_final: false,
        });
        self.damage = Some(damage);
        now.monotonic_ns.saturating_sub(damage.since_ns) >= DAMAGED_QUIET_NS
    }

    /// Says once that no more can be read.
    fn tell_damage(&mut self) -> Progress {
        let Some(damage) = &mut self.damage else { return Progress::None };
        let was_told = std::mem::replace(&mut damage.is_final, true);
        if was_told { Progress::None } else { Progress::Damaged }
    }

    /// Number of bytes it holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn len(&mut self) -> io::Result<u64> {
        self.content.len()
    }

    /// Whether it begins with what `mark` was read of, as far as its beginning and its end tell.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn holds(&mut self, mark: &Mark) -> io::Result<bool> {
        let Some(head) = self.content.exactly(0, mark.head_len)? else { return Ok(false) };
        let tail = self.content.exactly(mark.offset - mark.tail_len as u64, mark.tail_len)?;
        Ok(tail.is_some_and(|tail| mark.has_content(&head, &tail)))
    }

    /// Whether the first bytes are those of what `mark` was read of.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn has_head(&mut self, mark: &Mark) -> io::Result<bool> {
        let head = self.content.exactly(0, mark.head_len)?;
        Ok(head.is_some_and(|head| mark.has_head(&head)))
    }

    /// How long there was nothing new; `None` before the end was reached.
    pub(crate) fn quiet_ns(&self, now: Now) -> Option<i64> {
        self.quiet_since_ns.map(|since| now.monotonic_ns.saturating_sub(since))
    }

    /// Bytes of a line whose end has not come.
    pub(crate) fn rest_len(&self) -> u64 {
        self.rest_len as u64
    }

    /// Whether it cannot be read to its end, and nobody was told yet that this is all.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damage.is_some_and(|damage| !damage.is_final)
    }

    /// Whether a line without its end waits for more.
    pub(crate) fn has_rest(&self) -> bool {
        self.rest_len > 0
    }
}

impl Generation {
    pub(crate) fn new(mark: Mark, reading: Option<Reading>) -> Self {
        Self { mark, reading, missing_since_ns: None, is_resting: false }
    }

    /// A file known by its cursor alone.
    pub(crate) fn of_cursor(mark: Mark, now: Now) -> Self {
        let missing_since_ns = (!mark.is_done).then_some(now.monotonic_ns);
        Self { missing_since_ns, ..Self::new(mark, None) }
    }

    /// Whether it is to be read, and not found yet.
    pub(crate) fn is_missing(&self) -> bool {
        !self.mark.is_done && self.reading.is_none() && !self.is_resting
    }

    /// Whether the content in front of the mark is another than the one that was read.
    pub(crate) fn is_replaced(&mut self) -> bool {
        let offset = self.mark.offset;
        self.reading.as_mut().is_some_and(|reading| reading.is_replaced(offset))
    }

    /// Closes the file until something is written to it, if everything was read and it can be recognised.
    pub(crate) fn rest(&mut self) {
        let is_idle = |reading: &Reading| {
            reading.quiet_since_ns.is_some() && !reading.has_rest() && !reading.is_packed
        };
        if self.mark.offset > 0 && self.reading.as_ref().is_some_and(is_idle) {
            (self.reading, self.is_resting) = (None, true);
        }
    }

    /// Reads on with `reading`.
    pub(crate) fn resume(&mut self, reading: Reading, seen: Seen) {
        (self.mark.dev, self.mark.ino) = seen.id();
        self.mark.is_done = false;
        self.missing_since_ns = None;
        self.is_resting = false;
        self.reading = Some(reading);
    }

    /// Closes the file for good.
    pub(crate) fn close(&mut self) {
        self.mark.is_done = true;
        self.mark.is_cut = false;
        self.missing_since_ns = None;
        self.is_resting = false;
        self.reading = None;
    }

    /// Gives the next lines to `take`. With `to_the_end`, also a last one without its newline. `scratch` is any buffer.
    ///
    /// The mark's time of change is `mtime_ns_max` at most.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read(
        &mut self,
        encoding: Encoding,
        to_the_end: bool,
        mtime_ns_max: i64,
        now: Now,
        scratch: &mut Vec<u8>,
        take: impl FnMut(&str),
    ) -> io::Result<Progress> {
        let (mark, Some(reading)) = (&mut self.mark, &mut self.reading) else {
            return Ok(Progress::None);
        };
        let tail_len = reading.tail.len();
        scratch.resize(CHUNK_BYTES + TAIL_BYTES, 0);
        // Asked first: a copy of what is read now is made later, even if the file is emptied and written to meanwhile.
        let seen = reading.seen()?;
        let mtime_ns = seen.mtime_ns.min(mtime_ns_max);
        let start = mark.offset - tail_len as u64;
        let read = reading.content.read_once_at(start, scratch)?;
        if scratch.get(..tail_len.min(read)) != Some(reading.tail.as_slice()) {
            return Ok(Progress::Replaced);
        }
        if read > tail_len && !reading.is_packed {
            // The system copies page by page: what was emptied and filled meanwhile is a mixture of both.
            let first = &scratch[..read.min(HEAD_BYTES)];
            if reading.content.exactly(start, first.len())?.as_deref() != Some(first) {
                return Ok(Progress::Replaced);
            }
        }
        let damage =
            reading.content.damage().map(|error| io::Error::new(error.kind(), error.to_string()));
        let is_damage_final = damage.is_some() && reading.is_damage_final(&seen, now);
        let is_end = read < scratch.len() && (damage.is_none() || is_damage_final);
        let fresh = &scratch[tail_len..read];
        let mut skipped = 0;
        if reading.may_begin_with_hole && !fresh.is_empty() {
            skipped = fresh.iter().take_while(|byte| **byte == 0).count();
            reading.may_begin_with_hole = skipped == fresh.len();
        }
        let text = &fresh[skipped..];
        let encoding = if mark.offset == 0 && reading.head.is_empty() {
            encoding.with_mark(text)
        } else {
            encoding.with_mark(&reading.head)
        };
        let to_the_end = (to_the_end || is_damage_final) && is_end;
        let mut done = split(encoding, text, &mut mark.is_cut, to_the_end, CHUNK_BYTES, take);
        done.consumed += skipped;
        let rest_len = fresh.len() - done.consumed;
        if done.consumed > 0 || rest_len != reading.rest_len || !is_end {
            reading.quiet_since_ns = None;
        }
        if is_end {
            reading.quiet_since_ns.get_or_insert(now.monotonic_ns);
        }
        reading.rest_len = rest_len;
        mark.mtime_ns = mtime_ns;
        if done.consumed == 0 {
            return match damage {
                Some(_) if is_damage_final => Ok(reading.tell_damage()),
                Some(error) => Err(error),
                None => Ok(Progress::None),
            };
        }
        let known = &scratch[..tail_len + done.consumed];
        let head_len = reading.head.len();
        if head_len < HEAD_BYTES {
            let taken = &known[tail_len..];
            reading.head.extend_from_slice(&taken[..taken.len().min(HEAD_BYTES - head_len)]);
        }
        reading.tail.clear();
        reading.tail.extend_from_slice(&known[known.len().saturating_sub(TAIL_BYTES)..]);
        mark.offset += done.consumed as u64;
        mark.set_content(&reading.head, &reading.tail);
        Ok(Progress::Some(done))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_copy_of_what_is_being_read_is_not_older_than_the_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::RDWR;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let mut file = File::from(rustix::fs::open(&path, flags, mode).unwrap());
        file.write_all(b"one\ntwo\n").unwrap();
        let at_ns = |ns: u64| std::time::UNIX_EPOCH + std::time::Duration::from_nanos(ns);
        file.set_modified(at_ns(1_000)).unwrap();
        let seen = Seen::of(&file.metadata().unwrap());
        let (reading, mark) =
            Reading::at(file.try_clone().unwrap(), seen, None, 0).unwrap().unwrap();
        let mut generation = Generation::new(mark, Some(reading));
        let now = Now { ns: 0, monotonic_ns: 0 };
        // While its lines are taken the file is copied, emptied and written to again.
        let (emptied, mut lines) = (file.try_clone().unwrap(), Vec::new());
        let take = |line: &str| {
            emptied.set_len(0).unwrap();
            emptied.set_modified(at_ns(3_000)).unwrap();
            lines.push(line.to_owned());
        };
        let read =
            generation.read(Encoding::Utf8, false, i64::MAX, now, &mut Vec::new(), take).unwrap();
        assert!(matches!(read, Progress::Some(_)));
        assert_eq!((lines.len(), generation.mark.mtime_ns), (2, 1_000));
    }
}
