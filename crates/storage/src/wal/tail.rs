//! Reading a log while another part of the process appends to it, from a sequence number on.
//!
//! Owns: finding the segment, reading it piece by piece. Does not own: knowing which records are durable (the caller
//! says up to where to read), damage (a restart repairs it).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Error, Result};

use super::frame::{self, Found};
use super::recovery::{parse_segment_name, segment_name};
use super::{Record, SEGMENT_HEADER_BYTES};
use crate::fs::{self, Fs, ReadFile};

/// Read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Reads the records of a log in order.
pub struct Tail {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    next_seq: u64,
    place: Option<Place>,
    /// Bytes of the segment from `Place::offset` on.
    buffer: Vec<u8>,
    /// How many of them are done.
    start: usize,
}

/// Where in which segment.
struct Place {
    first_seq: u64,
    file: Box<dyn ReadFile>,
    offset: u64,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail")
            .field("dir", &self.dir)
            .field("next_seq", &self.next_seq)
            .finish_non_exhaustive()
    }
}

impl Tail {
    /// A reader of the log in `dir` whose first record has the sequence number `next_seq` or the first one above that
    /// is still there.
    pub fn new(fs: Arc<dyn Fs>, dir: &Path, next_seq: u64) -> Self {
        Self { fs, dir: dir.to_owned(), next_seq, place: None, buffer: Vec::new(), start: 0 }
    }

    /// Sequence number of the next record.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Shows the next record below `end_seq`, which all must be written; `None` when there is none. Records that are
    /// gone (dropped or lost) are passed over; those dropped while it reads their segment may still be shown.
    ///
    /// Cost: the first call reads a segment from its start.
    ///
    /// # Errors
    /// What `visit` returns; [`Io`](model::ErrorKind::Io); [`Corrupt`](model::ErrorKind::Corrupt) for bytes that are no
    /// record, after which the reader goes on with the next segment.
    pub fn next<T>(
        &mut self,
        end_seq: u64,
        visit: &mut dyn FnMut(Record<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut read_again = false;
        while self.next_seq < end_seq {
            if self.place.is_none() && !self.find()? {
                self.next_seq = end_seq;
                break;
            }
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            let need = match frame::decode(rest, 0) {
                Found::Frame(found, _) if found.seq >= end_seq => break,
                Found::Frame(found, len) => {
                    self.start += len;
                    if found.seq < self.next_seq {
                        continue;
                    }
                    self.next_seq = found.seq + 1;
                    let (seq, kind, payload) = (found.seq, found.kind, found.payload);
                    return visit(Record { seq, kind, payload }).map(Some);
                }
                Found::End => CHUNK_BYTES,
                Found::Incomplete { need } => need.max(CHUNK_BYTES),
                // What was read while it was being written is read again.
                Found::Bad(_) if !read_again => {
                    read_again = true;
                    self.buffer.truncate(self.start);
                    CHUNK_BYTES
                }
                Found::Bad(reason) => {
                    let message = format!("{}: {reason}", self.path().display());
                    self.leave(end_seq)?;
                    return Err(Error::corrupt(message));
                }
            };
            // A segment that is gone was behind this reader; the next record is in a younger one.
            if !self.fill(need)? && self.place.is_some() {
                self.leave(end_seq)?;
            }
        }
        // What is behind was not asked for and may yet be undone.
        self.buffer.truncate(self.start);
        Ok(None)
    }

    /// The segment it is in.
    fn path(&self) -> PathBuf {
        let first_seq = self.place.as_ref().map_or(self.next_seq, |place| place.first_seq);
        self.dir.join(segment_name(first_seq))
    }

    fn first_seqs(&self) -> Result<Vec<u64>> {
        let entries = self
            .fs
            .list(&self.dir)
            .map_err(|e| fs::error(format!("list wal directory {}", self.dir.display()), e))?;
        let mut first_seqs: Vec<u64> =
            entries.iter().filter_map(|e| parse_segment_name(&e.name)).collect();
        first_seqs.sort_unstable();
        Ok(first_seqs)
    }

    /// Goes to the segment with the next record: the last that begins at or below it, else the first there is.
    fn find(&mut self) -> Result<bool> {
        let first_seqs = self.first_seqs()?;
        let at = first_seqs.partition_point(|first| *first <= self.next_seq).saturating_sub(1);
        let Some(&first_seq) = first_seqs.get(at) else { return Ok(false) };
        self.next_seq = self.next_seq.max(first_seq);
        self.go_to(first_seq, SEGMENT_HEADER_BYTES as u64)
    }

    /// `false` when the segment is gone.
    fn go_to(&mut self, first_seq: u64, offset: u64) -> Result<bool> {
        let path = self.dir.join(segment_name(first_seq));
        (self.place, self.start) = (None, 0);
        self.buffer.clear();
        match self.fs.open_read(&path) {
            Ok(file) => self.place = Some(Place { first_seq, file, offset }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(fs::error(format!("open wal segment {}", path.display()), e)),
        }
        Ok(self.place.is_some())
    }

    /// Reads on until `need` bytes are there or the file ends; `false` when there was nothing to read.
    fn fill(&mut self, need: usize) -> Result<bool> {
        let path = self.path();
        for reopened in [false, true] {
            let Some(place) = &mut self.place else { return Ok(false) };
            self.buffer.drain(..self.start);
            place.offset += self.start as u64;
            self.start = 0;
            let left = place.file.len().saturating_sub(place.offset);
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(need);
            let have = self.buffer.len();
            if want > have {
                self.buffer.resize(want, 0);
                return match place
                    .file
                    .read_exact_at(&mut self.buffer[have..], place.offset + have as u64)
                {
                    Ok(()) => Ok(true),
                    Err(e) => {
                        self.buffer.truncate(have);
                        Err(fs::error(format!("read wal segment {}", path.display()), e))
                    }
                };
            }
            // It may have grown since it was opened.
            let (first_seq, offset) = (place.first_seq, place.offset);
            if !reopened && !self.go_to(first_seq, offset)? {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Goes to the segment behind this one; what was not found in this one is gone.
    fn leave(&mut self, end_seq: u64) -> Result<()> {
        let here = self.place.take().map_or(self.next_seq, |place| place.first_seq);
        let next = self.first_seqs()?.into_iter().find(|first| *first > here);
        self.next_seq = self.next_seq.max(next.unwrap_or(end_seq).min(end_seq));
        (self.place, self.start) = (None, 0);
        self.buffer.clear();
        Ok(())
    }
}
