//! Opening a WAL: replay in order, cut the torn tail, keep damaged segments aside and carry on.
//!
//! Owns: the names of segments and what is done with bytes that are not what was written. Does not own: appending.
//!
//! How torn and damaged are told apart: a segment with a younger one behind it was synced as a whole, so whatever is
//! wrong in it is damage. In the youngest, a frame with the `SYNCED_BEFORE` flag proves that everything before it was
//! synced: bad bytes before such a frame are damage, bad bytes behind the last one are a write that never finished.

use std::io;
use std::path::Path;

use model::{Error, Result};

use super::frame::{self, Frame};
use super::{
    Decoded, MAGIC, Record, SEGMENT_HEADER_BYTES, Segment, Stop, VERSION, decode_frames,
    segment_header,
};
use crate::fs::{self, Fs, ReadFile};

/// Read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// At most so much behind the first bad byte is searched for good frames.
const SALVAGE_BYTES_MAX: u64 = 2 * frame::PAYLOAD_BYTES_MAX as u64;

/// What opening a WAL found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records replayed.
    pub records: u64,
    /// Bytes of segments read.
    pub bytes: u64,
    /// Sequence number the next record gets.
    pub next_seq: u64,
    /// Bytes of a write that never finished (and was never acknowledged), cut off.
    pub torn_bytes: u64,
    /// Sequence numbers missing between replayed records: lost to damage, now or at an earlier start.
    pub missing_records: u64,
    /// Segments with damage, oldest first.
    pub damage: Vec<Damage>,
}

impl Recovery {
    /// What was damaged or lost of the write-ahead log of `what` (`"log"`, `"trace"`), for people.
    pub fn warnings(&self, what: &str) -> Vec<String> {
        let damaged = |d: &Damage| {
            let Damage { segment, kept_as, offset, reason } = d;
            format!(
                "{what} wal segment {segment} is damaged at {offset} ({reason}); kept as {kept_as}"
            )
        };
        let lost = (self.missing_records > 0)
            .then(|| format!("{} {what} wal records are lost", self.missing_records));
        self.damage.iter().map(damaged).chain(lost).collect()
    }
}

/// A segment that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// File name of the segment.
    pub segment: String,
    /// File name under which it is kept as it was found.
    pub kept_as: String,
    /// Offset of the first bad byte.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

pub(super) struct Replayed {
    pub(super) segments: Vec<Segment>,
    pub(super) recovery: Recovery,
}

/// `first_seq` in decimal, so that names sort by age.
pub(super) fn segment_name(first_seq: u64) -> String {
    format!("{first_seq:020}.wal")
}

pub(super) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|seq| plain && (1..u64::MAX).contains(seq))
}

pub(super) fn replay(
    fs: &dyn Fs,
    dir: &Path,
    visit: &mut dyn FnMut(Record<'_>) -> Result<()>,
) -> Result<Replayed> {
    let entries =
        fs.list(dir).map_err(|e| fs::error(format!("list wal directory {}", dir.display()), e))?;
    let mut first_seqs = Vec::new();
    for entry in entries.iter().filter(|e| !e.is_dir) {
        if entry.name.ends_with(".wal.tmp") {
            remove(fs, &dir.join(&entry.name))?;
        }
        first_seqs.extend(parse_segment_name(&entry.name));
    }
    first_seqs.sort_unstable();
    let recovery = Recovery { next_seq: 1, ..Recovery::default() };
    let mut replay = Replay { fs, dir, visit, segments: Vec::new(), recovery, started: false };
    for (i, &first_seq) in first_seqs.iter().enumerate() {
        replay.segment(first_seq, first_seqs.get(i + 1).copied())?;
    }
    Ok(Replayed { segments: replay.segments, recovery: replay.recovery })
}

struct Replay<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    visit: &'a mut dyn FnMut(Record<'_>) -> Result<()>,
    segments: Vec<Segment>,
    recovery: Recovery,
    /// Whether a segment was seen: sequence numbers missing before the first were dropped on purpose.
    started: bool,
}

impl Replay<'_> {
    fn segment(&mut self, first_seq: u64, next_first_seq: Option<u64>) -> Result<()> {
        let name = segment_name(first_seq);
        let path = self.dir.join(&name);
        let read_error = |e| fs::error(format!("read wal segment {}", path.display()), e);
        let file = self.fs.open_read(&path).map_err(read_error)?;
        self.recovery.bytes += file.len();
        self.skip_to(first_seq);
        let header_ok = check_header(&*file, &path, first_seq)?;
        let (good_end, reason) = if header_ok {
            self.good_frames(&*file, &path)?
        } else {
            (0, Some("segment header is damaged"))
        };
        let last = next_first_seq.is_none();
        let Some(reason) = reason else {
            return self.keep(first_seq, &*file, good_end, last);
        };
        let tail = read_tail(&*file, good_end).map_err(read_error)?;
        let seq_end = next_first_seq.unwrap_or(self.recovery.next_seq.saturating_add(1 << 32));
        let mut saved = frame::salvage(&tail, self.recovery.next_seq, seq_end);
        if last {
            saved.truncate(proven_len(&saved));
        }
        if last && saved.is_empty() && (header_ok || file.len() <= SEGMENT_HEADER_BYTES as u64) {
            self.recovery.torn_bytes += file.len() - good_end;
            return self.keep(first_seq, &*file, good_end, last);
        }
        for (_, saved) in &saved {
            self.show(Record { seq: saved.seq, kind: saved.kind, payload: saved.payload })?;
        }
        let kept_as = self.keep_aside(&name, &*file, good_end, &saved)?;
        let damage = Damage { segment: name, kept_as, offset: good_end, reason: reason.to_owned() };
        self.recovery.damage.push(damage);
        let saved_bytes: usize =
            saved.iter().map(|(_, f)| frame::FRAME_HEADER_BYTES + f.payload.len()).sum();
        let bytes = good_end.max(SEGMENT_HEADER_BYTES as u64) + saved_bytes as u64;
        self.segments.push(Segment { first_seq, bytes });
        Ok(())
    }

    /// Shows the good frames from the start; returns where they end and why, `None` at the end of the file.
    fn good_frames(
        &mut self,
        file: &dyn ReadFile,
        path: &Path,
    ) -> Result<(u64, Option<&'static str>)> {
        let mut buffer = Vec::new();
        // Offset in the file of the first byte of `buffer`.
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        let mut need = CHUNK_BYTES;
        loop {
            let want = (file.len() - offset).min(need as u64);
            let want = usize::try_from(want).unwrap_or(usize::MAX);
            let have = buffer.len();
            if want > have {
                buffer.resize(want, 0);
                file.read_exact_at(&mut buffer[have..], offset + have as u64)
                    .map_err(|e| fs::error(format!("read wal segment {}", path.display()), e))?;
            }
            let at_end = offset + buffer.len() as u64 == file.len();
            let decoded = self.decode(&buffer)?;
            buffer.drain(..decoded.consumed);
            offset += decoded.consumed as u64;
            match decoded.stop {
                Stop::End if at_end => return Ok((offset, None)),
                Stop::Bad { reason } => return Ok((offset, Some(reason))),
                Stop::Incomplete { .. } if at_end => {
                    return Ok((offset, Some("frame is cut off")));
                }
                Stop::Incomplete { need: more } => need = more.max(CHUNK_BYTES),
                Stop::End => need = CHUNK_BYTES,
            }
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded> {
        decode_frames(bytes, self.recovery.next_seq, &mut |record| self.show(record))
    }

    fn show(&mut self, record: Record<'_>) -> Result<()> {
        self.skip_to(record.seq);
        (self.visit)(record).map_err(|e| e.context(format!("replay wal record {}", record.seq)))?;
        self.recovery.records += 1;
        self.recovery.next_seq = record.seq + 1;
        Ok(())
    }

    /// Accounts for sequence numbers below `seq` that never came.
    fn skip_to(&mut self, seq: u64) {
        if seq > self.recovery.next_seq {
            if self.started {
                self.recovery.missing_records += seq - self.recovery.next_seq;
            }
            self.recovery.next_seq = seq;
        }
        self.started = true;
    }

    /// Keeps a segment with the good frames before `good_end`.
    ///
    /// The youngest is written anew, for three reasons. A torn tail must go, or it counts as damage once a younger segment
    /// exists. A process that died may have left records that only the page cache has; they were shown, so power loss must
    /// not take them, least of all after younger ones. And if it died of a failed sync, the kernel takes those pages for
    /// clean: only writing them again gets them to the disk.
    fn keep(
        &mut self,
        first_seq: u64,
        file: &dyn ReadFile,
        good_end: u64,
        last: bool,
    ) -> Result<()> {
        self.segments.push(Segment { first_seq, bytes: good_end });
        // A youngest segment without records is created anew anyway.
        if last && self.recovery.next_seq > first_seq {
            let name = segment_name(first_seq);
            self.rewrite(&name, file, good_end, &[]).map_err(|e| {
                fs::error(format!("rewrite wal segment {}", self.dir.join(&name).display()), e)
            })?;
        }
        Ok(())
    }

    /// Copies the segment to a `*.corrupt` name, then replaces it by one with only its good frames, in one step.
    fn keep_aside(
        &self,
        name: &str,
        file: &dyn ReadFile,
        good_end: u64,
        saved: &[(usize, Frame<'_>)],
    ) -> Result<String> {
        let kept_as = free_name(self.fs, self.dir, name, "corrupt")?;
        let work = || -> io::Result<()> {
            let mut copy = self.fs.create(&self.dir.join(&kept_as))?;
            copy_range(file, 0, file.len(), &mut *copy)?;
            copy.sync_data()?;
            self.rewrite(name, file, good_end, saved)
        };
        work().map_err(|e| {
            fs::error(format!("set damaged wal segment {} aside", self.dir.join(name).display()), e)
        })?;
        Ok(kept_as)
    }

    /// Replaces the segment, in one step and durably, by one with the frames before `good_end` and then `saved`.
    fn rewrite(
        &self,
        name: &str,
        file: &dyn ReadFile,
        good_end: u64,
        saved: &[(usize, Frame<'_>)],
    ) -> io::Result<()> {
        let tmp = self.dir.join(format!("{name}.tmp"));
        let mut clean = self.fs.create(&tmp)?;
        clean.write_all(&segment_header(parse_segment_name(name).unwrap_or(1)))?;
        copy_range(file, SEGMENT_HEADER_BYTES as u64, good_end, &mut *clean)?;
        let mut frame_bytes = Vec::new();
        for (_, f) in saved {
            frame_bytes.clear();
            frame::encode(f.seq, f.kind, f.synced_before, f.payload, &mut frame_bytes);
            clean.write_all(&frame_bytes)?;
        }
        clean.sync_data()?;
        self.fs.rename(&tmp, &self.dir.join(name))?;
        self.fs.sync_dir(self.dir)
    }
}

/// How many of the frames found behind bad bytes in the youngest segment were certainly synced, or follow such a frame
/// without a gap.
fn proven_len(saved: &[(usize, Frame<'_>)]) -> usize {
    let Some(last_proof) = saved.iter().rposition(|(_, f)| f.synced_before) else { return 0 };
    let mut len = last_proof + 1;
    while let (Some((at, f)), Some((next_at, _))) = (saved.get(len - 1), saved.get(len)) {
        if at + frame::FRAME_HEADER_BYTES + f.payload.len() != *next_at {
            break;
        }
        len += 1;
    }
    len
}

/// Whether the segment starts as it should.
fn check_header(file: &dyn ReadFile, path: &Path, first_seq: u64) -> Result<bool> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    if file.len() < header.len() as u64 {
        return Ok(false);
    }
    file.read_exact_at(&mut header, 0)
        .map_err(|e| fs::error(format!("read wal segment {}", path.display()), e))?;
    let mut expected = segment_header(first_seq);
    if header == expected {
        return Ok(true);
    }
    let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    expected[8..12].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&expected[..20]);
    expected[20..].copy_from_slice(&crc.to_le_bytes());
    if header[..8] == MAGIC && header == expected {
        return Err(Error::invalid(format!(
            "wal segment {} has format version {version}; this program reads version {VERSION}",
            path.display()
        )));
    }
    Ok(false)
}

fn read_tail(file: &dyn ReadFile, from: u64) -> io::Result<Vec<u8>> {
    let len = (file.len() - from).min(SALVAGE_BYTES_MAX);
    let mut tail = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(&mut tail, from)?;
    Ok(tail)
}

/// Copies bytes `[from, to)`; nothing if that is empty.
fn copy_range(
    file: &dyn ReadFile,
    from: u64,
    to: u64,
    out: &mut dyn fs::WriteFile,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = from;
    while at < to {
        let len = usize::try_from((to - at).min(CHUNK_BYTES as u64)).unwrap_or(CHUNK_BYTES);
        file.read_exact_at(&mut buffer[..len], at)?;
        out.write_all(&buffer[..len])?;
        at += len as u64;
    }
    Ok(())
}

/// `NAME.SUFFIX`, or `NAME.2.SUFFIX` and so on if that is taken.
pub(crate) fn free_name(fs: &dyn Fs, dir: &Path, name: &str, suffix: &str) -> Result<String> {
    let mut candidate = format!("{name}.{suffix}");
    let mut number = 2_u64;
    loop {
        let taken = fs
            .exists(&dir.join(&candidate))
            .map_err(|e| fs::error(format!("look for {}", dir.join(&candidate).display()), e))?;
        if !taken {
            return Ok(candidate);
        }
        candidate = format!("{name}.{number}.{suffix}");
        number += 1;
    }
}

fn remove(fs: &dyn Fs, path: &Path) -> Result<()> {
    fs.remove(path).map_err(|e| fs::error(format!("remove leftover {}", path.display()), e))
}
