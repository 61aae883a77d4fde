//! [`FaultyFs`]: a file system in memory that loses what was not synced, fails calls on demand and runs full.
//!
//! Owns: a model of what a crash may leave. Bytes written since the last `sync_data` are kept, lost, torn in the middle
//! or half zero; names changed since the last `sync_dir` are kept or lost one by one; bytes of a failed sync are in
//! memory but never become durable by a later sync. Does not own: any knowledge of the stores' formats.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{DirEntry, Fs, ReadFile, WriteFile};

/// Kinds of calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsCall {
    /// `create`.
    Create,
    /// `write_all`; a random part of the bytes is written before it fails.
    Write,
    /// `sync_data`.
    Sync,
    /// `sync_dir`.
    SyncDir,
    /// `rename` and `hard_link`.
    Rename,
    /// `remove`.
    Remove,
    /// Reading of any kind.
    Read,
    /// `truncate` and `set_len`.
    Truncate,
    /// Every call that changes something: all of the above without `Read`.
    Change,
}

/// A file system in memory with faults. Clones share the same files.
#[derive(Clone)]
pub struct FaultyFs {
    state: Arc<Mutex<State>>,
    /// The life whose end ends all calls through this clone, too.
    life: Option<u64>,
}

impl fmt::Debug for FaultyFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyFs")
    }
}

#[derive(Default)]
struct State {
    /// Names as running processes see them.
    live: BTreeMap<PathBuf, Node>,
    /// Names as they would be found after the worst crash.
    durable: BTreeMap<PathBuf, Node>,
    /// Changes from `durable` to `live`, in order.
    pending: Vec<NameChange>,
    files: BTreeMap<u64, FileState>,
    next_file: u64,
    /// Counts crashes; handles of an earlier life are dead.
    life: u64,
    capacity: Option<u64>,
    plan: Vec<PlannedFault>,
    changes: u64,
    /// Bytes ever written to files, by the directory in which they were made.
    written: BTreeMap<PathBuf, u64>,
    random: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(u64),
}

/// One step in one directory: `set` are names and what they become.
struct NameChange {
    dir: PathBuf,
    set: Vec<(PathBuf, Option<Node>)>,
}

#[derive(Default)]
struct FileState {
    dir: PathBuf,
    bytes: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<ByteChange>,
}

struct ByteChange {
    kind: ByteChangeKind,
    /// A sync failed after it: the system forgot that it is dirty, later syncs do not help.
    forgotten: bool,
}

enum ByteChangeKind {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

struct PlannedFault {
    call: FsCall,
    /// Calls of that kind still to succeed.
    after: u64,
    kind: io::ErrorKind,
    errno: i32,
}

impl Default for FaultyFs {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultyFs {
    /// An empty disk without limit that works, until told otherwise.
    pub fn new() -> Self {
        let state = State { next_file: 1, random: 1, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), life: None }
    }

    /// The same files as one process sees them: its threads can change nothing any more after [`crash`](Self::crash) or
    /// [`kill`](Self::kill).
    #[must_use]
    pub fn process(&self) -> Self {
        let life = Some(self.state.lock().life);
        Self { state: Arc::clone(&self.state), life }
    }

    fn enter(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if self.life.is_some_and(|life| life != state.life) {
            return Err(io::Error::other("the process is gone"));
        }
        Ok(state)
    }

    /// Sets the size of the disk in bytes; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Makes the `nth` call (0 = the next) of kind `call` fail with EIO, once.
    pub fn fail_io(&self, call: FsCall, nth: u64) {
        let fault = PlannedFault { call, after: nth, kind: io::ErrorKind::Other, errno: 5 };
        self.state.lock().plan.push(fault);
    }

    /// Makes the `nth` call (0 = the next) of kind `call` fail with ENOSPC, once.
    pub fn fail_full(&self, call: FsCall, nth: u64) {
        let fault = PlannedFault { call, after: nth, kind: io::ErrorKind::StorageFull, errno: 28 };
        self.state.lock().plan.push(fault);
    }

    /// Forgets faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.state.lock().plan.clear();
    }

    /// Calls so far that change something; for sweeps over "fail at call N".
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// Bytes ever written to files made in `dir`, also when they have other names now or are gone.
    pub fn bytes_written(&self, dir: &Path) -> u64 {
        self.state.lock().written.get(dir).copied().unwrap_or(0)
    }

    /// Power loss: what was not synced is kept, lost or torn as `seed` decides; all open handles are dead.
    pub fn crash(&self, seed: u64) {
        self.state.lock().crash(seed);
    }

    /// The process dies, the machine lives on: all bytes and names stay as they are, all open handles are dead.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.life += 1;
        state.plan.clear();
    }

    /// Turns bit `bit` (0 = lowest of the first byte) of a file over, in memory and on disk.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidInput` behind the end of the file.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.file_mut(path)?;
        let at = usize::try_from(bit / 8).map_err(|_| io::ErrorKind::InvalidInput)?;
        let byte = file.bytes.get_mut(at).ok_or(io::ErrorKind::InvalidInput)?;
        *byte ^= 1 << (bit % 8);
        file.durable.clone_from(&file.bytes);
        file.pending.clear();
        Ok(())
    }

    /// Replaces (or makes) a file, durably and past all faults: damage by hand.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state.lock();
        let id = match state.live.get(path) {
            Some(Node::File(id)) => *id,
            _ => state.new_file(),
        };
        state.live.insert(path.to_owned(), Node::File(id));
        state.durable.insert(path.to_owned(), Node::File(id));
        let file =
            FileState { bytes: bytes.to_vec(), durable: bytes.to_vec(), ..FileState::default() };
        state.files.insert(id, file);
    }
}

impl State {
    fn new_file(&mut self) -> u64 {
        let id = self.next_file;
        self.next_file += 1;
        self.files.insert(id, FileState::default());
        id
    }

    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `[0, bound]`.
    fn random_upto(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from(self.random() % (bound + 1)).unwrap_or(0)
    }

    fn call(&mut self, call: FsCall) -> io::Result<()> {
        let change = call != FsCall::Read;
        self.changes += u64::from(change);
        let mut hit = None;
        for (i, fault) in self.plan.iter_mut().enumerate() {
            if fault.call == call || (change && fault.call == FsCall::Change) {
                if fault.after == 0 {
                    hit = Some(i);
                    break;
                }
                fault.after -= 1;
            }
        }
        let Some(i) = hit else { return Ok(()) };
        let fault = self.plan.remove(i);
        let error = io::Error::from_raw_os_error(fault.errno);
        debug_assert!(fault.errno == 5 || error.kind() == fault.kind, "errno numbers of Linux");
        Err(error)
    }

    fn file_id(&self, path: &Path) -> io::Result<u64> {
        match self.live.get(path) {
            Some(Node::File(id)) => Ok(*id),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn file_mut(&mut self, path: &Path) -> io::Result<&mut FileState> {
        let id = self.file_id(path)?;
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file_of_life(&mut self, id: u64, life: u64) -> io::Result<&mut FileState> {
        if life != self.life {
            return Err(io::Error::other("the file was opened before the crash"));
        }
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change_names(&mut self, dir: &Path, set: Vec<(PathBuf, Option<Node>)>) {
        apply_names(&mut self.live, &set);
        self.pending.push(NameChange { dir: dir.to_owned(), set });
    }

    fn used(&self) -> u64 {
        let mut ids: Vec<u64> = self
            .live
            .values()
            .filter_map(|n| if let Node::File(id) = n { Some(*id) } else { None })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().filter_map(|id| self.files.get(id)).map(|f| f.bytes.len() as u64).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX / 4, |capacity| capacity.saturating_sub(self.used()))
    }

    fn check_parent(&self, path: &Path) -> io::Result<PathBuf> {
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        match self.live.get(&parent) {
            Some(Node::Dir) => Ok(parent),
            None if parent.as_os_str().is_empty() || parent == Path::new("/") => Ok(parent),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&mut self, id: u64, life: u64, bytes: &[u8]) -> io::Result<()> {
        let planned = self.call(FsCall::Write);
        let free = usize::try_from(self.free()).unwrap_or(usize::MAX);
        let (kept, outcome) = match planned {
            Err(e) => (self.random_upto(bytes.len()).min(free), Err(e)),
            Ok(()) if bytes.len() > free => (free, Err(io::Error::from_raw_os_error(28))),
            Ok(()) => (bytes.len(), Ok(())),
        };
        let file = self.file_of_life(id, life)?;
        let dir = file.dir.clone();
        let (bytes, offset) = (bytes[..kept].to_vec(), file.bytes.len());
        file.bytes.extend_from_slice(&bytes);
        let kind = ByteChangeKind::Write { offset, bytes };
        file.pending.push(ByteChange { kind, forgotten: false });
        *self.written.entry(dir).or_default() += kept as u64;
        outcome
    }

    fn sync(&mut self, id: u64, life: u64) -> io::Result<()> {
        let planned = self.call(FsCall::Sync);
        let file = self.file_of_life(id, life)?;
        if let Err(e) = planned {
            for change in &mut file.pending {
                change.forgotten = true;
            }
            return Err(e);
        }
        file.make_durable();
        Ok(())
    }

    fn set_len(&mut self, id: u64, life: u64, len: u64) -> io::Result<()> {
        self.call(FsCall::Truncate)?;
        let file = self.file_of_life(id, life)?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        file.bytes.resize(len, 0);
        file.pending.push(ByteChange { kind: ByteChangeKind::SetLen(len), forgotten: false });
        Ok(())
    }

    fn crash(&mut self, seed: u64) {
        self.random = seed ^ 0x5DEE_CE66_D1CE_4E5B;
        self.life += 1;
        self.plan.clear();
        // Journaling file systems keep a prefix of the changes per directory; others promise less.
        let in_order = self.random().is_multiple_of(2);
        let mut stopped: Vec<PathBuf> = Vec::new();
        for change in std::mem::take(&mut self.pending) {
            let lost = self.random().is_multiple_of(2);
            if in_order && (lost || stopped.contains(&change.dir)) {
                stopped.push(change.dir);
            } else if !lost {
                apply_names(&mut self.durable, &change.set);
            }
        }
        self.drop_unreachable();
        self.live = self.durable.clone();
        let ids: Vec<u64> = self.files.keys().copied().collect();
        for id in ids {
            let mut file = self.files.remove(&id).unwrap_or_default();
            file.crash(self);
            self.files.insert(id, file);
        }
    }

    /// A lost directory takes everything inside along.
    fn drop_unreachable(&mut self) {
        let paths: Vec<PathBuf> = self.durable.keys().cloned().collect();
        for path in paths {
            let parent = path.parent().unwrap_or(Path::new(""));
            let rooted = parent.as_os_str().is_empty() || parent == Path::new("/");
            if !rooted && self.durable.get(parent) != Some(&Node::Dir) {
                self.durable.remove(&path);
            }
        }
    }
}

fn apply_names(names: &mut BTreeMap<PathBuf, Node>, set: &[(PathBuf, Option<Node>)]) {
    for (path, node) in set {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}

impl FileState {
    /// Applies all changes the system still knows to be dirty. Forgotten bytes are lost now at the latest: had they stayed
    /// possible, they could come back over what was written to their place since. Lengths are kept by the journal.
    fn make_durable(&mut self) {
        for change in self.pending.drain(..) {
            if !change.forgotten || matches!(change.kind, ByteChangeKind::SetLen(_)) {
                change.kind.apply(&mut self.durable);
            }
        }
    }

    fn crash(&mut self, state: &mut State) {
        let style = state.random() % 4;
        let mut pending = std::mem::take(&mut self.pending);
        match style {
            // Everything unsynced is lost.
            0 => pending.clear(),
            // Everything made it.
            1 => {}
            // A prefix, its last write torn.
            2 => {
                pending.truncate(state.random_upto(pending.len()));
                if let Some(ByteChangeKind::Write { bytes, .. }) =
                    pending.last_mut().map(|c| &mut c.kind)
                {
                    bytes.truncate(state.random_upto(bytes.len()));
                }
            }
            // Each sector for itself: lengths arrive, contents may not.
            _ => {
                for change in &mut pending {
                    if let ByteChangeKind::Write { bytes, .. } = &mut change.kind {
                        for sector in bytes.chunks_mut(64) {
                            if state.random().is_multiple_of(2) {
                                sector.fill(0);
                            }
                        }
                    }
                }
            }
        }
        for change in &pending {
            change.kind.apply(&mut self.durable);
        }
        self.bytes.clone_from(&self.durable);
    }
}

impl ByteChangeKind {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => bytes.resize(*len, 0),
            Self::Write { offset, bytes: new } => {
                let end = offset + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(new);
            }
        }
    }
}

impl Fs for FaultyFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let mut state = self.enter()?;
        state.call(FsCall::Create)?;
        let parent = state.check_parent(path)?;
        let id = match state.live.get(path) {
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(id)) => {
                let (id, life) = (*id, state.life);
                state.set_len(id, life, 0)?;
                id
            }
            None => {
                let id = state.new_file();
                if let Some(file) = state.files.get_mut(&id) {
                    file.dir.clone_from(&parent);
                }
                state.change_names(&parent, vec![(path.to_owned(), Some(Node::File(id)))]);
                id
            }
        };
        Ok(Box::new(FaultyWriteFile { fs: self.clone(), id, life: state.life, len: 0 }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let mut state = self.enter()?;
        let (id, life) = (state.file_id(path)?, state.life);
        let len = state.file_of_life(id, life)?.bytes.len() as u64;
        Ok(Box::new(FaultyWriteFile { fs: self.clone(), id, life, len }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let mut state = self.enter()?;
        state.call(FsCall::Read)?;
        let (id, life) = (state.file_id(path)?, state.life);
        let len = state.file_of_life(id, life)?.bytes.len() as u64;
        Ok(Box::new(FaultyReadFile { fs: self.clone(), id, life, len }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.enter()?;
        state.call(FsCall::Read)?;
        Ok(state.file_mut(path)?.bytes.clone())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.enter()?;
        state.call(FsCall::Rename)?;
        let id = state.file_id(from)?;
        let dir = state.check_parent(to)?;
        if from.parent() != to.parent() {
            return Err(io::Error::other("renames across directories are not modelled"));
        }
        let set = vec![(from.to_owned(), None), (to.to_owned(), Some(Node::File(id)))];
        state.change_names(&dir, set);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(FsCall::Rename)?;
        let id = state.file_id(from)?;
        let dir = state.check_parent(to)?;
        if state.live.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change_names(&dir, vec![(to.to_owned(), Some(Node::File(id)))]);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter()?;
        state.call(FsCall::Remove)?;
        state.file_id(path)?;
        let dir = state.check_parent(path)?;
        state.change_names(&dir, vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter()?;
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.reverse();
        for dir in ancestors {
            if dir.as_os_str().is_empty() || dir == Path::new("/") {
                continue;
            }
            match state.live.get(dir) {
                Some(Node::Dir) => {}
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    // Durable at once, as the trait promises; so is that it was removed before.
                    state.pending.retain(|change| change.set.iter().all(|(path, _)| path != dir));
                    state.live.insert(dir.to_owned(), Node::Dir);
                    state.durable.insert(dir.to_owned(), Node::Dir);
                }
            }
        }
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter()?;
        state.call(FsCall::Remove)?;
        let inside: Vec<PathBuf> =
            state.live.keys().filter(|p| p.starts_with(path)).cloned().collect();
        if inside.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        for name in inside {
            let dir = name.parent().unwrap_or(Path::new("")).to_owned();
            state.change_names(&dir, vec![(name, None)]);
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter()?;
        state.call(FsCall::SyncDir)?;
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.pending).into_iter().partition(|c| c.dir == path);
        state.pending = elsewhere;
        for change in here {
            apply_names(&mut state.durable, &change.set);
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.enter()?;
        state.call(FsCall::Read)?;
        if state.live.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut entries = Vec::new();
        for (path, node) in state.live.iter().filter(|(p, _)| p.parent() == Some(dir)) {
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            let (len, is_dir) = match node {
                Node::Dir => (0, true),
                Node::File(id) => (state.files.get(id).map_or(0, |f| f.bytes.len()) as u64, false),
            };
            entries.push(DirEntry { name: name.to_owned(), len, is_dir });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.state.lock().live.contains_key(path))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut state = self.enter()?;
        let (id, life) = (state.file_id(path)?, state.life);
        state.set_len(id, life, len)?;
        state.sync(id, life)
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.state.lock().free())
    }

    fn total_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.state.lock().capacity.unwrap_or(u64::MAX / 4))
    }
}

struct FaultyWriteFile {
    fs: FaultyFs,
    id: u64,
    life: u64,
    len: u64,
}

impl WriteFile for FaultyWriteFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.fs.state.lock().write(self.id, self.life, bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.fs.state.lock().sync(self.id, self.life)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.fs.state.lock().set_len(self.id, self.life, len)?;
        self.len = len;
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }
}

#[derive(Debug)]
struct FaultyReadFile {
    fs: FaultyFs,
    id: u64,
    life: u64,
    len: u64,
}

impl ReadFile for FaultyReadFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.fs.state.lock();
        state.call(FsCall::Read)?;
        let file = state.file_of_life(self.id, self.life)?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(file.bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }
}
