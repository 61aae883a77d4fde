//! Which rows of a block a plan wants, decoding as little as possible.
//!
//! Order of the tests: streams and times from the index, token filter, times, then lines: dictionaries and columns
//! first, whole lines only where a filter cannot be answered otherwise.

use std::sync::Arc;

use memchr::memmem::Finder;
use model::{
    Budget, Error, ErrorKind, Labels, LineFilter, LineFilterOp, LogPlan, Matcher, Result, TimeRange,
};

use crate::bits::Bits;
use crate::column::Column;
use crate::filter;
use crate::head::Chunk;
use crate::part::{BlockMeta, Part};

/// A plan's line filters, ready to be applied.
pub(crate) struct Filters<'p> {
    tests: Vec<Test<'p>>,
}

enum Test<'p> {
    /// Any of the needles (or none, when negated).
    Needles { needles: Vec<Needle<'p>>, negated: bool },
    /// What only whole lines can tell.
    Line(&'p LineFilter),
}

struct Needle<'p> {
    finder: Finder<'p>,
    /// Hashes of tokens that any line with the needle has.
    tokens: Vec<u64>,
}

impl<'p> Filters<'p> {
    pub(crate) fn new(filters: &'p [LineFilter]) -> Self {
        Self { tests: filters.iter().map(Test::new).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Whether `line` passes all.
    pub(crate) fn matches(&self, line: &str) -> bool {
        self.tests.iter().all(|test| match test {
            Test::Needles { needles, negated } => {
                needles.iter().any(|n| n.finder.find(line.as_bytes()).is_some()) != *negated
            }
            Test::Line(filter) => filter.matches(line),
        })
    }

    fn needs_tokens(&self) -> bool {
        self.tests.iter().any(|t| match t {
            Test::Needles { needles, negated: false } => {
                !needles.is_empty() && needles.iter().all(|n| !n.tokens.is_empty())
            }
            _ => false,
        })
    }

    /// Whether a block with this token filter may have a matching line.
    fn may_match(&self, bloom: &[u8]) -> bool {
        self.tests.iter().all(|test| match test {
            Test::Needles { needles, negated: false } => needles
                .iter()
                .any(|n| n.tokens.iter().all(|token| filter::may_contain(bloom, *token))),
            _ => true,
        })
    }

    /// Clears the bits of rows whose line does not pass.
    pub(crate) fn apply(&self, lines: &Column, select: &mut Bits) -> Result<()> {
        // Needles first: they need no lines.
        for test in &self.tests {
            if let Test::Needles { needles, negated } = test {
                let mut hits = Bits::new(select.len());
                for needle in needles {
                    hits.or(&lines.find(&needle.finder)?);
                }
                if *negated { select.and_not(&hits) } else { select.and(&hits) }
            }
            if select.is_clear() {
                return Ok(());
            }
        }
        for test in &self.tests {
            if let Test::Line(filter) = test {
                let mut foreign = None;
                lines.retain(select, &mut |line| match std::str::from_utf8(line) {
                    Ok(line) => filter.matches(line),
                    Err(e) => {
                        foreign = Some(e);
                        false
                    }
                })?;
                if let Some(e) = foreign {
                    return Err(not_utf8(e));
                }
            }
        }
        Ok(())
    }
}

impl<'p> Test<'p> {
    fn new(filter: &'p LineFilter) -> Self {
        let negated = match filter.op {
            LineFilterOp::Contains => false,
            LineFilterOp::NotContains => true,
            LineFilterOp::Regex | LineFilterOp::NotRegex
                if filter.patterns.len() == filter.regexes.len()
                    && filter.patterns.iter().all(|p| is_literal(p)) =>
            {
                filter.op == LineFilterOp::NotRegex
            }
            LineFilterOp::Regex | LineFilterOp::NotRegex => return Self::Line(filter),
        };
        let needle = |p: &'p str| Needle {
            finder: Finder::new(p.as_bytes()),
            tokens: filter::needle_tokens(p.as_bytes()),
        };
        let is_regex = matches!(filter.op, LineFilterOp::Regex | LineFilterOp::NotRegex);
        let patterns = filter.patterns.iter().map(String::as_str);
        let needles = if is_regex {
            patterns.flat_map(|p| p.split('|')).map(needle).collect()
        } else {
            patterns.map(needle).collect()
        };
        Self::Needles { needles, negated }
    }
}

/// Whether a regular expression stands for itself, or for one of the texts between its `|`.
fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$'])
}

/// The error for stored lines that are not UTF-8.
pub(crate) fn not_utf8(e: std::str::Utf8Error) -> Error {
    Error::corrupt(format!("stored line is not UTF-8: {e}"))
}

/// Which streams of a list satisfy all matchers.
pub(crate) fn matching(streams: &[Labels], matchers: &[Matcher]) -> Vec<bool> {
    streams.iter().map(|s| matchers.iter().all(|m| m.matches_labels(s))).collect()
}

/// The wanted rows of one block.
pub(crate) struct Selected {
    pub(crate) rows: Bits,
    pub(crate) times: Vec<i64>,
    /// Opened if a filter needed it.
    pub(crate) lines: Option<Column>,
}

/// Bounds `[min, max]` in time of the runs of `block` that are wanted, if any.
pub(crate) fn bounds(block: &BlockMeta, wanted: &[bool], range: TimeRange) -> Option<(i64, i64)> {
    let runs = block.runs.iter().filter(|r| {
        wanted.get(r.stream as usize).copied().unwrap_or(false)
            && range.overlaps(r.min_ns, r.max_ns)
    });
    runs.map(|r| (r.min_ns, r.max_ns)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// Finds the rows of `block` that `plan` wants; `None` when there are none, or the block is damaged (then noted).
pub(crate) fn select(
    part: &Arc<Part>,
    block: &BlockMeta,
    wanted: &[bool],
    plan: &LogPlan,
    filters: &Filters<'_>,
    budget: &Budget,
) -> Result<Option<Selected>> {
    if part.is_damaged(block) || bounds(block, wanted, plan.range).is_none() {
        return Ok(None);
    }
    undamaged(part, block, try_select(part, block, wanted, plan, filters, budget))
        .map(Option::flatten)
}

/// Turns damage into `None`, and notes it: the rest is served.
pub(crate) fn undamaged<T>(
    part: &Part,
    block: &BlockMeta,
    outcome: Result<T>,
) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            part.set_damaged(block, &e);
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

fn try_select(
    part: &Arc<Part>,
    block: &BlockMeta,
    wanted: &[bool],
    plan: &LogPlan,
    filters: &Filters<'_>,
    budget: &Budget,
) -> Result<Option<Selected>> {
    budget.check()?;
    if filters.needs_tokens() && !filters.may_match(&part.filter(block)?) {
        return Ok(None);
    }
    let times = part.times(block)?;
    let mut rows = Bits::new(times.len());
    let mut start = 0;
    for run in &block.runs {
        let end = start + run.rows as usize;
        let run_times = times.get(start..end).unwrap_or_default();
        if wanted.get(run.stream as usize).copied().unwrap_or(false) {
            let from = run_times.partition_point(|t| *t < plan.range.start_ns);
            let to = run_times.partition_point(|t| *t < plan.range.end_ns);
            rows.set_range(start + from, start + to);
        }
        start = end;
    }
    let count = rows.count();
    if count == 0 {
        return Ok(None);
    }
    budget.charge_samples(count as u64)?;
    let mut lines = None;
    if !filters.is_empty() {
        let column = part.lines(block)?;
        filters.apply(&column, &mut rows)?;
        if rows.is_clear() {
            return Ok(None);
        }
        lines = Some(column);
    }
    Ok(Some(Selected { rows, times, lines }))
}

/// Rows of a chunk that `plan` wants, in order of arrival.
pub(crate) fn select_chunk(
    chunk: &Chunk,
    plan: &LogPlan,
    filters: &Filters<'_>,
    budget: &Budget,
) -> Result<Vec<(i64, u32)>> {
    let mut rows = Vec::new();
    if !plan.range.overlaps(chunk.min_ns, chunk.max_ns) {
        return Ok(rows);
    }
    let wanted = matching(chunk.rows.streams(), &plan.matchers);
    if !wanted.contains(&true) {
        return Ok(rows);
    }
    let mut touched = 0;
    for i in 0..chunk.len() {
        let t_ns = chunk.rows.t_ns(i);
        if plan.range.contains(t_ns) && wanted[chunk.rows.stream_number(i) as usize] {
            touched += 1;
            if filters.matches(chunk.rows.row(i).line) {
                rows.push((t_ns, i as u32));
            }
        }
    }
    budget.charge_samples(touched)?;
    Ok(rows)
}

/// Stream of each row of a block: its index into the part's streams.
pub(crate) fn stream_of(block: &BlockMeta, row: usize) -> u32 {
    let mut end = 0;
    for run in &block.runs {
        end += run.rows as usize;
        if row < end {
            return run.stream;
        }
    }
    0
}
