//! Which rows of a block a plan wants, decoding as little as possible.
//!
//! Order of the tests: streams and times from the index, token filter, times, then lines: dictionaries and columns
//! first, whole lines only where a filter cannot be answered otherwise.

use std::sync::Arc;

use model::{
    Budget, Error, ErrorKind, Labels, LineFilter, LineFilterOp, LogDeletion, LogPlan, LogRow,
    Matcher, Result, TimeRange, label_of,
};

use crate::bits::Bits;
use crate::column::{Column, Hits};
use crate::filter;
use crate::head::Chunk;
use crate::needle::Needle;
use crate::part::{BlockMeta, Part};

/// A plan's filters and what was deleted, ready to be applied.
pub(crate) struct Filters<'p> {
    lines: LineTests<'p>,
    labels: &'p [Matcher],
    deleted: Vec<Deleted<'p>>,
}

struct Deleted<'p> {
    deletion: &'p LogDeletion,
    lines: LineTests<'p>,
}

/// Line filters, of which all must hold.
struct LineTests<'p> {
    tests: Vec<Test<'p>>,
}

enum Test<'p> {
    /// Any of the needles (or none, when negated).
    Needles { needles: Vec<Sought>, negated: bool },
    /// What only whole lines can tell.
    Line(&'p LineFilter),
}

/// A needle to be looked for in lines.
struct Sought {
    needle: Needle,
    /// Hashes of tokens that any line with the needle has.
    tokens: Vec<u64>,
}

impl<'p> Filters<'p> {
    pub(crate) fn new(plan: &'p LogPlan, deletions: &'p [LogDeletion]) -> Self {
        let hits = |d: &&LogDeletion| {
            d.range.start_ns < plan.range.end_ns && plan.range.start_ns < d.range.end_ns
        };
        Self {
            lines: LineTests::new(&plan.line_filters),
            labels: &plan.label_filters,
            deleted: deletions.iter().filter(hits).map(Deleted::new).collect(),
        }
    }

    /// No filters, only what was deleted.
    pub(crate) fn of_deletions(deletions: &'p [LogDeletion]) -> Self {
        let deleted = deletions.iter().map(Deleted::new).collect();
        Self { lines: LineTests::new(&[]), labels: &[], deleted }
    }

    /// Whether they have no say about rows of `block`.
    pub(crate) fn are_idle(&self, part: &Part, block: &BlockMeta) -> bool {
        self.lines.is_empty()
            && self.labels.is_empty()
            && !self.deleted.iter().any(|d| d.touches(part, block))
    }

    /// Whether a row passes.
    pub(crate) fn matches(&self, row: &LogRow<'_>) -> bool {
        self.lines.matches(row.line)
            && self.labels.iter().all(|m| m.matches(label_of(row.stream, row.fields, m.name())))
            && !self.deleted.iter().any(|d| d.matches(row))
    }

    /// The rows of a block that were deleted; `None` when there are none.
    pub(crate) fn deleted_rows(
        &self,
        part: &Part,
        block: &BlockMeta,
        times: &[i64],
    ) -> Result<Option<Bits>> {
        let mut lines = None;
        self.deleted_among(part, block, times, &mut lines)
    }

    fn deleted_among(
        &self,
        part: &Part,
        block: &BlockMeta,
        times: &[i64],
        lines: &mut Option<Column>,
    ) -> Result<Option<Bits>> {
        let mut gone: Option<Bits> = None;
        for deleted in self.deleted.iter().filter(|d| d.touches(part, block)) {
            let mut rows = Bits::new(times.len());
            set_times(&mut rows, block, times, deleted.deletion.range, |stream| {
                deleted.has_stream(&part.streams[stream as usize])
            });
            if rows.is_clear() {
                continue;
            }
            if !deleted.lines.is_empty() {
                deleted.lines.apply(opened(lines, part, block)?, &mut rows)?;
            }
            match &mut gone {
                Some(gone) => gone.or(&rows),
                None => gone = Some(rows),
            }
        }
        Ok(gone.filter(|rows| !rows.is_clear()))
    }

    /// Clears the bits of rows whose labels do not pass.
    fn apply_labels(&self, part: &Part, block: &BlockMeta, rows: &mut Bits) -> Result<()> {
        if self.labels.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.labels.iter().map(|m| m.name().to_owned()).collect();
        let fields = part.fields(block, Some(&names))?;
        for matcher in self.labels {
            let coded = match &fields {
                Some(fields) => fields.coded(matcher.name())?,
                None => None,
            };
            let absent = matcher.matches_empty();
            let passes: Vec<bool> =
                coded.iter().flat_map(|c| &c.values).map(|v| matcher.matches(v)).collect();
            let mut hits = Bits::new(rows.len());
            let mut start = 0;
            for run in &block.runs {
                let end = start + run.rows as usize;
                match (part.streams[run.stream as usize].get(matcher.name()), &coded) {
                    (Some(value), _) if matcher.matches(value) => hits.set_range(start, end),
                    (None, None) if absent => hits.set_range(start, end),
                    (None, Some(coded)) => {
                        let codes = coded.codes.get(start..end).unwrap_or_default();
                        let hit =
                            |code: &u32| passes.get(*code as usize).copied().unwrap_or(absent);
                        let found = codes.iter().enumerate().filter(|(_, code)| hit(code));
                        found.for_each(|(i, _)| hits.set(start + i));
                    }
                    _ => {}
                }
                start = end;
            }
            rows.and(&hits);
        }
        Ok(())
    }
}

impl<'p> Deleted<'p> {
    fn new(deletion: &'p LogDeletion) -> Self {
        Self { deletion, lines: LineTests::new(&deletion.line_filters) }
    }

    fn has_stream(&self, stream: &Labels) -> bool {
        self.deletion.matchers.iter().all(|m| m.matches_labels(stream))
    }

    fn touches(&self, part: &Part, block: &BlockMeta) -> bool {
        let range = self.deletion.range;
        range.overlaps(part.summary.min_ns, part.summary.max_ns)
            && block.runs.iter().any(|run| {
                range.overlaps(run.min_ns, run.max_ns)
                    && self.has_stream(&part.streams[run.stream as usize])
            })
    }

    fn matches(&self, row: &LogRow<'_>) -> bool {
        self.deletion.range.contains(row.t_ns)
            && self.has_stream(row.stream)
            && self.lines.matches(row.line)
    }
}

impl<'p> LineTests<'p> {
    fn new(filters: &'p [LineFilter]) -> Self {
        Self { tests: filters.iter().map(Test::new).collect() }
    }

    fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Whether `line` passes all.
    fn matches(&self, line: &str) -> bool {
        self.tests.iter().all(|test| match test {
            Test::Needles { needles, negated } => {
                needles.iter().any(|n| n.needle.matches(line.as_bytes())) != *negated
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
    fn apply(&self, lines: &Column, select: &mut Bits) -> Result<()> {
        // Needles first: they need no lines.
        for test in &self.tests {
            if let Test::Needles { needles, negated } = test {
                let mut hits = Bits::new(select.len());
                for sought in needles {
                    match lines.find(&sought.needle)? {
                        Hits::None => {}
                        Hits::All => hits = Bits::all(select.len()),
                        Hits::Some(found) => hits.or(&found),
                    }
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
        let needle = |p: &'p str| Sought {
            needle: Needle::contains(p.as_bytes()),
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
    if filters.lines.needs_tokens() && !filters.lines.may_match(&part.filter(block)?) {
        return Ok(None);
    }
    let times = part.times(block)?;
    let mut rows = Bits::new(times.len());
    set_times(&mut rows, block, &times, plan.range, |stream| {
        wanted.get(stream as usize).copied().unwrap_or(false)
    });
    let count = rows.count();
    if count == 0 {
        return Ok(None);
    }
    budget.charge_samples(count as u64)?;
    filters.apply_labels(part, block, &mut rows)?;
    if rows.is_clear() {
        return Ok(None);
    }
    let mut lines = None;
    if !filters.lines.is_empty() {
        filters.lines.apply(opened(&mut lines, part, block)?, &mut rows)?;
        if rows.is_clear() {
            return Ok(None);
        }
    }
    if let Some(gone) = filters.deleted_among(part, block, &times, &mut lines)? {
        rows.and_not(&gone);
        if rows.is_clear() {
            return Ok(None);
        }
    }
    Ok(Some(Selected { rows, times, lines }))
}

/// The lines of a block, opened if they are not yet.
fn opened<'l>(lines: &'l mut Option<Column>, part: &Part, block: &BlockMeta) -> Result<&'l Column> {
    match lines {
        Some(lines) => Ok(lines),
        none => Ok(none.insert(part.lines(block)?)),
    }
}

/// Sets the bits of rows with times in `range`, of runs whose stream `is_wanted`.
fn set_times(
    rows: &mut Bits,
    block: &BlockMeta,
    times: &[i64],
    range: TimeRange,
    is_wanted: impl Fn(u32) -> bool,
) {
    let mut start = 0;
    for run in &block.runs {
        let end = start + run.rows as usize;
        if range.overlaps(run.min_ns, run.max_ns) && is_wanted(run.stream) {
            let run_times = times.get(start..end).unwrap_or_default();
            let from = run_times.partition_point(|t| *t < range.start_ns);
            let to = run_times.partition_point(|t| *t < range.end_ns);
            rows.set_range(start + from, start + to);
        }
        start = end;
    }
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
            if filters.matches(&chunk.rows.row(i)) {
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
