//! Recognising rows that are stored already, so that what is sent again after a lost answer is not there twice.
//!
//! A row is a repetition when stream, time, line and fields are all equal. Only batches are looked at whose sender may
//! send them again: where a cursor says how far a source was read, equal lines are lines that were written twice. The usual row is newer
//! than all of its stream and costs one comparison; for others the head is looked through, and of the parts the times of
//! blocks that cover them. Lines are read, or hashed, only where a time is equal. Decided in
//! `docs/decisions/0019-repeated-lines.md`.
//!
//! Does not own: when this is done (`engine`).

use model::{Error, ErrorKind, Labels, LogRows, Result};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::bits::Bits;
use crate::head::Chunk;
use crate::part::{BlockMeta, Part};
use crate::view::View;

/// Time of the newest row of each stream.
pub(crate) type Newest = FxHashMap<Labels, i64>;

/// The newest rows of all streams in `parts`.
pub(crate) fn newest<'p>(parts: impl Iterator<Item = &'p Part>) -> Newest {
    let mut newest = Newest::default();
    for part in parts {
        let mut of_stream = vec![None; part.streams.len()];
        for run in part.blocks.iter().flat_map(|block| &block.runs) {
            let slot = &mut of_stream[run.stream as usize];
            *slot = (*slot).max(Some(run.max_ns));
        }
        for (stream, max_ns) in part.streams.iter().zip(of_stream) {
            let Some(max_ns) = max_ns else { continue };
            let known = newest.entry(stream.clone()).or_insert(max_ns);
            *known = max_ns.max(*known);
        }
    }
    newest
}

/// Notes the newest rows of `rows`.
pub(crate) fn note(newest: &mut Newest, rows: &LogRows) {
    let mut last = vec![None; rows.streams().len()];
    for i in 0..rows.len() {
        let slot = &mut last[rows.stream_number(i) as usize];
        *slot = (*slot).max(Some(rows.t_ns(i)));
    }
    for (stream, last) in rows.streams().iter().zip(last) {
        let Some(last) = last else { continue };
        match newest.get_mut(stream) {
            Some(known) => *known = last.max(*known),
            None => drop(newest.insert(stream.clone(), last)),
        }
    }
}

/// Takes out of `rows` what is in `view`, or earlier among them; returns how many that were.
pub(crate) fn remove(view: &View, newest: &Newest, rows: &mut LogRows) -> u64 {
    let suspects = suspects(newest, rows);
    if suspects.is_empty() {
        return 0;
    }
    let mut search = Search::new(rows, &suspects);
    for i in 0..rows.len() {
        let row = rows.row(i);
        let key = (rows.stream_number(i), row.t_ns, row.line.as_bytes(), row.fields);
        if !search.repeated.get(i) && search.times.contains(&(key.0, key.1)) {
            search.found(key, Some(i));
        }
    }
    view.chunks.iter().for_each(|chunk| search.chunk(chunk));
    for part in view.all_parts() {
        search.part(part);
    }
    let repeated = search.repeated;
    let count = repeated.ones().count();
    if count > 0 {
        let mut kept = LogRows::with_capacity(rows.len() - count, rows.line_bytes());
        for (i, row) in rows.iter().enumerate() {
            if !repeated.get(i) {
                kept.push(row.stream, row.t_ns, row.line, row.fields);
            }
        }
        *rows = kept;
    }
    count as u64
}

/// Rows that are not newer than all of their stream before them.
fn suspects(newest: &Newest, rows: &LogRows) -> Vec<usize> {
    let mut last: Vec<Option<i64>> =
        rows.streams().iter().map(|stream| newest.get(stream).copied()).collect();
    let mut suspects = Vec::new();
    for i in 0..rows.len() {
        let (t_ns, last) = (Some(rows.t_ns(i)), &mut last[rows.stream_number(i) as usize]);
        if t_ns <= *last {
            suspects.push(i);
        } else {
            *last = t_ns;
        }
    }
    suspects
}

/// Stream by its number in the batch, time, line, fields.
type Key<'r> = (u32, i64, &'r [u8], &'r Labels);

/// What is looked for, and what of it was found.
struct Search<'r> {
    min_ns: i64,
    max_ns: i64,
    /// Numbers of the streams in the batch.
    streams: FxHashMap<&'r Labels, u32>,
    times: FxHashSet<(u32, i64)>,
    /// The same, ascending.
    sorted: Vec<(u32, i64)>,
    wanted: FxHashMap<Key<'r>, Vec<usize>>,
    repeated: Bits,
}

impl<'r> Search<'r> {
    fn new(rows: &'r LogRows, suspects: &[usize]) -> Self {
        let mut search = Self {
            min_ns: i64::MAX,
            max_ns: i64::MIN,
            streams: FxHashMap::default(),
            times: FxHashSet::default(),
            sorted: Vec::new(),
            wanted: FxHashMap::default(),
            repeated: Bits::new(rows.len()),
        };
        for i in suspects {
            let (row, number) = (rows.row(*i), rows.stream_number(*i));
            search.min_ns = search.min_ns.min(row.t_ns);
            search.max_ns = search.max_ns.max(row.t_ns);
            search.streams.insert(row.stream, number);
            if search.times.insert((number, row.t_ns)) {
                search.sorted.push((number, row.t_ns));
            }
            let key = (number, row.t_ns, row.line.as_bytes(), row.fields);
            search.wanted.entry(key).or_default().push(*i);
        }
        search.sorted.sort_unstable();
        search
    }

    /// A row like `key` is there; if it is row `before` of the batch, it counts for rows behind that.
    fn found(&mut self, key: Key<'_>, before: Option<usize>) {
        let Some(rows) = self.wanted.get(&key) else { return };
        for row in rows.iter().filter(|row| before.is_none_or(|before| before < **row)) {
            self.repeated.set(*row);
        }
    }

    fn numbers(&self, streams: &[Labels]) -> Vec<Option<u32>> {
        streams.iter().map(|stream| self.streams.get(stream).copied()).collect()
    }

    fn chunk(&mut self, chunk: &Chunk) {
        if chunk.max_ns < self.min_ns || chunk.min_ns > self.max_ns {
            return;
        }
        let numbers = self.numbers(chunk.rows.streams());
        for i in 0..chunk.len() {
            let t_ns = chunk.rows.t_ns(i);
            if t_ns < self.min_ns || t_ns > self.max_ns {
                continue;
            }
            let Some(number) = numbers[chunk.rows.stream_number(i) as usize] else { continue };
            if self.times.contains(&(number, t_ns)) {
                let row = chunk.rows.row(i);
                self.found((number, t_ns, row.line.as_bytes(), row.fields), None);
            }
        }
    }

    fn part(&mut self, part: &Part) {
        if part.summary.max_ns < self.min_ns || part.summary.min_ns > self.max_ns {
            return;
        }
        let numbers = self.numbers(&part.streams);
        for block in &part.blocks {
            let is_hit = block.runs.iter().any(|run| {
                numbers[run.stream as usize].is_some_and(|n| self.wants(n, run.min_ns, run.max_ns))
            });
            if !is_hit || part.is_damaged(block) {
                continue;
            }
            if let Err(e) = self.block(part, block, &numbers) {
                note(part, block, &e);
            }
        }

        /// Rows that cannot be read cannot be repeated.
        fn note(part: &Part, block: &BlockMeta, e: &Error) {
            if e.kind() == ErrorKind::Corrupt {
                part.set_damaged(block, e);
            } else {
                tracing::warn!(error = %e, "repeated log lines were not looked for");
            }
        }
    }

    /// Whether a time in `[min_ns, max_ns]` of stream `number` is looked for.
    fn wants(&self, number: u32, min_ns: i64, max_ns: i64) -> bool {
        let next = self.sorted.partition_point(|time| *time < (number, min_ns));
        self.sorted.get(next).is_some_and(|time| *time <= (number, max_ns))
    }

    fn block(&mut self, part: &Part, block: &BlockMeta, numbers: &[Option<u32>]) -> Result<()> {
        let times = part.times(block)?;
        let mut rows = Bits::new(times.len());
        let mut keys = Vec::new();
        let mut start = 0;
        for run in &block.runs {
            let end = start + run.rows as usize;
            if let Some(number) = numbers[run.stream as usize] {
                for (row, t_ns) in times.iter().enumerate().take(end).skip(start) {
                    if self.times.contains(&(number, *t_ns)) {
                        rows.set(row);
                        keys.push((number, *t_ns));
                    }
                }
            }
            start = end;
        }
        if keys.is_empty() {
            return Ok(());
        }
        let mut fields = Vec::new();
        if let Some(stored) = part.fields(block)? {
            stored.for_each(&rows, None, |_, labels| fields.push(labels))?;
        }
        let (none, mut at) = (Labels::default(), 0);
        part.lines(block)?.for_each(&rows, &mut |_, line| {
            let (number, t_ns) = keys[at];
            self.found((number, t_ns, line, fields.get(at).unwrap_or(&none)), None);
            at += 1;
        })
    }
}
