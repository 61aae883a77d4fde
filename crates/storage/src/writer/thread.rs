//! The writer thread's loop. Does not own: the handle others hold ([`Writer`](super::Writer)).

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use model::{Clock, Done, Error, ErrorKind, Result};

use super::{Engine, Message, Shared, WriterConfig, WriterState};
use crate::wal::{Durability, Wal};

/// How often an idle writer wakes up.
const TICK: Duration = Duration::from_secs(1);

/// A group is closed once its records have this many bytes.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// A record buffer larger than this is not kept for the next record.
const RECORD_BYTES_KEPT: usize = 1 << 20;

pub(super) fn run<E: Engine>(
    engine: E,
    wal: Wal,
    clock: Arc<dyn Clock>,
    config: WriterConfig,
    receiver: Receiver<Message<E>>,
    shared: Arc<Shared>,
) -> Result<()> {
    let alarm = PanicAlarm(Arc::clone(&shared));
    let floor_bytes = config.free_floor_bytes.unwrap_or_else(|| default_floor(&wal));
    let now_ns = clock.monotonic_ns();
    let mut thread = Thread {
        engine,
        wal,
        clock,
        config,
        floor_bytes,
        resume_bytes: 0,
        shared,
        state: WriterState::Ok,
        group: Vec::new(),
        record: Vec::new(),
        synced_ns: now_ns,
    };
    let outcome = thread.serve(&receiver);
    drop(alarm);
    outcome
}

/// 5 % of the disk, at least 1 GiB.
fn default_floor(wal: &Wal) -> u64 {
    (wal.fs().total_bytes(wal.dir()).unwrap_or(0) / 20).max(1 << 30)
}

/// Tells senders when the thread dies of a panic.
struct PanicAlarm(Arc<Shared>);

impl Drop for PanicAlarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let message = "writer thread panicked; restart to recover".to_owned();
            self.0.state.store(Arc::new(WriterState::Failed { message }));
        }
    }
}

struct Thread<E: Engine> {
    engine: E,
    wal: Wal,
    clock: Arc<dyn Clock>,
    config: WriterConfig,
    floor_bytes: u64,
    /// In state `DiskFull`: free bytes from which on it goes on.
    resume_bytes: u64,
    shared: Arc<Shared>,
    state: WriterState,
    /// Written but not answered.
    group: Vec<(E::Batch, Done, u64)>,
    record: Vec<u8>,
    /// Monotonic time of the last moment at which everything written was known to be synced.
    synced_ns: i64,
}

impl<E: Engine> Thread<E> {
    fn serve(&mut self, receiver: &Receiver<Message<E>>) -> Result<()> {
        loop {
            let mut next = match receiver.recv_timeout(self.patience()) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                // All handles are gone without `close`, which `Drop` of the handle rules out.
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            };
            self.check_space();
            if let Some(Message::Batch(batch, done)) = next {
                next = self.group(batch, done, receiver);
            }
            self.sync_if_due();
            match next {
                Some(Message::Run(task)) => task(&mut self.engine, &mut self.wal),
                Some(Message::Close) => return self.close(),
                Some(Message::Flush(answer)) => {
                    let outcome = self.flush();
                    // Whoever asked may be gone.
                    answer.send(outcome).ok();
                    continue;
                }
                Some(Message::Batch(..)) | None => {}
            }
            self.maintain();
        }
    }

    /// How long to wait for the next message.
    fn patience(&self) -> Duration {
        let Durability::Interval { ms } = self.wal.durability() else { return TICK };
        if self.wal.is_synced() || self.has_failed() {
            return TICK;
        }
        let due_ns = self.synced_ns.saturating_add(interval_ns(ms));
        let left_ns = due_ns.saturating_sub(self.clock.monotonic_ns()).max(0);
        Duration::from_nanos(left_ns.unsigned_abs()).min(TICK)
    }

    /// Writes `first` and what else is queued, syncs, applies and answers. Returns the message that ended the group.
    fn group(
        &mut self,
        first: E::Batch,
        done: Done,
        receiver: &Receiver<Message<E>>,
    ) -> Option<Message<E>> {
        let started_ns = self.clock.monotonic_ns();
        let window_ns = interval_ns(self.config.group_window_ms);
        let mut bytes = self.write(first, done);
        let next = loop {
            let late = self.clock.monotonic_ns().saturating_sub(started_ns) > window_ns;
            if late || bytes > GROUP_BYTES_MAX {
                break None;
            }
            match receiver.try_recv() {
                Ok(Message::Batch(batch, done)) => bytes += self.write(batch, done),
                Ok(other) => break Some(other),
                Err(_) => break None,
            }
        };
        if self.wal.durability() == Durability::Strict {
            self.sync();
        }
        self.answer(bytes);
        next
    }

    /// Encodes a batch and appends it to the WAL; returns the bytes of its record. Refused ones are answered here.
    fn write(&mut self, mut batch: E::Batch, done: Done) -> usize {
        if let Some(refusal) = self.state.refusal() {
            self.refuse(done, refusal);
            return 0;
        }
        self.record.clear();
        let kind = match self.engine.encode(&mut batch, &mut self.record) {
            Ok(kind) => kind,
            Err(e) => {
                self.refuse(done, e);
                return 0;
            }
        };
        let bytes = self.record.len();
        let appended = self.wal.append(kind, &self.record);
        if self.record.capacity() > RECORD_BYTES_KEPT {
            self.record = Vec::new();
        }
        match appended {
            Ok(seq) => {
                self.group.push((batch, done, seq));
                bytes
            }
            Err(e) => {
                self.engine.discard(batch);
                // A record that no log takes says nothing about the log.
                if e.kind() != ErrorKind::Invalid {
                    self.stop(&e, bytes as u64);
                }
                self.refuse(done, e);
                0
            }
        }
    }

    /// Applies and answers the group, unless its sync failed.
    fn answer(&mut self, record_bytes: usize) {
        if self.group.is_empty() {
            return;
        }
        let mut group = std::mem::take(&mut self.group);
        // Disk full in the middle of the group: what was written and synced before stands.
        let failed = self.has_failed();
        if !failed {
            self.count(group.len() as u64, record_bytes as u64);
        }
        for (batch, done, seq) in group.drain(..) {
            match self.state.refusal().filter(|_| failed) {
                Some(refusal) => self.refuse(done, refusal),
                None => done.call(Ok(self.engine.apply(batch, seq))),
            }
        }
        self.group = group;
    }

    fn count(&self, batches: u64, record_bytes: u64) {
        let mut stats = self.shared.stats.lock();
        stats.groups += 1;
        stats.batches += batches;
        stats.record_bytes += record_bytes;
    }

    fn refuse(&self, done: Done, refusal: Error) {
        self.shared.stats.lock().refused += 1;
        done.call(Err(refusal));
    }

    fn sync(&mut self) {
        if self.has_failed() || self.wal.is_synced() {
            return;
        }
        let started_ns = self.clock.monotonic_ns();
        if let Err(e) = self.wal.sync() {
            self.stop(&e, 0);
            return;
        }
        self.synced_ns = self.clock.monotonic_ns();
        let mut stats = self.shared.stats.lock();
        stats.syncs += 1;
        stats.sync_ns += self.synced_ns.saturating_sub(started_ns).unsigned_abs();
    }

    /// In interval mode: syncs what has waited long enough.
    fn sync_if_due(&mut self) {
        let now_ns = self.clock.monotonic_ns();
        if self.wal.is_synced() {
            self.synced_ns = now_ns;
        } else if let Durability::Interval { ms } = self.wal.durability()
            && now_ns.saturating_sub(self.synced_ns) >= interval_ns(ms)
        {
            self.sync();
        }
    }

    fn maintain(&mut self) {
        if self.has_failed() {
            return;
        }
        if let Err(e) = self.engine.maintain(&mut self.wal, self.clock.now_ms()) {
            self.stop(&e, 0);
        }
    }

    fn flush(&mut self) -> Result<()> {
        // The message may have come with a group that met a full disk; the disk of then is not the disk of now.
        self.check_space();
        self.sync();
        self.maintain();
        self.state.refusal().map_or(Ok(()), Err)
    }

    fn close(&mut self) -> Result<()> {
        self.sync();
        if let WriterState::Failed { .. } = self.state {
            return self.state.refusal().map_or(Ok(()), Err);
        }
        self.engine.close(&mut self.wal)
    }

    fn has_failed(&self) -> bool {
        matches!(self.state, WriterState::Failed { .. })
    }

    /// Stops ingest because of `e`: until there is space for `needed_bytes` and the floor, or for good.
    fn stop(&mut self, e: &Error, needed_bytes: u64) {
        if self.has_failed() {
            return;
        }
        if e.kind() == ErrorKind::Busy {
            let margin_bytes = self.floor_bytes / 10;
            self.resume_bytes = self.floor_bytes.saturating_add(margin_bytes).max(needed_bytes);
            self.enter(WriterState::DiskFull { message: format!("ingest is stopped: {e}") });
        } else {
            let message = format!("ingest is stopped until restart: {e}");
            self.enter(WriterState::Failed { message });
        }
    }

    /// Stops ingest below the floor of free bytes, and lets it go on above it.
    fn check_space(&mut self) {
        let full = match self.state {
            WriterState::Failed { .. } => return,
            WriterState::DiskFull { .. } => true,
            WriterState::Ok => false,
        };
        // Not knowing is no reason to stop: a full disk also shows when writing.
        let Ok(free_bytes) = self.wal.fs().free_bytes(self.wal.dir()) else { return };
        let (floor_bytes, dir) = (self.floor_bytes, self.wal.dir().display());
        if full && free_bytes >= self.resume_bytes {
            self.enter(WriterState::Ok);
        } else if !full && free_bytes < floor_bytes {
            let message = format!(
                "disk of {dir} has {free_bytes} bytes free; ingest needs {floor_bytes} to stay free"
            );
            self.stop(&Error::new(ErrorKind::Busy, message), 0);
        }
    }

    fn enter(&mut self, state: WriterState) {
        if self.state == state {
            return;
        }
        match &state {
            WriterState::Ok => tracing::info!(dir = %self.wal.dir().display(), "ingest goes on"),
            WriterState::DiskFull { message } => tracing::warn!("{message}"),
            WriterState::Failed { message } => tracing::error!("{message}"),
        }
        self.state = state.clone();
        self.shared.state.store(Arc::new(state));
    }
}

fn interval_ns(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}
