//! Evaluating log queries: rows in order, grouped into result streams, up to a limit.

use std::borrow::Cow;
use std::ops::ControlFlow;

use hashbrown::HashMap;
use model::{Budget, Labels, LogPlan, LogSource, Order, PATTERN_LABEL, Result, TimeRange};
use rustc_hash::FxBuildHasher;

use super::ast::LogExpr;
use super::pipeline::{Seen, Split};
use super::row::RowLabels;
use super::scan::scan;
use super::{Entry, Evaluated, LogQuery, Stats, Stream, Value};

/// What an entry costs in memory besides its line.
const ENTRY_BYTES: usize = 48;

/// Evaluates a log query over `[start, end)`.
pub(super) fn evaluate(
    source: &dyn LogSource,
    log: &LogExpr,
    query: &LogQuery,
    budget: &Budget,
) -> Result<Evaluated> {
    let mut split = Split::new(log);
    let order = if query.order == Order::Any { Order::Backward } else { query.order };
    let plan = LogPlan {
        matchers: log.matchers.clone(),
        range: TimeRange::new(query.start_ns, query.end_ns),
        line_filters: std::mem::take(&mut split.line_filters),
        label_filters: std::mem::take(&mut split.label_filters),
        demands: std::mem::take(&mut split.demands),
        order,
        limit: (split.stages.is_empty() && query.interval_ns <= 0).then_some(query.limit),
        needs_line: true,
        needed_fields: None,
        patterns: log.names(PATTERN_LABEL),
    };
    let mut collector = Collector { limit: query.limit, ..Collector::default() };
    let mut spacing = Spacing { interval_ns: query.interval_ns, last_ns: None };
    if query.limit == 0 {
        return Ok(collector.finish(Vec::new()));
    }
    let mut changes = Vec::new();
    // Few rows pass: whether one does is found out with the labels the stages look at, the others are extracted then.
    // What passes `distinct` depends on the rows that reach it, so that it sees every row once.
    let (is_distinct, mut seen) = (log.is_distinct(), Seen::default());
    let extracts = split.stages.iter().any(|s| s.extracts());
    let wanted = split.labels_read().filter(|_| extracts && !is_distinct);
    let warnings = scan(source, &plan, budget, |row| {
        collector.stats.rows += 1;
        collector.stats.bytes += row.line.len() as u64;
        let mut labels = RowLabels::new(row.stream, row.fields, &mut changes);
        if wanted.is_some() {
            labels.extract_only(wanted.as_deref());
            if !split.apply(row, &mut Cow::Borrowed(row.line), &mut labels) {
                return Ok(ControlFlow::Continue(()));
            }
            labels = RowLabels::new(row.stream, row.fields, &mut changes);
        }
        let mut line = Cow::Borrowed(row.line);
        let passes = if is_distinct {
            split.apply_distinct(row, &mut line, &mut labels, &mut seen, budget)?
        } else {
            split.apply(row, &mut line, &mut labels)
        };
        if !passes {
            return Ok(ControlFlow::Continue(()));
        }
        if !spacing.admits(row.t_ns) {
            return Ok(ControlFlow::Continue(()));
        }
        budget.charge_bytes((line.len() + ENTRY_BYTES) as u64)?;
        let (stream, categories) = match query.categorize {
            true => {
                let (stream, categories) = labels.categorized();
                (stream, Some(categories))
            }
            false => (labels.build(), None),
        };
        collector.push(stream, Entry { t_ns: row.t_ns, line: line.into_owned(), categories });
        Ok(if collector.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(collector.finish(warnings))
}

/// Leaves entries out that come too soon after the one before.
struct Spacing {
    interval_ns: i64,
    last_ns: Option<i64>,
}

impl Spacing {
    fn admits(&mut self, t_ns: i64) -> bool {
        let is_far =
            self.last_ns.is_none_or(|last| last.abs_diff(t_ns) >= self.interval_ns.unsigned_abs());
        let admitted = self.interval_ns <= 0 || is_far;
        if admitted {
            self.last_ns = Some(t_ns);
        }
        admitted
    }
}

#[derive(Default)]
struct Collector {
    limit: usize,
    count: usize,
    streams: Vec<Stream>,
    by_labels: HashMap<Labels, usize, FxBuildHasher>,
    stats: Stats,
}

impl Collector {
    fn push(&mut self, labels: Labels, entry: Entry) {
        let index = *self.by_labels.entry(labels).or_insert_with_key(|labels| {
            self.streams.push(Stream { labels: labels.clone(), entries: Vec::new() });
            self.streams.len() - 1
        });
        self.streams[index].entries.push(entry);
        self.count += 1;
    }

    fn is_full(&self) -> bool {
        self.count >= self.limit
    }

    fn finish(mut self, warnings: Vec<String>) -> Evaluated {
        self.streams.sort_by(|a, b| a.labels.cmp(&b.labels));
        Evaluated { value: Value::Streams(self.streams), warnings, stats: self.stats }
    }
}
