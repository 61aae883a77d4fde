//! Which rows of a block a plan wants, decoding as little as possible.
//!
//! Order of the tests: streams and times from the index, token filter, times, then lines: dictionaries and columns
//! first, whole lines only where a filter cannot be answered otherwise.

use std::sync::Arc;

use model::{
    Budget, Error, ErrorKind, Labels, LineFilter, LineFilterOp, LogDeletion, LogDemand, LogPlan,
    LogRow, MatchOp, Matcher, PATTERN_LABEL, Result, TimeRange, label_of,
};

use crate::bits::Bits;
use crate::block::Run;
use crate::column::{Column, Hits};
use crate::filter::{self, Id};
use crate::head::Chunk;
use crate::hot::{Hot, HotBlocks, OpenBlock};
use crate::literals::{self, Demands};
use crate::needle::{Needle, Search};
use crate::part::{BlockMeta, Part};
use crate::patterns::known::Known;
use crate::view::View;

/// A plan's filters and what was deleted, ready to be applied.
pub(crate) struct Filters<'p> {
    lines: LineTests<'p>,
    labels: &'p [Matcher],
    /// For each of those the tokens of the value that it wants, if it wants one.
    label_tokens: Vec<Vec<u64>>,
    /// Labels that rows have as stored, or else one of the needles in the line.
    demands: Vec<(&'p Matcher, Vec<Sought>)>,
    deleted: Vec<Deleted<'p>>,
    known: &'p Known,
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
    Needles {
        filter: &'p LineFilter,
        needles: Vec<Sought>,
        /// Lines with one of these must be asked one by one.
        suspects: Vec<Needle>,
        negated: bool,
    },
    /// What only whole lines can tell; of each list, a line that matches (before negation) has one.
    Line { filter: &'p LineFilter, demanded: Vec<Vec<Sought>>, negated: bool },
}

/// A needle to be looked for in lines.
struct Sought {
    needle: Needle,
    search: Search<'static>,
    /// Hashes of tokens that any line with the needle has.
    tokens: Vec<u64>,
    /// When it is an id as a whole.
    id: Option<Id>,
}

impl Sought {
    fn new(needle: Needle) -> Self {
        let (tokens, id) = match needle.is_folded() {
            true => (Vec::new(), None),
            false => (filter::needle_tokens(needle.text()), filter::needle_id(needle.text())),
        };
        Self { search: needle.finder().into_owned(), needle, tokens, id }
    }

    /// Whether a token filter can tell anything about it.
    fn has_tokens(&self) -> bool {
        !self.tokens.is_empty() || self.id.is_some()
    }
}

/// Whether the token filter of a block lets any of `needles` be in it.
fn any_may_be(needles: &[Sought], bloom: &[u8]) -> bool {
    needles.iter().any(|n| {
        n.tokens.iter().all(|token| filter::may_contain(bloom, *token))
            && n.id.is_none_or(|id| filter::may_contain_id(bloom, id))
    })
}

/// Rows with any of `needles`.
fn with_any<'n>(
    needles: impl IntoIterator<Item = &'n Needle>,
    lines: &Column,
    len: usize,
) -> Result<Bits> {
    let mut hits = Bits::new(len);
    for needle in needles {
        match lines.find(needle)? {
            Hits::None => {}
            Hits::All => return Ok(Bits::all(len)),
            Hits::Some(found) => hits.or(&found),
        }
    }
    Ok(hits)
}

/// Clears the bits of rows whose line does not satisfy `test`, asking each.
fn retain(lines: &Column, select: &mut Bits, test: impl Fn(&str) -> bool) -> Result<()> {
    let mut foreign = None;
    lines.retain(select, &mut |line| match std::str::from_utf8(line) {
        Ok(line) => test(line),
        Err(e) => {
            foreign = Some(e);
            false
        }
    })?;
    foreign.map_or(Ok(()), |e| Err(not_utf8(e)))
}

impl<'p> Filters<'p> {
    pub(crate) fn new(plan: &'p LogPlan, view: &'p View) -> Self {
        let hits = |d: &&LogDeletion| {
            d.range.start_ns < plan.range.end_ns && plan.range.start_ns < d.range.end_ns
        };
        let tokens = |m: &Matcher| match m.op() {
            MatchOp::Equal if m.name() != PATTERN_LABEL => {
                filter::value_tokens(m.value().as_bytes())
            }
            _ => Vec::new(),
        };
        let demand = |demand: &'p LogDemand| {
            let sought = |text: &String| Sought::new(Needle::contains(text.as_bytes()));
            (&demand.label, demand.texts.iter().map(sought).collect())
        };
        Self {
            lines: LineTests::new(&plan.line_filters),
            labels: &plan.label_filters,
            label_tokens: plan.label_filters.iter().map(tokens).collect(),
            demands: plan.demands.iter().map(demand).collect(),
            deleted: view.deletions.iter().filter(hits).map(Deleted::new).collect(),
            known: &view.known,
        }
    }

    /// No filters, only what was deleted.
    pub(crate) fn of_deletions(deletions: &'p [LogDeletion], known: &'p Known) -> Self {
        let deleted = deletions.iter().map(Deleted::new).collect();
        Self {
            lines: LineTests::new(&[]),
            labels: &[],
            label_tokens: Vec::new(),
            demands: Vec::new(),
            deleted,
            known,
        }
    }

    /// Whether they have no say about rows of `block`.
    pub(crate) fn are_idle(&self, part: &Part, block: &BlockMeta) -> bool {
        self.lines.is_empty()
            && self.labels.is_empty()
            && self.demands.is_empty()
            && !self.deleted.iter().any(|d| d.touches(part, block))
    }

    /// Whether the token filter of `block` lets rows pass.
    fn may_match(&self, part: &Part, block: &BlockMeta, open: &OpenBlock) -> Result<bool> {
        if self.lines.needs_tokens() && !self.lines.may_match(open.filter(part, block)?) {
            return Ok(false);
        }
        for (matcher, tokens) in self.labels.iter().zip(&self.label_tokens) {
            let has = |run: &Run| part.streams[run.stream as usize].get(matcher.name()).is_some();
            if !tokens.is_empty()
                && !block.runs.iter().any(has)
                && !filter::may_have_value(open.filter(part, block)?, tokens)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a row passes, as far as its pattern has no say.
    pub(crate) fn matches(&self, row: &LogRow<'_>) -> bool {
        self.lines.matches(row.line)
            && self.labels.iter().all(|m| {
                m.name() == PATTERN_LABEL || m.matches(label_of(row.stream, row.fields, m.name()))
            })
            && self.demands.iter().all(|(m, needles)| {
                m.matches(label_of(row.stream, row.fields, m.name()))
                    || needles.iter().any(|n| n.search.find(row.line.as_bytes()).is_some())
            })
            && !self.deleted.iter().any(|d| d.matches(row))
    }

    /// The rows of a block that were deleted; `None` when there are none.
    pub(crate) fn deleted_rows(
        &self,
        part: &Part,
        block: &BlockMeta,
        open: &OpenBlock,
    ) -> Result<Option<Bits>> {
        let mut gone: Option<Bits> = None;
        for deleted in self.deleted.iter().filter(|d| d.touches(part, block)) {
            let mut rows = rows_within(part, block, open, deleted.deletion.range, |stream| {
                deleted.has_stream(&part.streams[stream as usize])
            })?;
            if rows.is_clear() {
                continue;
            }
            if !deleted.lines.is_empty() {
                deleted.lines.apply(open.lines(part, block)?, &mut rows)?;
            }
            match &mut gone {
                Some(gone) => gone.or(&rows),
                None => gone = Some(rows),
            }
        }
        Ok(gone.filter(|rows| !rows.is_clear()))
    }

    /// Clears the bits of rows whose labels do not pass.
    fn apply_labels(
        &self,
        part: &Part,
        block: &BlockMeta,
        open: &OpenBlock,
        rows: &mut Bits,
    ) -> Result<()> {
        for matcher in self.labels {
            rows.and(&label_rows(part, block, open, matcher, self.known)?);
            if rows.is_clear() {
                break;
            }
        }
        Ok(())
    }

    /// Clears the bits of rows that lack what is demanded.
    fn apply_demands(
        &self,
        part: &Part,
        block: &BlockMeta,
        open: &OpenBlock,
        rows: &mut Bits,
    ) -> Result<()> {
        for (matcher, needles) in &self.demands {
            let mut hits = label_rows(part, block, open, matcher, self.known)?;
            let needles = needles.iter().map(|n| &n.needle);
            hits.or(&with_any(needles, open.lines(part, block)?, rows.len())?);
            rows.and(&hits);
            if rows.is_clear() {
                break;
            }
        }
        Ok(())
    }
}

/// The rows of a block whose label satisfies `matcher`.
fn label_rows(
    part: &Part,
    block: &BlockMeta,
    open: &OpenBlock,
    matcher: &Matcher,
    known: &Known,
) -> Result<Bits> {
    if matcher.name() == PATTERN_LABEL {
        let rows = block.rows as usize;
        return Ok(open.patterns(part, block)?.matching(known, matcher, rows));
    }
    let of_stream = |run: &Run| part.streams[run.stream as usize].get(matcher.name());
    let of_fields = match block.runs.iter().all(|run| of_stream(run).is_some()) {
        true => None,
        false => open.fields(part, block)?.map(|f| f.matching(matcher)).transpose()?,
    };
    let len = block.rows as usize;
    let mut hits = Bits::new(len);
    let mut start = 0;
    for run in &block.runs {
        let end = start + run.rows as usize;
        match (of_stream(run), &of_fields) {
            (Some(value), _) if matcher.matches(value) => hits.set_range(start, end),
            (None, None) if matcher.matches_empty() => hits.set_range(start, end),
            (None, Some(found)) if end - start == len => hits.or(found),
            (None, Some(found)) => {
                let mut run_rows = Bits::new(len);
                run_rows.set_range(start, end);
                run_rows.and(found);
                hits.or(&run_rows);
            }
            _ => {}
        }
        start = end;
    }
    Ok(hits)
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
            Test::Needles { needles, suspects, negated, .. } if suspects.is_empty() => {
                needles.iter().any(|n| n.search.find(line.as_bytes()).is_some()) != *negated
            }
            Test::Needles { filter, .. } => filter.matches(line),
            Test::Line { filter, demanded, negated } => {
                let has_any = |list: &Vec<Sought>| {
                    list.iter().any(|n| n.search.find(line.as_bytes()).is_some())
                };
                if demanded.iter().all(has_any) { filter.matches(line) } else { *negated }
            }
        })
    }

    fn needs_tokens(&self) -> bool {
        let some =
            |needles: &[Sought]| !needles.is_empty() && needles.iter().all(Sought::has_tokens);
        self.tests.iter().any(|t| match t {
            Test::Needles { needles, negated: false, .. } => some(needles),
            Test::Line { demanded, negated: false, .. } => demanded.iter().any(|list| some(list)),
            _ => false,
        })
    }

    /// Whether a block with this token filter may have a matching line.
    fn may_match(&self, bloom: &[u8]) -> bool {
        self.tests.iter().all(|test| match test {
            Test::Needles { needles, negated: false, .. } => any_may_be(needles, bloom),
            Test::Line { demanded, negated: false, .. } => {
                demanded.iter().all(|list| any_may_be(list, bloom))
            }
            _ => true,
        })
    }

    /// Clears the bits of rows whose line does not pass.
    fn apply(&self, lines: &Column, select: &mut Bits) -> Result<()> {
        // Needles first: they need no lines.
        for test in &self.tests {
            if let Test::Needles { filter, needles, suspects, negated } = test {
                let mut hits = with_any(needles.iter().map(|n| &n.needle), lines, select.len())?;
                if !suspects.is_empty() {
                    let mut asked = with_any(suspects, lines, select.len())?;
                    asked.and_not(&hits);
                    retain(lines, &mut asked, |line| filter.matches(line) != *negated)?;
                    hits.or(&asked);
                }
                if *negated { select.and_not(&hits) } else { select.and(&hits) }
            }
            if select.is_clear() {
                return Ok(());
            }
        }
        for test in &self.tests {
            if let Test::Line { filter, demanded, negated } = test {
                let mut asked = select.clone();
                for list in demanded {
                    asked.and(&with_any(list.iter().map(|n| &n.needle), lines, select.len())?);
                    if asked.is_clear() {
                        break;
                    }
                }
                retain(lines, &mut asked, |line| filter.matches(line) != *negated)?;
                if *negated { select.and_not(&asked) } else { select.and(&asked) }
            }
            if select.is_clear() {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl<'p> Test<'p> {
    fn new(filter: &'p LineFilter) -> Self {
        let negated = matches!(filter.op, LineFilterOp::NotContains | LineFilterOp::NotRegex);
        if matches!(filter.op, LineFilterOp::Contains | LineFilterOp::NotContains) {
            let needle = |p: &String| Sought::new(Needle::contains(p.as_bytes()));
            let needles = filter.patterns.iter().map(needle).collect();
            return Self::Needles { filter, needles, suspects: Vec::new(), negated };
        }
        let Demands { mut all, is_exact, suspects } =
            literals::demands(filter.regexes.iter().map(regex::Regex::as_str));
        let sought = |list: Vec<Needle>| list.into_iter().map(Sought::new).collect::<Vec<_>>();
        match all.pop() {
            Some(only) if is_exact && all.is_empty() => {
                Self::Needles { filter, needles: sought(only), suspects, negated }
            }
            last => {
                all.extend(last);
                all.iter_mut().for_each(|list| list.extend_from_slice(&suspects));
                Self::Line { filter, demanded: all.into_iter().map(sought).collect(), negated }
            }
        }
    }
}

/// The error for stored lines that are not UTF-8.
pub(crate) fn not_utf8(e: std::str::Utf8Error) -> Error {
    Error::corrupt(format!("stored line is not UTF-8: {e}"))
}

/// Which streams of a list satisfy all matchers.
pub(crate) fn matching(streams: &[Labels], matchers: &[Matcher]) -> Vec<bool> {
    streams.iter().map(|s| matchers.iter().all(|m| m.matches_labels(s))).collect()
}

/// The wanted rows of one block, and the block.
pub(crate) struct Selected<'c> {
    pub(crate) rows: Bits,
    pub(crate) open: Hot<'c>,
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
pub(crate) fn select<'c>(
    (part, block): (&Arc<Part>, &BlockMeta),
    wanted: &[bool],
    plan: &LogPlan,
    filters: &Filters<'_>,
    hot: &'c HotBlocks,
    budget: &Budget,
) -> Result<Option<Selected<'c>>> {
    if part.is_damaged(block) || bounds(block, wanted, plan.range).is_none() {
        return Ok(None);
    }
    budget.check()?;
    let open = hot.open(part, block);
    let rows = try_select(part, block, wanted, plan, filters, &open, budget);
    let rows = undamaged(part, block, rows)?.flatten();
    Ok(rows.map(|rows| Selected { rows, open }))
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
    open: &OpenBlock,
    budget: &Budget,
) -> Result<Option<Bits>> {
    if !filters.may_match(part, block, open)? {
        return Ok(None);
    }
    let mut rows = rows_within(part, block, open, plan.range, |stream| {
        wanted.get(stream as usize).copied().unwrap_or(false)
    })?;
    let count = rows.count();
    if count == 0 {
        return Ok(None);
    }
    budget.charge_samples(count as u64)?;
    filters.apply_labels(part, block, open, &mut rows)?;
    if rows.is_clear() {
        return Ok(None);
    }
    if !filters.lines.is_empty() {
        filters.lines.apply(open.lines(part, block)?, &mut rows)?;
        if rows.is_clear() {
            return Ok(None);
        }
    }
    filters.apply_demands(part, block, open, &mut rows)?;
    if let Some(gone) = filters.deleted_rows(part, block, open)? {
        rows.and_not(&gone);
        if rows.is_clear() {
            return Ok(None);
        }
    }
    Ok(Some(rows))
}

/// The rows with times in `range`, of runs whose stream `is_wanted`. Times are decoded only where a run is cut.
fn rows_within(
    part: &Part,
    block: &BlockMeta,
    open: &OpenBlock,
    range: TimeRange,
    is_wanted: impl Fn(u32) -> bool,
) -> Result<Bits> {
    let mut rows = Bits::new(block.rows as usize);
    let mut start = 0;
    for run in &block.runs {
        let end = start + run.rows as usize;
        if range.contains(run.min_ns) && range.contains(run.max_ns) {
            if is_wanted(run.stream) {
                rows.set_range(start, end);
            }
        } else if range.overlaps(run.min_ns, run.max_ns) && is_wanted(run.stream) {
            let run_times = open.times(part, block)?.get(start..end).unwrap_or_default();
            let from = run_times.partition_point(|t| *t < range.start_ns);
            let to = run_times.partition_point(|t| *t < range.end_ns);
            rows.set_range(start + from, start + to);
        }
        start = end;
    }
    Ok(rows)
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
    let of_pattern = filters.labels.iter().filter(|m| m.name() == PATTERN_LABEL);
    let by_pattern: Vec<Bits> =
        of_pattern.map(|m| chunk.patterns().matching(filters.known, m, chunk.len())).collect();
    let mut touched = 0;
    for i in 0..chunk.len() {
        let t_ns = chunk.rows.t_ns(i);
        if plan.range.contains(t_ns) && wanted[chunk.rows.stream_number(i) as usize] {
            touched += 1;
            if by_pattern.iter().all(|rows| rows.get(i)) && filters.matches(&chunk.rows.row(i)) {
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
