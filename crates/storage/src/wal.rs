//! The write-ahead log: what was appended and synced is there again after any crash.
//!
//! Owns: segments, replay, repair of torn and damaged segments, dropping of old ones. Does not own: what records mean,
//! when to sync (the [`writer`](crate::writer) does), and any clock. Bytes on disk: `docs/format/wal.md`.
//!
//! Promises:
//! - A record whose [`sync`](Wal::sync) returned is replayed, in order, until [`drop_before`](Wal::drop_before) passes it.
//! - Of records never synced a prefix is replayed; none is replayed after a lost one.
//! - A damaged record is lost alone; the segment as found is kept as `*.corrupt`, [`Recovery`] tells.
//! - After a failed sync, or a failed write that could not be undone, every call fails: only a restart knows what is on disk.

pub(crate) mod frame;
mod recovery;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Error, ErrorKind, Result};

use crate::fs::{self, Fs, WriteFile};

pub(crate) use recovery::free_name;
pub use recovery::{Damage, Recovery};
pub use tail::Tail;

/// When an appended record is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledge after `fdatasync`: nothing acknowledged is lost in a power loss.
    Strict,
    /// Acknowledge after `write`, `fdatasync` every `ms` milliseconds: nothing acknowledged is lost when the process
    /// dies, up to `ms` milliseconds when the power goes.
    Interval {
        /// Milliseconds between syncs.
        ms: u64,
    },
}

/// How a WAL is kept.
#[derive(Debug, Clone, Copy)]
pub struct WalConfig {
    /// A segment is closed once it has this many bytes (a single larger record makes a larger segment).
    pub segment_bytes: u64,
    /// When records are acknowledged; the writer reads it.
    pub durability: Durability,
}

/// One replayed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Sequence number, from 1, rising by one per record (more behind lost ones).
    pub seq: u64,
    /// What the owner gave, below 0x80.
    pub kind: u8,
    /// What the owner gave.
    pub payload: &'a [u8],
}

/// Largest kind a record can have.
pub const KIND_MAX: u8 = frame::SYNCED_BEFORE - 1;

/// Longest payload in bytes.
pub const PAYLOAD_BYTES_MAX: usize = frame::PAYLOAD_BYTES_MAX;

const MAGIC: [u8; 8] = *b"TFRLWAL\n";
const VERSION: u32 = 1;
const SEGMENT_HEADER_BYTES: usize = 24;

/// How far the good frames of a run of bytes reach; see [`decode_frames`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of good frames from the start.
    pub consumed: usize,
    /// Smallest sequence number a next frame may have.
    pub next_seq: u64,
    /// Why it stopped.
    pub stop: Stop,
}

/// Why [`decode_frames`] stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// All bytes are good frames.
    End,
    /// The last frame needs this many bytes from its start.
    Incomplete {
        /// Bytes from the start of the frame.
        need: usize,
    },
    /// The bytes are not a frame.
    Bad {
        /// What is wrong with them.
        reason: &'static str,
    },
}

/// Visits the good frames at the start of `bytes` (frames only, no segment header), whose sequence numbers must rise and
/// start at `seq_min` or above. Never panics, never allocates.
///
/// # Errors
/// Only what `visit` returns.
pub fn decode_frames(
    bytes: &[u8],
    seq_min: u64,
    visit: &mut dyn FnMut(Record<'_>) -> Result<()>,
) -> Result<Decoded> {
    let (mut consumed, mut next_seq) = (0, seq_min);
    loop {
        let rest = bytes.get(consumed..).unwrap_or_default();
        let stop = match frame::decode(rest, next_seq) {
            frame::Found::Frame(f, len) => {
                visit(Record { seq: f.seq, kind: f.kind, payload: f.payload })?;
                consumed += len;
                next_seq = f.seq + 1;
                continue;
            }
            frame::Found::End => Stop::End,
            frame::Found::Incomplete { need } => Stop::Incomplete { need },
            frame::Found::Bad(reason) => Stop::Bad { reason },
        };
        return Ok(Decoded { consumed, next_seq, stop });
    }
}

/// A log of records in segment files of one directory; see the module for its promises.
pub struct Wal {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    config: WalConfig,
    /// Closed segments, oldest first.
    closed: VecDeque<Segment>,
    current: Segment,
    file: Box<dyn WriteFile>,
    next_seq: u64,
    /// Whether everything in the current segment is synced.
    synced: bool,
    /// Why nothing works any more.
    poison: Option<String>,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    first_seq: u64,
    bytes: u64,
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("dir", &self.dir)
            .field("next_seq", &self.next_seq)
            .field("poison", &self.poison)
            .finish_non_exhaustive()
    }
}

impl Wal {
    /// Opens (or starts) the log in `dir`, making the directory, and shows every record in order to `visit`.
    ///
    /// Cost: reads all segments once, with a buffer of a few MiB (or one record, if larger).
    ///
    /// # Errors
    /// What `visit` returns; [`Io`](ErrorKind::Io) or [`Busy`](ErrorKind::Busy) (disk full) from the file system;
    /// [`Invalid`](ErrorKind::Invalid) if a newer version of the format is found. Damaged bytes are not errors.
    pub fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        config: WalConfig,
        visit: &mut dyn FnMut(Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)> {
        fs.create_dir_all(dir)
            .map_err(|e| fs::error(format!("create wal directory {}", dir.display()), e))?;
        let replayed = recovery::replay(&*fs, dir, visit)?;
        let mut closed: VecDeque<Segment> = replayed.segments.into();
        let next_seq = replayed.recovery.next_seq;
        // A last segment without records is this one again; creating it anew also repairs its header.
        closed.pop_back_if(|s| s.first_seq == next_seq);
        let current = Segment { first_seq: next_seq, bytes: SEGMENT_HEADER_BYTES as u64 };
        let file = create_segment(&*fs, dir, next_seq)?;
        let wal = Self {
            fs,
            dir: dir.to_owned(),
            config,
            closed,
            current,
            file,
            next_seq,
            synced: true,
            poison: None,
            buffer: Vec::new(),
        };
        Ok((wal, replayed.recovery))
    }

    /// Writes one record behind the last; durable after [`sync`](Self::sync). Returns its sequence number.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) over [`KIND_MAX`] or [`PAYLOAD_BYTES_MAX`]; [`Busy`](ErrorKind::Busy) when the
    /// disk is full (nothing was appended, later calls may succeed); [`Io`](ErrorKind::Io) otherwise, and from then on.
    pub fn append(&mut self, kind: u8, payload: &[u8]) -> Result<u64> {
        self.check()?;
        if kind > KIND_MAX {
            return Err(Error::invalid(format!("wal record kind {kind} is over {KIND_MAX}")));
        }
        let len = payload.len();
        if len > PAYLOAD_BYTES_MAX {
            let message = format!("wal record of {len} bytes is over {PAYLOAD_BYTES_MAX}");
            return Err(Error::invalid(message));
        }
        if self.next_seq == u64::MAX {
            return Err(Error::new(ErrorKind::Io, "wal has no sequence numbers left"));
        }
        let frame_bytes = (frame::FRAME_HEADER_BYTES + len) as u64;
        let has_records = self.current.first_seq < self.next_seq;
        if has_records && self.current.bytes + frame_bytes > self.config.segment_bytes {
            self.rotate()?;
        }
        self.buffer.clear();
        frame::encode(self.next_seq, kind, self.synced, payload, &mut self.buffer);
        let written = self.file.write_all(&self.buffer);
        // Give the memory of an unusually large record back.
        if self.buffer.capacity() > 4 << 20 {
            self.buffer = Vec::new();
        }
        if let Err(e) = written {
            return Err(self.undo_write(e));
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.current.bytes += frame_bytes;
        self.synced = false;
        Ok(seq)
    }

    /// Makes everything appended so far durable; nothing to do if it is.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io); the log is unusable from then on.
    pub fn sync(&mut self) -> Result<()> {
        self.check()?;
        if self.synced {
            return Ok(());
        }
        if let Err(e) = self.file.sync_data() {
            let what = format!("sync wal segment {}", self.current_path().display());
            return Err(self.poison(what, e));
        }
        self.synced = true;
        Ok(())
    }

    /// Whether [`sync`](Self::sync) has nothing to do.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Sequence number the next record gets; all records so far are below it.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Makes the next record's sequence number at least `seq`, durably.
    ///
    /// For stores that note in a manifest up to which record their parts reach, to be called after
    /// [`open`](Self::open) with that position: in interval mode a power loss can take records from here that had
    /// already reached a part, and their numbers must not be given to new ones, which replay would then skip.
    ///
    /// # Errors
    /// As [`drop_before`](Self::drop_before).
    pub fn ensure_next_seq(&mut self, seq: u64) -> Result<()> {
        self.check()?;
        if self.next_seq >= seq {
            return Ok(());
        }
        self.sync()?;
        let old = self.next_seq;
        self.next_seq = seq;
        self.rotate().inspect_err(|_| self.next_seq = old)
    }

    /// Gives up records below `seq`, which the caller has made durable elsewhere. Whole segments only: others may be
    /// replayed once more.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) when the disk is full (the log stays usable), [`Io`](ErrorKind::Io) otherwise.
    pub fn drop_before(&mut self, seq: u64) -> Result<()> {
        self.check()?;
        self.remove_closed_before(seq)?;
        if self.next_seq <= seq && self.current.first_seq < self.next_seq {
            // The new segment carries the next sequence number, so it is durable before the old one goes.
            self.rotate()?;
            self.remove_closed_before(seq)?;
        }
        Ok(())
    }

    /// Ends the current segment if it has records: those before and those after are then in different files, and the
    /// former can [go](Self::drop_before) as a whole.
    ///
    /// # Errors
    /// As [`drop_before`](Self::drop_before).
    pub fn start_segment(&mut self) -> Result<()> {
        self.check()?;
        if self.current.first_seq < self.next_seq { self.rotate() } else { Ok(()) }
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.closed.iter().map(|s| s.bytes).sum::<u64>() + self.current.bytes
    }

    /// When records count as acknowledged.
    pub fn durability(&self) -> Durability {
        self.config.durability
    }

    /// The file system it lives on.
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// The directory of its segments.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn check(&self) -> Result<()> {
        match &self.poison {
            None => Ok(()),
            Some(why) => {
                let message = format!("wal takes nothing more until restart after: {why}");
                Err(Error::new(ErrorKind::Io, message))
            }
        }
    }

    fn poison(&mut self, what: String, source: std::io::Error) -> Error {
        self.poison = Some(format!("{what}: {source}"));
        Error::io(what, source)
    }

    /// After a failed write: cuts off what may have arrived, so that a full disk does not end the log. Durably, because
    /// a refused record must not come back.
    fn undo_write(&mut self, e: std::io::Error) -> Error {
        let what = format!("write wal segment {}", self.current_path().display());
        let undone = fs::is_full(&e)
            && self.file.set_len(self.current.bytes).and_then(|()| self.file.sync_data()).is_ok();
        if !undone {
            return self.poison(what, e);
        }
        self.synced = true;
        fs::error(what, e)
    }

    fn current_path(&self) -> PathBuf {
        self.dir.join(recovery::segment_name(self.current.first_seq))
    }

    /// Closes the current segment, durably, and starts the next.
    fn rotate(&mut self) -> Result<()> {
        // First: once a younger segment exists, recovery takes this one to be complete.
        self.sync()?;
        match create_segment(&*self.fs, &self.dir, self.next_seq) {
            Ok(file) => {
                self.file = file;
                self.closed.push_back(self.current);
                self.current =
                    Segment { first_seq: self.next_seq, bytes: SEGMENT_HEADER_BYTES as u64 };
                Ok(())
            }
            Err(e) => {
                // A leftover would make recovery take the current segment for complete.
                let path = self.dir.join(recovery::segment_name(self.next_seq));
                let gone = match self.fs.remove(&path) {
                    Ok(()) => self.fs.sync_dir(&self.dir).is_ok(),
                    Err(e) => e.kind() == std::io::ErrorKind::NotFound,
                };
                if e.kind() != ErrorKind::Busy || !gone {
                    self.poison = Some(e.to_string());
                }
                Err(e)
            }
        }
    }

    fn remove_closed_before(&mut self, seq: u64) -> Result<()> {
        let mut removed = false;
        loop {
            let end = self.closed.get(1).map_or(self.current.first_seq, |next| next.first_seq);
            let Some(oldest) = self.closed.front() else { break };
            if end > seq {
                break;
            }
            let path = self.dir.join(recovery::segment_name(oldest.first_seq));
            match self.fs.remove(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(fs::error(format!("remove wal segment {}", path.display()), e));
                }
                _ => {}
            }
            self.closed.pop_front();
            removed = true;
        }
        if removed {
            self.fs
                .sync_dir(&self.dir)
                .map_err(|e| fs::error(format!("sync wal directory {}", self.dir.display()), e))?;
        }
        Ok(())
    }
}

/// A new segment, durable with its name, without records.
fn create_segment(fs: &dyn Fs, dir: &Path, first_seq: u64) -> Result<Box<dyn WriteFile>> {
    let path = dir.join(recovery::segment_name(first_seq));
    let create = || {
        let mut file = fs.create(&path)?;
        file.write_all(&segment_header(first_seq))?;
        file.sync_data()?;
        fs.sync_dir(dir)?;
        Ok(file)
    };
    create().map_err(|e| fs::error(format!("create wal segment {}", path.display()), e))
}

fn segment_header(first_seq: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&first_seq.to_le_bytes());
    let crc = crc32c::crc32c(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    header
}
