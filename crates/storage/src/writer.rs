//! The single thread through which all writes of a store go, with group commit.
//!
//! Owns: the queue, when the WAL is synced and batches are answered, and what happens when the disk is full or fails.
//! Does not own: what a batch is ([`Engine`]), nor any file but through the WAL it was given.
//!
//! Group commit: the thread takes what is queued, writes it, syncs once and answers all of it. A lone batch is not
//! delayed; batches arriving during a sync form the next group. An idle writer wakes up once a second.

#[cfg(test)]
mod tests;
mod thread;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use model::{Clock, Done, Error, ErrorKind, Receipt, Result};
use parking_lot::Mutex;

use crate::wal::Wal;

/// A store behind a [`Writer`]; all calls come from its one thread.
///
/// Order: batches are encoded in the order of `send`, and applied in the same order, but later ones may be encoded before
/// earlier ones are applied. So what `encode` needs to know about earlier batches it must note down itself.
pub trait Engine: Send + 'static {
    /// What callers send.
    type Batch: Send + 'static;

    /// Turns `batch` into a WAL record (`record` is empty on entry) and returns its kind; may remove rejected rows.
    ///
    /// # Errors
    /// The batch is refused as a whole with this error; the engine must be as before.
    fn encode(&mut self, batch: &mut Self::Batch, record: &mut Vec<u8>) -> Result<u8>;

    /// Takes a batch in, now that its record is durable (in interval mode: written).
    fn apply(&mut self, batch: Self::Batch, seq: u64) -> Receipt;

    /// The record of the batch encoded last could not be written (disk full): undo what `encode` changed.
    fn discard(&mut self, batch: Self::Batch) {
        drop(batch);
    }

    /// Called between groups and at least once a second: seal, flush, drop old records, apply retention.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) stops ingest until there is space; anything else stops it until restart.
    fn maintain(&mut self, wal: &mut Wal, now_ms: i64) -> Result<()>;

    /// Orderly shutdown; everything sent was applied. Not called after a failure.
    ///
    /// # Errors
    /// Logged and returned by [`Writer::close`].
    fn close(&mut self, wal: &mut Wal) -> Result<()>;
}

/// How a writer works.
#[derive(Debug, Clone, Copy)]
pub struct WriterConfig {
    /// Batches waiting at most; then senders wait.
    pub queue: usize,
    /// A group is closed after this many milliseconds even if batches keep coming.
    pub group_window_ms: u64,
    /// Ingest stops below this many free bytes; `None`: 5 % of the disk, at least 1 GiB.
    pub free_floor_bytes: Option<u64>,
}

/// Whether batches are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterState {
    /// Yes.
    Ok,
    /// Not until there is space again.
    DiskFull {
        /// For the operator.
        message: String,
    },
    /// Not until restart.
    Failed {
        /// For the operator.
        message: String,
    },
}

impl WriterState {
    /// The answer to a batch in this state; `None` if it is taken.
    fn refusal(&self) -> Option<Error> {
        match self {
            Self::Ok => None,
            Self::DiskFull { message } => Some(Error::new(ErrorKind::Busy, message.clone())),
            Self::Failed { message } => Some(Error::new(ErrorKind::Io, message.clone())),
        }
    }
}

/// What a writer has done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Batches answered with a receipt.
    pub batches: u64,
    /// Batches answered with an error.
    pub refused: u64,
    /// Groups written.
    pub groups: u64,
    /// Bytes of records written.
    pub record_bytes: u64,
    /// Syncs of the WAL made by the writer.
    pub syncs: u64,
    /// Nanoseconds spent in them.
    pub sync_ns: u64,
}

/// Handle to a writer thread; may be shared. Dropping it closes the store in order and waits.
pub struct Writer<E: Engine> {
    sender: Sender<Message<E>>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

struct Shared {
    state: ArcSwap<WriterState>,
    stats: Mutex<WriterStats>,
}

type Task<E> = Box<dyn FnOnce(&mut E, &mut Wal) + Send>;

enum Message<E: Engine> {
    Batch(E::Batch, Done),
    Run(Task<E>),
    Flush(Sender<Result<()>>),
    Close,
}

impl<E: Engine> fmt::Debug for Writer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl<E: Engine> Writer<E> {
    /// Starts the thread `name`.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) if the system has no thread to give.
    pub fn spawn(
        name: &str,
        engine: E,
        wal: Wal,
        clock: Arc<dyn Clock>,
        config: WriterConfig,
    ) -> Result<Self> {
        let (sender, receiver) = bounded(config.queue.max(1));
        let state = ArcSwap::from_pointee(WriterState::Ok);
        let shared = Arc::new(Shared { state, stats: Mutex::default() });
        let thread_shared = Arc::clone(&shared);
        let run = move || thread::run(engine, wal, clock, config, receiver, thread_shared);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|e| Error::io(format!("start writer thread {name}"), e))?;
        Ok(Self { sender, shared, thread: Mutex::new(Some(thread)) })
    }

    /// Hands over a batch; `done` is called from the writer thread once it is durable, or with the reason why not.
    ///
    /// Cost: blocks while the queue is full. When the disk is full or the writer failed, `done` is called at once, with
    /// [`Busy`](ErrorKind::Busy) or [`Io`](ErrorKind::Io).
    pub fn send(&self, batch: E::Batch, done: Done) {
        if let Some(refusal) = self.shared.state.load().refusal() {
            self.shared.stats.lock().refused += 1;
            done.call(Err(refusal));
            return;
        }
        // A closed channel gives the message back and drops it: `done` then says that the store is shutting down.
        if let Err(unsent) = self.sender.send(Message::Batch(batch, done)) {
            drop(unsent);
        }
    }

    /// Whether batches are taken.
    pub fn state(&self) -> WriterState {
        WriterState::clone(&self.shared.state.load())
    }

    /// What it has done so far.
    pub fn stats(&self) -> WriterStats {
        *self.shared.stats.lock()
    }

    /// Messages waiting in the queue.
    pub fn queue_len(&self) -> usize {
        self.sender.len()
    }

    /// Waits until everything sent before is applied and durable, and [`Engine::maintain`] has run.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) or [`Io`](ErrorKind::Io) when the writer is not [`WriterState::Ok`] afterwards.
    pub fn flush(&self) -> Result<()> {
        let (answer, wait) = bounded(1);
        self.ask(Message::Flush(answer), &wait)?
    }

    /// Runs `f` on the writer thread, after everything sent before is applied, and waits for its result.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) if the writer is closed.
    pub fn run<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut E, &mut Wal) -> R + Send + 'static,
    ) -> Result<R> {
        let (answer, wait) = bounded(1);
        let task: Task<E> = Box::new(move |engine, wal| {
            // The caller waits for it; were it gone, nobody would miss the result.
            answer.send(f(engine, wal)).ok();
        });
        self.ask(Message::Run(task), &wait)
    }

    /// Applies what was sent, closes the engine and waits; later batches are refused as the store is shutting down.
    ///
    /// # Errors
    /// What [`Engine::close`] returned; why the writer had failed before.
    pub fn close(&self) -> Result<()> {
        let Some(thread) = self.thread.lock().take() else { return Ok(()) };
        // Fails only if the thread is gone; then joining says why.
        self.sender.send(Message::Close).ok();
        match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(ErrorKind::Bug, "writer thread panicked")),
        }
    }

    fn ask<R>(&self, message: Message<E>, wait: &Receiver<R>) -> Result<R> {
        let closed = || Error::new(ErrorKind::Busy, "store is shutting down");
        self.sender.send(message).map_err(|_| closed())?;
        wait.recv().map_err(|_| closed())
    }
}

impl<E: Engine> Drop for Writer<E> {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            tracing::error!(error = %e, "store was not closed in order");
        }
    }
}
