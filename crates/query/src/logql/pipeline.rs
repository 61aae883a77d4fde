//! A log query compiled for running: what the store can do of it, and what is left to do per row.

use std::borrow::Cow;

use hashbrown::HashSet;
use model::{Budget, Error, Labels, LineFilter, LogDemand, LogRow, Matcher, PATTERN_LABEL, Result};
use rustc_hash::FxBuildHasher;

use super::ast::{ExprKind, LogExpr};
use super::parse::parse;
use super::row::RowLabels;
use super::stage::Stage;
use super::{Categories, Entry};

/// A compiled log query, for rows that come one by one (live tail).
#[derive(Debug, Clone)]
pub struct Pipeline {
    log: LogExpr,
    line_filters: Vec<LineFilter>,
}

impl Pipeline {
    /// Parses a log query.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) as [`parse`](super::parse()), when `text` is a metric query, or when its
    /// rows depend on each other.
    pub fn parse(text: &str) -> Result<Self> {
        match parse(text)?.kind {
            ExprKind::Log(log) if log.is_distinct() => Err(Error::invalid(
                "distinct compares the lines of a range with each other: it is for queries of a range alone",
            )),
            ExprKind::Log(log) => {
                let line_filters = Split::new(&log).line_filters;
                Ok(Self { log, line_filters })
            }
            _ => Err(Error::invalid("only log queries can be followed; this is a metric query")),
        }
    }

    /// As [`parse`](Self::parse), for rows that are not stored yet.
    ///
    /// # Errors
    /// Also [`Invalid`](model::ErrorKind::Invalid) when it names [`PATTERN_LABEL`], which only stored rows have.
    pub fn parse_arriving(text: &str) -> Result<Self> {
        let pipeline = Self::parse(text)?;
        if pipeline.names(PATTERN_LABEL) {
            return Err(Error::invalid(format!(
                "{PATTERN_LABEL} is not known of lines as they arrive, only of stored ones; use a line filter such as |> \"…<_>…\""
            )));
        }
        Ok(pipeline)
    }

    /// Whether a stage names label `label`.
    pub fn names(&self, label: &str) -> bool {
        self.log.names(label)
    }

    /// The stream selector; [`process`](Self::process) does not apply it.
    pub fn matchers(&self) -> &[Matcher] {
        &self.log.matchers
    }

    /// Those of its line filters that a store can apply beforehand; [`process`](Self::process) applies them too.
    pub fn line_filters(&self) -> &[LineFilter] {
        &self.line_filters
    }

    /// Runs all stages on `row`: the labels of the stream it belongs to in the result, and its line. `None` when a
    /// filter drops it.
    pub fn process(&self, row: &LogRow<'_>) -> Option<(Labels, String)> {
        self.run(row, |labels, line| (labels.build(), line))
    }

    /// As [`process`](Self::process), with the entry in place of the line; if `categorize`, with labels told apart.
    pub fn entry(&self, row: &LogRow<'_>, categorize: bool) -> Option<(Labels, Entry)> {
        let t_ns = row.t_ns;
        self.run(row, |labels, line| {
            let (stream, categories): (Labels, Option<Categories>) = if categorize {
                let (stream, categories) = labels.categorized();
                (stream, Some(categories))
            } else {
                (labels.build(), None)
            };
            (stream, Entry { t_ns, line, categories })
        })
    }

    fn run<T>(
        &self,
        row: &LogRow<'_>,
        finish: impl FnOnce(&RowLabels<'_>, String) -> T,
    ) -> Option<T> {
        let mut changes = Vec::new();
        let mut labels = RowLabels::new(row.stream, row.fields, &mut changes);
        let mut line = Cow::Borrowed(row.line);
        let passes = self.log.stages.iter().all(|s| s.apply(row.t_ns, &mut line, &mut labels));
        passes.then(|| finish(&labels, line.into_owned()))
    }
}

/// Parses a selection that a store can make by itself: a stream selector and line filters.
///
/// # Errors
/// Invalid as [`parse`](super::parse()), or when there is more to it.
pub fn parse_selection(text: &str) -> Result<(Vec<Matcher>, Vec<LineFilter>)> {
    let pipeline = Pipeline::parse(text)?;
    let split = Split::new(&pipeline.log);
    if !split.stages.is_empty() || !split.label_filters.is_empty() {
        return Err(Error::invalid(
            "a deletion takes a stream selector and line filters (|= != |~ !~) only",
        ));
    }
    let line_filters = split.line_filters;
    Ok((pipeline.log.matchers, line_filters))
}

/// A log query that a store answers by itself: a stream selector, line filters and filters by stored labels.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Stream selector; all must hold.
    pub matchers: Vec<Matcher>,
    /// Filters on the line, all must hold.
    pub line_filters: Vec<LineFilter>,
    /// Conditions on stored labels, all must hold.
    pub label_filters: Vec<Matcher>,
}

impl Selection {
    /// Parses a log query.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) as [`parse`](super::parse()), or when there is more to it.
    pub fn parse(text: &str) -> Result<Self> {
        let Pipeline { log, .. } = Pipeline::parse(text)?;
        let split = Split::new(&log);
        if !split.stages.is_empty() {
            return Err(Error::invalid(
                "patterns are counted of a stream selector, line filters (|= != |~ !~) and filters by stored labels; \
                 behind other stages use sum by (__pattern__) (count_over_time(…))",
            ));
        }
        let Split { line_filters, label_filters, .. } = split;
        Ok(Self { matchers: log.matchers, line_filters, label_filters })
    }
}

/// A pipeline divided between store and caller.
#[derive(Debug)]
pub(super) struct Split<'e> {
    /// Line filters the store applies.
    pub(super) line_filters: Vec<LineFilter>,
    /// Label filters the store applies.
    pub(super) label_filters: Vec<Matcher>,
    /// What rows need to pass the other stages.
    pub(super) demands: Vec<LogDemand>,
    /// The other stages.
    pub(super) stages: Vec<&'e Stage>,
}

impl<'e> Split<'e> {
    /// Divides `log`: every line filter that sees the line as stored goes to the store, and every label filter that sees
    /// the labels as stored. Of a filter that stays, the store gets what it demands of lines.
    pub(super) fn new(log: &'e LogExpr) -> Self {
        let mut line_filters = Vec::new();
        let mut label_filters = Vec::new();
        let mut stages = Vec::new();
        let mut demands = Vec::new();
        let (mut sees_stored_line, mut sees_stored_labels) = (true, true);
        // Labels are as stored, or extracted from the line as stored.
        let mut sees_stored_text = true;
        for stage in &log.stages {
            if sees_stored_labels
                && let Stage::LabelFilter(filter) = stage
                && let Some(matchers) = filter.for_store()
            {
                label_filters.extend(matchers);
                continue;
            }
            if sees_stored_line && let Stage::LineFilter(condition) = stage {
                if let Some(filter) = condition.for_store() {
                    line_filters.push(filter);
                    continue;
                }
                line_filters.extend(condition.demands());
            }
            if sees_stored_text && let Stage::LabelFilter(filter) = stage {
                demands.extend(filter.demands());
            }
            // What passes it depends on the rows that reach it: nothing behind it is asked before it.
            let is_distinct = matches!(stage, Stage::Distinct(_));
            sees_stored_text &= stage.only_extracts();
            sees_stored_line &= stage.keeps_line() && !is_distinct;
            sees_stored_labels &= matches!(stage, Stage::LineFilter(_));
            stages.push(stage);
        }
        Self { line_filters, label_filters, demands, stages }
    }

    /// Whether any stage left reads the line.
    pub(super) fn reads_line(&self) -> bool {
        self.stages.iter().any(|s| s.reads_line())
    }

    /// The labels that the stages look at, `None` when they may look at any: no other label that a parser could extract
    /// has an influence on which rows pass.
    pub(super) fn labels_read(&self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        self.stages.iter().for_each(|s| s.for_each_label(&mut |name| names.push(name.to_owned())));
        names.sort_unstable();
        names.dedup();
        (!names.iter().any(|n| n == "*")).then_some(names)
    }

    /// Runs the stages on `row`; `false` when a filter drops it.
    pub(super) fn apply(
        &self,
        row: &LogRow<'_>,
        line: &mut Cow<'_, str>,
        labels: &mut RowLabels<'_>,
    ) -> bool {
        self.stages.iter().all(|s| s.apply(row.t_ns, line, labels))
    }

    /// As [`apply`](Self::apply), in the order of the rows: one that `distinct` knows from `seen` is dropped.
    ///
    /// # Errors
    /// [`Limit`](model::ErrorKind::Limit) of `budget`, by the values that are remembered.
    pub(super) fn apply_distinct(
        &self,
        row: &LogRow<'_>,
        line: &mut Cow<'_, str>,
        labels: &mut RowLabels<'_>,
        seen: &mut Seen,
        budget: &Budget,
    ) -> Result<bool> {
        for (index, stage) in self.stages.iter().enumerate() {
            let passes = match stage {
                Stage::Distinct(names) => seen.is_new(index, names, labels, budget)?,
                stage => stage.apply(row.t_ns, line, labels),
            };
            if !passes {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The values that rows had before.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By stage: values, each behind its length; a label that a row has not is as good as empty.
    keys: HashSet<(usize, Box<[u8]>), FxBuildHasher>,
    key: Vec<u8>,
}

/// What a remembered key costs besides its bytes.
const KEY_BYTES: usize = 48;

impl Seen {
    fn is_new(
        &mut self,
        stage: usize,
        names: &[String],
        labels: &RowLabels<'_>,
        budget: &Budget,
    ) -> Result<bool> {
        self.key.clear();
        for name in names {
            let value = labels.get(name).unwrap_or_default();
            self.key.extend_from_slice(&value.len().to_le_bytes());
            self.key.extend_from_slice(value.as_bytes());
        }
        let is_new = self.keys.insert((stage, self.key.as_slice().into()));
        if is_new {
            budget.charge_bytes((self.key.len() + KEY_BYTES) as u64)?;
        }
        Ok(is_new)
    }
}
