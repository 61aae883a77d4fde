//! systemd's journal, read through `journalctl`, so that every version and kind of its files can be read.
//!
//! Owns: the child process, what becomes of its entries, the cursor. Does not own: the export format (`ingest::journal`), what
//! becomes of lines ([`crate::lines`]). Labels and lines are Promtail's.
//!
//! ```text
//!  journalctl -o export --follow ──► Decoder ──► entry (labels, relabelling) ──► Flow ── lines and cursor ──► Sink
//! ```
//!
//! The cursor stored with the lines is the journal's own, that of the last entry read; after any end of either process reading
//! goes on behind it.

mod entry;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ingest::journal::{Decoder, Entry, Limits};
use ingest::relabel::Rule;
use model::{Clock, Labels, LogBatch, LogRows, Result, Sink};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::counters::Counters;
use crate::delivery::{Backoff, Delivery};
use crate::lines::{Flow, Treatment, held};

/// Entries wait so long for company.
const BATCH_WAIT_NS: i64 = 200_000_000;
/// A batch is handed over at so many bytes of lines, or lines.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_LINES: usize = 4_096;
/// Bytes of lines that wait because more is held back than a cursor takes; then nothing is held back any longer.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;
/// First and longest pause before `journalctl` is started again.
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// After so long a run the pauses are short again.
const SOUND_NS: i64 = 60_000_000_000;
/// A pipeline that wants no more lines is asked again after this time.
const PAUSE: Duration = Duration::from_millis(50);

/// A journal to be read.
#[derive(Debug, Clone)]
pub struct Config {
    /// Part of the cursor's key.
    pub name: String,
    /// The program.
    pub journalctl: PathBuf,
    /// Folder of the journal, where it is not the system's.
    pub directory: Option<PathBuf>,
    /// As `journalctl` takes them: `_TRANSPORT=kernel`.
    pub matches: Vec<String>,
    /// Entries that are older at the start are left out, nanoseconds.
    pub max_age_ns: i64,
    /// Whether a line is the whole entry as JSON; otherwise it is the message.
    pub is_json: bool,
    /// Labels of all entries.
    pub labels: Labels,
    /// What makes labels of `__journal_…`.
    pub relabel: Vec<Rule>,
    /// What becomes of the lines.
    pub treatment: Arc<Treatment>,
    /// Where another program stopped, for a journal without a cursor.
    pub cursor: Option<String>,
}

/// A running reader.
#[derive(Debug)]
pub struct Handle {
    task: JoinHandle<()>,
}

impl Handle {
    /// Waits, after the cancellation, until the store has answered for everything handed over.
    pub async fn settled(self) {
        // It only ends otherwise by a panic, which is reported as one.
        self.task.await.ok();
    }
}

/// Starts reading; must be called inside a tokio runtime. It goes on until `cancel`. What happens is counted in `counters`.
pub fn spawn(
    config: Config,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    cancel: CancellationToken,
) -> Handle {
    let delivery = Delivery { sink, counters, cancel };
    Handle { task: tokio::spawn(read(config, delivery, clock)) }
}

async fn read(config: Config, delivery: Delivery, clock: Arc<dyn Clock>) {
    let source: Arc<str> = Arc::from(format!("journal/{}", config.name));
    let Ok(stored) = delivery.cursor(Arc::clone(&source)).await else { return };
    let mut reader = Reader {
        flow: Flow::new(Arc::clone(&config.treatment)),
        cursor: config.cursor.clone(),
        oldest_ns: clock.now_ns().saturating_sub(config.max_age_ns),
        rows: LogRows::default(),
        first_ns: None,
        is_unsaved: false,
        source,
        config,
        delivery,
        clock,
    };
    if let Some((position, held)) = stored.as_deref().and_then(held::decode) {
        reader.cursor = Some(String::from_utf8_lossy(position).into_owned());
        reader.flow.restore(held);
    }
    let cancel = reader.delivery.cancel.clone();
    let mut backoff = Backoff::new(RESTART.0, RESTART.1);
    let mut complaint = String::new();
    while !cancel.is_cancelled() {
        let begun_ns = reader.clock.monotonic_ns();
        let ended = reader.follow().await;
        if cancel.is_cancelled() {
            return;
        }
        let why = ended.err().unwrap_or_else(|| "it ended".to_owned());
        if why != complaint {
            let job = &reader.config.name;
            tracing::warn!(job, "the journal cannot be read, trying again: {why}");
            complaint = why;
        }
        Counters::add(&reader.delivery.counters.log_stream_errors, 1);
        if reader.clock.monotonic_ns() - begun_ns > SOUND_NS {
            backoff.reset();
        }
        backoff.wait(&cancel).await;
    }
}

struct Reader {
    config: Config,
    delivery: Delivery,
    clock: Arc<dyn Clock>,
    source: Arc<str>,
    flow: Flow,
    /// Of the last entry read.
    cursor: Option<String>,
    oldest_ns: i64,
    rows: LogRows,
    /// When the first of the rows came.
    first_ns: Option<i64>,
    is_unsaved: bool,
}

impl Reader {
    fn arguments(&self) -> Vec<OsString> {
        let fixed = ["--output=export", "--follow", "--no-tail", "--no-pager", "--quiet"];
        let mut arguments: Vec<OsString> = fixed.map(OsString::from).to_vec();
        if let Some(directory) = &self.config.directory {
            let mut argument = OsString::from("--directory=");
            argument.push(directory);
            arguments.push(argument);
        }
        arguments.push(OsString::from(match &self.cursor {
            Some(cursor) => format!("--after-cursor={cursor}"),
            None => format!("--since=@{}", self.oldest_ns.div_euclid(1_000_000_000).max(0)),
        }));
        arguments.extend(self.config.matches.iter().map(OsString::from));
        arguments
    }

    /// Runs `journalctl` until it ends or the collector stops; `Err` says what is wrong.
    async fn follow(&mut self) -> Result<(), String> {
        let program = self.config.journalctl.display().to_string();
        let mut command = Command::new(&self.config.journalctl);
        command.args(self.arguments()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("{program} is not installed"),
            _ => format!("{program}: {error}"),
        })?;
        let (Some(mut output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(format!("{program} has no output"));
        };
        let errors = tokio::spawn(last_line(errors));
        let mut decoder = Decoder::new(Limits::default());
        let mut bytes = vec![0; READ_BYTES];
        let cancel = self.delivery.cancel.clone();
        loop {
            while self.flow.is_paused(self.clock.monotonic_ns()) && !cancel.is_cancelled() {
                self.store().await?;
                tokio::time::sleep(PAUSE).await;
            }
            let read = tokio::time::timeout(self.patience(), output.read(&mut bytes));
            let Some(read) = cancel.run_until_cancelled(read).await else {
                return self.store().await;
            };
            match read {
                Err(_) => {}
                Ok(Ok(0)) => break,
                Ok(Ok(len)) => {
                    let bytes = bytes.get(..len).unwrap_or_default();
                    let taken = decoder.read(bytes, &mut |entry| {
                        self.take(&entry);
                        Ok(())
                    });
                    taken.map_err(|error| format!("{program}: {error}"))?;
                }
                Ok(Err(error)) => return Err(format!("{program}: {error}")),
            }
            self.flush_due();
            if self.is_due() {
                self.store().await?;
            }
        }
        self.store().await?;
        let status = child.wait().await.map_err(|error| format!("{program}: {error}"))?;
        let said = errors.await.unwrap_or_default();
        Err(if said.is_empty() {
            format!("{program}: {status}")
        } else {
            format!("{program}: {said}")
        })
    }

    /// How long to wait for more.
    fn patience(&self) -> Duration {
        let batch_ns = self.first_ns.map(|first_ns| first_ns.saturating_add(BATCH_WAIT_NS));
        let due_ns = [batch_ns, self.flow.next_due_ns()].into_iter().flatten().min();
        match due_ns {
            None => Duration::MAX,
            Some(due_ns) => {
                let left_ns = due_ns.saturating_sub(self.clock.monotonic_ns());
                Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0))
            }
        }
    }

    fn flush_due(&mut self) {
        let now_ns = self.clock.monotonic_ns();
        if self.flow.next_due_ns().is_some_and(|due_ns| due_ns <= now_ns) {
            self.flow.flush_due(&[], &*self.clock, &mut self.rows);
        }
        self.note_first(now_ns);
    }

    fn note_first(&mut self, now_ns: i64) {
        if self.is_unsaved || !self.rows.is_empty() {
            self.first_ns.get_or_insert(now_ns);
        }
    }

    fn is_due(&self) -> bool {
        let is_full = self.rows.len() >= BATCH_LINES || self.rows.line_bytes() >= BATCH_BYTES;
        let now_ns = self.clock.monotonic_ns();
        is_full || self.first_ns.is_some_and(|first_ns| now_ns - first_ns >= BATCH_WAIT_NS)
    }

    fn take(&mut self, entry: &Entry) {
        if let Some(cursor) = entry.cursor() {
            self.cursor = Some(cursor.to_owned());
            self.is_unsaved = true;
        }
        Counters::add(&self.delivery.counters.log_bytes_truncated, entry.missing_bytes);
        let t_ns = entry.t_ns().unwrap_or_else(|| self.clock.now_ns());
        if t_ns < self.oldest_ns {
            return;
        }
        let Config { labels, relabel, is_json, .. } = &self.config;
        let Some(stream) = entry::labels(entry, labels, relabel) else { return };
        let Some(line) = entry::line(entry, *is_json) else { return };
        let (fields, clock) = (Labels::default(), &*self.clock);
        self.flow.push_labelled(&stream, t_ns, &line, &fields, clock, &mut self.rows);
    }

    /// Stores what is complete. `Err` only when cancelled.
    async fn store(&mut self) -> Result<(), String> {
        if self.rows.is_empty() && !self.is_unsaved {
            return Ok(());
        }
        let position = self.cursor.clone().unwrap_or_default().into_bytes();
        let mut cursor = self.flow.cursor(position.clone());
        if cursor.is_none() && self.rows.line_bytes() > WAITING_BYTES_MAX {
            self.flow.flush(&[], &*self.clock, &mut self.rows);
            cursor = self.flow.cursor(position);
        }
        self.first_ns = None;
        let Some(cursor) = cursor else { return Ok(()) };
        self.is_unsaved = false;
        let (source, rows) = (Arc::clone(&self.source), std::mem::take(&mut self.rows));
        let batch = LogBatch { source, rows, cursor: Some(cursor) };
        self.delivery.logs(batch).await.map_err(|error| error.to_string())
    }
}

/// The last line that the program says of what is wrong.
async fn last_line(errors: ChildStderr) -> String {
    let mut lines = BufReader::new(errors.take(1 << 20)).lines();
    let mut last = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        if !line.trim().is_empty() {
            last = line.trim().chars().take(500).collect();
        }
    }
    last
}
