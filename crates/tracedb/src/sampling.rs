//! Which traces of the head become a part, which go, and which stay until they can be decided about.
//!
//! Spans that wait for a decision are spans of the head like all others: durable in the WAL, found by queries. A flush asks
//! the sampler about each trace whose first span has waited long enough; spans that come later follow what was decided.
//! Does not own: the rules (whoever implements [`TraceSampler`]), writing parts (`engine`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::{Outcome, Result, Trace, TraceSampler, Verdict};

use crate::assembly::Assembly;
use crate::head::Chunk;
use crate::rows::{Renumbering, Rows};

/// Traces that wait may take one in so many bytes of the head; beyond, all are decided about at once.
const WAITING_SHARE: usize = 2;

/// Decisions and who makes them.
#[derive(Debug)]
pub(crate) struct Sampling {
    sampler: Arc<dyn TraceSampler>,
    decided: HashMap<u128, Verdict, RandomState>,
    /// As they were made.
    order: VecDeque<u128>,
}

/// The head, sorted.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Traces that do not become part of the part, and whether they wait.
    left_out: HashMap<u128, bool, RandomState>,
    pub(crate) kept_spans: usize,
    /// Traces decided about before their time.
    early: u64,
    /// Spans to count, by verdict.
    tally: BTreeMap<Verdict, u64>,
    /// What stays in the head.
    pub(crate) waiting: Option<Arc<Chunk>>,
}

impl Sorted {
    /// All are kept, and nobody counts.
    pub(crate) fn all(chunks: &[Arc<Chunk>]) -> Self {
        let kept_spans = chunks.iter().map(|chunk| chunk.rows.len()).sum();
        Self { kept_spans, ..Self::default() }
    }

    pub(crate) fn is_kept(&self, trace_id: u128) -> bool {
        self.left_out.is_empty() || !self.left_out.contains_key(&trace_id)
    }
}

/// A row of the head: its trace, the number of its chunk, its place there.
type Place = (u128, u32, u32);

impl Sampling {
    pub(crate) fn new(sampler: Arc<dyn TraceSampler>) -> Self {
        Self { sampler, decided: HashMap::default(), order: VecDeque::new() }
    }

    /// Sorts the head at `now_ms`. What is decided stays decided, also when the flush fails.
    ///
    /// Cost: a trace that is decided about is made of its rows once; on the writer's thread.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt), which rows of the head are not.
    pub(crate) fn sort(
        &mut self,
        chunks: &[Arc<Chunk>],
        now_ms: i64,
        head_bytes_max: u64,
    ) -> Result<Sorted> {
        let mut places: Vec<Place> = Vec::new();
        for (number, chunk) in (0..).zip(chunks) {
            places.extend((0..).zip(&chunk.rows.rows).map(|(at, row)| (row.trace_id, number, at)));
        }
        places.sort_unstable();
        let (all, wait_ms) = (places.len(), self.sampler.wait_ms());
        let waits = |spans: &[Place]| {
            let arrived = spans.iter().map(|p| chunks[p.1 as usize].arrived_ms(p.2 as usize));
            // A clock set back must not make traces wait for ever.
            arrived.min().is_some_and(|ms| (0..wait_ms).contains(&now_ms.saturating_sub(ms)))
        };
        let traces = || places.chunk_by(|a, b| a.0 == b.0);
        let waiting: usize = traces()
            .filter(|spans| !self.decided.contains_key(&spans[0].0) && waits(spans))
            .map(<[Place]>::len)
            .sum();
        let head_bytes: u64 = chunks.iter().map(|chunk| chunk.memory_bytes()).sum();
        let waiting_bytes = head_bytes as f64 * waiting as f64 / all.max(1) as f64;
        let may_wait = waiting_bytes <= head_bytes_max as f64 / WAITING_SHARE as f64;
        let mut sorted = Sorted::default();
        let mut assemblies: Vec<Assembly> = chunks.iter().map(|_| Assembly::default()).collect();
        for spans in traces() {
            let trace_id = spans[0].0;
            let verdict = match self.decided.get(&trace_id) {
                Some(verdict) => *verdict,
                None if may_wait && waits(spans) => {
                    sorted.left_out.insert(trace_id, true);
                    continue;
                }
                None => {
                    sorted.early += u64::from(!may_wait && waits(spans));
                    let verdict = self.sampler.decide(&trace_of(chunks, &mut assemblies, spans)?);
                    self.remember(trace_id, verdict);
                    verdict
                }
            };
            *sorted.tally.entry(verdict).or_default() += spans.len() as u64;
            match verdict.outcome {
                Outcome::Kept => sorted.kept_spans += spans.len(),
                Outcome::Share | Outcome::Rate => {
                    sorted.left_out.insert(trace_id, false);
                }
            }
        }
        sorted.waiting = rest(chunks, &sorted.left_out).map(Arc::new);
        Ok(sorted)
    }

    /// Counts what a flush made final.
    pub(crate) fn settle(&self, sorted: &Sorted) {
        for (verdict, spans) in &sorted.tally {
            self.sampler.settled(*verdict, *spans);
        }
        if sorted.early > 0 {
            self.sampler.hurried(sorted.early);
        }
    }

    fn remember(&mut self, trace_id: u128, verdict: Verdict) {
        self.decided.insert(trace_id, verdict);
        self.order.push_back(trace_id);
        // At least the one just made: it is looked at again when a flush fails.
        while self.order.len() > self.sampler.decisions_max().max(1) {
            if let Some(oldest) = self.order.pop_front() {
                self.decided.remove(&oldest);
            }
        }
    }
}

/// The spans of a trace, all in `places`.
fn trace_of(chunks: &[Arc<Chunk>], assemblies: &mut [Assembly], places: &[Place]) -> Result<Trace> {
    let mut groups = Vec::new();
    for of_chunk in places.chunk_by(|a, b| a.1 == b.1) {
        let number = of_chunk[0].1 as usize;
        let rows = of_chunk.iter().map(|place| place.2 as usize);
        groups.extend(assemblies[number].groups(&chunks[number].rows, rows)?);
    }
    Ok(Trace { trace_id: places[0].0, groups })
}

/// The rows of traces that wait, in order of arrival.
fn rest(chunks: &[Arc<Chunk>], left_out: &HashMap<u128, bool, RandomState>) -> Option<Chunk> {
    let (mut rows, mut arrivals) = (Rows::default(), Vec::<(u32, i64)>::new());
    for chunk in chunks {
        let mut map = Renumbering::new(&chunk.rows);
        for (at, row) in chunk.rows.rows.iter().enumerate() {
            if left_out.get(&row.trace_id) != Some(&true) {
                continue;
            }
            rows.push_from(&chunk.rows, at, &mut map);
            let (end, arrived_ms) = (rows.len() as u32, chunk.arrived_ms(at));
            match arrivals.last_mut() {
                Some((last, ms)) if *ms == arrived_ms => *last = end,
                _ => arrivals.push((end, arrived_ms)),
            }
        }
    }
    Chunk::with_arrivals(rows, arrivals)
}
