//! Which parts are live: an append-only file of checksummed records, one per atomic change.
//!
//! Owns: the file `MANIFEST` of a store's directory, its compaction, and the removal of files nobody knows. Does not
//! own: what a part's meta or a value says, nor removing the file of a part that is no longer live (readers may still
//! use it; the store does that). Bytes on disk: `docs/format/manifest.md`.

mod edits;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Error, ErrorKind, Result};

use crate::fs::{self, DirEntry, Fs, WriteFile};
use crate::wal::frame::{self, Found};
use crate::wal::free_name;

/// Name of the manifest in its directory.
pub const MANIFEST_FILE: &str = "MANIFEST";

const MANIFEST_TMP: &str = "MANIFEST.tmp";
const MAGIC: [u8; 8] = *b"TFRLMAN\n";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const KIND_EDITS: u8 = 1;

/// Sequence number of the record that a new file starts with.
const SNAPSHOT_SEQ: u64 = 1;

/// A manifest this small is never worth compacting.
const COMPACT_BYTES_MIN: u64 = 64 << 10;

/// One change; [`Manifest::commit`] makes several at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The part with this file name (in the manifest's directory) is live; replaces its meta if it was already.
    AddPart {
        /// File name.
        name: String,
        /// What the store wants to know without opening it.
        meta: Vec<u8>,
    },
    /// The part is no longer live; fine if it was not.
    RemovePart {
        /// File name.
        name: String,
    },
    /// Sets a value.
    Set {
        /// Key.
        key: String,
        /// Value.
        value: Vec<u8>,
    },
    /// Removes a value; fine if there is none.
    Unset {
        /// Key.
        key: String,
    },
}

/// What the manifest says, and what opening it found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManifestState {
    /// Live parts: file name → meta.
    pub parts: BTreeMap<String, Vec<u8>>,
    /// Values: key → value.
    pub values: BTreeMap<String, Vec<u8>>,
    /// Live parts whose file is missing.
    pub missing: Vec<String>,
    /// Files set aside as `*.orphan` because the manifest was damaged and may have forgotten them: now or at an earlier
    /// start. The store can open them as parts and adopt them under that name.
    pub orphans: Vec<String>,
    /// What was wrong with the manifest's bytes, if anything.
    pub damage: Option<String>,
}

/// What the bytes of a manifest say; see [`decode`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecodedManifest {
    /// Live parts: file name → meta.
    pub parts: BTreeMap<String, Vec<u8>>,
    /// Values: key → value.
    pub values: BTreeMap<String, Vec<u8>>,
    /// Sequence number of the next record.
    pub next_seq: u64,
    /// Bytes at the end of a commit that never finished (or of the last record, damaged: they look alike).
    pub torn_bytes: usize,
    /// What is wrong with the bytes before, if anything: records are lost, the others count.
    pub damage: Option<String>,
}

/// Reads a whole manifest file. Never panics; memory is bounded by a small multiple of the input.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) for a newer version of the format. Damage is not an error.
pub fn decode(bytes: &[u8]) -> Result<DecodedManifest> {
    let mut state = DecodedManifest { next_seq: 1, ..DecodedManifest::default() };
    let mut at = HEADER_BYTES;
    if !check_header(bytes)? {
        at = 0;
        state.damage = Some("manifest header is damaged".to_owned());
    }
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        match frame::decode(rest, state.next_seq) {
            Found::End => return Ok(state),
            // A jump in the sequence would be a lost record.
            Found::Frame(f, len) if f.seq == state.next_seq => {
                apply_record(&mut state, f);
                at += len;
            }
            _ => {
                let saved = frame::salvage(rest, state.next_seq, u64::MAX);
                if saved.is_empty() {
                    state.torn_bytes = rest.len();
                } else {
                    // Each record is synced before the next is written, so what is bad here was complete once.
                    state.damage.get_or_insert(format!("manifest record at {at} is damaged"));
                }
                for (_, f) in saved {
                    apply_record(&mut state, f);
                }
                return Ok(state);
            }
        }
    }
}

fn apply_record(state: &mut DecodedManifest, f: frame::Frame<'_>) {
    state.next_seq = f.seq + 1;
    match edits::decode(f.kind, f.payload) {
        Ok(edits) => {
            for edit in edits {
                apply(&mut state.parts, &mut state.values, edit);
            }
        }
        Err(e) => {
            state.damage.get_or_insert(format!("manifest record {}: {e}", f.seq));
        }
    }
}

fn apply(
    parts: &mut BTreeMap<String, Vec<u8>>,
    values: &mut BTreeMap<String, Vec<u8>>,
    edit: Edit,
) {
    match edit {
        Edit::AddPart { name, meta } => {
            parts.insert(name, meta);
        }
        Edit::RemovePart { name } => {
            parts.remove(&name);
        }
        Edit::Set { key, value } => {
            values.insert(key, value);
        }
        Edit::Unset { key } => {
            values.remove(&key);
        }
    }
}

/// The manifest of one directory, open for changes.
pub struct Manifest {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    file: Box<dyn WriteFile>,
    parts: BTreeMap<String, Vec<u8>>,
    values: BTreeMap<String, Vec<u8>>,
    next_seq: u64,
    /// Bytes of good records.
    bytes: u64,
    /// Bytes right after the last compaction.
    compact_bytes: u64,
    poison: Option<String>,
}

impl std::fmt::Debug for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manifest").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Manifest {
    /// Opens (or starts) the manifest in `dir`, making the directory.
    ///
    /// Files in `dir` that it does not know are removed: they are parts never committed or no longer live. Kept are
    /// directories, `*.corrupt`, `*.orphan`, `*.wal` and the lock. If the manifest is damaged or missing, it may have
    /// forgotten live parts: then unknown files become `*.orphan` instead.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a newer version, [`Io`](ErrorKind::Io) or [`Busy`](ErrorKind::Busy) (disk
    /// full) from the file system. Damage is not an error.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<(Self, ManifestState)> {
        let shown = dir.display();
        let open_error = |e| fs::error(format!("open manifest in {shown}"), e);
        fs.create_dir_all(dir).map_err(open_error)?;
        let found = match fs.read(&dir.join(MANIFEST_FILE)) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(open_error(e)),
        };
        let decoded = match &found {
            Some(bytes) => decode(bytes).map_err(|e| e.context(format!("manifest in {shown}")))?,
            None => DecodedManifest { next_seq: 1, ..DecodedManifest::default() },
        };
        let mut state = ManifestState {
            parts: decoded.parts,
            values: decoded.values,
            damage: decoded.damage,
            ..ManifestState::default()
        };
        if let (Some(_), Some(bytes)) = (&state.damage, &found) {
            keep_aside(&*fs, dir, bytes)?;
        }
        // A torn commit is rare and looks like a damaged last record: then, too, nothing is thrown away.
        let trusted = found.is_some() && state.damage.is_none() && decoded.torn_bytes == 0;
        if !trusted {
            tidy(&*fs, dir, false, &mut state)?;
        }
        if found.is_none() && !state.orphans.is_empty() {
            state.damage.get_or_insert_with(|| "manifest is missing".to_owned());
        }
        // Written anew each time: a process that died may have left records that only the page cache has, and if it died
        // of a failed sync, the kernel takes those pages for clean. What is acted upon from now on must be on the disk.
        let (file, bytes) = write_snapshot(&*fs, dir, &state.parts, &state.values)?;
        replace_manifest(&*fs, dir).map_err(open_error)?;
        if trusted {
            tidy(&*fs, dir, true, &mut state)?;
        }
        let manifest = Self {
            fs,
            dir: dir.to_owned(),
            file,
            parts: state.parts.clone(),
            values: state.values.clone(),
            next_seq: SNAPSHOT_SEQ + 1,
            bytes,
            compact_bytes: bytes,
            poison: None,
        };
        Ok((manifest, state))
    }

    /// Makes all `edits` at once, durably.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a part name that is no plain file name; [`Busy`](ErrorKind::Busy) when the
    /// disk is full (nothing changed, later calls may succeed); [`Io`](ErrorKind::Io) otherwise, and from then on.
    pub fn commit(&mut self, edits: &[Edit]) -> Result<()> {
        if let Some(why) = &self.poison {
            let message = format!("manifest takes nothing more until restart after: {why}");
            return Err(Error::new(ErrorKind::Io, message));
        }
        for edit in edits {
            check_name(edit)?;
        }
        let mut payload = Vec::new();
        edits::encode(edits, &mut payload)?;
        let mut record = Vec::new();
        frame::encode(self.next_seq, KIND_EDITS, true, &payload, &mut record);
        let what = || format!("write manifest in {}", self.dir.display());
        if let Err(e) = self.file.write_all(&record) {
            let what = what();
            // Durably, because a refused commit must not come back.
            let undone = fs::is_full(&e)
                && self.file.set_len(self.bytes).and_then(|()| self.file.sync_data()).is_ok();
            return Err(if undone { fs::error(what, e) } else { self.poison(what, e) });
        }
        if let Err(e) = self.file.sync_data() {
            let what = what();
            return Err(self.poison(what, e));
        }
        self.next_seq += 1;
        self.bytes += record.len() as u64;
        for edit in edits {
            apply(&mut self.parts, &mut self.values, edit.clone());
        }
        self.maybe_compact();
        Ok(())
    }

    /// Live parts: file name → meta.
    pub fn parts(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.parts
    }

    /// Values: key → value.
    pub fn values(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.values
    }

    /// Value of `key`.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// The directory it describes.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn poison(&mut self, what: String, e: io::Error) -> Error {
        self.poison = Some(format!("{what}: {e}"));
        Error::io(what, e)
    }

    /// Compacts once most of the file is history. The commit before it stands whatever happens here.
    fn maybe_compact(&mut self) {
        let limit = COMPACT_BYTES_MIN.max(self.compact_bytes.saturating_mul(4));
        if self.bytes <= limit {
            return;
        }
        if let Err(e) = self.compact() {
            tracing::warn!(dir = %self.dir.display(), error = %e, "manifest was not compacted");
            // Not again at each commit.
            self.compact_bytes = self.bytes;
        }
    }

    /// Puts a new file with only the present state in the place of the old one.
    fn compact(&mut self) -> Result<()> {
        // A failure up to here leaves the old file in charge.
        let (file, bytes) = write_snapshot(&*self.fs, &self.dir, &self.parts, &self.values)?;
        if let Err(e) = replace_manifest(&*self.fs, &self.dir) {
            // Which file a restart would find is unknown: no further commit could be promised.
            let what = format!("replace manifest in {}", self.dir.display());
            return Err(self.poison(what, e));
        }
        self.file = file;
        self.next_seq = SNAPSHOT_SEQ + 1;
        self.bytes = bytes;
        self.compact_bytes = bytes;
        Ok(())
    }
}

/// Writes a complete manifest beside the real one, durably, and returns it open with its bytes.
fn write_snapshot(
    fs: &dyn Fs,
    dir: &Path,
    parts: &BTreeMap<String, Vec<u8>>,
    values: &BTreeMap<String, Vec<u8>>,
) -> Result<(Box<dyn WriteFile>, u64)> {
    let parts = parts.iter().map(|(n, m)| Edit::AddPart { name: n.clone(), meta: m.clone() });
    let values = values.iter().map(|(k, v)| Edit::Set { key: k.clone(), value: v.clone() });
    let mut payload = Vec::new();
    edits::encode(&parts.chain(values).collect::<Vec<_>>(), &mut payload)?;
    let mut bytes = header().to_vec();
    frame::encode(SNAPSHOT_SEQ, KIND_EDITS, true, &payload, &mut bytes);
    let write = || {
        let mut file = fs.create(&dir.join(MANIFEST_TMP))?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        Ok(file)
    };
    let file =
        write().map_err(|e| fs::error(format!("write new manifest in {}", dir.display()), e))?;
    Ok((file, bytes.len() as u64))
}

fn replace_manifest(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    fs.rename(&dir.join(MANIFEST_TMP), &dir.join(MANIFEST_FILE))?;
    fs.sync_dir(dir)
}

/// Keeps the bytes of a damaged manifest under another name.
fn keep_aside(fs: &dyn Fs, dir: &Path, bytes: &[u8]) -> Result<()> {
    let name = free_name(fs, dir, MANIFEST_FILE, "corrupt")?;
    let write = || {
        let mut file = fs.create(&dir.join(&name))?;
        file.write_all(bytes)?;
        file.sync_data()
    };
    write().map_err(|e| fs::error(format!("keep damaged manifest as {name}"), e))
}

/// Removes or sets aside the files of `dir` that `state` does not know, and lists what is missing.
fn tidy(fs: &dyn Fs, dir: &Path, trusted: bool, state: &mut ManifestState) -> Result<()> {
    let shown = dir.display();
    let list_error = |e| fs::error(format!("list directory {shown}"), e);
    let mut missing: BTreeSet<&String> = state.parts.keys().collect();
    let mut changed = false;
    for DirEntry { name, is_dir, .. } in fs.list(dir).map_err(list_error)? {
        if is_dir || missing.remove(&name) || is_foreign(&name) {
            continue;
        }
        if name.ends_with(".orphan") {
            state.orphans.push(name);
            continue;
        }
        let path = dir.join(&name);
        let tidy_error = |e| fs::error(format!("remove leftover {}", path.display()), e);
        if trusted || name.ends_with(".tmp") {
            fs.remove(&path).map_err(tidy_error)?;
        } else {
            let orphan = free_name(fs, dir, &name, "orphan")?;
            fs.rename(&path, &dir.join(&orphan)).map_err(tidy_error)?;
            state.orphans.push(orphan);
        }
        changed = true;
    }
    state.missing = missing.into_iter().cloned().collect();
    if changed {
        fs.sync_dir(dir).map_err(list_error)?;
    }
    Ok(())
}

/// Files in a store's directory that are not the manifest's business.
fn is_foreign(name: &str) -> bool {
    name == MANIFEST_FILE
        || name == fs::LOCK_FILE
        || [".corrupt", ".wal", ".wal.tmp"].iter().any(|suffix| name.ends_with(suffix))
}

fn check_name(edit: &Edit) -> Result<()> {
    let Edit::AddPart { name, .. } = edit else { return Ok(()) };
    let plain = !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
    if !plain || is_foreign(name) || name.ends_with(".tmp") {
        return Err(Error::invalid(format!("part name {name:?} is not usable in a manifest")));
    }
    Ok(())
}

fn header() -> [u8; HEADER_BYTES] {
    header_of(VERSION)
}

fn header_of(version: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Whether the manifest starts as it should.
fn check_header(bytes: &[u8]) -> Result<bool> {
    let Some(found) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(false) };
    if *found == header() {
        return Ok(true);
    }
    let version = u32::from_le_bytes([found[8], found[9], found[10], found[11]]);
    if *found == header_of(version) {
        return Err(Error::invalid(format!(
            "manifest has format version {version}; this program reads version {VERSION}"
        )));
    }
    Ok(false)
}
