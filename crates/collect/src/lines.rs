//! What becomes of lines between reading and storing: stack traces are joined, or a pipeline rewrites, joins and drops
//! lines.
//!
//! Owns: what a job does with its lines ([`Treatment`]), that for one source with what it holds back ([`Flow`]), the limits
//! of all jobs together ([`Limits`]). Does not own: reading lines, stages (`ingest::pipeline`), what a trace looks like
//! (`ingest::stack_traces`).
//!
//! A line that is held back was read and is not stored. The cursor behind it therefore holds it ([`held`]): after a restart
//! it goes through the treatment again, before anything else. So a crash neither loses nor repeats lines, wherever it
//! happens, and whatever became of the file meanwhile.

pub(crate) mod held;
mod intake;
mod limits;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ingest::logline;
use ingest::pipeline::{Entry, Pipeline};
use ingest::pushed_lines::{ORIGINAL_TIMESTAMP, is_sound_time, spell, with_service};
use ingest::stack_traces::{Joiner, Record};
use model::{Clock, Labels, LogRows, TENANT_LABEL};
use parking_lot::Mutex;

pub(crate) use self::held::{HeldLine, LABELLED};
pub use self::intake::{Intake, PushedLine};
pub use self::limits::{Limits, ReadRate};

/// Lines held back that a cursor may have; with more, what is read waits to be stored.
const HELD_BYTES_MAX: usize = 48 << 10;
/// Outputs of a source: stdout and stderr of a container.
const OUTPUTS_MAX: usize = 2;

/// The field that has a line's level.
const LEVEL: &str = "level";

/// What a job does with its lines.
#[derive(Debug)]
pub struct Treatment {
    kind: Kind,
    /// Labels for all lines that do not have them.
    external: Labels,
    limits: Arc<Limits>,
    dropped: Arc<Dropped>,
    /// How far ahead of the clock a line's own time may lie, milliseconds.
    future_ms_max: i64,
}

#[derive(Debug)]
enum Kind {
    Plain,
    Joining,
    Staged(Pipeline),
}

/// Lines dropped on purpose, by reason.
#[derive(Debug, Default)]
pub struct Dropped {
    counts: Mutex<BTreeMap<Arc<str>, u64>>,
}

impl Dropped {
    /// Counts by reason since the start.
    pub fn snapshot(&self) -> Vec<(Arc<str>, u64)> {
        self.counts.lock().iter().map(|(reason, count)| (Arc::clone(reason), *count)).collect()
    }

    /// Counts lines that are dropped.
    pub fn add(&self, reason: &str, count: u64) {
        let mut counts = self.counts.lock();
        match counts.get_mut(reason) {
            Some(known) => *known += count,
            None => drop(counts.insert(Arc::from(reason), count)),
        }
    }
}

impl Treatment {
    /// Every line is a record, but for stack traces, which are one if `joins_traces`.
    pub fn plain(joins_traces: bool) -> Self {
        let kind = if joins_traces { Kind::Joining } else { Kind::Plain };
        Self {
            kind,
            external: Labels::default(),
            limits: Arc::default(),
            dropped: Arc::default(),
            future_ms_max: i64::MAX,
        }
    }

    /// Lines go through `pipeline`; one without stages joins stack traces. What is dropped is counted in `dropped`, by it
    /// and by `limits`. A line whose own time lies more than `future_ms_max` ahead gets that of its arrival.
    pub fn staged(
        pipeline: Pipeline,
        external: Labels,
        limits: Arc<Limits>,
        dropped: Arc<Dropped>,
        future_ms_max: i64,
    ) -> Self {
        let kind = if pipeline.is_empty() { Kind::Joining } else { Kind::Staged(pipeline) };
        Self { kind, external, limits, dropped, future_ms_max }
    }
}

/// Where a joined line came from.
#[derive(Debug, Clone)]
struct Mark {
    t_ns: i64,
    stream: Labels,
}

#[derive(Debug)]
enum State {
    Plain,
    Joining([Joiner<Mark>; OUTPUTS_MAX]),
    Staged {
        pipeline: Box<Pipeline>,
        /// Lines that it may hold back, as they came; by position.
        taken: VecDeque<(u64, HeldLine)>,
        /// When to look again which of them it holds back.
        sift_at: usize,
        next_position: u64,
    },
}

/// The treatment of one source's lines.
#[derive(Debug)]
pub(crate) struct Flow {
    treatment: Arc<Treatment>,
    state: State,
    /// Lines that an earlier reader held back.
    restored: Vec<HeldLine>,
    finished: Vec<Entry>,
    /// Labels as lines had them last, and as they are stored.
    last_stream: Option<(Labels, Labels)>,
    paused_until_ns: Option<i64>,
}

/// Below so many lines it is not looked which of them are held back.
const SIFT_MIN: usize = 64;

impl Flow {
    pub(crate) fn new(treatment: Arc<Treatment>) -> Self {
        let state = match &treatment.kind {
            Kind::Plain => State::Plain,
            Kind::Joining => State::Joining(Default::default()),
            Kind::Staged(pipeline) => State::Staged {
                pipeline: Box::new(pipeline.fork()),
                taken: VecDeque::new(),
                sift_at: SIFT_MIN,
                next_position: 0,
            },
        };
        Self {
            treatment,
            state,
            restored: Vec::new(),
            finished: Vec::new(),
            last_stream: None,
            paused_until_ns: None,
        }
    }

    /// Takes back what an earlier reader held back, or this one at an earlier moment; what it holds now is forgotten.
    pub(crate) fn restore(&mut self, lines: Vec<HeldLine>) {
        *self = Self::new(Arc::clone(&self.treatment));
        self.restored = lines;
    }

    /// Takes the next line of an output, whose labels are `streams[output]`; what is complete goes to `rows`.
    pub(crate) fn push(
        &mut self,
        streams: &[Labels],
        output: usize,
        t_ns: i64,
        text: &str,
        clock: &dyn Clock,
        rows: &mut LogRows,
    ) {
        self.take_restored(streams, clock, rows);
        if let Some(stream) = streams.get(output)
            && self.admits(clock)
        {
            self.take(stream, output, (t_ns, text, &Labels::default()), clock, rows);
        }
    }

    /// Takes the next line of a source each of whose lines has labels of its own. Traces are not joined in such.
    pub(crate) fn push_labelled(
        &mut self,
        stream: &Labels,
        t_ns: i64,
        text: &str,
        fields: &Labels,
        clock: &dyn Clock,
        rows: &mut LogRows,
    ) {
        self.take_restored(&[], clock, rows);
        if self.admits(clock) {
            self.take(stream, LABELLED, (t_ns, text, fields), clock, rows);
        }
    }

    /// Whether the rate of all lines lets the next one pass.
    fn admits(&mut self, clock: &dyn Clock) -> bool {
        let limits = &self.treatment.limits;
        if let Some(rate) = limits.rate() {
            match limits.wait_ns(rate, clock.monotonic_ns()) {
                0 => {}
                _ if rate.drops => {
                    self.treatment.dropped.add("rate_limited", 1);
                    return false;
                }
                wait_ns => {
                    let until_ns = clock.monotonic_ns().saturating_add(wait_ns);
                    self.paused_until_ns = Some(until_ns);
                }
            }
        }
        true
    }

    fn take_restored(&mut self, streams: &[Labels], clock: &dyn Clock, rows: &mut LogRows) {
        for line in std::mem::take(&mut self.restored) {
            let HeldLine { output, labels, fields, t_ns, text } = &line;
            let stream = if *output == LABELLED { Some(labels) } else { streams.get(*output) };
            if let Some(stream) = stream {
                self.take(stream, *output, (*t_ns, text, fields), clock, rows);
            }
        }
    }

    fn take(
        &mut self,
        stream: &Labels,
        output: usize,
        (t_ns, text, fields): (i64, &str, &Labels),
        clock: &dyn Clock,
        rows: &mut LogRows,
    ) {
        let treatment = &self.treatment;
        let mut finish = Finish { treatment, last_stream: &mut self.last_stream, clock, rows };
        match &mut self.state {
            State::Plain => finish.line(stream, t_ns, text, false),
            State::Joining(joiners) => {
                let Some(joiner) = joiners.get_mut(output) else {
                    let (labels, line) = (stream.clone(), text.to_owned());
                    let fields = fields.clone();
                    return finish.entry(Entry { labels, t_ns, line, fields, ..Entry::default() });
                };
                let mark = Mark { t_ns, stream: stream.clone() };
                let mut out = |record: Record<'_, Mark>| finish.record(record);
                joiner.push(text, t_ns, mark, clock.monotonic_ns(), &mut out);
            }
            State::Staged { pipeline, taken, sift_at, next_position } => {
                let position = *next_position;
                *next_position += 1;
                if pipeline.may_hold() {
                    let labels =
                        if output == LABELLED { stream.clone() } else { Labels::default() };
                    let (text, fields) = (text.to_owned(), fields.clone());
                    taken.push_back((position, HeldLine { output, labels, fields, t_ns, text }));
                }
                let (labels, line, fields) = (stream.clone(), text.to_owned(), fields.clone());
                let entry = Entry { labels, t_ns, line, fields, position, ..Entry::default() };
                pipeline.process(entry, clock, &mut self.finished);
                finish.entries(pipeline, &mut self.finished);
                sift(pipeline, taken, sift_at);
                self.paused_until_ns = self.paused_until_ns.max(pipeline.paused_until_ns());
            }
        }
    }

    /// Lets go of what has been held back long enough.
    pub(crate) fn flush_due(&mut self, streams: &[Labels], clock: &dyn Clock, rows: &mut LogRows) {
        self.flush_held(false, streams, clock, rows);
    }

    /// Lets go of everything that is held back.
    pub(crate) fn flush(&mut self, streams: &[Labels], clock: &dyn Clock, rows: &mut LogRows) {
        self.flush_held(true, streams, clock, rows);
    }

    fn flush_held(&mut self, all: bool, streams: &[Labels], clock: &dyn Clock, rows: &mut LogRows) {
        self.take_restored(streams, clock, rows);
        let treatment = &self.treatment;
        let mut finish = Finish { treatment, last_stream: &mut self.last_stream, clock, rows };
        match &mut self.state {
            State::Plain => {}
            State::Joining(joiners) => {
                let mut out = |record: Record<'_, Mark>| finish.record(record);
                for joiner in joiners {
                    if all {
                        joiner.flush(&mut out);
                    } else {
                        joiner.flush_due(clock.monotonic_ns(), &mut out);
                    }
                }
            }
            State::Staged { pipeline, taken, sift_at, .. } => {
                if all {
                    pipeline.flush(clock, &mut self.finished);
                } else if pipeline.next_due_ns().is_some_and(|due| due <= clock.monotonic_ns()) {
                    pipeline.flush_due(clock, &mut self.finished);
                }
                finish.entries(pipeline, &mut self.finished);
                sift(pipeline, taken, sift_at);
            }
        }
    }

    /// When [`flush_due`](Self::flush_due) has something to do, on the monotonic clock.
    pub(crate) fn next_due_ns(&self) -> Option<i64> {
        if !self.restored.is_empty() {
            return Some(i64::MIN);
        }
        match &self.state {
            State::Plain => None,
            State::Joining(joiners) => joiners.iter().filter_map(Joiner::next_due_ns).min(),
            State::Staged { pipeline, .. } => pipeline.next_due_ns(),
        }
    }

    /// Whether nothing more should be read for the moment.
    pub(crate) fn is_paused(&mut self, now_ns: i64) -> bool {
        self.paused_until_ns = self.paused_until_ns.filter(|until_ns| *until_ns > now_ns);
        self.paused_until_ns.is_some()
    }

    /// Whether it waits for a moment to come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.paused_until_ns.is_some() || self.next_due_ns().is_some()
    }

    /// Whether lines are held back.
    pub(crate) fn is_holding(&self) -> bool {
        !self.restored.is_empty()
            || match &self.state {
                State::Plain => false,
                State::Joining(joiners) => joiners.iter().any(Joiner::is_holding),
                State::Staged { taken, .. } => !taken.is_empty(),
            }
    }

    /// The lines that are held back, as they came.
    pub(crate) fn held(&self) -> Vec<HeldLine> {
        let mut lines = self.restored.clone();
        match &self.state {
            State::Plain => {}
            State::Joining(joiners) => {
                for (output, joiner) in joiners.iter().enumerate() {
                    lines.extend(joiner.held().map(|(text, mark)| HeldLine {
                        output,
                        labels: Labels::default(),
                        fields: Labels::default(),
                        t_ns: mark.t_ns,
                        text: text.to_owned(),
                    }));
                }
            }
            State::Staged { pipeline, taken, .. } => {
                let mut held = pipeline.held();
                held.sort_unstable();
                let is_held = |position: &u64| held.binary_search(position).is_ok();
                lines.extend(taken.iter().filter(|(p, _)| is_held(p)).map(|(_, l)| l.clone()));
            }
        }
        lines
    }

    /// `position` with the lines that are held back behind it; `None` when these are too many for a cursor, and what was
    /// read must wait to be stored.
    pub(crate) fn cursor(&self, mut position: Vec<u8>) -> Option<Vec<u8>> {
        if self.is_holding() {
            let lines = self.held();
            let bytes: usize = lines.iter().map(HeldLine::encoded_len).sum();
            if bytes > HELD_BYTES_MAX {
                return None;
            }
            held::encode(&lines, &mut position);
        }
        Some(position)
    }
}

/// Forgets lines that the pipeline does not hold back.
fn sift(pipeline: &Pipeline, taken: &mut VecDeque<(u64, HeldLine)>, sift_at: &mut usize) {
    let Some(oldest) = pipeline.oldest_held() else { return taken.clear() };
    while taken.front().is_some_and(|(position, _)| *position < oldest) {
        taken.pop_front();
    }
    if taken.len() >= *sift_at {
        let mut held = pipeline.held();
        held.sort_unstable();
        taken.retain(|(position, _)| held.binary_search(position).is_ok());
        *sift_at = (taken.len() * 2).max(SIFT_MIN);
    }
}

/// What complete records go through before they are rows.
struct Finish<'a> {
    treatment: &'a Treatment,
    last_stream: &'a mut Option<(Labels, Labels)>,
    clock: &'a dyn Clock,
    rows: &'a mut LogRows,
}

impl Finish<'_> {
    fn record(&mut self, record: Record<'_, Mark>) {
        if let Some(first) = record.marks.first() {
            // A stack trace is an error where nothing else is said.
            let is_trace = record.marks.len() > 1;
            self.line(&first.stream, first.t_ns, record.line, is_trace);
        }
    }

    fn entries(&mut self, pipeline: &mut Pipeline, entries: &mut Vec<Entry>) {
        for entry in entries.drain(..) {
            self.entry(entry);
        }
        for (reason, count) in pipeline.take_dropped() {
            self.treatment.dropped.add(&reason, count);
        }
    }

    fn line(&mut self, stream: &Labels, t_ns: i64, line: &str, is_trace: bool) {
        let Some(stream) = self.stream_of(stream) else { return };
        if let Some(line) = self.bounded(line) {
            let mut fields = logline::recognise(line);
            if is_trace && fields.get(LEVEL).is_none() {
                fields = fields.with(LEVEL, "error");
            }
            self.rows.push(&stream, t_ns, line, &fields);
        }
    }

    fn entry(&mut self, mut entry: Entry) {
        if let Some(tenant) = entry.tenant.take() {
            entry.labels = entry.labels.with(TENANT_LABEL, &tenant);
        }
        let Some(stream) = self.stream_of(&entry.labels) else { return };
        let Some(line) = self.bounded(&entry.line) else { return };
        let found = logline::recognise(line);
        let now_ns = self.clock.now_ns();
        let is_sound = is_sound_time(entry.t_ns, now_ns, self.treatment.future_ms_max);
        let mut fields = found.clone();
        // What a label says already is not said again.
        if found.iter().any(|(name, _)| stream.get(name).is_some()) || !entry.fields.is_empty() {
            let mut builder = found.to_builder();
            builder.retain(|name| stream.get(name).is_none());
            for (name, value) in entry.fields.iter() {
                builder.set(name, value);
            }
            fields = builder.build();
        }
        if !is_sound {
            fields = fields.with(ORIGINAL_TIMESTAMP, &spell(entry.t_ns));
        }
        let t_ns = if is_sound { entry.t_ns } else { now_ns };
        self.rows.push(&stream, t_ns, line, &fields);
    }

    /// The labels under which lines of `labels` are stored; `None` when there are too many streams.
    fn stream_of(&mut self, labels: &Labels) -> Option<Labels> {
        let Treatment { external, limits, dropped, .. } = self.treatment;
        let stream = match &*self.last_stream {
            Some((last, stream)) if last == labels => stream.clone(),
            _ => {
                let mut builder = labels.to_builder();
                builder.retain(|name| !name.starts_with("__"));
                for (name, value) in external.iter() {
                    if builder.get(name).is_empty() {
                        builder.set(name, value);
                    }
                }
                let built = with_service(builder.build());
                // Equal labels stay the same allocation, by which streams are known faster.
                let stream = if built == *labels { labels.clone() } else { built };
                *self.last_stream = Some((labels.clone(), stream.clone()));
                stream
            }
        };
        if limits.admits(&stream, self.clock.monotonic_ns()) {
            return Some(stream);
        }
        dropped.add("stream_limited", 1);
        None
    }

    /// The line as far as it is not too long; `None` when it is dropped for that.
    fn bounded<'l>(&self, line: &'l str) -> Option<&'l str> {
        let Treatment { limits, dropped, .. } = self.treatment;
        let Some(bytes_max) = limits.line_bytes_max().filter(|max| line.len() > *max) else {
            return Some(line);
        };
        if limits.cuts_lines() {
            dropped.add("line_cut", 1);
            return line.get(..line.floor_char_boundary(bytes_max));
        }
        dropped.add("line_too_long", 1);
        None
    }
}
