//! Follows the log of one container: opens streams, notices when they stall, and stores lines with their cursor.
//!
//! One batch is on its way at a time; while the store is busy nothing is read, and the daemon's socket fills instead.
//! Data: the daemon's log endpoint, through `reader`, to the sink. Does not own: which containers there are (`watch`).

use std::sync::Arc;
use std::time::Duration;

use ingest::docker::frames::{Decoder, Line};
use model::{Clock, Labels, Result};
use tokio::sync::{Semaphore, watch};

use super::claims::{Claim, Jobs};
use super::position::Position;
use super::reader::{Beginning, LogReader};
use super::registry::ContainerState;
use super::steps::{self, LogSteps, Step};
use crate::counters::Counters;
use crate::delivery::{Backoff, Delivery};
use crate::docker::{Client, Error, LogQuery, Logs};
use crate::lines::{Treatment, held};
use crate::scrape::DockerApi;

/// Lines wait for company until the next multiple of this time. All followers hand over at the same moments, so that the
/// batches of many quiet containers share one sync of the store.
const BATCH_EVERY: Duration = Duration::from_millis(500);
/// A stream that is quiet for so long is compared with the end of the log.
const QUIET: Duration = Duration::from_secs(10);
/// A line that the end of the log shows may take so long to come through the stream.
const GRACE: Duration = Duration::from_millis(300);
/// After a run's end its last lines may take so long to reach the log.
const SETTLE: Duration = Duration::from_secs(5);
/// A pipeline that wants no more lines is asked again after this time.
const PAUSE: Duration = Duration::from_millis(50);
/// Lines asked for at first when a step of time is looked for in the log.
const TAIL_LINES: u32 = 64;
/// A log that cannot be read is tried again after this time.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);

/// What the follower must know of its container.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Life {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) compose_project: String,
    pub(crate) compose_service: String,
    pub(crate) running: bool,
    /// End of the last run, Unix nanoseconds, 0 when unknown.
    pub(crate) finished_ns: i64,
    pub(crate) removed: bool,
    /// Bytes after which the log goes on in a new file; `None` when it does not.
    pub(crate) rotates_at_bytes: Option<u64>,
}

impl Life {
    pub(crate) fn of(container: &ContainerState, finished_ns: i64) -> Self {
        Self {
            name: container.name.clone(),
            image: container.image.clone(),
            compose_project: container.compose_project.clone(),
            compose_service: container.compose_service.clone(),
            running: container.is_running(),
            finished_ns,
            removed: false,
            rotates_at_bytes: container.log_rotates_at_bytes,
        }
    }

    fn streams(&self) -> [Labels; 2] {
        ["stdout", "stderr"].map(|stream| {
            Labels::from_pairs([
                ("container", self.name.as_str()),
                ("image", self.image.as_str()),
                ("compose_project", self.compose_project.as_str()),
                ("compose_service", self.compose_service.as_str()),
                ("stream", stream),
            ])
        })
    }
}

/// What all followers share.
#[derive(Clone)]
pub(crate) struct LogContext {
    pub(crate) client: Arc<Client>,
    pub(crate) delivery: Delivery,
    pub(crate) clock: Arc<dyn Clock>,
    /// What becomes of lines that no job takes over.
    pub(crate) treatment: Arc<Treatment>,
    /// Whether logs are stored that no job takes over.
    pub(crate) stores_unclaimed: bool,
    /// Jobs that take over logs, and how their discovery asks.
    pub(crate) jobs: watch::Receiver<Arc<Jobs>>,
    pub(crate) api: DockerApi,
    /// First time wanted of containers seen for the first time.
    pub(crate) since_ns: i64,
    /// Bounds how many ended containers are read at once.
    pub(crate) catch_up: Arc<Semaphore>,
}

/// How reading a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The daemon closed it regularly.
    Regularly,
    /// It broke or must be opened again.
    Reopen,
    /// The container is gone.
    Gone,
    /// The daemon cannot give this log.
    Unreadable,
}

/// Follows container `id` until it is removed or the collector stops.
pub(crate) async fn follow(context: LogContext, id: String, life: watch::Receiver<Life>) {
    let source: Arc<str> = Arc::from(format!("docker/{id}"));
    let Ok(stored) = context.delivery.cursor(Arc::clone(&source)).await else { return };
    let beginning = stored.and_then(|bytes| {
        let (position, held) = held::decode(&bytes)?;
        Some(Beginning { position: Position::decode(position)?, held })
    });
    let is_new = beginning.is_none();
    let beginning = beginning.unwrap_or_else(|| Beginning {
        position: Position::start(context.since_ns),
        held: Vec::new(),
    });
    let streams = life.borrow().streams();
    let treatment = Arc::clone(&context.treatment);
    let (clock, counters) = (Arc::clone(&context.clock), Arc::clone(&context.delivery.counters));
    let reader = LogReader::new(source, streams, treatment, beginning, clock, counters);
    let cancel = context.delivery.cancel.clone();
    // Boxed: hundreds of followers of ended containers only wait.
    let jobs = context.jobs.clone();
    let decided = Decided { name: None, claim: None };
    let mut follower = Box::new(Follower {
        context,
        id,
        life,
        jobs,
        decided,
        is_new,
        reader,
        asked_in_vain: None,
    });
    if let Some(Err(error)) = cancel.run_until_cancelled(follower.run()).await {
        tracing::debug!(container = %follower.id, %error, "log follower ended");
    }
}

struct Follower {
    context: LogContext,
    id: String,
    life: watch::Receiver<Life>,
    jobs: watch::Receiver<Arc<Jobs>>,
    decided: Decided,
    /// Nothing was ever read.
    is_new: bool,
    reader: LogReader,
    /// A last line for which opening the stream again was no help.
    asked_in_vain: Option<i64>,
}

/// Whose the log is.
struct Decided {
    /// The container's name then; `None` before.
    name: Option<String>,
    claim: Option<Claim>,
}

impl Follower {
    async fn run(&mut self) -> Result<()> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let life = self.life.borrow_and_update().clone();
            if self.is_undecided() && !self.decide(&life).await {
                return Ok(());
            }
            if !self.is_wanted() {
                if life.removed {
                    return Ok(());
                }
                tokio::select! {
                    changed = self.life.changed() => if changed.is_err() { return Ok(()) },
                    changed = self.jobs.changed() => match changed {
                        Ok(()) => self.decided.name = None,
                        Err(_) => return Ok(()),
                    },
                }
                continue;
            }
            self.reader.set_streams(self.streams(&life));
            let idle = life.finished_ns == self.reader.done_ns();
            if !life.running && idle && !life.removed {
                if self.life.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            }
            self.look_back().await;
            let opened_ns = self.context.clock.monotonic_ns();
            let ended = if life.running {
                self.follow_run().await?
            } else {
                self.read_ended(life.finished_ns).await?
            };
            match ended {
                Ended::Gone => {
                    // Nobody will end the last line any more.
                    self.reader.finish();
                    return self.store(true).await;
                }
                Ended::Regularly if !life.running => backoff.reset(),
                Ended::Unreadable => {
                    let changed = self.life.changed();
                    drop(tokio::time::timeout(UNREADABLE_PAUSE, changed).await);
                }
                Ended::Regularly | Ended::Reopen => {
                    if self.context.clock.monotonic_ns() - opened_ns > 10_000_000_000 {
                        backoff.reset();
                    }
                    if !backoff.wait(&self.context.delivery.cancel).await {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Whether it must be asked whose the log is: at first, and when the jobs or the container's name changed.
    fn is_undecided(&self) -> bool {
        let name = &self.life.borrow().name;
        self.decided.name.as_ref() != Some(name) || self.jobs.has_changed().unwrap_or(false)
    }

    /// Asks whose the log is, until the engine answers; `false` when the collector stops.
    async fn decide(&mut self, life: &Life) -> bool {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let since_ns = self.context.clock.monotonic_ns();
        let claim = loop {
            let jobs = Arc::clone(&self.jobs.borrow_and_update());
            let LogContext { api, clock, .. } = &self.context;
            match jobs.claim(&self.id, since_ns, api, &**clock).await {
                Ok(claim) => break claim,
                Err(error) => tracing::debug!(container = %self.id, %error, "whose log?"),
            }
            if !backoff.wait(&self.context.delivery.cancel).await {
                return false;
            }
        };
        let treatment = claim.as_ref().map_or(&self.context.treatment, |claim| &claim.treatment);
        self.reader.set_treatment(Arc::clone(treatment));
        if let Some(since_ns) = claim.as_ref().and_then(|claim| claim.read_until_ns)
            && self.is_new
        {
            self.reader.begin_at(since_ns);
        }
        self.decided = Decided { name: Some(life.name.clone()), claim };
        true
    }

    fn is_wanted(&self) -> bool {
        self.decided.claim.is_some() || self.context.stores_unclaimed
    }

    fn streams(&self, life: &Life) -> [Labels; 2] {
        match &self.decided.claim {
            Some(claim) => claim.streams.clone(),
            None => life.streams(),
        }
    }

    /// Follows a running container until its stream ends.
    async fn follow_run(&mut self) -> Result<Ended> {
        let query = LogQuery { since_ns: self.reader.since_ns(), follow: true, tail: None };
        let mut logs = match self.open(query).await {
            Ok(logs) => logs,
            Err(ended) => return Ok(ended),
        };
        self.watch_steps();
        loop {
            match self.pump(&mut logs, QUIET).await? {
                Some(Ended::Regularly) => return Ok(self.after_end().await),
                Some(ended) => return Ok(ended),
                None if !self.life.borrow().running => return Ok(Ended::Reopen),
                // Quiet. A stream can stall when the log is rotated.
                None => match self.stalled(&mut logs).await? {
                    Some(ended) => return Ok(ended),
                    None => continue,
                },
            }
        }
    }

    /// From now on the stream is watched for steps of time, if it may leave out files.
    fn watch_steps(&mut self) {
        if self.context.client.may_skip_rotated_files()
            && let Some(bytes) = self.life.borrow().rotates_at_bytes
        {
            self.reader.watch_steps(self.context.clock.now_ns(), steps::least_ns(bytes));
        }
    }

    /// The stream of a run ended regularly.
    async fn after_end(&mut self) -> Ended {
        match self.context.client.inspect(&self.id).await {
            Err(Error::NotFound(_)) => Ended::Gone,
            Ok(inspected) if !inspected.state.running => {
                // The watcher is about to say the same, and then the end of the log is read.
                let told = self.life.wait_for(|life| !life.running || life.removed);
                drop(tokio::time::timeout(SETTLE, told).await);
                Ended::Reopen
            }
            _ => Ended::Reopen,
        }
    }

    /// Reads the log of an ended container to its end.
    async fn read_ended(&mut self, finished_ns: i64) -> Result<Ended> {
        loop {
            let permit = Arc::clone(&self.context.catch_up).acquire_owned().await;
            let query = LogQuery { since_ns: self.reader.since_ns(), follow: false, tail: None };
            let age_ns = self.context.clock.now_ns().saturating_sub(finished_ns);
            let settle_ns = i64::try_from(SETTLE.as_nanos()).unwrap_or(i64::MAX);
            let left_ns = if finished_ns > 0 { settle_ns.saturating_sub(age_ns) } else { 0 };
            let mut logs = match self.open(query).await {
                Ok(logs) => logs,
                Err(ended) => return Ok(ended),
            };
            // A stream without follow has no reason to be quiet.
            let ended = self.pump(&mut logs, QUIET * 3).await?.unwrap_or(Ended::Reopen);
            drop(permit);
            if ended != Ended::Regularly {
                return Ok(ended);
            }
            if left_ns <= 0 {
                self.reader.finish();
                self.reader.mark_done(finished_ns);
                self.store_cursor(true).await?;
                return Ok(Ended::Regularly);
            }
            let left = Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0)).min(SETTLE);
            let changed =
                tokio::time::timeout(left, self.life.wait_for(|l| l.running || l.removed));
            if changed.await.is_ok() {
                let gone = self.life.borrow().removed;
                return Ok(if gone { Ended::Gone } else { Ended::Reopen });
            }
        }
    }

    async fn open(&mut self, query: LogQuery) -> std::result::Result<Logs, Ended> {
        match self.context.client.logs(&self.id, query).await {
            Ok(logs) => {
                self.reader.open(self.context.clock.now_ns());
                Ok(logs)
            }
            Err(Error::NotFound(_)) => Err(Ended::Gone),
            Err(Error::Unavailable(_) | Error::Denied(_)) => Err(Ended::Reopen),
            Err(error) => {
                Counters::add(&self.context.delivery.counters.log_stream_errors, 1);
                tracing::info!(container = %self.id, %error, "log cannot be read");
                Err(Ended::Unreadable)
            }
        }
    }

    /// Reads until the stream ends (`Some`) or was quiet for `quiet` (`None`); all lines are stored on return.
    async fn pump(&mut self, logs: &mut Logs, quiet: Duration) -> Result<Option<Ended>> {
        let mut first_ns = None;
        loop {
            while self.reader.is_paused() {
                self.store(false).await?;
                tokio::time::sleep(PAUSE).await;
            }
            let mut patience = match first_ns {
                Some(first_ns) => self.batch_time_left(first_ns),
                None => quiet,
            };
            let due_in = self.reader.due_in_ns().map(|ns| Duration::from_nanos(ns.unsigned_abs()));
            let is_due_first = due_in.is_some_and(|due_in| due_in < patience);
            patience = patience.min(due_in.unwrap_or(patience));
            let ended = match tokio::time::timeout(patience, logs.next()).await {
                Err(_) if is_due_first => {
                    self.reader.flush_due();
                    None
                }
                Err(_) if self.reader.is_idle() => return Ok(None),
                // The time of a batch is over.
                Err(_) => None,
                Ok(Ok(Some(bytes))) => match self.reader.feed(&bytes) {
                    Ok(()) => None,
                    Err(error) => {
                        Counters::add(&self.context.delivery.counters.log_stream_errors, 1);
                        tracing::info!(container = %self.id, %error, "log stream is broken");
                        Some(Ended::Reopen)
                    }
                },
                Ok(Ok(None)) => Some(Ended::Regularly),
                Ok(Err(_)) => Some(Ended::Reopen),
            };
            let is_undecided = self.is_undecided();
            if self.life.has_changed().unwrap_or(false) && !is_undecided {
                // Not marked as seen: the outer loop looks at the rest.
                let streams = self.streams(&self.life.borrow());
                self.reader.set_streams(streams);
                self.watch_steps();
            }
            let ended = ended.or(is_undecided.then_some(Ended::Reopen));
            let waited = first_ns.is_some_and(|first| self.batch_time_left(first).is_zero());
            if !self.reader.is_idle() && (ended.is_some() || waited || self.reader.is_full()) {
                let ended = self.settle().await.or(ended);
                self.store(ended.is_some()).await?;
                if ended.is_some() {
                    return Ok(ended);
                }
                first_ns = None;
            } else if first_ns.is_none() && !self.reader.is_idle() {
                first_ns = Some(self.context.clock.monotonic_ns());
            }
            if ended.is_some() {
                return Ok(ended);
            }
        }
    }

    fn batch_time_left(&self, first_ns: i64) -> Duration {
        let every_ns = i64::try_from(BATCH_EVERY.as_nanos()).unwrap_or(i64::MAX);
        let due_ns = first_ns.saturating_add(every_ns - first_ns.rem_euclid(every_ns));
        let left_ns = due_ns.saturating_sub(self.context.clock.monotonic_ns());
        Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0))
    }

    /// Stores what was read; `now` also when that ends what is held back.
    async fn store(&mut self, now: bool) -> Result<()> {
        if self.reader.is_empty() {
            return Ok(());
        }
        self.store_cursor(now).await
    }

    async fn store_cursor(&mut self, now: bool) -> Result<()> {
        match self.reader.take_batch(now) {
            Some(batch) => {
                self.is_new = false;
                self.context.delivery.logs(batch).await
            }
            None => Ok(()),
        }
    }

    /// Looks in the log for steps of time behind which lines wait: `Some` when the stream must be opened again.
    async fn settle(&mut self) -> Option<Ended> {
        while let Some((step, least_ns, waiting)) = self.reader.doubt() {
            let (counters, id) = (&self.context.delivery.counters, &self.id);
            let settled = match self.log_steps(step, least_ns, waiting).await {
                Ok(log) if log.has_wanted => self.reader.settle(log),
                // What lay between was rotated away, if anything did.
                Ok(_) => {
                    Counters::add(&counters.log_gaps, 1);
                    self.reader.believe().map(|()| true)
                }
                Err(Ended::Gone) => self.reader.believe().map(|()| true),
                Err(ended) => return Some(ended),
            };
            match settled {
                Ok(true) => {}
                Ok(false) => {
                    Counters::add(&counters.log_streams_torn, 1);
                    tracing::info!(container = %id, "log stream is torn, opening it again");
                    return Some(Ended::Reopen);
                }
                Err(error) => {
                    Counters::add(&counters.log_stream_errors, 1);
                    tracing::info!(container = %id, %error, "log stream is broken");
                    return Some(Ended::Reopen);
                }
            }
        }
        None
    }

    /// The log's steps around `step` up to now, behind which `waiting` lines came: read from the end, without following.
    async fn log_steps(
        &self,
        step: Step,
        least_ns: i64,
        waiting: usize,
    ) -> std::result::Result<LogSteps, Ended> {
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let mut tail = Some(waiting.saturating_mul(2).max(TAIL_LINES));
        let mut first_ns = None;
        loop {
            let mut steps = LogSteps::new(least_ns, step.before_ns);
            self.read_log(tail, |lines| steps.note(lines)).await?;
            // Asking for more lines brought none: this is the whole log.
            let is_whole = tail.is_none() || (first_ns.is_some() && steps.first_ns == first_ns);
            if steps.has_wanted || is_whole {
                return Ok(steps);
            }
            first_ns = steps.first_ns;
            tail = tail.and_then(|tail| tail.checked_mul(8));
        }
    }

    /// Reads the last `tail` lines of the log, or all, as far as there are any.
    async fn read_log(
        &self,
        tail: Option<u32>,
        mut note: impl FnMut(&[Line]),
    ) -> std::result::Result<(), Ended> {
        let query = LogQuery { since_ns: 0, follow: false, tail };
        let mut logs = match self.context.client.logs(&self.id, query).await {
            Ok(logs) => logs,
            Err(Error::NotFound(_)) => return Err(Ended::Gone),
            Err(_) => return Err(Ended::Reopen),
        };
        let (mut decoder, mut lines) = (Decoder::default(), Vec::new());
        loop {
            match tokio::time::timeout(QUIET, logs.next()).await {
                Ok(Ok(Some(bytes))) if decoder.feed(&bytes, &mut lines).is_ok() => {
                    note(&lines);
                    lines.clear();
                }
                Ok(Ok(None)) => break,
                _ => return Err(Ended::Reopen),
            }
        }
        // The last line may be unfinished; it counts as the one that the stream waits for.
        decoder.finish(&mut lines);
        note(&lines);
        Ok(())
    }

    /// Compares the end of the log with what came through the stream: `Some` when it must be opened again.
    async fn stalled(&mut self, logs: &mut Logs) -> Result<Option<Ended>> {
        let seen = self.reader.lines_seen();
        let (output, t_ns) = match self.last_line().await {
            Ok(Some(last)) => last,
            Ok(None) => return Ok(None),
            Err(ended) => return Ok(Some(ended)),
        };
        if self.reader.knows(output, t_ns) || self.asked_in_vain == Some(t_ns) {
            return Ok(None);
        }
        // The line may have come in this moment.
        if let Some(ended) = self.pump(logs, GRACE).await? {
            return Ok(Some(ended));
        }
        if self.reader.lines_seen() != seen {
            return Ok(None);
        }
        self.asked_in_vain = Some(t_ns);
        self.reader.start_no_later_than(t_ns);
        Counters::add(&self.context.delivery.counters.log_stalls, 1);
        tracing::info!(container = %self.id, "log stream stalled, opening it again");
        Ok(Some(Ended::Reopen))
    }

    /// The runtime leaves lines before the start time out, also new ones after the clock was set back: then reading
    /// starts earlier.
    async fn look_back(&mut self) {
        if self.reader.since_ns() > 0
            && let Ok(Some((output, t_ns))) = self.last_line().await
            && self.reader.is_behind(output, t_ns)
        {
            self.reader.start_no_later_than(t_ns);
        }
    }

    /// Output and time of the log's last line, as far as it has one.
    async fn last_line(&self) -> std::result::Result<Option<(usize, i64)>, Ended> {
        let mut last = None;
        let note = |lines: &[Line]| {
            if let Some(line) = lines.last() {
                last = line.t_ns.map(|t_ns| (line.output.index(), t_ns));
            }
        };
        self.read_log(Some(1), note).await?;
        Ok(last)
    }
}
