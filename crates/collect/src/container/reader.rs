//! From the bytes of a log stream to batches of new records with their cursor: the part of log reading without I/O.
//!
//! Owns: the decoder, the position, and the lines read but not yet stored. Does not own: connections and timing
//! (`logs`), what becomes of lines ([`crate::lines`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ingest::docker::frames::{Decoder, Line};
use model::{Clock, Error, ErrorKind, Labels, LogBatch, LogRows, Result};

use super::position::{Position, Resume, Seen};
use super::recent::Recent;
use super::steps::{LogSteps, Step, StepWatch};
use crate::counters::Counters;
use crate::lines::{Flow, HeldLine, Treatment};

/// A batch is handed over at this many bytes of lines …
const BATCH_BYTES: usize = 256 * 1024;
/// … or this many lines.
const BATCH_LINES: usize = 500;
/// Bytes of lines that wait because more is held back than a cursor takes; then nothing is held back any longer.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// How often a stream that leaves out the last stored line is opened again before it is believed.
const GAP_ATTEMPTS: u32 = 4;

/// Reads one container's log.
#[derive(Debug)]
pub(crate) struct LogReader {
    source: Arc<str>,
    streams: [Labels; 2],
    position: Position,
    resume: Resume,
    decoder: Decoder,
    lines: Vec<Line>,
    flow: Flow,
    rows: LogRows,
    /// Time for lines that carry none: that of the line before.
    last_ns: [i64; 2],
    lines_seen: u64,
    /// The position when the stream was opened and what was held back then, until something of it is stored.
    opened: Option<(Position, Vec<HeldLine>)>,
    gaps_in_a_row: u32,
    recent: [Recent; 2],
    /// Of a stream that may leave files out.
    steps: Option<StepWatch>,
    /// A terminal's last line was taken without its end.
    cut_off: bool,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

/// Where a reader begins.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) position: Position,
    /// Lines in front of the position that an earlier reader held back.
    pub(crate) held: Vec<HeldLine>,
}

impl LogReader {
    /// A reader of `source` that goes on at `beginning`; records carry `streams` (stdout, stderr).
    pub(crate) fn new(
        source: Arc<str>,
        streams: [Labels; 2],
        treatment: Arc<Treatment>,
        beginning: Beginning,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Self {
        let Beginning { position, held } = beginning;
        let mut flow = Flow::new(treatment);
        flow.restore(held);
        Self {
            source,
            streams,
            flow,
            resume: position.resume(),
            position,
            decoder: Decoder::default(),
            lines: Vec::new(),
            rows: LogRows::default(),
            last_ns: [0; 2],
            lines_seen: 0,
            opened: None,
            gaps_in_a_row: 0,
            recent: [Recent::new(), Recent::new()],
            steps: None,
            cut_off: false,
            clock,
            counters,
        }
    }

    /// Labels for the lines that follow; an output without any is left out.
    pub(crate) fn set_streams(&mut self, streams: [Labels; 2]) {
        self.streams = streams;
    }

    /// From now on lines get this treatment; those that are held back begin anew with it.
    pub(crate) fn set_treatment(&mut self, treatment: Arc<Treatment>) {
        let held = self.flow.held();
        self.flow = Flow::new(treatment);
        self.flow.restore(held);
    }

    /// Begins at a time. Nothing must have been read.
    pub(crate) fn begin_at(&mut self, since_ns: i64) {
        self.position = Position::start(since_ns);
    }

    /// Begins a new stream, which must start at [`since_ns`](Self::since_ns) or before. All records must have been
    /// taken. A line whose end had not come is forgotten; the stream brings it again as a whole.
    pub(crate) fn open(&mut self, now_ns: i64) {
        debug_assert!(self.rows.is_empty(), "BUG: log stream opened over records not taken");
        self.decoder = Decoder::default();
        self.lines.clear();
        self.steps = None;
        self.resume = self.position.resume();
        self.opened = Some((self.position.clone(), self.flow.held()));
        self.last_ns = [now_ns; 2];
        self.recent.iter_mut().for_each(Recent::reopen);
    }

    /// Watches the stream, from `now_ns` on, for steps of `least_ns` at least, unless it is watched already: lines from
    /// such a step on wait.
    pub(crate) fn watch_steps(&mut self, now_ns: i64, least_ns: i64) {
        self.steps.get_or_insert_with(|| StepWatch::new(now_ns, least_ns));
    }

    /// The step behind which lines wait, with the least step and the number of those lines.
    pub(crate) fn doubt(&self) -> Option<(Step, i64, usize)> {
        let steps = self.steps.as_ref()?;
        Some((steps.doubt()?, steps.least_ns(), self.lines.len()))
    }

    /// Goes on with lines that waited when `log` has the step; `false` when it does not, and the stream must be opened
    /// again.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub(crate) fn settle(&mut self, log: LogSteps) -> Result<bool> {
        let holds = self.steps.as_mut().is_none_or(|steps| steps.learn(log));
        if holds {
            self.take_lines()?;
        }
        Ok(holds)
    }

    /// Goes on with lines that waited: the log cannot say more.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub(crate) fn believe(&mut self) -> Result<()> {
        if let Some(steps) = &mut self.steps {
            steps.believe();
        }
        self.take_lines()
    }

    /// Whether a last line at `t_ns` can only mean that the clock was set back behind the position.
    pub(crate) fn is_behind(&self, output: usize, t_ns: i64) -> bool {
        self.position.is_past(output, t_ns)
    }

    /// Time from which the next stream must start, Unix nanoseconds.
    pub(crate) fn since_ns(&self) -> i64 {
        self.position.since_ns
    }

    /// Asks for an earlier start of the next stream (the clock was set back).
    pub(crate) fn start_no_later_than(&mut self, t_ns: i64) {
        self.position.since_ns = self.position.since_ns.min(t_ns);
    }

    /// End of the run that was read completely, 0 when none.
    pub(crate) fn done_ns(&self) -> i64 {
        self.position.done_ns
    }

    /// Takes bytes of the stream.
    ///
    /// # Errors
    /// As [`Decoder::feed`]; lines before the broken place are taken. [`Busy`](ErrorKind::Busy) when the stream leaves
    /// out the last stored line, which the runtime does at times while it rotates the log: it must be opened again.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let fed = self.decoder.feed(bytes, &mut self.lines);
        self.take_lines()?;
        fed
    }

    /// The stream ended and nothing more will come: a line without its end is a line.
    pub(crate) fn finish(&mut self) {
        let cut_off = self.decoder.is_raw() && self.decoder.pending_t_ns().is_some();
        self.decoder.finish(&mut self.lines);
        // The writer is gone and nothing better will come: a gap is believed.
        self.gaps_in_a_row = GAP_ATTEMPTS;
        self.steps = None;
        if self.take_lines().is_ok() {
            self.cut_off = cut_off;
        }
        self.flow.flush(&self.streams, &*self.clock, &mut self.rows);
    }

    /// How long until lines have been held back long enough; `None` when none are.
    pub(crate) fn due_in_ns(&self) -> Option<i64> {
        Some(self.flow.next_due_ns()?.saturating_sub(self.clock.monotonic_ns()).max(0))
    }

    /// Lets go of lines that were held back long enough.
    pub(crate) fn flush_due(&mut self) {
        self.flow.flush_due(&self.streams, &*self.clock, &mut self.rows);
    }

    /// Whether nothing more should be read for the moment.
    pub(crate) fn is_paused(&mut self) -> bool {
        self.flow.is_paused(self.clock.monotonic_ns())
    }

    /// Notes that the run that ended at `finished_ns` has been read completely.
    pub(crate) fn mark_done(&mut self, finished_ns: i64) {
        self.position.done_ns = finished_ns;
    }

    /// Whether no record waits to be stored.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether nothing waits, neither to be stored nor behind a step.
    pub(crate) fn is_idle(&self) -> bool {
        self.rows.is_empty() && self.lines.is_empty()
    }

    /// Whether enough waits to be stored at once, or behind a step.
    pub(crate) fn is_full(&self) -> bool {
        let lines_bytes: usize = self.lines.iter().map(|line| line.text.len()).sum();
        self.rows.len() + self.lines.len() >= BATCH_LINES
            || self.rows.line_bytes() + lines_bytes >= BATCH_BYTES
    }

    /// Whether a line at `t_ns` is known: the last one stored, or the one whose end has not come.
    pub(crate) fn knows(&self, output: usize, t_ns: i64) -> bool {
        self.position.stands_at(output, t_ns) || self.decoder.pending_t_ns() == Some(t_ns)
    }

    /// Lines decoded so far, stored before or not.
    pub(crate) fn lines_seen(&self) -> u64 {
        self.lines_seen
    }

    /// The waiting records with the position behind them. `None` while more lines are held back than a cursor takes, but
    /// never with `now`: then they are let go of.
    pub(crate) fn take_batch(&mut self, now: bool) -> Option<LogBatch> {
        self.position.settle(self.decoder.is_raw(), self.decoder.pending_t_ns());
        if self.cut_off {
            self.position.past_last();
        }
        let mut cursor = self.flow.cursor(self.position.encode());
        if cursor.is_none() && (now || self.rows.line_bytes() > WAITING_BYTES_MAX) {
            self.flow.flush(&self.streams, &*self.clock, &mut self.rows);
            cursor = self.flow.cursor(self.position.encode());
        }
        let cursor = Some(cursor?);
        self.opened = None;
        self.gaps_in_a_row = 0;
        Some(LogBatch {
            source: Arc::clone(&self.source),
            rows: std::mem::take(&mut self.rows),
            cursor,
        })
    }

    fn take_lines(&mut self) -> Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        let certain = match &mut self.steps {
            Some(steps) => steps.certain(&lines),
            None => lines.len(),
        };
        for line in lines.drain(..certain) {
            let index = line.output.index();
            let (Some(last_ns), Some(recent)) =
                (self.last_ns.get_mut(index), self.recent.get_mut(index))
            else {
                continue;
            };
            let t_ns = line.t_ns.unwrap_or(*last_ns);
            *last_ns = t_ns;
            self.lines_seen += 1;
            // Both must see the line: the one to count, the other to remember it.
            let is_first = recent.insert(t_ns, &line.text);
            let seen = if is_first { self.resume.judge(index, t_ns) } else { Seen::Before };
            match seen {
                Seen::New => {}
                Seen::Before => {
                    self.counters.log_lines_skipped.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Seen::BehindGap => {
                    if self.gaps_in_a_row < GAP_ATTEMPTS && self.roll_back() {
                        return Err(Error::new(
                            ErrorKind::Busy,
                            "log stream leaves out the last stored line",
                        ));
                    }
                    self.counters.log_gaps.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.position.advance(index, t_ns);
            self.cut_off = false;
            if line.truncated_bytes > 0 {
                self.counters.log_lines_truncated.fetch_add(1, Ordering::Relaxed);
                Counters::add(&self.counters.log_bytes_truncated, line.truncated_bytes);
            }
            if self.streams.get(index).is_none_or(Labels::is_empty) {
                continue;
            }
            let clock = &*self.clock;
            self.flow.push(&self.streams, index, t_ns, &line.text, clock, &mut self.rows);
        }
        self.lines = lines;
        Ok(())
    }

    /// Forgets what this stream brought, unless something of it is stored already.
    fn roll_back(&mut self) -> bool {
        let Some((position, held)) = self.opened.take() else { return false };
        self.position = position;
        self.flow.restore(held);
        self.rows = LogRows::default();
        self.gaps_in_a_row += 1;
        true
    }
}

#[cfg(test)]
mod tests;
